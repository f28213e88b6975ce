//! The rows that a batch's events meet: the target's, and what earlier events of the batch have made of them.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_types::ports::SinkTx;
use sluice_types::{Change, Disposition, Event, Key, Result, Row, TableId, TableSchema, Value};

use super::Keys;

/// By the target's table.
#[derive(Default)]
pub(super) struct Rows {
    tables: HashMap<TableId, Table>,
}

#[derive(Default)]
struct Table {
    rows: HashMap<Key, (Arc<TableSchema>, Found)>,
    /// How many events ahead are about a key.
    ahead: HashMap<Key, usize>,
    /// A truncate was met: what is not in `rows` is not there.
    emptied: bool,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The row, or that there is none.
    Known(Option<Row>),
    /// The target can't look for such a key.
    Unreadable,
}

impl Found {
    pub fn known(self) -> Option<Option<Row>> {
        match self {
            Found::Known(row) => Some(row),
            Found::Unreadable => None,
        }
    }
}

/// The keys of an event's row: before, and after where that is another one.
pub(super) fn keys_of(event: &Event) -> Option<Keys> {
    let schema = &event.table;
    let identity = event.change.identity()?;
    let key = schema.key_of(identity);
    if !key.0.iter().all(Value::is_present) {
        return None;
    }
    let Change::Update { before: Some(before), after } = &event.change else { return Some((key, None)) };
    // A part of the key that the image after does not carry has not changed.
    let part = |slot| if after.get(slot).is_present() { after.get(slot) } else { before.get(slot) };
    let new = Key(schema.key_columns().map(|column| part(column.slot).clone()).collect());
    let new = Some(new).filter(|new| *new != key);
    Some((key, new))
}

impl Rows {
    /// An event is going to be looked at.
    pub fn expect(&mut self, event: &Event) {
        let Some((key, new)) = keys_of(event) else { return };
        let table = self.tables.entry(event.table.table.clone()).or_default();
        for key in std::iter::once(key).chain(new) {
            *table.ahead.entry(key).or_default() += 1;
        }
    }

    /// It was looked at: what no later one is about is forgotten.
    pub fn done(&mut self, event: &Event) {
        let Some((key, new)) = keys_of(event) else { return };
        let Some(table) = self.tables.get_mut(&event.table.table) else { return };
        for key in std::iter::once(key).chain(new) {
            let ahead = table.ahead.get_mut(&key).map_or(0, |ahead| {
                *ahead = ahead.saturating_sub(1);
                *ahead
            });
            if ahead == 0 {
                table.ahead.remove(&key);
                table.rows.remove(&key);
            }
        }
    }

    /// Reads the rows of these events that are not known yet, those of each table at once.
    pub async fn read<'a>(
        &mut self,
        tx: &mut dyn SinkTx,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<()> {
        let mut wanted: Vec<(Arc<TableSchema>, Vec<Key>)> = vec![];
        for event in events {
            let Some((key, new)) = keys_of(event) else { continue };
            let table = self.tables.entry(event.table.table.clone()).or_default();
            if table.emptied {
                continue;
            }
            let at = match wanted.iter().position(|(schema, _)| *schema == event.table) {
                Some(at) => at,
                None => {
                    wanted.push((event.table.clone(), vec![]));
                    wanted.len() - 1
                }
            };
            for key in std::iter::once(key).chain(new) {
                // Takes the place until the answer is there.
                let new = !table.rows.contains_key(&key);
                if new {
                    table.rows.insert(key.clone(), (event.table.clone(), Found::Unreadable));
                    wanted[at].1.push(key);
                }
            }
        }
        for (schema, keys) in wanted {
            let found = current(tx, &schema, &keys).await?;
            let Some(table) = self.tables.get_mut(&schema.table) else { continue };
            for (key, found) in keys.into_iter().zip(found) {
                table.rows.insert(key, (schema.clone(), found));
            }
        }
        Ok(())
    }

    /// The row under a key, in this shape.
    pub fn get(&self, schema: &Arc<TableSchema>, key: &Key) -> Found {
        let Some(table) = self.tables.get(&schema.table) else { return Found::Unreadable };
        match table.rows.get(key) {
            Some((shape, Found::Known(Some(row)))) => Found::Known(Some(shaped(row, shape, schema))),
            Some((_, found)) => found.clone(),
            None if table.emptied => Found::Known(None),
            None => Found::Unreadable,
        }
    }

    /// An event is written.
    pub fn apply(&mut self, event: &Event) {
        let schema = &event.table;
        if matches!(event.change, Change::Truncate) {
            let table = self.tables.entry(schema.table.clone()).or_default();
            table.rows.clear();
            table.emptied = true;
            return;
        }
        let Some((key, new)) = keys_of(event) else { return };
        let before = self.get(schema, &key);
        let Some(table) = self.tables.get_mut(&schema.table) else { return };
        let after = match event.change.after() {
            None => Found::Known(None),
            Some(after) if schema.is_complete(after) => Found::Known(Some(after.clone())),
            Some(after) => match before {
                Found::Known(Some(before)) => Found::Known(Some(over(schema, after, &before))),
                // The row is read again at the source.
                _ => Found::Unreadable,
            },
        };
        if let Some(new) = new {
            table.rows.insert(key, (schema.clone(), Found::Known(None)));
            table.rows.insert(new, (schema.clone(), after));
        } else {
            table.rows.insert(key, (schema.clone(), after));
        }
    }
}

/// Reads rows; keys that the target can't look for are found by halving.
async fn current(tx: &mut dyn SinkTx, schema: &Arc<TableSchema>, keys: &[Key]) -> Result<Vec<Found>> {
    let mut found = Vec::with_capacity(keys.len());
    let mut ahead = vec![keys];
    while let Some(keys) = ahead.pop() {
        if keys.is_empty() {
            continue;
        }
        match tx.current(schema, keys).await {
            Ok(rows) => found.extend(rows.into_iter().map(Found::Known)),
            Err(error) if error.disposition() != Disposition::DeadLetter => return Err(error),
            Err(_) => {
                tx.rollback_to_savepoint().await?;
                match keys {
                    [_] => found.push(Found::Unreadable),
                    _ => {
                        let (first, second) = keys.split_at(keys.len() / 2);
                        ahead.extend([second, first]);
                    }
                }
            }
        }
    }
    Ok(found)
}

/// A row in another shape of the same table.
pub(super) fn shaped(row: &Row, from: &Arc<TableSchema>, to: &Arc<TableSchema>) -> Row {
    if Arc::ptr_eq(from, to) || from == to {
        return row.clone();
    }
    let mut values = vec![Value::Absent; to.slots()];
    for column in &to.columns {
        let at = from.column_index(&column.name).and_then(|index| from.columns.get(index));
        if let (Some(at), Some(value)) = (at, values.get_mut(column.slot as usize)) {
            *value = row.get(at.slot).clone();
        }
    }
    Row::new(values)
}

/// The present values of one image over those of another.
pub(super) fn over(schema: &TableSchema, image: &Row, below: &Row) -> Row {
    let mut values = image.values().to_vec();
    values.resize(values.len().max(schema.slots()), Value::Absent);
    for column in &schema.columns {
        if let Some(value) = values.get_mut(column.slot as usize)
            && !value.is_present()
        {
            *value = below.get(column.slot).clone();
        }
    }
    Row::new(values)
}
