//! One configured database, and what it can do.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_types::ports::{
    Capabilities, Discovered, Endpoint, LineContext, Readers, Retained, Secondary, Sink, Source, TargetTable,
};
use sluice_types::{Finding, PipelineId, Result, TableId, TablePattern};
use tokio::sync::Semaphore;

use crate::config::{KIND, Server};
use crate::pool::Pool;
use crate::retained::Watches;
use crate::session::Role;
use crate::{preflight, retained, secondary, sink, source};

/// The schema that a table name without one means.
pub(crate) const DEFAULT_SCHEMA: &str = "public";

/// Chunks that are read at once, at most: more readers than that only wait for the one writer.
const CHUNK_READERS_MAX: usize = 4;

/// One configured database.
pub(crate) struct Database {
    pub server: Arc<Server>,
    /// Sessions that read.
    pub readers: Arc<Pool>,
    /// Sessions that write.
    pub writers: Arc<Pool>,
    /// What its slots retain.
    pub watches: Watches,
}

impl Database {
    /// Makes no connection yet.
    pub fn new(server: Server) -> Self {
        let server = Arc::new(server);
        let permits = Arc::new(Semaphore::new(server.pool.max));
        let pool = |role| Pool::new(server.clone(), role, permits.clone());
        Database {
            readers: pool(Role::Reader),
            writers: pool(Role::Writer),
            watches: Watches::default(),
            server,
        }
    }
}

#[async_trait]
impl Endpoint for Database {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            default_schema: DEFAULT_SCHEMA,
            chunk_readers: CHUNK_READERS_MAX.min(self.server.pool.max),
            unlimited_transactions: true,
        }
    }

    fn address(&self) -> String {
        format!("{}/{}", self.server.address, self.server.dbname)
    }

    async fn discover(&self, patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
        source::discover(self, patterns).await
    }

    async fn check_source(&self, readers: &Readers, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        preflight::check(self, readers, tables).await
    }

    async fn check_target(&self, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        sink::check(self, tables).await
    }

    async fn filled(&self, line: &PipelineId, tables: &[TableId]) -> Result<Vec<TableId>> {
        preflight::target::filled(self, line, tables).await
    }

    async fn retained(&self, line: &LineContext) -> Result<Option<Retained>> {
        retained::look(self, line).await
    }

    async fn secondaries(&self, tables: &[TableId]) -> Result<Vec<Secondary>> {
        secondary::of_source(self, tables).await
    }

    async fn lacking(&self, wanted: &[Secondary]) -> Result<Vec<(TableId, String)>> {
        secondary::lacking(self, wanted).await
    }

    async fn make(&self, line: &PipelineId, statement: &str) -> Result<()> {
        secondary::make(self, line, statement).await
    }

    async fn source(&self, line: &LineContext) -> Result<Box<dyn Source>> {
        source::open(self, line).await
    }

    async fn sink(&self, line: &LineContext) -> Result<Box<dyn Sink>> {
        sink::open(self, line).await
    }
}
