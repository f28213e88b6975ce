//! What a file may say, and what is said about one that may not.

mod bad;
mod changes;
mod databases;
mod planned;
mod schema;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use sluice_types::ports::{
    Capabilities, Connector, Discovered, Endpoint, LineContext, Readers, Sink, Source, TargetTable,
};
use sluice_types::{
    Column, ColumnType, Error, ErrorKind, Finding, PipelineId, Result, Settings, TableId, TablePattern,
    TableSchema,
};

use super::{Config, read};
use crate::Registry;

/// A kind of database that has the tables that its settings name: `tables: [s.t, "u(no key)"]`.
struct Fake;

struct FakeDatabase {
    name: String,
    tables: Vec<String>,
}

impl Connector for Fake {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn parse(&self, name: &str, settings: &mut Settings, _base: &Path) -> Option<Arc<dyn Endpoint>> {
        let tables = settings.take_texts("tables").unwrap_or_default();
        settings.take_word("mode", &[("fast", ()), ("slow", ())]);
        settings.take_text("password");
        Some(Arc::new(FakeDatabase { name: name.into(), tables }))
    }

    fn settings_schema(&self) -> serde_json::Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "kind": { "const": "fake" },
                "tables": { "type": "array", "items": { "type": "string" } },
                "mode": { "enum": ["fast", "slow"] },
                "password": { "type": "string" },
            },
        })
    }
}

#[async_trait]
impl Endpoint for FakeDatabase {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { default_schema: "public", chunk_readers: 1, unlimited_transactions: false }
    }

    fn large_transaction(&self) -> (u64, u64) {
        (1_000, 64 << 20)
    }

    fn address(&self) -> String {
        format!("fake {}", self.name)
    }

    async fn discover(&self, patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
        let tables = self.tables.iter().map(|text| (text, text.trim_end_matches("(no key)")));
        let found = tables.filter_map(|(text, name)| {
            let mut table = TableId::parse(name);
            if table.schema.is_empty() {
                table.schema = "public".into();
            }
            patterns.iter().any(|pattern| pattern.matches(&table, "public")).then(|| {
                let key = if text.ends_with("(no key)") { vec![] } else { vec![0] };
                Discovered { table: table.clone(), schema: schema(table, key) }
            })
        });
        Ok(found.collect())
    }

    async fn check_source(&self, _readers: &Readers, _tables: &[TargetTable]) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn check_target(&self, _tables: &[TargetTable]) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn filled(&self, _line: &PipelineId, _tables: &[TableId]) -> Result<Vec<TableId>> {
        Ok(Vec::new())
    }

    async fn source(&self, _line: &LineContext) -> Result<Box<dyn Source>> {
        Err(Error::new(ErrorKind::Internal, "never opened"))
    }

    async fn sink(&self, _line: &LineContext) -> Result<Box<dyn Sink>> {
        Err(Error::new(ErrorKind::Internal, "never opened"))
    }
}

/// Columns `id` and `name`.
fn schema(table: TableId, key: Vec<u32>) -> Arc<TableSchema> {
    let column = |(slot, name): (u32, &str)| Column {
        name: name.into(),
        ty: ColumnType::Text,
        native: "text".into(),
        nullable: false,
        slot,
    };
    let columns = [(0, "id"), (1, "name")].map(column).to_vec();
    Arc::new(TableSchema {
        table,
        database: "a".into(),
        kind: "fake".into(),
        version: 1,
        columns,
        key,
        before_images: true,
    })
}

fn registry() -> Registry {
    Registry::empty().with(Arc::new(Fake))
}

fn env(name: &str) -> Option<OsString> {
    match name {
        "PW" => Some("hunter2hunter2hunter2".into()),
        "ROWS" => Some("77".into()),
        _ => None,
    }
}

/// Reads a text as the file `/etc/sluice/sluice.yaml`.
fn parse(text: &str) -> std::result::Result<Config, Vec<Finding>> {
    read::read(text, Path::new("/etc/sluice/sluice.yaml"), &registry(), &env)
}

/// A file with two databases, and this pipeline `p` from `a` to `b`.
fn with_pipeline(pipeline: &str) -> String {
    let indented: String = pipeline.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "version: 1
databases:
  a: {{ kind: fake, tables: [customers, orders, log.orders, \"events(no key)\"] }}
  b: {{ kind: fake }}
pipelines:
  p:
    source: a
    target: b
{indented}"
    )
}

#[test]
fn everything_that_may_be_written_is_read() {
    let config = parse(include_str!("tests/whole.yaml")).unwrap_or_else(|findings| panic!("{findings:#?}"));
    assert_eq!(config.state.dir, Path::new("/etc/sluice/state"));
    assert_eq!(config.plugin_dir, Path::new("/etc/sluice/my-plugins"));
    assert_eq!(config.service.listen.to_string(), "0.0.0.0:9000");
    assert!(config.service.insecure);
    assert_eq!(config.service.token.unwrap().expose(), "hunter2hunter2hunter2");
    assert_eq!((config.limits.memory, config.limits.spill), (256 << 20, 1 << 30));
    let pipeline = &config.pipelines["customers"];
    assert_eq!(&*pipeline.id.0, "customers-1");
    assert_eq!(
        (pipeline.batch.rows.get(), pipeline.batch.bytes.get(), pipeline.batch.age_ms),
        (77, 1 << 20, 5)
    );
    assert_eq!(pipeline.concurrency.get(), 2);
    assert_eq!((pipeline.on_error.retries, pipeline.on_error.max_ms), (1, 20));
    let table = &pipeline.tables[0];
    assert_eq!(
        (table.to.as_deref(), &table.exclude[..]),
        (Some("{schema}_{table}"), &["note".to_string()][..])
    );
    let [filter, step] = &table.steps[..] else { panic!("{:?}", table.steps) };
    assert_eq!((&*filter.plugin, filter.config.as_str()), ("filter", r#"{"keep":"country != 'XX'"}"#));
    assert_eq!(filter.path, "pipelines.customers.tables[0].where");
    assert_eq!((&*step.plugin, step.path.as_str()), ("mask", "pipelines.customers.tables[0].transform[0]"));
    assert_eq!(step.config, r#"{"columns":["ssn"]}"#);
    assert_eq!((step.limits.memory, step.limits.batch_ms, step.limits.value), (32 << 20, 100, 8 << 20));
    assert!(step.override_shipped && step.digest.is_some());
    assert_eq!(config.warnings.len(), 1, "a denied column and no state.key: {:?}", config.warnings);
}

#[test]
fn what_is_not_written_has_the_documented_defaults() {
    let config = parse(&with_pipeline("tables: [\"*\"]")).unwrap();
    assert_eq!(config.state.dir, Path::new("/etc/sluice/sluice-state"));
    assert_eq!(config.service.listen.to_string(), "127.0.0.1:8687");
    assert_eq!((config.limits.memory, config.limits.spill), (512 << 20, 20 << 30));
    let pipeline = &config.pipelines["p"];
    assert_eq!(
        (pipeline.batch.rows.get(), pipeline.batch.bytes.get(), pipeline.batch.age_ms),
        (1000, 8 << 20, 50)
    );
    assert_eq!((pipeline.large_transactions.rows, pipeline.large_transactions.bytes), (1_000_000, 512 << 20));
    assert_eq!(
        (pipeline.on_error.retries, pipeline.on_error.base_ms, pipeline.on_error.max_ms),
        (3, 1000, 300_000)
    );
    assert_eq!((pipeline.concurrency.get(), pipeline.truncate), (4, None));
    assert_eq!(config.line_of("pipelines.p.tables"), Some(9));
}

#[test]
fn all_lines_together_keep_to_half_of_the_memory() {
    let limits = super::ProcessLimits { memory: 64 << 20, spill: 0 };
    let asked = std::num::NonZeroUsize::new(8 << 20).unwrap();
    assert_eq!(limits.batch_bytes(asked, 1).get(), 8 << 20);
    assert_eq!(limits.batch_bytes(asked, 4).get(), 2 << 20);
    assert_eq!(limits.batch_bytes(asked, 10_000).get(), 838);
}
