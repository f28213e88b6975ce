//! When two values are the same to a database, and which of two is the later one. Not `==`, which tells every spelling apart.

use std::cmp::Ordering;

use crate::value::Value;

/// Whether two values are the same to a database: numbers by what they are worth (`1.50` is `1.5`), JSON by what it says.
pub fn same(a: &Value, b: &Value) -> bool {
    use Value::{Array, Document, Enum, Json, Text};
    if a == b {
        return true;
    }
    match (a, b) {
        (Text(a) | Enum(a), Text(b) | Enum(b)) => a == b,
        (Json(a), Json(b)) => {
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            read(a).is_some_and(|a| Some(a) == read(b))
        }
        (Array(a), Array(b)) => {
            a.dimensions == b.dimensions && a.items.iter().zip(&b.items).all(|(a, b)| same(a, b))
        }
        (Document(a), Document(b)) => {
            a.0.len() == b.0.len() && a.0.iter().zip(&b.0).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
        }
        _ => match (Digits::of(a), Digits::of(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

/// Which of two values is the later or greater one; null is before everything. `None` where they can't be compared.
pub fn order(a: &Value, b: &Value) -> Option<Ordering> {
    use Value::{Absent, Date, Null, Text, Timestamp, Timestamptz};
    match (a, b) {
        (Absent, _) | (_, Absent) => None,
        (Null, Null) => Some(Ordering::Equal),
        (Null, _) => Some(Ordering::Less),
        (_, Null) => Some(Ordering::Greater),
        (Timestamp(a) | Timestamptz(a), Timestamp(b) | Timestamptz(b)) => Some(a.cmp(b)),
        (Date(a), Date(b)) => Some(a.cmp(b)),
        (Text(a), Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => Some(Digits::of(a)?.cmp(&Digits::of(b)?)),
    }
}

/// A number as decimal digits, so that those of different types compare exactly: sign, whole part without leading zeros, fraction without
/// trailing ones.
#[derive(Debug, PartialEq, Eq)]
struct Digits {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Digits {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Int64(number) => Digits::read(&number.to_string()),
            Value::Uint64(number) => Digits::read(&number.to_string()),
            Value::Float32(number) => Digits::read(&number.to_string()),
            Value::Float64(number) => Digits::read(&number.to_string()),
            Value::Decimal(text) => Digits::read(text),
            _ => None,
        }
    }

    /// `None` for what has no digits (`NaN`, infinities) or another form.
    fn read(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0').to_string();
        let fraction = fraction.trim_end_matches('0').to_string();
        let negative = negative && !(whole.is_empty() && fraction.is_empty());
        Some(Digits { negative, whole, fraction })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let size = |digits: &Self| (digits.whole.len(), digits.whole.clone(), digits.fraction.clone());
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self).cmp(&size(other)),
            (true, true) => size(other).cmp(&size(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.into())
    }

    #[test]
    fn numbers_are_what_they_are_worth() {
        for (a, b, alike) in [
            (decimal("1.50"), decimal("1.5"), true),
            (decimal("007"), Value::Int64(7), true),
            (decimal("-0"), Value::Float64(0.0), true),
            (Value::Uint64(7), Value::Int64(7), true),
            (Value::Float64(1.5), decimal("1.5"), true),
            (Value::Float64(f64::NAN), Value::Float64(f64::NAN), true),
            (decimal("NaN"), Value::Float64(f64::NAN), false),
            (Value::Int64(1), Value::Bool(true), false),
            (Value::Json("{\"a\":1,\"b\":2}".into()), Value::Json("{ \"b\": 2, \"a\": 1 }".into()), true),
            (Value::Null, Value::Absent, false),
            ("x".into(), Value::Enum("x".into()), true),
        ] {
            assert_eq!(same(&a, &b), alike, "{a:?} {b:?}");
            assert_eq!(same(&b, &a), alike, "{b:?} {a:?}");
        }
    }

    #[test]
    fn later_is_greater_and_null_is_first() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, expected) in [
            (Value::Int64(9), Value::Int64(10), Some(Less)),
            (decimal("-10"), Value::Int64(-9), Some(Less)),
            (decimal("1.10"), decimal("1.09"), Some(Greater)),
            (decimal("1.1"), decimal("1.10"), Some(Equal)),
            (Value::Null, Value::Timestamptz(i64::MIN), Some(Less)),
            (Value::Null, Value::Null, Some(Equal)),
            (Value::Timestamptz(2), Value::Timestamptz(1), Some(Greater)),
            ("2026-01-01 00:00:00+00:00".into(), "2026-01-01 00:00:00.5+00:00".into(), Some(Less)),
            (Value::Absent, Value::Int64(1), None),
            (Value::Bool(true), Value::Int64(1), None),
        ] {
            assert_eq!(order(&a, &b), expected, "{a:?} {b:?}");
            assert_eq!(order(&b, &a), expected.map(Ordering::reverse), "{b:?} {a:?}");
        }
    }
}
