//! What is special about PostgreSQL's log: commits that are in the log before they are visible, slots that are gone or ahead, and a
//! database that is idle while others write (I1, I5, I12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_e2e::database::{Database, Kind, Table, equal, postgres_options};
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::wait;
use sluice_servers::{Postgres, PostgresOptions};

const EVENTS: &[Table] = &[Table { name: "events", key: &["id"], columns: &[("body", Kind::Plain)] }];

const PIPELINE: &str = "on_error: { base_ms: 50, max_ms: 500 }\ntables: [events]";

fn server(conf: &[&str]) -> Arc<Postgres> {
    let mut options: PostgresOptions = postgres_options();
    options.conf.extend(conf.iter().map(ToString::to_string));
    Arc::new(Postgres::start_with(options))
}

fn events(server: &Arc<Postgres>) -> Database {
    let source = Database::on_postgres(server, "events");
    source.sql("CREATE TABLE events (id int PRIMARY KEY, body text); INSERT INTO events SELECT i, 'first' FROM generate_series(1, 9) i");
    source
}

#[track_caller]
fn become_equal(source: &Database, target: &Database) {
    wait::until("both sides to be equal", || equal(source, target, EVENTS));
}

#[test]
fn a_commit_that_is_streamed_before_it_is_visible_wins_over_the_chunk_that_did_not_see_it() {
    // The standby is never there; what doesn't ask for it doesn't wait.
    let server = server(&["synchronous_standby_names = 'nobody'", "synchronous_commit = local"]);
    let (source, target) = (events(&server), Database::postgres("copy"));
    let Database::Postgres { name, .. } = &source else { unreachable!() };
    let site = Site::between(&source, &target, PIPELINE);
    let serve = Serve::start(&site);
    serve.caught_up();
    become_equal(&source, &target);
    serve.stop();

    let mut waiting = server.session(name);
    waiting.sql("SET synchronous_commit = on");
    waiting
        .start(
            "BEGIN;
             UPDATE events SET body = 'newer' WHERE id = 1;
             DELETE FROM events WHERE id = 2;
             INSERT INTO events VALUES (30, 'newer');
             UPDATE events SET id = 40 WHERE id = 4;
             COMMIT",
        )
        .unwrap();
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event = 'SyncRep'",
        waiting.pid()
    );
    wait::until("the commit to wait", || wait::when(server.one(name, &waits), |count| count == "1"));
    assert_eq!(server.one(name, "SELECT body FROM events WHERE id = 1"), "first", "it is not visible");

    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    let serve = Serve::start(&site);
    let ids = || target.one("SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM events");
    wait::until("the newer rows", || wait::when(ids(), |ids| ids == "1 3 5 6 7 8 9 30 40"));
    assert_eq!(target.one("SELECT string_agg(body, ' ') FROM events WHERE id IN (1, 30)"), "newer newer");
    assert_eq!(server.one(name, "SELECT body FROM events WHERE id = 1"), "first", "it is still not visible");
    wait::holds_for(Duration::from_secs(2), "the newer rows", || {
        let body = target.one("SELECT body FROM events WHERE id = 1");
        if body == "newer" { Ok(()) } else { Err(body) }
    });
    server.conf(&["synchronous_standby_names = ''"]);
    server.reload();
    waiting.finish().unwrap();
    serve.line_when("the target to be consistent", |line| line["ready"] == true);
    become_equal(&source, &target);
    assert_eq!(serve.metric("sluice_dead_letters"), 0.0);
    serve.stop();
}

/// Source and target in step, the target as it was before that in a backup, and a site.
fn restored_target(policy: &str) -> (Arc<Postgres>, Database, Database, Site) {
    let (here, there) = (server(&[]), server(&[]));
    let (source, target) = (events(&here), Database::on_postgres(&there, "copy"));
    let pipeline = format!("on_position_lost: {policy}\n{PIPELINE}");
    let site = Site::between(&source, &target, &pipeline);
    site.sluice(&["sync"]).ended_with(0);
    become_equal(&source, &target);
    let backup = there.backup("backup");
    let confirmed = || source.one("SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots");
    let before = confirmed();
    source.sql("INSERT INTO events SELECT i, 'second' FROM generate_series(100, 200) i; UPDATE events SET body = 'second' WHERE id < 4");
    // A run confirms what is durable, at the latest when it ends.
    wait::until("the source to be told", || {
        site.sluice(&["sync"]).ended_with(0);
        wait::when(confirmed(), |now| *now != before)
    });
    become_equal(&source, &target);
    let restored = Arc::new(there.restored(&backup));
    let Database::Postgres { name, .. } = &target else { unreachable!() };
    let target = Database::Postgres { server: restored, name: name.clone() };
    site.configure_between(&source.settings(), &target.settings(), &pipeline);
    (here, source, target, site)
}

#[test]
fn a_target_restored_from_a_base_backup_leaves_no_hole() {
    let (_here, source, target, site) = restored_target("fail");
    let serve = Serve::start(&site);
    let (code, what) = serve.paused();
    assert_eq!(code, "position-lost", "{what}");
    assert!(what.contains("resnapshot"), "it names the remedy: {what}");
    assert!(equal(&source, &target, EVENTS).is_err(), "nothing was written over the hole");
    site.sluice(&["sync"]).ended_with(1);
    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    site.sluice(&["resume", "copy"]).ended_with(0);
    become_equal(&source, &target);
    serve.stop();
}

#[test]
fn a_target_restored_from_a_base_backup_is_made_again_where_wanted() {
    let (_here, source, target, site) = restored_target("resnapshot");
    site.sluice(&["sync"]).ended_with(0);
    become_equal(&source, &target);
}

/// Everything up to now is in the target and the service stands still; then `harm`; then the service must say what is lost.
#[track_caller]
fn lost_while_away(conf: &[&str], harm: impl FnOnce(&Arc<Postgres>, &Database)) {
    let server = server(conf);
    let (source, target) = (events(&server), Database::postgres("copy"));
    let site = Site::between(&source, &target, PIPELINE);
    site.sluice(&["sync"]).ended_with(0);
    harm(&server, &source);
    source.sql("INSERT INTO events VALUES (1000, 'after')");
    let serve = Serve::start(&site);
    let (code, what) = serve.paused();
    assert_eq!(code, "position-lost", "{what}");
    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    site.sluice(&["resume", "copy"]).ended_with(0);
    become_equal(&source, &target);
    // And the stream goes on from there.
    source.sql("DELETE FROM events WHERE id = 1000; INSERT INTO events VALUES (1001, 'later')");
    become_equal(&source, &target);
    serve.stop();
}

#[test]
fn a_slot_that_was_dropped_is_a_lost_position() {
    lost_while_away(&[], |_, source| {
        source.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    });
}

#[test]
fn a_slot_that_was_invalidated_is_a_lost_position() {
    lost_while_away(
        &["max_slot_wal_keep_size = '1MB'", "max_wal_size = '32MB'", "min_wal_size = '32MB'"],
        |server, source| {
            let lost = || source.one("SELECT wal_status FROM pg_replication_slots");
            wait::until("the slot to be invalidated", || {
                server.sql(
                    "postgres",
                    "CREATE TABLE noise AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 60000) i",
                );
                server.sql("postgres", "DROP TABLE noise");
                server.sql("postgres", "SELECT pg_switch_wal()");
                server.sql("postgres", "CHECKPOINT");
                wait::when(lost(), |status| status == "lost")
            });
        },
    );
}

/// The service runs; `harm` is done under its feet; then it must say this.
#[track_caller]
fn harmed_while_running(harm: &[&str], codes: &[&str]) {
    let server = server(&[]);
    let (source, target) = (events(&server), Database::postgres("copy"));
    let site = Site::between(&source, &target, PIPELINE);
    let serve = Serve::start(&site);
    serve.caught_up();
    harm.iter().for_each(|sql| drop(source.sql(sql)));
    source.sql("INSERT INTO events VALUES (1000, 'after')");
    let (code, what) = serve.paused();
    assert!(codes.contains(&code.as_str()), "{code}: {what}");
    assert!(equal(&source, &target, EVENTS).is_err(), "not every row can have come");
    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    site.sluice(&["resume", "copy"]).ended_with(0);
    become_equal(&source, &target);
    serve.stop();
}

#[test]
fn a_slot_that_is_dropped_under_a_running_line() {
    harmed_while_running(
        &["DO $$ DECLARE slot record; BEGIN
           FOR slot IN SELECT * FROM pg_replication_slots WHERE database = current_database() LOOP
             LOOP
               BEGIN
                 PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = slot.slot_name;
                 PERFORM pg_drop_replication_slot(slot.slot_name);
                 EXIT;
               EXCEPTION WHEN object_in_use THEN NULL;
               END;
             END LOOP;
           END LOOP;
         END $$"],
        &["position-lost", "capture-broken"],
    );
}

#[test]
fn a_publication_that_is_dropped_under_a_running_line() {
    harmed_while_running(
        &[
            "DO $$ DECLARE p text; BEGIN FOR p IN SELECT pubname FROM pg_publication LOOP EXECUTE format('DROP PUBLICATION %I', p); END LOOP; END $$",
        ],
        &["capture-broken", "position-lost"],
    );
}

/// Afterwards the publication looks as before, and nothing in the stream tells of it.
#[test]
fn a_table_that_is_taken_out_of_the_publication_and_put_back_under_a_running_line() {
    let alter = |what: &str| {
        format!(
            "DO $$ BEGIN EXECUTE (SELECT format('ALTER PUBLICATION %I {what} TABLE events', pubname) FROM pg_publication); END $$"
        )
    };
    let missed = "INSERT INTO events VALUES (999, 'missed'); DELETE FROM events WHERE id = 5";
    harmed_while_running(&[&alter("DROP"), missed, &alter("ADD")], &["capture-broken"]);
}

#[test]
fn an_idle_database_keeps_no_growing_log_while_others_write() {
    let server = server(&["max_wal_size = '64MB'"]);
    let (source, target) = (events(&server), Database::postgres("copy"));
    let settings = source.settings().replacen("{ ", "{ heartbeat_secs: 1, ", 1);
    let site = Site::new();
    site.configure_between(&settings, &target.settings(), PIPELINE);
    let serve = Serve::start(&site);
    serve.caught_up();
    let retained = || -> u64 {
        let query = "SELECT (pg_current_wal_lsn() - restart_lsn)::bigint FROM pg_replication_slots";
        source.one(query).parse().expect("a number")
    };
    // Another database writes a hundred times what may stay.
    let mut most = 0;
    for _ in 0..12 {
        server.sql(
            "postgres",
            "CREATE TABLE noise AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 20000) i",
        );
        server.sql("postgres", "DROP TABLE noise");
        // As a busy server logs by itself every 15 seconds.
        server.sql("postgres", "CHECKPOINT");
        wait::until("the slot to follow", || wait::when(retained(), |bytes| *bytes < 16 << 20));
        most = most.max(retained());
    }
    println!("at most {} MiB retained", most >> 20);
    let seen = || serve.metric("sluice_source_retained_bytes");
    wait::until("the metric to say so", || {
        wait::when(seen(), |bytes| *bytes > 0.0 && *bytes < (16 << 20) as f64)
    });
    assert_eq!(serve.line()["phase"], "streaming");
    serve.stop();
}

/// Nobody reads the log then, and it grows: that is when its owner has to hear of it.
#[test]
fn a_target_that_is_away_makes_the_log_grow_only_to_its_limit() {
    let server = server(&["max_wal_size = '64MB'"]);
    let source = events(&server);
    let target = Database::alone_on_postgres("copy");
    let Database::Postgres { server: away, .. } = &target else { unreachable!() };
    let limits = source.settings().replacen("{ ", "{ retained: { warn: 4MiB, limit: 24MiB }, ", 1);
    let site = Site::new();
    site.configure_between(&limits, &target.settings(), PIPELINE);
    let serve = Serve::start(&site);
    serve.caught_up();
    away.stop();
    source.sql("UPDATE events SET body = 'unseen' WHERE id = 3");
    let write = || {
        server.sql(
            "postgres",
            "CREATE TABLE noise AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 12000) i",
        );
        server.sql("postgres", "DROP TABLE noise");
    };
    let warnings =
        || site.log().lines().filter(|line| line.contains("WARN") && line.contains("retains")).count();
    write();
    wait::until("the warning", || wait::when(warnings(), |count| *count == 1));
    write();
    write();
    let (code, what) = serve.paused();
    assert_eq!(code, "retained-limit", "{what}");
    assert!(serve.metric("sluice_source_retained_bytes") > (24 << 20) as f64);
    assert_eq!(warnings(), 1, "{}", site.log());
    away.start_again();
    site.sluice(&["resume", "copy"]).ended_with(0);
    become_equal(&source, &target);
    serve.stop();
}

#[test]
fn sync_ends_on_an_idle_source_and_keeps_the_slot_until_told_otherwise() {
    let server = server(&[]);
    let (source, target) = (events(&server), Database::postgres("copy"));
    let site = Site::between(&source, &target, PIPELINE);
    let slots = || source.one("SELECT count(*) FROM pg_replication_slots");
    site.sluice(&["sync"]).ended_with(0);
    become_equal(&source, &target);
    let started = Instant::now();
    site.sluice(&["sync"]).ended_with(0);
    assert!(started.elapsed() < Duration::from_secs(15), "an idle source takes {:?}", started.elapsed());
    source.sql("UPDATE events SET body = 'changed' WHERE id > 3");
    site.sluice(&["sync"]).ended_with(0);
    become_equal(&source, &target);
    assert_eq!(slots(), "1", "the next run goes on from it");
    site.sluice(&["sync", "--drop-slot"]).ended_with(0).says(&["sluice resnapshot"]);
    assert_eq!(slots(), "0");
    assert_eq!(source.one("SELECT count(*) FROM pg_publication"), "0");
    // What comes now is not in anybody's log: the next run says so.
    source.sql("INSERT INTO events VALUES (50, 'unseen')");
    site.sluice(&["sync"]).ended_with(1).says(&["position-lost"]);
}
