//! The seeded simulation: a real line between databases in memory, in a world where everything goes wrong.
//!
//! A seed decides everything: the tables, what clients write and when, the chain, the faults of every port, at which await the
//! engine dies and how often, what people ask of the line meanwhile. Time is simulated, there is one thread, so a seed always
//! runs the same. While the line runs, a [`judge`] looks at every instant at which something becomes durable and knows what has
//! to hold then (the invariants I1 to I8 and I10 to I13); in the end the target has to be what an undisturbed copy would be.
//!
//! A failure names its seed: `SIM_SEED=n cargo test -p sluice-sim -- --nocapture replay`.

mod chaos;
mod judge;
mod life;
mod plan;
mod sabotage;
mod workload;
mod world;

use std::fmt;

pub use sabotage::Sabotage;

/// What a seed has brought to light.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The invariant that was broken, or what else must hold.
    pub rule: &'static str,
    /// How it showed.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What happened in one seed: so that a simulation in which nothing happens is noticed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Transactions that clients committed at the source.
    pub transactions: u64,
    /// Transactions that the line committed at the target.
    pub commits: u64,
    /// Of those, the ones that left a consistent target, each compared row by row with the source at that position.
    pub compared: u64,
    /// Deaths of the engine.
    pub crashes: u64,
    /// Calls of ports that failed by script.
    pub faults: u64,
    /// Dead letters kept in the end.
    pub letters: u64,
    /// Swaps, pauses, resnapshots, restored targets and the like.
    pub deeds: u64,
}

impl Report {
    /// Adds another seed's.
    pub fn add(&mut self, other: &Report) {
        self.transactions += other.transactions;
        self.commits += other.commits;
        self.compared += other.compared;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.letters += other.letters;
        self.deeds += other.deeds;
    }
}

/// Runs one seed, with a line that is as it should be, or broken on purpose.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Report, Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| Violation { rule: "setup", what: error.to_string() })?;
    runtime.block_on(world::World::new(seed, sabotage).run())
}
