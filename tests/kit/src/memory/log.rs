//! The change log of a memory database, and how its entries look to a stream.

use std::sync::Arc;

use sluice_types::{Change, Row, TableId, TableSchema, Value};

use super::table::{Contents, RowKey, Table};

/// What before images the log carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeImages {
    /// The whole row.
    Full,
    /// The key alone, everything else absent.
    Key,
    /// The key alone, of updates only where the key changed (PostgreSQL's default).
    KeyIfChanged,
}

/// What after images of updates the log carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterImages {
    /// The whole row.
    Full,
    /// The key and the columns that changed, everything else absent.
    Changed,
}

/// One change as it happened, with whole rows.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Row { table: TableId, old: Option<Arc<Row>>, new: Option<Arc<Row>> },
    Truncate { table: TableId },
}

impl Op {
    pub(super) fn table(&self) -> &TableId {
        match self {
            Op::Row { table, .. } | Op::Truncate { table } => table,
        }
    }

    /// Whether two changes must become visible in the order in which they were made.
    pub(super) fn meets(&self, other: &Op, tables: &Contents) -> bool {
        if self.table() != other.table() {
            return false;
        }
        let (Op::Row { old, new, .. }, Op::Row { old: other_old, new: other_new, .. }) = (self, other) else {
            return true;
        };
        let Some(table) = tables.get(self.table()) else { return true };
        if !table.unique.is_empty() {
            return true;
        }
        let keys = |rows: [&Option<Arc<Row>>; 2]| -> Vec<RowKey> {
            rows.into_iter().flatten().map(|row| table.key_of(row)).collect()
        };
        let others = keys([other_old, other_new]);
        keys([old, new]).iter().any(|key| others.contains(key))
    }

    /// Makes the change in a table.
    pub(super) fn apply(&self, table: &mut Table) {
        match self {
            Op::Truncate { .. } => table.rows.clear(),
            Op::Row { old, new, .. } => {
                if let Some(old) = old {
                    table.rows.remove(&table.key_of(old));
                }
                if let Some(new) = new {
                    table.rows.insert(table.key_of(new), new.clone());
                }
            }
        }
    }

    /// The change as a stream delivers it.
    pub(super) fn change(&self, schema: &TableSchema, before: BeforeImages, after: AfterImages) -> Change {
        let Op::Row { old, new, .. } = self else { return Change::Truncate };
        let key_only = |row: &Row| keeping(row, |column| schema.is_key(column));
        let before_image = |row: &Row| match before {
            BeforeImages::Full => row.clone(),
            BeforeImages::Key | BeforeImages::KeyIfChanged => key_only(row),
        };
        match (old, new) {
            (None, Some(new)) => Change::Insert((**new).clone()),
            (Some(old), None) => Change::Delete(before_image(old)),
            (Some(old), Some(new)) => {
                let rekeyed = schema.key_of(old) != schema.key_of(new);
                let with_before = before != BeforeImages::KeyIfChanged || rekeyed;
                let differs = |column: usize| old.values()[column] != new.values()[column];
                let after = match after {
                    AfterImages::Full => (**new).clone(),
                    AfterImages::Changed => keeping(new, |column| schema.is_key(column) || differs(column)),
                };
                Change::Update { before: with_before.then(|| before_image(old)), after }
            }
            (None, None) => Change::Truncate,
        }
    }
}

/// The row with every other column absent.
fn keeping(row: &Row, keep: impl Fn(usize) -> bool) -> Row {
    let kept = |(at, value): (usize, &Value)| if keep(at) { value.clone() } else { Value::Absent };
    Row::new(row.values().iter().enumerate().map(kept).collect())
}

/// One committed transaction of the log.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) position: u64,
    pub(super) xid: u64,
    pub(super) committed_micros: i64,
    pub(super) ops: Vec<Op>,
}
