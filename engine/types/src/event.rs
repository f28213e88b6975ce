//! Change events, their transactions, and the batches in which they flow.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::position::Position;
use crate::schema::{Key, TableSchema};
use crate::value::{Row, Text};

/// What happened to one row (or, for [`Change::Truncate`], to a whole table).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The row was read by a snapshot or read again by key. A sink upserts it.
    Snapshot(Row),
    /// The row is new. A sink upserts it, so that a replay changes nothing.
    Insert(Row),
    /// The row has changed.
    Update {
        /// The image before. `None`: the source sent none, so the key is that of `after`. It may hold the key alone, everything
        /// else absent; it must be there when the key changed.
        before: Option<Row>,
        /// The image after. Absent values are left as the target has them.
        after: Row,
    },
    /// The row is gone. At least its key is present.
    Delete(Row),
    /// Every row of the table is gone.
    Truncate,
}

impl Change {
    /// The image that says which row of the target is meant: `before` where there is one.
    pub fn identity(&self) -> Option<&Row> {
        match self {
            Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => Some(row),
            Change::Update { before, after } => Some(before.as_ref().unwrap_or(after)),
            Change::Truncate => None,
        }
    }

    /// The image that the row has afterwards.
    pub fn after(&self) -> Option<&Row> {
        match self {
            Change::Snapshot(row) | Change::Insert(row) | Change::Update { after: row, .. } => Some(row),
            Change::Delete(_) | Change::Truncate => None,
        }
    }

    /// The images, before first.
    pub fn images_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        let (first, second) = match self {
            Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => (Some(row), None),
            Change::Update { before, after } => (before.as_mut(), Some(after)),
            Change::Truncate => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// What the images hold in memory, in bytes (an estimate).
    pub fn weight(&self) -> usize {
        match self {
            Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => row.weight(),
            Change::Update { before, after } => before.as_ref().map_or(0, Row::weight) + after.weight(),
            Change::Truncate => 0,
        }
    }

    /// `snapshot`, `insert`, `update`, `delete` or `truncate`.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Snapshot(_) => "snapshot",
            Change::Insert(_) => "insert",
            Change::Update { .. } => "update",
            Change::Delete(_) => "delete",
            Change::Truncate => "truncate",
        }
    }
}

/// One change of one row, on its way from a source to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The shape of its images here; transforms replace it by their output schema.
    pub table: Arc<TableSchema>,
    /// The shape in which the source delivered it. Its slots are a prefix of every image's.
    pub source: Arc<TableSchema>,
    /// What happened.
    pub change: Change,
    /// What the source delivered, when a transform turned it into another kind of change or took an image away.
    pub original: Option<Box<Change>>,
    /// Its transaction, as an index into [`Batch::transactions`].
    pub transaction: u32,
    /// Its place in its transaction, counted from 0 over all parts; copies made by a transform share it.
    pub index: u64,
    /// The number of its own entry in the source's log, from a source whose transactions have no lasting ends: after a restart
    /// the same events may come as one larger transaction, so position and index would not name the event again (I3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
}

impl Event {
    /// An event as a source delivers it.
    pub fn new(table: Arc<TableSchema>, change: Change, transaction: u32, index: u64) -> Self {
        Event { source: table.clone(), table, change, original: None, transaction, index, entry: None }
    }

    /// Its place in the source's log that it has again after a restart, when its transaction ends at `transaction`.
    pub fn place(&self, transaction: &Position) -> Position {
        match self.entry {
            Some(entry) => Position::from_number(entry, entry.to_string()),
            None => transaction.clone(),
        }
    }

    /// The event as the source delivered it, whatever transforms did since.
    pub fn to_original(&self) -> Event {
        let mut change = match &self.original {
            Some(original) => (**original).clone(),
            None => self.change.clone(),
        };
        let slots = self.source.slots();
        change.images_mut().for_each(|row| row.truncate(slots));
        Event { table: self.source.clone(), change, original: None, ..self.clone() }
    }

    /// The key that the row has in the source: before the change, and after it where that differs.
    pub fn source_keys(&self) -> (Option<Key>, Option<Key>) {
        let change = self.original.as_deref().unwrap_or(&self.change);
        let before = change.identity().map(|row| self.source.key_of(row));
        let after = match change {
            Change::Update { before: Some(_), after } => Some(self.source.key_of(after)),
            _ => None,
        };
        let after = after.filter(|after| Some(after) != before.as_ref());
        (before, after)
    }
}

/// Who made a transaction, as the source's log says it; how echoes of our own writes are recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin(pub Text);

/// One transaction of the source, or the part of it that a batch carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its end in the log: a checkpoint at this position covers the whole transaction.
    pub position: Position,
    /// When it was committed at the source, in microseconds since 1970 UTC, where the log says so.
    pub committed_micros: Option<i64>,
    /// Who made it, where the log says so.
    pub origin: Option<Origin>,
    /// The number by which snapshots of the source tell whether they see it (PostgreSQL); `None` where positions do.
    pub xid: Option<u64>,
}

/// Events in the order of the source's log.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The transactions, in commit order; none is empty unless a filter of the source emptied it.
    pub transactions: Vec<Transaction>,
    /// Their events.
    pub events: Vec<Event>,
    /// The last transaction goes on in the next batch: the target's transaction stays open until it has come whole (I4).
    pub open: bool,
    /// The source has more at hand, and nobody waits for this to be seen at once: it pays to gather more for one transaction of the
    /// target.
    pub behind: bool,
}

impl Batch {
    /// Where the line stands after this batch; `None` when it is empty or its only transaction is still open.
    pub fn end(&self) -> Option<&Position> {
        let whole = self.transactions.len() - usize::from(self.open && !self.transactions.is_empty());
        whole.checked_sub(1).map(|last| &self.transactions[last].position)
    }

    /// What the images hold in memory, in bytes (an estimate).
    pub fn weight(&self) -> usize {
        self.events.iter().map(|event| event.change.weight()).sum()
    }
}
