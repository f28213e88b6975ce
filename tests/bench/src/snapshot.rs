//! SQLite to SQLite: the first copy, against `INSERT ... SELECT` between the same files.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::measure::{self, Usage};
use crate::table::{Limit, Table};
use crate::{Bench, data};

/// How often each side is measured.
const ROUNDS: usize = 3;

/// The snapshot part.
pub fn run(bench: &Bench, table: &mut Table) {
    let dir = bench.dir.join("snapshot");
    std::fs::create_dir(&dir).expect("a folder");
    data::fill(&dir.join("a.db"), bench.rows);
    let millions = bench.rows as f64 / 1e6;

    // In turn, and the best of each: what else the machine does can only slow either down.
    let rounds: Vec<(f64, Usage)> =
        (0..ROUNDS).map(|_| (insert_select(&dir), sync(bench, &dir, ""))).collect();
    let mut copies: Vec<f64> = rounds.iter().map(|(copy, _)| *copy).collect();
    copies.sort_by(f64::total_cmp);
    table.show("snapshot", "INSERT ... SELECT", bench.rows as f64 / copies[0], "rows/s");
    table.show("snapshot", "A/A: its second best, ratio", copies[0] / copies[1], "x");

    let peak = rounds.iter().map(|(_, sync)| sync.rss_mib).fold(0.0, f64::max);
    let plain =
        rounds.into_iter().map(|(_, sync)| sync).min_by(|a, b| a.wall.total_cmp(&b.wall)).expect("a round");
    table.show("snapshot", "sluice sync", bench.rows as f64 / plain.wall, "rows/s");
    let ratio = copies[0] / plain.wall;
    table.add(
        "snapshot",
        "sluice sync / INSERT ... SELECT",
        ratio,
        "x",
        Limit::Least(0.4),
        "rate against rate",
    );
    table.show("snapshot", "CPU of sluice, both databases included", plain.cpu / millions, "s/Mrow");
    table.add("snapshot", "peak RSS", peak, "MiB", Limit::Most(128.0), "");
    assert_eq!(data::differences(&dir.join("a.db"), &dir.join("b.db")), 0, "the copy differs");

    let chain = "        transform:\n          - plugin: type-conversion\n            config: { columns: { amount: integer } }\n";
    let through = sync(bench, &dir, chain);
    table.show("snapshot", "through one plugin", bench.rows as f64 / through.wall, "rows/s");
    table.show("snapshot", "through one plugin / plain, CPU", through.cpu / plain.cpu, "x");
}

/// Seconds of one `INSERT ... SELECT` into a new file.
fn insert_select(dir: &Path) -> f64 {
    remove(dir, "i.db");
    let db = data::open(&dir.join("i.db"));
    db.execute_batch(data::TABLE).expect("the table");
    db.execute("ATTACH ? AS a", [dir.join("a.db").to_string_lossy()]).expect("the source");
    let start = Instant::now();
    db.execute_batch("INSERT INTO main.customers SELECT * FROM a.customers").expect("the copy");
    let seconds = start.elapsed().as_secs_f64();
    drop(db);
    remove(dir, "i.db");
    seconds
}

fn sync(bench: &Bench, dir: &Path, transform: &str) -> Usage {
    remove(dir, "b.db");
    let _ = std::fs::remove_dir_all(dir.join("state"));
    drop(data::open(&dir.join("b.db"))); // an empty file in the same journal mode as the other's
    let config = data::config(dir, transform);
    measure::run(Command::new(&bench.sluice).args(["sync", "-c"]).arg(config))
}

/// Removes a database with its side files.
pub fn remove(dir: &Path, name: &str) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(dir.join(format!("{name}{suffix}")));
    }
}
