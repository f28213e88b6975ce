//! Plugins replaced while rows flow (I8).

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use serde_json::Value as Json;
use sluice_e2e::compare::{equal, one, rows};
use sluice_e2e::load::Appender;
use sluice_e2e::random::Random;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{http, stamp, wait};
use sluice_types::Digest;

/// A line may stand still this long for a swap.
const SWAP_PAUSE_MAX: Duration = Duration::from_millis(50);

const EVENTS: &str = "
    PRAGMA journal_mode = wal;
    CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, secret TEXT);
    INSERT INTO events (body) VALUES ('first');";

/// The target's own triggers count what reaches each row.
const COUNTED: &str = "
    CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT, secret TEXT, made_by TEXT);
    CREATE TABLE effects (id INTEGER, how TEXT);
    CREATE TRIGGER e1 AFTER INSERT ON events BEGIN INSERT INTO effects VALUES (new.id, 'insert by ' || new.made_by); END;
    CREATE TRIGGER e2 AFTER UPDATE ON events BEGIN INSERT INTO effects VALUES (new.id, 'update by ' || new.made_by); END;";

fn pipeline(prefix: &str) -> String {
    format!(
        "tables:\n  - from: events\n    transform:\n      - plugin: stamp\n        \
         config: {{ column: body, prefix: \"{prefix}\" }}\n        limits: {{ batch_ms: 500 }}"
    )
}

fn stamped(name: &str, behaviour: &str) -> Vec<u8> {
    stamp::version(sluice_guests::guest("stamp"), name, behaviour)
}

/// A site whose rows are stamped by version `v1`.
fn site() -> Site {
    let site = Site::with(EVENTS, &pipeline(""));
    site.target().execute_batch(COUNTED).expect("good statements");
    site.plugin("stamp", &stamped("v1", "plain"));
    site
}

/// Starts the service and waits until the first copy is done: rows that a chunk of it brings may come by the stream once more.
fn streaming(site: &Site) -> Serve {
    let serve = Serve::start(site);
    serve.line_when("the first copy to be done", |line| line["ready"] == true);
    serve
}

/// The versions that made the target's rows, in the order of their keys, which is that in which they were committed;
/// neighbours that are equal count once.
fn versions(site: &Site) -> Vec<String> {
    let made_by = rows(&site.target(), "SELECT made_by FROM events ORDER BY id");
    let mut versions: Vec<String> = made_by.iter().map(|row| text(&row[0])).collect();
    versions.dedup();
    versions
}

fn text(value: &rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// Waits until the last row of the target was made by this version.
#[track_caller]
fn made_by(site: &Site, version: &str) {
    wait::until(&format!("rows made by {version}"), || {
        let last: String =
            one(&site.target(), "SELECT coalesce((SELECT made_by FROM events ORDER BY id DESC), '')");
        wait::when(last, |last| last == version)
    });
}

/// Every row of the source is in the target, and was written there once.
fn all_there_once(site: &Site) {
    let query = "SELECT id, body, secret FROM events ORDER BY id";
    wait::until("both sides to be equal", || equal(&site.source(), query, &site.target(), query));
    let twice =
        rows(&site.target(), "SELECT id, group_concat(how) FROM effects GROUP BY id HAVING count(*) > 1");
    assert!(twice.is_empty(), "written more than once: {twice:?}");
}

fn insert(site: &Site) {
    site.source().execute("INSERT INTO events (body) VALUES ('one more')", []).expect("a row can be added");
}

/// What `plugin list` says of the plugin `stamp`.
fn listed(site: &Site) -> Json {
    let plugins = site.sluice(&["plugin", "list", "--json"]).ended_with(0).json();
    let list = plugins["plugins"].as_array().expect("a list").clone();
    list.into_iter().find(|plugin| plugin["name"] == "stamp").expect("stamp is in the list")
}

/// Candidates that this process has refused.
fn refused(serve: &Serve) -> f64 {
    let metrics = serve.get("/metrics").text;
    http::metric(&metrics, "sluice_plugin_candidates_total", &["outcome=\"refused\""]).expect("a metric")
}

#[test]
fn each_row_is_made_by_one_version_the_old_before_the_new() {
    let site = site();
    let serve = streaming(&site);
    let appender = Appender::start(&site);
    made_by(&site, "v1");
    site.plugin("stamp", &stamped("v2", "plain"));
    made_by(&site, "v2");
    site.plugin("stamp", &stamped("v3", "plain"));
    made_by(&site, "v3");
    site.sluice(&["plugin", "rollback", "stamp"]).ended_with(0);
    made_by(&site, "v2");

    let appended = appender.stop();
    all_there_once(&site);
    assert_eq!(versions(&site), ["v1", "v2", "v3", "v2"]);
    let pause = Duration::from_secs_f64(serve.metric("sluice_plugin_swap_pause_seconds_max"));
    println!("{appended} rows; the longest pause for a swap: {pause:?}");
    assert!(serve.metric("sluice_plugin_swaps_total") >= 3.0, "{}", serve.get("/metrics").text);
    assert!(pause > Duration::ZERO && pause < SWAP_PAUSE_MAX, "{pause:?}");
    serve.stop();

    // The file in the folder is still v3, which was put out: it is not tried again.
    let serve = Serve::start(&site);
    insert(&site);
    all_there_once(&site);
    assert_eq!(versions(&site), ["v1", "v2", "v3", "v2"]);
    assert_eq!(listed(&site)["digest"], Digest::of(&stamped("v2", "plain")).to_string());
    serve.stop();
}

#[test]
fn killed_around_swaps_the_same_version_goes_on() {
    let mut random = Random::seeded("killed around swaps");
    let site = site();
    let file = site.path("plugins/stamp.wasm");
    let serve = streaming(&site);
    let appender = Appender::start(&site);
    made_by(&site, "v1");
    serve.kill();
    for number in 2..10 {
        let serve = streaming(&site);
        let next = stamped(&format!("v{number}"), "plain");
        site.plugin("stamp", &next);
        if number % 2 == 0 {
            // As soon as it is said to run, which may be before any row went through it.
            wait::until("the version to be promoted", || {
                let plugins = serve.get("/api/v1/plugins").text;
                wait::when(plugins, |plugins| {
                    plugins.contains(&format!("\"digest\":\"{}\"", Digest::of(&next)))
                })
            });
        } else {
            // The moment is random: not a wait for anything.
            std::thread::sleep(Duration::from_millis(random.below(1500)));
        }
        serve.kill();

        // Whatever lies in the folder, the version that ran goes on: here nothing lies there, then rubbish.
        std::fs::remove_file(&file).expect("the file is there");
        let serve = Serve::start(&site);
        serve.line_when("the chain to be open", |line| line["phase"] == "streaming");
        let runs = listed(&site)["digest"].clone();
        assert!(number % 2 == 1 || runs == Digest::of(&next).to_string(), "what was promoted is forgotten");
        serve.kill();
        site.plugin("stamp", b"rubbish");
        let serve = Serve::start(&site);
        serve.line_when("the chain to be open", |line| line["phase"] == "streaming");
        assert_eq!(listed(&site)["digest"], runs);
        serve.kill();
    }
    appender.stop();
    let serve = Serve::start(&site);
    all_there_once(&site);
    let versions = versions(&site);
    println!("versions that took over: {versions:?}");
    let numbers: Vec<u32> = versions.iter().map(|version| version[1..].parse().expect("a number")).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "an older version came back: {versions:?}");
    assert!(numbers.len() > 1, "no swap was ever done in time");
    serve.stop();
}

#[test]
fn a_bad_file_is_refused_reported_and_not_tried_again() {
    let site = site();
    let mut serve = Serve::start(&site);
    insert(&site);
    made_by(&site, "v1");
    let bad = [
        ("rubbish", b"this is no component".to_vec()),
        ("nothing at all", Vec::new()),
        ("a module", stamp::module()),
        ("no exports", stamp::without_exports()),
        ("an import that nobody granted", stamp::importing(&stamped("v2", "plain"))),
        ("traps on the probe", stamped("v3", "traps")),
        ("never answers the probe", stamped("v4", "spins")),
        ("refuses its configuration", stamped("v5", "refuses")),
        ("another type for a column of the target", stamped("v6", "retypes")),
    ];
    for (what, component) in &bad {
        let refusals = refused(&serve);
        site.plugin("stamp", component);
        let candidate = wait::until(&format!("{what} to be refused"), || {
            let plugin = listed(&site);
            let wanted = plugin["candidate"]["digest"] == Digest::of(component).to_string();
            if wanted { Ok(plugin["candidate"].clone()) } else { Err(plugin) }
        });
        assert_eq!(candidate["outcome"], "refused", "{what}: {candidate:#}");
        println!("{what}: {}", candidate["why"]);
        assert_ne!(candidate["why"], "", "{what}");
        assert!(refused(&serve) > refusals, "{what} is not counted");
        // The one that works goes on.
        insert(&site);
        all_there_once(&site);
        assert_eq!(versions(&site), ["v1"], "{what}");
    }
    let log = site.log();
    assert!(log.contains("stamp") && log.contains("refused"), "the log says so");
    let status = site.sluice(&["status", "--json"]).ended_with(0).json();
    assert_eq!(status["candidates"][0]["candidate"]["outcome"], "refused", "{status:#}");

    // After a restart what lies there is known already.
    serve.kill();
    serve = Serve::start(&site);
    insert(&site);
    all_there_once(&site);
    wait::holds_for(Duration::from_millis(500), "nothing is tried again", || {
        wait::when(refused(&serve), |refusals| *refusals == 0.0).map(|_| ())
    });
    assert_eq!(listed(&site)["candidate"]["outcome"], "refused");
    assert_eq!(versions(&site), ["v1"]);

    // Until it changes.
    site.plugin("stamp", &stamped("v7", "plain"));
    wait::until("the next version to take over", || {
        insert(&site);
        wait::when(versions(&site), |versions| *versions == ["v1", "v7"])
    });
    serve.stop();
}

#[test]
fn a_half_written_file_is_never_loaded() {
    let site = site();
    let serve = Serve::start(&site);
    insert(&site);
    made_by(&site, "v1");
    let whole = stamped("v2", "plain");
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(site.path("plugins/stamp.wasm"))
        .expect("the file is there");
    for piece in whole.chunks(whole.len() / 8) {
        file.write_all(piece).and_then(|()| file.sync_all()).expect("it can be written");
        insert(&site);
        // A slow copy. Not a wait for anything.
        std::thread::sleep(Duration::from_millis(100));
        let runs = listed(&site)["digest"].clone();
        let known = [Digest::of(&stamped("v1", "plain")).to_string(), Digest::of(&whole).to_string()];
        assert!(known.iter().any(|digest| runs == **digest), "{runs} is neither");
    }
    drop(file);
    wait::until("the whole file to take over", || {
        insert(&site);
        wait::when(versions(&site), |versions| *versions == ["v1", "v2"])
    });
    all_there_once(&site);
    serve.stop();
}

#[test]
fn a_version_that_wants_more_waits_for_a_person() {
    let site = site();
    let serve = Serve::start(&site);
    insert(&site);
    made_by(&site, "v1");
    let wider = stamped("v2", "wider");
    site.plugin("stamp", &wider);
    let candidate = wait::until("it to wait", || {
        let plugin = listed(&site);
        let there = plugin["candidate"]["digest"] == Digest::of(&wider).to_string();
        if there { Ok(plugin["candidate"].clone()) } else { Err(plugin) }
    });
    assert_eq!(candidate["outcome"], "waiting", "{candidate:#}");
    site.sluice(&["plugin", "swap", "stamp"]).ended_with(1).says(&["--promote"]);
    insert(&site);
    all_there_once(&site);
    assert_eq!(versions(&site), ["v1"]);

    site.sluice(&["plugin", "swap", "stamp", "--promote"]).ended_with(0);
    insert(&site);
    made_by(&site, "v2");
    serve.kill();
    let serve = Serve::start(&site);
    insert(&site);
    all_there_once(&site);
    assert_eq!(versions(&site), ["v1", "v2"]);
    serve.stop();
}

#[test]
fn a_changed_configuration_of_a_plugin_applies_live() {
    let site = site();
    let serve = streaming(&site);
    let appender = Appender::start(&site);
    made_by(&site, "v1");
    site.configure(&pipeline("x-"));
    made_by(&site, "x-v1");

    // One that the plugin refuses changes nothing, and is told.
    site.configure(&pipeline("y-").replace("column: body", "column: bodi"));
    let refused = wait::until("the file to be refused", || {
        let status = serve.get("/api/v1/status").json();
        status["config_refused"].as_str().map(str::to_string).ok_or(status)
    });
    assert!(refused.contains("bodi") && refused.contains("tables[0].transform[0].config"), "{refused}");
    made_by(&site, "x-v1");
    site.configure(&pipeline("z-"));
    made_by(&site, "z-v1");
    appender.stop();
    all_there_once(&site);
    assert_eq!(versions(&site), ["v1", "x-v1", "z-v1"]);
    serve.stop();
}
