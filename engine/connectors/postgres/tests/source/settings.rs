//! What the connection settings do, as the server and the system see it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sluice_servers::{Postgres, PostgresOptions};
use sluice_types::{ErrorKind, Result, TablePattern};
use tokio::net::TcpListener;

use crate::follow::Follow;
use crate::harness::{DATABASE, Place, endpoint_with, line};

/// A server whose log is a file, each line with the session's number and application in front.
fn logging() -> Place {
    let conf = [
        "logging_collector = on",
        "log_directory = 'told'",
        "log_filename = 'log'",
        "log_line_prefix = '[%p|%a] '",
    ];
    let conf = conf.map(String::from).to_vec();
    Place::on(Postgres::start_with(PostgresOptions { conf, ..PostgresOptions::default() }))
}

fn log(place: &Place) -> String {
    fs::read_to_string(place.server.data_dir().join("told/log")).unwrap()
}

/// A line of every kind of session: one that streams with a chunk reader beside it, a sink, and one of the pool.
struct Sessions {
    _follow: Follow,
    _reader: Box<dyn sluice_types::ports::ChunkReader>,
    _sink: Box<dyn sluice_types::ports::Sink>,
}

impl Sessions {
    async fn open(place: &Place, settings: Json) -> Self {
        let mut all = json!({ "url": place.server.url(DATABASE) });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let endpoint = endpoint_with(all);
        endpoint.discover(&[TablePattern::parse("public.*")]).await.unwrap();
        let mut follow = Follow::on(endpoint.clone(), "p", &["t"], None).await.unwrap();
        place.sql("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t");
        assert!(!follow.events().await.is_empty(), "the stream flows");
        let mut reader = follow.source.chunks().await.unwrap();
        let limits = &crate::follow::LIMITS;
        reader.read(&follow.schemas[0], &Default::default(), limits).await.unwrap();
        let mut sink = endpoint.sink(&line("p")).await.unwrap();
        sink.checkpoint(&"p".into()).await.unwrap();
        Sessions { _follow: follow, _reader: reader, _sink: sink }
    }
}

/// The sessions of the database, other than those of the test itself: pid and application.
fn sessions(place: &Place) -> Vec<(String, String)> {
    let rows = place.sql(
        "SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')",
    );
    rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_has_the_name_and_the_settings() {
    let place = logging();
    place.sql("CREATE TABLE t(id int PRIMARY KEY)");
    let streaming = "received replication command: START_REPLICATION";
    drop(Sessions::open(&place, json!({})).await);
    assert!(!log(&place).contains("|sluice] LOG:  statement:"), "nothing is told unasked");
    assert!(!log(&place).contains(streaming));
    let asked = json!({
        "application_name": "the shop's",
        "settings": { "log_statement": "all", "log_replication_commands": true },
    });
    // The first line's slot is free again when its walsender is gone.
    crate::slot::eventually(&place, "SELECT bool_and(NOT active) FROM pg_replication_slots").await;
    let _open = Sessions::open(&place, asked).await;
    let named: Vec<_> =
        sessions(&place).into_iter().filter(|(_, application)| application == "the shop's").collect();
    assert!(named.len() >= 4, "{named:?}");
    let others = sessions(&place).into_iter().filter(|(_, name)| name != "the shop's" && name != "test");
    // Sessions of the first endpoint are closed when the server notices.
    assert!(others.clone().all(|(_, name)| name == "sluice"), "{:?}", others.collect::<Vec<_>>());
    assert_eq!(
        place.sql("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'the shop''s'")[0][0]
            .as_deref(),
        Some("1")
    );
    let log = log(&place);
    for (pid, _) in &named {
        // What comes first after the settings; of the walsender, too.
        let told = format!("[{pid}|the shop's] LOG:  ");
        assert!(log.lines().any(|line| line.starts_with(&told)), "session {pid} is not set so: {named:?}");
    }
    assert!(log.lines().any(|line| line.contains("|the shop's] LOG:") && line.contains(streaming)), "{log}");
}

/// When the system will probe the peers of the connections to a port, in seconds: none where it does not.
fn probes(port: u16) -> Vec<Option<f64>> {
    const TICKS: f64 = 100.0;
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let of = |row: &str| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let is_ours = fields[2].ends_with(&format!(":{port:04X}")) && fields[3] == "01";
        // `02` is the timer of keepalives.
        let (timer, when) = fields[5].split_once(':').unwrap();
        let ticks = u64::from_str_radix(when, 16).unwrap();
        is_ours.then(|| (timer == "02").then_some(ticks as f64 / TICKS))
    };
    table.lines().skip(1).filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_probes_silent_peers_of_every_session_as_configured() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY)");
    let keepalives = json!({ "keepalives": { "idle_secs": 1000, "interval_secs": 7, "count": 2 } });
    let open = Sessions::open(&place, keepalives).await;
    let probed = |least: f64, most: f64| {
        let probes = probes(place.server.port());
        let good = |when: &Option<f64>| when.is_some_and(|when| (least..=most).contains(&when));
        (probes.len() >= 4 && probes.iter().all(good)).then_some(()).ok_or(probes)
    };
    // What is being sent has another timer for a moment.
    let mut last = probed(900.0, 1000.0);
    for _ in 0..100 {
        if last.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        last = probed(900.0, 1000.0);
    }
    last.unwrap();
    drop(open);
}

async fn within<T>(what: &str, work: impl Future<Output = Result<T>>) {
    let begun = Instant::now();
    let error = work.await.err().unwrap_or_else(|| panic!("{what}: somebody answered"));
    assert_eq!(error.kind(), ErrorKind::Timeout, "{what}: {error}");
    let took = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(8)).contains(&took), "{what}: {took:?}");
}

/// The system accepts for it; nobody ever reads or answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_accepts_and_says_nothing_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("postgres://ann:secret@127.0.0.1:{port}/shop");
    for (settings, told) in [
        (json!({ "url": url, "connect_timeout_secs": 1 }), "before TLS"),
        (
            json!({ "url": url, "connect_timeout_secs": 1, "tls": { "mode": "disable" } }),
            "before the password",
        ),
        (json!({ "url": format!("{url}?connect_timeout=1") }), "by the URL"),
    ] {
        let endpoint = endpoint_with(settings);
        within(told, endpoint.discover(&[TablePattern::parse("public.*")])).await;
        within(told, async { endpoint.sink(&line("p")).await }).await;
        let source = async { endpoint.source(&line("p")).await?.identity().await };
        within(told, source).await;
    }
}
