//! What the engine remembers for itself. A target's checkpoint is never among it (I2).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::conflict::{Conflict, ConflictCount, ConflictId};
use crate::dead_letter::{DeadLetter, DeadLetterId};
use crate::error::Result;
use crate::ids::{Digest, InstallId, PipelineId};
use crate::position::Position;
use crate::schema::{Key, TableId};

/// What a pipeline was told to do, kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineState {
    /// Paused by a person, or by an error that needs one: the reason.
    pub paused: Option<String>,
    /// Tables whose capture was taken away for DDL: to be read again on resume.
    pub detached: Vec<TableId>,
    /// Tables to be read again from the start.
    pub resnapshot: Vec<TableId>,
    /// Tables of which it was told that they were altered, and of which nobody has decided anything yet.
    #[serde(default)]
    pub altered: Vec<Altered>,
    /// Those of which somebody decided that they go on as they were told ([`super::Source::accept`]).
    #[serde(default)]
    pub accepted: Vec<Altered>,
}

/// A table that was altered, and as what it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Altered {
    /// The source's table.
    #[serde(flatten)]
    pub table: TableId,
    /// What was seen of it, in its connector's own words: a decision counts for that, and not for what is done to the table later.
    /// Without it: for what it is when the decision is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Arc<str>>,
}

impl LineState {
    /// Somebody lets the line go on, who knows what was told: tables that were altered go on as they are.
    pub fn resume(&mut self) {
        self.lift_pause();
        let altered = std::mem::take(&mut self.altered);
        for table in altered {
            replace(&mut self.accepted, table);
        }
    }

    /// The line goes on. Of tables that were altered that decides nothing.
    pub fn lift_pause(&mut self) {
        self.paused = None;
        let detached = std::mem::take(&mut self.detached);
        self.read_again(detached);
    }

    /// These tables are to be read again from the start.
    pub fn read_again(&mut self, tables: Vec<TableId>) {
        add(&mut self.resnapshot, tables);
    }

    /// The capture of these tables is taken away.
    pub fn detach(&mut self, tables: Vec<TableId>) {
        add(&mut self.detached, tables);
    }

    /// It is told that this table was altered: what was told last is what is decided of.
    pub fn tell_altered(&mut self, table: Altered) {
        replace(&mut self.altered, table);
    }

    /// Tables whose alteration is nothing to be told any more: somebody decided, or they are read again, whatever they are.
    pub fn decided(&self) -> Vec<Altered> {
        let mut decided = self.accepted.clone();
        for table in &self.resnapshot {
            replace(&mut decided, Altered { table: table.clone(), seen: None });
        }
        decided
    }

    /// What `done` told the line to do has been done; what it was told since stays.
    pub fn done(&mut self, done: &LineState) {
        self.resnapshot.retain(|table| !done.resnapshot.contains(table));
        self.accepted.retain(|table| !done.accepted.contains(table));
        self.altered.retain(|table| !done.altered.contains(table));
    }
}

fn replace(tables: &mut Vec<Altered>, table: Altered) {
    tables.retain(|known| known.table != table.table);
    tables.push(table);
}

fn add(tables: &mut Vec<TableId>, more: Vec<TableId>) {
    for table in more {
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
}

/// A key that a dead letter holds, and since when: an event of it that comes before that place is not parked. It matters after
/// a crash between keeping the dead letter and the commit that passes it, when earlier events of the key come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedKey {
    /// The source's table (`DeadLetter::event.source.table`).
    pub table: TableId,
    /// The key in the source (one of `DeadLetter::keys`).
    pub key: Key,
    /// `DeadLetter::position`.
    pub position: Position,
    /// `DeadLetter::event.index`.
    pub index: u64,
}

/// How a version of a plugin came to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Swapped {
    /// It runs now.
    Promoted,
    /// It was refused and is not tried again until its file changes.
    Refused,
    /// It waits for `plugin swap --promote`: it wants more than the running version.
    Waiting,
    /// It was put out by `plugin rollback` and is not tried again until its file changes.
    RolledBack,
}

/// One entry of a plugin's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// The plugin's name.
    pub name: Arc<str>,
    /// The component's digest.
    pub digest: Digest,
    /// What became of it.
    pub outcome: Swapped,
    /// Why, for people: one clause without values of rows.
    pub why: String,
    /// When, microseconds since 1970 UTC.
    pub at_micros: i64,
}

/// The engine's own durable state. What a method returned `Ok` for survives a kill -9 and a power cut.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// The installation's id, made with the state.
    fn install(&self) -> &InstallId;

    /// Keeps dead letters. One that is kept already (pipeline, id) stays as it is (I3).
    async fn keep_dead_letters(&self, letters: Vec<DeadLetter>) -> Result<()>;

    /// Dead letters by number, from after `after` on, at most `limit`.
    async fn dead_letters(&self, pipeline: &PipelineId, after: u64, limit: usize) -> Result<Vec<DeadLetter>>;

    /// One dead letter.
    async fn dead_letter(&self, pipeline: &PipelineId, id: &DeadLetterId) -> Result<Option<DeadLetter>>;

    /// How many there are.
    async fn count_dead_letters(&self, pipeline: &PipelineId) -> Result<u64>;

    /// The keys whose later events follow them there (park-key): one entry per dead letter and key of it, in any order.
    async fn parked_keys(&self, pipeline: &PipelineId) -> Result<Vec<ParkedKey>>;

    /// Removes the dead letters of some tables (all when empty): a resnapshot supersedes them. Returns how many.
    async fn supersede_dead_letters(&self, pipeline: &PipelineId, tables: &[TableId]) -> Result<u64>;

    /// Records conflicts, before the commit that they are decided by. One that is recorded already (pipeline, id) gets what is said now:
    /// the commit that was lost with a crash decided nothing. Where there are too many the oldest decided ones go; a parked one never.
    async fn keep_conflicts(&self, conflicts: Vec<Conflict>) -> Result<()>;

    /// Rows of these tables of the target are gone, and with them what was to be decided of them: their parked conflicts are
    /// `incoming`, decided by `by`. Returns how many.
    async fn supersede_conflicts(&self, pipeline: &PipelineId, tables: &[TableId], by: &str) -> Result<u64>;

    /// Conflicts by number, from after `after` on, at most `limit`; with `parked` only those that nobody has decided.
    async fn conflicts(
        &self,
        pipeline: &PipelineId,
        parked: bool,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Conflict>>;

    /// One conflict.
    async fn conflict(&self, pipeline: &PipelineId, id: &ConflictId) -> Result<Option<Conflict>>;

    /// How many there are.
    async fn count_conflicts(&self, pipeline: &PipelineId) -> Result<ConflictCount>;

    /// What a pipeline was told to do.
    async fn line_state(&self, pipeline: &PipelineId) -> Result<LineState>;

    /// Remembers what a pipeline was told to do.
    async fn set_line_state(&self, pipeline: &PipelineId, state: &LineState) -> Result<()>;

    /// Forgets a pipeline: state, dead letters and conflicts.
    async fn forget(&self, pipeline: &PipelineId) -> Result<()>;

    /// The version of a plugin that runs, with its bytes.
    async fn promoted_plugin(&self, name: &str) -> Result<Option<(Digest, Bytes)>>;

    /// Any version that is in the history with its bytes.
    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>>;

    /// Adds to a plugin's history; `bytes` are kept where given. With [`Swapped::Promoted`] it becomes the version that runs.
    async fn record_plugin(&self, version: PluginVersion, bytes: Option<Bytes>) -> Result<()>;

    /// A plugin's history (of all plugins when `None`), newest first.
    async fn plugin_history(&self, name: Option<&str>) -> Result<Vec<PluginVersion>>;
}
