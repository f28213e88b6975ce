//! The ports: what a connector, a plugin host, a state and a clock owe to the line, and what they may expect of it.
//!
//! Their documentation is the contract. `tests/kit` proves it for every connector; the simulation in `tests/sim` proves the line
//! against it.

mod connector;
mod sink;
mod source;
mod spill;
mod state;
mod transform;

use async_trait::async_trait;

pub use connector::{
    Capabilities, Connector, Discovered, Endpoint, LineContext, Readers, Retained, Secondary, TargetTable,
};
pub use sink::{Sink, SinkTx, Written};
pub use source::{ChunkReader, Lag, Read, ReadLimits, Source, StreamStart};
pub use spill::{SpillPlace, SpillRoom, SpillSeal, SpillShare};
pub use state::{Altered, LineState, ParkedKey, PluginVersion, StateStore, Swapped};
pub use transform::{ApplyFailed, Decision, Opened, Rejection, Resolver, Transform, Transformed};

/// Time, as everything in the engine sees it: simulations bring their own.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Microseconds since 1970 UTC.
    fn now_micros(&self) -> i64;
    /// Returns after so many milliseconds.
    async fn sleep_ms(&self, ms: u64);
}
