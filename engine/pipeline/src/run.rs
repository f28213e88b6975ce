//! The straight line: one batch, one function.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use sluice_types::ports::{Sink, SinkTx};
use sluice_types::{Checkpoint, DeadLetter, Disposition, Error, ErrorKind, Key, Position, Result, TableId};
use tokio::sync::watch;

use crate::conflict;
use crate::feed::{Feed, Passage, Work};
use crate::handle::Shared;
use crate::large::{Large, Next};
use crate::line::Ports;
use crate::pace::Pace;
use crate::poison::Writer;
use crate::postponed;
use crate::session::{Context, Outcome};
use crate::spec::{LineSpec, SnapshotMode};
use crate::supervisor::{backoff_ms, told};

/// A line that is open: what was read goes through here to the target.
pub(crate) struct Run {
    spec: Arc<LineSpec>,
    ports: Ports,
    shared: Arc<Shared>,
    sink: Box<dyn Sink>,
    feed: Feed,
    writer: Writer,
    large: Large,
    pace: Arc<Pace>,
    /// How often a transaction whose pieces were all written has broken a constraint as a whole, one after the other.
    unsettled: Arc<AtomicU32>,
    /// What was read with the last batch and goes into the next.
    carried: Option<Work>,
    /// Where the line ends by itself.
    head: Option<Position>,
    /// What the target holds, or will hold with the next commit. After an error it is read anew.
    pub checkpoint: Checkpoint,
}

impl Run {
    pub fn new(
        context: &Context,
        sink: Box<dyn Sink>,
        feed: Feed,
        writer: Writer,
        checkpoint: Checkpoint,
        head: Option<Position>,
        in_parts: bool,
    ) -> Self {
        Run {
            spec: context.spec.clone(),
            ports: context.ports.clone(),
            shared: context.shared.clone(),
            sink,
            feed,
            writer,
            large: Large::new(context.spec.large_transactions, in_parts, context.pace.clone()),
            pace: context.pace.clone(),
            unsettled: context.unsettled.clone(),
            carried: None,
            head,
            checkpoint,
        }
    }

    /// Applies batch after batch. `None`: the reader has ended.
    pub async fn run(&mut self, mut drain: watch::Receiver<bool>) -> Result<Option<Outcome>> {
        loop {
            if self.is_done() {
                return Ok(Some(Outcome::Done));
            }
            let work = tokio::select! {
                biased;
                () = told(&mut drain) => return Ok(Some(Outcome::Drained)),
                work = next(&mut self.carried, &self.feed) => work,
            };
            match work {
                Some(work) => self.apply(work).await.map_err(|error| self.paced(error))?,
                None => return Ok(None),
            }
        }
    }

    /// Whether an error of [`Run::run`] is only a sign of the reader's.
    pub fn lost_reader(&self) -> bool {
        self.feed.lost_reader()
    }

    fn is_done(&self) -> bool {
        let Checkpoint { position, part, snapshot, .. } = &self.checkpoint;
        let reached = match self.spec.snapshot {
            SnapshotMode::Only => true,
            _ => *part == 0 && self.head.as_ref().is_some_and(|head| head <= position),
        };
        reached && snapshot.is_ready(position)
    }

    /// What the target did not take is tried again from the checkpoint, with less in each transaction.
    fn paced(&self, error: Error) -> Error {
        let too_large = error.kind() == ErrorKind::TransactionTooLarge;
        if too_large && !self.large.goes_in_parts() || !self.pace.failed(error.kind()) {
            return error;
        }
        tracing::info!(pipeline = %self.spec.pipeline, "less goes into a transaction of the target for now");
        if too_large {
            let what = "the target can't hold what one transaction was to write";
            return Error::new(ErrorKind::Busy, what).because(error);
        }
        error
    }

    /// One batch; again after a pause when an event fails in a way that may heal.
    async fn apply(&mut self, mut work: Work) -> Result<()> {
        if !work.prepare.is_empty() {
            self.sink.prepare(&work.prepare).await?;
        }
        for attempt in 0.. {
            let mut patient = attempt < self.spec.on_error.retries;
            match self.batch(&mut work, &mut patient).await {
                Err(error) if patient && error.kind().heals_by_others() => {
                    tracing::warn!(pipeline = %self.spec.pipeline, %error, attempt, "tried again");
                    self.ports.clock.sleep_ms(backoff_ms(&self.spec.on_error, attempt)).await;
                }
                done => return done,
            }
        }
        Ok(())
    }

    /// One batch: one transaction of the target, whole transactions of the source (or a part of one that is too large).
    ///
    /// `patient` is taken away once `work` is no longer all that the transaction holds: then only a restart from the checkpoint
    /// brings everything again.
    async fn batch(&mut self, work: &mut Work, patient: &mut bool) -> Result<()> {
        let started = work.read_micros;
        let (mut rows, mut bytes) = (0, 0);
        let mut tx = self.sink.begin().await?;
        // The transaction that the last piece left open has its constraints put off; one has had them, in this batch.
        let (mut in_pieces, mut any_in_pieces) = (false, false);
        let gathers = self.pace.batch(self.spec.batch).bytes.get() as u64;
        loop {
            // The next transaction that does not come in one piece waits for another batch: one after the other they would keep
            // the target's transaction open for ever.
            if bytes + work.weight as u64 >= gathers {
                self.carried = work.split_open().or(self.carried.take());
            }
            // While the target's rows are of different moments, what meets a constraint is read again later, event by event.
            let settled = self.checkpoint.snapshot.is_settled(&self.checkpoint.position);
            // What is whole is looked at by itself, for its events can still be told apart.
            let behind = match in_pieces {
                true => work.split_ended(),
                false if settled => work.split_open(),
                false => None,
            };
            if settled && work.is_open() {
                tx.put_off();
                (in_pieces, any_in_pieces) = (true, true);
            }
            let written = self.writer.write(&mut *tx, work, &self.feed, &self.checkpoint, *patient).await;
            let (written, behind) = match (written, behind) {
                (Ok(written), behind) => (written, behind),
                (Err(error), behind) => {
                    // It may be tried again, then all of it.
                    behind.into_iter().for_each(|behind| work.merge(behind));
                    return Err(error);
                }
            };
            // Written events have been taken out of the work, and the checkpoint is about to move on.
            *patient = false;
            rows += written.rows;
            bytes += work.weight as u64;
            // I3: a dead letter is durable before the checkpoint passes its event.
            keep(written.letters, &self.ports, &self.shared, &self.spec).await?;
            // Before the commit that does what was decided.
            conflict::record(&self.spec.pipeline, written.conflicts, &*self.ports.state, &self.shared)
                .await?;
            pass(&mut self.checkpoint, work, written.high, written.postponed)?;
            if in_pieces && !work.is_open() {
                let retries = self.spec.on_error.retries;
                tx.settle().await.map_err(|error| broken_as_a_whole(error, &self.unsettled, retries))?;
                in_pieces = false;
            }
            match (self.large.next(work)?, behind) {
                (Next::Commit, None) => break,
                (Next::Commit, Some(behind)) => *work = behind,
                (Next::CommitPart { part }, _) if !in_pieces || holds(&mut *tx).await? => {
                    self.checkpoint.advance_part(part)?;
                    let first = self.large.parted();
                    self.shared.stats.transactions_in_parts.fetch_add(u64::from(first), Relaxed);
                    break;
                }
                (Next::CommitPart { .. }, _) => {
                    if self.large.stretch() {
                        let pipeline = &self.spec.pipeline;
                        tracing::info!(%pipeline, "a part of a transaction waits for what a deferred constraint asks for");
                    }
                    *work = self.feed.next_piece().await?;
                }
                // I4: the target's transaction stays open until the source's has come whole.
                (Next::Piece, _) => *work = self.feed.next_piece().await?,
            }
        }
        let epoch = self.checkpoint.epoch;
        tx.save(&self.checkpoint, Some(epoch)).await?; // I2: data and checkpoint in one transaction.
        tx.commit().await?;
        self.pace.committed();
        if any_in_pieces {
            self.unsettled.store(0, Relaxed);
        }
        let again = matches!(work.passage, Passage::Postponed(_));
        self.feed.postponed(&self.checkpoint.snapshot.postponed, again);
        self.feed.durable(&self.checkpoint.position); // I1: confirmed only now.
        self.count(rows, bytes, started);
        Ok(())
    }

    fn count(&self, rows: u64, bytes: u64, started: i64) {
        let (stats, now) = (&self.shared.stats, self.ports.clock.now_micros());
        stats.rows_written.fetch_add(rows, Relaxed);
        stats.bytes_written.fetch_add(bytes, Relaxed);
        stats.batches.fetch_add(1, Relaxed);
        stats.batch_micros.fetch_add((now - started).max(0) as u64, Relaxed);
        stats.last_commit_micros.store(now, Relaxed);
        self.shared.show_checkpoint(&self.checkpoint);
    }
}

/// Keeps dead letters.
async fn keep(letters: Vec<DeadLetter>, ports: &Ports, shared: &Shared, spec: &LineSpec) -> Result<()> {
    if letters.is_empty() {
        return Ok(());
    }
    let rejected = letters.len() as u64;
    ports.state.keep_dead_letters(letters).await?;
    shared.stats.events_rejected.fetch_add(rejected, Relaxed);
    let kept = ports.state.count_dead_letters(&spec.pipeline).await?;
    shared.status().dead_letters = kept;
    Ok(())
}

/// The next piece of work, if what was carried over is not that.
async fn next(carried: &mut Option<Work>, feed: &Feed) -> Option<Work> {
    match carried.take() {
        Some(work) => Some(work),
        None => feed.next().await,
    }
}

/// Moves the checkpoint past a piece of work (I6). What it passes is in the open transaction, a durable dead letter, or postponed
/// by the checkpoint itself.
fn pass(
    checkpoint: &mut Checkpoint,
    work: &Work,
    high: Option<Position>,
    postponed: Vec<(TableId, Key)>,
) -> Result<()> {
    match &work.passage {
        Passage::Stream { end: Some(end), .. } => checkpoint.advance(end)?,
        Passage::Stream { end: None, .. } => {}
        Passage::Chunk(done) => done.record(&mut checkpoint.snapshot),
        Passage::Postponed(done) => done.record(&mut checkpoint.snapshot),
    }
    postponed::add(&mut checkpoint.snapshot.postponed, postponed);
    if let Some(high) = high {
        crate::snapshot::raise(&mut checkpoint.snapshot.high, &high);
    }
    if checkpoint.plugins != *work.versions {
        checkpoint.plugins = (*work.versions).clone();
    }
    Ok(())
}

/// Whether what was put off holds in the middle of a transaction, so that a part of it can be committed. If not, it stays put off.
async fn holds(tx: &mut dyn SinkTx) -> Result<bool> {
    tx.savepoint().await?;
    match tx.settle().await {
        Ok(()) => Ok(true),
        Err(error) if error.disposition() == Disposition::DeadLetter => {
            tx.rollback_to_savepoint().await?;
            tx.put_off();
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A transaction in pieces breaks a constraint that the target puts off to its end. Other writers may heal that, so it is tried again as
/// often as an event is. Then somebody is needed: which of its events is to blame can't be told any more, and to look at each piece by
/// itself would blame all whose other half comes later.
fn broken_as_a_whole(error: Error, unsettled: &AtomicU32, retries: u32) -> Error {
    if error.disposition() != Disposition::DeadLetter {
        return error;
    }
    let what = "a large transaction as a whole breaks a constraint of the target";
    if unsettled.fetch_add(1, Relaxed) < retries {
        return Error::new(ErrorKind::Unsettled, what).because(error);
    }
    unsettled.store(0, Relaxed);
    let place = error.place().clone();
    Error::new(error.kind(), what)
        .because(error)
        .at(|to| *to = place)
        .remedy("Put right at the target what the constraint asks for (a row that is missing, say), then `sluice resume`")
}
