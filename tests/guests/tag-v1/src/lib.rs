//! Adds a column `version` that says which version of this plugin wrote the row: for tests of swaps.

use sluice_sdk::{Answer, Batch, Col, ColumnType, Columns, Json, Table, Value, repeat};

struct Tag(Col);

impl Columns for Tag {
    type Config = Json;
    const SUMMARY: &'static str = "Says which version wrote a row";

    fn open(table: &mut Table, _: Json) -> Self {
        let version = table.add("", "version", ColumnType::Text);
        table.never_null(version);
        Tag(version)
    }

    fn batch(&self, batch: &mut Batch, answer: &mut Answer) -> Result<(), String> {
        let (data, state) = repeat(Value::Text("v1"), ColumnType::Text, batch.rows());
        answer.put(self.0, data, state);
        Ok(())
    }
}

sluice_sdk::export_columns!(Tag);
