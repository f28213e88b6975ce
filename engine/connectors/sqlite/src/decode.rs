//! The one decoder, for snapshot and stream: SQLite's storage classes to values.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rusqlite::types::ValueRef;
use sluice_types::value::Extended;
use sluice_types::{Text, Value};

/// The type name of text that is not UTF-8; its text is the bytes in hexadecimal digits.
pub(crate) const INVALID_TEXT: &str = "sqlite:text";

/// How much is allocated at once.
const BLOCK_BYTES: usize = 32 << 10;

/// Room for the text and bytes of a batch: they are copied once, out of SQLite's page, and sliced from there.
#[derive(Default)]
pub(crate) struct Arena(BytesMut);

impl Arena {
    fn keep(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        // What is large has its own allocation, so that it doesn't keep a block alive.
        if bytes.len() > BLOCK_BYTES / 4 {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(BLOCK_BYTES);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

/// The value of a stored value, by its storage class.
pub(crate) fn value(stored: ValueRef<'_>, arena: &mut Arena) -> Value {
    match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int64(number),
        ValueRef::Real(number) => Value::Float64(number),
        ValueRef::Blob(bytes) => Value::Bytes(arena.keep(bytes)),
        ValueRef::Text(bytes) => match Text::try_from(arena.keep(bytes)) {
            Ok(text) => Value::Text(text),
            Err(_) => Value::Extended(Arc::new(Extended {
                type_name: Text::from_static(INVALID_TEXT),
                text: Text::from(hex::encode(bytes)),
            })),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_storage_class_keeps_its_content() {
        let mut arena = Arena::default();
        let long = "é".repeat(BLOCK_BYTES);
        assert_eq!(value(ValueRef::Text("a\0b".as_bytes()), &mut arena), Value::from("a\0b"));
        assert_eq!(value(ValueRef::Text(long.as_bytes()), &mut arena), Value::from(long.as_str()));
        assert_eq!(value(ValueRef::Blob(&[0, 255]), &mut arena), Value::Bytes(Bytes::from_static(&[0, 255])));
        assert_eq!(value(ValueRef::Real(-0.0), &mut arena), Value::Float64(-0.0));
        let Value::Extended(invalid) = value(ValueRef::Text(&[0x61, 0xff]), &mut arena) else { panic!() };
        assert_eq!((&*invalid.type_name, &*invalid.text), ("sqlite:text", "61ff"));
    }
}
