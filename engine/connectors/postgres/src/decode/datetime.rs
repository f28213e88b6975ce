//! Dates and times: from 2000 to 1970, and from the text that `DateStyle = ISO`, `IntervalStyle = postgres` and `TimeZone = UTC` give.

use std::sync::Arc;

use sluice_types::value::{Extended, Interval};
use sluice_types::{Result, Text, Value};

use super::malformed;
use crate::protocol::replication::EPOCH_2000_MICROS;

/// From 1970-01-01 to 2000-01-01.
const DAYS_1970_TO_2000: i32 = 10_957;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Days since 2000; the two ends are the infinities.
pub(super) fn date(days: i32) -> Value {
    match days {
        i32::MIN | i32::MAX => Value::Date(days),
        _ => Value::Date(days.saturating_add(DAYS_1970_TO_2000)),
    }
}

/// Microseconds since 2000, without a zone; the two ends are the infinities.
pub(super) fn timestamp(micros: i64) -> Value {
    since_1970(micros).map_or_else(|| beyond("postgres:timestamp", micros, ""), Value::Timestamp)
}

/// The same in UTC.
pub(super) fn timestamptz(micros: i64) -> Value {
    since_1970(micros).map_or_else(|| beyond("postgres:timestamptz", micros, "+00"), Value::Timestamptz)
}

fn since_1970(micros: i64) -> Option<i64> {
    match micros {
        i64::MIN | i64::MAX => Some(micros),
        _ => micros.checked_add(EPOCH_2000_MICROS).filter(|shifted| *shifted != i64::MAX),
    }
}

/// The last thirty years that the server knows (from 294247 on) don't fit into microseconds since 1970: they stay text (I7).
fn beyond(type_name: &'static str, micros: i64, zone: &str) -> Value {
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let text = moment_text(days + i64::from(DAYS_1970_TO_2000), time, zone);
    Value::Extended(Arc::new(Extended { type_name: Text::from_static(type_name), text: text.into() }))
}

/// The text that the server reads, and writes, for a day counted from 1970, and a time in it.
fn moment_text(days: i64, time: i64, zone: &str) -> String {
    let (date, era) = day_text(days);
    let (seconds, fraction) = (time / SECOND, time % SECOND);
    let mut text = format!("{date} {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    format!("{text}{zone}{era}")
}

fn day_text(days: i64) -> (String, &'static str) {
    let (year, month, day) = civil(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

/// The text of a canonical date.
pub(crate) fn date_text_of(days: i32) -> String {
    match days {
        i32::MIN => "-infinity".into(),
        i32::MAX => "infinity".into(),
        _ => {
            let (date, era) = day_text(days.into());
            format!("{date}{era}")
        }
    }
}

/// The text of a canonical timestamp.
pub(crate) fn timestamp_text_of(micros: i64, zone: &str) -> String {
    match micros {
        i64::MIN => "-infinity".into(),
        i64::MAX => "infinity".into(),
        _ => moment_text(micros.div_euclid(DAY), micros.rem_euclid(DAY), zone),
    }
}

/// Microseconds, days, months.
pub(super) fn interval(bytes: [u8; 16]) -> Value {
    let [m0, m1, m2, m3, m4, m5, m6, m7, d0, d1, d2, d3, n0, n1, n2, n3] = bytes;
    Value::Interval(Interval {
        micros: i64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
        days: i32::from_be_bytes([d0, d1, d2, d3]),
        months: i32::from_be_bytes([n0, n1, n2, n3]),
    })
}

/// The day number, counted from 1970-01-01, of a day of the Gregorian calendar; the year before 1 is 0.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn odd() -> sluice_types::Error {
    malformed("a date or time that can't be read")
}

fn number(digits: &str) -> Result<i64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.len() > 12 {
        return Err(odd());
    }
    digits.parse().map_err(|_| odd())
}

/// `2026-11-22`, the year with as many digits as it has.
fn days_of(text: &str, before_christ: bool) -> Result<i64> {
    let mut parts = text.split('-');
    let mut part = || number(parts.next().ok_or_else(odd)?);
    let (year, month, day) = (part()?, part()?, part()?);
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && year < 10_000_000;
    if parts.next().is_some() || !fits {
        return Err(odd());
    }
    Ok(days_from_civil(if before_christ { 1 - year } else { year }, month, day))
}

/// `04:05:06.789`; hours may be as many as they like.
fn micros_of(text: &str) -> Result<i64> {
    let mut parts = text.split(':');
    let mut part = || parts.next().ok_or_else(odd);
    let (hours, minutes, seconds) = (number(part()?)?, number(part()?)?, part()?);
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    if parts.next().is_some() || fraction.len() > 6 {
        return Err(odd());
    }
    let mut micros = if fraction.is_empty() { 0 } else { number(fraction)? };
    (fraction.len()..6).for_each(|_| micros *= if fraction.is_empty() { 0 } else { 10 });
    let whole = hours.checked_mul(HOUR).ok_or_else(odd)?;
    whole.checked_add(minutes * MINUTE + number(seconds)? * SECOND + micros).ok_or_else(odd)
}

/// Splits ` BC` off.
fn era_of(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

pub(super) fn date_text(text: &str) -> Result<Value> {
    match text {
        "infinity" => return Ok(Value::Date(i32::MAX)),
        "-infinity" => return Ok(Value::Date(i32::MIN)),
        _ => {}
    }
    let (text, before_christ) = era_of(text);
    Ok(Value::Date(i32::try_from(days_of(text, before_christ)?).map_err(|_| odd())?))
}

pub(super) fn time_text(text: &str) -> Result<Value> {
    Ok(Value::Time(micros_of(text)?))
}

/// Microseconds since 2000, as the binary form has them.
fn micros_since_2000(text: &str) -> Result<i64> {
    match text {
        "infinity" => return Ok(i64::MAX),
        "-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = era_of(text);
    let text = text.strip_suffix("+00").unwrap_or(text);
    let (date, time) = text.split_once(' ').ok_or_else(odd)?;
    let days = days_of(date, before_christ)? - i64::from(DAYS_1970_TO_2000);
    days.checked_mul(DAY).and_then(|days| days.checked_add(micros_of(time).ok()?)).ok_or_else(odd)
}

pub(super) fn timestamp_text(text: &str) -> Result<Value> {
    micros_since_2000(text).map(timestamp)
}

pub(super) fn timestamptz_text(text: &str) -> Result<Value> {
    micros_since_2000(text).map(timestamptz)
}

/// `-1 years -2 mons +3 days -04:05:06.789`, in any selection.
pub(super) fn interval_text(text: &str) -> Result<Value> {
    let infinite = |months, days, micros| Ok(Value::Interval(Interval { months, days, micros }));
    match text {
        "infinity" => return infinite(i32::MAX, i32::MAX, i64::MAX),
        "-infinity" => return infinite(i32::MIN, i32::MIN, i64::MIN),
        _ => {}
    }
    let (mut months, mut days, mut micros) = (0_i64, 0_i64, 0_i64);
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        if word.contains(':') {
            let (negative, digits) = signed(word);
            micros = micros_of(digits)?;
            micros = if negative { -micros } else { micros };
            continue;
        }
        let (negative, digits) = signed(word);
        let count = number(digits)?;
        let count = if negative { -count } else { count };
        match words.next().ok_or_else(odd)? {
            "year" | "years" => months += count * 12,
            "mon" | "mons" => months += count,
            "day" | "days" => days += count,
            _ => return Err(odd()),
        }
    }
    let small = |number: i64| i32::try_from(number).map_err(|_| odd());
    Ok(Value::Interval(Interval { months: small(months)?, days: small(days)?, micros }))
}

fn signed(word: &str) -> (bool, &str) {
    match word.as_bytes().first() {
        Some(b'-') => (true, &word[1..]),
        Some(b'+') => (false, &word[1..]),
        _ => (false, word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_both_ways() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 1, 1), 10_957),
            ((2000, 2, 29), 11_016),
            ((1, 1, 1), -719_162),
            ((0, 12, 31), -719_163),
            ((-4712, 1, 1), -2_440_550),
        ] {
            assert_eq!(days_from_civil(date.0, date.1, date.2), days, "{date:?}");
            assert_eq!(civil(days), date);
        }
    }

    #[test]
    fn texts_are_read() {
        let micros = |text| match timestamp_text(text).unwrap() {
            Value::Timestamp(micros) => micros,
            other => panic!("{other:?}"),
        };
        assert_eq!(micros("1970-01-01 00:00:00"), 0);
        assert_eq!(micros("1969-12-31 23:59:59.5"), -500_000);
        assert_eq!(micros("infinity"), i64::MAX);
        assert!(micros("4714-11-24 00:00:00 BC") < -200_000_000_000_000_000);
        assert_eq!(timestamptz_text("1970-01-01 00:00:01+00").unwrap(), Value::Timestamptz(1_000_000));
        assert_eq!(date_text("0001-01-01 BC").unwrap(), Value::Date(-719_528));
        assert_eq!(time_text("24:00:00").unwrap(), Value::Time(DAY));
        for odd in ["", "2026-1", "x", "2026-13-01", "-infinit"] {
            assert!(date_text(odd).is_err() && timestamp_text(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_last_years_of_the_server_stay_text() {
        let Value::Extended(kept) = timestamp_text("294276-12-31 23:59:59.999999").unwrap() else { panic!() };
        assert_eq!(&*kept.text, "294276-12-31 23:59:59.999999");
        assert_eq!(timestamp(9_223_371_331_199_999_999), Value::Extended(kept));
        let Value::Extended(kept) = timestamptz_text("294276-01-01 00:00:00.5+00").unwrap() else { panic!() };
        assert_eq!((&*kept.type_name, &*kept.text), ("postgres:timestamptz", "294276-01-01 00:00:00.5+00"));
    }

    #[test]
    fn intervals_are_read() {
        for (text, months, days, micros) in [
            ("00:00:00", 0, 0, 0),
            ("1 year 2 mons 3 days 04:05:06.789", 14, 3, 4 * HOUR + 5 * MINUTE + 6_789_000),
            ("-1 years -2 mons +3 days -00:00:00.000001", -14, 3, -1),
            ("-178000000 years", -2_136_000_000, 0, 0),
            ("2562047788:00:54.775807", 0, 0, i64::MAX),
        ] {
            assert_eq!(
                interval_text(text).unwrap(),
                Value::Interval(Interval { months, days, micros }),
                "{text}"
            );
        }
        assert!(interval_text("1 fortnight").is_err());
    }
}
