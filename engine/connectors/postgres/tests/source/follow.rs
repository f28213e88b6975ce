//! A line's reader in the hands of a test.

use std::sync::Arc;
use std::time::Duration;

use sluice_types::ports::{Altered, Endpoint, Read, ReadLimits, Source, StreamStart};
use sluice_types::{
    Chunk, Error, ErrorKind, Event, KeyRange, Position, Result, TableId, TableSchema, Transaction, Value,
};

use crate::harness::{Place, line};

pub const LIMITS: ReadLimits = ReadLimits { rows: 1000, bytes: 8 << 20 };

/// A source that streams.
pub struct Follow {
    pub source: Box<dyn Source>,
    pub schemas: Vec<Arc<TableSchema>>,
    pub at: Position,
}

impl Follow {
    /// From where `hold` says.
    pub async fn start(place: &Place, tables: &[&str]) -> Self {
        Self::resume(place, "p", tables, None).await.unwrap()
    }

    /// From a checkpoint.
    pub async fn resume(
        place: &Place,
        pipeline: &str,
        tables: &[&str],
        from: Option<Position>,
    ) -> Result<Self> {
        Self::on(place.endpoint(), pipeline, tables, from).await
    }

    /// A line that finds its tables altered says so, however often it is started.
    pub async fn told(place: &Place, tables: &[&str]) -> Altered {
        let mut told = None;
        for _ in 0..2 {
            let error = Self::resume(place, "p", tables, None).await.err().expect("nobody was told");
            assert_eq!(error.kind(), ErrorKind::SchemaChanged, "{error}");
            assert!(error.seen().is_some(), "{error}");
            told = error.place().table.clone().map(|table| Altered { table, seen: error.seen().cloned() });
        }
        told.expect("of a table")
    }

    /// And somebody decides that it goes on.
    pub async fn accepted(place: &Place, tables: &[&str]) {
        let told = Self::told(place, tables).await;
        Self::decide(place, told).await;
    }

    /// These tables go on as they are.
    pub async fn accept(place: &Place, tables: &[&str]) {
        for name in tables {
            Self::decide(place, Altered { table: TableId::new("", name), seen: None }).await;
        }
    }

    /// A table goes on as it was told.
    pub async fn decide(place: &Place, altered: Altered) {
        place.endpoint().source(&line("p")).await.unwrap().accept(&[altered]).await.unwrap();
    }

    /// The same of a database that is configured otherwise.
    pub async fn on(
        endpoint: Arc<dyn Endpoint>,
        pipeline: &str,
        tables: &[&str],
        from: Option<Position>,
    ) -> Result<Self> {
        let mut source = endpoint.source(&line(pipeline)).await?;
        source.identity().await?;
        let tables: Vec<TableId> = tables.iter().map(|name| TableId::new("public", name)).collect();
        let schemas = source.schemas(&tables).await?;
        let held = source.hold(&schemas).await?;
        let at = from.unwrap_or(held);
        source.open(&StreamStart { position: at.clone(), part: 0 }, &schemas).await?;
        Ok(Follow { source, schemas, at })
    }

    /// From a checkpoint, with every table read from its start.
    pub async fn anew(place: &Place, tables: &[&str], at: Position) -> Result<Self> {
        let mut source = place.endpoint().source(&line("p")).await?;
        source.identity().await?;
        let tables: Vec<TableId> = tables.iter().map(|name| TableId::new("public", name)).collect();
        let schemas = source.schemas(&tables).await?;
        source.hold(&schemas).await?;
        source.read_anew(&tables).await?;
        source.open(&StreamStart { position: at.clone(), part: 0 }, &schemas).await?;
        Ok(Follow { source, schemas, at })
    }

    pub async fn next(&mut self, limits: &ReadLimits) -> Result<Read> {
        let read = tokio::time::timeout(Duration::from_secs(60), self.source.next(limits)).await;
        read.expect("something comes")
    }

    /// Everything up to the present head, by transaction.
    pub async fn transactions(&mut self) -> Result<Vec<(Transaction, Vec<Event>)>> {
        let head = self.source.head().await?;
        let mut got: Vec<(Transaction, Vec<Event>)> = vec![];
        let mut open = false;
        while self.at < head {
            match self.next(&LIMITS).await? {
                Read::Progress(to) => self.at = to,
                Read::Batch(batch) => {
                    self.at = batch.end().cloned().unwrap_or(self.at.clone());
                    let first = got.len() - usize::from(open);
                    open = batch.open;
                    for transaction in batch.transactions {
                        if got.last().is_none_or(|last| last.0.position != transaction.position) {
                            got.push((transaction, vec![]));
                        }
                    }
                    batch
                        .events
                        .into_iter()
                        .for_each(|event| got[first + event.transaction as usize].1.push(event));
                }
            }
        }
        Ok(got)
    }

    pub async fn events(&mut self) -> Vec<Event> {
        self.try_events().await.unwrap()
    }

    pub async fn try_events(&mut self) -> Result<Vec<Event>, Error> {
        Ok(self.transactions().await?.into_iter().flat_map(|(_, events)| events).collect())
    }

    /// The whole first table as one chunk.
    pub async fn chunk(&mut self) -> Chunk {
        let mut reader = self.source.chunks().await.unwrap();
        reader.read(&self.schemas[0], &KeyRange::default(), &LIMITS).await.unwrap()
    }
}

/// The images of an event, values as short text: `null`, `absent`, the rest as is.
pub fn shown(event: &Event) -> String {
    let row = |row: &sluice_types::Row| -> String {
        let value = |value: &Value| match value {
            Value::Null => "null".into(),
            Value::Absent => "absent".into(),
            Value::Int64(number) => number.to_string(),
            Value::Text(text) if text.len() > 20 => format!("{}..", &text[..3]),
            Value::Text(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        row.values().iter().map(value).collect::<Vec<_>>().join(",")
    };
    let change = &event.change;
    let before =
        change.identity().filter(|before| change.after() != Some(before)).map(row).unwrap_or_default();
    format!("{} {before}>{}", change.name(), change.after().map(row).unwrap_or_default())
}
