//! Conflicts, as people look at them: without the values of their rows, unless asked.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use sluice_pipeline::{Choice, Verdict, decide_conflict};
use sluice_types::ports::{Decision, StateStore};
use sluice_types::{Change, Conflict, ConflictId, Error, ErrorKind, Result, Row, TableSchema, Value};

use super::Engine;
use super::dead_letters::{by_column, utc};
use crate::cases::value;

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
    /// `incoming`, `existing`, `merged` or `parked`.
    pub decision: &'static str,
    /// Why it is parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Later changes of the row that came while it was parked.
    pub later: u64,
    /// What the configuration says.
    pub strategy: String,
    /// Who decided.
    pub by: String,
    /// The event's place in the source's log.
    pub position: String,
    /// When it was met, UTC.
    pub recorded: String,
    /// When somebody decided it, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
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
    /// The conflicts of a pipeline by number, from after `after` on, at most `limit`; with `parked` only those that wait for somebody.
    /// Without values.
    pub async fn conflicts(
        &self,
        pipeline: &str,
        parked: bool,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ConflictView>> {
        let limit = limit.min(CONFLICTS_LISTED_MAX);
        let mut views = Vec::new();
        for name in self.find(pipeline)? {
            let left = limit - views.len();
            let conflicts = self.inner.state.conflicts(&name.id, parked, after, left).await?;
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

/// Which row is to be in the target, as people say it.
#[derive(Clone, Debug)]
pub enum DecidedRow {
    /// The source's.
    Source,
    /// The target's.
    Target,
    /// The source's with these values, by column.
    Values(Map<String, Json>),
}

impl Engine {
    /// Carries out what somebody decides of a parked conflict: by the line between two batches if it runs, else here.
    ///
    /// Errors: `conflict-missing`, `config-invalid` (values that are none of the table's), those of
    /// [`sluice_pipeline::decide_conflict`].
    pub async fn decide(
        &self,
        pipeline: &str,
        id: &str,
        row: DecidedRow,
        by: &str,
        force: bool,
    ) -> Result<ConflictView> {
        let (state, id) = (&self.inner.state, ConflictId(id.into()));
        for name in self.find(pipeline)? {
            let Some(conflict) = state.conflict(&name.id, &id).await? else { continue };
            let choice = match &row {
                DecidedRow::Source => Choice::Source,
                DecidedRow::Target => Choice::Target,
                DecidedRow::Values(values) => Choice::Values(image(&conflict.incoming.table, values)?),
            };
            let verdict = Verdict { id: id.clone(), choice, by: by.to_string(), force };
            match self.running(&name) {
                Some(line) => line.decide(verdict).await?,
                None => {
                    let (spec, ports) = self.bare_line(&name)?;
                    decide_conflict(&spec, &ports, &verdict).await?;
                }
            }
            tracing::info!(pipeline = %name.id, conflict = %id, by, "a conflict was decided");
            let decided = state.conflict(&name.id, &id).await?.unwrap_or(conflict);
            return Ok(ConflictView::of(&decided, false));
        }
        let what = format!("there is no conflict `{id}` in {pipeline}");
        Err(Error::new(ErrorKind::ConflictMissing, what)
            .remedy("`sluice conflicts list` shows what there is."))
    }
}

/// Values by column as an image that has only them.
fn image(schema: &TableSchema, values: &Map<String, Json>) -> Result<Row> {
    let mut image = vec![Value::Absent; schema.slots()];
    for (name, json) in values {
        let wrong = |what: String, remedy: &str| {
            Err(Error::new(ErrorKind::Config, what).at_table(&schema.table).remedy(remedy.to_string()))
        };
        let Some(index) = schema.column_index(name) else {
            return wrong(
                format!("the target's table has no column `{name}`"),
                "Name columns as `conflicts show` does.",
            );
        };
        if schema.is_key(index) {
            return wrong(
                format!("`{name}` is part of the key"),
                "Leave the key's columns out: the row stays the same one.",
            );
        }
        let column = &schema.columns[index];
        let Ok(value) = value::read(json, column.ty) else {
            let what = format!("what is given for `{name}` is no value of type {}", column.ty);
            return wrong(
                what,
                "Write it as the cases of a plugin do: dates and decimals as text, bytes in hexadecimal digits.",
            );
        };
        if let Some(slot) = image.get_mut(column.slot as usize) {
            *slot = value;
        }
    }
    Ok(Row::new(image))
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
            reason: match &conflict.decision {
                Decision::Park(reason) => Some(reason.clone()).filter(|reason| !reason.is_empty()),
                _ => None,
            },
            later: conflict.later,
            strategy: conflict.strategy.clone(),
            by: conflict.by.clone(),
            position: conflict.position.to_string(),
            recorded: utc(conflict.recorded_micros),
            decided: conflict.decided_micros.map(utc),
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
