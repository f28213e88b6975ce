//! Floors and walls (engine/ARCHITECTURE.md): which crate may use which, and who alone may name a heavy dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Our crates by folder, and what each may use of ours. What is not listed is a wall broken.
fn may_use(folder: &str) -> Option<&'static [&'static str]> {
    Some(match folder {
        "engine/types" => &[],
        "engine/store" | "engine/wasm" | "engine/pipeline" => &["engine/types"],
        "engine/service" => &["engine/"],
        _ if folder.starts_with("engine/connectors/") => &["engine/types"],
        // The authors' side knows the contract in wit/, nothing of the engine.
        _ if folder.starts_with("sdk/") => &[],
        _ if folder.starts_with("tests/") => &["engine/", "tests/"],
        _ => return None,
    })
}

/// Heavy dependencies, and the folders that alone may name them (tests are free to).
const HEAVY: &[(&str, &[&str])] = &[
    ("wasmtime", &["engine/wasm"]),
    ("notify", &["engine/wasm", "engine/connectors/sqlite", "engine/service"]),
    ("rusqlite", &["engine/store", "engine/connectors/sqlite"]),
    ("tokio-postgres", &["engine/connectors/postgres"]),
    ("postgres-protocol", &["engine/connectors/postgres"]),
    ("mysql_async", &["engine/connectors/mysql"]),
    ("mongodb", &["engine/connectors/mongodb"]),
    ("axum", &["engine/service"]),
    ("clap", &["engine/service"]),
    ("tracing-subscriber", &["engine/service"]),
];

/// What a crate's manifest says: folder, and its normal and build dependencies by name, ours by folder.
#[derive(Debug, Default)]
struct Crate {
    ours: BTreeSet<String>,
    others: BTreeSet<String>,
}

fn crates() -> BTreeMap<String, Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(crate::root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let root = format!("{}/", crate::root().display());
    let folder = |path: &str| path.trim_start_matches(&root).trim_end_matches("/Cargo.toml").to_string();
    let mut crates = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let mut found = Crate::default();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            if dependency["kind"] == "dev" {
                continue;
            }
            match dependency["path"].as_str() {
                Some(path) => found.ours.insert(folder(path)),
                None => found.others.insert(dependency["name"].as_str().expect("name").to_string()),
            };
        }
        crates.insert(folder(package["manifest_path"].as_str().expect("manifest_path")), found);
    }
    crates
}

fn broken_walls(crates: &BTreeMap<String, Crate>) -> Vec<String> {
    let mut broken = Vec::new();
    for (folder, found) in crates {
        let Some(allowed) = may_use(folder) else {
            broken.push(format!("{folder} stands on no floor: give it one in tests/tidy/tests/walls.rs"));
            continue;
        };
        for used in &found.ours {
            if !allowed.iter().any(|floor| used == floor || (floor.ends_with('/') && used.starts_with(floor)))
            {
                broken.push(format!("{folder} uses {used}"));
            }
        }
        for (name, owners) in HEAVY {
            if found.others.contains(*name)
                && !folder.starts_with("tests/")
                && !owners.contains(&folder.as_str())
            {
                broken.push(format!("{folder} names {name}, which only {owners:?} may"));
            }
        }
    }
    broken
}

#[test]
fn no_wall_is_broken() {
    let crates = crates();
    assert!(
        crates.contains_key("engine/types") && crates.contains_key("engine/service"),
        "{:?}",
        crates.keys()
    );
    assert_eq!(broken_walls(&crates), Vec::<String>::new());
}

#[test]
fn a_broken_wall_is_noticed() {
    let crate_of = |ours: &[&str], others: &[&str]| Crate {
        ours: ours.iter().map(ToString::to_string).collect(),
        others: others.iter().map(ToString::to_string).collect(),
    };
    let crates = BTreeMap::from([
        ("engine/pipeline".to_string(), crate_of(&["engine/types", "engine/store"], &["wasmtime"])),
        ("engine/extra".to_string(), crate_of(&[], &[])),
    ]);
    let broken = broken_walls(&crates);
    assert_eq!(broken.len(), 3, "{broken:?}");
}

#[test]
fn floor_zero_has_no_runtime_and_no_io() {
    let types = &crates()["engine/types"];
    for name in ["tokio", "futures", "futures-util", "mio", "async-std", "smol"] {
        assert!(!types.others.contains(name), "engine/types names {name}");
    }
}

/// Connectors that are targets only, for now.
const NO_SOURCE_YET: &[&str] = &["mongodb"];
/// The rooms of a source.
const SOURCE_ROOMS: &[&str] = &["src/source.rs", "src/snapshot.rs", "src/stream.rs"];

#[test]
fn every_connector_has_the_same_rooms() {
    for entry in std::fs::read_dir(crate::root().join("engine/connectors")).expect("connectors") {
        let folder = entry.expect("an entry").path();
        for room in [
            "VALUES.md",
            "src/lib.rs",
            "src/config.rs",
            "src/preflight.rs",
            "src/source.rs",
            "src/snapshot.rs",
            "src/stream.rs",
            "src/decode.rs",
            "src/sink.rs",
            "src/values.rs",
        ] {
            let is_target_only = NO_SOURCE_YET.iter().any(|name| folder.ends_with(name));
            if is_target_only && SOURCE_ROOMS.contains(&room) {
                assert!(
                    !folder.join(room).exists(),
                    "{} has a source: take it from the list",
                    folder.display()
                );
                continue;
            }
            assert!(folder.join(room).exists(), "{} has no {room}", folder.display());
        }
    }
}
