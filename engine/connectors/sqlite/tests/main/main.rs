//! The connector against real files, other connections and other processes.

// Helpers of tests are tests too; clippy knows only the functions that carry the attribute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod capture_traps;
mod conformance;
mod harness;
mod random;
mod sink;
mod snapshot;
mod stream;
