use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sluice_servers::{Postgres, PostgresOptions, installed, tls};

#[test]
fn it_starts_quickly_and_goes_without_a_trace() {
    let server = Postgres::start();
    let pid = server.pid();
    let folder = server.socket_dir().to_path_buf();
    assert_eq!(server.one("postgres", "SHOW wal_level"), "logical");
    assert_eq!(server.sql("postgres", "SELECT 1, NULL, 'ä'"), [[Some("1".into()), None, Some("ä".into())]]);
    let error = server.try_sql("postgres", "SELECT 1/0").unwrap_err();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("22012", "division by zero"));
    let error = server.try_sql("nowhere", "SELECT 1").unwrap_err();
    assert_eq!(error.code, "3D000", "{error}");
    drop(server);
    assert!(!folder.exists() && !running(pid));
}

#[test]
fn every_installed_version_starts_and_each_server_is_a_system_of_its_own() {
    let identifier =
        |server: &Postgres| server.one("postgres", "SELECT system_identifier FROM pg_control_system()");
    let mut seen = Vec::new();
    for version in installed().into_iter().flat_map(|installed| [installed.version; 2]) {
        let server = Postgres::start_with(PostgresOptions { version: Some(version), ..Default::default() });
        assert_eq!(
            server.one("postgres", "SELECT current_setting('server_version_num')::int / 10000"),
            version.to_string()
        );
        let before = identifier(&server);
        server.restart();
        assert_eq!(identifier(&server), before);
        assert!(!seen.contains(&before), "{seen:?}");
        seen.push(before);
    }
}

#[test]
fn what_was_committed_is_there_after_a_stop_and_after_a_kill() {
    let server = Postgres::start();
    let database = server.database("kept");
    server.sql(&database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    server.stop();
    assert!(server.try_sql(&database, "SELECT 1").is_err());
    server.start_again();
    server.sql(&database, "INSERT INTO t VALUES (2)");
    let mut open = server.session(&database);
    open.sql("BEGIN; INSERT INTO t VALUES (3)");
    server.kill();
    assert!(open.run("COMMIT").is_err());
    server.start_again();
    assert_eq!(server.one(&database, "SELECT array_agg(id ORDER BY id) FROM t"), "{1,2}");
}

#[test]
fn a_backup_becomes_a_server_as_it_was() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let backup = server.backup("backup");
    server.sql("postgres", "INSERT INTO t VALUES (2)");
    let restored = server.restored(&backup);
    assert_eq!(restored.one("postgres", "SELECT count(*) FROM t"), "1");
    assert_eq!(server.one("postgres", "SELECT count(*) FROM t"), "2");
}

#[test]
fn a_standby_follows_and_takes_no_writes() {
    let server = Postgres::start();
    let standby = server.standby();
    assert_eq!(standby.one("postgres", "SELECT pg_is_in_recovery()"), "t");
    server.sql("postgres", "CREATE TABLE t (id int PRIMARY KEY)");
    let started = Instant::now();
    while standby.try_sql("postgres", "SELECT FROM t").is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not follow");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(standby.try_sql("postgres", "INSERT INTO t VALUES (1)").unwrap_err().code, "25006");
}

#[test]
fn psql_runs_statement_by_statement_what_is_pasted_into_it() {
    let server = Postgres::start();
    // In one message they would be one transaction, in which the first can't run.
    server
        .psql("postgres", "ALTER SYSTEM SET work_mem = '5MB'; SELECT pg_reload_conf(); -- and so on")
        .unwrap();
    let refused = server.psql("postgres", "SELECT 1; SELECT nothing").unwrap_err();
    assert!(refused.contains("nothing"), "{refused}");
}

#[test]
fn a_commit_can_wait_for_a_standby_that_is_not_there() {
    let server = Postgres::start_with(PostgresOptions {
        conf: vec!["synchronous_standby_names = 'nobody'".into()],
        ..Default::default()
    });
    let mut waiting = server.session("postgres");
    let mut other = server.session("postgres");
    other.sql("SET synchronous_commit = local; CREATE TABLE t (id int PRIMARY KEY)");
    waiting.start("INSERT INTO t VALUES (1)").unwrap();
    let waits = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {}", waiting.pid());
    let started = Instant::now();
    while other.sql(&waits) != [[Some("SyncRep".to_string())]] {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", other.sql(&waits));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(
        other.sql("SELECT count(*) FROM t"),
        [[Some("0".to_string())]],
        "not visible before it is acknowledged"
    );
    server.conf(&["synchronous_standby_names = ''"]);
    server.reload();
    waiting.finish().unwrap();
}

#[test]
fn it_speaks_tls_with_certificates_that_can_be_verified() {
    let server = Postgres::start_with(PostgresOptions {
        tls: true,
        hba: vec!["hostssl all sluice 127.0.0.1/32 cert".into(), "hostnossl all sluice all reject".into()],
        ..Default::default()
    });
    server.sql("postgres", "CREATE ROLE sluice LOGIN");
    let tls = tls();
    // The client's key is this user's, so psql runs as this user and not as the server's.
    let psql = Command::new(installed()[0].bin.join("psql"))
        .args(["-Atc", "SELECT current_user", "-d"])
        .arg(format!(
            "host=127.0.0.1 port={} user=sluice dbname=postgres sslmode=verify-full sslrootcert={} sslcert={} sslkey={}",
            server.port(), tls.ca.display(), tls.client_cert.display(), tls.client_key.display(),
        ))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&psql.stdout).trim(), "sluice", "{psql:?}");
}

/// The end of a killed test, seen from outside: this test runs itself as another process and kills that.
#[test]
fn it_ends_with_the_process_that_started_it_even_by_kill_9() {
    const INNER: &str = "SLUICE_SERVERS_INNER";
    if let Ok(file) = std::env::var(INNER) {
        let server = Postgres::start();
        std::fs::write(&file, format!("{} {}", server.pid(), server.socket_dir().display())).unwrap();
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("started");
    let mut inner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::it_ends_with_the_process_that_started_it_even_by_kill_9"])
        .env(INNER, &file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let patience = Instant::now();
    let said = loop {
        match std::fs::read_to_string(&file) {
            Ok(said) if said.contains(' ') => break said,
            _ => assert!(
                patience.elapsed() < Duration::from_secs(60),
                "the inner test does not start a server"
            ),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let (pid, dir) = said.split_once(' ').unwrap();
    assert!(running(pid.parse().unwrap()));
    inner.kill().unwrap();
    inner.wait().unwrap();
    let patience = Instant::now();
    while running(pid.parse().unwrap()) || std::path::Path::new(dir).exists() {
        assert!(patience.elapsed() < Duration::from_secs(30), "server {pid} in {dir} lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
