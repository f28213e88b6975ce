//! What is kept at the source, and what becomes of the line when somebody else takes it away.

use std::time::Duration;

use sluice_servers::{Postgres, PostgresOptions};
use sluice_types::ports::Read;
use sluice_types::{ErrorKind, Value};

use crate::follow::{Follow, LIMITS};
use crate::harness::Place;

pub const SLOT: &str = "sluice_01234567_p";

pub async fn filled() -> (Place, Follow) {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x')");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t VALUES (2, 'y')");
    follow.events().await;
    (place, follow)
}

/// A server with these lines in its configuration.
fn configured(lines: &[&str]) -> Place {
    let conf = lines.iter().map(|line| line.to_string()).collect();
    Place::on(Postgres::start_with(PostgresOptions { conf, ..PostgresOptions::default() }))
}

pub async fn eventually(place: &Place, query: &str) {
    for _ in 0..200 {
        if place.sql(query)[0][0].as_deref() == Some("t") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {query}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_or_publication_that_is_gone_is_a_lost_position() {
    for taken in [
        format!("SELECT pg_drop_replication_slot('{SLOT}')"),
        format!("DROP PUBLICATION {SLOT}"),
        format!("SELECT pg_drop_replication_slot('{SLOT}'); DROP PUBLICATION {SLOT}"),
    ] {
        let (place, follow) = filled().await;
        let at = follow.at.clone();
        drop(follow);
        eventually(&place, "SELECT bool_and(NOT active) FROM pg_replication_slots").await;
        place.sql(&taken);
        place.sql("INSERT INTO t VALUES (3, 'missed')");
        for _ in 0..2 {
            let error =
                Follow::resume(&place, "p", &["t"], Some(at.clone())).await.err().expect("not in silence");
            assert_eq!(error.kind(), ErrorKind::PositionLost, "{taken}: {error}");
        }
    }
}

/// Where the server can keep a slot at standbys, a failover to one is not to lose it.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_outlives_a_failover_where_the_server_can_do_that() {
    let (place, mut follow) = filled().await;
    let kept = place.sql("SELECT to_jsonb(s) ->> 'failover' FROM pg_replication_slots s");
    let expected = (place.server.version() >= 17).then(|| "true".to_string());
    assert_eq!(kept, [[expected]]);
    place.sql("INSERT INTO t VALUES (3, 'z')");
    assert_eq!(follow.events().await.len(), 1);
    follow.source.confirm(&follow.at.clone()).await.unwrap();
    let at = follow.at.clone();
    drop(follow);
    place.sql("INSERT INTO t VALUES (4, 'later')");
    let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    assert_eq!(again.events().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_the_server_gave_up_is_a_lost_position() {
    let place = configured(&["max_slot_wal_keep_size = 1MB", "max_wal_size = 32MB", "min_wal_size = 32MB"]);
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let follow = Follow::start(&place, &["t"]).await;
    let at = follow.at.clone();
    drop(follow);
    for _ in 0..4 {
        place.sql(
            "SELECT pg_logical_emit_message(true, 'x', repeat('x', 1000000)) FROM generate_series(1, 20)",
        );
        place.sql("SELECT pg_switch_wal()");
        place.sql("CHECKPOINT");
    }
    let error = Follow::resume(&place, "p", &["t"], Some(at)).await.err().expect("not in silence");
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_taken_out_or_made_again_is_a_broken_capture() {
    for taken in [
        format!("ALTER PUBLICATION {SLOT} DROP TABLE t"),
        "DROP TABLE t; CREATE TABLE t(id int PRIMARY KEY, a text)".into(),
    ] {
        let (place, mut follow) = filled().await;
        place.sql(&taken);
        let at = follow.at.clone();
        let error =
            Follow::resume(&place, "p", &["t"], Some(at.clone())).await.err().expect("not in silence");
        assert_eq!(error.kind(), ErrorKind::CaptureBroken, "{taken}: {error}");
        assert!(follow.source.detach(&[follow.schemas[0].table.clone()]).await.unwrap());
        drop(follow);
        let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
        place.sql("INSERT INTO t VALUES (9, 'new')");
        assert_eq!(again.events().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_table_waits_for_transactions_that_changed_it_before() {
    let (place, follow) = filled().await;
    place.sql("CREATE TABLE u(id int PRIMARY KEY)");
    let at = follow.at.clone();
    drop(follow);
    let mut old = place.server.session(crate::harness::DATABASE);
    old.sql("BEGIN");
    old.sql("INSERT INTO u VALUES (1)");
    let idle = {
        // A transaction that has nothing to do with the table is not waited for.
        let mut idle = place.server.session(crate::harness::DATABASE);
        idle.sql("BEGIN");
        idle.sql("INSERT INTO t VALUES (77, 'idle')");
        idle
    };
    let commit = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        old.sql("INSERT INTO u VALUES (2)");
        old.sql("COMMIT");
    });
    let mut follow = Follow::resume(&place, "p", &["u", "t"], Some(at)).await.unwrap();
    commit.join().unwrap();
    let ids: Vec<Value> = follow.chunk().await.rows.iter().map(|row| row.get(0).clone()).collect();
    assert_eq!(ids, [1.into(), 2.into()]);
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_retains_nothing() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE other(a text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    let end = place.sql("SELECT pg_current_wal_lsn()")[0][0].clone().unwrap();
    let head = follow.source.head().await.unwrap();
    while follow.at < head {
        let Read::Progress(to) = follow.next(&LIMITS).await.unwrap() else {
            panic!("nothing of ours has changed")
        };
        follow.source.confirm(&to).await.unwrap();
        follow.at = to;
    }
    eventually(&place, &format!("SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_retained_limit_the_line_is_paused_and_keeps_its_slot() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE other(a text)");
    let settings = serde_json::json!({ "url": place.server.url(crate::harness::DATABASE),
                                       "retained": { "warn": "100kB", "limit": "1500kB" } });
    let endpoint = crate::harness::endpoint_with(settings);
    let line = crate::harness::line("p");
    assert!(endpoint.retained(&line).await.unwrap().is_none(), "there is no slot yet");
    let follow = Follow::start(&place, &["t"]).await;
    // Nobody streams it, as while the target is away or the line is paused: there is no source that could be asked.
    drop(follow);
    let below = endpoint.retained(&line).await.unwrap().unwrap();
    assert!(below.bytes < 1_000_000 && below.passed.is_none(), "{below:?}");
    place.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
    // A line that tries again opens its source anew: that neither hides the limit nor tells it again.
    drop(endpoint.source(&line).await.unwrap());
    let above = endpoint.retained(&line).await.unwrap().unwrap();
    assert_eq!(above.passed.expect("the limit").kind(), ErrorKind::RetainedLimit);
    assert_eq!(place.sql("SELECT count(*) FROM pg_replication_slots")[0][0].as_deref(), Some("1"));
    // Resumed, it may catch up.
    drop(endpoint.source(&line).await.unwrap());
    let above = endpoint.retained(&line).await.unwrap().unwrap();
    assert!(above.bytes > 1_000_000 && above.passed.is_none(), "{above:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_the_server_gives_up_while_it_is_streamed_is_a_lost_position() {
    let place = configured(&["max_slot_wal_keep_size = 1MB", "max_wal_size = 32MB", "min_wal_size = 32MB"]);
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t VALUES (1, 'x')");
    assert_eq!(follow.events().await.len(), 1);
    // Nothing is confirmed any more, as while the target takes nothing.
    for _ in 0..4 {
        place.sql(
            "SELECT pg_logical_emit_message(true, 'x', repeat('x', 1000000)) FROM generate_series(1, 20)",
        );
        place.sql("INSERT INTO t SELECT coalesce(max(id), 0) + 1, 'y' FROM t");
        place.sql("SELECT pg_switch_wal()");
        place.sql("CHECKPOINT");
    }
    let lost = format!("SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = '{SLOT}'");
    eventually(&place, &lost).await;
    // What the stream still brings is whole; then it ends, in an error and not in silence.
    let (mut seen, mut at) = (1, follow.at.clone());
    let broken = loop {
        match follow.next(&LIMITS).await {
            Ok(Read::Batch(batch)) => {
                seen += batch.events.len();
                at = batch.end().unwrap_or(&at).clone();
            }
            Ok(Read::Progress(to)) => at = to,
            Err(error) => break error,
        }
    };
    assert!(seen <= 5, "each change comes once at most");
    // The line's next session is told what has become of its position, from wherever it comes.
    assert!(
        matches!(broken.kind(), ErrorKind::PositionLost)
            || broken.disposition() == sluice_types::Disposition::Retry,
        "{broken}"
    );
    drop(follow);
    let error = Follow::resume(&place, "p", &["t"], Some(at)).await.err().expect("not in silence");
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_an_absent_standby_is_newer_than_the_chunk() {
    // Configured before it starts: a reload is heard by one process of the server after the other, and a commit may come first. What
    // doesn't ask for the standby doesn't wait.
    let place = configured(&["synchronous_standby_names = 'nobody'", "synchronous_commit = local"]);
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'old')");
    let mut follow = Follow::start(&place, &["t"]).await;
    let start = follow.at.clone();
    let mut waiting = place.server.session(crate::harness::DATABASE);
    waiting.sql("SET synchronous_commit = on");
    waiting.start("UPDATE t SET a = 'new'").unwrap();
    let (transaction, at) = loop {
        if let Read::Batch(batch) = follow.next(&LIMITS).await.unwrap() {
            break (batch.transactions[0].clone(), batch.end().unwrap().clone());
        }
    };
    let chunk = follow.chunk().await;
    assert_eq!(chunk.rows[0].get(1), &Value::from("old"), "streamed, and not visible");
    assert!(!chunk.mark.sees(&transaction), "so the line drops the chunk's row");
    // The target has it: yet the slot keeps it, so that the next session hears of it.
    follow.source.confirm(&at).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(follow);
    let mut again = Follow::resume(&place, "p", &["t"], Some(at.clone())).await.unwrap();
    for _ in 0..10 {
        assert!(!again.source.settled().await.unwrap(), "no chunk is read before it is visible");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    place.server.conf(&["synchronous_standby_names = ''"]);
    place.server.reload();
    waiting.finish().unwrap();
    while !again.source.settled().await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(again.chunk().await.rows[0].get(1), &Value::from("new"));
    assert!(at > start);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_this_stream_and_for_an_absent_standby_is_newer_than_the_chunk() {
    let place =
        configured(&["synchronous_standby_names = 'FIRST 2 (sluice, nobody)'", "synchronous_commit = local"]);
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'old')");
    let mut follow = Follow::start(&place, &["t"]).await;
    // Of no concern, all the while.
    let mut idle = place.server.session(crate::harness::DATABASE);
    idle.sql("BEGIN");
    idle.sql("INSERT INTO t VALUES (50, 'idle')");
    let mut waiting = place.server.session(crate::harness::DATABASE);
    waiting.sql("SET synchronous_commit = on");
    waiting.start("UPDATE t SET a = 'new'").unwrap();
    let at = loop {
        if let Read::Batch(batch) = follow.next(&LIMITS).await.unwrap() {
            break batch.end().unwrap().clone();
        }
    };
    assert_eq!(follow.chunk().await.rows[0].get(1), &Value::from("old"), "streamed, and not visible");
    follow.source.confirm(&at).await.unwrap();
    // The commit waits for this as well: the slot can't keep it.
    let gone =
        format!("SELECT confirmed_flush_lsn - '0/0' >= {} FROM pg_replication_slots", at.number().unwrap());
    eventually(&place, &gone).await;
    drop(follow);
    let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    for _ in 0..10 {
        assert!(!again.source.settled().await.unwrap(), "no chunk is read before it is visible");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    place.server.conf(&["synchronous_standby_names = ''"]);
    place.server.reload();
    waiting.finish().unwrap();
    while !again.source.settled().await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(again.chunk().await.rows[0].get(1), &Value::from("new"));
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_wait_for_this_very_stream_go_on() {
    let place = configured(&["synchronous_standby_names = 'ANY 1 (*)'", "synchronous_commit = local"]);
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    let mut waiting = place.server.session(crate::harness::DATABASE);
    waiting.sql("SET synchronous_commit = on");
    waiting.start("INSERT INTO t VALUES (3, 'z')").unwrap();
    // The head is a commit of our own: it must not wait for what is confirmed after it.
    let mut events = vec![];
    while events.is_empty() {
        let got = tokio::time::timeout(Duration::from_secs(20), follow.events()).await;
        events.extend(got.expect("no deadlock"));
    }
    assert_eq!(events.len(), 1);
    follow.source.confirm(&follow.at).await.unwrap();
    tokio::task::block_in_place(|| waiting.finish().unwrap());
    let again = tokio::time::timeout(Duration::from_secs(20), follow.events()).await.expect("no deadlock");
    assert!(again.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_transaction_of_a_user_does_not_hold_the_snapshot_up() {
    let (place, follow) = filled().await;
    let at = follow.at.clone();
    drop(follow);
    let mut idle = place.server.session(crate::harness::DATABASE);
    idle.sql("BEGIN");
    idle.sql("INSERT INTO t VALUES (50, 'idle')");
    let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    for attempt in 0.. {
        if again.source.settled().await.unwrap() {
            break;
        }
        assert!(attempt < 100, "it waits for a transaction that is of no concern");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_somebody_else_streams_is_not_dropped() {
    let (place, follow) = filled().await;
    let mut other = place.endpoint().source(&crate::harness::line("p")).await.unwrap();
    let error = other.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    drop(follow);
    other.release().await.unwrap();
}
