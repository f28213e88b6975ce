//! What the errors of server and driver mean to the line: one table.

use std::fmt;

use mongodb::error::{Error as DriverError, ErrorKind as DriverKind, WriteFailure};
use sluice_types::{Error, ErrorKind};

pub(crate) const DUPLICATE_KEY: i32 = 11000;
pub(crate) const NAMESPACE_EXISTS: i32 = 48;
const WRITE_CONFLICT: i32 = 112;
const LOCK_TIMEOUT: i32 = 24;
const SNAPSHOT_UNAVAILABLE: i32 = 246;
const SNAPSHOT_TOO_OLD: i32 = 239;

/// The kind of an error code of the server. Total: what is not known is our own fault until it is.
pub(crate) fn kind_of_code(code: i32) -> ErrorKind {
    match code {
        // HostUnreachable, HostNotFound, NetworkTimeout, SocketException
        6 | 7 | 89 | 9001 => ErrorKind::Unreachable,
        // Not primary, stepping down, shutting down, starting up: another member, or this one, answers soon.
        91 | 189 | 10058 | 10107 | 11600 | 11602 | 13435 | 13436 => ErrorKind::Unreachable,
        // LockTimeout, WriteConflict, LockBusy, PreparedTransactionInProgress
        LOCK_TIMEOUT | WRITE_CONFLICT | 46 | 267 => ErrorKind::Busy,
        // TransactionTooOld, SnapshotTooOld, SnapshotUnavailable, NoSuchTransaction, TransactionExceededLifetimeLimitSeconds
        225 | SNAPSHOT_TOO_OLD | SNAPSHOT_UNAVAILABLE | 251 | 290 => ErrorKind::Busy,
        // TransactionTooLargeForCache: what is held at the same time was. Ours is bounded (`large_transactions`).
        388 => ErrorKind::Busy,
        // Interrupted, ConnectionPoolExpired, CursorNotFound, IngressRequestRateLimitExceeded
        11601 | 317 | 43 | 462 => ErrorKind::Busy,
        // UnsatisfiableWriteConcern, WriteConcernFailed, MaxTimeMSExpired, ExceededTimeLimit
        100 | 64 | 50 | 262 => ErrorKind::Timeout,
        // UserNotFound, AuthenticationFailed, AtlasError
        11 | 18 | 8000 => ErrorKind::Authentication,
        // Unauthorized
        13 => ErrorKind::Permission,
        // OutOfDiskSpace
        14031 | 365 => ErrorKind::DiskFull,
        // DuplicateKey (of three ages)
        DUPLICATE_KEY | 11001 | 12582 => ErrorKind::Constraint,
        // DocumentValidationFailure
        121 => ErrorKind::RowRefused,
        // BSONObjectTooLarge and its relatives, KeyTooLong, Overflow
        10334 | 17419 | 17420 | 17280 | 15 => ErrorKind::ValueUnrepresentable,
        // BadValue, DottedFieldName, DollarPrefixedFieldName, InvalidIdField, EmptyFieldName, ImmutableField
        2 | 57 | 52 | 53 | 56 | 66 => ErrorKind::ValueUnrepresentable,
        // TransactionTooLarge
        257 => ErrorKind::TransactionTooLarge,
        // NamespaceNotFound, InvalidNamespace, CommandNotSupportedOnView, OperationNotSupportedInTransaction
        26 | 73 | 166 | 263 => ErrorKind::TargetSchema,
        // IllegalOperation: transaction numbers on a standalone server
        20 => ErrorKind::Config,
        _ => ErrorKind::Internal,
    }
}

/// The code, if the server gave one.
pub(crate) fn code_of(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        DriverKind::Command(command) => Some(command.code),
        DriverKind::Write(WriteFailure::WriteError(failure)) => Some(failure.code),
        DriverKind::Write(WriteFailure::WriteConcernError(failure)) => Some(failure.code),
        _ => None,
    }
}

/// The kind of an error of the driver.
pub(crate) fn kind_of(error: &DriverError) -> ErrorKind {
    if let Some(code) = code_of(error) {
        return kind_of_code(code);
    }
    match &*error.kind {
        DriverKind::Authentication { .. } => ErrorKind::Authentication,
        DriverKind::InvalidArgument { .. } | DriverKind::InvalidTlsConfig { .. } => ErrorKind::Config,
        DriverKind::SessionsNotSupported | DriverKind::IncompatibleServer { .. } => ErrorKind::Config,
        DriverKind::Transaction { .. } => ErrorKind::Config,
        DriverKind::ServerSelection { message, .. } if refuses_user(message) => ErrorKind::Authentication,
        DriverKind::InvalidResponse { .. } => ErrorKind::Corrupt,
        DriverKind::Io(io) if io.kind() == std::io::ErrorKind::TimedOut => ErrorKind::Timeout,
        DriverKind::Io(_)
        | DriverKind::DnsResolve { .. }
        | DriverKind::ConnectionPoolCleared { .. }
        | DriverKind::ServerSelection { .. }
        | DriverKind::Shutdown => ErrorKind::Unreachable,
        _ => ErrorKind::Internal,
    }
}

/// Whether there is no server to be had because each of them refuses the user: then the client, which is there since before that was
/// so, only says that it finds none.
fn refuses_user(topology: &str) -> bool {
    let (failed, refused) = ("Error: Kind: ", "code_name: \"AuthenticationFailed\"");
    let refused = topology.matches(refused).count();
    refused > 0 && refused == topology.matches(failed).count()
}

/// Whether the whole transaction may succeed when it is run once more: somebody else wrote the same document.
pub(crate) fn is_conflict(error: &DriverError) -> bool {
    let codes = [WRITE_CONFLICT, LOCK_TIMEOUT, SNAPSHOT_UNAVAILABLE, SNAPSHOT_TOO_OLD];
    code_of(error).is_some_and(|code| codes.contains(&code))
}

/// Whether nobody knows if the commit has worked.
pub(crate) fn is_unknown_commit(error: &DriverError) -> bool {
    error.contains_label(mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

/// Another engine has saved a checkpoint of its own.
pub(crate) fn fenced() -> Error {
    Error::new(ErrorKind::Fenced, "another engine has taken the pipeline over in this target")
        .remedy("Only one engine may run a pipeline; stop the other, or this one")
}

/// An error as the line sees it.
pub(crate) fn failed(error: &DriverError, database: &str, what: &str) -> Error {
    let kind = kind_of(error);
    let failed = Error::new(kind, what.to_string()).because(Cause::of(error, kind));
    let failed = match remedy_of(kind) {
        Some(remedy) => failed.remedy(remedy),
        None => failed,
    };
    failed.at(|place| place.database = Some(database.to_string()))
}

/// The statement that lets a user of the database `of` write all of `database`.
pub(crate) fn grant(user: &str, of: &str, database: &str) -> String {
    let (user, of, database) = (quoted(user), quoted(of), quoted(database));
    format!(
        "db.getSiblingDB({of}).grantRolesToUser({user}, [{{ \"role\": \"readWrite\", \"db\": {database} }}])"
    )
}

/// Text as mongosh reads it.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn remedy_of(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Unreachable => "Is the server running, and reachable from here? It is tried again",
        ErrorKind::Authentication => "Check user, password and `auth: { source, mechanism }`",
        ErrorKind::DiskFull => "Make room on the server's disk; it is tried again",
        ErrorKind::TransactionTooLarge => {
            "Lower `large_transactions: { rows, bytes }`, or give the server a larger cache"
        }
        ErrorKind::Config => "Transactions need a replica set: see `sluice check`",
        _ => return None,
    })
}

/// A cause without values of rows: the server quotes them in its words about writes.
#[derive(Debug)]
pub(crate) struct Cause(String);

impl Cause {
    pub fn of(error: &DriverError, kind: ErrorKind) -> Self {
        let code = |code: i32, name: &str| {
            if name.is_empty() { format!("error {code}") } else { format!("error {code} {name}") }
        };
        Cause(match &*error.kind {
            DriverKind::Command(command) => {
                let quotes = matches!(
                    kind,
                    ErrorKind::ValueUnrepresentable
                        | ErrorKind::Constraint
                        | ErrorKind::RowRefused
                        | ErrorKind::Internal
                );
                let named = code(command.code, &command.code_name);
                if quotes { named } else { format!("{named}: {}", command.message) }
            }
            DriverKind::Write(WriteFailure::WriteError(failure)) => code(failure.code, ""),
            DriverKind::Write(WriteFailure::WriteConcernError(failure)) => {
                code(failure.code, &failure.code_name)
            }
            DriverKind::Write(_) | DriverKind::InsertMany(_) | DriverKind::BulkWrite(_) => {
                "a write failed".into()
            }
            other => other.to_string(),
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

#[cfg(test)]
mod tests {
    use sluice_types::Disposition;

    use super::*;

    #[test]
    fn faults_of_the_server_are_never_an_event_s() {
        for code in [6, 91, 112, 189, 251, 290, 388, 10107, 11600, 14031, 50, 64, 100, 24, 246] {
            assert_eq!(kind_of_code(code).disposition(), Disposition::Retry, "{code}");
        }
        for code in [13, 18, 26, 166, 257] {
            assert_eq!(kind_of_code(code).disposition(), Disposition::Pause, "{code}");
        }
        for code in [11000, 121, 10334, 17419, 66] {
            assert_eq!(kind_of_code(code).disposition(), Disposition::DeadLetter, "{code}");
        }
    }

    #[test]
    fn only_if_no_server_takes_the_user_is_it_the_users_fault() {
        let refused = "Error: Kind: SCRAM failure, code_name: \"AuthenticationFailed\"";
        let away = "Error: Kind: I/O error: connection refused";
        assert!(refuses_user(&format!("Type: Unknown, {refused}")));
        assert!(!refuses_user(&format!("{refused}, {away}")) && !refuses_user(away) && !refuses_user(""));
    }
}
