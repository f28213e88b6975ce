//! What a plugin says about itself and about a table: the answers of `plugin inspect`, `check` and lineage.

use serde::Serialize;
use sluice_types::{ColumnType, Digest, TableId};

/// A component that was loaded and asked to describe itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The world that it implements: `transform-plugin`.
    pub world: &'static str,
    /// What it imports, types left out. Empty for a plugin that needs no grant.
    pub imports: Vec<String>,
    /// What a step has to write under `grant` for it: `log: {}`. Empty for a plugin that only computes.
    pub grants: Vec<&'static str>,
    /// What it calls itself.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// A JSON Schema of its configuration, as text; may be empty.
    pub config_schema: String,
}

/// What a plugin plans for one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// The columns that cross into the sandbox, in that order. It can see no others.
    pub reads: Vec<String>,
    /// The columns that it writes.
    pub writes: Vec<WrittenColumn>,
    /// Old name and new name.
    pub renames: Vec<(String, String)>,
    /// The columns that end here.
    pub drops: Vec<String>,
    /// Whether it may leave out or multiply rows.
    pub selects: bool,
    /// Whether it may change the kind of a change (a delete into an update, for example).
    pub changes_kinds: bool,
    /// Whether it wants the image before an update.
    pub before_images: bool,
    /// Other targets that it may send rows to.
    pub routes: Vec<String>,
    /// The columns that leave the step: name, type, whether null is allowed, whether it is part of the key.
    pub output: Vec<OutputColumn>,
}

impl PlanReport {
    /// The plan of a plugin that is not there.
    pub(crate) fn nothing() -> PlanReport {
        PlanReport {
            reads: vec![],
            writes: vec![],
            renames: vec![],
            drops: vec![],
            selects: false,
            changes_kinds: false,
            before_images: true,
            routes: vec![],
            output: vec![],
        }
    }
}

/// A column that a plugin writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrittenColumn {
    /// Its name after the step.
    pub name: String,
    /// Its type after the step.
    #[serde(rename = "type")]
    pub ty: ColumnType,
    /// Whether it did not exist before.
    pub new: bool,
    /// The input columns that it is computed from.
    pub from: Vec<String>,
    /// Whether the same input always gives the same output. Verify and keys rest on such columns only.
    pub deterministic: bool,
}

/// A column of a step's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: ColumnType,
    /// Whether null is allowed.
    pub nullable: bool,
    /// Whether it is part of the key.
    pub key: bool,
}

/// What the steps of one table do to its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableLineage {
    /// The source's table.
    pub table: String,
    /// Its steps in order.
    pub steps: Vec<StepLineage>,
}

/// One step's part of a lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepLineage {
    /// The plugin.
    pub plugin: String,
    /// The version that runs.
    pub digest: Digest,
    /// The host interfaces that it imports, types left out.
    pub imports: Vec<String>,
    /// Its plan; `None`: it is not interested in this table and is skipped.
    pub plan: Option<PlanReport>,
}

impl TableLineage {
    pub(crate) fn new(table: &TableId, steps: Vec<StepLineage>) -> Self {
        TableLineage { table: table.to_string(), steps }
    }
}
