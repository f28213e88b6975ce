//! A server of its own for each test: slots are the whole server's.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sluice_kit::Statement;
use sluice_kit::conformance::{Harness, NativeValue};
use sluice_postgres::Connector;
use sluice_servers::Postgres;
use sluice_types::ports::{Clock, Connector as _, Endpoint, LineContext, Readers, SpillRoom};
use sluice_types::{ColumnType, PipelineId, Settings, TableId, Value};

/// The database of the tests.
pub const DATABASE: &str = "shop";

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

/// What a line tells the source.
pub fn line(pipeline: &str) -> LineContext {
    LineContext {
        pipeline: pipeline.into(),
        install: "0123456789abcdef".into(),
        clock: Arc::new(RealClock),
        spill: SpillRoom::new(std::env::temp_dir().join("sluice-postgres-spill"), 4 << 30),
    }
}

/// The lines that a check is about.
pub fn readers(lines: &[&str]) -> Readers {
    let lines: Vec<PipelineId> = lines.iter().map(|&line| line.into()).collect();
    Readers { install: line("").install, configured: lines.clone(), lines }
}

/// A database as a line is given it.
pub fn endpoint_with(settings: serde_json::Value) -> Arc<dyn Endpoint> {
    let mut settings = Settings::new("databases.shop", settings);
    let endpoint = Connector.parse("shop", &mut settings, std::path::Path::new("."));
    assert_eq!(settings.finish(), []);
    endpoint.unwrap()
}

/// A server with one database.
pub struct Place {
    pub server: Postgres,
}

impl Place {
    pub fn start() -> Self {
        Self::on(Postgres::start())
    }

    pub fn on(server: Postgres) -> Self {
        server.sql("postgres", &format!("CREATE DATABASE {DATABASE}"));
        Place { server }
    }

    pub fn endpoint(&self) -> Arc<dyn Endpoint> {
        endpoint_with(json!({ "url": self.server.url(DATABASE) }))
    }

    /// That looks after its lines every second.
    pub fn busy_endpoint(&self) -> Arc<dyn Endpoint> {
        endpoint_with(json!({ "url": self.server.url(DATABASE), "heartbeat_secs": 1 }))
    }

    #[track_caller]
    pub fn sql(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.server.sql(DATABASE, sql)
    }
}

pub struct SourceHarness {
    place: Place,
}

impl SourceHarness {
    fn copy(&self) -> PathBuf {
        self.place.server.data_dir().with_file_name("copy")
    }

    fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    }
}

fn native(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Int64 => "bigint",
        ColumnType::Boolean => "boolean",
        _ => "text",
    }
}

fn value(text: Option<String>, native: &str) -> Value {
    match text {
        None => Value::Null,
        Some(text) if native == "bigint" => Value::Int64(text.parse().unwrap()),
        Some(text) => Value::Text(text.into()),
    }
}

#[async_trait]
impl Harness for SourceHarness {
    async fn start() -> Self {
        let place = || {
            let place = Place::start();
            place.sql(crate::values::TYPES);
            place
        };
        SourceHarness { place: tokio::task::spawn_blocking(place).await.unwrap() }
    }

    fn endpoint(&self) -> Arc<dyn Endpoint> {
        self.place.endpoint()
    }

    async fn transaction(&self, statements: &[Statement]) {
        let sql: Vec<String> = statements.iter().map(|statement| statement.to_sql(native)).collect();
        self.place.sql(&format!("BEGIN; {}; COMMIT", sql.join("; ")));
    }

    async fn rolled_back(&self, statements: &[Statement]) {
        let sql: Vec<String> = statements.iter().map(|statement| statement.to_sql(native)).collect();
        self.place.sql(&format!("BEGIN; {}; ROLLBACK", sql.join("; ")));
    }

    async fn rows(&self, table: &TableId) -> Vec<Vec<Value>> {
        let types = self.place.sql(&format!(
            "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = '\"{}\".\"{}\"'::regclass \
             AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            table.schema, table.name
        ));
        let rows =
            self.place.sql(&format!("SELECT * FROM \"{}\".\"{}\" ORDER BY 1", table.schema, table.name));
        let typed = |row: Vec<Option<String>>| {
            row.into_iter().zip(&types).map(|(text, ty)| value(text, ty[0].as_deref().unwrap())).collect()
        };
        rows.into_iter().map(typed).collect()
    }

    async fn keep_copy(&self) {
        // The tasks of the source go on meanwhile.
        tokio::task::block_in_place(|| {
            let _ = std::fs::remove_dir_all(self.copy());
            self.place.server.backup("copy");
        });
    }

    async fn restore_copy(&self) {
        tokio::task::block_in_place(|| {
            self.place.server.stop();
            std::fs::remove_dir_all(self.place.server.data_dir()).unwrap();
            Self::copy_folder(&self.copy(), &self.place.server.data_dir());
            self.place.server.start_again();
        });
    }

    async fn interrupt(&self) -> bool {
        tokio::task::block_in_place(|| self.place.server.restart());
        true
    }

    async fn traces(&self) -> Vec<String> {
        let found = self.place.sql(
            "SELECT slot_name::text FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication \
             UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'sluice'",
        );
        found.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    }

    fn values() -> Vec<NativeValue> {
        crate::values::values()
    }

    async fn insert_literal(&self, table: &TableId, id: i64, literal: &str) {
        self.place
            .sql(&format!("INSERT INTO \"{}\".\"{}\" VALUES ({id}, {literal})", table.schema, table.name));
    }

    fn table(name: &str) -> TableId {
        TableId::new("public", name)
    }
}
