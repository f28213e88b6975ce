//! Which transactions were delivered but may not be visible at the source yet.
//!
//! A commit is in the log, and streamed, before others see it: for a moment always, and for as long as a synchronous standby is away.
//! A chunk of a snapshot that was read meanwhile does not show it. Within a session the line knows what passed by; of earlier
//! sessions it knows only their checkpoint. So the slot is never told to forget such a transaction: the next session then starts
//! before it, hears of it again, and reads no chunk until it is visible ([`Delivered::has_unseen`]).

use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice_types::{Result, Visibility};

use crate::protocol::cursor::malformed;
use crate::protocol::pgoutput::Committed;
use crate::protocol::replication::Lsn;

#[derive(Clone, Copy, Debug)]
struct Entry {
    commit: Lsn,
    end: Lsn,
    xid: u64,
}

/// Transactions in the order of their commits. Visible ones are forgotten at each look.
#[derive(Debug, Default)]
pub(crate) struct Delivered(Mutex<Vec<Entry>>);

impl Delivered {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction is about to be delivered, or was by an earlier session.
    pub fn add(&self, committed: Committed, xid: u64) {
        self.entries().push(Entry { commit: committed.commit, end: committed.end, xid });
    }

    /// Whether any transaction up to here may still be invisible.
    pub fn has_any(&self, upto: Lsn) -> bool {
        self.entries().iter().any(|entry| entry.end <= upto)
    }

    /// Forgets what this view sees.
    pub fn forget_seen(&self, view: &Visibility) {
        self.entries().retain(|entry| !sees(view, entry.xid));
    }

    /// How far the log may be forgotten, if everything up to `durable` is in the target.
    pub fn forgettable(&self, durable: Lsn) -> Lsn {
        let unseen = self.entries().iter().find(|entry| entry.end <= durable).map(|entry| entry.commit);
        unseen.unwrap_or(durable)
    }
}

fn sees(view: &Visibility, xid: u64) -> bool {
    match view {
        Visibility::ByXid { xmax, running } => xid < *xmax && running.binary_search(&xid).is_err(),
        Visibility::ByPosition => true,
    }
}

/// Reads what `pg_current_snapshot()` says: `xmin:xmax:xip,xip`.
pub(crate) fn visibility(text: &str) -> Result<Visibility> {
    let odd = || malformed("a snapshot that can't be read");
    let mut parts = text.split(':');
    let (Some(_xmin), Some(xmax), Some(list)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(odd());
    };
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| odd());
    let running = list.split(',').filter(|part| !part.is_empty()).map(number);
    let mut running: Vec<u64> = running.collect::<Result<_>>()?;
    running.sort_unstable();
    Ok(Visibility::ByXid { xmax: number(xmax)?, running })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(at: u64) -> Committed {
        Committed { commit: Lsn(at), end: Lsn(at + 5), micros: 0 }
    }

    #[test]
    fn the_log_is_kept_from_the_first_invisible_commit_on() {
        let delivered = Delivered::default();
        [(10, 7), (20, 5), (30, 8)].iter().for_each(|&(at, xid)| delivered.add(committed(at), xid));
        assert_eq!(delivered.forgettable(Lsn(12)), Lsn(12));
        assert_eq!(delivered.forgettable(Lsn(40)), Lsn(10));
        delivered.forget_seen(&visibility("5:9:5").unwrap());
        assert_eq!(delivered.forgettable(Lsn(40)), Lsn(20));
        assert!(delivered.has_any(Lsn(25)) && !delivered.has_any(Lsn(24)));
        delivered.forget_seen(&visibility("9:9:").unwrap());
        assert_eq!(delivered.forgettable(Lsn(40)), Lsn(40));
    }

    #[test]
    fn snapshots_are_read() {
        let view = Visibility::ByXid { xmax: 20, running: vec![10, 14] };
        assert_eq!(visibility("10:20:14,10").unwrap(), view);
        assert!(visibility("10:20").is_err() && visibility("a:b:c").is_err());
    }
}
