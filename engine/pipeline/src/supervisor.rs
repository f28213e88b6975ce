//! Keeps a line running: sessions one after the other, and between them what its errors and its people ask for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use sluice_types::ports::{Altered, LineState, Transform};
use sluice_types::{Disposition, Error, ErrorKind, Result, TableId};
use tokio::sync::{Mutex, watch};

use crate::DRAIN_MS_MAX;
use crate::conflict::decide::decide_conflict;
use crate::handle::{Command, Controls, Request, Shared};
use crate::line::{Ended, Ports};
use crate::pace::Pace;
use crate::retained::Retained;
use crate::session::{Context, Outcome, session};
use crate::spec::{LineSpec, OnError, OnPositionLost, Until};
use crate::status::Phase;

/// The code of a pause that a person asked for, where errors have theirs.
const PAUSED: &str = "paused";

pub(crate) struct Supervisor {
    context: Context,
    controls: Controls,
    retained: Retained,
    /// Errors since the last commit.
    failures: u32,
    /// Committed batches, as they were when the last session began.
    batches: u64,
}

/// Why a wait or a session is over.
enum Next {
    /// Go on with a session.
    Run,
    /// Do what this error asks for.
    Fail(Error),
    End(Ended),
}

impl Supervisor {
    pub fn new(
        spec: LineSpec,
        ports: Ports,
        transform: Box<dyn Transform>,
        controls: Controls,
        until: Until,
    ) -> Self {
        let context = Context {
            spec: Arc::new(spec),
            ports,
            transform: Arc::new(Mutex::new(transform)),
            shared: controls.shared.clone(),
            until,
            line_state: LineState::default(),
            epoch: AtomicU64::new(0),
            pace: Arc::new(Pace::default()),
            unsettled: Arc::default(),
        };
        let retained = Retained::new(&context.spec, &context.ports, controls.shared.clone());
        Supervisor { context, controls, retained, failures: 0, batches: 0 }
    }

    /// Runs until the line ends.
    pub async fn run(mut self) -> Ended {
        let mut next = Next::Run;
        let ended = loop {
            next = match next {
                Next::Run => match self.load().await {
                    Ok(()) if self.context.line_state.paused.is_some() => self.paused().await,
                    Ok(()) => self.session().await,
                    Err(error) => Next::Fail(error),
                },
                Next::Fail(error) => self.failed(error).await,
                Next::End(ended) => break ended,
            };
        };
        let reason = match &ended {
            Ended::Failed(error) => Some(reason(error)),
            Ended::Done | Ended::Stopped => None,
        };
        self.shared().show(Phase::Ended, reason);
        // Nobody looks any more.
        self.shared().status().retained_bytes = None;
        ended
    }

    fn shared(&self) -> Arc<Shared> {
        self.context.shared.clone()
    }

    fn is_stopped(&self) -> bool {
        *self.controls.stop.borrow()
    }

    /// What the line was told to do, by whichever process.
    async fn load(&mut self) -> Result<()> {
        let Context { ports, spec, .. } = &self.context;
        self.context.line_state = ports.state.line_state(&spec.pipeline).await?;
        if self.context.until == Until::Head && self.context.line_state.paused.is_some() {
            // To run it to the head lifts the pause. What was told of altered tables is still for somebody to decide.
            self.remember(LineState::lift_pause).await?;
        }
        Ok(())
    }

    async fn remember(&mut self, change: impl FnOnce(&mut LineState)) -> Result<()> {
        let Context { ports, spec, line_state, .. } = &mut self.context;
        let mut state = ports.state.line_state(&spec.pipeline).await?;
        change(&mut state);
        ports.state.set_line_state(&spec.pipeline, &state).await?;
        *line_state = state;
        Ok(())
    }

    async fn session(&mut self) -> Next {
        if self.is_stopped() {
            return Next::End(Ended::Stopped);
        }
        self.shared().show(Phase::Starting, None);
        self.batches = self.context.shared.stats.batches.load(Relaxed);
        let (drain, draining) = watch::channel(false);
        let mut command = None;
        let mut passed = None;
        let outcome = {
            let session = session(&self.context, draining);
            tokio::pin!(session);
            let halted = async {
                tokio::select! {
                    biased;
                    () = interrupted(&mut self.controls, &mut command, true) => {}
                    error = self.retained.passed() => passed = Some(error),
                }
            };
            tokio::select! {
                biased;
                outcome = &mut session => Some(outcome),
                () = halted => {
                    drain.send_replace(true);
                    tokio::select! {
                        biased;
                        outcome = &mut session => Some(outcome),
                        // Dropped like in a crash: the batch is read again.
                        () = self.context.ports.clock.sleep_ms(DRAIN_MS_MAX) => None,
                    }
                }
            }
        };
        self.answer(command).await;
        match outcome {
            Some(Ok(Outcome::Done)) => Next::End(Ended::Done),
            Some(Err(error)) => match passed {
                Some(limit) => {
                    tracing::warn!(%error, "the line failed while it was being paused");
                    Next::Fail(limit)
                }
                None => Next::Fail(error),
            },
            Some(Ok(Outcome::Drained)) | None if self.is_stopped() => Next::End(Ended::Stopped),
            Some(Ok(Outcome::Drained)) | None => passed.map_or(Next::Run, Next::Fail),
        }
    }

    /// Obeys a command and tells who gave it.
    async fn answer(&mut self, command: Option<Command>) {
        let Some(command) = command else { return };
        let obeyed = self.obey(command.request).await;
        if self.context.line_state.paused.is_some() {
            self.show_paused();
        }
        // Whoever asked may be gone.
        drop(command.done.send(obeyed));
    }

    /// Does what was asked. The line stands still.
    async fn obey(&mut self, request: Request) -> Result<()> {
        match request {
            Request::Pause { reason, ddl: None } => self.remember(|state| state.paused = Some(reason)).await,
            Request::Pause { reason, ddl: Some(tables) } => self.pause_for_ddl(reason, tables).await,
            Request::Resume => self.remember(LineState::resume).await,
            Request::Resnapshot { tables } => {
                let tables = self.named(tables)?;
                self.remember(|state| state.read_again(tables)).await
            }
            Request::Decide(verdict) => {
                let Context { spec, ports, shared, .. } = &self.context;
                decide_conflict(spec, ports, &verdict).await?;
                shared.show_conflicts(ports.state.count_conflicts(&spec.pipeline).await?);
                Ok(())
            }
        }
    }

    async fn pause_for_ddl(&mut self, reason: String, tables: Vec<TableId>) -> Result<()> {
        let tables = self.named(tables)?;
        // Remembered first: once they are detached their changes are not captured, and only reading them again mends that.
        let detached = tables.clone();
        let already = self.context.line_state.detached.clone();
        self.remember(|state| {
            state.paused = Some(reason);
            state.detach(detached);
        })
        .await?;
        let Context { ports, spec, .. } = &self.context;
        let mut source = ports.source.source(&ports.context(spec)).await?;
        if !source.detach(&tables).await? {
            // Nothing was in the way, so nothing is missed; what was in the way before is.
            let stays = |table: &TableId| already.contains(table) || !tables.contains(table);
            self.remember(|state| state.detached.retain(stays)).await?;
        }
        Ok(())
    }

    /// These tables of the line, all if none is named.
    fn named(&self, tables: Vec<TableId>) -> Result<Vec<TableId>> {
        let all = || self.context.spec.tables.iter().map(|route| route.from.clone());
        if tables.is_empty() {
            return Ok(all().collect());
        }
        match tables.iter().find(|table| !all().any(|known| known == **table)) {
            Some(unknown) => {
                let names: Vec<String> = all().map(|table| table.to_string()).collect();
                let error = Error::new(ErrorKind::Config, "the pipeline has no such source table");
                Err(error.at_table(unknown).remedy(format!("It has: {}.", names.join(", "))))
            }
            None => Ok(tables),
        }
    }

    /// Stands still until somebody resumes it.
    async fn paused(&mut self) -> Next {
        self.show_paused();
        self.wait(None).await
    }

    fn show_paused(&self) {
        let text = self.context.line_state.paused.clone().unwrap_or_default();
        let code =
            text.split(':').next().filter(|code| ErrorKind::ALL.iter().any(|kind| kind.code() == *code));
        let code = code.unwrap_or(PAUSED).to_string();
        self.shared().show(Phase::Paused, Some((code, text)));
    }

    /// Waits for a command, a stop, or the end of a time. Errors of commands go to who asked.
    async fn wait(&mut self, ms: Option<u64>) -> Next {
        let mut command = None;
        let clock = self.context.ports.clock.clone();
        let time = async {
            match ms {
                Some(ms) => clock.sleep_ms(ms).await,
                None => std::future::pending().await,
            }
        };
        let paused = self.context.line_state.paused.is_some();
        tokio::pin!(time);
        loop {
            tokio::select! {
                biased;
                () = interrupted(&mut self.controls, &mut command, false) => {}
                () = &mut time => {}
                error = self.retained.passed() => {
                    if paused {
                        // It stands still already, which is all that the limit asks for.
                        tracing::error!(%error, "the source's log grows while the pipeline is paused");
                        continue;
                    }
                    return Next::Fail(error);
                }
            }
            break;
        }
        self.answer(command).await;
        if self.is_stopped() { Next::End(Ended::Stopped) } else { Next::Run }
    }

    /// Does what the error's kind asks for.
    async fn failed(&mut self, error: Error) -> Next {
        let spec = self.context.spec.clone();
        let error = error.at(|place| place.pipeline = Some(spec.pipeline.clone()));
        if self.is_stopped() {
            tracing::warn!(%error, "the line failed while it was stopping");
            return Next::End(Ended::Stopped);
        }
        let ends = self.context.until == Until::Head;
        match error.disposition() {
            // The next session finds it lost at its start, and reads everything again.
            _ if error.kind() == ErrorKind::PositionLost
                && spec.on_position_lost == OnPositionLost::Resnapshot =>
            {
                self.retry(error).await
            }
            Disposition::Retry => self.retry(error).await,
            Disposition::Stop => Next::End(Ended::Failed(error)),
            // An event's error that nobody could pin on an event needs somebody too.
            Disposition::Pause | Disposition::DeadLetter if ends => {
                if let Some(table) = altered(&error)
                    && let Err(unsaved) = self.remember(|state| state.tell_altered(table)).await
                {
                    // Then it is told once more, and can be decided then.
                    tracing::warn!(error = %unsaved, "it can't be remembered that this was told");
                }
                Next::End(Ended::Failed(error))
            }
            Disposition::Pause | Disposition::DeadLetter => {
                tracing::error!(%error, "the pipeline is paused");
                self.shared().show(Phase::Paused, Some(reason(&error)));
                let text = error.to_string();
                let told = |state: &mut LineState| {
                    state.paused = Some(text);
                    altered(&error).into_iter().for_each(|table| state.tell_altered(table));
                };
                match self.remember(told).await {
                    Ok(()) => Next::Run,
                    // Not remembered, so tried again: the same error will pause it when the state is back.
                    Err(unsaved) => self.retry(unsaved).await,
                }
            }
        }
    }

    async fn retry(&mut self, error: Error) -> Next {
        if self.context.line_state.paused.is_some() {
            tracing::warn!(%error, "the line failed while it was being paused");
            return Next::Run;
        }
        let stats = &self.context.shared.stats;
        if stats.batches.load(Relaxed) > self.batches {
            self.failures = 0;
        }
        let ms = backoff_ms(&self.context.spec.on_error, self.failures);
        self.failures = self.failures.saturating_add(1);
        stats.retries.fetch_add(1, Relaxed);
        tracing::warn!(%error, again_in_ms = ms, "the line restarts from the target's checkpoint");
        self.shared().show(Phase::Retrying, Some(reason(&error)));
        self.wait(Some(ms)).await
    }
}

/// Returns when the line is told to stop or has a command to obey; never, if nobody holds a handle any more. A line that is
/// `running` need not stand still to be resumed.
async fn interrupted(controls: &mut Controls, command: &mut Option<Command>, running: bool) {
    loop {
        tokio::select! {
            biased;
            () = told(&mut controls.stop) => return,
            Some(asked) = controls.commands.recv() => match asked.request {
                Request::Resume if running => drop(asked.done.send(Ok(()))),
                _ => {
                    *command = Some(asked);
                    return;
                }
            },
        }
    }
}

/// Returns when a signal is given; never, if nobody can give it any more.
pub(crate) async fn told(signal: &mut watch::Receiver<bool>) {
    let nobody = signal.wait_for(|given| *given).await.is_err();
    if nobody {
        std::future::pending().await
    }
}

/// The pause after the error number `failures` (from 0) in a row.
pub(crate) fn backoff_ms(policy: &OnError, failures: u32) -> u64 {
    policy.base_ms.max(1).saturating_mul(1u64 << failures.min(32)).min(policy.max_ms).max(1)
}

/// The table of which an error tells that it was altered.
fn altered(error: &Error) -> Option<Altered> {
    let table = error.place().table.clone().filter(|_| error.kind() == ErrorKind::SchemaChanged)?;
    Some(Altered { table, seen: error.seen().cloned() })
}

fn reason(error: &Error) -> (String, String) {
    (error.kind().code().to_string(), error.to_string())
}
