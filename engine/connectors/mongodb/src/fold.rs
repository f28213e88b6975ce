//! Many events become one change per key: within one write only the last state of a row matters to the target.
//!
//! An [`Entry`] says what is to become of one document, by reference to the events whose images make it: nothing is copied until
//! the command is written. With [`Fold::unfolded`] every event keeps an entry of its own, in order.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use mongodb::bson::RawDocumentBuf;
use sluice_types::{Change, Event, Result, Row, Value};

use crate::key::FoldKey;
use crate::plan::Plan;

/// What becomes of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// It is as the images say, whatever was there.
    Put,
    /// It gets the values that the images have, which are all; what others have put into it stays. It is made if it isn't there.
    Merge,
    /// It gets the values that the images have. It must be there.
    Patch,
    /// It goes.
    Delete,
    /// Every document of the collection goes.
    Truncate,
}

/// The events whose images make a document, the last one's values first.
#[derive(Clone, Debug)]
pub(crate) enum Layers {
    One(u32),
    Many(Vec<u32>),
}

impl Layers {
    fn push(&mut self, event: u32) {
        match self {
            Layers::One(first) => *self = Layers::Many(vec![*first, event]),
            Layers::Many(events) => events.push(event),
        }
    }

    /// In the order of the log.
    pub fn events(&self) -> &[u32] {
        match self {
            Layers::One(event) => std::slice::from_ref(event),
            Layers::Many(events) => events,
        }
    }

    /// The event to be named when something is wrong.
    pub fn last(&self) -> usize {
        self.events().last().map_or(0, |event| *event as usize)
    }
}

/// What is to become of one document.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub plan: Arc<Plan>,
    pub op: Op,
    /// Its `_id` in the fold's arena: type and body.
    pub id: Range<usize>,
    pub layers: Layers,
    /// The document that it was before its key changed, or before it is taken away to be put again; values that no image has come
    /// from there, and what others have put into it.
    pub base: Option<Arc<RawDocumentBuf>>,
    /// Probably no such document is there.
    pub fresh: bool,
}

/// Documents that were read because a key changed and the image after is not complete, or because they are taken away to be put
/// again, by plan and `_id`.
pub(crate) type Fetched = HashMap<(usize, FoldKey), Arc<RawDocumentBuf>>;

/// What tells plans apart while they are held.
pub(crate) fn address(plan: &Arc<Plan>) -> usize {
    Arc::as_ptr(plan) as usize
}

/// One write's entries.
#[derive(Default)]
pub(crate) struct Fold {
    pub entries: Vec<Entry>,
    /// Ids, one behind the other.
    pub arena: Vec<u8>,
    /// Events that found no document to change (I13).
    pub partial: Vec<usize>,
    by_key: HashMap<(usize, FoldKey), usize>,
    /// Collections (by plan) that were emptied in this fold.
    emptied: Vec<usize>,
    keep_order: bool,
}

/// Where an update's row was, and where it is then.
struct Move {
    /// The key that it had, if that is another.
    from: Option<FoldKey>,
    from_id: Range<usize>,
    to: FoldKey,
    to_id: Range<usize>,
}

impl Fold {
    /// With an entry for every event, in order.
    pub fn unfolded() -> Self {
        Fold { keep_order: true, ..Fold::default() }
    }

    /// The id under which a document has to be read before the event can be added: its key changes, or it is taken away to be put
    /// again. What the image does not have comes from there, and what others have put into it.
    pub fn wants(event: &Event, plan: &Plan) -> Result<Option<Vec<u8>>> {
        let Change::Update { before, after } = &event.change else { return Ok(None) };
        let put_again = plan.exact_ids && plan.is_complete(after);
        let mut key = plan.schema.key_columns().map(|column| column.slot);
        let looks_moved =
            before.as_ref().is_some_and(|before| key.any(|slot| before.get(slot) != after.get(slot)));
        // The usual update costs no more than this.
        if !looks_moved && !put_again {
            return Ok(None);
        }
        let mut scratch = Fold::default();
        let Some(moved) = scratch.movement(event, plan)? else { return Ok(None) };
        let wanted = moved.from.is_some() || put_again;
        Ok(wanted.then(|| scratch.arena[moved.from_id].to_vec()))
    }

    /// Adds what an event does. The error of a value names its event.
    pub fn add(&mut self, index: usize, event: &Event, plan: &Arc<Plan>, fetched: &Fetched) -> Result<()> {
        self.add_change(index as u32, event, plan, fetched).map_err(|error| error.of_event(index))
    }

    fn add_change(&mut self, index: u32, event: &Event, plan: &Arc<Plan>, fetched: &Fetched) -> Result<()> {
        match &event.change {
            Change::Snapshot(row) | Change::Insert(row) => {
                let (key, id) = self.id_of(plan, row, None)?;
                if plan.is_complete(row) {
                    self.put(index, plan, key, id, None);
                } else {
                    self.patch(index, plan, key, id);
                }
            }
            Change::Update { after, .. } => {
                let Some(moved) = self.movement(event, plan)? else { return Ok(()) };
                match moved.from {
                    None if plan.is_complete(after) => {
                        self.merge(index, plan, moved.to, moved.to_id, fetched)
                    }
                    None => self.patch(index, plan, moved.to, moved.to_id),
                    Some(from) if plan.is_complete(after) => {
                        let base = self.taken_along(plan, &from, fetched);
                        self.delete(index, plan, from, moved.from_id);
                        self.put(index, plan, moved.to, moved.to_id, base);
                    }
                    Some(from) => {
                        self.take_over(index, plan, (from, moved.from_id), (moved.to, moved.to_id), fetched)
                    }
                }
            }
            Change::Delete(row) => {
                let (key, id) = self.id_of(plan, row, None)?;
                self.delete(index, plan, key, id);
            }
            Change::Truncate => self.truncate(index, plan),
        }
        Ok(())
    }

    fn id_of(&mut self, plan: &Plan, row: &Row, other: Option<&Row>) -> Result<(FoldKey, Range<usize>)> {
        let start = self.arena.len();
        plan.push_id(&mut self.arena, &plan.key_of(row, other))?;
        let id = start..self.arena.len();
        Ok((FoldKey::new(&self.arena[id.clone()]), id))
    }

    /// `None` for what is no update.
    fn movement(&mut self, event: &Event, plan: &Plan) -> Result<Option<Move>> {
        let Change::Update { before, after } = &event.change else { return Ok(None) };
        let whole = |row: &&Row| plan.schema.key_of(row).0.iter().all(Value::is_present);
        let before = before.as_ref().filter(whole);
        let (to, to_id) = self.id_of(plan, after, before)?;
        let (from, from_id) = match before {
            Some(before) => self.id_of(plan, before, None)?,
            None => (to.clone(), to_id.clone()),
        };
        Ok(Some(Move { from: (from != to).then_some(from), from_id, to, to_id }))
    }

    /// The document that the row under this key is in now: others may have put something into it.
    fn taken_along(
        &mut self,
        plan: &Arc<Plan>,
        key: &FoldKey,
        fetched: &Fetched,
    ) -> Option<Arc<RawDocumentBuf>> {
        let emptied = self.is_emptied(plan);
        match self.entry(plan, key) {
            Some(Entry { op: Op::Put, base, .. }) => base.clone(),
            Some(Entry { op: Op::Delete | Op::Truncate, .. }) => None,
            None if emptied => None,
            Some(_) | None => fetched.get(&(address(plan), key.clone())).cloned(),
        }
    }

    /// A row that should be new, with what comes along from another document.
    fn put(
        &mut self,
        index: u32,
        plan: &Arc<Plan>,
        key: FoldKey,
        id: Range<usize>,
        base: Option<Arc<RawDocumentBuf>>,
    ) {
        let fresh = match self.entry(plan, &key) {
            None => true,
            Some(entry) => entry.op == Op::Put && entry.fresh,
        };
        let fresh = fresh || self.is_emptied(plan);
        let entry = Entry { plan: plan.clone(), op: Op::Put, id, layers: Layers::One(index), base, fresh };
        self.set(plan, key, entry);
    }

    /// A whole image of a row that should be there.
    fn merge(&mut self, index: u32, plan: &Arc<Plan>, key: FoldKey, id: Range<usize>, fetched: &Fetched) {
        let emptied = self.is_emptied(plan);
        let (op, base, fresh) = match self.entry(plan, &key) {
            Some(Entry { op: Op::Put, base, fresh, .. }) => (Op::Put, base.clone(), *fresh),
            Some(Entry { op: Op::Delete | Op::Truncate, .. }) => (Op::Put, None, emptied),
            None if emptied => (Op::Put, None, true),
            Some(_) | None if plan.exact_ids => {
                (Op::Put, fetched.get(&(address(plan), key.clone())).cloned(), false)
            }
            Some(_) | None => (Op::Merge, None, false),
        };
        let entry = Entry { plan: plan.clone(), op, id, layers: Layers::One(index), base, fresh };
        self.set(plan, key, entry);
    }

    fn patch(&mut self, index: u32, plan: &Arc<Plan>, key: FoldKey, id: Range<usize>) {
        let emptied = self.is_emptied(plan);
        match self.entry(plan, &key) {
            Some(Entry { op: Op::Put | Op::Merge | Op::Patch, layers, .. }) => layers.push(index),
            Some(_) => self.partial.push(index as usize),
            None if emptied => self.partial.push(index as usize),
            None => {
                let layers = Layers::One(index);
                let entry = Entry { plan: plan.clone(), op: Op::Patch, id, layers, base: None, fresh: false };
                self.set(plan, key, entry);
            }
        }
    }

    fn delete(&mut self, index: u32, plan: &Arc<Plan>, key: FoldKey, id: Range<usize>) {
        let layers = Layers::One(index);
        let entry = Entry { plan: plan.clone(), op: Op::Delete, id, layers, base: None, fresh: false };
        self.set(plan, key, entry);
    }

    /// A row gets another key, and what its image does not have comes along.
    fn take_over(
        &mut self,
        index: u32,
        plan: &Arc<Plan>,
        (from, from_id): (FoldKey, Range<usize>),
        (to, to_id): (FoldKey, Range<usize>),
        fetched: &Fetched,
    ) {
        let stored = fetched.get(&(address(plan), from.clone())).cloned();
        let emptied = self.is_emptied(plan);
        let (mut layers, base) = match self.entry(plan, &from) {
            Some(Entry { op: Op::Put, layers, base, .. }) => (Some(layers.clone()), base.clone()),
            Some(Entry { op: Op::Merge, layers, .. }) => (Some(layers.clone()), stored),
            Some(Entry { op: Op::Patch, layers, .. }) if stored.is_some() => (Some(layers.clone()), stored),
            None if stored.is_some() && !emptied => (None, stored),
            _ => return self.partial.push(index as usize),
        };
        match &mut layers {
            Some(layers) => layers.push(index),
            None => layers = Some(Layers::One(index)),
        }
        let layers = layers.unwrap_or(Layers::One(index));
        self.delete(index, plan, from, from_id);
        let entry = Entry { plan: plan.clone(), op: Op::Put, id: to_id, layers, base, fresh: true };
        self.set(plan, to, entry);
    }

    fn truncate(&mut self, index: u32, plan: &Arc<Plan>) {
        let collection = address(plan);
        if !self.keep_order {
            self.entries.retain(|entry| !Arc::ptr_eq(&entry.plan, plan));
            self.by_key.clear();
            for (at, entry) in self.entries.iter().enumerate() {
                if entry.op != Op::Truncate {
                    let key = FoldKey::new(&self.arena[entry.id.clone()]);
                    self.by_key.insert((address(&entry.plan), key), at);
                }
            }
        }
        self.emptied.push(collection);
        let layers = Layers::One(index);
        self.entries.push(Entry {
            plan: plan.clone(),
            op: Op::Truncate,
            id: 0..0,
            layers,
            base: None,
            fresh: false,
        });
    }

    fn is_emptied(&self, plan: &Arc<Plan>) -> bool {
        !self.keep_order && self.emptied.contains(&(address(plan)))
    }

    fn entry(&mut self, plan: &Arc<Plan>, key: &FoldKey) -> Option<&mut Entry> {
        if self.keep_order {
            return None;
        }
        let at = *self.by_key.get(&(address(plan), key.clone()))?;
        self.entries.get_mut(at)
    }

    fn set(&mut self, plan: &Arc<Plan>, key: FoldKey, entry: Entry) {
        if self.keep_order {
            self.entries.push(entry);
            return;
        }
        let next = self.entries.len();
        let at = *self.by_key.entry((address(plan), key)).or_insert(next);
        if at == next {
            self.entries.push(entry);
        } else {
            self.entries[at] = entry;
        }
    }
}
