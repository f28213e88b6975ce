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
    /// Its last transaction goes on, but what has come of it is committed if the target's constraints hold as it stands.
    CommitPart {
        /// Events of it that will be in the target.
        part: u64,
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
    /// Parts of it that were committed.
    parts: u64,
    /// A part is so many times larger than the limit: a smaller one has not held.
    stretch: u64,
}

impl Large {
    /// With `in_parts` the target can't hold a transaction of any size.
    pub fn new(mut limits: LargeTransactions, in_parts: bool, pace: Arc<Pace>) -> Self {
        if in_parts && limits.then == OnLarge::Spill {
            limits.then = OnLarge::Parts;
        }
        Large { limits, pace, rows: 0, bytes: 0, parts: 0, stretch: 1 }
    }

    /// Whether what is too large for one transaction of the target goes in several.
    pub fn goes_in_parts(&self) -> bool {
        self.limits.then == OnLarge::Parts
    }

    /// Counts a piece of work that was written.
    pub fn next(&mut self, work: &Work) -> Result<Next> {
        let Passage::Stream { end, open: Some(OpenPiece { part, rows, bytes }) } = &work.passage else {
            self.begin();
            return Ok(Next::Commit);
        };
        if end.is_some() {
            // The open one has begun in this piece.
            self.begin();
        }
        self.rows += rows;
        self.bytes += bytes;
        // Sources end a read at the limit, so an open transaction that has reached it is above it.
        let limits = match self.limits.then {
            OnLarge::Parts => self.pace.parts(self.limits),
            OnLarge::Spill | OnLarge::Fail => self.limits,
        };
        let stretched = |limit: u64| limit.saturating_mul(self.stretch);
        let is_large = self.rows >= stretched(limits.rows) || self.bytes >= stretched(limits.bytes);
        match self.limits.then {
            OnLarge::Parts if is_large && *part > 0 => Ok(Next::CommitPart { part: *part }),
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

    fn begin(&mut self) {
        (self.rows, self.bytes, self.parts, self.stretch) = (0, 0, 0, 1);
    }

    /// A part goes to the target by itself. Says whether it is the first of its transaction.
    pub fn parted(&mut self) -> bool {
        (self.rows, self.bytes, self.stretch) = (0, 0, 1);
        self.parts += 1;
        self.parts == 1
    }

    /// What has come so far breaks a constraint that is put off, so the part goes on: looked at again when it is twice as large, for
    /// the target looks at all of it each time. Says whether it was the first look at this part.
    pub fn stretch(&mut self) -> bool {
        self.stretch = self.stretch.saturating_mul(2);
        self.stretch == 2
    }
}
