//! Randomness that can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (SplitMix64): good enough to choose with, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator from `SLUICE_SEED`, or from the time. The seed is printed, so that a failing run can be done again (what the
    /// machine's scheduler did can't).
    pub fn seeded(test: &str) -> Self {
        let seed = match std::env::var("SLUICE_SEED") {
            Ok(text) => text.parse().expect("SLUICE_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64,
        };
        println!("{test}: SLUICE_SEED={seed}");
        Random(seed)
    }

    /// A generator of its own, for another thread.
    pub fn fork(&mut self) -> Random {
        Random(self.next())
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of some.
    pub fn one_of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len() as u64) as usize]
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
