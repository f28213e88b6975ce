//! Every pair of databases: a first copy and a stream under load, with the engine killed at random moments; in the end both
//! sides are equal, row for row, every column (I11).

use std::time::Duration;

use sluice_e2e::database::{Database, Kind, Table, difference, sqlite_rows};
use sluice_e2e::load::{self, shop};
use sluice_e2e::random::Random;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{binary, market, wait};

/// How often the process is killed in one run.
const KILLS: u32 = 22;

/// How often before it may finish the first copy.
const KILLS_AT_FIRST: u32 = 6;

/// How long both sides may take to be equal once nobody writes any more.
const CATCHES_UP: Duration = Duration::from_secs(120);

/// The moments of a run that a test looks at.
struct Witness<'a> {
    /// The target has become consistent.
    consistent: &'a mut dyn FnMut(),
    /// A process was killed after that.
    killed: &'a dyn Fn(),
}

/// Starts and kills the engine again and again.
fn kill_again_and_again(site: &Site, random: &mut Random, witness: Witness<'_>) {
    let mut consistent = false;
    for kill in 0..KILLS {
        // Some die while they are still starting.
        let young = random.once_in(4);
        let serve = if young {
            Serve::spawn(site, std::process::Command::new(binary::sluice()))
        } else {
            Serve::start(site)
        };
        // The moment is random: not a wait for anything.
        std::thread::sleep(Duration::from_millis(random.below(if young { 300 } else { 1200 })));
        if !young && kill >= KILLS_AT_FIRST && !consistent {
            serve.line_when("the target to be consistent", |line| line["ready"] == true);
        }
        if !young && !consistent && serve.line()["ready"] == true {
            consistent = true;
            (witness.consistent)();
        }
        serve.kill();
        if consistent {
            (witness.killed)();
        }
    }
    assert!(consistent, "the first copy is done in time");
}

fn no_dead_letters(site: &Site) {
    let letters = site.sluice(&["dlq", "list", "copy", "--json"]).ended_with(0).json();
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(0), "{letters:#}");
}

/// A market in PostgreSQL to any target.
fn market_to(test: &str, target: &Database) {
    let mut random = Random::seeded(test);
    let source = Database::alone_on_postgres("market");
    market::open(&source);
    market::prepare(target);
    let site = Site::between(&source, target, market::PIPELINE);
    // MongoDB writes with less haste than PostgreSQL, and the first copy ends when the stream has come to its end.
    let pause = if matches!(target, Database::Mongo { .. }) { 60 } else { 8 };
    let clerks = market::Clerks::hire(&source, &mut random, 3, Duration::from_millis(pause));
    let mut streamed = 0;
    // MongoDB's transactions go in parts only above limits that no transaction here reaches.
    let mut consistent = || streamed = market::ledger_head(&source);
    let killed = || market::accounts_are_whole(target);
    kill_again_and_again(&site, &mut random, Witness { consistent: &mut consistent, killed: &killed });

    let committed = clerks.dismiss();
    assert!(market::ledger_head(&source) > streamed, "nothing was streamed");
    let serve = Serve::start(&site);
    let equal = || market::is_equal(&source, target, streamed);
    let rows = wait::until_within(CATCHES_UP, "both sides to be equal", equal);
    println!("{KILLS} kills, {committed} transactions, {rows} rows equal");
    assert!(committed > 200, "there was hardly any load: {committed} transactions");
    no_dead_letters(&site);
    serve.stop();
    site.sluice(&["delete", "copy"]).ended_with(0);
    nothing_is_left_at(&source);
}

/// Slot and publication are gone.
fn nothing_is_left_at(source: &Database) {
    let left = source.sql(
        "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()
         UNION ALL SELECT pubname FROM pg_publication",
    );
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn postgres_to_postgres() {
    market_to("PostgreSQL to PostgreSQL", &Database::postgres("copy"));
}

#[test]
fn postgres_to_mongodb() {
    market_to("PostgreSQL to MongoDB", &Database::mongo("copy"));
}

#[test]
fn postgres_to_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    market_to("PostgreSQL to SQLite", &Database::Sqlite(folder.path().join("copy.db")));
}

/// What a target of the shop holds, and what of the source it is: `anything` has values of every type, which a column of a
/// database with types can't take.
const SHOP: [(&str, &[Kind], Table); 4] = [
    (
        "SELECT id, email, name, CAST(balance AS INTEGER), rate, photo FROM customers WHERE hidden = 0",
        &[Kind::Plain, Kind::Plain, Kind::Plain, Kind::Plain, Kind::Plain, Kind::Bytes],
        Table {
            name: "clients",
            key: &["id"],
            columns: &[
                ("mail", Kind::Plain),
                ("full_name", Kind::Plain),
                ("balance", Kind::Plain),
                ("rate", Kind::Float),
                ("photo", Kind::Bytes),
            ],
        },
    ),
    (
        "SELECT place, item, amount, note FROM stock",
        &[Kind::Plain; 4],
        Table {
            name: "stock",
            key: &["place", "item"],
            columns: &[("amount", Kind::Plain), ("note", Kind::Plain)],
        },
    ),
    (
        "SELECT id, what, delta FROM ledger",
        &[Kind::Plain; 3],
        Table { name: "ledger", key: &["id"], columns: &[("what", Kind::Plain), ("delta", Kind::Plain)] },
    ),
    (
        "SELECT id, amount FROM accounts",
        &[Kind::Plain; 2],
        Table { name: "accounts", key: &["id"], columns: &[("amount", Kind::Plain)] },
    ),
];

/// A shop in SQLite and a line to a target with types, which has these settings.
pub fn shop_with(random: &mut Random, target: &str) -> Site {
    let site = shop(random);
    let pipeline =
        load::PIPELINE.replace("to: clients\n", "to: clients\n    columns: { exclude: [anything] }\n");
    let pipeline = format!("on_error: {{ base_ms: 50, max_ms: 500 }}\n{pipeline}");
    site.configure_between("{ kind: sqlite, path: ./source.db }", target, &pipeline);
    site
}

/// Compares a shop with a target of types.
pub fn shop_is_equal(site: &Site, target: &Database) -> Result<usize, String> {
    let mut compared = 0;
    for (query, kinds, table) in &SHOP {
        let wanted = sqlite_rows(&site.path("source.db"), query, kinds)?;
        let found = target.rows(table)?;
        if wanted != found {
            return Err(difference(table.name, &wanted, &found));
        }
        compared += wanted.len();
    }
    Ok(compared)
}

/// A shop in SQLite to a target with types.
fn shop_to(test: &str, target: &Database) {
    let mut random = Random::seeded(test);
    let site = shop_with(&mut random, &target.settings());
    let clerks = load::Clerks::hire(&site, &mut random, 3);
    let nothing = || ();
    kill_again_and_again(&site, &mut random, Witness { consistent: &mut || (), killed: &nothing });

    let committed = clerks.dismiss();
    let serve = Serve::start(&site);
    let rows = wait::until_within(CATCHES_UP, "both sides to be equal", || shop_is_equal(&site, target));
    println!("{KILLS} kills, {committed} transactions, {rows} rows equal");
    assert!(committed > 500, "there was hardly any load: {committed} transactions");
    no_dead_letters(&site);
    serve.stop();
}

#[test]
fn sqlite_to_postgres() {
    shop_to("SQLite to PostgreSQL", &Database::postgres("copy"));
}

#[test]
fn sqlite_to_mongodb() {
    shop_to("SQLite to MongoDB", &Database::mongo("copy"));
}
