//! The memory database as a source.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use sluice_types::ports::{Altered, ChunkReader, Lag, Read, ReadLimits, Source, StreamStart};
use sluice_types::{
    Batch, Chunk, Error, ErrorKind, Event, Key, KeyRange, Mark, PipelineId, Position, Result, Row, TableId,
    TableSchema, Transaction,
};
use tokio::sync::watch;

use super::database::{Core, Database, position};
use super::log::Logged;
use super::table::RowKey;

/// A line's reader of a memory database.
pub(super) struct MemorySource {
    database: Database,
    pipeline: PipelineId,
    generation: u64,
    stirred: watch::Receiver<u64>,
    stream: Option<Stream>,
}

/// What has been delivered.
struct Stream {
    tables: BTreeMap<TableId, Arc<TableSchema>>,
    /// Everything up to here.
    position: u64,
    /// And so many events of the next transaction.
    part: u64,
    /// What an earlier session has delivered ends here.
    earlier: u64,
}

impl MemorySource {
    pub(super) fn connect(database: Database, pipeline: PipelineId) -> Result<Self> {
        let generation = database.core().generation;
        database.core().reached(generation)?;
        let stirred = database.shared.stirred.subscribe();
        Ok(MemorySource { database, pipeline, generation, stirred, stream: None })
    }

    /// Runs `work` if the connection still stands.
    fn ask<T>(&self, work: impl FnOnce(&mut Core) -> Result<T>) -> Result<T> {
        let mut core = self.database.core();
        core.reached(self.generation)?;
        work(&mut core)
    }

    /// The next changes that are there already.
    fn gather(&mut self, limits: &ReadLimits) -> Result<Option<Read>> {
        let options = &self.database.shared.options;
        let core = self.database.core();
        core.reached(self.generation)?;
        let Some(stream) = &mut self.stream else {
            return Err(Error::new(ErrorKind::Internal, "`next` was called before `open`"));
        };
        if core.kept_after > stream.position {
            return Err(lost(stream.position, core.kept_after));
        }
        if let Some(table) = stream.tables.keys().find(|table| !core.captured.contains(*table)) {
            return Err(Error::new(ErrorKind::CaptureBroken, "the table is not captured").at_table(table));
        }
        core.unaltered(stream.tables.keys())?;
        let first = core.log.partition_point(|logged| logged.position <= stream.position);
        let mut batch = Batch::default();
        let mut weight = 0;
        for logged in core.log.range(first..) {
            let events = stream.events(logged, batch.transactions.len() as u32, options);
            if events.is_empty() {
                continue;
            }
            let heavy = weight + events.iter().map(|event| event.change.weight()).sum::<usize>();
            let large = events.len() > limits.rows;
            if !batch.events.is_empty()
                && (large || batch.events.len() >= limits.rows || heavy > limits.bytes)
            {
                break;
            }
            weight = heavy;
            batch.transactions.push(logged.transaction(options.late_visibility));
            if large {
                // One larger than the limits comes alone, in pieces.
                stream.part += limits.rows as u64;
                batch.events.extend(events.into_iter().take(limits.rows));
                batch.open = true;
                return Ok(Some(Read::Batch(batch)));
            }
            batch.events.extend(events);
            (stream.position, stream.part) = (logged.position, 0);
        }
        if !batch.events.is_empty() {
            return Ok(Some(Read::Batch(batch)));
        }
        if core.end > stream.position {
            (stream.position, stream.part) = (core.end, 0);
            return Ok(Some(Read::Progress(position(core.end))));
        }
        Ok(None)
    }
}

impl Core {
    /// Refuses tables that were altered and are not accepted yet.
    fn unaltered<'a>(&self, mut tables: impl Iterator<Item = &'a TableId>) -> Result<()> {
        match tables.find_map(|table| self.altered.get_key_value(table)) {
            Some((table, times)) => Err(Error::new(ErrorKind::SchemaChanged, "the table was altered")
                .at_table(table)
                .seen_as(times.to_string())),
            None => Ok(()),
        }
    }
}

impl Stream {
    /// The events of a transaction that are still to be delivered.
    fn events(&self, logged: &Logged, transaction: u32, options: &super::Options) -> Vec<Event> {
        let ours = logged.ops.iter().filter_map(|op| Some((op, self.tables.get(op.table())?)));
        let events = ours.enumerate().map(|(index, (op, schema))| {
            let change = op.change(schema, options.before, options.after);
            Event::new(schema.clone(), change, transaction, index as u64)
        });
        events.skip(self.part as usize).collect()
    }
}

impl Logged {
    fn transaction(&self, by_xid: bool) -> Transaction {
        Transaction {
            position: position(self.position),
            committed_micros: Some(self.committed_micros),
            origin: None,
            xid: by_xid.then_some(self.xid),
        }
    }
}

fn lost(from: u64, kept_after: u64) -> Error {
    let what = format!("the log starts after {kept_after}, the target stands at {from}");
    Error::new(ErrorKind::PositionLost, what).remedy("Read the tables again: `sluice resnapshot`.")
}

fn number(position: &Position) -> Result<u64> {
    let strange = || Error::new(ErrorKind::Internal, "a position of another source was handed in");
    position.number().ok_or_else(strange)
}

fn table_missing(table: &TableId) -> Error {
    Error::new(ErrorKind::TableMissing, "there is no such table").at_table(table)
}

#[async_trait]
impl Source for MemorySource {
    async fn identity(&mut self) -> Result<Arc<str>> {
        self.ask(|core| Ok(core.identity.clone()))
    }

    async fn schemas(&mut self, tables: &[TableId]) -> Result<Vec<Arc<TableSchema>>> {
        let schema = |core: &Core, name: &TableId| {
            core.tables.get(name).map(|table| table.schema.clone()).ok_or_else(|| table_missing(name))
        };
        self.ask(|core| tables.iter().map(|name| schema(core, name)).collect())
    }

    async fn accept(&mut self, tables: &[Altered]) -> Result<()> {
        self.ask(|core| {
            for Altered { table, seen } in tables {
                let now = core.altered.get(table).map(u64::to_string);
                if seen.is_none() || seen.as_deref() == now.as_deref() {
                    core.altered.remove(table);
                }
            }
            Ok(())
        })
    }

    async fn hold(&mut self, tables: &[Arc<TableSchema>]) -> Result<Position> {
        self.ask(|core| {
            core.unaltered(tables.iter().map(|table| &table.table))?;
            if let Some(missing) = tables.iter().find(|table| !core.tables.contains_key(&table.table)) {
                return Err(table_missing(&missing.table));
            }
            if !core.marks.contains_key(&self.pipeline) {
                // As the making of a slot does: everything before the start is visible to every snapshot that follows.
                core.reveal_all();
            }
            core.captured.extend(tables.iter().map(|table| table.table.clone()));
            if core.marks.is_empty() {
                (core.kept_after, core.log) = (core.end, Default::default());
            }
            let end = core.end;
            Ok(position(*core.marks.entry(self.pipeline.clone()).or_insert(end)))
        })
    }

    async fn open(&mut self, from: &StreamStart, tables: &[Arc<TableSchema>]) -> Result<()> {
        let at = number(&from.position)?;
        let earlier = self.ask(|core| {
            // I12: the log must hold everything after `from`; a position that it never reached is another history's.
            if core.kept_after > at || core.end < at || !core.marks.contains_key(&self.pipeline) {
                return Err(lost(at, core.kept_after));
            }
            let begun = core.log.iter().map(|logged| logged.position).find(|position| *position > at);
            Ok(begun.filter(|_| from.part > 0).unwrap_or(at))
        })?;
        let tables = tables.iter().map(|table| (table.table.clone(), table.clone())).collect();
        self.stream = Some(Stream { tables, position: at, part: from.part, earlier });
        Ok(())
    }

    async fn next(&mut self, limits: &ReadLimits) -> Result<Read> {
        loop {
            self.stirred.borrow_and_update();
            if let Some(read) = self.gather(limits)? {
                return Ok(read);
            }
            let gone = |_| Error::new(ErrorKind::Unreachable, "the memory database is gone");
            self.stirred.changed().await.map_err(gone)?;
        }
    }

    async fn head(&mut self) -> Result<Position> {
        self.ask(|core| Ok(position(core.end)))
    }

    async fn chunks(&mut self) -> Result<Box<dyn ChunkReader>> {
        let reader = MemorySource::connect(self.database.clone(), self.pipeline.clone())?;
        Ok(Box::new(MemoryChunks(reader)))
    }

    async fn reread(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<(Vec<Option<Row>>, Mark)> {
        self.ask(|core| {
            if !keys.is_empty() {
                core.rows_read(&self.pipeline);
            }
            let (contents, mark) = core.view(&self.database.shared.options);
            let stored = contents.get(&table.table).ok_or_else(|| table_missing(&table.table))?;
            let row = |key: &Key| stored.rows.get(&key.clone().into()).map(|row| (**row).clone());
            Ok((keys.iter().map(row).collect(), mark))
        })
    }

    async fn settled(&mut self) -> Result<bool> {
        let Some(earlier) = self.stream.as_ref().map(|stream| stream.earlier) else { return Ok(true) };
        self.ask(|core| Ok(core.unseen.iter().all(|unseen| unseen.position > earlier)))
    }

    async fn confirm(&mut self, durable: &Position) -> Result<()> {
        let at = number(durable)?;
        self.ask(|core| {
            core.confirm(&self.pipeline, at);
            Ok(())
        })
    }

    async fn lag(&mut self, position: &Position) -> Result<Lag> {
        let at = number(position)?;
        self.ask(|core| {
            let behind = core.log.iter().skip_while(|logged| logged.position <= at);
            let oldest_micros = behind.clone().next().map(|logged| logged.committed_micros);
            Ok(Lag { amount: behind.count() as u64, unit: "changes", oldest_micros })
        })
    }

    async fn detach(&mut self, tables: &[TableId]) -> Result<bool> {
        if self.database.shared.options.late_visibility {
            return Ok(false); // It reads the log of the server itself: nothing is in the way.
        }
        self.ask(|core| {
            core.captured.retain(|table| !tables.contains(table));
            Ok(true)
        })
    }

    async fn release(&mut self) -> Result<()> {
        self.ask(|core| {
            core.marks.remove(&self.pipeline);
            if core.marks.is_empty() {
                core.captured.clear();
            }
            core.trim();
            Ok(())
        })
    }
}

/// A reader of chunks with a connection of its own.
struct MemoryChunks(MemorySource);

#[async_trait]
impl ChunkReader for MemoryChunks {
    async fn divide(
        &mut self,
        table: &Arc<TableSchema>,
        parts: usize,
    ) -> Result<(Vec<KeyRange>, Option<u64>)> {
        self.0.ask(|core| {
            let (contents, _) = core.view(&self.0.database.shared.options);
            let stored = contents.get(&table.table).ok_or_else(|| table_missing(&table.table))?;
            let (rows, parts) = (stored.rows.len(), parts.max(1));
            let mut cuts: Vec<Key> = (1..parts)
                .map(|part| part * rows / parts)
                .filter(|&at| at > 0)
                .filter_map(|at| stored.rows.keys().nth(at - 1).map(|key| (*key.0).clone()))
                .collect();
            cuts.dedup();
            let after = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
            let upto = cuts.iter().cloned().map(Some).chain(std::iter::once(None));
            let ranges = after.zip(upto).map(|(after, upto)| KeyRange { after, upto }).collect();
            Ok((ranges, Some(rows as u64)))
        })
    }

    async fn read(
        &mut self,
        table: &Arc<TableSchema>,
        range: &KeyRange,
        limits: &ReadLimits,
    ) -> Result<Chunk> {
        use std::ops::Bound;
        self.0.ask(|core| {
            core.rows_read(&self.0.pipeline);
            let (contents, mark) = core.view(&self.0.database.shared.options);
            let stored = contents.get(&table.table).ok_or_else(|| table_missing(&table.table))?;
            let key = |key: &Option<Key>| key.clone().map(RowKey::from);
            let after = key(&range.after).map_or(Bound::Unbounded, Bound::Excluded);
            let upto = key(&range.upto);
            let mut chunk = Chunk { rows: vec![], mark, next: None };
            let mut weight = 0;
            for (key, row) in stored.rows.range((after, Bound::Unbounded)) {
                if upto.as_ref().is_some_and(|upto| key > upto) {
                    break;
                }
                weight += row.weight();
                let full = chunk.rows.len() >= limits.rows.max(1) || weight > limits.bytes;
                if let (true, Some(last)) = (full, chunk.rows.last()) {
                    chunk.next = Some(stored.schema.key_of(last));
                    break;
                }
                chunk.rows.push((**row).clone());
            }
            Ok(chunk)
        })
    }
}
