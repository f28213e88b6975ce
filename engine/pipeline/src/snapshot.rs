//! The one snapshot algorithm: first snapshot, resume, added table and resnapshot alike.
//!
//! Chunks of key ranges are read while the stream goes on. A chunk says by its [`Mark`](sluice_types::Mark) which transactions
//! its view has seen. The reader remembers the keys, deletes included, of what it lets through ([`Touched`]); when a chunk
//! lands, its rows that are touched by transactions it has *not* seen are dropped, for they are older than what the target has
//! or is about to get. The others are written.
//!
//! A chunk that has landed waits until the stream has passed its high mark: then its rows are what the source has where the line
//! stands, and no unique constraint of the target meets rows of two moments. A stream that lags does not hold it up for long
//! (`CHUNK_WAIT_MS` of the reader): transactions that the chunk has seen then come by later and are applied again, and after the
//! last chunk's high mark the target is right all the same.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use sluice_types::ports::{ChunkReader, ReadLimits, Source};
use sluice_types::{
    Change, Chunk, Error, ErrorKind, Event, Key, KeyRange, Mark, Position, RangeProgress, Result, Row,
    SnapshotProgress, TableId, TableSchema, Transaction,
};
use tokio::task::JoinSet;

use crate::spec::BatchLimits;
use crate::touched::Touched;

/// Rows of one chunk, at most. Its bytes are bounded by `batch.bytes`.
pub(crate) const CHUNK_ROWS_MAX: usize = 10_000;

/// What a chunk adds to the progress of the snapshot.
#[derive(Debug)]
pub(crate) struct ChunkDone {
    table: String,
    ranges: Arc<[KeyRange]>,
    estimate: Option<u64>,
    range: usize,
    rows: u64,
    cursor: Option<Key>,
    done: bool,
    high: Position,
    /// How far the stream had come when it was taken, if that was past its high mark: its rows are what the source has where the line
    /// stands.
    pub in_step: Option<Position>,
}

impl ChunkDone {
    /// Notes the chunk in what is about to be saved with its rows (I2).
    pub fn record(&self, progress: &mut SnapshotProgress) {
        let table = progress.tables.entry(self.table.clone()).or_default();
        if table.ranges.is_empty() {
            let fresh = |range: &KeyRange| RangeProgress { range: range.clone(), ..RangeProgress::default() };
            table.ranges = self.ranges.iter().map(fresh).collect();
            table.estimate = self.estimate;
        }
        table.rows += self.rows;
        if let Some(range) = table.ranges.get_mut(self.range) {
            range.cursor = self.cursor.clone().or(range.cursor.take());
            range.done = self.done;
        }
        raise(&mut progress.high, &self.high);
    }

    /// What the stream has to pass.
    pub fn high(&self) -> &Position {
        &self.high
    }
}

/// Moves the mark that the stream has to pass, never back.
pub(crate) fn raise(high: &mut Option<Position>, to: &Position) {
    if high.as_ref().is_none_or(|high| high < to) {
        *high = Some(to.clone());
    }
}

/// A chunk whose rows may be written now.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub events: Vec<Event>,
    pub done: ChunkDone,
    /// Rows that the stream has overtaken.
    pub overtaken: u64,
}

/// The tables that are being read.
pub(crate) struct Snapshot {
    tables: Vec<Table>,
    by_id: HashMap<TableId, u32>,
    queue: VecDeque<Job>,
    idle: Vec<Box<dyn ChunkReader>>,
    readers: usize,
    readers_max: usize,
    flying: JoinSet<Landed>,
    /// Chunks are numbered as they are launched.
    launched: u64,
    in_flight: BTreeSet<u64>,
    touched: Touched,
    /// The target's rows may be of different moments: views are still to be compared with what went through.
    unsettled: bool,
    /// Chunks that were thrown away and have not come again: until they have, the stream waits.
    thrown_away: usize,
    limits: ReadLimits,
}

struct Table {
    schema: Arc<TableSchema>,
    ranges: Arc<[KeyRange]>,
    estimate: Option<u64>,
    ranges_left: usize,
}

#[derive(Clone, Debug)]
struct Job {
    table: u32,
    task: Task,
    /// It was thrown away once.
    again: bool,
}

#[derive(Clone, Debug)]
enum Task {
    Divide,
    Read { range: usize, after: Option<Key> },
}

enum Found {
    Divided(Vec<KeyRange>, Option<u64>),
    Chunk(Chunk),
}

/// What a reader of chunks came back with.
pub(crate) struct Landed {
    reader: Box<dyn ChunkReader>,
    number: u64,
    job: Job,
    found: Result<Found>,
}

impl Landed {
    /// What the stream should have passed before this is taken; `None`: it makes no difference.
    pub fn high(&self) -> Option<&Position> {
        match &self.found {
            Ok(Found::Chunk(chunk)) => Some(&chunk.mark.high),
            _ => None,
        }
    }
}

impl Snapshot {
    /// What is left to do of `progress` for these tables, with so many readers at once.
    pub fn new(
        tables: &[Arc<TableSchema>],
        progress: &SnapshotProgress,
        readers_max: usize,
        batch: BatchLimits,
    ) -> Self {
        let mut snapshot = Snapshot {
            tables: vec![],
            by_id: HashMap::new(),
            queue: VecDeque::new(),
            idle: vec![],
            readers: 0,
            readers_max: readers_max.max(1),
            flying: JoinSet::new(),
            launched: 0,
            in_flight: BTreeSet::new(),
            touched: Touched::default(),
            unsettled: true,
            thrown_away: 0,
            limits: ReadLimits { rows: CHUNK_ROWS_MAX, bytes: batch.bytes.get() },
        };
        for schema in tables {
            match progress.tables.get(&schema.table.to_string()) {
                Some(done) if !done.is_done() => snapshot.add(schema, &done.ranges, done.estimate),
                _ => {}
            }
        }
        snapshot
    }

    fn add(&mut self, schema: &Arc<TableSchema>, ranges: &[RangeProgress], estimate: Option<u64>) {
        let table = self.tables.len() as u32;
        self.by_id.insert(schema.table.clone(), table);
        self.tables.push(Table {
            schema: schema.clone(),
            ranges: ranges.iter().map(|range| range.range.clone()).collect(),
            estimate,
            ranges_left: ranges.iter().filter(|range| !range.done).count(),
        });
        if ranges.is_empty() {
            self.queue.push_back(Job { table, task: Task::Divide, again: false });
        }
        for (range, progress) in ranges.iter().enumerate().filter(|(_, progress)| !progress.done) {
            let task = Task::Read { range, after: progress.cursor.clone() };
            self.queue.push_back(Job { table, task, again: false });
        }
    }

    /// Whether anything is left to be read.
    pub fn is_active(&self) -> bool {
        !self.queue.is_empty() || !self.in_flight.is_empty()
    }

    /// Whether the stream must not go on before a chunk has come.
    pub fn holds_stream(&self) -> bool {
        self.is_active() && (self.thrown_away > 0 || self.touched.is_full())
    }

    /// Remembers what goes through in the stream, as long as chunks may have missed it.
    pub fn pass(&mut self, transactions: &[Transaction], events: &[Event]) {
        if !self.compares() {
            return;
        }
        let mut events = events.iter().peekable();
        for (number, transaction) in transactions.iter().enumerate() {
            self.touched.pass(transaction);
            while let Some(event) = events.next_if(|event| event.transaction as usize == number) {
                let Some(&table) = self.by_id.get(&event.source.table) else { continue };
                if matches!(event.change, Change::Truncate) {
                    self.touched.emptied(table);
                }
                let (before, after) = event.source_keys();
                before.into_iter().chain(after).for_each(|key| self.touched.key(table, key));
            }
        }
    }

    /// Whether it remembers what goes through.
    pub fn compares(&self) -> bool {
        self.is_active() || self.unsettled
    }

    /// Rows are about to come that are newer than the stream.
    pub fn unsettle(&mut self) {
        self.unsettled = true;
    }

    /// The target is consistent: nothing is to be compared any more.
    pub fn settle(&mut self) {
        self.unsettled = false;
        self.touched.clear();
    }

    /// The transactions that went through and that a view need not have seen yet.
    pub fn unseen(&self) -> Vec<Transaction> {
        self.touched.transactions()
    }

    /// A view has seen what this mark sees.
    pub fn seen(&mut self, mark: &Mark) {
        self.touched.seen(mark, self.launched, self.in_flight.first().copied());
    }

    /// Sets free readers to work.
    pub async fn launch(&mut self, source: &mut dyn Source) -> Result<()> {
        while !self.queue.is_empty() && (!self.idle.is_empty() || self.readers < self.readers_max) {
            let mut reader = match self.idle.pop() {
                Some(reader) => reader,
                None => {
                    self.readers += 1;
                    source.chunks().await?
                }
            };
            let Some(job) = self.queue.pop_front() else { break };
            let Some(table) = self.tables.get(job.table as usize) else { continue };
            let (schema, limits, parts) = (table.schema.clone(), self.limits, self.readers_max);
            let range = range_of(table, &job.task);
            let number = self.launched;
            self.launched += 1;
            self.in_flight.insert(number);
            self.flying.spawn(async move {
                let found = match range {
                    None => {
                        reader.divide(&schema, parts).await.map(|(ranges, rows)| Found::Divided(ranges, rows))
                    }
                    Some(range) => reader.read(&schema, &range, &limits).await.map(Found::Chunk),
                };
                let found = found.map_err(|error| error.at_table(&schema.table));
                Landed { reader, number, job, found }
            });
        }
        Ok(())
    }

    /// Waits for a reader. Cancel safe; waits for ever when none is out.
    pub async fn landed(&mut self) -> Result<Landed> {
        match self.flying.join_next().await {
            Some(Ok(landed)) => Ok(landed),
            Some(Err(cause)) => {
                Err(Error::new(ErrorKind::Internal, "a reader of chunks broke down").because(cause))
            }
            None => std::future::pending().await,
        }
    }

    /// Takes what a reader brought: the rows to be written, if it is a chunk and can be used.
    pub fn accept(&mut self, landed: Landed) -> Result<Option<Accepted>> {
        let Landed { reader, number, mut job, found } = landed;
        self.idle.push(reader);
        self.in_flight.remove(&number);
        match (found?, job.task.clone()) {
            (Found::Divided(ranges, estimate), _) => {
                self.divided(job.table, ranges, estimate);
                Ok(None)
            }
            (Found::Chunk(chunk), Task::Read { range, .. }) => {
                let unusable = self.touched.unseen(job.table, &chunk.mark).unknown;
                if unusable {
                    self.thrown_away += usize::from(!job.again);
                    job.again = true;
                    self.queue.push_front(job);
                    return Ok(None);
                }
                self.thrown_away -= usize::from(job.again);
                Ok(self.rows(job.table, range, chunk))
            }
            (Found::Chunk(_), Task::Divide) => Ok(None),
        }
    }

    fn divided(&mut self, index: u32, ranges: Vec<KeyRange>, estimate: Option<u64>) {
        let Some(table) = self.tables.get_mut(index as usize) else { return };
        table.ranges = if ranges.is_empty() { [KeyRange::default()].into() } else { ranges.into() };
        table.estimate = estimate;
        table.ranges_left = table.ranges.len();
        for range in (0..table.ranges.len()).rev() {
            let task = Task::Read { range, after: None };
            self.queue.push_front(Job { table: index, task, again: false });
        }
    }

    fn rows(&mut self, index: u32, range: usize, chunk: Chunk) -> Option<Accepted> {
        let table = self.tables.get_mut(index as usize)?;
        let read = chunk.rows.len() as u64;
        // Both outlive the chunk: the one waits in the queue, the other in the checkpoint.
        let next = chunk.next.map(Key::detached);
        let cursor =
            next.clone().or_else(|| chunk.rows.last().map(|row| table.schema.key_of(row).detached()));
        let unseen = self.touched.unseen(index, &chunk.mark);
        let overtaken = |row: &Row| !unseen.is_empty() && unseen.covers(&table.schema.key_of(row));
        let current = chunk.rows.into_iter().filter(|row| !overtaken(row));
        let event = |(number, row)| Event::new(table.schema.clone(), Change::Snapshot(row), 0, number as u64);
        let events: Vec<Event> = current.enumerate().map(event).collect();
        let last = next.is_none();
        match next {
            // The same range first: keys then come in order, which is what a target takes fastest.
            Some(next) => {
                let task = Task::Read { range, after: Some(next) };
                self.queue.push_front(Job { table: index, task, again: false });
            }
            None => table.ranges_left = table.ranges_left.saturating_sub(1),
        }
        let done = ChunkDone {
            table: table.schema.table.to_string(),
            ranges: table.ranges.clone(),
            estimate: table.estimate,
            range,
            rows: read,
            cursor,
            done: last,
            high: chunk.mark.high.clone(),
            in_step: None,
        };
        if table.ranges_left == 0 {
            self.by_id.remove(&table.schema.table);
        }
        self.seen(&chunk.mark);
        let overtaken = read - events.len() as u64;
        Some(Accepted { events, done, overtaken })
    }
}

/// The range that a task reads; `None`: it divides.
fn range_of(table: &Table, task: &Task) -> Option<KeyRange> {
    let Task::Read { range, after } = task else { return None };
    let whole = table.ranges.get(*range).cloned().unwrap_or_default();
    Some(KeyRange { after: after.clone().or(whole.after), upto: whole.upto })
}
