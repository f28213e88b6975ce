//! Exit codes and messages: 0 good, 1 a finding or failure, 2 wrong use.

use crate::place::{PEOPLE, Place, told};

/// Runs it, expects an exit code, and gives what was said.
fn exits(place: &Place, words: &[&str], code: i32) -> String {
    let output = place.sluice(words);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {told}");
    told
}

#[test]
fn wrong_use_is_2() {
    let place = Place::new(PEOPLE);
    assert!(exits(&place, &["snyc"], 2).contains("sync"), "a suggestion");
    assert!(exits(&place, &["pause", "--table", "people"], 2).contains("--ddl"));
    assert!(exits(&place, &["plugin", "rollback", "filter", "--to", "abc"], 2).contains("digest"));
    let told = exits(&place, &["sync", "poeple"], 2);
    assert!(told.contains("did you mean `people`?"), "{told}");
}

#[test]
fn what_is_wrong_in_the_file_is_1_and_told_at_once() {
    let place = Place::new(&PEOPLE.replace("target: there", "target: three").replace("tables:", "tabels:"));
    let told = exits(&place, &["sync"], 1);
    assert!(told.contains("pipelines.people.target") && told.contains("pipelines.people.tabels"), "{told}");
    let told = exits(&place, &["status", "-c", "nowhere.yaml"], 1);
    assert!(told.contains("nowhere.yaml"), "{told}");
}

#[test]
fn without_a_service_status_says_how_to_start_one() {
    let place = Place::new(PEOPLE);
    let told = exits(&place, &["status"], 1);
    assert!(told.contains("sluice serve -c sluice.yaml"), "{told}");
    assert!(!place.path("state").exists(), "looking makes nothing");
    let json: serde_json::Value =
        serde_json::from_slice(&place.sluice(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["code"], "unreachable");
}

#[test]
fn the_schema_is_for_editors() {
    let place = Place::new(PEOPLE);
    let schema: serde_json::Value = serde_json::from_str(&place.good(&["schema"])).unwrap();
    assert!(schema.is_object() && schema.to_string().contains("pipelines"), "{schema}");
}

#[test]
fn a_state_folder_serves_one_engine() {
    let place = Place::new(PEOPLE);
    let _served = place.serve();
    let told = exits(&place, &["sync"], 1);
    assert!(told.contains("state-locked"), "{told}");
}

#[test]
fn a_taken_port_is_named() {
    let place = Place::new(PEOPLE);
    let served = place.serve();
    let other = Place::new(PEOPLE);
    let told = exits(&other, &["serve", "--listen", &served.address], 1);
    assert!(told.contains(&served.address) && told.contains("--listen"), "{told}");
}

#[test]
fn beyond_loopback_only_on_purpose() {
    let place = Place::new(PEOPLE);
    let told = exits(&place, &["serve", "--listen", "0.0.0.0:0"], 1);
    assert!(told.contains("insecure"), "{told}");
}

#[test]
fn a_state_of_a_newer_version_is_left_alone() {
    let place = Place::new(PEOPLE);
    place.good(&["pause", "people"]);
    let state = rusqlite::Connection::open(place.path("state/state.db")).unwrap();
    state.pragma_update(None, "user_version", 1_000_000).unwrap();
    drop(state);
    let told = exits(&place, &["sync"], 1);
    assert!(told.contains("state-version"), "{told}");
}

#[test]
fn a_file_that_is_no_plugin_is_refused() {
    let place = Place::new(PEOPLE);
    place.write("rubbish.wasm", "rubbish");
    let told = exits(&place, &["plugin", "inspect", "rubbish.wasm"], 1);
    assert!(told.contains("plugin-invalid"), "{told}");
    exits(&place, &["plugin", "inspect", "missing.wasm"], 2);
}

#[test]
fn pausing_and_resuming_work_without_a_service() {
    let place = Place::new(PEOPLE);
    assert!(place.good(&["pause", "people"]).contains("paused"));
    assert!(place.good(&["resume"]).contains("when it is started"));
    // To sync a pipeline that is paused is to resume it.
    place.good(&["pause", "people"]);
    place.good(&["sync"]);
}

#[test]
fn a_pipeline_without_dead_letters_says_so() {
    let place = Place::new(PEOPLE);
    assert!(place.good(&["dlq", "list", "people"]).contains("no dead letters"));
    assert!(exits(&place, &["dlq", "show", "people"], 1).contains("no dead letters"));
    exits(&place, &["dlq", "list", "nobody"], 2);
}

/// The child that compiles, alone: what it gives, and that a limit on it holds.
#[test]
fn the_compiling_child_lives_within_its_limits() {
    let place = Place::new(PEOPLE);
    let component = sluice::SHIPPED_PLUGINS.iter().find(|(name, _)| *name == "filter").unwrap().1;
    place.write("filter.wasm", component);
    let compile = |limits: &str| {
        let script = format!("{limits} exec \"$0\" compile-plugin < filter.wasm");
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_sluice")]).current_dir(place.path(""));
        shell.env_clear().output().unwrap()
    };
    let good = compile("");
    assert!(good.status.success() && good.stdout.starts_with(b"\x7fELF"), "{}", good.status);
    // Not even the room for the code: it ends by a signal, which tells the host that a limit was met.
    let cut = compile("ulimit -c 0; ulimit -d 8192;");
    assert_eq!((cut.status.code(), cut.stdout.len()), (None, 0), "{}", cut.status);
}

/// What `serve` and `sync` use was compiled, and is kept in the state.
#[test]
fn compiled_code_is_kept() {
    let step = "\n    tables: [{ from: people, where: \"id > 1\" }]\n";
    let place = Place::new(&PEOPLE.replace("\n    tables: [people]\n", step));
    place.add_people(2);
    place.good(&["sync"]);
    assert_eq!(place.rows("target.db", "SELECT id FROM people").len(), 1);
    let mut folders = vec![place.path("state")];
    let mut code = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "cwasm") {
                code.push(path);
            }
        }
    }
    assert_eq!(code.len(), 1, "{code:?}");
}
