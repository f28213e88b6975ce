//! The host against guests that do everything a guest may do, and much that it may not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests

mod hosted;
mod languages;
mod limits;
mod plans;
mod random;
mod shapes;
mod support;
mod swaps;
mod values;
