//! The plainest follower of a source: chunks are upserts, every event is applied, into a memory database.

use std::sync::Arc;

use sluice_types::ports::{Endpoint, LineContext, Sink};
use sluice_types::{Change, Chunk, Event, Row, TableSchema, Value};

use super::world::{event, sorted, target};
use crate::memory::{Database, Options};

/// A copy of a table that is kept from what a source delivers.
pub(super) struct Replica {
    database: Database,
    sink: Box<dyn Sink>,
    schema: Arc<TableSchema>,
}

impl Replica {
    pub async fn of(schema: &Arc<TableSchema>, context: &LineContext) -> Self {
        let database = Database::new(Options::default());
        let mut sink = database.sink(context).await.unwrap();
        sink.prepare(&[target(schema)]).await.unwrap();
        Replica { database, sink, schema: schema.clone() }
    }

    pub async fn chunk(&mut self, chunk: &Chunk) {
        let upserts: Vec<Event> =
            chunk.rows.iter().map(|row| event(&self.schema, Change::Snapshot(row.clone()), 0)).collect();
        self.apply(&upserts).await;
    }

    /// Applies events. An update with absent values whose row is not here is of a row that was gone when its chunk was read:
    /// the delete comes later in the stream.
    pub async fn apply(&mut self, events: &[Event]) {
        let mut transaction = self.sink.begin().await.unwrap();
        transaction.write(events).await.unwrap();
        transaction.commit().await.unwrap();
    }

    pub fn rows(&self) -> Vec<Vec<Value>> {
        let rows: Vec<Row> = self.database.rows(&self.schema.table);
        sorted(&self.schema, rows)
    }
}
