//! What becomes of a transaction when its commit has come: its place, whether the target has it already, and its events in pieces.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sluice_types::{Event, Origin, Result, Transaction};

use super::{Assembler, BEHIND_MICROS, Events, PIECE_BYTES, PIECE_EVENTS, Piece, weight_of};
use crate::protocol::cursor::malformed;
use crate::protocol::pgoutput::{self, Committed, Message};
use crate::protocol::replication::Lsn;
use crate::spool::Replay;

/// A transaction on its way out.
struct Sending {
    transaction: Arc<Transaction>,
    /// The target has the events up to this index already.
    skip: u64,
    /// Something of it was delivered, now or in an earlier session.
    begun: bool,
    /// The index of the next event.
    next: u64,
}

impl Assembler {
    pub(super) fn commit(&mut self, committed: Committed) -> Result<()> {
        let open = self.open.take().ok_or_else(|| malformed("a commit of no transaction"))?;
        let transaction = self.transaction(open.xid, open.origin, committed);
        let Some(skip) = self.skip(&transaction, committed) else {
            if let Some(rest) = open.rest {
                self.descriptions(rest.replay()?, false)?;
            }
            return self.has_passed(committed.end);
        };
        if open.known {
            return Err(malformed("a commit elsewhere than its transaction said"));
        }
        let mut sending =
            Sending { transaction: Arc::new(transaction), skip, begun: skip > 0, next: open.next };
        self.piece(&mut sending, open.events, open.weight, open.rest.is_none())?;
        if let Some(rest) = open.rest {
            self.replay(sending, rest.replay()?, false)?;
        }
        self.has_passed(committed.end)
    }

    pub(super) fn commit_streamed(&mut self, xid: u32, committed: Committed) -> Result<()> {
        let of = self.under_way.take(xid).ok_or_else(|| malformed("a commit of no transaction"))?;
        let transaction = self.transaction(xid, of.origin, committed);
        let Some(skip) = self.skip(&transaction, committed) else {
            self.descriptions(of.spool.replay()?, true)?;
            return self.has_passed(committed.end);
        };
        self.commit = committed.commit;
        let sending = Sending { transaction: Arc::new(transaction), skip, begun: skip > 0, next: 0 };
        self.replay(sending, of.spool.replay()?, true)?;
        self.has_passed(committed.end)
    }

    fn transaction(&mut self, xid: u32, origin: Option<Origin>, committed: Committed) -> Transaction {
        self.xid = full_xid(xid, self.xid);
        Transaction {
            position: committed.end.position(&self.setup.generation),
            committed_micros: Some(committed.micros),
            origin,
            xid: Some(self.xid),
        }
    }

    /// How many events of the transaction the target has already; `None`: all of them.
    fn skip(&mut self, transaction: &Transaction, committed: Committed) -> Option<u64> {
        // Whoever takes part in what is visible later on has to know of it, though it was delivered by an earlier session.
        self.setup.delivered.add(committed, transaction.xid.unwrap_or_default());
        if committed.end <= self.start {
            return None;
        }
        let part = std::mem::take(&mut self.setup.start.part);
        if part > 0 {
            self.setup.earlier.store(committed.end.0, Relaxed);
        }
        Some(part)
    }

    fn has_passed(&mut self, end: Lsn) -> Result<()> {
        self.setup.passed.fetch_max(end.0, Relaxed);
        Ok(())
    }

    /// Reads a transaction back and sends it.
    fn replay(&mut self, mut sending: Sending, mut replay: Replay, streamed: bool) -> Result<()> {
        let mut events = Vec::new();
        let mut weight = 0;
        while let Some(payload) = replay.next()? {
            let (xid, message) = pgoutput::read(payload, streamed)?;
            // A rolled back subtransaction takes its rows with it, not what it said of tables: that is not said again.
            let aborted = xid.is_some_and(|xid| replay.spool.aborted.contains(&xid));
            if aborted && !matches!(message, Message::Relation(_)) {
                continue;
            }
            let before = events.len();
            self.change(message, &mut sending.next, &mut events)?;
            weight += weight_of(&events[before..]);
            if events.len() >= PIECE_EVENTS || weight >= PIECE_BYTES {
                self.piece(&mut sending, std::mem::take(&mut events), std::mem::take(&mut weight), false)?;
            }
        }
        self.piece(&mut sending, events, weight, true)
    }

    /// Reads a transaction only for what it says of tables.
    fn descriptions(&mut self, mut replay: Replay, streamed: bool) -> Result<()> {
        while let Some(payload) = replay.next()? {
            if payload.first() == Some(&b'R')
                && let (_, Message::Relation(relation)) = pgoutput::read(payload, streamed)?
            {
                self.relations.describe(relation);
            }
        }
        Ok(())
    }

    /// Sends events of a transaction, without those that the target has.
    fn piece(
        &mut self,
        sending: &mut Sending,
        mut events: Vec<Event>,
        mut weight: usize,
        last: bool,
    ) -> Result<()> {
        if events.first().is_some_and(|event| event.index < sending.skip) {
            events.retain(|event| event.index >= sending.skip);
            weight = weight_of(&events);
        }
        if events.is_empty() && !last {
            return Ok(());
        }
        // A transaction that touched nothing of ours is no more than a place that was passed.
        if events.is_empty() && !sending.begun {
            return self.out.push(Piece::Passed(Lsn::of(&sending.transaction.position)?), 0);
        }
        sending.begun = true;
        self.setup.changed.fetch_max(Lsn::of(&sending.transaction.position)?.0, Relaxed);
        let transaction = sending.transaction.clone();
        let committed = transaction.committed_micros.unwrap_or(self.sent_micros);
        let behind = self.sent_micros.saturating_sub(committed) > BEHIND_MICROS;
        self.out.push(Piece::Events(Events { transaction, events, weight, last, behind }), weight)
    }
}

/// The number in full of which the stream tells the lower half, by another one of nearly the same time.
fn full_xid(xid: u32, near: u64) -> u64 {
    let away = xid.wrapping_sub(near as u32) as i32;
    near.saturating_add_signed(away.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_filled_up_by_their_neighbours() {
        let near = 0x5_0000_0010;
        for (xid, full) in
            [(0x10, near), (0x20, near + 16), (0xffff_fff0, 0x4_ffff_fff0), (0x0, 0x5_0000_0000)]
        {
            assert_eq!(full_xid(xid, near), full, "{xid:x}");
        }
        assert_eq!(full_xid(800, 750), 800);
    }
}
