//! The short writes at the source: the log, its triggers, a line's read mark, and the purge of what every line has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use sluice_types::{Error, ErrorKind, Result, TableId, TableSchema};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::capture::{self, Captured, LineId, Place, broken_log};
use crate::connection::File;
use crate::schema::{self, Shape, TableKind};
use crate::worker::Worker;

/// The read mark is moved, and the log purged, at most once in this time: each is a commit in the file that the source's own
/// writer wants to write to.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Entries that one transaction of the purge deletes.
const PURGE_ENTRIES: i64 = 2000;
/// Entries that a mark may keep in the log before that is worth a warning when a source opens: some hundred MiB in the file.
const KEPT_WARN: i64 = 1_000_000;
/// Between two of them, so that a writer that waits for the lock gets it.
const PURGE_PAUSE: Duration = Duration::from_millis(2);

/// Writes to the source's file, on a connection of its own.
pub(crate) struct Maintainer {
    worker: Arc<Worker<Connection>>,
    file: Arc<File>,
    line: Arc<LineId>,
    confirmed: watch::Sender<u64>,
    flusher: JoinHandle<()>,
    /// What the flusher met; told by the next confirm.
    trouble: Arc<Mutex<Option<Error>>>,
}

impl Maintainer {
    pub async fn start(file: Arc<File>, line: Arc<LineId>) -> Result<Self> {
        let opened = file.clone();
        let worker = Arc::new(Worker::start("sluice-sqlite-mark", move || opened.open()).await?.let_finish());
        let (confirmed, news) = watch::channel(0);
        let trouble = Arc::new(Mutex::new(None));
        let flusher =
            tokio::spawn(flush_often(worker.clone(), file.clone(), line.clone(), news, trouble.clone()));
        Ok(Maintainer { worker, file, line, confirmed, flusher, trouble })
    }

    /// The log's identity; the log is made if there is none.
    pub async fn identity(&self) -> Result<String> {
        let file = self.file.clone();
        self.worker
            .call(move |connection| {
                if capture::has_log(connection)
                    .map_err(|error| file.failed(error, "the file can't be read"))?
                {
                    return capture::ensure_log(connection).map_err(broken_log);
                }
                write(connection, &file, |connection| capture::ensure_log(connection).map_err(broken_log))
            })
            .await
    }

    /// Tables with their shapes; a missing one is an error.
    pub async fn shapes(&self, tables: Vec<TableId>) -> Result<Vec<(TableId, Shape)>> {
        let file = self.file.clone();
        self.worker
            .call(move |connection| {
                tables
                    .into_iter()
                    .map(|table| {
                        let shape = table_shape(connection, &file, &table)?;
                        Ok((table, shape))
                    })
                    .collect()
            })
            .await
    }

    /// Captures tables; see [`capture::hold`].
    pub async fn hold(
        &self,
        tables: Vec<Arc<TableSchema>>,
    ) -> Result<(Place, Vec<(Captured, Shape, Arc<TableSchema>)>)> {
        let (file, line) = (self.file.clone(), self.line.clone());
        self.worker
            .call(move |connection| {
                write(connection, &file, |connection| {
                    capture::ensure_log(connection).map_err(broken_log)?;
                    let wanted: Vec<(TableId, Shape, Vec<usize>)> = tables
                        .iter()
                        .map(|schema| {
                            let shape = table_shape(connection, &file, &schema.table)?;
                            let key = capture::key_in(&shape, schema)?;
                            Ok((schema.table.clone(), shape, key))
                        })
                        .collect::<Result<_>>()?;
                    let (place, captured) = capture::hold(connection, &line, &wanted)?;
                    let shapes = wanted.into_iter().map(|(_, shape, _)| shape);
                    let held = captured
                        .into_iter()
                        .zip(shapes)
                        .zip(tables)
                        .map(|((c, shape), schema)| (c, shape, schema));
                    Ok((place, held.collect()))
                })
            })
            .await
    }

    /// Proves that the log can deliver from a place (I12), and warns of what makes it grow.
    pub async fn prove(&self, from: Place) -> Result<()> {
        let file = self.file.clone();
        self.worker
            .call(move |connection| {
                capture::prove(connection, from)?;
                warn_of_growth(connection, &file).map_err(broken_log)
            })
            .await
    }

    /// Gives up tables; see [`capture::detach`].
    pub async fn detach(&self, tables: Vec<TableId>) -> Result<bool> {
        let (file, line) = (self.file.clone(), self.line.clone());
        self.worker
            .call(move |connection| {
                if !capture::has_log(connection)
                    .map_err(|error| file.failed(error, "the file can't be read"))?
                {
                    return Ok(false);
                }
                write(connection, &file, |connection| {
                    let name = |table: &TableId| schema::name_in_file(connection, table).map_err(broken_log);
                    let names = tables.iter().map(name).collect::<Result<Vec<_>>>()?;
                    capture::detach(connection, &line, &names).map_err(broken_log)
                })
            })
            .await
    }

    /// Everything up to here is durable in the target (I1): it may be purged, soon.
    pub fn confirm(&self, id: u64) -> Result<()> {
        if let Some(error) = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        self.confirmed.send_modify(|confirmed| *confirmed = id.max(*confirmed));
        Ok(())
    }

    /// Removes what was made for this line.
    pub async fn release(&self) -> Result<()> {
        self.flusher.abort();
        let (file, line) = (self.file.clone(), self.line.clone());
        self.worker
            .call(move |connection| {
                if !capture::has_log(connection)
                    .map_err(|error| file.failed(error, "the file can't be read"))?
                {
                    return Ok(());
                }
                write(connection, &file, |connection| capture::release(connection, &line).map_err(broken_log))
            })
            .await
    }
}

impl Drop for Maintainer {
    fn drop(&mut self) {
        self.flusher.abort();
        let id = *self.confirmed.borrow();
        if id > 0 && !self.flusher.is_finished() {
            let (file, line) = (self.file.clone(), self.line.clone());
            // The last mark, if the thread still lives; a mark that stays behind only keeps more of the log.
            let _ = self.worker.post(move |connection| {
                let _ = flush(connection, &file, &line, id);
            });
        }
    }
}

/// A table by its name in the configuration; an error if it is none that can be captured.
pub(crate) fn table_shape(connection: &Connection, file: &File, table: &TableId) -> Result<Shape> {
    let read = || schema::shape(connection, &schema::name_in_file(connection, table)?);
    let shape =
        read().map_err(|error| file.failed(error, "the file's tables can't be read").at_table(table))?;
    let missing = |what: &'static str, remedy: &'static str| {
        Err(Error::new(ErrorKind::TableMissing, what)
            .remedy(remedy)
            .at_table(table)
            .at(|place| place.database = Some(file.database.clone())))
    };
    match shape {
        None => {
            missing("there is no such table in the file", "Check its name; names with a dot need no quotes")
        }
        Some(shape) if shape.kind != TableKind::Table => missing(
            "views and virtual tables have no changes to capture",
            "Name the tables behind it instead",
        ),
        Some(shape) => Ok(shape),
    }
}

/// I10: a log that only grows is told, with the mark that keeps it.
fn warn_of_growth(connection: &Connection, file: &File) -> rusqlite::Result<()> {
    let behind = capture::behind(connection)?;
    if let Some(most) = behind.first().filter(|most| most.changes > KEPT_WARN) {
        tracing::warn!(
            database = %file.database,
            changes = most.changes,
            pipeline = %most.line.pipeline,
            installation = %most.line.install,
            idle_seconds = most.idle_seconds,
            "the change log keeps many changes for a pipeline that has not confirmed them; if it will not come back, run in the \
             source's file: {}",
            most.removal()
        );
    }
    Ok(())
}

/// One short write transaction.
fn write<T>(
    connection: &mut Connection,
    file: &File,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    let failed = |error| file.failed(error, "the source's file can't be written");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let done = work(&transaction)?;
    transaction.commit().map_err(failed)?;
    Ok(done)
}

/// Moves the mark and purges, whenever something was confirmed, and not more often than it should.
async fn flush_often(
    worker: Arc<Worker<Connection>>,
    file: Arc<File>,
    line: Arc<LineId>,
    mut confirmed: watch::Receiver<u64>,
    trouble: Arc<Mutex<Option<Error>>>,
) {
    while confirmed.changed().await.is_ok() {
        let id = *confirmed.borrow_and_update();
        loop {
            let (file, line) = (file.clone(), line.clone());
            match worker.call(move |connection| flush(connection, &file, &line, id)).await {
                Ok(true) => tokio::time::sleep(PURGE_PAUSE).await,
                Ok(false) => break,
                // The next time will do: a mark that stays behind only keeps more of the log.
                Err(error) if error.kind() == ErrorKind::Busy => break,
                Err(error) => {
                    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    break;
                }
            }
        }
        tokio::time::sleep(FLUSH_EVERY).await;
    }
}

/// Moves the mark and deletes some of what every line has passed; whether there is more.
fn flush(connection: &mut Connection, file: &File, line: &LineId, id: u64) -> Result<bool> {
    write(connection, file, |connection| {
        capture::purge(connection, line, id, PURGE_ENTRIES).map_err(broken_log)
    })
}
