//! A database of its own on the test process's server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sluice_kit::Statement;
use sluice_kit::conformance::{Harness, NativeValue};
use sluice_postgres::Connector;
use sluice_servers::Postgres;
use sluice_types::ports::{Clock, Connector as _, Endpoint, LineContext, Sink, SpillRoom, TargetTable};
use sluice_types::{ColumnType, Settings, TableId, TableSchema, Value};

pub struct RealClock;

#[async_trait]
impl Clock for RealClock {
    fn now_micros(&self) -> i64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64
    }
    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

pub fn line(pipeline: &str) -> LineContext {
    LineContext {
        pipeline: pipeline.into(),
        install: "11112222333344445555666677778888".into(),
        clock: Arc::new(RealClock),
        spill: SpillRoom::new("spill", 0),
    }
}

/// A database as a line is given it.
pub fn endpoint(url: &str) -> Arc<dyn Endpoint> {
    endpoint_with(json!({ "url": url }))
}

pub fn endpoint_with(settings: serde_json::Value) -> Arc<dyn Endpoint> {
    let mut settings = Settings::new("databases.d", settings);
    let endpoint = Connector.parse("d", &mut settings, std::path::Path::new("."));
    assert_eq!(settings.finish(), []);
    endpoint.unwrap()
}

pub fn table(name: &str) -> TableId {
    TableId::new("public", name)
}

pub fn target(schema: &Arc<TableSchema>) -> TargetTable {
    TargetTable { schema: schema.clone(), path: "pipelines.p.tables[0]".into() }
}

/// A database of its own on the shared server. It goes with the server.
pub struct Place {
    pub server: &'static Postgres,
    pub database: String,
}

impl Place {
    pub fn new() -> Self {
        let server = Postgres::shared();
        Place { server, database: server.database("t") }
    }

    pub fn with(sql: &str) -> Self {
        let place = Place::new();
        place.sql(sql);
        place
    }

    #[track_caller]
    pub fn sql(&self, sql: &str) -> sluice_servers::Rows {
        self.server.sql(&self.database, sql)
    }

    /// The rows of a query, columns joined by `|`, null as `~`.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "~".into());
        self.sql(sql).into_iter().map(|row| row.into_iter().map(text).collect::<Vec<_>>().join("|")).collect()
    }

    pub fn url(&self) -> String {
        self.server.url(&self.database)
    }

    pub fn endpoint(&self) -> Arc<dyn Endpoint> {
        endpoint(&self.url())
    }

    pub async fn sink(&self) -> Box<dyn Sink> {
        self.endpoint().sink(&line("p")).await.unwrap()
    }
}

/// The harness of the conformance suite.
pub struct PostgresHarness(Place);

impl PostgresHarness {
    fn copy_name(&self) -> String {
        format!("{}_copy", self.0.database)
    }

    fn disconnect(&self) {
        self.0.server.sql(
            "postgres",
            &format!(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'",
                self.0.database
            ),
        );
    }
}

fn native(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Int64 => "bigint",
        ColumnType::Boolean => "boolean",
        _ => "text",
    }
}

#[async_trait]
impl Harness for PostgresHarness {
    async fn start() -> Self {
        let place = || Place::with(crate::values::TYPES);
        PostgresHarness(tokio::task::spawn_blocking(place).await.unwrap())
    }

    fn endpoint(&self) -> Arc<dyn Endpoint> {
        self.0.endpoint()
    }

    async fn transaction(&self, statements: &[Statement]) {
        let sql: Vec<String> = statements.iter().map(|statement| statement.to_sql(native)).collect();
        self.0.sql(&format!("BEGIN; {}; COMMIT", sql.join("; ")));
    }

    async fn rolled_back(&self, statements: &[Statement]) {
        let sql: Vec<String> = statements.iter().map(|statement| statement.to_sql(native)).collect();
        self.0.sql(&format!("BEGIN; {}; ROLLBACK", sql.join("; ")));
    }

    async fn rows(&self, table: &TableId) -> Vec<Vec<Value>> {
        let name = format!("\"{}\".\"{}\"", table.schema, table.name);
        let numbers: Vec<bool> = self
            .0
            .sql(&format!(
                "SELECT atttypid IN (20, 21, 23) FROM pg_attribute WHERE attrelid = '{name}'::regclass AND attnum > 0 \
                 AND NOT attisdropped ORDER BY attnum"
            ))
            .into_iter()
            .map(|row| row[0].as_deref() == Some("t"))
            .collect();
        let value = |(text, number): (Option<String>, &bool)| match text {
            None => Value::Null,
            Some(digits) if *number => Value::Int64(digits.parse().unwrap()),
            Some(text) => text.as_str().into(),
        };
        let rows = self.0.sql(&format!("SELECT * FROM {name} ORDER BY 1"));
        rows.into_iter().map(|row| row.into_iter().zip(&numbers).map(value).collect()).collect()
    }

    async fn keep_copy(&self) {
        self.disconnect();
        let (copy, database) = (self.copy_name(), &self.0.database);
        self.0.server.sql("postgres", &format!("DROP DATABASE IF EXISTS {copy}"));
        self.0.server.sql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {database}"));
    }

    async fn restore_copy(&self) {
        let (copy, database) = (self.copy_name(), &self.0.database);
        self.0.server.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
        self.0.server.sql("postgres", &format!("CREATE DATABASE {database} TEMPLATE {copy}"));
    }

    async fn interrupt(&self) -> bool {
        self.disconnect();
        true
    }

    async fn traces(&self) -> Vec<String> {
        self.0.rows(&format!(
            "SELECT slot_name FROM pg_replication_slots WHERE database = '{}' \
             UNION ALL SELECT pubname FROM pg_publication",
            self.0.database
        ))
    }

    fn values() -> Vec<NativeValue> {
        crate::values::values()
    }

    async fn insert_literal(&self, table: &TableId, id: i64, literal: &str) {
        self.0.sql(&format!("INSERT INTO \"{}\".\"{}\" VALUES ({id}, {literal})", table.schema, table.name));
    }

    fn unrepresentable() -> Option<(ColumnType, String, Value)> {
        Some((ColumnType::Text, String::new(), "a\0b".into()))
    }

    fn table(name: &str) -> TableId {
        table(name)
    }
}
