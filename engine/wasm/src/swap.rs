//! Replacing a plugin under a running line (I8): a candidate is loaded, opened on every live table, compared with what runs and
//! probed with recent rows; only then, and once it is in the state, it takes over, at each line's next batch boundary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_types::{Error, ErrorKind, Event, Result, TableId};

use crate::inspect::{PlanReport, StepLineage};
use crate::line::{ChainSet, Line, LiveTable, Prepared, Versions, off_runtime};
use crate::spec::ChainSpec;

/// What the checks of a candidate said of one line.
pub(crate) struct Checked {
    pub(crate) prepared: Prepared,
    /// What it wants more than what runs; a person decides about it.
    pub(crate) wider: Vec<String>,
}

/// Why a candidate can't take over.
pub(crate) enum Refused {
    /// Rows that are in the target already would be wrong.
    Rows(String),
    /// It does not work.
    Broken(Error),
}

impl Refused {
    pub(crate) fn why(&self) -> String {
        match self {
            Refused::Rows(why) => {
                format!("{why}: rows in the target would have to be written again (`sluice resnapshot`)")
            }
            Refused::Broken(error) => match error.all_findings().first() {
                Some(finding) => format!("{}: {}", error.what(), finding.what),
                None => format!("{}: {}", error.kind(), error.what()),
            },
        }
    }
}

/// Whether an error says something about this machine rather than about the candidate, which can then be tried again.
pub(crate) fn is_own_trouble(error: &Error) -> bool {
    use ErrorKind::{Busy, Corrupt, DiskFull, Internal, Permission, State, Timeout, Unreachable};
    matches!(error.kind(), Busy | Corrupt | DiskFull | Internal | Permission | State | Timeout | Unreachable)
}

/// Opens chains of these versions on every live table of a line, compares them with what runs, and probes them.
pub(crate) async fn check(line: &Line, spec: Arc<ChainSpec>, versions: Versions) -> Result<Checked, Refused> {
    let (tables, recent) = line.recent();
    let pipeline = line.pipeline.clone();
    let run = move || {
        let mut set = ChainSet::new(&pipeline.0, versions);
        let mut opened = BTreeMap::new();
        let mut wider = Vec::new();
        for (id, before) in &tables {
            let after = set.open(&before.source, &before.entry).map_err(Refused::Broken)?;
            compare_outputs(id, before, &after).map_err(Refused::Rows)?;
            compare_steps(id, &before.lineage, &after.lineage, &mut wider);
            opened.insert(id.clone(), after);
        }
        probe(&mut set, &tables, recent)?;
        Ok(Checked { prepared: Prepared { spec, set, tables: opened }, wider })
    };
    off_runtime(run).await.map_err(Refused::Broken)?
}

/// The target's key and columns must stay as they are; columns may come.
fn compare_outputs(table: &TableId, before: &LiveTable, after: &LiveTable) -> Result<(), String> {
    if after.outputs.len() < before.outputs.len() {
        return Err(format!("for {table} it has fewer routes"));
    }
    for (old, new) in before.outputs.iter().zip(&after.outputs) {
        if old.table != new.table {
            return Err(format!("for {table} it sends rows to other tables"));
        }
        let key = |schema: &sluice_types::TableSchema| -> Vec<_> {
            schema.key_columns().map(|column| (column.name.clone(), column.ty)).collect()
        };
        if key(old) != key(new) {
            return Err(format!("for {table} it changes the output's key"));
        }
        for column in &old.columns {
            match new.columns.iter().find(|other| other.name == column.name) {
                None => return Err(format!("for {table} it drops the target's column `{}`", column.name)),
                Some(other) if other.ty != column.ty => {
                    let (name, from, to) = (&column.name, column.ty, other.ty);
                    return Err(format!("for {table} it changes column `{name}` from {from} to {to}"));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// What the new steps want more than the old ones, step by step.
fn compare_steps(table: &TableId, before: &[StepLineage], after: &[StepLineage], wider: &mut Vec<String>) {
    for (old, new) in before.iter().zip(after).filter(|(old, new)| old.digest != new.digest) {
        let Some(new_plan) = &new.plan else { continue };
        let nothing = PlanReport::nothing();
        let old_plan = old.plan.as_ref().unwrap_or(&nothing);
        let mut more = |what: &str, new: Vec<&str>, old: Vec<&str>| {
            let old: BTreeSet<&str> = old.into_iter().collect();
            for name in new.into_iter().filter(|name| !old.contains(name)) {
                wider.push(format!("for {table} it {what} `{name}`"));
            }
        };
        more("imports", refs(&new.imports), refs(&old.imports));
        more("reads", refs(&new_plan.reads), refs(&old_plan.reads));
        more("writes", written(new_plan), written(old_plan));
        more("drops", refs(&new_plan.drops), refs(&old_plan.drops));
        more("routes to", refs(&new_plan.routes), refs(&old_plan.routes));
        for (what, new, old) in [
            ("may leave out or multiply rows", new_plan.selects, old_plan.selects),
            ("may change the kinds of changes", new_plan.changes_kinds, old_plan.changes_kinds),
        ] {
            if new && !old {
                wider.push(format!("for {table} it {what}"));
            }
        }
    }
}

fn written(plan: &PlanReport) -> Vec<&str> {
    plan.writes.iter().map(|column| column.name.as_str()).collect()
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Runs recent events, which the running version took without complaint, through the new chains.
fn probe(
    set: &mut ChainSet,
    tables: &BTreeMap<TableId, LiveTable>,
    recent: Vec<Event>,
) -> Result<(), Refused> {
    let current =
        |event: &Event| tables.get(&event.source.table).is_some_and(|live| live.entry == event.table);
    let mut events: Vec<Event> = recent.into_iter().filter(current).collect();
    for id in tables.keys() {
        let (of_table, others) = events.into_iter().partition(|event: &Event| event.source.table == *id);
        events = others;
        let of_table: Vec<Event> = of_table;
        let count = of_table.len();
        let made = set.apply(of_table).map_err(|failed| Refused::Broken(failed.error))?;
        if count > 0 && made.rejected.len() == count {
            let what = format!(
                "on probe it rejects every one of {count} recent rows of {id} that the running version accepted"
            );
            return Err(Refused::Broken(Error::new(ErrorKind::PluginReject, what)));
        }
    }
    Ok(())
}
