//! What the source retains for a line is watched while the line does not read, too.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sluice_pipeline::{Ended, Phase};
use sluice_types::ports::{
    Capabilities, Discovered, Endpoint, LineContext, Readers, Retained, Sink, Source, TargetTable,
};
use sluice_types::{Error, ErrorKind, Finding, PipelineId, Result, TableId, TablePattern};

use crate::world::{World, until};

/// A database that retains what the test says, and that may be away as a target.
struct Watched {
    inner: Arc<dyn Endpoint>,
    bytes: AtomicU64,
    passed: Mutex<Option<Error>>,
    away: AtomicBool,
}

impl Watched {
    fn new(inner: Arc<dyn Endpoint>) -> Arc<Self> {
        let (bytes, passed, away) = (AtomicU64::new(7), Mutex::default(), AtomicBool::new(false));
        Arc::new(Watched { inner, bytes, passed, away })
    }

    fn pass_the_limit(&self) {
        self.bytes.store(1_000, Relaxed);
        *self.passed.lock().unwrap() = Some(Error::new(ErrorKind::RetainedLimit, "too much"));
    }
}

#[async_trait]
impl Endpoint for Watched {
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
    async fn retained(&self, _line: &LineContext) -> Result<Option<Retained>> {
        let passed = self.passed.lock().unwrap().take();
        Ok(Some(Retained { bytes: self.bytes.load(Relaxed), passed }))
    }
    async fn source(&self, line: &LineContext) -> Result<Box<dyn Source>> {
        self.inner.source(line).await
    }
    async fn sink(&self, line: &LineContext) -> Result<Box<dyn Sink>> {
        match self.away.load(Relaxed) {
            true => Err(Error::new(ErrorKind::Unreachable, "the target is away")),
            false => self.inner.sink(line).await,
        }
    }
}

fn world() -> (World, Arc<Watched>, Arc<Watched>) {
    let mut world = World::new();
    let (source, target) =
        (Watched::new(world.ports.source.clone()), Watched::new(world.ports.target.clone()));
    (world.ports.source, world.ports.target) = (source.clone(), target.clone());
    (world, source, target)
}

fn code(reason: &Option<(String, String)>) -> &str {
    reason.as_ref().map_or("", |(code, _)| code)
}

#[tokio::test(start_paused = true)]
async fn while_the_target_is_away_it_is_shown_and_the_limit_pauses_the_line() {
    let (world, source, target) = world();
    target.away.store(true, Relaxed);
    world.insert("t", 0..5);
    let (handle, line) = world.serve();
    until(|| handle.status().phase == Phase::Retrying).await;
    until(|| handle.status().retained_bytes == Some(7)).await;
    source.bytes.store(70, Relaxed);
    until(|| handle.status().retained_bytes == Some(70)).await;
    source.pass_the_limit();
    until(|| handle.status().phase == Phase::Paused).await;
    assert_eq!(code(&handle.status().reason), "retained-limit");
    assert_eq!(handle.status().retained_bytes, Some(1_000));

    // Somebody has looked: it goes on above the limit, and catches up.
    target.away.store(false, Relaxed);
    handle.resume().await.unwrap();
    until(|| handle.status().ready).await;
    world.assert_equal("t");
    handle.stop();
    assert!(matches!(line.await.unwrap(), Ended::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_paused_line_shows_it_after_a_restart_and_stays_as_it_was_paused() {
    let (world, source, _) = world();
    let (handle, line) = world.serve();
    until(|| handle.status().ready).await;
    handle.pause("for the night").await.unwrap();
    handle.stop();
    line.await.unwrap();

    let (handle, line) = world.serve();
    until(|| handle.status().retained_bytes == Some(7)).await;
    assert_eq!(handle.status().phase, Phase::Paused);
    source.pass_the_limit();
    until(|| handle.status().retained_bytes == Some(1_000)).await;
    assert_eq!(code(&handle.status().reason), "paused", "a person's word stays");
    handle.stop();
    line.await.unwrap();
    assert_eq!(handle.status().retained_bytes, None, "nobody looks any more");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_streams_is_paused_at_the_limit_between_two_batches() {
    let (world, source, _) = world();
    let (handle, line) = world.serve();
    until(|| handle.status().ready).await;
    source.pass_the_limit();
    until(|| handle.status().phase == Phase::Paused).await;
    assert_eq!(code(&handle.status().reason), "retained-limit");
    handle.resume().await.unwrap();
    world.insert("t", 0..3);
    until(|| world.ids("t").len() == 3).await;
    handle.stop();
    line.await.unwrap();
}
