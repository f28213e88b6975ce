//! The start of a stream: the proof that the slot still has what comes after the checkpoint, and the tasks that read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use sluice_types::ports::{Read, ReadLimits, StreamStart};
use sluice_types::{Error, ErrorKind, Position, Result};
use tokio::sync::{mpsc, oneshot, watch};

use super::PostgresSource;
use super::fit::awaits;
use crate::codec::Form;
use crate::deliver::Delivery;
use crate::delivered::Delivered;
use crate::errors::quote;
use crate::keeper::{self, Keeper};
use crate::maintain::Slot;
use crate::protocol::cursor::malformed;
use crate::protocol::replication::Lsn;
use crate::pump::{self, Pump};
use crate::relations::Followed;
use crate::stream::{self, Setup};
use crate::timeline;

/// Blocks of the stream that wait to be decoded, at most (128 KiB each).
const BLOCKS_MAX: usize = 16;
/// Groups of pieces that wait for the line, at most (about 256 KiB each).
const PIECES_MAX: usize = 8;

/// What `open` opened.
pub(super) struct Streaming {
    pub delivery: Delivery,
    pub confirm: watch::Sender<Lsn>,
    pub delivered: Arc<Delivered>,
    pub passed: Arc<AtomicU64>,
    /// What an earlier session has delivered ends here; 0 while that is not known.
    pub earlier: Arc<AtomicU64>,
    /// Where the slot stood when the stream was opened.
    pub slot_start: Lsn,
    /// Everything up to `earlier` is visible to every view from now on.
    pub settled: bool,
    /// Where the slot does not keep what is not visible ([`Keeper::withholds`]): a transaction number that is greater than those of
    /// all transactions from before the stream was opened.
    pub unkept: Option<u64>,
    /// The end of the last transaction that had changes.
    pub changed: Arc<AtomicU64>,
    /// Something is missing from the stream; `None`: nobody watches any more.
    pub broken: Option<oneshot::Receiver<Error>>,
}

fn number(xid: &str) -> Result<u64> {
    xid.parse().map_err(|_| malformed("a transaction number that is none"))
}

impl Streaming {
    /// Waits until something is missing from the stream. Cancel safe.
    async fn is_broken(broken: &mut Option<oneshot::Receiver<Error>>) -> Error {
        if let Some(telling) = broken {
            let told = telling.await;
            *broken = None;
            if let Ok(error) = told {
                return error;
            }
        }
        std::future::pending().await
    }

    /// The next changes, until something is missing from them. Cancel safe.
    pub async fn next(&mut self, limits: &ReadLimits) -> Result<Read> {
        tokio::select! {
            biased;
            error = Self::is_broken(&mut self.broken) => Err(error),
            read = self.delivery.next(limits) => read,
        }
    }
}

impl PostgresSource {
    /// I12: the log holds everything after the checkpoint, and has come as far as that.
    pub(super) async fn prove(&mut self, position: &Position) -> Result<Slot> {
        let from = Lsn::of(position)?;
        let slot = self.keep().free_slot(true).await?;
        let slot = slot.ok_or_else(|| self.lost(format!("the slot {} is gone", self.name)))?;
        if let Some(reason) = &slot.lost {
            return Err(self.lost(format!("the slot {} was invalidated: {reason}", self.name)));
        }
        if Lsn::generation(position) != Lsn::generation(&Lsn(0).position(&self.generation)) {
            return Err(
                self.lost(format!("the slot {} was made anew since the target's checkpoint", self.name))
            );
        }
        if slot.confirmed > from {
            let what = format!(
                "the slot {} begins at {}, and the target stands at {from}",
                self.name, slot.confirmed
            );
            return Err(self.lost(what));
        }
        let end = keeper::log_end(&self.server, &self.session).await?;
        if end < from {
            let what =
                format!("the target stands at {from}, and the log ends at {end}: the server was put back");
            return Err(self.lost(what));
        }
        if let Some(what) = self.other_history(from, position).await? {
            return Err(self.lost(what));
        }
        Ok(slot)
    }

    pub(super) async fn start_stream(
        &mut self,
        from: &StreamStart,
        slot: &Slot,
        tables: Vec<Followed>,
    ) -> Result<Streaming> {
        let start = Lsn::of(&from.position)?;
        let form = Form::of(tables.iter().map(|followed| followed.table.form()));
        let binary = if form == Form::Binary { ", binary 'true'" } else { "" };
        // From where the slot stands: what the target has already is left out here, and looked at (`delivered`).
        let command = format!(
            "START_REPLICATION SLOT {slot} LOGICAL {at} \
             (proto_version '2', streaming 'on', publication_names '{publication}'{binary})",
            slot = quote(&self.name),
            at = slot.confirmed,
            publication = quote(&self.name),
        );
        let row = self.session.query_one(
            "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text, \
                    (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'), \
                    current_setting('synchronous_standby_names')",
            &[],
        );
        let row = row.await.map_err(self.failed("the source's settings can't be read"))?;
        let xid = number(row.get(0))?;
        let patience = u64::try_from(row.get::<_, i64>(1)).unwrap_or(0);
        // Where commits wait for this very stream, to keep their log until they are visible would wait for ever.
        let withholds = !awaits(row.get(2), &self.server.application_name);
        let unkept = match withholds {
            true => None,
            false => {
                let row = self.session.query_one("SELECT pg_catalog.pg_current_xact_id()::text", &[]).await;
                Some(number(row.map_err(self.failed("a transaction can't be begun"))?.get(0))?)
            }
        };
        self.replication().await?;
        let client = self.replication.take();
        let client = client.ok_or_else(|| Error::new(ErrorKind::Internal, "no replication connection"))?;
        let (wire, thread) = client.stream(&command).await?;

        let (confirm, confirmed) = watch::channel(slot.confirmed);
        let (durable_to, durable) = watch::channel(slot.confirmed);
        let (blocks_to, blocks) = mpsc::channel(BLOCKS_MAX);
        let (pieces_to, pieces) = mpsc::channel(PIECES_MAX);
        let delivered = Arc::new(Delivered::default());
        let passed = Arc::new(AtomicU64::new(slot.confirmed.0));
        let changed = Arc::new(AtomicU64::new(0));
        let (broken_to, broken) = oneshot::channel();
        let earlier = Arc::new(AtomicU64::new(if from.part > 0 { 0 } else { start.0 }));
        let status_every = match patience {
            0 => pump::STATUS_EVERY,
            patience => pump::STATUS_EVERY.min(Duration::from_millis(patience / 4 + 1)),
        };
        let pump = Pump {
            wire,
            blocks: blocks_to,
            durable,
            status_every,
            pace: pump::Pace::new(),
            clock: self.line.clock.clone(),
            received: slot.confirmed,
            asked: None,
        };
        thread.give_to(pump.run());
        let keeper = Keeper {
            server: self.server.clone(),
            delivered: delivered.clone(),
            passed: passed.clone(),
            confirmed,
            durable: durable_to,
            wanted: self.wanted.subscribe(),
            every: self.server.heartbeat,
            withholds,
            beats: AtomicBool::new(true),
            publication: self.name.clone(),
            capture: self.capture.clone(),
            broken: Some(broken_to),
        };
        tokio::spawn(keeper.run());
        let setup = Setup {
            server: self.server.clone(),
            runtime: tokio::runtime::Handle::current(),
            superseded: tables
                .iter()
                .filter_map(|followed| Some((followed.table.oid, self.capture.superseded(&followed.table)?)))
                .collect(),
            tables,
            spill: self.line.spill.clone(),
            generation: self.generation.clone(),
            start: from.clone(),
            xid,
            delivered: delivered.clone(),
            passed: passed.clone(),
            changed: changed.clone(),
            earlier: earlier.clone(),
        };
        std::thread::Builder::new()
            .name("sluice-pg-decode".into())
            .spawn(move || stream::run(setup, blocks, pieces_to))
            .map_err(|error| Error::new(ErrorKind::Busy, "no thread could be started").because(error))?;
        Ok(Streaming {
            delivery: Delivery::new(pieces, start, self.generation.clone()),
            confirm,
            delivered,
            passed,
            earlier,
            slot_start: slot.confirmed,
            settled: false,
            unkept,
            changed,
            broken: Some(broken),
        })
    }

    /// Why a place is of another history than the server's, if it is.
    async fn other_history(&mut self, from: Lsn, position: &Position) -> Result<Option<String>> {
        // A checkpoint without one was made by a version that did not note it.
        let Some(on) = Lsn::timeline(position).filter(|on| *on != self.timeline) else { return Ok(None) };
        let server_on = self.timeline;
        let history = if on < server_on {
            self.replication().await?.query(&format!("TIMELINE_HISTORY {server_on}")).await?
        } else {
            vec![]
        };
        let history = history.first().and_then(|row| row.get(1)?.as_deref()).unwrap_or_default();
        Ok(timeline::lost(from, on, server_on, history))
    }
}
