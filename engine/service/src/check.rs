//! `sluice check`: everything that can be known before the first row flows, all findings at once.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use sluice_types::Finding;
use sluice_types::ports::Clock;

use crate::Registry;

/// What to check.
pub struct Check {
    /// The configuration file.
    pub file: PathBuf,
    /// Connect to nothing.
    pub offline: bool,
    /// The connectors.
    pub registry: Registry,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The findings, errors first.
    pub findings: Vec<Finding>,
}
