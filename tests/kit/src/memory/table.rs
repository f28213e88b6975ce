//! A table in memory, cheap to copy as a whole: rows are shared.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_types::{Error, ErrorKind, Key, Result, Row, TableId, TableSchema, Value};

/// A key in the order in which the memory database keeps rows and reads chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowKey(pub Arc<Key>);

impl From<Key> for RowKey {
    fn from(key: Key) -> Self {
        RowKey(Arc::new(key))
    }
}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RowKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.0.iter().zip(&other.0.0);
        let first = pairs.map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
        first.unwrap_or_else(|| self.0.0.len().cmp(&other.0.0.len()))
    }
}

/// A total order over all values: the natural one within the types that tests use as keys, some fixed one elsewhere.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int64(a), Value::Int64(b)) => a.cmp(b),
        (Value::Uint64(a), Value::Uint64(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        _ => a
            .type_name()
            .cmp(b.type_name())
            .then_with(|| if a == b { Ordering::Equal } else { format!("{a:?}").cmp(&format!("{b:?}")) }),
    }
}

/// The tables of a database at one moment. A copy shares all rows.
pub type Contents = BTreeMap<TableId, Arc<Table>>;

/// A table: its shape and rows. Rows have one value per column, in column order.
#[derive(Clone, Debug)]
pub struct Table {
    /// The shape, with slots in column order.
    pub schema: Arc<TableSchema>,
    /// Secondary unique constraints, as indexes of columns.
    pub unique: Vec<Vec<usize>>,
    /// The rows by key.
    pub rows: BTreeMap<RowKey, Arc<Row>>,
}

impl Table {
    /// The key of a row.
    pub fn key_of(&self, row: &Row) -> RowKey {
        self.schema.key_of(row).into()
    }

    /// Puts `row` in the place of the row under `old`, or in as a new one.
    pub fn put(&mut self, old: Option<&RowKey>, row: Row) -> Result<()> {
        let key = self.key_of(&row);
        if old != Some(&key) && self.rows.contains_key(&key) {
            return Err(self.violated(ErrorKind::Constraint, "primary key"));
        }
        for columns in &self.unique {
            let own = |row: &Row| columns.iter().map(|&at| row.values()[at].clone()).collect::<Vec<_>>();
            let values = own(&row);
            if values.contains(&Value::Null) {
                continue;
            }
            let taken = |(other, row): (&RowKey, &Arc<Row>)| Some(other) != old && own(row) == values;
            if self.rows.iter().any(taken) {
                return Err(self.violated(ErrorKind::Constraint, "unique constraint"));
            }
        }
        for (column, value) in self.schema.columns.iter().zip(row.values()) {
            if !column.nullable && *value == Value::Null {
                return Err(self.violated(ErrorKind::RowRefused, "not null constraint"));
            }
        }
        if let Some(old) = old {
            self.rows.remove(old);
        }
        self.rows.insert(key, Arc::new(row));
        Ok(())
    }

    fn violated(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("the row violates a {what}")).at_table(&self.schema.table)
    }
}
