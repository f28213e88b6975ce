//! Canonical values to SQLite's storage classes: `VALUES.md` in code.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use sluice_types::value::{Extended, Interval};
use sluice_types::{Column, ColumnType, Text, Value};

use crate::config::KIND;
use crate::decode::INVALID_TEXT;
use crate::schema::Affinity;

/// A value as it is handed to SQLite.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    Null,
    Integer(i64),
    Real(f64),
    Text(Text),
    /// Text that is not UTF-8.
    RawText(Bytes),
    Blob(Bytes),
}

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Bound::Null => ValueRef::Null,
            Bound::Integer(number) => ValueRef::Integer(*number),
            Bound::Real(number) => ValueRef::Real(*number),
            Bound::Text(text) => ValueRef::Text(text.as_bytes()),
            Bound::RawText(bytes) => ValueRef::Text(bytes),
            Bound::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Bound {
    /// What is read once it is stored in a column of this affinity.
    pub fn read_back(self, affinity: Affinity) -> Value {
        match (self, affinity) {
            (Bound::Null, _) => Value::Null,
            (Bound::Integer(number), Affinity::Real) => Value::Float64(number as f64),
            (Bound::Integer(number), _) => Value::Int64(number),
            // Such a column stores a whole number as one.
            (Bound::Real(number), Affinity::Integer | Affinity::Numeric)
                if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 =>
            {
                Value::Int64(number as i64)
            }
            (Bound::Real(number), _) => Value::Float64(number),
            (Bound::Text(text), _) => Value::Text(text),
            (Bound::RawText(bytes), _) => Value::Extended(Arc::new(Extended {
                type_name: Text::from_static(INVALID_TEXT),
                text: Text::from(hex::encode(bytes)),
            })),
            (Bound::Blob(bytes), _) => Value::Bytes(bytes),
        }
    }

    /// A value that SQLite itself delivered.
    pub fn of_source(value: &Value) -> Self {
        // What SQLite delivered it can take back.
        natural(value).unwrap_or(Bound::Null)
    }
}

/// What is stored for a value in a column of this affinity; an error says why that would not be the value (I7).
pub(crate) fn encode(value: &Value, affinity: Affinity) -> Result<Bound, &'static str> {
    let bound = match (value, affinity) {
        (Value::Decimal(digits), Affinity::Integer | Affinity::Numeric | Affinity::Real) => whole(digits)?,
        _ => natural(value)?,
    };
    match (&bound, affinity) {
        (Bound::Integer(_) | Bound::Real(_), Affinity::Text) => {
            Err("a text column would make text of the number")
        }
        (Bound::Text(text), Affinity::Integer | Affinity::Numeric | Affinity::Real) if is_number(text) => {
            Err("a number column would make a number of the text")
        }
        (Bound::Integer(number), Affinity::Real) if (*number as f64) as i128 != i128::from(*number) => {
            Err("a real column can't hold so large a whole number exactly")
        }
        _ => Ok(bound),
    }
}

/// Decimal digits for a column of numbers: only as a whole number can they be exact there.
fn whole(digits: &Text) -> Result<Bound, &'static str> {
    match digits.parse::<i64>() {
        Ok(number) if number.to_string() == **digits => Ok(Bound::Integer(number)),
        _ => Err("a number column can't hold the decimal's digits exactly"),
    }
}

fn natural(value: &Value) -> Result<Bound, &'static str> {
    Ok(match value {
        Value::Absent => return Err("the value is absent"),
        Value::Null => Bound::Null,
        Value::Bool(truth) => Bound::Integer(i64::from(*truth)),
        Value::Int64(number) => Bound::Integer(*number),
        Value::Uint64(number) => {
            Bound::Integer(i64::try_from(*number).map_err(|_| "a whole number above 9223372036854775807")?)
        }
        Value::Float32(number) => real(f64::from(*number))?,
        Value::Float64(number) => real(*number)?,
        Value::Bytes(bytes) => Bound::Blob(bytes.clone()),
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) | Value::Enum(text) => {
            Bound::Text(text.clone())
        }
        Value::Extended(extended) if &*extended.type_name == INVALID_TEXT => {
            Bound::RawText(hex::decode(&*extended.text).map_err(|_| "broken hexadecimal digits")?.into())
        }
        Value::Extended(extended) => Bound::Text(extended.text.clone()),
        Value::Array(_) | Value::Document(_) => {
            let mut text = String::new();
            json(value, &mut text)?;
            Bound::Text(text.into())
        }
        other => Bound::Text(text_of(other)?.into()),
    })
}

fn real(number: f64) -> Result<Bound, &'static str> {
    // SQLite would store NULL.
    if number.is_nan() { Err("SQLite has no NaN") } else { Ok(Bound::Real(number)) }
}

/// The text form of a value that SQLite has no storage class for.
fn text_of(value: &Value) -> Result<String, &'static str> {
    Ok(match value {
        Value::Date(days) => match *days {
            i32::MIN => "-infinity".into(),
            i32::MAX => "infinity".into(),
            days => date(i64::from(days)),
        },
        Value::Time(micros) => time(*micros),
        Value::Timestamp(micros) => timestamp(*micros, ""),
        Value::Timestamptz(micros) => timestamp(*micros, "+00:00"),
        Value::Interval(interval) => duration(*interval),
        Value::Uuid(bytes) => {
            let digits = hex::encode(bytes);
            [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
        }
        Value::ObjectId(bytes) => hex::encode(bytes),
        _ => return Err("SQLite has no form for the value"),
    })
}

const DAY_MICROS: i64 = 86_400_000_000;

fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MIN => "-infinity".into(),
        i64::MAX => "infinity".into(),
        micros => {
            format!("{} {}{zone}", date(micros.div_euclid(DAY_MICROS)), time(micros.rem_euclid(DAY_MICROS)))
        }
    }
}

/// `HH:MM:SS`, and six more digits where they aren't zero.
fn time(micros: i64) -> String {
    let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if rest != 0 {
        // Writing to a String doesn't fail.
        let _ = write!(text, ".{rest:06}");
    }
    text
}

/// `YYYY-MM-DD` in the proleptic Gregorian calendar; years outside of 0 to 9999 with their sign, as ISO 8601 has it.
fn date(days: i64) -> String {
    // Howard Hinnant's algorithm: eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    match year {
        0..=9999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{}{:06}-{month:02}-{day:02}", if year < 0 { '-' } else { '+' }, year.abs()),
    }
}

/// ISO 8601: `P14M3DT-1.500000S`.
fn duration(interval: Interval) -> String {
    let sign = if interval.micros < 0 { "-" } else { "" };
    let micros = interval.micros.unsigned_abs();
    format!("P{}M{}DT{sign}{}.{:06}S", interval.months, interval.days, micros / 1_000_000, micros % 1_000_000)
}

/// JSON of arrays and documents, elements in their own order.
fn json(value: &Value, out: &mut String) -> Result<(), &'static str> {
    let quoted = |text: &str, out: &mut String| match serde_json::to_string(text) {
        Ok(text) => {
            out.push_str(&text);
            Ok(())
        }
        Err(_) => Err("text that JSON can't hold"),
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int64(number) => out.push_str(&number.to_string()),
        Value::Uint64(number) => out.push_str(&number.to_string()),
        Value::Float64(number) if number.is_finite() => {
            // `{:?}` has the shortest digits that read back as the same number, with a point or an exponent.
            let _ = write!(out, "{number:?}");
        }
        Value::Text(text) => quoted(text, out)?,
        Value::Array(array) if array.dimensions.len() <= 1 => {
            out.push('[');
            for (index, item) in array.items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json(item, out)?;
            }
            out.push(']');
        }
        Value::Document(document) => {
            out.push('{');
            for (index, (name, field)) in document.0.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                quoted(name, out)?;
                out.push(':');
                json(field, out)?;
            }
            out.push('}');
        }
        _ => return Err("an element that JSON can't hold exactly"),
    }
    Ok(())
}

/// Whether SQLite would take the text for a number where it may.
fn is_number(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let good_mantissa = match mantissa.split_once('.') {
        Some((whole, part)) => {
            (whole.is_empty() || digits(whole)) && (part.is_empty() || digits(part)) && mantissa != "."
        }
        None => digits(mantissa),
    };
    let good_exponent =
        exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    good_mantissa && good_exponent
}

/// The type that a column of a table that sluice makes is declared with.
pub(crate) fn declared(column: &Column, kind: &str) -> String {
    // An untyped column of a SQLite source takes whatever is stored in it, and so does its copy; ANY means that in a STRICT table.
    let native = if column.native.eq_ignore_ascii_case("ANY") { "" } else { &*column.native };
    if kind == KIND && native.is_empty() && column.ty == ColumnType::Text {
        return String::new();
    }
    if kind == KIND && !native.is_empty() {
        return verbatim(native);
    }
    match column.ty {
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Int64 | ColumnType::Uint64 => "INTEGER",
        ColumnType::Float32 | ColumnType::Float64 => "REAL",
        ColumnType::Bytes => "BLOB",
        _ => "TEXT",
    }
    .into()
}

/// A declared type as SQL that declares it again. One that could be read as something else is declared by its affinity, which is
/// all that SQLite takes from it.
fn verbatim(native: &str) -> String {
    const CLAUSES: [&str; 12] = [
        "CONSTRAINT",
        "PRIMARY",
        "NOT",
        "NULL",
        "UNIQUE",
        "CHECK",
        "DEFAULT",
        "COLLATE",
        "REFERENCES",
        "GENERATED",
        "AS",
        "ON",
    ];
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | '(' | ')' | ',' | '.' | '+' | '-');
    let words = native.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let reserved =
        words.into_iter().any(|word| CLAUSES.iter().any(|clause| word.eq_ignore_ascii_case(clause)));
    let (name, arguments) = native.split_once('(').map_or((native, None), |(name, rest)| (name, Some(rest)));
    let good_arguments = arguments.is_none_or(|rest| {
        rest.strip_suffix(')')
            .is_some_and(|inside| inside.chars().all(|c| c.is_ascii_digit() || ", ".contains(c)))
    });
    let good_name = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if native.chars().all(plain) && !reserved && good_arguments && good_name {
        return native.to_string();
    }
    match Affinity::of(native) {
        Affinity::Integer => "INTEGER",
        Affinity::Text => "TEXT",
        Affinity::Blob => "BLOB",
        Affinity::Real => "REAL",
        Affinity::Numeric => "NUMERIC",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_types::value::{Array, Document, Extended};

    use super::*;

    fn text(value: Value) -> String {
        match encode(&value, Affinity::Text).unwrap() {
            Bound::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_without_a_storage_class_have_a_text_form() {
        for (value, form) in [
            (Value::Date(0), "1970-01-01"),
            (Value::Date(-719_528), "0000-01-01"),
            (Value::Date(-719_529), "-000001-12-31"),
            (Value::Date(2_932_897), "+010000-01-01"),
            (Value::Date(11_016), "2000-02-29"),
            (Value::Date(i32::MAX), "infinity"),
            (Value::Time(86_399_999_999), "23:59:59.999999"),
            (Value::Timestamp(-1), "1969-12-31 23:59:59.999999"),
            (Value::Timestamptz(0), "1970-01-01 00:00:00+00:00"),
            (Value::Timestamptz(i64::MIN), "-infinity"),
            (Value::Interval(Interval { months: 14, days: -3, micros: -1_500_000 }), "P14M-3DT-1.500000S"),
            (Value::Uuid([0x12; 16]), "12121212-1212-1212-1212-121212121212"),
            (Value::ObjectId([0xab; 12]), "abababababababababababab"),
            (Value::Decimal("1.00".into()), "1.00"),
        ] {
            assert_eq!(text(value), form);
        }
        let nested = Value::Document(Arc::new(Document(vec![
            ("b".into(), Value::Float64(1.0)),
            (
                "a".into(),
                Value::Array(Arc::new(Array {
                    dimensions: vec![(2, 1)],
                    items: vec![Value::Null, "x\"".into()],
                })),
            ),
        ])));
        assert_eq!(text(nested), r#"{"b":1.0,"a":[null,"x\""]}"#);
    }

    #[test]
    fn what_can_not_be_held_exactly_is_refused() {
        for (value, affinity) in [
            (Value::Float64(f64::NAN), Affinity::Real),
            (Value::Uint64(u64::MAX), Affinity::Integer),
            (Value::Int64(5), Affinity::Text),
            (Value::from(" -1.5e3\n"), Affinity::Numeric),
            (Value::from("007"), Affinity::Integer),
            (Value::Int64((1 << 53) + 1), Affinity::Real),
            (Value::Decimal("1.50".into()), Affinity::Numeric),
            (Value::Absent, Affinity::Blob),
        ] {
            assert!(encode(&value, affinity).is_err(), "{value:?}");
        }
        for (value, affinity) in [
            (Value::from("1.5"), Affinity::Text),
            (Value::from("1.5"), Affinity::Blob),
            (Value::from("."), Affinity::Numeric),
            (Value::from("0x10"), Affinity::Integer),
            (Value::Int64(1 << 53), Affinity::Real),
            (Value::Decimal("-12".into()), Affinity::Integer),
            (Value::Float64(f64::INFINITY), Affinity::Real),
        ] {
            assert!(encode(&value, affinity).is_ok(), "{value:?}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_goes_back_as_it_was() {
        let value =
            Value::Extended(Arc::new(Extended { type_name: INVALID_TEXT.into(), text: "61ff".into() }));
        assert_eq!(Bound::of_source(&value), Bound::RawText(Bytes::from_static(&[0x61, 0xff])));
    }

    #[test]
    fn declared_types_are_kept_unless_they_would_be_read_as_something_else() {
        for (native, sql) in [
            ("VARCHAR(255)", "VARCHAR(255)"),
            ("DECIMAL(10, 2)", "DECIMAL(10, 2)"),
            ("double precision", "double precision"),
            ("INT NOT NULL", "INTEGER"),
            ("TEXT); DROP TABLE x; --", "TEXT"),
            ("größe", "NUMERIC"),
        ] {
            assert_eq!(verbatim(native), sql);
        }
    }
}
