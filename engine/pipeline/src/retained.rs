//! Watches what the source keeps of its log for the line, whatever the line does meanwhile. It grows most while nothing is read:
//! while the target is away, and while the line is paused.

use std::sync::Arc;

use sluice_types::Error;
use sluice_types::ports::{Clock, Endpoint, LineContext};

use crate::handle::Shared;
use crate::line::Ports;
use crate::spec::LineSpec;

/// How often it is looked at.
const LOOK_MS: u64 = 2_000;

/// One line's watch, over all its sessions and pauses.
pub(crate) struct Retained {
    source: Arc<dyn Endpoint>,
    line: LineContext,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    next_micros: i64,
}

impl Retained {
    pub fn new(spec: &LineSpec, ports: &Ports, shared: Arc<Shared>) -> Self {
        let line = ports.context(spec);
        Retained { source: ports.source.clone(), line, clock: ports.clock.clone(), shared, next_micros: 0 }
    }

    /// Shows what is kept, and returns when the configured limit was passed. Cancel safe.
    pub async fn passed(&mut self) -> Error {
        loop {
            let early = self.next_micros - self.clock.now_micros();
            if early > 0 {
                self.clock.sleep_ms((early as u64).div_ceil(1000)).await;
            }
            self.next_micros = self.clock.now_micros() + LOOK_MS as i64 * 1000;
            match self.source.retained(&self.line).await {
                Ok(found) => {
                    self.shared.status().retained_bytes = found.as_ref().map(|found| found.bytes);
                    if let Some(error) = found.and_then(|found| found.passed) {
                        return error;
                    }
                }
                Err(error) => {
                    // The line itself will find that its source is away, if it is: here nothing is known, and nothing is shown.
                    tracing::debug!(%error, "what the source retains can't be looked at");
                    self.shared.status().retained_bytes = None;
                }
            }
        }
    }
}
