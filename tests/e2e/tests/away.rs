//! A target or source that is away makes nobody lose anything, and no dead letter.

use std::time::Duration;

use sluice_e2e::compare::equal;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{procfs, wait};

/// How long they are away.
const AWAY: Duration = Duration::from_secs(10);

const QUERY: &str = "SELECT id, body FROM events ORDER BY id";

fn site() -> Site {
    Site::with(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO events (body) VALUES ('first');",
        "on_error: { base_ms: 100, max_ms: 1000 }\ntables: [events]",
    )
}

fn insert(site: &Site) {
    site.source()
        .execute("INSERT INTO events (body) VALUES (hex(randomblob(8)))", [])
        .expect("a row can be added");
}

#[track_caller]
fn all_arrives(site: &Site, serve: &Serve) {
    wait::until("both sides to be equal", || equal(&site.source(), QUERY, &site.target(), QUERY));
    serve.line_when("the line to stream", |line| line["phase"] == "streaming" && line["dead_letters"] == 0);
}

#[test]
fn a_target_that_is_locked_for_ten_seconds() {
    let site = site();
    let serve = Serve::start(&site);
    all_arrives(&site, &serve);
    let other = site.target();
    other.execute_batch("BEGIN EXCLUSIVE").expect("it can be locked");
    insert(&site);
    let (code, what) = serve.retrying();
    assert_eq!(code, "busy", "{what}");
    let cpu = procfs::cpu(serve.pid());
    std::thread::sleep(AWAY);
    let cpu = procfs::cpu(serve.pid()) - cpu;
    assert!(cpu < AWAY / 5, "it is not waiting but spinning: {cpu:?}");
    insert(&site);
    other.execute_batch("COMMIT").expect("it can be unlocked");
    all_arrives(&site, &serve);
    serve.stop();
}

#[test]
fn a_source_that_is_locked_for_ten_seconds() {
    let site = site();
    let serve = Serve::start(&site);
    all_arrives(&site, &serve);
    let other = site.source();
    other
        .execute_batch("BEGIN EXCLUSIVE; INSERT INTO events (body) VALUES ('locked')")
        .expect("it can be locked");
    std::thread::sleep(AWAY);
    assert_eq!(serve.get("/health").status, 200);
    other.execute_batch("COMMIT").expect("it can be unlocked");
    all_arrives(&site, &serve);
    serve.stop();
}

#[test]
fn a_target_whose_place_is_taken_by_something_else() {
    let site = site();
    let serve = Serve::start(&site);
    all_arrives(&site, &serve);
    serve.stop();
    std::fs::rename(site.path("target.db"), site.path("aside.db")).expect("it can be moved");
    std::fs::create_dir(site.path("target.db")).expect("a folder can be made");
    insert(&site);

    let serve = Serve::start(&site);
    let line = serve
        .line_when("the line to say so", |line| line["phase"] == "retrying" || line["phase"] == "paused");
    println!("a folder in the target's place: {}", line["reason"]);
    let reason = line["reason"].to_string();
    assert!(reason.contains("target"), "{reason}");
    assert_eq!(line["dead_letters"], 0);
    std::fs::remove_dir(site.path("target.db")).expect("it is empty");
    std::fs::rename(site.path("aside.db"), site.path("target.db")).expect("it can be moved");
    if line["phase"] == "paused" {
        site.sluice(&["resume", "copy"]).ended_with(0);
    }
    all_arrives(&site, &serve);
    serve.stop();
}
