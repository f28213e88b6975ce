//! Chunks: ranges of a table by key, each read in one short transaction that also reads where the log stands.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use sluice_types::ports::{ChunkReader, Clock, ReadLimits};
use sluice_types::{Chunk, Error, ErrorKind, Key, KeyRange, Mark, Result, TableSchema, Value, Visibility};

use crate::capture;
use crate::connection::{File, quote};
use crate::decode::Arena;
use crate::table::{Table, Tables};
use crate::values::Bound;
use crate::watch::Boundaries;
use crate::worker::{HasConnection, Worker};

/// A reader of chunks on a thread and connection of its own.
pub(crate) struct SqliteChunks(Worker<Chunks>);

struct Chunks {
    connection: Connection,
    file: Arc<File>,
    tables: Tables,
    boundaries: Boundaries,
    clock: Arc<dyn Clock>,
}

impl HasConnection for Chunks {
    fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl SqliteChunks {
    /// Opens the connection.
    pub async fn open(
        file: Arc<File>,
        tables: Tables,
        boundaries: Boundaries,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let make = move || Ok(Chunks { connection: file.open()?, file, tables, boundaries, clock });
        Ok(SqliteChunks(Worker::start("sluice-sqlite-chunks", make).await?))
    }
}

#[async_trait]
impl ChunkReader for SqliteChunks {
    async fn divide(
        &mut self,
        table: &Arc<TableSchema>,
        parts: usize,
    ) -> Result<(Vec<KeyRange>, Option<u64>)> {
        let schema = table.clone();
        self.0.call(move |chunks| chunks.within(&schema, |chunks, table| chunks.divide(table, parts))).await
    }

    async fn read(
        &mut self,
        table: &Arc<TableSchema>,
        range: &KeyRange,
        limits: &ReadLimits,
    ) -> Result<Chunk> {
        let (schema, range, limits) = (table.clone(), range.clone(), *limits);
        self.0
            .call(move |chunks| chunks.within(&schema, |chunks, table| chunks.read(table, &range, limits)))
            .await
    }
}

impl Chunks {
    /// Runs a read in one transaction, in which the table is proved to be captured still.
    fn within<T>(
        &mut self,
        schema: &TableSchema,
        read: impl FnOnce(&Self, &Table) -> Result<T>,
    ) -> Result<T> {
        let begun = self.connection.execute_batch("BEGIN");
        begun.map_err(|error| self.file.failed(error, "the file can't be read"))?;
        let done = (|| {
            self.tables.prove(&self.connection, &self.file)?;
            let table = self.tables.find(&schema.table).cloned().ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a chunk of a table that is not held").at_table(&schema.table)
            })?;
            read(self, &table)
        })();
        let ended = self.connection.execute_batch("ROLLBACK");
        let done = done?;
        ended.map_err(|error| self.file.failed(error, "the read could not be ended"))?;
        Ok(done)
    }

    fn failed(&self, error: rusqlite::Error, table: &Table) -> Error {
        self.file.failed(error, "the table can't be read").at_table(&table.schema.table)
    }

    fn divide(&self, table: &Table, parts: usize) -> Result<(Vec<KeyRange>, Option<u64>)> {
        self.refuse_null_keys(table)?;
        let whole = vec![KeyRange::default()];
        let [term] = table.key_terms() else { return Ok((whole, None)) };
        let from = quote(&table.captured.name);
        let sql = format!("SELECT (SELECT min({term}) FROM {from}), (SELECT max({term}) FROM {from})");
        let ends = self
            .connection
            .query_row(&sql, [], |row| {
                let integer = |index| row.get_ref(index).map(|value| value.as_i64().ok());
                Ok((integer(0)?, integer(1)?))
            })
            .map_err(|error| self.failed(error, table))?;
        let (Some(least), Some(greatest)) = ends else { return Ok((whole, None)) };
        let span = i128::from(greatest) - i128::from(least) + 1;
        let parts = (parts.max(1) as i128).min(span);
        let cut = |part: i128| Key(vec![Value::Int64((i128::from(least) + span * part / parts - 1) as i64)]);
        // The first and last range are open: rows may be added at either end.
        let ranges = (0..parts).map(|part| KeyRange {
            after: (part > 0).then(|| cut(part)),
            upto: (part + 1 < parts).then(|| cut(part + 1)),
        });
        Ok((ranges.collect(), u64::try_from(span).ok()))
    }

    /// Rows with a null in their key would be in no range: they are found here, and told, before any is read.
    fn refuse_null_keys(&self, table: &Table) -> Result<()> {
        if table.schema.key_columns().all(|column| !column.nullable) {
            return Ok(());
        }
        let nulls: Vec<String> = table.key_terms().iter().map(|term| format!("{term} IS NULL")).collect();
        let from = quote(&table.captured.name);
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {from} WHERE {})", nulls.join(" OR "));
        let any: bool = self
            .connection
            .query_row(&sql, [], |row| row.get(0))
            .map_err(|error| self.failed(error, table))?;
        if any { Err(table.null_key()) } else { Ok(()) }
    }

    fn read(&self, table: &Table, range: &KeyRange, limits: ReadLimits) -> Result<Chunk> {
        let failed = |error| self.failed(error, table);
        let place = capture::last(&self.connection).map_err(capture::broken_log)?;
        self.boundaries.observe(place, self.clock.now_micros());
        let mark = Mark { high: place.position(), visibility: Visibility::ByPosition };
        let terms = table.key_terms().join(", ");
        let holes = vec!["?"; table.key_terms().len()].join(", ");
        let mut conditions = Vec::new();
        if range.after.is_some() {
            conditions.push(format!("({terms}) > ({holes})"));
        }
        if range.upto.is_some() {
            conditions.push(format!("({terms}) <= ({holes})"));
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let sql = format!("{}{condition} ORDER BY {terms}", table.select());
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let values = range.after.iter().chain(&range.upto).flat_map(|key| &key.0);
        for (index, value) in values.enumerate() {
            statement.raw_bind_parameter(index + 1, Bound::of_source(value)).map_err(failed)?;
        }
        let mut stored = statement.raw_query();
        let mut arena = Arena::default();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < limits.rows.max(1) && bytes < limits.bytes.max(1) {
            let Some(one) = stored.next().map_err(failed)? else {
                return Ok(Chunk { rows, mark, next: None });
            };
            let row = table.row(one, 0, &mut arena).map_err(failed)?;
            bytes += row.weight();
            rows.push(row);
        }
        let next = rows.last().map(|row| table.key_of(row)).transpose()?;
        Ok(Chunk { rows, mark, next })
    }
}
