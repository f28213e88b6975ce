//! The first copy: `COPY ... | COPY ...`, the initial copy of a native subscription, and `sluice sync`.

use std::process::Command;

use super::{ROUNDS, SOURCE, Servers, TABLE, config, settings};
use crate::Bench;
use crate::race::Race;
use crate::table::{Limit, Table};

pub(super) fn run(bench: &Bench, servers: &Servers, table: &mut Table) {
    let dir = bench.dir.join("postgres-snapshot");
    std::fs::create_dir(&dir).expect("a folder");
    let mut race = Race::new(format!("snapshot of {} rows, PG to PG", bench.rows), bench.rows);
    servers.source.sql(SOURCE, "CREATE PUBLICATION native FOR TABLE customers");
    for _ in 0..ROUNDS {
        servers.fresh("piped", "template0");
        servers.target.sql("piped", TABLE);
        let pipe = servers.measured(Command::new("sh").args(["-c", &copy_pipe(servers)]));
        race.ran("psql COPY | psql COPY", pipe);
        servers.assert_equal("piped");

        servers.fresh("native", "template0");
        servers.target.sql("native", TABLE);
        let subscribe = format!(
            "CREATE SUBSCRIPTION native_copy CONNECTION '{}' PUBLICATION native WITH (binary = true, streaming = on)",
            servers.conninfo()
        );
        let state = "SELECT bool_and(srsubstate IN ('s', 'r')) FROM pg_subscription_rel";
        let copied = servers.measured_until(
            || drop(servers.target.sql("native", &subscribe)),
            || servers.target.one("native", state) == "t",
        );
        race.ran("native subscription, initial copy", copied);
        servers.assert_equal("native");
        servers.target.sql("native", "DROP SUBSCRIPTION native_copy");

        servers.fresh("copied", "template0");
        let _ = std::fs::remove_dir_all(dir.join("state"));
        let config =
            config(&dir, &settings(&servers.source, SOURCE), &settings(&servers.target, "copied"), "");
        let sync = || {
            let mut command = Command::new(&bench.sluice);
            command.args(["sync", "--drop-slot", "-c"]).arg(&config);
            command
        };
        race.ran("sluice sync", servers.measured(&mut sync()));
        servers.assert_equal("copied");
    }
    race.print("psql COPY | psql COPY");
    let ratio = race.ratio("sluice sync", "psql COPY | psql COPY");
    table.add("pg", "snapshot: sluice / COPY pipe", ratio, "x", Limit::Least(0.8), "rate against rate");
    let native = race.ratio("sluice sync", "native subscription, initial copy");
    table.show("pg", "snapshot: sluice / native initial copy", native, "x");
    table.show("pg", "snapshot: engine's CPU", race.engine_cpu("sluice sync"), "s/Mrow");
    table.add("pg", "snapshot: peak RSS", race.racer("sluice sync").rss_mib(), "MiB", Limit::Most(128.0), "");
}

fn copy_pipe(servers: &Servers) -> String {
    let psql = |server: &sluice_servers::Postgres, database: &str, statement: &str| {
        let program = sluice_servers::installed()[0].bin.join("psql");
        let socket = server.socket_dir().display();
        format!(
            "{} -h {socket} -p {} -U postgres -d {database} -qc \"{statement}\"",
            program.display(),
            server.port()
        )
    };
    let out = psql(&servers.source, SOURCE, "COPY customers TO STDOUT (FORMAT binary)");
    let into = psql(&servers.target, "piped", "COPY customers FROM STDIN (FORMAT binary)");
    format!("{out} | {into}")
}
