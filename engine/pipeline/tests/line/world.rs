//! Two memory databases, a state, and a line between them.

use std::num::NonZeroUsize;
use std::sync::Arc;

use sluice_kit::memory::{Chains, Database, Options, Promotions, State, Step};
use sluice_kit::{Statement, TableDef, TestClock, fields};
use sluice_pipeline::{
    BatchLimits, Ended, LargeTransactions, Line, LineHandle, LineSpec, Mode, OnError, OnErrorThen, OnLarge,
    OnPositionLost, Ports, SnapshotMode, TableRoute, TruncatePolicy, Until,
};
use sluice_types::ports::SpillRoom;
use sluice_types::{ColumnType, DeadLetter, PipelineId, TableId, Value};

pub struct World {
    pub source: Database,
    pub target: Database,
    pub state: State,
    pub ports: Ports,
    pub spec: LineSpec,
    pub steps: Vec<Step>,
    pub promotions: Promotions,
}

impl World {
    /// A source with an empty table `t (id, v, w)`, and an empty target.
    pub fn new() -> World {
        World::with(Options::default(), Options::default())
    }

    pub fn with(source: Options, target: Options) -> World {
        let source = Database::new(Options { name: "source".into(), ..source });
        let target = Database::new(Options { name: "target".into(), ..target });
        let state = State::new("0123456789abcdef0123456789abcdef");
        let ports = Ports {
            source: Arc::new(source.clone()),
            target: Arc::new(target.clone()),
            state: Arc::new(state.clone()),
            clock: TestClock::start(),
            spill: SpillRoom::new("spill", 0),
        };
        let world = World {
            source,
            target,
            state,
            ports,
            spec: spec(&["t"]),
            steps: vec![],
            promotions: Promotions::default(),
        };
        world.create("t");
        world
    }

    /// The tables of which it was told that they were altered, and of which nobody has decided.
    pub fn told(&self) -> Vec<TableId> {
        self.state.line(&self.spec.pipeline).altered.into_iter().map(|altered| altered.table).collect()
    }

    pub fn create(&self, name: &str) {
        self.source.run(&[Statement::CreateTable(table(name))]).unwrap();
    }

    pub fn line(&self) -> (Line, LineHandle) {
        let chains = Chains::new(self.steps.clone(), self.promotions.clone());
        Line::new(self.spec.clone(), self.ports.clone(), Box::new(chains))
    }

    /// Runs a line to the head.
    pub async fn sync(&self) -> Ended {
        self.line().0.run(Until::Head).await
    }

    /// Runs a line to the head and expects it to get there.
    pub async fn synced(&self) {
        let ended = self.sync().await;
        assert!(matches!(ended, Ended::Done), "{ended:?}");
    }

    /// Starts a line that runs until it is stopped.
    pub fn serve(&self) -> (LineHandle, tokio::task::JoinHandle<Ended>) {
        let (line, handle) = self.line();
        (handle, tokio::spawn(line.run(Until::Stopped)))
    }

    pub fn insert(&self, table: &str, ids: impl IntoIterator<Item = i64>) {
        let rows: Vec<_> = ids.into_iter().map(|id| insert(table, id, &format!("v{id}"))).collect();
        self.source.run(&rows).unwrap();
    }

    pub fn letters(&self) -> Vec<DeadLetter> {
        self.state.letters(&PipelineId::from("p"))
    }

    /// The codes of the dead letters.
    pub fn codes(&self) -> Vec<String> {
        self.letters().into_iter().map(|letter| letter.reason.code).collect()
    }

    pub fn ids(&self, table: &str) -> Vec<i64> {
        let id = |row: &sluice_types::Row| match row.values()[0] {
            Value::Int64(id) => id,
            _ => panic!("an id is an integer"),
        };
        self.target.rows(&TableId::new("", table)).iter().map(id).collect()
    }

    #[track_caller]
    pub fn assert_equal(&self, table: &str) {
        let table = TableId::new("", table);
        assert_eq!(self.source.rows(&table), self.target.rows(&table));
    }
}

/// Waits until something is so; an hour of paused time is the limit.
pub async fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..360_000 {
        if so() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it never came to be so");
}

pub fn table(name: &str) -> TableDef {
    TableDef::new(&TableId::new("", name))
        .column("id", ColumnType::Int64)
        .column("v", ColumnType::Text)
        .column("w", ColumnType::Text)
        .key(&["id"])
}

pub fn insert(table: &str, id: i64, v: &str) -> Statement {
    let row = fields(&[("id", id.into()), ("v", v.into()), ("w", "w".into())]);
    Statement::Insert { table: TableId::new("", table), row }
}

pub fn update(table: &str, id: i64, set: &[(&str, Value)]) -> Statement {
    Statement::Update { table: TableId::new("", table), key: fields(&[("id", id.into())]), set: fields(set) }
}

pub fn delete(table: &str, id: i64) -> Statement {
    Statement::Delete { table: TableId::new("", table), key: fields(&[("id", id.into())]) }
}

pub fn spec(tables: &[&str]) -> LineSpec {
    let rows = |n| NonZeroUsize::new(n).unwrap();
    let route = |name: &&str| TableRoute {
        from: TableId::new("", name),
        to: TableId::new("", name),
        key: None,
        exclude: vec![],
        conflict: None,
        path: format!("pipelines.p.tables.{name}"),
    };
    LineSpec {
        pipeline: "p".into(),
        tables: tables.iter().map(route).collect(),
        mode: Mode::Realtime,
        snapshot: SnapshotMode::Initial,
        batch: BatchLimits { rows: rows(10), bytes: rows(20_000), age_ms: 50 },
        concurrency: rows(2),
        large_transactions: LargeTransactions { rows: 1_000, bytes: 1 << 30, then: OnLarge::Spill },
        truncate: TruncatePolicy::Apply,
        on_error: OnError { retries: 1, base_ms: 100, max_ms: 5_000, then: OnErrorThen::DeadLetter },
        on_position_lost: OnPositionLost::Fail,
        take_over: false,
    }
}
