//! The engine's state in memory: it outlives the engine, as a disk does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use sluice_types::ports::{Decision, LineState, ParkedKey, PluginVersion, StateStore, Swapped};
use sluice_types::{
    Conflict, ConflictCount, ConflictId, DeadLetter, DeadLetterId, Digest, InstallId, Key, PipelineId,
    Result, TableId,
};

/// A durable state. Clones are the same state.
#[derive(Clone)]
pub struct State {
    install: InstallId,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    letters: BTreeMap<PipelineId, Vec<DeadLetter>>,
    numbered: u64,
    conflicts: BTreeMap<PipelineId, Vec<Conflict>>,
    lines: BTreeMap<PipelineId, LineState>,
    plugins: Vec<PluginVersion>,
    bytes: BTreeMap<Digest, Bytes>,
}

impl State {
    /// An empty state of an installation.
    pub fn new(install: &str) -> Self {
        State { install: install.into(), kept: Arc::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every dead letter of a pipeline, by number.
    pub fn letters(&self, pipeline: &PipelineId) -> Vec<DeadLetter> {
        self.kept().letters.get(pipeline).cloned().unwrap_or_default()
    }

    /// Every conflict of a pipeline, by number.
    pub fn conflicts_of(&self, pipeline: &PipelineId) -> Vec<Conflict> {
        self.kept().conflicts.get(pipeline).cloned().unwrap_or_default()
    }

    /// What a pipeline was told to do.
    pub fn line(&self, pipeline: &PipelineId) -> LineState {
        self.kept().lines.get(pipeline).cloned().unwrap_or_default()
    }

    /// The keys of dead letters.
    pub fn parked(&self, pipeline: &PipelineId) -> Vec<ParkedKey> {
        let kept = self.kept();
        let letters = kept.letters.get(pipeline).into_iter().flatten();
        let parked = |letter: &DeadLetter, key: &Key| ParkedKey {
            table: letter.event.source.table.clone(),
            key: key.clone(),
            position: letter.position.clone(),
            index: letter.event.index,
        };
        letters.flat_map(|letter| letter.keys.iter().map(move |key| parked(letter, key))).collect()
    }
}

#[async_trait]
impl StateStore for State {
    fn install(&self) -> &InstallId {
        &self.install
    }

    async fn keep_dead_letters(&self, letters: Vec<DeadLetter>) -> Result<()> {
        let mut kept = self.kept();
        for mut letter in letters {
            kept.numbered += 1;
            letter.number = kept.numbered;
            let of_line = kept.letters.entry(letter.pipeline.clone()).or_default();
            // I3: the same event met again after a crash is kept once.
            if of_line.iter().all(|other| other.id != letter.id) {
                of_line.push(letter);
            }
        }
        Ok(())
    }

    async fn dead_letters(&self, pipeline: &PipelineId, after: u64, limit: usize) -> Result<Vec<DeadLetter>> {
        let letters = self.letters(pipeline).into_iter().filter(|letter| letter.number > after);
        Ok(letters.take(limit).collect())
    }

    async fn dead_letter(&self, pipeline: &PipelineId, id: &DeadLetterId) -> Result<Option<DeadLetter>> {
        Ok(self.letters(pipeline).into_iter().find(|letter| letter.id == *id))
    }

    async fn count_dead_letters(&self, pipeline: &PipelineId) -> Result<u64> {
        Ok(self.kept().letters.get(pipeline).map_or(0, Vec::len) as u64)
    }

    async fn parked_keys(&self, pipeline: &PipelineId) -> Result<Vec<ParkedKey>> {
        Ok(self.parked(pipeline))
    }

    async fn supersede_dead_letters(&self, pipeline: &PipelineId, tables: &[TableId]) -> Result<u64> {
        let mut kept = self.kept();
        let Some(letters) = kept.letters.get_mut(pipeline) else { return Ok(0) };
        let before = letters.len();
        letters.retain(|letter| !tables.is_empty() && !tables.contains(&letter.event.source.table));
        Ok((before - letters.len()) as u64)
    }

    async fn keep_conflicts(&self, conflicts: Vec<Conflict>) -> Result<()> {
        let mut kept = self.kept();
        for mut conflict in conflicts {
            let of_line = kept.conflicts.entry(conflict.pipeline.clone()).or_default();
            match of_line.iter_mut().find(|known| known.id == conflict.id) {
                Some(known) => *known = Conflict { number: known.number, ..conflict },
                None => {
                    conflict.number = of_line.last().map_or(1, |last| last.number + 1);
                    of_line.push(conflict);
                }
            }
        }
        Ok(())
    }

    async fn supersede_conflicts(&self, pipeline: &PipelineId, tables: &[TableId], by: &str) -> Result<u64> {
        let mut kept = self.kept();
        let of_line = kept.conflicts.get_mut(pipeline).into_iter().flatten();
        let parked = of_line.filter(|one| one.is_parked() && tables.contains(&one.incoming.table.table));
        Ok(parked
            .map(|one| {
                one.decision = Decision::Incoming;
                one.by = by.to_string();
            })
            .count() as u64)
    }

    async fn conflicts(
        &self,
        pipeline: &PipelineId,
        parked: bool,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Conflict>> {
        let wanted = |one: &Conflict| one.number > after && (!parked || one.is_parked());
        Ok(self.conflicts_of(pipeline).into_iter().filter(wanted).take(limit).collect())
    }

    async fn conflict(&self, pipeline: &PipelineId, id: &ConflictId) -> Result<Option<Conflict>> {
        Ok(self.conflicts_of(pipeline).into_iter().find(|conflict| conflict.id == *id))
    }

    async fn count_conflicts(&self, pipeline: &PipelineId) -> Result<ConflictCount> {
        let all = self.conflicts_of(pipeline);
        let parked = all.iter().filter(|conflict| conflict.is_parked()).count() as u64;
        Ok(ConflictCount { kept: all.len() as u64, parked })
    }

    async fn line_state(&self, pipeline: &PipelineId) -> Result<LineState> {
        Ok(self.line(pipeline))
    }

    async fn set_line_state(&self, pipeline: &PipelineId, state: &LineState) -> Result<()> {
        self.kept().lines.insert(pipeline.clone(), state.clone());
        Ok(())
    }

    async fn forget(&self, pipeline: &PipelineId) -> Result<()> {
        let mut kept = self.kept();
        kept.letters.remove(pipeline);
        kept.conflicts.remove(pipeline);
        kept.lines.remove(pipeline);
        Ok(())
    }

    async fn promoted_plugin(&self, name: &str) -> Result<Option<(Digest, Bytes)>> {
        let kept = self.kept();
        let promoted =
            |version: &&PluginVersion| &*version.name == name && version.outcome == Swapped::Promoted;
        let version = kept.plugins.iter().rev().find(promoted);
        Ok(version.and_then(|version| Some((version.digest, kept.bytes.get(&version.digest)?.clone()))))
    }

    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        Ok(self.kept().bytes.get(digest).cloned())
    }

    async fn record_plugin(&self, version: PluginVersion, bytes: Option<Bytes>) -> Result<()> {
        let mut kept = self.kept();
        if let Some(bytes) = bytes {
            kept.bytes.insert(version.digest, bytes);
        }
        kept.plugins.push(version);
        Ok(())
    }

    async fn plugin_history(&self, name: Option<&str>) -> Result<Vec<PluginVersion>> {
        let kept = self.kept();
        let wanted = |version: &&PluginVersion| name.is_none_or(|name| &*version.name == name);
        Ok(kept.plugins.iter().rev().filter(wanted).cloned().collect())
    }
}
