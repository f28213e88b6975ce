//! I11: after a kill -9 at any instruction nothing is lost and nothing is doubled.

use std::time::Duration;

use sluice_e2e::load::{Clerks, accounts_are_whole, ledger_head, shop, shop_is_equal};
use sluice_e2e::random::Random;
use sluice_e2e::serve::Serve;
use sluice_e2e::{binary, wait};

/// How often the process is killed in one run.
const KILLS: u32 = 26;

/// How often before it may finish the first copy.
const KILLS_AT_FIRST: u32 = 6;

#[test]
fn killed_at_random_moments_both_sides_end_equal() {
    let mut random = Random::seeded("kills");
    let site = shop(&mut random);
    let clerks = Clerks::hire(&site, &mut random, 3);
    // Once the target was consistent: the ledger's entries up to then.
    let mut streamed = None;
    for kill in 0..KILLS {
        // Some die while they are still starting.
        let young = random.once_in(4);
        let serve = if young {
            Serve::spawn(&site, std::process::Command::new(binary::sluice()))
        } else {
            Serve::start(&site)
        };
        // The moment is random: not a wait for anything.
        std::thread::sleep(Duration::from_millis(random.below(if young { 150 } else { 900 })));
        if !young && kill >= KILLS_AT_FIRST && streamed.is_none() {
            serve.line_when("the target to be consistent", |line| line["ready"] == true);
        }
        if !young && streamed.is_none() && serve.line()["ready"] == true {
            streamed = Some(ledger_head(&site));
        }
        serve.kill();
        if streamed.is_some() {
            accounts_are_whole(&site);
        }
    }

    let committed = clerks.dismiss();
    let streamed = streamed.expect("the first copy is done in time");
    assert!(ledger_head(&site) > streamed + 100, "nothing was streamed");
    let serve = Serve::start(&site);
    let rows = wait::until("both sides to be equal", || shop_is_equal(&site, streamed));
    println!("{KILLS} kills, {committed} transactions, {rows} rows equal");
    assert!(committed > 500, "there was hardly any load: {committed} transactions");
    let letters = site.sluice(&["dlq", "list", "copy", "--json"]).ended_with(0).json();
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(0), "{letters:#}");
    serve.stop();
}

#[test]
fn killed_in_the_middle_of_the_first_copy_it_goes_on_where_it_was() {
    let mut random = Random::seeded("kills in the snapshot");
    let site = sluice_e2e::site::Site::with(
        "CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT, hash BLOB);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
         INSERT INTO words SELECT i * 2, 'word ' || i, randomblob(100) FROM n;",
        "batch: { rows: 200 }\ntables: [words]",
    );
    // Each copy of a row is counted, by a trigger of the target's own.
    site.target()
        .execute_batch(
            "CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT, hash BLOB);
             CREATE TABLE effects (id INTEGER);
             CREATE TRIGGER w1 AFTER INSERT ON words BEGIN INSERT INTO effects VALUES (new.id); END;
             CREATE TRIGGER w2 AFTER UPDATE ON words BEGIN INSERT INTO effects VALUES (new.id); END;",
        )
        .expect("good statements");
    let copied = || sluice_e2e::compare::one::<i64>(&site.target(), "SELECT count(*) FROM words");
    let mut interrupted = 0;
    while copied() < 60_000 {
        let serve = Serve::start(&site);
        let goal = copied() + random.below(20_000) as i64;
        wait::until("more rows to be copied", || wait::when(copied(), |rows| *rows >= goal.min(60_000)));
        interrupted += u32::from(copied() < 60_000);
        serve.kill();
    }
    let serve = Serve::start(&site);
    serve.caught_up();
    let words = "SELECT id, word, hash FROM words ORDER BY id";
    assert_eq!(sluice_e2e::compare::equal(&site.source(), words, &site.target(), words), Ok(60_000));
    let twice: i64 =
        sluice_e2e::compare::one(&site.target(), "SELECT count(*) - count(DISTINCT id) FROM effects");
    assert_eq!(twice, 0, "rows copied again after {interrupted} interruptions");
    serve.stop();
}
