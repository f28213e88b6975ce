//! The tree of the file made into [`Config`]. Everything is read before anything is refused, so that all findings come at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use sluice_store::SealKey;
use sluice_types::ports::Connector;
use sluice_types::settings::did_you_mean;
use sluice_types::{Error, ErrorKind, Finding, Result, Secret, Settings, Severity};

use super::diff::Trees;
use super::yaml::{Document, refused};
use super::{Config, Database, Pipeline, ProcessLimits, ServiceSettings, StateSettings, keys, pipeline};
use crate::Registry;
use crate::secrets::{Filled, Lookup, fill};

/// The largest file that is read, in bytes (I10).
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The longest name of a pipeline or database (I10).
const NAME_CHARACTERS_MAX: usize = 40;
/// Kinds that are known but that a build may lack.
const PLANNED_KINDS: &[&str] = &["postgres", "mysql", "mariadb", "mongodb", "sqlite"];

pub(super) fn load(file: &Path, registry: &Registry) -> Result<Config> {
    let cant_read = |cause: std::io::Error| {
        Error::new(ErrorKind::Config, format!("the configuration {} can't be read", file.display()))
            .because(cause)
            .remedy("Name the file with `-c FILE`.")
    };
    let file = std::path::absolute(file).map_err(cant_read)?;
    if std::fs::metadata(&file).map_err(cant_read)?.len() > FILE_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Config,
            format!("{} is above {FILE_BYTES_MAX} bytes", file.display()),
        ));
    }
    let text = std::fs::read_to_string(&file).map_err(cant_read)?;
    let env = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    read(&text, &file, registry, &env).map_err(|findings| refused(&file, findings))
}

/// Reads a text that stands in `file`. The findings are errors and warnings; with an error among them there is no configuration.
pub(super) fn read(
    text: &str,
    file: &Path,
    registry: &Registry,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Config, Vec<Finding>> {
    let document = Document::parse(text).map_err(|finding| vec![*finding])?;
    let base = file.parent().unwrap_or(Path::new("."));
    let filled = fill(&document.tree, &Lookup { base, env });
    let mut settings = Settings::new("", filled.tree.clone());
    let config = root(&mut settings, file, base, document, &filled, registry);
    let mut findings = filled.findings.clone();
    findings.extend(settings.finish());
    let mut findings: Vec<Finding> = findings.into_iter().map(|finding| filled.conceal(finding)).collect();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        let spot =
            |finding: &Finding| config.document.spot(&finding.path).map(|spot| (spot.line, spot.column));
        // As a person reads the file.
        findings.sort_by_key(|finding| (spot(finding).unwrap_or_default(), finding.path.clone()));
        return Err(findings);
    }
    Ok(Config { warnings: findings, ..config })
}

/// Reads the whole; where something is wrong, a finding is left in `settings` and a default stands in.
fn root(
    settings: &mut Settings,
    file: &Path,
    base: &Path,
    document: Document,
    filled: &Filled,
    registry: &Registry,
) -> Config {
    version(settings);
    let state = state(settings, base);
    let service = service(settings);
    let limits = limits(settings);
    let plugin_dir = plugin_dir(settings, base);
    let keys = keys::read(settings);
    settings.not_built("alerts", "leave it out, and watch /metrics");
    let trees = Trees { written: &document.tree, filled: &filled.tree };
    let databases = databases(settings, base, &trees, registry);
    let pipelines = pipeline::read(settings, &databases, &keys, &trees);
    let general = trees.general();
    if state.key.is_none() {
        warn_of_open_state(settings, &pipelines);
    }
    Config {
        file: file.to_path_buf(),
        state,
        service,
        limits,
        plugin_dir,
        secret_files: filled.files.clone(),
        databases: databases.into_iter().filter_map(|(name, database)| Some((name, database?))).collect(),
        pipelines,
        warnings: Vec::new(),
        general,
        document,
    }
}

fn version(settings: &mut Settings) {
    if !settings.has("version") {
        settings.reject("version", "`version` is missing", "write `version: 1` at the top");
    }
    match settings.take_number("version", 1) {
        None | Some(1) => {}
        Some(other) => settings.reject(
            "version",
            format!("version {other} is not known to this sluice"),
            "write `version: 1`, or run the version of sluice that the file was written for",
        ),
    }
}

/// A path as it is meant from the file's folder, without the `.` of `./state`: it is shown in messages.
fn within(base: &Path, path: impl AsRef<Path>) -> PathBuf {
    base.join(path).components().collect()
}

fn state(settings: &mut Settings, base: &Path) -> StateSettings {
    let default = base.join("sluice-state");
    let value = settings.take("state");
    if let Some(Json::String(dir)) = &value {
        return StateSettings { dir: within(base, dir), key: None };
    }
    let Some(value) = value else { return StateSettings { dir: default, key: None } };
    let mut nested = Settings::new(settings.path_of("state"), value);
    let dir = nested.take_text("dir").map_or(default, |dir| within(base, dir));
    let key = nested.take_text("key").map(Secret::new);
    if let Some(Err(error)) = key.as_ref().map(SealKey::parse) {
        nested.reject(
            "key",
            "the key is not base64 of 32 bytes",
            error.remedy_text().unwrap_or_default().to_string(),
        );
    }
    settings.absorb(nested);
    StateSettings { dir, key }
}

fn service(settings: &mut Settings) -> ServiceSettings {
    let default = SocketAddr::from(([127, 0, 0, 1], 8687));
    let Some(mut nested) = settings.take_settings("service") else {
        return ServiceSettings { listen: default, token: None, insecure: false };
    };
    let listen = nested.take_text("listen").and_then(|text| {
        let address = text.replacen("localhost", "127.0.0.1", 1).parse();
        if address.is_err() {
            nested.reject(
                "listen",
                format!("`{text}` is not an address and a port"),
                "write for example 127.0.0.1:8687",
            );
        }
        address.ok()
    });
    let token = nested.take_text("token").map(Secret::new);
    if token.as_ref().is_some_and(|token| token.expose().len() < 16) {
        nested.reject(
            "token",
            "the token has less than 16 characters",
            "make one with: head -c 32 /dev/urandom | base64",
        );
    }
    let insecure = nested.take_bool("insecure").unwrap_or(false);
    nested.not_built("tls", "leave it out: listen on loopback behind a proxy that speaks TLS");
    let listen = listen.unwrap_or(default);
    if !listen.ip().is_loopback() && !insecure {
        nested.reject(
            "listen",
            format!("{listen} can be reached from other machines, and there is no TLS yet"),
            "listen on 127.0.0.1 behind a proxy that speaks TLS, or say `insecure: true`",
        );
    }
    settings.absorb(nested);
    ServiceSettings { listen, token, insecure }
}

fn limits(settings: &mut Settings) -> ProcessLimits {
    let default = ProcessLimits { memory: 512 << 20, spill: 20 << 30 };
    let Some(mut nested) = settings.take_settings("limits") else { return default };
    let memory = nested.take_size("memory").unwrap_or(default.memory);
    if memory < 64 << 20 {
        nested.reject("memory", "the process can't work with so little memory", "64MiB or more");
    }
    let spill = nested.take_size("spill").unwrap_or(default.spill);
    settings.absorb(nested);
    ProcessLimits { memory, spill }
}

fn plugin_dir(settings: &mut Settings, base: &Path) -> PathBuf {
    let default = base.join("plugins");
    let Some(mut nested) = settings.take_settings("plugins") else { return default };
    let dir = nested.take_text("dir").map_or(default, |dir| within(base, dir));
    settings.absorb(nested);
    dir
}

/// By name; `None` for one that is there but can't be used, so that a pipeline which names it is not blamed for that.
fn databases(
    settings: &mut Settings,
    base: &Path,
    trees: &Trees<'_>,
    registry: &Registry,
) -> BTreeMap<String, Option<Database>> {
    if !settings.has("databases") {
        settings.reject("databases", "`databases` is missing", "name the source and the target there");
    }
    let mut databases = BTreeMap::new();
    for (name, mut nested) in settings.take_named("databases") {
        check_name(&mut nested, "database", &name);
        let path = nested.path().to_string();
        let connector = kind(&mut nested, registry);
        if connector.is_none() {
            nested.ignore_rest();
        }
        let endpoint = connector.and_then(|connector| connector.parse(&name, &mut nested, base));
        settings.absorb(nested);
        let part = trees.part("databases", &name);
        databases.insert(name, endpoint.map(|endpoint| Database { endpoint, path, part }));
    }
    databases
}

fn kind<'a>(nested: &mut Settings, registry: &'a Registry) -> Option<&'a Arc<dyn Connector>> {
    let kinds: Vec<&str> = registry.kinds().collect();
    let kind = nested.need_text("kind", &format!("one of: {}", kinds.join(", ")))?;
    let connector = registry.get(&kind);
    if connector.is_none() && PLANNED_KINDS.contains(&kind.as_str()) {
        let remedy = format!("this version has: {}", kinds.join(", "));
        let what = format!("databases of kind `{kind}` are not built yet in this version");
        nested.find(Finding::error(ErrorKind::NotBuilt, nested.path_of("kind"), what, remedy));
    } else if connector.is_none() {
        let remedy = format!("{}one of: {}", did_you_mean(&kind, kinds.iter().copied()), kinds.join(", "));
        nested.reject("kind", format!("there is no kind of database `{kind}`"), remedy);
    }
    connector
}

/// Names become parts of the names of slots, read marks and files.
pub(super) fn check_name(nested: &mut Settings, of: &str, name: &str) {
    if !is_name(name) {
        let what = format!("`{name}` can't be the name of a {of}");
        let remedy = format!("use letters, digits, `-` and `_`, at most {NAME_CHARACTERS_MAX}");
        nested.find(Finding::error(ErrorKind::Config, nested.path(), what, remedy));
    }
}

/// Whether a text can be a name of ours.
pub(super) fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.len() <= NAME_CHARACTERS_MAX && text.chars().all(good)
}

/// Dead letters keep the values that plugins are not allowed to see, or encrypt.
fn warn_of_open_state(settings: &mut Settings, pipelines: &BTreeMap<String, Pipeline>) {
    let steps = pipelines.values().flat_map(|pipeline| &pipeline.tables).flat_map(|table| &table.steps);
    if steps.into_iter().any(|step| !step.deny.is_empty() || &*step.plugin == "encryption") {
        settings.find(Finding::warning(
            "state-not-sealed",
            "state.key",
            "a pipeline denies or encrypts columns, and dead letters would hold their values in the clear",
            "set `state: { dir: .., key: \"${env:SLUICE_STATE_KEY}\" }` to base64 of 32 random bytes",
        ));
    }
}
