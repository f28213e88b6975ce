//! Values as SQL writes them, for the keys in a condition: COPY takes no parameters.

use sluice_types::value::Array;
use sluice_types::{Key, TableSchema, Value};

use crate::decode::{date_text_of, timestamp_text_of};
use crate::errors::literal;

/// The key's values as a list of literals, each of its column's type.
pub(crate) fn key(schema: &TableSchema, key: &Key) -> String {
    key_values(schema, key).join(", ")
}

/// The key's values, each a literal of its column's type.
pub(crate) fn key_values(schema: &TableSchema, key: &Key) -> Vec<String> {
    let typed = schema.key_columns().zip(&key.0).map(|(column, value)| match text_of(value) {
        Some(text) => format!("{}::{}", literal(&text), column.native),
        None => format!("NULL::{}", column.native),
    });
    typed.collect()
}

/// The text that the server reads as this value; `None`: null.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    Some(match value {
        Value::Absent | Value::Null => return None,
        Value::Bool(flag) => flag.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Uint64(number) => number.to_string(),
        Value::Float32(number) => float_text(f64::from(*number), number.to_string()),
        Value::Float64(number) => float_text(*number, number.to_string()),
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) | Value::Enum(text) => text.to_string(),
        Value::Bytes(bytes) => format!("\\x{}", hexadecimal(bytes)),
        Value::Date(days) => date_text_of(*days),
        Value::Time(micros) => {
            let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
            format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        }
        Value::Timestamp(micros) => timestamp_text_of(*micros, ""),
        Value::Timestamptz(micros) => timestamp_text_of(*micros, "+00"),
        Value::Interval(span) => {
            format!("{} mons {} days {} microseconds", span.months, span.days, span.micros)
        }
        Value::Uuid(bytes) => hexadecimal(bytes),
        Value::ObjectId(bytes) => hexadecimal(bytes),
        Value::Extended(extended) => extended.text.to_string(),
        Value::Array(array) => array_text(array),
        // No document comes from this server.
        Value::Document(_) => return None,
    })
}

fn float_text(number: f64, shortest: String) -> String {
    match number {
        number if number.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ => shortest,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn array_text(array: &Array) -> String {
    if array.dimensions.is_empty() {
        return "{}".into();
    }
    let bounds: String = array
        .dimensions
        .iter()
        .map(|(length, lower)| format!("[{lower}:{}]", i64::from(*lower) + i64::from(*length) - 1))
        .collect();
    let lengths: Vec<usize> = array.dimensions.iter().map(|(length, _)| *length as usize).collect();
    format!("{bounds}={}", braces(&lengths, &array.items))
}

fn braces(lengths: &[usize], items: &[Value]) -> String {
    let parts: Vec<String> = match lengths {
        [] => return String::new(),
        [_] => items.iter().map(element).collect(),
        [length, inner @ ..] => {
            items.chunks((items.len() / (*length).max(1)).max(1)).map(|part| braces(inner, part)).collect()
        }
    };
    format!("{{{}}}", parts.join(","))
}

fn element(value: &Value) -> String {
    match text_of(value) {
        None => "NULL".into(),
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn values_are_written_as_the_server_reads_them() {
        for (value, text) in [
            (Value::Float64(f64::NEG_INFINITY), "-Infinity"),
            (Value::Float32(0.1), "0.1"),
            (Value::Bytes(bytes::Bytes::from_static(&[0, 255])), "\\x00ff"),
            (Value::Date(0), "1970-01-01"),
            (Value::Date(i32::MIN), "-infinity"),
            (Value::Date(-719_529), "0002-12-31 BC"),
            (Value::Timestamptz(-1), "1969-12-31 23:59:59.999999+00"),
            (Value::Time(86_400_000_000), "24:00:00.000000"),
        ] {
            assert_eq!(text_of(&value).as_deref(), Some(text));
        }
        let items = vec![1.into(), Value::Null, "a\"b".into(), 4.into()];
        let array = Array { dimensions: vec![(2, 0), (2, 1)], items };
        let expected = r#"[0:1][1:2]={{"1",NULL},{"a\"b","4"}}"#;
        assert_eq!(text_of(&Value::Array(Arc::new(array))).as_deref(), Some(expected));
    }
}
