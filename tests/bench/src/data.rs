//! Rows of twenty mixed columns, about 500 bytes each, the same in every run.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

/// The table of every part.
pub const TABLE: &str = "CREATE TABLE customers (
    id INTEGER PRIMARY KEY, external_id TEXT NOT NULL, first_name TEXT, last_name TEXT, email TEXT, phone TEXT, street TEXT, city TEXT,
    country TEXT, amount TEXT, balance REAL, score REAL, visits INTEGER, flags INTEGER, parent INTEGER, active INTEGER,
    created TEXT, updated TEXT, notes TEXT, avatar BLOB)";

/// A number that looks random and depends on `n` alone (splitmix64).
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Opens a database file as a program would that cares for its data: WAL, every commit synced.
pub fn open(path: &Path) -> Connection {
    let db = Connection::open(path).expect("the file opens");
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").expect("pragmas");
    db.busy_timeout(std::time::Duration::from_secs(30)).expect("a timeout");
    db
}

/// Inserts rows `from..to`.
pub fn insert(tx: &Transaction<'_>, from: u64, to: u64) {
    let sql = "INSERT INTO customers VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
    let mut statement = tx.prepare_cached(sql).expect("the statement");
    for id in from..to {
        let r = mix(id);
        let text = |salt: u64, length: usize| -> String {
            let mut text = format!("{:016x}", mix(r ^ salt)).repeat(length / 16 + 1);
            text.truncate(length);
            text
        };
        let email = format!("User.{}@Example{}.com", r % 1_000_000, r % 97);
        let date = format!("2026-{:02}-{:02}T{:02}:00:00", r % 12 + 1, r % 28 + 1, r % 24);
        statement
            .execute(params![
                id as i64,
                text(1, 36),
                text(2, 9),
                text(3, 12),
                email,
                text(4, 14),
                text(5, 32),
                text(6, 12),
                "NL",
                format!("{}", r % 1_000_000),
                (r % 10_000) as f64 / 7.0,
                (r % 100) as f64,
                (r % 500) as i64,
                (r % 16) as i64,
                (r >> 40) as i64,
                1,
                &date,
                &date,
                text(7, 160),
                text(8, 64).into_bytes()
            ])
            .expect("a row");
    }
}

/// Makes a database of `rows` rows.
pub fn fill(path: &Path, rows: u64) {
    let mut db = open(path);
    db.execute_batch(TABLE).expect("the table");
    let tx = db.transaction().expect("a transaction");
    insert(&tx, 0, rows);
    tx.commit().expect("the commit");
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
}

/// A configuration that copies `customers` from one file into another.
pub fn config(dir: &Path, transform: &str) -> std::path::PathBuf {
    let path = dir.join("sluice.yaml");
    let text = format!(
        "version: 1\nstate: ./state\nservice: {{ listen: 127.0.0.1:0 }}\ndatabases:\n  a: {{ kind: sqlite, path: ./a.db }}\n  \
         b: {{ kind: sqlite, path: ./b.db }}\npipelines:\n  p:\n    source: a\n    target: b\n    tables:\n      - from: customers\n{transform}"
    );
    std::fs::write(&path, text).expect("the configuration");
    path
}

/// How many rows of the two files' `customers` differ, over every column.
pub fn differences(a: &Path, b: &Path) -> u64 {
    let db = open(a);
    db.execute("ATTACH ? AS b", [b.to_string_lossy()]).expect("the target");
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count") as u64;
    count("SELECT count(*) FROM (SELECT * FROM main.customers EXCEPT SELECT * FROM b.customers)")
        + count("SELECT count(*) FROM (SELECT * FROM b.customers EXCEPT SELECT * FROM main.customers)")
}
