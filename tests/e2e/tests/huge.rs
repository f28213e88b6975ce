//! Transactions that no memory should hold: applied whole, or in parts where the target can't hold them, within the memory
//! ceiling; one that is rolled back leaves nothing (I4, I10).

use std::time::Duration;

use sluice_e2e::database::{Database, Kind, Table, equal};
use sluice_e2e::random::Random;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{procfs, wait};

/// Set in the environment: transactions of the full size.
const FULL: &str = "SLUICE_HUGE";

/// What the process may have in memory at its peak, through any transaction.
const PEAK_RSS_MAX: u64 = 256 << 20;

/// What a row takes in memory at least, decoded: four values and their text. Half of a transaction held so is too much already.
const ROW_BYTES: u64 = 4 * 40 + 8 * 32;

const PATIENCE: Duration = Duration::from_secs(600);

const TABLES: &[Table] = &[Table {
    name: "facts",
    key: &["id"],
    columns: &[("name", Kind::Plain), ("a", Kind::Plain), ("note", Kind::Plain)],
}];

/// `state.key`: 32 bytes.
const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn through_a_huge_transaction(target: &Database, in_parts: bool, sealed: bool) {
    // At the small size parts are small, too: one of the default size is a good part of the whole.
    let (rows, rolled_back, parts) = match std::env::var_os(FULL) {
        Some(_) => (2_000_000, 500_000, ""),
        None => (250_000, 60_000, "large_transactions: { rows: 10000 }\n"),
    };
    let parts = if in_parts { parts } else { "" };
    let source = Database::alone_on_postgres("huge");
    source.sql("CREATE TABLE facts (id bigint PRIMARY KEY, name text, a int, note text)");
    let pipeline = format!("on_error: {{ base_ms: 50, max_ms: 500 }}\n{parts}tables: [facts]");
    let site = Site::between(&source, target, &pipeline);
    if sealed {
        let config = std::fs::read_to_string(site.path("sluice.yaml")).expect("the configuration");
        let state = format!("state: {{ dir: ./state, key: {KEY} }}");
        site.write("sluice.yaml", config.replace("state: ./state", &state));
    }
    let serve = Serve::start(&site);
    serve.caught_up();
    let before = procfs::peak_rss(serve.pid());
    let Database::Postgres { server, name } = &source else { unreachable!() };
    let fill = |from: u64, rows: u64| {
        format!(
            "INSERT INTO facts SELECT i, 'fact number ' || i, i % 1000, repeat(md5(i::text), 8) FROM generate_series({from}, {}) i",
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
    // What waits on the disk for the commit tells nothing to whoever gets the disk.
    let mut told = false;
    wait::until("a good part of it to be on the disk", || {
        let files = procfs::nameless_files(serve.pid(), "transaction-");
        told |= files.iter().any(|file| file.windows(12).any(|window| window == b"fact number "));
        let bytes = files.iter().map(Vec::len).sum::<usize>();
        if bytes > 10 << 20 { Ok(()) } else { Err(serde_json::json!(bytes)) }
    });
    assert_ne!(told, sealed);
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
    println!("{rows} rows, {rolled_back} rolled back: peak RSS {} MiB, {} before", peak >> 20, before >> 20);
    assert!(peak < PEAK_RSS_MAX.min(before + rows * ROW_BYTES / 2), "{peak}, {before} before");
    assert_eq!(serve.metric("sluice_transactions_in_parts_total") > 0.0, in_parts);
    assert_eq!(serve.metric("sluice_dead_letters"), 0.0);
    serve.stop();
    let spilled = std::fs::read_dir(site.path("state/spill")).map_or(0, Iterator::count);
    assert_eq!(spilled, 0, "files of transactions that are over");
}

#[test]
fn to_postgres_it_is_applied_whole() {
    through_a_huge_transaction(&Database::postgres("copy"), false, true);
}

#[test]
fn to_mongodb_it_goes_in_parts() {
    through_a_huge_transaction(&Database::mongo("copy"), true, false);
}

/// Parts of a transaction are durable one by one: who is killed between two goes on behind the last (I11).
#[test]
fn killed_between_two_parts_it_goes_on_behind_them() {
    const ROWS: u64 = 60_000;
    const PART: u64 = 500;
    let mut random = Random::seeded("kills between parts");
    let (source, target) = (Database::alone_on_postgres("parts"), Database::mongo("copy"));
    source.sql("CREATE TABLE facts (id bigint PRIMARY KEY, name text, a int, note text)");
    let pipeline = format!(
        "on_error: {{ base_ms: 50, max_ms: 500 }}\nlarge_transactions: {{ rows: {PART} }}\ntables: [facts]"
    );
    let site = Site::between(&source, &target, &pipeline);
    let serve = Serve::start(&site);
    serve.caught_up();
    serve.kill();
    let fact = "SELECT i, 'fact number ' || i, i % 1000, md5(i::text)";
    source.sql(&format!("INSERT INTO facts {fact} FROM generate_series(1, {ROWS}) i"));
    let Database::Mongo { server, name } = &target else { unreachable!() };
    // Quick, and about right while transactions are under way.
    let seen = || server.count(name, TABLES[0].name);
    let durable = || target.rows(&Table { columns: &[], ..TABLES[0] }).expect("it can be read").len() as u64;
    let mut between = 0;
    let mut known = 0;
    while known < ROWS && between < 6 {
        let serve = Serve::start(&site);
        let goal = known + PART + random.below(ROWS / 20);
        wait::until("more parts", || wait::when(seen(), |rows| *rows >= goal.min(ROWS)));
        serve.kill();
        let there = durable();
        assert!(there >= known, "parts that were there are gone: {there} of {known}");
        known = there;
        between += u32::from(known < ROWS);
    }
    assert!(between >= 3, "it was too quick for kills between parts");
    let serve = Serve::start(&site);
    wait::until_within(PATIENCE, "both sides to be equal", || equal(&source, &target, TABLES));
    // What was durable is not written again.
    assert!(serve.metric("sluice_rows_written_total") <= (ROWS - known) as f64, "{known} were there");
    assert_eq!(serve.metric("sluice_dead_letters"), 0.0);
    serve.stop();
}
