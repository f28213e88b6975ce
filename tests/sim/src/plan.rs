//! What a seed decides before anything runs: the databases, the tables, the line, how bad the world is.

use std::num::NonZeroUsize;

use sluice_kit::memory::{AfterImages, BeforeImages, Options, Step};
use sluice_kit::{Rng, TableDef};
use sluice_pipeline::{
    BatchLimits, ConflictPolicy, ConflictStrategy, LargeTransactions, LineSpec, Mode, OnError, OnErrorThen,
    OnLarge, OnPositionLost, SnapshotMode, TableRoute, TruncatePolicy,
};
use sluice_types::{ColumnType, PipelineId, TableId, Value};

/// The pipeline of every seed.
pub fn pipeline() -> PipelineId {
    "sim".into()
}

/// A text that the target can't hold.
pub const UNHOLDABLE: &str = "unholdable";
/// A text that the chain refuses.
pub const REFUSED: &str = "refused";
/// A text on which the chain traps.
pub const TRAPPED: &str = "trapped";
/// The column in which the chain leaves its version.
pub const VERSION: &str = "made_by";

/// Everything that is decided beforehand.
pub struct Plan {
    pub source: Options,
    pub target: Options,
    pub tables: Vec<TableDef>,
    /// The targets that exist beforehand, with unique constraints of their own.
    pub targets: Vec<TableDef>,
    pub spec: LineSpec,
    pub steps: Vec<Step>,
    /// Rows that each table has at first.
    pub rows: u64,
    /// Transactions that clients make while the line runs.
    pub transactions: u64,
    /// Events with a value that can't be applied, at most: more in one batch would open the circuit.
    pub poison: u64,
    /// Calls of ports that fail, in percent.
    pub faults: u64,
    /// Deaths of the engine.
    pub crashes: u64,
    /// What people do meanwhile.
    pub deeds: u64,
}

impl Plan {
    pub fn new(rng: &mut Rng) -> Self {
        let partial = rng.chance(40);
        let unique = rng.chance(15);
        let tables: Vec<TableDef> = (0..rng.between(1, 3)).map(|n| table(rng, n, unique)).collect();
        let exclude = rng.chance(30);
        let routes = tables.iter().map(|def| route(rng, def, exclude));
        let routes: Vec<TableRoute> = routes.collect();
        let targets = match unique {
            true => tables.iter().zip(&routes).map(|(def, route)| target(def, route)).collect(),
            false => vec![],
        };
        let mut plan = Plan {
            source: source(rng, partial),
            target: Options {
                name: "target".into(),
                // What holds no transaction of any size has them in parts; the parts are small enough.
                transaction_limit: rng.chance(30).then_some(100_000),
                unrepresentable: Some(UNHOLDABLE.into()),
                ..Options::default()
            },
            spec: spec(rng, routes),
            steps: steps(rng, partial, unique),
            rows: rng.between(0, 40),
            transactions: rng.between(3, 30),
            poison: if rng.chance(40) { rng.between(1, 6) } else { 0 },
            faults: *rng.pick(&[0, 0, 1, 4, 10]),
            crashes: *rng.pick(&[0, 1, 2, 4, 8]),
            deeds: *rng.pick(&[0, 0, 1, 2, 4]),
            tables,
            targets,
        };
        // A version that is written into the rows makes another row of the same one after a swap.
        let changing = plan.steps.iter().any(|step| matches!(step, Step::Version { .. }));
        if rng.chance(50) && !changing {
            let strategy = strategy(rng, partial);
            let policy = ConflictPolicy { strategy, path: "pipelines.sim.conflict".into() };
            plan.spec.tables.iter_mut().for_each(|table| table.conflict = Some(policy.clone()));
        }
        plan
    }
}

/// A table: integer or text key, a text, a number, an extra column that a route may leave out, sometimes a unique one.
fn table(rng: &mut Rng, number: u64, unique: bool) -> TableDef {
    let key = *rng.pick(&[ColumnType::Int64, ColumnType::Text]);
    let def = TableDef::new(&TableId::new("", &format!("t{number}"))).column("id", key);
    let def = def.column("a", ColumnType::Text).column("n", ColumnType::Int64).column("x", ColumnType::Text);
    let def = if unique { def.column("u", ColumnType::Int64).unique(&["u"]) } else { def };
    def.key(&["id"])
}

fn route(rng: &mut Rng, def: &TableDef, exclude: bool) -> TableRoute {
    let name =
        if rng.chance(50) { format!("copy_of_{}", def.table.name) } else { def.table.name.to_string() };
    TableRoute {
        from: def.table.clone(),
        to: TableId::new("", &name),
        key: None,
        exclude: if exclude { vec!["x".into()] } else { vec![] },
        conflict: None,
        path: "pipelines.sim.tables[0]".into(),
    }
}

/// The target of a route, without what the route leaves out.
fn target(def: &TableDef, route: &TableRoute) -> TableDef {
    let mut def = TableDef { table: route.to.clone(), ..def.clone() };
    def.columns.retain(|column| !route.exclude.contains(&column.0));
    def
}

fn source(rng: &mut Rng, partial: bool) -> Options {
    Options {
        name: "source".into(),
        before: match partial {
            true => *rng.pick(&[BeforeImages::Key, BeforeImages::KeyIfChanged]),
            false => BeforeImages::Full,
        },
        after: if partial { AfterImages::Changed } else { AfterImages::Full },
        late_visibility: rng.chance(40),
        chunk_readers: rng.between(1, 3) as usize,
        history: true,
        ..Options::default()
    }
}

/// What is done about conflicts, of which there are none: nobody else writes. Without images before a column tells who was first, and
/// the clients' goes up and down.
fn strategy(rng: &mut Rng, partial: bool) -> ConflictStrategy {
    let by_row = [ConflictStrategy::SourceWins, ConflictStrategy::TargetWins, ConflictStrategy::MergeColumns];
    let by_column = [ConflictStrategy::Latest("n".into()), ConflictStrategy::Version("n".into())];
    let all: Vec<_> = by_row.into_iter().chain(by_column.into_iter().filter(|_| !partial)).collect();
    rng.pick(&all).clone()
}

fn some(number: u64) -> NonZeroUsize {
    NonZeroUsize::new(number as usize).unwrap_or(NonZeroUsize::MIN)
}

fn spec(rng: &mut Rng, tables: Vec<TableRoute>) -> LineSpec {
    LineSpec {
        pipeline: pipeline(),
        tables,
        mode: Mode::Realtime,
        snapshot: SnapshotMode::Initial,
        batch: BatchLimits {
            rows: some(rng.between(1, 20)),
            bytes: some(rng.between(300, 8_000)),
            age_ms: rng.between(0, 20),
        },
        concurrency: some(rng.between(1, 3)),
        large_transactions: LargeTransactions {
            rows: rng.between(2, 40),
            bytes: rng.between(500, 20_000),
            then: *rng.pick(&[OnLarge::Spill, OnLarge::Parts]),
        },
        truncate: TruncatePolicy::Apply,
        on_error: OnError {
            retries: rng.below(3) as u32,
            base_ms: 1,
            max_ms: 50,
            then: OnErrorThen::DeadLetter,
        },
        on_position_lost: OnPositionLost::Resnapshot,
        take_over: false,
    }
}

fn steps(rng: &mut Rng, partial: bool, unique: bool) -> Vec<Step> {
    fn is(value: &Value, text: &str) -> bool {
        matches!(value, Value::Text(own) if &**own == text)
    }
    let mut steps = Vec::new();
    if rng.chance(25) {
        return steps;
    }
    // A filter needs whole images; a version column needs a target that the line makes itself.
    if !partial && rng.chance(30) {
        steps.push(Step::Filter {
            column: "n",
            keep: |value| !matches!(value, Value::Int64(n) if n % 5 == 0),
        });
    }
    steps.push(Step::Reject { column: "a", refuse: |value| is(value, REFUSED) });
    if rng.chance(50) {
        steps.push(Step::Trap { column: "a", on: |value| is(value, TRAPPED) });
    }
    if !unique && rng.chance(40) {
        steps.push(Step::Rename { from: "a", to: "alpha" });
    }
    if !unique && rng.chance(60) {
        steps.push(Step::Version { column: VERSION });
    }
    steps
}
