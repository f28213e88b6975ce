//! What the reader hands to the line, one piece of work at a time, and how: the line asks, the reader answers with what it has
//! gathered by then. So one prepared batch waits at most, and under backlog it grows while the target is busy.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use sluice_types::ports::TargetTable;
use sluice_types::{Digest, Error, ErrorKind, Event, Position, Reason, Result, TableId, Transaction};
use tokio::sync::{mpsc, oneshot, watch};

use crate::postponed::{Postponed, PostponedDone};
use crate::snapshot::ChunkDone;

/// The plugin versions that made something.
pub(crate) type Versions = Arc<BTreeMap<Arc<str>, Digest>>;

/// Columns in which two images of one row can't be compared, by target table.
pub(crate) type Unstable = Arc<HashMap<TableId, Vec<Arc<str>>>>;

/// An event that a transform refused, as the transform was given it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub event: Event,
    pub reason: Reason,
}

/// The piece of a transaction that goes on in the next piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenPiece {
    /// Events of the transaction that have come so far, since its start in the source.
    pub part: u64,
    /// Those that came with this piece.
    pub rows: u64,
    /// Bytes of their images.
    pub bytes: u64,
}

/// What committing a piece of work means for the checkpoint.
#[derive(Debug)]
pub(crate) enum Passage {
    /// The stream is passed up to `end`, and `open` of the transaction after it.
    Stream { end: Option<Position>, open: Option<OpenPiece> },
    /// A chunk of a snapshot is copied; the stream stays where it is.
    Chunk(ChunkDone),
    /// Rows that were postponed are written; the stream stays where it is.
    Postponed(PostponedDone),
}

/// Something for one target transaction, or a piece of one. Not more than about `batch.bytes` of images.
#[derive(Debug)]
pub(crate) struct Work {
    /// What the target is to get, in order.
    pub events: Vec<Event>,
    /// What it is not to get, in the same order.
    pub refused: Vec<Refused>,
    /// Poison events among the refused: those that a plugin failed on.
    pub poison: usize,
    /// What `Event::transaction` counts.
    pub transactions: Vec<Transaction>,
    pub passage: Passage,
    /// Target tables to be made before these events are written: a plugin was swapped.
    pub prepare: Vec<TargetTable>,
    pub versions: Versions,
    pub unstable: Unstable,
    /// Bytes of the source's images.
    pub weight: usize,
    /// When its first event was read.
    pub read_micros: i64,
}

impl Work {
    /// Whether the transaction at its end goes on in the next piece.
    pub fn is_open(&self) -> bool {
        matches!(self.passage, Passage::Stream { open: Some(_), .. })
    }

    /// Takes off the piece of the transaction that goes on, so that what is whole can be committed without it; `None` if there is
    /// no such piece, or nothing whole before it.
    pub fn split_open(&mut self) -> Option<Work> {
        let Passage::Stream { end: Some(_), open } = &mut self.passage else { return None };
        let piece = open.take()?;
        let mut rest = self.split_off(self.transactions.len().saturating_sub(1));
        rest.weight = self.weight.min(usize::try_from(piece.bytes).unwrap_or(usize::MAX));
        self.weight -= rest.weight;
        rest.passage = Passage::Stream { end: None, open: Some(piece) };
        Some(rest)
    }

    /// Takes off what comes behind its first transaction, whose last piece this is; `None` if there is nothing. Only with what is
    /// taken off has the stream been passed.
    pub fn split_ended(&mut self) -> Option<Work> {
        if self.transactions.len() < 2 {
            return None;
        }
        let mut rest = self.split_off(1);
        rest.weight = self.weight.min(rest.events.iter().map(|event| event.change.weight()).sum());
        self.weight -= rest.weight;
        let passed = Passage::Stream { end: None, open: None };
        rest.passage = std::mem::replace(&mut self.passage, passed);
        Some(rest)
    }

    /// Takes off the transactions from this one on: without a weight, and passing nothing.
    fn split_off(&mut self, number: usize) -> Work {
        let shifted = |mut event: Event| {
            event.transaction -= number as u32;
            event
        };
        let at = self.events.partition_point(|event| (event.transaction as usize) < number);
        let events = self.events.split_off(at).into_iter().map(shifted).collect();
        let at = self.refused.partition_point(|one| (one.event.transaction as usize) < number);
        let refused = self.refused.split_off(at).into_iter();
        let refused = refused.map(|one| Refused { event: shifted(one.event), reason: one.reason }).collect();
        // Which of the refused are poison is not known: those of the first part, as far as they can be.
        let poison = self.poison.saturating_sub(self.refused.len());
        self.poison -= poison;
        Work {
            events,
            refused,
            poison,
            transactions: self.transactions.split_off(number),
            passage: Passage::Stream { end: None, open: None },
            prepare: vec![],
            versions: self.versions.clone(),
            unstable: self.unstable.clone(),
            weight: 0,
            read_micros: self.read_micros,
        }
    }

    /// Whether its rows are not newer than the stream, which stands at `here`.
    pub fn is_settled(&self, here: &Position) -> bool {
        match &self.passage {
            Passage::Stream { .. } => true,
            Passage::Chunk(done) => done.high() <= here,
            Passage::Postponed(done) => done.high().is_none_or(|high| high <= here),
        }
    }

    /// The place in the source's log where an event belongs; `here` is where the line stands, and so do rows of a snapshot.
    pub fn position_of<'a>(&'a self, event: &Event, here: &'a Position) -> &'a Position {
        self.transactions.get(event.transaction as usize).map_or(here, |transaction| &transaction.position)
    }

    /// Takes what came next into the same target transaction. Neither is a chunk, and this one is not open.
    pub fn merge(&mut self, next: Work) {
        let base = self.transactions.len() as u32;
        let shifted = |mut event: Event| {
            event.transaction += base;
            event
        };
        self.events.extend(next.events.into_iter().map(shifted));
        let refused = next.refused.into_iter();
        self.refused.extend(refused.map(|one| Refused { event: shifted(one.event), reason: one.reason }));
        self.transactions.extend(next.transactions);
        self.prepare.extend(next.prepare);
        self.poison += next.poison;
        self.weight += next.weight;
        self.versions = next.versions;
        self.unstable = next.unstable;
        if let (Passage::Stream { end, open }, Passage::Stream { end: next_end, open: next_open }) =
            (&mut self.passage, next.passage)
        {
            *end = next_end.or(end.take());
            *open = next_open;
        }
    }
}

/// Rows to be read again (I13).
#[derive(Debug)]
pub(crate) struct Reread {
    /// The events whose rows are wanted.
    pub wanted: Vec<Event>,
    /// What the view that reads them must have seen: everything that is being written.
    pub transactions: Vec<Transaction>,
    pub answer: oneshot::Sender<RereadRows>,
}

/// The rows as the source has them now, through the chain; no event for a row that is gone.
#[derive(Debug)]
pub(crate) struct RereadRows {
    /// They carry transaction and index of the event that wanted them.
    pub events: Vec<Event>,
    pub refused: Vec<Refused>,
    /// The stream has to pass this before the target is consistent with them.
    pub high: Option<Position>,
}

/// The line's end.
#[derive(Debug)]
pub(crate) struct Feed {
    demands: mpsc::Sender<oneshot::Sender<Work>>,
    rereads: mpsc::Sender<Reread>,
    durable: watch::Sender<Position>,
    postponed: watch::Sender<Postponed>,
    /// The reader was asked and had ended: its own error is the one to report.
    reader_gone: AtomicBool,
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub demands: mpsc::Receiver<oneshot::Sender<Work>>,
    pub rereads: mpsc::Receiver<Reread>,
    pub durable: watch::Receiver<Position>,
    pub postponed: watch::Receiver<Postponed>,
}

/// Joins a line that stands at `durable`, with these rows postponed, with its reader.
pub(crate) fn feed(durable: Position, postponed: Postponed) -> (Feed, Outlet) {
    let (demand, demands) = mpsc::channel(1);
    let (reread, rereads) = mpsc::channel(1);
    let (confirm, durable) = watch::channel(durable);
    let (postpone, mut postponed) = watch::channel(postponed);
    postponed.mark_changed();
    let feed = Feed {
        demands: demand,
        rereads: reread,
        durable: confirm,
        postponed: postpone,
        reader_gone: AtomicBool::new(false),
    };
    (feed, Outlet { demands, rereads, durable, postponed })
}

impl Feed {
    /// The next work; `None` when the reader has ended, whose own result says why.
    pub async fn next(&self) -> Option<Work> {
        let (answer, work) = oneshot::channel();
        self.demands.send(answer).await.ok()?;
        work.await.ok()
    }

    /// The next piece of an open transaction.
    pub async fn next_piece(&self) -> Result<Work> {
        self.next().await.ok_or_else(|| self.reader_gone())
    }

    /// Has rows read again.
    pub async fn reread(&self, wanted: Vec<Event>, transactions: Vec<Transaction>) -> Result<RereadRows> {
        let (answer, rows) = oneshot::channel();
        self.rereads.send(Reread { wanted, transactions, answer }).await.map_err(|_| self.reader_gone())?;
        rows.await.map_err(|_| self.reader_gone())
    }

    /// Tells the reader what may be confirmed to the source: it is durable in the target (I1).
    pub fn durable(&self, position: &Position) {
        self.durable.send_replace(position.clone());
    }

    /// Tells the reader which rows are postponed. It looks when it is told what is durable. `again`: it has read what it was told,
    /// so it must hear of the same rows once more.
    pub fn postponed(&self, postponed: &Postponed, again: bool) {
        self.postponed.send_if_modified(|told| {
            let changed = again || told != postponed;
            if changed {
                told.clone_from(postponed);
            }
            changed
        });
    }

    /// Whether an error of this feed is only a sign of the reader's.
    pub fn lost_reader(&self) -> bool {
        self.reader_gone.load(Relaxed)
    }

    /// Never seen outside: the session reports the reader's own error instead.
    fn reader_gone(&self) -> Error {
        self.reader_gone.store(true, Relaxed);
        Error::new(ErrorKind::Internal, "the reader ended in the middle of a transaction")
    }
}
