//! The service as its operators see it.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use sluice_e2e::compare::{equal, one};
use sluice_e2e::load::{Appender, Clerks, accounts_are_whole, ledger_head, shop, shop_is_equal};
use sluice_e2e::random::Random;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{binary, http, procfs, wait};

/// Within this time `serve` has drained and ended after SIGTERM (README and `serve --help` say so).
const DRAIN_MAX: Duration = Duration::from_secs(12);

/// What a service that has nothing to do may use. The figures of the release build; a debug build may have more.
const IDLE_CPU_MAX: f64 = 0.01;
const IDLE_RSS_MAX: u64 = 40 << 20;
const DEBUG_FACTOR: u64 = if cfg!(debug_assertions) { 2 } else { 1 };

const EVENTS: &str = "PRAGMA journal_mode = wal;
    CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT); INSERT INTO events (body) VALUES ('first');
    CREATE TABLE others (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO others VALUES (1, 'other');";
const QUERY: &str = "SELECT id, body FROM events ORDER BY id";

#[track_caller]
fn both_equal(site: &Site) {
    wait::until("both sides to be equal", || equal(&site.source(), QUERY, &site.target(), QUERY));
}

#[test]
fn health_readiness_and_metrics_are_open() {
    let site = Site::with(EVENTS, "tables: [events]");
    let serve = Serve::start(&site);
    wait::until("readiness", || wait::when(serve.get("/ready"), |answer| answer.status == 200));
    site.source().execute("INSERT INTO events (body) VALUES ('second')", []).expect("a row");
    both_equal(&site);
    let metrics = wait::until("the row to be counted", || {
        let text = serve.get("/metrics").text;
        wait::when(text, |text| http::metric(text, "sluice_rows_written_total", &["copy"]) >= Some(2.0))
    });
    for name in [
        "sluice_events_read_total",
        "sluice_bytes_read_total",
        "sluice_rows_written_total",
        "sluice_bytes_written_total",
        "sluice_events_rejected_total",
        "sluice_line_lag_seconds",
        "sluice_line_lag",
        "sluice_batch_seconds_total",
        "sluice_plugin_seconds_total",
        "sluice_plugin_swaps_total",
    ] {
        assert!(http::metric(&metrics, name, &[]).is_some(), "no {name} in:\n{metrics}");
    }
    serve.stop();
}

#[test]
fn changing_anything_needs_the_token_and_strangers_are_refused() {
    let site = Site::with(EVENTS, "tables: [events]");
    let serve = Serve::start(&site);
    both_equal(&site);
    let mode =
        |name: &str| std::fs::metadata(site.path(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/token")), (0o700, 0o600));

    let pause = "/api/v1/pipelines/copy/pause";
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        http::request(method, serve.address(), path, headers).expect("an answer").status
    };
    let right = format!("Bearer {}", serve.token());
    assert_eq!(ask("POST", pause, &[]), 401);
    assert_eq!(ask("POST", pause, &[("authorization", "Bearer wrong")]), 401);
    assert_eq!(ask("POST", pause, &[("authorization", &right), ("host", "evil.example")]), 403);
    assert_eq!(ask("POST", pause, &[("authorization", &right), ("origin", "http://evil.example")]), 403);
    assert_eq!(ask("GET", "/api/v1/status", &[("host", "evil.example:8687")]), 403);
    assert_eq!(serve.line()["phase"], "streaming");
    assert_eq!(ask("POST", pause, &[("authorization", &right)]), 200);
    assert_eq!(serve.line()["phase"], "paused");
    assert_eq!(ask("GET", "/api/v1/nothing", &[]), 404);
    serve.stop();
}

#[test]
fn pause_is_remembered_and_resume_goes_on() {
    let site = Site::with(EVENTS, "tables: [events]");
    let serve = Serve::start(&site);
    both_equal(&site);
    site.sluice(&["pause", "copy"]).ended_with(0);
    serve.kill();
    let serve = Serve::start(&site);
    serve.paused();
    site.source().execute("INSERT INTO events (body) VALUES ('while paused')", []).expect("a row");
    site.sluice(&["status"]).ended_with(0).says(&["copy", "paused"]);
    let here = || one::<i64>(&site.target(), "SELECT count(*) FROM events");
    wait::holds_for(Duration::from_millis(300), "nothing is written", || {
        wait::when(here(), |rows| *rows == 1).map(|_| ())
    });
    site.sluice(&["resume", "copy"]).ended_with(0);
    both_equal(&site);
    site.sluice(&["pause", "nothing"]).ended_with(2).says(&["nothing"]);
    serve.stop();
}

#[test]
fn sigterm_under_load_drains_and_ends_well() {
    let mut random = Random::seeded("sigterm");
    let site = shop(&mut random);
    let clerks = Clerks::hire(&site, &mut random, 2);
    let mut streamed = 0;
    for round in 0..3 {
        let serve = Serve::start(&site);
        if round > 0 {
            std::thread::sleep(Duration::from_millis(random.below(500)));
        } else {
            serve.line_when("the target to be consistent", |line| line["ready"] == true);
            streamed = ledger_head(&site);
        }
        let (status, took) = serve.terminate();
        assert_eq!(status.code(), Some(0));
        println!("drained in {took:?}");
        assert!(took < DRAIN_MAX, "{took:?}");
        accounts_are_whole(&site);
    }
    clerks.dismiss();
    site.sluice(&["sync"]).ended_with(0);
    shop_is_equal(&site, streamed).expect("both sides are equal");
}

#[test]
fn a_changed_file_is_taken_up_and_a_wrong_one_changes_nothing() {
    let site = Site::with(EVENTS, "tables: [events]");
    let serve = Serve::start(&site);
    both_equal(&site);
    site.configure("tables: [events, others]");
    serve.signal(Signal::HUP);
    let others = "SELECT id, body FROM others";
    wait::until("the added table", || equal(&site.source(), others, &site.target(), others));

    site.configure("tables: [events]\nbach: { rows: 3 }");
    let answer = serve.post("/api/v1/reload");
    assert!(answer.status >= 400 && answer.text.contains("bach"), "{answer:?}");
    site.source()
        .execute_batch("INSERT INTO others VALUES (2, 'x'); INSERT INTO events (body) VALUES ('y')")
        .expect("rows");
    both_equal(&site);
    wait::until("the other table", || equal(&site.source(), others, &site.target(), others));

    site.configure("batch: { rows: 7 }\ntables: [events, others]");
    let answer = serve.post("/api/v1/reload");
    assert!(answer.status == 200 && answer.text.contains("batch"), "it shows the difference: {answer:?}");
    site.source().execute("INSERT INTO events (body) VALUES ('z')", []).expect("a row");
    both_equal(&site);
    serve.stop();
}

#[test]
fn idle_it_costs_next_to_nothing() {
    let site = Site::with(
        EVENTS,
        "tables:\n  - from: events\n    transform: [{ plugin: type-conversion, config: { columns: { body: text } } }]",
    );
    let serve = Serve::start(&site);
    both_equal(&site);
    serve.line_when("the line to be idle", |line| line["lag"] == 0 && line["phase"] == "streaming");
    let (time, before) = (Duration::from_secs(5), procfs::cpu(serve.pid()));
    std::thread::sleep(time);
    let cpu = (procfs::cpu(serve.pid()) - before).as_secs_f64() / time.as_secs_f64();
    let rss = procfs::rss(serve.pid());
    println!("idle: {:.2} % of a core, {} MiB", cpu * 100.0, rss >> 20);
    assert!(cpu < IDLE_CPU_MAX * DEBUG_FACTOR as f64, "{cpu}");
    assert!(rss < IDLE_RSS_MAX * DEBUG_FACTOR, "{rss}");
    serve.stop();
}

#[test]
fn a_second_sync_does_nothing() {
    let site = Site::with(EVENTS, "tables: [events]");
    site.target()
        .execute_batch(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE effects (id INTEGER);
             CREATE TRIGGER e1 AFTER INSERT ON events BEGIN INSERT INTO effects VALUES (new.id); END;
             CREATE TRIGGER e2 AFTER UPDATE ON events BEGIN INSERT INTO effects VALUES (new.id); END;",
        )
        .expect("good statements");
    for _ in 0..3 {
        site.sluice(&["sync"]).ended_with(0);
    }
    let effects: i64 = one(&site.target(), "SELECT count(*) FROM effects");
    assert_eq!(effects, 1);
    site.source().execute("INSERT INTO events (body) VALUES ('second')", []).expect("a row");
    site.sluice(&["sync", "copy", "--json"]).ended_with(0).json();
    assert_eq!(equal(&site.source(), QUERY, &site.target(), QUERY), Ok(2));
    site.sluice(&["sync", "nothing"]).ended_with(2).says(&["nothing"]);
}

#[test]
fn sync_shows_a_bar_on_a_terminal_and_plain_lines_elsewhere() {
    let site = Site::with(EVENTS, "tables: [events]");
    let rows = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
                INSERT INTO events (id, body) SELECT i, 'row ' || i FROM n";
    site.source().execute_batch(rows).expect("good statements");
    let mut terminal = Command::new("script");
    let typed = format!("{} sync -c {}", binary::sluice().display(), site.path("sluice.yaml").display());
    terminal.args(["-qec", &typed, "/dev/null"]).env("TERM", "xterm");
    let shown = site.run(terminal).ended_with(0);
    let bar = shown.stdout.split('\r').find(|line| line.contains("/300,000 rows") && line.contains("left"));
    assert!(
        bar.is_some_and(|bar| bar.contains("copy") && bar.contains("/s ")),
        "no bar with rate and time left: {shown:#?}"
    );
    let plain = site.sluice(&["sync"]).ended_with(0);
    assert!(!plain.text().contains('\u{1b}'), "{plain:#?}");
}

#[test]
fn sync_under_load_reaches_the_head_at_its_start_and_ends() {
    let site = Site::with(EVENTS, "tables: [events]");
    let appender = Appender::start(&site);
    site.sluice(&["sync"]).ended_with(0);
    let head: i64 = one(&site.source(), "SELECT max(id) FROM events");
    site.sluice(&["sync"]).ended_with(0);
    let reached: i64 = one(&site.target(), "SELECT max(id) FROM events");
    assert!(reached >= head, "{reached} < {head}");
    appender.stop();
    site.sluice(&["sync"]).ended_with(0);
    equal(&site.source(), QUERY, &site.target(), QUERY).expect("both sides are equal");
}

#[test]
fn a_resnapshot_mends_what_somebody_spoiled() {
    let site = Site::with(EVENTS, "tables: [events]");
    let serve = Serve::start(&site);
    both_equal(&site);
    site.target().execute_batch("UPDATE events SET body = 'spoiled'").expect("it can be spoiled");
    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    both_equal(&site);
    serve.stop();
}

#[test]
fn commands_say_what_is_missing() {
    let site = Site::with(EVENTS, "tables: [events]");
    site.sluice(&["status"]).ended_with(1).says(&["serve"]);
    // Where no service runs, the wish is kept for the next one.
    site.sluice(&["pause", "copy"]).ended_with(0);
    let serve = Serve::start(&site);
    serve.paused();
    serve.stop();
    let mut wrong = std::process::Command::new(binary::sluice());
    wrong.arg("no-such-command");
    site.run(wrong).ended_with(2);
    let mut schema = std::process::Command::new(binary::sluice());
    schema.arg("schema");
    let schema = site.run(schema).ended_with(0).json();
    assert!(schema["properties"]["pipelines"].is_object(), "{schema:#}");

    site.plugin("stamp", sluice_guests::guest("stamp"));
    let file = site.path("plugins/stamp.wasm").display().to_string();
    let report = site.sluice(&["plugin", "inspect", &file, "--json"]).ended_with(0).json();
    assert_eq!(report["about"]["name"], "stamp", "{report:#}");
}
