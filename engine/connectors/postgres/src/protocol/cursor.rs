//! Reads big-endian fields out of a shared buffer, never past its end.

use std::ops::Range;

use bytes::Bytes;
use sluice_types::{Error, ErrorKind, Result, Text};

/// A place in a buffer. What is taken is a slice of the buffer, not a copy.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    bytes: Bytes,
    at: usize,
}

/// What no server of this kind sends.
pub(crate) fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, what).remedy(
        "Is this a PostgreSQL server, and is anything between it and sluice that changes what it sends?",
    )
}

impl Cursor {
    pub fn new(bytes: Bytes) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// The whole buffer, for slices by range.
    pub fn buffer(&self) -> &Bytes {
        &self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The next `length` bytes as a range of the buffer.
    #[inline]
    pub fn range(&mut self, length: usize) -> Result<Range<usize>> {
        if length > self.left() {
            return Err(malformed("a message of the server ends too early"));
        }
        let range = self.at..self.at + length;
        self.at = range.end;
        Ok(range)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let range = self.range(N)?;
        let mut fixed = [0; N];
        fixed.copy_from_slice(&self.bytes[range]);
        Ok(fixed)
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.fixed::<1>()?[0])
    }

    #[inline]
    pub fn i16(&mut self) -> Result<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    #[inline]
    pub fn i32(&mut self) -> Result<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn i64(&mut self) -> Result<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Result<u64> {
        self.fixed().map(u64::from_be_bytes)
    }

    /// A count that stands before `each` or more bytes apiece: never more than can follow, so that room may be made for it.
    pub fn count(&mut self, each: usize) -> Result<usize> {
        let count = self.i16()?;
        match usize::try_from(count) {
            Ok(count) if count.saturating_mul(each) <= self.left() => Ok(count),
            _ => Err(malformed("a message of the server counts more than it holds")),
        }
    }

    /// Text up to a zero byte.
    pub fn text(&mut self) -> Result<Text> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == 0);
        let length = length.ok_or_else(|| malformed("a text of the server has no end"))?;
        let range = self.range(length + 1)?;
        let text = self.bytes.slice(range.start..range.end - 1);
        Text::try_from(text).map_err(|_| malformed("a name in a message of the server is not UTF-8"))
    }
}
