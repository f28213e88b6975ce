//! One line, and whoever restarts it.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use sluice_pipeline::{Ended, Line, LineHandle, LineStatus, Phase, Until};
use sluice_types::{Disposition, Error, ErrorKind};
use sluice_wasm::Chains;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::plan::Planned;
use super::{Engine, LineName, unpoisoned};
use crate::wording::for_callers;

/// The first wait after a plan failed because of a server; doubled each time, up to `on_error.max_ms`.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How a line ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It did all there was to do.
    Done,
    /// It was asked to stop.
    Stopped,
    /// It could not go on.
    Failed(Arc<Error>),
}

/// One line's task: plans it, runs it, and keeps its place when it fails, so that a person can resume it.
pub(super) struct Supervised {
    pub(super) name: LineName,
    stage: Mutex<Stage>,
    stop: watch::Sender<bool>,
    again: Notify,
    outcome: watch::Sender<Option<Outcome>>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Stage {
    /// The line as it last ran, and its chains.
    line: Option<(LineHandle, Chains)>,
    /// Set while no line runs: what is waited for.
    waiting: Option<(Phase, Option<(String, String)>)>,
}

impl Supervised {
    pub(super) fn new(name: LineName) -> Self {
        let stage = Stage { line: None, waiting: Some((Phase::Starting, None)) };
        Supervised {
            name,
            stage: Mutex::new(stage),
            stop: watch::Sender::new(false),
            again: Notify::new(),
            outcome: watch::Sender::new(None),
            task: Mutex::default(),
        }
    }

    pub(super) fn spawn(self: Arc<Self>, engine: Engine, until: Until) {
        let line = self.clone();
        let task = tokio::spawn(async move {
            let outcome = line.supervise(&engine, until).await;
            let reason = match &outcome {
                Outcome::Failed(error) => Some(reason_of(error)),
                _ => None,
            };
            line.wait_as(Phase::Ended, reason);
            line.outcome.send_replace(Some(outcome));
        });
        *unpoisoned(&self.task) = Some(task.abort_handle());
    }

    async fn supervise(&self, engine: &Engine, until: Until) -> Outcome {
        loop {
            // A fault in one line's code must not take the others down with the process.
            let attempt = AssertUnwindSafe(self.attempt(engine, until)).catch_unwind().await;
            let ended = attempt.unwrap_or_else(|_| {
                let remedy = "please report it with the log; `sluice resume` tries again";
                Ended::Failed(Error::new(ErrorKind::Internal, "the line's task panicked").remedy(remedy))
            });
            let error = match ended {
                Ended::Done => return Outcome::Done,
                Ended::Stopped => return Outcome::Stopped,
                Ended::Failed(error) => error,
            };
            tracing::error!(pipeline = %self.name.id, %error, "the line can't go on");
            if until == Until::Head {
                return Outcome::Failed(Arc::new(error));
            }
            self.wait_as(Phase::Paused, Some(reason_of(&error)));
            tokio::select! {
                () = self.again.notified() => self.wait_as(Phase::Starting, None),
                () = self.stop_asked() => return Outcome::Stopped,
            }
        }
    }

    async fn attempt(&self, engine: &Engine, until: Until) -> Ended {
        let planned = tokio::select! {
            planned = self.plan(engine, until) => planned,
            () = self.stop_asked() => return Ended::Stopped,
        };
        let Planned { spec, ports, chains } = match planned {
            Ok(planned) => planned,
            Err(error) => return Ended::Failed(error),
        };
        let (line, handle) = Line::new(spec, ports, chains.transform());
        *unpoisoned(&self.stage) = Stage { line: Some((handle.clone(), chains)), waiting: None };
        let mut run = pin!(line.run(until));
        tokio::select! {
            ended = &mut run => ended,
            () = self.stop_asked() => {
                handle.stop();
                run.await
            }
        }
    }

    /// Plans the line, for as long as it takes its servers to answer. A line that is to end by itself doesn't wait for one that can't
    /// be reached at all: whoever started it is there to be told.
    async fn plan(&self, engine: &Engine, until: Until) -> Result<Planned, Error> {
        let mut wait = FIRST_WAIT;
        loop {
            let error = match engine.plan(&self.name).await {
                Ok(planned) => return Ok(planned),
                Err(error) if until == Until::Head && error.kind() == ErrorKind::Unreachable => {
                    return Err(error);
                }
                Err(error) if error.disposition() == Disposition::Retry => error,
                Err(error) => return Err(error),
            };
            tracing::warn!(pipeline = %self.name.id, %error, wait_ms = wait.as_millis(), "planning is tried again");
            self.wait_as(Phase::Retrying, Some(reason_of(&error)));
            let wait_max = Duration::from_millis(engine.longest_wait_ms(&self.name));
            // Resuming means: try now.
            let _ = tokio::time::timeout(wait.min(wait_max), self.again.notified()).await;
            wait = (wait * 2).min(wait_max);
        }
    }

    fn wait_as(&self, phase: Phase, reason: Option<(String, String)>) {
        unpoisoned(&self.stage).waiting = Some((phase, reason));
    }

    async fn stop_asked(&self) {
        // The sender lives in `self`, so waiting can't fail.
        let _ = self.stop.subscribe().wait_for(|asked| *asked).await;
    }

    pub(super) fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Breaks the task off where it stands; `false` if it had ended.
    pub(super) fn break_off(&self) -> bool {
        let running = self.outcome().is_none();
        if let Some(task) = unpoisoned(&self.task).as_ref().filter(|_| running) {
            task.abort();
            self.outcome.send_replace(Some(Outcome::Stopped));
        }
        running
    }

    /// Lets a line that failed or waits try again.
    pub(super) fn try_again(&self) {
        self.again.notify_one();
    }

    /// The handle of the line, if it was ever made.
    pub(super) fn handle(&self) -> Option<LineHandle> {
        unpoisoned(&self.stage).line.as_ref().map(|(handle, _)| handle.clone())
    }

    /// The handle and chains while the line runs.
    pub(super) fn running(&self) -> Option<(LineHandle, Chains)> {
        let stage = unpoisoned(&self.stage);
        stage.line.clone().filter(|_| stage.waiting.is_none())
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    pub(super) async fn ended(&self) -> Outcome {
        let mut outcome = self.outcome.subscribe();
        let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        // The sender lives in `self`, so there always is one.
        ended.unwrap_or(Outcome::Stopped)
    }

    pub(super) fn status(&self) -> LineStatus {
        let stage = unpoisoned(&self.stage);
        let mut status = match &stage.line {
            Some((handle, _)) => handle.status(),
            None => never_ran(&self.name),
        };
        if let Some((phase, reason)) = &stage.waiting {
            status.phase = *phase;
            if reason.is_some() {
                status.reason = reason.clone();
            }
        }
        status
    }
}

/// A code and a text, as a status has them.
fn reason_of(error: &Error) -> (String, String) {
    (error.kind().code().to_string(), for_callers(error))
}

fn never_ran(name: &LineName) -> LineStatus {
    LineStatus {
        pipeline: name.id.to_string(),
        phase: Phase::Starting,
        ready: false,
        reason: None,
        position: None,
        lag: 0,
        lag_unit: "changes",
        lag_seconds: 0.0,
        retained_bytes: None,
        dead_letters: 0,
        conflicts: 0,
        parked_conflicts: 0,
        plugins: Vec::new(),
        tables: Vec::new(),
    }
}
