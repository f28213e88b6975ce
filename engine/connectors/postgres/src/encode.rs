//! Values to the server's binary form: written straight into the buffer that is sent, nothing allocated for a value.
//!
//! A value that the column would round, cut, pad or shift is refused here (I7): the server does much of that in silence.

mod numeric;
mod text;

use bytes::{BufMut, BytesMut};
use sluice_types::Value;

use crate::values::{IntervalField, Kind};

/// Why a value does not fit, without the value.
pub(crate) type Unfit = &'static str;

/// Days from 1970-01-01 to 2000-01-01, where the server counts from.
const EPOCH_DAYS: i64 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = EPOCH_DAYS * 86_400_000_000;
/// The first day that the server knows, counted from 2000-01-01.
const DAY_MIN: i64 = -2_451_545;
/// The first day that it does not know any more.
const DAY_END: i64 = 2_147_483_494 - 2_451_545;
/// The same for timestamps, in microseconds.
const MICROS_MIN: i64 = -211_813_488_000_000_000;
const MICROS_END: i64 = 9_223_371_331_200_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
/// The bytes of a `name`.
const NAME_BYTES_MAX: usize = 63;
const WRONG_TYPE: Unfit = "the column is of another type";
const OUT_OF_RANGE: Unfit = "a number out of the column's range";
const FRACTION: Unfit = "a finer fraction of a second than the column keeps";
const OUTSIDE: Unfit = "a time outside of what the server knows";

/// Writes a value with its length before it; null (and absent) as the length -1.
pub(crate) fn put(value: &Value, kind: &Kind, out: &mut BytesMut) -> Result<(), Unfit> {
    if matches!(value, Value::Null | Value::Absent) {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    put_bare(value, kind, out)?;
    let length = i32::try_from(out.len() - start - 4).map_err(|_| "a value of more than 1 GiB")?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn put_bare(value: &Value, kind: &Kind, out: &mut BytesMut) -> Result<(), Unfit> {
    match kind {
        Kind::Text(limit) => text::put(value, *limit, out)?,
        Kind::Int8 => out.put_i64(whole(value)?),
        Kind::Int4 => out.put_i32(whole(value)?.try_into().map_err(|_| OUT_OF_RANGE)?),
        Kind::Int2 => out.put_i16(whole(value)?.try_into().map_err(|_| OUT_OF_RANGE)?),
        Kind::Oid => out.put_u32(whole(value)?.try_into().map_err(|_| OUT_OF_RANGE)?),
        Kind::Bool => match value {
            Value::Bool(flag) => out.put_u8(u8::from(*flag)),
            _ => return Err(WRONG_TYPE),
        },
        Kind::Float8 => out.put_f64(double(value)?),
        Kind::Float4 => out.put_f32(single(value)?),
        Kind::Numeric(fit) => put_numeric(value, *fit, out)?,
        Kind::Padded(limit) => text::put(value, *limit, out)?,
        Kind::Name => text::put_name(value, NAME_BYTES_MAX, out)?,
        Kind::Char => text::put_char(value, out)?,
        Kind::Bytes => match value {
            Value::Bytes(bytes) => out.put_slice(bytes),
            Value::ObjectId(id) => out.put_slice(id),
            _ => return Err(WRONG_TYPE),
        },
        Kind::Date => match value {
            Value::Date(i32::MIN) => out.put_i32(i32::MIN),
            Value::Date(i32::MAX) => out.put_i32(i32::MAX),
            Value::Date(days) => {
                let days = i64::from(*days) - EPOCH_DAYS;
                if !(DAY_MIN..DAY_END).contains(&days) {
                    return Err(OUTSIDE);
                }
                out.put_i32(days as i32);
            }
            _ => return Err(WRONG_TYPE),
        },
        Kind::Time(unit) => match value {
            Value::Time(micros) if !(0..=DAY_MICROS).contains(micros) => return Err(OUTSIDE),
            Value::Time(micros) => out.put_i64(multiple(*micros, *unit)?),
            _ => return Err(WRONG_TYPE),
        },
        Kind::Timestamp(unit) => match value {
            Value::Timestamp(micros) => out.put_i64(timestamp(*micros, *unit)?),
            Value::Extended(extended) => out.put_i64(multiple(text::timestamp(&extended.text)?, *unit)?),
            _ => return Err(WRONG_TYPE),
        },
        Kind::Timestamptz(unit) => match value {
            Value::Timestamptz(micros) => out.put_i64(timestamp(*micros, *unit)?),
            Value::Extended(extended) => out.put_i64(multiple(text::timestamp(&extended.text)?, *unit)?),
            _ => return Err(WRONG_TYPE),
        },
        Kind::Interval(field) => put_interval(value, *field, true, out)?,
        Kind::FiniteInterval(field) => put_interval(value, *field, false, out)?,
        Kind::Uuid => match value {
            Value::Uuid(bytes) => out.put_slice(bytes),
            _ => return Err(WRONG_TYPE),
        },
        Kind::Json => match value {
            Value::Json(json) => text::put_text(json, out)?,
            _ => return Err(WRONG_TYPE),
        },
        Kind::Jsonb => match value {
            Value::Json(json) => {
                out.put_u8(1);
                text::put_text(json, out)?;
            }
            _ => return Err(WRONG_TYPE),
        },
        Kind::Enum => match value {
            Value::Enum(label) | Value::Text(label) => text::put_text(label, out)?,
            _ => return Err(WRONG_TYPE),
        },
        Kind::Array(element, oid) => put_array(value, element, *oid, out)?,
        Kind::ByText(delimiter, digits) => text::put_any(value, *delimiter, *digits, out)?,
    }
    Ok(())
}

fn put_numeric(value: &Value, fit: Option<(u16, i16)>, out: &mut BytesMut) -> Result<(), Unfit> {
    match value {
        Value::Decimal(digits) => numeric::put(digits, fit, out),
        Value::Int64(number) => text::digits((*number).into(), |digits| numeric::put(digits, fit, out)),
        Value::Uint64(number) => text::digits((*number).into(), |digits| numeric::put(digits, fit, out)),
        _ => Err(WRONG_TYPE),
    }
}

fn put_array(value: &Value, element: &Kind, oid: u32, out: &mut BytesMut) -> Result<(), Unfit> {
    let Value::Array(array) = value else { return Err(WRONG_TYPE) };
    out.put_i32(array.dimensions.len() as i32);
    out.put_i32(i32::from(array.items.iter().any(|item| matches!(item, Value::Null))));
    out.put_u32(oid);
    for (length, lower) in &array.dimensions {
        out.put_u32(*length);
        out.put_i32(*lower);
    }
    array.items.iter().try_for_each(|item| put(item, element, out))
}

fn put_interval(value: &Value, field: IntervalField, endless: bool, out: &mut BytesMut) -> Result<(), Unfit> {
    let Value::Interval(interval) = value else { return Err(WRONG_TYPE) };
    // PostgreSQL 17's infinities are all ends at once.
    let ends = [(i32::MIN, i32::MIN, i64::MIN), (i32::MAX, i32::MAX, i64::MAX)];
    if !endless && ends.contains(&(interval.months, interval.days, interval.micros)) {
        return Err("an endless interval, which servers before PostgreSQL 17 do not have");
    }
    if !ends.contains(&(interval.months, interval.days, interval.micros)) {
        let kept = match field {
            IntervalField::Micros(unit) => interval.micros % unit == 0,
            IntervalField::Day => interval.micros == 0,
            IntervalField::Month => interval.micros == 0 && interval.days == 0,
            IntervalField::Year => interval.micros == 0 && interval.days == 0 && interval.months % 12 == 0,
        };
        if !kept {
            return Err("finer fields of an interval than the column keeps");
        }
    }
    out.put_i64(interval.micros);
    out.put_i32(interval.days);
    out.put_i32(interval.months);
    Ok(())
}

fn whole(value: &Value) -> Result<i64, Unfit> {
    match value {
        Value::Int64(number) => Ok(*number),
        Value::Uint64(number) => i64::try_from(*number).map_err(|_| OUT_OF_RANGE),
        Value::Decimal(digits) => digits.parse().map_err(|_| "not a whole number of the column's range"),
        _ => Err(WRONG_TYPE),
    }
}

/// The greatest whole number up to which a double holds every one.
const DOUBLE_WHOLE_MAX: u64 = 1 << 53;

fn double(value: &Value) -> Result<f64, Unfit> {
    match value {
        Value::Float64(number) => Ok(*number),
        Value::Float32(number) => Ok(f64::from(*number)),
        Value::Int64(number) if number.unsigned_abs() <= DOUBLE_WHOLE_MAX => Ok(*number as f64),
        Value::Uint64(number) if *number <= DOUBLE_WHOLE_MAX => Ok(*number as f64),
        Value::Int64(_) | Value::Uint64(_) => Err(OUT_OF_RANGE),
        _ => Err(WRONG_TYPE),
    }
}

fn single(value: &Value) -> Result<f32, Unfit> {
    if let Value::Float32(number) = value {
        return Ok(*number);
    }
    let number = double(value)?;
    let narrow = number as f32;
    if number.is_nan() || f64::from(narrow) == number {
        Ok(narrow)
    } else {
        Err("more digits than the column keeps")
    }
}

fn multiple(micros: i64, unit: i64) -> Result<i64, Unfit> {
    if micros % unit == 0 || micros == i64::MAX || micros == i64::MIN { Ok(micros) } else { Err(FRACTION) }
}

fn timestamp(micros: i64, unit: i64) -> Result<i64, Unfit> {
    if micros == i64::MIN || micros == i64::MAX {
        return Ok(micros);
    }
    let since = micros.checked_sub(EPOCH_MICROS).ok_or(OUTSIDE)?;
    if !(MICROS_MIN..MICROS_END).contains(&since) {
        return Err(OUTSIDE);
    }
    multiple(since, unit)
}

/// Writes bytes by which two values of a key column are the same exactly when the server takes them for the same. Only for kinds
/// where that can be said ([`Kind::is_exact`]).
pub(crate) fn key(value: &Value, kind: &Kind, out: &mut BytesMut) -> Result<(), Unfit> {
    let start = out.len();
    put(value, kind, out)?;
    match kind {
        // The digits, not how many zeros are shown.
        Kind::Numeric(_) if out.len() >= start + 12 => out[start + 10..start + 12].fill(0),
        Kind::Padded(_) => {
            let kept = out[start + 4..].iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            out.truncate(start + 4 + kept);
            out[start..start + 4].copy_from_slice(&(kept as u32).to_be_bytes());
        }
        // Both zeros are one, and so is every NaN.
        Kind::Float8 => float_key(out, start + 4, double(value)?),
        Kind::Float4 => float_key(out, start + 4, f64::from(single(value)?)),
        _ => {}
    }
    Ok(())
}

fn float_key(out: &mut BytesMut, at: usize, number: f64) {
    let same = if number == 0.0 {
        0.0
    } else if number.is_nan() {
        f64::NAN
    } else {
        number
    };
    out.truncate(at);
    out.put_f64(same);
}

#[cfg(test)]
mod tests;
