//! The stream: order, boundaries, resuming, and what ends it.

use std::time::{Duration, Instant};

use sluice_types::ports::{Read, ReadLimits, StreamStart};
use sluice_types::{Change, ErrorKind, Value};

use crate::harness::{LIMITS, Line, Place, RealClock, line, table};

const ITEMS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, n)";

#[tokio::test]
async fn every_kind_of_change_comes_with_whole_images() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let writer = place.writer();
    writer.execute_batch("INSERT INTO t VALUES (1, 'a', 1.5), (2, 'b', NULL)").unwrap();
    line.catch_up().await.unwrap();
    writer
        .execute_batch(
            "UPDATE t SET a = 'c' WHERE id = 1; UPDATE t SET id = 9 WHERE id = 2; DELETE FROM t WHERE id = 1",
        )
        .unwrap();
    line.catch_up().await.unwrap();
    let changes: Vec<Change> = line.log.iter().map(|(_, event)| event.change.clone()).collect();
    let row = |id: i64, a: &str, n: Value| sluice_types::Row::new(vec![id.into(), a.into(), n]);
    let (one, two) = (Value::Float64(1.5), Value::Null);
    assert_eq!(
        changes[2],
        Change::Update { before: Some(row(1, "a", one.clone())), after: row(1, "c", one.clone()) }
    );
    assert_eq!(
        changes[3],
        Change::Update { before: Some(row(2, "b", two.clone())), after: row(9, "b", two) }
    );
    assert_eq!(changes[4], Change::Delete(row(1, "c", one)));
    line.assert_same(&place, "t");
}

#[tokio::test]
async fn history_under_backlog_is_exact() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let writer = place.writer();
    for version in 0..5 {
        writer
            .execute(
                "INSERT INTO t VALUES (1, ?1, 0) ON CONFLICT DO UPDATE SET a = excluded.a",
                [format!("v{version}")],
            )
            .unwrap();
    }
    writer.execute_batch("DELETE FROM t").unwrap();
    // Two events at a time: what a row became stands beyond the batch.
    line.catch_up_within(ReadLimits { rows: 2, bytes: 1 << 20 }).await.unwrap();
    let after: Vec<Option<Value>> =
        line.log.iter().map(|(_, event)| event.change.after().map(|row| row.get(1).clone())).collect();
    let texts = ["v0", "v1", "v2", "v3", "v4"].map(|text| Some(Value::from(text)));
    assert_eq!(after[..5], texts);
    assert_eq!(after[5], None);
}

#[tokio::test]
async fn a_reader_that_is_called_away_more_often_than_a_read_takes_gets_on_all_the_same() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    place
        .writer()
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
             INSERT INTO t SELECT i, 'a', i FROM n",
        )
        .unwrap();
    let limits = ReadLimits { rows: 20_000, bytes: 1 << 30 };
    let (mut events, mut dropped) = (0, 0);
    let until = Instant::now() + Duration::from_secs(60);
    while events < 50_000 {
        assert!(Instant::now() < until, "{events} events after {dropped} reads that nobody waited for");
        // Less than a read of this size takes.
        match tokio::time::timeout(Duration::from_millis(1), line.source.next(&limits)).await {
            Ok(read) => match read.unwrap() {
                Read::Batch(batch) => events += batch.events.len(),
                Read::Progress(_) => {}
            },
            Err(_) => dropped += 1,
        }
    }
    assert_eq!(events, 50_000);
    assert!(dropped > 0, "every read was as fast as that");
}

#[tokio::test]
async fn history_is_exact_where_a_batch_is_cut_before_the_one_that_was_looked_at() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let writer = place.writer();
    writer.execute_batch("INSERT INTO t VALUES (8, 'x', 0), (9, 'y', 0)").unwrap();
    line.source.head().await.unwrap();
    writer
        .execute_batch(
            "BEGIN; INSERT INTO t VALUES (1, 'v0', 0); UPDATE t SET a = 'v1' WHERE id = 1;
             UPDATE t SET a = 'v2' WHERE id = 1; UPDATE t SET a = 'v3' WHERE id = 1; COMMIT",
        )
        .unwrap();
    // Four events are looked at, and only the first transaction's two are taken: more bytes than there may be. Then one by one.
    let first = line.next(ReadLimits { rows: 1000, bytes: 4096 }).await.unwrap().unwrap();
    assert_eq!(first.events.len(), 2);
    line.catch_up_within(ReadLimits { rows: 1, bytes: 1 << 20 }).await.unwrap();
    let after: Vec<Value> =
        line.log[2..].iter().filter_map(|(_, event)| Some(event.change.after()?.get(1).clone())).collect();
    assert_eq!(after, ["v0", "v1", "v2", "v3"].map(Value::from));
}

#[tokio::test]
async fn a_rolled_back_transaction_and_a_rolled_back_savepoint_leave_nothing() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    place
        .writer()
        .execute_batch(
            "BEGIN; INSERT INTO t VALUES (1, 'x', 0); ROLLBACK;
             BEGIN; INSERT INTO t VALUES (2, 'kept', 0); SAVEPOINT s; INSERT INTO t VALUES (3, 'y', 0); ROLLBACK TO s; COMMIT;",
        )
        .unwrap();
    line.catch_up().await.unwrap();
    assert_eq!(line.take_kinds(), ["insert"]);
    line.assert_same(&place, "t");
}

#[tokio::test]
async fn a_change_comes_at_once_and_from_another_process() {
    let place = Place::with(ITEMS);
    place.writer().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let mut line = Line::start(&place, &["t"]).await;
    let path = place.path.clone();
    let writing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        let run = std::process::Command::new("sqlite3")
            .arg(&path)
            .arg("INSERT INTO t VALUES (1, 'cli', 0)")
            .status();
        match run {
            Ok(status) => assert!(status.success()),
            // No such program here: this process will do.
            Err(_) => drop(
                rusqlite::Connection::open(&path).unwrap().execute("INSERT INTO t VALUES (1, 'cli', 0)", []),
            ),
        }
        Instant::now()
    });
    line.next(LIMITS).await.unwrap();
    let seen = Instant::now();
    let written = writing.join().unwrap();
    assert!(seen.saturating_duration_since(written) < Duration::from_millis(500));
    line.assert_same(&place, "t");
}

#[tokio::test]
async fn transactions_that_were_watched_stay_apart() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let writer = place.writer();
    for id in 1..=3 {
        writer
            .execute_batch(&format!(
                "BEGIN; INSERT INTO t VALUES ({id}, 'a', 0), ({id} + 10, 'b', 0); COMMIT"
            ))
            .unwrap();
        // The reader is not asked meanwhile; the file is watched all the same.
        line.source.head().await.unwrap();
    }
    let batch = line.next(LIMITS).await.unwrap().unwrap();
    assert_eq!(batch.transactions.len(), 3);
    let numbers: Vec<(u32, u64)> =
        batch.events.iter().map(|event| (event.transaction, event.index)).collect();
    assert_eq!(numbers, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]);
}

#[tokio::test]
async fn a_large_transaction_comes_in_parts_and_is_resumed_within() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let start = line.at.clone();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) INSERT INTO t SELECT i, 'r' || i, i FROM n";
    place.writer().execute_batch(many).unwrap();
    let mut open = vec![];
    while line.log.len() < 2500 {
        let batch = line.next(LIMITS).await.unwrap().unwrap();
        open.push((batch.events.len(), batch.open));
    }
    assert_eq!(open, [(1000, true), (1000, true), (500, false)]);
    assert!(line.log.iter().enumerate().all(|(at, (_, event))| event.index == at as u64));
    line.assert_same(&place, "t");

    let from = StreamStart { position: start, part: 1500 };
    let mut resumed = Line::resume(&place, "p", &["t"], Some(from)).await.unwrap();
    resumed.catch_up().await.unwrap();
    assert_eq!(resumed.log.len(), 1000);
    assert_eq!(resumed.log[0].1, line.log[1500].1);
}

/// I3: a dead letter is the same one after a restart, though boundaries are forgotten.
#[tokio::test]
async fn an_event_is_known_by_its_entry_after_a_restart() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let start = line.at.clone();
    for id in 0..3 {
        place.writer().execute("INSERT INTO t VALUES (?1, 'a', 0)", [id]).unwrap();
        line.catch_up().await.unwrap();
    }
    let from = StreamStart { position: start, part: 0 };
    let mut again = Line::resume(&place, "p", &["t"], Some(from)).await.unwrap();
    again.catch_up().await.unwrap();
    assert!(again.log[0].0 > line.log[0].0 && again.log[0].0 == again.log[2].0, "one transaction now");
    let places = |line: &Line| line.log.iter().map(|(at, event)| event.place(at)).collect::<Vec<_>>();
    assert!(places(&line).is_sorted() && places(&line)[0] < places(&line)[1]);
    assert_eq!(places(&again), places(&line));
}

#[tokio::test]
async fn changes_of_other_tables_are_progress() {
    let place = Place::with(&format!("{ITEMS}; CREATE TABLE other(id INTEGER PRIMARY KEY)"));
    let mut other = Line::resume(&place, "other", &["other"], None).await.unwrap();
    let mut line = Line::start(&place, &["t"]).await;
    place.writer().execute_batch("INSERT INTO other VALUES (1), (2)").unwrap();
    assert!(line.next(LIMITS).await.unwrap().is_none());
    other.catch_up().await.unwrap();
    assert_eq!(other.log.len(), 2);
    assert!(line.log.is_empty());
}

#[tokio::test]
async fn a_dropped_next_has_consumed_nothing() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let waited = tokio::time::timeout(Duration::from_millis(30), line.source.next(&LIMITS)).await;
    assert!(waited.is_err());
    for id in 0..50 {
        place.writer().execute("INSERT INTO t VALUES (?1, 'a', 0)", [id]).unwrap();
        let mut next = line.source.next(&LIMITS);
        let polled = tokio::time::timeout(Duration::from_micros(id as u64 * 20), &mut next).await;
        drop(next);
        if let Ok(Ok(Read::Batch(batch))) = polled {
            batch.events.iter().for_each(|event| line.replica.apply(event));
            line.at = batch.end().unwrap().clone();
        }
    }
    line.catch_up().await.unwrap();
    line.assert_same(&place, "t");
}

#[tokio::test]
async fn a_line_goes_on_from_its_checkpoint_in_a_new_process() {
    let place = Place::with(ITEMS);
    let mut first = Line::start(&place, &["t"]).await;
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'a', 0)").unwrap();
    first.catch_up().await.unwrap();
    let (at, replica) = (first.at.clone(), first.replica.clone());
    drop(first);
    place
        .writer()
        .execute_batch("INSERT INTO t VALUES (2, 'b', 0); UPDATE t SET a = 'c' WHERE id = 1")
        .unwrap();
    let mut second =
        Line::resume(&place, "p", &["t"], Some(StreamStart { position: at, part: 0 })).await.unwrap();
    second.replica = replica;
    second.catch_up().await.unwrap();
    assert_eq!(second.log.len(), 2);
    second.assert_same(&place, "t");
}

#[tokio::test]
async fn what_every_line_has_confirmed_is_purged_and_ids_are_never_given_out_again() {
    let place = Place::with(ITEMS);
    let mut fast = Line::start(&place, &["t"]).await;
    let mut slow = Line::resume(&place, "slow", &["t"], None).await.unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, 'r', i FROM n";
    place.writer().execute_batch(many).unwrap();
    fast.catch_up().await.unwrap();
    slow.catch_up().await.unwrap();
    let entries = "SELECT count(*) FROM sluice_change";
    fast.source.confirm(&fast.at).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(place.count(entries) > 5000, "the slow line has not confirmed");
    slow.source.confirm(&slow.at).await.unwrap();
    until(|| place.count(entries) == 1).await;
    let position = fast.at.clone();
    place.writer().execute_batch("DELETE FROM t WHERE id = 1").unwrap();
    fast.catch_up().await.unwrap();
    assert!(fast.at > position);
    drop(fast);
    // The entry at the checkpoint stays, so the line can still prove it.
    Line::resume(&place, "p", &["t"], Some(StreamStart { position, part: 0 })).await.unwrap();
}

pub async fn until(mut good: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !good() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_mark_that_nobody_moves_any_more_is_told_and_can_be_removed() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    drop(Line::resume(&place, "it's gone", &["t"], None).await.unwrap());
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0)").unwrap();
    line.catch_up().await.unwrap();
    line.source.confirm(&line.at).await.unwrap();
    until(|| place.count("SELECT count(DISTINCT id) FROM sluice_mark") == 2).await;
    assert!(
        place.endpoint().check_source(&crate::harness::readers(), &[]).await.unwrap().is_empty(),
        "it may only be slow"
    );
    place.writer().execute_batch("UPDATE sluice_mark SET seen = seen - 25 * 3600").unwrap();
    let found = place.endpoint().check_source(&crate::harness::readers(), &[]).await.unwrap();
    // The line's own mark has not moved for as long either, but nothing waits for it.
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].code == "stale-mark" && found[0].what.contains("2 changes"), "{found:?}");
    let (_, sql) = found[0].remedy.split_once("a.db: ").unwrap();
    place.writer().execute_batch(sql).unwrap();
    assert!(place.endpoint().check_source(&crate::harness::readers(), &[]).await.unwrap().is_empty());
    place.writer().execute_batch("INSERT INTO t VALUES (3, 'c', 0)").unwrap();
    line.catch_up().await.unwrap();
    line.source.confirm(&line.at).await.unwrap();
    until(|| place.count("SELECT count(*) FROM sluice_change") == 1).await;
}

#[tokio::test]
async fn marks_of_an_older_version_are_dated_when_a_line_starts() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let (position, part) = (line.at.clone(), 0);
    drop(line);
    place.writer().execute_batch("ALTER TABLE sluice_mark DROP COLUMN seen").unwrap();
    assert!(place.endpoint().check_source(&crate::harness::readers(), &[]).await.unwrap().is_empty());
    line = Line::resume(&place, "p", &["t"], Some(StreamStart { position, part })).await.unwrap();
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'a', 0)").unwrap();
    line.catch_up().await.unwrap();
    line.assert_same(&place, "t");
    assert_eq!(place.count("SELECT count(*) FROM sluice_mark WHERE seen > unixepoch() - 600"), 1);
}

#[tokio::test]
async fn a_purged_position_is_lost() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let start = line.at.clone();
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0)").unwrap();
    line.catch_up().await.unwrap();
    line.source.confirm(&line.at).await.unwrap();
    until(|| place.count("SELECT count(*) FROM sluice_change") == 1).await;
    let lost = Line::resume(&place, "p", &["t"], Some(StreamStart { position: start, part: 0 }))
        .await
        .err()
        .unwrap();
    assert_eq!(lost.kind(), ErrorKind::PositionLost);
}

#[tokio::test]
async fn a_file_restored_from_an_older_copy_is_told_from_the_real_one() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'a', 0)").unwrap();
    let copy = place.folder.path().join("copy.db");
    std::fs::copy(&place.path, &copy).unwrap();
    place.writer().execute_batch("INSERT INTO t VALUES (2, 'b', 0)").unwrap();
    line.catch_up().await.unwrap();
    let from = StreamStart { position: line.at.clone(), part: 0 };
    drop(line);
    std::fs::copy(&copy, &place.path).unwrap();
    let older = Line::resume(&place, "p", &["t"], Some(from.clone())).await.err().unwrap();
    assert_eq!(older.kind(), ErrorKind::PositionLost);
    // And once it has been written to: the same ids, but another history.
    place.writer().execute_batch("INSERT INTO t VALUES (2, 'b', 0), (3, 'c', 0)").unwrap();
    let other = Line::resume(&place, "p", &["t"], Some(from)).await.err().unwrap();
    assert_eq!(other.kind(), ErrorKind::PositionLost);
    assert!(other.to_string().contains("another history"), "{other}");
}

#[tokio::test]
async fn a_file_that_is_replaced_under_the_reader_is_an_error() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let other = place.folder.path().join("other.db");
    std::fs::copy(&place.path, &other).unwrap();
    std::fs::rename(&other, &place.path).unwrap();
    assert_eq!(line.next(LIMITS).await.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_locked_file_is_busy_and_nothing_is_lost() {
    let place = Place::with(ITEMS);
    let mut first = Line::start(&place, &["t"]).await;
    let locker = place.writer();
    locker.execute_batch("BEGIN EXCLUSIVE; INSERT INTO t VALUES (1, 'a', 0)").unwrap();
    let endpoint = place.endpoint_with(serde_json::json!({"busy_timeout_ms": 50}));
    let busy = match endpoint.source(&line("q")).await {
        Err(error) => error,
        Ok(mut source) => source.identity().await.unwrap_err(),
    };
    assert_eq!(busy.kind(), ErrorKind::Busy);
    locker.execute_batch("COMMIT").unwrap();
    first.catch_up().await.unwrap();
    first.assert_same(&place, "t");
}

#[tokio::test]
async fn release_removes_what_nobody_else_uses() {
    let place = Place::with(ITEMS);
    let own = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sluice%'";
    let mut first = Line::start(&place, &["t"]).await;
    let mut second = Line::resume(&place, "second", &["t"], None).await.unwrap();
    first.source.release().await.unwrap();
    first.source.release().await.unwrap();
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'a', 0)").unwrap();
    second.catch_up().await.unwrap();
    second.assert_same(&place, "t");
    second.source.release().await.unwrap();
    second.source.release().await.unwrap();
    assert_eq!(place.count(own), 0);
    place.writer().execute_batch("INSERT INTO t VALUES (2, 'a', 0)").unwrap();
}

#[tokio::test]
async fn lag_is_counted_in_changes() {
    let place = Place::with(ITEMS);
    let mut line = Line::start(&place, &["t"]).await;
    let start = line.at.clone();
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0)").unwrap();
    let lag = line.source.lag(&start).await.unwrap();
    assert_eq!((lag.amount, lag.unit), (2, "changes"));
    assert!(lag.oldest_micros.is_some());
    line.catch_up().await.unwrap();
    assert_eq!(line.source.lag(&line.at).await.unwrap().oldest_micros, None);
    let _ = RealClock;
    let _ = table("t");
}
