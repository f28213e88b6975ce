//! A source file with a writer of its own, a line's reader on it, and a replica that applies what it delivers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use sluice_sqlite::Connector;
use sluice_types::ports::{
    Clock, Connector as _, Endpoint, LineContext, Read, ReadLimits, Readers, Sink, Source, SpillRoom,
    StreamStart, TargetTable,
};
use sluice_types::{Batch, Change, Event, Key, Position, Result, Row, Settings, TableId, TableSchema, Value};

pub const LIMITS: ReadLimits = ReadLimits { rows: 1000, bytes: 8 << 20 };

pub struct RealClock;

#[async_trait::async_trait]
impl Clock for RealClock {
    fn now_micros(&self) -> i64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64
    }
    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// No lines that a check is about.
pub fn readers() -> Readers {
    Readers { install: line("").install, lines: vec![], configured: vec![] }
}

pub fn line(pipeline: &str) -> LineContext {
    LineContext {
        pipeline: pipeline.into(),
        install: "11112222333344445555666677778888".into(),
        clock: Arc::new(RealClock),
        spill: SpillRoom::new("spill", 0),
    }
}

/// A folder with a file in it.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub path: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Place { folder, path }
    }

    pub fn with(sql: &str) -> Self {
        let place = Place::new();
        place.writer().execute_batch(sql).unwrap();
        place
    }

    pub fn writer(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        connection
    }

    pub fn endpoint(&self) -> Arc<dyn Endpoint> {
        self.endpoint_with(json!({}))
    }

    pub fn endpoint_with(&self, mut settings: serde_json::Value) -> Arc<dyn Endpoint> {
        settings["path"] = json!(self.path);
        let mut settings = Settings::new("databases.d", settings);
        let endpoint = Connector.parse("d", &mut settings, self.folder.path());
        assert!(settings.finish().is_empty());
        endpoint.unwrap()
    }

    pub fn count(&self, sql: &str) -> i64 {
        self.writer().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

pub fn table(name: &str) -> TableId {
    TableId::new("", name)
}

/// A line that reads, and what it has read.
pub struct Line {
    pub source: Box<dyn Source>,
    pub schemas: Vec<Arc<TableSchema>>,
    pub at: Position,
    pub replica: Replica,
    /// Every event, by the transaction's position.
    pub log: Vec<(Position, Event)>,
}

impl Line {
    pub async fn start(place: &Place, tables: &[&str]) -> Self {
        Line::resume(place, "p", tables, None).await.unwrap()
    }

    pub async fn resume(
        place: &Place,
        pipeline: &str,
        tables: &[&str],
        from: Option<StreamStart>,
    ) -> Result<Self> {
        let mut source = place.endpoint().source(&line(pipeline)).await?;
        source.identity().await?;
        let ids: Vec<TableId> = tables.iter().map(|name| table(name)).collect();
        let schemas = source.schemas(&ids).await?;
        let held = source.hold(&schemas).await?;
        let from = from.unwrap_or(StreamStart { position: held, part: 0 });
        source.open(&from, &schemas).await?;
        Ok(Line { source, schemas, at: from.position, replica: Replica::default(), log: vec![] })
    }

    /// Reads until the head that the log has now.
    pub async fn catch_up(&mut self) -> Result<()> {
        self.catch_up_within(LIMITS).await
    }

    pub async fn catch_up_within(&mut self, limits: ReadLimits) -> Result<()> {
        let head = self.source.head().await?;
        while self.at < head {
            self.next(limits).await?;
        }
        Ok(())
    }

    pub async fn next(&mut self, limits: ReadLimits) -> Result<Option<Batch>> {
        let read = tokio::time::timeout(Duration::from_secs(20), self.source.next(&limits))
            .await
            .expect("nothing came")?;
        match read {
            Read::Progress(to) => {
                assert!(to > self.at, "{to} is not after {}", self.at);
                self.at = to;
                Ok(None)
            }
            Read::Batch(batch) => {
                for event in &batch.events {
                    self.replica.apply(event);
                    let position = &batch.transactions[event.transaction as usize].position;
                    self.log.push((position.clone(), event.clone()));
                }
                if let Some(end) = batch.end() {
                    assert!(*end > self.at);
                    self.at = end.clone();
                }
                Ok(Some(batch))
            }
        }
    }

    /// The kinds of the changes so far, and forgets them.
    pub fn take_kinds(&mut self) -> Vec<&'static str> {
        self.log.drain(..).map(|(_, event)| event.change.name()).collect()
    }

    /// The replica holds what the file holds.
    pub fn assert_same(&self, place: &Place, name: &str) {
        let schema = self.schemas.iter().find(|schema| &*schema.table.name == name).unwrap();
        assert_eq!(self.replica.rows(name), stored(&place.writer(), schema), "{name}");
    }
}

/// The rows of a table as values, by key.
pub fn stored(connection: &Connection, schema: &TableSchema) -> HashMap<Key, Row> {
    use rusqlite::types::ValueRef;
    let names: Vec<String> =
        schema.columns.iter().map(|c| format!("\"{}\"", c.name.replace('"', "\"\""))).collect();
    let sql = format!("SELECT {} FROM \"{}\"", names.join(","), schema.table.name.replace('"', "\"\""));
    let mut statement = connection.prepare(&sql).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut found = HashMap::new();
    while let Some(row) = rows.next().unwrap() {
        let value = |index| match row.get_ref(index).unwrap() {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int64(number),
            ValueRef::Real(number) => Value::Float64(number),
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec().into()),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => text.into(),
                Err(_) => Value::Extended(Arc::new(sluice_types::value::Extended {
                    type_name: "sqlite:text".into(),
                    text: bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
                })),
            },
        };
        let row = Row::new((0..schema.columns.len()).map(value).collect());
        assert!(found.insert(schema.key_of(&row), row).is_none());
    }
    found
}

/// Tables by the rules of a sink.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Replica(HashMap<String, HashMap<Key, Row>>);

impl Replica {
    pub fn apply(&mut self, event: &Event) {
        let rows = self.0.entry(event.table.table.name.to_string()).or_default();
        let key = |row: &Row| event.table.key_of(row);
        match &event.change {
            Change::Snapshot(row) | Change::Insert(row) => drop(rows.insert(key(row), row.clone())),
            Change::Update { before, after } => {
                assert!(before.as_ref().is_some_and(|before| event.table.is_complete(before)));
                rows.remove(&key(before.as_ref().unwrap_or(after)));
                rows.insert(key(after), after.clone());
            }
            Change::Delete(row) => {
                assert!(event.table.is_complete(row));
                rows.remove(&key(row));
            }
            Change::Truncate => rows.clear(),
        }
    }

    pub fn rows(&self, table: &str) -> HashMap<Key, Row> {
        self.0.get(table).cloned().unwrap_or_default()
    }
}

pub fn target(schema: &Arc<TableSchema>) -> TargetTable {
    TargetTable { schema: schema.clone(), path: "pipelines.p.tables[0]".into() }
}

pub async fn sink(place: &Place) -> Box<dyn Sink> {
    place.endpoint().sink(&line("p")).await.unwrap()
}
