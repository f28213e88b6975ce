//! Every value crosses into a guest and back unchanged (I7).

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_types::value::{Array, Document, Extended, Interval};
use sluice_types::{Change, ColumnType, Row, TableSchema, Value};

use crate::support::{TestHost, table};

pub const TYPES: [ColumnType; 20] = [
    ColumnType::Boolean,
    ColumnType::Int64,
    ColumnType::Uint64,
    ColumnType::Float32,
    ColumnType::Float64,
    ColumnType::Decimal,
    ColumnType::Text,
    ColumnType::Bytes,
    ColumnType::Date,
    ColumnType::Time,
    ColumnType::Timestamp,
    ColumnType::Timestamptz,
    ColumnType::Interval,
    ColumnType::Uuid,
    ColumnType::Json,
    ColumnType::Array,
    ColumnType::Document,
    ColumnType::ObjectId,
    ColumnType::Enumeration,
    ColumnType::Extended,
];

/// A table with a key and a column of every type.
pub fn every_type() -> Arc<TableSchema> {
    let columns = TYPES.iter().map(|ty| (ty.name(), *ty));
    table(&[("id", ColumnType::Int64)].into_iter().chain(columns).collect::<Vec<_>>())
}

fn text() -> impl Strategy<Value = String> {
    let one = prop_oneof!["[a-z]{0,12}", "[\u{0}a\u{e9}\u{20ac}\u{1f600}]{0,6}", Just("\0".to_string())];
    one.boxed()
}

fn plain(ty: ColumnType) -> BoxedStrategy<Value> {
    match ty {
        ColumnType::Boolean => any::<bool>().prop_map(Value::Bool).boxed(),
        ColumnType::Int64 => any::<i64>().prop_map(Value::Int64).boxed(),
        ColumnType::Uint64 => any::<u64>().prop_map(Value::Uint64).boxed(),
        // wasm may change the bits of a NaN, so there is one of them here
        ColumnType::Float32 => prop_oneof![any::<f32>().prop_filter("NaN", |f| !f.is_nan()), Just(f32::NAN)]
            .prop_map(Value::Float32)
            .boxed(),
        ColumnType::Float64 => prop_oneof![any::<f64>().prop_filter("NaN", |f| !f.is_nan()), Just(f64::NAN)]
            .prop_map(Value::Float64)
            .boxed(),
        ColumnType::Decimal => {
            prop_oneof!["-?[0-9]{1,30}(\\.[0-9]{1,9})?", Just("NaN".into()), Just("-Infinity".into())]
                .prop_map(|text: String| Value::Decimal(text.into()))
                .boxed()
        }
        ColumnType::Text => text().prop_map(|text| Value::Text(text.into())).boxed(),
        ColumnType::Bytes => {
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())).boxed()
        }
        ColumnType::Date => any::<i32>().prop_map(Value::Date).boxed(),
        ColumnType::Time => (0..=86_400_000_000i64).prop_map(Value::Time).boxed(),
        ColumnType::Timestamp => prop_oneof![any::<i64>(), Just(i64::MAX)].prop_map(Value::Timestamp).boxed(),
        ColumnType::Timestamptz => {
            prop_oneof![any::<i64>(), Just(i64::MIN)].prop_map(Value::Timestamptz).boxed()
        }
        ColumnType::Interval => any::<(i32, i32, i64)>()
            .prop_map(|(months, days, micros)| Value::Interval(Interval { months, days, micros }))
            .boxed(),
        ColumnType::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        ColumnType::Json => prop_oneof!["\\{ \"[a-z]{1,5}\" :[0-9]{1,5}\\}", Just("null".into())]
            .prop_filter("numbers", |text: &String| !text.contains(":0"))
            .prop_map(|text| Value::Json(text.into()))
            .boxed(),
        ColumnType::Array => proptest::collection::vec(leaf(), 0..4)
            .prop_map(|items| {
                let dimensions = if items.is_empty() { vec![] } else { vec![(items.len() as u32, 1)] };
                Value::Array(Array { dimensions, items }.into())
            })
            .boxed(),
        ColumnType::Document => proptest::collection::vec((text(), leaf()), 0..4)
            .prop_map(|fields| {
                let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
                Value::Document(Document(fields).into())
            })
            .boxed(),
        ColumnType::ObjectId => any::<[u8; 12]>().prop_map(Value::ObjectId).boxed(),
        ColumnType::Enumeration => text().prop_map(|text| Value::Enum(text.into())).boxed(),
        ColumnType::Extended => ("[a-z]{1,5}:[a-z \\\\]{1,8}", text())
            .prop_map(|(name, text)| {
                Value::Extended(Extended { type_name: name.into(), text: text.into() }.into())
            })
            .boxed(),
    }
}

/// A value inside of another.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Int64),
        Just(Value::Float64(-0.0)),
        text().prop_map(|text| Value::Text(text.into())),
        any::<i32>().prop_map(Value::Date),
    ]
}

fn value(ty: ColumnType) -> impl Strategy<Value = Value> {
    prop_oneof![6 => plain(ty), 1 => Just(Value::Null), 1 => Just(Value::Absent)]
}

pub fn row() -> impl Strategy<Value = Row> {
    let values: Vec<_> = TYPES.iter().map(|ty| value(*ty).boxed()).collect();
    (any::<i64>(), values).prop_map(|(id, mut values)| {
        values.insert(0, Value::Int64(id));
        Row::new(values)
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        row().prop_map(Change::Snapshot),
        row().prop_map(Change::Insert),
        row().prop_map(Change::Delete),
        row().prop_map(|after| Change::Update { before: None, after }),
        (row(), row()).prop_map(|(before, after)| Change::Update { before: Some(before), after }),
    ]
}

#[test]
fn every_value_comes_back_from_an_echo() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let hosts = runtime.block_on(TestHost::every_language());
    let configs = [r#"{"do":"echo"}"#, r#"{"do":"echo","joined":true}"#, r#"{"do":"fan-out","times":1}"#];
    for (host, config) in hosts.iter().flat_map(|host| configs.map(|config| (host, config))) {
        host.language();
        let table = every_type();
        let line = runtime.block_on(host.probe(&table, config)).unwrap();
        let line = std::cell::RefCell::new(line);
        let mut runner =
            TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
        runner
            .run(&proptest::collection::vec(change(), 1..20), |changes| {
                let mut line = line.borrow_mut();
                let before: Vec<Change> = changes.clone();
                let made = runtime.block_on(line.apply(changes)).unwrap();
                prop_assert!(made.rejected.is_empty(), "{:?}", made.rejected);
                prop_assert_eq!(made.events.len(), before.len());
                for (mut event, mut before) in made.events.into_iter().zip(before) {
                    prop_assert_eq!(event.change.name(), before.name());
                    prop_assert_eq!(event.to_original().change, before.clone());
                    prop_assert!(Arc::ptr_eq(&event.table, &line.outputs[0]));
                    for (after, before) in event.change.images_mut().zip(before.images_mut()) {
                        prop_assert_eq!(line.values(after), before.values().to_vec());
                    }
                }
                Ok(())
            })
            .unwrap();
    }
}

#[tokio::test]
async fn renames_and_drops_move_nothing() {
    let host = TestHost::new().await;
    let table = crate::support::people();
    let config = r#"{"do":"nothing","read":[],"rename":[["name","full_name"]],"drop":["note"]}"#;
    let mut line = host.probe(&table, config).await.unwrap();
    let names: Vec<&str> = line.outputs[0].columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["id", "full_name"]);
    let made = line.apply(vec![crate::support::insert(1, "Ann")]).await.unwrap();
    let Change::Insert(row) = &made.events[0].change else { panic!("{:?}", made.events) };
    assert_eq!(row.values().len(), 3, "nothing was appended");
    assert_eq!(line.values(row), [Value::Int64(1), "Ann".into()]);
}
