//! The kinds of databases that are shipped: what their schemas say is what their parsers read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use sluice_types::Settings;
use sluice_types::ports::Connector;

use super::super::schema::json_schema;
use super::super::yaml::Document;
use super::schema::{STRANGE, validate};
use crate::Registry;

/// What may be written: every key of a kind in one of its examples.
fn examples(kind: &str) -> Vec<Json> {
    match kind {
        "sqlite" => vec![json!({ "path": "./local.db", "busy_timeout_ms": 100, "poll_ms": 5 })],
        "postgres" => vec![
            json!({ "url": "postgres://ann:secret@db:5433/shop?sslmode=require" }),
            json!({
                "host": "db", "port": 5433, "user": "ann", "password": "secret", "database": "shop",
                "application_name": "shop-sync",
                "tls": { "mode": "verify-full", "ca": "ca.pem", "cert": "c.pem", "key": "k.pem" },
                "settings": { "statement_timeout": "30s", "work_mem": 64, "jit": true },
                "pool": { "min": 1, "max": 5, "idle_secs": 60, "lifetime_secs": 600, "check": false },
                "connect_timeout_secs": 5, "tcp_user_timeout_secs": 20,
                "keepalives": { "idle_secs": 10, "interval_secs": 5, "count": 3 },
                "heartbeat_secs": 5, "retained": { "warn": "2GiB", "limit": "20GiB" }, "fire_triggers": true,
            }),
        ],
        "mongodb" => vec![
            json!({ "url": "mongodb://ann:secret@h1:27017,h2/reports?replicaSet=rs0" }),
            json!({
                "url": "mongodb://h1/?replicaSet=rs0", "database": "reports", "user": "ann", "password": "secret",
                "application_name": "shop-sync", "auth": { "source": "admin", "mechanism": "SCRAM-SHA-256" },
                "tls": { "mode": "verify-full", "ca": "ca.pem", "cert": "c.pem", "key": "k.pem" },
                "read_preference": "primary", "retry_reads": false, "retry_writes": true,
                "pool": { "min": 1, "max": 5, "idle_secs": 60, "check_secs": 5 },
                "timeouts": { "connect_ms": 1, "select_ms": 2, "operation_ms": 3, "commit_ms": 4 },
                "microseconds": "truncate",
            }),
        ],
        other => panic!("no example of {other}"),
    }
}

/// What the parser has to say of settings.
fn findings(connector: &Arc<dyn Connector>, example: &Json) -> Vec<sluice_types::Finding> {
    let mut settings = Settings::new("databases.d", example.clone());
    let endpoint = connector.parse("d", &mut settings, Path::new("/etc/sluice"));
    let findings = settings.finish();
    assert!(endpoint.is_some() || !findings.is_empty(), "{example}: refused without a word");
    findings
}

/// What the schema of the whole file has to say of them.
fn invalid(connector: &Arc<dyn Connector>, example: &Json) -> Vec<String> {
    let mut example = example.clone();
    example["kind"] = connector.kind().into();
    let schema = &json_schema(&Registry::shipped())["properties"]["databases"]["additionalProperties"];
    let mut errors = Vec::new();
    validate(schema, &example, "", &mut errors);
    errors
}

/// The mappings of a schema whose keys are known, by JSON pointer into what it is of.
fn mappings(schema: &Json, at: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(properties) = schema["properties"].as_object() {
        assert_eq!(schema["additionalProperties"], false, "{at}");
        found.insert(at.into(), properties.keys().cloned().collect());
        for (key, of) in properties {
            mappings(of, &format!("{at}/{key}"), found);
        }
    }
}

/// What is no mapping in an example, by JSON pointer.
fn leaves(example: &Json, at: &str, found: &mut Vec<String>) {
    match example.as_object() {
        Some(map) => map.iter().for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found)),
        None => found.push(at.into()),
    }
}

#[test]
fn the_examples_have_every_key_and_schema_and_parser_take_them() {
    for connector in Registry::shipped().iter() {
        let kind = connector.kind();
        let examples = examples(kind);
        for example in &examples {
            let found = findings(connector, example);
            assert!(found.is_empty(), "{kind}: {found:#?}");
            assert_eq!(invalid(connector, example), [""; 0], "{kind}: {example}");
        }
        let mut of_schema = BTreeMap::new();
        mappings(&connector.settings_schema(), "", &mut of_schema);
        of_schema.get_mut("").unwrap().remove("kind");
        for (at, keys) in of_schema {
            let of_examples: BTreeSet<String> = examples
                .iter()
                .filter_map(|example| example.pointer(&at)?.as_object())
                .flat_map(|map| map.keys().cloned())
                .collect();
            assert_eq!(of_examples, keys, "{kind}{at}");
        }
    }
}

#[test]
fn neither_takes_an_unknown_key_wherever_it_is() {
    for connector in Registry::shipped().iter() {
        let kind = connector.kind();
        let mut of_schema = BTreeMap::new();
        mappings(&connector.settings_schema(), "", &mut of_schema);
        of_schema.get_mut("").unwrap().remove("kind");
        for (at, keys) in of_schema {
            let mut example = examples(kind).pop().unwrap();
            example.pointer_mut(&at).unwrap()[STRANGE] = json!(1);
            assert_ne!(invalid(connector, &example), [""; 0], "{kind}{at}");
            // What the parser would have taken there is what the schema names.
            let mut settings = Settings::new("databases.d", example);
            connector.parse("d", &mut settings, Path::new("/"));
            let found = settings.finish();
            let unknown = found.iter().find(|finding| finding.what.contains(STRANGE)).unwrap();
            let known = unknown.remedy.strip_prefix("known here: ").unwrap();
            let known: BTreeSet<String> = known.split(", ").map(str::to_string).collect();
            assert_eq!(known, keys, "{kind}{at}");
        }
    }
}

#[test]
fn both_refuse_a_value_of_another_type_and_take_one_from_the_environment() {
    for connector in Registry::shipped().iter() {
        let kind = connector.kind();
        let mut all = Vec::new();
        for example in examples(kind) {
            let mut of_example = Vec::new();
            leaves(&example, "", &mut of_example);
            all.extend(of_example.into_iter().map(|at| (example.clone(), at)));
        }
        for (example, at) in all {
            let mut wrong = example.clone();
            *wrong.pointer_mut(&at).unwrap() = json!([]);
            assert!(!findings(connector, &wrong).is_empty(), "{kind}{at}: the parser takes a list");
            assert_ne!(invalid(connector, &wrong), [""; 0], "{kind}{at}: the schema takes a list");
            let mut settings = Settings::new("databases.d", wrong);
            assert!(connector.parse("d", &mut settings, Path::new("/")).is_none(), "{kind}{at}: an endpoint");
            let path = format!("databases.d{}", at.replace('/', "."));
            let found = settings.finish();
            assert!(found.iter().any(|finding| finding.path == path), "{kind}{at}: {found:?}");
            // What stands there when the file is read is text, whatever it was.
            let mut read = example.clone();
            let place = read.pointer_mut(&at).unwrap();
            *place = place.as_str().map_or_else(|| place.to_string(), str::to_string).into();
            assert!(findings(connector, &read).is_empty(), "{kind}{at}: the parser refuses text");
            *read.pointer_mut(&at).unwrap() = json!("${env:SETTING}");
            assert_eq!(invalid(connector, &read), [""; 0], "{kind}{at}: the schema refuses a reference");
        }
    }
}

#[test]
fn what_is_missing_is_missing_to_both() {
    for connector in Registry::shipped().iter() {
        let kind = connector.kind();
        let schema = connector.settings_schema();
        let required = schema["required"].as_array().unwrap().iter().filter_map(Json::as_str);
        for key in required.filter(|key| *key != "kind") {
            let mut example = examples(kind).pop().unwrap();
            example.as_object_mut().unwrap().remove(key);
            assert!(!findings(connector, &example).is_empty(), "{kind}: {key}");
            assert_ne!(invalid(connector, &example), [""; 0], "{kind}: {key}");
        }
    }
}

/// The files that are shown to people, as far as their databases go.
#[test]
fn what_the_documents_show_is_valid() {
    let readme = include_str!("../../../../../README.md");
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let quickstart = include_str!("../../../../../scripts/quickstart.yaml");
    let schema = json_schema(&Registry::shipped());
    for (name, text) in [("README.md", block), ("quickstart.yaml", quickstart)] {
        let mut errors = Vec::new();
        validate(&schema, &Document::parse(text).unwrap().tree, "", &mut errors);
        assert_eq!(errors, [""; 0], "{name}");
    }
}
