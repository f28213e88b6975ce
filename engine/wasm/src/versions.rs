//! Which version of which plugin runs, and where it comes from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use sluice_types::ports::{PluginVersion, Swapped};
use sluice_types::settings::did_you_mean;
use sluice_types::{Digest, Error, ErrorKind, Finding, Result};

use crate::host::{Inner, PluginSource};
use crate::hosted;
use crate::limits::COMPONENT_BYTES;
use crate::line::{Line, Versions, lock};
use crate::plugin::Plugin;
use crate::spec::{ChainSpec, StepSpec};
use crate::step::StepVersion;

/// A plugin that can be swapped: the version that runs now.
pub(crate) struct Running {
    current: Mutex<(Arc<Plugin>, PluginSource)>,
    /// Whether the state knows that this version runs.
    recorded: AtomicBool,
}

impl Running {
    pub(crate) fn current(&self) -> (Arc<Plugin>, PluginSource) {
        lock(&self.current).clone()
    }

    /// Another version runs, and the state knows it.
    pub(crate) fn replace(&self, plugin: Arc<Plugin>, source: PluginSource) {
        *lock(&self.current) = (plugin, source);
        self.recorded.store(true, Ordering::Release);
    }
}

impl Inner {
    /// Whether a step runs whatever version of its plugin was promoted, instead of a fixed one.
    pub(crate) fn is_swappable(&self, step: &StepSpec) -> bool {
        step.digest.is_none() && (self.shipped(&step.plugin).is_none() || step.override_shipped)
    }

    pub(crate) fn shipped(&self, name: &str) -> Option<Bytes> {
        let (_, bytes) = self.options.shipped.iter().find(|(shipped, _)| *shipped == name)?;
        Some(Bytes::from_static(bytes))
    }

    /// The versions for a configuration. `candidate` stands in for the running version of its name.
    ///
    /// # Errors
    /// All findings at once.
    pub(crate) async fn resolve(
        &self,
        spec: &ChainSpec,
        candidate: Option<&Arc<Plugin>>,
    ) -> Result<Versions> {
        let mut findings = Vec::new();
        let mut kind = None;
        let mut versions = Versions::new();
        for (table, steps) in &spec.tables {
            let mut resolved = Vec::with_capacity(steps.len());
            for step in steps {
                let plugin = match candidate {
                    Some(plugin) if plugin.name == step.plugin && self.is_swappable(step) => {
                        Ok(plugin.clone())
                    }
                    _ => self.resolve_step(step).await,
                };
                let (key, error) = match plugin {
                    Ok(plugin) => match hosted::not_granted(&plugin.imports, &step.grant) {
                        None => {
                            resolved.push(StepVersion { spec: Arc::new(step.clone()), plugin });
                            continue;
                        }
                        Some(error) => ("grant", error),
                    },
                    Err(error) => ("plugin", error),
                };
                kind.get_or_insert(error.kind());
                findings.push(finding(step, key, &error));
            }
            versions.insert(table.clone(), resolved);
        }
        match kind {
            None => Ok(versions),
            Some(kind) => {
                Err(Error::findings(kind, "the plugins of this pipeline can't be loaded", findings))
            }
        }
    }

    async fn resolve_step(&self, step: &StepSpec) -> Result<Arc<Plugin>> {
        let name = &*step.plugin;
        if !is_name(name) {
            let what = format!("`{}` is not the name of a plugin", crate::text::printable(name, 100));
            return Err(Error::new(ErrorKind::PluginMissing, what)
                .remedy("A name is letters, digits, `-`, `_` and `.`, without `.wasm`"));
        }
        if let Some(digest) = step.digest {
            let bytes = self.bytes_of(name, &digest).await?.ok_or_else(|| {
                let what = format!(
                    "no version {digest} of plugin `{name}` is shipped, in the plugin folder or in the state"
                );
                Error::new(ErrorKind::PluginMissing, what)
                    .remedy("Put that file into the plugin folder, or correct `digest`")
            })?;
            return self.load(name, bytes).await;
        }
        match self.shipped(name) {
            Some(bytes) if !step.override_shipped => self.load(name, bytes).await,
            _ => Ok(self.running(name).await?.current().0),
        }
    }

    /// The version of a swappable plugin that runs; found and loaded when it is first asked for.
    pub(crate) async fn running(&self, name: &str) -> Result<Arc<Running>> {
        if let Some(running) = self.running_now(name) {
            return Ok(running);
        }
        // The promoted version runs, whatever lies in the folder.
        let promoted = self.options.state.promoted_plugin(name).await?;
        let recorded = promoted.is_some();
        let (bytes, source) = match promoted {
            Some((digest, bytes)) if Digest::of(&bytes) == digest => {
                // A file that can't be read is a refused candidate: no reason not to run what ran.
                let in_folder = matches!(self.file(name), Ok(Some(file)) if file == bytes);
                (bytes, if in_folder { PluginSource::Folder } else { PluginSource::State })
            }
            Some((digest, _)) => {
                let what = format!("the state's copy of plugin `{name}`, {digest}, is damaged");
                return Err(Error::new(ErrorKind::PluginInvalid, what)
                    .remedy(format!("`sluice plugin swap {name}` takes the folder's file")));
            }
            None => match (self.file(name)?, self.shipped(name)) {
                (Some(bytes), _) => (bytes, PluginSource::Folder),
                (None, Some(bytes)) => (bytes, PluginSource::Shipped),
                (None, None) => return Err(self.missing(name)),
            },
        };
        let plugin = self.load(name, bytes).await?;
        let running =
            Arc::new(Running { current: Mutex::new((plugin, source)), recorded: AtomicBool::new(recorded) });
        // Two may have looked at once: the first stays.
        Ok(lock(&self.running).entry(name.into()).or_insert(running).clone())
    }

    pub(crate) fn running_now(&self, name: &str) -> Option<Arc<Running>> {
        lock(&self.running).get(name).cloned()
    }

    /// Loads a version; one that is loaded already is shared.
    pub(crate) async fn load(&self, name: &str, bytes: Bytes) -> Result<Arc<Plugin>> {
        let key = (Arc::<str>::from(name), Digest::of(&bytes));
        if let Some(plugin) = lock(&self.loaded).get(&key).and_then(std::sync::Weak::upgrade) {
            return Ok(plugin);
        }
        let plugin = self.loader.load(name, bytes).await?;
        let mut loaded = lock(&self.loaded);
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        loaded.insert(key, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    /// Puts the versions that a line is about to use into the state, where it does not know them yet (I11).
    pub(crate) async fn record_first_use(&self, line: &Line) -> Result<()> {
        let steps: Vec<StepVersion> = lock(&line.live).versions.values().flatten().cloned().collect();
        for step in steps.iter().filter(|step| self.is_swappable(&step.spec)) {
            let Some(running) = self.running_now(&step.spec.plugin) else { continue };
            if running.recorded.load(Ordering::Acquire) {
                continue;
            }
            let (plugin, source) = running.current();
            // The shipped version needs no copy: without one in the state it is what runs.
            if source != PluginSource::Shipped {
                self.record(
                    &plugin.name,
                    plugin.digest,
                    Swapped::Promoted,
                    "first use",
                    Some(plugin.bytes.clone()),
                )
                .await?;
            }
            running.recorded.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(crate) async fn record(
        &self,
        name: &str,
        digest: Digest,
        outcome: Swapped,
        why: &str,
        bytes: Option<Bytes>,
    ) -> Result<()> {
        let at_micros = self.options.clock.now_micros();
        let version = PluginVersion { name: name.into(), digest, outcome, why: why.to_string(), at_micros };
        self.options.state.record_plugin(version, bytes).await
    }

    /// The bytes of a version, from wherever it is.
    pub(crate) async fn bytes_of(&self, name: &str, digest: &Digest) -> Result<Option<Bytes>> {
        let is_it = |bytes: &Bytes| Digest::of(bytes) == *digest;
        // A file that can't be read is none that is known by this digest: it may still be elsewhere.
        let file = self.file(name).ok().flatten().filter(is_it);
        if let Some(bytes) = file.or_else(|| self.shipped(name).filter(is_it)) {
            return Ok(Some(bytes));
        }
        Ok(self.options.state.plugin_bytes(digest).await?.filter(is_it))
    }

    /// The folder's file of a plugin, read once and whole.
    pub(crate) fn file(&self, name: &str) -> Result<Option<Bytes>> {
        let Some(path) = self.file_path(name) else { return Ok(None) };
        let failed = |why: std::io::Error| {
            let kind = match why.kind() {
                std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
                _ => ErrorKind::PluginInvalid,
            };
            Error::new(kind, format!("the plugin file {} can't be read", path.display())).because(why)
        };
        match std::fs::metadata(&path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(failed(why)),
            Ok(meta) if meta.len() > COMPONENT_BYTES => {
                let what = format!(
                    "the plugin file {} has {} bytes; the limit is {COMPONENT_BYTES}",
                    path.display(),
                    meta.len()
                );
                return Err(Error::new(ErrorKind::PluginInvalid, what));
            }
            Ok(_) => {}
        }
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(failed(why)),
        }
    }

    /// When the folder's file of a plugin was last changed, microseconds since 1970 UTC.
    pub(crate) fn file_changed(&self, name: &str) -> Option<i64> {
        let changed = std::fs::metadata(self.file_path(name)?).ok()?.modified().ok()?;
        let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_micros()).ok()
    }

    fn file_path(&self, name: &str) -> Option<PathBuf> {
        Some(self.options.plugin_dir.as_ref()?.join(format!("{name}.wasm"))).filter(|_| is_name(name))
    }

    /// The names of the plugin files.
    pub(crate) fn file_names(&self) -> Vec<String> {
        let entries = self.options.plugin_dir.as_ref().and_then(|dir| std::fs::read_dir(dir).ok());
        let names = entries.into_iter().flatten().flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(".wasm")?.to_string()).filter(|name| is_name(name))
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    pub(crate) fn missing(&self, name: &str) -> Error {
        let shipped = self.options.shipped.iter().map(|(name, _)| name.to_string());
        let known: BTreeMap<String, ()> = shipped.chain(self.file_names()).map(|name| (name, ())).collect();
        let names = || known.keys().map(String::as_str);
        let place = self.options.plugin_dir.as_ref().map_or_else(
            || "no plugin folder is configured (`plugins: { dir: ... }`)".to_string(),
            |dir| format!("there is no file {}", dir.join(format!("{name}.wasm")).display()),
        );
        let mut remedy = did_you_mean(name, names());
        remedy.push_str(&format!("{place}; there are: {}", names().collect::<Vec<_>>().join(", ")));
        Error::new(ErrorKind::PluginMissing, format!("there is no plugin `{name}`")).remedy(remedy)
    }
}

/// A name that is safe as a file's.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn finding(step: &StepSpec, key: &str, error: &Error) -> Finding {
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    let what = format!("plugin {}: {}{cause}", step.plugin, error.what());
    let remedy = error.remedy_text().unwrap_or_default().to_string();
    Finding::error(error.kind(), format!("{}.{key}", step.path), what, remedy)
}
