//! What tests stand on: connectors in memory, scripted faults, and the suite that every connector passes.
//!
//! - [`memory`]: a database, a state and transforms in memory: real implementations of the ports, deterministic.
//! - [`faults`]: faults as values, scripted per call of any port.
//! - [`conformance`]: the suite. A connector is whatever passes it; its documentation says how to run it for a new one.
//! - [`statement`], [`rng`], [`TestClock`]: the small things these share.

pub mod clock;
pub mod conformance;
pub mod faults;
pub mod memory;
pub mod rng;
pub mod statement;

pub use clock::TestClock;
pub use rng::Rng;
pub use statement::{Fields, Statement, TableDef, fields};
