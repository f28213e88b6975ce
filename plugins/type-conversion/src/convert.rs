//! One value to another type, exactly (I7): never rounded, truncated or guessed.

use serde::de::IgnoredAny;
use sluice_sdk::Value;

use crate::moments;
use crate::numbers;
use crate::rule::{Rule, To};

/// A value of the target type.
#[derive(Clone, Debug, PartialEq)]
pub enum Converted {
    /// Only for JSON's null, which is a null of any type.
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Also decimal and json.
    Text(String),
    Days(i32),
    Micros(i64),
}

/// Why not: kept with the refused event. Says nothing of the value, which is there anyway.
pub type Why = String;

pub fn convert(value: Value<'_>, rule: &Rule) -> Result<Converted, Why> {
    let inner;
    let value = match value {
        Value::Text(text) | Value::Enumeration(text) if rule.trim => Value::Text(text.trim()),
        // What is in the JSON counts, not how it is written.
        Value::Json(json) if !matches!(rule.to, To::Json | To::Text) => match scalar(json)? {
            Scalar::Null => return Ok(Converted::Null),
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Text(text) => {
                inner = text;
                Value::Text(&inner)
            }
        },
        value => value,
    };
    match rule.to {
        To::Integer => numbers::integer(value).map(Converted::Int),
        To::Float => numbers::float(value).map(Converted::Float),
        To::Decimal => numbers::decimal(value, rule.from).map(Converted::Text),
        To::Boolean => boolean(value).map(Converted::Bool),
        To::Date => moments::date(value, rule).map(Converted::Days),
        To::Datetime => moments::datetime(value, rule).map(Converted::Micros),
        To::Text => text(value, rule).map(Converted::Text),
        To::Json => json(value, rule).map(Converted::Text),
    }
}

enum Scalar {
    Null,
    Bool(bool),
    /// A text, or the digits of a number.
    Text(String),
}

fn scalar(json: &str) -> Result<Scalar, Why> {
    let json = json.trim_matches([' ', '\t', '\n', '\r']);
    match json {
        "null" => Ok(Scalar::Null),
        "true" => Ok(Scalar::Bool(true)),
        "false" => Ok(Scalar::Bool(false)),
        _ if json.starts_with('"') => {
            serde_json::from_str(json).map(Scalar::Text).map_err(|_| "not JSON".into())
        }
        _ if json.starts_with(['{', '[']) => Err("a JSON object or array is no single value".into()),
        _ => Ok(Scalar::Text(json.into())),
    }
}

fn boolean(value: Value<'_>) -> Result<bool, Why> {
    const TRUE: [&str; 6] = ["true", "t", "yes", "y", "on", "1"];
    const FALSE: [&str; 6] = ["false", "f", "no", "n", "off", "0"];
    let is = |words: [&str; 6], text: &str| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match value {
        Value::Bool(value) => Ok(value),
        Value::Text(text) | Value::Enumeration(text) if is(TRUE, text) => Ok(true),
        Value::Text(text) | Value::Enumeration(text) if is(FALSE, text) => Ok(false),
        Value::Text(_) | Value::Enumeration(_) => {
            Err("neither true nor false (true, t, yes, y, on, 1; false, f, no, n, off, 0)".into())
        }
        number => match numbers::integer(number)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("as a boolean a number is 0 or 1".into()),
        },
    }
}

fn text(value: Value<'_>, rule: &Rule) -> Result<String, Why> {
    Ok(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Float(value) => numbers::shortest(value, rule.from),
        Value::Decimal(value) => value.0.into(),
        Value::Text(value)
        | Value::Enumeration(value)
        | Value::Interval(value)
        | Value::Json(value)
        | Value::Array(value)
        | Value::Document(value)
        | Value::Extended(value) => value.into(),
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::Timestamptz(_) => {
            moments::text(value, rule)?
        }
        Value::Uuid(uuid) => {
            let digits = hex(&uuid);
            [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
        }
        Value::ObjectId(bytes) => hex(bytes),
        Value::Bytes(_) | Value::Null | Value::Absent => return Err("this has no text".into()),
    })
}

fn json(value: Value<'_>, rule: &Rule) -> Result<String, Why> {
    Ok(match value {
        Value::Text(text) | Value::Enumeration(text) => {
            serde_json::from_str::<IgnoredAny>(text).map_err(|_| "not JSON")?;
            text.into()
        }
        Value::Float(value) if !value.is_finite() => return Err("JSON has no such number".into()),
        Value::Decimal(value) => {
            let plain = numbers::plain(value).ok_or("JSON has no such number")?;
            json_number(&plain)
        }
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Json(_) => {
            text(value, rule)?
        }
        other => serde_json::Value::String(text(other, rule)?).to_string(),
    })
}

/// JSON allows no zeros before the number.
fn json_number(plain: &str) -> String {
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain), |digits| ("-", digits));
    let digits = digits.trim_start_matches('0');
    let zero = if digits.is_empty() || digits.starts_with('.') { "0" } else { "" };
    format!("{sign}{zero}{digits}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
