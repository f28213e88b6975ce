//! The settings of one SQLite database, and what it can do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluice_types::ports::{
    Capabilities, Discovered, Endpoint, LineContext, Readers, Sink, Source, TargetTable,
};
use sluice_types::{Error, ErrorKind, Finding, PipelineId, Result, Settings, TableId, TablePattern};

use crate::connection::File;
use crate::{preflight, sink, source};

/// The kind's name.
pub(crate) const KIND: &str = "sqlite";
/// How long an operation waits for another process's lock, in milliseconds, unless `busy_timeout_ms` says so.
const BUSY_TIMEOUT_MS: u64 = 5000;
/// How often the file is looked at when the file system tells nothing, in milliseconds, unless `poll_ms` says so.
const POLL_MS: u64 = 20;

/// SQLite: `kind: sqlite`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connector;

impl sluice_types::ports::Connector for Connector {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn parse(&self, name: &str, settings: &mut Settings, base: &Path) -> Option<Arc<dyn Endpoint>> {
        let path = settings.need_text("path", "the path of the database file, such as ./local.db");
        let busy = settings.take_number("busy_timeout_ms", 1).unwrap_or(BUSY_TIMEOUT_MS);
        let poll = settings.take_number("poll_ms", 1).unwrap_or(POLL_MS);
        let path = path?;
        if path.is_empty() || path.starts_with(":memory:") || path.starts_with("file:") {
            settings.reject("path", "not the path of a file", "write a path such as ./local.db");
            return None;
        }
        let file = File {
            database: name.to_string(),
            // Without the `.` of `./shop.db`: it is shown in messages.
            path: base.join(path).components().collect(),
            busy_timeout: Duration::from_millis(busy),
            poll: Duration::from_millis(poll),
        };
        (!settings.has_errors()).then(|| Arc::new(Database(Arc::new(file))) as _)
    }

    fn settings_schema(&self) -> serde_json::Value {
        serde_json::json!({
            "type": "object",
            "required": ["kind", "path"],
            "additionalProperties": false,
            "properties": {
                "kind": { "const": KIND },
                "path": { "type": "string", "description": "The database file, relative to this configuration." },
                "busy_timeout_ms": {
                    "type": "integer", "minimum": 1, "default": BUSY_TIMEOUT_MS,
                    "description": "How long to wait for another process's lock before trying again later."
                },
                "poll_ms": {
                    "type": "integer", "minimum": 1, "default": POLL_MS,
                    "description": "How often to look for changes when the file system does not tell of them."
                }
            }
        })
    }
}

/// One configured file.
struct Database(Arc<File>);

impl Database {
    /// Runs something that blocks.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&File) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        done.map_err(|error| {
            Error::new(ErrorKind::Internal, "a task of the connector ended early").because(error)
        })?
    }
}

#[async_trait]
impl Endpoint for Database {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { default_schema: "", chunk_readers: 2, unlimited_transactions: true }
    }

    fn address(&self) -> String {
        self.0.path.display().to_string()
    }

    async fn discover(&self, patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
        let patterns = patterns.to_vec();
        self.run(move |file| preflight::discover(file, &patterns)).await
    }

    async fn check_source(&self, _readers: &Readers, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        let tables = tables.to_vec();
        self.run(move |file| preflight::check_source(file, &tables)).await
    }

    async fn check_target(&self, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        let tables = tables.to_vec();
        self.run(move |file| preflight::check_target(file, &tables)).await
    }

    async fn filled(&self, line: &PipelineId, tables: &[TableId]) -> Result<Vec<TableId>> {
        let (line, tables) = (line.clone(), tables.to_vec());
        self.run(move |file| preflight::filled(file, &line, &tables)).await
    }

    async fn source(&self, line: &LineContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(source::SqliteSource::open(self.0.clone(), line.clone()).await?))
    }

    async fn sink(&self, _line: &LineContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(sink::SqliteSink::open(self.0.clone()).await?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_types::ports::Connector as _;

    use super::*;

    fn read(value: serde_json::Value) -> (Option<Arc<dyn Endpoint>>, Vec<String>) {
        let mut settings = Settings::new("databases.local", value);
        let endpoint = Connector.parse("local", &mut settings, Path::new("/etc/sluice"));
        (endpoint, settings.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_relative_path_is_meant_from_the_configuration() {
        let (endpoint, findings) = read(json!({"path": "local.db"}));
        assert_eq!(findings, [""; 0]);
        assert_eq!(endpoint.unwrap().address(), "/etc/sluice/local.db");
    }

    #[test]
    fn every_finding_comes_at_once() {
        let (endpoint, findings) = read(json!({"pth": "x", "poll_ms": 0}));
        assert!(endpoint.is_none());
        assert_eq!(findings.len(), 3, "{findings:?}");
    }

    #[test]
    fn a_database_in_memory_is_refused() {
        assert!(read(json!({"path": ":memory:"})).0.is_none());
    }
}
