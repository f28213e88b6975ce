//! A database of any kind as a test sees it: its lines in the configuration, and its rows as text that can be compared.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rusqlite::types::Value;
use sluice_servers::bson::{Bson, Document};
use sluice_servers::{Mongo, MongoOptions, Postgres, PostgresOptions, Rows};

use crate::site::open;

/// Differing rows that are shown.
const SHOWN_MAX: usize = 5;

/// A database on a server, or in a file.
#[derive(Clone, Debug)]
pub enum Database {
    /// PostgreSQL.
    Postgres {
        /// The server.
        server: Arc<Postgres>,
        /// The database.
        name: String,
    },
    /// MongoDB.
    Mongo {
        /// The server.
        server: Arc<Mongo>,
        /// The database.
        name: String,
    },
    /// SQLite.
    Sqlite(PathBuf),
}

/// How a column's values look in databases that have no such type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text and numbers.
    Plain,
    /// Numbers with a binary fraction: of two shortest texts for one, each database has its own choice.
    Float,
    /// true or false.
    Bool,
    /// Bytes.
    Bytes,
    /// A timestamp with time zone.
    Moment,
    /// A date.
    Date,
    /// JSON.
    Json,
}

/// A table, by the names that it has on both sides.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns of its key.
    pub key: &'static [&'static str],
    /// The other columns.
    pub columns: &'static [(&'static str, Kind)],
}

/// A PostgreSQL server for the tests of this process that need nothing special of it; transactions of more than a few rows
/// are streamed before they are committed.
pub fn postgres() -> Arc<Postgres> {
    static SHARED: OnceLock<Arc<Postgres>> = OnceLock::new();
    SHARED.get_or_init(|| Arc::new(Postgres::start_with(postgres_options()))).clone()
}

/// What that server is started with.
pub fn postgres_options() -> PostgresOptions {
    let conf = ["timezone = 'UTC'", "logical_decoding_work_mem = '64kB'", "deadlock_timeout = '100ms'"];
    PostgresOptions { conf: conf.map(String::from).to_vec(), ..Default::default() }
}

/// A MongoDB server for the tests of this process.
pub fn mongo() -> Arc<Mongo> {
    static SHARED: OnceLock<Arc<Mongo>> = OnceLock::new();
    SHARED.get_or_init(|| Arc::new(Mongo::start_with(mongo_options()))).clone()
}

/// What that server is started with. Commands that a bad network brings late may begin a transaction that nobody ends, and its time
/// is a minute by default; an honest one may take some seconds on a slow machine.
pub fn mongo_options() -> MongoOptions {
    let arguments = ["--setParameter", "transactionLifetimeLimitSeconds=10"];
    MongoOptions { arguments: arguments.map(String::from).to_vec(), ..Default::default() }
}

impl Database {
    /// A new database on the shared PostgreSQL server.
    pub fn postgres(prefix: &str) -> Database {
        Self::on_postgres(&postgres(), prefix)
    }

    /// A new database on a PostgreSQL server of its own, for a source that is left and found again under load: at each start of a
    /// stream the server reads its whole log since the last confirmed place once more, that of other tests' databases too.
    pub fn alone_on_postgres(prefix: &str) -> Database {
        Self::on_postgres(&Arc::new(Postgres::start_with(postgres_options())), prefix)
    }

    /// A new database on a PostgreSQL server.
    pub fn on_postgres(server: &Arc<Postgres>, prefix: &str) -> Database {
        Database::Postgres { server: server.clone(), name: server.database(prefix) }
    }

    /// A new database on the shared MongoDB server.
    pub fn mongo(prefix: &str) -> Database {
        Self::on_mongo(&mongo(), prefix)
    }

    /// A new database on a MongoDB server.
    pub fn on_mongo(server: &Arc<Mongo>, prefix: &str) -> Database {
        Database::Mongo { server: server.clone(), name: server.database(prefix) }
    }

    /// What stands in the configuration after its name.
    pub fn settings(&self) -> String {
        match self {
            Database::Postgres { server, name } => {
                format!("{{ kind: postgres, url: \"{}\" }}", server.url(name))
            }
            Database::Mongo { server, name } => {
                format!("{{ kind: mongodb, url: \"{}\", database: {name} }}", server.url())
            }
            Database::Sqlite(path) => format!("{{ kind: sqlite, path: \"{}\" }}", path.display()),
        }
    }

    /// The same, by another port of this machine: a proxy's.
    pub fn settings_at(&self, port: u16) -> String {
        match self {
            Database::Postgres { server, name } => {
                format!("{{ kind: postgres, url: \"{}\" }}", server.url_at(port, "postgres", name))
            }
            Database::Mongo { server, name } => {
                format!("{{ kind: mongodb, url: \"{}\", database: {name} }}", server.url_at(port))
            }
            Database::Sqlite(_) => panic!("a file has no port"),
        }
    }

    /// The port of its server.
    pub fn port(&self) -> u16 {
        match self {
            Database::Postgres { server, .. } => server.port(),
            Database::Mongo { server, .. } => server.port(),
            Database::Sqlite(_) => panic!("a file has no port"),
        }
    }

    /// Runs statements that must succeed.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> Rows {
        match self {
            Database::Postgres { server, name } => server.sql(name, statements),
            Database::Sqlite(path) => {
                open(path).execute_batch(statements).unwrap_or_else(|error| panic!("{error}: {statements}"));
                Rows::new()
            }
            Database::Mongo { .. } => panic!("MongoDB has no SQL"),
        }
    }

    /// The first column of the first row, as text.
    #[track_caller]
    pub fn one(&self, query: &str) -> String {
        match self {
            Database::Postgres { server, name } => server.one(name, query),
            Database::Sqlite(path) => {
                let rows = crate::compare::rows(&open(path), query);
                sqlite_text(&rows[0][0], Kind::Plain).expect("a value")
            }
            Database::Mongo { .. } => panic!("MongoDB has no SQL"),
        }
    }

    /// Every row of a table as PostgreSQL prints values, sorted: the key's columns, then the others.
    pub fn rows(&self, table: &Table) -> Result<Rows, String> {
        let kinds: Vec<Kind> = table
            .key
            .iter()
            .map(|_| Kind::Plain)
            .chain(table.columns.iter().map(|(_, kind)| *kind))
            .collect();
        let names: Vec<&str> =
            table.key.iter().copied().chain(table.columns.iter().map(|(name, _)| *name)).collect();
        let query = || {
            let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            format!("SELECT {} FROM \"{}\"", quoted.join(", "), table.name)
        };
        let mut rows = match self {
            Database::Postgres { server, name } => {
                let mut rows = server.try_sql(name, &query()).map_err(|error| error.to_string())?;
                for (value, kind) in rows.iter_mut().flat_map(|row| std::iter::zip(row, &kinds)) {
                    if let (Some(text), Kind::Float) = (&value, kind) {
                        *value = Some(text.parse::<f64>().expect("a number").to_string());
                    }
                }
                rows
            }
            Database::Sqlite(path) => sqlite_rows(path, &query(), &kinds)?,
            Database::Mongo { server, name } => server
                .try_find(name, table.name)?
                .iter()
                .map(|found| document_row(found, table, &kinds))
                .collect(),
        };
        rows.sort();
        Ok(rows)
    }
}

/// What a query of a SQLite file answers, as PostgreSQL prints it, sorted.
pub fn sqlite_rows(path: &Path, query: &str, kinds: &[Kind]) -> Result<Rows, String> {
    let found = crate::compare::try_rows(&open(path), query).map_err(|error| error.to_string())?;
    let shown = |row: &Vec<Value>| {
        std::iter::zip(row, kinds).map(|(value, kind)| sqlite_text(value, *kind)).collect()
    };
    let mut rows: Rows = found.iter().map(shown).collect();
    rows.sort();
    Ok(rows)
}

/// Compares tables of two databases, every column of every row. `Ok` with the number of rows, or the first differences.
pub fn equal(source: &Database, target: &Database, tables: &[Table]) -> Result<usize, String> {
    let mut compared = 0;
    for table in tables {
        let wanted = source.rows(table).map_err(|why| format!("source, {}: {why}", table.name))?;
        let found = target.rows(table).map_err(|why| format!("target, {}: {why}", table.name))?;
        if wanted != found {
            return Err(difference(table.name, &wanted, &found));
        }
        compared += wanted.len();
    }
    Ok(compared)
}

/// What differs between two sorted lists of rows, for people.
pub fn difference(name: &str, wanted: &Rows, found: &Rows) -> String {
    let short = |row: &Vec<Option<String>>| -> Vec<String> {
        row.iter()
            .map(|value| match value {
                Some(text) if text.chars().count() > 60 => {
                    format!("{}.. ({} bytes)", text.chars().take(60).collect::<String>(), text.len())
                }
                Some(text) => text.clone(),
                None => "null".into(),
            })
            .collect()
    };
    let only = |here: &Rows, there: &Rows| -> Vec<Vec<String>> {
        here.iter().filter(|row| there.binary_search(row).is_err()).take(SHOWN_MAX).map(short).collect()
    };
    format!(
        "{name}: {} rows wanted, {} found; missing or wrong, the first: {:#?}; too many: {:#?}",
        wanted.len(),
        found.len(),
        only(wanted, found),
        only(found, wanted),
    )
}

fn sqlite_text(value: &Value, kind: Kind) -> Option<String> {
    Some(match (value, kind) {
        (Value::Null, _) => return None,
        (Value::Integer(flag), Kind::Bool) => if *flag == 1 { "t" } else { "f" }.to_string(),
        (Value::Integer(number), _) => number.to_string(),
        (Value::Real(number), _) => number.to_string(),
        (Value::Text(text), Kind::Moment) => moment(text.strip_suffix("+00:00").unwrap_or(text)),
        (Value::Text(text), _) => text.clone(),
        (Value::Blob(bytes), _) => hex(bytes),
    })
}

/// `2024-05-06 07:08:09.500000` as PostgreSQL prints it in UTC.
fn moment(text: &str) -> String {
    let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    format!("{trimmed}+00")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("\\x".to_string(), |text, byte| format!("{text}{byte:02x}"))
}

/// A document as a row: the key is its `_id`, or in there.
fn document_row(document: &Document, table: &Table, kinds: &[Kind]) -> Vec<Option<String>> {
    let id = document.get("_id").expect("every document has one");
    let key = table.key.iter().map(|name| match (id, table.key.len()) {
        (id, 1) => Some(id),
        (Bson::Document(id), _) => id.get(name),
        _ => None,
    });
    let others = table.columns.iter().map(|(name, _)| document.get(name));
    std::iter::zip(key.chain(others), kinds).map(|(value, kind)| bson_text(value?, *kind)).collect()
}

fn bson_text(value: &Bson, kind: Kind) -> Option<String> {
    Some(match value {
        Bson::Null => return None,
        Bson::DateTime(at) if kind == Kind::Date => {
            at.try_to_rfc3339_string().expect("a year of four digits")[..10].into()
        }
        Bson::DateTime(at) => {
            let text = at.try_to_rfc3339_string().expect("a year of four digits");
            moment(&text.trim_end_matches('Z').replace('T', " "))
        }
        _ if kind == Kind::Json => json_text(value),
        Bson::Boolean(flag) => if *flag { "t" } else { "f" }.into(),
        Bson::Binary(binary) => hex(&binary.bytes),
        other => json_text(other).trim_matches('"').to_string(),
    })
    .map(|text: String| match value {
        // Not escaped as inside of JSON.
        Bson::String(plain) if kind != Kind::Json => plain.clone(),
        _ => text,
    })
}

/// As `jsonb` prints it.
fn json_text(value: &Bson) -> String {
    match value {
        Bson::Null => "null".into(),
        Bson::Boolean(flag) => flag.to_string(),
        Bson::Int32(number) => number.to_string(),
        Bson::Int64(number) => number.to_string(),
        Bson::Double(number) => number.to_string(),
        Bson::Decimal128(number) => number.to_string(),
        Bson::String(text) => serde_json::to_string(text).expect("text is JSON"),
        Bson::Array(values) => {
            format!("[{}]", values.iter().map(json_text).collect::<Vec<_>>().join(", "))
        }
        Bson::Document(fields) => {
            let field = |(name, value): (&String, &Bson)| format!("\"{name}\": {}", json_text(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}
