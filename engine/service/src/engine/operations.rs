//! What people ask of a pipeline. A line that runs is asked itself; for one that doesn't the wish goes into the state, where the
//! line finds it when it starts.

use sluice_pipeline::delete_line;
use sluice_types::ports::{LineContext, LineState, Source, StateStore};
use sluice_types::{Error, ErrorKind, Result, TableId};

use super::plan::{endpoint, planned_line};
use super::{Engine, LineName};

/// The reason that is shown where nobody gave one.
const BY_A_PERSON: &str = "paused by a person";

impl Engine {
    /// Brings a pipeline to a stand at a batch boundary, until it is resumed; over restarts too.
    pub async fn pause(&self, pipeline: &str, reason: Option<&str>) -> Result<()> {
        let reason = reason.unwrap_or(BY_A_PERSON);
        for name in self.find(pipeline)? {
            match self.running(&name) {
                Some(line) => line.pause(reason).await?,
                None => self.remember(&name, |state| state.paused = Some(reason.to_string())).await?,
            }
        }
        Ok(())
    }

    /// Pauses a pipeline and takes away what stands in the way of changing the shape of these source tables (triggers; all tables when none is named).
    /// Resuming reads the tables again.
    pub async fn pause_for_ddl(&self, pipeline: &str, tables: &[TableId]) -> Result<()> {
        for name in self.find(pipeline)? {
            match self.running(&name) {
                Some(line) => line.pause_for_ddl(tables.to_vec()).await?,
                None => self.detach(&name, tables).await?,
            }
        }
        Ok(())
    }

    /// Lets a pipeline go on: one that was paused, that an error stopped, or that waits for a server. Says which tables go on with it
    /// that were altered, as they were told.
    pub async fn resume(&self, pipeline: &str) -> Result<Vec<TableId>> {
        let mut accepted = Vec::new();
        for name in self.find(pipeline)? {
            let altered = self.inner.state.line_state(&name.id).await?.altered;
            accepted.extend(altered.into_iter().map(|altered| altered.table));
            if let Some(line) = self.running(&name) {
                line.resume().await?;
                continue;
            }
            self.remember(&name, LineState::resume).await?;
            if let Some(line) = self.line(&name.id) {
                line.try_again();
            }
        }
        Ok(accepted)
    }

    /// Reads tables again from the start (all when none is named); the stream goes on meanwhile.
    pub async fn resnapshot(&self, pipeline: &str, tables: &[TableId]) -> Result<()> {
        for name in self.find(pipeline)? {
            if let Some(line) = self.running(&name) {
                line.resnapshot(tables.to_vec()).await?;
                continue;
            }
            let wanted = self.tables_meant(&name, tables).await?;
            self.remember(&name, |state| state.read_again(wanted)).await?;
        }
        Ok(())
    }

    /// Stops a pipeline and removes everything that was made for it, at the source, at the target and in the state: captures, read
    /// marks, checkpoint, dead letters. The target's rows stay.
    pub async fn delete(&self, pipeline: &str) -> Result<()> {
        for name in self.find(pipeline)? {
            if let Some(line) = self.line(&name.id) {
                line.ask_to_stop();
                line.ended().await;
                self.lines().remove(&name.id);
            }
            let (spec, ports) = self.bare_line(&name)?;
            delete_line(&spec, &ports).await?;
            tracing::info!(pipeline = %name.id, "deleted");
        }
        Ok(())
    }

    /// Removes what a line that has ended made at its source (slot, publication, captures), so that the source keeps nothing for it
    /// any more. The target keeps rows and checkpoint: when the line is run again, its position is lost (`on_position_lost`).
    pub async fn release(&self, name: &LineName) -> Result<()> {
        self.source(name).await?.release().await?;
        tracing::info!(pipeline = %name.id, "the source keeps nothing for it any more");
        Ok(())
    }

    pub(super) fn running(&self, name: &LineName) -> Option<sluice_pipeline::LineHandle> {
        self.line(&name.id)?.running().map(|(line, _)| line)
    }

    async fn remember(&self, name: &LineName, change: impl FnOnce(&mut LineState)) -> Result<()> {
        let mut state = self.inner.state.line_state(&name.id).await?;
        change(&mut state);
        self.inner.state.set_line_state(&name.id, &state).await
    }

    /// These tables by the names that the line has for them, or all of the line when none is named.
    async fn tables_meant(&self, name: &LineName, tables: &[TableId]) -> Result<Vec<TableId>> {
        let planned = planned_line(&self.config(), name).await?;
        let all: Vec<TableId> = planned.spec.tables.into_iter().map(|route| route.from).collect();
        if tables.is_empty() {
            return Ok(all);
        }
        let known = |table: &TableId| {
            let short = |known: &&TableId| table.schema.is_empty() && known.name == table.name;
            let found = all.iter().find(|known| *known == table).or_else(|| all.iter().find(short));
            found.cloned().ok_or_else(|| {
                let names: Vec<String> = all.iter().map(TableId::to_string).collect();
                Error::new(ErrorKind::Config, "the pipeline has no such source table")
                    .at_table(table)
                    .remedy(format!("It has: {}.", names.join(", ")))
            })
        };
        tables.iter().map(known).collect()
    }

    async fn detach(&self, name: &LineName, tables: &[TableId]) -> Result<()> {
        let tables = self.tables_meant(name, tables).await?;
        // Remembered first: should the process end in between, the tables are read again for nothing, which harms nobody.
        let detached = tables.clone();
        self.remember(name, |state| {
            state.paused = Some("paused for a change of tables".into());
            state.detach(detached);
        })
        .await?;
        self.source(name).await?.detach(&tables).await?;
        Ok(())
    }

    /// The source of a line that doesn't run.
    async fn source(&self, name: &LineName) -> Result<Box<dyn Source>> {
        let config = self.config();
        let source = config.pipelines.get(&name.pipeline).map_or("", |pipeline| &pipeline.source);
        let line = LineContext {
            pipeline: name.id.clone(),
            install: self.inner.state.install().clone(),
            clock: self.inner.clock.clone(),
            spill: self.inner.spill.clone(),
        };
        endpoint(&config, source)?.source(&line).await
    }
}
