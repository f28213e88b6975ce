//! Successive changes of one key become one: what the target's transaction has to do, in an order of the fastest paths' choosing.
//!
//! Events are taken as long as their rows commute: a *segment*. Within one, every key is touched by one step, so the steps may run
//! in any order. A change of a key ends a segment when one of its keys was touched before, and so does a truncate.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use hashbrown::{DefaultHashBuilder, HashTable};
use sluice_types::{Change, Event, Result, Row, TableSchema, Value};

use crate::encode;
use crate::plan::Plan;

/// No event.
const NONE: u32 = u32::MAX;

/// Fewer steps are left in the order in which they came.
const SORT_STEPS_MIN: usize = 64;

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A complete row that is probably not there.
    Insert,
    /// A complete row that was there, and may be gone.
    Upsert,
    /// A complete row that comes after one of the same key was deleted.
    Replace,
    /// A complete row that is probably there.
    Update,
    /// Some columns of a row (I13).
    Patch,
    /// No row.
    Delete,
    /// A row that gets another key.
    Move,
}

/// One step: what becomes of the row with one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub op: Op,
    /// The last event of the row that has values; earlier ones by [`Segment::events_of`].
    pub event: u32,
    /// The event whose image says which key is meant.
    by: u32,
    table: u32,
}

/// The steps of one table.
pub(crate) struct TableSteps {
    pub plan: Arc<Plan>,
    pub steps: Vec<Step>,
}

/// Events whose steps commute.
pub(crate) struct Segment<'e> {
    events: &'e [Event],
    pub tables: Vec<TableSteps>,
    /// Tables to be emptied, before anything else; then there are no steps.
    pub truncated: Vec<Arc<Plan>>,
    /// Events that find no row because an earlier one of the segment deleted it (I13).
    pub partial: Vec<usize>,
    /// Where the next segment begins.
    pub end: usize,
    /// For each event the earlier one that it was folded with.
    previous: Vec<u32>,
    start: usize,
}

/// The steps by key.
struct Index {
    hasher: DefaultHashBuilder,
    /// Table and place of a step, by its key's bytes.
    steps: HashTable<(u32, u32, Range<usize>)>,
    keys: BytesMut,
}

impl<'e> Segment<'e> {
    /// Folds events from `start` on, for as long as they commute, but not beyond `end`. `plan_of` knows every table.
    pub fn fold(
        events: &'e [Event],
        range: Range<usize>,
        mut plan_of: impl FnMut(&Arc<TableSchema>) -> Result<Arc<Plan>>,
    ) -> Result<Self> {
        let start = range.start;
        let mut segment = Segment {
            events,
            tables: vec![],
            truncated: vec![],
            partial: vec![],
            end: start,
            previous: vec![],
            start,
        };
        let mut index = Index {
            hasher: Default::default(),
            steps: HashTable::with_capacity(range.len()),
            keys: BytesMut::new(),
        };
        let mut last: Option<(*const TableSchema, u32)> = None;
        for at in range {
            let event = &events[at];
            let same = last.filter(|(schema, _)| std::ptr::eq(*schema, Arc::as_ptr(&event.table)));
            let table = match same {
                Some((_, table)) => table,
                None => match segment.table(plan_of(&event.table)?) {
                    Some(table) => table,
                    None => break,
                },
            };
            last = Some((Arc::as_ptr(&event.table), table));
            let plan = segment.tables[table as usize].plan.clone();
            let taken = segment.take(at, &event.change, table, &plan, &mut index);
            if !taken.map_err(|error| error.of_event(at))? {
                break;
            }
            segment.end = at + 1;
            if !plan.exact_key {
                break; // nobody here can say which of its keys are the same
            }
            if plan.acts_on_delete && matches!(event.change, Change::Delete(_)) {
                break; // nobody here can say which other rows it changes
            }
        }
        segment.sort(&index);
        segment.tables.retain(|table| !table.steps.is_empty());
        Ok(segment)
    }

    /// Brings every table's steps into the order of their keys, by and large: neighbours in the target's index, and often in the
    /// table, are changed one after the other.
    fn sort(&mut self, index: &Index) {
        for (number, table) in self.tables.iter_mut().enumerate() {
            if table.steps.len() < SORT_STEPS_MIN {
                continue;
            }
            let of_table = index.steps.iter().filter(|(of, ..)| *of as usize == number);
            let mut order: Vec<(u128, u32)> =
                of_table.map(|(_, place, key)| (beginning(&index.keys[key.clone()]), *place)).collect();
            order.sort_unstable();
            let mut steps: Vec<Option<Step>> = table.steps.iter().copied().map(Some).collect();
            // A step that gives a row another key is known by both.
            let mut taken = |place: u32| steps.get_mut(place as usize).and_then(Option::take);
            table.steps = order.into_iter().filter_map(|(_, place)| taken(place)).collect();
        }
    }

    /// The place of a plan's steps. `None`: another plan writes the same table (it changed its shape, or several tables go into
    /// one), and nobody looks for keys in common.
    fn table(&mut self, plan: Arc<Plan>) -> Option<u32> {
        if let Some(known) = self.tables.iter().position(|table| Arc::ptr_eq(&table.plan, &plan)) {
            return Some(known as u32);
        }
        if self.tables.iter().any(|table| table.plan.shape.oid == plan.shape.oid) {
            return None;
        }
        self.tables.push(TableSteps { plan, steps: vec![] });
        Some((self.tables.len() - 1) as u32)
    }

    fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Takes an event in. `false`: it does not commute with what is here.
    fn take(
        &mut self,
        at: usize,
        change: &Change,
        table: u32,
        plan: &Arc<Plan>,
        index: &mut Index,
    ) -> Result<bool> {
        let schema = &plan.schema;
        if matches!(change, Change::Truncate) {
            if !self.is_empty() && self.truncated.is_empty() {
                return Ok(false);
            }
            self.previous.push(NONE);
            self.truncated.push(plan.clone());
            return Ok(true);
        }
        let alone = !plan.exact_key || (plan.acts_on_delete && matches!(change, Change::Delete(_)));
        if !self.truncated.is_empty() || (alone && !self.is_empty()) {
            return Ok(false);
        }
        let (image, moved_from) = match change {
            Change::Update { before: Some(before), after } if moves(schema, before, after) => {
                (after, Some(before))
            }
            Change::Update { before: Some(before), after } => {
                // The key alone may be in the image before, and absent in the one after.
                let whole = schema.key_columns().all(|column| after.get(column.slot).is_present());
                (if whole { after } else { before }, None)
            }
            Change::Update { before: None, after: row }
            | Change::Snapshot(row)
            | Change::Insert(row)
            | Change::Delete(row) => (row, None),
            Change::Truncate => return Ok(true),
        };
        let key = match moved_from {
            Some(before) => index.key_with(plan, image, before)?,
            None => index.key(plan, image)?,
        };
        let step = |op| Step { op, event: at as u32, by: at as u32, table };
        let old = moved_from.map(|before| index.key(plan, before)).transpose()?;
        // A key that only looks different stays: 1.0 and 1.00 are one row's.
        let old = old.filter(|old| !plan.exact_key || !index.is_same(old, &key));
        if let Some(old) = old {
            if index.find(table, &old).is_some() || index.find(table, &key).is_some() {
                return Ok(false);
            }
            let place = self.push(step(Op::Move));
            index.add(table, place, old);
            index.add(table, place, key);
            self.previous.push(NONE);
            return Ok(true);
        }
        let complete =
            !matches!(change, Change::Delete(_)) && change.after().is_some_and(|row| plan.is_complete(row));
        let Some(place) = index.find(table, &key) else {
            let op = match change {
                Change::Delete(_) => Op::Delete,
                Change::Update { .. } if complete => Op::Update,
                _ if complete => Op::Insert,
                _ => Op::Patch,
            };
            let place = self.push(step(op));
            index.add(table, place, key);
            self.previous.push(NONE);
            return Ok(true);
        };
        index.keys.truncate(key.start); // known already
        let existing = &mut self.tables[table as usize].steps[place as usize];
        let mut previous = NONE;
        match (existing.op, change) {
            (Op::Move, _) => return Ok(false),
            (_, Change::Delete(_)) => (existing.op, existing.by) = (Op::Delete, at as u32),
            (Op::Delete, _) if !complete => {
                self.partial.push(at);
                self.previous.push(NONE);
                return Ok(true);
            }
            _ if !complete => previous = existing.event,
            (Op::Delete, _) => existing.op = Op::Replace,
            (Op::Patch, Change::Update { .. }) => existing.op = Op::Update,
            (Op::Patch, _) => existing.op = Op::Upsert,
            _ => {}
        }
        if !matches!(change, Change::Delete(_)) {
            existing.event = at as u32;
            existing.by = at as u32;
        }
        self.previous.push(previous);
        Ok(true)
    }

    fn push(&mut self, step: Step) -> u32 {
        let steps = &mut self.tables[step.table as usize].steps;
        steps.push(step);
        (steps.len() - 1) as u32
    }

    /// The events of a step that have values, the last first.
    pub fn events_of(&self, step: &Step) -> impl Iterator<Item = usize> {
        let previous = |at: &usize| {
            let previous = self.previous[at - self.start];
            (previous != NONE).then_some(previous as usize)
        };
        std::iter::successors(Some(step.event as usize), previous)
    }

    /// The value that a step gives a column; absent where it leaves it.
    pub fn value(&self, step: &Step, slot: u32) -> &'e Value {
        let mut at = step.event as usize;
        loop {
            let value = self.events[at].change.after().map_or(&Value::Absent, |row| row.get(slot));
            let previous = self.previous[at - self.start];
            if value.is_present() || previous == NONE {
                return value;
            }
            at = previous as usize;
        }
    }

    /// The event that brings the value which a step gives a column.
    pub fn event_with(&self, step: &Step, slot: u32) -> usize {
        let brings =
            |at: &usize| self.events[*at].change.after().is_some_and(|row| row.get(slot).is_present());
        self.events_of(step).find(brings).unwrap_or(step.by as usize)
    }

    /// The value that one column of the key has before the step.
    pub fn key_value(&self, step: &Step, slot: u32) -> &'e Value {
        let change = &self.events[step.by as usize].change;
        let (before, after) = match change {
            Change::Update { before, after } => (before.as_ref(), Some(after)),
            other => (other.identity(), None),
        };
        let of_before = before.map(|row| row.get(slot)).filter(|value| value.is_present());
        of_before.or(after.map(|row| row.get(slot))).unwrap_or(&Value::Absent)
    }

    /// The value that a step gives a column; of the key what it is, where the last image does not say.
    pub fn new_key_value_or(&self, plan: &Plan, step: &Step, index: u32, slot: u32) -> &'e Value {
        let value = self.value(step, slot);
        if value.is_present() || !plan.key.contains(&(index as usize)) {
            value
        } else {
            self.key_value(step, slot)
        }
    }

    /// The value that one column of the key has after a move.
    pub fn new_key_value(&self, step: &Step, slot: u32) -> &'e Value {
        let value = self.value(step, slot);
        // A part of the key that the image after does not carry has not changed.
        if value.is_present() { value } else { self.key_value(step, slot) }
    }
}

/// The beginning of a key's bytes: its first column's length and as much of its value as tells most keys apart.
fn beginning(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}

/// Whether an update gives its row another key. A part of the key that the image after does not carry has not changed; a before
/// image without its whole key names no other.
fn moves(schema: &TableSchema, before: &Row, after: &Row) -> bool {
    let mut moved = false;
    for column in schema.key_columns() {
        let (old, new) = (before.get(column.slot), after.get(column.slot));
        if !old.is_present() {
            return false;
        }
        moved |= new.is_present() && old != new;
    }
    moved
}

impl Index {
    /// Writes a row's key behind the others.
    fn key(&mut self, plan: &Plan, row: &Row) -> Result<Range<usize>> {
        self.write(plan, |slot| row.get(slot))
    }

    fn key_with(&mut self, plan: &Plan, row: &Row, rest: &Row) -> Result<Range<usize>> {
        self.write(plan, |slot| if row.get(slot).is_present() { row.get(slot) } else { rest.get(slot) })
    }

    fn write<'a>(&mut self, plan: &Plan, value: impl Fn(u32) -> &'a Value) -> Result<Range<usize>> {
        let start = self.keys.len();
        for &index in &plan.key {
            let column = &plan.columns[index];
            encode::key(value(column.slot), &column.kind, &mut self.keys)
                .map_err(|why| plan.unfit(index, why))?;
        }
        Ok(start..self.keys.len())
    }

    fn is_same(&self, one: &Range<usize>, other: &Range<usize>) -> bool {
        self.keys[one.clone()] == self.keys[other.clone()]
    }

    fn find(&self, table: u32, key: &Range<usize>) -> Option<u32> {
        let bytes = &self.keys[key.clone()];
        let hash = self.hash(table, bytes);
        let same =
            |(of, _, other): &(u32, u32, Range<usize>)| *of == table && self.keys[other.clone()] == *bytes;
        self.steps.find(hash, same).map(|(_, place, _)| *place)
    }

    fn add(&mut self, table: u32, place: u32, key: Range<usize>) {
        let Index { hasher, steps, keys } = self;
        let hash_of = |table: u32, key: &[u8]| hasher.hash_one((table, key));
        let hash = hash_of(table, &keys[key.clone()]);
        steps.insert_unique(hash, (table, place, key), |(table, _, key)| hash_of(*table, &keys[key.clone()]));
    }

    fn hash(&self, table: u32, key: &[u8]) -> u64 {
        self.hasher.hash_one((table, key))
    }
}

#[cfg(test)]
mod tests;
