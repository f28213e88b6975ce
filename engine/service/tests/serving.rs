//! `sluice serve`: following, stopping, reloading, swapping.

use crate::place::{PEOPLE, Place, mode, told, until};

const ALL: &str = "SELECT id, name, age FROM people ORDER BY id";

fn in_step(place: &Place) {
    let source = place.rows("source.db", ALL);
    until("the target is equal", || place.rows("target.db", ALL) == source);
}

#[test]
fn a_service_follows_and_ends_well() {
    let place = Place::new(PEOPLE);
    place.add_people(100);
    let served = place.serve();
    served.ready();
    place.source("UPDATE people SET name = 'Ann' WHERE id = 7; DELETE FROM people WHERE id = 8");
    in_step(&place);
    let status = place.json(&["status"]);
    assert_eq!(status["lines"][0]["phase"], "streaming", "{status}");
    let (_, metrics) = served.get("/metrics");
    assert!(
        metrics.contains("sluice_rows_written_total{pipeline=\"people\",target=\"there\"} 102"),
        "{metrics}"
    );
    let (status, log) = served.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("Ann"), "no values in the log");
    assert!(!place.path("state/address").exists());

    place.source("DELETE FROM people WHERE id > 50");
    let served = place.serve();
    served.ready();
    in_step(&place);
    assert_eq!(served.stop().0.code(), Some(0));
}

/// Whoever has the port of a service that was killed gets no token.
#[test]
fn a_killed_service_leaves_nobody_to_talk_to() {
    let place = Place::new(PEOPLE);
    let served = place.serve();
    served.ready();
    assert_eq!(mode(&place.path("state/address")), 0o600);
    let address = served.address.clone();
    drop(served);
    assert!(place.path("state/address").exists(), "it was killed");
    let other = std::net::TcpListener::bind(&address).unwrap();
    other.set_nonblocking(true).unwrap();
    place.sluice(&["pause", "people"]);
    place.sluice(&["status"]);
    let asked = other.accept();
    assert!(asked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it was asked");
}

#[test]
fn a_paused_pipeline_stands_still_over_a_restart() {
    let place = Place::new(PEOPLE);
    let served = place.serve();
    served.ready();
    place.good(&["pause", "people", "--reason", "lunch"]);
    let shown = place.good(&["status"]);
    assert!(shown.contains("paused") && shown.contains("lunch"), "{shown}");
    drop(served);
    let served = place.serve();
    place.add_people(3);
    until("it is paused again", || place.json(&["status"])["lines"][0]["phase"] == "paused");
    assert_eq!(place.rows("target.db", ALL).len(), 0);
    place.good(&["resume", "people"]);
    in_step(&place);
    assert_eq!(served.stop().0.code(), Some(0));
}

#[test]
fn a_pipeline_that_fails_disturbs_no_other() {
    let broken = "
  broken:
    source: nowhere
    target: there
    tables: [things]
";
    let config =
        PEOPLE.replace("databases:\n", "databases:\n  nowhere: { kind: sqlite, path: ./nowhere.db }\n");
    let place = Place::new(&format!("{config}{}", &broken[1..]));
    rusqlite::Connection::open(place.path("nowhere.db"))
        .unwrap()
        .execute_batch("CREATE TABLE other (id)")
        .unwrap();
    place.add_people(3);
    let served = place.serve();
    in_step(&place);
    let (status, body) = served.get("/ready");
    assert!(status == 503 && body.contains("\"broken\"") && !body.contains("\"people\""), "{body}");
    assert_eq!(served.stop().0.code(), Some(0));
}

#[test]
fn a_wrong_file_changes_nothing() {
    let place = Place::new(PEOPLE);
    let served = place.serve();
    served.ready();
    place.write("sluice.yaml", PEOPLE.replace("tables:", "tabels:"));
    until("it is reported", || served.get("/api/v1/status").1.contains("tabels"));
    let (status, body) = served.post("/api/v1/reload", "");
    assert_eq!(status, 422, "{body}");
    place.add_people(3);
    until("rows flow on", || place.rows("target.db", ALL).len() == 3);
    place.write("sluice.yaml", PEOPLE);
    until("it is right again", || served.get("/api/v1/status").1.contains("\"config_refused\":null"));
    let (status, log) = served.stop();
    assert!(status.success() && log.contains("tabels"), "{log}");
}

#[test]
fn plugin_parts_apply_live_and_the_rest_on_a_signal() {
    let filtered = "\n    tables:\n      - { from: people, where: \"id < 10\" }\n";
    let place = Place::new(&PEOPLE.replace("\n    tables: [people]\n", filtered));
    let served = place.serve();
    served.ready();
    place.source("INSERT INTO people (id) VALUES (1), (20)");
    until("one came", || place.rows("target.db", ALL).len() == 1);

    let wider = filtered.replace("id < 10", "id < 100");
    place.write("sluice.yaml", PEOPLE.replace("\n    tables: [people]\n", &wider));
    let mut id = 30;
    until("the new filter is in use", || {
        place.source(&format!("INSERT INTO people (id) VALUES ({id})"));
        id += 1;
        place.rows("target.db", "SELECT id FROM people WHERE id >= 30").len() > 1
    });

    place.source("CREATE TABLE pets (id INTEGER PRIMARY KEY); INSERT INTO pets VALUES (1)");
    let more = wider + "      - pets\n";
    place.write("sluice.yaml", PEOPLE.replace("\n    tables: [people]\n", &more));
    served.signal("HUP");
    until("the table came", || place.rows("target.db", "SELECT id FROM pets").len() == 1);
    let (status, log) = served.stop();
    assert!(status.success() && log.contains("pets"), "the difference is told: {log}");
}

#[test]
fn a_file_that_is_no_plugin_changes_nothing() {
    let step = "\n    tables:\n      - from: people\n        transform: [{ plugin: mapping, config: { rename: { name: full_name } } }]\n";
    let place = Place::new(&PEOPLE.replace("\n    tables: [people]\n", step));
    let component = sluice::SHIPPED_PLUGINS.iter().find(|(name, _)| *name == "field-mapping").unwrap().1;
    place.write("plugins/mapping.wasm", component);
    let served = place.serve();
    served.ready();
    place.write("plugins/mapping.wasm", "rubbish");
    until("it is refused", || place.good(&["plugin", "list"]).contains("is refused"));
    let output = place.sluice(&["plugin", "swap", "mapping"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    place.source("INSERT INTO people (id, name) VALUES (1, 'Ann')");
    until("rows flow on", || place.rows("target.db", "SELECT full_name FROM people").len() == 1);
    let (_, metrics) = served.get("/metrics");
    assert!(metrics.contains("sluice_plugin_candidates_total{outcome=\"refused\"}"), "{metrics}");
    assert_eq!(served.stop().0.code(), Some(0));
}
