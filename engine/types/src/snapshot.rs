//! Chunks of a snapshot, and which transactions a chunk has seen.
//!
//! There is one snapshot algorithm (`engine/pipeline/src/snapshot.rs`): key-ranged chunks, each one short consistent read that
//! also says where it stands in the log. It is the same for a first snapshot, for resuming one, for an added table and for a
//! resnapshot.

use serde::{Deserialize, Serialize};

use crate::event::Transaction;
use crate::position::Position;
use crate::schema::Key;
use crate::value::Row;

/// A range of keys: greater than `after`, up to and including `upto`; open where `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// Exclusive lower end.
    pub after: Option<Key>,
    /// Inclusive upper end.
    pub upto: Option<Key>,
}

/// One chunk: rows read in one consistent view of the source.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The rows, in key order, complete.
    pub rows: Vec<Row>,
    /// What the view had seen.
    pub mark: Mark,
    /// The greatest key read: where the next chunk of the range goes on. `None`: the range is exhausted.
    pub next: Option<Key>,
}

/// Where a consistent view stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The stream has to pass this position before the target is consistent with what was read.
    pub high: Position,
    /// Which transactions the view has seen.
    pub visibility: Visibility,
}

/// Tells whether a view has seen a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everything up to [`Mark::high`], nothing later: where commits become visible in the order of the log.
    ByPosition,
    /// As `pg_current_snapshot()` says: everything below `xmax` that is not in `running`.
    ByXid {
        /// The first number that was not yet given out.
        xmax: u64,
        /// Those below it that had not committed, ascending.
        running: Vec<u64>,
    },
}

impl Mark {
    /// Whether the view has seen this transaction.
    pub fn sees(&self, transaction: &Transaction) -> bool {
        match (&self.visibility, transaction.xid) {
            (Visibility::ByXid { xmax, running }, Some(xid)) => {
                xid < *xmax && running.binary_search(&xid).is_err()
            }
            _ => transaction.position <= self.high,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(at: u64, xid: Option<u64>) -> Transaction {
        let position = Position::from_number(at, at.to_string());
        Transaction { position, committed_micros: None, origin: None, xid }
    }

    #[test]
    fn a_view_sees_by_position_or_by_xid() {
        let high = Position::from_number(10, "10");
        let by_position = Mark { high: high.clone(), visibility: Visibility::ByPosition };
        assert!(by_position.sees(&transaction(10, None)) && !by_position.sees(&transaction(11, None)));
        let by_xid = Mark { high, visibility: Visibility::ByXid { xmax: 7, running: vec![3, 5] } };
        assert!(by_xid.sees(&transaction(99, Some(4))));
        assert!(!by_xid.sees(&transaction(1, Some(5))) && !by_xid.sees(&transaction(1, Some(7))));
    }
}
