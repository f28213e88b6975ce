//! Full disks: nothing is lost, everything goes on when there is room again.

use std::sync::Arc;

use sluice_e2e::compare::equal;
use sluice_e2e::database::{self, Database, Kind, Table, mongo_options};
use sluice_e2e::mount::SmallDisk;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::wait;
use sluice_servers::Mongo;

const QUERY: &str = "SELECT id, body FROM events ORDER BY id";

const EVENTS: &str =
    "CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO events (body) VALUES ('first');";

/// A disk of this size at a folder of the site. Without the right to mount there is none: the test says so and ends.
fn disk(site: &Site, name: &str, size: &str) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&site.path(name), size);
    if disk.is_none() {
        println!("SKIPPED: only root may mount the small disk that this test needs");
    }
    disk
}

#[test]
fn a_full_disk_at_the_target() {
    let site = Site::with(EVENTS, "on_error: { base_ms: 100, max_ms: 1000 }\ntables: [events]");
    let Some(disk) = disk(&site, "small", "2m") else { return };
    let config = std::fs::read_to_string(site.path("sluice.yaml")).expect("a configuration");
    site.write("sluice.yaml", config.replace("./target.db", "./small/target.db"));
    let target = || site.open("small/target.db");
    let serve = Serve::start(&site);
    wait::until("the first row", || equal(&site.source(), QUERY, &target(), QUERY));
    site.source()
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
             INSERT INTO events (body) SELECT hex(randomblob(500)) FROM n",
        )
        .expect("the source has room");
    let (code, what) = serve.retrying();
    assert_eq!(code, "disk-full", "{what}");
    assert_eq!(serve.line()["dead_letters"], 0);
    disk.grow("64m");
    wait::until("both sides to be equal", || equal(&site.source(), QUERY, &target(), QUERY));
    assert_eq!(serve.line()["dead_letters"], 0);
    serve.stop();
    drop(disk);
}

#[test]
fn a_full_disk_at_the_state() {
    let site = Site::with(
        EVENTS,
        "on_error: { base_ms: 100, max_ms: 1000 }\n\
         tables:\n  - from: events\n    transform:\n      - plugin: type-conversion\n        config: { columns: { body: integer } }",
    );
    let Some(disk) = disk(&site, "small", "24m") else { return };
    let config = std::fs::read_to_string(site.path("sluice.yaml")).expect("a configuration");
    site.write("sluice.yaml", config.replace("state: ./state", "state: ./small/state"));
    std::os::unix::fs::symlink(site.path("small/state"), site.path("state")).expect("a link can be made");
    let serve = Serve::start(&site);
    serve.line_when("the first dead letter", |line| line["ready"] == true && line["dead_letters"] == 1);

    // A row that can't be converted needs room in the state before its checkpoint may pass (I3).
    let filler = disk.fill();
    for round in 0..200 {
        let body =
            if round % 2 == 0 { format!("not a number {}", "x".repeat(20_000)) } else { round.to_string() };
        site.source().execute("INSERT INTO events (body) VALUES (?1)", [body]).expect("the source has room");
    }
    let (code, what) = serve.retrying();
    assert!(["disk-full", "state-unavailable"].contains(&code.as_str()), "{code}: {what}");
    std::fs::remove_file(filler).expect("the filler is there");
    let good = "SELECT id, CAST(body AS INTEGER) FROM events WHERE body NOT LIKE 'not%' AND body <> 'first' ORDER BY id";
    wait::until("the good rows", || equal(&site.source(), good, &site.target(), QUERY));
    serve.line_when("every dead letter", |line| line["dead_letters"] == 101);
    serve.stop();
    drop(disk);
}

/// A mongod whose disk is full ends itself. When there is room again and it is started, the line goes on.
#[test]
fn a_full_disk_at_mongodb() {
    const EVENTS: &[Table] = &[Table { name: "events", key: &["id"], columns: &[("body", Kind::Plain)] }];
    // Its journal has 100 MB on the disk already: what fills that fails, whatever snappy makes of it.
    const BODY: &str = "(SELECT string_agg(md5((i * 100 + n)::text), '') FROM generate_series(1, 96) n)";
    let server = Arc::new(Mongo::start_with(mongo_options()));
    server.stop();
    let Some(disk) = SmallDisk::under(&server.data(), "2g") else {
        println!("SKIPPED: only root may mount the small disk that this test needs");
        return;
    };
    server.start_again();
    let (source, target) = (Database::postgres("events"), Database::on_mongo(&server, "copy"));
    source.sql("CREATE TABLE events (id bigint PRIMARY KEY, body text); INSERT INTO events VALUES (0, '')");
    let site = Site::between(&source, &target, "on_error: { base_ms: 100, max_ms: 1000 }\ntables: [events]");
    let serve = Serve::start(&site);
    wait::until("the first row", || database::equal(&source, &target, EVENTS));
    let filler = disk.fill();
    for part in 0..10 {
        let from = 1 + part * 8_000;
        source.sql(&format!(
            "INSERT INTO events SELECT i, {BODY} FROM generate_series({from}, {}) i",
            from + 7_999
        ));
    }
    let (code, what) = serve.retrying();
    assert!(["disk-full", "unreachable", "timeout", "busy"].contains(&code.as_str()), "{code}: {what}");
    let behind =
        || wait::when(server.try_find("copy", "events").map_or(0, |found| found.len()), |found| *found == 0);
    wait::until("mongod to be gone", behind);
    assert_eq!(serve.line()["dead_letters"], 0);
    std::fs::remove_file(filler).expect("the filler is there");
    server.kill();
    server.start_again();
    wait::until_within(wait::PATIENCE * 2, "both sides to be equal", || {
        database::equal(&source, &target, EVENTS)
    });
    assert_eq!(serve.line()["dead_letters"], 0);
    serve.stop();
    server.kill();
    drop(disk);
}
