//! SQLite to SQLite: the first copy, against `INSERT ... SELECT` between the same files.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::measure::{self, Usage};
use crate::table::{Limit, Table};
use crate::{Bench, data};

/// The snapshot part.
pub fn run(bench: &Bench, table: &mut Table) {
    let dir = bench.dir.join("snapshot");
    std::fs::create_dir(&dir).expect("a folder");
    data::fill(&dir.join("a.db"), bench.rows);
    let millions = bench.rows as f64 / 1e6;

    let first = insert_select(&dir);
    let second = insert_select(&dir);
    let best = first.min(second);
    table.show("snapshot", "INSERT ... SELECT", bench.rows as f64 / best, "rows/s");
    table.show("snapshot", "A/A: the same again, ratio", first / second, "x");

    let plain = sync(bench, &dir, "");
    table.show("snapshot", "sluice sync", bench.rows as f64 / plain.wall, "rows/s");
    let ratio = best / plain.wall;
    table.add(
        "snapshot",
        "sluice sync / INSERT ... SELECT",
        ratio,
        "x",
        Limit::Least(0.4),
        "rate against rate",
    );
    table.show("snapshot", "CPU of sluice, both databases included", plain.cpu / millions, "s/Mrow");
    table.add("snapshot", "peak RSS", plain.rss_mib, "MiB", Limit::Most(128.0), "");
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
