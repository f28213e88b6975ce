//! One of `pipelines:`, with the defaults of everything that is not written.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use sluice_pipeline::{
    BatchLimits, LargeTransactions, Mode, OnError, OnErrorThen, OnLarge, OnPositionLost, SnapshotMode,
    TruncatePolicy,
};
use sluice_types::ports::Endpoint;
use sluice_types::settings::did_you_mean;
use sluice_types::{ErrorKind, Finding, Settings};

use super::diff::Trees;
use super::keys::Keys;
use super::read::{check_name, is_name};
use super::{Database, Pipeline, conflict, table};

type Databases = BTreeMap<String, Option<Database>>;

/// Chunks that may be read at once, whatever the file says (I10).
const CONCURRENCY_MAX: u64 = 64;

pub(super) fn read(
    settings: &mut Settings,
    databases: &Databases,
    keys: &Keys,
    trees: &Trees<'_>,
) -> BTreeMap<String, Pipeline> {
    if !settings.has("pipelines") {
        settings.reject("pipelines", "`pipelines` is missing", "say there which database goes where");
    }
    let mut pipelines: BTreeMap<String, Pipeline> = BTreeMap::new();
    for (name, mut nested) in settings.take_named("pipelines") {
        check_name(&mut nested, "pipeline", &name);
        let pipeline = one(&mut nested, &name, databases, keys, trees);
        if let Some((other, _)) = pipelines.iter().find(|(_, other)| other.id == pipeline.id) {
            let what = format!("the pipeline `{other}` has the id `{}`, too", pipeline.id);
            nested.reject("id", what, "checkpoints are filed under it: give each pipeline an id of its own");
        }
        settings.absorb(nested);
        pipelines.insert(name, pipeline);
    }
    pipelines
}

fn one(nested: &mut Settings, name: &str, databases: &Databases, keys: &Keys, trees: &Trees<'_>) -> Pipeline {
    let id = nested.take_text("id");
    if id.as_deref().is_some_and(|id| !is_name(id)) {
        nested.reject("id", "this can't be an id", "use letters, digits, `-` and `_`, at most 40");
    }
    let id = id.as_deref().unwrap_or(name).into();
    let source = source(nested, databases);
    let (targets, many) = targets(nested, databases);
    not_built(nested);
    let conflict = conflict::read(nested, None);
    let (large_transactions, large_by_default) = large_transactions(nested);
    Pipeline {
        id,
        source,
        targets,
        many,
        mode: nested
            .take_word("mode", &[("realtime", Mode::Realtime), ("batch", Mode::Batch)])
            .unwrap_or(Mode::Realtime),
        snapshot: nested
            .take_word(
                "snapshot",
                &[
                    ("initial", SnapshotMode::Initial),
                    ("never", SnapshotMode::Never),
                    ("only", SnapshotMode::Only),
                ],
            )
            .unwrap_or(SnapshotMode::Initial),
        batch: batch(nested),
        concurrency: concurrency(nested),
        large_transactions,
        large_by_default,
        truncate: nested.take_word(
            "truncate",
            &[
                ("apply", TruncatePolicy::Apply),
                ("ignore", TruncatePolicy::Ignore),
                ("pause", TruncatePolicy::Pause),
            ],
        ),
        on_error: on_error(nested),
        on_position_lost: on_position_lost(nested),
        tables: table::read(nested, keys, conflict.as_ref()),
        conflict,
        part: trees.part("pipelines", name),
        path: nested.path().to_string(),
    }
}

fn source(nested: &mut Settings, databases: &Databases) -> String {
    let source = nested.need_text("source", "the name of a database").unwrap_or_default();
    if !source.is_empty() {
        known(nested, &nested.path_of("source"), &source, databases);
    }
    source
}

fn targets(nested: &mut Settings, databases: &Databases) -> (Vec<String>, bool) {
    let several = nested.take_texts("targets");
    let many = several.is_some();
    if many && nested.has("target") {
        nested.reject("targets", "there are both `target` and `targets`", "write one of them");
    }
    let targets = match several {
        Some(several) => {
            nested.take("target");
            several
        }
        None => Vec::from_iter(nested.need_text("target", "the name of a database; or `targets: [a, b]`")),
    };
    if many && targets.is_empty() {
        nested.reject("targets", "`targets` is empty", "name one or more databases");
    }
    for (index, target) in targets.iter().enumerate() {
        let path =
            if many { format!("{}[{index}]", nested.path_of("targets")) } else { nested.path_of("target") };
        known(nested, &path, target, databases);
        if targets[..index].contains(target) {
            let what = format!("the target `{target}` is named twice");
            nested.find(Finding::error(ErrorKind::Config, path, what, "name it once"));
        }
    }
    (targets, many)
}

fn known(nested: &mut Settings, path: &str, name: &str, databases: &Databases) {
    if !databases.contains_key(name) {
        let names = || databases.keys().map(String::as_str);
        let all = names().collect::<Vec<_>>().join(", ");
        let remedy = format!("{}`databases` has: {all}", did_you_mean(name, names()));
        let what = format!("there is no database `{name}`");
        nested.find(Finding::error(ErrorKind::Config, path, what, remedy));
    }
}

/// Keys and words that are known, and whose features this version doesn't have.
fn not_built(nested: &mut Settings) {
    nested.not_built("atomic", "leave it out: each target then has a line of its own");
    nested.not_built("schedule", "leave it out, and start `sluice sync` from a timer");
    nested.not_built("undo", "leave it out");
    nested.not_built("retain", "leave it out");
    word_not_built(nested, "direction", "one-way", &["both"]);
    word_not_built(nested, "new_tables", "ignore", &["add"]);
    if let Some(mut changes) = nested.take_settings("schema_changes") {
        for class in ["add_column", "drop_column", "modify_column"] {
            word_not_built(&mut changes, class, "pause", &["apply", "ignore"]);
        }
        nested.absorb(changes);
    }
}

/// A key that has one word in this version, and others in later ones.
fn word_not_built(nested: &mut Settings, key: &'static str, built: &'static str, later: &[&'static str]) {
    let words: Vec<(&'static str, bool)> =
        std::iter::once((built, true)).chain(later.iter().map(|word| (*word, false))).collect();
    let Some(value) = nested.take(key) else { return };
    let mut alone = Settings::new(nested.path(), serde_json::json!({ key: value.clone() }));
    if let Some(false) = alone.take_word(key, &words) {
        let what =
            format!("`{key}: {}` is not built yet in this version", value.as_str().unwrap_or_default());
        let remedy = format!("write `{key}: {built}`, or leave it out");
        alone.find(Finding::error(ErrorKind::NotBuilt, alone.path_of(key), what, remedy));
    }
    nested.absorb(alone);
}

/// A nested mapping; an empty one where there is none.
fn optional(nested: &mut Settings, key: &'static str) -> Settings {
    nested.take_settings(key).unwrap_or_else(|| Settings::new(nested.path_of(key), serde_json::Value::Null))
}

fn batch(nested: &mut Settings) -> BatchLimits {
    let mut batch = optional(nested, "batch");
    let limits = BatchLimits {
        rows: non_zero(batch.take_number("rows", 1), 1000),
        bytes: non_zero(batch.take_size("bytes"), 8 << 20),
        age_ms: batch.take_number("age_ms", 0).unwrap_or(50),
    };
    nested.absorb(batch);
    limits
}

fn non_zero(number: Option<u64>, default: usize) -> NonZeroUsize {
    let number = number.map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX));
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

fn concurrency(nested: &mut Settings) -> NonZeroUsize {
    let number = nested.take_number("concurrency", 1);
    if number.is_some_and(|number| number > CONCURRENCY_MAX) {
        nested.reject("concurrency", "`concurrency` is too large", format!("{CONCURRENCY_MAX} or less"));
    }
    non_zero(number, 4)
}

/// Which parts of `large_transactions` are not written.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByDefault {
    rows: bool,
    bytes: bool,
    then: bool,
}

impl ByDefault {
    /// What is written, and for the rest what suits the target.
    pub fn of_target(self, written: LargeTransactions, target: &dyn Endpoint) -> LargeTransactions {
        let (rows, bytes) = target.large_transaction();
        let in_parts = self.then && !target.capabilities().unlimited_transactions;
        LargeTransactions {
            rows: if self.rows { rows } else { written.rows },
            bytes: if self.bytes { bytes } else { written.bytes },
            then: if in_parts { OnLarge::Parts } else { written.then },
        }
    }
}

fn large_transactions(nested: &mut Settings) -> (LargeTransactions, ByDefault) {
    let mut large = optional(nested, "large_transactions");
    let words = [("spill", OnLarge::Spill), ("parts", OnLarge::Parts), ("fail", OnLarge::Fail)];
    let then = large.take_word("then", &words);
    let (rows, bytes) = (large.take_number("rows", 1), large.take_size("bytes"));
    let limits = LargeTransactions {
        rows: rows.unwrap_or(1_000_000),
        bytes: bytes.unwrap_or(512 << 20),
        then: then.unwrap_or(OnLarge::Spill),
    };
    nested.absorb(large);
    (limits, ByDefault { rows: rows.is_none(), bytes: bytes.is_none(), then: then.is_none() })
}

fn on_error(nested: &mut Settings) -> OnError {
    let mut on_error = optional(nested, "on_error");
    let words = [("dead-letter", OnErrorThen::DeadLetter), ("pause", OnErrorThen::Pause)];
    let retries = on_error.take_number("retries", 0).unwrap_or(3);
    let base_ms = on_error.take_number("base_ms", 1).unwrap_or(1_000);
    let max_ms = on_error.take_number("max_ms", 1).unwrap_or(300_000.max(base_ms));
    if max_ms < base_ms {
        on_error.reject("max_ms", "`max_ms` is below `base_ms`", "pauses grow from `base_ms` to `max_ms`");
    }
    let then = on_error.take_word("then", &words).unwrap_or(OnErrorThen::DeadLetter);
    nested.absorb(on_error);
    OnError { retries: u32::try_from(retries).unwrap_or(u32::MAX), base_ms, max_ms, then }
}

fn on_position_lost(nested: &mut Settings) -> OnPositionLost {
    let words = [
        ("fail", Some(OnPositionLost::Fail)),
        ("resnapshot", Some(OnPositionLost::Resnapshot)),
        ("repair", None),
    ];
    match nested.take_word("on_position_lost", &words) {
        Some(Some(policy)) => policy,
        Some(None) => {
            let path = nested.path_of("on_position_lost");
            let what = "`on_position_lost: repair` is not built yet in this version";
            nested.find(Finding::error(ErrorKind::NotBuilt, path, what, "write `fail` or `resnapshot`"));
            OnPositionLost::Fail
        }
        None => OnPositionLost::Fail,
    }
}
