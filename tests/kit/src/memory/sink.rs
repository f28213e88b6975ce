//! The memory database as a target.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_types::ports::{Sink, SinkTx, TargetTable, Written};
use sluice_types::{
    Change, Checkpoint, Error, ErrorKind, Event, Key, PipelineId, Result, Row, TableId, TableSchema, Value,
};
use tokio::sync::OwnedMutexGuard;

use super::database::{Database, new_table};
use super::table::{Contents, RowKey, Table};
use crate::statement::TableDef;

/// A line's writer of a memory database.
pub(super) struct MemorySink {
    database: Database,
    generation: u64,
}

impl MemorySink {
    pub(super) fn connect(database: Database) -> Result<Self> {
        let generation = database.core().generation;
        database.core().reached(generation)?;
        Ok(MemorySink { database, generation })
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn missing(&mut self, tables: &[Arc<TableSchema>]) -> Result<Vec<TableId>> {
        let core = self.database.core();
        core.reached(self.generation)?;
        let gone = tables.iter().filter(|schema| !core.tables.contains_key(&schema.table));
        Ok(gone.map(|schema| schema.table.clone()).collect())
    }

    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<()> {
        let mut core = self.database.core();
        core.reached(self.generation)?;
        for wanted in tables {
            let schema = &wanted.schema;
            match core.tables.get(&schema.table) {
                Some(table) => fits(table, schema)?,
                None => {
                    let table = Arc::new(new_table(&definition(schema), &self.database.shared.options));
                    core.tables.insert(schema.table.clone(), table);
                }
            }
        }
        Ok(())
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        let core = self.database.core();
        core.reached(self.generation)?;
        Ok(core.checkpoints.get(pipeline).cloned())
    }

    async fn begin(&mut self) -> Result<Box<dyn SinkTx + '_>> {
        let alone = self.database.shared.writer.clone().lock_owned().await;
        let core = self.database.core();
        core.reached(self.generation)?;
        let base = core.tables.clone();
        drop(core);
        Ok(Box::new(MemoryTx {
            database: self.database.clone(),
            generation: self.generation,
            tables: base.clone(),
            base,
            saved: None,
            savepoint: None,
            failed: false,
            events: 0,
            puts_off: false,
            _alone: alone,
        }))
    }

    async fn forget(&mut self, pipeline: &PipelineId) -> Result<()> {
        let mut core = self.database.core();
        core.reached(self.generation)?;
        core.checkpoints.remove(pipeline);
        Ok(())
    }
}

/// Whether an existing table can take rows of this shape.
pub(super) fn fits(table: &Table, wanted: &TableSchema) -> Result<()> {
    let misfit = |what: String| Error::new(ErrorKind::TargetSchema, what).at_table(&wanted.table);
    for column in &wanted.columns {
        let own = table.schema.column_index(&column.name).map(|at| &table.schema.columns[at]);
        let own = own.ok_or_else(|| misfit(format!("the table has no column `{}`", column.name)))?;
        if own.ty != column.ty {
            return Err(misfit(format!("column `{}` is {}, not {}", column.name, own.ty, column.ty)));
        }
    }
    let names = |schema: &TableSchema| {
        let mut names: Vec<_> = schema.key_columns().map(|column| column.name.clone()).collect();
        names.sort();
        names
    };
    if names(&table.schema) != names(wanted) {
        return Err(misfit("the table has another key".into()));
    }
    Ok(())
}

fn definition(schema: &TableSchema) -> TableDef {
    let column = |column: &sluice_types::Column| {
        (column.name.to_string(), column.ty, column.native.to_string(), column.nullable)
    };
    TableDef {
        table: schema.table.clone(),
        columns: schema.columns.iter().map(column).collect(),
        key: schema.key_columns().map(|column| column.name.to_string()).collect(),
        unique: vec![],
    }
}

/// A transaction: works on a copy that takes the place of the tables when it commits.
struct MemoryTx {
    database: Database,
    generation: u64,
    /// The tables as they were at the begin.
    base: Contents,
    tables: Contents,
    saved: Option<Checkpoint>,
    savepoint: Option<(Contents, Option<Checkpoint>)>,
    /// An event was refused: only a rollback to the savepoint helps.
    failed: bool,
    events: usize,
    puts_off: bool,
    _alone: OwnedMutexGuard<()>,
}

impl MemoryTx {
    fn usable(&self) -> Result<()> {
        self.database.core().reached(self.generation)?;
        if self.failed {
            let what = "the transaction was used after an error without going back to the savepoint";
            return Err(Error::new(ErrorKind::Internal, what));
        }
        Ok(())
    }

    /// Whether somebody else has changed a table that this transaction was to change.
    fn overtaken(&self, now: &Contents) -> bool {
        self.tables.iter().any(|(name, table)| {
            let base = self.base.get(name);
            let written = base.is_none_or(|base| !Arc::ptr_eq(base, table));
            let changed = match (base, now.get(name)) {
                (Some(base), Some(now)) => !Arc::ptr_eq(base, now),
                (base, now) => base.is_some() != now.is_some(),
            };
            written && changed
        })
    }

    /// Looks at the constraint that is put off.
    fn look(&mut self) -> Result<()> {
        let Some((child, parent)) = &self.database.shared.options.deferred else { return Ok(()) };
        let (Some(children), Some(parents)) = (self.tables.get(child), self.tables.get(parent)) else {
            return Ok(());
        };
        if children.rows.keys().any(|key| !parents.rows.contains_key(key)) {
            self.failed = true;
            return Err(
                Error::new(ErrorKind::Constraint, "a row refers to a row that is not there").at_table(child)
            );
        }
        Ok(())
    }

    /// Applies one event; `Ok(None)` where it is partial and its row is not there.
    fn apply(&mut self, event: &Event) -> Result<Option<u64>> {
        let name = &event.table.table;
        let missing = || Error::new(ErrorKind::TableMissing, "there is no such table").at_table(name);
        let table = Arc::make_mut(self.tables.get_mut(name).ok_or_else(missing)?);
        let unrepresentable = self.database.shared.options.unrepresentable.as_ref();
        let (key, after) = match &event.change {
            Change::Truncate => {
                let rows = table.rows.len() as u64;
                table.rows.clear();
                return Ok(Some(rows));
            }
            Change::Delete(row) => {
                return Ok(Some(u64::from(table.rows.remove(&key_in(table, &event.table, row)).is_some())));
            }
            Change::Snapshot(row) | Change::Insert(row) => (key_in(table, &event.table, row), row),
            Change::Update { before, after } => {
                (key_in(table, &event.table, before.as_ref().unwrap_or(after)), after)
            }
        };
        if let Some(column) =
            event.table.columns.iter().find(|column| Some(after.get(column.slot)) == unrepresentable)
        {
            let what = "the target can't hold the value";
            let error = Error::new(ErrorKind::ValueUnrepresentable, what).at_table(name);
            return Err(error.at(|place| place.column = Some(column.name.to_string())));
        }
        let own_row = table.rows.get(&key).cloned();
        if own_row.is_none() && !event.table.is_complete(after) {
            return Ok(None);
        }
        // A row that has moved to its new key already (a replay) is found there.
        let after_key = key_in(table, &event.table, after);
        let old = match own_row {
            Some(row) => Some((key, row)),
            None => table.rows.get(&after_key).cloned().map(|row| (after_key, row)),
        };
        let nulls = || Row::new(vec![Value::Null; table.schema.columns.len()]);
        let current = old.as_ref().map_or_else(nulls, |(_, row)| (**row).clone());
        let mut values = current.values().to_vec();
        for column in &event.table.columns {
            let value = after.get(column.slot);
            if let (true, Some(at)) = (value.is_present(), table.schema.column_index(&column.name)) {
                values[at] = value.clone();
            }
        }
        let row = Row::new(values);
        // An upsert: a row that has the new key already is replaced.
        let new_key = table.key_of(&row);
        if old.as_ref().is_some_and(|(key, _)| *key != new_key) {
            table.rows.remove(&new_key);
        }
        table.put(old.as_ref().map(|(key, _)| key), row)?;
        Ok(Some(1))
    }
}

/// The key of an image, in the order of the stored table's key.
fn key_in(table: &Table, schema: &TableSchema, row: &Row) -> RowKey {
    let value = |name: &str| {
        schema.column_index(name).map_or(Value::Absent, |at| row.get(schema.columns[at].slot).clone())
    };
    Key(table.schema.key_columns().map(|column| value(&column.name)).collect()).into()
}

/// A stored row in another shape of the same columns.
fn shaped(table: &Table, schema: &TableSchema, row: &Row) -> Row {
    let mut values = vec![Value::Absent; schema.slots()];
    for column in &schema.columns {
        if let Some(at) = table.schema.column_index(&column.name) {
            values[column.slot as usize] = row.values()[at].clone();
        }
    }
    Row::new(values)
}

#[async_trait]
impl SinkTx for MemoryTx {
    async fn current(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        self.usable()?;
        let stored = self.tables.get(&table.table).ok_or_else(|| table_missing(&table.table))?;
        let names: Vec<_> = table.key_columns().map(|column| column.name.clone()).collect();
        let find = |key: &Key| {
            let value =
                |name: &Arc<str>| names.iter().position(|own| own == name).map(|at| key.0[at].clone());
            let values =
                stored.schema.key_columns().map(|column| value(&column.name).unwrap_or(Value::Absent));
            let row = stored.rows.get(&Key(values.collect()).into())?;
            Some(shaped(stored, table, row))
        };
        Ok(keys.iter().map(find).collect())
    }

    async fn write(&mut self, events: &[Event]) -> Result<Written> {
        self.usable()?;
        self.events += events.len();
        if self.database.shared.options.transaction_limit.is_some_and(|limit| self.events > limit) {
            let what = "the transaction has more events than the target takes";
            return Err(Error::new(ErrorKind::TransactionTooLarge, what));
        }
        let mut written = Written::default();
        for (index, event) in events.iter().enumerate() {
            match self.apply(event) {
                Ok(Some(rows)) => written.rows += rows,
                Ok(None) => written.partial.push(index),
                Err(error) => {
                    self.failed = true;
                    return Err(error.of_event(index));
                }
            }
        }
        if !self.puts_off {
            self.look()?;
        }
        Ok(written)
    }

    fn put_off(&mut self) {
        self.puts_off = true;
    }

    async fn settle(&mut self) -> Result<()> {
        self.usable()?;
        self.puts_off = false;
        self.look()
    }

    async fn savepoint(&mut self) -> Result<()> {
        self.usable()?;
        self.savepoint = Some((self.tables.clone(), self.saved.clone()));
        Ok(())
    }

    async fn rollback_to_savepoint(&mut self) -> Result<()> {
        self.database.core().reached(self.generation)?;
        let none = || Error::new(ErrorKind::Internal, "there is no savepoint");
        (self.tables, self.saved) = self.savepoint.clone().ok_or_else(none)?;
        self.failed = false;
        Ok(())
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        self.usable()?;
        Ok(self.saved.clone().or_else(|| self.database.core().checkpoints.get(pipeline).cloned()))
    }

    async fn save(&mut self, checkpoint: &Checkpoint, expected: Option<u64>) -> Result<()> {
        self.usable()?;
        let stands = self.database.core().checkpoints.get(&checkpoint.pipeline).map(|saved| saved.epoch);
        if stands != expected {
            let what = format!("the checkpoint has epoch {stands:?}, not {expected:?}");
            return Err(Error::new(ErrorKind::Fenced, what));
        }
        self.saved = Some(checkpoint.clone());
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.usable()?;
        let mut core = self.database.core();
        if self.overtaken(&core.tables) {
            let what = "somebody else has changed rows of the target meanwhile";
            return Err(Error::new(ErrorKind::Busy, what));
        }
        let untouched = |name: &TableId, table: &Arc<Table>| {
            self.base.get(name).is_some_and(|base| Arc::ptr_eq(base, table))
        };
        let written = self.tables.iter().filter(|(name, table)| !untouched(name, table));
        let written = written.map(|(name, table)| (name.clone(), table.clone())).collect();
        core.sink_commit(written, self.saved.as_ref());
        Ok(())
    }
}

fn table_missing(table: &TableId) -> Error {
    Error::new(ErrorKind::TableMissing, "there is no such table").at_table(table)
}
