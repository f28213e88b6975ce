//! What can be a source, and which of its tables can be followed.

use std::sync::Arc;

use sluice_types::ports::Discovered;
use sluice_types::{Error, ErrorKind, Result, TablePattern, TableSchema};

use crate::connection::Session;
use crate::endpoint::{DEFAULT_SCHEMA, Database};
use crate::schema::{self, Identity, Table};

/// The tables that match.
pub(crate) async fn discover(database: &Database, patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
    let session = database.readers.get().await?;
    let tables = schema::all(&database.server, &session).await?;
    session.give_back();
    let wanted = |table: &Table| patterns.iter().any(|pattern| pattern.matches(&table.id, DEFAULT_SCHEMA));
    let discovered = tables.into_iter().filter(wanted).map(|table| {
        let schema = Arc::new(table.schema(&database.server.name));
        Discovered { table: table.id, schema }
    });
    Ok(discovered.collect())
}

/// Why this server can't be a source, if it can't.
pub(crate) fn unfit_server(session: &Session) -> Option<Error> {
    let standby = "the source is a standby, where neither slots nor heartbeats can be made";
    session.in_recovery.then(|| Error::new(ErrorKind::Permission, standby).remedy("Connect to the primary"))
}

/// Whether commits may wait for a standby of this name.
pub(crate) fn awaits(standbys: &str, name: &str) -> bool {
    let names = standbys.split([',', '(', ')', ' ', '"']);
    names.into_iter().any(|part| part == "*" || part.eq_ignore_ascii_case(name))
}

/// Why the changes of this table can't be followed, if they can't.
pub(crate) fn unfit(table: &Table, schema: &TableSchema) -> Option<Error> {
    let fault =
        |kind, what: String, remedy: String| Some(Error::new(kind, what).at_table(&table.id).remedy(remedy));
    let alter = format!("ALTER TABLE {}", table.qualified());
    match table.kind {
        b'r' | b'p' => {}
        _ => {
            return fault(
                ErrorKind::TableMissing,
                format!("{} is not a table", table.id),
                "Name a table".into(),
            );
        }
    }
    if table.persistence != b'p' {
        let what = "an unlogged or temporary table has no changes in the log";
        return fault(ErrorKind::CaptureBroken, what.into(), format!("{alter} SET LOGGED"));
    }
    let key: Option<Vec<usize>> = schema.key_columns().map(|column| table.column(&column.name)).collect();
    match key {
        Some(key) if !key.is_empty() && table.identifies(&key) => None,
        // Its primary key, which somebody told the server not to keep.
        Some(key) if !key.is_empty() && table.identity == Identity::Nothing && key == table.key => fault(
            ErrorKind::KeyMissing,
            "its rows can't be told apart in the log".into(),
            format!("{alter} REPLICA IDENTITY DEFAULT"),
        ),
        Some(key) if key.is_empty() || table.identity == Identity::Nothing => fault(
            ErrorKind::KeyMissing,
            "its rows can't be told apart in the log".into(),
            format!(
                "{alter} REPLICA IDENTITY FULL; -- and name the columns of a key in `key`, or give it a primary key instead"
            ),
        ),
        _ => fault(
            ErrorKind::KeyMissing,
            "the log does not keep the key that is configured".into(),
            format!(
                "{alter} REPLICA IDENTITY FULL; -- or USING INDEX with a unique one over exactly the key"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_that_commits_wait_for_are_known_by_name() {
        for (standbys, yes) in [
            ("", false),
            ("*", true),
            ("ANY 1 (*)", true),
            ("FIRST 2 (s1, sluice)", true),
            ("\"Sluice\"", true),
            ("s1", false),
        ] {
            assert_eq!(awaits(standbys, "sluice"), yes, "{standbys}");
        }
    }
}
