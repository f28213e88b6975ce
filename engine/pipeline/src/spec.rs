//! What a line is to do: the configuration of a pipeline, parsed and valid.

use std::num::NonZeroUsize;

use sluice_types::settings::did_you_mean;
use sluice_types::{ColumnType, PipelineId, TableId, TableSchema};

/// One line: a source's tables to one target.
#[derive(Clone, Debug)]
pub struct LineSpec {
    /// What its checkpoint and dead letters are filed under.
    pub pipeline: PipelineId,
    /// The tables, patterns resolved.
    pub tables: Vec<TableRoute>,
    /// Whether the line ends by itself.
    pub mode: Mode,
    /// Whether the tables are copied first.
    pub snapshot: SnapshotMode,
    /// How much goes into one target transaction.
    pub batch: BatchLimits,
    /// Snapshot chunks that are read at once, at most.
    pub concurrency: NonZeroUsize,
    /// What happens to transactions above a size (I4).
    pub large_transactions: LargeTransactions,
    /// What happens to a truncate.
    pub truncate: TruncatePolicy,
    /// What happens to an event that can't be applied.
    pub on_error: OnError,
    /// What happens when the source can't deliver from the checkpoint (I12).
    pub on_position_lost: OnPositionLost,
    /// Take the line over from another installation: an operator's explicit wish.
    pub take_over: bool,
}

/// One table's way through the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRoute {
    /// The source's table.
    pub from: TableId,
    /// The target's table.
    pub to: TableId,
    /// The key to use where the source has none: names of columns.
    pub key: Option<Vec<String>>,
    /// Columns that are left out, by name.
    pub exclude: Vec<String>,
    /// What is done about rows of the target that somebody else has changed. `None`: nobody looks, and the source's rows win.
    pub conflict: Option<ConflictPolicy>,
    /// The path in the configuration, for findings.
    pub path: String,
}

/// `conflict:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictPolicy {
    /// Who wins.
    pub strategy: ConflictStrategy,
    /// The path in the configuration, for findings.
    pub path: String,
}

/// `conflict.strategy:`. What it can't tell apart goes to the source: the same always comes out of the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConflictStrategy {
    /// The source's row is written.
    SourceWins,
    /// The target's row stays.
    TargetWins,
    /// The row with the later moment in this column (of the target's table) wins.
    Latest(String),
    /// The row with the greater number in this column wins.
    Version(String),
    /// Each column goes to the side that has changed it.
    MergeColumns,
    /// The target's row stays until a person decides.
    Park,
}

/// `mode:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Goes on until stopped.
    Realtime,
    /// Ends when it has reached the head that the source had at its start.
    Batch,
}

/// `snapshot:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// When the target has no checkpoint yet.
    Initial,
    /// Never: the target is taken to hold everything up to now.
    Never,
    /// A snapshot and the changes made meanwhile, then the line ends.
    Only,
}

/// `batch:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Events per transform call and pace at idle.
    pub rows: NonZeroUsize,
    /// To what a target transaction may grow under backlog, in bytes of images.
    pub bytes: NonZeroUsize,
    /// How long gathering may go on while there is backlog.
    pub age_ms: u64,
}

/// `large_transactions:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeTransactions {
    /// Events above which a transaction is large.
    pub rows: u64,
    /// Bytes of images above which it is.
    pub bytes: u64,
    /// What then.
    pub then: OnLarge,
}

/// `large_transactions.then:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLarge {
    /// One target transaction all the same, fed from disk in pieces.
    Spill,
    /// Several target transactions, with the part in the checkpoint.
    Parts,
    /// The pipeline pauses.
    Fail,
}

/// `truncate:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncatePolicy {
    /// The target's table is emptied.
    Apply,
    /// Nothing happens.
    Ignore,
    /// The pipeline pauses.
    Pause,
}

/// `on_error:`, of events only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnError {
    /// How often a failing event is tried again.
    pub retries: u32,
    /// The first pause.
    pub base_ms: u64,
    /// The longest pause; that of servers too.
    pub max_ms: u64,
    /// What then.
    pub then: OnErrorThen,
}

/// `on_error.then:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnErrorThen {
    /// It is kept aside and the line goes on.
    DeadLetter,
    /// The pipeline pauses.
    Pause,
}

/// `on_position_lost:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPositionLost {
    /// The pipeline pauses.
    Fail,
    /// Every table is read again.
    Resnapshot,
}

/// When a line ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Stopped,
    /// When it has applied everything up to the head that the source has when the line starts, and its snapshot is ready.
    Head,
}

impl ConflictStrategy {
    /// Its word in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            ConflictStrategy::SourceWins => "source-wins",
            ConflictStrategy::TargetWins => "target-wins",
            ConflictStrategy::Latest(_) => "latest",
            ConflictStrategy::Version(_) => "version",
            ConflictStrategy::MergeColumns => "merge-columns",
            ConflictStrategy::Park => "park",
        }
    }

    /// Where [`crate::Stats::conflicts`] counts it.
    pub const NAMES: [&'static str; 6] =
        ["source-wins", "target-wins", "latest", "version", "merge-columns", "park"];
}

impl ConflictPolicy {
    /// Whether rows of this shape, as they are written, can be decided by it. If not: what is wrong, and what to do.
    pub fn suits(&self, output: &TableSchema) -> Result<(), (String, String)> {
        use ColumnType::{Date, Decimal, Int64, Text, Timestamp, Timestamptz, Uint64};
        let (name, types, wanted): (_, &[ColumnType], _) = match &self.strategy {
            ConflictStrategy::Latest(name) => (
                name,
                &[Timestamptz, Timestamp, Date, Int64, Uint64, Text],
                "a moment: a timestamp, a date, a whole number, or text that sorts as time goes on",
            ),
            ConflictStrategy::Version(name) => (name, &[Int64, Uint64, Decimal], "a whole or decimal number"),
            _ => return Ok(()),
        };
        let columns = || output.columns.iter().map(|column| &*column.name);
        let Some(index) = output.column_index(name) else {
            let what = format!("what is written to `{}` has no column `{name}`", output.table);
            let near = did_you_mean(name, columns());
            let all = columns().collect::<Vec<_>>().join(", ");
            return Err((what, format!("{near}it has: {all}")));
        };
        let ty = output.columns[index].ty;
        if !types.contains(&ty) {
            let what = format!("the column `{name}` of `{}` is {ty}", output.table);
            return Err((what, format!("`{}` needs {wanted}", self.strategy.name())));
        }
        Ok(())
    }
}
