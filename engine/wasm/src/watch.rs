//! Watching the plugin folder: a new file is offered as a candidate once it is whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecursiveMode, Watcher as _};
use sluice_types::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::host::Inner;
use crate::swap::is_own_trouble;

/// How long a file must stay as it is before it is read: writers that don't rename leave it half-written for a while.
const SETTLE: Duration = Duration::from_millis(150);

/// What our own trouble (a full disk, no time to compile) kept out is tried again after so long, then after twice that, and so on.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest of these pauses.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Watches the plugin folder until it is dropped.
pub struct Watcher {
    task: Option<JoinHandle<()>>,
}

impl Watcher {
    pub(crate) fn start(host: Arc<Inner>) -> Result<Watcher> {
        let Some(dir) = host.options.plugin_dir.clone() else { return Ok(Watcher { task: None }) };
        // Also told when a line begins: a file that came while nothing ran is a candidate from then on.
        let changed: Arc<Notify> = host.began.clone();
        let wake = changed.clone();
        // What happened does not matter: the folder itself says what there is, even after missed events.
        // Reading the folder is told like a change of it: who woke for that would never sleep again.
        let tell = move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                wake.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(tell).map_err(unwatched)?;
        let mut folder = Folder { dir, watcher, watched: false, host, seen: HashMap::new() };
        folder.watch()?;
        let task = tokio::spawn(async move {
            let mut pause = RETRY_FIRST;
            loop {
                if folder.look().await {
                    pause = RETRY_FIRST;
                    changed.notified().await;
                } else {
                    // Whichever comes first.
                    let _ = tokio::time::timeout(pause, changed.notified()).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        });
        Ok(Watcher { task: Some(task) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn unwatched(why: notify::Error) -> Error {
    Error::new(ErrorKind::State, "the plugin folder can't be watched").because(why)
}

/// What a file looks like from outside.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    bytes: u64,
    modified: Option<SystemTime>,
}

struct Folder {
    dir: PathBuf,
    watcher: notify::RecommendedWatcher,
    /// The folder itself is watched, not the one above it where it will appear.
    watched: bool,
    host: Arc<Inner>,
    /// The files as they were when they were offered.
    seen: HashMap<String, Look>,
}

impl Folder {
    /// Watches the folder, or waits for it to appear.
    fn watch(&mut self) -> Result<()> {
        if self.watched {
            return Ok(());
        }
        if self.dir.is_dir() {
            self.watcher.watch(&self.dir, RecursiveMode::NonRecursive).map_err(unwatched)?;
            self.watched = true;
            return Ok(());
        }
        let parent =
            self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if parent.is_dir() {
            self.watcher.watch(parent, RecursiveMode::NonRecursive).map_err(unwatched)?;
        }
        Ok(())
    }

    /// Offers every file that is new and whole. `false`: one of them is to be tried again.
    async fn look(&mut self) -> bool {
        let mut settled = true;
        if let Err(error) = self.watch() {
            tracing::warn!(%error, "the plugin folder is not watched");
        }
        for name in self.host.file_names() {
            let Some(now) = self.settled(&name).await else { continue };
            if self.seen.get(&name) == Some(&now) || self.host.running_now(&name).is_none() {
                continue;
            }
            self.seen.insert(name.clone(), now);
            let offered = match self.host.file(&name) {
                // It is written again: the next event says so.
                Ok(_) if self.look_at(&name) != Some(now) => {
                    self.seen.remove(&name);
                    continue;
                }
                Ok(Some(bytes)) => self.host.found(&name, bytes).await.map(drop),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match offered {
                Ok(()) => {}
                Err(error) if is_own_trouble(&error) => {
                    tracing::warn!(plugin = name, %error, "a plugin file could not be tried and will be again; the old version runs on");
                    self.seen.remove(&name);
                    settled = false;
                }
                Err(error) => {
                    tracing::warn!(plugin = name, %error, "a plugin file is refused; the old version runs on");
                    self.host.counters.refusals.add(1);
                }
            }
        }
        settled
    }

    fn look_at(&self, name: &str) -> Option<Look> {
        let meta = std::fs::metadata(self.dir.join(format!("{name}.wasm"))).ok()?;
        Some(Look { bytes: meta.len(), modified: meta.modified().ok() })
    }

    /// The file once it has stopped changing.
    async fn settled(&self, name: &str) -> Option<Look> {
        let mut before = self.look_at(name)?;
        while self.seen.get(name) != Some(&before) {
            tokio::time::sleep(SETTLE).await;
            let now = self.look_at(name)?;
            if now == before {
                break;
            }
            before = now;
        }
        Some(before)
    }
}
