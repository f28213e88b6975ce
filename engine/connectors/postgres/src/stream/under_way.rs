//! Transactions that the server streams while they are under way, one piece of one of them at a time.

use std::collections::HashMap;

use bytes::Bytes;
use sluice_types::ports::SpillRoom;
use sluice_types::{Origin, Result};

use crate::protocol::cursor::malformed;
use crate::protocol::pgoutput::{self, Message};
use crate::spool::Spool;

/// What those of which no piece is being sent keep in memory together; what is beyond that is in their files (I10).
const RESTING_BYTES: usize = 4 << 20;

/// All of a stream.
#[derive(Default)]
pub(super) struct UnderWay {
    transactions: HashMap<u32, InProgress>,
    /// Of which a piece is being sent.
    current: Option<u32>,
    /// What the others keep in memory.
    resting: usize,
}

/// One of them.
pub(super) struct InProgress {
    pub spool: Spool,
    pub origin: Option<Origin>,
}

impl UnderWay {
    /// Whether a piece is being sent: every message is of it.
    pub fn in_piece(&self) -> bool {
        self.current.is_some()
    }

    /// A piece of this transaction comes.
    pub fn begin_piece(&mut self, xid: u32, room: &SpillRoom) {
        let fresh = || InProgress { spool: Spool::new(room), origin: None };
        let transaction = self.transactions.entry(xid).or_insert_with(fresh);
        self.resting = self.resting.saturating_sub(transaction.spool.held());
        self.current = Some(xid);
    }

    /// A message of the piece. Only its kind is looked at.
    pub fn message(&mut self, payload: Bytes) -> Result<()> {
        let transaction = self.current.and_then(|xid| self.transactions.get_mut(&xid));
        let transaction = transaction.ok_or_else(|| malformed("a piece of no transaction"))?;
        match payload.first() {
            Some(b'E') => {
                self.current = None;
                if self.resting + transaction.spool.held() > RESTING_BYTES {
                    transaction.spool.rest()?;
                }
                self.resting += transaction.spool.held();
            }
            Some(b'O') => {
                if let (_, Message::Origin(name)) = pgoutput::read(payload, true)? {
                    transaction.origin = Some(Origin(name));
                }
            }
            Some(b'Y' | b'M') => {}
            Some(b'I' | b'U' | b'D' | b'T' | b'R') => transaction.spool.push(&payload)?,
            _ => return Err(malformed("an unknown message in a piece of a transaction")),
        }
        Ok(())
    }

    /// A subtransaction was rolled back, or the whole of it.
    pub fn abort(&mut self, xid: u32, subxid: u32) {
        if xid == subxid {
            self.take(xid);
        } else if let Some(transaction) = self.transactions.get_mut(&xid) {
            transaction.spool.aborted.insert(subxid);
        }
    }

    /// A transaction that has ended.
    pub fn take(&mut self, xid: u32) -> Option<InProgress> {
        let transaction = self.transactions.remove(&xid)?;
        self.resting = self.resting.saturating_sub(transaction.spool.held());
        Some(transaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_share_a_little_memory_and_come_back_whole() {
        const MANY: u32 = 200;
        let folder = tempfile::tempdir().unwrap();
        let room = SpillRoom::new(folder.path().join("spill"), 1 << 30);
        let mut under_way = UnderWay::default();
        for piece in 0..3_u8 {
            for xid in 0..MANY {
                under_way.begin_piece(xid, &room);
                assert!(under_way.in_piece());
                for row in 0..20_u8 {
                    let mut message = vec![b'I'; 6000];
                    message[1..4].copy_from_slice(&[piece, row, xid as u8]);
                    under_way.message(message.into()).unwrap();
                }
                under_way.message(Bytes::from_static(b"E")).unwrap();
                assert!(!under_way.in_piece());
                let held = under_way.transactions.values().map(|one| one.spool.held()).sum::<usize>();
                assert!(held <= RESTING_BYTES && held == under_way.resting, "{held} of {xid}");
            }
        }
        for xid in 0..MANY {
            if xid % 10 == 3 {
                under_way.abort(xid, xid);
                assert!(under_way.take(xid).is_none());
                continue;
            }
            let mut replay = under_way.take(xid).unwrap().spool.replay().unwrap();
            for (piece, row) in (0..3_u8).flat_map(|piece| (0..20_u8).map(move |row| (piece, row))) {
                assert_eq!(replay.next().unwrap().unwrap()[1..4], [piece, row, xid as u8]);
            }
            assert!(replay.next().unwrap().is_none());
        }
        assert_eq!((under_way.resting, room.used()), (0, 0));
    }
}
