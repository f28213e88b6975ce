//! Floor 1 of sluice: the component host. The only crate that names wasmtime.
//!
//! A plugin is a WebAssembly component of the world `transform-plugin` (`wit/plugin.wit`). The way of a batch, module by module:
//!
//! ```text
//! line (the Transform port) -> chain (one table) -> step (one plugin) -> lower -> instance -> guest
//!                                                                     <- lift, pairing <-
//! ```
//! - [`Host`] knows the versions (`versions`), replaces them (`swap`, `watch`) and answers questions (`inspect`).
//! - `plugin` loads a component: `compile`, `cache`, its imports checked; `instance` runs it within its `limits`.
//! - `hosted` answers what a guest asks of its host (`wit/host.wit`), within the step's grant; `keys` seal, open and hash for it.
//! - `plan` checks what a plugin plans for a table before a row flows.

mod cache;
mod chain;
mod compile;
mod contract;
mod engine;
mod host;
mod hosted;
mod inspect;
mod instance;
mod keys;
mod lift;
mod limits;
mod line;
mod lower;
mod pairing;
mod plan;
mod plugin;
mod spec;
mod step;
mod swap;
mod text;
mod versions;
mod watch;

pub use compile::{Compiler, compile_plugin_main};
pub use host::{Candidate, Host, HostMetrics, HostOptions, PluginSource, PluginStatus, SwapReport};
pub use inspect::{Inspection, OutputColumn, PlanReport, StepLineage, TableLineage, WrittenColumn};
pub use keys::{KEY_BYTES, KeyRing};
pub use line::Chains;
pub use spec::{ChainSpec, CryptoGrant, CryptoOp, Grants, StepLimits, StepSpec};
pub use watch::Watcher;
