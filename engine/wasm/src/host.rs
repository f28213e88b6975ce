//! The host of all plugins of a process.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sluice_types::ports::{Clock, PluginVersion, StateStore, Swapped};
use sluice_types::{Digest, PipelineId, Result, TableSchema};

use crate::chain::Chains;
use crate::compile::Compiler;
use crate::inspect::{Inspection, PlanReport};
use crate::spec::ChainSpec;
use crate::watch::Watcher;

/// What a host stands on.
pub struct HostOptions {
    /// Where compiled code is kept; made 0700.
    pub cache_dir: PathBuf,
    /// The key by which compiled code is authenticated; random, kept in the state.
    pub cache_key: [u8; 32],
    /// The folder of plugin files, `NAME.wasm`.
    pub plugin_dir: Option<PathBuf>,
    /// The plugins that come with the binary: name and component.
    pub shipped: &'static [(&'static str, &'static [u8])],
    /// Where the versions that run are remembered.
    pub state: Arc<dyn StateStore>,
    /// Time, for histories.
    pub clock: Arc<dyn Clock>,
    /// Where components are compiled.
    pub compiler: Compiler,
}

/// Where the version of a plugin that runs was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginSource {
    /// It comes with the binary.
    Shipped,
    /// From the plugin folder.
    Folder,
    /// From the state: the folder's file is another one, or gone.
    State,
}

/// One plugin, as `plugin list` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// The version that runs; `None` when none could be loaded.
    pub digest: Option<Digest>,
    /// Where that was taken from.
    pub source: PluginSource,
    /// The digest of the file that lies in the plugin folder, where there is one.
    pub file: Option<Digest>,
    /// The pipelines that use it.
    pub used_by: Vec<String>,
    /// A candidate that was refused or waits, and why.
    pub candidate: Option<Candidate>,
    /// Its history, newest first.
    pub history: Vec<PluginVersion>,
}

/// A version that does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its digest.
    pub digest: Digest,
    /// Refused or waiting.
    pub outcome: Swapped,
    /// Why, one clause.
    pub why: String,
    /// When, microseconds since 1970 UTC.
    pub at_micros: i64,
}

/// What came of a swap or rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwapReport {
    /// The plugin.
    pub name: String,
    /// The version that ran before.
    pub from: Option<Digest>,
    /// The version that was tried.
    pub to: Digest,
    /// What became of it.
    pub outcome: Swapped,
    /// Why, one clause.
    pub why: String,
    /// Pipelines that take it over at their next batch boundary.
    pub pipelines: Vec<String>,
}

/// What the host counted since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct HostMetrics {
    /// Versions that took over.
    pub swaps: u64,
    /// Candidates refused.
    pub refusals: u64,
    /// Candidates that wait for a person.
    pub waiting: u64,
    /// Components compiled, and how long that took in all, in microseconds. The rest came from the cache.
    pub compiles: u64,
    pub compile_micros: u64,
    pub cache_hits: u64,
    /// Instances thrown away after a trap, a timeout or a memory limit.
    pub instances_discarded: u64,
}

/// The host of all plugins of a process: a handle, cheap to clone.
#[derive(Clone)]
pub struct Host {}

impl Host {
    /// Makes a host; loads nothing yet.
    ///
    /// # Errors
    /// `permission` or `state-unavailable` when the cache folder can't be used.
    pub async fn new(_options: HostOptions) -> Result<Host> {
        unimplemented!()
    }

    /// Loads a component and asks it to describe itself.
    ///
    /// # Errors
    /// `plugin-invalid` or `plugin-refused`, saying what is wrong with the file.
    pub async fn inspect(&self, _component: Bytes) -> Result<Inspection> {
        unimplemented!()
    }

    /// Opens a component on a table, and says what it plans; `None` when it is not interested.
    ///
    /// # Errors
    /// As [`Host::inspect`]; `plugin-config` with findings.
    pub async fn inspect_plan(
        &self,
        _component: Bytes,
        _table: &TableSchema,
        _config: &str,
    ) -> Result<Option<PlanReport>> {
        unimplemented!()
    }

    /// The chains of a line, with every plugin of it loaded.
    ///
    /// # Errors
    /// Findings with their path in the file: plugins that are missing, invalid, refused, or need what isn't built.
    pub async fn chains(&self, _pipeline: &PipelineId, _spec: ChainSpec) -> Result<Chains> {
        unimplemented!()
    }

    /// Every plugin: shipped, in the folder, or in the state.
    pub async fn list(&self) -> Result<Vec<PluginStatus>> {
        unimplemented!()
    }

    /// Takes the folder's file of that name now; with `promote` also when it reads, writes or drops more than what runs.
    ///
    /// # Errors
    /// `plugin-missing` without such a file. A candidate that is refused is not an error but a report.
    pub async fn swap(&self, _name: &str, _promote: bool) -> Result<SwapReport> {
        unimplemented!()
    }

    /// Puts an earlier version back: the one before, or the one given.
    pub async fn rollback(&self, _name: &str, _to: Option<Digest>) -> Result<SwapReport> {
        unimplemented!()
    }

    /// Starts to watch the plugin folder. What lies there already and isn't what runs is offered as a candidate at once.
    pub fn watch(&self) -> Result<Watcher> {
        unimplemented!()
    }

    /// What was counted.
    pub fn metrics(&self) -> HostMetrics {
        unimplemented!()
    }
}
