//! Private database servers for tests: PostgreSQL and MongoDB, each in a temporary folder, on a free port of the loopback
//! interface, and a proxy that makes the way to them as bad as it can get.
//!
//! ```no_run
//! use sluice_servers::Postgres;
//!
//! let server = Postgres::start();
//! server.sql("postgres", "CREATE TABLE t (id int PRIMARY KEY)");
//! let url = server.url("postgres"); // for a client
//! server.kill(); // as kill -9 does, then
//! server.start_again();
//! ```
//!
//! Everything blocks: it works in a test with and without a runtime. Servers are stopped when dropped, and a small watchdog
//! process stops them when the test's process ends in any other way (a `static` is never dropped; a test may be killed).
//!
//! A server that is not installed is a panic that says what installs it, never a test that passes without having run.

// A harness answers what it did not expect by failing the test that uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod mongo;
mod place;
mod postgres;
mod process;
mod proxy;
mod tls;
mod wait;

pub use bson;
pub use mongo::{Mongo, MongoOptions};
pub use postgres::{Installed, PASSWORD, Postgres, PostgresOptions, Rows, Session, SqlError, installed};
pub use proxy::{Direction, Proxy};
pub use tls::{Tls, tls};

/// What installs the servers, for people who read a panic.
pub(crate) const SETUP: &str = "run: scripts/setup test";
