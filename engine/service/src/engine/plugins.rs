//! The plugins of an engine: looking, swapping, putting back.

use std::sync::Arc;

use serde::Serialize;
use sluice_types::{Digest, Result};
use sluice_wasm::{HostMetrics, PluginStatus, SwapReport, TableLineage, Watcher};

use super::{Engine, LineName};

/// What the plugins of one line do to the columns of its tables.
#[derive(Clone, Debug, Serialize)]
pub struct LineLineage {
    /// What the line is filed under.
    pub line: String,
    /// The tables that have a chain.
    pub tables: Vec<TableLineage>,
}

impl Engine {
    /// Every plugin: shipped, in the folder, or in the state.
    pub async fn plugins(&self) -> Result<Vec<PluginStatus>> {
        self.host().await?.list().await
    }

    /// Which plugin reads, writes, adds, renames and drops which column, of each line of a pipeline that has opened its tables.
    pub fn lineage(&self, pipeline: &str) -> Result<Vec<LineLineage>> {
        let lineage = |name: LineName| {
            let (_, chains) = self.line(&name.id)?.running()?;
            Some(LineLineage { line: name.id.to_string(), tables: chains.lineage() })
        };
        Ok(self.find(pipeline)?.into_iter().filter_map(lineage).collect())
    }

    /// Takes the folder's file of that name now; with `promote` also when it wants more than what runs.
    pub async fn swap(&self, plugin: &str, promote: bool) -> Result<SwapReport> {
        self.host().await?.swap(plugin, promote).await
    }

    /// Puts an earlier version back: the one before, or the one given.
    pub async fn rollback(&self, plugin: &str, to: Option<Digest>) -> Result<SwapReport> {
        self.host().await?.rollback(plugin, to).await
    }

    /// Watches the plugin folder until what is returned is dropped.
    pub async fn watch_plugins(&self) -> Result<Arc<Watcher>> {
        Ok(Arc::new(self.host().await?.watch()?))
    }

    /// What the host of the plugins counted; nothing as long as no plugin was needed.
    pub fn plugin_metrics(&self) -> HostMetrics {
        self.host_in_use().map(|host| host.metrics()).unwrap_or_default()
    }
}
