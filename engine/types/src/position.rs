//! Where in a source's log something stands.

use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::value::Text;

/// A place in one source's log: ordered and opaque.
///
/// Only the source that made a position can read its `text`; everybody may compare positions of the same source. The order is
/// that of `order`'s bytes, which the source writes so that later places compare greater (big-endian numbers, for example).
#[derive(Clone, Serialize, Deserialize)]
pub struct Position {
    #[serde(with = "crate::value::hex_bytes")]
    order: Bytes,
    text: Text,
}

impl Position {
    /// A position whose bytes compare as the log runs, and the text by which its source finds it again.
    pub fn new(order: impl Into<Bytes>, text: impl Into<Text>) -> Self {
        Position { order: order.into(), text: text.into() }
    }

    /// A position that is one number: a change id, an LSN.
    pub fn from_number(number: u64, text: impl Into<Text>) -> Self {
        Position::new(Bytes::copy_from_slice(&number.to_be_bytes()), text)
    }

    /// The number of [`Position::from_number`]; `None` when this position was made otherwise.
    pub fn number(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.order.as_ref().try_into().ok()?))
    }

    /// What people and the source read.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Position {}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.cmp(&other.order)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_as_numbers() {
        let at = |n: u64| Position::from_number(n, n.to_string());
        assert!(at(9) < at(10) && at(255) < at(256));
        assert_eq!(at(7).number(), Some(7));
        let json = serde_json::to_string(&at(300)).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), at(300));
    }
}
