//! The canonical texts in which values without a column type of their own cross the boundary, and text for people.
//!
//! | type | text |
//! |---|---|
//! | text, enumeration | itself |
//! | decimal | digits: `-12.340`, `NaN`, `Infinity`, `-Infinity`; no exponent |
//! | interval | ISO 8601 with a sign per part: `P14M-3DT0.000001S` (months, days, seconds; all three always written) |
//! | json | its text, spacing and all |
//! | array, document | lossless JSON, see [`to_json`] |
//! | extended | the type's name, a space, the text: `postgres:inet ::1`; a space within the name is written `\s`, a backslash `\\` |

use std::fmt::Write;

use sluice_types::Value;
use sluice_types::value::{Array, Document, Extended, Interval};

/// Bounds and escapes text that a plugin or its author wrote, for people and logs.
pub(crate) fn printable(text: &str, characters: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(characters)
        .map(|c| {
            if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
            {
                ' '
            } else {
                c
            }
        })
        .collect();
    if text.chars().nth(characters).is_some() {
        shown.push('…');
    }
    shown
}

/// Appends the text of a value of one of the types above; `false` if it is of another type.
pub(crate) fn write_text(value: &Value, to: &mut String) -> bool {
    match value {
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) | Value::Enum(text) => to.push_str(text),
        Value::Interval(interval) => write_interval(*interval, to),
        Value::Array(_) | Value::Document(_) => to_json(value, to),
        Value::Extended(extended) => {
            for c in extended.type_name.chars() {
                match c {
                    ' ' => to.push_str("\\s"),
                    '\\' => to.push_str("\\\\"),
                    c => to.push(c),
                }
            }
            to.push(' ');
            to.push_str(&extended.text);
        }
        _ => return false,
    }
    true
}

fn write_interval(Interval { months, days, micros }: Interval, to: &mut String) {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    // Writing to a string does not fail.
    let _ = write!(to, "P{months}M{days}DT{sign}{seconds}");
    if fraction != 0 {
        let _ = write!(to, ".{}", format!("{fraction:06}").trim_end_matches('0'));
    }
    to.push('S');
}

/// Reads an ISO 8601 duration: years, months, weeks, days, hours, minutes, seconds with up to six decimals, each with its own sign.
pub(crate) fn read_interval(text: &str) -> Option<Interval> {
    let text = text.strip_prefix('P')?;
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    if date.is_empty() && time.is_none() || time == Some("") {
        return None;
    }
    let (mut months, mut days, mut micros) = (0i64, 0i64, 0i128);
    for (number, unit) in parts(date)? {
        let number: i64 = number.parse().ok()?;
        let (total, factor) = match unit {
            'Y' => (&mut months, 12),
            'M' => (&mut months, 1),
            'W' => (&mut days, 7),
            'D' => (&mut days, 1),
            _ => return None,
        };
        *total = total.checked_add(number.checked_mul(factor)?)?;
    }
    for (number, unit) in parts(time.unwrap_or_default())? {
        let unit_micros = match unit {
            'H' => 3_600_000_000i128,
            'M' => 60_000_000,
            'S' => 1_000_000,
            _ => return None,
        };
        micros = micros.checked_add(micros_of(number, unit_micros)?)?;
    }
    Some(Interval {
        months: months.try_into().ok()?,
        days: days.try_into().ok()?,
        micros: micros.try_into().ok()?,
    })
}

/// `1Y-2M` as numbers and units.
fn parts(mut text: &str) -> Option<Vec<(&str, char)>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let end = text.find(|c: char| c.is_ascii_alphabetic())?;
        let unit = text[end..].chars().next()?;
        let number = &text[..end];
        let digits = number.strip_prefix('-').unwrap_or(number);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        found.push((number, unit));
        text = &text[end + 1..];
    }
    Some(found)
}

fn micros_of(number: &str, unit_micros: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 6 || number.ends_with('.') || (!fraction.is_empty() && unit_micros != 1_000_000) {
        return None;
    }
    let whole: i128 = whole.parse::<i64>().ok()?.into();
    let fraction: i128 =
        if fraction.is_empty() { 0 } else { format!("{fraction:0<6}").parse::<i64>().ok()?.into() };
    let signed = if number.starts_with('-') { -fraction } else { fraction };
    whole.checked_mul(unit_micros)?.checked_add(signed)
}

/// Whether a text is a decimal as the engine has it.
pub(crate) fn is_decimal(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    all(whole) && all(fraction)
}

/// Whether a text is one JSON value.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Reads the text of an extended value.
pub(crate) fn read_extended(text: &str) -> Option<Extended> {
    let (name, text) = text.split_once(' ')?;
    let mut type_name = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => type_name.push(c),
            (_, true) => match chars.next()? {
                's' => type_name.push(' '),
                '\\' => type_name.push('\\'),
                _ => return None,
            },
        }
    }
    (!type_name.is_empty()).then(|| Extended { type_name: type_name.into(), text: text.into() })
}

/// Writes an array or document, with every value in it, as JSON that [`read_json`] reads back without loss: each value as an object
/// whose one key is its type (`{"int64":1}`, `{"text":"a"}`, `"null"`), a document as a list of name and value, floats as their bits.
pub(crate) fn to_json(value: &Value, to: &mut String) {
    let written = match value {
        Value::Array(array) => serde_json::to_string(&**array),
        Value::Document(document) => serde_json::to_string(&**document),
        other => serde_json::to_string(other),
    };
    // Values have no map with odd keys, so this can't fail; an empty text would be refused on the way back.
    to.push_str(&written.unwrap_or_default());
}

/// Reads an array.
pub(crate) fn read_array(text: &str) -> Option<Array> {
    let array: Array = serde_json::from_str(text).ok()?;
    let product =
        array.dimensions.iter().try_fold(1usize, |all, (length, _)| all.checked_mul(*length as usize))?;
    let expected = if array.dimensions.is_empty() { 0 } else { product };
    (array.items.len() == expected).then_some(array)
}

/// Reads a document.
pub(crate) fn read_document(text: &str) -> Option<Document> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_come_back() {
        for (months, days, micros) in
            [(0, 0, 0), (14, -3, 1), (-1, 2, -500_000), (i32::MIN, i32::MAX, i64::MIN), (0, 0, i64::MAX)]
        {
            let interval = Interval { months, days, micros };
            let mut text = String::new();
            write_interval(interval, &mut text);
            assert_eq!(read_interval(&text), Some(interval), "{text}");
        }
        let hours = Interval { months: 14, days: 15, micros: 3_723_500_000 };
        assert_eq!(read_interval("P1Y2M2W1DT1H2M3.5S"), Some(hours));
        for wrong in [
            "",
            "P",
            "PT",
            "1D",
            "P1",
            "PD",
            "P1.5D",
            "PT1.2345678S",
            "P--1D",
            "P1D2",
            "PT1X",
            "P99999999999M",
        ] {
            assert_eq!(read_interval(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn decimals_are_digits() {
        for (text, yes) in [
            ("0", true),
            ("-12.340", true),
            ("NaN", true),
            ("-Infinity", true),
            ("1e5", false),
            (".5", false),
            ("5.", false),
            ("", false),
            ("-", false),
            ("+1", false),
            ("1_0", false),
            ("１", false),
        ] {
            assert_eq!(is_decimal(text), yes, "{text}");
        }
    }

    #[test]
    fn extended_values_keep_their_type() {
        let value = Extended { type_name: "postgres:double \\ x".into(), text: " a b".into() };
        let mut text = String::new();
        assert!(write_text(&Value::Extended(value.clone().into()), &mut text));
        assert_eq!(read_extended(&text), Some(value));
        assert_eq!(read_extended("nothing"), None);
    }

    #[test]
    fn guests_text_is_bounded_and_tame() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{202e}", 100), "a [31m b ");
        assert_eq!(printable("abc", 2), "ab…");
    }
}
