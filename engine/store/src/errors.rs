//! What SQLite and the file system say, as errors for the person who must act.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;
use sluice_types::{Error, ErrorKind};

/// An error of the file system about `path`, which is in the state folder.
pub(crate) fn of_file(what: &'static str, path: &Path, cause: io::Error) -> Error {
    let shown = path.display();
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::DiskFull, format!("{what} {shown}")).remedy("Make room on the disk.")
        }
        _ => Error::new(ErrorKind::State, format!("{what} {shown}")).remedy(
            "The state folder and its files must belong to the user that runs sluice and be writable: \
             chown and chmod 0700 it, mount it read-write, or choose another with `state:`.",
        ),
    }
    .because(cause)
}

/// An error of SQLite. Its texts name files, tables and columns of our own, never values.
pub(crate) fn of_database(what: &'static str, cause: rusqlite::Error) -> Error {
    let (kind, remedy) = match cause.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            (ErrorKind::DiskFull, "Make room on the disk that holds the state folder.")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            ErrorKind::Corrupt,
            "state.db is damaged or not ours; sluice leaves it as it is. Put back a copy of it, or move it away to start \
             with an empty state: dead letters and earlier plugin versions are then gone.",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Busy, "Another program has state.db open for writing: close it.")
        }
        _ => (
            ErrorKind::State,
            "Look whether state.db and its folder are writable by the user that runs sluice and the disk works.",
        ),
    };
    Error::new(kind, what).because(cause).remedy(remedy)
}

/// Something in the state is not what this version writes.
pub(crate) fn damaged(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Corrupt, what).remedy("Put back a copy of the state folder; nothing was changed.")
}

/// Turns SQLite's results into ours.
pub(crate) trait Said<T> {
    /// With what was being done.
    fn said(self, what: &'static str) -> sluice_types::Result<T>;
}

impl<T> Said<T> for rusqlite::Result<T> {
    fn said(self, what: &'static str) -> sluice_types::Result<T> {
        self.map_err(|cause| of_database(what, cause))
    }
}
