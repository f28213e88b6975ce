//! What goes wrong with servers: each says what it is and what to do, loses nothing, and goes on once it is mended.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sluice_e2e::database::{Database, Kind, Table, equal, postgres, postgres_options};
use sluice_e2e::mount::SmallDisk;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::{Done, Site};
use sluice_e2e::wait;
use sluice_servers::bson::doc;
use sluice_servers::{Mongo, MongoOptions, Postgres, PostgresOptions, tls};

const EVENTS: &[Table] = &[Table { name: "events", key: &["id"], columns: &[("body", Kind::Plain)] }];

const PIPELINE: &str = "on_error: { base_ms: 50, max_ms: 500 }\ntables: [events]";

fn events(server: &Arc<Postgres>) -> Database {
    let source = Database::on_postgres(server, "events");
    source.sql("CREATE TABLE events (id int PRIMARY KEY, body text); INSERT INTO events VALUES (1, 'first')");
    source
}

/// A site whose source is given by these settings, its target a file.
fn reads_from(settings: &str) -> Site {
    let site = Site::new();
    site.configure_between(settings, "{ kind: sqlite, path: ./target.db }", PIPELINE);
    site
}

/// `check` finds it, and so does `sync`; both end with 1.
#[track_caller]
fn is_refused(site: &Site, code: &str, says: &[&str]) {
    let check = |done: Done| {
        done.says(&[code]);
        done.says(says);
        assert!(!done.text().contains("secret"), "a password is shown: {}", done.text());
    };
    check(site.sluice(&["check"]).ended_with(1));
    check(site.sluice(&["sync"]).ended_with(1));
}

#[test]
fn a_server_that_is_not_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // A server that is away comes back: only `check` ends.
    for settings in [
        format!("{{ kind: postgres, url: \"postgres://postgres:secret@127.0.0.1:{port}/x\" }}"),
        format!(
            "{{ kind: mongodb, url: \"mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=500\", database: x }}"
        ),
    ] {
        let site = Site::with("CREATE TABLE events (id INTEGER PRIMARY KEY)", PIPELINE);
        site.configure_between("{ kind: sqlite, path: ./source.db }", &settings, PIPELINE);
        site.sluice(&["check"]).ended_with(1).says(&["unreachable", "127.0.0.1"]);
        let serve = Serve::start(&site);
        let (code, what) = serve.retrying();
        assert_eq!(code, "unreachable", "{what}");
        assert!(!what.contains("secret"), "{what}");
        serve.stop();
    }
}

#[test]
fn who_the_server_does_not_know() {
    let server = postgres();
    let source = events(&server);
    let Database::Postgres { name, .. } = &source else { unreachable!() };
    let url = server.url(name);
    let wrong_password = url.replace("postgres:secret", "postgres:secretive");
    is_refused(
        &reads_from(&format!("{{ kind: postgres, url: \"{wrong_password}\" }}")),
        "authentication",
        &["postgres"],
    );
    let wrong_role = server.url_as("nobody", name);
    is_refused(
        &reads_from(&format!("{{ kind: postgres, url: \"{wrong_role}\" }}")),
        "authentication",
        &["nobody"],
    );
    let wrong_database = server.url("nowhere");
    is_refused(
        &reads_from(&format!("{{ kind: postgres, url: \"{wrong_database}\" }}")),
        "config-invalid",
        &["CREATE DATABASE", "nowhere"],
    );
}

#[test]
fn tls_that_is_refused_or_can_not_be_verified() {
    let plain = postgres();
    let source = events(&plain);
    let Database::Postgres { name, .. } = &source else { unreachable!() };
    let url = plain.url(name);
    let site = reads_from(&format!("{{ kind: postgres, url: \"{url}\", tls: {{ mode: require }} }}"));
    site.sluice(&["check"]).ended_with(1).says(&["TLS", "ssl = on"]);

    let server = Arc::new(Postgres::start_with(PostgresOptions {
        tls: true,
        hba: vec!["hostssl all sluice 127.0.0.1/32 cert".into(), "hostnossl all sluice all reject".into()],
        ..postgres_options()
    }));
    let source = events(&server);
    let Database::Postgres { name, .. } = &source else { unreachable!() };
    server.sql(name, "CREATE ROLE sluice LOGIN SUPERUSER REPLICATION");
    let tls = tls();
    let with = |host: &str, mode: &str, ca: &std::path::Path| {
        let (cert, key) = (tls.client_cert.display(), tls.client_key.display());
        reads_from(&format!(
            "{{ kind: postgres, host: {host}, port: {}, user: sluice, database: {name}, \
             tls: {{ mode: {mode}, ca: {}, cert: {cert}, key: {key} }} }}",
            server.port(),
            ca.display()
        ))
    };
    with("127.0.0.1", "verify-full", &tls.other_ca).sluice(&["check"]).ended_with(1).says(&["certificate"]);
    // The right one, and a client that is known by its certificate alone.
    let site = with("127.0.0.1", "verify-full", &tls.ca);
    site.sluice(&["check"]).ended_with(0);
    site.sluice(&["sync"]).ended_with(0);
    wait::until("both sides to be equal", || {
        equal(&source, &Database::Sqlite(site.path("target.db")), EVENTS)
    });
}

#[test]
fn a_server_that_can_not_stream() {
    let server = Arc::new(Postgres::start_with(PostgresOptions {
        conf: vec!["wal_level = replica".into()],
        ..Default::default()
    }));
    let source = events(&server);
    is_refused(&reads_from(&source.settings()), "wal_level", &["ALTER SYSTEM SET wal_level", "restart"]);
}

#[test]
fn a_server_without_a_free_slot() {
    let server = Arc::new(Postgres::start_with(PostgresOptions {
        conf: vec!["max_replication_slots = 1".into()],
        ..postgres_options()
    }));
    let source = events(&server);
    source.sql("SELECT pg_create_logical_replication_slot('taken', 'pgoutput')");
    let site = reads_from(&source.settings());
    site.sluice(&["check"]).ended_with(1).says(&["max_replication_slots"]);
    let serve = Serve::start(&site);
    let reason = serve.line_when("the line to stand still", |line| {
        line["phase"] == "paused" || line["phase"] == "retrying"
    });
    assert!(reason["reason"][1].as_str().unwrap().contains("max_replication_slots"), "{reason:#}");
    source.sql("SELECT pg_drop_replication_slot('taken')");
    site.sluice(&["resume", "copy"]).ended_with(0);
    wait::until("both sides to be equal", || {
        equal(&source, &Database::Sqlite(site.path("target.db")), EVENTS)
    });
    serve.stop();
}

#[test]
fn a_role_without_the_rights() {
    let server = postgres();
    let source = events(&server);
    let Database::Postgres { name, .. } = &source else { unreachable!() };
    server.sql(
        name,
        &format!("DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN PASSWORD '{}'", sluice_servers::PASSWORD),
    );
    let settings = format!("{{ kind: postgres, url: \"{}\" }}", server.url_as("poor", name));
    let site = reads_from(&settings);
    let done = site.sluice(&["check"]).ended_with(1);
    done.says(&["ALTER ROLE", "REPLICATION", "GRANT"]);
    // The remedies, as they are written, make it good.
    server.sql(name, "ALTER ROLE poor REPLICATION");
    server
        .sql(name, &format!("GRANT CREATE ON DATABASE \"{name}\" TO poor; ALTER TABLE events OWNER TO poor"));
    server.sql(
        name,
        "GRANT USAGE ON SCHEMA public TO poor; GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor",
    );
    site.sluice(&["check"]).ended_with(0);
    site.sluice(&["sync"]).ended_with(0);
    site.sluice(&["delete", "copy"]).ended_with(0);
}

#[test]
fn a_table_without_a_key() {
    let source = events(&postgres());
    source.sql("CREATE TABLE keyless (body text)");
    let site = Site::new();
    site.configure_between(&source.settings(), "{ kind: sqlite, path: ./target.db }", "tables: [keyless]");
    is_refused(&site, "key-missing", &["keyless", "key"]);
}

/// Which columns tell the rows of such a table apart is said in the configuration, and looked at.
#[test]
fn a_key_that_is_named_for_a_table_without_one() {
    let source = events(&postgres());
    source.sql(
        "CREATE TABLE keyless (g int NOT NULL, body text); ALTER TABLE keyless REPLICA IDENTITY FULL;
         INSERT INTO keyless VALUES (1, 'a'), (2, 'b')",
    );
    let target = Database::postgres("copy");
    let site = Site::between(&source, &target, "tables: [{ from: keyless, key: [g] }]");
    site.sluice(&["check"]).ended_with(0);
    site.sluice(&["sync"]).ended_with(0);
    source.sql("UPDATE keyless SET body = 'c' WHERE g = 2; INSERT INTO keyless VALUES (3, 'd'); DELETE FROM keyless WHERE g = 1");
    site.sluice(&["sync"]).ended_with(0);
    assert_eq!(target.one("SELECT string_agg(g || body, ',' ORDER BY g) FROM keyless"), "2c,3d");
    site.sluice(&["delete", "copy"]).ended_with(0);

    // Two rows of one key would be one at the target.
    source.sql("INSERT INTO keyless VALUES (3, 'again')");
    target.sql("DROP TABLE keyless");
    site.sluice(&["sync"]).ended_with(1).says(&["key-missing", "keyless", "several rows have the same key"]);
}

/// What gives rows other values is not in the log: it is told before anything else is read.
#[test]
fn a_table_that_is_written_anew_between_two_runs() {
    let (source, target) = (events(&postgres()), Database::postgres("copy"));
    source.sql("ALTER TABLE events ADD n int DEFAULT 1");
    let site = Site::between(&source, &target, "tables: [events]");
    site.sluice(&["sync"]).ended_with(0);
    source.sql(
        "ALTER TABLE events ALTER n TYPE bigint USING n * 1000; INSERT INTO events VALUES (900, 'later', 7)",
    );
    // However often it is run: a clock that runs it decides nothing.
    for _ in 0..2 {
        site.sluice(&["sync"]).ended_with(1).says(&["schema-changed", "sluice resnapshot", "events"]);
    }
    assert_eq!(target.one("SELECT count(*) FROM events WHERE id = 900"), "0");
    site.sluice(&["resnapshot", "copy", "--table", "evnets"]).ended_with(1).says(&["public.events"]);
    site.sluice(&["resnapshot", "copy", "--table", "events"]).ended_with(0);
    target.sql("ALTER TABLE events ALTER n TYPE bigint");
    site.sluice(&["sync"]).ended_with(0);
    let sum = "SELECT count(*) || ' ' || sum(n) FROM events";
    assert_eq!(source.one(sum), target.one(sum));

    // Or the rows kept their values, and somebody says so.
    for database in [&source, &target] {
        database.sql("ALTER TABLE events ALTER n TYPE numeric");
    }
    source.sql("INSERT INTO events VALUES (901, 'later', 8)");
    site.sluice(&["sync"]).ended_with(1).says(&["schema-changed", "sluice resume"]);
    site.sluice(&["resume", "copy"]).ended_with(0).says(&["taken as they are: public.events"]);
    site.sluice(&["sync"]).ended_with(0);
    assert_eq!(source.one(sum), target.one(sum));
}

/// Where a row goes may depend on how it was: the log has to keep that.
#[test]
fn a_route_over_a_table_whose_log_keeps_rows_whole_or_not() {
    let (source, target) = (events(&postgres()), Database::postgres("copy"));
    source.sql("ALTER TABLE events ADD big text; ALTER TABLE events ALTER big SET STORAGE EXTERNAL");
    source.sql("INSERT INTO events SELECT i, 'open', repeat('x', 3000) FROM generate_series(2, 9) i");
    let step = "{ plugin: route, config: { column: body, to: { done: finished } } }";
    let site = Site::between(&source, &target, &format!("tables: [{{ from: events, transform: [{step}] }}]"));
    site.sluice(&["check"]).ended_with(1).says(&["REPLICA IDENTITY FULL"]);
    site.sluice(&["sync"]).ended_with(1);
    source.sql("ALTER TABLE events REPLICA IDENTITY FULL");
    site.sluice(&["check"]).ended_with(0);
    site.sluice(&["sync"]).ended_with(0);
    source.sql("UPDATE events SET body = 'done' WHERE id IN (2, 3); DELETE FROM events WHERE id = 3");
    site.sluice(&["sync"]).ended_with(0);
    let ids = |table: &str| {
        target.one(&format!(
            "SELECT string_agg(id::text, ',' ORDER BY id) || ' ' || sum(length(big)) FROM {table}"
        ))
    };
    assert_eq!((ids("events"), ids("finished")), ("1,4,5,6,7,8,9 18000".into(), "2 3000".into()));

    // Changes from a time when it did not keep them can't be placed.
    source.sql("ALTER TABLE events REPLICA IDENTITY DEFAULT");
    source.sql("UPDATE events SET body = 'done' WHERE id = 5");
    source.sql("ALTER TABLE events REPLICA IDENTITY FULL; UPDATE events SET body = 'done' WHERE id = 6");
    for _ in 0..2 {
        site.sluice(&["sync"]).ended_with(1).says(&["capture-broken", "whole images", "sluice resnapshot"]);
        site.sluice(&["resume", "copy"]).ended_with(0);
    }
    assert_eq!(ids("finished"), "2 3000");
    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    site.sluice(&["sync"]).ended_with(0);
    assert_eq!((ids("events"), ids("finished")), ("1,4,7,8,9 12000".into(), "2,5,6 9000".into()));
}

/// A column's type changes while rows flow.
#[test]
fn a_column_that_changes_its_type() {
    let (source, target) = (events(&postgres()), Database::postgres("copy"));
    let site = Site::between(&source, &target, PIPELINE);
    let serve = Serve::start(&site);
    serve.caught_up();
    source.sql("ALTER TABLE events ALTER body TYPE bigint USING length(body)");
    source.sql("INSERT INTO events VALUES (2, 22)");
    let (code, what) = serve.paused();
    assert_eq!(code, "schema-changed", "{what}");
    assert!(what.contains("events"), "{what}");
    assert_eq!(target.one("SELECT count(*) FROM events"), "1");
    serve.stop();
}

/// And while rows of before are in the log: what was asked for, to read the table again, makes up for them.
#[test]
fn a_column_that_has_changed_its_type_before_its_rows_were_read() {
    let (source, target) = (events(&postgres()), Database::postgres("copy"));
    let site = Site::between(&source, &target, PIPELINE);
    site.sluice(&["sync"]).ended_with(0);
    source.sql("INSERT INTO events VALUES (2, 'second'); DELETE FROM events WHERE id = 1");
    for database in [&source, &target] {
        database.sql("ALTER TABLE events ALTER body TYPE bigint USING length(body)");
    }
    source.sql("INSERT INTO events VALUES (3, 33)");
    let serve = Serve::start(&site);
    let (code, what) = serve.paused();
    assert_eq!(code, "schema-changed", "{what}");
    assert!(what.contains("sluice resnapshot"), "{what}");
    site.sluice(&["resnapshot", "copy", "--table", "public.events"]).ended_with(0);
    site.sluice(&["resume", "copy"]).ended_with(0);
    wait::until("both sides to be equal", || equal(&source, &target, EVENTS));
    source.sql("UPDATE events SET body = 44 WHERE id = 2");
    wait::until("both sides to be equal", || equal(&source, &target, EVENTS));
    serve.stop();
}

/// A row that the target can't hold becomes a dead letter, the others come.
#[test]
fn a_row_that_the_target_can_not_hold() {
    let source = events(&postgres());
    source.sql("INSERT INTO events VALUES (2, 'fits')");
    for (target, refuse) in [
        (
            Database::postgres("copy"),
            "CREATE TABLE events (id int PRIMARY KEY, body varchar(5) CHECK (body <> 'bad'))",
        ),
        (Database::mongo("copy"), ""),
    ] {
        if let Database::Postgres { .. } = target {
            target.sql(refuse);
        }
        let site = Site::between(&source, &target, "on_error: { retries: 0 }\ntables: [events]");
        let serve = Serve::start(&site);
        serve.caught_up();
        match target {
            // The largest document that MongoDB has is 16 MiB.
            Database::Mongo { .. } => source.sql("INSERT INTO events SELECT 3, repeat('x', 17000000)"),
            _ => source.sql("INSERT INTO events VALUES (3, 'bad')"),
        };
        serve.line_when("the dead letter", |line| line["dead_letters"] == 1);
        let kept = target.rows(&EVENTS[0]).unwrap();
        assert!(kept.iter().any(|row| row[1].as_deref() == Some("fits")), "{kept:?}");
        let letters = site.sluice(&["dlq", "list", "copy", "--json"]).ended_with(0).json();
        let code = letters["dead_letters"][0]["reason"]["code"].clone();
        let known = [json!("row-refused"), json!("value-unrepresentable"), json!("value_too_large")];
        assert!(
            known.contains(&code)
                || letters.to_string().contains("row-refused")
                || letters.to_string().contains("unrepresentable"),
            "{letters:#}"
        );
        source.sql("DELETE FROM events WHERE id = 3");
        serve.stop();
        site.sluice(&["delete", "copy"]).ended_with(0);
    }
}

#[test]
fn a_target_whose_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("small");
    let Some(disk) = SmallDisk::mount(&at, "24m") else {
        println!("SKIPPED: only root may mount the small disk that this test needs");
        return;
    };
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (source, target) = (events(&postgres()), Database::postgres("copy"));
    let Database::Postgres { server, name } = &target else { unreachable!() };
    let chown = std::process::Command::new("chown").arg("postgres").arg(&at).status().unwrap();
    assert!(chown.success());
    // A tablespace can't be made in a function or a transaction, so not together with anything.
    let space = format!("small_{name}");
    server.sql("postgres", &format!("CREATE TABLESPACE {space} LOCATION '{}'", at.display()));
    server.sql(name, &format!("CREATE TABLE events (id int PRIMARY KEY, body text) TABLESPACE {space}; ALTER TABLE events ALTER body SET STORAGE EXTERNAL"));
    let site = Site::between(&source, &target, PIPELINE);
    let serve = Serve::start(&site);
    serve.caught_up();
    source.sql("ALTER TABLE events ALTER body SET STORAGE EXTERNAL; INSERT INTO events SELECT i, repeat(md5(i::text), 1000) FROM generate_series(2, 1500) i");
    let (code, what) = serve.retrying();
    assert_eq!(code, "disk-full", "{what}");
    assert_eq!(serve.line()["dead_letters"], 0);
    disk.grow("256m");
    wait::until_within(Duration::from_secs(120), "both sides to be equal", || {
        equal(&source, &target, EVENTS)
    });
    assert_eq!(serve.line()["dead_letters"], 0);
    serve.stop();
    server.sql(name, "DROP TABLE events");
    server.sql("postgres", &format!("DROP TABLESPACE {space}"));
}

#[test]
fn a_mongod_that_has_no_transactions() {
    let server = Arc::new(Mongo::start_with(MongoOptions { replica_set: false, ..Default::default() }));
    let (source, target) = (events(&postgres()), Database::on_mongo(&server, "copy"));
    let site = Site::between(&source, &target, PIPELINE);
    site.sluice(&["check"]).ended_with(1).says(&["replica set", "rs.initiate"]);
    site.sluice(&["sync"]).ended_with(1).says(&["replica set"]);
    assert!(server.find("copy", "events").is_empty());
}

#[test]
fn a_mongod_that_asks_who_is_there() {
    let reader = doc! { "createUser": "reader", "pwd": "secret", "roles": [{ "role": "read", "db": "copy" }], "$db": "copy" };
    let server = Mongo::start_with(MongoOptions { auth: true, users: vec![reader], ..Default::default() });
    let site = Site::with("CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT)", PIPELINE);
    let to = |user: &str| {
        let url = server.url().replace("root:secret@", user).replace("&authSource=admin", "&authSource=copy");
        site.configure_between(
            "{ kind: sqlite, path: ./source.db }",
            &format!("{{ kind: mongodb, url: \"{url}\", database: copy }}"),
            PIPELINE,
        );
        site.sluice(&["check"])
    };
    to("nobody:secret@").ended_with(1).says(&["authentication"]);
    to("").ended_with(1).says(&["auth"]);
    to("reader:secret@").says(&["privileges", "readWrite"]);
}
