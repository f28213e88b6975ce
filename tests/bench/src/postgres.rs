//! PostgreSQL to PostgreSQL, beside the server's own logical replication and a COPY pipe, in one run on the same data.
//!
//! Two private servers of the same version. Neither syncs its log to the disk: what is compared are programs, not disks.

mod latency;
mod snapshot;
mod stream;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sluice_servers::{Postgres, PostgresOptions, Session};

use crate::Bench;
use crate::measure::{self, server_cpu};
use crate::race::Run;
use crate::table::Table;

/// The source's database. Those of the target are made for each run.
pub(crate) const SOURCE: &str = "bench";

/// How often each contestant runs.
const ROUNDS: usize = 2;

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(1200);

/// The two servers.
pub(crate) struct Servers {
    pub source: Postgres,
    pub target: Postgres,
}

/// The PostgreSQL part.
pub fn run(bench: &Bench, table: &mut Table) {
    let servers = Servers::start(bench.rows);
    snapshot::run(bench, &servers, table);
    stream::run(bench, &servers, table);
    latency::run(bench, &servers, table);
}

impl Servers {
    /// Both servers, with the rows in the source.
    pub(crate) fn start(rows: u64) -> Servers {
        let start = || {
            let conf = [
                "shared_buffers = 256MB",
                "max_wal_size = 4GB",
                "autovacuum_naptime = 10s",
                // A subscription's worker may wait so long before it starts, which is not what is measured.
                "wal_retrieve_retry_interval = '10ms'",
                "timezone = 'UTC'",
            ];
            Postgres::start_with(PostgresOptions {
                conf: conf.map(String::from).to_vec(),
                ..Default::default()
            })
        };
        let servers = Servers { source: start(), target: start() };
        servers.source.sql("postgres", &format!("CREATE DATABASE {SOURCE}"));
        servers.source.sql(SOURCE, TABLE);
        servers.source.sql(SOURCE, &insert(1, rows));
        servers.source.sql(SOURCE, "VACUUM ANALYZE customers");
        servers.source.sql(SOURCE, "CHECKPOINT");
        servers
    }

    /// An empty database at the target, or one like `template`.
    fn fresh(&self, name: &str, template: &str) {
        self.target.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        self.target
            .sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"));
        self.target.sql("postgres", "CHECKPOINT");
    }

    /// Where a subscription of the target finds the source.
    fn conninfo(&self) -> String {
        format!(
            "host={} port={} user=postgres dbname={SOURCE}",
            self.source.socket_dir().display(),
            self.source.port()
        )
    }

    /// Measures what both servers and a program do until it ends.
    fn measured(&self, command: &mut Command) -> Run {
        let before = self.cpu();
        let usage = measure::run(command);
        let after = self.cpu();
        Run {
            wall: usage.wall,
            engine: usage.cpu,
            source: after.0 - before.0,
            target: after.1 - before.1,
            rss_mib: usage.rss_mib,
        }
    }

    /// The same for what the servers do by themselves, until `done` says so.
    fn measured_until(&self, start: impl FnOnce(), mut done: impl FnMut() -> bool) -> Run {
        let (before, started) = (self.cpu(), Instant::now());
        start();
        while !done() {
            assert!(started.elapsed() < PATIENCE, "it takes too long");
            std::thread::sleep(Duration::from_millis(20)); // asking a server: there is no event to wait for
        }
        let (wall, after) = (started.elapsed().as_secs_f64(), self.cpu());
        Run { wall, source: after.0 - before.0, target: after.1 - before.1, ..Run::default() }
    }

    fn cpu(&self) -> (f64, f64) {
        (server_cpu(self.source.pid()), server_cpu(self.target.pid()))
    }

    /// The rows of the target are those of the source.
    fn assert_equal(&self, database: &str) {
        let query = "SELECT count(*), sum(hashtextextended(c::text, 0)) FROM customers c";
        assert_eq!(
            self.source.sql(SOURCE, query),
            self.target.sql(database, query),
            "the rows of {database} differ"
        );
    }
}

/// A configuration that copies `customers` from the source into a database of the target.
pub(crate) fn config(dir: &Path, source: &str, target: &str, lines: &str) -> PathBuf {
    let path = dir.join("sluice.yaml");
    let text = format!(
        "version: 1\nstate: ./state\nservice: {{ listen: 127.0.0.1:0 }}\ndatabases:\n  a: {source}\n  b: {target}\n\
         pipelines:\n  p:\n    source: a\n    target: b\n    tables:\n      - from: customers\n{lines}"
    );
    std::fs::write(&path, text).expect("the configuration");
    path
}

/// The settings of a database on one of our servers, by its socket.
pub(crate) fn settings(server: &Postgres, database: &str) -> String {
    format!(
        "{{ kind: postgres, host: {}, port: {}, user: postgres, database: {database} }}",
        server.socket_dir().display(),
        server.port()
    )
}

/// Twenty mixed columns, about 500 bytes a row.
const TABLE: &str = "CREATE TABLE customers (
    id bigint PRIMARY KEY, external_id uuid NOT NULL, first_name text, last_name text, email text, phone varchar(20), street text,
    city text, country char(2), amount text, balance numeric(12,2), score float8, visits int, flags smallint, parent bigint,
    active boolean NOT NULL, created timestamptz NOT NULL, updated timestamp, profile jsonb, avatar bytea)";

/// Statements that insert rows `from..=to`, the same in every run.
fn insert(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO customers SELECT i, md5(i::text)::uuid, left(md5('a' || i), 9), left(md5('b' || i), 12),
           'User.' || i % 1000003 || '@Example' || i % 97 || '.com', '+31 6 ' || lpad((i % 99999999)::text, 8, '0'),
           md5('c' || i), left(md5('d' || i), 12), 'NL', (i % 1000000)::text, (i % 1000000) / 7.0, i / 3.0, i % 500, i % 16,
           nullif(i % 100003, 7), i % 3 <> 0, '2026-01-01 00:00+00'::timestamptz + i * '1 second'::interval,
           '2026-01-01'::timestamp + i * '1 minute'::interval,
           jsonb_build_object('tags', jsonb_build_array(i % 10, 'x' || i % 100), 'notes', repeat(md5('e' || i), 4)),
           decode(repeat(md5('f' || i), 2) , 'hex')
         FROM generate_series({from}::bigint, {to}::bigint) i"
    )
}

/// Runs statements on a session that must succeed.
fn run_all(session: &mut Session, statements: &[String]) {
    for statement in statements {
        session.sql(statement);
    }
}
