//! What a line is to do: the configuration of a pipeline, parsed and valid.

use std::num::NonZeroUsize;

use sluice_types::{PipelineId, TableId};

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
    /// The path in the configuration, for findings.
    pub path: String,
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
