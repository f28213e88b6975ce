//! `make bench`: one run, one table, every figure beside a limit measured in the same run.
//!
//! Wall times of a shared machine move; the ratios and the CPU seconds are what to read. The A/A lines measure the same thing twice:
//! their ratio is the noise. Rows: `BENCH_ROWS` (default 1,000,000).

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used, clippy::panic)] // a program for people, which may stop loudly

mod boundary;
mod data;
mod measure;
mod mongodb;
mod postgres;
mod race;
mod serve;
mod snapshot;
mod stream;
mod table;
mod writer;

use std::path::PathBuf;

use table::Table;

/// What every part of the run shares.
pub struct Bench {
    /// The release binary under test.
    pub sluice: PathBuf,
    /// Where files go: on a real disk, so that a durable commit costs what it costs.
    pub dir: PathBuf,
    /// Rows of the large parts.
    pub rows: u64,
}

fn main() {
    let rows = std::env::var("BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let only = std::env::args().nth(1);
    let base = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(base).expect("a folder for the files of the run");
    let sluice = sluice_binary();
    let bench = Bench { sluice, dir: dir.path().to_path_buf(), rows };
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut table = Table::default();
    if wanted("boundary") {
        boundary::run(&mut table);
    }
    if wanted("writer") {
        writer::run(&bench, &mut table);
    }
    if wanted("snapshot") {
        snapshot::run(&bench, &mut table);
    }
    if wanted("stream") {
        stream::run(&bench, &mut table);
    }
    if wanted("serve") {
        serve::run(&bench, &mut table);
    }
    if wanted("postgres") {
        postgres::run(&bench, &mut table);
    }
    if wanted("mongodb") {
        mongodb::run(&bench, &mut table);
    }
    table.print();
    if !table.all_reached() {
        std::process::exit(1);
    }
}

/// The release binary beside this program.
fn sluice_binary() -> PathBuf {
    let here = std::env::current_exe().expect("this program has a path");
    let beside = here.with_file_name("sluice");
    assert!(beside.exists(), "{} is missing: cargo build --release -p sluice", beside.display());
    beside
}
