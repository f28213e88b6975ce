//! What our triggers cost the program that writes the source.

use std::process::Command;
use std::time::Instant;

use crate::measure::{self, median};
use crate::table::{Limit, Table};
use crate::{Bench, data};

/// The writer part: a mixed load, in transactions of 100, without and with our triggers.
pub fn run(bench: &Bench, table: &mut Table) {
    let dir = bench.dir.join("writer");
    std::fs::create_dir(&dir).expect("a folder");
    let transactions = (bench.rows / 5000).max(20);

    data::fill(&dir.join("a.db"), 50_000);
    std::fs::copy(dir.join("a.db"), dir.join("free.db")).expect("a copy");
    measure::run(Command::new(&bench.sluice).args(["sync", "-c"]).arg(data::config(&dir, "")));

    let (mut free, mut again, mut captured) = (vec![], vec![], vec![]);
    for round in 0..5 {
        free.push(load(&dir.join("free.db"), round * 3, transactions));
        captured.push(load(&dir.join("a.db"), round * 3 + 1, transactions));
        again.push(load(&dir.join("free.db"), round * 3 + 2, transactions));
    }
    let (free, again, captured) = (median(&mut free), median(&mut again), median(&mut captured));
    table.show("writer", "free", free, "rows/s");
    table.show("writer", "A/A: the same again, ratio", again / free, "x");
    table.show("writer", "under our triggers", captured, "rows/s");
    let note = "inserts, updates, deletes, 100 a transaction";
    table.add("writer", "under our triggers / free", captured / free, "x", Limit::Least(0.5), note);
}

/// Rows a second of a mixed load.
fn load(path: &std::path::Path, round: u64, transactions: u64) -> f64 {
    let mut db = data::open(path);
    let first = 1_000_000 + round * 1_000_000;
    let start = Instant::now();
    for n in 0..transactions {
        let tx = db.transaction().expect("a transaction");
        let from = first + n * 50;
        data::insert(&tx, from, from + 50);
        for k in 0..30 {
            let sql = "UPDATE customers SET amount = ?, updated = 'now' WHERE id = ?";
            let id = data::mix(round + n * 31 + k) % 50_000;
            tx.prepare_cached(sql).expect("the statement").execute((k as i64, id as i64)).expect("an update");
        }
        for k in 0..20 {
            let sql = "DELETE FROM customers WHERE id = ?";
            tx.prepare_cached(sql).expect("the statement").execute([(from + k) as i64]).expect("a delete");
        }
        tx.commit().expect("the commit");
    }
    (transactions * 100) as f64 / start.elapsed().as_secs_f64()
}
