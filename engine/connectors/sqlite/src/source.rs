//! The source: one line's reader of one file.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_types::ports::{ChunkReader, Lag, LineContext, Read, ReadLimits, Source, StreamStart};
use sluice_types::{Error, ErrorKind, Key, Mark, Position, Result, Row, TableId, TableSchema, Visibility};

use crate::capture::{LineId, Place};
use crate::connection::File;
use crate::maintain::Maintainer;
use crate::snapshot::SqliteChunks;
use crate::stream::{Cursor, Reader, Taken};
use crate::table::{Table, Tables};
use crate::watch::{Boundaries, Watch};
use crate::worker::{Answer, Worker};

/// One line's reader of one file.
pub(crate) struct SqliteSource {
    file: Arc<File>,
    line: LineContext,
    maintainer: Maintainer,
    boundaries: Boundaries,
    /// What `hold` holds.
    held: Option<Held>,
    /// What `open` opened.
    stream: Option<Stream>,
}

struct Stream {
    watch: Watch,
    cursor: Cursor,
    /// What is being read behind the cursor. It outlives a `next` that nobody waits for any more: a reader that is called away more
    /// often than a read takes would otherwise begin it again and again, and never get on.
    reading: Option<Answer<Option<Taken>>>,
}

struct Held {
    tables: Tables,
    reader: Worker<Reader>,
}

impl SqliteSource {
    pub async fn open(file: Arc<File>, line: LineContext) -> Result<Self> {
        let id = LineId { install: line.install.to_string(), pipeline: line.pipeline.to_string() };
        let maintainer = Maintainer::start(file.clone(), Arc::new(id)).await?;
        Ok(SqliteSource {
            file,
            line,
            maintainer,
            boundaries: Boundaries::default(),
            held: None,
            stream: None,
        })
    }

    fn held(&self) -> Result<&Held> {
        self.held
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the source was read before it held its tables"))
    }

    async fn read_tables(&self, tables: Tables) -> Result<Held> {
        let (file, boundaries, clock) = (self.file.clone(), self.boundaries.clone(), self.line.clock.clone());
        let of_reader = tables.clone();
        let make = move || Reader::new(file, of_reader, boundaries, clock);
        Ok(Held { tables, reader: Worker::start("sluice-sqlite-read", make).await? })
    }
}

#[async_trait]
impl Source for SqliteSource {
    async fn identity(&mut self) -> Result<Arc<str>> {
        Ok(format!("sqlite:{}", self.maintainer.identity().await?).into())
    }

    async fn schemas(&mut self, tables: &[TableId]) -> Result<Vec<Arc<TableSchema>>> {
        let shapes = self.maintainer.shapes(tables.to_vec()).await?;
        let schema = |(table, shape): (TableId, crate::schema::Shape)| {
            Arc::new(TableSchema { table, ..shape.schema(&self.file.database) })
        };
        Ok(shapes.into_iter().map(schema).collect())
    }

    async fn hold(&mut self, tables: &[Arc<TableSchema>]) -> Result<Position> {
        // I5: durable before the line reads the first row.
        let (place, held) = self.maintainer.hold(tables.to_vec()).await?;
        let tables: Vec<Arc<Table>> = held
            .into_iter()
            .map(|(captured, shape, schema)| Table::new(captured, &shape, schema).map(Arc::new))
            .collect::<Result<_>>()?;
        self.held = Some(self.read_tables(Tables::new(tables)).await?);
        // The reader of the tables held so far is gone, and what it was about to read is read anew.
        if let Some(stream) = &mut self.stream {
            stream.reading = None;
        }
        Ok(place.position())
    }

    async fn open(&mut self, from: &StreamStart, tables: &[Arc<TableSchema>]) -> Result<()> {
        let place = Place::of(&from.position)?;
        let held = self.held()?;
        for table in tables {
            if held.tables.find(&table.table).is_none() {
                return Err(Error::new(ErrorKind::Internal, "a table was opened that is not held")
                    .at_table(&table.table));
            }
        }
        // I12: nothing is started that could begin elsewhere.
        self.maintainer.prove(place).await?;
        let watch = Watch::start(self.file.clone(), self.boundaries.clone(), self.line.clock.clone())?;
        let cursor = Cursor { at: place.id, open: None, index: 0, skip: from.part };
        self.stream = Some(Stream { watch, cursor, reading: None });
        Ok(())
    }

    async fn next(&mut self, limits: &ReadLimits) -> Result<Read> {
        let not_open = || Error::new(ErrorKind::Internal, "the stream was read before it was opened");
        let reader = &self.held.as_ref().ok_or_else(not_open)?.reader;
        let Stream { watch, cursor, reading } = self.stream.as_mut().ok_or_else(not_open)?;
        let limits = *limits;
        loop {
            let answer = match reading {
                Some(answer) => answer,
                None => {
                    // Marked as seen before the look: what comes during the look wakes the wait.
                    watch.changed.borrow_and_update();
                    let from = cursor.clone();
                    reading.insert(reader.start_call(move |reader| reader.next(&from, limits))?)
                }
            };
            let taken = answer.await;
            *reading = None;
            match taken? {
                Some(taken) => {
                    *cursor = taken.cursor;
                    if let Some(read) = taken.read {
                        return Ok(read);
                    }
                }
                None => {
                    watch.changed.changed().await.map_err(|_| {
                        Error::new(ErrorKind::Internal, "the thread that watches the file ended")
                    })?
                }
            }
        }
    }

    async fn head(&mut self) -> Result<Position> {
        let end = self.held()?.reader.call(Reader::end).await?;
        Ok(end.position())
    }

    async fn chunks(&mut self) -> Result<Box<dyn ChunkReader>> {
        let tables = self.held()?.tables.clone();
        let (file, boundaries) = (self.file.clone(), self.boundaries.clone());
        Ok(Box::new(SqliteChunks::open(file, tables, boundaries, self.line.clock.clone()).await?))
    }

    async fn reread(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<(Vec<Option<Row>>, Mark)> {
        let held = self.held()?;
        let table = held.tables.find(&table.table).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a table was read again that is not held").at_table(&table.table)
        })?;
        let keys = keys.to_vec();
        let (rows, place) = held.reader.call(move |reader| reader.reread(&table, &keys)).await?;
        Ok((rows, Mark { high: place.position(), visibility: Visibility::ByPosition }))
    }

    async fn confirm(&mut self, durable: &Position) -> Result<()> {
        self.maintainer.confirm(Place::of(durable)?.id)
    }

    async fn lag(&mut self, position: &Position) -> Result<Lag> {
        let at = Place::of(position)?.id;
        let end = self.held()?.reader.call(Reader::end).await?;
        let amount = end.id.saturating_sub(at);
        let oldest_micros = (amount > 0).then(|| self.boundaries.seen_after(at)).flatten();
        Ok(Lag { amount, unit: "changes", oldest_micros })
    }

    async fn detach(&mut self, tables: &[TableId]) -> Result<bool> {
        self.held = None;
        self.stream = None;
        self.maintainer.detach(tables.to_vec()).await
    }

    async fn release(&mut self) -> Result<()> {
        self.held = None;
        self.stream = None;
        self.maintainer.release().await
    }
}
