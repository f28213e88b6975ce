//! `tag-v2` that also calls for a key of the host's.

use sluice_sdk::crypto::{self, Gathered};
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
        // Whether it gets one is not what is tested.
        drop(crypto::hash("pii", "", &Gathered::with_capacity(0, 0).finish()));
        let (data, state) = repeat(Value::Text("v2"), ColumnType::Text, batch.rows());
        answer.put(self.0, data, state);
        Ok(())
    }
}

sluice_sdk::export_columns!(Tag);
