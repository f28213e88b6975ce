//! A market in PostgreSQL: its tables, the clerks that write them, and whether a target holds the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_servers::{Postgres, Session, SqlError};

use crate::database::{Database, Kind, Table, equal};
use crate::load::text;
use crate::random::Random;

/// The source. Two customers may swap their `email` in one statement; `stock` has a key of two columns; `ledger` is only ever added
/// to; the sum of `accounts` never changes; `scratch` is truncated now and then; `papers` hold text that is stored aside and that
/// most updates leave alone.
const SOURCE: &str = "
    CREATE TABLE customers (
      id bigint PRIMARY KEY, email text UNIQUE DEFERRABLE, name text NOT NULL, balance numeric(20,4), rate float8, photo bytea,
      active boolean NOT NULL DEFAULT true, prefs jsonb, born date, seen timestamptz(3));
    CREATE TABLE stock (place text, item int, amount int, note varchar(40000), PRIMARY KEY (place, item));
    CREATE TABLE ledger (id bigserial PRIMARY KEY, what text NOT NULL, delta bigint NOT NULL);
    CREATE TABLE accounts (id smallint PRIMARY KEY, amount int NOT NULL);
    CREATE TABLE scratch (id int PRIMARY KEY, body text);
    CREATE TABLE papers (id int PRIMARY KEY, body text, edition int NOT NULL);
    ALTER TABLE papers ALTER body SET STORAGE EXTERNAL;
    INSERT INTO customers (id, email, name, balance, active)
      SELECT i * 3, 'c' || i, 'customer ' || i, i * 7.25, i % 5 <> 0 FROM generate_series(1, 3000) i;
    INSERT INTO accounts SELECT i, 1000 FROM generate_series(1, 20) i;
    INSERT INTO stock SELECT 'north', id, id % 17, NULL FROM customers;
    INSERT INTO ledger (what, delta) SELECT 'opening', id FROM customers LIMIT 500;
    INSERT INTO papers SELECT i, repeat('paper ' || i || ' ', 600), 0 FROM generate_series(1, 200) i;";

/// A ledger at a PostgreSQL target which counts every effect on it: one applied twice is seen even if the row looks the same
/// afterwards. And the constraint that customers are swapped under.
const POSTGRES_TARGET: &str = "
    CREATE TABLE customers (
      id bigint PRIMARY KEY, email text UNIQUE DEFERRABLE, name text NOT NULL, balance numeric(20,4), rate float8, photo bytea,
      active boolean NOT NULL DEFAULT true, prefs jsonb, born date, seen timestamptz(3));
    CREATE TABLE ledger (id bigint PRIMARY KEY, what text NOT NULL, delta bigint NOT NULL);
    CREATE TABLE effects (id bigint, how text);
    CREATE FUNCTION effect() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO public.effects VALUES (coalesce(NEW.id, OLD.id), TG_OP); RETURN NULL; END $$;
    CREATE TRIGGER effect AFTER INSERT OR UPDATE OR DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION effect();
    ALTER TABLE ledger ENABLE ALWAYS TRIGGER effect;";

/// Every table with every column.
pub const TABLES: &[Table] = &[
    Table {
        name: "customers",
        key: &["id"],
        columns: &[
            ("email", Kind::Plain),
            ("name", Kind::Plain),
            ("balance", Kind::Plain),
            ("rate", Kind::Float),
            ("photo", Kind::Bytes),
            ("active", Kind::Bool),
            ("prefs", Kind::Json),
            ("born", Kind::Date),
            ("seen", Kind::Moment),
        ],
    },
    Table {
        name: "stock",
        key: &["place", "item"],
        columns: &[("amount", Kind::Plain), ("note", Kind::Plain)],
    },
    Table { name: "ledger", key: &["id"], columns: &[("what", Kind::Plain), ("delta", Kind::Plain)] },
    Table { name: "accounts", key: &["id"], columns: &[("amount", Kind::Plain)] },
    Table { name: "scratch", key: &["id"], columns: &[("body", Kind::Plain)] },
    Table { name: "papers", key: &["id"], columns: &[("body", Kind::Plain), ("edition", Kind::Plain)] },
];

/// The pipeline's further lines.
pub const PIPELINE: &str = "on_error: { base_ms: 50, max_ms: 500 }\ntables: [\"public.*\"]";

/// Makes the market in a PostgreSQL database.
pub fn open(source: &Database) {
    source.sql(SOURCE);
}

/// Makes a PostgreSQL target's ledger.
pub fn prepare(target: &Database) {
    if let Database::Postgres { .. } = target {
        target.sql(POSTGRES_TARGET);
    }
}

/// The last entry of the source's ledger.
pub fn ledger_head(source: &Database) -> i64 {
    source.one("SELECT max(id) FROM ledger").parse().expect("a number")
}

/// Both sides equal, and no effect twice on the ledger's entries after `streamed`: those made once the target was consistent.
/// What a chunk of the first copy brings while people write may come by the stream once more.
pub fn is_equal(source: &Database, target: &Database, streamed: i64) -> Result<usize, String> {
    let compared = equal(source, target, TABLES)?;
    if let Database::Postgres { .. } = target {
        let twice = target.sql(&format!(
            "SELECT id, string_agg(how, ' ') FROM effects WHERE id > {streamed}
             GROUP BY id HAVING count(*) > 1 OR max(how) <> 'INSERT' LIMIT 5"
        ));
        if !twice.is_empty() {
            return Err(format!("effects that came twice: {twice:?}"));
        }
    }
    Ok(compared)
}

/// Whole transactions only: the sum of the accounts at the target, once that is consistent.
pub fn accounts_are_whole(target: &Database) {
    let table = TABLES.iter().find(|table| table.name == "accounts").expect("it is one of them");
    let rows = target.rows(table).expect("the target can be read");
    let sum: i64 =
        rows.iter().map(|row| row[1].as_deref().and_then(|n| n.parse::<i64>().ok()).expect("a number")).sum();
    assert_eq!(sum, 20 * 1000, "half a transaction is in the target");
}

/// The clerks at work. They stop when told, or when dropped. While their server is away they wait for it.
#[derive(Debug)]
pub struct Clerks {
    stop: Arc<AtomicBool>,
    resting: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Clerks {
    /// So many clerks, each with a connection of its own and a pause of up to `pause` between two pieces of work.
    pub fn hire(source: &Database, random: &mut Random, count: usize, pause: Duration) -> Self {
        let Database::Postgres { server, name } = source else { panic!("the market is in PostgreSQL") };
        let stop = Arc::new(AtomicBool::new(false));
        let resting = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicU64::new(0));
        let threads = (0..count)
            .map(|_| {
                let (server, name) = (server.clone(), name.clone());
                let (stop, resting, committed) = (stop.clone(), resting.clone(), committed.clone());
                let mut random = random.fork();
                std::thread::spawn(move || {
                    let mut session = None;
                    while !stop.load(Ordering::Relaxed) {
                        if !resting.load(Ordering::Relaxed) {
                            let done = serve(&server, &name, &mut session, &mut random);
                            committed.fetch_add(u64::from(done), Ordering::Relaxed);
                        }
                        // A pace, so that writers and reader share two cores.
                        std::thread::sleep(Duration::from_micros(random.below(pause.as_micros() as u64 + 1)));
                    }
                })
            })
            .collect();
        Clerks { stop, resting, committed, threads }
    }

    /// Lets them finish what they are at, and do nothing until [`go_on`](Self::go_on).
    pub fn rest(&self) {
        self.resting.store(true, Ordering::Relaxed);
    }

    /// Ends a rest.
    pub fn go_on(&self) {
        self.resting.store(false, Ordering::Relaxed);
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

/// One piece of work, with a new connection where there is none. Says whether something was committed.
fn serve(server: &Postgres, name: &str, session: &mut Option<Session>, random: &mut Random) -> bool {
    let Some(open) = session else {
        *session = Session::open(server.socket_dir(), server.port(), "postgres", name).ok();
        return false;
    };
    match work(open, random) {
        Ok(committed) => committed,
        // Somebody else was quicker: unique and foreign keys, deadlocks, serialization.
        Err(error) if error.code.starts_with("23") || error.code.starts_with("40") => {
            if open.run("ROLLBACK").is_err() {
                *session = None;
            }
            false
        }
        // The server ends us, or is gone.
        Err(error)
            if error.code.is_empty() || error.code.starts_with("57P") || error.code.starts_with("08") =>
        {
            *session = None;
            false
        }
        Err(error) => panic!("a clerk's statement is wrong: {error}"),
    }
}

fn work(session: &mut Session, random: &mut Random) -> Result<bool, SqlError> {
    if random.once_in(3) {
        let statement = statement(random);
        session.run(&statement)?;
        return Ok(true);
    }
    session.run("BEGIN")?;
    for _ in 0..=random.below(6) {
        let statement = statement(random);
        if random.once_in(5) {
            // A part that is taken back, sometimes with a part inside that was kept.
            let inner = self::statement(random);
            session.run("SAVEPOINT a")?;
            session.run(&statement)?;
            session.run("SAVEPOINT b")?;
            session.run(&inner)?;
            let end = *random.one_of(&["ROLLBACK TO a", "ROLLBACK TO b", "RELEASE b", "RELEASE a"]);
            session.run(end)?;
        } else {
            session.run(&statement)?;
        }
    }
    if random.once_in(6) {
        session.run("ROLLBACK")?;
        return Ok(false);
    }
    // Always the lower account first, as programs do that know of deadlocks.
    let mut accounts = [1 + random.below(20), 1 + random.below(20)];
    accounts.sort_unstable();
    let amount = random.below(50);
    session.run(&format!("UPDATE accounts SET amount = amount - {amount} WHERE id = {}", accounts[0]))?;
    session.run(&format!("UPDATE accounts SET amount = amount + {amount} WHERE id = {}", accounts[1]))?;
    session.run("COMMIT")?;
    Ok(true)
}

fn statement(random: &mut Random) -> String {
    let (id, other) = (random.below(9100), random.below(9100));
    let place = *random.one_of(&["north", "south", "žlutý kůň", ""]);
    let place = literal(place);
    let name = literal(&text(random));
    match random.below(19) {
        0 | 1 => format!(
            "INSERT INTO customers (id, email, name, balance, rate, photo, active, prefs, born, seen)
             VALUES ({id}, 'c{}', {name}, {}, {}, {}, {}, {}, {}, {}) ON CONFLICT (id) DO NOTHING",
            random.below(12_000),
            random.below(1 << 40) as f64 / 4.0,
            random.below(1 << 50) as f64 / 1024.0,
            photo(random),
            random.once_in(2),
            prefs(random),
            random.one_of(&["NULL", "'1970-01-01'", "'2024-02-29'", "'0004-12-31'"]),
            random.one_of(&["NULL", "now()", "'1999-12-31 23:59:59.999+00'", "'2024-05-06 07:08:09+02'"]),
        ),
        2 => format!("UPDATE customers SET prefs = {}, seen = now() WHERE id = {id}", prefs(random)),
        3 => format!(
            "UPDATE customers SET balance = NULL, name = {name}, photo = {} WHERE id BETWEEN {id} AND {}",
            photo(random),
            id + random.below(40)
        ),
        4 => format!("UPDATE customers SET active = NOT active WHERE id = {id}"),
        5 => format!("DELETE FROM customers WHERE id = {id}"),
        6 => format!(
            "UPDATE customers SET id = {other} WHERE id = {id} AND NOT EXISTS (SELECT 1 FROM customers WHERE id = {other})"
        ),
        // Two customers swap what is unique.
        7 => format!(
            "UPDATE customers a SET email = b.email FROM customers b
             WHERE a.id IN ({id}, {other}) AND b.id IN ({id}, {other}) AND a.id <> b.id"
        ),
        // One goes, and another takes over what was its own.
        8 => format!(
            "WITH gone AS (DELETE FROM customers WHERE id = {id} AND {id} <> {other} RETURNING email)
             UPDATE customers SET name = {name}, email = gone.email FROM gone WHERE id = {other}"
        ),
        9 | 10 => format!(
            "INSERT INTO stock VALUES ({place}, {id}, 1, {name})
             ON CONFLICT (place, item) DO UPDATE SET amount = stock.amount + 1, note = EXCLUDED.note"
        ),
        11 => format!("DELETE FROM stock WHERE place = {place} AND item = {id}"),
        12 => format!(
            "UPDATE stock SET place = {place}, item = item + 1 WHERE place = 'north' AND item = {id}
             AND NOT EXISTS (SELECT 1 FROM stock s WHERE s.place = {place} AND s.item = {id} + 1)"
        ),
        13 => format!("UPDATE papers SET edition = edition + 1 WHERE id % 50 = {}", random.below(50)),
        14 => {
            format!("UPDATE papers SET id = id + 1000 * {} WHERE id = {}", random.below(3), random.below(200))
        }
        15 => format!(
            "INSERT INTO papers VALUES ({}, repeat(md5({id}::text), 200), 1)
             ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body",
            random.below(260)
        ),
        16 if random.once_in(12) => "TRUNCATE scratch".into(),
        16 if random.once_in(3) => format!(
            "INSERT INTO scratch SELECT i, 'line ' || i FROM generate_series({other}, {}) i
             ON CONFLICT (id) DO UPDATE SET body = scratch.body || '.'",
            other + 2_000
        ),
        _ => format!("INSERT INTO ledger (what, delta) VALUES ({name}, {})", random.next() as i64),
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn photo(random: &mut Random) -> String {
    if random.once_in(3) {
        return "NULL".into();
    }
    let length = if random.once_in(50) { 6_000 } else { random.below(40) };
    let digits: String = (0..length).map(|_| format!("{:02x}", random.next() as u8)).collect();
    format!("'\\x{digits}'")
}

fn prefs(random: &mut Random) -> String {
    let prefs = [
        "NULL",
        "'{}'",
        "'[]'",
        r#"'{"a": 1, "b": [true, null, "ä"]}'"#,
        r#"'{"deep": {"er": {"est": 1.25}}, "n": -9007199254740993}'"#,
        "'\"text\"'",
        "'17'",
    ];
    (*random.one_of(&prefs)).into()
}
