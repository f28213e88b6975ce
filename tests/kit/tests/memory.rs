//! The memory database passes the suite, as every connector does: with positions and with xids, with full and partial images.
#![allow(clippy::expect_used)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sluice_kit::conformance::{Harness, NativeValue};
use sluice_kit::memory::{AfterImages, Backup, BeforeImages, Database, Options};
use sluice_kit::{Statement, fields};
use sluice_types::ports::Endpoint;
use sluice_types::{ColumnType, TableId, Value};

/// Whole images, commits visible in the order of the log.
struct Plain(Memory);

/// As PostgreSQL: partial images, and commits that are in the log before snapshots see them.
struct Late(Memory);

struct Memory {
    database: Database,
    copy: Mutex<Option<Backup>>,
}

impl Memory {
    fn start(options: Options) -> Self {
        Memory { database: Database::new(options), copy: Mutex::default() }
    }

    fn run(&self, statements: &[Statement]) {
        // Some transactions become visible late, and not in order.
        let unseen = self.database.unseen();
        if unseen > 2 {
            self.database.reveal(unseen / 2);
        }
        self.database.run(statements).expect("the statements are good");
    }
}

fn values() -> Vec<NativeValue> {
    use ColumnType::*;
    let values = [
        (Boolean, Value::Bool(true)),
        (Int64, Value::Int64(i64::MIN)),
        (Int64, Value::Null),
        (Uint64, Value::Uint64(u64::MAX)),
        (Float64, Value::Float64(-0.0)),
        (Float64, Value::Float64(f64::NAN)),
        (Decimal, Value::Decimal("1.00".into())),
        (Text, "a\0é".into()),
        (Bytes, Value::Bytes(bytes::Bytes::from_static(&[0, 255]))),
        (Date, Value::Date(i32::MAX)),
        (Timestamptz, Value::Timestamptz(i64::MIN)),
        (Json, Value::Json("{ \"a\": 1}".into())),
    ];
    let native = |(ty, value): (ColumnType, Value)| {
        let literal = serde_json::to_string(&value).expect("values have JSON");
        NativeValue::new(ty.name(), ty, &literal, value)
    };
    values.map(native).into()
}

macro_rules! memory_harness {
    ($name:ident, $options:expr) => {
        #[async_trait]
        impl Harness for $name {
            async fn start() -> Self {
                $name(Memory::start($options))
            }

            fn endpoint(&self) -> Arc<dyn Endpoint> {
                Arc::new(self.0.database.clone())
            }

            async fn transaction(&self, statements: &[Statement]) {
                self.0.run(statements);
            }

            async fn rolled_back(&self, _statements: &[Statement]) {
                let open = self.0.database.begin();
                self.0.database.rollback(open);
            }

            async fn rows(&self, table: &TableId) -> Vec<Vec<Value>> {
                self.0.database.rows(table).iter().map(|row| row.values().to_vec()).collect()
            }

            async fn keep_copy(&self) {
                *self.0.copy.lock().unwrap() = Some(self.0.database.backup());
            }

            async fn restore_copy(&self) {
                self.0.database.restore(self.0.copy.lock().unwrap().as_ref().expect("a copy was kept"));
            }

            async fn interrupt(&self) -> bool {
                self.0.database.interrupt();
                true
            }

            async fn traces(&self) -> Vec<String> {
                if self.0.database.is_released() { vec![] } else { vec!["log".into()] }
            }

            fn values() -> Vec<NativeValue> {
                values()
            }

            async fn insert_literal(&self, table: &TableId, id: i64, literal: &str) {
                let value: Value = serde_json::from_str(literal).expect("a value as JSON");
                let row = fields(&[("id", id.into()), ("v", value)]);
                self.0.run(&[Statement::Insert { table: table.clone(), row }]);
                self.0.database.reveal(0);
            }

            fn unrepresentable() -> Option<(ColumnType, String, Value)> {
                Some((ColumnType::Text, String::new(), "unrepresentable".into()))
            }
        }
    };
}

memory_harness!(Plain, Options { unrepresentable: Some("unrepresentable".into()), ..Options::default() });
memory_harness!(
    Late,
    Options {
        before: BeforeImages::KeyIfChanged,
        after: AfterImages::Changed,
        late_visibility: true,
        unrepresentable: Some("unrepresentable".into()),
        ..Options::default()
    }
);

mod plain {
    use super::Plain;
    sluice_kit::conformance!(Plain);
}

mod late {
    use super::Late;
    sluice_kit::conformance!(Late);
}
