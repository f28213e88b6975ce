//! Transactions that no memory should hold: applied whole, or in parts where the target can't hold them, within the memory
//! ceiling; one that is rolled back leaves nothing (I4, I10).

use std::time::Duration;

use sluice_e2e::database::{Database, Kind, Table, equal};
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{procfs, wait};

/// Set in the environment: transactions of the full size.
const FULL: &str = "SLUICE_HUGE";

/// What the process may have in memory at its peak, through any transaction.
const PEAK_RSS_MAX: u64 = 256 << 20;

const PATIENCE: Duration = Duration::from_secs(600);

const TABLES: &[Table] = &[Table {
    name: "facts",
    key: &["id"],
    columns: &[("name", Kind::Plain), ("a", Kind::Plain), ("note", Kind::Plain)],
}];

fn through_a_huge_transaction(target: &Database, in_parts: bool) {
    let (rows, rolled_back) = match std::env::var_os(FULL) {
        Some(_) => (2_000_000, 500_000),
        None => (250_000, 60_000),
    };
    let source = Database::alone_on_postgres("huge");
    source.sql("CREATE TABLE facts (id bigint PRIMARY KEY, name text, a int, note text)");
    let site = Site::between(&source, target, "on_error: { base_ms: 50, max_ms: 500 }\ntables: [facts]");
    let serve = Serve::start(&site);
    serve.caught_up();
    let Database::Postgres { server, name } = &source else { unreachable!() };
    let fill = |from: u64, rows: u64| {
        format!(
            "INSERT INTO facts SELECT i, 'fact number ' || i, i % 1000, repeat(md5(i::text), 2) FROM generate_series({from}, {}) i",
            from + rows - 1
        )
    };
    // One that is rolled back lies across the one that is committed, and parts of that are rolled back too.
    let mut doomed = server.session(name);
    doomed.sql(&format!("BEGIN; {}", fill(50_000_000, rolled_back / 2)));
    let mut big = server.session(name);
    big.sql(&format!("BEGIN; {}", fill(1, rows / 2)));
    big.sql(&format!("SAVEPOINT s; {}; ROLLBACK TO s", fill(60_000_000, rows / 20)));
    doomed.sql(&fill(51_000_000, rolled_back / 2));
    big.sql(&fill(rows / 2 + 1, rows - rows / 2));
    doomed.sql("ROLLBACK");
    let seen = || target.rows(&Table { columns: &[], ..TABLES[0] }).map_or(0, |rows| rows.len() as u64);
    assert_eq!(seen(), 0, "nothing of it was committed");
    big.sql("COMMIT");
    wait::until_within(PATIENCE, "the huge transaction", || match seen() {
        all if all == rows => Ok(()),
        0 => Err(serve.line()),
        part if in_parts => Err(serde_json::json!(part)),
        part => panic!("{part} rows of the transaction are visible"),
    });
    // What is rolled back in the end was never in anybody's way.
    source.sql("UPDATE facts SET a = -1 WHERE id = 1");
    wait::until("both sides to be equal", || equal(&source, target, TABLES));
    let peak = procfs::peak_rss(serve.pid());
    println!("{rows} rows, {rolled_back} rolled back: peak RSS {} MiB", peak >> 20);
    assert!(peak < PEAK_RSS_MAX, "{peak}");
    assert_eq!(serve.metric("sluice_transactions_in_parts_total") > 0.0, in_parts);
    assert_eq!(serve.metric("sluice_dead_letters"), 0.0);
    serve.stop();
    let spilled = std::fs::read_dir(site.path("state/spill")).map_or(0, Iterator::count);
    assert_eq!(spilled, 0, "files of transactions that are over");
}

#[test]
fn to_postgres_it_is_applied_whole() {
    through_a_huge_transaction(&Database::postgres("copy"), false);
}

#[test]
fn to_mongodb_it_goes_in_parts() {
    through_a_huge_transaction(&Database::mongo("copy"), true);
}
