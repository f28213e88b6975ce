//! Small things for unit tests.

use std::sync::Arc;

use sluice_types::{Change, Column, ColumnType, Event, Position, Row, TableId, TableSchema, Value};

/// A table `name` with an integer key `id` and a text `v`.
pub(crate) fn schema(name: &str) -> Arc<TableSchema> {
    let column =
        |name: &str, ty, slot| Column { name: name.into(), ty, native: "".into(), nullable: slot > 0, slot };
    Arc::new(TableSchema {
        table: TableId::new("", name),
        database: "test".into(),
        kind: "memory".into(),
        version: 1,
        columns: vec![column("id", ColumnType::Int64, 0), column("v", ColumnType::Text, 1)],
        key: vec![0],
        before_images: true,
    })
}

pub(crate) fn at(n: u64) -> Position {
    Position::from_number(n, n.to_string())
}

pub(crate) fn row(id: i64, v: &str) -> Row {
    Row::new(vec![Value::Int64(id), v.into()])
}

pub(crate) fn insert(table: &Arc<TableSchema>, id: i64, index: u64) -> Event {
    Event::new(table.clone(), Change::Insert(row(id, "x")), 0, index)
}
