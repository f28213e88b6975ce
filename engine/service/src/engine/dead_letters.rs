//! Dead letters, as people look at them: without the values of their rows, unless asked.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use sluice_types::ports::StateStore;
use sluice_types::{Change, DeadLetter, DeadLetterId, Result, Row, TableSchema, Value};

use super::Engine;

/// Dead letters in one answer, at most.
pub const DEAD_LETTERS_LISTED_MAX: usize = 1_000;

/// One dead letter for people.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetterView {
    /// The line that it is kept under.
    pub pipeline: String,
    /// Its identity within the pipeline.
    pub id: String,
    /// Its place in the order of replay.
    pub number: u64,
    /// The source's table.
    pub table: String,
    /// `snapshot`, `insert`, `update`, `delete` or `truncate`.
    pub change: &'static str,
    /// Its transaction's end in the source's log.
    pub position: String,
    /// Why, as a code.
    pub code: String,
    /// Why, for people.
    pub what: String,
    /// The column that it was about.
    pub column: Option<String>,
    /// The plugin that refused it, as `name@digest`.
    pub plugin: Option<String>,
    /// When it was kept, UTC.
    pub recorded: String,
    /// The rows, only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
}

/// What a dead letter holds of its rows.
#[derive(Clone, Debug, Serialize)]
pub struct Values {
    /// The row before the change, by column.
    pub before: Option<Map<String, Json>>,
    /// The row after it.
    pub after: Option<Map<String, Json>>,
    /// What the plugin said.
    pub plugin_text: Option<String>,
}

impl Engine {
    /// The dead letters of a pipeline by number, from after `after` on, at most `limit`; without values.
    pub async fn dead_letters(
        &self,
        pipeline: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetterView>> {
        let limit = limit.min(DEAD_LETTERS_LISTED_MAX);
        let mut views = Vec::new();
        for name in self.find(pipeline)? {
            let letters = self.inner.state.dead_letters(&name.id, after, limit - views.len()).await?;
            views.extend(letters.iter().map(|letter| DeadLetterView::of(letter, false)));
        }
        Ok(views)
    }

    /// One dead letter, with its values if asked.
    pub async fn dead_letter(
        &self,
        pipeline: &str,
        id: &str,
        values: bool,
    ) -> Result<Option<DeadLetterView>> {
        for name in self.find(pipeline)? {
            let letter = self.inner.state.dead_letter(&name.id, &DeadLetterId(id.into())).await?;
            if let Some(letter) = letter {
                return Ok(Some(DeadLetterView::of(&letter, values)));
            }
        }
        Ok(None)
    }
}

impl DeadLetterView {
    fn of(letter: &DeadLetter, values: bool) -> Self {
        let reason = &letter.reason;
        DeadLetterView {
            pipeline: letter.pipeline.to_string(),
            id: letter.id.to_string(),
            number: letter.number,
            table: letter.event.source.table.to_string(),
            change: letter.event.change.name(),
            position: letter.position.to_string(),
            code: reason.code.clone(),
            what: reason.what.clone(),
            column: reason.column.clone(),
            plugin: reason.plugin.as_ref().map(|(name, digest)| format!("{name}@{}", digest.short())),
            recorded: utc(letter.recorded_micros),
            values: values.then(|| Values::of(letter)),
        }
    }
}

impl Values {
    fn of(letter: &DeadLetter) -> Self {
        let event = &letter.event;
        let (before, after) = match &event.change {
            Change::Snapshot(row) | Change::Insert(row) => (None, Some(row)),
            Change::Update { before, after } => (before.as_ref(), Some(after)),
            Change::Delete(row) => (Some(row), None),
            Change::Truncate => (None, None),
        };
        let shown = |row: &Row| by_column(&event.table, row);
        Values {
            before: before.map(shown),
            after: after.map(shown),
            plugin_text: letter.reason.guest_text.clone(),
        }
    }
}

/// A row by column; columns whose value the log did not carry are left out, so that they can't be taken for null.
pub(super) fn by_column(schema: &TableSchema, row: &Row) -> Map<String, Json> {
    let columns = schema.columns.iter().map(|column| (column.name.to_string(), row.get(column.slot)));
    columns.filter(|(_, value)| value.is_present()).map(|(name, value)| (name, plain(value))).collect()
}

/// A value as plain JSON where JSON has it exactly, else tagged with its type.
fn plain(value: &Value) -> Json {
    match value {
        Value::Null | Value::Absent => Json::Null,
        Value::Bool(truth) => json!(truth),
        Value::Int64(number) => json!(number),
        Value::Uint64(number) => json!(number),
        Value::Float64(number) if number.is_finite() => json!(number),
        Value::Text(text) => json!(&**text),
        Value::Bytes(bytes) => json!({ "bytes": hex::encode(bytes) }),
        // Not for reading in again: what has no text of its own is shown as the engine writes it.
        other => serde_json::to_value(other).unwrap_or(Json::Null),
    }
}

/// A time in UTC, to the second.
pub fn utc(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_else(|_| "out of range".into())
}
