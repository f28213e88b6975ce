//! The ports, each call of which asks a script first.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_types::ports::{
    Altered, Capabilities, ChunkReader, Discovered, Endpoint, Lag, LineContext, LineState, ParkedKey,
    PluginVersion, Read, ReadLimits, Readers, Retained, Sink, SinkTx, Source, StateStore, StreamStart,
    TargetTable, Written,
};
use sluice_types::{
    Checkpoint, Chunk, Conflict, ConflictCount, ConflictId, DeadLetter, DeadLetterId, Digest, Error,
    ErrorKind, Event, Finding, InstallId, Key, KeyRange, Mark, PipelineId, Position, Result, Row, TableId,
    TablePattern, TableSchema,
};
use tokio::time::Duration;

use super::{Call, Fault, Script};

/// `inner`, and every source and sink that it opens, under a script.
pub fn endpoint(inner: Arc<dyn Endpoint>, script: Arc<dyn Script>) -> Arc<dyn Endpoint> {
    Arc::new(Faulty { inner, script })
}

/// `inner` under a script.
pub fn state(inner: Arc<dyn StateStore>, script: Arc<dyn Script>) -> Arc<dyn StateStore> {
    Arc::new(Faulty { inner, script })
}

struct Faulty<T> {
    inner: T,
    script: Arc<dyn Script>,
}

/// Runs one call as the script wants it.
async fn scripted<T>(script: &dyn Script, call: Call, work: impl Future<Output = Result<T>>) -> Result<T> {
    let plan = script.plan(call);
    for _ in 0..plan.suspend_before {
        tokio::task::yield_now().await;
    }
    let failed = |kind: ErrorKind| Err(Error::new(kind, format!("scripted fault at {call:?}")));
    match plan.fault {
        Some(Fault::Reject(kind)) => return failed(kind),
        Some(Fault::Crash) => return die(script, call).await,
        Some(Fault::Delay(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Fault::FailAfter(_) | Fault::CrashAfter) | None => {}
    }
    let worked = work.await?;
    for _ in 0..plan.suspend_after {
        tokio::task::yield_now().await;
    }
    match plan.fault {
        Some(Fault::FailAfter(kind)) => failed(kind),
        Some(Fault::CrashAfter) => die(script, call).await,
        _ => Ok(worked),
    }
}

async fn die<T>(script: &dyn Script, call: Call) -> T {
    script.crashed(call);
    std::future::pending().await
}

#[async_trait]
impl Endpoint for Faulty<Arc<dyn Endpoint>> {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn large_transaction(&self) -> (u64, u64) {
        self.inner.large_transaction()
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
        let inner = scripted(&*self.script, Call::OpenSource, self.inner.source(line)).await?;
        Ok(Box::new(Faulty { inner, script: self.script.clone() }))
    }

    async fn sink(&self, line: &LineContext) -> Result<Box<dyn Sink>> {
        let inner = scripted(&*self.script, Call::OpenSink, self.inner.sink(line)).await?;
        Ok(Box::new(Faulty { inner, script: self.script.clone() }))
    }
}

#[async_trait]
impl Source for Faulty<Box<dyn Source>> {
    async fn identity(&mut self) -> Result<Arc<str>> {
        scripted(&*self.script, Call::Identity, self.inner.identity()).await
    }

    async fn schemas(&mut self, tables: &[TableId]) -> Result<Vec<Arc<TableSchema>>> {
        scripted(&*self.script, Call::Schemas, self.inner.schemas(tables)).await
    }

    async fn accept(&mut self, tables: &[Altered]) -> Result<()> {
        self.inner.accept(tables).await
    }

    async fn hold(&mut self, tables: &[Arc<TableSchema>]) -> Result<Position> {
        scripted(&*self.script, Call::Hold, self.inner.hold(tables)).await
    }

    async fn read_anew(&mut self, tables: &[TableId]) -> Result<()> {
        self.inner.read_anew(tables).await
    }

    async fn open(&mut self, from: &StreamStart, tables: &[Arc<TableSchema>]) -> Result<()> {
        scripted(&*self.script, Call::Open, self.inner.open(from, tables)).await
    }

    async fn next(&mut self, limits: &ReadLimits) -> Result<Read> {
        // Nothing may come between the inner `next` and the reply: see `Plan::suspend_after`.
        scripted(&*self.script, Call::Next, std::future::ready(Ok(()))).await?;
        self.inner.next(limits).await
    }

    async fn head(&mut self) -> Result<Position> {
        scripted(&*self.script, Call::Head, self.inner.head()).await
    }

    async fn chunks(&mut self) -> Result<Box<dyn ChunkReader>> {
        let inner = scripted(&*self.script, Call::Chunks, self.inner.chunks()).await?;
        Ok(Box::new(Faulty { inner, script: self.script.clone() }))
    }

    async fn reread(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<(Vec<Option<Row>>, Mark)> {
        scripted(&*self.script, Call::Reread, self.inner.reread(table, keys)).await
    }

    async fn confirm(&mut self, durable: &Position) -> Result<()> {
        scripted(&*self.script, Call::Confirm, self.inner.confirm(durable)).await
    }

    async fn settled(&mut self) -> Result<bool> {
        self.inner.settled().await
    }

    async fn lag(&mut self, position: &Position) -> Result<Lag> {
        scripted(&*self.script, Call::Lag, self.inner.lag(position)).await
    }

    async fn detach(&mut self, tables: &[TableId]) -> Result<bool> {
        scripted(&*self.script, Call::Detach, self.inner.detach(tables)).await
    }

    async fn release(&mut self) -> Result<()> {
        scripted(&*self.script, Call::Release, self.inner.release()).await
    }
}

#[async_trait]
impl ChunkReader for Faulty<Box<dyn ChunkReader>> {
    async fn divide(
        &mut self,
        table: &Arc<TableSchema>,
        parts: usize,
    ) -> Result<(Vec<KeyRange>, Option<u64>)> {
        scripted(&*self.script, Call::Divide, self.inner.divide(table, parts)).await
    }

    async fn read(
        &mut self,
        table: &Arc<TableSchema>,
        range: &KeyRange,
        limits: &ReadLimits,
    ) -> Result<Chunk> {
        scripted(&*self.script, Call::ReadChunk, self.inner.read(table, range, limits)).await
    }
}

#[async_trait]
impl Sink for Faulty<Box<dyn Sink>> {
    async fn missing(&mut self, tables: &[Arc<TableSchema>]) -> Result<Vec<TableId>> {
        scripted(&*self.script, Call::Prepare, self.inner.missing(tables)).await
    }

    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<()> {
        scripted(&*self.script, Call::Prepare, self.inner.prepare(tables)).await
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        scripted(&*self.script, Call::LoadCheckpoint, self.inner.checkpoint(pipeline)).await
    }

    async fn begin(&mut self) -> Result<Box<dyn SinkTx + '_>> {
        let script = self.script.clone();
        let inner = scripted(&*script, Call::Begin, self.inner.begin()).await?;
        Ok(Box::new(FaultyTx { inner, script }))
    }

    async fn forget(&mut self, pipeline: &PipelineId) -> Result<()> {
        scripted(&*self.script, Call::Forget, self.inner.forget(pipeline)).await
    }
}

struct FaultyTx<'a> {
    inner: Box<dyn SinkTx + 'a>,
    script: Arc<dyn Script>,
}

#[async_trait]
impl SinkTx for FaultyTx<'_> {
    async fn current(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        scripted(&*self.script, Call::Current, self.inner.current(table, keys)).await
    }

    async fn as_stored(&mut self, table: &Arc<TableSchema>, images: Vec<Row>) -> Result<Vec<Row>> {
        self.inner.as_stored(table, images).await
    }

    async fn write(&mut self, events: &[Event]) -> Result<Written> {
        scripted(&*self.script, Call::Write, self.inner.write(events)).await
    }

    fn put_off(&mut self) {
        self.inner.put_off();
    }

    async fn settle(&mut self) -> Result<()> {
        scripted(&*self.script, Call::Settle, self.inner.settle()).await
    }

    async fn savepoint(&mut self) -> Result<()> {
        scripted(&*self.script, Call::Savepoint, self.inner.savepoint()).await
    }

    async fn rollback_to_savepoint(&mut self) -> Result<()> {
        scripted(&*self.script, Call::Rollback, self.inner.rollback_to_savepoint()).await
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        scripted(&*self.script, Call::LoadCheckpoint, self.inner.checkpoint(pipeline)).await
    }

    async fn save(&mut self, checkpoint: &Checkpoint, expected: Option<u64>) -> Result<()> {
        scripted(&*self.script, Call::Save, self.inner.save(checkpoint, expected)).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let FaultyTx { inner, script } = *self;
        scripted(&*script, Call::Commit, inner.commit()).await
    }
}

#[async_trait]
impl StateStore for Faulty<Arc<dyn StateStore>> {
    fn install(&self) -> &InstallId {
        self.inner.install()
    }

    async fn keep_dead_letters(&self, letters: Vec<DeadLetter>) -> Result<()> {
        scripted(&*self.script, Call::KeepDeadLetters, self.inner.keep_dead_letters(letters)).await
    }

    async fn dead_letters(&self, pipeline: &PipelineId, after: u64, limit: usize) -> Result<Vec<DeadLetter>> {
        scripted(&*self.script, Call::ReadState, self.inner.dead_letters(pipeline, after, limit)).await
    }

    async fn dead_letter(&self, pipeline: &PipelineId, id: &DeadLetterId) -> Result<Option<DeadLetter>> {
        scripted(&*self.script, Call::ReadState, self.inner.dead_letter(pipeline, id)).await
    }

    async fn count_dead_letters(&self, pipeline: &PipelineId) -> Result<u64> {
        scripted(&*self.script, Call::ReadState, self.inner.count_dead_letters(pipeline)).await
    }

    async fn parked_keys(&self, pipeline: &PipelineId) -> Result<Vec<ParkedKey>> {
        scripted(&*self.script, Call::ReadState, self.inner.parked_keys(pipeline)).await
    }

    async fn supersede_dead_letters(&self, pipeline: &PipelineId, tables: &[TableId]) -> Result<u64> {
        scripted(&*self.script, Call::WriteState, self.inner.supersede_dead_letters(pipeline, tables)).await
    }

    async fn keep_conflicts(&self, conflicts: Vec<Conflict>) -> Result<()> {
        scripted(&*self.script, Call::KeepConflicts, self.inner.keep_conflicts(conflicts)).await
    }

    async fn supersede_conflicts(&self, pipeline: &PipelineId, tables: &[TableId], by: &str) -> Result<u64> {
        let superseded = self.inner.supersede_conflicts(pipeline, tables, by);
        scripted(&*self.script, Call::WriteState, superseded).await
    }

    async fn conflicts(
        &self,
        pipeline: &PipelineId,
        parked: bool,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Conflict>> {
        scripted(&*self.script, Call::ReadState, self.inner.conflicts(pipeline, parked, after, limit)).await
    }

    async fn conflict(&self, pipeline: &PipelineId, id: &ConflictId) -> Result<Option<Conflict>> {
        scripted(&*self.script, Call::ReadState, self.inner.conflict(pipeline, id)).await
    }

    async fn count_conflicts(&self, pipeline: &PipelineId) -> Result<ConflictCount> {
        scripted(&*self.script, Call::ReadState, self.inner.count_conflicts(pipeline)).await
    }

    async fn line_state(&self, pipeline: &PipelineId) -> Result<LineState> {
        scripted(&*self.script, Call::ReadState, self.inner.line_state(pipeline)).await
    }

    async fn set_line_state(&self, pipeline: &PipelineId, state: &LineState) -> Result<()> {
        scripted(&*self.script, Call::WriteState, self.inner.set_line_state(pipeline, state)).await
    }

    async fn forget(&self, pipeline: &PipelineId) -> Result<()> {
        scripted(&*self.script, Call::WriteState, self.inner.forget(pipeline)).await
    }

    async fn promoted_plugin(&self, name: &str) -> Result<Option<(Digest, Bytes)>> {
        scripted(&*self.script, Call::ReadState, self.inner.promoted_plugin(name)).await
    }

    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        scripted(&*self.script, Call::ReadState, self.inner.plugin_bytes(digest)).await
    }

    async fn record_plugin(&self, version: PluginVersion, bytes: Option<Bytes>) -> Result<()> {
        scripted(&*self.script, Call::WriteState, self.inner.record_plugin(version, bytes)).await
    }

    async fn plugin_history(&self, name: Option<&str>) -> Result<Vec<PluginVersion>> {
        scripted(&*self.script, Call::ReadState, self.inner.plugin_history(name)).await
    }
}
