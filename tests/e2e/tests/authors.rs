//! What the author of a plugin has: cases that hold or say how they don't.

use std::process::Command;

use sluice_e2e::binary;
use sluice_e2e::site::Site;
use sluice_guests::guest;

#[test]
fn cases_hold_or_say_how_they_differ() {
    let site = Site::new();
    site.plugin("tidy", guest("rust-template"));
    let cases = binary::root().join("sdk/rust/template/cases");
    let tidy = std::fs::read_to_string(cases.join("tidy.yaml")).expect("the template's case");
    let test = |folder: &str| site.sluice(&["plugin", "test", "plugins/tidy.wasm", "--cases", folder]);
    test(cases.to_str().expect("a path")).ended_with(0).says(&["ok      tidy.yaml", "2 of 2 cases hold"]);

    std::fs::create_dir(site.path("cases")).expect("a folder");
    test("cases").ended_with(1).says(&["holds no case"]);
    site.write("cases/one.yaml", tidy.replace("email: ann@example.org", "email: bob@example.org"));
    site.write("cases/two.yaml", tidy.replace("no @ in", "no % in"));
    site.write("cases/three.yaml", "about: [");
    test("cases").ended_with(1).says(&[
        "FAILED  one.yaml",
        "insert {id: Int64(1), email: Text(\"ann@example.org\")",
        "instead of",
        "'no @ in the address' instead of Some(\"email\") with 'no % in the address'",
        "unclosed bracket",
        "0 of 3 cases hold",
    ]);
    site.write("plugins/tidy.wasm", "not a component");
    test("cases").ended_with(1).says(&["plugin-invalid"]);
}

/// From nothing to a plugin that holds its cases, with nothing but the binary, in every language that there is.
#[test]
fn a_new_plugin_builds_and_holds_its_cases() {
    let site = Site::new();
    let sluice = |folder: &str, arguments: &[&str]| {
        let mut command = Command::new(binary::sluice());
        // What guests share is built once for all.
        command
            .arg("plugin")
            .args(arguments)
            .env("SLUICE_GUEST_TARGET_DIR", binary::root().join("target/guests"));
        let folder = site.path(folder);
        let mut there = Command::new("env");
        there.arg("-C").arg(folder).arg(command.get_program()).args(command.get_args());
        there.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        site.run(there)
    };
    for language in sluice_guests::languages() {
        let name = format!("tidy-{language}");
        let file = format!("{name}.wasm");
        sluice(".", &["new", &name, "--lang", language]).ended_with(0).says(&[&format!("cd {name}")]);
        sluice(&name, &["build"]).ended_with(0).says(&[&file]);
        sluice(&name, &["test", &file]).ended_with(0).says(&["ok      tidy.yaml", "2 of 2 cases hold"]);
        let size = std::fs::metadata(site.path(&name).join(&file)).expect("it was built").len();
        if size > 4 << 20 {
            // Each time it is compiled anew, which takes ten seconds here.
            continue;
        }
        let inspected = sluice(&name, &["inspect", &file]).ended_with(0);
        inspected.says(&[&format!("{name} 0.1.0: Tidies"), "no grant"]);
        let figures = sluice(&name, &["bench", &file, "--json"]).ended_with(0).json();
        let case = &figures["cases"][0];
        assert_eq!(case["case"], "tidy.yaml", "{figures}");
        for number in [&figures["compile_ms"], &figures["start_ms"], &figures["memory"], &case["ns_per_row"]]
        {
            assert!(number.as_f64().is_some_and(|number| number > 0.0), "{figures}");
        }
    }
    // What can't be.
    sluice(".", &["new", "Tidy", "--lang", "rust"]).ended_with(1).says(&["small letters"]);
    sluice(".", &["new", "tidy", "--lang", "cobol"]).ended_with(1).says(&["There are:", "rust"]);
    sluice(".", &["new", "tidy-rust", "--lang", "rust"]).ended_with(1).says(&["is there already"]);
    sluice(".", &["build"]).ended_with(1).says(&["holds no plugin", "Cargo.toml"]);
    std::fs::write(site.path("tidy-rust/src/lib.rs"), "nonsense").expect("a file can be written");
    sluice(".", &["build", "tidy-rust"]).ended_with(1).says(&["error: expected", "does not build"]);
}

/// What the plugin itself says when it fails, and what it needs, is what its author looks for.
#[test]
fn a_plugin_is_asked_in_its_own_words() {
    let site = Site::new();
    site.plugin("hosted", guest("hosted"));
    let inspect = site.sluice(&["plugin", "inspect", "plugins/hosted.wasm"]);
    inspect.ended_with(0).says(&["needs    grant: { crypto: { keys: [NAME], ops: [seal] }, log: {} }"]);
    site.plugin("probe", guest("rust-probe"));
    std::fs::create_dir(site.path("cases")).expect("a folder");
    site.write(
        "cases/fails.yaml",
        "about: It fails.\ntable: [{ name: id, type: int64, key: true }]\nconfig: { do: fail }\n\
         events: [{ event: { insert: { id: 1 } }, gives: [] }]\n",
    );
    let test = site.sluice(&["plugin", "test", "plugins/probe.wasm"]);
    test.ended_with(1).says(&["plugin-failed", "The plugin says: told to fail the batch"]);
    site.write(
        "cases/fails.yaml",
        "about: It traps.\ntable: [{ name: id, type: int64, key: true }]\nconfig: { do: trap }\n\
         events: [{ event: { insert: { id: 1 } }, gives: [] }]\n",
    );
    let test = site.sluice(&["plugin", "test", "plugins/probe.wasm"]);
    test.ended_with(1).says(&["plugin-trap", "lost with its instance"]);
}
