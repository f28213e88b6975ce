//! Would the other tests notice?

use std::time::Duration;

use rusqlite::Connection;
use sluice_e2e::compare::{equal, one};
use sluice_e2e::database::{self, Database};
use sluice_e2e::load::{Clerks, shop, shop_is_equal};
use sluice_e2e::random::Random;
use sluice_e2e::{market, stamp, wait};

#[test]
fn a_difference_is_noticed_down_to_the_storage_class() {
    let made = |statements: &str| {
        let connection = Connection::open_in_memory().expect("memory");
        connection.execute_batch(statements).expect("good statements");
        connection
    };
    let source = made("CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 1), (2, 'x')");
    for (rows, is_equal) in [
        ("(1, 1), (2, 'x')", true),
        ("(1, 1.0), (2, 'x')", false),
        ("(1, 1), (2, x'78')", false),
        ("(1, 1), (2, NULL)", false),
        ("(1, 1)", false),
        ("(1, 1), (2, 'x'), (3, 3)", false),
    ] {
        let target =
            made(&format!("CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES {rows}"));
        let query = "SELECT id, v FROM t ORDER BY id";
        assert_eq!(equal(&source, query, &target, query).is_ok(), is_equal, "{rows}");
    }
}

#[test]
fn the_clerks_do_all_kinds_of_work_and_keep_the_sum() {
    let mut random = Random::seeded("the clerks");
    let site = shop(&mut random);
    assert!(shop_is_equal(&site, 0).is_err(), "nothing was copied");
    let customers = || one::<i64>(&site.source(), "SELECT count(*) FROM customers");
    let before = customers();
    let clerks = Clerks::hire(&site, &mut random, 3);
    wait::until("a thousand transactions", || wait::when(clerks.committed(), |count| *count > 1000));
    clerks.dismiss();
    assert_ne!(customers(), before);
    let sum: i64 = one(&site.source(), "SELECT sum(amount) FROM accounts");
    assert_eq!(sum, 20 * 1000);
    let changed = one::<i64>(&site.source(), "SELECT count(*) FROM stock WHERE place <> 'north'");
    assert!(changed > 0, "keys change");
}

#[test]
fn versions_of_a_guest_differ_in_their_bytes_alone() {
    let built = sluice_guests::guest("stamp");
    let (one, other) = (stamp::version(built, "v1", "plain"), stamp::version(built, "v2", "traps"));
    assert_eq!(one.len(), other.len());
    let differing = one.iter().zip(&other).filter(|(a, b)| a != b).count();
    assert!((1..=20).contains(&differing), "{differing}");
}

#[test]
fn what_must_not_happen_is_noticed_when_it_does() {
    let mut looks = 0;
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait::holds_for(Duration::from_secs(5), "less than three looks", || {
            looks += 1;
            if looks < 3 { Ok(()) } else { Err(looks) }
        });
    }));
    assert!(noticed.is_err());
}

#[test]
fn the_clerks_of_a_market_do_all_kinds_of_work_and_what_they_did_is_compared() {
    let mut random = Random::seeded("the market");
    let (source, target) = (Database::postgres("market"), Database::postgres("copy"));
    market::open(&source);
    assert!(market::is_equal(&source, &target, 0).is_err(), "nothing was copied");
    let clerks = market::Clerks::hire(&source, &mut random, 3, Duration::from_millis(1));
    wait::until("a thousand transactions", || wait::when(clerks.committed(), |count| *count > 1000));
    clerks.dismiss();
    market::accounts_are_whole(&source);
    assert_ne!(source.one("SELECT count(*) FROM stock WHERE place <> 'north'"), "0", "keys change");
    // Copied as a person would, the other side is equal, and one value makes it unequal.
    market::open(&target);
    for table in market::TABLES {
        target.sql(&format!("TRUNCATE {}", table.name));
        let copy = format!(
            "{{ {} | {}; }}",
            shell(&source, &format!("COPY {} TO STDOUT", table.name)),
            shell(&target, &format!("COPY {} FROM STDIN", table.name)),
        );
        let copied = std::process::Command::new("sh").args(["-c", &copy]).output().unwrap();
        assert!(copied.status.success(), "{copied:?}");
    }
    let compared = database::equal(&source, &target, market::TABLES).unwrap();
    assert!(compared > 6_000, "{compared}");
    target.sql("UPDATE customers SET rate = 0.5 WHERE id = (SELECT min(id) FROM customers)");
    assert!(database::equal(&source, &target, market::TABLES).unwrap_err().starts_with("customers:"));
}

/// A command line of psql.
fn shell(database: &Database, statement: &str) -> String {
    let Database::Postgres { server, name } = database else { panic!("it has no psql") };
    let psql = sluice_servers::installed()[0].bin.join("psql");
    let socket = server.socket_dir().display();
    format!("{} -h {socket} -p {} -U postgres -d {name} -qc '{statement}'", psql.display(), server.port())
}
