//! What the server's errors mean to the line. One table; no row's value ever gets out of here.

use std::fmt;

use sluice_types::{Error, ErrorKind};

/// The kind of an error by its SQLSTATE; total. Exact codes first, then classes.
pub(crate) fn kind_of_state(code: &str) -> ErrorKind {
    match code {
        // Connections.
        "57P03" => ErrorKind::Busy, // starting up or shutting down
        "57014" | "25P03" | "25P04" => ErrorKind::Timeout,
        "57P01" | "57P02" | "57P04" | "57P05" => ErrorKind::Unreachable,
        // There is no such database.
        "3D000" => ErrorKind::Config,
        "53100" => ErrorKind::DiskFull,
        "42501" | "25006" => ErrorKind::Permission,
        // Locks and conflicts with other transactions.
        "55P03" | "55006" | "40001" | "40P01" | "72000" | "53200" | "53300" | "53400" => ErrorKind::Busy,
        "40002" => ErrorKind::Constraint,
        // Not null, check: of the row alone.
        "23502" | "23514" => ErrorKind::RowRefused,
        // The catalogue.
        "42P01" | "3F000" => ErrorKind::TableMissing,
        "42703" | "42804" | "42P10" | "42883" | "42704" | "42809" | "42P16" | "42P17" | "428C9" => {
            ErrorKind::SchemaChanged
        }
        // "cached plan must not change result type", and a relation of an unfit kind.
        "0A000" => ErrorKind::SchemaChanged,
        // A row that is too large for a page or an index.
        "54000" => ErrorKind::ValueUnrepresentable,
        "XX001" | "XX002" => ErrorKind::Corrupt,
        "58000" | "58030" => ErrorKind::Unreachable,
        _ => match code.get(..2).unwrap_or_default() {
            "08" => ErrorKind::Unreachable,
            "28" => ErrorKind::Authentication,
            "22" => ErrorKind::ValueUnrepresentable,
            "44" => ErrorKind::RowRefused, // a view's check option
            // P0, 38, 39, 27, 09: what a trigger of the table raised, which may have looked at other rows.
            "23" | "P0" | "38" | "39" | "27" | "09" => ErrorKind::Constraint,
            "53" => ErrorKind::Busy,
            "57" => ErrorKind::Unreachable,
            _ => ErrorKind::Internal,
        },
    }
}

/// The kind of an error of the driver.
pub(crate) fn kind_of(error: &tokio_postgres::Error) -> ErrorKind {
    if let Some(state) = error.code() {
        return kind_of_state(state.code());
    }
    let text = error.to_string();
    if text.starts_with("authentication error") || text.starts_with("invalid configuration") {
        return ErrorKind::Authentication; // a password is missing, or a method that is not supported
    }
    if error.is_closed() || std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>())
    {
        return ErrorKind::Unreachable;
    }
    ErrorKind::Internal
}

/// What a function of the target has done that a statement of ours ran: a trigger's, a default's, a constraint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfFunction {
    /// It raised an error of its own, whatever code it has given that.
    Raised,
    /// It failed over what it did itself.
    Failed,
}

impl OfFunction {
    /// Whether the server tells an error of such a function. Messages are translated; the name of the server's own routine is not.
    pub fn of(error: &tokio_postgres::Error) -> Option<Self> {
        let db = error.as_db_error()?;
        if db.routine() == Some("exec_stmt_raise") {
            return Some(OfFunction::Raised);
        }
        // Statements have no context, but for COPY, and parameters that can't be received.
        let received = db.routine().is_some_and(|routine| routine.ends_with("_recv"));
        let within = |context: &str| !context.is_empty() && !context.starts_with("COPY ") && !received;
        db.where_().is_some_and(within).then_some(OfFunction::Failed)
    }
}

/// What to do about an error of the server as a whole.
fn remedy_of(kind: ErrorKind, code: &str, user: &str, dbname: &str) -> Option<String> {
    Some(match (kind, code) {
        (_, "3D000") => format!("CREATE DATABASE {}, or correct the name", quote(dbname)),
        (_, "25006") => "The server is a standby or the database is read-only; connect to the primary".into(),
        (_, "22021") => {
            "A value is not UTF-8: a database in SQL_ASCII keeps any bytes, and the server delivers none that are not what a session \
             asks for. Convert the value (convert_from), leave its column out (`columns: { exclude }`), or move the tables to a \
             database with an encoding"
                .into()
        }
        (_, "53300") => {
            "Raise the server's max_connections, or lower `concurrency` of its pipelines; it is tried again"
                .into()
        }
        (_, "28000") => {
            let (user, dbname) = (quote(user), quote(dbname));
            format!(
                "Is it a role that may log in (ALTER ROLE {user} LOGIN)? Does the server take encrypted connections only? Then set \
                 `tls: {{ mode: require }}`. Else make this the first line of pg_hba.conf: host {dbname} {user} all scram-sha-256; and SELECT pg_reload_conf()"
            )
        }
        (ErrorKind::Authentication, _) => {
            format!("Are user {user} and its password right, and does pg_hba.conf let them in?")
        }
        (ErrorKind::Unreachable, _) => {
            "Is the server running, and the address right? It is tried again".into()
        }
        (ErrorKind::Permission, _) => format!("Grant it to {user}"),
        (ErrorKind::DiskFull, _) => "Make room on the server's disk; it is tried again".into(),
        (ErrorKind::Busy | ErrorKind::Timeout, _) => "It is tried again".into(),
        _ => return None,
    })
}

/// An error of a server, its remedy with it.
pub(crate) fn of_server(
    error: &tokio_postgres::Error,
    what: impl Into<std::borrow::Cow<'static, str>>,
    user: &str,
    dbname: &str,
) -> Error {
    let kind = kind_of(error);
    let code = error.code().map_or("", |state| state.code());
    let failed = Error::new(kind, what);
    let failed = match remedy_of(kind, code, user, dbname) {
        Some(remedy) => failed.remedy(remedy),
        None => failed,
    };
    failed.because(Cause::of(error))
}

/// The same of the fields of an `ErrorResponse`.
pub(crate) fn of_state(
    code: &str,
    message: &str,
    what: impl Into<std::borrow::Cow<'static, str>>,
    user: &str,
    dbname: &str,
) -> Error {
    let kind = kind_of_state(code);
    let failed = Error::new(kind, what);
    let failed = match remedy_of(kind, code, user, dbname) {
        Some(remedy) => failed.remedy(remedy),
        None => failed,
    };
    failed.because(Cause::of_fields(code, message, [None; 4]))
}

/// The server's words, without anything that may hold a value of a row: no detail, no context, and no message of the classes
/// whose messages quote values or are a trigger's own.
#[derive(Debug)]
pub(crate) struct Cause(String);

impl Cause {
    /// What may be told of it.
    pub fn of(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            return Cause(if error.is_closed() {
                "the connection is closed".into()
            } else {
                format!("{error}{cause}")
            });
        };
        // A function may say what it likes.
        let message =
            if OfFunction::of(error).is_some() { "in a function of the target" } else { db.message() };
        Cause::of_fields(db.code().code(), message, [db.constraint(), db.table(), db.column(), db.datatype()])
    }

    /// The same of the fields of an `ErrorResponse`: code, message; constraint, table, column, data type.
    pub fn of_fields(
        code: &str,
        message: &str,
        [constraint, table, column, datatype]: [Option<&str>; 4],
    ) -> Self {
        let telling = matches!(
            code.get(..2).unwrap_or_default(),
            "22" | "23" | "44" | "P0" | "38" | "39" | "27" | "09"
        );
        let mut text = format!("SQLSTATE {code}");
        if !telling {
            text.push_str(": ");
            text.push_str(message);
        }
        for (name, value) in
            [("constraint", constraint), ("table", table), ("column", column), ("type", datatype)]
        {
            if let Some(value) = value {
                text.push_str(&format!(", {name} {value}"));
            }
        }
        Cause(text)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// A name as SQL writes it, whatever is in it.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text as SQL writes it, with `standard_conforming_strings` on.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use sluice_types::Disposition;

    use super::*;

    #[test]
    fn faults_of_servers_are_never_faults_of_an_event() {
        for code in [
            "08006", "57P01", "57P03", "53100", "53300", "40P01", "55P03", "42501", "28P01", "25006", "XX000",
        ] {
            assert_ne!(kind_of_state(code).disposition(), Disposition::DeadLetter, "{code}");
        }
        for code in ["23505", "23503", "23502", "23514", "22003", "22021", "22001", "P0001", "54000"] {
            assert_eq!(kind_of_state(code).disposition(), Disposition::DeadLetter, "{code}");
        }
    }

    #[test]
    fn only_what_is_between_rows_heals_by_others() {
        for code in ["23505", "23503", "23001", "23P01", "40002", "P0001"] {
            assert!(kind_of_state(code).heals_by_others(), "{code}");
        }
        for code in ["23502", "23514", "44000", "22003", "54000"] {
            assert!(!kind_of_state(code).heals_by_others(), "{code}");
        }
    }

    #[test]
    fn no_value_is_told() {
        let told = Cause::of_fields("22P02", "invalid input syntax for type integer: \"s3cret\"", [None; 4]);
        assert_eq!(told.to_string(), "SQLSTATE 22P02");
        let told = Cause::of_fields("23505", "duplicate key", [Some("t_a_key"), Some("t"), None, None]);
        assert_eq!(told.to_string(), "SQLSTATE 23505, constraint t_a_key, table t");
        let told = Cause::of_fields("42501", "permission denied for table t", [None; 4]);
        assert_eq!(told.to_string(), "SQLSTATE 42501: permission denied for table t");
    }

    #[test]
    fn who_is_not_let_in_is_given_the_line_that_does() {
        let error = of_state("28000", "no pg_hba.conf entry", "no", "a\"n", "shop");
        assert!(error.remedy_text().unwrap().contains(": host \"shop\" \"a\"\"n\" all "), "{error:?}");
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
