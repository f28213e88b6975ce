//! Opening files, and what SQLite's errors mean to the line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use sluice_types::{Error, ErrorKind, Result};

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 256;

/// One configured file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// The database's name in the configuration.
    pub database: String,
    /// Where it is.
    pub path: PathBuf,
    /// How long an operation waits for a lock before it is `busy`.
    pub busy_timeout: Duration,
    /// How often `PRAGMA data_version` is looked at when the file system tells nothing.
    pub poll: Duration,
}

impl File {
    /// A connection to the file, which must be there.
    pub fn open(&self) -> Result<Connection> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// A connection to the file, which is made if it is missing. A file made here gets a write-ahead log, so that readers of the
    /// target never hold the line up; the journal mode of a file that was there is never changed.
    pub fn open_or_create(&self) -> Result<Connection> {
        let there = std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() > 0);
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        if !there {
            connection
                .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
                .map_err(|error| self.failed(error, "the new file can't be set up"))?;
        }
        Ok(connection)
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(self.busy_timeout)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            // Opening reads nothing yet; this does, so a file that is no database is told here. Foreign keys are off as by
            // SQLite's own default (the bundled build differs): the source's cascades are in its log, and the tables of a
            // snapshot arrive in any order.
            connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0))?;
            connection.execute_batch("PRAGMA foreign_keys = OFF")?;
            Ok(connection)
        };
        open().map_err(|error: rusqlite::Error| self.failed(error, "the file can't be opened"))
    }

    /// An error of this file: its kind from SQLite's code, the path in its text.
    pub fn failed(&self, error: rusqlite::Error, what: &str) -> Error {
        let kind = self.refine(kind_of(&error));
        let failed = Error::new(kind, format!("{what}: {}", self.path.display()));
        let failed = match remedy_of(kind, &self.path) {
            Some(remedy) => failed.remedy(remedy),
            None => failed,
        };
        failed.because(Cause::of(error)).at(|place| place.database = Some(self.database.clone()))
    }

    /// SQLite answers "can't open" both for a missing file and for a forbidden one.
    fn refine(&self, kind: ErrorKind) -> ErrorKind {
        if kind != ErrorKind::Unreachable {
            return kind;
        }
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            Ok(_) if std::fs::File::open(&self.path).is_err() => ErrorKind::Permission,
            _ => kind,
        }
    }
}

/// The kind of an error of SQLite; total.
pub(crate) fn kind_of(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SchemaChanged) => {
            ErrorKind::Busy
        }
        Some(ErrorCode::OperationInterrupted | ErrorCode::OutOfMemory) => ErrorKind::Busy,
        Some(ErrorCode::DiskFull) => ErrorKind::DiskFull,
        Some(
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied,
        ) => ErrorKind::Permission,
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed) => {
            ErrorKind::Unreachable
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => ErrorKind::Corrupt,
        Some(ErrorCode::ConstraintViolation) => match error.sqlite_error().map(|error| error.extended_code) {
            Some(ffi::SQLITE_CONSTRAINT_CHECK | ffi::SQLITE_CONSTRAINT_NOTNULL) => ErrorKind::RowRefused,
            Some(ffi::SQLITE_CONSTRAINT_DATATYPE) => ErrorKind::ValueUnrepresentable,
            _ => ErrorKind::Constraint,
        },
        Some(ErrorCode::TypeMismatch | ErrorCode::TooBig) => ErrorKind::ValueUnrepresentable,
        _ => ErrorKind::Internal,
    }
}

fn remedy_of(kind: ErrorKind, path: &Path) -> Option<String> {
    let path = path.display();
    Some(match kind {
        ErrorKind::Busy => "Another process holds the lock; it is tried again".into(),
        ErrorKind::DiskFull => "Make room on the disk; it is tried again".into(),
        ErrorKind::Permission => format!("Let this user read and write {path} and its folder"),
        ErrorKind::Unreachable => format!("Is {path} the right path, and its folder there?"),
        ErrorKind::Corrupt => format!("Look with: sqlite3 '{path}' 'PRAGMA integrity_check'"),
        _ => return None,
    })
}

/// SQLite's own words, but for those that a user's trigger wrote: they may hold values of a row.
#[derive(Debug)]
struct Cause(rusqlite::Error);

impl Cause {
    fn of(error: rusqlite::Error) -> Self {
        Cause(error)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            rusqlite::Error::SqliteFailure(code, _)
                if code.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER =>
            {
                f.write_str("a trigger of the table raised an error")
            }
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for Cause {}

/// An error of a file, of a constraint of a row among them, without the file's remedy.
pub(crate) fn cause(error: rusqlite::Error) -> impl std::error::Error + Send + Sync + 'static {
    Cause::of(error)
}

/// A name as SQL writes it, whatever is in it.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: PathBuf) -> File {
        File {
            database: "d".into(),
            path,
            busy_timeout: Duration::from_millis(10),
            poll: Duration::from_millis(20),
        }
    }

    #[test]
    fn a_missing_file_is_unreachable_and_names_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = file(folder.path().join("none.db")).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains("none.db"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.db");
        std::fs::write(
            &path,
            "this is a plain text file, long enough to be read as a header of a database file\n".repeat(40),
        )
        .unwrap();
        assert_eq!(file(path).open().unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn the_journal_mode_of_a_file_that_was_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
        let mode: String = file(path)
            .open_or_create()
            .unwrap()
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "delete");
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }
}
