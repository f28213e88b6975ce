//! `state.db`: opening it, its format and its identity.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use sluice_types::{Error, ErrorKind, InstallId, Result};

use crate::errors::{Said, damaged};
use crate::folder::{fill_random, open_private};
use crate::seal::SealKey;

/// What this version writes. A later one raises it and brings older states up to it.
const FORMAT: i64 = 2;
/// Marks the file as ours in its header: "slce".
const APPLICATION: i64 = 0x736c_6365;
const PAGE_BYTES: u64 = 4096;

/// What format 2 added to format 1.
const CONFLICTS: &str = "
    alter table lines add column next_conflict integer not null default 1;
    alter table lines add column conflicts integer not null default 0;
    alter table lines add column conflict_bytes integer not null default 0;
    create table conflicts (
        pipeline text not null,
        number integer not null,
        id text not null,
        table_schema text not null,
        table_name text not null,
        kind text not null,
        strategy text not null,
        decided_by text not null,
        parked integer not null,
        position text not null,
        recorded_micros integer not null,
        body blob not null,
        bytes integer not null,
        primary key (pipeline, number),
        unique (pipeline, id)
    ) strict;
    create index conflicts_parked on conflicts (pipeline, number) where parked;
";

/// Keys, events and guests' texts may be sealed (`seal.rs`); what `dlq list` shows without being asked for values is not.
const TABLES: &str = "
    create table meta (name text primary key, value text not null) strict;
    -- One row for each pipeline that has ever had a state or a dead letter; the totals are kept by every change of dead_letters.
    create table lines (
        pipeline text primary key,
        state text not null default '{}',
        next_number integer not null default 1,
        letters integer not null default 0,
        letter_bytes integer not null default 0
    ) strict;
    create table dead_letters (
        pipeline text not null,
        number integer not null,
        id text not null,
        table_schema text not null,
        table_name text not null,
        position text not null,
        event_index integer not null,
        code text not null,
        what text not null,
        plugin text,
        plugin_digest text,
        column_name text,
        recorded_micros integer not null,
        keys blob not null,
        body blob not null,
        bytes integer not null,
        primary key (pipeline, number),
        unique (pipeline, id)
    ) strict;
    create index dead_letters_by_table on dead_letters (pipeline, table_schema, table_name);
    create table plugin_components (digest text primary key, bytes blob not null) strict;
    create table plugin_versions (
        number integer primary key autoincrement,
        name text not null,
        digest text not null,
        outcome text not null,
        why text not null,
        at_micros integer not null
    ) strict;
    create index plugin_versions_by_name on plugin_versions (name, number);
    create table plugin_promoted (name text primary key, digest text not null) strict;
";

/// What an installation is known by.
pub(crate) struct Identity {
    pub install: InstallId,
    pub cache_key: [u8; 32],
}

/// Opens the state for this process, whose the folder is already.
pub(crate) fn open(dir: &Path, key: Option<&SealKey>, bytes_max: u64) -> Result<(Connection, Identity)> {
    let path = dir.join("state.db");
    // Made here and not by SQLite, so that it is never open to others, not even for a moment.
    drop(open_private(&path)?);
    let mut connection = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )
    .said("can't open state.db")?;
    // Looked at before anything is changed.
    check_format(&connection)?;
    // I1: an answer from the state means that it is on the disk. `extra` syncs the folder too, where a journal file would live.
    connection
        .execute_batch("pragma journal_mode = wal; pragma synchronous = extra; pragma foreign_keys = on;")
        .said("can't set up state.db")?;
    connection
        .pragma_update(None, "max_page_count", (bytes_max / PAGE_BYTES).max(64) as i64)
        .said("can't set up state.db")?;
    let identity = prepare(&mut connection, key)?;
    Ok((connection, identity))
}

/// A state in memory with the plugin versions of the one in `dir`.
pub(crate) fn scratch(dir: &Path) -> Result<(Connection, Identity)> {
    let mut connection = Connection::open_in_memory().said("can't make a state in memory")?;
    let path = dir.join("state.db");
    if path.exists() {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let there = Connection::open_with_flags(&path, flags).said("can't open state.db")?;
        if check_format(&there)? {
            make_tables(&mut connection)?;
            copy(&there, &connection, "meta", "name, value")?;
            copy(&there, &connection, "plugin_components", "digest, bytes")?;
            copy(&there, &connection, "plugin_versions", "number, name, digest, outcome, why, at_micros")?;
            copy(&there, &connection, "plugin_promoted", "name, digest")?;
        }
    }
    let identity = prepare(&mut connection, None)?;
    Ok((connection, identity))
}

fn copy(from: &Connection, to: &Connection, table: &str, columns: &str) -> Result<()> {
    let marks = vec!["?"; columns.split(',').count()].join(", ");
    let run = || -> rusqlite::Result<()> {
        let mut read = from.prepare(&format!("select {columns} from {table}"))?;
        let mut write = to.prepare(&format!("insert into {table} ({columns}) values ({marks})"))?;
        let width = read.column_count();
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let values =
                (0..width).map(|i| row.get::<_, rusqlite::types::Value>(i)).collect::<Result<Vec<_>, _>>()?;
            write.execute(rusqlite::params_from_iter(values))?;
        }
        Ok(())
    };
    run().said("can't read state.db")
}

/// Whether there is a state of a format that this version reads; an empty file is none.
fn check_format(connection: &Connection) -> Result<bool> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let format = number("user_version").said("can't read state.db")?;
    let application = number("application_id").said("can't read state.db")?;
    let objects: i64 = connection
        .query_row("select count(*) from sqlite_schema", [], |row| row.get(0))
        .said("can't read state.db")?;
    match (objects, application, format) {
        (0, _, _) => Ok(false),
        (_, APPLICATION, 1..=FORMAT) => Ok(true),
        (_, APPLICATION, newer) if newer > FORMAT => {
            let what =
                format!("the state was written by a newer sluice (format {newer}, this one knows {FORMAT})");
            Err(Error::new(ErrorKind::StateVersion, what).remedy(
                "Run that version or a later one, or choose another state folder with `state:`. Nothing was changed.",
            ))
        }
        _ => Err(damaged("state.db is not a state of sluice")),
    }
}

fn make_tables(connection: &mut Connection) -> Result<()> {
    let make = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(CONFLICTS)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()
    };
    make(connection).said("can't make state.db")
}

/// Brings a state of an earlier format up to this one.
fn bring_up(connection: &mut Connection) -> Result<()> {
    let bring = |connection: &mut Connection| -> rusqlite::Result<()> {
        let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if format >= FORMAT {
            return Ok(());
        }
        let transaction = connection.transaction()?;
        transaction.execute_batch(CONFLICTS)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()
    };
    bring(connection).said("can't bring state.db up to this version")
}

fn prepare(connection: &mut Connection, key: Option<&SealKey>) -> Result<Identity> {
    if !check_format(connection)? {
        make_tables(connection)?;
    }
    bring_up(connection)?;
    let mut random = [0; 48];
    fill_random(&mut random)?;
    let (install, cache_key) = random.split_at(16);
    let transaction = connection.transaction().said("can't write state.db")?;
    let install = meta_or(&transaction, "install", || hex::encode(install))?;
    let cache_key = meta_or(&transaction, "cache-key", || hex::encode(cache_key))?;
    check_key(&transaction, key)?;
    transaction.commit().said("can't write state.db")?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(&cache_key, &mut bytes)
        .map_err(|_| damaged("the cache key in state.db is damaged"))?;
    Ok(Identity { install: install.as_str().into(), cache_key: bytes })
}

/// Refuses a key that can't read what is there. With no dead letter and no conflict kept, any key will do, so a key is changed by emptying them.
fn check_key(connection: &Connection, key: Option<&SealKey>) -> Result<()> {
    let sealed_by = meta(connection, "sealed-by")?;
    let name = key.map(SealKey::name);
    if sealed_by == name {
        return Ok(());
    }
    let kept: i64 = connection
        .query_row(
            "select (select count(*) from (select 1 from dead_letters limit 1))
                  + (select count(*) from (select 1 from conflicts limit 1))",
            [],
            |row| row.get(0),
        )
        .said("can't read state.db")?;
    // Letters kept before there was a key are plain and stay readable.
    if let (Some(_), true) = (&sealed_by, kept > 0) {
        let what = match key {
            Some(_) => {
                "`state.key` is not the key that the dead letters and conflicts in the state were sealed with"
            }
            None => "the dead letters and conflicts in the state are sealed, and `state.key` is missing",
        };
        return Err(Error::new(ErrorKind::Config, what).remedy(
            "Put back the key that was used before. A new one can be used once no dead letter and no conflict is kept. Nothing was changed.",
        ));
    }
    match name {
        Some(name) => connection
            .execute(
                "insert into meta values ('sealed-by', ?) on conflict do update set value = excluded.value",
                [name],
            )
            .said("can't write state.db")?,
        None => connection
            .execute("delete from meta where name = 'sealed-by'", [])
            .said("can't write state.db")?,
    };
    Ok(())
}

fn meta(connection: &Connection, name: &str) -> Result<Option<String>> {
    connection
        .query_row("select value from meta where name = ?", [name], |row| row.get(0))
        .optional()
        .said("can't read state.db")
}

fn meta_or(connection: &Connection, name: &str, make: impl FnOnce() -> String) -> Result<String> {
    if let Some(value) = meta(connection, name)? {
        return Ok(value);
    }
    let value = make();
    connection.execute("insert into meta values (?, ?)", [name, &value]).said("can't write state.db")?;
    Ok(value)
}
