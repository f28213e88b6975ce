//! A document as the server keeps it, mutated: whatever the driver still takes for BSON is read without a panic, and nothing is made
//! of it that is larger than what came.

use mongodb::bson::RawDocumentBuf;
use proptest::prelude::*;

use super::*;
use crate::encode;
use crate::values::Microseconds;

const TYPES: [ColumnType; 20] = [
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

/// Numbers of 6,144 digits are kept in 16 bytes.
const DIGITS_MAX: usize = 6_200;

/// One of every type that is written, with arrays and documents in each other.
fn stored() -> Vec<u8> {
    let of = |items: Vec<Value>, dimensions: &[(u32, i32)]| {
        Value::Array(Arc::new(Array { dimensions: dimensions.to_vec(), items }))
    };
    let inner = Value::Document(Arc::new(Document(vec![("x".into(), 1.into()), ("y".into(), Value::Null)])));
    let extended = Extended { type_name: "postgres:inet".into(), text: "::1".into() };
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Int64(-5),
        Value::Uint64(u64::MAX),
        Value::Float64(0.5),
        Value::Decimal("-12.340".into()),
        Value::Decimal("1e6111".into()),
        Value::Text("žluť".into()),
        Value::Bytes(Bytes::from_static(b"\0\xff")),
        Value::Date(19_000),
        Value::Time(1),
        Value::Timestamptz(1_000),
        Value::Interval(Interval { months: 1, days: -2, micros: 3 }),
        Value::Uuid([7; 16]),
        Value::Json(r#"{"a": [1, 0.1, {"b": null}], "c": "d"}"#.into()),
        of((0..4).map(Value::Int64).collect(), &[(2, 1), (2, 1)]),
        of(vec![inner.clone(), Value::Null], &[(2, 1)]),
        inner,
        Value::ObjectId([3; 12]),
        Value::Extended(Arc::new(extended)),
    ];
    let mut out = vec![];
    let at = encode::open(&mut out);
    for (index, value) in values.iter().enumerate() {
        encode::element(&mut out, format!("f{index}\0").as_bytes(), value, Microseconds::Reject).unwrap();
    }
    encode::close(&mut out, at);
    out
}

/// Reads every field as a column of every type. How many fields there were.
fn read_all(bytes: Vec<u8>) -> usize {
    let length = bytes.len();
    let Ok(document) = RawDocumentBuf::from_bytes(bytes) else { return 0 };
    let fields: Vec<_> = document.iter().flatten().collect();
    for (_, stored) in &fields {
        for ty in TYPES {
            let weight = Row::new(vec![value(*stored, ty)]).weight();
            assert!(weight < 64 * length + length / 16 * DIGITS_MAX, "{weight} of {length} as {ty:?}");
        }
    }
    fields.len()
}

#[test]
fn a_whole_document_is_read() {
    assert_eq!(read_all(stored()), 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn mutated_documents_harm_nobody(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..12),
    ) {
        let mut bytes = stored();
        for (place, how, byte) in mutations {
            // Behind the document's own length, without which nothing of it is looked at.
            let at = 4 + place.index(bytes.len() - 5);
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] = if byte & 1 == 0 { 0xff } else { 0x7f },
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        read_all(bytes);
    }
}
