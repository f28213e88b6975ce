//! SQLite to SQLite: a backlog of changes, and one huge transaction.

use std::path::Path;
use std::process::Command;

use crate::measure::{self, Usage};
use crate::table::{Limit, Table};
use crate::{Bench, data};

/// The stream part.
pub fn run(bench: &Bench, table: &mut Table) {
    let dir = bench.dir.join("stream");
    std::fs::create_dir(&dir).expect("a folder");
    let changes = bench.rows / 2;

    // A small table first, so that the triggers are there; then a backlog in transactions of 100.
    data::fill(&dir.join("a.db"), 1000);
    sync(bench, &dir);
    backlog(&dir.join("a.db"), changes);
    let drained = sync(bench, &dir);
    assert_eq!(data::differences(&dir.join("a.db"), &dir.join("b.db")), 0, "the stream differs");
    table.show(
        "stream",
        format!("{changes} changes in transactions of 100"),
        changes as f64 / drained.wall,
        "rows/s",
    );
    table.show(
        "stream",
        "CPU of sluice, both databases included",
        drained.cpu / (changes as f64 / 1e6),
        "s/Mrow",
    );
    table.add("stream", "peak RSS", drained.rss_mib, "MiB", Limit::Most(128.0), "");

    let mut db = data::open(&dir.join("a.db"));
    let tx = db.transaction().expect("a transaction");
    data::insert(&tx, 10_000_000, 10_000_000 + bench.rows);
    tx.commit().expect("the commit");
    drop(db);
    let large = sync(bench, &dir);
    assert_eq!(data::differences(&dir.join("a.db"), &dir.join("b.db")), 0, "the large transaction differs");
    let what = format!("one transaction of {} inserts", bench.rows);
    table.show("stream", what, bench.rows as f64 / large.wall, "rows/s");
    table.add("stream", "peak RSS through it", large.rss_mib, "MiB", Limit::Most(128.0), "");
}

fn sync(bench: &Bench, dir: &Path) -> Usage {
    let config = data::config(dir, "");
    measure::run(Command::new(&bench.sluice).args(["sync", "-c"]).arg(config))
}

/// Half inserts, three tenths updates, two tenths deletes.
fn backlog(path: &Path, changes: u64) {
    let mut db = data::open(path);
    db.execute_batch("PRAGMA synchronous = OFF").expect("a pragma"); // making the backlog is not what is measured
    let (mut made, mut next) = (0, 1000);
    while made < changes {
        let tx = db.transaction().expect("a transaction");
        data::insert(&tx, next, next + 50);
        for n in 0..30 {
            let id = data::mix(made + n) % next;
            tx.execute(
                "UPDATE customers SET amount = ?, updated = 'now' WHERE id = ?",
                (n as i64, id as i64),
            )
            .expect("an update");
        }
        for n in 0..20 {
            let id = data::mix(made * 3 + n) % next;
            tx.execute("DELETE FROM customers WHERE id = ?", [id as i64]).expect("a delete");
        }
        tx.commit().expect("the commit");
        (made, next) = (made + 100, next + 50);
    }
}
