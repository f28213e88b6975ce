//! Waiting for what another process does.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Longer than anything here takes on a busy machine; a test that gets there has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until `condition` answers `Ok`, for [`PATIENCE`]. The last `Err` says what was seen instead.
#[track_caller]
pub fn until<T, S: Debug>(what: &str, condition: impl FnMut() -> Result<T, S>) -> T {
    until_within(PATIENCE, what, condition)
}

/// The same with a patience of its own.
#[track_caller]
pub fn until_within<T, S: Debug>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, S>,
) -> T {
    let started = Instant::now();
    loop {
        match condition() {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > patience => {
                panic!("waited {patience:?} for {what}; last seen: {seen:#?}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// `Ok(value)` if it is as wanted, else `Err(value)`: for [`until`].
pub fn when<T>(value: T, wanted: impl FnOnce(&T) -> bool) -> Result<T, T> {
    if wanted(&value) { Ok(value) } else { Err(value) }
}

/// Looks again and again for a while and fails as soon as `always` does not hold: for what must NOT happen.
#[track_caller]
pub fn holds_for<S: Debug>(time: Duration, what: &str, mut always: impl FnMut() -> Result<(), S>) {
    let started = Instant::now();
    while started.elapsed() < time {
        if let Err(seen) = always() {
            panic!("{what} did not hold after {:?}: {seen:#?}", started.elapsed());
        }
        std::thread::sleep(POLL);
    }
}
