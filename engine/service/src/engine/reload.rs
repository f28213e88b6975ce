//! Taking a changed configuration file into use without a restart.

use std::sync::Arc;

use serde::Serialize;
use sluice_pipeline::Until;
use sluice_types::Result;
use sluice_wasm::{ChainSpec, Chains};

use super::plan::{line_names, planned_line};
use super::{Engine, LineName, unpoisoned};
use crate::Config;
use crate::config::diff::{Difference, diff};
use crate::wording::for_callers;

/// How much of a changed file is taken into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only the plugin parts, which apply live: what happens by itself when the file changes.
    PluginParts,
    /// Everything but what needs a new process: what an operator asks for (SIGHUP, `POST /api/v1/reload`).
    Everything,
}

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// What is different in the file, one line each, without secrets.
    pub difference: Vec<String>,
    /// Pipelines whose plugin parts were changed live.
    pub live: Vec<String>,
    /// Pipelines that were started.
    pub started: Vec<String>,
    /// Pipelines that were stopped. Their state stays until `delete`.
    pub stopped: Vec<String>,
    /// Pipelines that were stopped and started again.
    pub restarted: Vec<String>,
    /// Pipelines whose change waits for SIGHUP or `POST /api/v1/reload`.
    pub waiting: Vec<String>,
    /// Paths whose change waits for a new process.
    pub needs_new_process: Vec<String>,
}

/// A line's chains, the spec that they are to have, and the one that they had.
struct Live {
    chains: Chains,
    new: ChainSpec,
    old: ChainSpec,
}

impl Engine {
    /// Reads the configuration file again and takes it into use. An error means that nothing has changed: a wrong file, or plugins
    /// that refuse their new configuration.
    pub async fn reload(&self, scope: Scope) -> Result<Reloaded> {
        let _one_at_a_time = self.inner.reloading.lock().await;
        let reloaded = self.try_reload(scope).await;
        *unpoisoned(&self.inner.refused) = reloaded.as_ref().err().map(for_callers);
        reloaded
    }

    async fn try_reload(&self, scope: Scope) -> Result<Reloaded> {
        let old = self.config();
        let new = Config::load(&old.file, &self.inner.options.registry)?;
        let Difference { shown, added, removed, restart, live, process } = diff(&old, &new);
        let mut reloaded = Reloaded { difference: shown, needs_new_process: process, ..Reloaded::default() };

        // First what can be refused, so that a refusal changes nothing.
        self.reconfigure(&old, &new, &live).await?;
        reloaded.live = live.clone();
        if scope == Scope::PluginParts && !(added.is_empty() && removed.is_empty() && restart.is_empty()) {
            reloaded.waiting = [added, removed, restart].concat();
            self.adopt_live_parts(&old, &new, &live);
            return Ok(reloaded);
        }

        self.stop_pipelines(&old, removed.iter().chain(&restart)).await;
        self.inner.config.store(Arc::new(new.clone()));
        let to_start = line_names(&new);
        for name in to_start {
            if added.contains(&name.pipeline) || restart.contains(&name.pipeline) {
                self.start_line(name, Until::Stopped);
            }
        }
        Ok(Reloaded { started: added, stopped: removed, restarted: restart, ..reloaded })
    }

    /// Gives the lines of these pipelines their new chains. All or none: when one is refused, the others get theirs back.
    async fn reconfigure(&self, old: &Config, new: &Config, pipelines: &[String]) -> Result<()> {
        let mut changes: Vec<Live> = Vec::new();
        for name in line_names(new).into_iter().filter(|name| pipelines.contains(&name.pipeline)) {
            let Some((_, chains)) = self.line(&name.id).and_then(|line| line.running()) else { continue };
            changes.push(Live {
                chains,
                new: chains_of(new, &name).await?,
                old: chains_of(old, &name).await?,
            });
        }
        for (done, change) in changes.iter().enumerate() {
            let Err(refused) = change.chains.reconfigure(change.new.clone()).await else { continue };
            for earlier in &changes[..done] {
                if let Err(error) = earlier.chains.reconfigure(earlier.old.clone()).await {
                    tracing::error!(%error, "the former configuration of plugins could not be put back");
                }
            }
            return Err(refused);
        }
        Ok(())
    }

    /// Uses the new file's pipelines where only plugin parts differ, and the old file for the rest: a line that is planned again
    /// has what it runs with.
    fn adopt_live_parts(&self, old: &Config, new: &Config, live: &[String]) {
        let mut mixed = old.clone();
        for name in live {
            if let Some(pipeline) = new.pipelines.get(name) {
                mixed.pipelines.insert(name.clone(), pipeline.clone());
            }
        }
        self.inner.config.store(Arc::new(mixed));
    }

    async fn stop_pipelines<'a>(&self, config: &Config, pipelines: impl Iterator<Item = &'a String>) {
        let pipelines: Vec<&String> = pipelines.collect();
        for name in line_names(config).into_iter().filter(|name| pipelines.contains(&&name.pipeline)) {
            if let Some(line) = self.line(&name.id) {
                line.ask_to_stop();
                line.ended().await;
                self.lines().remove(&name.id);
            }
        }
    }
}

async fn chains_of(config: &Config, name: &LineName) -> Result<ChainSpec> {
    Ok(planned_line(config, name).await?.chain)
}
