//! sluice keeps databases in step: the service, and the face for programs that embed the engine.

pub mod check;
pub mod config;
mod registry;
mod secrets;

pub use config::Config;
pub use registry::Registry;
