//! The value matrix of SQLite: what its values become in PostgreSQL and MongoDB, by snapshot and by stream, in tables that sluice makes
//! and in tables of the target's own types. Written down in `golden/`, together with what is refused (I7).

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_e2e::database::Database;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::{Site, open};
use sluice_e2e::wait;

use crate::golden::{Of, STREAMED, golden, table};
use crate::values::shown_value;

const INTEGERS: &[&str] = &["0", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993"];
const REALS: &[&str] =
    &["0.0", "-0.0", "0.1", "3.0", "1e300", "5e-324", "9e999", "-9e999", "123456789012345678.0"];
const TEXTS: &[&str] =
    &["''", "' a  '", "'žluť 🦆'", "'007'", "'12:30'", "'a' || char(0) || 'b'", "CAST(x'ff80' AS TEXT)"];
const BLOBS: &[&str] = &["x''", "x'00ff'", "zeroblob(20)"];
const MIXED: &[&str] = &["7", "0.5", "'text'", "x'01'", "'7'"];

/// Declared types with values of every storage class that their affinity lets be; sluice makes the target's tables.
const MADE: &[Of] = &[
    ("INTEGER", INTEGERS),
    ("INT", MIXED),
    ("REAL", REALS),
    ("TEXT", TEXTS),
    ("VARCHAR(5)", &["'longer than that'", "5"]),
    ("BLOB", BLOBS),
    ("", MIXED),
    ("NUMERIC", &["1", "0.5", "'1.50'", "'x'", "9223372036854775807"]),
    ("DECIMAL(10,2)", &["12345678.90", "0.01", "3"]),
    ("BOOLEAN", &["TRUE", "FALSE", "2"]),
    ("DATE", &["'2024-02-29'", "20240229", "'never'"]),
    ("DATETIME", &["'2024-05-06 07:08:09.123'", "1714979289"]),
    ("JSON", &[r#"'{"a": [1, 2.50, null]}'"#, "'{'", "5"]),
    ("UUID", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'x'"]),
];

/// Tables of PostgreSQL's own types, of the same kind but not the same room; the words before the arrow are SQLite's.
const TYPED: &[Of] = &[
    ("INTEGER -> bigint", INTEGERS),
    ("INTEGER -> integer", &["2147483647", "2147483648", "-2147483648"]),
    ("INTEGER -> smallint", &["32767", "32768"]),
    ("INTEGER -> numeric", INTEGERS),
    ("INTEGER -> numeric(4,2)", &["99", "100"]),
    ("INTEGER -> double precision", &["9007199254740992", "9007199254740993"]),
    ("REAL -> double precision", REALS),
    ("REAL -> real", &["0.5", "0.1", "1e300", "-9e999"]),
    ("TEXT -> text", TEXTS),
    ("TEXT -> varchar(5)", &["'12345'", "'123456'", "'1234   '"]),
    ("TEXT -> character(3)", &["'ab'", "'abcd'", "'ab '"]),
    ("BLOB -> bytea", BLOBS),
];

/// Of another kind: not a row is written before somebody has decided how they become each other.
const OTHERS: &[&str] = &[
    "INTEGER -> boolean",
    "INTEGER -> text",
    "REAL -> numeric",
    "REAL -> integer",
    "TEXT -> date",
    "TEXT -> time",
    "TEXT -> timestamp",
    "TEXT -> timestamptz",
    "TEXT -> numeric",
    "TEXT -> integer",
    "TEXT -> uuid",
    "TEXT -> json",
    "TEXT -> jsonb",
    "TEXT -> bytea",
    "BLOB -> text",
    "BLOB -> uuid",
];

fn declared(ty: &str) -> &str {
    ty.split(" -> ").next().unwrap_or_default()
}

fn fill(path: &std::path::Path, matrix: &[Of], first: usize) {
    let source = open(path);
    for (index, (_, values)) in matrix.iter().enumerate() {
        for (number, value) in values.iter().chain(&["NULL"]).enumerate() {
            let insert = format!("INSERT INTO {} VALUES ({}, {value})", table(index), first + number);
            source.execute_batch(&insert).unwrap_or_else(|error| panic!("{insert}: {error}"));
        }
    }
}

/// Values by snapshot, the same by stream, until all of them are accounted for: `seen` at the target, or refused.
fn through(target: &Database, matrix: &[Of], seen: impl Fn() -> usize) -> (tempfile::TempDir, Site, Serve) {
    let (folder, path) = make(matrix.iter().map(|(ty, _)| *ty));
    fill(&path, matrix, 1);
    let pipeline = "on_error: { retries: 0, base_ms: 20, max_ms: 100 }\ntables: [\"*\"]";
    let site = Site::between(&Database::Sqlite(path.clone()), target, pipeline);
    let serve = Serve::start(&site);
    let all = |wanted: usize| {
        let come = || seen() + serve.line()["dead_letters"].as_u64().unwrap_or(0) as usize;
        wait::until_within(Duration::from_secs(120), "every value", || {
            wait::when(come(), |come| *come >= wanted)
                .map_err(|come| (come, wanted, serve.line()["reason"].clone()))
        });
    };
    let rows: usize = matrix.iter().map(|(_, values)| values.len() + 1).sum();
    all(rows);
    serve.line_when("the target to be consistent", |line| line["ready"] == true);
    fill(&path, matrix, STREAMED);
    all(2 * rows);
    (folder, site, serve)
}

/// The tables of SQLite that a matrix is about, in a new file.
fn make<'a>(types: impl Iterator<Item = &'a str>) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("matrix.db");
    for (index, ty) in types.enumerate() {
        let make = format!("CREATE TABLE {} (id INTEGER PRIMARY KEY, v {})", table(index), declared(ty));
        open(&path).execute_batch(&make).expect("a table");
    }
    (folder, path)
}

/// Those of PostgreSQL, where the type says which.
fn make_own<'a>(target: &Database, types: impl Iterator<Item = &'a str>) {
    for (index, ty) in types.enumerate() {
        if let Some((_, own)) = ty.split_once(" -> ") {
            target.sql(&format!("CREATE TABLE {} (id bigint PRIMARY KEY, v {own})", table(index)));
        }
    }
}

fn to_postgres(name: &str, matrix: &[Of]) {
    let target = Database::postgres("matrix");
    let Database::Postgres { server, name: database } = &target else { unreachable!() };
    make_own(&target, matrix.iter().map(|(ty, _)| *ty));
    let rows = |table: &str| {
        let query = format!("SELECT id, pg_typeof(v), v FROM {table}");
        server.try_sql(database, &query).unwrap_or_default()
    };
    let count = || (0..matrix.len()).map(|index| rows(&table(index)).len()).sum();
    let (_folder, site, serve) = through(&target, matrix, count);
    golden(name, matrix, &site, |table| {
        let held = |row: &Vec<Option<String>>| -> (usize, String) {
            let text = |at: usize| row[at].clone().unwrap_or_else(|| "NULL".into());
            (text(0).parse().expect("a key"), format!("{} {}", text(1), text(2)))
        };
        rows(table).iter().map(held).collect::<BTreeMap<_, _>>()
    });
    serve.stop();
}

#[test]
fn to_tables_that_sluice_makes_in_postgres() {
    to_postgres("sqlite-to-postgres", MADE);
}

#[test]
fn to_tables_of_postgres_s_own_types() {
    to_postgres("sqlite-to-postgres-types", TYPED);
}

#[test]
fn tables_of_another_kind_are_told_before_a_row_is_written() {
    let target = Database::postgres("matrix");
    make_own(&target, OTHERS.iter().copied());
    let (_folder, path) = make(OTHERS.iter().copied());
    let site = Site::between(&Database::Sqlite(path), &target, "tables: [\"*\"]");
    let told = site.sluice(&["check", "--json"]).ended_with(1).json().to_string();
    for (index, ty) in OTHERS.iter().enumerate() {
        let own = format!("ALTER TABLE \\\"public\\\".\\\"{}\\\" ALTER COLUMN", table(index));
        assert!(told.contains(&own), "{ty}: {told}");
    }
    assert_eq!(told.matches("target-schema").count(), OTHERS.len(), "{told}");
}

#[test]
fn to_mongodb() {
    let target = Database::mongo("matrix");
    let Database::Mongo { server, name } = &target else { unreachable!() };
    let count = || (0..MADE.len()).map(|index| server.count(name, &table(index)) as usize).sum();
    let (_folder, site, serve) = through(&target, MADE, count);
    golden("sqlite-to-mongodb", MADE, &site, |table| {
        let shown = |document: &sluice_servers::bson::Document| {
            let id = document.get("_id").expect("a key");
            let id = id.as_i64().or_else(|| id.as_i32().map(i64::from)).expect("a number");
            (id as usize, document.get("v").map_or("absent".to_string(), shown_value))
        };
        server.find(name, table).iter().map(shown).collect()
    });
    serve.stop();
}
