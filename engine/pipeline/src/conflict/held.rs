//! Rows whose conflict waits for somebody. Later changes of such a row don't reach the target: they are folded into the parked
//! conflict, so that there is one to be decided, and what is decided is about the row as the source has it last.
//!
//! A change of another row that needs a held key (a row that moves to it, or a new one under a key that a parked row has left at the
//! source) is parked behind, as a conflict of its own: they are decided in their order.

use std::collections::HashMap;

use sluice_types::ports::StateStore;
use sluice_types::{
    Change, Conflict, ConflictId, ConflictKind, Event, Key, PipelineId, Position, Result, TableId,
    TableSchema,
};

use super::rows::{keys_of, over, shaped};

/// Conflicts that are read from the state at once.
const PAGE: usize = 100;

/// Where a change stands in the source's log.
pub(crate) type Place = (Position, u64);

/// The parked conflicts of a line, by the keys of the target that they hold. As many as the state keeps (I10).
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// In the order in which they were parked.
    keys: HashMap<(TableId, Key), Vec<ConflictId>>,
    all: HashMap<ConflictId, One>,
}

#[derive(Clone, Debug)]
struct One {
    table: TableId,
    keys: Vec<Key>,
    /// What the source's row has for a key now, or had when it was deleted.
    last: Option<Key>,
    since: Place,
    upto: Place,
}

/// What becomes of an event whose key is held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is in a parked conflict already: it comes again after a crash.
    Known,
    /// It is a later change of that one's row.
    Later(ConflictId),
    /// It is one of another row.
    Behind,
}

impl Held {
    /// What the state has parked.
    pub async fn load(state: &dyn StateStore, pipeline: &PipelineId) -> Result<Self> {
        let mut held = Held::default();
        let mut after = 0;
        loop {
            let page = state.conflicts(pipeline, true, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(held) };
            after = last.number;
            page.iter().for_each(|conflict| held.hold(conflict));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Holds the keys of a parked conflict, as it is now.
    pub fn hold(&mut self, conflict: &Conflict) {
        let incoming = &conflict.incoming;
        let Some((key, new)) = keys_of(incoming) else { return };
        let table = incoming.table.table.clone();
        let last = Some(new.as_ref().unwrap_or(&key).clone().detached());
        let keys: Vec<Key> = std::iter::once(key).chain(new).map(Key::detached).collect();
        let (since, upto) = (conflict.since(), conflict.upto());
        let before = self
            .all
            .insert(conflict.id.clone(), One { table: table.clone(), keys: keys.clone(), last, since, upto });
        for key in before.into_iter().flat_map(|one| one.keys).filter(|key| !keys.contains(key)) {
            self.let_go(&table, key, &conflict.id);
        }
        for key in keys {
            let holders = self.keys.entry((table.clone(), key)).or_default();
            if !holders.contains(&conflict.id) {
                holders.push(conflict.id.clone());
            }
        }
    }

    fn let_go(&mut self, table: &TableId, key: Key, id: &ConflictId) {
        let place = (table.clone(), key);
        if let Some(holders) = self.keys.get_mut(&place) {
            holders.retain(|holder| holder != id);
            if holders.is_empty() {
                self.keys.remove(&place);
            }
        }
    }

    /// Nothing of this table waits any more.
    pub fn forget(&mut self, table: &TableId) {
        self.keys.retain(|(of, _), _| of != table);
        self.all.retain(|_, one| one.table != *table);
    }

    /// Whether anything of the event's table is held.
    pub fn concerns(&self, event: &Event) -> bool {
        self.all.values().any(|one| one.table == event.table.table)
    }

    /// The first of those that hold one of its keys and were parked before it: what has to be decided first.
    pub fn before(&self, conflict: &Conflict) -> Option<&ConflictId> {
        let one = self.all.get(&conflict.id)?;
        let holders = one.keys.iter().filter_map(|key| self.keys.get(&(one.table.clone(), key.clone())));
        holders.filter_map(|holders| holders.first()).find(|first| **first != conflict.id)
    }

    /// Whether an event has to follow parked ones. `fresh` tells of a conflict whether it was parked, or got a later change, in this
    /// same piece of work: then nothing of it comes again.
    pub fn of(&self, event: &Event, place: &Place, fresh: impl Fn(&ConflictId) -> bool) -> Option<Hold> {
        let (key, new) = keys_of(event)?;
        let holders =
            |key: &Key| self.keys.get(&(event.table.table.clone(), key.clone())).into_iter().flatten();
        // A row that is read is as new as it can be, wherever the stream stands.
        let is_read = matches!(event.change, Change::Snapshot(_));
        let mut in_front = vec![];
        let mut newest = None;
        for (at, id) in
            holders(&key).map(|id| (true, id)).chain(new.iter().flat_map(holders).map(|id| (false, id)))
        {
            let Some(one) = self.all.get(id).filter(|one| *place >= one.since) else { continue };
            if *place <= one.upto && !fresh(id) && !is_read {
                return Some(Hold::Known);
            }
            if at {
                newest = Some((id, one));
            }
            in_front.push(id);
        }
        // Only the last that got the key tells whose it is at the source; and a key that another one waits for is waited for in turn.
        let of_row = newest.filter(|(_, one)| one.last.as_ref() == Some(&key)).map(|(id, _)| id);
        let takes_another =
            |row: &ConflictId| new.iter().flat_map(holders).any(|id| id != row && in_front.contains(&id));
        match of_row {
            Some(row) if !takes_another(row) => Some(Hold::Later(row.clone())),
            _ => (!in_front.is_empty()).then_some(Hold::Behind),
        }
    }
}

/// Takes a later change of the row into a parked conflict.
pub(super) fn fold(conflict: &mut Conflict, event: &Event, place: Position) {
    if conflict.since.is_none() {
        conflict.since = Some(conflict.upto());
    }
    let schema = &event.table;
    let mut first = conflict.incoming.clone();
    let from = first.table.clone();
    first.change.images_mut().for_each(|image| *image = shaped(image, &from, schema));
    conflict.existing = conflict.existing.take().map(|row| shaped(&row, &from, schema));
    let change = together(&first.change, &event.change, schema);
    let was = conflict.key();
    let moved_onto_another =
        conflict.kind == ConflictKind::InsertExists && matches!(first.change, Change::Update { .. });
    conflict.incoming = Event { change, original: None, ..event.clone() };
    conflict.incoming.index = index_of(event);
    conflict.position = place;
    conflict.later += 1;
    // It does not go to that key any more: what is left is the row that it was, which nobody had changed.
    if moved_onto_another && conflict.key() != was {
        conflict.existing = conflict.incoming.change.identity().cloned();
        conflict.kind = ConflictKind::UpdateDiffers;
    }
    conflict.kind = kind_of(conflict);
}

/// The index under which an event is kept: a row that is read comes after all that the position covers.
pub(super) fn index_of(event: &Event) -> u64 {
    if matches!(event.change, Change::Snapshot(_)) { u64::MAX } else { event.index }
}

/// What a parked conflict is now.
pub(super) fn kind_of(conflict: &Conflict) -> ConflictKind {
    match (&conflict.incoming.change, conflict.existing.is_some()) {
        (Change::Snapshot(_) | Change::Insert(_), true) => ConflictKind::InsertExists,
        (Change::Update { .. }, true) if conflict.kind == ConflictKind::InsertExists => conflict.kind,
        (Change::Update { .. }, true) => ConflictKind::UpdateDiffers,
        (Change::Delete(_) | Change::Truncate, true) => ConflictKind::DeleteDiffers,
        (Change::Delete(_) | Change::Truncate, false) => ConflictKind::DeleteMissing,
        (_, false) => ConflictKind::UpdateMissing,
    }
}

/// Two changes of one row, one after the other, as one.
fn together(first: &Change, next: &Change, schema: &TableSchema) -> Change {
    match (first, next) {
        (Change::Insert(row) | Change::Snapshot(row), Change::Update { after, .. }) => {
            Change::Insert(over(schema, after, row))
        }
        (Change::Insert(row) | Change::Snapshot(row), Change::Delete(gone)) => {
            Change::Delete(over(schema, gone, row))
        }
        (Change::Update { before, after }, Change::Update { after: last, .. }) => {
            Change::Update { before: before.clone(), after: over(schema, last, after) }
        }
        (Change::Update { before: Some(before), .. }, Change::Delete(_)) => Change::Delete(before.clone()),
        (Change::Update { before, .. }, Change::Insert(row) | Change::Snapshot(row)) => {
            Change::Update { before: before.clone(), after: row.clone() }
        }
        (Change::Delete(before), Change::Delete(_)) => Change::Delete(before.clone()),
        (Change::Delete(before), Change::Update { after, .. }) => {
            Change::Update { before: Some(before.clone()), after: after.clone() }
        }
        (_, Change::Insert(row) | Change::Snapshot(row)) => Change::Insert(row.clone()),
        (_, next) => next.clone(),
    }
}
