//! Waiting for another process.

use std::time::{Duration, Instant};

/// Longer than any server here takes on a busy machine; one that gets there has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(5);

/// Looks until `look` answers something, for so long.
pub fn within<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        match look() {
            Some(found) => return Some(found),
            None if started.elapsed() > patience => return None,
            None => std::thread::sleep(POLL),
        }
    }
}
