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
//! - `plan` checks what a plugin plans for a table before a row flows.

mod cache;
mod chain;
mod compile;
mod contract;
mod engine;
mod host;
mod inspect;
mod instance;
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
pub use line::Chains;
pub use spec::{ChainSpec, Grants, StepLimits, StepSpec};
pub use watch::Watcher;
