//! The connector against real servers.

// Helpers of tests are tests too; clippy knows only the functions that carry the attribute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod altered;
mod conformance;
mod exact;
mod harness;
mod moves;
mod origin;
mod prepared;
mod random;
mod remedies;
mod settings;
mod sink;
mod target;
#[path = "../source/values.rs"]
mod values;
