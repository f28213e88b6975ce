//! What a changed file means for a running service.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value as Json};

use sluice_wasm::Grants;

use super::{Config, Pipeline};

/// The section whose values are never shown, and need no new process.
const KEYS: &str = "keys";

/// What is to be done to go from one configuration to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What changed, for people, without secrets: one line per path.
    pub shown: Vec<String>,
    /// Pipelines to start.
    pub added: Vec<String>,
    /// Pipelines to stop. Their state stays until `delete`.
    pub removed: Vec<String>,
    /// Pipelines whose lines must be stopped and started with the new configuration.
    pub restart: Vec<String>,
    /// Pipelines where only plugin parts (`where`, `transform`) changed: applied live, at a batch boundary.
    pub live: Vec<String>,
    /// Parts that only a new process takes into use (`state`, `service`, `limits`, `plugins`): their paths.
    pub process: Vec<String>,
}

/// A part of the file, as it was written and with `${..}` filled in. The first may be shown, less what its place says is secret;
/// the second is only compared.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    written: Json,
    filled: Json,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Part")
    }
}

/// The whole file, both ways.
pub(super) struct Trees<'a> {
    pub written: &'a Json,
    pub filled: &'a Json,
}

impl Trees<'_> {
    /// What stands under a name.
    pub(super) fn part(&self, section: &str, name: &str) -> Part {
        let of = |tree: &Json| {
            tree.get(section).and_then(|section| section.get(name)).cloned().unwrap_or_default()
        };
        Part { written: of(self.written), filled: of(self.filled) }
    }

    /// Everything but databases and pipelines.
    pub(super) fn general(&self) -> Part {
        let of = |tree: &Json| {
            let mut map = tree.as_object().cloned().unwrap_or_default();
            map.retain(|key, _| key != "databases" && key != "pipelines");
            Json::Object(map)
        };
        Part { written: of(self.written), filled: of(self.filled) }
    }
}

/// Compares two configurations.
pub fn diff(old: &Config, new: &Config) -> Difference {
    let mut difference = Difference::default();
    let mut general = Changes::default();
    general.compare("", &old.general, &new.general);
    difference.process = general.sections();
    // A key comes with the grants of the steps that may use it.
    difference.process.retain(|section| section != KEYS);
    difference.shown = general.shown;

    let mut changed_databases = BTreeSet::new();
    for name in names(&old.databases, &new.databases) {
        let mut changes = Changes::default();
        let part = |config: &Config| {
            config.databases.get(name).map(|database| database.part.clone()).unwrap_or_default()
        };
        changes.compare(&format!("databases.{name}"), &part(old), &part(new));
        if !changes.shown.is_empty() {
            changed_databases.insert(name.clone());
        }
        difference.shown.extend(changes.shown);
    }
    for name in names(&old.pipelines, &new.pipelines) {
        let (before, after) = (old.pipelines.get(name), new.pipelines.get(name));
        let mut changes = Changes::default();
        let part =
            |pipeline: Option<&Pipeline>| pipeline.map(|pipeline| pipeline.part.clone()).unwrap_or_default();
        changes.compare(&format!("pipelines.{name}"), &part(before), &part(after));
        let list = match (before, after) {
            (None, _) => Some(&mut difference.added),
            (_, None) => Some(&mut difference.removed),
            (Some(before), Some(after)) => match what_to_do(before, after, &changes, &changed_databases) {
                Todo::Nothing => None,
                Todo::Live => Some(&mut difference.live),
                Todo::Restart => Some(&mut difference.restart),
            },
        };
        list.into_iter().for_each(|list| list.push(name.clone()));
        difference.shown.extend(changes.shown);
    }
    difference
}

enum Todo {
    Nothing,
    Live,
    Restart,
}

fn what_to_do(old: &Pipeline, new: &Pipeline, changes: &Changes, databases: &BTreeSet<String>) -> Todo {
    let uses = |pipeline: &Pipeline| {
        databases.contains(&pipeline.source)
            || pipeline.targets.iter().any(|target| databases.contains(target))
    };
    if uses(old) || uses(new) {
        return Todo::Restart;
    }
    match changes.shown.is_empty() {
        true if grants(old) == grants(new) => Todo::Nothing,
        true => Todo::Live,
        // A chain added or taken away entirely changes what the default of `truncate` is: that is more than a plugin's part.
        false
            if without_chains(&old.part.filled) == without_chains(&new.part.filled)
                && (has_chains(old) == has_chains(new) || new.truncate.is_some()) =>
        {
            Todo::Live
        }
        false => Todo::Restart,
    }
}

/// What the steps may use: another key under the same name is another grant.
fn grants(pipeline: &Pipeline) -> Vec<&Grants> {
    pipeline.tables.iter().flat_map(|table| &table.steps).map(|step| &*step.grant).collect()
}

fn has_chains(pipeline: &Pipeline) -> bool {
    pipeline.tables.iter().any(|table| !table.steps.is_empty())
}

/// A pipeline without what plugins are told.
fn without_chains(pipeline: &Json) -> Json {
    let mut pipeline = pipeline.clone();
    let tables = pipeline.get_mut("tables").and_then(Json::as_array_mut);
    for table in tables.into_iter().flatten() {
        if let Json::String(from) = table {
            *table = Json::Object(Map::from_iter([("from".to_string(), Json::from(from.as_str()))]));
        }
        if let Some(table) = table.as_object_mut() {
            table.retain(|key, _| key != "where" && key != "transform");
        }
    }
    pipeline
}

fn names<'a, T>(
    old: &'a std::collections::BTreeMap<String, T>,
    new: &'a std::collections::BTreeMap<String, T>,
) -> BTreeSet<&'a String> {
    old.keys().chain(new.keys()).collect()
}

#[derive(Default)]
struct Changes {
    shown: Vec<String>,
    paths: Vec<String>,
}

impl Changes {
    fn compare(&mut self, path: &str, old: &Part, new: &Part) {
        self.walk(path, Some(&old.written), Some(&new.written), Some(&old.filled), Some(&new.filled));
    }

    /// Down to the leaves that differ. The written trees have the same shape as the filled ones.
    fn walk(
        &mut self,
        path: &str,
        old: Option<&Json>,
        new: Option<&Json>,
        old_filled: Option<&Json>,
        new_filled: Option<&Json>,
    ) {
        if old == new && old_filled == new_filled {
            return;
        }
        if let (Some(Json::Object(a)), Some(Json::Object(b))) = (old, new) {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let filled = |tree: Option<&'_ Json>| tree.and_then(|tree| tree.get(key)).cloned();
                let (old_filled, new_filled) = (filled(old_filled), filled(new_filled));
                self.walk(&inner, a.get(key), b.get(key), old_filled.as_ref(), new_filled.as_ref());
            }
            return;
        }
        if let (Some(Json::Array(a)), Some(Json::Array(b))) = (old, new) {
            for index in 0..a.len().max(b.len()) {
                let filled = |tree: Option<&'_ Json>| tree.and_then(|tree| tree.get(index)).cloned();
                let (old_filled, new_filled) = (filled(old_filled), filled(new_filled));
                let inner = format!("{path}[{index}]");
                self.walk(&inner, a.get(index), b.get(index), old_filled.as_ref(), new_filled.as_ref());
            }
            return;
        }
        let shown =
            |value: Option<&Json>| value.filter(|value| !value.is_null()).map(|value| show(path, value));
        let line = match (shown(old), shown(new)) {
            (None, Some(new)) => format!("+ {path}: {new}"),
            (Some(old), None) => format!("- {path}: {old}"),
            (Some(old), Some(new)) if old != new => format!("~ {path}: {old} -> {new}"),
            // A secret, or the value behind `${..}`.
            _ => format!("~ {path}: its value has changed"),
        };
        self.shown.push(line);
        self.paths.push(path.to_string());
    }

    /// The first words of what changed.
    fn sections(&self) -> Vec<String> {
        let first = |path: &String| path.split(['.', '[']).next().unwrap_or_default().to_string();
        self.paths.iter().map(first).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Keys whose value is a secret, or may hold one, if it is written out and not `${..}`.
const SECRET_KEYS: &[&str] = &["token", "password", "url", "secret"];

fn show(path: &str, value: &Json) -> String {
    let last = path.rsplit('.').next().unwrap_or_default();
    let secret = SECRET_KEYS.contains(&last) || path == "state.key" || path.starts_with("keys.");
    match value {
        Json::String(text) if secret && !is_reference(text) => "***".into(),
        Json::Object(_) | Json::Array(_) => {
            let mut hidden = value.clone();
            hide(path, &mut hidden);
            hidden.to_string()
        }
        other => other.to_string(),
    }
}

fn hide(path: &str, value: &mut Json) {
    match value {
        Json::Object(map) => map.iter_mut().for_each(|(key, value)| hide(&format!("{path}.{key}"), value)),
        Json::Array(items) => items.iter_mut().for_each(|item| hide(path, item)),
        leaf => {
            if show(path, leaf) == "***" {
                *leaf = Json::from("***");
            }
        }
    }
}

/// `${env:..}` and nothing else.
fn is_reference(text: &str) -> bool {
    text.starts_with("${") && text.find('}') == Some(text.len() - 1)
}
