//! A backlog of changes, drained again and again from copies of one slot: by a native subscription, by `pg_recvlogical`, which only
//! throws it away, and by `sluice sync`, without and with a plugin.

use std::path::Path;
use std::process::Command;

use super::{ROUNDS, SOURCE, Servers, config, insert, run_all, settings};
use crate::Bench;
use crate::data::mix;
use crate::race::{Race, Run};
use crate::table::{Limit, Table};

/// The target's database as it was before the backlog.
const BEFORE: &str = "before";

/// The key of the last row of the backlog.
const LAST: u64 = 1_000_000_000;

/// A chain of one plugin, which turns a column of text into one of numbers.
const CHAIN: &str = "        transform:\n          - plugin: type-conversion\n            config: { columns: { amount: integer } }\n";

pub(super) fn run(bench: &Bench, servers: &Servers, table: &mut Table) {
    let dir = bench.dir.join("postgres-stream");
    std::fs::create_dir(&dir).expect("a folder");
    let changes = bench.rows;
    let slot = begin(bench, servers, &dir);
    backlog(servers, changes, bench.rows);
    let end = servers.source.one(SOURCE, "SELECT pg_current_wal_flush_lsn()");

    let mut race = Race::new(format!("stream of {changes} changes, 100 a transaction"), changes);
    for _ in 0..ROUNDS {
        race.ran("native subscription, binary", native(servers));
        race.ran("sluice sync", drain(bench, servers, &dir, &slot, ""));
        race.ran("sluice sync, one plugin", drain(bench, servers, &dir, &slot, CHAIN));
        race.ran("pg_recvlogical > /dev/null", receive(servers, &end));
    }
    race.print("native subscription, binary");
    let ratio = race.ratio("sluice sync", "native subscription, binary");
    table.add(
        "pg",
        "stream: sluice / native, apply included",
        ratio,
        "x",
        Limit::Least(1.5),
        "rate against rate",
    );
    let (ours, theirs) =
        (race.racer("sluice sync").best().cpu(), race.racer("native subscription, binary").best().cpu());
    table.add(
        "pg",
        "stream: all CPU, sluice / native",
        ours / theirs,
        "x",
        Limit::Most(1.0),
        "engine and both servers",
    );
    table.add("pg", "stream: engine's CPU", race.engine_cpu("sluice sync"), "s/Mrow", Limit::Most(4.5), "");
    let plugin = race.ratio("sluice sync, one plugin", "sluice sync");
    table.add("pg", "stream: with one plugin / without", plugin, "x", Limit::Least(0.9), "rate against rate");
    table.add("pg", "stream: peak RSS", race.racer("sluice sync").rss_mib(), "MiB", Limit::Most(128.0), "");
    servers.source.sql(SOURCE, &format!("SELECT pg_drop_replication_slot('{slot}')"));
    huge(bench, servers, table);
}

/// The first copy, which leaves slot and checkpoint; the slot is renamed (copied), so that every run can have one like it.
fn begin(bench: &Bench, servers: &Servers, dir: &Path) -> String {
    servers.fresh(BEFORE, "template0");
    crate::measure::run(&mut sync(bench, servers, dir, BEFORE, ""));
    let slot = servers
        .source
        .one(SOURCE, "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'sluice%'");
    copy_slot(servers, &slot, "kept");
    servers.source.sql(SOURCE, "CREATE PUBLICATION drained FOR TABLE customers");
    slot
}

fn copy_slot(servers: &Servers, from: &str, to: &str) {
    let there = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{to}'"
    );
    servers.source.sql(SOURCE, &there);
    servers.source.sql(SOURCE, &format!("SELECT pg_copy_logical_replication_slot('{from}', '{to}')"));
}

fn sync(bench: &Bench, servers: &Servers, dir: &Path, database: &str, chain: &str) -> Command {
    let config = config(dir, &settings(&servers.source, SOURCE), &settings(&servers.target, database), chain);
    let mut command = Command::new(&bench.sluice);
    command.args(["sync", "-c"]).arg(config);
    command
}

/// Half inserts, three tenths updates, two tenths deletes, in transactions of 100.
fn backlog(servers: &Servers, changes: u64, rows: u64) {
    let mut session = servers.source.session(SOURCE);
    session.sql("SET synchronous_commit = off");
    for transaction in 0..changes / 100 {
        let first = rows + 1 + transaction * 50;
        let ids = |salt: u64, count: u64| -> String {
            let ids: Vec<String> =
                (0..count).map(|n| (1 + mix(transaction * 64 + n + salt) % rows).to_string()).collect();
            ids.join(", ")
        };
        run_all(
            &mut session,
            &[
                "BEGIN".into(),
                insert(first, first + 49),
                format!(
                    "UPDATE customers SET amount = '{transaction}', visits = visits + 1, updated = '2026-11-11' WHERE id IN ({})",
                    ids(0, 30)
                ),
                format!("DELETE FROM customers WHERE id IN ({})", ids(1 << 40, 20)),
                "COMMIT".into(),
            ],
        );
    }
    session.sql("SET synchronous_commit = on");
    session.sql(&insert(LAST, LAST));
}

/// The backlog by `sluice`.
fn drain(bench: &Bench, servers: &Servers, dir: &Path, slot: &str, chain: &str) -> Run {
    copy_slot(servers, "kept", slot);
    servers.fresh("drained", BEFORE);
    if !chain.is_empty() {
        servers.target.sql("drained", "ALTER TABLE customers ALTER amount TYPE bigint USING amount::bigint");
        servers.target.sql("postgres", "CHECKPOINT");
    }
    let run = servers.measured(&mut sync(bench, servers, dir, "drained", chain));
    if chain.is_empty() {
        servers.assert_equal("drained");
    }
    run
}

/// The backlog by a native subscription.
fn native(servers: &Servers) -> Run {
    copy_slot(servers, "kept", "native_drain");
    servers.fresh("native", BEFORE);
    servers.target.sql(
        "native",
        &format!(
            "CREATE SUBSCRIPTION native_drain CONNECTION '{}' PUBLICATION drained WITH
             (copy_data = false, create_slot = false, slot_name = 'native_drain', enabled = false, binary = true, streaming = on)",
            servers.conninfo()
        ),
    );
    // The subscription tells the source only every few seconds how far it is, so what is asked is the target.
    let mut session = servers.target.session("native");
    let last = format!("SELECT 1 FROM customers WHERE id = {LAST}");
    let run = servers.measured_until(
        || drop(servers.target.sql("native", "ALTER SUBSCRIPTION native_drain ENABLE")),
        || !session.sql(&last).is_empty(),
    );
    servers.assert_equal("native");
    servers.target.sql("native", "ALTER SUBSCRIPTION native_drain DISABLE");
    servers.target.sql("native", "ALTER SUBSCRIPTION native_drain SET (slot_name = NONE)");
    servers.target.sql("native", "DROP SUBSCRIPTION native_drain");
    run
}

/// The backlog to nowhere: what the source's server and the wire can give.
fn receive(servers: &Servers, end: &str) -> Run {
    copy_slot(servers, "kept", "received");
    let mut command = servers.source.program("pg_recvlogical");
    command.args(["-d", SOURCE, "--slot=received", "--start", "-f", "/dev/null", "--no-loop"]);
    command.arg(format!("--endpos={end}"));
    command.args(["-o", "proto_version=1", "-o", "publication_names=drained", "-o", "binary=true"]);
    servers.measured(&mut command)
}

/// One transaction of as many rows as the table has, and a smaller one that is rolled back.
fn huge(bench: &Bench, servers: &Servers, table: &mut Table) {
    let dir = bench.dir.join("postgres-huge");
    std::fs::create_dir(&dir).expect("a folder");
    servers.fresh("huge", "template0");
    crate::measure::run(&mut sync(bench, servers, &dir, "huge", ""));
    servers.source.sql(SOURCE, "BEGIN; UPDATE customers SET visits = visits + 1; ROLLBACK");
    servers.source.sql(SOURCE, "UPDATE customers SET visits = visits + 1");
    let run = servers.measured(&mut sync(bench, servers, &dir, "huge", ""));
    servers.assert_equal("huge");
    table.show("pg", "one transaction of all rows", bench.rows as f64 / run.wall, "rows/s");
    table.add("pg", "peak RSS through it", run.rss_mib, "MiB", Limit::Most(256.0), "");
    crate::measure::run(Command::new(&bench.sluice).args(["delete", "p", "-c"]).arg(dir.join("sluice.yaml")));
}
