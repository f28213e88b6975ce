//! The configuration file: read, checked and held as types that can't be wrong.
//!
//! Reading order: [`yaml`] (text to a tree), [`crate::secrets`] (`${env:..}` and `${file:..}`), [`read`] (tree to the types of
//! this module, all findings at once), [`lines`] (types and discovered tables to what a line is told), [`diff`] (what a
//! changed file means for a running service), [`schema`] (the JSON Schema that editors use).

mod conflict;
pub mod diff;
mod keys;
pub mod lines;
mod pipeline;
mod read;
pub mod schema;
mod table;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_pipeline::{
    BatchLimits, ConflictPolicy, LargeTransactions, Mode, OnError, OnPositionLost, SnapshotMode,
    TruncatePolicy,
};
use sluice_types::ports::Endpoint;
use sluice_types::{Finding, PipelineId, Result, Secret, TablePattern};
use sluice_wasm::StepSpec;

use crate::Registry;

/// A configuration file that has been read and found good. Paths in it are absolute.
#[derive(Clone)]
pub struct Config {
    /// The file.
    pub file: PathBuf,
    /// `state:`
    pub state: StateSettings,
    /// `service:`
    pub service: ServiceSettings,
    /// `limits:`
    pub limits: ProcessLimits,
    /// `plugins.dir`: the watched folder. Need not exist.
    pub plugin_dir: PathBuf,
    /// `databases:`, by name.
    pub databases: BTreeMap<String, Database>,
    /// `pipelines:`, by name.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// What is worth knowing; none of it keeps the file from being used.
    pub warnings: Vec<Finding>,
    /// The files that `${file:..}` names: a change of one is a change of the configuration.
    pub secret_files: Vec<PathBuf>,
    /// All but databases and pipelines, for [`diff`].
    general: diff::Part,
    document: yaml::Document,
}

/// `state:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// The folder; default `./sluice-state`.
    pub dir: PathBuf,
    /// Base64 of 32 bytes, checked to be that. Seals dead letters and samples.
    pub key: Option<Secret>,
}

/// `service:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Where the HTTP API listens; default `127.0.0.1:8687`. Beyond loopback only with `insecure`.
    pub listen: SocketAddr,
    /// What changing anything needs; without one `serve` makes one in the state folder.
    pub token: Option<Secret>,
    /// Listening beyond loopback without TLS is wanted.
    pub insecure: bool,
}

/// `limits:` of the process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessLimits {
    /// What all lines together may hold in memory; default 512 MiB.
    pub memory: u64,
    /// What they may put on disk of source transactions that are not whole yet; default 20 GiB.
    pub spill: u64,
}

impl ProcessLimits {
    /// So many batches of a line may be in memory at once: one that is read, one that waits, one that is transformed, one that
    /// is written.
    const BATCHES_PER_LINE: u64 = 4;

    /// I10: what a batch of one of `lines` lines may take, so that all of them together keep to half of the memory. The other
    /// half is for plugins, databases and everything else.
    pub(crate) fn batch_bytes(&self, asked: NonZeroUsize, lines: usize) -> NonZeroUsize {
        let share = self.memory / 2 / (lines.max(1) as u64 * Self::BATCHES_PER_LINE);
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        NonZeroUsize::new(share).map_or(NonZeroUsize::MIN, |share| share.min(asked))
    }
}

/// One of `databases:`.
#[derive(Clone)]
pub struct Database {
    /// Its connector's settings, parsed. Has made no connection.
    pub endpoint: Arc<dyn Endpoint>,
    /// Its path in the file.
    pub path: String,
    part: diff::Part,
}

/// One of `pipelines:`. With [`Pipeline::lines`] it becomes lines.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// `id:`, or its name.
    pub id: PipelineId,
    /// Its path in the file.
    pub path: String,
    /// The name of the source's database.
    pub source: String,
    /// The names of the targets' databases: one line each.
    pub targets: Vec<String>,
    /// Whether they were written as `targets:`. Then each line has an id of its own, `ID@TARGET`.
    pub many: bool,
    /// `mode:`
    pub mode: Mode,
    /// `snapshot:`
    pub snapshot: SnapshotMode,
    /// `batch:`
    pub batch: BatchLimits,
    /// `concurrency:`
    pub concurrency: NonZeroUsize,
    /// `large_transactions:`. [`Pipeline::lines`] knows what a target lowers where nothing is written.
    pub large_transactions: LargeTransactions,
    /// `truncate:`, where it is written. [`Pipeline::lines`] knows the default.
    pub truncate: Option<TruncatePolicy>,
    /// `on_error:`
    pub on_error: OnError,
    /// `conflict:`; one of a table goes before it.
    pub conflict: Option<ConflictPolicy>,
    /// `on_position_lost:`
    pub on_position_lost: OnPositionLost,
    /// `tables:`, in order: a table goes to the rule that names it, or else to the first whose pattern matches it.
    pub tables: Vec<TableRule>,
    /// What of `large_transactions` is not written: then it depends on the target.
    large_by_default: pipeline::ByDefault,
    part: diff::Part,
}

/// One of `tables:`.
#[derive(Clone, Debug)]
pub struct TableRule {
    /// Which of the source's tables.
    pub from: TablePattern,
    /// The target's table, with `{schema}` and `{table}` not yet filled in. Default: the name without schema.
    pub to: Option<String>,
    /// The key where the source has none.
    pub key: Option<Vec<String>>,
    /// Columns left out.
    pub exclude: Vec<String>,
    /// `conflict:`, or else that of the pipeline.
    pub conflict: Option<ConflictPolicy>,
    /// The chain. `where` is its first step: the plugin `filter` with `{"keep": ..}`.
    pub steps: Vec<StepSpec>,
    /// Its path in the file.
    pub path: String,
}

/// Where the paths of a file stand, also when it can't be used. A file that is no YAML has none.
pub fn locate(file: &Path) -> Locations {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    Locations(yaml::Document::parse(&text).unwrap_or_default())
}

/// The lines of a file by path.
pub struct Locations(yaml::Document);

impl Locations {
    /// The line on which a path stands, or the nearest thing around it.
    pub fn line_of(&self, path: &str) -> Option<u64> {
        Some(self.0.spot(path)?.line)
    }
}

impl Config {
    /// Reads a file. Every finding comes at once, in one error `config-invalid`; connects to nothing.
    pub fn load(file: &Path, registry: &Registry) -> Result<Config> {
        read::load(file, registry)
    }

    /// The line of the file on which a path stands, or the nearest thing around it.
    pub fn line_of(&self, path: &str) -> Option<u64> {
        Some(self.document.spot(path)?.line)
    }
}
