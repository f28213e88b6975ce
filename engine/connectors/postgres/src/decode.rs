//! The one decoder of values, for snapshot and stream: the server's binary form, and its text form where a type has no other that
//! we know. Both give the same value.

mod array;
mod datetime;
mod numeric;
mod spelled;

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sluice_types::value::Extended;
use sluice_types::{Error, ErrorKind, Result, Text, Value};

use crate::codec::{Codec, Form};
pub(crate) use datetime::{date_text_of, timestamp_text_of};

/// The type name of text that is not UTF-8, which no server sends to sessions of ours; its text is the bytes in hexadecimal digits.
const INVALID_TEXT: &str = "postgres:text";

/// How much is allocated at once for text that is made here.
const BLOCK_BYTES: usize = 16 << 10;

/// Room for the text that is made while decoding (the digits of numerics): a batch shares it.
#[derive(Default)]
pub(crate) struct Arena(BytesMut);

impl Arena {
    /// Room to write into; [`Arena::text`] takes what was written. Always empty at first.
    fn room(&mut self, bytes: usize) -> &mut BytesMut {
        if self.0.capacity() < bytes {
            self.0 = BytesMut::with_capacity(bytes.max(BLOCK_BYTES));
        }
        &mut self.0
    }

    /// What was written since; ASCII only.
    fn text(&mut self) -> Text {
        // What is made here is ASCII.
        Text::try_from(self.0.split().freeze()).unwrap_or_default()
    }
}

/// A value that no server sends.
fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, what)
        .remedy("This server sends a value in a form that sluice does not know: please report its version and the column's type")
}

/// The value that stands in `range` of `buffer`.
pub(crate) fn value(
    codec: &Codec,
    form: Form,
    buffer: &Bytes,
    range: Range<usize>,
    arena: &mut Arena,
) -> Result<Value> {
    match form {
        Form::Binary => binary(codec, buffer, range, arena),
        Form::Text => text(codec, buffer, range, arena),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed("a value of the wrong length"))
}

fn binary(codec: &Codec, buffer: &Bytes, range: Range<usize>, arena: &mut Arena) -> Result<Value> {
    let bytes = &buffer[range.clone()];
    Ok(match codec {
        Codec::Bool => Value::Bool(fixed::<1>(bytes)? != [0]),
        Codec::Int2 => Value::Int64(i16::from_be_bytes(fixed(bytes)?).into()),
        Codec::Int4 => Value::Int64(i32::from_be_bytes(fixed(bytes)?).into()),
        Codec::Int8 => Value::Int64(i64::from_be_bytes(fixed(bytes)?)),
        Codec::Oid => Value::Int64(u32::from_be_bytes(fixed(bytes)?).into()),
        Codec::Float4 => float32(f32::from_be_bytes(fixed(bytes)?)),
        Codec::Float8 => float64(f64::from_be_bytes(fixed(bytes)?)),
        Codec::Numeric => numeric::binary(bytes, arena)?,
        Codec::Text => text_or_bytes(buffer, range),
        Codec::Char => char_of(fixed::<1>(bytes)?[0]),
        Codec::Bytea => Value::Bytes(buffer.slice(range)),
        Codec::Date => datetime::date(i32::from_be_bytes(fixed(bytes)?)),
        Codec::Time => Value::Time(i64::from_be_bytes(fixed(bytes)?)),
        Codec::Timestamp => datetime::timestamp(i64::from_be_bytes(fixed(bytes)?)),
        Codec::Timestamptz => datetime::timestamptz(i64::from_be_bytes(fixed(bytes)?)),
        Codec::Interval => datetime::interval(fixed(bytes)?),
        Codec::Uuid => Value::Uuid(fixed(bytes)?),
        Codec::Json => json(buffer, range),
        Codec::Jsonb => match bytes.first() {
            Some(1) => json(buffer, range.start + 1..range.end),
            _ => return Err(malformed("jsonb of an unknown version")),
        },
        Codec::Enum => Value::Enum(utf8(buffer.slice(range))?),
        Codec::Array(array) => array::binary(array, buffer, range, arena)?,
        Codec::Spelled(spelling) => spelled::binary(*spelling, buffer.slice(range), arena)?,
        Codec::Extended(_) => return Err(malformed("a binary value of a type that was asked for as text")),
    })
}

fn text(codec: &Codec, buffer: &Bytes, range: Range<usize>, arena: &mut Arena) -> Result<Value> {
    let bytes = &buffer[range.clone()];
    Ok(match codec {
        Codec::Bool => match bytes {
            b"t" => Value::Bool(true),
            b"f" => Value::Bool(false),
            _ => return Err(malformed("a truth value that is neither t nor f")),
        },
        Codec::Int2 | Codec::Int4 | Codec::Int8 | Codec::Oid => Value::Int64(parsed(bytes)?),
        Codec::Float4 => float32(parsed(bytes)?),
        Codec::Float8 => float64(parsed(bytes)?),
        Codec::Numeric => Value::Decimal(utf8(buffer.slice(range))?),
        Codec::Text => text_or_bytes(buffer, range),
        Codec::Char => match bytes {
            [] => Value::Text(Text::new()),
            [one] => char_of(*one),
            _ => Value::Text(utf8(buffer.slice(range))?),
        },
        Codec::Bytea => Value::Bytes(hexadecimal(bytes)?),
        Codec::Date => datetime::date_text(ascii(bytes)?)?,
        Codec::Time => datetime::time_text(ascii(bytes)?)?,
        Codec::Timestamp => datetime::timestamp_text(ascii(bytes)?)?,
        Codec::Timestamptz => datetime::timestamptz_text(ascii(bytes)?)?,
        Codec::Interval => datetime::interval_text(ascii(bytes)?)?,
        Codec::Uuid => Value::Uuid(uuid(bytes)?),
        Codec::Json | Codec::Jsonb => json(buffer, range),
        Codec::Enum => Value::Enum(utf8(buffer.slice(range))?),
        Codec::Array(array) => array::text(array, buffer, range, arena)?,
        Codec::Spelled(spelling) => extended(Text::from_static(spelling.name()), buffer.slice(range))?,
        Codec::Extended(name) => extended(name.clone(), buffer.slice(range))?,
    })
}

fn extended(type_name: Text, text: Bytes) -> Result<Value> {
    Ok(Value::Extended(Arc::new(Extended { type_name, text: utf8(text)? })))
}

fn ascii(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a value whose text is not ASCII"))
}

fn parsed<T: std::str::FromStr>(bytes: &[u8]) -> Result<T> {
    ascii(bytes)?.parse().map_err(|_| malformed("a number that can't be read"))
}

/// All NaNs are one to the server; its text form has only this one.
fn float32(number: f32) -> Value {
    Value::Float32(if number.is_nan() { f32::NAN } else { number })
}

fn float64(number: f64) -> Value {
    Value::Float64(if number.is_nan() { f64::NAN } else { number })
}

fn utf8(bytes: Bytes) -> Result<Text> {
    Text::try_from(bytes).map_err(|_| malformed("a value whose text is not UTF-8"))
}

fn json(buffer: &Bytes, range: Range<usize>) -> Value {
    match Text::try_from(buffer.slice(range.clone())) {
        Ok(text) => Value::Json(text),
        Err(_) => text_or_bytes(buffer, range),
    }
}

/// Text; what is no UTF-8 is refused by the server before it comes here, and would be kept all the same (I7).
fn text_or_bytes(buffer: &Bytes, range: Range<usize>) -> Value {
    match Text::try_from(buffer.slice(range.clone())) {
        Ok(text) => Value::Text(text),
        Err(_) => {
            let digits: String = buffer[range].iter().map(|byte| format!("{byte:02x}")).collect();
            let type_name = Text::from_static(INVALID_TEXT);
            Value::Extended(Arc::new(Extended { type_name, text: digits.into() }))
        }
    }
}

/// The server's own text for the one byte of a `"char"`, as of version 16.
fn char_of(byte: u8) -> Value {
    match byte {
        0 => Value::Text(Text::new()),
        1..=127 => Value::Text(char::from(byte).to_string().into()),
        _ => Value::Text(format!("\\{byte:03o}").into()),
    }
}

fn nibble(digit: u8) -> Result<u8> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(malformed("a hexadecimal digit that is none")),
    }
}

/// `\x00ff`, as `bytea_output = hex` writes it.
fn hexadecimal(bytes: &[u8]) -> Result<Bytes> {
    let digits = bytes.strip_prefix(b"\\x").ok_or_else(|| malformed("bytes that are not hexadecimal"))?;
    if digits.len() % 2 != 0 {
        return Err(malformed("bytes with half a byte"));
    }
    digits.chunks_exact(2).map(|pair| Ok(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

fn uuid(bytes: &[u8]) -> Result<[u8; 16]> {
    let mut uuid = [0; 16];
    let mut digits = bytes.iter().filter(|byte| **byte != b'-');
    for byte in &mut uuid {
        let mut next = || digits.next().copied().ok_or_else(|| malformed("a uuid that is too short"));
        *byte = nibble(next()?)? << 4 | nibble(next()?)?;
    }
    Ok(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(codec: &Codec, form: Form, bytes: &[u8]) -> Result<Value> {
        let buffer = Bytes::copy_from_slice(bytes);
        let range = 0..buffer.len();
        value(codec, form, &buffer, range, &mut Arena::default())
    }

    #[test]
    fn both_forms_give_the_same() {
        let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let uuid_bytes = super::uuid(uuid.as_bytes()).unwrap();
        for (codec, binary, text) in [
            (Codec::Bool, &b"\x01"[..], "t"),
            (Codec::Int2, b"\x80\x00", "-32768"),
            (Codec::Int8, b"\x7f\xff\xff\xff\xff\xff\xff\xff", "9223372036854775807"),
            (Codec::Oid, b"\xff\xff\xff\xff", "4294967295"),
            (Codec::Float8, b"\xff\xf8\0\0\0\0\0\0", "NaN"),
            (Codec::Float8, b"\x80\0\0\0\0\0\0\0", "-0"),
            (Codec::Float4, b"\xff\x80\0\0", "-Infinity"),
            (Codec::Float4, b"\x3d\xcc\xcc\xcd", "0.1"),
            (Codec::Bytea, b"\x00\xff", "\\x00ff"),
            (Codec::Char, b"\xe9", "\\351"),
            (Codec::Char, b"\0", ""),
            (Codec::Uuid, &uuid_bytes, uuid),
            (Codec::Jsonb, b"\x01{\"a\": 1}", "{\"a\": 1}"),
            (Codec::Enum, b"sad", "sad"),
        ] {
            let (one, other) = (of(&codec, Form::Binary, binary), of(&codec, Form::Text, text.as_bytes()));
            assert_eq!(one.unwrap(), other.unwrap(), "{codec:?} {text}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_kept() {
        let Value::Extended(kept) = of(&Codec::Text, Form::Binary, b"a\xff").unwrap() else { panic!() };
        assert_eq!((&*kept.type_name, &*kept.text), ("postgres:text", "61ff"));
    }

    #[test]
    fn values_of_the_wrong_size_are_errors() {
        for codec in [Codec::Bool, Codec::Int4, Codec::Uuid, Codec::Interval, Codec::Jsonb, Codec::Numeric] {
            assert!(of(&codec, Form::Binary, b"").is_err(), "{codec:?}");
            assert!(of(&codec, Form::Binary, b"\x02\0\0").is_err(), "{codec:?}");
        }
    }
}
