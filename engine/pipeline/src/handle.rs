//! What people ask of a line while it runs, and what it tells about itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_types::ports::Lag;
use sluice_types::{Checkpoint, ConflictCount, Digest, Error, ErrorKind, Result, TableId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::conflict::decide::Verdict;
use crate::spec::LineSpec;
use crate::status::{LineStatus, Phase, Stats, TableStatus};

/// Commands that may wait for the line's supervisor; more callers than this wait their turn.
const COMMANDS_WAITING: usize = 8;

/// What a person asks of the line; answered once it is so.
#[derive(Debug)]
pub(crate) enum Request {
    /// Stand still.
    Pause {
        reason: String,
        /// And let go of these tables for DDL, all if empty.
        ddl: Option<Vec<TableId>>,
    },
    /// Go on.
    Resume,
    /// Read these tables again, all if empty.
    Resnapshot { tables: Vec<TableId> },
    /// Carry out what somebody has decided of a conflict.
    Decide(Box<Verdict>),
}

/// A request and who waits for its answer.
#[derive(Debug)]
pub(crate) struct Command {
    pub request: Request,
    pub done: oneshot::Sender<Result<()>>,
}

/// What the line and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    status: Mutex<LineStatus>,
    pub stats: Arc<Stats>,
}

impl Shared {
    fn new(spec: &LineSpec) -> Self {
        let table = |route: &crate::TableRoute| TableStatus {
            from: route.from.to_string(),
            to: route.to.to_string(),
            snapshot_rows: 0,
            snapshot_estimate: None,
            snapshot_done: false,
        };
        let status = LineStatus {
            pipeline: spec.pipeline.to_string(),
            phase: Phase::Starting,
            ready: false,
            reason: None,
            position: None,
            lag: 0,
            lag_unit: "",
            lag_seconds: 0.0,
            retained_bytes: None,
            dead_letters: 0,
            conflicts: 0,
            parked_conflicts: 0,
            plugins: vec![],
            tables: spec.tables.iter().map(table).collect(),
        };
        Shared { status: Mutex::new(status), stats: Arc::default() }
    }

    /// The status, to be read or changed; never held over an await.
    pub fn status(&self) -> MutexGuard<'_, LineStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how far the source is ahead.
    pub fn show_lag(&self, lag: &Lag, now_micros: i64) {
        let mut status = self.status();
        (status.lag, status.lag_unit) = (lag.amount, lag.unit);
        let oldest = lag.oldest_micros.map_or(0, |oldest| (now_micros - oldest).max(0));
        status.lag_seconds = oldest as f64 / 1e6;
    }

    /// Shows which plugin versions are at work.
    pub fn show_versions(&self, versions: &BTreeMap<Arc<str>, Digest>) {
        let shown = versions.iter().map(|(name, digest)| (name.to_string(), digest.to_string()));
        self.status().plugins = shown.collect();
    }

    /// Shows what the target's checkpoint says.
    pub fn show_checkpoint(&self, checkpoint: &Checkpoint) {
        let mut status = self.status();
        status.position = Some(checkpoint.position.to_string());
        status.ready = checkpoint.snapshot.is_ready(&checkpoint.position);
        for table in &mut status.tables {
            let Some(progress) = checkpoint.snapshot.tables.get(&table.from) else { continue };
            table.snapshot_rows = progress.rows;
            table.snapshot_estimate = progress.estimate;
            table.snapshot_done = progress.is_done();
        }
        if matches!(status.phase, Phase::Snapshot | Phase::Streaming) {
            status.phase = if status.ready { Phase::Streaming } else { Phase::Snapshot };
        }
    }

    /// Shows how many conflicts are kept.
    pub fn show_conflicts(&self, count: ConflictCount) {
        let mut status = self.status();
        (status.conflicts, status.parked_conflicts) = (count.kept, count.parked);
    }

    /// Shows what the line does now, and why.
    pub fn show(&self, phase: Phase, reason: Option<(String, String)>) {
        let mut status = self.status();
        (status.phase, status.reason) = (phase, reason);
    }
}

/// Talks to a running [`crate::Line`]. Cheap to clone; every clone means the same line.
#[derive(Clone, Debug)]
pub struct LineHandle {
    commands: mpsc::Sender<Command>,
    stop: Arc<watch::Sender<bool>>,
    shared: Arc<Shared>,
}

/// The line's end of its handles.
#[derive(Debug)]
pub(crate) struct Controls {
    pub commands: mpsc::Receiver<Command>,
    pub stop: watch::Receiver<bool>,
    pub shared: Arc<Shared>,
}

pub(crate) fn handle(spec: &LineSpec) -> (LineHandle, Controls) {
    let (commands, waiting) = mpsc::channel(COMMANDS_WAITING);
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared::new(spec));
    let controls = Controls { commands: waiting, stop: stopped, shared: shared.clone() };
    (LineHandle { commands, stop: Arc::new(stop), shared }, controls)
}

impl LineHandle {
    /// Finishes the current batch and stands still, also after a restart of the process, until [`LineHandle::resume`]. Returns
    /// when it does. `reason` is shown in the status.
    pub async fn pause(&self, reason: &str) -> Result<()> {
        self.ask(Request::Pause { reason: reason.to_string(), ddl: None }).await
    }

    /// Pauses, and takes away what stands in the way of DDL on these tables at the source (all when empty). They are read
    /// again after [`LineHandle::resume`].
    pub async fn pause_for_ddl(&self, tables: Vec<TableId>) -> Result<()> {
        self.ask(Request::Pause { reason: "paused for DDL".to_string(), ddl: Some(tables) }).await
    }

    /// Goes on after a pause, whoever made it; a line that waits to retry tries at once.
    pub async fn resume(&self) -> Result<()> {
        self.ask(Request::Resume).await
    }

    /// Empties these tables in the target (all when `tables` is empty, and every table that shares a target table with one of
    /// them) and reads them again. Returns when that is remembered; the line then does it as soon as it runs.
    pub async fn resnapshot(&self, tables: Vec<TableId>) -> Result<()> {
        self.ask(Request::Resnapshot { tables }).await
    }

    /// Carries out what somebody has decided of a parked conflict, between two batches: see [`crate::decide_conflict`].
    pub async fn decide(&self, verdict: Verdict) -> Result<()> {
        self.ask(Request::Decide(Box::new(verdict))).await
    }

    /// Finishes the current batch and ends, within [`crate::DRAIN_MS_MAX`]. Returns at once; the line's `run` tells when.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The status. No IO.
    pub fn status(&self) -> LineStatus {
        self.shared.status().clone()
    }

    /// The counters.
    pub fn stats(&self) -> Arc<Stats> {
        self.shared.stats.clone()
    }

    async fn ask(&self, request: Request) -> Result<()> {
        let ended = || Error::new(ErrorKind::Internal, "the line has ended").remedy("Start it again.");
        let (done, answer) = oneshot::channel();
        self.commands.send(Command { request, done }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}
