//! From the acknowledged commit at the source until the row is visible at the target, at idle and under 1,000 transactions a second,
//! through `sluice serve` and through a native subscription.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sluice_servers::Postgres;

use super::{PATIENCE, SOURCE, Servers, config, settings};
use crate::Bench;
use crate::measure::rss_mib;
use crate::table::{Limit, Table};

/// Rows that are timed.
const PROBES: usize = 400;

/// The pause between two of them.
const PACE: Duration = Duration::from_millis(15);

/// Transactions a second of the load.
const LOAD: u64 = 1000;

const PROBE: &str = "CREATE TABLE probe (id bigint PRIMARY KEY, at text)";

pub(super) fn run(bench: &Bench, servers: &Servers, table: &mut Table) {
    servers.source.sql(SOURCE, PROBE);
    servers.source.sql(SOURCE, "CREATE TABLE load (id bigint PRIMARY KEY, body text)");

    servers.fresh("late", "template0");
    let serve = Serve::start(bench, servers);
    let at_idle = timed(servers, "late", false);
    let idle_rss = rss_mib(serve.0.id());
    let ours = [at_idle, timed(servers, "late", true)];
    let busy_rss = crate::measure::peak_rss_mib(serve.0.id());
    drop(serve);

    servers.fresh("native", "template0");
    servers.target.sql("native", PROBE);
    servers.target.sql("native", "CREATE TABLE load (id bigint PRIMARY KEY, body text)");
    servers
        .source
        .sql(SOURCE, "TRUNCATE probe; TRUNCATE load; CREATE PUBLICATION late FOR TABLE probe, load");
    let subscribe = format!(
        "CREATE SUBSCRIPTION late CONNECTION '{}' PUBLICATION late WITH (binary = true)",
        servers.conninfo()
    );
    servers.target.sql("native", &subscribe);
    let theirs = [timed(servers, "native", false), timed(servers, "native", true)];
    servers.target.sql("native", "DROP SUBSCRIPTION late");

    let limits = [("at idle", 3.0, 15.0), ("at 1,000 tx/s", 20.0, 100.0)];
    for ((name, p50, p99), (ours, theirs)) in std::iter::zip(limits, std::iter::zip(ours, theirs)) {
        let note = |theirs: f64| format!("native beside it {theirs:.2} ms");
        table.add("pg", format!("latency p50 {name}"), ours.0, "ms", Limit::Most(p50), note(theirs.0));
        table.add("pg", format!("latency p99 {name}"), ours.1, "ms", Limit::Most(p99), note(theirs.1));
        if name == "at idle" {
            table.add("pg", "latency p50 at idle / native", ours.0 / theirs.0, "x", Limit::Most(4.0), "");
            table.add("pg", "latency p99 at idle / native", ours.1 / theirs.1, "x", Limit::Most(4.0), "");
        }
    }
    table.add("pg", "RSS at idle", idle_rss, "MiB", Limit::Most(40.0), "");
    table.add("pg", "peak RSS under this load", busy_rss, "MiB", Limit::Most(128.0), "");
}

/// `sluice serve` on the two small tables. Killed when dropped, and its slot with it.
struct Serve(Child, Command);

impl Serve {
    fn start(bench: &Bench, servers: &Servers) -> Serve {
        let dir = bench.dir.join("postgres-latency");
        std::fs::create_dir(&dir).expect("a folder");
        let (source, target) = (settings(&servers.source, SOURCE), settings(&servers.target, "late"));
        let config = config(&dir, &source, &target, "      - from: probe\n      - from: load\n");
        // Without the large table, which is another part's.
        let text = std::fs::read_to_string(&config).expect("it was written");
        std::fs::write(&config, text.replace("      - from: customers\n", "")).expect("it can be written");
        let child = Command::new(&bench.sluice)
            .args(["serve", "-c"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("serve starts");
        let mut delete = Command::new(&bench.sluice);
        delete.args(["delete", "p", "-c"]).arg(&config).stdout(Stdio::null());
        Serve(child, delete)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = self.1.status();
    }
}

/// The median and the 99th percentile of the time until a row is visible, in milliseconds.
fn timed(servers: &Servers, database: &str, under_load: bool) -> (f64, f64) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (mut source, mut target) = (servers.source.session(SOURCE), servers.target.session(database));
    let mut probe = || -> f64 {
        let id = NEXT.fetch_add(1, Relaxed);
        source.sql(&format!("INSERT INTO probe VALUES ({id}, 'x')"));
        let committed = Instant::now();
        let seen = format!("SELECT 1 FROM probe WHERE id = {id}");
        // Until the line runs there may be no table.
        while target.run(&seen).map_or(true, |rows| rows.is_empty()) {
            assert!(committed.elapsed() < PATIENCE, "the row never comes");
        }
        committed.elapsed().as_secs_f64() * 1000.0
    };
    // The first ones wait for everything to be in place.
    for _ in 0..20 {
        probe();
    }
    let load = under_load.then(|| Load::start(&servers.source));
    let mut times: Vec<f64> = (0..PROBES)
        .map(|_| {
            std::thread::sleep(PACE); // the pace of the probes is part of the measurement
            probe()
        })
        .collect();
    drop(load);
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Programs that commit [`LOAD`] transactions a second together, until dropped.
struct Load(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Load {
    fn start(server: &Postgres) -> Load {
        const THREADS: u64 = 4;
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..THREADS)
            .map(|thread| {
                let (mut session, stop) = (server.session(SOURCE), stop.clone());
                std::thread::spawn(move || {
                    let first: i64 = session.sql("SELECT coalesce(max(id), 0) / 1000000 + 1 FROM load")[0][0]
                        .as_deref()
                        .and_then(|text| text.parse().ok())
                        .expect("a number");
                    let (started, mut done) = (Instant::now(), 0_u64);
                    while !stop.load(Relaxed) {
                        let id = (first as u64 + thread) * 1_000_000 + done;
                        session.sql(&format!("INSERT INTO load VALUES ({id}, repeat('x', 100))"));
                        done += 1;
                        let due = Duration::from_secs_f64(done as f64 * THREADS as f64 / LOAD as f64);
                        std::thread::sleep(due.saturating_sub(started.elapsed()));
                    }
                })
            })
            .collect();
        Load(stop, threads)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        self.1.drain(..).for_each(|thread| thread.join().expect("the load is good"));
    }
}
