//! The harness of the end-to-end tests: sites (a temporary folder with databases and a configuration), the `sluice` process that
//! serves one, writers that load a source, and comparisons of both sides.
//!
//! Nothing here sleeps to wait for something: [`wait`] polls a condition until a deadline and says what it was waiting for.

// A harness answers what it did not expect by failing the test that uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

pub mod binary;
pub mod compare;
pub mod database;
pub mod http;
pub mod load;
pub mod market;
pub mod mount;
pub mod procfs;
pub mod random;
pub mod serve;
pub mod site;
pub mod stamp;
pub mod wait;
