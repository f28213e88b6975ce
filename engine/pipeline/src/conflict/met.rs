//! The conflicts of a piece of work, on their way into the state.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use sluice_types::ports::{Decision, StateStore};
use sluice_types::{
    Conflict, ConflictId, ConflictKind, DeadLetter, DeadLetterId, PipelineId, Result, TableId,
};

use crate::handle::Shared;
use crate::spec::ConflictStrategy;
use crate::status::Stats;

/// The conflicts that were met.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(super) all: Vec<OneMet>,
    /// Where in `all` those are that are parked.
    pub(super) parked: HashMap<ConflictId, usize>,
    emptied: Vec<TableId>,
}

#[derive(Debug)]
pub(super) struct OneMet {
    /// What its event would have for an id as a dead letter.
    pub letter: DeadLetterId,
    pub conflict: Conflict,
    /// Not one that was parked before and has got a later change.
    pub is_new: bool,
}

/// What the state is to be told of conflicts.
#[derive(Debug, Default)]
pub(crate) struct Told {
    conflicts: Vec<Conflict>,
    /// By kind and strategy.
    new: Vec<(ConflictKind, String)>,
    /// Tables of the target that are emptied: whatever was parked of them is decided by that.
    emptied: Vec<TableId>,
}

impl Met {
    /// All but those whose event ended as one of these instead.
    pub fn without(self, letters: &[DeadLetter]) -> Told {
        let condemned = |id: &DeadLetterId| letters.iter().any(|letter| letter.id == *id);
        let mut told = Told { emptied: self.emptied, ..Told::default() };
        for OneMet { letter, conflict, is_new } in self.all {
            if condemned(&letter) {
                continue;
            }
            if is_new {
                told.new.push((conflict.kind, conflict.strategy.clone()));
            }
            told.conflicts.push(conflict);
        }
        told
    }

    /// Keeps one that is parked now, instead of what it was before.
    pub fn park(&mut self, conflict: Conflict, letter: DeadLetterId) {
        match self.parked.get(&conflict.id).and_then(|at| self.all.get_mut(*at)) {
            Some(known) => known.conflict = conflict,
            None => {
                self.parked.insert(conflict.id.clone(), self.all.len());
                self.all.push(OneMet { letter, conflict, is_new: false });
            }
        }
    }

    pub fn parked(&self, id: &ConflictId) -> Option<&Conflict> {
        self.parked.get(id).and_then(|at| self.all.get(*at)).map(|one| &one.conflict)
    }

    /// The rows of a table are gone, and with them what was to be decided of them.
    pub fn empty(&mut self, table: &TableId) {
        let of_table =
            |one: &&mut OneMet| one.conflict.is_parked() && one.conflict.incoming.table.table == *table;
        for one in self.all.iter_mut().filter(of_table) {
            self.parked.remove(&one.conflict.id);
            one.conflict.decision = Decision::Incoming;
            one.conflict.by = TRUNCATE.to_string();
        }
        self.emptied.push(table.clone());
    }
}

/// Who decides of rows that a truncate takes away.
const TRUNCATE: &str = "truncate";

/// Records conflicts, and counts them for the metrics.
pub(crate) async fn record(
    pipeline: &PipelineId,
    told: Told,
    state: &dyn StateStore,
    shared: &Shared,
) -> Result<()> {
    if told.conflicts.is_empty() && told.emptied.is_empty() {
        return Ok(());
    }
    if !told.emptied.is_empty() {
        state.supersede_conflicts(pipeline, &told.emptied, TRUNCATE).await?;
    }
    state.keep_conflicts(told.conflicts).await?;
    told.new.iter().for_each(|(kind, strategy)| count(&shared.stats, *kind, strategy));
    shared.show_conflicts(state.count_conflicts(pipeline).await?);
    Ok(())
}

fn count(stats: &Stats, kind: ConflictKind, strategy: &str) {
    let kind = ConflictKind::ALL.iter().position(|known| *known == kind);
    let strategy = ConflictStrategy::NAMES.iter().position(|name| *name == strategy);
    let counter = kind.zip(strategy).and_then(|(kind, strategy)| stats.conflicts.get(kind)?.get(strategy));
    if let Some(counter) = counter {
        counter.fetch_add(1, Relaxed);
    }
}
