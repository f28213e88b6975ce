//! The MongoDB connector: writes rows as documents, data and checkpoint in one multi-document transaction.
//!
//! Suggested reading order: `VALUES.md` says what becomes of a row; [`encode`](mod@self) writes it as BSON bytes; `fold` makes one
//! change per key of many events; `write` makes commands of those; `transaction` runs them, and runs them again where MongoDB has
//! no savepoints; `sink` is what the line sees.
//!
//! There is no source yet.

mod apply;
mod config;
mod connection;
mod decimal;
mod decode;
mod empty;
mod encode;
mod endpoint;
mod errors;
mod fold;
mod json;
mod key;
mod plan;
mod preflight;
mod session;
mod sink;
mod transaction;
mod values;
mod work;
mod write;

pub use config::Connector;
