//! Conflicts, as people look at them: without the values of their rows, unless asked.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use sluice_types::ports::{Decision, StateStore};
use sluice_types::{Change, Conflict, ConflictId, Result, Row};

use super::Engine;
use super::dead_letters::{by_column, utc};

/// Conflicts in one answer, at most.
pub const CONFLICTS_LISTED_MAX: usize = 1_000;

/// One conflict for people.
#[derive(Clone, Debug, Serialize)]
pub struct ConflictView {
    /// The line that it is kept under.
    pub pipeline: String,
    /// Its identity within the pipeline.
    pub id: String,
    /// Counts the pipeline's conflicts.
    pub number: u64,
    /// The target's table.
    pub table: String,
    /// `insert_exists`, `update_missing`, `update_differs`, `delete_missing` or `delete_differs`.
    pub kind: &'static str,
    /// `incoming`, `existing` or `merged`.
    pub decision: &'static str,
    /// What the configuration says.
    pub strategy: String,
    /// Who decided.
    pub by: String,
    /// The event's place in the source's log.
    pub position: String,
    /// When it was met, UTC.
    pub recorded: String,
    /// The rows, only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Sides>,
}

/// The rows of a conflict, by the target's columns.
#[derive(Clone, Debug, Serialize)]
pub struct Sides {
    /// The source's row before the change, as far as the log tells.
    pub before: Option<Map<String, Json>>,
    /// The source's row after it; none where it was deleted.
    pub incoming: Option<Map<String, Json>>,
    /// The target's row; none where it is missing.
    pub existing: Option<Map<String, Json>>,
    /// What was made of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged: Option<Map<String, Json>>,
}

impl Engine {
    /// The conflicts of a pipeline by number, from after `after` on, at most `limit`; without values.
    pub async fn conflicts(&self, pipeline: &str, after: u64, limit: usize) -> Result<Vec<ConflictView>> {
        let limit = limit.min(CONFLICTS_LISTED_MAX);
        let mut views = Vec::new();
        for name in self.find(pipeline)? {
            let left = limit - views.len();
            let conflicts = self.inner.state.conflicts(&name.id, false, after, left).await?;
            views.extend(conflicts.iter().map(|conflict| ConflictView::of(conflict, false)));
        }
        Ok(views)
    }

    /// One conflict, with its values if asked.
    pub async fn conflict(&self, pipeline: &str, id: &str, values: bool) -> Result<Option<ConflictView>> {
        for name in self.find(pipeline)? {
            if let Some(conflict) = self.inner.state.conflict(&name.id, &ConflictId(id.into())).await? {
                return Ok(Some(ConflictView::of(&conflict, values)));
            }
        }
        Ok(None)
    }
}

impl ConflictView {
    fn of(conflict: &Conflict, values: bool) -> Self {
        ConflictView {
            pipeline: conflict.pipeline.to_string(),
            id: conflict.id.to_string(),
            number: conflict.number,
            table: conflict.incoming.table.table.to_string(),
            kind: conflict.kind.name(),
            decision: conflict.decision.name(),
            strategy: conflict.strategy.clone(),
            by: conflict.by.clone(),
            position: conflict.position.to_string(),
            recorded: utc(conflict.recorded_micros),
            values: values.then(|| Sides::of(conflict)),
        }
    }
}

impl Sides {
    fn of(conflict: &Conflict) -> Self {
        let shown = |row: &Row| by_column(&conflict.incoming.table, row);
        let change = &conflict.incoming.change;
        let before = match change {
            Change::Update { before, .. } => before.as_ref(),
            Change::Delete(row) => Some(row),
            _ => None,
        };
        let merged = match &conflict.decision {
            Decision::Merged(row) => Some(row),
            _ => None,
        };
        Sides {
            before: before.map(shown),
            incoming: change.after().map(shown),
            existing: conflict.existing.as_ref().map(shown),
            merged: merged.map(shown),
        }
    }
}
