//! Who knows what has to hold, and looks at every instant at which something becomes durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_kit::memory::{Chains, Contents, Database, Observer, Promotions, RowKey, State, Step, Table};
use sluice_pipeline::{LineSpec, TableRoute};
use sluice_types::{Checkpoint, Conflict, PipelineId, TableSchema, Value};

use crate::plan::{VERSION, pipeline};
use crate::{Report, Violation};

/// A table's rows as they should be or are: by key, by column, without the version column.
type Rows = BTreeMap<RowKey, BTreeMap<Arc<str>, Value>>;

/// Judges one seed.
pub struct Judge {
    source: Database,
    state: State,
    routes: Vec<TableRoute>,
    steps: Vec<Step>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What the target holds.
    durable: Option<Checkpoint>,
    /// What the target held before it was put back, until the line has found out: it may still be confirmed.
    lost: Option<u64>,
    /// The newest version that has written a row.
    version: i64,
    violation: Option<Violation>,
    report: Report,
}

/// The judge's eye at the source.
pub struct AtSource(pub Arc<Judge>);

/// And at the target.
pub struct AtTarget(pub Arc<Judge>);

impl Observer for AtTarget {
    fn committed(&self, before: &Contents, after: &Contents, saved: Option<&Checkpoint>) {
        self.0.committed(before, after, saved);
    }
}

impl Observer for AtSource {
    fn confirmed(&self, _: &PipelineId, position: u64) {
        let durable = self.0.durable_position().max(self.0.seen().lost);
        if durable.is_none_or(|durable| position > durable) {
            self.0.accuse("I1", format!("{position} was confirmed while the target stands at {durable:?}"));
        }
    }

    fn rows_read(&self, _: &PipelineId, held: bool) {
        if !held {
            self.0.accuse("I5", "rows were read while the source holds no log for the line".into());
        }
        if self.0.durable_position().max(self.0.seen().lost).is_none() {
            self.0.accuse("I5", "rows were read before the start position was durable".into());
        }
    }
}

impl Judge {
    pub fn new(source: Database, state: State, spec: &LineSpec, steps: Vec<Step>) -> Arc<Self> {
        Arc::new(Judge { source, state, routes: spec.tables.clone(), steps, seen: Mutex::default() })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a broken rule; the first one counts.
    pub fn accuse(&self, rule: &'static str, what: String) {
        self.seen().violation.get_or_insert(Violation { rule, what });
    }

    /// The first broken rule.
    pub fn violation(&self) -> Option<Violation> {
        self.seen().violation.clone()
    }

    /// Counts something.
    pub fn count(&self, count: impl FnOnce(&mut Report)) {
        count(&mut self.seen().report);
    }

    pub fn report(&self) -> Report {
        self.seen().report
    }

    /// The target was put back: it holds an older checkpoint, and rows of older versions.
    pub fn restored(&self, durable: Option<Checkpoint>) {
        let mut seen = self.seen();
        let before = std::mem::replace(&mut seen.durable, durable);
        seen.lost = before.and_then(|before| before.position.number()).max(seen.lost);
    }

    fn durable_position(&self) -> Option<u64> {
        self.seen().durable.as_ref().and_then(|durable| durable.position.number())
    }

    fn committed(&self, before: &Contents, after: &Contents, saved: Option<&Checkpoint>) {
        self.count(|report| report.commits += 1);
        let Some(saved) = saved else {
            if changed(before, after).next().is_some() {
                self.accuse("I2", "rows were committed without their checkpoint".into());
            }
            return;
        };
        let ready = saved.snapshot.is_ready(&saved.position);
        trace(|| {
            let Checkpoint { epoch, position, part, .. } = saved;
            let letters = self.state.letters(&pipeline());
            let letters: Vec<String> = letters
                .iter()
                .map(|it| format!("{} {} {}", it.id, it.event.change.name(), it.reason.code))
                .collect();
            let (changes, letters) = (changes(before, after), letters.join(", "));
            format!(
                "commit epoch {epoch} at {position} part {part} ready {ready}: {changes}; letters {letters}"
            )
        });
        let last = {
            let mut seen = self.seen();
            seen.lost = None;
            seen.durable.replace(saved.clone())
        };
        if let Some(last) = last.filter(|last| last.source == saved.source) {
            let place = |checkpoint: &Checkpoint| (checkpoint.position.clone(), checkpoint.part);
            if place(saved) < place(&last) || saved.epoch < last.epoch {
                self.accuse("I6", format!("the checkpoint went from {last:?} back to {saved:?}"));
            }
        }
        self.versions(before, after);
        if saved.part == 0 && ready {
            self.compare(after, saved.position.number().unwrap_or(0), "I4");
        }
    }

    /// I8: old before new.
    fn versions(&self, before: &Contents, after: &Contents) {
        let mut least = i64::MAX;
        let mut most = 0;
        for (table, rows) in changed(before, after) {
            let Some(column) = table.schema.column_index(VERSION) else { continue };
            for row in rows {
                if let Value::Int64(version) = row.values()[column] {
                    least = least.min(version);
                    most = most.max(version);
                }
            }
        }
        let newest = self.seen().version;
        if least < newest {
            self.accuse("I8", format!("version {least} wrote a row after version {newest} had"));
        }
        self.seen().version = newest.max(most);
    }

    /// What is in the target is what the chain makes of the source at a position, whole transactions, but for keys with a dead
    /// letter.
    pub fn compare(&self, target: &Contents, position: u64, rule: &'static str) {
        self.count(|report| report.compared += 1);
        let Some(source) = self.source.contents_at(position) else {
            return self.accuse(rule, format!("the source never was at {position}"));
        };
        let chains = Chains::new(self.steps.clone(), Promotions::default());
        let parked = self.state.parked(&pipeline());
        for route in &self.routes {
            let is_parked =
                |key: &RowKey| parked.iter().any(|parked| parked.table == route.from && parked.key == *key.0);
            let mut expected =
                source.get(&route.from).map(|table| expected(table, route, &chains)).unwrap_or_default();
            let mut actual = target.get(&route.to).map(|table| actual(table)).unwrap_or_default();
            expected.retain(|key, _| !is_parked(key));
            actual.retain(|key, _| !is_parked(key));
            if expected != actual {
                let what = difference(&expected, &actual);
                return self.accuse(rule, format!("at {position} {} differs: {what}", route.to));
            }
        }
    }

    /// Nobody else writes the target, so whatever happened to the line, no row of it was somebody else's.
    pub fn no_conflicts(&self) {
        if let Some(conflict) = self.state.conflicts_of(&pipeline()).first() {
            let Conflict { id, kind, decision, strategy, .. } = conflict;
            let what = format!("{id}: {kind} of the line's own row, {strategy}: {}", decision.name());
            self.accuse("conflict", what);
        }
    }

    /// Every event that could not be applied is kept once (I3), and where there is no `reason` for any, there is none.
    pub fn letters(&self, reason: bool) {
        let letters = self.state.letters(&pipeline());
        self.count(|report| report.letters += letters.len() as u64);
        if let (false, Some(letter)) = (reason, letters.first()) {
            let (id, reason, change) = (&letter.id, &letter.reason.code, letter.event.change.name());
            self.accuse("I3", format!("{id}, a good {change}, became a dead letter: {reason}"));
        }
        for (number, letter) in letters.iter().enumerate() {
            if letters[..number].iter().any(|other| other.id == letter.id) {
                self.accuse("I3", format!("{} was kept twice", letter.id));
            }
        }
    }
}

/// The tables that a commit has changed, with the rows that are new or different.
fn changed<'a>(
    before: &'a Contents,
    after: &'a Contents,
) -> impl Iterator<Item = (&'a Table, Vec<&'a sluice_types::Row>)> {
    after.iter().filter_map(|(name, table)| {
        let old = before.get(name);
        if old.is_some_and(|old| Arc::ptr_eq(old, table)) {
            return None;
        }
        let same =
            |key: &RowKey, row: &Arc<sluice_types::Row>| old.and_then(|old| old.rows.get(key)) == Some(row);
        let rows: Vec<_> =
            table.rows.iter().filter(|(key, row)| !same(key, row)).map(|(_, row)| &**row).collect();
        let gone = old.is_some_and(|old| old.rows.keys().any(|key| !table.rows.contains_key(key)));
        (gone || !rows.is_empty()).then_some((&**table, rows))
    })
}

/// The shape in which a chain is given a table.
fn entry(schema: &TableSchema, route: &TableRoute) -> TableSchema {
    let mut entry = schema.clone();
    entry.table = route.to.clone();
    // The key comes first in the tables of the simulation, so its index stays.
    entry.columns.retain(|column| !route.exclude.iter().any(|name| **name == *column.name));
    entry
}

fn expected(table: &Table, route: &TableRoute, chains: &Chains) -> Rows {
    let entry = entry(&table.schema, route);
    let output = chains.output(&entry, table.schema.slots());
    let rows = table.rows.iter().filter_map(|(key, row)| Some((key.clone(), chains.row(&entry, row)?)));
    rows.map(|(key, row)| (key, named(&output, |slot| row.get(slot).clone()))).collect()
}

fn actual(table: &Table) -> Rows {
    table
        .rows
        .iter()
        .map(|(key, row)| (key.clone(), named(&table.schema, |slot| row.get(slot).clone())))
        .collect()
}

fn named(schema: &TableSchema, value: impl Fn(u32) -> Value) -> BTreeMap<Arc<str>, Value> {
    let columns = schema.columns.iter().filter(|column| &*column.name != VERSION);
    columns.map(|column| (column.name.clone(), value(column.slot))).collect()
}

fn difference(expected: &Rows, actual: &Rows) -> String {
    let keys = expected.keys().chain(actual.keys().filter(|key| !expected.contains_key(key)));
    let differs = |key: &&RowKey| expected.get(key) != actual.get(key);
    let shown = keys
        .filter(differs)
        .take(3)
        .map(|key| format!("{:?} should be {:?} and is {:?}", key.0.0, expected.get(key), actual.get(key)));
    shown.collect::<Vec<_>>().join("; ")
}

/// What a commit did, in a line.
fn changes(before: &Contents, after: &Contents) -> String {
    let key = |key: &RowKey| format!("{:?}", key.0.0);
    let table = |(table, rows): (&Table, Vec<&sluice_types::Row>)| {
        let old = before.get(&table.schema.table);
        let put: Vec<String> = rows.iter().map(|row| key(&table.key_of(row))).collect();
        let gone = old.into_iter().flat_map(|old| old.rows.keys());
        let gone: Vec<String> = gone.filter(|gone| !table.rows.contains_key(gone)).map(key).collect();
        format!("{} put {} gone {}", table.schema.table, put.join(" "), gone.join(" "))
    };
    changed(before, after).map(table).collect::<Vec<_>>().join("; ")
}

/// Tells what happens, where `SIM_TRACE` is set.
pub fn trace(what: impl FnOnce() -> String) {
    static WANTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    if *WANTED.get_or_init(|| std::env::var_os("SIM_TRACE").is_some()) {
        eprintln!("{}", what());
    }
}
