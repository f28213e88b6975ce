//! The sink: data and checkpoint in one transaction of one file.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use sluice_types::ports::{Sink, SinkTx, TargetTable, Written};
use sluice_types::{
    Checkpoint, Error, ErrorKind, Event, Key, PipelineId, Result, Row, TableId, TableSchema, Value,
};

use crate::connection::File;
use crate::decode::{self, Arena};
use crate::preflight;
use crate::schema::{self, Shape};
use crate::worker::{Answer, Worker};
use crate::write::{Plan, Work};

/// Pages that the target's connection caches, in KiB: inserts into indexes come back to the same pages.
const CACHE_KIB: u32 = 16 << 10;
/// Events that are written while the next ones are made ready.
const PIECE_EVENTS: usize = 512;
/// Schemas whose statements are kept; a line has few.
const PLANS_MAX: usize = 1024;

const MAKE_CHECKPOINTS: &str = "CREATE TABLE IF NOT EXISTS sluice_checkpoint(pipeline TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, checkpoint TEXT NOT NULL)";

/// One line's writer of one file.
pub(crate) struct SqliteSink {
    file: Arc<File>,
    worker: Worker<Connection>,
    shapes: HashMap<TableId, Arc<Shape>>,
    /// By the schema's own allocation: a line's events share it.
    plans: HashMap<usize, Arc<Plan>>,
}

impl SqliteSink {
    /// Opens the file, which is made if it is missing.
    pub async fn open(file: Arc<File>) -> Result<Self> {
        let opened = file.clone();
        let make = move || {
            let connection = opened.open_or_create()?;
            // I1: EXTRA is FULL, and the removal of a rollback journal is on the disk too before a commit is told.
            connection
                .execute_batch(&format!("PRAGMA synchronous = EXTRA; PRAGMA cache_size = -{CACHE_KIB}"))
                .map_err(|error| opened.failed(error, "the target can't be set up"))?;
            Ok(connection)
        };
        let worker = Worker::start("sluice-sqlite-write", make).await?;
        Ok(SqliteSink { file, worker, shapes: HashMap::new(), plans: HashMap::new() })
    }

    /// Runs something with the connection; an error of SQLite's is the file's.
    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = self.file.clone();
        self.worker.call(move |connection| work(connection).map_err(|error| file.failed(error, what))).await
    }

    /// The checkpoint that the file holds, within the open transaction if there is one.
    async fn stored(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        let pipeline = pipeline.clone();
        let what = "the checkpoint can't be read";
        let text = self.run(what, move |connection| stored(connection, &pipeline)).await?;
        let read = |text: String| {
            serde_json::from_str(&text).map_err(|error| {
                Error::new(ErrorKind::Corrupt, "the checkpoint in the target can't be read")
                    .because(error)
                    .remedy("It was written by another version, or damaged; `sluice delete` and begin anew")
            })
        };
        text.map(read).transpose()
    }

    /// How events of this schema are written.
    async fn plan(&mut self, schema: &Arc<TableSchema>) -> Result<Arc<Plan>> {
        let address = Arc::as_ptr(schema) as usize;
        // A plan holds its schema, so an address can't be another's while the plan is kept.
        if let Some(plan) = self.plans.get(&address) {
            return Ok(plan.clone());
        }
        let shape = match self.shapes.get(&schema.table) {
            Some(shape) => shape.clone(),
            None => self.load(&schema.table).await?,
        };
        let plan = Arc::new(Plan::new(schema.clone(), &shape)?);
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        self.plans.insert(address, plan.clone());
        Ok(plan)
    }

    async fn load(&mut self, table: &TableId) -> Result<Arc<Shape>> {
        let name = table.clone();
        let shape = self
            .run("the target's tables can't be read", move |connection| {
                schema::shape(connection, &schema::name_in_file(connection, &name)?)
            })
            .await?;
        let shape = Arc::new(shape.ok_or_else(|| {
            Error::new(ErrorKind::TargetSchema, "the target has no such table").at_table(table)
        })?);
        self.shapes.insert(table.clone(), shape.clone());
        Ok(shape)
    }
}

#[async_trait]
impl Sink for SqliteSink {
    async fn missing(&mut self, tables: &[Arc<TableSchema>]) -> Result<Vec<TableId>> {
        let tables: Vec<TableId> = tables.iter().map(|schema| schema.table.clone()).collect();
        self.run("the target's tables can't be read", move |connection| {
            let mut gone = vec![];
            for table in tables {
                if schema::shape(connection, &schema::name_in_file(connection, &table)?)?.is_none() {
                    gone.push(table);
                }
            }
            Ok(gone)
        })
        .await
    }

    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<()> {
        let (file, wanted) = (self.file.clone(), tables.to_vec());
        let shapes = self
            .worker
            .call(move |connection| {
                let failed = |error| file.failed(error, "the target's tables can't be made");
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
                transaction.execute_batch(MAKE_CHECKPOINTS).map_err(failed)?;
                let mut shapes = Vec::with_capacity(wanted.len());
                for table in &wanted {
                    shapes.push((table.schema.table.clone(), prepare(&transaction, &file, &table.schema)?));
                }
                transaction.commit().map_err(failed)?;
                Ok(shapes)
            })
            .await?;
        self.plans.clear();
        self.shapes.extend(shapes.into_iter().map(|(table, shape)| (table, Arc::new(shape))));
        Ok(())
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        self.stored(pipeline).await
    }

    async fn begin(&mut self) -> Result<Box<dyn SinkTx + '_>> {
        self.run("the target can't be written", |connection| {
            // A begin whose caller went away has left its transaction.
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK")?;
            }
            connection.execute_batch("BEGIN IMMEDIATE")
        })
        .await?;
        Ok(Box::new(SqliteTx { sink: self, ended: false, marked: false }))
    }

    async fn forget(&mut self, pipeline: &PipelineId) -> Result<()> {
        let pipeline = pipeline.to_string();
        self.run("the checkpoint can't be removed", move |connection| {
            if has_checkpoints(connection)? {
                connection.execute("DELETE FROM sluice_checkpoint WHERE pipeline = ?1", [pipeline])?;
            }
            Ok(())
        })
        .await
    }
}

/// The table as it is, made if it is missing.
fn prepare(connection: &Connection, file: &File, schema: &TableSchema) -> Result<Shape> {
    let failed = |error| file.failed(error, "the target's table can't be made").at_table(&schema.table);
    let name = schema::name_in_file(connection, &schema.table).map_err(failed)?;
    if schema::shape(connection, &name).map_err(failed)?.is_none() {
        connection.execute_batch(&preflight::create(&name, schema)).map_err(failed)?;
    }
    let shape = schema::shape(connection, &name).map_err(failed)?;
    let shape = shape.ok_or_else(|| Error::new(ErrorKind::Internal, "a table that was made is not there"))?;
    match preflight::misfits(&shape, schema).into_iter().next() {
        None => Ok(shape),
        Some((what, remedy)) => {
            Err(Error::new(ErrorKind::TargetSchema, what).remedy(remedy).at_table(&schema.table))
        }
    }
}

/// The text of a line's checkpoint.
pub(crate) fn stored(connection: &Connection, line: &PipelineId) -> rusqlite::Result<Option<String>> {
    if !has_checkpoints(connection)? {
        return Ok(None);
    }
    let sql = "SELECT checkpoint FROM sluice_checkpoint WHERE pipeline = ?1";
    connection.query_row(sql, [&*line.0], |row| row.get(0)).optional()
}

fn has_checkpoints(connection: &Connection) -> rusqlite::Result<bool> {
    schema::kinds(connection).map(|kinds| kinds.contains_key("sluice_checkpoint"))
}

/// A transaction of the file.
struct SqliteTx<'a> {
    sink: &'a mut SqliteSink,
    /// Committed, or rolled back by a commit that failed.
    ended: bool,
    /// There is a savepoint.
    marked: bool,
}

impl Drop for SqliteTx<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The thread runs it before whatever comes next; if it has ended, its connection is closed and nothing happened either.
        let _ = self.sink.worker.post(|connection| {
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
        });
    }
}

#[async_trait]
impl SinkTx for SqliteTx<'_> {
    async fn current(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        let plan = self.sink.plan(table).await?;
        let (sql, keys) = plan.lookup(keys)?;
        let (columns, slots) = (plan.slots(), table.slots());
        self.sink
            .run("the target can't be read", move |connection| {
                let mut statement = connection.prepare_cached(&sql)?;
                let mut arena = Arena::default();
                let mut found = Vec::with_capacity(keys.len());
                for key in keys {
                    for (index, value) in key.iter().enumerate() {
                        statement.raw_bind_parameter(index + 1, value)?;
                    }
                    let mut rows = statement.raw_query();
                    let row = rows.next()?.map(|stored| {
                        let mut values = vec![Value::Absent; slots];
                        for (index, slot) in columns.iter().enumerate() {
                            values[*slot as usize] = decode::value(stored.get_ref(index)?, &mut arena);
                        }
                        Ok::<_, rusqlite::Error>(Row::new(values))
                    });
                    found.push(row.transpose()?);
                }
                Ok(found)
            })
            .await
    }

    async fn as_stored(&mut self, table: &Arc<TableSchema>, images: Vec<Row>) -> Result<Vec<Row>> {
        let plan = self.sink.plan(table).await?;
        Ok(images.into_iter().map(|image| plan.as_stored(&image)).collect())
    }

    async fn write(&mut self, events: &[Event]) -> Result<Written> {
        let mut written = Written::default();
        let mut running: Option<Answer<Written>> = None;
        for (piece, events) in events.chunks(PIECE_EVENTS).enumerate() {
            let mut work = Work::default();
            let mut refused = Ok(());
            for (index, event) in (piece * PIECE_EVENTS..).zip(events) {
                let plan = self.sink.plan(&event.table).await?;
                refused = work.add(index, event, &plan);
                if refused.is_err() {
                    break;
                }
            }
            // The error of the earlier event comes first.
            if let Some(running) = running.take() {
                written.add(running.await?);
            }
            refused?;
            let file = self.sink.file.clone();
            running = Some(self.sink.worker.start_call(move |connection| work.run(connection, &file))?);
        }
        if let Some(running) = running {
            written.add(running.await?);
        }
        Ok(written)
    }

    async fn savepoint(&mut self) -> Result<()> {
        let sql = if self.marked { "RELEASE sluice; SAVEPOINT sluice" } else { "SAVEPOINT sluice" };
        self.sink
            .run("the target can't mark a savepoint", move |connection| connection.execute_batch(sql))
            .await?;
        self.marked = true;
        Ok(())
    }

    async fn rollback_to_savepoint(&mut self) -> Result<()> {
        let sql = "ROLLBACK TO sluice";
        self.sink
            .run("the target can't go back to its savepoint", move |connection| connection.execute_batch(sql))
            .await
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        self.sink.stored(pipeline).await
    }

    async fn save(&mut self, checkpoint: &Checkpoint, expected: Option<u64>) -> Result<()> {
        let text = serde_json::to_string(checkpoint).map_err(|error| {
            Error::new(ErrorKind::Internal, "the checkpoint can't be written").because(error)
        })?;
        let (pipeline, epoch) = (checkpoint.pipeline.to_string(), checkpoint.epoch as i64);
        let saved = self
            .sink
            .run("the checkpoint can't be saved", move |connection| match expected {
                None => connection.execute(
                    "INSERT INTO sluice_checkpoint VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    (pipeline, epoch, text),
                ),
                Some(expected) => connection.execute(
                    "UPDATE sluice_checkpoint SET epoch = ?2, checkpoint = ?3 WHERE pipeline = ?1 AND epoch = ?4",
                    (pipeline, epoch, text, expected as i64),
                ),
            })
            .await?;
        if saved == 1 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Fenced, "another engine has taken the pipeline over in this target")
            .remedy("Only one engine may run a pipeline; stop the other, or this one"))
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.sink
            .run("the target can't commit", |connection| {
                let done = connection.execute_batch("COMMIT");
                // A commit that could not get its lock leaves the transaction open.
                if done.is_err() && !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK")?;
                }
                done
            })
            .await?;
        self.ended = true;
        Ok(())
    }
}
