//! Chunks: every row once, in any order of keys, in one view with the log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sluice_types::ports::ReadLimits;
use sluice_types::{Change, Event, Key, KeyRange, Row};

use crate::harness::{LIMITS, Line, Place, stored};

async fn read_all(line: &mut Line, parts: usize, limits: ReadLimits) -> (HashMap<Key, Row>, usize) {
    let schema = line.schemas[0].clone();
    let mut chunks = line.source.chunks().await.unwrap();
    let (ranges, _) = chunks.divide(&schema, parts).await.unwrap();
    assert!(ranges.len() <= parts.max(1));
    let (mut found, mut count) = (HashMap::new(), 0);
    for mut range in ranges {
        loop {
            let chunk = chunks.read(&schema, &range, &limits).await.unwrap();
            count += 1;
            for row in chunk.rows {
                assert!(found.insert(schema.key_of(&row), row).is_none(), "a row came twice");
            }
            let Some(next) = chunk.next else { break };
            // As it is kept in a checkpoint and read again.
            let kept = serde_json::to_string(&next).unwrap();
            range = KeyRange { after: Some(serde_json::from_str(&kept).unwrap()), upto: range.upto };
        }
    }
    (found, count)
}

#[tokio::test]
async fn every_row_comes_once_whatever_the_key() {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)";
    let tables = [
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t SELECT i * 7 - 3000, 'r' || i FROM n"),
        (
            "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, a)",
            "INSERT INTO t SELECT char(65 + i % 60) || i, i FROM n",
        ),
        (
            "CREATE TABLE t(k PRIMARY KEY NOT NULL, a)",
            "INSERT INTO t SELECT CASE i % 4 WHEN 0 THEN i WHEN 1 THEN i + 0.5 WHEN 2 THEN 't' || i ELSE CAST('b' || i AS BLOB) END, i FROM n",
        ),
        (
            "CREATE TABLE t(x TEXT, y INT, a, PRIMARY KEY (y DESC, x)) WITHOUT ROWID",
            "INSERT INTO t SELECT 'x' || i, i % 10, i FROM n",
        ),
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
            "INSERT INTO t SELECT CASE i WHEN 1 THEN -9223372036854775808 WHEN 2 THEN 9223372036854775807 ELSE i END, i FROM n",
        ),
        (
            "CREATE TABLE t(k PRIMARY KEY NOT NULL COLLATE RTRIM, a)",
            "INSERT INTO t SELECT CAST(CAST(i AS BLOB) || x'ff' AS TEXT), i FROM n",
        ),
    ];
    for (table, insert) in tables {
        let place = Place::with(&format!("{table}; {rows} {insert}"));
        let mut line = Line::start(&place, &["t"]).await;
        let expected = stored(&place.writer(), &line.schemas[0]);
        assert_eq!(expected.len(), 1000);
        for parts in [1, 4] {
            let (found, count) = read_all(&mut line, parts, ReadLimits { rows: 77, bytes: 1 << 20 }).await;
            assert_eq!(found, expected, "{table}");
            assert!(count >= 13);
            let (found, count) = read_all(&mut line, parts, ReadLimits { rows: 1000, bytes: 4000 }).await;
            assert_eq!(found, expected, "{table}");
            assert!(count > 5, "the limit in bytes holds");
        }
    }
}

#[tokio::test]
async fn an_empty_table_has_one_empty_chunk() {
    let place = Place::with("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let mut line = Line::start(&place, &["t"]).await;
    assert_eq!(read_all(&mut line, 4, LIMITS).await, (HashMap::new(), 1));
}

#[tokio::test]
async fn a_chunk_and_the_stream_fit_together_under_writes() {
    let place = Place::with("PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO t SELECT i, 0 FROM n";
    place.writer().execute_batch(rows).unwrap();
    let mut line = Line::start(&place, &["t"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (stop, writer) = (stop.clone(), place.writer());
        std::thread::spawn(move || {
            let mut turn = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                turn += 1;
                writer.execute("UPDATE t SET a = a + 1 WHERE id % 50 = ?1", [turn % 50]).unwrap();
                writer.execute("DELETE FROM t WHERE id = ?1", [turn * 13 % 2000]).unwrap();
                writer.execute("INSERT OR REPLACE INTO t VALUES (?1, ?2)", [turn * 7 % 2500, turn]).unwrap();
            }
        })
    };
    let schema = line.schemas[0].clone();
    let mut chunks = line.source.chunks().await.unwrap();
    let mut range = KeyRange::default();
    let mut edges = 0;
    loop {
        let chunk = chunks.read(&schema, &range, &ReadLimits { rows: 100, ..LIMITS }).await.unwrap();
        let open = line.log.len();
        while line.at < chunk.mark.high {
            line.next(LIMITS).await.unwrap();
        }
        // What the view has not seen is later than its rows, and nothing lies across its edge.
        let later: HashSet<Key> = line.log[open..]
            .iter()
            .filter(|(position, _)| *position > chunk.mark.high)
            .flat_map(|(_, event)| [event.source_keys().0, event.source_keys().1])
            .flatten()
            .collect();
        let seen = line.log[open..].iter().any(|(position, _)| *position == chunk.mark.high);
        edges += usize::from(seen);
        for row in chunk.rows.iter().filter(|row| !later.contains(&schema.key_of(row))) {
            let key = schema.key_of(row);
            let known = line.replica.rows("t").get(&key).cloned();
            assert!(known.is_none_or(|known| known == *row));
            line.replica.apply(&Event::new(schema.clone(), Change::Snapshot(row.clone()), 0, 0));
        }
        let Some(next) = chunk.next else { break };
        range.after = Some(next);
    }
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap();
    assert!(edges > 0, "the end of a view is a boundary");
    line.catch_up().await.unwrap();
    line.assert_same(&place, "t");
}

#[tokio::test]
async fn rows_are_read_again_by_key_in_one_view() {
    let place = Place::with(
        "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, a); INSERT INTO t VALUES ('a', 1), ('b', 2)",
    );
    let mut line = Line::start(&place, &["t"]).await;
    let schema = line.schemas[0].clone();
    let keys = ["b", "A", "none", "a"].map(|key| Key(vec![key.into()]));
    let (rows, mark) = line.source.reread(&schema, &keys).await.unwrap();
    let there: Vec<bool> = rows.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, false, false, true]);
    assert_eq!(mark.high, line.at);
}
