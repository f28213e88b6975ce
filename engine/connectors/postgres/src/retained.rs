//! How much of its log the server keeps because of a line's slot, and from when on somebody has to know.
//!
//! The limit never costs the slot: without it the target would have to be read anew. A line that has passed the limit pauses, so
//! that somebody looks; when it is started or resumed above the limit it goes on, for nothing but catching up makes the log small
//! again, and the limit holds anew as soon as it has been below.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sluice_types::ports::{LineContext, Retained};
use sluice_types::{Error, ErrorKind, Result};
use tokio_postgres::{Error as PgError, Statement};

use crate::config::RetainedLimits;
use crate::connection::Session;
use crate::endpoint::Database;
use crate::names;

/// What is asked again and again, in one round trip each.
#[derive(Clone)]
pub(crate) struct Gauges {
    log_end: Statement,
}

impl Gauges {
    pub async fn prepare(session: &Session) -> Result<Self, PgError> {
        const LOG_END: &str = "SELECT pg_catalog.pg_current_wal_flush_lsn()::text";
        Ok(Gauges { log_end: session.prepare(LOG_END).await? })
    }

    /// How far the log is written.
    pub async fn log_end(&self, session: &Session) -> Result<String, PgError> {
        session.query_one(&self.log_end, &[]).await?.try_get(0)
    }
}

/// The lines' watches, by the name of their slots. They outlive sources, which a line opens anew whenever it tries again.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<HashMap<String, Watch>>);

/// Looks at what the line's slot retains, whether or not anybody streams it; `None` where there is no slot that retains anything.
pub(crate) async fn look(database: &Database, line: &LineContext) -> Result<Option<Retained>> {
    const RETAINED: &str = "SELECT (pg_catalog.pg_current_wal_flush_lsn() - restart_lsn)::bigint \
        FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND NOT pg_catalog.pg_is_in_recovery()";
    let server = &database.server;
    let failed = |error: PgError| server.failed(&error, "slots can't be read");
    let slot = names::of_line(line);
    let session = database.readers.get().await?;
    let row = session.query_opt(RETAINED, &[&slot]).await.map_err(failed)?;
    session.give_back();
    let bytes: Option<i64> = row.map(|row| row.try_get(0)).transpose().map_err(failed)?.flatten();
    let Some(bytes) = bytes else { return Ok(None) };
    let bytes = u64::try_from(bytes).unwrap_or(0);
    let mut watches = database.watches.0.lock().unwrap_or_else(PoisonError::into_inner);
    let watch = watches.entry(slot.clone()).or_insert_with(|| Watch::new(server.retained));
    let passed = watch.look(&slot, bytes).err().map(|error| server.at(error));
    Ok(Some(Retained { bytes, passed }))
}

/// Watches one line's slot for as long as the process lives.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: RetainedLimits,
    warned: bool,
    /// It has been below the limit since it was passed.
    armed: bool,
}

impl Watch {
    pub fn new(limits: RetainedLimits) -> Self {
        Watch { limits, warned: false, armed: false }
    }

    /// Looks at what is retained now. Fails where the limit was passed.
    pub fn look(&mut self, slot: &str, bytes: u64) -> Result<()> {
        if bytes < self.limits.warn {
            self.warned = false;
        } else if !self.warned {
            self.warned = true;
            let limit = self.limits.limit.map(|limit| format!(", and the limit is {} MiB", limit >> 20));
            tracing::warn!(
                slot,
                bytes,
                "the slot {slot} retains {} MiB of the source's log for a line that is behind{}",
                bytes >> 20,
                limit.unwrap_or_default()
            );
        }
        let Some(limit) = self.limits.limit else { return Ok(()) };
        if bytes < limit {
            self.armed = true;
            return Ok(());
        }
        if !std::mem::take(&mut self.armed) {
            return Ok(());
        }
        let what = format!(
            "the slot {slot} retains {} MiB of the source's log, and the limit is {} MiB",
            bytes >> 20,
            limit >> 20
        );
        Err(Error::new(ErrorKind::RetainedLimit, what).remedy(
            "The slot still grows. See what slows the target, then `sluice resume`: above the limit it goes on; or raise \
             `retained.limit`; or give the slot up: `sluice delete`",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(watch: &mut Watch, bytes: u64) -> bool {
        watch.look("s", bytes).is_ok()
    }

    #[test]
    fn a_limit_that_is_passed_pauses_once_and_a_line_above_it_may_catch_up() {
        let limits = RetainedLimits { warn: 50, limit: Some(100) };
        let mut watch = Watch::new(limits);
        assert!(looks(&mut watch, 150), "it was above it when it started");
        assert!(looks(&mut watch, 60) && watch.warned);
        assert!(looks(&mut watch, 40) && !watch.warned);
        assert!(!looks(&mut watch, 100));
        assert!(looks(&mut watch, 100), "told once");
        let mut unlimited = Watch::new(RetainedLimits { limit: None, ..limits });
        assert!(looks(&mut unlimited, 1) && looks(&mut unlimited, u64::MAX));
    }
}
