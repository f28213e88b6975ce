//! From events to statements: made where the events are, run on the thread that owns the connection.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use sluice_types::ports::Written;
use sluice_types::{Change, Error, ErrorKind, Event, Key, Result, Row, TableSchema, Value};

use crate::connection::{self, File, quote};
use crate::schema::{self, Affinity, Shape};
use crate::values::{self, Bound};

/// How rows of one schema go into one table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub schema: Arc<TableSchema>,
    /// The table's name in the file.
    name: String,
    columns: Vec<PlanColumn>,
    /// The key, as indexes into `columns`.
    key: Vec<usize>,
    upsert: Arc<str>,
    delete: Arc<str>,
    truncate: Arc<str>,
    select: String,
    /// Statements for images that have only some columns, by which those are.
    partial: Mutex<HashMap<Vec<usize>, Arc<str>>>,
}

#[derive(Debug)]
struct PlanColumn {
    name: String,
    slot: u32,
    affinity: Affinity,
}

impl Plan {
    /// Computed columns of the target are left to it.
    pub fn new(schema: Arc<TableSchema>, shape: &Shape) -> Result<Self> {
        let unfit = |what: String| Error::new(ErrorKind::TargetSchema, what).at_table(&schema.table);
        let mut columns = Vec::with_capacity(schema.columns.len());
        let mut places = HashMap::new();
        for (index, column) in schema.columns.iter().enumerate() {
            let at = shape.column(&column.name);
            let there = at.map(|at| &shape.columns[at]).ok_or_else(|| {
                unfit(format!("the target has no column {}", column.name))
                    .at(|place| place.column = Some(column.name.to_string()))
            })?;
            if there.generated {
                continue;
            }
            places.insert(index as u32, columns.len());
            let affinity = if shape.strict && there.native.eq_ignore_ascii_case("ANY") {
                Affinity::Blob
            } else {
                Affinity::of(&there.native)
            };
            columns.push(PlanColumn { name: there.name.clone(), slot: column.slot, affinity });
        }
        let key: Option<Vec<usize>> = schema.key.iter().map(|index| places.get(index).copied()).collect();
        let key = key
            .filter(|key| !key.is_empty())
            .ok_or_else(|| unfit("the target's key can't be written".into()))?;
        let name = shape.name.clone();
        let table = quote(&name);
        let by_key =
            format!("WHERE {}", equal(key.iter().map(|&index| columns[index].name.as_str()), " AND "));
        let names = schema::names(columns.iter().map(|column| column.name.as_str()));
        let holes = vec!["?"; columns.len()].join(", ");
        // An integer key that conflicts is the same; one of text may differ by what its collation doesn't see.
        let kept = |index: usize| key.contains(&index) && columns[index].affinity == Affinity::Integer;
        let set: Vec<String> = (0..columns.len())
            .filter(|&index| !kept(index))
            .map(|index| quote(&columns[index].name))
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let target = schema::names(key.iter().map(|&index| columns[index].name.as_str()));
        let conflict =
            if set.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", set.join(", ")) };
        // OR ABORT: an `ON CONFLICT` clause of the table itself would ignore or replace rows in silence (I3).
        Ok(Plan {
            upsert: format!(
                "INSERT OR ABORT INTO {table} ({names}) VALUES ({holes}) ON CONFLICT ({target}) DO {conflict}"
            )
            .into(),
            delete: format!("DELETE FROM {table} {by_key}").into(),
            truncate: format!("DELETE FROM {table}").into(),
            select: format!("SELECT {names} FROM {table} {by_key}"),
            partial: Mutex::default(),
            schema,
            name,
            columns,
            key,
        })
    }

    /// The statement that sets these columns of the row under a key.
    fn update(&self, present: &[usize]) -> Arc<str> {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let made = partial.entry(present.to_vec()).or_insert_with(|| {
            let name = |&index: &usize| self.columns[index].name.as_str();
            let set = equal(present.iter().map(name), ", ");
            let by_key = equal(self.key.iter().map(name), " AND ");
            format!("UPDATE OR ABORT {} SET {set} WHERE {by_key}", quote(&self.name)).into()
        });
        made.clone()
    }

    fn value(&self, index: usize, row: &Row) -> Result<Bound> {
        let column = &self.columns[index];
        values::encode(row.get(column.slot), column.affinity).map_err(|why| {
            Error::new(ErrorKind::ValueUnrepresentable, why)
                .at_table(&self.schema.table)
                .at(|place| place.column = Some(column.name.clone()))
                .remedy("Convert the value on its way (type-conversion), or change the target's column")
        })
    }

    /// An image as the lookup would read it once it is written.
    pub fn as_stored(&self, image: &Row) -> Row {
        let mut values = image.values().to_vec();
        for (index, column) in self.columns.iter().enumerate() {
            let Some(value) = values.get_mut(column.slot as usize) else { continue };
            if let Ok(bound) = self.value(index, image) {
                *value = bound.read_back(column.affinity);
            }
        }
        Row::new(values)
    }

    fn key_values(&self, key: &Key) -> Result<Vec<Bound>> {
        let encode = |(&index, value): (&usize, _)| {
            values::encode(value, self.columns[index].affinity)
                .map_err(|why| Error::new(ErrorKind::ValueUnrepresentable, why).at_table(&self.schema.table))
        };
        std::iter::zip(&self.key, &key.0).map(encode).collect()
    }

    /// The statement that reads a row by key, and the values of these keys.
    pub fn lookup(&self, keys: &[Key]) -> Result<(String, Vec<Vec<Bound>>)> {
        Ok((self.select.clone(), keys.iter().map(|key| self.key_values(key)).collect::<Result<_>>()?))
    }

    /// The slots of the columns that the lookup reads, in its order.
    pub fn slots(&self) -> Vec<u32> {
        self.columns.iter().map(|column| column.slot).collect()
    }
}

/// `"a" = ?, "b" = ?`
fn equal<'a>(names: impl Iterator<Item = &'a str>, between: &str) -> String {
    names.map(|name| format!("{} = ?", quote(name))).collect::<Vec<_>>().join(between)
}

/// Statements with their values, ready to run.
#[derive(Default)]
pub(crate) struct Work {
    steps: Vec<Step>,
    values: Vec<Bound>,
}

struct Step {
    /// The event's index in the slice.
    event: usize,
    plan: Arc<Plan>,
    sql: Arc<str>,
    values: Range<usize>,
    kind: Kind,
}

enum Kind {
    /// Nothing depends on whether a row was there.
    Plain,
    /// A row must be there.
    Update {
        /// The columns that it sets are all: where there is no row, they make one.
        complete: Option<Range<usize>>,
        /// The key that the row gets, where that differs.
        new_key: Option<Range<usize>>,
    },
}

impl Work {
    /// Adds what an event does. The error of a value names its event.
    pub fn add(&mut self, index: usize, event: &Event, plan: &Arc<Plan>) -> Result<()> {
        self.add_change(index, &event.change, plan).map_err(|error| error.of_event(index))
    }

    fn add_change(&mut self, event: usize, change: &Change, plan: &Arc<Plan>) -> Result<()> {
        let schema = &plan.schema;
        match change {
            Change::Snapshot(row) | Change::Insert(row) => {
                self.put(event, row, schema.key_of(row), None, plan)
            }
            Change::Update { before, after } => {
                let old = before.as_ref().map(|before| schema.key_of(before));
                let old = old.filter(|old| old.0.iter().all(Value::is_present));
                let mut key = schema.key_of(after);
                // A part of the key that the image after does not carry has not changed.
                for (value, old) in std::iter::zip(&mut key.0, old.iter().flat_map(|old| &old.0)) {
                    if !value.is_present() {
                        *value = old.clone();
                    }
                }
                let moved_from = old.filter(|old| *old != key);
                self.put(event, after, key, moved_from, plan)
            }
            Change::Delete(row) => {
                let start = self.values.len();
                self.values.extend(plan.key_values(&schema.key_of(row))?);
                self.step(event, plan, plan.delete.clone(), start, Kind::Plain);
                Ok(())
            }
            Change::Truncate => {
                self.step(event, plan, plan.truncate.clone(), self.values.len(), Kind::Plain);
                Ok(())
            }
        }
    }

    /// A row as it is afterwards, and its key; `moved_from`: the key that it had, if that was another.
    fn put(
        &mut self,
        event: usize,
        row: &Row,
        key: Key,
        moved_from: Option<Key>,
        plan: &Arc<Plan>,
    ) -> Result<()> {
        let start = self.values.len();
        let complete = plan.columns.iter().all(|column| row.get(column.slot).is_present());
        if complete && moved_from.is_none() {
            for index in 0..plan.columns.len() {
                let value = plan.value(index, row)?;
                self.values.push(value);
            }
            self.step(event, plan, plan.upsert.clone(), start, Kind::Plain);
            return Ok(());
        }
        let present: Vec<usize> =
            (0..plan.columns.len()).filter(|&index| row.get(plan.columns[index].slot).is_present()).collect();
        for &index in &present {
            let value = plan.value(index, row)?;
            self.values.push(value);
        }
        let set = start..self.values.len();
        let moved = moved_from.is_some();
        self.values.extend(plan.key_values(moved_from.as_ref().unwrap_or(&key))?);
        let end = self.values.len();
        if moved {
            self.values.extend(plan.key_values(&key)?);
        }
        let kind = Kind::Update {
            complete: complete.then_some(set),
            new_key: moved.then_some(end..self.values.len()),
        };
        self.steps.push(Step {
            event,
            plan: plan.clone(),
            sql: plan.update(&present),
            values: start..end,
            kind,
        });
        Ok(())
    }

    fn step(&mut self, event: usize, plan: &Arc<Plan>, sql: Arc<str>, start: usize, kind: Kind) {
        self.steps.push(Step { event, plan: plan.clone(), sql, values: start..self.values.len(), kind });
    }

    /// Runs the statements in their order.
    pub fn run(&self, connection: &Connection, file: &File) -> Result<Written> {
        let mut written = Written::default();
        let mut steps = self.steps.iter().peekable();
        while let Some(first) = steps.peek().copied() {
            // One look at the cache for as many rows as share a statement.
            let mut statement =
                connection.prepare_cached(&first.sql).map_err(|error| failed(error, file, first))?;
            while let Some(step) = steps.next_if(|step| Arc::ptr_eq(&step.sql, &first.sql)) {
                let done = execute(&mut statement, &self.values[step.values.clone()]);
                let rows = match &step.kind {
                    Kind::Plain => done,
                    Kind::Update { complete, new_key } => {
                        self.update(connection, &mut statement, step, done, complete.clone(), new_key.clone())
                    }
                };
                match rows.map_err(|error| failed(error, file, step))? {
                    // I13: never inserted; the line reads the row again.
                    0 if matches!(step.kind, Kind::Update { complete: None, .. }) => {
                        written.partial.push(step.event)
                    }
                    rows => written.rows += rows as u64,
                }
            }
        }
        Ok(written)
    }

    /// What follows from how the update of a row went.
    fn update(
        &self,
        connection: &Connection,
        statement: &mut rusqlite::CachedStatement<'_>,
        step: &Step,
        done: rusqlite::Result<usize>,
        complete: Option<Range<usize>>,
        new_key: Option<Range<usize>>,
    ) -> rusqlite::Result<usize> {
        let done = match (done, new_key) {
            // A chunk of the snapshot has brought the row under its new key before the stream moved it there: both are the
            // same row, and the event's image is the later one.
            (Err(error), Some(new_key)) if is_uniqueness(&error) => {
                let mut delete = connection.prepare_cached(&step.plan.delete)?;
                if execute(&mut delete, &self.values[new_key])? == 0 {
                    return Err(error);
                }
                execute(statement, &self.values[step.values.clone()])?
            }
            (done, _) => done?,
        };
        match complete {
            Some(complete) if done == 0 => {
                execute(&mut *connection.prepare_cached(&step.plan.upsert)?, &self.values[complete])
            }
            _ => Ok(done),
        }
    }
}

fn execute(statement: &mut rusqlite::Statement<'_>, values: &[Bound]) -> rusqlite::Result<usize> {
    for (index, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, value)?;
    }
    statement.raw_execute()
}

fn is_uniqueness(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE};
    let kinds = [SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE];
    error.sqlite_error().is_some_and(|error| kinds.contains(&error.extended_code))
}

/// A row that the target refuses is an event's error; anything else is the file's.
fn failed(error: rusqlite::Error, file: &File, step: &Step) -> Error {
    let kind = connection::kind_of(&error);
    let failed = match kind {
        ErrorKind::Constraint => Error::new(kind, "a constraint of the target refuses the row"),
        ErrorKind::RowRefused => Error::new(kind, "a constraint of the target refuses what is in the row"),
        ErrorKind::ValueUnrepresentable => Error::new(kind, "the target's column can't hold the value"),
        // The table was altered or dropped since the line prepared it.
        ErrorKind::Internal => {
            Error::new(ErrorKind::TargetSchema, "the target's table can't take the rows any more")
        }
        _ => return file.failed(error, "the target can't be written").at_table(&step.plan.schema.table),
    };
    let failed = failed.because(connection::cause(error)).at_table(&step.plan.schema.table);
    match kind {
        ErrorKind::Internal => failed,
        _ => failed.of_event(step.event),
    }
}
