//! What flows while a slot is streamed: log data and keepalives from the server, status from us.

use bytes::{BufMut, Bytes, BytesMut};
use sluice_types::{Position, Result};

use super::cursor::{Cursor, malformed};

/// Microseconds from 1970 to 2000, PostgreSQL's beginning of time.
pub(crate) const EPOCH_2000_MICROS: i64 = 946_684_800_000_000;

/// A place in the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(pub u64);

impl Lsn {
    /// Reads `16/B374D848`.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let part = |digits: &str| u32::from_str_radix(digits, 16).ok();
        Some(Lsn(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }

    /// As the line knows it, in a capture of this generation, and on this timeline: `ab12cd34/1` (see [`crate::maintain`]).
    pub fn position(self, generation: &str) -> Position {
        Position::from_number(self.0, format!("{self}/{generation}"))
    }

    /// The generation of the capture that a position is of.
    pub fn generation(position: &Position) -> &str {
        position.text().split('/').nth(2).unwrap_or_default()
    }

    /// The timeline that a position is on, where it was noted.
    pub fn timeline(position: &Position) -> Option<u32> {
        position.text().split('/').nth(3)?.parse().ok()
    }

    /// The place that a position names.
    pub fn of(position: &Position) -> Result<Self> {
        position.number().map(Lsn).ok_or_else(|| malformed("a position that is no place in a PostgreSQL log"))
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

/// A message inside of the copy stream.
#[derive(Clone, Debug)]
pub(crate) enum Streamed {
    /// Log data: one message of the output plugin, and when the server sent it, by its clock, in microseconds since 1970.
    Data { payload: Bytes, sent_micros: i64 },
    /// The server has sent everything up to here, and may want to hear that we live.
    Keepalive { end: Lsn, reply: bool },
}

/// Reads what a `CopyData` of a replication stream holds.
pub(crate) fn read(body: Bytes) -> Result<Streamed> {
    const DATA_HEADER: usize = 1 + 8 + 8 + 8;
    match body.first() {
        Some(b'w') if body.len() >= DATA_HEADER => {
            let mut sent = [0; 8];
            sent.copy_from_slice(&body[DATA_HEADER - 8..DATA_HEADER]);
            let sent_micros = i64::from_be_bytes(sent).saturating_add(EPOCH_2000_MICROS);
            Ok(Streamed::Data { payload: body.slice(DATA_HEADER..), sent_micros })
        }
        Some(b'k') => {
            let mut cursor = Cursor::new(body);
            cursor.u8()?;
            let end = Lsn(cursor.u64()?);
            let _sent_micros = cursor.i64()?;
            Ok(Streamed::Keepalive { end, reply: cursor.u8()? != 0 })
        }
        _ => Err(malformed("an unknown message in the replication stream")),
    }
}

/// The status message: what we have received, and what is durable in the target (I1).
pub(crate) fn status(received: Lsn, durable: Lsn, now_micros: i64) -> Bytes {
    let mut message = BytesMut::with_capacity(64);
    message.put_u8(b'd');
    message.put_i32(4 + 1 + 8 + 8 + 8 + 8 + 1);
    message.put_u8(b'r');
    message.put_u64(received.0.max(durable.0));
    message.put_u64(durable.0);
    message.put_u64(durable.0);
    message.put_i64(now_micros - EPOCH_2000_MICROS);
    message.put_u8(0);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_what_it_writes() {
        for (number, text) in [(0x16_B374_D848, "16/B374D848"), (0, "0/0"), (0x1_0000_000F, "1/F")] {
            assert_eq!(Lsn(number).to_string(), text);
            assert_eq!(Lsn::parse(text), Some(Lsn(number)));
        }
        assert_eq!(Lsn::parse("16"), None);
        assert_eq!(Lsn::parse("1/123456789"), None);
        let position = Lsn(77).position("ab12");
        assert_eq!((Lsn::of(&position).unwrap(), Lsn::generation(&position)), (Lsn(77), "ab12"));
        assert_eq!((position.text(), Lsn::timeline(&position)), ("0/4D/ab12", None));
        let position = Lsn(77).position("ab12/3");
        assert_eq!((Lsn::generation(&position), Lsn::timeline(&position)), ("ab12", Some(3)));
    }

    #[test]
    fn the_stream_is_read() {
        let mut keepalive = vec![b'k'];
        keepalive.extend(0x99_u64.to_be_bytes());
        keepalive.extend(0_u64.to_be_bytes());
        assert!(read(Bytes::from(keepalive.clone())).is_err(), "too short");
        keepalive.push(1);
        let read_back = read(Bytes::from(keepalive)).unwrap();
        assert!(matches!(read_back, Streamed::Keepalive { end: Lsn(0x99), reply: true }));
        assert!(read(Bytes::from_static(b"w123")).is_err());
        assert_eq!(status(Lsn(1), Lsn(2), 0).len(), 39);
    }
}
