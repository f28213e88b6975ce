//! Keys that are parked: their earlier event is a dead letter, so later ones follow it there, in order.

use std::collections::HashMap;

use sluice_types::ports::ParkedKey;
use sluice_types::{Error, ErrorKind, Event, Key, Position, Result, TableId};

/// Keys that may be parked in one pipeline; beyond it something is wrong that dead letters don't mend, and the line pauses.
pub const PARKED_KEYS_MAX: usize = 1_000_000;

/// The parked keys of a line, and since which event each is.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    tables: HashMap<TableId, HashMap<Key, (Position, u64)>>,
    count: usize,
}

impl Parked {
    /// What the state remembers.
    pub fn new(keys: Vec<ParkedKey>) -> Result<Self> {
        let mut parked = Parked::default();
        for ParkedKey { table, key, position, index } in keys {
            parked.park(&table, key, &position, index)?;
        }
        Ok(parked)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether this event has to follow an earlier one of its key, or of the key that it changes to. An event from before the
    /// dead letter does not: it comes again after a crash in which the dead letter was kept and the commit lost.
    pub fn holds(&self, event: &Event, position: &Position, index: u64) -> bool {
        let Some(keys) = self.tables.get(&event.source.table) else { return false };
        let (before, after) = event.source_keys();
        let mut since = before.iter().chain(&after).filter_map(|key| keys.get(key));
        since.any(|(at, number)| match event.entry {
            Some(entry) => at.number().is_none_or(|at| entry >= at),
            None => (position, index) >= (at, *number),
        })
    }

    /// Parks the keys of an event that becomes a dead letter. Says which.
    pub fn park_event(&mut self, event: &Event, position: &Position) -> Result<Vec<Key>> {
        let (before, after) = event.source_keys();
        let keys: Vec<Key> = before.into_iter().chain(after).collect();
        for key in &keys {
            self.park(&event.source.table, key.clone(), position, event.index)?;
        }
        Ok(keys)
    }

    fn park(&mut self, table: &TableId, key: Key, position: &Position, index: u64) -> Result<()> {
        let keys = self.tables.entry(table.clone()).or_default();
        let since = keys.entry(key.detached()).or_insert_with(|| {
            self.count += 1;
            (position.clone(), index)
        });
        if (position, index) < (&since.0, since.1) {
            *since = (position.clone(), index);
        }
        if self.count > PARKED_KEYS_MAX {
            let what = format!("more than {PARKED_KEYS_MAX} keys are parked behind dead letters");
            return Err(Error::new(ErrorKind::TooManyPoison, what).remedy("`sluice dlq list` shows why."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, insert, schema};

    #[test]
    fn events_from_before_the_dead_letter_are_not_parked() {
        let table = schema("t");
        let mut parked = Parked::default();
        let poison = insert(&table, 1, 4);
        parked.park_event(&poison, &at(10)).unwrap();
        assert!(!parked.holds(&insert(&table, 1, 9), &at(9), 9));
        assert!(!parked.holds(&insert(&table, 1, 3), &at(10), 3));
        assert!(parked.holds(&poison, &at(10), 4), "the same event again");
        assert!(parked.holds(&insert(&table, 1, 0), &at(11), 0));
        assert!(!parked.holds(&insert(&table, 2, 0), &at(11), 0));
    }

    #[test]
    fn an_event_with_an_entry_of_its_own_is_placed_by_that() {
        let table = schema("t");
        let entry = |entry| Event { entry: Some(entry), ..insert(&table, 1, 0) };
        let mut parked = Parked::default();
        parked.park_event(&entry(11), &entry(11).place(&at(12))).unwrap();
        // After a restart all three come as one transaction.
        assert!(!parked.holds(&entry(10), &at(20), 0));
        assert!(parked.holds(&entry(11), &at(20), 1) && parked.holds(&entry(12), &at(20), 2));
        // A row of a snapshot stands where the line does.
        assert!(!parked.holds(&insert(&table, 1, 0), &at(10), u64::MAX));
        assert!(parked.holds(&insert(&table, 1, 0), &at(12), u64::MAX));
    }
}
