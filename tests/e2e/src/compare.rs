//! Are both sides equal, row for row, every column?

use rusqlite::Connection;
use rusqlite::types::Value;

/// Differing rows that are shown.
const SHOWN_MAX: usize = 5;

/// The rows of a query, every value with its storage class.
#[track_caller]
pub fn rows(connection: &Connection, query: &str) -> Vec<Vec<Value>> {
    try_rows(connection, query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// The first column of the first row.
#[track_caller]
pub fn one<T: rusqlite::types::FromSql>(connection: &Connection, query: &str) -> T {
    connection.query_row(query, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// Compares what two queries answer, in order, values and storage classes. `Ok` with the number of rows, or the first
/// differences. A table that is not there yet is a difference too.
pub fn equal(
    source: &Connection,
    source_query: &str,
    target: &Connection,
    target_query: &str,
) -> Result<usize, String> {
    let wanted = try_rows(source, source_query).map_err(|error| format!("source: {error}"))?;
    let found = try_rows(target, target_query).map_err(|error| format!("target: {error}"))?;
    if wanted == found {
        return Ok(wanted.len());
    }
    let missing: Vec<_> = wanted.iter().filter(|row| !found.contains(row)).take(SHOWN_MAX).collect();
    let extra: Vec<_> = found.iter().filter(|row| !wanted.contains(row)).take(SHOWN_MAX).collect();
    Err(format!(
        "{target_query}: {} rows wanted, {} found; missing or wrong, the first: {missing:#?}; too many: {extra:#?}",
        wanted.len(),
        found.len(),
    ))
}

/// The same, where the table may not be there yet.
pub fn try_rows(connection: &Connection, query: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(query)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?;
    rows.collect()
}
