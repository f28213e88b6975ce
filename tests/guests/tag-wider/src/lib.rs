//! A third version of the tagging plugin that wants more than the others: it reads every column and drops the last one that is no key.

use sluice_sdk::{Answer, Batch, Col, ColumnType, Columns, Json, Table, Value, repeat};

struct Tag(Col);

impl Columns for Tag {
    type Config = Json;
    const SUMMARY: &'static str = "Says which version wrote a row, and wants more than it should";

    fn open(table: &mut Table, _: Json) -> Self {
        let names: Vec<String> = table.columns().iter().map(|column| column.name.clone()).collect();
        for name in &names {
            table.read("", name);
        }
        let last = table.columns().iter().rev().find(|column| !column.key).map(|column| column.name.clone());
        if let Some(last) = last {
            table.drop("", &last);
        }
        let version = table.add("", "version", ColumnType::Text);
        table.computed_from(version, &[]);
        table.never_null(version);
        Tag(version)
    }

    fn batch(&self, batch: &mut Batch, answer: &mut Answer) -> Result<(), String> {
        let (data, state) = repeat(Value::Text("v3"), ColumnType::Text, batch.rows());
        answer.put(self.0, data, state);
        Ok(())
    }
}

sluice_sdk::export_columns!(Tag);
