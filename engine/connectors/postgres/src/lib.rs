//! The PostgreSQL connector: reads a database's tables and their changes by streaming replication, and writes into a database's
//! tables in bulk.
//!
//! Suggested reading order: `config` (what may be set), `connection` (how a session is made safe), `endpoint` (what it can do);
//! then `source` and what it calls for reading, `sink` for writing. `VALUES.md` says how values are kept.

mod address;
mod checkpoint;
mod codec;
mod config;
mod connection;
mod copy;
mod decode;
mod deliver;
mod delivered;
mod encode;
mod endpoint;
mod errors;
mod feed;
mod fold;
mod keeper;
mod literal;
mod maintain;
mod names;
mod narrow;
mod plan;
mod pool;
mod preflight;
mod protocol;
mod pump;
mod relations;
mod retained;
mod schema;
mod secondary;
mod session;
mod sink;
mod snapshot;
mod source;
mod spool;
mod stream;
mod table;
mod timeline;
mod tls;
mod values;
mod write;

pub use config::Connector;
