//! What a changed file means for a running service.

use super::Config;

/// What is to be done to go from one configuration to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What changed, for people, without secrets: one line per path.
    pub shown: Vec<String>,
    /// Pipelines to start.
    pub added: Vec<String>,
    /// Pipelines to stop. Their state stays until `delete`.
    pub removed: Vec<String>,
    /// Pipelines whose lines must be stopped and started with the new configuration.
    pub restart: Vec<String>,
    /// Pipelines where only plugin parts changed: applied live, at a batch boundary.
    pub live: Vec<String>,
    /// Parts that only a restart of the process applies (`service.listen`, `state`): their paths.
    pub process: Vec<String>,
}

/// Compares two configurations.
pub fn diff(_old: &Config, _new: &Config) -> Difference {
    Difference::default()
}
