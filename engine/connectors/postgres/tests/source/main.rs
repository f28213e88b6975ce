//! The source against real servers.

// Helpers of tests are tests too; clippy knows only the functions that carry the attribute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod altered;
mod ascii;
mod check;
mod conformance;
mod follow;
mod harness;
mod order;
mod pool;
mod publication;
mod remedies;
mod restore;
mod settings;
mod slot;
mod stream;
mod two_phase;
mod values;
