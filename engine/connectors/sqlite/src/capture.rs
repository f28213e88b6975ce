//! How changes are captured: triggers keep an undo log beside the tables, in the same file and the same transactions.
//!
//! **What is logged.** For an insert its key; for an update its new key and the whole row as it was; for a delete the whole row as
//! it was. What a row *became* is found by the reader: it is what the next entry of the same key says it was before, or, where
//! there is none, the row that stands in the table in the same read snapshot. So history is exact, every value keeps its storage
//! class (the log's columns have no type, SQLite copies them untouched), and the writer pays for one image at most. Measured with
//! rows of 20 columns and 500 bytes, as shares of the writer's rate without triggers, in transactions of 1,000 and 100,000 rows:
//! this log keeps 0.5 to 0.75 of inserts and of updates; whole images of both sides keep 0.35 to 0.5 of inserts and 0.2 to 0.45 of
//! updates; keys alone keep 0.7 to 0.9, but lose the before images and with them the exact state at a boundary under backlog. It
//! also heals what no trigger can know: the order in which SQLite fires our trigger and a user's that changes the row again is not
//! defined, but the last entry of a key always ends at the row that is really there.
//!
//! **What no delete trigger tells.** `INSERT OR REPLACE` and `UPDATE OR REPLACE` remove rows that collide, and fire delete triggers
//! only where the writer has set `recursive_triggers`. So BEFORE triggers log the rows that collide, as [`Op::Maybe`]: the reader
//! makes a delete of it if the row was gone afterwards.
//!
//! **The numbering.** Change ids are rowids of one table, whose last row is never deleted: that is what AUTOINCREMENT would
//! guarantee, without its write to `sqlite_sequence` on each statement. Each entry carries a random number, and a position names
//! both: so a file that was restored from an older copy and written to since can be told from the one that the checkpoint was made
//! from, though it has the same ids (I12).

use rusqlite::{Connection, OptionalExtension};
use sluice_types::{Error, ErrorKind, Position, Result, TableId, TableSchema};

use crate::connection::quote;
use crate::layout::Layout;
use crate::schema::{self, Shape, TableKind};

/// The layout of the log's tables.
const LOG_VERSION: i64 = 1;
/// SQLite's default limit on columns of a table, less those that every entry has.
const LOG_COLUMNS_MAX: usize = 1990;
/// Columns that a new log has; it grows when a wider table is captured.
const LOG_COLUMNS_FIRST: usize = 16;

/// What an entry of the log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A row is new: its key.
    Insert,
    /// A row has changed: its new key, and the row as it was.
    Update,
    /// A row is gone: the row as it was.
    Delete,
    /// A row collides with one that is about to be written: the row as it was. It may be replaced, or not.
    Maybe,
}

impl Op {
    /// Reads an entry's number; `None`: no entry of a table.
    pub fn of(number: i64) -> Option<Self> {
        Some(match number {
            1 => Op::Insert,
            2 => Op::Update,
            3 => Op::Delete,
            4 => Op::Maybe,
            _ => return None,
        })
    }
}

/// Whose read mark it is.
#[derive(Clone, Debug)]
pub(crate) struct LineId {
    pub install: String,
    pub pipeline: String,
}

/// A table that a line reads, with the number that its entries carry.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub number: i64,
    pub table: TableId,
    /// Its name in the file.
    pub name: String,
    pub layout: Layout,
}

/// The place of an entry in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub id: u64,
    /// Its random number: tells two histories with the same ids apart.
    pub nonce: i64,
}

impl Place {
    /// As the line knows it.
    pub fn position(self) -> Position {
        Position::from_number(self.id, format!("{}:{:016x}", self.id, self.nonce))
    }

    /// Reads [`Place::position`].
    pub fn of(position: &Position) -> Result<Self> {
        let read = || {
            let (id, nonce) = position.text().split_once(':')?;
            Some(Place { id: id.parse().ok()?, nonce: u64::from_str_radix(nonce, 16).ok()? as i64 })
        };
        read().ok_or_else(|| {
            Error::new(
                ErrorKind::SourceChanged,
                "the checkpoint's position was not made by a SQLite change log",
            )
            .remedy("Use the pipeline with the source it was made with, or delete it and begin anew")
            .at(|place| place.position = Some(position.clone()))
        })
    }
}

/// Whether the file has a change log.
pub(crate) fn has_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'sluice_log'",
        [],
        |row| row.get::<_, i64>(0).map(|count| count > 0),
    )
}

/// The identity of the file's log, which is made if there is none. In a write transaction.
pub(crate) fn ensure_log(connection: &Connection) -> rusqlite::Result<String> {
    if !has_log(connection)? {
        let columns: Vec<String> = (0..LOG_COLUMNS_FIRST).map(|column| format!("v{column}")).collect();
        connection.execute_batch(&format!(
            "CREATE TABLE sluice_log(identity TEXT NOT NULL, version INTEGER NOT NULL);
             CREATE TABLE sluice_change(id INTEGER PRIMARY KEY, nonce INTEGER NOT NULL DEFAULT (random()),
                                        tab INTEGER NOT NULL, op INTEGER NOT NULL, {});
             CREATE TABLE sluice_table(number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
                                       layout TEXT NOT NULL, active INTEGER NOT NULL);
             CREATE TABLE sluice_mark(install TEXT NOT NULL, pipeline TEXT NOT NULL, id INTEGER NOT NULL,
                                      seen INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(install, pipeline)) WITHOUT ROWID;
             CREATE TABLE sluice_mark_table(install TEXT NOT NULL, pipeline TEXT NOT NULL, number INTEGER NOT NULL,
                                            PRIMARY KEY(install, pipeline, number)) WITHOUT ROWID;
             INSERT INTO sluice_log VALUES (lower(hex(randomblob(16))), {LOG_VERSION});
             INSERT INTO sluice_change(tab, op) VALUES (0, 0);",
            columns.join(", ")
        ))?;
    }
    identity(connection)
}

fn identity(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT identity FROM sluice_log", [], |row| row.get(0))
}

/// The last entry of the log.
pub(crate) fn last(connection: &Connection) -> rusqlite::Result<Place> {
    let mut statement =
        connection.prepare_cached("SELECT id, nonce FROM sluice_change ORDER BY id DESC LIMIT 1")?;
    statement.query_row([], |row| Ok(Place { id: row.get::<_, i64>(0)? as u64, nonce: row.get(1)? }))
}

/// Captures these tables for a line and says from where. In a write transaction.
///
/// A table that the line holds already is only looked at: what was removed or changed since could hide a gap, so it is an error,
/// until the line gives the table up ([`detach`]) and reads it again.
pub(crate) fn hold(
    connection: &Connection,
    line: &LineId,
    tables: &[(TableId, Shape, Vec<usize>)],
) -> Result<(Place, Vec<Captured>)> {
    let failed = |error| broken_log(error);
    date_marks(connection).map_err(failed)?;
    let held = held(connection, line).map_err(failed)?;
    let mut captured = Vec::with_capacity(tables.len());
    for (table, shape, key) in tables {
        let layout = Layout::of(shape, key.clone());
        let mine = held.iter().find(|held| held.name.eq_ignore_ascii_case(&shape.name));
        let one = match mine {
            Some(mine) => {
                let mine = Captured { table: table.clone(), ..mine.clone() };
                if mine.layout.key != *key {
                    return Err(changed(table, "its key was configured anew"));
                }
                check(connection, &mine)?;
                mine
            }
            None => capture(connection, line, table, shape, layout)?,
        };
        captured.push(one);
    }
    let place = promised(connection, line).map_err(failed)?;
    Ok((place, captured))
}

/// From where a line is promised the log: its mark, which is made here if it has none. In a write transaction.
fn promised(connection: &Connection, line: &LineId) -> rusqlite::Result<Place> {
    let marked = connection
        .query_row(
            "SELECT id, nonce FROM sluice_change JOIN sluice_mark USING (id) WHERE install = ?1 AND pipeline = ?2",
            (&line.install, &line.pipeline),
            |row| Ok(Place { id: row.get::<_, i64>(0)? as u64, nonce: row.get(1)? }),
        )
        .optional()?;
    let place = match marked {
        Some(place) => place,
        None => last(connection)?,
    };
    connection.execute(
        "INSERT INTO sluice_mark(install, pipeline, id, seen) VALUES (?1, ?2, ?3, unixepoch())
         ON CONFLICT DO UPDATE SET id = excluded.id, seen = excluded.seen",
        (&line.install, &line.pipeline, place.id as i64),
    )?;
    Ok(place)
}

/// Whether marks tell when they were last moved; a log that an older version made has none that do.
fn marks_are_dated(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM pragma_table_info('sluice_mark') WHERE name = 'seen'";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0).map(|count| count > 0))
}

/// Lets the marks of an older version's log tell it too, from now on. In a write transaction.
fn date_marks(connection: &Connection) -> rusqlite::Result<()> {
    if marks_are_dated(connection)? {
        return Ok(());
    }
    connection.execute_batch(
        "ALTER TABLE sluice_mark ADD COLUMN seen INTEGER NOT NULL DEFAULT 0; UPDATE sluice_mark SET seen = unixepoch();",
    )
}

/// A read mark that lies before the end of the log, and so keeps what comes after it.
#[derive(Clone, Debug)]
pub(crate) struct Behind {
    pub line: LineId,
    /// Entries after it.
    pub changes: i64,
    /// Since it was last moved, or its line last started.
    pub idle_seconds: i64,
}

impl Behind {
    /// SQL that gives the mark up; for a line that will not come back.
    pub fn removal(&self) -> String {
        let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let line =
            format!("install = {} AND pipeline = {}", text(&self.line.install), text(&self.line.pipeline));
        format!("DELETE FROM sluice_mark_table WHERE {line}; DELETE FROM sluice_mark WHERE {line};")
    }
}

/// The read marks that keep entries in the log, the one that keeps the most first (I10). None where there is no log.
pub(crate) fn behind(connection: &Connection) -> rusqlite::Result<Vec<Behind>> {
    if !has_log(connection)? || !marks_are_dated(connection)? {
        return Ok(vec![]);
    }
    let mut statement = connection.prepare(
        "SELECT install, pipeline, last - id, unixepoch() - seen
         FROM sluice_mark, (SELECT max(id) AS last FROM sluice_change) WHERE id < last ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Behind {
            line: LineId { install: row.get(0)?, pipeline: row.get(1)? },
            changes: row.get(2)?,
            idle_seconds: row.get(3)?,
        })
    })?;
    rows.collect()
}

/// Captures a table that the line does not hold yet, by the triggers that are there or by new ones.
fn capture(
    connection: &Connection,
    line: &LineId,
    table: &TableId,
    shape: &Shape,
    layout: Layout,
) -> Result<Captured> {
    if layout.width() > LOG_COLUMNS_MAX {
        return Err(Error::new(
            ErrorKind::Config,
            format!("more than {LOG_COLUMNS_MAX} columns can't be captured"),
        )
        .at_table(table));
    }
    let failed = |error| broken_log(error).at_table(table);
    let known = registered(connection, &shape.name).map_err(failed)?;
    let mut reuse = None;
    for one in known.into_iter().filter(|one| one.layout.key == layout.key) {
        let one = Captured { table: table.clone(), ..one };
        match check(connection, &one) {
            Ok(()) => reuse = Some(one),
            // Nobody can go on with these; whoever holds them meets this error too, and reads the table again.
            Err(_) => retire(connection, &one).map_err(failed)?,
        }
    }
    let captured = match reuse {
        Some(captured) => captured,
        None => install(connection, table, shape, layout).map_err(failed)?,
    };
    connection
        .execute(
            "INSERT INTO sluice_mark_table VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            (&line.install, &line.pipeline, captured.number),
        )
        .map_err(failed)?;
    Ok(captured)
}

fn install(
    connection: &Connection,
    table: &TableId,
    shape: &Shape,
    layout: Layout,
) -> rusqlite::Result<Captured> {
    let has: i64 = connection.query_row(
        "SELECT count(*) FROM pragma_table_info('sluice_change') WHERE name LIKE 'v%'",
        [],
        |row| row.get(0),
    )?;
    for column in has as usize..layout.width() {
        connection.execute_batch(&format!("ALTER TABLE sluice_change ADD COLUMN v{column}"))?;
    }
    let text = serde_json::to_string(&layout)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection
        .execute("INSERT INTO sluice_table(name, layout, active) VALUES (?1, ?2, 1)", (&shape.name, text))?;
    let number = connection.last_insert_rowid();
    for (_, sql) in layout.triggers(number, &shape.name) {
        connection.execute_batch(&sql)?;
    }
    Ok(Captured { number, table: table.clone(), name: shape.name.clone(), layout })
}

/// Removes a table's triggers and keeps its number from being used again.
fn retire(connection: &Connection, captured: &Captured) -> rusqlite::Result<()> {
    for (name, _) in captured.layout.triggers(captured.number, &captured.name) {
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {}", quote(&name)))?;
    }
    connection.execute("UPDATE sluice_table SET active = 0 WHERE number = ?1", [captured.number])?;
    Ok(())
}

/// The tables that are captured under a name.
fn registered(connection: &Connection, name: &str) -> rusqlite::Result<Vec<Captured>> {
    let mut statement = connection
        .prepare("SELECT number, name, layout FROM sluice_table WHERE active AND lower(name) = lower(?1)")?;
    let rows = statement.query_map([name], from_registry)?;
    rows.collect()
}

/// The tables that a line holds, retired ones among them.
fn held(connection: &Connection, line: &LineId) -> rusqlite::Result<Vec<Captured>> {
    let mut statement = connection.prepare(
        "SELECT number, name, layout FROM sluice_mark_table JOIN sluice_table USING (number)
         WHERE install = ?1 AND pipeline = ?2",
    )?;
    let rows = statement.query_map((&line.install, &line.pipeline), from_registry)?;
    rows.collect()
}

fn from_registry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Captured> {
    let name: String = row.get(1)?;
    let layout = serde_json::from_str(row.get_ref(2)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error.into())
    })?;
    Ok(Captured { number: row.get(0)?, table: TableId::new("", &name), name, layout })
}

/// Proves that a table is still captured as it was: the same columns, its triggers untouched, no uniqueness rule that they don't
/// know.
pub(crate) fn check(connection: &Connection, captured: &Captured) -> Result<()> {
    let failed = |error| broken_log(error).at_table(&captured.table);
    let shape = schema::shape(connection, &captured.name).map_err(failed)?;
    let Some(shape) = shape.filter(|shape| shape.kind == TableKind::Table) else {
        return Err(Error::new(ErrorKind::TableMissing, "the table is not there any more")
            .at_table(&captured.table)
            .remedy("Take it out of the pipeline, or make it again and resnapshot it"));
    };
    let now = Layout::of(&shape, captured.layout.key.clone());
    if now.columns != captured.layout.columns {
        return Err(changed(&captured.table, "its columns are not those that were captured"));
    }
    let mut statement = connection
        .prepare_cached(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower(?1)",
        )
        .map_err(failed)?;
    let there: Vec<(String, String)> = statement
        .query_map([&captured.name], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(failed)?;
    let whole =
        captured.layout.triggers(captured.number, &captured.name).iter().all(|one| there.contains(one));
    if !whole || !captured.layout.covers(&now) {
        let what = if whole {
            "a unique index is new that our triggers don't know"
        } else {
            "triggers are missing or changed"
        };
        return Err(Error::new(ErrorKind::CaptureBroken, format!("changes may have been missed: {what}"))
            .at_table(&captured.table)
            .remedy("Read the table again: sluice resnapshot"));
    }
    Ok(())
}

/// Gives up the capture of these tables, for the user's DDL or because the line is to read them again. In a write transaction.
pub(crate) fn detach(connection: &Connection, line: &LineId, names: &[String]) -> rusqlite::Result<bool> {
    let mut any = false;
    for name in names {
        for captured in registered(connection, name)? {
            retire(connection, &captured)?;
            any = true;
        }
        connection.execute(
            "DELETE FROM sluice_mark_table WHERE install = ?1 AND pipeline = ?2 AND number IN
             (SELECT number FROM sluice_table WHERE lower(name) = lower(?3))",
            (&line.install, &line.pipeline, name),
        )?;
    }
    forget_retired(connection)?;
    Ok(any)
}

/// Removes what this line alone needed; the log itself when nobody is left. In a write transaction.
pub(crate) fn release(connection: &Connection, line: &LineId) -> rusqlite::Result<()> {
    for table in ["sluice_mark_table", "sluice_mark"] {
        connection.execute(
            &format!("DELETE FROM {table} WHERE install = ?1 AND pipeline = ?2"),
            (&line.install, &line.pipeline),
        )?;
    }
    let mut statement = connection.prepare(
        "SELECT number, name, layout FROM sluice_table WHERE number NOT IN (SELECT number FROM sluice_mark_table)",
    )?;
    let unused: Vec<Captured> = statement.query_map([], from_registry)?.collect::<rusqlite::Result<_>>()?;
    drop(statement);
    for captured in &unused {
        retire(connection, captured)?;
    }
    forget_retired(connection)?;
    let marks: i64 = connection.query_row("SELECT count(*) FROM sluice_mark", [], |row| row.get(0))?;
    if marks == 0 {
        connection.execute_batch(
            "DROP TABLE sluice_mark; DROP TABLE sluice_mark_table; DROP TABLE sluice_table;
             DROP TABLE sluice_change; DROP TABLE sluice_log;",
        )?;
    }
    Ok(())
}

fn forget_retired(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM sluice_table WHERE NOT active AND number NOT IN (SELECT number FROM sluice_mark_table)",
        [],
    )?;
    Ok(())
}

/// Proves that everything after a place can be delivered (I12): its own entry is still there, and is the very one.
pub(crate) fn prove(connection: &Connection, from: Place) -> Result<()> {
    let found: Option<i64> = connection
        .query_row("SELECT nonce FROM sluice_change WHERE id = ?1", [from.id as i64], |row| row.get(0))
        .optional()
        .map_err(broken_log)?;
    if found == Some(from.nonce) {
        return Ok(());
    }
    let end = last(connection).map_err(broken_log)?;
    let what = match found {
        Some(_) => {
            "the log has another history: the file was restored from an older copy and written to since"
        }
        None if end.id < from.id => "the log ends before it: the file was restored from an older copy",
        None => "the log begins after it: it was purged",
    };
    Err(Error::new(ErrorKind::PositionLost, what)
        .remedy("Read the tables again (sluice resnapshot), or put the right file back")
        .at(|place| place.position = Some(from.position())))
}

/// An error of our own tables in the source's file.
pub(crate) fn broken_log(error: rusqlite::Error) -> Error {
    let kind = crate::connection::kind_of(&error);
    let kind = if kind == ErrorKind::Internal { ErrorKind::CaptureBroken } else { kind };
    Error::new(kind, "the change log can't be used").because(crate::connection::cause(error))
}

fn changed(table: &TableId, what: &str) -> Error {
    Error::new(ErrorKind::SchemaChanged, what.to_string())
        .at_table(table)
        .remedy("Read the table again in its new shape: sluice resnapshot. Next time: sluice pause --ddl before such a change")
}

/// The key of a schema as indexes into a shape; an error if it is none.
pub(crate) fn key_in(shape: &Shape, schema: &TableSchema) -> Result<Vec<usize>> {
    let missing = |what: String| {
        Error::new(ErrorKind::KeyMissing, what)
            .at_table(&schema.table)
            .remedy("Declare a primary key, or name unique columns that are never null: `key: [column]`")
    };
    let key: Option<Vec<usize>> = schema.key_columns().map(|column| shape.column(&column.name)).collect();
    let key = key.ok_or_else(|| changed(&schema.table, "a column of its key is not there"))?;
    if key.is_empty() {
        return Err(missing("the table has no primary key".into()));
    }
    if !shape.is_key(&key) {
        return Err(missing("the configured key is not unique, or may be null".into()));
    }
    Ok(key)
}

/// Moves a line's mark on and deletes at most so many entries before the lowest mark; whether there are more. In a write
/// transaction. The entry at the lowest mark stays: it proves a position ([`prove`]), and keeps ids from being given out again.
pub(crate) fn purge(connection: &Connection, line: &LineId, id: u64, entries: i64) -> rusqlite::Result<bool> {
    connection.execute(
        "UPDATE sluice_mark SET id = ?3, seen = unixepoch() WHERE install = ?1 AND pipeline = ?2 AND id < ?3",
        (&line.install, &line.pipeline, id as i64),
    )?;
    let (first, lowest): (i64, i64) = connection.query_row(
        "SELECT (SELECT min(id) FROM sluice_change),
                (SELECT min(id) FROM (SELECT min(id) AS id FROM sluice_mark UNION ALL SELECT max(id) FROM sluice_change))",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let upto = lowest.min(first.saturating_add(entries));
    connection.execute("DELETE FROM sluice_change WHERE id < ?1", [upto])?;
    Ok(upto < lowest)
}
