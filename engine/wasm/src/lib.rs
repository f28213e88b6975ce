//! Floor 1 of sluice: the component host. The only crate that names wasmtime.

#![allow(clippy::unimplemented, dead_code, unused_imports)] // while the bodies are being written

mod chain;
mod compile;
mod contract;
mod host;
mod inspect;
mod spec;
mod watch;

pub use chain::Chains;
pub use compile::{Compiler, compile_plugin_main};
pub use host::{Candidate, Host, HostMetrics, HostOptions, PluginSource, PluginStatus, SwapReport};
pub use inspect::{Inspection, OutputColumn, PlanReport, StepLineage, TableLineage, WrittenColumn};
pub use spec::{ChainSpec, Grants, StepLimits, StepSpec};
pub use watch::Watcher;
