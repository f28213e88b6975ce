//! The straight line: source, route, transforms, target transaction, confirm; and its policies. Over the ports only.
//!
//! A service makes a [`LineSpec`] out of its configuration, gives it [`Ports`], and runs the [`Line`]; what people ask of it
//! while it runs goes through its [`LineHandle`].

pub mod spec;
pub mod status;

pub use spec::{
    BatchLimits, LargeTransactions, LineSpec, Mode, OnError, OnErrorThen, OnLarge, OnPositionLost,
    SnapshotMode, TableRoute, TruncatePolicy, Until,
};
pub use status::{LineStatus, Phase, Stats, TableStatus};
