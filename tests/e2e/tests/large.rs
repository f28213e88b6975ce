//! Large tables and large transactions fit into little memory (I10).

use sluice_e2e::compare::{equal, one};
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{procfs, wait};

/// Rows of the table, and of the transaction. A debug build is slow: it gets fewer, with the same limit of memory.
const ROWS: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };

/// What the process may have in memory at its peak.
const PEAK_RSS_MAX: u64 = 128 << 20;

#[test]
fn a_large_snapshot_and_a_large_transaction_take_little_memory() {
    let rows = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})");
    let site = Site::with(
        &format!(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = off;
             CREATE TABLE facts (id INTEGER PRIMARY KEY, name TEXT, a INTEGER, b REAL, note TEXT);
             BEGIN; {rows} INSERT INTO facts SELECT i, 'fact number ' || i, i * 7, i / 3.0, hex(i) || ' some more text' FROM n; COMMIT;"
        ),
        "tables: [facts]",
    );
    let serve = Serve::start(&site);
    let count = || {
        let there = std::fs::exists(site.path("target.db")).unwrap_or_default();
        if there {
            one(&site.target(), "SELECT count(*) FROM sqlite_schema WHERE name = 'facts'")
        } else {
            0i64
        }
    };
    wait::until("the target's table", || wait::when(count(), |tables| *tables == 1));
    wait::until_within(wait::PATIENCE * 3, "the snapshot", || {
        wait::when(serve.line(), |line| line["ready"] == true)
    });
    let query = "SELECT id, name, a, b, note FROM facts ORDER BY id";
    assert_eq!(equal(&site.source(), query, &site.target(), query), Ok(ROWS as usize));
    let snapshot = procfs::peak_rss(serve.pid());

    site.source()
        .execute_batch(&format!(
            "BEGIN; UPDATE facts SET a = a + 1, note = 'changed ' || id WHERE id <= {ROWS}; COMMIT"
        ))
        .expect("a large transaction");
    // Whole or not at all: never is a part of it seen.
    let changed = || one::<i64>(&site.target(), "SELECT count(*) FROM facts WHERE note LIKE 'changed %'");
    wait::until_within(wait::PATIENCE * 3, "the large transaction", || match changed() {
        0 => Err(serve.line()),
        all if all == ROWS as i64 => Ok(()),
        part => panic!("{part} rows of the transaction are visible"),
    });
    assert_eq!(equal(&site.source(), query, &site.target(), query), Ok(ROWS as usize));
    let peak = procfs::peak_rss(serve.pid());
    println!(
        "{ROWS} rows: peak RSS of the snapshot {} MiB, with the transaction {} MiB",
        snapshot >> 20,
        peak >> 20
    );
    assert!(peak < PEAK_RSS_MAX, "{peak}");
    serve.stop();
}
