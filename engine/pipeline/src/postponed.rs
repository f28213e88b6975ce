//! Rows that meet a constraint while the target's rows are of different moments.
//!
//! Chunks and rows that are read again may be newer than the stream, so until the stream has passed their marks a unique value can
//! be in the way that the source gave to another row long ago, or has not given away yet. That is no fault of an event: the row is
//! taken out of the target, its key is noted in the checkpoint, and it is read again when the target's rows are of one moment. Only
//! what meets a constraint then is a dead letter.

use std::collections::BTreeMap;

use sluice_types::{Change, Event, Key, Position, Result, SnapshotProgress, TableId};

use crate::feed::Passage;
use crate::reader::Reader;
use crate::snapshot::raise;

/// Keys that may be postponed at once; what meets a constraint beyond that is a dead letter.
pub(crate) const POSTPONED_MAX: usize = 1_000;

/// How often a row that was read again for it may be postponed once more: the source goes on, so it may meet a later moment.
pub(crate) const ATTEMPTS_MAX: u32 = 10;

/// By the source's table.
pub(crate) type Postponed = BTreeMap<String, Vec<Key>>;

/// Adds keys.
pub(crate) fn add(postponed: &mut Postponed, keys: Vec<(TableId, Key)>) {
    for (table, key) in keys {
        let keys = postponed.entry(table.to_string()).or_default();
        if !keys.contains(&key) {
            keys.push(key.detached());
        }
    }
}

/// Postponed rows that were read again.
#[derive(Debug)]
pub(crate) struct PostponedDone {
    keys: Postponed,
    /// What the stream has to pass before the target is consistent with them.
    high: Option<Position>,
}

impl PostponedDone {
    /// Notes in what is about to be saved with the rows that they are no longer postponed (I2).
    pub fn record(&self, progress: &mut SnapshotProgress) {
        progress.postponed.retain(|table, keys| {
            let done = self.keys.get(table).map_or(&[][..], Vec::as_slice);
            keys.retain(|key| !done.contains(key));
            !keys.is_empty()
        });
        if let Some(high) = &self.high {
            raise(&mut progress.high, high);
        }
    }

    /// What the stream has to pass.
    pub fn high(&self) -> Option<&Position> {
        self.high.as_ref()
    }
}

impl Reader {
    /// Has the postponed rows written when every other row of the target is of one moment.
    pub(crate) async fn take_postponed(&mut self) -> Result<()> {
        if self.outlet.postponed.has_changed().unwrap_or(false) {
            self.state.postponed = self.outlet.postponed.borrow_and_update().clone();
        }
        if self.state.postponed.is_empty() || !self.rows_are_of_one_moment() {
            return Ok(());
        }
        let keys = std::mem::take(&mut self.state.postponed);
        let seen = self.snapshot.unseen();
        let (mut events, mut high) = (vec![], None);
        for table in self.router.sources() {
            let Some(keys) = keys.get(&table.table.to_string()) else { continue };
            let (rows, mark) = self.read_seeing(&table, keys, &seen).await?;
            self.snapshot.seen(&mark);
            raise(&mut high, &mark.high);
            // A row that is gone needs nothing: it was taken out of the target.
            let rows = rows.into_iter().flatten();
            events.extend(rows.map(|row| Event::new(table.clone(), Change::Snapshot(row), 0, 0)));
        }
        (0..).zip(&mut events).for_each(|(index, event)| event.index = index);
        if let Some(high) = &high {
            raise(&mut self.state.high, high);
        }
        let weight = events.iter().map(|event| event.change.weight()).sum();
        self.count_read(events.len(), weight);
        self.route(&mut events)?;
        let applied = self.transform(events).await?;
        let passage = Passage::Postponed(PostponedDone { keys, high });
        self.state.pending = Some(self.work(applied, vec![], passage, weight));
        Ok(())
    }

    /// Looks whether views need not be compared with the stream any more; until then, forgets what they have seen.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        if !self.snapshot.compares() || self.snapshot.is_active() {
            return Ok(());
        }
        let ready = self.shared.status().ready;
        if ready && self.rows_are_of_one_moment() {
            self.snapshot.settle();
        } else if let Some(table) = self.router.sources().first() {
            let (_, mark) = self.source.reread(table, &[]).await?;
            self.snapshot.seen(&mark);
        }
        Ok(())
    }

    fn rows_are_of_one_moment(&self) -> bool {
        let passed = self.state.high.as_ref().is_none_or(|high| *high <= self.state.delivered);
        let busy = self.state.pending.is_some() || self.state.open || self.state.landed.is_some();
        passed && !busy && !self.snapshot.is_active()
    }
}
