//! What can be said of a target before a row flows.

use sluice_types::ports::TargetTable;
use sluice_types::{Finding, Result};

use crate::endpoint::Database;

/// Looks whether these tables can be written, or made.
pub(crate) async fn check(_database: &Database, _tables: &[TargetTable]) -> Result<Vec<Finding>> {
    Ok(vec![])
}
