//! A shop with busy clerks: the source's tables, the programs that write them, and what the target must look like.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params};

use crate::compare::{equal, rows};
use crate::random::Random;
use crate::site::{Site, open};

/// The source. `customers` can lose rows to `OR REPLACE` by its unique `email`; `stock` has a key of two columns and no rowid;
/// `ledger` is only ever added to; the sum of `accounts` never changes.
const SOURCE: &str = "
    CREATE TABLE customers (
      id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT NOT NULL, balance TEXT, rate REAL, photo BLOB,
      hidden INTEGER NOT NULL DEFAULT 0, anything);
    CREATE TABLE stock (
      place TEXT, item INTEGER, amount INTEGER, note TEXT, PRIMARY KEY (place, item)) WITHOUT ROWID;
    CREATE TABLE ledger (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, delta INTEGER NOT NULL);
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO customers (id, email, name, balance, hidden)
      SELECT i * 3, 'c' || i, 'customer ' || i, CAST(i * 7 AS TEXT), i % 5 = 0 FROM n;
    INSERT INTO accounts WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) SELECT i, 1000 FROM n;
    INSERT INTO stock SELECT 'north', id, id % 17, NULL FROM customers;
    INSERT INTO ledger (what, delta) SELECT 'opening', id FROM customers LIMIT 500;";

/// The target's ledger, which counts every effect on it: one applied twice is seen even if the row looks the same afterwards.
const TARGET: &str = "
    CREATE TABLE ledger (id INTEGER PRIMARY KEY, what TEXT NOT NULL, delta INTEGER NOT NULL);
    CREATE TABLE effects (id INTEGER, how TEXT);
    CREATE TRIGGER ledger_insert AFTER INSERT ON ledger BEGIN INSERT INTO effects VALUES (new.id, 'insert'); END;
    CREATE TRIGGER ledger_update AFTER UPDATE ON ledger BEGIN INSERT INTO effects VALUES (new.id, 'update'); END;
    CREATE TRIGGER ledger_delete AFTER DELETE ON ledger BEGIN INSERT INTO effects VALUES (old.id, 'delete'); END;";

/// The pipeline: a filter, two plugins and plain copies.
pub const PIPELINE: &str = "tables:
  - from: customers
    to: clients
    where: \"hidden = 0\"
    transform:
      - plugin: field-mapping
        config: { rename: { name: full_name, email: mail }, drop: [hidden] }
      - plugin: type-conversion
        config: { columns: { balance: integer } }
  - stock
  - ledger
  - accounts";

/// What each of the target's tables must hold, as a query there and the query of the source that says so.
const WANTED: [(&str, &str); 4] = [
    (
        "SELECT id, email, name, CAST(balance AS INTEGER), rate, photo, anything FROM customers WHERE hidden = 0 ORDER BY id",
        "SELECT id, mail, full_name, balance, rate, photo, anything FROM clients ORDER BY id",
    ),
    (
        "SELECT place, item, amount, note FROM stock ORDER BY place, item",
        "SELECT place, item, amount, note FROM stock ORDER BY place, item",
    ),
    ("SELECT id, what, delta FROM ledger ORDER BY id", "SELECT id, what, delta FROM ledger ORDER BY id"),
    ("SELECT id, amount FROM accounts ORDER BY id", "SELECT id, amount FROM accounts ORDER BY id"),
];

/// Makes the shop: source, target and configuration. The source's journal mode is one of both.
pub fn shop(random: &mut Random) -> Site {
    let journal = random.one_of(&["wal", "delete"]);
    println!("the source's journal mode: {journal}");
    let site = Site::with(&format!("PRAGMA journal_mode = {journal}; BEGIN; {SOURCE}; COMMIT"), PIPELINE);
    site.target().execute_batch(TARGET).expect("the target's statements are good");
    site
}

/// The last entry of the source's ledger.
pub fn ledger_head(site: &Site) -> i64 {
    crate::compare::one(&site.source(), "SELECT max(id) FROM ledger")
}

/// Both sides equal, and no effect twice on the ledger's entries after `streamed`: those that were made once the target was
/// consistent. What a chunk of the first copy brings while people write may come by the stream once more. `Ok` with the number of
/// rows compared.
pub fn shop_is_equal(site: &Site, streamed: i64) -> Result<usize, String> {
    let (source, target) = (site.source(), site.target());
    let mut compared = 0;
    for (there, here) in WANTED {
        compared += equal(&source, there, &target, here)?;
    }
    let twice = format!(
        "SELECT id, group_concat(how) FROM effects WHERE id > {streamed}
         GROUP BY id HAVING count(*) > 1 OR max(how) <> 'insert' LIMIT 5"
    );
    match rows(&target, &twice) {
        none if none.is_empty() => Ok(compared),
        some => Err(format!("effects that came twice: {some:?}")),
    }
}

/// Whole transactions only: the sum of the accounts at the target. Only once the target is consistent.
pub fn accounts_are_whole(site: &Site) {
    let sum: i64 = crate::compare::one(&site.target(), "SELECT sum(amount) FROM accounts");
    assert_eq!(sum, 20 * 1000, "half a transaction is in the target");
}

/// The clerks at work. They stop when told, or when dropped.
#[derive(Debug)]
pub struct Clerks {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Clerks {
    /// So many clerks, each with a connection of its own.
    pub fn hire(site: &Site, random: &mut Random, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicU64::new(0));
        let threads = (0..count)
            .map(|number| {
                let (path, stop, committed) = (site.path("source.db"), stop.clone(), committed.clone());
                let mut random = random.fork();
                std::thread::spawn(move || {
                    let mut connection = open(&path);
                    // Whether a replaced row fires delete triggers is each writer's own choice.
                    connection.pragma_update(None, "recursive_triggers", number % 2 == 1).expect("a setting");
                    while !stop.load(Ordering::Relaxed) {
                        committed.fetch_add(u64::from(work(&mut connection, &mut random)), Ordering::Relaxed);
                        // A pace, so that writers and reader share two cores.
                        std::thread::sleep(Duration::from_micros(random.below(2000)));
                    }
                })
            })
            .collect();
        Clerks { stop, committed, threads }
    }

    /// Transactions committed so far.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Stops them and answers how many transactions they committed.
    pub fn dismiss(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a clerk's work is good");
        }
        self.committed()
    }
}

impl Drop for Clerks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One piece of work: a transaction of a few statements, sometimes taken back, sometimes a single statement on its own.
/// Says whether it was committed. One that found the file busy was not: nobody minds.
fn work(connection: &mut Connection, random: &mut Random) -> bool {
    let done = (|| {
        if random.once_in(4) {
            statement(connection, random)?;
            return Ok(true);
        }
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for _ in 0..=random.below(6) {
            statement(&transaction, random)?;
        }
        if random.once_in(6) {
            transaction.rollback()?;
            return Ok(false);
        }
        transfer(&transaction, random)?;
        transaction.commit()?;
        Ok(true)
    })();
    match done {
        Ok(committed) => committed,
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::DatabaseBusy => false,
        Err(error) => panic!("a clerk's statement is wrong: {error}"),
    }
}

fn transfer(connection: &Connection, random: &mut Random) -> rusqlite::Result<()> {
    let amount = random.below(50) as i64;
    for change in [-amount, amount] {
        let account = 1 + random.below(20) as i64;
        connection
            .execute("UPDATE accounts SET amount = amount + ?1 WHERE id = ?2", params![change, account])?;
    }
    Ok(())
}

fn statement(connection: &Connection, random: &mut Random) -> rusqlite::Result<usize> {
    let id = random.below(9100) as i64;
    let (email, item) = (format!("c{}", random.below(3200)), random.below(9100) as i64);
    let place = *random.one_of(&["north", "south", "žlutý kůň", ""]);
    let name = text(random);
    match random.below(13) {
        0 | 1 => connection.execute(
            "INSERT OR IGNORE INTO customers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                id,
                email,
                name,
                random.below(1 << 40).to_string(),
                random.below(1 << 50) as f64 / 1024.0,
                blob(random),
                random.once_in(5),
                anything(random)
            ],
        ),
        2 => connection.execute("UPDATE customers SET anything = ?2 WHERE id = ?1", params![id, anything(random)]),
        3 => connection.execute(
            "UPDATE customers SET balance = NULL, name = ?3, photo = ?4 WHERE id BETWEEN ?1 AND ?2",
            params![id, id + random.below(40) as i64, name, blob(random)],
        ),
        4 => connection.execute("UPDATE customers SET hidden = 1 - hidden WHERE id = ?1", [id]),
        5 => connection.execute("DELETE FROM customers WHERE id = ?1", [id]),
        6 => connection.execute("UPDATE OR IGNORE customers SET id = ?2 WHERE id = ?1", [id, item]),
        7 => connection.execute(
            "INSERT OR REPLACE INTO customers (id, email, name, balance) VALUES (?1, ?2, ?3, '17')",
            params![id, email, name],
        ),
        8 => connection.execute("UPDATE OR REPLACE customers SET email = ?2 WHERE id = ?1", params![id, email]),
        9 => connection.execute(
            "INSERT INTO stock VALUES (?1, ?2, 1, ?3) ON CONFLICT DO UPDATE SET amount = amount + 1, note = ?3",
            params![place, item, name],
        ),
        10 => connection.execute("DELETE FROM stock WHERE place = ?1 AND item = ?2", params![place, item]),
        11 => connection.execute(
            "UPDATE OR REPLACE stock SET place = ?1, item = item + 1 WHERE place = 'north' AND item = ?2",
            params![place, item],
        ),
        _ => connection
            .execute("INSERT INTO ledger (what, delta) VALUES (?1, ?2)", params![name, random.next() as i64]),
    }
}

/// Text of every kind, now and then a long one.
pub fn text(random: &mut Random) -> String {
    let pieces = ["", "a", "Ünïcödé", "日本語", "🦆🚰", "'quoted'", "new\nline", "tab\t", " "];
    let count = if random.once_in(50) { 1000 } else { random.below(6) };
    (0..count).map(|_| *random.one_of(&pieces)).collect()
}

fn blob(random: &mut Random) -> Option<Vec<u8>> {
    let length = if random.once_in(50) { 20_000 } else { random.below(40) };
    (!random.once_in(3)).then(|| (0..length).map(|_| random.next() as u8).collect())
}

/// A value of any storage class, the edges of each among them.
fn anything(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Null,
        1 => Value::Integer(*random.one_of(&[0, -1, i64::MIN, i64::MAX, 1 << 53])),
        2 => Value::Integer(random.next() as i64),
        3 => Value::Real(*random.one_of(&[0.0, -0.5, 1e300, f64::INFINITY, f64::MIN_POSITIVE, 5e-324])),
        4 => Value::Real(random.next() as f64),
        5 => Value::Blob(blob(random).unwrap_or_default()),
        _ => Value::Text(text(random)),
    }
}

/// A program that adds row after row to a table `events(id, body)`, a few in each transaction. Stops when told, or when dropped.
#[derive(Debug)]
pub struct Appender {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Appender {
    /// Starts it on the site's source.
    pub fn start(site: &Site) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (site.path("source.db"), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut connection = open(&path);
            let mut rows = 0;
            while !stopped.load(Ordering::Relaxed) {
                let transaction = connection.transaction().expect("a transaction begins");
                for _ in 0..=rows % 3 {
                    let added =
                        transaction.execute("INSERT INTO events (body) VALUES ('row ' || ?1)", [rows as i64]);
                    rows += added.expect("a row can be added") as u64;
                }
                transaction.commit().expect("it is patient");
                // A pace, so that writer and reader share two cores.
                std::thread::sleep(Duration::from_millis(1));
            }
            rows
        });
        Appender { stop, thread: Some(thread) }
    }

    /// Stops it and answers how many rows it added.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it stops once").join().expect("its work is good")
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
