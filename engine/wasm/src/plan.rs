//! Checking a plugin's plan for one table, totally, before a row flows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;
use sluice_types::{Column, ColumnType, ErrorKind, Finding, TableSchema};

use crate::contract::{Case, ColumnInfo, ConfigError, Plan, from_wit, to_wit};
use crate::inspect::{OutputColumn, PlanReport, WrittenColumn};
use crate::limits::{CONFIG_ERRORS, MESSAGE_CHARS, NAME_BYTES, ROUTES, WRITTEN_COLUMNS};
use crate::spec::StepSpec;
use crate::text::printable;

/// A table as it enters a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepInput {
    /// Its shape.
    pub(crate) schema: Arc<TableSchema>,
    /// How many values its rows have.
    pub(crate) slots: usize,
    /// What is known of each column, by index.
    pub(crate) facts: Vec<Facts>,
    /// Every image before holds all columns.
    pub(crate) whole_before: bool,
}

/// What is known of a column, for keys and verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The same source row always gives the same value.
    pub(crate) deterministic: bool,
    /// It is computed from columns of the source's key alone, which every image before has.
    pub(crate) from_key: bool,
}

impl StepInput {
    /// A table as it enters a chain.
    pub(crate) fn first(source: &TableSchema, entry: &Arc<TableSchema>) -> StepInput {
        let facts = (0..entry.columns.len())
            .map(|index| Facts { deterministic: true, from_key: entry.is_key(index) })
            .collect();
        let slots = source.slots().max(entry.slots());
        StepInput { schema: entry.clone(), slots, facts, whole_before: source.before_images }
    }
}

/// A column that crosses into the sandbox.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReadColumn {
    pub(crate) index: u32,
    pub(crate) slot: u32,
    pub(crate) name: Arc<str>,
    pub(crate) ty: ColumnType,
    pub(crate) case: Case,
}

/// A column that comes back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WriteColumn {
    pub(crate) index: u32,
    pub(crate) name: Arc<str>,
    pub(crate) ty: ColumnType,
    pub(crate) case: Case,
    pub(crate) nullable: bool,
    /// Where the value was that it takes the place of; `None` for a new column.
    pub(crate) replaces: Option<u32>,
}

/// A plan that keeps the contract's rules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckedPlan {
    pub(crate) reads: Vec<ReadColumn>,
    /// Their values go behind the row's, in this order.
    pub(crate) writes: Vec<WriteColumn>,
    /// Where an event goes, or by which key, depends on more of the image before than the source's key.
    pub(crate) relies_on_before: bool,
    pub(crate) before_images: bool,
    pub(crate) selects: bool,
    pub(crate) changes_kinds: bool,
    pub(crate) joined_text: bool,
    pub(crate) routes: Vec<Arc<str>>,
    pub(crate) slots_in: usize,
    /// The names of the input's columns and, behind them, of the new ones: what `row-error.column` means.
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) output: StepInput,
    pub(crate) report: PlanReport,
}

impl CheckedPlan {
    /// Whether answers may have other images than the batch had.
    pub(crate) fn reshapes(&self) -> bool {
        self.selects || self.changes_kinds || !self.routes.is_empty()
    }
}

/// The columns as a plugin sees them.
pub(crate) fn column_infos(schema: &TableSchema) -> Vec<ColumnInfo> {
    let info = |(index, column): (usize, &Column)| ColumnInfo {
        name: column.name.to_string(),
        type_: to_wit(column.ty),
        native: column.native.to_string(),
        nullable: column.nullable,
        key: schema.is_key(index),
    };
    schema.columns.iter().enumerate().map(info).collect()
}

/// The findings of a plugin that does not like its configuration.
pub(crate) fn config_findings(spec: &StepSpec, errors: Vec<ConfigError>) -> Vec<Finding> {
    let config: Json = serde_json::from_str(&spec.config).unwrap_or_default();
    let remedy = format!("`sluice plugin inspect {}` shows what its configuration may hold", spec.plugin);
    let mut findings: Vec<Finding> = errors
        .into_iter()
        .take(CONFIG_ERRORS)
        .map(|error| {
            let path = format!("{}.config{}", spec.path, yaml_path(&config, &error.path));
            let what = format!("plugin {}: {}", spec.plugin, printable(&error.message, MESSAGE_CHARS));
            Finding::error(ErrorKind::PluginConfig, path, what, remedy.clone())
        })
        .collect();
    if findings.is_empty() {
        let what = format!("plugin {} refuses its configuration without saying why", spec.plugin);
        findings.push(Finding::error(ErrorKind::PluginConfig, format!("{}.config", spec.path), what, remedy));
    }
    findings
}

/// A JSON Pointer as the path that stands in the YAML: `/columns/0/a~1b` as `.columns[0]["a/b"]`.
fn yaml_path(config: &Json, pointer: &str) -> String {
    let mut path = String::new();
    let mut at = Some(config);
    for segment in pointer.split('/').skip(1).take(32) {
        let key = segment.replace("~1", "/").replace("~0", "~");
        let number = key.parse::<usize>().ok().filter(|_| at.is_some_and(Json::is_array));
        at = match number {
            Some(index) => at.and_then(|json| json.get(index)),
            None => at.and_then(|json| json.get(&key)),
        };
        let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        path.push_str(&match number {
            Some(index) => format!("[{index}]"),
            None if plain => format!(".{key}"),
            None => format!("[\"{}\"]", printable(&key, NAME_BYTES)),
        });
    }
    path
}

/// Checks a plan against the table that it is for.
///
/// # Errors
/// Every rule that it breaks, at the step's path.
pub(crate) fn check(plan: Plan, input: &StepInput, spec: &StepSpec) -> Result<CheckedPlan, Vec<Finding>> {
    let mut checker = Checker { input, spec, findings: Vec::new() };
    let checked = checker.check(plan);
    match checked {
        Some(checked) if checker.findings.is_empty() => Ok(checked),
        _ => Err(checker.findings),
    }
}

/// What helps where something depends on rows as they were.
const WHOLE_BEFORE: &str = "Let it depend on columns of the source's key only, or let the source's log keep rows whole as they were \
     (PostgreSQL: ALTER TABLE ... REPLICA IDENTITY FULL)";

struct Checker<'a> {
    input: &'a StepInput,
    spec: &'a StepSpec,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    /// The plugin broke a rule of the contract: its author must act.
    fn broken(&mut self, what: impl AsRef<str>) {
        let what =
            format!("plugin {} answers with a plan that is not allowed: {}", self.spec.plugin, what.as_ref());
        self.refuse(what, "This is a fault of the plugin: tell its author");
    }

    fn refuse(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding::error(ErrorKind::PluginRefused, &self.spec.path, what, remedy));
    }

    fn check(&mut self, plan: Plan) -> Option<CheckedPlan> {
        let columns = self.input.schema.columns.len();
        let Plan { read, write, rename, drop, before_images, selects, changes_kinds, joined_text, routes } =
            plan;
        if write.len() > WRITTEN_COLUMNS || routes.len() > ROUTES {
            self.broken(format!("more than {WRITTEN_COLUMNS} written columns or {ROUTES} routes"));
            return None;
        }
        self.indexes("reads", &read);
        self.indexes("drops", &drop);
        self.indexes("renames", &rename.iter().map(|(index, _)| *index).collect::<Vec<_>>());
        self.written_indexes(&write.iter().map(|written| written.index).collect::<Vec<_>>());
        for (what, index) in rename.iter().map(|(index, _)| ("renames", *index)).chain(
            write
                .iter()
                .filter(|written| (written.index as usize) < columns)
                .map(|written| ("writes", written.index)),
        ) {
            if drop.contains(&index) {
                self.broken(format!("it {what} column {index} and drops it"));
            }
        }
        for written in &write {
            if let Some(index) = written.from.iter().find(|index| !read.contains(index)) {
                self.broken(format!(
                    "column {} is computed from column {index}, which it does not read",
                    written.index
                ));
            }
        }
        for name in
            rename.iter().map(|(_, name)| name).chain(write.iter().map(|w| &w.column.name)).chain(&routes)
        {
            if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
                self.broken(format!("`{}` is not a name", printable(name, NAME_BYTES)));
            }
        }
        if routes.iter().collect::<HashSet<_>>().len() != routes.len() {
            self.broken("a route comes twice");
        }
        if !self.findings.is_empty() {
            return None; // the rest stands on sound indexes
        }
        self.denied(&read);
        let renames: BTreeMap<u32, String> = rename.into_iter().collect();
        let output = self.output(&write, &renames, &drop)?;
        let written_key = write.iter().any(|written| written.column.key);
        if !before_images && (selects || !routes.is_empty() || written_key) {
            self.broken("it selects, routes or writes a key column, which needs the images before an update");
        }
        if !routes.is_empty() {
            self.computable("a route", &read);
        }
        let report = self.report(
            &read,
            &write,
            &renames,
            &drop,
            &output,
            (selects, changes_kinds, before_images),
            &routes,
        );
        let schema = &self.input.schema;
        let reads = read
            .iter()
            .filter_map(|&index| schema.columns.get(index as usize).map(|column| (index, column)))
            .map(|(index, column)| ReadColumn {
                index,
                slot: column.slot,
                name: column.name.clone(),
                ty: column.ty,
                case: Case::of(column.ty),
            })
            .collect();
        let new_names =
            write.iter().filter(|w| w.index as usize >= columns).map(|w| w.column.name.as_str().into());
        let names = schema.columns.iter().map(|column| column.name.clone()).chain(new_names).collect();
        let writes = write
            .iter()
            .map(|written| {
                let ty = from_wit(written.column.type_);
                WriteColumn {
                    index: written.index,
                    name: written.column.name.as_str().into(),
                    ty,
                    case: Case::of(ty),
                    nullable: written.column.nullable,
                    replaces: schema.columns.get(written.index as usize).map(|column| column.slot),
                }
            })
            .collect();
        let from_key = |index: &u32| self.input.facts[*index as usize].from_key;
        let key_from_key = output.schema.key.iter().all(|&place| output.facts[place as usize].from_key);
        let relies_on_before = !key_from_key || !(routes.is_empty() || read.iter().all(from_key));
        Some(CheckedPlan {
            reads,
            relies_on_before,
            writes,
            before_images,
            selects,
            changes_kinds,
            joined_text,
            routes: routes.iter().map(|route| route.as_str().into()).collect(),
            slots_in: self.input.slots,
            names,
            output,
            report,
        })
    }

    /// Indexes of existing columns, each once.
    fn indexes(&mut self, what: &str, indexes: &[u32]) {
        let columns = self.input.schema.columns.len();
        if let Some(index) = indexes.iter().find(|index| **index as usize >= columns) {
            self.broken(format!("it {what} column {index} of {columns}"));
        }
        if indexes.iter().collect::<HashSet<_>>().len() != indexes.len() {
            self.broken(format!("it {what} a column twice"));
        }
    }

    /// Existing columns each once; new ones numbered on from the number of columns, in order.
    fn written_indexes(&mut self, indexes: &[u32]) {
        let columns = self.input.schema.columns.len();
        let (existing, new): (Vec<u32>, Vec<u32>) =
            indexes.iter().partition(|index| (**index as usize) < columns);
        self.indexes("writes", &existing);
        if new.iter().enumerate().any(|(place, index)| *index as usize != columns + place) {
            self.broken(format!(
                "new columns must be numbered {columns}, {}, ... in their order",
                columns + 1
            ));
        }
    }

    /// The projection is a permission: what is denied can't be asked for.
    fn denied(&mut self, read: &[u32]) {
        let names: Vec<Arc<str>> = read
            .iter()
            .filter_map(|&index| self.input.schema.columns.get(index as usize))
            .filter(|column| self.spec.deny.iter().any(|denied| **denied == *column.name))
            .map(|column| column.name.clone())
            .collect();
        for name in names {
            self.refuse(
                format!("plugin {} reads column `{name}`, which `columns.deny` denies", self.spec.plugin),
                "Change the plugin's configuration so that it needs the column no longer, or allow it",
            );
        }
    }

    fn output(
        &mut self,
        write: &[crate::contract::Written],
        renames: &BTreeMap<u32, String>,
        drop: &[u32],
    ) -> Option<StepInput> {
        let input = &self.input.schema;
        let mut columns: Vec<Column> = Vec::with_capacity(input.columns.len() + write.len());
        let mut facts = Vec::with_capacity(columns.capacity());
        // Where each column, by the plan's index, stands in the output.
        let mut places: BTreeMap<u32, u32> = BTreeMap::new();
        let written_slot =
            |index: u32| write.iter().position(|w| w.index == index).map(|at| self.input.slots + at);
        for (index, column) in (0u32..).zip(&input.columns) {
            if drop.contains(&index) {
                continue;
            }
            let mut column = column.clone();
            let mut fact = self.input.facts[index as usize];
            if let Some(written) = write.iter().find(|written| written.index == index) {
                let renamed = renames.get(&index).is_some_and(|new| *new == written.column.name);
                if *written.column.name != *column.name && !renamed {
                    let what =
                        format!("it writes column `{}` under another name without renaming it", column.name);
                    self.broken(what);
                }
                column.ty = from_wit(written.column.type_);
                column.native = written.column.native.as_str().into();
                column.nullable = written.column.nullable;
                column.slot = written_slot(index)? as u32;
                fact = self.facts_of(written);
            }
            if let Some(name) = renames.get(&index) {
                column.name = name.as_str().into();
            }
            places.insert(index, columns.len() as u32);
            columns.push(column);
            facts.push(fact);
        }
        for written in write.iter().filter(|written| written.index as usize >= input.columns.len()) {
            places.insert(written.index, columns.len() as u32);
            columns.push(Column {
                name: written.column.name.as_str().into(),
                ty: from_wit(written.column.type_),
                native: written.column.native.as_str().into(),
                nullable: written.column.nullable,
                slot: written_slot(written.index)? as u32,
            });
            facts.push(self.facts_of(written));
        }
        self.collisions(&columns);
        let key = self.key(write, drop, &places);
        for &place in &key {
            let fact: Facts = facts[place as usize];
            if !fact.deterministic || !(fact.from_key || self.input.whole_before) {
                self.unsound_key(&columns[place as usize].name, fact);
            }
        }
        let schema = TableSchema { columns, key, ..(**input).clone() };
        let (slots, whole_before) = (self.input.slots + write.len(), self.input.whole_before);
        Some(StepInput { schema: Arc::new(schema), slots, facts, whole_before })
    }

    fn facts_of(&self, written: &crate::contract::Written) -> Facts {
        let from = |test: fn(&Facts) -> bool| {
            written.from.iter().all(|&index| self.input.facts.get(index as usize).is_some_and(test))
        };
        Facts {
            deterministic: written.deterministic && from(|facts| facts.deterministic),
            from_key: from(|facts| facts.from_key),
        }
    }

    fn collisions(&mut self, columns: &[Column]) {
        let mut seen = HashSet::new();
        let twice: Vec<Arc<str>> = columns
            .iter()
            .filter(|column| !seen.insert(&column.name))
            .map(|column| column.name.clone())
            .collect();
        for name in twice {
            self.refuse(
                format!("two columns are named `{name}` after plugin {}", self.spec.plugin),
                "Rename one of them, or drop it",
            );
        }
    }

    /// The output's key: the input's, in place, and the written columns that are part of it.
    fn key(
        &mut self,
        write: &[crate::contract::Written],
        drop: &[u32],
        places: &BTreeMap<u32, u32>,
    ) -> Vec<u32> {
        let input = &self.input.schema;
        let written = |index: u32| write.iter().find(|written| written.index == index);
        let mut key = Vec::new();
        for &index in &input.key {
            let leaves = drop.contains(&index) || written(index).is_some_and(|written| !written.column.key);
            if !leaves {
                key.extend(places.get(&index));
                continue;
            }
            // Without it different rows would become one, unless another key column is made of it.
            if !write
                .iter()
                .any(|other| other.column.key && other.index != index && other.from.contains(&index))
            {
                let name = &input.columns[index as usize].name;
                let what = format!(
                    "plugin {} takes `{name}` out of the key, so rows could not be told apart",
                    self.spec.plugin
                );
                self.refuse(what, "Keep the key's columns (renaming them is fine)");
            }
        }
        let added = write.iter().filter(|written| written.column.key && !input.key.contains(&written.index));
        key.extend(added.filter_map(|written| places.get(&written.index)));
        if key.is_empty() && !input.key.is_empty() {
            self.refuse(
                format!("no key is left after plugin {}", self.spec.plugin),
                "Keep the key's columns",
            );
        }
        key
    }

    fn unsound_key(&mut self, name: &str, facts: Facts) {
        let (what, remedy) = if facts.deterministic {
            (
                "the image before an update or delete may not hold what it is computed from, so the target's row could not be found",
                WHOLE_BEFORE,
            )
        } else {
            (
                "the same row may give another value the next time, so the target's row could not be found again",
                "Leave key columns to deterministic plugins",
            )
        };
        self.refuse(format!("key column `{name}` is written by plugin {}: {what}", self.spec.plugin), remedy);
    }

    /// A route must be found again for the image before a change, like a key.
    fn computable(&mut self, what: &str, read: &[u32]) {
        let missing = read.iter().find(|&&index| !self.input.facts[index as usize].from_key);
        if let Some(&index) = missing.filter(|_| !self.input.whole_before) {
            let name = self.input.schema.columns[index as usize].name.clone();
            self.refuse(
                format!("{what} of plugin {} may depend on `{name}`, which the image before an update or delete may not hold", self.spec.plugin),
                WHOLE_BEFORE,
            );
        }
    }

    #[allow(clippy::too_many_arguments)] // the parts of one plan
    fn report(
        &self,
        read: &[u32],
        write: &[crate::contract::Written],
        renames: &BTreeMap<u32, String>,
        drop: &[u32],
        output: &StepInput,
        (selects, changes_kinds, before_images): (bool, bool, bool),
        routes: &[String],
    ) -> PlanReport {
        let columns = &self.input.schema.columns;
        let name = |index: &u32| {
            columns.get(*index as usize).map_or(String::new(), |column| column.name.to_string())
        };
        let out = &output.schema;
        PlanReport {
            reads: read.iter().map(name).collect(),
            writes: write
                .iter()
                .map(|written| WrittenColumn {
                    name: renames.get(&written.index).unwrap_or(&written.column.name).clone(),
                    ty: from_wit(written.column.type_),
                    new: written.index as usize >= columns.len(),
                    from: written.from.iter().map(name).collect(),
                    deterministic: written.deterministic,
                })
                .collect(),
            renames: renames.iter().map(|(index, new)| (name(index), new.clone())).collect(),
            drops: drop.iter().map(name).collect(),
            selects,
            changes_kinds,
            before_images,
            routes: routes.to_vec(),
            output: (out.columns.iter().enumerate())
                .map(|(index, column)| OutputColumn {
                    name: column.name.to_string(),
                    ty: column.ty,
                    nullable: column.nullable,
                    key: out.is_key(index),
                })
                .collect(),
        }
    }
}
