//! The connector against real servers.

// Helpers of tests are tests too; clippy knows only the functions that carry the attribute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod check;
mod conformance;
mod faults;
mod harness;
mod settings;
mod sink;
mod values;
