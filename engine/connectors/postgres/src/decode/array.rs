//! Arrays of any number of dimensions, with nulls and lower bounds.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use sluice_types::value::Array;
use sluice_types::{Result, Value};

use super::{Arena, malformed};
use crate::codec::{ArrayCodec, Form};
use crate::protocol::cursor::Cursor;

/// The server's own limit.
const DIMENSIONS_MAX: usize = 6;

fn odd() -> sluice_types::Error {
    malformed("an array that can't be read")
}

/// How many elements these dimensions have.
fn product(dimensions: &[(u32, i32)]) -> Option<usize> {
    if dimensions.is_empty() {
        return Some(0);
    }
    dimensions.iter().try_fold(1_usize, |all, (length, _)| all.checked_mul(*length as usize))
}

pub(super) fn binary(
    codec: &ArrayCodec,
    buffer: &Bytes,
    range: Range<usize>,
    arena: &mut Arena,
) -> Result<Value> {
    let mut cursor = Cursor::new(buffer.slice(range));
    let count = usize::try_from(cursor.i32()?).map_err(|_| odd())?;
    let _has_nulls = cursor.i32()?;
    let _element = cursor.u32()?;
    if count > DIMENSIONS_MAX {
        return Err(odd());
    }
    let mut dimensions = Vec::with_capacity(count);
    for _ in 0..count {
        let length = u32::try_from(cursor.i32()?).map_err(|_| odd())?;
        dimensions.push((length, cursor.i32()?));
    }
    // Each element has a length of four bytes at least: no room is made for more than have come.
    let count =
        product(&dimensions).filter(|count| count.saturating_mul(4) <= cursor.left()).ok_or_else(odd)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let length = cursor.i32()?;
        items.push(match usize::try_from(length) {
            Err(_) => Value::Null,
            Ok(length) => {
                let range = cursor.range(length)?;
                super::value(&codec.element, Form::Binary, cursor.buffer(), range, arena)?
            }
        });
    }
    if !cursor.is_empty() {
        return Err(odd());
    }
    Ok(array(dimensions, items))
}

fn array(dimensions: Vec<(u32, i32)>, items: Vec<Value>) -> Value {
    // An array without elements has no dimensions.
    let dimensions = if items.is_empty() { vec![] } else { dimensions };
    Value::Array(Arc::new(Array { dimensions, items }))
}

/// `[0:1]={{1,NULL},{"a b",\"}}`: bounds where they are not 1, braces, elements quoted where they need it.
pub(super) fn text(
    codec: &ArrayCodec,
    buffer: &Bytes,
    range: Range<usize>,
    arena: &mut Arena,
) -> Result<Value> {
    let mut reader = TextReader {
        buffer,
        at: range.start,
        end: range.end,
        codec,
        arena,
        items: vec![],
        lengths: vec![],
        innermost: None,
    };
    let lowers = reader.bounds()?;
    reader.braces(0)?;
    if reader.at != reader.end {
        return Err(odd());
    }
    let TextReader { items, lengths, .. } = reader;
    let dimensions: Vec<(u32, i32)> = lengths
        .iter()
        .enumerate()
        .map(|(dimension, length)| (length.unwrap_or(0), lowers.get(dimension).copied().unwrap_or(1)))
        .collect();
    if !items.is_empty() && product(&dimensions) != Some(items.len()) {
        return Err(odd());
    }
    Ok(array(dimensions, items))
}

struct TextReader<'a> {
    buffer: &'a Bytes,
    at: usize,
    end: usize,
    codec: &'a ArrayCodec,
    arena: &'a mut Arena,
    items: Vec<Value>,
    /// The length of each dimension, once its first run has been read.
    lengths: Vec<Option<u32>>,
    /// The dimension in which elements stand, once one was read.
    innermost: Option<usize>,
}

impl TextReader<'_> {
    fn peek(&self) -> Option<u8> {
        self.buffer.get(self.at).copied().filter(|_| self.at < self.end)
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(odd());
        }
        self.at += 1;
        Ok(())
    }

    /// `[1:2][0:3]=`; the lower ends.
    fn bounds(&mut self) -> Result<Vec<i32>> {
        let mut lowers = Vec::new();
        while self.peek() == Some(b'[') {
            self.at += 1;
            lowers.push(self.number()?);
            self.expect(b':')?;
            self.number()?;
            self.expect(b']')?;
        }
        if lowers.len() > DIMENSIONS_MAX {
            return Err(odd());
        }
        if !lowers.is_empty() {
            self.expect(b'=')?;
        }
        Ok(lowers)
    }

    fn number(&mut self) -> Result<i32> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+')) {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.buffer[from..self.at]).map_err(|_| odd())?;
        digits.parse().map_err(|_| odd())
    }

    /// One run of a dimension in its braces.
    fn braces(&mut self, dimension: usize) -> Result<()> {
        if dimension >= DIMENSIONS_MAX {
            return Err(odd());
        }
        if self.lengths.len() == dimension {
            self.lengths.push(None);
        }
        self.expect(b'{')?;
        let mut length = 0_u32;
        if self.peek() == Some(b'}') && dimension == 0 {
            self.at += 1;
            return Ok(());
        }
        loop {
            match self.peek() {
                Some(b'{') if self.innermost == Some(dimension) => return Err(odd()),
                Some(b'{') => self.braces(dimension + 1)?,
                // Elements stand in the innermost braces only.
                _ if self.lengths.len() != dimension + 1 => return Err(odd()),
                _ => {
                    self.innermost = Some(dimension);
                    self.element()?;
                }
            }
            length += 1;
            match self.peek() {
                Some(byte) if byte == self.codec.delimiter => self.at += 1,
                Some(b'}') => break,
                _ => return Err(odd()),
            }
        }
        self.at += 1;
        match self.lengths[dimension] {
            Some(known) if known != length => Err(odd()),
            _ => {
                self.lengths[dimension] = Some(length);
                Ok(())
            }
        }
    }

    fn element(&mut self) -> Result<()> {
        if self.peek() == Some(b'"') {
            self.at += 1;
            return self.quoted();
        }
        let from = self.at;
        while self
            .peek()
            .is_some_and(|byte| byte != self.codec.delimiter && !matches!(byte, b'}' | b'{' | b'\\'))
        {
            self.at += 1;
        }
        let range = from..self.at;
        if range.is_empty() {
            return Err(odd());
        }
        if self.buffer[range.clone()].eq_ignore_ascii_case(b"NULL") {
            self.items.push(Value::Null);
            return Ok(());
        }
        self.push(&self.buffer.clone(), range)
    }

    /// Up to the closing quote; a slice of the buffer unless something in it is escaped.
    fn quoted(&mut self) -> Result<()> {
        let from = self.at;
        let mut own: Option<BytesMut> = None;
        loop {
            match self.peek().ok_or_else(odd)? {
                b'"' => break,
                b'\\' => {
                    let kept = own.get_or_insert_with(|| BytesMut::from(&self.buffer[from..self.at]));
                    let escaped = self.buffer.get(self.at + 1).copied().filter(|_| self.at + 1 < self.end);
                    kept.put_u8(escaped.ok_or_else(odd)?);
                    self.at += 2;
                }
                byte => {
                    if let Some(kept) = &mut own {
                        kept.put_u8(byte);
                    }
                    self.at += 1;
                }
            }
        }
        let range = from..self.at;
        self.at += 1;
        match own {
            Some(kept) => {
                let kept = kept.freeze();
                self.push(&kept, 0..kept.len())
            }
            None => self.push(&self.buffer.clone(), range),
        }
    }

    fn push(&mut self, buffer: &Bytes, range: Range<usize>) -> Result<()> {
        let value = super::value(&self.codec.element, Form::Text, buffer, range, self.arena)?;
        self.items.push(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    fn read(element: Codec, text: &str) -> Result<Value> {
        let buffer = Bytes::copy_from_slice(text.as_bytes());
        let codec = ArrayCodec { element, delimiter: b',' };
        super::text(&codec, &buffer, 0..buffer.len(), &mut Arena::default())
    }

    #[test]
    fn texts_are_read() {
        let Value::Array(array) = read(Codec::Int4, "[0:1][1:2]={{1,2},{3,NULL}}").unwrap() else { panic!() };
        assert_eq!(array.dimensions, [(2, 0), (2, 1)]);
        assert_eq!(array.items, [1.into(), 2.into(), 3.into(), Value::Null]);
        let text = r#"{a,"b c","NULL","\"\\",""}"#;
        let Value::Array(array) = read(Codec::Text, text).unwrap() else { panic!() };
        let expected = ["a", "b c", "NULL", "\"\\", ""].map(Value::from);
        assert_eq!(array.items, expected);
        let Value::Array(array) = read(Codec::Text, "{}").unwrap() else { panic!() };
        assert!(array.items.is_empty() && array.dimensions.is_empty());
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "",
            "{",
            "{1,2",
            "{{1},{1,2}}",
            "{1,{2}}",
            "{{1},2}",
            "{1}}",
            "{{{{{{{1}}}}}}}",
            "{,}",
            "{\"a",
            "[1={}",
        ] {
            assert!(read(Codec::Text, text).is_err(), "{text}");
        }
        let huge =
            [&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 23][..], &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1].repeat(2)]
                .concat();
        let buffer = Bytes::from(huge);
        let codec = ArrayCodec { element: Codec::Int4, delimiter: b',' };
        assert!(binary(&codec, &buffer, 0..buffer.len(), &mut Arena::default()).is_err());
    }
}
