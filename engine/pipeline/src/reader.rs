//! The reader: takes from the source, routes, transforms, and has the next piece of work ready when the line asks for it.
//!
//! It owns everything that touches the source and the plugins, in one loop that never waits for one thing alone.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sluice_types::ports::{Clock, Read, ReadLimits, Source, TargetTable, Transform};
use sluice_types::{Batch, Checkpoint, Error, Event, Position, Result, Transaction};
use tokio::sync::{OwnedMutexGuard, oneshot};

use crate::chain::{self, Applied};
use crate::feed::{OpenPiece, Outlet, Passage, Reread, Unstable, Versions, Work};
use crate::handle::Shared;
use crate::pace::Pace;
use crate::postponed::Postponed;
use crate::route::Router;
use crate::snapshot::{Landed, Snapshot, raise};
use crate::spec::{BatchLimits, LineSpec};

/// How often lag is measured and idle plugins are looked after, in milliseconds.
const TICK_MS: u64 = 1_000;

/// Idle progress is saved at most this often once the target is consistent, in milliseconds.
const PROGRESS_MS: u64 = 10_000;

/// After a chunk of a snapshot the stream has this long to bring something before the next chunk is taken, in milliseconds.
const STREAM_TURN_MS: u64 = 5;

/// A chunk that has landed waits so long for a stream that lags, in milliseconds; see [`crate::snapshot`].
const CHUNK_WAIT_MS: u64 = 200;

/// The pause between two looks whether chunks may be read, in milliseconds; see [`Source::settled`].
const SETTLE_PAUSE_MS: u64 = 20;

/// A line's transforms, held for the time of one session.
pub(crate) type HeldTransform = OwnedMutexGuard<Box<dyn Transform>>;

pub(crate) struct Reader {
    pub spec: Arc<LineSpec>,
    pub clock: Arc<dyn Clock>,
    pub shared: Arc<Shared>,
    pub pace: Arc<Pace>,
    pub source: Box<dyn Source>,
    pub transform: HeldTransform,
    pub router: Router,
    pub snapshot: Snapshot,
    pub outlet: Outlet,
    /// The line ends when it reaches a head: progress must not wait.
    pub until_head: bool,
    pub state: ReaderState,
}

/// Where the reader is.
pub(crate) struct ReaderState {
    /// The line waits for work.
    demand: Option<oneshot::Sender<Work>>,
    /// What it will get.
    pub pending: Option<Work>,
    /// The source said so, or the last read was as full as it may be: there is more.
    backlog: bool,
    /// The last transaction let through goes on.
    pub open: bool,
    /// Everything up to here has been let through.
    pub delivered: Position,
    /// The stream has to pass this before the target's rows are of one moment.
    pub high: Option<Position>,
    /// Rows that wait for that.
    pub postponed: Postponed,
    /// Idle progress that waits for its time.
    progress: Option<Position>,
    progress_micros: i64,
    confirmed: Option<Position>,
    /// Until when the stream goes before the next chunk.
    stream_turn_micros: i64,
    /// A chunk that waits for the stream to pass its high mark, and until when.
    pub landed: Option<(Landed, i64)>,
    tick_micros: i64,
    /// Every view sees what an earlier session has applied; when that is looked at next.
    settled: bool,
    settle_micros: i64,
    /// Target tables that a swapped plugin needs.
    prepare: Vec<TargetTable>,
    versions: Versions,
    unstable: Unstable,
    /// Given after what was read before it.
    failed: Option<Error>,
}

impl ReaderState {
    /// A reader that starts where the checkpoint stands, whose chain runs these versions.
    pub fn new(checkpoint: &Checkpoint, versions: Versions, unstable: Unstable) -> Self {
        ReaderState {
            demand: None,
            pending: None,
            backlog: false,
            open: false,
            delivered: checkpoint.position.clone(),
            high: checkpoint.snapshot.high.clone(),
            postponed: Postponed::new(),
            progress: None,
            progress_micros: 0,
            confirmed: None,
            stream_turn_micros: 0,
            landed: None,
            tick_micros: 0,
            settled: false,
            settle_micros: 0,
            prepare: vec![],
            versions,
            unstable,
            failed: None,
        }
    }
}

/// What the reader waited for.
enum Wake {
    /// The line wants work; `None`: the line has ended.
    Demand(Option<oneshot::Sender<Work>>),
    Reread(Reread),
    Durable,
    Landed(Result<Landed>),
    Read(Result<Read>),
    Tick,
}

impl Reader {
    /// Reads until the line ends.
    pub async fn run(mut self) -> Result<()> {
        self.confirm().await?;
        loop {
            self.take_chunk().await?;
            self.take_postponed().await?;
            self.make_progress();
            self.hand_over();
            if self.state.pending.is_none()
                && let Some(error) = self.state.failed.take()
            {
                return Err(error);
            }
            if self.settled().await? {
                self.snapshot.launch(&mut *self.source).await?;
            }
            match self.wait().await {
                Wake::Demand(Some(demand)) => self.state.demand = Some(demand),
                Wake::Demand(None) => return self.confirm().await,
                Wake::Reread(reread) => self.reread(reread).await?,
                Wake::Durable => self.confirm().await?,
                Wake::Landed(landed) => self.landed(landed?),
                // What was read before an error is still applied.
                Wake::Read(Ok(read)) => self.state.failed = self.stream(read).await.err(),
                Wake::Read(Err(error)) => self.state.failed = Some(error),
                Wake::Tick => self.tick().await?,
            }
        }
    }

    /// Whether chunks may be read: not before every view sees what an earlier session has applied. The stream goes on meanwhile.
    async fn settled(&mut self) -> Result<bool> {
        let now = self.clock.now_micros();
        if !self.state.settled && self.snapshot.is_active() && now >= self.state.settle_micros {
            self.state.settle_micros = now + SETTLE_PAUSE_MS as i64 * 1000;
            self.state.settled = self.source.settled().await?;
        }
        Ok(self.state.settled)
    }

    async fn wait(&mut self) -> Wake {
        let now = self.clock.now_micros();
        let until = self.next_timer(now);
        let limits = self.limits();
        let reads = self.may_read();
        let chunks = self.state.landed.is_none();
        tokio::select! {
            biased;
            demand = self.outlet.demands.recv() => Wake::Demand(demand),
            Some(reread) = self.outlet.rereads.recv() => Wake::Reread(reread),
            Ok(()) = self.outlet.durable.changed() => Wake::Durable,
            landed = self.snapshot.landed(), if chunks => Wake::Landed(landed),
            read = self.source.next(&limits), if reads => Wake::Read(read),
            () = self.clock.sleep_ms(until) => Wake::Tick,
        }
    }

    /// How much one read may bring. A transaction above the limit of `large_transactions` always comes in pieces.
    fn limits(&self) -> ReadLimits {
        let large = &self.spec.large_transactions;
        let BatchLimits { rows, bytes, .. } = self.pace.batch(self.spec.batch);
        let (rows, bytes) = (rows.get(), bytes.get());
        ReadLimits {
            rows: rows.min(usize::try_from(large.rows).unwrap_or(usize::MAX)).max(1),
            bytes: bytes.min(usize::try_from(large.bytes).unwrap_or(usize::MAX)).max(1),
        }
    }

    fn may_read(&self) -> bool {
        let room = match &self.state.pending {
            None => true,
            Some(work) => self.may_grow(work),
        };
        // A transaction that is open goes on in any case: no chunk is taken before it has come whole.
        room && self.state.failed.is_none() && (self.state.open || !self.snapshot.holds_stream())
    }

    fn may_grow(&self, work: &Work) -> bool {
        let stream = matches!(work.passage, Passage::Stream { open: None, .. });
        stream && work.weight < self.pace.batch(self.spec.batch).bytes.get() && work.poison == 0
    }

    /// Whether it pays to let the line wait a little for a fuller batch: only when the source has more at hand.
    fn gathers(&self, work: &Work, now: i64) -> bool {
        let age_ms = (now - work.read_micros).max(0) as u64 / 1000;
        self.state.backlog && self.may_grow(work) && self.may_read() && age_ms < self.spec.batch.age_ms
    }

    fn hand_over(&mut self) {
        let Some(work) = self.state.pending.take() else { return };
        let Some(demand) = self.state.demand.take() else {
            self.state.pending = Some(work);
            return;
        };
        let now = self.clock.now_micros();
        if self.gathers(&work, now) {
            (self.state.pending, self.state.demand) = (Some(work), Some(demand));
            return;
        }
        if matches!(work.passage, Passage::Chunk(_)) {
            self.state.stream_turn_micros = now + STREAM_TURN_MS as i64 * 1000;
        }
        // A line that has gone meanwhile reads this again from its checkpoint.
        drop(demand.send(work));
    }

    /// Milliseconds until the next thing that has its time; at least one.
    fn next_timer(&self, now: i64) -> u64 {
        let mut at = self.state.tick_micros.max(now);
        if !self.state.settled && self.snapshot.is_active() {
            at = at.min(self.state.settle_micros);
        }
        if self.state.stream_turn_micros > now {
            at = at.min(self.state.stream_turn_micros);
        }
        // Neither is taken before an open transaction has come whole: it is the reading that brings them on then, and no timer.
        if self.state.pending.is_none() && !self.state.open {
            if let Some((_, until)) = &self.state.landed {
                at = at.min(*until);
            }
            if self.state.progress.is_some() {
                at = at.min(self.state.progress_micros);
            }
        }
        if let (Some(work), Some(_)) = (&self.state.pending, &self.state.demand) {
            at = at.min(work.read_micros + self.spec.batch.age_ms as i64 * 1000);
        }
        ((at - now).max(0) as u64).div_ceil(1000).max(1)
    }

    async fn stream(&mut self, read: Read) -> Result<()> {
        self.state.stream_turn_micros = 0;
        match read {
            Read::Progress(to) => {
                self.state.backlog = false;
                if to > self.state.delivered {
                    self.state.progress = Some(to);
                }
                Ok(())
            }
            Read::Batch(batch) => {
                self.take_over().await?;
                let work = self.prepare(batch).await?;
                self.state.open = work.is_open();
                match &mut self.state.pending {
                    Some(pending) => pending.merge(work),
                    None => self.state.pending = Some(work),
                }
                Ok(())
            }
        }
    }

    /// Routes and transforms what was read.
    async fn prepare(&mut self, batch: Batch) -> Result<Work> {
        if let Some(end) = batch.end() {
            self.state.delivered = end.clone();
            // What comes now is later than the idle progress before it.
            self.state.progress = None;
        }
        let passage = Passage::Stream { end: batch.end().cloned(), open: open_piece(&batch) };
        let weight = batch.weight();
        let limits = self.limits();
        self.state.backlog = batch.behind || batch.events.len() >= limits.rows || weight >= limits.bytes;
        self.count_read(batch.events.len(), weight);
        let mut events = batch.events;
        self.drop_older(&mut events, &batch.transactions);
        self.route(&mut events)?;
        self.snapshot.pass(&batch.transactions, &events);
        let applied = self.transform(events).await?;
        Ok(self.work(applied, batch.transactions, passage, weight))
    }

    fn landed(&mut self, landed: Landed) {
        // Where rows are compared they must be of one moment, however long that takes.
        let until = match self.compares() {
            true => i64::MAX,
            false => self.clock.now_micros() + CHUNK_WAIT_MS as i64 * 1000,
        };
        self.state.landed = Some((landed, until));
    }

    /// Whether rows of the target are compared before they are written over.
    fn compares(&self) -> bool {
        self.spec.tables.iter().any(|table| table.conflict.is_some())
    }

    /// Takes the chunk that has landed, if it is its turn and the stream has passed its high mark, or it has waited long enough.
    async fn take_chunk(&mut self) -> Result<()> {
        let Some((landed, until)) = &self.state.landed else { return Ok(()) };
        let now = self.clock.now_micros();
        let stream = self.state.progress.as_ref().unwrap_or(&self.state.delivered).clone();
        // Rows that were read again are newer than the stream, too; but only those who compare rows mind.
        let newer = self.state.high.as_ref().filter(|_| self.compares());
        let passed = landed.high().into_iter().chain(newer).all(|high| *high <= stream);
        let due = passed || now >= *until || self.snapshot.holds_stream();
        if !due || self.state.pending.is_some() || self.state.open || now < self.state.stream_turn_micros {
            return Ok(());
        }
        self.take_over().await?;
        let Some((landed, _)) = self.state.landed.take() else { return Ok(()) };
        let Some(mut accepted) = self.snapshot.accept(landed)? else { return Ok(()) };
        accepted.done.in_step = passed.then_some(stream);
        raise(&mut self.state.high, accepted.done.high());
        let mut events = accepted.events;
        let weight = events.iter().map(|event| event.change.weight()).sum();
        self.count_read(events.len(), weight);
        self.shared.stats.events_skipped.fetch_add(accepted.overtaken, Relaxed);
        self.route(&mut events)?;
        let applied = self.transform(events).await?;
        self.state.pending = Some(self.work(applied, vec![], Passage::Chunk(accepted.done), weight));
        Ok(())
    }

    /// Drops what rows that were read anew have seen.
    fn drop_older(&mut self, events: &mut Vec<Event>, transactions: &[Transaction]) {
        if !self.router.skips_older() {
            return;
        }
        let before = events.len();
        events.retain(|event| {
            let transaction = transactions.get(event.transaction as usize);
            !transaction.is_some_and(|it| self.router.is_older(&event.table.table, &it.position))
        });
        self.shared.stats.events_skipped.fetch_add((before - events.len()) as u64, Relaxed);
    }

    pub(crate) fn route(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let mut failed = None;
        let before = events.len();
        events.retain_mut(|event| {
            self.router.route(event).unwrap_or_else(|error| {
                failed.get_or_insert(error);
                false
            })
        });
        self.shared.stats.events_skipped.fetch_add((before - events.len()) as u64, Relaxed);
        failed.map_or(Ok(()), Err)
    }

    pub(crate) async fn transform(&mut self, events: Vec<Event>) -> Result<Applied> {
        if !self.router.is_active() || events.is_empty() {
            return Ok(Applied { events, ..Applied::default() });
        }
        let rows = self.spec.batch.rows.get();
        let stats = self.shared.stats.clone();
        let applied = chain::apply(&mut **self.transform, events, rows, &*self.clock, &stats).await?;
        Ok(applied)
    }

    pub(crate) fn work(
        &mut self,
        applied: Applied,
        transactions: Vec<Transaction>,
        passage: Passage,
        weight: usize,
    ) -> Work {
        Work {
            events: applied.events,
            refused: applied.refused,
            poison: applied.poison,
            transactions,
            passage,
            prepare: std::mem::take(&mut self.state.prepare),
            versions: self.state.versions.clone(),
            unstable: self.state.unstable.clone(),
            weight,
            read_micros: self.clock.now_micros(),
        }
    }

    /// Lets swapped plugins take over, between batches only (I8).
    async fn take_over(&mut self) -> Result<()> {
        if self.state.pending.is_some() || self.state.open {
            return Ok(());
        }
        let started = self.clock.now_micros();
        if !self.transform.take_over().await? {
            return Ok(());
        }
        let before = self.router.targets();
        let mut targets = self.router.open(&mut **self.transform).await?;
        targets.retain(|target| !before.contains(target));
        self.state.prepare.extend(targets);
        self.state.versions = Arc::new(self.transform.versions());
        self.state.unstable = self.router.unstable();
        let stats = &self.shared.stats;
        stats.swaps.fetch_add(1, Relaxed);
        let pause = (self.clock.now_micros() - started).max(0) as u64;
        stats.swap_pause_micros_max.fetch_max(pause, Relaxed);
        self.shared.show_versions(&self.state.versions);
        Ok(())
    }

    /// Turns idle progress into work when its time has come: at once while somebody waits for the target to be consistent.
    fn make_progress(&mut self) {
        if self.state.pending.is_some() || self.state.progress.is_none() || self.state.open {
            return;
        }
        let now = self.clock.now_micros();
        let eager = self.until_head || !self.shared.status().ready;
        if !eager && now < self.state.progress_micros {
            return;
        }
        self.state.progress_micros = now + PROGRESS_MS as i64 * 1000;
        self.state.progress = self.state.progress.take().filter(|to| *to > self.state.delivered);
        let Some(to) = self.state.progress.take() else { return };
        self.state.delivered = to.clone();
        let passage = Passage::Stream { end: Some(to), open: None };
        self.state.pending = Some(self.work(Applied::default(), vec![], passage, 0));
    }

    /// Tells the source what it may forget (I1: the line says only what is durable).
    async fn confirm(&mut self) -> Result<()> {
        let durable = self.outlet.durable.borrow_and_update().clone();
        if self.state.confirmed.as_ref() != Some(&durable) {
            self.source.confirm(&durable).await?;
            self.state.confirmed = Some(durable);
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<()> {
        let now = self.clock.now_micros();
        if now < self.state.tick_micros {
            return Ok(());
        }
        self.state.tick_micros = now + TICK_MS as i64 * 1000;
        self.take_over().await?;
        self.settle().await?;
        let durable = self.outlet.durable.borrow().clone();
        let lag = self.source.lag(&durable).await?;
        self.shared.show_lag(&lag, now);
        Ok(())
    }

    pub(crate) fn count_read(&self, events: usize, bytes: usize) {
        self.shared.stats.events_read.fetch_add(events as u64, Relaxed);
        self.shared.stats.bytes_read.fetch_add(bytes as u64, Relaxed);
    }
}

/// The piece of a transaction that is at the end of a batch and goes on.
fn open_piece(batch: &Batch) -> Option<OpenPiece> {
    if !batch.open {
        return None;
    }
    let number = batch.transactions.len().saturating_sub(1);
    let events = || batch.events.iter().filter(|event| event.transaction as usize == number);
    Some(OpenPiece {
        part: batch.events.last().map_or(0, |event| event.index + 1),
        rows: events().count() as u64,
        bytes: events().map(|event| event.change.weight() as u64).sum(),
    })
}
