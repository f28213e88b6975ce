//! Lines that are broken on purpose, to show that the judge would notice: between the line and its ports stands something that
//! makes the calls come in the wrong order, or lies.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use sluice_pipeline::Ports;
use sluice_types::ports::{
    Altered, Capabilities, ChunkReader, Discovered, Endpoint, Lag, LineContext, LineState, ParkedKey,
    PluginVersion, Read, ReadLimits, Readers, Retained, Sink, SinkTx, Source, StateStore, StreamStart,
    TargetTable, Written,
};
use sluice_types::{
    Batch, Checkpoint, Chunk, Conflict, ConflictCount, ConflictId, DeadLetter, DeadLetterId, Digest, Event,
    Finding, InstallId, Key, KeyRange, Mark, PipelineId, Position, Result, Row, TableId, TablePattern,
    TableSchema,
};

/// What is wrong with the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The checkpoint is committed first, the rows in a transaction of their own behind it.
    CheckpointBeforeData,
    /// The source is told to forget what was only read.
    ConfirmBeforeCommit,
    /// Two changes of one row change places.
    Reordering,
    /// Dead letters are made durable only when more come, or never.
    DeadLetterAfterCheckpoint,
    /// Chunks claim to have seen what they have not, so their rows overwrite newer ones.
    ChunkOverNewer,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 5] = [
        Sabotage::CheckpointBeforeData,
        Sabotage::ConfirmBeforeCommit,
        Sabotage::Reordering,
        Sabotage::DeadLetterAfterCheckpoint,
        Sabotage::ChunkOverNewer,
    ];
}

/// The ports of a line with this fault.
pub fn ports(sabotage: Option<Sabotage>, mut ports: Ports) -> Ports {
    let Some(sabotage) = sabotage else { return ports };
    match sabotage {
        Sabotage::DeadLetterAfterCheckpoint => {
            ports.state = Arc::new(LateState { inner: ports.state, late: Mutex::default() });
        }
        _ => {
            ports.source = Arc::new(Broken { inner: ports.source, sabotage });
            ports.target = Arc::new(Broken { inner: ports.target, sabotage });
        }
    }
    ports
}

struct Broken {
    inner: Arc<dyn Endpoint>,
    sabotage: Sabotage,
}

#[async_trait]
impl Endpoint for Broken {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn address(&self) -> String {
        self.inner.address()
    }

    async fn discover(&self, patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
        self.inner.discover(patterns).await
    }

    async fn check_source(&self, readers: &Readers, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        self.inner.check_source(readers, tables).await
    }

    async fn filled(&self, line: &PipelineId, tables: &[TableId]) -> Result<Vec<TableId>> {
        self.inner.filled(line, tables).await
    }

    async fn check_target(&self, tables: &[TargetTable]) -> Result<Vec<Finding>> {
        self.inner.check_target(tables).await
    }

    async fn retained(&self, line: &LineContext) -> Result<Option<Retained>> {
        self.inner.retained(line).await
    }

    async fn source(&self, line: &LineContext) -> Result<Box<dyn Source>> {
        let inner = self.inner.source(line).await?;
        let endpoint = self.inner.clone();
        Ok(Box::new(BrokenSource { inner, sabotage: self.sabotage, endpoint, line: line.clone() }))
    }

    async fn sink(&self, line: &LineContext) -> Result<Box<dyn Sink>> {
        let inner = self.inner.sink(line).await?;
        if self.sabotage != Sabotage::CheckpointBeforeData {
            return Ok(inner);
        }
        Ok(Box::new(HastySink { inner, endpoint: self.inner.clone(), line: line.clone() }))
    }
}

struct BrokenSource {
    inner: Box<dyn Source>,
    sabotage: Sabotage,
    endpoint: Arc<dyn Endpoint>,
    line: LineContext,
}

/// Lets the first two changes of one row change places, if there are any.
fn reorder(batch: &mut Batch) {
    for later in 1..batch.events.len() {
        for earlier in 0..later {
            let (a, b) = (&batch.events[earlier], &batch.events[later]);
            if a.table.table == b.table.table && a.source_keys() == b.source_keys() && a.change != b.change {
                let change = batch.events[earlier].change.clone();
                batch.events[earlier].change = std::mem::replace(&mut batch.events[later].change, change);
                return;
            }
        }
    }
}

#[async_trait]
impl Source for BrokenSource {
    async fn identity(&mut self) -> Result<Arc<str>> {
        self.inner.identity().await
    }

    async fn schemas(&mut self, tables: &[TableId]) -> Result<Vec<Arc<TableSchema>>> {
        self.inner.schemas(tables).await
    }

    async fn accept(&mut self, tables: &[Altered]) -> Result<()> {
        self.inner.accept(tables).await
    }

    async fn hold(&mut self, tables: &[Arc<TableSchema>]) -> Result<Position> {
        self.inner.hold(tables).await
    }

    async fn read_anew(&mut self, tables: &[TableId]) -> Result<()> {
        self.inner.read_anew(tables).await
    }

    async fn open(&mut self, from: &StreamStart, tables: &[Arc<TableSchema>]) -> Result<()> {
        self.inner.open(from, tables).await
    }

    async fn next(&mut self, limits: &ReadLimits) -> Result<Read> {
        let mut read = self.inner.next(limits).await?;
        match (self.sabotage, &mut read) {
            (Sabotage::ConfirmBeforeCommit, Read::Batch(batch)) => {
                if let Some(end) = batch.end().cloned() {
                    self.inner.confirm(&end).await?;
                }
            }
            (Sabotage::Reordering, Read::Batch(batch)) => reorder(batch),
            _ => {}
        }
        Ok(read)
    }

    async fn head(&mut self) -> Result<Position> {
        self.inner.head().await
    }

    async fn chunks(&mut self) -> Result<Box<dyn ChunkReader>> {
        let inner = self.inner.chunks().await?;
        if self.sabotage != Sabotage::ChunkOverNewer {
            return Ok(inner);
        }
        Ok(Box::new(BoastfulChunks { inner, endpoint: self.endpoint.clone(), line: self.line.clone() }))
    }

    async fn reread(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<(Vec<Option<Row>>, Mark)> {
        self.inner.reread(table, keys).await
    }

    async fn confirm(&mut self, durable: &Position) -> Result<()> {
        self.inner.confirm(durable).await
    }

    async fn settled(&mut self) -> Result<bool> {
        self.inner.settled().await
    }

    async fn lag(&mut self, position: &Position) -> Result<Lag> {
        self.inner.lag(position).await
    }

    async fn detach(&mut self, tables: &[TableId]) -> Result<bool> {
        self.inner.detach(tables).await
    }

    async fn release(&mut self) -> Result<()> {
        self.inner.release().await
    }
}

/// Reads a chunk, lets time go by, and says that it has seen everything until now.
struct BoastfulChunks {
    inner: Box<dyn ChunkReader>,
    endpoint: Arc<dyn Endpoint>,
    line: LineContext,
}

#[async_trait]
impl ChunkReader for BoastfulChunks {
    async fn divide(
        &mut self,
        table: &Arc<TableSchema>,
        parts: usize,
    ) -> Result<(Vec<KeyRange>, Option<u64>)> {
        self.inner.divide(table, parts).await
    }

    async fn read(
        &mut self,
        table: &Arc<TableSchema>,
        range: &KeyRange,
        limits: &ReadLimits,
    ) -> Result<Chunk> {
        let chunk = self.inner.read(table, range, limits).await?;
        self.line.clock.sleep_ms(20).await;
        let (_, mark) = self.endpoint.source(&self.line).await?.reread(table, &[]).await?;
        Ok(Chunk { mark, ..chunk })
    }
}

/// Commits the checkpoint first.
struct HastySink {
    inner: Box<dyn Sink>,
    endpoint: Arc<dyn Endpoint>,
    line: LineContext,
}

struct HastyTx<'a> {
    inner: Box<dyn SinkTx + 'a>,
    endpoint: Arc<dyn Endpoint>,
    line: LineContext,
    events: Vec<Event>,
    savepoint: usize,
    saved: Option<(Checkpoint, Option<u64>)>,
}

#[async_trait]
impl Sink for HastySink {
    async fn missing(&mut self, tables: &[Arc<TableSchema>]) -> Result<Vec<TableId>> {
        self.inner.missing(tables).await
    }

    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<()> {
        self.inner.prepare(tables).await
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        self.inner.checkpoint(pipeline).await
    }

    async fn begin(&mut self) -> Result<Box<dyn SinkTx + '_>> {
        let (endpoint, line) = (self.endpoint.clone(), self.line.clone());
        let inner = self.inner.begin().await?;
        Ok(Box::new(HastyTx { inner, endpoint, line, events: vec![], savepoint: 0, saved: None }))
    }

    async fn forget(&mut self, pipeline: &PipelineId) -> Result<()> {
        self.inner.forget(pipeline).await
    }
}

#[async_trait]
impl SinkTx for HastyTx<'_> {
    async fn current(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        self.inner.current(table, keys).await
    }

    async fn as_stored(&mut self, table: &Arc<TableSchema>, images: Vec<Row>) -> Result<Vec<Row>> {
        self.inner.as_stored(table, images).await
    }

    async fn write(&mut self, events: &[Event]) -> Result<Written> {
        let written = self.inner.write(events).await?;
        let partial = |index: &usize| written.partial.contains(index);
        self.events.extend(
            events.iter().enumerate().filter(|(index, _)| !partial(index)).map(|(_, event)| event.clone()),
        );
        Ok(written)
    }

    fn put_off(&mut self) {
        self.inner.put_off();
    }

    async fn settle(&mut self) -> Result<()> {
        self.inner.settle().await
    }

    async fn savepoint(&mut self) -> Result<()> {
        self.savepoint = self.events.len();
        self.inner.savepoint().await
    }

    async fn rollback_to_savepoint(&mut self) -> Result<()> {
        self.events.truncate(self.savepoint);
        self.inner.rollback_to_savepoint().await
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        self.inner.checkpoint(pipeline).await
    }

    async fn save(&mut self, checkpoint: &Checkpoint, expected: Option<u64>) -> Result<()> {
        self.saved = Some((checkpoint.clone(), expected));
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let HastyTx { inner, endpoint, line, events, saved, .. } = *self;
        drop(inner);
        let mut sink = endpoint.sink(&line).await?;
        if let Some((checkpoint, expected)) = saved {
            let mut first = sink.begin().await?;
            first.save(&checkpoint, expected).await?;
            first.commit().await?;
        }
        let mut second = sink.begin().await?;
        second.write(&events).await?;
        second.commit().await
    }
}

/// Keeps dead letters in memory until more come.
struct LateState {
    inner: Arc<dyn StateStore>,
    late: Mutex<Vec<DeadLetter>>,
}

#[async_trait]
impl StateStore for LateState {
    fn install(&self) -> &InstallId {
        self.inner.install()
    }

    async fn keep_dead_letters(&self, letters: Vec<DeadLetter>) -> Result<()> {
        let earlier =
            std::mem::replace(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner), letters);
        self.inner.keep_dead_letters(earlier).await
    }

    async fn dead_letters(&self, pipeline: &PipelineId, after: u64, limit: usize) -> Result<Vec<DeadLetter>> {
        self.inner.dead_letters(pipeline, after, limit).await
    }

    async fn dead_letter(&self, pipeline: &PipelineId, id: &DeadLetterId) -> Result<Option<DeadLetter>> {
        self.inner.dead_letter(pipeline, id).await
    }

    async fn count_dead_letters(&self, pipeline: &PipelineId) -> Result<u64> {
        self.inner.count_dead_letters(pipeline).await
    }

    async fn parked_keys(&self, pipeline: &PipelineId) -> Result<Vec<ParkedKey>> {
        self.inner.parked_keys(pipeline).await
    }

    async fn supersede_dead_letters(&self, pipeline: &PipelineId, tables: &[TableId]) -> Result<u64> {
        self.inner.supersede_dead_letters(pipeline, tables).await
    }

    async fn keep_conflicts(&self, conflicts: Vec<Conflict>) -> Result<()> {
        self.inner.keep_conflicts(conflicts).await
    }

    async fn supersede_conflicts(&self, pipeline: &PipelineId, tables: &[TableId], by: &str) -> Result<u64> {
        self.inner.supersede_conflicts(pipeline, tables, by).await
    }

    async fn conflicts(
        &self,
        pipeline: &PipelineId,
        parked: bool,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Conflict>> {
        self.inner.conflicts(pipeline, parked, after, limit).await
    }

    async fn conflict(&self, pipeline: &PipelineId, id: &ConflictId) -> Result<Option<Conflict>> {
        self.inner.conflict(pipeline, id).await
    }

    async fn count_conflicts(&self, pipeline: &PipelineId) -> Result<ConflictCount> {
        self.inner.count_conflicts(pipeline).await
    }

    async fn line_state(&self, pipeline: &PipelineId) -> Result<LineState> {
        self.inner.line_state(pipeline).await
    }

    async fn set_line_state(&self, pipeline: &PipelineId, state: &LineState) -> Result<()> {
        self.inner.set_line_state(pipeline, state).await
    }

    async fn forget(&self, pipeline: &PipelineId) -> Result<()> {
        self.inner.forget(pipeline).await
    }

    async fn promoted_plugin(&self, name: &str) -> Result<Option<(Digest, Bytes)>> {
        self.inner.promoted_plugin(name).await
    }

    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        self.inner.plugin_bytes(digest).await
    }

    async fn record_plugin(&self, version: PluginVersion, bytes: Option<Bytes>) -> Result<()> {
        self.inner.record_plugin(version, bytes).await
    }

    async fn plugin_history(&self, name: Option<&str>) -> Result<Vec<PluginVersion>> {
        self.inner.plugin_history(name).await
    }
}
