//! Dates and points in time. A clock without a zone becomes a point in time only where the configuration says where it stands.

use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use sluice_sdk::{ColumnType, Value};

use crate::convert::Why;
use crate::rule::{Rule, To, Unit};

const DAY: i64 = 86_400_000_000;

/// A zone by its name in the IANA database, or as `+02:00`.
pub fn zone(name: &str) -> Option<TimeZone> {
    DateTimeParser::new().parse_time_zone(name).ok()
}

/// Whether a format says where the clock stands.
pub fn format_has_zone(format: &str) -> bool {
    ["%z", "%:z", "%Q", "%:Q", "%s"].iter().any(|directive| format.contains(directive))
}

/// Tries a format on a sample, so that a format that can't work is found before a row flows.
pub fn check_format(format: &str, to: To, from: ColumnType) -> Result<(), Why> {
    let moment = Date::constant(2024, 12, 31).at(23, 58, 59, 0);
    let sample: Zoned = moment.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    let shown = match from {
        ColumnType::Date => strtime::format(format, sample.date()),
        ColumnType::Timestamp => strtime::format(format, sample.datetime()),
        _ => strtime::format(format, &sample),
    };
    let text = shown.map_err(|error| format!("can't be used: {error}"))?;
    if to == To::Text {
        return Ok(());
    }
    let parsed = strtime::parse(format, &text).map_err(|error| format!("can't be used: {error}"))?;
    match to {
        To::Date if format_has_zone(format) => {
            return Err("reads a zone, which a date can't hold; convert to datetime".into());
        }
        To::Date => parsed.to_date().map(drop),
        _ if format_has_zone(format) => instant(&parsed, format).map(drop),
        _ => parsed.to_datetime().map(drop),
    }
    .map_err(|error| format!("doesn't name a whole {}: {error}", to.word()))
}

fn instant(parsed: &BrokenDownTime, format: &str) -> Result<Timestamp, jiff::Error> {
    if format.contains("%Q") || format.contains("%:Q") {
        parsed.to_zoned().map(|zoned| zoned.timestamp())
    } else {
        parsed.to_timestamp()
    }
}

pub fn date(value: Value<'_>, rule: &Rule) -> Result<i32, Why> {
    match value {
        Value::Date(days) => Ok(days),
        Value::Timestamp(i64::MAX) | Value::Timestamptz(i64::MAX) => Ok(i32::MAX),
        Value::Timestamp(i64::MIN) | Value::Timestamptz(i64::MIN) => Ok(i32::MIN),
        Value::Timestamp(micros) => whole_days(micros),
        Value::Timestamptz(micros) => whole_days(local(micros, rule.zone.as_ref())?),
        Value::Text("infinity") if rule.format.is_none() => Ok(i32::MAX),
        Value::Text("-infinity") if rule.format.is_none() => Ok(i32::MIN),
        Value::Text(text) | Value::Enumeration(text) => {
            let moment = match &rule.format {
                // A time of day that the format reads is looked at, too.
                Some(format) => strtime::parse(format, text)
                    .and_then(|parsed| parsed.to_datetime().or_else(|_| parsed.to_date().map(DateTime::from)))
                    .ok(),
                None => iso_date(text).map(DateTime::from),
            };
            whole_days(clock(moment.ok_or("not a date of the expected form")?)?)
        }
        _ => Err("not a date".into()),
    }
}

fn whole_days(micros: i64) -> Result<i32, Why> {
    if micros % DAY != 0 {
        return Err("it has a time of day, which a date can't hold".into());
    }
    i32::try_from(micros / DAY).map_err(|_| "out of the range of a date".into())
}

pub fn datetime(value: Value<'_>, rule: &Rule) -> Result<i64, Why> {
    match value {
        Value::Timestamptz(micros) => Ok(micros),
        Value::Timestamp(micros @ (i64::MAX | i64::MIN)) => Ok(micros),
        Value::Timestamp(micros) => place(civil(micros)?, rule.zone.as_ref()),
        Value::Date(i32::MAX) => Ok(i64::MAX),
        Value::Date(i32::MIN) => Ok(i64::MIN),
        Value::Date(days) => place(civil(i64::from(days) * DAY)?, rule.zone.as_ref()),
        Value::Int(count) => since_1970(count.into(), rule.unit),
        Value::Uint(count) => since_1970(count.into(), rule.unit),
        Value::Text("infinity") if rule.format.is_none() => Ok(i64::MAX),
        Value::Text("-infinity") if rule.format.is_none() => Ok(i64::MIN),
        Value::Text(text) | Value::Enumeration(text) => match &rule.format {
            Some(format) => by_format(text, format, rule.zone.as_ref()),
            None => iso_datetime(text, rule.zone.as_ref()),
        },
        _ => Err("not a point in time".into()),
    }
}

fn since_1970(count: i128, unit: Option<Unit>) -> Result<i64, Why> {
    let each = match unit {
        Some(Unit::Seconds) => 1_000_000,
        Some(Unit::Milliseconds) => 1_000,
        Some(Unit::Microseconds) | None => 1,
    };
    let micros =
        i64::try_from(count * each).ok().filter(|micros| Timestamp::from_microsecond(*micros).is_ok());
    micros.ok_or_else(|| "out of the range of a point in time".into())
}

fn by_format(text: &str, format: &str, zone: Option<&TimeZone>) -> Result<i64, Why> {
    const WRONG: &str = "not a point in time of the expected form";
    let parsed = strtime::parse(format, text).map_err(|_| WRONG)?;
    if format_has_zone(format) {
        return micros(instant(&parsed, format).map_err(|_| WRONG)?);
    }
    place(parsed.to_datetime().map_err(|_| WRONG)?, zone)
}

/// `2024-12-31`, `2024-12-31 23:59:00.5`, `2024-12-31T23:59:00+01:00`.
fn iso_datetime(text: &str, zone: Option<&TimeZone>) -> Result<i64, Why> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-:. T".contains(&byte))
        && text.bytes().filter(|&byte| byte == b'-').count() == 2;
    if plain {
        return place(text.parse().map_err(|_| "not a point in time")?, zone);
    }
    let moment: Timestamp = text.parse().map_err(|_| "not a point in time")?;
    match zone {
        Some(_) => micros(moment),
        None => Err("it names its zone, which would be lost: set `zone` for a point in time".into()),
    }
}

fn iso_date(text: &str) -> Option<Date> {
    let plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    plain.then(|| text.parse().ok()).flatten()
}

/// A clock at a place; without a place, the clock.
fn place(moment: DateTime, zone: Option<&TimeZone>) -> Result<i64, Why> {
    let Some(zone) = zone else { return clock(moment) };
    // I7: an hour that comes twice, or never, is not guessed.
    let moment = zone.to_ambiguous_timestamp(moment).unambiguous();
    micros(moment.map_err(|_| "this local time comes twice or never where the clock changes")?)
}

/// A clock without a place, in microseconds since its 1970.
fn clock(moment: DateTime) -> Result<i64, Why> {
    micros(Offset::UTC.to_timestamp(moment).map_err(|_| "out of the range of a point in time")?)
}

fn micros(moment: Timestamp) -> Result<i64, Why> {
    if moment.as_nanosecond() % 1000 != 0 {
        return Err("more exact than a microsecond".into());
    }
    Ok(moment.as_microsecond())
}

fn civil(micros: i64) -> Result<DateTime, Why> {
    let moment = Timestamp::from_microsecond(micros).map_err(|_| "out of the range of a point in time")?;
    Ok(Offset::UTC.to_datetime(moment))
}

/// What a clock at that place shows.
fn local(micros: i64, zone: Option<&TimeZone>) -> Result<i64, Why> {
    let moment = Timestamp::from_microsecond(micros).map_err(|_| "out of the range of a point in time")?;
    clock(zone.unwrap_or(&TimeZone::UTC).to_datetime(moment))
}

pub fn text(value: Value<'_>, rule: &Rule) -> Result<String, Why> {
    let show = |shown: Result<String, jiff::Error>| shown.map_err(|error| error.to_string());
    let format = rule.format.as_deref();
    match value {
        Value::Date(i32::MAX) | Value::Timestamp(i64::MAX) | Value::Timestamptz(i64::MAX) => {
            Ok("infinity".into())
        }
        Value::Date(i32::MIN) | Value::Timestamp(i64::MIN) | Value::Timestamptz(i64::MIN) => {
            Ok("-infinity".into())
        }
        Value::Date(days) => {
            let date = civil(i64::from(days) * DAY)?.date();
            format.map_or_else(|| Ok(date.to_string()), |format| show(strtime::format(format, date)))
        }
        Value::Time(micros) => Ok(civil(micros)?.time().to_string()),
        Value::Timestamp(micros) => {
            let moment = civil(micros)?;
            format.map_or_else(|| Ok(moment.to_string()), |format| show(strtime::format(format, moment)))
        }
        Value::Timestamptz(micros) => {
            let moment =
                Timestamp::from_microsecond(micros).map_err(|_| "out of the range of a point in time")?;
            match (&rule.zone, format) {
                (None, None) => Ok(moment.to_string()),
                (zone, format) => {
                    let zoned = moment.to_zoned(zone.clone().unwrap_or(TimeZone::UTC));
                    show(strtime::format(format.unwrap_or("%Y-%m-%dT%H:%M:%S%.f%:z"), &zoned))
                }
            }
        }
        _ => Err("not a point in time".into()),
    }
}
