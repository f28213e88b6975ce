//! The line over memory databases: what it promises, one test each. Faults at random moments are the simulation's.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests, not only tests.

mod altered;
mod commands;
mod conflicts;
mod errors;
mod flow;
mod pace;
mod parked;
mod put_off;
mod retained;
mod world;
