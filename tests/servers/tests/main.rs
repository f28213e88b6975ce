//! The servers themselves: they come up, hold what they are given, go away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod mongo;
mod postgres;
mod proxy;
