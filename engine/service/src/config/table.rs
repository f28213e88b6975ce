//! `tables:` of a pipeline, and the steps of their chains.

use serde_json::{Value as Json, json};
use sluice_pipeline::ConflictPolicy;
use sluice_types::{Digest, Settings, TablePattern};
use sluice_wasm::{StepLimits, StepSpec};

use super::keys::{self, Keys};
use super::read::is_name;
use super::{TableRule, conflict};

/// The plugin that `where` stands for.
const FILTER: &str = "filter";

/// Every rule of `tables:`.
pub(super) fn read(
    pipeline: &mut Settings,
    keys: &Keys,
    conflict: Option<&ConflictPolicy>,
) -> Vec<TableRule> {
    let path = pipeline.path_of("tables");
    let remedy = "write `tables: [\"public.*\"]`, or a list of mappings with `from:`";
    if !pipeline.has("tables") {
        pipeline.reject("tables", "`tables` is missing", remedy);
    }
    let items = match pipeline.take("tables") {
        None => return Vec::new(),
        Some(Json::Array(items)) => items,
        Some(_) => {
            pipeline.reject("tables", "`tables` is not a list", remedy);
            return Vec::new();
        }
    };
    if items.is_empty() {
        pipeline.reject("tables", "`tables` is empty", remedy);
    }
    let items = items.into_iter().enumerate();
    items
        .filter_map(|(index, item)| rule(pipeline, item, format!("{path}[{index}]"), keys, conflict))
        .collect()
}

fn rule(
    pipeline: &mut Settings,
    item: Json,
    path: String,
    keys: &Keys,
    conflict: Option<&ConflictPolicy>,
) -> Option<TableRule> {
    // The short form is the long one with `from` alone.
    let item = if item.is_string() { json!({ "from": item }) } else { item };
    let mut table = Settings::new(path, item);
    let rule = read_rule(&mut table, keys, conflict);
    pipeline.absorb(table);
    rule
}

fn read_rule(table: &mut Settings, keys: &Keys, conflict: Option<&ConflictPolicy>) -> Option<TableRule> {
    let from = table.need_text("from", "the source's table, or a pattern such as `public.*`");
    if from.as_deref() == Some("") {
        table.reject("from", "`from` is empty", "name a table or a pattern");
    }
    let to = table.take_text("to");
    if let Some(Err(what)) = to.as_deref().map(check_template) {
        table.reject("to", what, "only `{schema}` and `{table}` are filled in");
    }
    let key = table.take_texts("key");
    if key.as_ref().is_some_and(Vec::is_empty) {
        table.reject("key", "`key` is empty", "name the columns that identify a row");
    }
    let exclude = columns(table, "exclude");
    let conflict = conflict::read(table, conflict);
    let mut steps = Vec::from_iter(table.take_text("where").map(|keep| {
        let config = json!({ "keep": keep }).to_string();
        StepSpec::new(FILTER, config, table.path_of("where"))
    }));
    steps.extend(chain(table, keys));
    Some(TableRule {
        from: TablePattern::parse(&from?),
        to,
        key,
        exclude,
        conflict,
        steps,
        path: table.path().to_string(),
    })
}

/// One list of `columns:`, its only key here.
fn columns(settings: &mut Settings, key: &'static str) -> Vec<String> {
    let Some(mut columns) = settings.take_settings("columns") else { return Vec::new() };
    let names = columns.take_texts(key).unwrap_or_default();
    settings.absorb(columns);
    names
}

/// Fills in `{schema}` and `{table}`.
pub(super) fn fill_template(template: &str, schema: &str, table: &str) -> String {
    template.replace("{schema}", schema).replace("{table}", table)
}

fn check_template(template: &str) -> Result<(), String> {
    let rest = fill_template(template, "", "");
    match template {
        "" => Err("`to` is empty".into()),
        _ if template.contains('*') => Err("`to` can't hold a `*`".into()),
        _ if rest.contains(['{', '}']) => Err(format!("`{template}` holds another placeholder")),
        _ => Ok(()),
    }
}

fn chain(table: &mut Settings, keys: &Keys) -> Vec<StepSpec> {
    let path = table.path_of("transform");
    let items = match table.take("transform") {
        None => return Vec::new(),
        Some(Json::Array(items)) => items,
        Some(_) => {
            table.reject("transform", "`transform` is not a list", "write a list of `- plugin: NAME`");
            return Vec::new();
        }
    };
    let items = items.into_iter().enumerate();
    items
        .filter_map(|(index, item)| {
            let mut settings = Settings::new(format!("{path}[{index}]"), item);
            let step = step(&mut settings, keys);
            table.absorb(settings);
            step
        })
        .collect()
}

fn step(settings: &mut Settings, keys: &Keys) -> Option<StepSpec> {
    let plugin = settings.need_text("plugin", "the name of a plugin");
    if plugin.as_ref().is_some_and(|name| !is_name(name)) {
        // It is the name of a file in the plugin folder.
        settings.reject(
            "plugin",
            "this can't be the name of a plugin",
            "use letters, digits, `-` and `_`, no `.wasm`",
        );
    }
    let config = settings.take("config").unwrap_or_else(|| json!({}));
    if !config.is_object() {
        settings.reject("config", "`config` is not a mapping", "write the plugin's settings as `key: value`");
    }
    let grant = keys::grants(settings, keys);
    settings.not_built("shadow", "leave it out");
    let limits = limits(settings);
    let deny = columns(settings, "deny");
    let override_shipped = settings.take_bool("override").unwrap_or(false);
    let digest = settings.take_text("digest").and_then(|text| {
        let digest = Digest::parse(&text);
        if digest.is_none() {
            settings.reject(
                "digest",
                "this is not a digest",
                "write `sha256:` and 64 digits, as `sluice plugin list` shows it",
            );
        }
        digest
    });
    Some(StepSpec {
        grant,
        limits,
        deny,
        override_shipped,
        digest,
        ..StepSpec::new(&plugin?, config.to_string(), settings.path())
    })
}

fn limits(settings: &mut Settings) -> StepLimits {
    let default = StepLimits::default();
    let Some(mut limits) = settings.take_settings("limits") else { return default };
    let mut size = |key, default: u64| {
        let size = limits.take_size(key);
        if size == Some(0) {
            limits.reject(key, format!("`{key}` is zero"), "a size such as 64MiB");
        }
        size.unwrap_or(default)
    };
    let (memory, output) = (size("memory", default.memory), size("output", default.output));
    let value = size("value", default.value);
    let batch_ms = limits.take_number("batch_ms", 1).unwrap_or(default.batch_ms);
    settings.absorb(limits);
    StepLimits { memory, batch_ms, output, value }
}
