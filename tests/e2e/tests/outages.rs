//! Servers that go away and come back, and a network that cuts, delays, forgets and closes half.

use std::sync::Arc;
use std::time::Duration;

use sluice_e2e::database::{Database, mongo_options, postgres_options};
use sluice_e2e::random::Random;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{load, market, wait};
use sluice_servers::{Direction, Mongo, Postgres, Proxy};

use crate::pairs::{shop_is_equal, shop_with};

const CATCHES_UP: Duration = Duration::from_secs(120);

/// Settings with which a peer that has gone silent is noticed within seconds.
fn impatient(settings: &str) -> String {
    settings.replacen(
        "{ kind: postgres,",
        "{ kind: postgres, connect_timeout_secs: 3, tcp_user_timeout_secs: 2, keepalives: { idle_secs: 1, interval_secs: 1, count: 2 },",
        1,
    )
}

/// Lets the line catch up and says that nothing is missing, doubled or set aside.
fn ends_equal(site: &Site, source: &Database, target: &Database, serve: &Serve, streamed: i64) {
    let equal = || market::is_equal(source, target, streamed);
    wait::until_within(CATCHES_UP, "both sides to be equal", equal);
    assert_eq!(serve.metric("sluice_dead_letters"), 0.0, "{}", site.log());
    assert!(serve.metric("sluice_line_retries_total") > 0.0, "it noticed nothing");
}

/// Stops or kills a database's server, which nobody else uses, and starts it again after a while.
fn restart(database: &Database, random: &mut Random) {
    // How long it is away: not a wait for anything.
    let pause = Duration::from_millis(random.below(500));
    let away = |leave: &dyn Fn(), come_back: &dyn Fn()| {
        leave();
        std::thread::sleep(pause);
        come_back();
    };
    match (database, random.once_in(2)) {
        (Database::Postgres { server, .. }, true) => away(&|| server.kill(), &|| server.start_again()),
        (Database::Postgres { server, .. }, false) => away(&|| server.stop(), &|| server.start_again()),
        (Database::Mongo { server, .. }, true) => away(&|| server.kill(), &|| server.start_again()),
        (Database::Mongo { server, .. }, false) => away(&|| server.stop(), &|| server.start_again()),
        (Database::Sqlite(_), _) => panic!("there is no server"),
    }
}

#[test]
fn servers_that_are_stopped_or_killed_are_waited_for() {
    let mut random = Random::seeded("servers restart");
    let start = || Arc::new(Postgres::start_with(postgres_options()));
    let (here, there) = (start(), start());
    let (source, target) = (Database::on_postgres(&here, "market"), Database::on_postgres(&there, "copy"));
    market::open(&source);
    market::prepare(&target);
    let site = Site::between(&source, &target, market::PIPELINE);
    let serve = Serve::start(&site);
    serve.line_when("the target to be consistent", |line| line["ready"] == true);
    let streamed = market::ledger_head(&source);
    let clerks = market::Clerks::hire(&source, &mut random, 2, Duration::from_millis(10));
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200 + random.below(500)));
        restart(if random.once_in(2) { &source } else { &target }, &mut random);
    }
    clerks.dismiss();
    ends_equal(&site, &source, &target, &serve, streamed);
    serve.stop();
}

#[test]
fn a_mongod_that_is_killed_is_waited_for() {
    let mut random = Random::seeded("mongod restarts");
    let server = Arc::new(Mongo::start());
    let (source, target) = (Database::alone_on_postgres("market"), Database::on_mongo(&server, "copy"));
    market::open(&source);
    let site = Site::between(&source, &target, market::PIPELINE);
    let serve = Serve::start(&site);
    let clerks = market::Clerks::hire(&source, &mut random, 2, Duration::from_millis(15));
    serve.under_way();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300 + random.below(1500)));
        restart(&target, &mut random);
    }
    clerks.dismiss();
    ends_equal(&site, &source, &target, &serve, i64::MAX);
    serve.stop();
}

/// What a bad network does, one after the other in a random order.
fn weather(proxy: &Proxy, random: &mut Random) {
    match random.below(7) {
        0 | 1 => proxy.cut(),
        2 => {
            proxy.refuse(true);
            std::thread::sleep(Duration::from_millis(random.below(600)));
            proxy.refuse(false);
        }
        3 => {
            proxy.delay(Duration::from_millis(20));
            std::thread::sleep(Duration::from_millis(400));
            proxy.delay(Duration::ZERO);
        }
        4 => proxy.half_close(*random.one_of(&[Direction::Up, Direction::Down])),
        5 => {
            // Longer than a silent peer is waited for, sometimes.
            proxy.stall(true);
            std::thread::sleep(Duration::from_millis(random.below(5_000)));
            proxy.stall(false);
            proxy.cut();
        }
        _ => proxy.cut_after(*random.one_of(&[Direction::Up, Direction::Down]), random.below(200_000)),
    }
}

fn through_a_bad_network(test: &str, target: &Database) {
    let mut random = Random::seeded(test);
    let source = Database::alone_on_postgres("market");
    market::open(&source);
    market::prepare(target);
    let (near, far) = (Proxy::to(source.port()), Proxy::to(target.port()));
    let site = Site::new();
    let settings = |database: &Database, proxy: &Proxy| impatient(&database.settings_at(proxy.port()));
    site.configure_between(&settings(&source, &near), &settings(target, &far), market::PIPELINE);
    let serve = Serve::start(&site);
    let clerks = market::Clerks::hire(&source, &mut random, 2, Duration::from_millis(10));
    // The first storm hits the first copy, too.
    for _ in 0..6 {
        weather(if random.once_in(2) { &near } else { &far }, &mut random);
        std::thread::sleep(Duration::from_millis(random.below(400)));
    }
    // What the clerks write in a second may take longer than that to arrive while other tests have the processors.
    clerks.rest();
    let ready = |line: &serde_json::Value| line["ready"] == true;
    wait::until_within(CATCHES_UP, "the target to be consistent", || wait::when(serve.line(), ready));
    let streamed = market::ledger_head(&source);
    clerks.go_on();
    for _ in 0..10 {
        weather(if random.once_in(2) { &near } else { &far }, &mut random);
        std::thread::sleep(Duration::from_millis(random.below(600)));
    }
    clerks.dismiss();
    ends_equal(&site, &source, target, &serve, streamed);
    serve.stop();
}

#[test]
fn a_bad_network_to_postgres_costs_time_and_nothing_else() {
    through_a_bad_network("bad network to PostgreSQL", &Database::postgres("copy"));
}

#[test]
fn a_bad_network_to_mongodb_costs_time_and_nothing_else() {
    // A server of its own: what waits for its end in the cache is not to stand in other tests' way.
    let server = Arc::new(Mongo::start_with(mongo_options()));
    through_a_bad_network("bad network to MongoDB", &Database::on_mongo(&server, "copy"));
}

/// Bad weather at one side, whose server goes away now and then.
fn storms(proxy: &Proxy, database: &Database, random: &mut Random) {
    for _ in 0..10 {
        if random.once_in(3) {
            restart(database, random);
        } else {
            weather(proxy, random);
        }
        std::thread::sleep(Duration::from_millis(random.below(600)));
    }
}

#[test]
fn outages_of_a_postgres_source_cost_a_sqlite_target_nothing() {
    let mut random = Random::seeded("outages of PostgreSQL, to SQLite");
    let folder = tempfile::tempdir().unwrap();
    let source = Database::alone_on_postgres("market");
    let target = Database::Sqlite(folder.path().join("copy.db"));
    market::open(&source);
    let near = Proxy::to(source.port());
    let site = Site::new();
    let settings = impatient(&source.settings_at(near.port()));
    site.configure_between(&settings, &target.settings(), market::PIPELINE);
    let serve = Serve::start(&site);
    let clerks = market::Clerks::hire(&source, &mut random, 2, Duration::from_millis(10));
    serve.under_way();
    storms(&near, &source, &mut random);
    clerks.dismiss();
    ends_equal(&site, &source, &target, &serve, i64::MAX);
    serve.stop();
}

/// From a shop in SQLite to a target whose server, or the way to it, fails.
fn shop_through_outages(test: &str, target: &Database) {
    let mut random = Random::seeded(test);
    let far = Proxy::to(target.port());
    let site = shop_with(&mut random, &impatient(&target.settings_at(far.port())));
    let serve = Serve::start(&site);
    let clerks = load::Clerks::hire(&site, &mut random, 2);
    serve.under_way();
    storms(&far, target, &mut random);
    clerks.dismiss();
    wait::until_within(CATCHES_UP, "both sides to be equal", || shop_is_equal(&site, target));
    assert_eq!(serve.metric("sluice_dead_letters"), 0.0, "{}", site.log());
    assert!(serve.metric("sluice_line_retries_total") > 0.0, "it noticed nothing");
    serve.stop();
}

#[test]
fn outages_of_a_postgres_target_cost_a_sqlite_source_nothing() {
    let target = Database::alone_on_postgres("copy");
    shop_through_outages("outages of PostgreSQL, from SQLite", &target);
}

#[test]
fn outages_of_a_mongodb_target_cost_a_sqlite_source_nothing() {
    let server = Arc::new(Mongo::start_with(mongo_options()));
    shop_through_outages("outages of MongoDB, from SQLite", &Database::on_mongo(&server, "copy"));
}
