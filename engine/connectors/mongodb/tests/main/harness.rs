//! A database on a private server, a sink on it, and events for it.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sluice_kit::statement::TableDef;
use sluice_mongodb::Connector;
use sluice_servers::Mongo;
use sluice_servers::bson::Document;
use sluice_types::ports::{
    Connector as _, Endpoint, LineContext, Readers, Sink, SpillRoom, TargetTable, Written,
};
use sluice_types::{
    Change, Checkpoint, ColumnType, Event, Position, Row, Settings, SnapshotProgress, TableId, TableSchema,
    Value,
};

/// No lines that a check is about.
pub fn readers() -> Readers {
    Readers { install: line().install, lines: vec![], configured: vec![] }
}

pub fn line() -> LineContext {
    LineContext {
        pipeline: "p".into(),
        install: "11112222333344445555666677778888".into(),
        clock: sluice_kit::TestClock::start(),
        spill: SpillRoom::new("spill", 0),
    }
}

/// A configured database; `more` goes over the usual settings.
pub fn endpoint(url: &str, database: &str, more: serde_json::Value) -> Arc<dyn Endpoint> {
    let mut settings = json!({ "url": url, "database": database, "timeouts": { "select_ms": 5000 } });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let mut settings = Settings::new("databases.d", settings);
    let endpoint = Connector.parse("d", &mut settings, Path::new("/"));
    let findings = settings.finish();
    assert!(findings.is_empty(), "{findings:?}");
    endpoint.unwrap()
}

/// A database of its own on the server that the tests share.
pub struct Place {
    pub server: &'static Mongo,
    pub database: String,
}

impl Place {
    pub fn new() -> Self {
        let server = Mongo::shared();
        Place { server, database: server.database("t") }
    }

    pub async fn sink(&self) -> Box<dyn Sink> {
        self.sink_with(json!({})).await
    }

    pub async fn sink_with(&self, more: serde_json::Value) -> Box<dyn Sink> {
        endpoint(&self.server.url(), &self.database, more).sink(&line()).await.unwrap()
    }

    pub fn find(&self, collection: &str) -> Vec<Document> {
        self.server.find(&self.database, collection)
    }

    /// Documents as the shell shows them.
    pub fn shown(&self, collection: &str) -> Vec<String> {
        self.find(collection).iter().map(ToString::to_string).collect()
    }
}

/// `id` integer key, `a` text, `n` integer.
pub fn table(name: &str) -> Arc<TableSchema> {
    let def =
        TableDef::new(&TableId::new("", name)).column("id", ColumnType::Int64).column("a", ColumnType::Text);
    def.column("n", ColumnType::Int64).key(&["id"]).schema("elsewhere", "foreign")
}

pub fn target(schema: &Arc<TableSchema>) -> TargetTable {
    TargetTable { schema: schema.clone(), path: "pipelines.p.tables[0]".into() }
}

pub fn event(schema: &Arc<TableSchema>, change: Change) -> Event {
    Event::new(schema.clone(), change, 0, 0)
}

pub fn row(id: i64, a: &str, n: i64) -> Row {
    Row::new(vec![id.into(), a.into(), n.into()])
}

pub fn insert(schema: &Arc<TableSchema>, id: i64, a: &str, n: i64) -> Event {
    event(schema, Change::Insert(row(id, a, n)))
}

/// `None` is absent.
pub fn update(schema: &Arc<TableSchema>, from: i64, to: i64, a: Option<&str>, n: Option<i64>) -> Event {
    let before = Row::new(vec![from.into(), Value::Absent, Value::Absent]);
    let a = a.map_or(Value::Absent, Value::from);
    let after = Row::new(vec![to.into(), a, n.map_or(Value::Absent, Value::from)]);
    event(schema, Change::Update { before: Some(before), after })
}

pub fn delete(schema: &Arc<TableSchema>, id: i64) -> Event {
    event(schema, Change::Delete(Row::new(vec![id.into(), Value::Absent, Value::Absent])))
}

pub fn checkpoint(at: u64) -> Checkpoint {
    Checkpoint {
        pipeline: "p".into(),
        install: "11112222333344445555666677778888".into(),
        source: "source-1".into(),
        epoch: 1,
        position: Position::from_number(at, at.to_string()),
        part: 0,
        snapshot: SnapshotProgress::default(),
        plugins: Default::default(),
    }
}

/// Writes in one transaction.
pub async fn write(sink: &mut Box<dyn Sink>, events: &[Event]) -> Written {
    let mut tx = sink.begin().await.unwrap();
    let written = tx.write(events).await.unwrap();
    tx.commit().await.unwrap();
    written
}
