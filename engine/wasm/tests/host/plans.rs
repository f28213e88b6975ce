//! What is found before a row flows: components, configurations, plans, keys.

use std::sync::Arc;

use bytes::Bytes;
use sluice_guests::{PROBE, guest};
use sluice_types::{Change, ColumnType, Digest, Error, ErrorKind, Row, TableSchema, Value};
use sluice_wasm::{Host, StepSpec};

use crate::support::{TestHost, events, insert, people, person, spec, table};

async fn refused(host: &TestHost, table: &Arc<TableSchema>, config: &str) -> Error {
    match host.probe(table, config).await {
        Ok(_) => panic!("{config} was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn plans_that_make_no_sense_are_refused() {
    for host in TestHost::every_language().await {
        let language = host.language();
        for action in [
            "plan-reads-unknown",
            "plan-reads-twice",
            "plan-writes-unknown",
            "plan-writes-twice",
            "plan-renames-to-existing",
            "plan-drops-unknown",
            "plan-from-unknown",
        ] {
            let error = refused(&host, &people(), &format!(r#"{{"do":"{action}"}}"#)).await;
            assert_eq!(error.kind(), ErrorKind::PluginRefused, "{language}, {action}: {error}");
            assert_eq!(error.all_findings()[0].path, "pipelines.p.tables[0].transform[0]");
        }
    }
    let host = TestHost::new().await;
    for (config, says) in [
        (r#"{"do":"nothing","drop":["id"]}"#, "out of the key"),
        (r#"{"do":"drop","no-before-images":true}"#, "images before an update"),
        (r#"{"do":"echo","no-before-images":true}"#, "images before an update"),
        (r#"{"do":"nothing","rename":[["name","note"]]}"#, "two columns are named `note`"),
        (r#"{"do":"echo","read":["name"],"drop":["name"]}"#, "writes column 1 and drops it"),
    ] {
        let error = refused(&host, &people(), config).await;
        assert!(error.to_string().contains(says), "{config}: {error}");
    }
}

#[tokio::test]
async fn a_plugin_that_breaks_when_it_is_opened_is_no_fault_of_an_event() {
    for host in TestHost::every_language().await {
        let language = host.language();
        let error = refused(&host, &people(), r#"{"do":"trap-at-open"}"#).await;
        assert_eq!(error.kind(), ErrorKind::PluginInvalid, "{language}: {error}");
        let tiny = sluice_wasm::StepLimits { memory: 64 << 10, ..Default::default() };
        let step = StepSpec { limits: tiny, ..StepSpec::new("probe", r#"{"do":"echo"}"#, "p") };
        let Err(error) = host.open(&people(), vec![step]).await else { panic!("64 KiB are enough?") };
        assert_eq!(error.kind(), ErrorKind::PluginInvalid, "{language}: {error}");
    }
}

#[tokio::test]
async fn configuration_errors_have_their_place_in_the_file() {
    for host in TestHost::every_language().await {
        host.language();
        let error = refused(&host, &people(), r#"{"do":"config-errors"}"#).await;
        assert_eq!(error.kind(), ErrorKind::PluginConfig);
        let paths: Vec<&str> = error.all_findings().iter().map(|finding| finding.path.as_str()).collect();
        let step = "pipelines.p.tables[0].transform[0].config";
        assert_eq!(paths, [format!("{step}.do"), format!("{step}.version")]);
    }
}

#[tokio::test]
async fn a_denied_column_can_not_be_read() {
    for host in TestHost::every_language().await {
        host.language();
        let step =
            |config: &str| StepSpec { deny: vec!["note".into()], ..StepSpec::new("probe", config, "p") };
        host.open(&people(), vec![step(r#"{"do":"echo","read":["name"]}"#)]).await.unwrap();
        let Err(error) = host.open(&people(), vec![step(r#"{"do":"echo"}"#)]).await else {
            panic!("it was read")
        };
        assert_eq!(error.kind(), ErrorKind::PluginRefused);
        assert!(error.to_string().contains("reads column `note`"), "{error}");
    }
}

#[tokio::test]
async fn a_chain_is_checked_from_end_to_end() {
    let host = TestHost::new().await;
    let step = |at: usize, config: &str| StepSpec::new("probe", config, format!("p.transform[{at}]"));
    let renames = step(0, r#"{"do":"nothing","rename":[["name","full_name"]]}"#);
    let line =
        host.open(&people(), vec![renames.clone(), step(1, r#"{"do":"echo","read":["full_name"]}"#)]).await;
    let lineage = line.unwrap().chains.lineage();
    assert_eq!(lineage[0].steps[1].plan.as_ref().unwrap().reads, ["full_name"]);
    let Err(error) = host.open(&people(), vec![renames, step(1, r#"{"do":"echo","read":["name"]}"#)]).await
    else {
        panic!("the second step read a column that the first renamed")
    };
    assert_eq!(error.all_findings()[0].path, "p.transform[1].config.read", "{error}");
}

fn with_before_images(table: &TableSchema, before_images: bool) -> Arc<TableSchema> {
    Arc::new(TableSchema { before_images, ..table.clone() })
}

#[tokio::test]
async fn an_output_key_must_be_computable_from_every_before_image() {
    let host = TestHost::new().await;
    let open = |columns: &'static [(&'static str, ColumnType)], complete: bool| {
        let host = host.host.clone();
        async move {
            let table = with_before_images(&table(columns), complete);
            let step = StepSpec::new("probe", r#"{"do":"echo"}"#, "p");
            host.chains(&"p".into(), spec(vec![step])).await.unwrap().transform().open(&table, &table).await
        }
    };
    // The key from the key: always there.
    open(&[("id", ColumnType::Int64), ("name", ColumnType::Text)], false).await.unwrap();
    open(&[("id", ColumnType::Int64), ("name", ColumnType::Text)], true).await.unwrap();
    // A route depends on what is read.
    let table = with_before_images(&people(), false);
    let step = StepSpec::new("probe", r#"{"do":"route","read":["name"]}"#, "p");
    let mut transform = host.host.chains(&"p".into(), spec(vec![step])).await.unwrap().transform();
    let error = transform.open(&table, &table).await.unwrap_err();
    assert!(error.to_string().contains("columns of the source's key only"), "{error}");
}

/// A log may hold changes from before the table was made to keep whole images.
#[tokio::test]
async fn an_image_of_before_that_is_not_whole_is_refused_where_something_depends_on_it() {
    let host = TestHost::new().await;
    let table = people();
    for (config, relies) in
        [(r#"{"do":"route","read":["name"]}"#, true), (r#"{"do":"echo","read":["name"]}"#, false)]
    {
        let step = StepSpec::new("probe", config, "p");
        let mut transform = host.host.chains(&"p".into(), spec(vec![step])).await.unwrap().transform();
        transform.open(&table, &table).await.unwrap();
        let key_only = Row::new(vec![Value::Int64(1), Value::Absent, Value::Absent]);
        for change in [
            Change::Update { before: Some(key_only.clone()), after: person(1, "a") },
            Change::Update { before: None, after: person(1, "a") },
            Change::Delete(key_only),
        ] {
            let handed_over = events(&table, vec![insert(7, "b"), change]);
            let applied = transform.apply(handed_over.clone()).await;
            let refused = applied.err().map(|failed| (failed.events, failed.error.kind()));
            assert_eq!(refused, relies.then_some((handed_over, ErrorKind::CaptureBroken)), "{config}");
        }
    }
}

#[tokio::test]
async fn a_table_that_a_plugin_declines_is_skipped() {
    let host = TestHost::new().await;
    let table = people();
    let chains = host.chains(vec![StepSpec::new("probe", r#"{"do":"decline"}"#, "p")]).await.unwrap();
    let opened = chains.transform().open(&table, &table).await.unwrap();
    assert!(!opened.active);
    assert_eq!(opened.outputs, [table]);
}

#[tokio::test]
async fn files_that_are_no_transforms_say_so() {
    let host = TestHost::new().await;
    let truncated = PROBE[..PROBE.len() / 2].to_vec();
    for (name, bytes, kind, says) in [
        ("empty", vec![], ErrorKind::PluginInvalid, "not a valid WebAssembly component"),
        ("text", b"#!/bin/sh".to_vec(), ErrorKind::PluginInvalid, "not a valid WebAssembly component"),
        (
            "module",
            b"\0asm\x01\0\0\0".to_vec(),
            ErrorKind::PluginInvalid,
            "not a valid WebAssembly component",
        ),
        ("half", truncated, ErrorKind::PluginInvalid, "not a valid WebAssembly component"),
        ("resolver", guest("resolver").to_vec(), ErrorKind::PluginInvalid, "does not implement the world"),
        ("clock", guest("rust-forbidden").to_vec(), ErrorKind::PluginRefused, "wasi:clocks/monotonic-clock"),
    ] {
        host.put(name, &bytes);
        let error = host.chains(vec![StepSpec::new(name, "{}", "a.b")]).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(says), "{name}: {error}");
        assert_eq!(error.all_findings()[0].path, "a.b.plugin");
    }
}

/// `sdk/*/forbidden`: a guest that asks for what no grant gives.
#[tokio::test]
async fn a_guest_that_asks_for_more_than_there_is_is_not_loaded() {
    let host = TestHost::new().await;
    let mut asked = 0;
    for name in sluice_guests::names().filter(|name| name.ends_with("-forbidden")) {
        host.put(name, guest(name));
        let error = host.chains(vec![StepSpec::new(name, "{}", "a.b")]).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::PluginRefused, "{name}: {error}");
        assert!(error.to_string().contains("it imports `wasi:"), "{name}: {error}");
        asked += 1;
    }
    assert!(asked > 0);
}

#[tokio::test]
async fn every_finding_comes_at_once() {
    let host = TestHost::new().await;
    host.put("hosted", guest("hosted"));
    let error = host
        .chains(vec![
            StepSpec::new("prob", "{}", "a"),
            StepSpec::new("hosted", "{}", "b"),
            StepSpec::new("../probe", "{}", "c"),
            StepSpec { digest: Some(Digest::of(b"x")), ..StepSpec::new("probe", "{}", "d") },
        ])
        .await
        .err()
        .unwrap();
    let found: Vec<(&str, &str)> =
        error.all_findings().iter().map(|finding| (finding.path.as_str(), &*finding.code)).collect();
    assert_eq!(
        found,
        [
            ("a.plugin", "plugin-missing"),
            ("b.grant", "plugin-refused"),
            ("c.plugin", "plugin-missing"),
            ("d.plugin", "plugin-missing")
        ]
    );
    assert!(error.all_findings()[0].remedy.contains("did you mean `probe`?"), "{error}");
}

#[tokio::test]
async fn a_component_describes_itself_and_its_plan() {
    let host: Host = TestHost::new().await.host;
    let inspection = host.inspect(Bytes::from_static(PROBE)).await.unwrap();
    assert_eq!((inspection.name.as_str(), inspection.world), ("probe", "transform-plugin"));
    assert!(inspection.imports.is_empty());
    assert_eq!(inspection.digest, Digest::of(PROBE));
    let config = r#"{"do":"echo","read":["name"],"drop":["note"]}"#;
    let plan = host.inspect_plan(Bytes::from_static(PROBE), &people(), config).await.unwrap().unwrap();
    assert_eq!(plan.reads, ["name"]);
    assert_eq!(plan.writes[0].name, "name");
    assert_eq!(plan.drops, ["note"]);
    assert_eq!(plan.output.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "name"]);
    let error = host.inspect_plan(Bytes::from_static(PROBE), &people(), "nonsense").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginConfig);
}
