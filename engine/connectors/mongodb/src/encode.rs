//! Values as BSON bytes, written once into the buffer of the command that carries them: no document per row.

use sluice_types::Value;
use sluice_types::value::{Array, Document, Interval};

use crate::values::{Microseconds, Why, date_millis, moment_millis, push_time};
use crate::{decimal, json};

/// The types of BSON that are written here.
pub(crate) mod ty {
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0a;
    pub const INT32: u8 = 0x10;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL128: u8 = 0x13;
}

/// Documents within documents, at most: MongoDB's own limit.
pub(crate) const DEPTH_MAX: usize = 100;

const GENERIC: u8 = 0;
const UUID: u8 = 4;

/// Writes an element. `name` ends with its NUL.
pub(crate) fn element(out: &mut Vec<u8>, name: &[u8], value: &Value, rule: Microseconds) -> Result<(), Why> {
    let at = out.len();
    out.push(0);
    out.extend_from_slice(name);
    out[at] = body(out, value, rule, 1)?;
    Ok(())
}

/// Writes an element whose body is known already.
pub(crate) fn raw_element(out: &mut Vec<u8>, ty: u8, name: &[u8], body: &[u8]) {
    out.push(ty);
    out.extend_from_slice(name);
    out.extend_from_slice(body);
}

/// Writes a value without type and name, and answers with its type. After an error `out` holds a part of it.
pub(crate) fn body(out: &mut Vec<u8>, value: &Value, rule: Microseconds, depth: usize) -> Result<u8, Why> {
    Ok(match value {
        Value::Absent => return Err("the value is absent"),
        Value::Null => ty::NULL,
        Value::Bool(truth) => {
            out.push(u8::from(*truth));
            ty::BOOLEAN
        }
        Value::Int64(number) => int64(out, *number),
        Value::Uint64(number) => match i64::try_from(*number) {
            Ok(number) => int64(out, number),
            Err(_) => {
                out.extend_from_slice(&decimal::encode_whole(*number));
                ty::DECIMAL128
            }
        },
        Value::Float32(number) => double(out, f64::from(*number)),
        Value::Float64(number) => double(out, *number),
        Value::Decimal(digits) => {
            let bytes =
                decimal::encode(digits).ok_or("a Decimal128 has 34 digits, and the value has more")?;
            out.extend_from_slice(&bytes);
            ty::DECIMAL128
        }
        Value::Text(text) | Value::Enum(text) => string(out, text),
        Value::Bytes(bytes) => binary(out, GENERIC, bytes)?,
        Value::Uuid(bytes) => binary(out, UUID, bytes)?,
        Value::Date(days) => date(out, date_millis(*days)?),
        Value::Timestamp(micros) | Value::Timestamptz(micros) => date(out, moment_millis(*micros, rule)?),
        Value::Time(micros) => text_with(out, |out| push_time(out, *micros))?,
        Value::Interval(interval) => document(out, |out| {
            write_interval(out, interval);
            Ok(())
        })?,
        Value::Json(text) => json::write(out, text, depth)?,
        Value::Array(array) => write_array(out, array, rule, depth)?,
        Value::Document(fields) => write_document(out, fields, rule, depth)?,
        Value::ObjectId(bytes) => {
            out.extend_from_slice(bytes);
            ty::OBJECT_ID
        }
        Value::Extended(extended) => document(out, |out| {
            raw_string(out, b"type\0", &extended.type_name);
            raw_string(out, b"text\0", &extended.text);
            Ok(())
        })?,
    })
}

pub(crate) fn int64(out: &mut Vec<u8>, number: i64) -> u8 {
    out.extend_from_slice(&number.to_le_bytes());
    ty::INT64
}

pub(crate) fn double(out: &mut Vec<u8>, number: f64) -> u8 {
    out.extend_from_slice(&number.to_le_bytes());
    ty::DOUBLE
}

fn date(out: &mut Vec<u8>, millis: i64) -> u8 {
    out.extend_from_slice(&millis.to_le_bytes());
    ty::DATE
}

fn string(out: &mut Vec<u8>, text: &str) -> u8 {
    // Longer than an i32 is longer than any document: its size is refused.
    out.extend_from_slice(&((text.len() + 1) as i32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    ty::STRING
}

fn binary(out: &mut Vec<u8>, subtype: u8, bytes: &[u8]) -> Result<u8, Why> {
    let length = i32::try_from(bytes.len()).map_err(|_| "too long for a document of MongoDB")?;
    out.extend_from_slice(&length.to_le_bytes());
    out.push(subtype);
    out.extend_from_slice(bytes);
    Ok(ty::BINARY)
}

/// A string whose text `fill` appends.
pub(crate) fn text_with(
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Why>,
) -> Result<u8, Why> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out)?;
    out.push(0);
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(ty::STRING)
}

/// A document whose elements `fill` appends.
pub(crate) fn document(
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Why>,
) -> Result<u8, Why> {
    let at = open(out);
    fill(out)?;
    close(out, at);
    Ok(ty::DOCUMENT)
}

/// Begins a document or an array; [`close`] wants what this answers.
pub(crate) fn open(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    at
}

/// Ends what [`open`] began.
pub(crate) fn close(out: &mut Vec<u8>, at: usize) {
    out.push(0);
    let length = (out.len() - at) as i32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// The name of an array's element: its index and NUL.
pub(crate) fn push_index(out: &mut Vec<u8>, mut index: usize) {
    let mut digits = [0u8; 21];
    let mut at = digits.len() - 1;
    loop {
        at -= 1;
        digits[at] = b'0' + (index % 10) as u8;
        index /= 10;
        if index == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub(crate) fn raw_string(out: &mut Vec<u8>, name: &[u8], text: &str) {
    out.push(ty::STRING);
    out.extend_from_slice(name);
    string(out, text);
}

pub(crate) fn raw_bool(out: &mut Vec<u8>, name: &[u8], truth: bool) {
    raw_element(out, ty::BOOLEAN, name, &[u8::from(truth)]);
}

pub(crate) fn raw_int32(out: &mut Vec<u8>, name: &[u8], number: i32) {
    raw_element(out, ty::INT32, name, &number.to_le_bytes());
}

fn write_interval(out: &mut Vec<u8>, interval: &Interval) {
    raw_int32(out, b"months\0", interval.months);
    raw_int32(out, b"days\0", interval.days);
    raw_element(out, ty::INT64, b"microseconds\0", &interval.micros.to_le_bytes());
}

fn deeper(depth: usize) -> Result<usize, Why> {
    if depth >= DEPTH_MAX { Err("it is nested deeper than MongoDB allows") } else { Ok(depth + 1) }
}

/// An array of arrays for more than one dimension. Bounds that don't begin at 1 have no place in BSON.
fn write_array(out: &mut Vec<u8>, array: &Array, rule: Microseconds, depth: usize) -> Result<u8, Why> {
    if array.dimensions.iter().any(|(_, lower)| *lower != 1) {
        return Err("arrays of MongoDB have no lower bounds, and the value's is not 1");
    }
    let mut items = array.items.iter();
    write_dimension(out, &array.dimensions, &mut items, rule, depth)?;
    if items.next().is_some() {
        return Err("the array has more elements than its dimensions say");
    }
    Ok(ty::ARRAY)
}

fn write_dimension<'a>(
    out: &mut Vec<u8>,
    dimensions: &[(u32, i32)],
    items: &mut impl Iterator<Item = &'a Value>,
    rule: Microseconds,
    depth: usize,
) -> Result<(), Why> {
    let depth = deeper(depth)?;
    let at = open(out);
    let (length, inner) = match dimensions.split_first() {
        Some((first, rest)) => (first.0, rest),
        None => (0, dimensions),
    };
    for index in 0..length as usize {
        let element = out.len();
        out.push(ty::ARRAY);
        push_index(out, index);
        if inner.is_empty() {
            let item = items.next().ok_or("the array has fewer elements than its dimensions say")?;
            out[element] = body(out, item, rule, depth)?;
        } else {
            write_dimension(out, inner, items, rule, depth)?;
        }
    }
    close(out, at);
    Ok(())
}

/// Fields as they are, in their order, a name that comes twice included.
fn write_document(out: &mut Vec<u8>, fields: &Document, rule: Microseconds, depth: usize) -> Result<u8, Why> {
    let depth = deeper(depth)?;
    document(out, |out| {
        for (name, value) in &fields.0 {
            if name.as_bytes().contains(&0) {
                return Err(NUL_IN_NAME);
            }
            let at = out.len();
            out.push(0);
            out.extend_from_slice(name.as_bytes());
            out.push(0);
            out[at] = body(out, value, rule, depth)?;
        }
        Ok(())
    })
}

pub(crate) const NUL_IN_NAME: Why = "a field's name has a NUL in it, which BSON can't hold";
