//! Source tables that are dropped or altered while they are read.

use sluice_e2e::compare::{equal, one};
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::wait;

const QUERY: &str = "SELECT * FROM events ORDER BY id";

fn site() -> Site {
    Site::with(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT, extra TEXT);
         INSERT INTO events (body, extra) VALUES ('first', 'x');
         CREATE TABLE others (id INTEGER PRIMARY KEY, body TEXT);",
        "tables: [events, others]",
    )
}

fn source(site: &Site, statement: &str) {
    site.source().execute_batch(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
}

#[track_caller]
fn both_equal(site: &Site) {
    wait::until("both sides to be equal", || equal(&site.source(), QUERY, &site.target(), QUERY));
}

/// Names of what sluice made in the source.
fn made_in_source(site: &Site) -> i64 {
    one(
        &site.source(),
        "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sluice%' OR name LIKE '\\_sluice%' ESCAPE '\\'",
    )
}

#[test]
fn a_dropped_table_pauses_the_line() {
    let site = site();
    let serve = Serve::start(&site);
    both_equal(&site);
    source(&site, "DROP TABLE events");
    let (code, what) = serve.paused();
    assert_eq!(code, "table-missing", "{what}");
    assert!(what.contains("events"), "{what}");
    let kept: i64 = one(&site.target(), "SELECT count(*) FROM events");
    assert_eq!(kept, 1, "nothing is dropped at the target");

    // The pause outlives the process.
    serve.kill();
    let serve = Serve::start(&site);
    serve.paused();
    source(
        &site,
        "CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT, extra TEXT); INSERT INTO events VALUES (7, 'new', 'y')",
    );
    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    // `resnapshot` of a paused line waits for its resume where it has to.
    site.sluice(&["resume", "copy"]).ended_with(0);
    wait::until("the new rows", || {
        let query = "SELECT * FROM events WHERE id = 7";
        equal(&site.source(), query, &site.target(), query)
    });
    serve.stop();
}

#[test]
fn an_added_column_is_never_ignored_in_silence() {
    let site = site();
    let serve = Serve::start(&site);
    both_equal(&site);
    source(
        &site,
        "ALTER TABLE events ADD COLUMN more TEXT; INSERT INTO events VALUES (2, 'second', 'y', 'more')",
    );
    let (code, what) = serve.paused();
    assert!(["schema-changed", "capture-broken"].contains(&code.as_str()), "{code}: {what}");
    assert!(what.contains("events"), "{what}");
    serve.stop();
}

#[test]
fn a_column_is_dropped_with_the_capture_out_of_the_way() {
    let site = site();
    let serve = Serve::start(&site);
    both_equal(&site);
    let refused = site.source().execute_batch("ALTER TABLE events DROP COLUMN extra");
    assert!(refused.is_err(), "the triggers are in the way: that is what --ddl is for");
    site.sluice(&["pause", "copy", "--ddl"]).ended_with(0);
    source(
        &site,
        "ALTER TABLE events DROP COLUMN extra; INSERT INTO events VALUES (2, 'unseen'); DELETE FROM events WHERE id = 1",
    );
    site.sluice(&["resume", "copy"]).ended_with(0);
    let columns = "SELECT id, body FROM events ORDER BY id";
    wait::until("both sides to be equal", || equal(&site.source(), columns, &site.target(), columns));
    source(&site, "INSERT INTO events VALUES (3, 'seen')");
    wait::until("both sides to be equal", || equal(&site.source(), columns, &site.target(), columns));
    serve.stop();
}

#[test]
fn a_trigger_removed_by_hand_stops_the_line() {
    let site = site();
    let serve = Serve::start(&site);
    both_equal(&site);
    let trigger: String = one(
        &site.source(),
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'events' LIMIT 1",
    );
    source(
        &site,
        &format!(
            "DROP TRIGGER \"{trigger}\"; INSERT INTO events VALUES (2, 'unseen', 'y'); DELETE FROM events WHERE id = 1"
        ),
    );
    let (code, what) = serve.paused();
    assert_eq!(code, "capture-broken", "{what}");
    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    site.sluice(&["resume", "copy"]).ended_with(0);
    both_equal(&site);
    serve.stop();
}

#[test]
fn delete_leaves_nothing_behind_in_the_source() {
    let site = site();
    let serve = Serve::start(&site);
    both_equal(&site);
    assert!(made_in_source(&site) > 0);
    site.sluice(&["delete", "copy"]).ended_with(0);
    assert_eq!(made_in_source(&site), 0);
    let kept: i64 = one(&site.target(), "SELECT count(*) FROM events");
    assert_eq!(kept, 1, "the target's rows stay");
    serve.stop();
}

/// Without a service: what is not captured while the tables are let go is read again, whoever resumes it and however.
#[test]
fn tables_that_were_let_go_are_read_again_without_a_service_too() {
    let site = site();
    site.sluice(&["sync"]).ended_with(0);
    for resume in [true, false] {
        site.sluice(&["pause", "copy", "--ddl"]).ended_with(0);
        source(&site, "ALTER TABLE events RENAME TO before; ALTER TABLE before RENAME TO events");
        source(
            &site,
            "INSERT INTO events (body, extra) VALUES ('meanwhile', 'y'); DELETE FROM events WHERE body = 'first'",
        );
        if resume {
            site.sluice(&["resume", "copy"]).ended_with(0);
        }
        site.sluice(&["sync"]).ended_with(0);
        equal(&site.source(), QUERY, &site.target(), QUERY)
            .unwrap_or_else(|differ| panic!("resume: {resume}: {differ}"));
    }
}
