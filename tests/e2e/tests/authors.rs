//! What the author of a plugin has: cases that hold or say how they don't.

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
