//! Reading a database: not built yet.

use sluice_types::ports::{Discovered, LineContext, Source, TargetTable};
use sluice_types::{Error, ErrorKind, Finding, Result, TablePattern};

use crate::endpoint::Database;

fn not_built() -> Error {
    Error::new(ErrorKind::NotBuilt, "reading from PostgreSQL is not built yet")
}

pub(crate) async fn discover(_database: &Database, _patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
    Err(not_built())
}

pub(crate) async fn check(_database: &Database, _tables: &[TargetTable]) -> Result<Vec<Finding>> {
    Err(not_built())
}

pub(crate) async fn open(_database: &Database, _line: &LineContext) -> Result<Box<dyn Source>> {
    Err(not_built())
}
