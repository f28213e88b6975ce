//! The messages of the output plugin `pgoutput`, protocol versions 1 and 2.
//!
//! Rows are not looked into here: where a row's columns begin is kept, and the decoder of its table walks them once.

use bytes::Bytes;
use sluice_types::{Result, Text};

use super::cursor::{Cursor, malformed};
use super::replication::{EPOCH_2000_MICROS, Lsn};

/// One message.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A transaction begins; everything up to its commit is of it.
    Begin {
        xid: u32,
        /// Where its commit record begins.
        commit: Lsn,
    },
    Commit(Committed),
    /// Who made the transaction, where it was applied by a replication of its own.
    Origin(Text),
    Relation(Relation),
    /// Something that says nothing about rows: a data type, a logical message.
    Other,
    Row(RowMessage),
    Truncate {
        relations: Vec<u32>,
    },
    /// A piece of a large transaction that has not committed yet begins.
    StreamStart {
        xid: u32,
    },
    StreamStop,
    StreamCommit {
        xid: u32,
        committed: Committed,
    },
    /// A large transaction, or one of its subtransactions, was rolled back.
    StreamAbort {
        xid: u32,
        subxid: u32,
    },
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Where its commit record begins.
    pub commit: Lsn,
    /// Where it ends: a checkpoint here covers the transaction.
    pub end: Lsn,
    /// Microseconds since 1970 UTC.
    pub micros: i64,
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Insert,
    Update,
    Delete,
}

/// A row's change; the images begin where `images` stands.
#[derive(Clone, Debug)]
pub(crate) struct RowMessage {
    pub op: Op,
    pub relation: u32,
    pub images: Cursor,
}

/// A table as the stream describes it before its first row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub oid: u32,
    pub schema: Text,
    pub name: Text,
    /// `d`, `i`, `f` or `n`.
    pub identity: u8,
    pub columns: Vec<RelationColumn>,
}

/// One of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    /// It is of the replica identity: old images have it.
    pub identity: bool,
    pub name: Text,
    pub type_oid: u32,
    /// `numeric(10,2)`, as the catalogue writes it; -1: none.
    pub modifier: i32,
}

/// Which transaction a message of a streamed piece is of; the subtransaction where there is one.
pub(crate) type StreamXid = u32;

/// Reads a message. In a piece of a streamed transaction (`streamed`) rows and their like carry the number of their (sub)transaction.
pub(crate) fn read(payload: Bytes, streamed: bool) -> Result<(Option<StreamXid>, Message)> {
    let mut from = Cursor::new(payload);
    let tag = from.u8()?;
    let carries = streamed && matches!(tag, b'I' | b'U' | b'D' | b'T' | b'R' | b'Y' | b'M');
    let xid = if carries { Some(from.u32()?) } else { None };
    let message = match tag {
        b'I' => row(Op::Insert, from)?,
        b'U' => row(Op::Update, from)?,
        b'D' => row(Op::Delete, from)?,
        b'B' => {
            let commit = Lsn(from.u64()?);
            let _micros = from.i64()?;
            Message::Begin { xid: from.u32()?, commit }
        }
        b'C' => Message::Commit(committed(&mut from)?),
        b'O' => {
            let _lsn = from.u64()?;
            Message::Origin(from.text()?)
        }
        b'R' => Message::Relation(relation(&mut from)?),
        b'Y' | b'M' => Message::Other,
        b'T' => truncate(&mut from)?,
        b'S' => {
            let xid = from.u32()?;
            let _first = from.u8()?;
            Message::StreamStart { xid }
        }
        b'E' => Message::StreamStop,
        b'c' => {
            let xid = from.u32()?;
            Message::StreamCommit { xid, committed: committed(&mut from)? }
        }
        b'A' => Message::StreamAbort { xid: from.u32()?, subxid: from.u32()? },
        _ => return Err(malformed("an unknown message of the output plugin")),
    };
    Ok((xid, message))
}

fn row(op: Op, mut from: Cursor) -> Result<Message> {
    let relation = from.u32()?;
    Ok(Message::Row(RowMessage { op, relation, images: from }))
}

fn committed(from: &mut Cursor) -> Result<Committed> {
    let _flags = from.u8()?;
    let (commit, end) = (Lsn(from.u64()?), Lsn(from.u64()?));
    let micros = from.i64()?.checked_add(EPOCH_2000_MICROS);
    let micros = micros.ok_or_else(|| malformed("a commit at an impossible time"))?;
    if end <= commit {
        return Err(malformed("a commit that ends before it begins"));
    }
    Ok(Committed { commit, end, micros })
}

fn relation(from: &mut Cursor) -> Result<Relation> {
    let oid = from.u32()?;
    let schema = from.text()?;
    // The system catalogue goes by no name here.
    let schema = if schema.is_empty() { Text::from_static("pg_catalog") } else { schema };
    let name = from.text()?;
    let identity = from.u8()?;
    // Flags, at least the end of a name, type, modifier.
    let count = from.count(1 + 1 + 4 + 4)?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let identity = from.u8()? & 1 != 0;
        let name = from.text()?;
        let type_oid = from.u32()?;
        let modifier = from.i32()?;
        columns.push(RelationColumn { identity, name, type_oid, modifier });
    }
    Ok(Relation { oid, schema, name, identity, columns })
}

fn truncate(from: &mut Cursor) -> Result<Message> {
    let count = from.u32()? as usize;
    let _options = from.u8()?;
    if count.saturating_mul(4) > from.left() {
        return Err(malformed("a truncate of more tables than it names"));
    }
    let relations = (0..count).map(|_| from.u32()).collect::<Result<_>>()?;
    Ok(Message::Truncate { relations })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[&[u8]]) -> Bytes {
        Bytes::from(parts.concat())
    }

    #[test]
    fn messages_are_read() {
        let commit = message(&[b"C\0", &8_u64.to_be_bytes(), &9_u64.to_be_bytes(), &1_i64.to_be_bytes()]);
        let (_, Message::Commit(committed)) = read(commit, false).unwrap() else { panic!() };
        assert_eq!((committed.end, committed.micros), (Lsn(9), EPOCH_2000_MICROS + 1));
        let relation =
            message(&[b"R", &7_u32.to_be_bytes(), b"public\0t\0d\0\x01\x01id\0\0\0\0\x17\xff\xff\xff\xff"]);
        let (_, Message::Relation(relation)) = read(relation, false).unwrap() else { panic!() };
        assert_eq!((relation.oid, &*relation.name, relation.columns.len()), (7, "t", 1));
        assert!(relation.columns[0].identity);
        let insert = message(&[b"I", &3_u32.to_be_bytes(), &7_u32.to_be_bytes(), b"N"]);
        let (xid, Message::Row(row)) = read(insert, true).unwrap() else { panic!() };
        assert_eq!((xid, row.relation, row.images.left()), (Some(3), 7, 1));
    }

    #[test]
    fn nonsense_is_an_error() {
        for nonsense in [&b""[..], b"?", b"B", b"T\xff\xff\xff\xff\0", b"R\0\0\0\x01a\0b\0d\x7f\xff", b"C\0"]
        {
            assert!(read(Bytes::copy_from_slice(nonsense), false).is_err(), "{nonsense:?}");
        }
    }
}
