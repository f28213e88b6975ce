//! Time for tests.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_types::ports::Clock;
use tokio::time::{Duration, Instant};

/// A clock that runs with tokio's time: under paused time an hour of waiting takes no time at all, and every run of a seed
/// sees the same moments.
#[derive(Clone, Debug)]
pub struct TestClock {
    start: Instant,
}

impl TestClock {
    /// Where the clock stands when it is made, microseconds since 1970 UTC (2023-11-14T22:13:20Z).
    pub const EPOCH_MICROS: i64 = 1_700_000_000_000_000;

    /// A clock that stands at [`TestClock::EPOCH_MICROS`] now. Needs a tokio runtime.
    pub fn start() -> Arc<Self> {
        Arc::new(TestClock { start: Instant::now() })
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now_micros(&self) -> i64 {
        Self::EPOCH_MICROS + self.start.elapsed().as_micros() as i64
    }

    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
