//! Rows out of COPY, binary and text: one message a row.

use bytes::{BufMut, Bytes, BytesMut};
use sluice_types::{Result, Row, TableSchema, Value};

use crate::codec::{Codec, Form};
use crate::decode::{self, Arena};
use crate::protocol::cursor::{Cursor, malformed};
use crate::schema::Table;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// One row.
#[derive(Debug)]
pub(crate) struct CopyRow {
    /// What stood in a first column that is no part of the row.
    pub number: Option<i64>,
    pub row: Row,
}

/// Reads the rows of one COPY.
pub(crate) struct Reader {
    codecs: Vec<Codec>,
    form: Form,
    /// The first column is a number of ours.
    numbered: bool,
    begun: bool,
    arena: Arena,
}

impl Reader {
    /// Of a table's columns, behind a number where `numbered`.
    pub fn new(table: &Table, numbered: bool) -> Self {
        Self::of(table.columns.iter().map(|column| column.codec.clone()).collect(), numbered)
    }

    /// Of its key's columns.
    pub fn of_key(table: &Table, schema: &TableSchema) -> Self {
        let codec = |name: &str| {
            table.column(name).and_then(|index| table.columns.get(index)).map(|c| c.codec.clone())
        };
        Self::of(schema.key_columns().filter_map(|column| codec(&column.name)).collect(), false)
    }

    fn of(mut codecs: Vec<Codec>, numbered: bool) -> Self {
        let form = Form::of(codecs.iter().map(Codec::form));
        if numbered {
            codecs.insert(0, Codec::Int4);
        }
        Reader { codecs, form, numbered, begun: false, arena: Arena::default() }
    }

    /// In which form to ask.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The row in a message; `None`: the end of it all.
    pub fn row(&mut self, message: Bytes) -> Result<Option<CopyRow>> {
        let row = match self.form {
            Form::Binary => self.binary(message)?,
            Form::Text => Some(self.text(message)?),
        };
        self.begun = true;
        Ok(row)
    }

    fn binary(&mut self, message: Bytes) -> Result<Option<CopyRow>> {
        let mut cursor = Cursor::new(message);
        if !self.begun {
            let signature = cursor.range(SIGNATURE.len())?;
            if &cursor.buffer()[signature] != SIGNATURE {
                return Err(malformed("a copy without its signature"));
            }
            let _flags = cursor.u32()?;
            let extension = cursor.u32()? as usize;
            cursor.range(extension)?;
            if cursor.is_empty() {
                return Ok(None);
            }
        }
        let count = cursor.i16()?;
        if count == -1 {
            return Ok(None);
        }
        if usize::try_from(count).ok() != Some(self.codecs.len()) {
            return Err(malformed("a copied row with more or fewer columns than its table"));
        }
        let mut made = Made::new(self.numbered, self.codecs.len());
        for codec in &self.codecs {
            let value = match usize::try_from(cursor.i32()?) {
                Err(_) => Value::Null,
                Ok(length) => {
                    let range = cursor.range(length)?;
                    decode::value(codec, Form::Binary, cursor.buffer(), range, &mut self.arena)?
                }
            };
            made.push(value);
        }
        if cursor.is_empty() {
            Ok(Some(made.row()))
        } else {
            Err(malformed("a copied row with something behind it"))
        }
    }

    fn text(&mut self, message: Bytes) -> Result<CopyRow> {
        let line = message.strip_suffix(b"\n").map_or(message.len(), <[u8]>::len);
        let mut made = Made::new(self.numbered, self.codecs.len());
        let mut at = 0;
        for (index, codec) in self.codecs.iter().enumerate() {
            if index > 0 {
                if message.get(at) != Some(&b'\t') || at >= line {
                    return Err(malformed("a copied row with fewer columns than its table"));
                }
                at += 1;
            }
            let length = message[at..line].iter().position(|byte| *byte == b'\t').unwrap_or(line - at);
            let field = at..at + length;
            at = field.end;
            let value = match &message[field.clone()] {
                b"\\N" => Value::Null,
                raw if raw.contains(&b'\\') => {
                    let own = unescaped(raw)?;
                    decode::value(codec, Form::Text, &own, 0..own.len(), &mut self.arena)?
                }
                _ => decode::value(codec, Form::Text, &message, field, &mut self.arena)?,
            };
            made.push(value);
        }
        if at == line {
            Ok(made.row())
        } else {
            Err(malformed("a copied row with more columns than its table"))
        }
    }
}

/// A row in the making.
struct Made {
    expects_number: bool,
    number: Option<i64>,
    row: Row,
}

impl Made {
    fn new(numbered: bool, columns: usize) -> Self {
        Made { expects_number: numbered, number: None, row: Row::with_columns(columns) }
    }

    fn push(&mut self, value: Value) {
        if self.expects_number {
            self.expects_number = false;
            self.number = if let Value::Int64(number) = value { Some(number) } else { None };
        } else {
            self.row.push(value);
        }
    }

    fn row(self) -> CopyRow {
        CopyRow { number: self.number, row: self.row }
    }
}

/// The text of a field as the output function wrote it.
fn unescaped(raw: &[u8]) -> Result<Bytes> {
    let mut own = BytesMut::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            own.put_u8(byte);
            continue;
        }
        own.put_u8(
            match bytes.next().ok_or_else(|| malformed("a copied value that ends in a backslash"))? {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                other => *other,
            },
        );
    }
    Ok(own.freeze())
}

#[cfg(test)]
mod mutated;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_unescaped() {
        let mut reader =
            Reader::of(vec![Codec::Text, Codec::Extended("postgres:x".into()), Codec::Int4], false);
        assert_eq!(reader.form(), Form::Text);
        let row = reader.row(Bytes::from_static(b"a\\tb\\\\\\n\t\\N\t7\n")).unwrap().unwrap();
        assert_eq!(row.row.values(), ["a\tb\\\n".into(), Value::Null, 7.into()]);
        for odd in [&b"a\tb\n"[..], b"a\tb\t1\t2\n", b"", b"\\"] {
            assert!(reader.row(Bytes::copy_from_slice(odd)).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn binary_begins_and_ends_as_it_should() {
        let mut reader = Reader::of(vec![Codec::Int2], true);
        let head = [SIGNATURE, &[0; 8]].concat();
        let row = b"\0\x02\0\0\0\x04\0\0\0\x05\0\0\0\x02\0\x07";
        let got = reader.row(Bytes::from([&head[..], row].concat())).unwrap().unwrap();
        assert_eq!((got.number, got.row.values()), (Some(5), &[7.into()][..]));
        assert!(reader.row(Bytes::from_static(b"\xff\xff")).unwrap().is_none());
        assert!(reader.row(Bytes::from_static(b"\0\x01\0\0\0\x00")).is_err());
        assert!(Reader::of(vec![], false).row(Bytes::from_static(b"nothing of the kind")).is_err());
    }
}
