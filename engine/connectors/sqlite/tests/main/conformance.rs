//! The suite that makes a connector.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sluice_kit::Statement;
use sluice_kit::conformance::{Harness, NativeValue};
use sluice_types::ports::Endpoint;
use sluice_types::{ColumnType, TableId, Value};

use crate::harness::Place;

struct Sqlite {
    place: Place,
}

impl Sqlite {
    fn copy(&self) -> std::path::PathBuf {
        self.place.folder.path().join("copy.db")
    }

    fn run(&self, statements: &[Statement], end: &str) {
        let writer = self.place.writer();
        writer.busy_timeout(Duration::from_secs(20)).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        for statement in statements {
            writer.execute_batch(&statement.to_sql(native)).unwrap();
        }
        writer.execute_batch(end).unwrap();
    }
}

fn native(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Int64 => "INTEGER",
        ColumnType::Float64 => "REAL",
        ColumnType::Bytes => "BLOB",
        _ => "TEXT",
    }
}

fn value(stored: ValueRef<'_>) -> Value {
    match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => Value::Float64(number),
        ValueRef::Text(text) => std::str::from_utf8(text).unwrap().into(),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec().into()),
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn start() -> Self {
        let place = Place::new();
        // An empty database, not a missing one.
        Connection::open(&place.path).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
        Sqlite { place }
    }

    fn endpoint(&self) -> Arc<dyn Endpoint> {
        self.place.endpoint()
    }

    async fn transaction(&self, statements: &[Statement]) {
        self.run(statements, "COMMIT");
    }

    async fn rolled_back(&self, statements: &[Statement]) {
        self.run(statements, "ROLLBACK");
    }

    async fn rows(&self, table: &TableId) -> Vec<Vec<Value>> {
        let reader = self.place.writer();
        let mut statement = reader.prepare(&format!("SELECT * FROM \"{}\" ORDER BY 1", table.name)).unwrap();
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| (0..columns).map(|index| row.get_ref(index).map(value)).collect())
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    async fn keep_copy(&self) {
        let _ = std::fs::remove_file(self.copy());
        self.place.writer().backup("main", self.copy(), None).unwrap();
    }

    async fn restore_copy(&self) {
        let fresh = self.place.folder.path().join("fresh.db");
        std::fs::copy(self.copy(), &fresh).unwrap();
        std::fs::rename(&fresh, &self.place.path).unwrap();
    }

    async fn interrupt(&self) -> bool {
        false
    }

    async fn traces(&self) -> Vec<String> {
        let reader = self.place.writer();
        let mut statement = reader
            .prepare(
                "SELECT name FROM sqlite_schema WHERE name LIKE 'sluice%' AND name <> 'sluice_checkpoint'",
            )
            .unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    fn values() -> Vec<NativeValue> {
        use ColumnType::*;
        let invalid = sluice_types::value::Extended { type_name: "sqlite:text".into(), text: "61ff".into() };
        vec![
            NativeValue::new("INTEGER", Int64, "NULL", Value::Null),
            NativeValue::new("INTEGER", Int64, "-9223372036854775807 - 1", Value::Int64(i64::MIN)),
            NativeValue::new("INTEGER", Int64, "9223372036854775807", Value::Int64(i64::MAX)),
            NativeValue::new("INTEGER", Int64, "1.5", Value::Float64(1.5)),
            NativeValue::new("INTEGER", Int64, "'x'", "x".into()),
            NativeValue::new("REAL", Float64, "1", Value::Float64(1.0)),
            NativeValue::new("REAL", Float64, "9e999", Value::Float64(f64::INFINITY)),
            NativeValue::new("REAL", Float64, "-9e999", Value::Float64(f64::NEG_INFINITY)),
            NativeValue::new("REAL", Float64, "5e-324", Value::Float64(5e-324)),
            NativeValue::new("REAL", Float64, "'x'", "x".into()),
            NativeValue::new(
                "VARCHAR(10)",
                Text,
                "'longer than ten, é, ''quoted'''",
                "longer than ten, é, 'quoted'".into(),
            ),
            NativeValue::new("VARCHAR(10)", Text, "''", "".into()),
            NativeValue::new("VARCHAR(10)", Text, "'a' || char(0) || 'b'", "a\0b".into()),
            NativeValue::new("VARCHAR(10)", Text, "1.50", "1.5".into()),
            NativeValue::new(
                "VARCHAR(10)",
                Text,
                "CAST(x'61ff' AS TEXT)",
                Value::Extended(Arc::new(invalid)),
            ),
            NativeValue::new("BLOB", Bytes, "x''", Value::Bytes(bytes::Bytes::new())),
            NativeValue::new("BLOB", Bytes, "x'00ff'", Value::Bytes(bytes::Bytes::from_static(&[0, 255]))),
            NativeValue::new("BLOB", Bytes, "'text'", "text".into()),
            NativeValue::new("BLOB", Bytes, "1.0", Value::Float64(1.0)),
            NativeValue::new("BLOB", Bytes, "1", 1.into()),
            NativeValue::new("BLOB", Bytes, "'1'", "1".into()),
            NativeValue::new("DECIMAL(10,2)", Float64, "'1.50'", Value::Float64(1.5)),
            NativeValue::new("DECIMAL(10,2)", Float64, "2.0", 2.into()),
            NativeValue::new("BOOLEAN", Int64, "TRUE", 1.into()),
            NativeValue::new("DATETIME", Text, "'2024-01-01 00:00:00'", "2024-01-01 00:00:00".into()),
        ]
    }

    async fn insert_literal(&self, table: &TableId, id: i64, literal: &str) {
        let insert = format!("INSERT INTO \"{}\" VALUES ({id}, {literal})", table.name);
        self.place.writer().execute_batch(&insert).unwrap();
    }

    fn unrepresentable() -> Option<(ColumnType, String, Value)> {
        Some((ColumnType::Float64, "REAL".into(), Value::Float64(f64::NAN)))
    }
}

sluice_kit::conformance!(Sqlite);
