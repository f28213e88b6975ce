//! The SQLite connector: reads a file's tables and their changes, and writes into a file's tables.
//!
//! Suggested reading order: [`capture`](mod@self) is the heart - triggers keep an *undo log* beside the tables - then `stream`, which
//! turns that log into change events, `snapshot`, which reads chunks, and `sink`. `VALUES.md` says how values are kept.

mod ahead;
mod capture;
mod config;
mod connection;
mod decode;
mod index_sql;
mod layout;
mod maintain;
mod preflight;
mod schema;
mod sink;
mod snapshot;
mod source;
mod stream;
mod table;
mod values;
mod watch;
mod worker;
mod write;

pub use config::Connector;
