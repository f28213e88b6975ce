//! One configured database, and what it can do.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_types::ports::{
    Capabilities, Discovered, Endpoint, LineContext, Readers, Sink, Source, TargetTable,
};
use sluice_types::{Error, ErrorKind, Finding, PipelineId, Result, TableId, TablePattern};

use crate::config::{Config, KIND};
use crate::connection::Server;
use crate::preflight;
use crate::sink::MongoSink;

/// Rows and bytes of images above which a transaction goes in parts, unless the configuration says otherwise. MongoDB ends a
/// transaction after 60 seconds, and keeps all of it in its cache until then.
const TRANSACTION_ROWS: u64 = 100_000;
pub(crate) const TRANSACTION_BYTES: u64 = 64 << 20;

const NO_SOURCE: &str = "MongoDB can't be a source yet in this version";
const NO_SOURCE_REMEDY: &str = "Use it as a target; sources are postgres and sqlite";

/// One configured database.
pub(crate) struct Database(Arc<Server>);

impl Database {
    pub fn new(config: Config) -> Self {
        Database(Server::new(config))
    }
}

fn no_source() -> Error {
    Error::new(ErrorKind::NotBuilt, NO_SOURCE).remedy(NO_SOURCE_REMEDY)
}

#[async_trait]
impl Endpoint for Database {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { default_schema: "", chunk_readers: 1, unlimited_transactions: false }
    }

    fn large_transaction(&self) -> (u64, u64) {
        (TRANSACTION_ROWS, TRANSACTION_BYTES)
    }

    fn address(&self) -> String {
        self.0.config.address.clone()
    }

    async fn discover(&self, _patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
        Err(no_source())
    }

    async fn check_source(&self, _readers: &Readers, _tables: &[TargetTable]) -> Result<Vec<Finding>> {
        Ok(vec![Finding::error(ErrorKind::NotBuilt, "kind", NO_SOURCE, NO_SOURCE_REMEDY)])
    }

    async fn check_target(&self, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        preflight::check_target(&self.0, tables).await
    }

    async fn filled(&self, line: &PipelineId, tables: &[TableId]) -> Result<Vec<TableId>> {
        MongoSink::open(self.0.clone()).await?.filled(line, tables).await
    }

    async fn source(&self, _line: &LineContext) -> Result<Box<dyn Source>> {
        Err(no_source())
    }

    async fn sink(&self, _line: &LineContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(MongoSink::open(self.0.clone()).await?))
    }
}
