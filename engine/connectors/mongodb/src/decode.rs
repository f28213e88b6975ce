//! BSON as canonical values: the other way of `encode`, by the column's type where BSON has fewer types than the value model.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{RawArray, RawBsonRef, RawDocument};
use sluice_types::value::{Array, Document, Extended, Interval};
use sluice_types::{ColumnType, Row, TableSchema, Value};

use crate::decimal;
use crate::plan::ID;
use crate::values::parse_time;

/// The row that a document holds. A field that is not there is null: MongoDB does not tell the two apart.
pub(crate) fn row(document: &RawDocument, schema: &TableSchema) -> Row {
    let mut values = vec![Value::Absent; schema.slots()];
    let id = document.get(ID).ok().flatten();
    for (index, column) in schema.columns.iter().enumerate() {
        let stored = if !schema.is_key(index) {
            document.get(&*column.name).ok().flatten()
        } else if schema.key.len() == 1 {
            id
        } else {
            id.and_then(|id| id.as_document()).and_then(|id| id.get(&*column.name).ok().flatten())
        };
        values[column.slot as usize] = stored.map_or(Value::Null, |stored| value(stored, column.ty));
    }
    Row::new(values)
}

/// A value of a column of this type.
pub(crate) fn value(stored: RawBsonRef<'_>, ty: ColumnType) -> Value {
    match (stored, ty) {
        (RawBsonRef::Null, _) => Value::Null,
        (_, ColumnType::Json) => Value::Json(json(stored).into()),
        (RawBsonRef::Int64(number), ColumnType::Uint64) if number >= 0 => Value::Uint64(number as u64),
        (RawBsonRef::Decimal128(number), ColumnType::Uint64) => {
            let digits = decimal::decode(number.bytes()).to_string();
            digits.parse().map_or_else(|_| Value::Decimal(digits.into()), Value::Uint64)
        }
        (RawBsonRef::Double(number), ColumnType::Float32) => Value::Float32(number as f32),
        (RawBsonRef::DateTime(date), ColumnType::Date) => {
            let days = date.timestamp_millis().div_euclid(86_400_000);
            i32::try_from(days).map_or_else(|_| natural(stored), Value::Date)
        }
        (RawBsonRef::DateTime(date), ColumnType::Timestamp) => {
            Value::Timestamp(date.timestamp_millis().saturating_mul(1000))
        }
        (RawBsonRef::String(text), ColumnType::Enumeration) => Value::Enum(text.into()),
        (RawBsonRef::String(text), ColumnType::Time) => {
            parse_time(text).map_or_else(|| text.into(), Value::Time)
        }
        (RawBsonRef::Document(document), ColumnType::Interval) => {
            interval(document).map_or_else(|| natural(stored), Value::Interval)
        }
        (RawBsonRef::Document(document), ColumnType::Extended) => {
            extended(document).map_or_else(|| natural(stored), |extended| Value::Extended(Arc::new(extended)))
        }
        _ => natural(stored),
    }
}

fn interval(document: &RawDocument) -> Option<Interval> {
    let months = document.get_i32("months").ok()?;
    let days = document.get_i32("days").ok()?;
    Some(Interval { months, days, micros: document.get_i64("microseconds").ok()? })
}

fn extended(document: &RawDocument) -> Option<Extended> {
    let type_name = document.get_str("type").ok()?.into();
    Some(Extended { type_name, text: document.get_str("text").ok()?.into() })
}

/// A value whose type only BSON tells.
fn natural(stored: RawBsonRef<'_>) -> Value {
    match stored {
        RawBsonRef::Null => Value::Null,
        RawBsonRef::Boolean(truth) => Value::Bool(truth),
        RawBsonRef::Int32(number) => Value::Int64(number.into()),
        RawBsonRef::Int64(number) => Value::Int64(number),
        RawBsonRef::Double(number) => Value::Float64(number),
        RawBsonRef::Decimal128(number) => Value::Decimal(decimal::decode(number.bytes()).to_string().into()),
        RawBsonRef::String(text) => Value::Text(text.into()),
        RawBsonRef::DateTime(date) => Value::Timestamptz(date.timestamp_millis().saturating_mul(1000)),
        RawBsonRef::ObjectId(id) => Value::ObjectId(id.bytes()),
        RawBsonRef::Binary(binary) => match (binary.subtype, <[u8; 16]>::try_from(binary.bytes)) {
            (BinarySubtype::Uuid, Ok(bytes)) => Value::Uuid(bytes),
            (BinarySubtype::Generic, _) => Value::Bytes(Bytes::copy_from_slice(binary.bytes)),
            _ => other("binary", stored),
        },
        RawBsonRef::Array(items) => array(items),
        RawBsonRef::Document(document) => {
            let fields = document.iter().flatten();
            Value::Document(Arc::new(Document(
                fields.map(|(name, value)| (name.into(), natural(value))).collect(),
            )))
        }
        RawBsonRef::RegularExpression(_) => other("regex", stored),
        RawBsonRef::Timestamp(_) => other("timestamp", stored),
        _ => other("other", stored),
    }
}

/// What has no canonical type, with its bytes in hexadecimal digits behind the number of its type.
fn other(name: &str, stored: RawBsonRef<'_>) -> Value {
    let mut bytes = vec![];
    crate::key::push_raw(&mut bytes, stored);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Value::Extended(Arc::new(Extended { type_name: format!("mongodb:{name}").into(), text: text.into() }))
}

/// Arrays of arrays of one length become dimensions; others are arrays of one.
fn array(items: &RawArray) -> Value {
    let items: Vec<Value> = items.into_iter().flatten().map(natural).collect();
    let shape = |item: &Value| match item {
        Value::Array(inner) if !inner.dimensions.is_empty() => Some(inner.dimensions.clone()),
        _ => None,
    };
    let length = (items.len() as u32, 1);
    let inner = items
        .first()
        .and_then(shape)
        .filter(|first| items.iter().all(|item| shape(item).as_ref() == Some(first)));
    let made = match inner {
        Some(inner) => {
            let dimensions = std::iter::once(length).chain(inner).collect();
            let flat = items.into_iter().flat_map(|item| match item {
                Value::Array(inner) => inner.items.clone(),
                item => vec![item],
            });
            Array { dimensions, items: flat.collect() }
        }
        None if items.is_empty() => Array { dimensions: vec![], items },
        None => Array { dimensions: vec![length], items },
    };
    Value::Array(Arc::new(made))
}

/// The JSON text of what `json` wrote. What JSON has no type for is text.
fn json(stored: RawBsonRef<'_>) -> String {
    let mut out = String::new();
    push_json(&mut out, stored);
    out
}

fn push_json(out: &mut String, stored: RawBsonRef<'_>) {
    let written = match stored {
        RawBsonRef::Boolean(truth) => write!(out, "{truth}"),
        RawBsonRef::Int32(number) => write!(out, "{number}"),
        RawBsonRef::Int64(number) => write!(out, "{number}"),
        RawBsonRef::Double(number) if number.is_finite() => write!(out, "{number:?}"),
        RawBsonRef::Decimal128(number) => write!(out, "{}", decimal::decode(number.bytes())),
        RawBsonRef::String(text) => {
            push_json_text(out, text);
            Ok(())
        }
        RawBsonRef::Array(items) => {
            out.push('[');
            for (index, item) in items.into_iter().flatten().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_json(out, item);
            }
            out.push(']');
            Ok(())
        }
        RawBsonRef::Document(document) => {
            out.push('{');
            for (index, (name, value)) in document.iter().flatten().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_json_text(out, name);
                out.push(':');
                push_json(out, value);
            }
            out.push('}');
            Ok(())
        }
        RawBsonRef::Null => write!(out, "null"),
        other => {
            push_json_text(out, &format!("{other:?}"));
            Ok(())
        }
    };
    debug_assert!(written.is_ok(), "writing to text does not fail");
}

fn push_json_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod mutated;

#[cfg(test)]
mod tests {
    use mongodb::bson::RawDocumentBuf;
    use proptest::prelude::*;

    use super::*;
    use crate::encode;
    use crate::values::Microseconds;

    /// What is read back of what was written.
    fn through(value: &Value, ty: ColumnType) -> Result<Value, &'static str> {
        let mut out = vec![];
        let at = encode::open(&mut out);
        encode::element(&mut out, b"v\0", value, Microseconds::Reject)?;
        encode::close(&mut out, at);
        let document = RawDocumentBuf::from_bytes(out).expect("BSON");
        document.clone().to_document().expect("well formed to its depths");
        Ok(super::value(document.get("v").unwrap().unwrap(), ty))
    }

    fn array(dimensions: &[(u32, i32)], items: Vec<Value>) -> Value {
        Value::Array(Arc::new(Array { dimensions: dimensions.to_vec(), items }))
    }

    #[test]
    fn every_type_comes_back() {
        use ColumnType::*;
        let document = sluice_types::value::Document(vec![("a".into(), 1.into()), ("a".into(), Value::Null)]);
        let extended =
            sluice_types::value::Extended { type_name: "postgres:inet".into(), text: "::1".into() };
        for (ty, value) in [
            (Boolean, Value::Bool(true)),
            (Int64, Value::Int64(i64::MIN)),
            (Int64, Value::Int64(i64::MAX)),
            (Uint64, Value::Uint64(0)),
            (Uint64, Value::Uint64(u64::MAX)),
            (Float32, Value::Float32(-0.0)),
            (Float32, Value::Float32(f32::MIN_POSITIVE)),
            (Float64, Value::Float64(f64::NAN)),
            (Float64, Value::Float64(f64::NEG_INFINITY)),
            (Decimal, Value::Decimal("-12.340".into())),
            (Decimal, Value::Decimal("NaN".into())),
            (Decimal, Value::Decimal("Infinity".into())),
            (Text, Value::Text("a\0é😀".into())),
            (Text, Value::Text("".into())),
            (Bytes, Value::Bytes(bytes::Bytes::from_static(&[0, 255]))),
            (Date, Value::Date(-719_162)),
            (Date, Value::Date(i32::MAX - 1)),
            (Time, Value::Time(86_400_000_000)),
            (Timestamp, Value::Timestamp(-1_000)),
            (Timestamptz, Value::Timestamptz(1_700_000_000_123_000)),
            (
                Interval,
                Value::Interval(sluice_types::value::Interval { months: -1, days: 2, micros: i64::MIN }),
            ),
            (Uuid, Value::Uuid([7; 16])),
            (Json, Value::Json("{\"a\":[1,2.5,null,{\"b\":\"\\u0000\"}]}".into())),
            (Array, array(&[], vec![])),
            (Array, array(&[(2, 1)], vec![1.into(), Value::Null])),
            (Array, array(&[(2, 1), (2, 1)], (0..4).map(Value::Int64).collect())),
            (Document, Value::Document(Arc::new(document))),
            (ObjectId, Value::ObjectId([9; 12])),
            (Enumeration, Value::Enum("red".into())),
            (Extended, Value::Extended(Arc::new(extended))),
            (Text, Value::Null),
        ] {
            assert_eq!(through(&value, ty), Ok(value.clone()), "{ty}");
        }
    }

    #[test]
    fn what_bson_does_not_hold_is_refused() {
        for value in [
            Value::Absent,
            Value::Decimal("1".repeat(35).into()),
            Value::Date(i32::MAX),
            Value::Timestamp(i64::MIN),
            Value::Timestamptz(1),
            Value::Time(-1),
            Value::Json("{".into()),
            array(&[(1, 0)], vec![Value::Null]),
            array(&[(2, 1)], vec![Value::Null]),
            array(&[(1, 1)], vec![Value::Timestamp(1)]),
        ] {
            assert!(through(&value, ColumnType::Text).is_err(), "{value:?}");
        }
    }

    fn any_value() -> impl Strategy<Value = (ColumnType, Value)> {
        use ColumnType::*;
        prop_oneof![
            any::<i64>().prop_map(|v| (Int64, Value::Int64(v))),
            any::<u64>().prop_map(|v| (Uint64, Value::Uint64(v))),
            any::<f64>().prop_map(|v| (Float64, Value::Float64(v))),
            any::<f32>()
                .prop_filter("a NaN's bits", |v| !v.is_nan())
                .prop_map(|v| (Float32, Value::Float32(v))),
            "-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,18})?".prop_map(|v| (Decimal, Value::Decimal(v.into()))),
            ".*".prop_map(|v| (Text, Value::Text(v.into()))),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|v| (Bytes, Value::Bytes(v.into()))),
            (i32::MIN + 1..i32::MAX).prop_map(|v| (Date, Value::Date(v))),
            (0i64..=86_400_000_000).prop_map(|v| (Time, Value::Time(v))),
            (i64::MIN / 1000 + 1..i64::MAX / 1000).prop_map(|v| (Timestamptz, Value::Timestamptz(v * 1000))),
            any::<[u8; 16]>().prop_map(|v| (Uuid, Value::Uuid(v))),
        ]
    }

    proptest! {
        #[test]
        fn every_value_round_trips((ty, value) in any_value()) {
            prop_assert_eq!(through(&value, ty), Ok(value));
        }

        #[test]
        fn arrays_of_values_are_well_formed(values in prop::collection::vec(any_value(), 0..30)) {
            let length = values.len() as u32;
            let items = values.into_iter().map(|(_, value)| value).collect();
            let dimensions = if length == 0 { vec![] } else { vec![(length, 1)] };
            prop_assert!(through(&array(&dimensions, items), ColumnType::Array).is_ok());
        }
    }
}
