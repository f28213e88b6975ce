//! Numbers to numbers.

use std::cmp::Ordering;

use sluice_sdk::{ColumnType, Decimal, Value};

use crate::convert::Why;

/// The longest decimal that is written out from an exponent, in digits.
const DIGITS: i64 = 1000;

pub fn integer(value: Value<'_>) -> Result<i64, Why> {
    let wide = match value {
        Value::Int(value) => return Ok(value),
        Value::Bool(value) => return Ok(value.into()),
        Value::Uint(value) => value.into(),
        Value::Float(value) if !value.is_finite() => return Err("not a number".into()),
        Value::Float(value) if value.trunc() != value => {
            return Err("it has a fraction, which an integer can't hold".into());
        }
        // A float of this size is a whole number, and beyond 128 bits the cast saturates, which is out of range too.
        Value::Float(value) => value as i128,
        Value::Decimal(value) => whole(value)?,
        Value::Text(text) | Value::Enumeration(text) => whole(Decimal::parse(text).ok_or("not a number")?)?,
        _ => return Err("not a number".into()),
    };
    i64::try_from(wide).map_err(|_| "out of the range of a 64-bit integer".into())
}

fn whole(value: Decimal<'_>) -> Result<i128, Why> {
    value.to_i128().ok_or_else(|| {
        let plain = plain(value).unwrap_or_default();
        let fraction =
            plain.split_once('.').is_some_and(|(_, fraction)| fraction.bytes().any(|digit| digit != b'0'));
        if fraction {
            "it has a fraction, which an integer can't hold"
        } else {
            "out of the range of a 64-bit integer"
        }
        .into()
    })
}

/// Digits count as held by a float if the float is written back with the same number: 0.1 is, 0.10000000000000000555 is not.
pub fn float(value: Value<'_>) -> Result<f64, Why> {
    match value {
        Value::Float(value) => Ok(value),
        Value::Int(value) => exact(value.into()),
        Value::Uint(value) => exact(value.into()),
        Value::Decimal(value) => nearest(value),
        Value::Text(text) | Value::Enumeration(text) => nearest(Decimal::parse(text).ok_or("not a number")?),
        _ => Err("not a number".into()),
    }
}

fn exact(value: i128) -> Result<f64, Why> {
    let float = value as f64;
    if float as i128 == value { Ok(float) } else { Err("more digits than a float holds".into()) }
}

fn nearest(value: Decimal<'_>) -> Result<f64, Why> {
    match value.0 {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let float: f64 = value.0.parse().map_err(|_| "not a number")?;
    if !float.is_finite() {
        return Err("out of the range of a float".into());
    }
    let back = float.to_string();
    if Decimal(&back).compare(value) == Ordering::Equal {
        Ok(float)
    } else {
        Err("more digits than a float holds".into())
    }
}

pub fn decimal(value: Value<'_>, from: ColumnType) -> Result<String, Why> {
    Ok(match value {
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Float(value) => shortest(value, from),
        Value::Decimal(value) => value.0.into(),
        Value::Text(text) | Value::Enumeration(text) => {
            let value = Decimal::parse(text).ok_or("not a number")?;
            if value.is_finite() { plain(value).ok_or("too many digits")? } else { text.into() }
        }
        _ => return Err("not a number".into()),
    })
}

/// The fewest digits that give the same float again, at the size that it had.
pub fn shortest(value: f64, from: ColumnType) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else if from == ColumnType::Float32 {
        (value as f32).to_string()
    } else {
        value.to_string()
    }
}

/// A finite decimal without exponent or plus sign; every digit that was written stays. `None`: not finite, or too long.
pub fn plain(value: Decimal<'_>) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let text = value.0.strip_prefix('+').unwrap_or(value.0);
    let Some(at) = text.find(['e', 'E']) else { return Some(text.into()) };
    let exponent: i64 = text[at + 1..].parse().ok()?;
    let (sign, mantissa) = text[..at].strip_prefix('-').map_or(("", &text[..at]), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    if point.abs() > DIGITS || digits.len() as i64 > DIGITS {
        return None;
    }
    Some(match usize::try_from(point) {
        Err(_) | Ok(0) => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        Ok(point) if point >= digits.len() => format!("{sign}{digits}{}", "0".repeat(point - digits.len())),
        Ok(point) => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
    })
}
