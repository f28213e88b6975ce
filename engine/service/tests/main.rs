//! The `sluice` binary from outside: what people type, what a service answers.

mod api;
mod commands;
mod place;
mod serving;
mod syncing;
