//! Values that go by text.

use bytes::{BufMut, BytesMut};
use sluice_types::Value;
use sluice_types::value::{Array, Extended};

use super::{MICROS_END, MICROS_MIN, OUTSIDE, Unfit, WRONG_TYPE};
use crate::literal;

const NUL: Unfit = "the character U+0000, which no text of the server holds";
const MORE_DIGITS: Unfit = "more digits behind the point than the column keeps";
const TOO_LONG: Unfit = "longer text than the column keeps";

/// Text without a NUL.
pub(super) fn put_text(text: &str, out: &mut BytesMut) -> Result<(), Unfit> {
    if text.as_bytes().contains(&0) {
        return Err(NUL);
    }
    out.put_slice(text.as_bytes());
    Ok(())
}

/// Text for a text column of at most so many characters.
pub(super) fn put(value: &Value, limit: Option<u32>, out: &mut BytesMut) -> Result<(), Unfit> {
    let start = out.len();
    match value {
        Value::Text(text) | Value::Enum(text) | Value::Json(text) | Value::Decimal(text) => {
            put_text(text, out)?
        }
        Value::Uuid(bytes) => put_uuid(bytes, out),
        Value::ObjectId(bytes) => put_hex(bytes, out),
        Value::Extended(extended) => put_extended(extended, out)?,
        _ => return Err(WRONG_TYPE),
    }
    // The server would cut off blanks in silence.
    match limit {
        Some(limit) if out.len() - start > limit as usize => {
            let chars = out[start..].iter().filter(|byte| (**byte as i8) >= -0x40).count();
            if chars > limit as usize { Err(TOO_LONG) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// What only a server of the same kind understands: its text, unless that stands for bytes that are none.
fn put_extended(extended: &Extended, out: &mut BytesMut) -> Result<(), Unfit> {
    match extended.type_name.strip_prefix("postgres:") {
        Some("text") => Err("text that is not UTF-8"),
        Some(_) => put_text(&extended.text, out),
        None => Err("a type of another kind of database"),
    }
}

/// A `name`: text of at most 63 bytes, which the server would cut.
pub(super) fn put_name(value: &Value, limit: usize, out: &mut BytesMut) -> Result<(), Unfit> {
    let start = out.len();
    put(value, None, out)?;
    if out.len() - start > limit { Err(TOO_LONG) } else { Ok(()) }
}

/// A `"char"`: one byte, as the server's own text shows it (`\\351` above 127, nothing for 0).
pub(super) fn put_char(value: &Value, out: &mut BytesMut) -> Result<(), Unfit> {
    let Value::Text(text) = value else { return Err(WRONG_TYPE) };
    match text.as_bytes().as_ref() {
        [] => out.put_u8(0),
        [byte] if byte.is_ascii() && *byte != 0 => out.put_u8(*byte),
        [b'\\', digits @ ..] if digits.len() == 3 => {
            let byte = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 8).ok());
            out.put_u8(byte.filter(|byte| *byte > 127).ok_or(TOO_LONG)?);
        }
        _ => return Err(TOO_LONG),
    }
    Ok(())
}

/// Anything whose text the server's input functions read, and of which they keep so many digits behind a point.
pub(super) fn put_any(
    value: &Value,
    delimiter: u8,
    digits: Option<u8>,
    out: &mut BytesMut,
) -> Result<(), Unfit> {
    let start = out.len();
    match value {
        Value::Array(array) => put_array(array, delimiter, out),
        Value::Extended(extended) => put_extended(extended, out),
        Value::Document(_) | Value::ObjectId(_) => Err(WRONG_TYPE),
        other => put_text(&literal::text_of(other).ok_or(WRONG_TYPE)?, out),
    }?;
    match digits {
        Some(digits) if has_more_digits(&out[start..], digits.into()) => Err(MORE_DIGITS),
        _ => Ok(()),
    }
}

/// Whether more than so many digits behind a point say something. In an array's text points stand in its elements only.
fn has_more_digits(text: &[u8], digits: usize) -> bool {
    let behind_points = text.split(|byte| *byte == b'.').skip(1);
    let mut fractions = behind_points.map(|rest| rest.split(|byte| !byte.is_ascii_digit()).next());
    fractions.any(|fraction| fraction.is_some_and(|all| all.iter().skip(digits).any(|digit| *digit != b'0')))
}

/// `{a,NULL,"b c"}`, for arrays whose elements go by text.
fn put_array(array: &Array, delimiter: u8, out: &mut BytesMut) -> Result<(), Unfit> {
    if array.dimensions.is_empty() {
        out.put_slice(b"{}");
        return Ok(());
    }
    if array.dimensions.iter().any(|(_, lower)| *lower != 1) {
        for (length, lower) in &array.dimensions {
            let upper = i64::from(*lower) + i64::from(*length) - 1;
            out.put_slice(format!("[{lower}:{upper}]").as_bytes());
        }
        out.put_u8(b'=');
    }
    put_dimension(&array.dimensions, &mut array.items.iter(), delimiter, out)
}

fn put_dimension(
    dimensions: &[(u32, i32)],
    items: &mut std::slice::Iter<'_, Value>,
    delimiter: u8,
    out: &mut BytesMut,
) -> Result<(), Unfit> {
    let Some(((length, _), inner)) = dimensions.split_first() else {
        return put_item(items.next().ok_or(WRONG_TYPE)?, out);
    };
    out.put_u8(b'{');
    for index in 0..*length {
        if index > 0 {
            out.put_u8(delimiter);
        }
        put_dimension(inner, items, delimiter, out)?;
    }
    out.put_u8(b'}');
    Ok(())
}

fn put_item(item: &Value, out: &mut BytesMut) -> Result<(), Unfit> {
    if matches!(item, Value::Null) {
        out.put_slice(b"NULL");
        return Ok(());
    }
    let mut bare = BytesMut::new();
    put_any(item, b',', None, &mut bare)?;
    out.put_u8(b'"');
    for byte in bare {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
    Ok(())
}

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.put_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn put_uuid(bytes: &[u8; 16], out: &mut BytesMut) {
    for (index, range) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if index > 0 {
            out.put_u8(b'-');
        }
        put_hex(&bytes[range], out);
    }
}

/// Hands a whole number's digits over.
pub(super) fn digits<T>(number: i128, then: impl FnOnce(&str) -> T) -> T {
    let mut room = [0u8; 40];
    let mut at = room.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        room[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        room[at] = b'-';
    }
    then(std::str::from_utf8(&room[at..]).unwrap_or_default())
}

/// Microseconds since 2000-01-01 of a timestamp that the value model can't count from 1970: `294276-12-31 23:59:59.999999`, with
/// `+00` behind it when it has a zone.
pub(super) fn timestamp(text: &str) -> Result<i64, Unfit> {
    let read = || {
        let text = text.strip_suffix("+00").unwrap_or(text);
        let (date, time) = text.split_once([' ', 'T'])?;
        let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
        let mut clock = clock.split(':').map(|part| part.parse::<i64>().ok());
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let micros = match fraction.len() {
            0 => 0,
            1..=6 => fraction.parse::<i64>().ok()? * 10i64.pow(6 - fraction.len() as u32),
            _ => return None,
        };
        let valid = (1970..300_000).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_of(year, month)).contains(&day);
        let on_clock = |of: i64, end: i64| (0..end).contains(&of);
        let valid = valid && on_clock(hour, 24) && on_clock(minute, 60) && on_clock(second, 60);
        let clock = (hour * 3600 + minute * 60 + second) * 1_000_000 + micros;
        valid.then(|| days(year, month, day) * super::DAY_MICROS + clock)
    };
    read().filter(|micros| (MICROS_MIN..MICROS_END).contains(micros)).ok_or(OUTSIDE)
}

/// How many days a month has.
fn days_of(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days(next_year, next, 1) - days(year, month, 1)
}

/// Days from 2000-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 730_425
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_say_nothing_do_not_count() {
        for (text, digits, more) in [
            ("12:00:00.120+01", 2, false),
            ("12:00:00.121+01", 2, true),
            ("{12:00:00.1+00,12:00:00.01+00}", 1, true),
            ("1", 0, false),
            ("1.", 0, false),
            ("-1.0", 0, false),
        ] {
            assert_eq!(has_more_digits(text.as_bytes(), digits), more, "{text}");
        }
    }

    #[test]
    fn days_are_counted_from_the_year_2000() {
        for (date, count) in [
            ((2000, 1, 1), 0),
            ((2000, 2, 29), 59),
            ((2000, 3, 1), 60),
            ((1970, 1, 1), -10_957),
            ((2024, 12, 31), 9131),
        ] {
            assert_eq!(days(date.0, date.1, date.2), count, "{date:?}");
        }
        assert_eq!(timestamp("294276-12-31 23:59:59.999999"), Ok(MICROS_END - 1));
        assert_eq!(timestamp("294276-12-31 23:59:59.999999+00"), Ok(MICROS_END - 1));
        for none in ["294277-01-01 00:00:00", "infinity", "294247-02-29 00:00:00", "294247-04-31 00:00:00"] {
            assert!(timestamp(none).is_err(), "{none}");
        }
        for none in
            ["2024-01-01 24:00:00", "2024-01-01 00:60:00", "2024-01-01 -1:00:00", "2024-00-01 00:00:00"]
        {
            assert!(timestamp(none).is_err(), "{none}");
        }
        assert!(timestamp("2024-02-29 23:59:59").is_ok());
    }
}
