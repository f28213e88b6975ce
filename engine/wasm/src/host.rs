//! The host of all plugins of a process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use serde::Serialize;
use sluice_types::ports::{Clock, PluginVersion, StateStore, Swapped};
use sluice_types::{Digest, Error, ErrorKind, PipelineId, Result, TableSchema};

use crate::cache::CodeCache;
use crate::compile::Compiler;
use crate::engine::{self, Engine};
use crate::hosted;
use crate::inspect::{Inspection, PlanReport};
use crate::instance::{Instance, Instances};
use crate::limits::MESSAGE_CHARS;
use crate::line::{Chains, Line, Prepared, lock, off_runtime};
use crate::plan::StepInput;
use crate::plugin::{Loader, Plugin, WORLD};
use crate::spec::{ChainSpec, StepSpec};
use crate::step::{Step, StepVersion};
use crate::swap::{self, Refused};
use crate::text::printable;
use crate::versions::Running;
use crate::watch::Watcher;

/// What a host stands on.
pub struct HostOptions {
    /// Where compiled code is kept; made 0700.
    pub cache_dir: PathBuf,
    /// The key by which compiled code is authenticated; random, kept in the state.
    pub cache_key: [u8; 32],
    /// The folder of plugin files, `NAME.wasm`.
    pub plugin_dir: Option<PathBuf>,
    /// The plugins that come with the binary: name and component.
    pub shipped: &'static [(&'static str, &'static [u8])],
    /// Where the versions that run are remembered.
    pub state: Arc<dyn StateStore>,
    /// Time, for histories.
    pub clock: Arc<dyn Clock>,
    /// Where components are compiled.
    pub compiler: Compiler,
}

/// Where the version of a plugin that runs was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginSource {
    /// It comes with the binary.
    Shipped,
    /// From the plugin folder.
    Folder,
    /// From the state: the folder's file is another one, or gone.
    State,
}

/// One plugin, as `plugin list` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// The version that runs; `None` when none could be loaded.
    pub digest: Option<Digest>,
    /// Where that was taken from.
    pub source: PluginSource,
    /// The digest of the file that lies in the plugin folder, where there is one.
    pub file: Option<Digest>,
    /// The pipelines that use it.
    pub used_by: Vec<String>,
    /// A candidate that was refused or waits, and why.
    pub candidate: Option<Candidate>,
    /// Its history, newest first.
    pub history: Vec<PluginVersion>,
}

/// A version that does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its digest; `None` when the file is not even read: it is too large, say.
    pub digest: Option<Digest>,
    /// Refused or waiting.
    pub outcome: Swapped,
    /// Why, one clause.
    pub why: String,
    /// When, microseconds since 1970 UTC; of a file that is not read: since when it is as it is.
    pub at_micros: i64,
}

/// What came of a swap or rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwapReport {
    /// The plugin.
    pub name: String,
    /// The version that ran before.
    pub from: Option<Digest>,
    /// The version that was tried.
    pub to: Digest,
    /// What became of it.
    pub outcome: Swapped,
    /// Why, one clause.
    pub why: String,
    /// Pipelines that take it over at their next batch boundary.
    pub pipelines: Vec<String>,
}

/// What the host counted since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct HostMetrics {
    /// Versions that took over.
    pub swaps: u64,
    /// Candidates refused.
    pub refusals: u64,
    /// Candidates that wait for a person.
    pub waiting: u64,
    /// Components compiled, and how long that took in all, in microseconds. The rest came from the cache.
    pub compiles: u64,
    pub compile_micros: u64,
    pub cache_hits: u64,
    /// Instances thrown away after a trap, a timeout or a memory limit.
    pub instances_discarded: u64,
}

/// Counts up.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// [`HostMetrics`] in the making.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) swaps: Counter,
    pub(crate) refusals: Counter,
    pub(crate) waiting: Counter,
    pub(crate) compiles: Counter,
    pub(crate) compile_micros: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) instances_discarded: Counter,
}

/// The host of all plugins of a process: a handle, cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

/// Versions by name and digest, as long as somebody uses them.
pub(crate) type Loaded = HashMap<(Arc<str>, Digest), Weak<Plugin>>;

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) options: HostOptions,
    pub(crate) loader: Loader,
    pub(crate) counters: Arc<Counters>,
    /// The plugins that can be swapped, as far as anybody asked for them.
    pub(crate) running: Mutex<BTreeMap<Arc<str>, Arc<Running>>>,
    /// The versions in memory.
    pub(crate) loaded: Mutex<Loaded>,
    lines: Mutex<Vec<Weak<Line>>>,
    /// What runs has changed: a file in the plugin folder may now be a candidate.
    pub(crate) began: Arc<tokio::sync::Notify>,
    /// One swap, rollback or change of configuration at a time.
    swapping: tokio::sync::Mutex<()>,
}

impl Host {
    /// Makes a host; loads nothing yet.
    ///
    /// # Errors
    /// `permission` or `state-unavailable` when the cache folder can't be used.
    pub async fn new(options: HostOptions) -> Result<Host> {
        let engine = Engine::new()?;
        let compatibility = engine::compatibility(&engine.on_demand);
        let cache = CodeCache::open(options.cache_dir.clone(), options.cache_key, compatibility)?;
        let counters = Arc::new(Counters::default());
        let compiler = options.compiler.clone();
        let loader = Loader { engine, cache, compiler, counters: counters.clone() };
        let inner = Inner {
            options,
            loader,
            counters,
            running: Mutex::default(),
            loaded: Mutex::default(),
            lines: Mutex::default(),
            began: Arc::default(),
            swapping: tokio::sync::Mutex::default(),
        };
        Ok(Host { inner: Arc::new(inner) })
    }

    /// Loads a component and asks it to describe itself.
    ///
    /// # Errors
    /// `plugin-invalid` or `plugin-refused`, saying what is wrong with the file.
    pub async fn inspect(&self, component: Bytes) -> Result<Inspection> {
        let plugin = self.inner.loader.load("inspected", component).await?;
        off_runtime(move || {
            let (name, version, summary, config_schema) = Instance::alone(&plugin)?.describe()?;
            let shown = |text: String| printable(&text, MESSAGE_CHARS);
            Ok(Inspection {
                digest: plugin.digest,
                size: plugin.bytes.len() as u64,
                world: WORLD,
                grants: plugin.imports.iter().filter_map(|import| hosted::grant_for(import)).collect(),
                imports: plugin.imports.clone(),
                name: shown(name),
                version: shown(version),
                summary: shown(summary),
                config_schema,
            })
        })
        .await?
    }

    /// Opens a component on a table, and says what it plans; `None` when it is not interested.
    ///
    /// # Errors
    /// As [`Host::inspect`]; `plugin-config` with findings.
    pub async fn inspect_plan(
        &self,
        component: Bytes,
        table: &TableSchema,
        config: &str,
    ) -> Result<Option<PlanReport>> {
        let plugin = self.inner.loader.load("inspected", component).await?;
        let spec = Arc::new(StepSpec::new("inspected", config, ""));
        // What the plugin plans is asked for, not whether a source's log goes with it.
        let table = Arc::new(TableSchema { before_images: true, ..table.clone() });
        off_runtime(move || {
            let version = StepVersion { spec, plugin };
            let input = StepInput::first(&table, &table);
            let step = Step::open(version, input, 0, &mut Instances::new(""))?;
            Ok(step.plan().map(|plan| plan.report.clone()))
        })
        .await?
    }

    /// The chains of a line, with every plugin of it loaded.
    ///
    /// # Errors
    /// Findings with their path in the file: plugins that are missing, invalid, refused, or need what isn't built.
    pub async fn chains(&self, pipeline: &PipelineId, spec: ChainSpec) -> Result<Chains> {
        let versions = self.inner.resolve(&spec, None).await?;
        let line = Arc::new(Line::new(pipeline.clone(), spec, versions));
        let mut lines = lock(&self.inner.lines);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        self.inner.began.notify_one();
        Ok(Chains { line, host: self.inner.clone() })
    }

    /// Every plugin: shipped, in the folder, in use, or in the state.
    pub async fn list(&self) -> Result<Vec<PluginStatus>> {
        let history = self.inner.options.state.plugin_history(None).await?;
        let mut names: BTreeSet<String> =
            self.inner.options.shipped.iter().map(|(name, _)| name.to_string()).collect();
        names.extend(self.inner.file_names());
        names.extend(lock(&self.inner.running).keys().map(ToString::to_string));
        names.extend(history.iter().map(|version| version.name.to_string()));
        let mut statuses = Vec::with_capacity(names.len());
        for name in names {
            let history = history.iter().filter(|version| *version.name == *name).cloned().collect();
            statuses.push(self.inner.status(name, history).await?);
        }
        Ok(statuses)
    }

    /// Takes the folder's file of that name now; with `promote` also when it reads, writes or drops more than what runs.
    ///
    /// # Errors
    /// `plugin-missing` without such a file. A candidate that is refused is not an error but a report.
    pub async fn swap(&self, name: &str, promote: bool) -> Result<SwapReport> {
        let bytes = self.inner.file(name)?.ok_or_else(|| self.inner.missing(name))?;
        let offer = if promote { Offer::Insisted } else { Offer::Found };
        self.inner.offer(name, bytes, offer).await
    }

    /// Puts an earlier version back: the one before, or the one given.
    ///
    /// # Errors
    /// `plugin-missing` when there is no such version.
    pub async fn rollback(&self, name: &str, to: Option<Digest>) -> Result<SwapReport> {
        self.inner.rollback(name, to).await
    }

    /// Starts to watch the plugin folder. What lies there already and isn't what runs is offered as a candidate at once.
    ///
    /// # Errors
    /// When the system offers no watching.
    pub fn watch(&self) -> Result<Watcher> {
        Watcher::start(self.inner.clone())
    }

    /// What was counted.
    pub fn metrics(&self) -> HostMetrics {
        let counters = &self.inner.counters;
        HostMetrics {
            swaps: counters.swaps.get(),
            refusals: counters.refusals.get(),
            waiting: counters.waiting.get(),
            compiles: counters.compiles.get(),
            compile_micros: counters.compile_micros.get(),
            cache_hits: counters.cache_hits.get(),
            instances_discarded: counters.instances_discarded.get(),
        }
    }
}

impl Inner {
    fn lines(&self) -> Vec<Arc<Line>> {
        lock(&self.lines).iter().filter_map(Weak::upgrade).collect()
    }

    /// The lines that run whatever version of this plugin is promoted.
    pub(crate) fn followers(&self, name: &str) -> Vec<Arc<Line>> {
        let follows = |line: &Arc<Line>| {
            let spec = line.next_spec();
            spec.tables.values().flatten().any(|step| *step.plugin == *name && self.is_swappable(step))
        };
        self.lines().into_iter().filter(follows).collect()
    }

    async fn status(&self, name: String, history: Vec<PluginVersion>) -> Result<PluginStatus> {
        let uses = |line: &Arc<Line>| {
            lock(&line.live).versions.values().flatten().any(|step| *step.spec.plugin == *name)
        };
        let used_by: BTreeSet<String> =
            self.lines().iter().filter(|line| uses(line)).map(|line| line.pipeline.to_string()).collect();
        let (file, unusable) = match self.file(&name) {
            Ok(bytes) => (bytes.map(|bytes| Digest::of(&bytes)), None),
            Err(error) => (None, Some(self.unusable_file(&name, &error))),
        };
        let (digest, source) = match (self.running_now(&name), self.shipped(&name)) {
            (Some(running), _) => {
                let (plugin, source) = running.current();
                (Some(plugin.digest), source)
            }
            (None, Some(bytes)) => (Some(Digest::of(&bytes)), PluginSource::Shipped),
            (None, None) => match self.options.state.promoted_plugin(&name).await? {
                Some((digest, _)) if Some(digest) == file => (Some(digest), PluginSource::Folder),
                Some((digest, _)) => (Some(digest), PluginSource::State),
                None => (None, PluginSource::Folder),
            },
        };
        let candidate = history
            .iter()
            .find(|version| Some(version.digest) != digest)
            .filter(|version| matches!(version.outcome, Swapped::Refused | Swapped::Waiting))
            .map(|version| Candidate {
                digest: Some(version.digest),
                outcome: version.outcome,
                why: version.why.clone(),
                at_micros: version.at_micros,
            });
        // The folder has it now, the history is of before.
        let candidate = unusable.or(candidate);
        Ok(PluginStatus {
            name,
            digest,
            source,
            file,
            used_by: used_by.into_iter().collect(),
            candidate,
            history,
        })
    }

    /// A file that the watcher found. Nothing happens if nobody runs the plugin, if it runs already, or if it was refused before.
    pub(crate) async fn found(&self, name: &str, bytes: Bytes) -> Result<Option<SwapReport>> {
        let Some(running) = self.running_now(name) else { return Ok(None) };
        let digest = Digest::of(&bytes);
        if running.current().0.digest == digest {
            return Ok(None);
        }
        let history = self.options.state.plugin_history(Some(name)).await?;
        let before = history.iter().find(|version| version.digest == digest);
        if before.is_some_and(|version| version.outcome != Swapped::Promoted) {
            return Ok(None);
        }
        self.offer(name, bytes, Offer::Found).await.map(Some)
    }

    /// A file of the folder that can't be read, as the candidate that it would be: it has no digest to be remembered by.
    fn unusable_file(&self, name: &str, error: &Error) -> Candidate {
        let why = std::error::Error::source(error)
            .map_or_else(|| error.what().to_string(), |cause| format!("{}: {cause}", error.what()));
        let at_micros = self.file_changed(name).unwrap_or_else(|| self.options.clock.now_micros());
        Candidate { digest: None, outcome: Swapped::Refused, why, at_micros }
    }

    /// Offers a version as a candidate for everything that runs the plugin.
    pub(crate) async fn offer(&self, name: &str, bytes: Bytes, offer: Offer) -> Result<SwapReport> {
        let _one_at_a_time = self.swapping.lock().await;
        let digest = Digest::of(&bytes);
        let from = match self.running_now(name) {
            Some(running) => Some(running.current().0.digest),
            None => self.options.state.promoted_plugin(name).await?.map(|(digest, _)| digest),
        };
        let report = |outcome, why: &str, pipelines| SwapReport {
            name: name.to_string(),
            from,
            to: digest,
            outcome,
            why: why.to_string(),
            pipelines,
        };
        if from == Some(digest) {
            return Ok(report(Swapped::Promoted, "it runs already", vec![]));
        }
        let (checked, wider) = match self.check(name, bytes.clone()).await? {
            Ok(checked) => checked,
            Err(refused) => {
                let why = refused.why();
                tracing::warn!(plugin = name, digest = %digest.short(), %why, "plugin candidate refused; the old version runs on");
                self.counters.refusals.add(1);
                self.record(name, digest, Swapped::Refused, &why, None).await?;
                return Ok(report(Swapped::Refused, &why, vec![]));
            }
        };
        if !wider.is_empty() && offer == Offer::Found {
            let why = format!("{}; `sluice plugin swap {name} --promote` lets it", wider.join(", "));
            tracing::warn!(plugin = name, digest = %digest.short(), %why, "plugin candidate waits; the old version runs on");
            self.counters.waiting.add(1);
            self.record(name, digest, Swapped::Waiting, &why, None).await?;
            return Ok(report(Swapped::Waiting, &why, vec![]));
        }
        let why = if wider.is_empty() { "it passed its checks".to_string() } else { wider.join(", ") };
        // Accepted, but not running yet: so no crash leaves the outgoing file free to come back by itself.
        if let (Offer::PutBack, Some(outgoing)) = (offer, from) {
            let why = format!("put out in favour of {}", digest.short());
            self.record(name, outgoing, Swapped::RolledBack, &why, None).await?;
        }
        let pipelines = self.promote(name, bytes, offer.source(), checked, &why).await?;
        Ok(report(Swapped::Promoted, &why, pipelines))
    }

    /// Loads a candidate and checks it on every line that would run it.
    async fn check(&self, name: &str, bytes: Bytes) -> Result<Result<(Vec<Ready>, Vec<String>), Refused>> {
        let plugin = match self.load(name, bytes).await {
            Ok(plugin) => plugin,
            // Our own trouble is no fault of the candidate: it can be tried again.
            Err(error) if swap::is_own_trouble(&error) => return Err(error),
            Err(error) => return Ok(Err(Refused::Broken(error))),
        };
        let mut ready = Vec::new();
        let mut wider = Vec::new();
        for line in self.followers(name) {
            let spec = line.next_spec();
            let runs_it = |step: &&StepSpec| *step.plugin == *name && self.is_swappable(step);
            let steps = spec.tables.values().flatten().filter(runs_it);
            if let Some(error) =
                steps.filter_map(|step| hosted::not_granted(&plugin.imports, &step.grant)).next()
            {
                return Ok(Err(Refused::Broken(error)));
            }
            let versions = self.resolve(&spec, Some(&plugin)).await?;
            match swap::check(&line, spec, versions).await {
                Ok(checked) => {
                    wider.extend(checked.wider);
                    ready.push(Ready { line, prepared: checked.prepared });
                }
                Err(Refused::Broken(error)) if swap::is_own_trouble(&error) => return Err(error),
                Err(refused) => return Ok(Err(refused)),
            }
        }
        if ready.is_empty() {
            // Nobody runs it: at least it must start.
            let started = off_runtime(move || Instance::alone(&plugin)?.describe()).await?;
            if let Err(error) = started {
                return Ok(Err(Refused::Broken(error)));
            }
        }
        Ok(Ok((ready, wider)))
    }

    /// Makes a checked version the one that runs: first in the state, then in memory, then at each line's next batch boundary.
    async fn promote(
        &self,
        name: &str,
        bytes: Bytes,
        source: PluginSource,
        ready: Vec<Ready>,
        why: &str,
    ) -> Result<Vec<String>> {
        let digest = Digest::of(&bytes);
        let plugin = self.load(name, bytes.clone()).await?;
        self.record(name, digest, Swapped::Promoted, why, Some(bytes)).await?;
        if let Some(running) = self.running_now(name) {
            running.replace(plugin, source);
        }
        let mut pipelines = Vec::new();
        for Ready { line, prepared } in ready {
            line.hand_over(prepared);
            pipelines.push(line.pipeline.to_string());
        }
        self.counters.swaps.add(1);
        tracing::info!(plugin = name, digest = %digest.short(), why, ?pipelines, "plugin version takes over");
        Ok(pipelines)
    }

    async fn rollback(&self, name: &str, to: Option<Digest>) -> Result<SwapReport> {
        let history = self.options.state.plugin_history(Some(name)).await?;
        let running = match self.running_now(name) {
            Some(running) => Some(running.current().0.digest),
            None => self.options.state.promoted_plugin(name).await?.map(|(digest, _)| digest),
        };
        let previous = || {
            let mut promoted = history.iter().filter(|version| version.outcome == Swapped::Promoted);
            let earlier =
                promoted.find(|version| Some(version.digest) != running).map(|version| version.digest);
            earlier.or_else(|| self.shipped(name).map(|bytes| Digest::of(&bytes)))
        };
        let no_version = || {
            Error::new(ErrorKind::PluginMissing, format!("there is no earlier version of plugin `{name}`"))
                .remedy("`sluice plugin list` shows the versions")
        };
        let target = to.or_else(previous).filter(|digest| Some(*digest) != running).ok_or_else(no_version)?;
        let bytes = self.bytes_of(name, &target).await?.ok_or_else(no_version)?;
        self.offer(name, bytes, Offer::PutBack).await
    }

    /// Takes a changed configuration of a line.
    pub(crate) async fn reconfigure(&self, line: &Arc<Line>, spec: ChainSpec) -> Result<()> {
        let _one_at_a_time = self.swapping.lock().await;
        let versions = self.resolve(&spec, None).await?;
        match swap::check(line, Arc::new(spec), versions).await {
            Ok(checked) => {
                line.hand_over(checked.prepared);
                Ok(())
            }
            Err(Refused::Broken(error)) => Err(error),
            Err(refused) => Err(Error::new(ErrorKind::PluginRefused, refused.why()).remedy(
                "Stop the pipeline, start it with the new configuration, and `sluice resnapshot` its tables",
            )),
        }
    }
}

/// How a version comes to be offered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It lies in the folder. What wants more than what runs waits.
    Found,
    /// It lies in the folder, and a person lets it have more.
    Insisted,
    /// A person puts an earlier version back; what runs is not to come back by itself.
    PutBack,
}

impl Offer {
    fn source(self) -> PluginSource {
        match self {
            Offer::Found | Offer::Insisted => PluginSource::Folder,
            Offer::PutBack => PluginSource::State,
        }
    }
}

/// A line with chains that are ready to take over.
struct Ready {
    line: Arc<Line>,
    prepared: Prepared,
}
