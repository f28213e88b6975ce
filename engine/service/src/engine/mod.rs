//! The engine: a configuration at work. What `sluice` runs, and what a program embeds.
//!
//! Reading order: this file (open, start, look, stop), [`supervised`] (one line and whoever restarts it), [`plan`] (what a line is
//! made of), [`operations`] (pause, resume and the like), [`plugins`], [`conflicts`], [`dead_letters`], [`reload`].

mod conflicts;
mod dead_letters;
mod operations;
mod plan;
mod plugins;
mod reload;
mod supervised;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;
use sluice_pipeline::{LineStatus, Phase, Stats, Until};
use sluice_store::Store;
use sluice_types::ports::{Clock, SpillRoom, SpillSeal, StateStore};
use sluice_types::settings::did_you_mean;
use sluice_types::{Error, ErrorKind, PipelineId, Result, Secret};
use sluice_wasm::Host;
use tokio::sync::OnceCell;

pub use conflicts::{ConflictView, DecidedRow};
pub use dead_letters::DeadLetterView;
pub use plan::COMPILE_PLUGIN;
pub use plugins::LineLineage;
pub use reload::{Reloaded, Scope};
pub use supervised::Outcome;

use crate::clock::SystemClock;
use crate::{Config, Registry};
use supervised::Supervised;

/// How often [`Engine::in_step`] looks.
const LOOK_MS: u64 = 20;

/// The folder, inside the state folder, for what is spilled.
const SPILL: &str = "spill";

/// How an engine is opened.
#[derive(Clone)]
pub struct Options {
    /// The connectors, for reading the configuration again.
    pub registry: Registry,
    /// Take lines over from another installation: an operator's explicit wish.
    pub take_over: bool,
    /// A program that compiles plugins in a child process under limits of memory and time, when it is called with the word
    /// `compile-plugin` (the `sluice` binary is one). `None`: plugins are compiled in this process.
    pub compiler: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options { registry: Registry::shipped(), take_over: false, compiler: None }
    }
}

/// A configuration at work. Cheap to clone: every clone is the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    config: ArcSwap<Config>,
    state: Arc<Store>,
    clock: Arc<dyn Clock>,
    spill: SpillRoom,
    /// Made when a plugin is first needed: pausing or looking at dead letters needs none.
    host: OnceCell<Host>,
    lines: Mutex<BTreeMap<PipelineId, Arc<Supervised>>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    /// What was wrong with the file when it was last read, until it is right again.
    refused: Mutex<Option<String>>,
    started: Instant,
}

/// Which line: a pipeline has one for each target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineName {
    /// The pipeline's name in the configuration.
    pub pipeline: String,
    /// The target's name in the configuration.
    pub target: String,
    /// What its checkpoint and dead letters are filed under.
    pub id: PipelineId,
}

/// The status of everything that was started.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// sluice's own version.
    pub version: &'static str,
    /// The installation.
    pub install: String,
    /// Seconds since the engine was opened.
    pub uptime_seconds: u64,
    /// Why the changed configuration file is not in use.
    pub config_refused: Option<String>,
    /// The lines.
    pub lines: Vec<LineReport>,
}

/// The status of one line.
#[derive(Clone, Debug, Serialize)]
pub struct LineReport {
    /// The pipeline's name in the configuration.
    pub name: String,
    /// The target's name in the configuration.
    pub target: String,
    /// What the line says.
    #[serde(flatten)]
    pub line: LineStatus,
}

impl Engine {
    /// Opens the state folder, which one engine at a time may have open. Starts nothing.
    pub async fn open(config: Config, options: Options) -> Result<Engine> {
        let state = Store::open(&config.state.dir, config.state.key.clone())?;
        let spill = spill_room(&config, &state)?;
        let inner = Inner {
            options,
            config: ArcSwap::from_pointee(config),
            state: Arc::new(state),
            clock: Arc::new(SystemClock),
            spill,
            host: OnceCell::new(),
            lines: Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
            refused: Mutex::default(),
            started: Instant::now(),
        };
        Ok(Engine { inner: Arc::new(inner) })
    }

    /// The configuration in use.
    pub fn config(&self) -> Arc<Config> {
        self.inner.config.load_full()
    }

    /// Starts every line of these pipelines (of all when none is named), each as a task of its own on the current runtime. One
    /// that fails doesn't disturb the others: it waits, with its reason in the status, until it is resumed; with [`Until::Head`] it
    /// ends. A line that runs already stays as it is. Lines run until they end or [`Engine::stop`]: dropping the engine doesn't stop
    /// them.
    pub fn start(&self, pipelines: &[String], until: Until) -> Result<()> {
        let names = if pipelines.is_empty() {
            self.line_names()
        } else {
            let mut names = Vec::new();
            for pipeline in pipelines {
                names.extend(self.find(pipeline)?);
            }
            names
        };
        names.into_iter().for_each(|name| self.start_line(name, until));
        Ok(())
    }

    fn start_line(&self, name: LineName, until: Until) {
        let mut lines = self.lines();
        if lines.get(&name.id).is_some_and(|line| line.outcome().is_none()) {
            return;
        }
        let line = Arc::new(Supervised::new(name));
        lines.insert(line.name.id.clone(), line.clone());
        drop(lines);
        line.spawn(self.clone(), until);
    }

    /// What changing anything over HTTP needs: `service.token`, or one that is made in the state folder.
    pub fn token(&self) -> Result<Secret> {
        match &self.config().service.token {
            Some(token) => Ok(token.clone()),
            None => self.inner.state.token(),
        }
    }

    /// How everything stands. Asks nobody: what the lines last knew.
    pub fn status(&self) -> Status {
        let report = |line: &Arc<Supervised>| LineReport {
            name: line.name.pipeline.clone(),
            target: line.name.target.clone(),
            line: line.status(),
        };
        Status {
            version: env!("CARGO_PKG_VERSION"),
            install: self.inner.state.install().to_string(),
            uptime_seconds: self.inner.started.elapsed().as_secs(),
            config_refused: unpoisoned(&self.inner.refused).clone(),
            lines: self.lines().values().map(report).collect(),
        }
    }

    /// The counters of every line that has run, with its status.
    pub fn stats(&self) -> Vec<(LineReport, Arc<Stats>)> {
        let reports = self.status().lines;
        let lines = self.lines();
        let stats = |report: LineReport| {
            let id = PipelineId::from(report.line.pipeline.as_str());
            let stats = lines.get(&id)?.handle()?.stats();
            Some((report, stats))
        };
        reports.into_iter().filter_map(stats).collect()
    }

    /// Returns when the target of every line of a pipeline is consistent and nothing is left to apply. An error when a line has
    /// ended or stands still, for then it never would.
    pub async fn in_step(&self, pipeline: &str) -> Result<()> {
        let ids: Vec<PipelineId> = self.find(pipeline)?.into_iter().map(|name| name.id).collect();
        loop {
            let mut behind = false;
            for report in self.status().lines {
                let line = report.line;
                if !ids.iter().any(|id| *id.0 == *line.pipeline) {
                    continue;
                }
                match line.phase {
                    Phase::Paused | Phase::Ended => return Err(standing_still(&line)),
                    Phase::Streaming if line.ready && line.lag == 0 => {}
                    _ => behind = true,
                }
            }
            if !behind {
                return Ok(());
            }
            self.inner.clock.sleep_ms(LOOK_MS).await;
        }
    }

    /// Waits until every line that was started has ended by itself, and says how.
    pub async fn ended(&self) -> Vec<(LineName, Outcome)> {
        let lines: Vec<Arc<Supervised>> = self.lines().values().cloned().collect();
        let mut outcomes = Vec::new();
        for line in lines {
            outcomes.push((line.name.clone(), line.ended().await));
        }
        outcomes
    }

    /// Asks every line to end after its current batch, without waiting.
    pub fn ask_to_stop(&self) {
        self.lines().values().for_each(|line| line.ask_to_stop());
    }

    /// Stops every line after its current batch. Lines that have not ended within `grace` are broken off, which loses nothing
    /// (they go on from the target's checkpoint); then it is an error that names them.
    pub async fn stop(&self, grace: Duration) -> Result<()> {
        self.ask_to_stop();
        if tokio::time::timeout(grace, self.ended()).await.is_ok() {
            return Ok(());
        }
        let lines = self.lines();
        let late: Vec<&str> =
            lines.values().filter(|line| line.break_off()).map(|line| &*line.name.id.0).collect();
        let what = format!("broken off after {} seconds: {}", grace.as_secs(), late.join(", "));
        Err(Error::new(ErrorKind::Timeout, what)
            .remedy("nothing is lost: the next start goes on from the target's checkpoint"))
    }

    /// Every line that the configuration has.
    pub fn line_names(&self) -> Vec<LineName> {
        plan::line_names(&self.config())
    }

    /// The lines that a name means: that of a pipeline in the configuration, its `id`, or the id of one line.
    pub fn find(&self, name: &str) -> Result<Vec<LineName>> {
        let config = self.config();
        let all = plan::line_names(&config);
        let is_meant = |line: &LineName| {
            let pipeline_id = config.pipelines.get(&line.pipeline).map(|pipeline| &*pipeline.id.0);
            line.pipeline == name || &*line.id.0 == name || pipeline_id == Some(name)
        };
        let found: Vec<LineName> = all.iter().filter(|line| is_meant(line)).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let known: Vec<&str> = config.pipelines.keys().map(String::as_str).collect();
        let remedy = format!("{}known: {}", did_you_mean(name, known.iter().copied()), known.join(", "));
        Err(Error::new(ErrorKind::PipelineMissing, format!("there is no pipeline `{name}`")).remedy(remedy))
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<PipelineId, Arc<Supervised>>> {
        unpoisoned(&self.inner.lines)
    }

    fn line(&self, id: &PipelineId) -> Option<Arc<Supervised>> {
        self.lines().get(id).cloned()
    }
}

/// The folder for what is spilled. What an earlier process left there is of no use to anybody.
fn spill_room(config: &Config, state: &Store) -> Result<SpillRoom> {
    let dir = config.state.dir.join(SPILL);
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let what = format!("{} can't be emptied", dir.display());
            Err(Error::new(ErrorKind::State, what).because(error))
        }
        _ => {
            let seal = state.seal_key().map(|key| Arc::new(key) as Arc<dyn SpillSeal>);
            Ok(SpillRoom::sealed(dir, config.limits.spill, seal))
        }
    }
}

fn standing_still(line: &LineStatus) -> Error {
    let (code, why) = line.reason.clone().unwrap_or_default();
    let kind = ErrorKind::ALL.iter().find(|kind| kind.code() == code).copied().unwrap_or(ErrorKind::Internal);
    let why = if why.is_empty() { "the line has ended".to_string() } else { why };
    Error::new(kind, why).at(|place| place.pipeline = Some(line.pipeline.as_str().into()))
}

/// Locks, also after a panic elsewhere: what is behind these locks is replaced whole, never left half changed.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
