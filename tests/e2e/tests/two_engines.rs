//! Two engines where there may be one.

use std::process::Command;

use sluice_e2e::load::{Clerks, shop, shop_is_equal};
use sluice_e2e::random::Random;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{binary, wait};

/// A second configuration for the databases of `site`, with a state folder of its own, in a folder of its own.
fn twin(site: &Site) -> Site {
    let twin = Site::new();
    let text = std::fs::read_to_string(site.path("sluice.yaml")).expect("a configuration");
    let there = |name: &str| site.path(name).display().to_string();
    twin.write(
        "sluice.yaml",
        text.replace("./source.db", &there("source.db")).replace("./target.db", &there("target.db")),
    );
    twin
}

#[test]
fn a_second_installation_does_not_take_a_line_over_by_itself() {
    let mut random = Random::seeded("a second installation");
    let site = shop(&mut random);
    let first = Serve::start(&site);
    first.line_when("the target to be consistent", |line| line["ready"] == true);
    let clerks = Clerks::hire(&site, &mut random, 2);
    let other = twin(&site);
    let second = Serve::start(&other);
    let line = second.line_when("the second to be refused", |line| line["reason"][0] == "fenced");
    println!("the second: {}", line["reason"]);
    clerks.dismiss();
    wait::until("both sides to be equal", || shop_is_equal(&site, 0));
    assert_eq!(first.line()["phase"], "streaming");
    second.stop();
    first.stop();
}

#[test]
fn of_two_engines_of_one_installation_one_is_fenced() {
    let mut random = Random::seeded("two engines of one installation");
    let site = shop(&mut random);
    let first = Serve::start(&site);
    first.line_when("the target to be consistent", |line| line["ready"] == true);
    // The state of a stopped engine, copied: a restored machine, say.
    first.stop();
    let other = twin(&site);
    let copied = Command::new("cp").arg("-a").arg(site.path("state")).arg(other.path("state")).status();
    assert!(copied.expect("cp runs").success());

    let first = Serve::start(&site);
    first.line_when("the first to stream", |line| line["phase"] == "streaming");
    let clerks = Clerks::hire(&site, &mut random, 2);
    let second = Serve::start(&other);
    second.line_when("the second to stream", |line| line["phase"] == "streaming");
    let line = first.line_when("the first to be fenced", |line| line["reason"][0] == "fenced");
    println!("the first: {}", line["reason"]);
    clerks.dismiss();
    wait::until("both sides to be equal", || shop_is_equal(&site, 0));
    first.stop();
    second.stop();
}

#[test]
fn a_state_folder_belongs_to_one_process() {
    let site = Site::with("CREATE TABLE t (id INTEGER PRIMARY KEY)", "tables: [t]");
    let first = Serve::start(&site);
    let mut command = Command::new(binary::sluice());
    command.args(["serve", "-c"]).arg(site.path("sluice.yaml"));
    site.run(command).ended_with(1).says(&["state-locked"]);
    site.sluice(&["sync"]).ended_with(1).says(&["state-locked"]);
    assert_eq!(first.get("/health").status, 200, "the first goes on");
    first.kill();
    // A killed process leaves no lock behind.
    site.sluice(&["sync"]).ended_with(0);
}
