//! Keeps the slot moving: heartbeats, and how much of the log the server may forget. Watches that nobody takes away what the
//! stream is made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sluice_types::{Error, ErrorKind, Result};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::Statement;

use crate::config::Server;
use crate::connection::Session;
use crate::delivered::Delivered;
use crate::maintain::{Capture, Keep, LOOK, Look};
use crate::names::OWN_SCHEMA;
use crate::protocol::cursor::malformed;
use crate::protocol::replication::Lsn;
use crate::session::Role;

/// A stream gets so long to come to a place by itself before a heartbeat brings it there.
const NUDGE_AFTER: Duration = Duration::from_millis(10);
/// How often commits that others can't see yet are looked at again.
const UNSEEN_AGAIN: Duration = Duration::from_millis(250);
/// What is confirmed in quick succession is told together.
const CONFIRM_PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked whether tables were altered, at most: rows of before are not in the stream, however they have changed.
const TABLES_EVERY: Duration = Duration::from_secs(10);
/// The log must have grown by this since the last heartbeat for another one: on an idle server nothing is written by us alone.
const QUIET_BYTES: u64 = 4096;

/// The task.
pub(crate) struct Keeper {
    pub server: Arc<Server>,
    pub delivered: Arc<Delivered>,
    /// How far the stream has come.
    pub passed: Arc<AtomicU64>,
    /// What is durable in the target. Ends when the source is gone.
    pub confirmed: watch::Receiver<Lsn>,
    /// What the server may forget.
    pub durable: watch::Sender<Lsn>,
    /// Where somebody waits for the stream to come to.
    pub wanted: watch::Receiver<Lsn>,
    pub every: Duration,
    /// Whether log is kept for commits that are not visible; not where commits themselves wait for us.
    pub withholds: bool,
    pub beats: AtomicBool,
    /// The name of the publication.
    pub publication: String,
    /// What the stream is made of.
    pub capture: Capture,
    /// Is told once when that is not whole any more. From then on nothing is confirmed.
    pub broken: Option<oneshot::Sender<Error>>,
}

/// A session, and what it is asked again and again.
struct Asked {
    session: Session,
    look: Statement,
}

/// Writes a message into the log that no table has to do with, and says where it stands.
pub(crate) async fn beat(server: &Server, session: &Session) -> Result<Lsn> {
    let emit = format!("SELECT pg_catalog.pg_logical_emit_message(true, '{OWN_SCHEMA}', '')::text");
    let row = session.query_one(&emit, &[]).await;
    let row = row.map_err(|error| server.failed(&error, "a heartbeat could not be written"))?;
    lsn(row.get(0))
}

pub(crate) fn lsn(text: &str) -> Result<Lsn> {
    Lsn::parse(text).ok_or_else(|| malformed("a place in the log that can't be read"))
}

impl Keeper {
    /// Runs until the source is gone.
    pub async fn run(mut self) {
        let mut asked: Option<Asked> = None;
        let mut written = Lsn(0);
        let mut next_beat = Instant::now() + self.every;
        let tables_every = self.every.min(TABLES_EVERY);
        let mut next_tables = Instant::now() + tables_every;
        loop {
            let unseen = self.withheld();
            let woken = tokio::select! {
                changed = self.confirmed.changed() => if changed.is_ok() { Woken::Confirmed } else { Woken::Ended },
                Ok(()) = self.wanted.changed() => Woken::Wanted,
                () = sleep_until(next_beat) => Woken::Beat,
                () = sleep_until(next_tables) => Woken::Tables,
                () = sleep(UNSEEN_AGAIN), if unseen => Woken::Confirmed,
            };
            let done = match woken {
                Woken::Confirmed => self.confirm(&mut asked).await,
                Woken::Wanted => self.nudge(&mut asked).await,
                Woken::Beat => {
                    next_beat = Instant::now() + self.every;
                    self.tick(&mut asked, &mut written).await
                }
                Woken::Tables => {
                    next_tables = Instant::now() + tables_every;
                    self.look_at_tables(&mut asked).await
                }
                Woken::Ended => {
                    drop(self.confirm(&mut asked).await);
                    return;
                }
            };
            if let Err(error) = done {
                asked = None;
                if error.kind() == ErrorKind::Permission && self.beats.swap(false, Relaxed) {
                    tracing::warn!(%error, "no heartbeats: an idle database may retain its log");
                } else {
                    tracing::debug!(%error, "the slot could not be looked after; it is tried again");
                    sleep(UNSEEN_AGAIN).await;
                }
            }
            if matches!(woken, Woken::Confirmed) {
                sleep(CONFIRM_PAUSE).await;
            }
        }
    }

    fn withheld(&self) -> bool {
        self.broken.is_some() && *self.durable.borrow() < *self.confirmed.borrow()
    }

    /// Lets the server forget what is durable in the target (I1), visible at the source, and whole: all of it came before this look.
    async fn confirm(&mut self, asked: &mut Option<Asked>) -> Result<()> {
        let confirmed = *self.confirmed.borrow_and_update();
        self.look(asked).await?;
        if self.broken.is_none() {
            return Ok(());
        }
        let upto = if self.withholds { self.delivered.forgettable(confirmed) } else { confirmed };
        self.durable.send_if_modified(|durable| {
            let forward = upto > *durable;
            *durable = (*durable).max(upto);
            forward
        });
        Ok(())
    }

    /// Looks at what is visible, and whether the stream has everything up to now.
    async fn look(&mut self, asked: &mut Option<Asked>) -> Result<()> {
        let Asked { session, look } = opened(&self.server, asked).await?;
        let seen = Look::at(&self.server, session, look, &self.publication).await?;
        self.delivered.forget_seen(&seen.visibility);
        if let Err(error) = self.capture.verify(seen.publication.as_ref()) {
            self.tell(error);
        }
        Ok(())
    }

    /// Looks whether tables were altered: what that did to rows which were there is not in the stream.
    async fn look_at_tables(&mut self, asked: &mut Option<Asked>) -> Result<()> {
        let Asked { session, .. } = opened(&self.server, asked).await?;
        let keep = Keep { server: &self.server, session, name: &self.publication };
        match keep.look_at_tables(&mut self.capture).await {
            Err(error) if error.kind() == ErrorKind::SchemaChanged => {
                self.tell(error);
                Ok(())
            }
            looked => looked,
        }
    }

    /// Nothing is confirmed from here on.
    fn tell(&mut self, error: Error) {
        if let Some(broken) = self.broken.take() {
            // Nobody hears of it where the source is gone: then the next `hold` sees it.
            drop(broken.send(error));
        }
    }

    /// Somebody waits for a place that the stream may not come to by itself: the log there may not even be on disk.
    async fn nudge(&mut self, asked: &mut Option<Asked>) -> Result<()> {
        let wanted = *self.wanted.borrow_and_update();
        sleep(NUDGE_AFTER).await;
        if self.passed.load(Relaxed) < wanted.0 && self.beats.load(Relaxed) {
            beat(&self.server, &opened(&self.server, asked).await?.session).await?;
        }
        Ok(())
    }

    async fn tick(&mut self, asked: &mut Option<Asked>, written: &mut Lsn) -> Result<()> {
        self.look(asked).await?;
        if !self.beats.load(Relaxed) {
            return Ok(());
        }
        let Asked { session, .. } = opened(&self.server, asked).await?;
        let end = log_end(&self.server, session).await?;
        if end.0.saturating_sub(written.0) > QUIET_BYTES {
            *written = beat(&self.server, session).await?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Woken {
    Confirmed,
    Wanted,
    Beat,
    Tables,
    Ended,
}

async fn opened<'a>(server: &Server, asked: &'a mut Option<Asked>) -> Result<&'a Asked> {
    let live = match asked.take() {
        Some(live) if !live.session.is_closed() => live,
        _ => {
            let session = server.connect(Role::Reader).await?;
            let look = session.prepare(LOOK).await;
            let look = look.map_err(|error| server.failed(&error, "publications can't be read"))?;
            Asked { session, look }
        }
    };
    Ok(asked.insert(live))
}

/// How far the log is written.
pub(crate) async fn log_end(server: &Server, session: &Session) -> Result<Lsn> {
    let row = session.query_one("SELECT pg_catalog.pg_current_wal_flush_lsn()::text", &[]).await;
    let row = row.map_err(|error| server.failed(&error, "the end of the log can't be read"))?;
    lsn(row.get(0))
}
