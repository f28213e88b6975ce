//! What the configuration says about plugins: which step of which table runs which plugin, with what, and within which limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_types::{Digest, TableId};

use crate::keys::KeyRing;

/// The chains of one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainSpec {
    /// The steps of each table, by the source's table. A table without steps need not be in here: it passes by at no cost.
    pub tables: BTreeMap<TableId, Vec<StepSpec>>,
}

/// One step of a table's chain: a plugin with its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSpec {
    /// The plugin's name: that of its file without `.wasm`, or of a shipped one.
    pub plugin: Arc<str>,
    /// Its configuration, as JSON.
    pub config: String,
    /// The host interfaces that it may import.
    pub grant: Arc<Grants>,
    /// What one of its calls may use.
    pub limits: StepLimits,
    /// Columns (by their name at this point of the chain) that it must not read.
    pub deny: Vec<String>,
    /// Whether a file in the plugin folder may stand in for the shipped plugin of that name.
    pub override_shipped: bool,
    /// The one version that this step runs; it is then never swapped.
    pub digest: Option<Digest>,
    /// Where the step stands in the YAML, for findings: `pipelines.customers.tables[0].transform[1]`.
    pub path: String,
}

impl StepSpec {
    /// A step with default limits and no grants.
    pub fn new(plugin: &str, config: impl Into<String>, path: impl Into<String>) -> Self {
        StepSpec {
            plugin: plugin.into(),
            config: config.into(),
            grant: Arc::default(),
            limits: StepLimits::default(),
            deny: Vec::new(),
            override_shipped: false,
            digest: None,
            path: path.into(),
        }
    }
}

/// Host interfaces that the configuration grants to a step (`wit/host.wit`). Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    /// `crypto: { keys: [..], ops: [..] }`
    pub crypto: Option<CryptoGrant>,
    /// `log: {}`
    pub log: bool,
}

/// Which keys a plugin may use, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CryptoGrant {
    /// The keys.
    pub keys: Vec<KeyRing>,
    /// What it may do with each.
    pub ops: BTreeSet<CryptoOp>,
}

/// What can be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CryptoOp {
    /// Encrypt values.
    Seal,
    /// Decrypt what was sealed.
    Open,
    /// Hash values by the key.
    Hash,
}

impl CryptoOp {
    /// All of them.
    pub const ALL: [CryptoOp; 3] = [CryptoOp::Seal, CryptoOp::Open, CryptoOp::Hash];

    /// As the configuration has it.
    pub fn word(self) -> &'static str {
        match self {
            CryptoOp::Seal => "seal",
            CryptoOp::Open => "open",
            CryptoOp::Hash => "hash",
        }
    }
}

/// What one call of a plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepLimits {
    /// `memory`: all linear memories and tables of its instance together, in bytes.
    pub memory: u64,
    /// `batch_ms`: wall-clock time of one call, in milliseconds.
    pub batch_ms: u64,
    /// `output`: what one call may answer, in bytes, counted before anything is copied out of the guest.
    pub output: u64,
    /// `value`: the longest projected value, in bytes; an event with a longer one is rejected as `value_too_large`.
    pub value: u64,
}

impl Default for StepLimits {
    fn default() -> Self {
        StepLimits { memory: 64 << 20, batch_ms: 2_000, output: 64 << 20, value: 8 << 20 }
    }
}
