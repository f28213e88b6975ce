//! Emptying a large collection: in steps, before the transaction that empties it. No transaction of MongoDB holds the removal of
//! any number of rows.
//!
//! Each step is a short transaction of its own that first writes to the checkpoint's document, if that still has the epoch which
//! this sink has saved (I6): an engine that was fenced off removes nothing, and one that takes the line over waits for the step
//! or stops it. Readers see the steps before the checkpoint passes the truncate; after a crash in between, the truncate comes
//! again and ends the same.

use std::ops::Range;
use std::sync::Arc;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::{Error as DriverError, TRANSIENT_TRANSACTION_ERROR};
use mongodb::options::{ReadConcern, ReadPreference};
use mongodb::{ClientSession, Collection, Database};
use sluice_types::{Change, Event, Result};

use crate::apply::{IDS_MAX, with_ids};
use crate::connection::Server;
use crate::errors::{fenced, is_conflict, is_unknown_commit};
use crate::key::push_raw;
use crate::plan::{ID, Plan};
use crate::sink::{CHECKPOINTS, Claim, durable};
use crate::transaction::{CONFLICT_PAUSE, CONFLICTS_MAX, MongoTx};
use crate::work::CLAIMS;

/// A collection with more rows than this is emptied before the transaction that empties it.
const ROWS_MAX: u64 = 100_000;

const WHAT: &str = "the target's table can't be emptied";

/// Empties the large collections that these events empty.
pub(crate) async fn ahead(
    tx: &mut MongoTx<'_>,
    events: &[Event],
    plans: &[Arc<Plan>],
    range: Range<usize>,
) -> Result<()> {
    for index in range {
        if !matches!(events[index].change, Change::Truncate) {
            continue;
        }
        // Who has not claimed the line has nothing to be fenced by: all of it is done in the transaction, or not at all.
        let Some(claim) = tx.sink.claim.clone() else { return Ok(()) };
        let collection = &plans[index].collection;
        if tx.estimate(collection).await? <= ROWS_MAX {
            continue;
        }
        let server = tx.sink.server.clone();
        let database = tx.outside().await;
        let client = database.client();
        let session = server.within("no session can be opened", client.start_session()).await?;
        Emptying { rows: database.collection(collection), database, server, claim, session }.run().await?;
    }
    Ok(())
}

/// One collection, step by step.
struct Emptying {
    server: Arc<Server>,
    database: Database,
    rows: Collection<RawDocumentBuf>,
    claim: Claim,
    session: ClientSession,
}

/// How a step ended.
enum Step {
    Done,
    Fenced,
}

impl Emptying {
    async fn run(mut self) -> Result<()> {
        loop {
            let ids = self.next_ids().await?;
            if ids.is_empty() {
                return Ok(());
            }
            let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
            self.remove(with_ids(&ids)?).await?;
        }
    }

    async fn next_ids(&self) -> Result<Vec<Vec<u8>>> {
        let find = self.rows.find(doc! {}).projection(doc! { ID: 1 }).limit(IDS_MAX as i64);
        let find = find.selection_criteria(ReadPreference::Primary.into());
        let mut cursor = self.server.within(WHAT, find).await?;
        let mut ids = vec![];
        while self.server.within(WHAT, cursor.advance()).await? {
            let mut id = vec![];
            if let Ok(Some(stored)) = cursor.current().get(ID) {
                push_raw(&mut id, stored);
            }
            ids.push(id);
        }
        Ok(ids)
    }

    /// One step. It may be done twice: what is gone is gone.
    async fn remove(&mut self, filter: Document) -> Result<()> {
        let server = self.server.clone();
        let mut again = 0;
        loop {
            let error = match tokio::time::timeout(server.config.timeouts.operation, self.step(&filter)).await
            {
                Ok(Ok(Step::Done)) => return Ok(()),
                Ok(Ok(Step::Fenced)) => return Err(fenced()),
                Ok(Err(error)) => error,
                Err(_) => return Err(server.timed_out(WHAT)),
            };
            let passes = is_conflict(&error)
                || is_unknown_commit(&error)
                || error.contains_label(TRANSIENT_TRANSACTION_ERROR);
            if !passes || again == CONFLICTS_MAX {
                return Err(server.failed(&error, WHAT));
            }
            tokio::time::sleep(CONFLICT_PAUSE * 2u32.pow(again)).await;
            again += 1;
        }
    }

    async fn step(&mut self, filter: &Document) -> std::result::Result<Step, DriverError> {
        let begun = self.session.start_transaction().read_concern(ReadConcern::snapshot());
        begun.write_concern(durable(&self.server)).selection_criteria(ReadPreference::Primary.into()).await?;
        let step = self.guarded(filter).await;
        match step {
            Ok(Step::Done) => self.session.commit_transaction().await.map(|()| Step::Done),
            // What can't be aborted now ends with its time: the next transaction has another number.
            other => {
                let _ = self.session.abort_transaction().await;
                other
            }
        }
    }

    async fn guarded(&mut self, filter: &Document) -> std::result::Result<Step, DriverError> {
        let ours = doc! { ID: &*self.claim.pipeline.0, "epoch": self.claim.epoch as i64 };
        // A real change: only who writes the document is in conflict with others that do.
        let held = doc! { "$inc": { CLAIMS: 1_i64 } };
        let checkpoints = self.database.collection::<Document>(CHECKPOINTS);
        let found = checkpoints.update_one(ours, held).session(&mut self.session).await?;
        if found.matched_count == 0 {
            return Ok(Step::Fenced);
        }
        self.rows.delete_many(filter.clone()).session(&mut self.session).await?;
        Ok(Step::Done)
    }
}
