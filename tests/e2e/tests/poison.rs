//! Plugins that misbehave for certain rows: those rows become dead letters, the others flow, the process stays small.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use sluice_e2e::compare::{equal, one};
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{procfs, wait};

/// What the process may have in memory while plugins try to eat it. One of them asks for without end, one answers with a
/// terabyte of aliased text.
const PEAK_RSS_MAX: u64 = 256 << 20;

/// Tables by what the plugin does there to a row whose body is `bad`, and the code of the dead letter.
const TABLES: [(&str, &str); 8] = [
    ("trap", "plugin-trap"),
    ("recurse", "plugin-trap"),
    ("spin", "plugin-timeout"),
    ("allocate", "plugin-memory"),
    ("wrong-type", "plugin-output"),
    ("descending-offsets", "plugin-output"),
    ("aliased-rejects", "plugin-output"),
    ("fail", "plugin-failed"),
];

fn site() -> Site {
    let mut statements = String::new();
    let mut tables = String::from("on_error: { retries: 1, base_ms: 10 }\ntables:");
    for (what, _) in TABLES {
        // The others get time enough to do what they do on a busy machine.
        let batch_ms = if what == "spin" { 200 } else { 5000 };
        statements += &format!(
            "CREATE TABLE \"{what}\" (id INTEGER PRIMARY KEY, body TEXT, secret TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
             INSERT INTO \"{what}\" SELECT i, iif(i = 150, 'bad', 'good'), 'secret of row ' || i FROM n;"
        );
        tables += &format!(
            "\n  - from: {what}\n    transform:\n      - plugin: probe\n        \
             config: {{ do: {what}, read: [body], when: {{ column: body, equals: bad }}, times: 1000000 }}\n        \
             limits: {{ memory: 64MiB, batch_ms: {batch_ms}, output: 4MiB }}"
        );
    }
    let site = Site::with(&statements, &tables);
    site.plugin("probe", sluice_guests::PROBE);
    site
}

fn letters(site: &Site) -> Vec<Json> {
    let letters = site.sluice(&["dlq", "list", "copy", "--json"]).ended_with(0).json();
    letters["dead_letters"].as_array().expect("a list").clone()
}

#[test]
fn poisonous_rows_become_dead_letters_and_the_others_flow() {
    let site = site();
    let serve = Serve::start(&site);
    // First in the snapshot.
    serve.line_when("the target to be consistent", |line| line["ready"] == true);
    only_good_rows(&site);
    let snapshot = letters(&site);
    assert_eq!(snapshot.len(), TABLES.len(), "{snapshot:#?}");

    // Then in the stream, among good ones, in one transaction each.
    let mut source = site.source();
    for (what, _) in TABLES {
        let transaction = source.transaction().expect("it begins");
        for id in 1001..1101 {
            let body = if id == 1050 { "bad" } else { "good" };
            let insert = format!("INSERT INTO \"{what}\" VALUES (?1, ?2, 'secret of row ' || ?1)");
            transaction.execute(&insert, rusqlite::params![id, body]).expect("it can be inserted");
        }
        transaction.commit().expect("it commits");
    }
    only_good_rows(&site);
    let all = wait::until("the dead letters of the stream", || {
        let letters = letters(&site);
        if letters.len() == 2 * TABLES.len() { Ok(letters) } else { Err(letters) }
    });
    let codes: BTreeMap<(&str, &str), usize> = all.iter().fold(BTreeMap::new(), |mut codes, letter| {
        let text = |name: &str| letter[name].as_str().expect("text");
        *codes.entry((text("table"), text("code"))).or_default() += 1;
        codes
    });
    for (what, code) in TABLES {
        assert_eq!(codes.get(&(what, code)), Some(&2), "{what}: {codes:#?}");
    }

    // What is listed and logged has no values; asked for, they are shown.
    let listed = site.sluice(&["dlq", "list", "copy"]).ended_with(0).text();
    let id = all[0]["id"].as_str().expect("an id");
    let shown = site.sluice(&["dlq", "show", "copy", id]).ended_with(0).text();
    for text in [&listed, &shown, &site.log(), &serve.get("/metrics").text, &serve.get("/api/v1/status").text]
    {
        assert!(!text.contains("secret of row"), "{text}");
    }
    site.sluice(&["dlq", "show", "copy", id, "--values"]).ended_with(0).says(&["secret of row 150"]);

    // Later events of a parked key follow it, in order, although they would pass: the first has the bad value in its before image,
    // the second has none.
    source.execute("UPDATE trap SET body = 'good' WHERE id = 1050", []).expect("it can be changed");
    source.execute("UPDATE trap SET secret = 'another' WHERE id = 1050", []).expect("it can be changed");
    let parked = wait::until("the event to be parked", || {
        letters(&site).into_iter().find(|letter| letter["code"] == "parked").ok_or("no dead letter `parked`")
    });
    assert_eq!(parked["table"], "trap");
    let there: i64 = one(&site.target(), "SELECT count(*) FROM trap WHERE id = 1050");
    assert_eq!(there, 0);

    let peak = procfs::peak_rss(serve.pid());
    println!("peak RSS with poison: {} MiB", peak >> 20);
    assert!(peak < PEAK_RSS_MAX, "{peak}");
    assert!(serve.metric("sluice_events_rejected_total") >= 2.0 * TABLES.len() as f64);
    assert_eq!(serve.line()["phase"], "streaming");
    serve.stop();
}

fn only_good_rows(site: &Site) {
    for (what, _) in TABLES {
        let (all, good) =
            (format!("SELECT * FROM \"{what}\" ORDER BY id"), "WHERE body = 'good' ORDER BY id");
        let wanted = format!("SELECT * FROM \"{what}\" {good}");
        wait::until(&format!("the good rows of {what}"), || {
            equal(&site.source(), &wanted, &site.target(), &all)
        });
    }
}

#[test]
fn too_much_poison_opens_the_circuit() {
    let site = Site::with(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
         INSERT INTO t SELECT i, 'bad' FROM n;",
        "on_error: { retries: 1, base_ms: 10 }\ntables:\n  - from: t\n    transform:\n      - plugin: probe\n        config: { do: trap }",
    );
    site.plugin("probe", sluice_guests::PROBE);
    let serve = Serve::start(&site);
    let (code, what) = serve.paused();
    assert_eq!(code, "too-many-poison", "{what}");
    assert!(!site.path("target.db").exists() || one::<i64>(&site.target(), "SELECT count(*) FROM t") == 0);
    serve.stop();
}
