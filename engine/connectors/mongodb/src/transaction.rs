//! A transaction of the replica set, with savepoints that MongoDB does not have.
//!
//! MongoDB aborts a whole transaction at the first statement that fails. So what was done since its begin is kept here, as the
//! commands that did it (the *log*, bounded by [`LOG_BYTES_MAX`]). Going back to a savepoint, or a conflict with another writer,
//! starts a new transaction and runs the log again, lazily: only when the next command or the commit needs it. Every answer must
//! then be what it was the first time; otherwise somebody else has changed the target meanwhile, and the line starts again from
//! its checkpoint (`busy`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::Error as DriverError;
use mongodb::options::{ReadConcern, ReadPreference};
use mongodb::{ClientSession, Database};
use sluice_types::ports::{SinkTx, Written};
use sluice_types::{Checkpoint, Error, ErrorKind, Event, Key, PipelineId, Result, Row, TableSchema};

use crate::apply;
use crate::decode;
use crate::endpoint::TRANSACTION_BYTES;
use crate::errors::{fenced, is_conflict, is_unknown_commit};
use crate::key::{FoldKey, push_raw};
use crate::plan::{ID, Plan};
use crate::sink::{CHECKPOINTS, Claim, MongoSink, durable, read_checkpoint};
use crate::work::{Answer, CLAIMS, Work, ask};
use crate::write::{Limits, Reply};

/// Bytes of commands that one transaction may have: a part of the line (`large_transactions`), and the batch with which it grows
/// beyond its limit. Its images take more memory than its commands.
const LOG_BYTES_MAX: usize = TRANSACTION_BYTES as usize + (32 << 20);
/// How often a transaction that is in the way of another writer is run again, and the first pause in between.
pub(crate) const CONFLICTS_MAX: u32 = 6;
pub(crate) const CONFLICT_PAUSE: Duration = Duration::from_millis(5);
/// Pause before an unknown commit is asked for again.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// A transaction. Dropped without commit: it is aborted.
pub(crate) struct MongoTx<'a> {
    pub sink: &'a mut MongoSink,
    database: Database,
    pub limits: Limits,
    /// Taken by commit and drop.
    session: Option<ClientSession>,
    log: Vec<Logged>,
    log_bytes: usize,
    /// The savepoint, as a length of the log.
    mark: usize,
    /// The server's transaction does not hold what the log says.
    stale: bool,
    /// The checkpoint that was saved in it: the sink's claim once it is committed.
    saved: Option<Claim>,
    /// The commit was asked for.
    committing: bool,
}

struct Logged {
    work: Work,
    digest: u64,
}

/// Why something could not be done.
enum Fault {
    Driver(DriverError),
    Timeout,
    /// The same command had another effect than before.
    Changed,
}

impl<'a> MongoTx<'a> {
    pub async fn begin(sink: &'a mut MongoSink, session: ClientSession) -> Result<Self> {
        let connected = sink.server.connect().await?;
        let (database, limits) = (connected.database.clone(), connected.limits);
        let mut tx = MongoTx {
            sink,
            database,
            limits,
            session: Some(session),
            log: vec![],
            log_bytes: 0,
            mark: 0,
            stale: false,
            saved: None,
            committing: false,
        };
        tx.start().await.map_err(|fault| tx.failed(fault, "no transaction can be begun"))?;
        Ok(tx)
    }

    /// Nothing that is left open is to be in anybody's way.
    async fn announce(&mut self, pipeline: &PipelineId) -> Result<()> {
        match &self.session {
            Some(session) => self.sink.sessions.announce(pipeline, session.id()).await,
            None => Ok(()),
        }
    }

    fn session(&mut self) -> std::result::Result<&mut ClientSession, Fault> {
        // Only commit takes it, and that ends the transaction.
        self.session.as_mut().ok_or(Fault::Changed)
    }

    async fn start(&mut self) -> std::result::Result<(), Fault> {
        let concern = durable(&self.sink.server);
        let session = self.session()?;
        let begun = session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(concern)
            .selection_criteria(ReadPreference::Primary.into())
            .await;
        begun.map_err(Fault::Driver)
    }

    /// Does something in the transaction, and keeps it to be done again.
    pub async fn run(&mut self, work: Work, what: &str) -> Result<Answer> {
        let mut conflicts = 0;
        loop {
            match self.attempt(&work).await {
                Ok(answer) if answer.is_refusal() => {
                    // MongoDB has aborted the transaction.
                    self.stale = true;
                    return Ok(answer);
                }
                Ok(answer) => {
                    self.keep(work, &answer)?;
                    return Ok(answer);
                }
                Err(Fault::Driver(error)) if is_conflict(&error) && conflicts < CONFLICTS_MAX => {
                    self.stale = true;
                    tokio::time::sleep(CONFLICT_PAUSE * 2u32.pow(conflicts)).await;
                    conflicts += 1;
                }
                Err(fault) => {
                    self.stale = true;
                    return Err(self.failed(fault, what));
                }
            }
        }
    }

    fn keep(&mut self, work: Work, answer: &Answer) -> Result<()> {
        if let Work::Write(body) | Work::Claim(body) = &work {
            self.log_bytes += body.as_bytes().len();
        }
        self.log.push(Logged { work, digest: answer.digest() });
        if self.log_bytes <= LOG_BYTES_MAX {
            return Ok(());
        }
        let what = format!("a transaction of more than {LOG_BYTES_MAX} bytes can't be held");
        Err(Error::new(ErrorKind::TransactionTooLarge, what)
            .remedy("Lower `large_transactions: { rows, bytes }`, and let its `then` be parts"))
    }

    async fn attempt(&mut self, work: &Work) -> std::result::Result<Answer, Fault> {
        self.refresh().await?;
        self.send(work).await
    }

    /// A transaction that holds what the log says.
    async fn refresh(&mut self) -> std::result::Result<(), Fault> {
        if !self.stale {
            return Ok(());
        }
        self.end().await;
        self.start().await?;
        let log = std::mem::take(&mut self.log);
        let mut done = Ok(());
        for logged in &log {
            done = match self.send(&logged.work).await {
                Ok(answer) if answer.digest() == logged.digest && !answer.is_refusal() => continue,
                Ok(_) => Err(Fault::Changed),
                Err(fault) => Err(fault),
            };
            break;
        }
        self.log = log;
        done?;
        self.stale = false;
        Ok(())
    }

    /// Aborts the server's transaction.
    async fn end(&mut self) {
        let limit = self.sink.server.config.timeouts.operation;
        if let Ok(session) = self.session() {
            // One that is gone already is as good as aborted; one that isn't ends with its time.
            let _ = tokio::time::timeout(limit, session.abort_transaction()).await;
        }
    }

    async fn send(&mut self, work: &Work) -> std::result::Result<Answer, Fault> {
        let limit = self.sink.server.config.timeouts.operation;
        let database = self.database.clone();
        let session = self.session()?;
        let done = tokio::time::timeout(limit, ask(&database, session, work)).await;
        done.map_err(|_| Fault::Timeout)?.map_err(Fault::Driver)
    }

    fn failed(&self, fault: Fault, what: &str) -> Error {
        let server = &self.sink.server;
        match fault {
            Fault::Driver(error) => server.failed(&error, what),
            Fault::Timeout => server.timed_out(what),
            Fault::Changed => {
                Error::new(ErrorKind::Busy, "somebody else has changed rows of the target meanwhile")
                    .remedy("It is tried again from the checkpoint")
                    .at(|place| place.database = Some(server.config.name.clone()))
            }
        }
    }

    /// How long the log is: where [`MongoTx::undo_to`] can go back to.
    pub fn here(&self) -> usize {
        self.log.len()
    }

    /// Forgets what was done since the log was so long.
    pub fn undo_to(&mut self, length: usize) {
        if self.log.len() > length {
            self.log.truncate(length);
            self.stale = true;
        }
    }

    /// The documents with these ids, in no order.
    pub async fn find(
        &mut self,
        collection: &Arc<str>,
        ids: &[&[u8]],
        ids_only: bool,
    ) -> Result<Vec<RawDocumentBuf>> {
        let filter = apply::with_ids(ids)?;
        let work = Work::Find { collection: collection.clone(), filter, ids_only };
        match self.run(work, "the target can't be read").await? {
            Answer::Found(documents) => Ok(documents),
            _ => Ok(vec![]),
        }
    }

    /// The database outside of the transaction, which is aborted first and run again when it is needed.
    pub async fn outside(&mut self) -> Database {
        if !self.log.is_empty() || self.stale {
            self.end().await;
            self.stale = true;
        }
        self.database.clone()
    }

    /// Documents in a collection, about. Asked outside of the transaction, which can't count.
    pub async fn estimate(&self, collection: &str) -> Result<u64> {
        let collection = self.database.collection::<RawDocumentBuf>(collection);
        self.sink
            .server
            .within("the target's rows can't be counted", collection.estimated_document_count())
            .await
    }
}

impl Drop for MongoTx<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.sink.sessions.abort(session, self.committing);
        }
    }
}

fn raw(document: &Document) -> Result<RawDocumentBuf> {
    RawDocumentBuf::try_from(document)
        .map_err(|error| Error::new(ErrorKind::Internal, "a command can't be written").because(error))
}

#[async_trait]
impl SinkTx for MongoTx<'_> {
    async fn current(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        let plan: Arc<Plan> = self.sink.plan(table)?;
        let mut ids = Vec::with_capacity(keys.len());
        for key in keys {
            let mut id = vec![];
            plan.push_id(&mut id, key)?;
            ids.push(id);
        }
        let mut found = std::collections::HashMap::new();
        for some in ids.chunks(apply::IDS_MAX) {
            let some: Vec<&[u8]> = some.iter().map(Vec::as_slice).collect();
            for document in self.find(&plan.collection, &some, false).await? {
                let mut id = vec![];
                if let Ok(Some(stored)) = document.get(ID) {
                    push_raw(&mut id, stored);
                }
                found.insert(FoldKey::new(&id), decode::row(&document, table));
            }
        }
        Ok(ids.iter().map(|id| found.get(&FoldKey::new(id)).cloned()).collect())
    }

    async fn as_stored(&mut self, table: &Arc<TableSchema>, images: Vec<Row>) -> Result<Vec<Row>> {
        let plan = self.sink.plan(table)?;
        Ok(images.into_iter().map(|image| plan.as_stored(&image)).collect())
    }

    async fn write(&mut self, events: &[Event]) -> Result<Written> {
        apply::write(self, events).await
    }

    async fn savepoint(&mut self) -> Result<()> {
        self.mark = self.log.len();
        Ok(())
    }

    async fn rollback_to_savepoint(&mut self) -> Result<()> {
        self.undo_to(self.mark);
        Ok(())
    }

    /// Takes the checkpoint's document for this transaction: who else would write it is in conflict with it, and waits.
    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        self.announce(pipeline).await?;
        let claim = doc! {
            "findAndModify": CHECKPOINTS,
            "query": { ID: &*pipeline.0 },
            "update": { "$inc": { CLAIMS: 1_i64 } },
            "upsert": true,
        };
        match self.run(Work::Claim(raw(&claim)?), "the checkpoint can't be read").await? {
            Answer::Claimed(Some(document)) => read_checkpoint(&document),
            _ => Ok(None),
        }
    }

    async fn save(&mut self, checkpoint: &Checkpoint, expected: Option<u64>) -> Result<()> {
        let text = serde_json::to_string(checkpoint).map_err(|error| {
            Error::new(ErrorKind::Internal, "the checkpoint can't be written").because(error)
        })?;
        let pipeline = &*checkpoint.pipeline.0;
        let epoch = match expected {
            Some(epoch) => Bson::Int64(epoch as i64),
            None => Bson::Document(doc! { "$exists": false }),
        };
        self.announce(&checkpoint.pipeline).await?;
        let set = doc! {
            "epoch": checkpoint.epoch as i64,
            "position": checkpoint.position.text(),
            "checkpoint": text,
        };
        let statement = doc! { "q": { ID: pipeline, "epoch": epoch }, "u": { "$set": set }, "upsert": expected.is_none() };
        let save = doc! { "update": CHECKPOINTS, "ordered": true, "updates": [statement] };
        // A checkpoint that is there although none is expected is a duplicate key.
        match self.run(Work::Write(raw(&save)?), "the checkpoint can't be saved").await? {
            Answer::Written(Reply { count: 1, error: None }) => {
                self.saved = Some(Claim { pipeline: checkpoint.pipeline.clone(), epoch: checkpoint.epoch });
                Ok(())
            }
            _ => Err(fenced()),
        }
    }

    /// The commit is asked for again until its result is known, as the driver's rules say: it is done once at most.
    async fn commit(mut self: Box<Self>) -> Result<()> {
        const WHAT: &str = "the target can't commit";
        let mut conflicts = 0;
        while let Err(fault) = self.refresh().await {
            match fault {
                Fault::Driver(error) if is_conflict(&error) && conflicts < CONFLICTS_MAX => {
                    tokio::time::sleep(CONFLICT_PAUSE * 2u32.pow(conflicts)).await;
                    conflicts += 1;
                }
                fault => return Err(self.failed(fault, WHAT)),
            }
        }
        let deadline = Instant::now() + self.sink.server.config.timeouts.commit;
        self.committing = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let session = match self.session() {
                Ok(session) => session,
                Err(fault) => return Err(self.failed(fault, WHAT)),
            };
            match tokio::time::timeout(left, session.commit_transaction()).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) if is_unknown_commit(&error) && Instant::now() < deadline => {
                    tracing::warn!(database = %self.sink.server.config.name, "the commit's result is not known; it is asked for again");
                    tokio::time::sleep(COMMIT_PAUSE).await;
                }
                Ok(Err(error)) => return Err(self.failed(Fault::Driver(error), WHAT)),
                Err(_) => return Err(self.failed(Fault::Timeout, WHAT)),
            }
        }
        if let Some(saved) = self.saved.take() {
            self.sink.claim = Some(saved);
        }
        if let Some(session) = self.session.take() {
            self.sink.sessions.keep(session);
        }
        Ok(())
    }
}
