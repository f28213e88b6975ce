//! The `sluice` binary from outside: what people type, what a service answers.

// A test says what it found by failing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod commands;
// The example as it is, but for its `main`, which reads the command line.
#[path = "../examples/embed.rs"]
#[allow(dead_code)]
mod embed;
mod place;
mod serving;
mod syncing;
