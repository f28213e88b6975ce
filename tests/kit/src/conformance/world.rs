//! What the cases share: a database, a line's context, and short words for what is done to them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sluice_types::ports::{
    Endpoint, LineContext, Read, ReadLimits, Sink, Source, SpillRoom, StreamStart, TargetTable,
};
use sluice_types::{
    Change, Checkpoint, Chunk, ColumnType, Event, KeyRange, PipelineId, Position, Row, SnapshotProgress,
    TableId, TableSchema, Transaction, Value,
};

use super::Harness;
use crate::clock::TestClock;
use crate::statement::{Statement, TableDef, fields};

/// No case may take longer.
const CASE_SECS: u64 = 60;
/// What is there must come within.
const READ_SECS: u64 = 20;

/// Small enough that a few dozen rows need several reads.
pub(super) const SMALL: ReadLimits = ReadLimits { rows: 16, bytes: 1 << 20 };
/// Large enough for everything.
pub(super) const LARGE: ReadLimits = ReadLimits { rows: 100_000, bytes: 1 << 30 };

/// Runs one case on a runtime of its own, with real time.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(CASE_SECS), case).await });
    assert!(ended.is_ok(), "the case did not end within {CASE_SECS} s");
}

/// A database under test with the table `t`.
pub(super) struct World<H> {
    pub harness: Arc<H>,
    pub table: TableId,
    pub context: LineContext,
    _spill: tempfile::TempDir,
}

/// A source that streams, and what it streams.
pub(super) struct Streaming {
    pub source: Box<dyn Source>,
    pub schemas: Vec<Arc<TableSchema>>,
    pub start: Position,
}

/// The table of most cases: `id` integer key, `a` text, `n` integer.
pub(super) fn definition(table: &TableId) -> TableDef {
    let def = TableDef::new(table).column("id", ColumnType::Int64).column("a", ColumnType::Text);
    def.column("n", ColumnType::Int64).key(&["id"])
}

impl<H: Harness> World<H> {
    /// An empty database.
    pub async fn empty() -> Self {
        let spill = tempfile::tempdir().unwrap();
        let context = LineContext {
            pipeline: "p".into(),
            install: "0123456789abcdef".into(),
            clock: TestClock::start(),
            spill: SpillRoom::new(spill.path(), 1 << 30),
        };
        World { harness: Arc::new(H::start().await), table: H::table("t"), context, _spill: spill }
    }

    /// A database with the table `t`, empty.
    pub async fn start() -> Self {
        let world = Self::empty().await;
        world.native(&[Statement::CreateTable(definition(&world.table))]).await;
        world
    }

    /// And rows with the keys from 1 to `rows`.
    pub async fn with_rows(rows: i64) -> Self {
        let world = Self::start().await;
        let inserts: Vec<Statement> = (1..=rows).map(|id| world.insert(id, "first", id * 10)).collect();
        world.native(&inserts).await;
        world
    }

    pub fn endpoint(&self) -> Arc<dyn Endpoint> {
        self.harness.endpoint()
    }

    pub async fn native(&self, statements: &[Statement]) {
        self.harness.transaction(statements).await;
    }

    pub async fn rows(&self) -> Vec<Vec<Value>> {
        self.harness.rows(&self.table).await
    }

    pub fn insert(&self, id: i64, a: &str, n: i64) -> Statement {
        insert_into(&self.table, id, a, n)
    }

    pub fn update(&self, id: i64, set: &[(&str, Value)]) -> Statement {
        Statement::Update { table: self.table.clone(), key: fields(&[("id", id.into())]), set: fields(set) }
    }

    pub fn delete(&self, id: i64) -> Statement {
        Statement::Delete { table: self.table.clone(), key: fields(&[("id", id.into())]) }
    }

    pub async fn source(&self) -> Box<dyn Source> {
        self.endpoint().source(&self.context).await.expect("a source opens")
    }

    pub async fn sink(&self) -> Box<dyn Sink> {
        self.endpoint().sink(&self.context).await.expect("a sink opens")
    }

    /// Opens a source as a line does, up to `hold`; the stream is not open yet.
    pub async fn held(&self) -> Streaming {
        self.held_tables(std::slice::from_ref(&self.table)).await
    }

    pub async fn held_tables(&self, tables: &[TableId]) -> Streaming {
        let mut source = self.source().await;
        source.identity().await.expect("an identity");
        let schemas = source.schemas(tables).await.expect("the tables are there");
        let start = source.hold(&schemas).await.expect("hold");
        Streaming { source, schemas, start }
    }

    /// Opens a source and its stream, from where `hold` says.
    pub async fn streaming(&self) -> Streaming {
        let mut held = self.held().await;
        held.open(held.start.clone(), 0).await;
        held
    }

    /// Opens a source and its stream, from a checkpoint's place.
    pub async fn streaming_from(&self, position: &Position, part: u64) -> Streaming {
        let mut held = self.held().await;
        held.open(position.clone(), part).await;
        held
    }
}

/// An insert into a table like `t`.
pub(super) fn insert_into(table: &TableId, id: i64, a: &str, n: i64) -> Statement {
    let row = fields(&[("id", id.into()), ("a", a.into()), ("n", n.into())]);
    Statement::Insert { table: table.clone(), row }
}

impl Streaming {
    pub async fn open(&mut self, position: Position, part: u64) {
        let from = StreamStart { position, part };
        self.source.open(&from, &self.schemas).await.expect("the stream opens");
    }

    pub async fn next(&mut self, limits: &ReadLimits) -> Read {
        let read = tokio::time::timeout(Duration::from_secs(READ_SECS), self.source.next(limits)).await;
        read.expect("changes are there, so `next` returns").expect("next")
    }

    /// Everything up to the present head, transaction by transaction.
    pub async fn read_to_head(&mut self) -> Vec<(Transaction, Vec<Event>)> {
        let head = self.source.head().await.expect("head");
        self.until(&head, &LARGE).await
    }

    /// Everything up to a position: whole transactions, each once, however many reads it took.
    pub async fn until(&mut self, head: &Position, limits: &ReadLimits) -> Vec<(Transaction, Vec<Event>)> {
        let mut got: Vec<(Transaction, Vec<Event>)> = Vec::new();
        let mut at = self.start.clone();
        let mut open = false;
        while at < *head {
            match self.next(limits).await {
                Read::Progress(position) => at = position,
                Read::Batch(batch) => {
                    at = batch.end().cloned().unwrap_or(at);
                    let first = got.len() - usize::from(open);
                    open = batch.open;
                    for transaction in batch.transactions {
                        if got.last().is_none_or(|last| last.0.position != transaction.position) {
                            got.push((transaction, vec![]));
                        }
                    }
                    for event in batch.events {
                        got[first + event.transaction as usize].1.push(event);
                    }
                }
            }
        }
        self.start = at;
        got
    }

    /// The events up to the present head.
    pub async fn events(&mut self) -> Vec<Event> {
        self.read_to_head().await.into_iter().flat_map(|(_, events)| events).collect()
    }

    /// Reads a whole table in chunks within `limits`, from `parts` ranges.
    pub async fn chunks(&mut self, parts: usize, limits: &ReadLimits) -> Vec<Chunk> {
        let schema = self.schemas[0].clone();
        let mut reader = self.source.chunks().await.expect("a chunk reader");
        let (ranges, _) = reader.divide(&schema, parts).await.expect("divide");
        assert!(!ranges.is_empty() && ranges.len() <= parts, "{} ranges of {parts}", ranges.len());
        let mut chunks = Vec::new();
        for mut range in ranges {
            loop {
                let chunk = reader.read(&schema, &range, limits).await.expect("a chunk");
                assert!(chunk.rows.len() <= limits.rows);
                let next = chunk.next.clone();
                chunks.push(chunk);
                match next {
                    Some(key) => range = KeyRange { after: Some(key), upto: range.upto },
                    None => break,
                }
            }
        }
        chunks
    }
}

/// The values of rows, in column order, sorted by the first column.
pub(super) fn sorted(schema: &TableSchema, rows: impl IntoIterator<Item = Row>) -> Vec<Vec<Value>> {
    let mut rows: Vec<Vec<Value>> =
        rows.into_iter().map(|row| schema.values(&row).cloned().collect()).collect();
    rows.sort_by_key(|row| match row.first() {
        Some(Value::Int64(number)) => *number,
        _ => i64::MIN,
    });
    rows
}

/// A row of the table `t`.
pub(super) fn row(id: i64, a: &str, n: i64) -> Vec<Value> {
    vec![id.into(), a.into(), n.into()]
}

/// A target's table, as a line asks for it.
pub(super) fn target(schema: &Arc<TableSchema>) -> TargetTable {
    TargetTable { schema: schema.clone(), path: "pipelines.p.tables[0]".into() }
}

/// The schema of a table as another kind of database delivers it.
pub(super) fn foreign(def: &TableDef) -> Arc<TableSchema> {
    def.schema("elsewhere", "foreign")
}

/// An event of such a table.
pub(super) fn event(schema: &Arc<TableSchema>, change: Change, index: u64) -> Event {
    Event::new(schema.clone(), change, 0, index)
}

/// A checkpoint of the first epoch.
pub(super) fn checkpoint(pipeline: &PipelineId, at: u64) -> Checkpoint {
    Checkpoint {
        pipeline: pipeline.clone(),
        install: "0123456789abcdef".into(),
        source: "source-1".into(),
        epoch: 1,
        position: Position::from_number(at, at.to_string()),
        part: 0,
        snapshot: SnapshotProgress::default(),
        plugins: Default::default(),
    }
}
