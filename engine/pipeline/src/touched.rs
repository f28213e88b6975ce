//! Which rows the stream has changed while chunks of a snapshot are being read: the rows of a chunk that are older than that
//! must not overwrite it.

use std::collections::{HashSet, VecDeque};

use sluice_types::{Key, Mark, Transaction};

/// What the remembered keys may take, in bytes (estimated). Beyond it the keys are forgotten and only their transactions
/// remembered: a chunk that has not seen one of those is thrown away and read again.
pub(crate) const TOUCHED_BYTES_MAX: usize = 16 << 20;

/// What one remembered transaction takes besides its keys.
const TRANSACTION_BYTES: usize = 160;

/// The transactions that the reader let through and that a chunk might not have seen.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    passed: VecDeque<Passed>,
    bytes: usize,
}

#[derive(Debug)]
struct Passed {
    transaction: Transaction,
    keys: HashSet<(u32, Key)>,
    /// Tables that it truncated.
    emptied: HashSet<u32>,
    /// Its keys are not known any more.
    forgotten: bool,
    /// Chunks launched from this number on are read in a view that has seen it.
    seen_from: Option<u64>,
}

/// What a chunk of one table has not seen.
#[derive(Debug, Default)]
pub(crate) struct Unseen<'a> {
    keys: HashSet<&'a Key>,
    everything: bool,
    /// Keys are missing here: the chunk can't be used.
    pub unknown: bool,
}

impl Unseen<'_> {
    /// Whether the chunk has missed nothing of its table.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.everything
    }

    /// Whether the chunk's row of this key is older than what the line has let through.
    pub fn covers(&self, key: &Key) -> bool {
        self.everything || self.keys.contains(key)
    }
}

impl Touched {
    /// A transaction, or its next piece, goes through.
    pub fn pass(&mut self, transaction: &Transaction) {
        if self.passed.back().is_some_and(|last| last.transaction.position == transaction.position) {
            return;
        }
        self.bytes += TRANSACTION_BYTES;
        self.passed.push_back(Passed {
            transaction: transaction.clone(),
            keys: HashSet::new(),
            emptied: HashSet::new(),
            forgotten: false,
            seen_from: None,
        });
    }

    /// The transaction that goes through changes this row.
    pub fn key(&mut self, table: u32, key: Key) {
        let Some(last) = self.passed.back_mut() else { return };
        if last.forgotten {
            return;
        }
        let weight = weight(&key);
        // In memory of its own, so that what is counted is all that is held.
        if last.keys.insert((table, key.detached())) {
            self.bytes += weight;
        }
        if self.bytes > TOUCHED_BYTES_MAX {
            self.forget_keys();
        }
    }

    /// The transaction that goes through empties this table.
    pub fn emptied(&mut self, table: u32) {
        if let Some(last) = self.passed.back_mut() {
            last.emptied.insert(table);
        }
    }

    /// Whether not even the transactions alone fit: the stream has to wait for a chunk.
    pub fn is_full(&self) -> bool {
        self.bytes > TOUCHED_BYTES_MAX
    }

    /// What a chunk of this table with this mark has not seen.
    pub fn unseen(&self, table: u32, mark: &Mark) -> Unseen<'_> {
        let mut unseen = Unseen::default();
        for passed in self.passed.iter().filter(|passed| !mark.sees(&passed.transaction)) {
            unseen.unknown |= passed.forgotten;
            unseen.everything |= passed.emptied.contains(&table);
            unseen.keys.extend(passed.keys.iter().filter(|(of, _)| *of == table).map(|(_, key)| key));
        }
        unseen
    }

    /// A view has seen what this mark sees, so everything launched from now on, `launched` being the next number, sees it
    /// too. What no chunk in flight (`oldest` being the first of them) can have missed is forgotten.
    pub fn seen(&mut self, mark: &Mark, launched: u64, oldest: Option<u64>) {
        for passed in self.passed.iter_mut().filter(|passed| passed.seen_from.is_none()) {
            if mark.sees(&passed.transaction) {
                passed.seen_from = Some(launched);
            }
        }
        let needed = |passed: &Passed| passed.seen_from.is_none_or(|from| oldest.is_some_and(|it| it < from));
        self.passed.retain(needed);
        self.bytes = self.passed.iter().map(Passed::weight).sum();
    }

    /// What is remembered.
    pub fn transactions(&self) -> Vec<Transaction> {
        self.passed.iter().map(|passed| passed.transaction.clone()).collect()
    }

    /// Nothing is being read any more.
    pub fn clear(&mut self) {
        *self = Touched::default();
    }

    fn forget_keys(&mut self) {
        for passed in &mut self.passed {
            passed.forgotten = true;
            passed.keys = HashSet::new();
        }
        self.bytes = self.passed.iter().map(Passed::weight).sum();
    }
}

impl Passed {
    fn weight(&self) -> usize {
        TRANSACTION_BYTES + self.keys.iter().map(|(_, key)| weight(key)).sum::<usize>()
    }
}

fn weight(key: &Key) -> usize {
    64 + key.0.iter().map(|value| 40 + value.weight()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use sluice_types::{Position, Value, Visibility};

    use super::*;

    fn at(n: u64) -> Position {
        Position::from_number(n, n.to_string())
    }

    fn transaction(n: u64) -> Transaction {
        Transaction { position: at(n), committed_micros: None, origin: None, xid: None }
    }

    fn mark(n: u64) -> Mark {
        Mark { high: at(n), visibility: Visibility::ByPosition }
    }

    fn key(n: i64) -> Key {
        Key(vec![Value::Int64(n)])
    }

    #[test]
    fn a_row_is_covered_by_what_its_chunk_has_not_seen() {
        let mut touched = Touched::default();
        touched.pass(&transaction(1));
        touched.key(0, key(1));
        touched.pass(&transaction(2));
        touched.key(0, key(2));
        touched.key(1, key(3));
        let unseen = touched.unseen(0, &mark(1));
        assert!(!unseen.covers(&key(1)) && unseen.covers(&key(2)) && !unseen.covers(&key(3)));
        assert!(!touched.unseen(0, &mark(2)).covers(&key(2)));
    }

    #[test]
    fn a_transaction_is_remembered_until_no_chunk_in_flight_can_have_missed_it() {
        let mut touched = Touched::default();
        touched.pass(&transaction(5));
        touched.key(0, key(1));
        // Chunk 1 is newer and lands first; chunk 0, launched before, may still not have seen the transaction.
        touched.seen(&mark(5), 2, Some(0));
        assert!(touched.unseen(0, &mark(4)).covers(&key(1)));
        touched.seen(&mark(4), 3, Some(2));
        assert!(!touched.unseen(0, &mark(4)).covers(&key(1)));
        assert_eq!(touched.bytes, 0);
    }

    #[test]
    fn beyond_the_limit_a_chunk_is_unusable_instead_of_wrong() {
        let mut touched = Touched::default();
        touched.pass(&transaction(1));
        let big = |n: usize| Key(vec![Value::from("x".repeat((1 << 20) + n).as_str())]);
        for n in 0..20 {
            touched.key(0, big(n));
        }
        assert!(touched.unseen(0, &mark(0)).unknown && !touched.unseen(0, &mark(1)).unknown);
        assert!(touched.bytes <= TOUCHED_BYTES_MAX);
    }

    #[test]
    fn remembered_keys_hold_no_block_of_the_network() {
        let mut block = bytes::BytesMut::zeroed(128 << 10).freeze();
        let mut touched = Touched::default();
        touched.pass(&transaction(1));
        touched.key(0, Key(vec![Value::Bytes(block.split_to(8)), Value::Bytes(block.slice(..8))]));
        assert!(block.is_unique(), "the block can be freed");
        assert!(touched.bytes < 1024);
    }

    #[test]
    fn a_truncate_covers_every_row_of_its_table() {
        let mut touched = Touched::default();
        touched.pass(&transaction(1));
        touched.emptied(1);
        assert!(touched.unseen(1, &mark(0)).covers(&key(9)) && !touched.unseen(0, &mark(0)).covers(&key(9)));
    }
}
