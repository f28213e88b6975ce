//! How much goes into one transaction of the target.
//!
//! A target may end a transaction that takes too long or holds too much (MongoDB: `transactionLifetimeLimitSeconds`, its cache), and
//! how much that is depends on its settings, its machine, and on who else is at work. So nobody is asked: after a transaction that
//! did not get through, the next ones gather less, down to a few rows, and more again once many have got through.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice_types::ErrorKind;

use crate::spec::{BatchLimits, LargeTransactions};

/// Each level gathers a quarter of the one before.
const LEVEL_BITS: u32 = 2;
const LEVEL_MAX: u32 = 8;
/// From this level on a transaction of the source that goes in parts does so in smaller ones: only once gathering less has not
/// been enough, for parts are seen at the target one by one.
const LEVEL_OF_PARTS: u32 = 3;
/// Not less is gathered, nor smaller a part, than so many rows and bytes.
const ROWS_MIN: usize = 16;
const BYTES_MIN: usize = 4 << 10;
/// Commits until the next try to gather more; twice as many after each time that this was too early.
const CALM_FIRST: u32 = 16;
const CALM_MAX: u32 = 4_096;

/// One line's pace, over all its sessions.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    /// 0: as configured.
    level: u32,
    /// Commits at this level.
    calm: u32,
    /// How many of them it takes to try the level above.
    patience: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Pace(Mutex::new(State { level: 0, calm: 0, patience: CALM_FIRST }))
    }
}

impl Pace {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may be gathered now.
    pub fn batch(&self, limits: BatchLimits) -> BatchLimits {
        let bits = self.state().level * LEVEL_BITS;
        let slowed = |limit: NonZeroUsize, least: usize| {
            limit.min(NonZeroUsize::new((limit.get() >> bits).max(least)).unwrap_or(limit))
        };
        BatchLimits { rows: slowed(limits.rows, ROWS_MIN), bytes: slowed(limits.bytes, BYTES_MIN), ..limits }
    }

    /// Where a transaction goes in parts: how large one is now.
    pub fn parts(&self, limits: LargeTransactions) -> LargeTransactions {
        let bits = (self.state().level + 1).saturating_sub(LEVEL_OF_PARTS) * LEVEL_BITS;
        let slowed = |limit: u64, least: usize| limit.min((limit >> bits).max(least as u64));
        LargeTransactions {
            rows: slowed(limits.rows, ROWS_MIN),
            bytes: slowed(limits.bytes, BYTES_MIN),
            ..limits
        }
    }

    /// The target did not take what was gathered. Says whether less will be gathered now.
    pub fn failed(&self, kind: ErrorKind) -> bool {
        if !matches!(kind, ErrorKind::Busy | ErrorKind::Timeout | ErrorKind::TransactionTooLarge) {
            return false;
        }
        let mut state = self.state();
        if state.level == LEVEL_MAX {
            return false;
        }
        // It has got through before, with less: what came since was too early.
        if state.calm > 0 {
            state.patience = (state.patience * 2).min(CALM_MAX);
        }
        (state.level, state.calm) = (state.level + 1, 0);
        true
    }

    /// Something got through.
    pub fn committed(&self) {
        let mut state = self.state();
        state.calm = state.calm.saturating_add(1);
        if state.calm < state.patience {
            return;
        }
        match state.level {
            0 => state.patience = CALM_FIRST,
            level => (state.level, state.calm) = (level - 1, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::OnLarge;

    fn batch(pace: &Pace) -> (usize, usize) {
        let number = |number| NonZeroUsize::new(number).unwrap();
        let limits = BatchLimits { rows: number(1000), bytes: number(8 << 20), age_ms: 50 };
        let BatchLimits { rows, bytes, .. } = pace.batch(limits);
        (rows.get(), bytes.get())
    }

    fn parts(pace: &Pace) -> (u64, u64) {
        let limits = LargeTransactions { rows: 100_000, bytes: 64 << 20, then: OnLarge::Parts };
        let LargeTransactions { rows, bytes, .. } = pace.parts(limits);
        (rows, bytes)
    }

    #[test]
    fn what_does_not_get_through_makes_the_next_smaller_and_parts_last() {
        let pace = Pace::default();
        assert!(!pace.failed(ErrorKind::Unreachable) && !pace.failed(ErrorKind::Constraint));
        assert_eq!((batch(&pace), parts(&pace)), ((1000, 8 << 20), (100_000, 64 << 20)));
        assert!(pace.failed(ErrorKind::Busy) && pace.failed(ErrorKind::Timeout));
        assert_eq!((batch(&pace), parts(&pace)), ((62, 512 << 10), (100_000, 64 << 20)));
        assert!(pace.failed(ErrorKind::TransactionTooLarge));
        assert_eq!((batch(&pace), parts(&pace)), ((16, 128 << 10), (25_000, 16 << 20)));
        while pace.failed(ErrorKind::Busy) {}
        assert_eq!((batch(&pace), parts(&pace)), ((16, 4 << 10), (24, 16 << 10)));
    }

    #[test]
    fn a_limit_that_is_small_already_stays() {
        let pace = Pace::default();
        while pace.failed(ErrorKind::Busy) {}
        let number = |number| NonZeroUsize::new(number).unwrap();
        let small = BatchLimits { rows: number(2), bytes: number(100), age_ms: 50 };
        assert_eq!(pace.batch(small), small);
        let small = LargeTransactions { rows: 2, bytes: 100, then: OnLarge::Parts };
        assert_eq!(pace.parts(small), small);
    }

    #[test]
    fn it_grows_again_slowly_and_slower_each_time_it_was_too_early() {
        let pace = Pace::default();
        let commits_until = |rows: usize| {
            (1..100_000).find(|_| {
                pace.committed();
                batch(&pace).0 == rows
            })
        };
        pace.failed(ErrorKind::Busy);
        assert_eq!(commits_until(1000), Some(16));
        pace.committed();
        pace.failed(ErrorKind::Busy);
        assert_eq!(commits_until(1000), Some(32));
        for _ in 0..32 {
            pace.committed();
        }
        pace.failed(ErrorKind::Busy);
        assert_eq!(commits_until(1000), Some(32), "a long calm is forgotten trouble");
    }
}
