//! What people get wrong: everything that is wrong is said at once, with its place and what to do, and nothing is lost.

use std::process::Command;

use sluice_e2e::binary;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::{Done, Site};
use sluice_e2e::stamp;

const PEOPLE: &str = "
    CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age TEXT);
    INSERT INTO people VALUES (1, 'Ada', '36');
    CREATE TABLE keyless (name TEXT);";

/// Fails unless `check` finds all of these in a site with this pipeline.
#[track_caller]
fn check_finds(pipeline: &str, parts: &[&str]) -> Site {
    let site = Site::with(PEOPLE, pipeline);
    site.sluice(&["check"]).ended_with(1).says(parts);
    assert!(!site.path("target.db").exists(), "`check` changes nothing");
    site
}

#[test]
fn all_findings_come_at_once_with_path_and_remedy() {
    let site = Site::new();
    site.write(
        "sluice.yaml",
        "version: 1\n\
         stat: ./state\n\
         service: { listen: 17 }\n\
         databases:\n  a: { kind: sqlite, pth: ./a.db }\n  b: { kind: sqlte, path: ./b.db }\n\
         pipelines:\n  copy:\n    source: aa\n    target: b\n    batch: { rows: many }\n    mode: realtim\n    \
         conflict: { strategy: plugin, plugin: who }\n    tables: [t]\n",
    );
    let done = site.sluice(&["check"]).ended_with(1);
    done.says(&[
        "stat",
        "did you mean `state`",
        "service.listen",
        "databases.a.pth",
        "did you mean `path`",
        "databases.b.kind",
    ]);
    done.says(&[
        "sqlite",
        "pipelines.copy.source",
        "pipelines.copy.batch.rows",
        "pipelines.copy.mode",
        "did you mean `realtime`",
    ]);
    done.says(&["pipelines.copy.conflict", "not_built"]);
    for command in ["sync", "serve"] {
        site.sluice(&[command]).ended_with(1).says(&["databases.a.pth", "pipelines.copy.source"]);
    }
    assert!(
        !site.path("state").exists() && !site.path("sluice-state").exists(),
        "a wrong file makes nothing"
    );

    let findings = site.sluice(&["check", "--json"]).ended_with(1).json();
    let findings = findings["findings"].as_array().expect("findings").clone();
    assert!(findings.len() >= 8, "{findings:#?}");
    for finding in findings {
        for part in ["severity", "code", "path", "what", "remedy"] {
            assert!(finding[part].is_string(), "{finding:#}");
        }
    }
}

#[test]
fn what_is_no_yaml_is_told_with_its_line() {
    let site = Site::new();
    site.write("sluice.yaml", "version: 1\npipelines: [\n");
    site.sluice(&["check"]).ended_with(1).says(&["config-invalid", "line"]);
    std::fs::remove_file(site.path("sluice.yaml")).expect("it is there");
    site.sluice(&["check"]).ended_with(1).says(&["sluice.yaml"]);
}

#[test]
fn keys_that_are_not_built_yet_are_never_ignored() {
    for key in [
        "direction: both",
        "conflict: { strategy: plugin, plugin: who }",
        "targets: [target]\natomic: true",
        "undo: true",
    ] {
        let word = key.split(':').next().unwrap_or_default();
        let site = Site::with(PEOPLE, &format!("{key}\ntables: [people]"));
        let done = site.sluice(&["check"]).ended_with(1);
        let text = done.text();
        assert!(
            text.contains("pipelines.copy") && text.contains(word.split('s').next().unwrap_or(word)),
            "{key}: {text}"
        );
        if !key.starts_with("targets") {
            done.says(&["not_built"]);
        }
    }
}

#[test]
fn a_database_file_that_is_missing() {
    let site = Site::with(PEOPLE, "tables: [people]");
    std::fs::remove_file(site.path("source.db")).expect("it is there");
    site.sluice(&["check"]).ended_with(1).says(&["source.db", "pipelines.copy.source"]);
    site.sluice(&["sync"]).ended_with(1).says(&["source.db"]);
    assert!(!site.path("source.db").exists(), "no empty database is made in its place");
}

#[test]
fn tables_that_are_missing_or_have_no_key() {
    let path = "pipelines.copy.tables[";
    check_finds(
        "tables: [people, keyless, poeple]",
        &["keyless", "key-missing", "poeple", &format!("{path}1]"), &format!("{path}2]")],
    );
    check_finds("tables:\n  - from: keyless\n    key: [nam]", &["nam", "name", &format!("{path}0]")]);
}

#[test]
fn a_column_that_the_plugin_can_not_find() {
    // A later step of a chain is opened on what the one before it makes: both can't be wrong at once.
    let site = check_finds(
        "tables:\n  - from: people\n    transform:\n      - plugin: type-conversion\n        config: { columns: { agee: integer } }",
        &["agee", "did you mean `age`", "pipelines.copy.tables[0].transform[0].config.columns"],
    );
    check_finds(
        "tables:\n  - from: people\n    transform:\n      - { plugin: type-conversion, config: { columns: { age: integer } } }\n      \
         - { plugin: field-mapping, config: { rename: { nam: full_name } } }",
        &["nam", "did you mean `name`", "pipelines.copy.tables[0].transform[1].config.rename"],
    );
    site.sluice(&["sync"]).ended_with(1).says(&["agee"]);
    let wrong_predicate = "tables:\n  - from: people\n    where: \"agee > 3\"";
    check_finds(wrong_predicate, &["agee", "pipelines.copy.tables[0].where"]);
}

#[test]
fn a_chain_whose_key_can_not_be_computed_for_deletes() {
    let path = "pipelines.copy.tables[0]";
    check_finds(
        "tables:\n  - from: people\n    transform:\n      - plugin: field-mapping\n        config: { drop: [id] }",
        &["id", "key", path],
    );
    let site = Site::with(
        PEOPLE,
        "tables:\n  - from: people\n    transform:\n      - plugin: probe\n        config: { do: drop, no-before-images: true }",
    );
    site.plugin("probe", sluice_guests::PROBE);
    site.sluice(&["check"]).ended_with(1).says(&[path, "before"]);
}

#[test]
fn plugins_that_are_missing_corrupt_or_foreign() {
    let with = |component: Option<&[u8]>| {
        let pipeline =
            "tables:\n  - from: people\n    transform: [{ plugin: mine, config: { column: name } }]";
        let site = Site::with(PEOPLE, pipeline);
        if let Some(component) = component {
            site.plugin("mine", component);
        }
        site
    };
    let path = "pipelines.copy.tables[0].transform[0]";
    let stamp = sluice_guests::guest("stamp");
    for (component, code) in [
        (None, "plugin-missing"),
        (Some(b"rubbish".to_vec()), "plugin-invalid"),
        (Some(stamp::module()), "plugin-invalid"),
        (Some(stamp::without_exports()), "plugin-invalid"),
        (Some(stamp[..stamp.len() / 2].to_vec()), "plugin-invalid"),
        (Some(stamp::importing(stamp)), "plugin-refused"),
    ] {
        let site = with(component.as_deref());
        for command in ["check", "sync"] {
            let done: Done = site.sluice(&[command]).ended_with(1);
            done.says(&[code, "mine"]);
            println!("{}", done.text());
        }
        site.sluice(&["check"]).says(&[path]);
    }
    let site = with(Some(&stamp::importing(stamp)));
    site.sluice(&["check"]).says(&["evil"]);
    // A service lives on: the pipeline stands still and says why.
    let site = with(None);
    let serve = Serve::start(&site);
    assert_eq!(serve.paused().0, "plugin-missing");
}

#[test]
fn a_plugin_that_can_not_be_loaded_hides_nothing_else() {
    let site = Site::with(
        &format!("{PEOPLE} CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT);"),
        "tables:\n  - from: people\n    transform: [{ plugin: mine }, { plugin: yours }]\n  \
         - from: pets\n    transform: [{ plugin: field-mapping, config: { drop: [nme] } }]",
    );
    let tables = "pipelines.copy.tables";
    site.sluice(&["check"]).ended_with(1).says(&[
        &format!("{tables}[0].transform[0]"),
        "mine",
        &format!("{tables}[0].transform[1]"),
        "yours",
        &format!("{tables}[1].transform[0].config.drop"),
        "did you mean `name`",
    ]);
}

#[test]
fn secrets_are_needed_and_never_shown() {
    let site = Site::with(PEOPLE, "tables: [people]");
    let text = std::fs::read_to_string(site.path("sluice.yaml")).expect("a configuration");
    site.write("sluice.yaml", text.replace("service: {", "service: { token: \"${env:SLUICE_E2E_SECRET}\","));
    site.sluice(&["check"]).ended_with(1).says(&["SLUICE_E2E_SECRET", "service.token"]);
    let secret = "s3cret-of-the-test";
    for arguments in [&["check"][..], &["check", "--json"], &["sync"], &["sync", "--json"]] {
        let mut command = Command::new(binary::sluice());
        command
            .args(arguments)
            .arg("-c")
            .arg(site.path("sluice.yaml"))
            .env("SLUICE_E2E_SECRET", secret)
            .env("SLUICE_LOG", "trace");
        let done = site.run(command).ended_with(0);
        assert!(!done.text().contains(secret), "{done:?}");
    }
}

#[test]
fn a_state_folder_that_can_not_be_used() {
    // Something else is in its place.
    let site = Site::with(PEOPLE, "tables: [people]");
    site.write("state", "not a folder");
    for command in ["sync", "serve"] {
        site.sluice(&[command]).ended_with(1).says(&["state"]);
    }
    assert!(!site.path("target.db").exists());

    // It was written by a newer version.
    let site = Site::with(PEOPLE, "tables: [people]");
    site.sluice(&["sync"]).ended_with(0);
    let state = site.open("state/state.db");
    state.pragma_update(None, "user_version", 9999).expect("a pragma");
    drop(state);
    for command in ["sync", "serve"] {
        site.sluice(&[command]).ended_with(1).says(&["state-version", "newer"]);
    }
}

#[test]
fn a_state_folder_that_is_read_only() {
    let site = Site::with(PEOPLE, "tables: [people]");
    site.sluice(&["sync"]).ended_with(0);
    // Root may write into any folder, unless its file system is mounted read-only.
    let folder = site.path("state");
    let mount = |arguments: &[&str]| {
        Command::new("mount").args(arguments).arg(&folder).output().is_ok_and(|done| done.status.success())
    };
    let folder_text = folder.display().to_string();
    if !mount(&["--bind", &folder_text]) {
        println!("SKIPPED: only root may mount the folder read-only");
        return;
    }
    let read_only = mount(&["-o", "remount,bind,ro"]);
    let done = site.sluice(&["sync"]);
    let gone = Command::new("umount").arg(&folder).status();
    assert!(read_only && gone.is_ok_and(|status| status.success()));
    done.ended_with(1).says(&["state"]);
    site.sluice(&["sync"]).ended_with(0);
}
