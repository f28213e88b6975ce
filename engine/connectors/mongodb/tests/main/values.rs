//! Every row of `VALUES.md`: what is in the document, exactly, and what is refused.

use std::sync::Arc;

use bytes::Bytes;
use sluice_kit::statement::TableDef;
use sluice_servers::bson::{Bson, spec::BinarySubtype};
use sluice_types::value::{Array, Document};
use sluice_types::{Change, ColumnType, ErrorKind, Key, Row, TableId, TableSchema, Value};

use crate::harness::{Place, event, target, write};

fn one_column(name: &str, ty: ColumnType) -> Arc<TableSchema> {
    let def = TableDef::new(&TableId::new("", name)).column("id", ColumnType::Int64);
    def.native_column("v", ty, "").key(&["id"]).schema("s", "k")
}

fn array(dimensions: &[(u32, i32)], items: &[Value]) -> Value {
    Value::Array(Arc::new(Array { dimensions: dimensions.to_vec(), items: items.to_vec() }))
}

fn json(text: &str) -> Value {
    Value::Json(text.into())
}

/// Value and what the document shows; a type's name where the text alone does not tell.
fn golden() -> Vec<(ColumnType, Value, &'static str)> {
    use ColumnType::*;
    let nested = sluice_types::value::Document(vec![
        ("b.c".into(), Value::Int64(1)),
        ("$d".into(), Value::Null),
        ("".into(), "x".into()),
    ]);
    let extended = |name: &str, text: &str| {
        Value::Extended(Arc::new(sluice_types::value::Extended { type_name: name.into(), text: text.into() }))
    };
    let interval =
        |months, days, micros| Value::Interval(sluice_types::value::Interval { months, days, micros });
    vec![
        (Text, Value::Null, "null"),
        (Boolean, Value::Bool(true), "true"),
        (Int64, Value::Int64(i64::MIN), "int64 -9223372036854775808"),
        (Int64, Value::Int64(i64::MAX), "int64 9223372036854775807"),
        (Int64, Value::Int64(0), "int64 0"),
        (Uint64, Value::Uint64(i64::MAX as u64), "int64 9223372036854775807"),
        (Uint64, Value::Uint64(u64::MAX), "decimal128 18446744073709551615"),
        (Float32, Value::Float32(0.1), "double 0.10000000149011612"),
        (Float64, Value::Float64(0.1), "double 0.1"),
        (Float64, Value::Float64(-0.0), "double -0"),
        (Float64, Value::Float64(f64::NAN), "double NaN"),
        (Float64, Value::Float64(f64::NEG_INFINITY), "double -inf"),
        (Float64, Value::Float64(5e-324), "double 5e-324"),
        (Decimal, Value::Decimal("-12.340".into()), "decimal128 -12.340"),
        (Decimal, Value::Decimal("0.00".into()), "decimal128 0.00"),
        (
            Decimal,
            Value::Decimal("9999999999999999999999999999999999".into()),
            "decimal128 9999999999999999999999999999999999",
        ),
        (Decimal, Value::Decimal("NaN".into()), "decimal128 NaN"),
        (Decimal, Value::Decimal("-Infinity".into()), "decimal128 -Infinity"),
        (Text, "a\0é😀".into(), "\"a\u{0}é😀\""),
        (Text, "".into(), "\"\""),
        (Enumeration, Value::Enum("red".into()), "\"red\""),
        (Bytes, Value::Bytes(self::Bytes::from_static(&[0, 255])), "binary Generic 00ff"),
        (Bytes, Value::Bytes(self::Bytes::new()), "binary Generic "),
        (Uuid, Value::Uuid([7; 16]), "binary Uuid 07070707070707070707070707070707"),
        (Date, Value::Date(19_723), "date 1704067200000"),
        (Date, Value::Date(-719_162 - 366), "date -62167219200000"),
        (Timestamp, Value::Timestamp(1_500_000), "date 1500"),
        (Timestamptz, Value::Timestamptz(-1_000), "date -1"),
        (Time, Value::Time(86_399_999_999), "\"23:59:59.999999\""),
        (Time, Value::Time(86_400_000_000), "\"24:00:00\""),
        (Interval, interval(-1, 2, -3), "{ \"months\": -1, \"days\": 2, \"microseconds\": -3 }"),
        (Json, json("null"), "null"),
        (
            Json,
            json("[1, 1.50, 1e2, \"x\", true, {\"a\": {}}, []]"),
            "[int64 1, double 1.5, double 100, \"x\", true, { \"a\": {} }, []]",
        ),
        (Json, json("0.10000000000000000555"), "decimal128 0.10000000000000000555"),
        (Json, json("18446744073709551615"), "decimal128 18446744073709551615"),
        (
            Json,
            json("{\"a.b\": {\"$c\": 1, \"\": 2}, \"$ref\": 3}"),
            "{ \"a.b\": { \"$c\": 1, \"\": 2 }, \"$ref\": 3 }",
        ),
        (Array, array(&[], &[]), "[]"),
        (Array, array(&[(3, 1)], &["a".into(), Value::Null, "".into()]), "[\"a\", null, \"\"]"),
        (Array, array(&[(2, 1), (1, 1)], &[1.into(), 2.into()]), "[[int64 1], [int64 2]]"),
        (Document, Value::Document(Arc::new(nested)), "{ \"b.c\": 1, \"$d\": null, \"\": \"x\" }"),
        (ObjectId, Value::ObjectId([9; 12]), "ObjectId(\"090909090909090909090909\")"),
        (Extended, extended("postgres:inet", "::1"), "{ \"type\": \"postgres:inet\", \"text\": \"::1\" }"),
    ]
}

fn shown(value: &Bson) -> String {
    match value {
        Bson::Int32(number) => format!("int32 {number}"),
        Bson::Int64(number) => format!("int64 {number}"),
        Bson::Double(number) if *number != 0.0 && number.abs() < 1e-300 => format!("double {number:e}"),
        Bson::Double(number) => format!("double {number}"),
        Bson::Decimal128(number) => format!("decimal128 {number}"),
        Bson::DateTime(date) => format!("date {}", date.timestamp_millis()),
        Bson::Binary(binary) => {
            let digits: String = binary.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let subtype = if binary.subtype == BinarySubtype::Uuid { "Uuid" } else { "Generic" };
            format!("binary {subtype} {digits}")
        }
        Bson::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Bson::String(text) => format!("\"{text}\""),
        other => other.to_string(),
    }
}

/// By insert, by replacement, by `$set`; and back as the rows that the transaction sees.
#[tokio::test]
async fn every_value_is_stored_as_the_list_says() {
    let place = Place::new();
    let mut sink = place.sink().await;
    for (number, (ty, value, expected)) in golden().into_iter().enumerate() {
        let schema = one_column(&format!("v{number}"), ty);
        sink.prepare(&[target(&schema)]).await.unwrap();
        let image = |id: i64, value: &Value| Row::new(vec![id.into(), value.clone()]);
        let update = |id: i64, before: Option<Row>| {
            event(&schema, Change::Update { before, after: image(id, &value) })
        };
        write(&mut sink, &[event(&schema, Change::Insert(image(1, &value)))]).await;
        write(&mut sink, &[2, 3].map(|id| event(&schema, Change::Insert(image(id, &Value::Null))))).await;
        write(&mut sink, &[update(2, Some(image(2, &Value::Null)))]).await;
        // A second column that is absent makes it a `$set`.
        let def = TableDef::new(&schema.table).column("id", ColumnType::Int64).native_column("v", ty, "");
        let wider = def.column("w", ColumnType::Text).key(&["id"]).schema("s", "k");
        let partial = Row::new(vec![3.into(), value.clone(), Value::Absent]);
        let written =
            write(&mut sink, &[event(&wider, Change::Update { before: None, after: partial })]).await;
        assert_eq!(written.partial, [0usize; 0]);
        for document in place.find(&schema.table.name) {
            let stored = shown(document.get("v").unwrap());
            assert_eq!(stored, expected, "{ty} {document}");
        }
        let rows = sink
            .begin()
            .await
            .unwrap()
            .current(&schema, &[Key(vec![3.into()]), Key(vec![9.into()])])
            .await
            .unwrap();
        let read = rows[0].as_ref().unwrap().get(1);
        // JSON is the same by meaning.
        if !matches!(value, Value::Json(_)) {
            assert_eq!(read, &value, "{ty}");
        }
        assert_eq!(rows[1], None);
    }
}

#[tokio::test]
async fn what_is_not_stored_exactly_is_refused() {
    let place = Place::new();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let mut sink = place.sink().await;
    for (ty, value) in [
        (ColumnType::Decimal, Value::Decimal("12345678901234567890123456789012345".into())),
        (ColumnType::Decimal, Value::Decimal("1e9999".into())),
        (ColumnType::Date, Value::Date(i32::MAX)),
        (ColumnType::Timestamp, Value::Timestamp(i64::MIN)),
        (ColumnType::Timestamptz, Value::Timestamptz(i64::MAX)),
        (ColumnType::Timestamptz, Value::Timestamptz(1_500_001)),
        (ColumnType::Json, json("{\"a\": 1, \"a\": 1}")),
        (ColumnType::Json, json("{\"a\\u0000\": 1}")),
        (ColumnType::Json, json("\"\\ud800\"")),
        (ColumnType::Json, json("nope")),
        (ColumnType::Json, json(&deep)),
        (ColumnType::Json, json("0.1234567890123456789012345678901234567")),
        (ColumnType::Array, array(&[(1, 0)], &[Value::Null])),
        (ColumnType::Document, Value::Document(Arc::new(Document(vec![("a\0".into(), Value::Null)])))),
    ] {
        let schema = one_column("refused", ty);
        sink.prepare(&[target(&schema)]).await.unwrap();
        let mut tx = sink.begin().await.unwrap();
        let row = Row::new(vec![1.into(), value.clone()]);
        let error = tx.write(&[event(&schema, Change::Insert(row))]).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.event()),
            (ErrorKind::ValueUnrepresentable, Some(0)),
            "{ty}: {error}"
        );
        assert_eq!(error.place().column.as_deref(), Some("v"));
        assert!(error.remedy_text().is_some());
    }
    assert_eq!(place.find("refused").len(), 0);
}
