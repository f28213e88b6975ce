//! The memory database as a configured database.

use async_trait::async_trait;
use sluice_types::ports::{
    Capabilities, Discovered, Endpoint, LineContext, Readers, Sink, Source, TargetTable,
};
use sluice_types::{ErrorKind, Finding, PipelineId, Result, TableId, TablePattern};

use super::database::Database;
use super::sink::{MemorySink, fits};
use super::source::MemorySource;

#[async_trait]
impl Endpoint for Database {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        let options = &self.shared.options;
        Capabilities {
            default_schema: "",
            chunk_readers: options.chunk_readers,
            unlimited_transactions: options.transaction_limit.is_none(),
        }
    }

    fn address(&self) -> String {
        format!("memory {}", self.shared.options.name)
    }

    async fn discover(&self, patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
        let core = self.core();
        let matched = |table: &&sluice_types::TableId| patterns.iter().any(|like| like.matches(table, ""));
        let tables = core.tables.keys().filter(matched);
        let discovered = |table: &sluice_types::TableId| Discovered {
            table: table.clone(),
            schema: core.tables[table].schema.clone(),
        };
        Ok(tables.map(discovered).collect())
    }

    async fn check_source(&self, _readers: &Readers, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        let core = self.core();
        let finding = |wanted: &TargetTable| {
            let what = match core.tables.get(&wanted.schema.table) {
                None => (ErrorKind::TableMissing, "there is no such table", "create it"),
                Some(table) if table.schema.key.is_empty() && wanted.schema.key.is_empty() => {
                    (ErrorKind::KeyMissing, "the table has no key", "name one under `key:`")
                }
                Some(_) => return None,
            };
            Some(Finding::error(what.0, &wanted.path, what.1, what.2))
        };
        Ok(tables.iter().filter_map(finding).collect())
    }

    async fn check_target(&self, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        let core = self.core();
        let finding = |wanted: &TargetTable| {
            let error = fits(core.tables.get(&wanted.schema.table)?, &wanted.schema).err()?;
            Some(Finding::error(error.kind(), &wanted.path, error.what(), "change the table or its route"))
        };
        Ok(tables.iter().filter_map(finding).collect())
    }

    async fn filled(&self, line: &PipelineId, tables: &[TableId]) -> Result<Vec<TableId>> {
        let core = self.core();
        let has_rows = |name: &&TableId| core.tables.get(*name).is_some_and(|table| !table.rows.is_empty());
        let filled = tables.iter().filter(|_| !core.checkpoints.contains_key(line)).filter(has_rows);
        Ok(filled.cloned().collect())
    }

    async fn source(&self, line: &LineContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(MemorySource::connect(self.clone(), line.pipeline.clone())?))
    }

    async fn sink(&self, _line: &LineContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(MemorySink::connect(self.clone())?))
    }
}
