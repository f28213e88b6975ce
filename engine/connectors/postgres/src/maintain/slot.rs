//! The slot: looked at, made, waited for and dropped.

use std::time::Duration;

use sluice_types::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};

use super::{Keep, POLL};
use crate::errors::quote;
use crate::keeper::lsn;
use crate::protocol::replication::Lsn;

/// How long another process's hold on our slot is waited for.
const SLOT_BUSY_MAX: Duration = Duration::from_secs(5);
/// After so long a wait is worth a line in the log.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// A slot as the server has it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// It is of `pgoutput` and of our database.
    pub ours: bool,
    /// Who streams it.
    pub active_pid: Option<i32>,
    /// Up to where everything was confirmed.
    pub confirmed: Lsn,
    /// Why it can't be used any more.
    pub lost: Option<String>,
}

impl Keep<'_> {
    /// The slot; `None`: there is none.
    pub async fn slot(&self) -> Result<Option<Slot>> {
        const SLOT: &str = "\
            SELECT coalesce(plugin = 'pgoutput' AND database = current_database(), false), active_pid, \
                   confirmed_flush_lsn::text, wal_status, to_jsonb(s)->>'invalidation_reason' \
            FROM pg_catalog.pg_replication_slots s WHERE slot_name = $1";
        let row =
            self.session.query_opt(SLOT, &[&self.name]).await.map_err(self.failed("slots can't be read"))?;
        let Some(row) = row else { return Ok(None) };
        let confirmed = row.get::<_, Option<&str>>(2).map(lsn).transpose()?;
        let reason: Option<&str> = row.get(4);
        let lost = match (row.get::<_, Option<&str>>(3), reason) {
            (Some("lost"), reason) => Some(reason.unwrap_or("the log that it needs was removed").to_string()),
            (_, Some(reason)) => Some(reason.to_string()),
            _ if confirmed.is_none() => Some("it was never made whole".to_string()),
            _ => None,
        };
        Ok(Some(Slot {
            ours: row.get(0),
            active_pid: row.get(1),
            confirmed: confirmed.unwrap_or_default(),
            lost,
        }))
    }

    /// Makes the slot. The server waits for every transaction that is under way: from then on nothing is missed.
    pub(super) async fn make_slot(&self) -> Result<Lsn> {
        // Since 17 a slot can be kept at standbys too, so that a failover does not lose it.
        let failover = if self.session.version >= 170_000 { ", false, false, true" } else { "" };
        let sql = format!(
            "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput'{failover})"
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&self.name];
        let making = self.session.query_one(&sql, &parameters);
        tokio::pin!(making);
        let row = tokio::select! {
            row = &mut making => row,
            () = sleep(TELL_AFTER) => {
                tracing::info!(slot = self.name, "making the slot waits for transactions that are under way");
                making.await
            }
        };
        let row = row.map_err(|error| self.slot_refused(&error))?;
        lsn(row.get(0))
    }

    fn slot_refused(&self, error: &tokio_postgres::Error) -> Error {
        let refused = self.server.failed(error, "the replication slot could not be made");
        match error.code().map(|state| state.code()) {
            Some("55000") => refused.remedy("ALTER SYSTEM SET wal_level = logical; -- then restart the server"),
            Some("53400") => refused.remedy(
                "ALTER SYSTEM SET max_replication_slots = 20; -- then restart the server; or drop a slot that nobody uses",
            ),
            Some("42501") => refused.remedy(format!("ALTER ROLE {} REPLICATION", quote(&self.server.user))),
            Some("57014") => refused.remedy("It waits for open transactions: end them, or raise statement_timeout"),
            _ => refused,
        }
    }

    /// Waits until nobody streams the slot. A process of a line that was taken over is ended: its target has been fenced off.
    pub async fn free_slot(&self, end_it: bool) -> Result<Option<Slot>> {
        let since = Instant::now();
        let mut ended = false;
        loop {
            let slot = self.slot().await?;
            let Some(pid) = slot.as_ref().and_then(|slot| slot.active_pid) else { return Ok(slot) };
            if end_it && !ended && since.elapsed() > SLOT_BUSY_MAX / 5 {
                ended = true;
                tracing::info!(slot = self.name, pid, "an earlier stream of the slot is ended");
                let ending =
                    self.session.query_one("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid]).await;
                if let Err(error) = ending {
                    tracing::debug!(error = %crate::errors::Cause::of(&error), "it could not be ended");
                }
            }
            if since.elapsed() > SLOT_BUSY_MAX {
                let what = format!("the slot {} is in use by the server's process {pid}", self.name);
                return Err(Error::new(ErrorKind::Busy, what).remedy(format!(
                    "Stop the engine that runs this pipeline, or SELECT pg_terminate_backend({pid})"
                )));
            }
            sleep(POLL).await;
        }
    }

    pub(super) async fn drop_slot(&self) -> Result<()> {
        if self.free_slot(false).await?.is_none() {
            return Ok(());
        }
        let dropped =
            self.session.query("SELECT pg_catalog.pg_drop_replication_slot($1)", &[&self.name]).await;
        match dropped {
            Err(error) if error.code().is_some_and(|state| state.code() == "42704") => Ok(()),
            dropped => dropped.map(drop).map_err(self.failed("the slot could not be dropped")),
        }
    }
}
