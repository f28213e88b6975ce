//! The first thing that people type.

use std::process::Command;

use sluice_e2e::binary;
use sluice_e2e::site::{Site, open};

#[test]
fn quickstart_ends_with_both_sides_equal() {
    let site = Site::new();
    let quickstart = || {
        let mut command = Command::new(binary::root().join("scripts/quickstart"));
        command
            .env("SLUICE", binary::sluice())
            .env("QUICKSTART_DIR", site.path("quickstart"))
            .env("QUICKSTART_SECONDS", "5");
        site.run(command)
    };
    quickstart().ended_with(0).says(&["Both sides are equal"]);
    // And again: it goes on where it was.
    quickstart().ended_with(0).says(&["Both sides are equal"]);
    // What somebody else took out of the target is a difference, and said.
    let target = open(&site.path("quickstart/catalog.db"));
    let taken =
        target.execute("DELETE FROM catalogue WHERE package = (SELECT min(package) FROM catalogue)", []);
    assert!(taken.is_ok_and(|rows| rows > 0));
    quickstart().ended_with(1).says(&["rows differ"]);
}
