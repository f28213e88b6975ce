//! Transactions that come in pieces: how long the target's transaction stays open for them (I4).

use std::sync::Arc;

use sluice_types::{Error, ErrorKind, Result};

use crate::feed::{OpenPiece, Passage, Work};
use crate::pace::Pace;
use crate::spec::{LargeTransactions, OnLarge};

/// What to do after a piece of work was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Its last transaction is whole.
    Commit,
    /// Its last transaction goes on, but what has come of it is committed.
    CommitPart {
        /// Events of it that will be in the target.
        part: u64,
        /// It is the first part of this transaction.
        first: bool,
    },
    /// Write the next piece into the same transaction.
    Piece,
}

/// Counts the transaction that is open.
#[derive(Debug)]
pub(crate) struct Large {
    limits: LargeTransactions,
    pace: Arc<Pace>,
    rows: u64,
    bytes: u64,
    parts: u64,
}

impl Large {
    /// With `in_parts` the target can't hold a transaction of any size.
    pub fn new(mut limits: LargeTransactions, in_parts: bool, pace: Arc<Pace>) -> Self {
        if in_parts && limits.then == OnLarge::Spill {
            limits.then = OnLarge::Parts;
        }
        Large { limits, pace, rows: 0, bytes: 0, parts: 0 }
    }

    /// Whether what is too large for one transaction of the target goes in several.
    pub fn goes_in_parts(&self) -> bool {
        self.limits.then == OnLarge::Parts
    }

    /// Counts a piece of work that was written.
    pub fn next(&mut self, work: &Work) -> Result<Next> {
        let Passage::Stream { end, open: Some(OpenPiece { part, rows, bytes }) } = &work.passage else {
            (self.rows, self.bytes, self.parts) = (0, 0, 0);
            return Ok(Next::Commit);
        };
        if end.is_some() {
            // The open one has begun in this piece.
            (self.rows, self.bytes, self.parts) = (0, 0, 0);
        }
        self.rows += rows;
        self.bytes += bytes;
        // Sources end a read at the limit, so an open transaction that has reached it is above it.
        let limits = match self.limits.then {
            OnLarge::Parts => self.pace.parts(self.limits),
            OnLarge::Spill | OnLarge::Fail => self.limits,
        };
        let is_large = self.rows >= limits.rows || self.bytes >= limits.bytes;
        match self.limits.then {
            OnLarge::Parts if is_large && *part > 0 => {
                (self.rows, self.bytes) = (0, 0);
                self.parts += 1;
                Ok(Next::CommitPart { part: *part, first: self.parts == 1 })
            }
            OnLarge::Fail if is_large => {
                let LargeTransactions { rows, bytes, .. } = limits;
                let what = format!("a transaction has more than {rows} rows or {bytes} bytes");
                Err(Error::new(ErrorKind::TransactionTooLarge, what).remedy(
                    "Raise `large_transactions`, or set its `then` to spill or parts, then `sluice resume`.",
                ))
            }
            _ => Ok(Next::Piece),
        }
    }
}
