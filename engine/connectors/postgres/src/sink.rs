//! Writing into a database: not built yet.

use sluice_types::ports::{LineContext, Sink, TargetTable};
use sluice_types::{Error, ErrorKind, Finding, Result};

use crate::endpoint::Database;

fn not_built() -> Error {
    Error::new(ErrorKind::NotBuilt, "writing into PostgreSQL is not built yet")
}

pub(crate) async fn check(_database: &Database, _tables: &[TargetTable]) -> Result<Vec<Finding>> {
    Err(not_built())
}

pub(crate) async fn open(_database: &Database, _line: &LineContext) -> Result<Box<dyn Sink>> {
    Err(not_built())
}
