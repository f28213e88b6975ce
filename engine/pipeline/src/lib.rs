//! The straight line: source, route, transforms, target transaction, confirm; and its policies. Over the ports only.
//!
//! A service makes a [`LineSpec`] out of its configuration, gives it [`Ports`], and runs the [`Line`]; what people ask of it
//! while it runs goes through its [`LineHandle`].

mod chain;
mod claim;
mod conflict;
mod feed;
mod handle;
mod large;
mod line;
mod moved;
mod pace;
mod parking;
mod poison;
mod postponed;
mod reader;
mod reread;
mod retained;
mod route;
mod run;
mod session;
mod snapshot;
pub mod spec;
pub mod status;
mod supervisor;
#[cfg(test)]
mod testing;
mod touched;
mod waiting;

pub use chain::POISON_EVENTS_MAX;
pub use claim::TARGET_NOT_EMPTY;
pub use conflict::CURRENT_ROWS_MAX;
pub use conflict::decide::{Choice, Verdict, decide_conflict};
pub use handle::LineHandle;
pub use line::{Ended, Line, Ports, delete_line};
pub use parking::PARKED_KEYS_MAX;
pub use spec::{
    BatchLimits, ConflictPolicy, ConflictStrategy, LargeTransactions, LineSpec, Mode, OnError, OnErrorThen,
    OnLarge, OnPositionLost, SnapshotMode, TableRoute, TruncatePolicy, Until,
};
pub use status::{LineStatus, Phase, Stats, TableStatus};

/// How long a line that is told to stop or pause goes on with its current batch before it drops it, in milliseconds. A dropped
/// batch is read again.
pub const DRAIN_MS_MAX: u64 = 10_000;
