//! Values as a case, or a decision about a conflict, writes them.

use bytes::Bytes;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use serde_json::Value as Json;
use sluice_types::{ColumnType, Text, Value};

/// The value of a column of that type. Dates and times as in ISO 8601, decimals and everything else that has no JSON of its own as text,
/// bytes, uuids and object ids in hexadecimal digits.
pub fn read(json: &Json, ty: ColumnType) -> Result<Value, String> {
    let wrong = || format!("{json} is no {ty}");
    if json.is_null() {
        return Ok(Value::Null);
    }
    let text = || json.as_str().ok_or_else(wrong);
    let shared = || text().map(Text::from);
    Ok(match ty {
        ColumnType::Boolean => Value::Bool(json.as_bool().ok_or_else(wrong)?),
        ColumnType::Int64 => Value::Int64(json.as_i64().ok_or_else(wrong)?),
        ColumnType::Uint64 => Value::Uint64(json.as_u64().ok_or_else(wrong)?),
        ColumnType::Float32 => Value::Float32(float(json).ok_or_else(wrong)? as f32),
        ColumnType::Float64 => Value::Float64(float(json).ok_or_else(wrong)?),
        ColumnType::Decimal => Value::Decimal(shared()?),
        ColumnType::Text => Value::Text(shared()?),
        ColumnType::Json => Value::Json(shared()?),
        ColumnType::Enumeration => Value::Enum(shared()?),
        ColumnType::Bytes => Value::Bytes(Bytes::from(hex::decode(text()?).map_err(|_| wrong())?)),
        ColumnType::Uuid => Value::Uuid(digits(text()?).ok_or_else(wrong)?),
        ColumnType::ObjectId => Value::ObjectId(digits(text()?).ok_or_else(wrong)?),
        ColumnType::Date => match text()? {
            "infinity" => Value::Date(i32::MAX),
            "-infinity" => Value::Date(i32::MIN),
            text => {
                let date: Date = text.parse().map_err(|_| wrong())?;
                let micros = micros(DateTime::from(date)).ok_or_else(wrong)?;
                Value::Date(i32::try_from(micros / 86_400_000_000).map_err(|_| wrong())?)
            }
        },
        ColumnType::Time => {
            let time: Time = text()?.parse().map_err(|_| wrong())?;
            Value::Time(micros(Date::constant(1970, 1, 1).to_datetime(time)).ok_or_else(wrong)?)
        }
        ColumnType::Timestamp => Value::Timestamp(match text()? {
            "infinity" => i64::MAX,
            "-infinity" => i64::MIN,
            text => micros(text.parse().map_err(|_| wrong())?).ok_or_else(wrong)?,
        }),
        ColumnType::Timestamptz => Value::Timestamptz(match text()? {
            "infinity" => i64::MAX,
            "-infinity" => i64::MIN,
            text => text.parse::<jiff::Timestamp>().map_err(|_| wrong())?.as_microsecond(),
        }),
        ColumnType::Interval | ColumnType::Array | ColumnType::Document | ColumnType::Extended => {
            return Err(format!("a value of type {ty} can't be written in JSON yet"));
        }
    })
}

fn float(json: &Json) -> Option<f64> {
    match json.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        _ => json.as_f64(),
    }
}

fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex::decode(text.replace('-', "")).ok()?.try_into().ok()
}

fn micros(moment: DateTime) -> Option<i64> {
    Offset::UTC.to_timestamp(moment).ok().map(|moment| moment.as_microsecond())
}
