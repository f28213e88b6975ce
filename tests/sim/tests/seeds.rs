//! Many seeds, and lines broken on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sluice_sim::{Report, Sabotage, Violation, run};

/// Seeds that a run tries, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 10_000;
/// Failing seeds that are reported; then the run ends.
const SHOWN_MAX: usize = 10;
/// Seeds after which a line that is broken on purpose must have been noticed.
const CAUGHT_WITHIN: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// How to run one seed again.
fn command(seed: u64) -> String {
    format!("SIM_SEED={seed} cargo test -p sluice-sim --test seeds -- --nocapture replay")
}

/// One seed, panics of the line included.
fn run_caught(seed: u64) -> Result<Report, Violation> {
    let panicked = |_| Err(Violation { rule: "panic", what: "the line panicked, see above".into() });
    std::panic::catch_unwind(|| run(seed, None)).unwrap_or_else(panicked)
}

#[test]
fn every_invariant_holds_under_every_seed() {
    if number("SIM_SEED").is_some() {
        return; // `replay` runs it.
    }
    let (first, seeds) = (number("SIM_FIRST").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS));
    let started = Instant::now();
    let (next, total, failures) =
        (AtomicU64::new(first), Mutex::new(Report::default()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failures.lock().unwrap().len() < SHOWN_MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    match run_caught(seed) {
                        Ok(report) => total.lock().unwrap().add(&report),
                        Err(violation) => failures.lock().unwrap().push((seed, violation)),
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("{seeds} seeds in {:.1} s: {total:?}", started.elapsed().as_secs_f64());
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|(seed, _)| *seed);
    let shown = |(seed, violation): &(u64, Violation)| format!("\n{violation}\n  {}", command(*seed));
    assert!(failures.is_empty(), "{}", failures.iter().map(shown).collect::<String>());
    // A simulation in which nothing happens shows nothing.
    let per_seed = |count: u64| count as f64 / seeds as f64;
    assert!(seeds < 100 || per_seed(total.compared) > 5.0, "{total:?}");
    assert!(seeds < 100 || (per_seed(total.crashes) > 0.5 && per_seed(total.faults) > 0.5), "{total:?}");
}

#[test]
fn replay() {
    let Some(seed) = number("SIM_SEED") else { return };
    match run(seed, None) {
        Ok(report) => println!("seed {seed}: {report:?}"),
        Err(violation) => panic!("seed {seed}: {violation}"),
    }
}

#[test]
fn a_seed_runs_the_same_each_time() {
    for seed in 0..20 {
        let runs = [run(seed, None), run(seed, None)].map(|ended| format!("{ended:?}"));
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
}

/// The first seed under which a broken line is noticed, and how.
fn caught(sabotage: Sabotage) -> (u64, Violation) {
    let found = (0..CAUGHT_WITHIN).find_map(|seed| Some((seed, run(seed, Some(sabotage)).err()?)));
    found.unwrap_or_else(|| panic!("{sabotage:?} was not noticed within {CAUGHT_WITHIN} seeds"))
}

#[test]
fn a_checkpoint_before_its_data_is_caught() {
    let (seed, violation) = caught(Sabotage::CheckpointBeforeData);
    println!("seed {seed}: {violation}");
}

#[test]
fn a_confirm_before_the_commit_is_caught() {
    let (seed, violation) = caught(Sabotage::ConfirmBeforeCommit);
    println!("seed {seed}: {violation}");
    assert_eq!(violation.rule, "I1");
}

#[test]
fn reordering_is_caught() {
    let (seed, violation) = caught(Sabotage::Reordering);
    println!("seed {seed}: {violation}");
}

#[test]
fn a_dead_letter_after_the_checkpoint_is_caught() {
    let (seed, violation) = caught(Sabotage::DeadLetterAfterCheckpoint);
    println!("seed {seed}: {violation}");
}

#[test]
fn a_chunk_row_over_a_newer_event_is_caught() {
    let (seed, violation) = caught(Sabotage::ChunkOverNewer);
    println!("seed {seed}: {violation}");
}
