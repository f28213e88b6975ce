//! The server sessions of writers, and the end of what a writer has left open in its own.
//!
//! A transaction whose client is gone holds its locks until the server's `transactionLifetimeLimitSeconds` are over, a minute by
//! default. So a writer says beside the checkpoint in which session it writes, and who takes the line over has the server end that
//! one. A network may bring a command of that session later still, which begins a transaction again that nobody ends. So the last
//! few are noted, and ended once more whenever the line is taken up: also by who was in conflict with what such a command has done.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::{ReadConcern, ReadPreference, WriteConcern};
use mongodb::{Client, ClientSession};
use sluice_types::{ErrorKind, PipelineId, Result};
use tokio::task::JoinHandle;

use crate::connection::Server;
use crate::errors::kind_of;
use crate::plan::ID;
use crate::sink::CHECKPOINTS;

/// The field of a writer's document with its session's id.
const SESSION: &str = "session";
/// The field with those before it, the last first.
const EARLIER: &str = "earlier";
/// How many of them are noted.
const EARLIER_MAX: usize = 8;

/// How often a server is told to forget a session, and the pause in between.
const KILLS_MAX: usize = 20;
const KILL_PAUSE: Duration = Duration::from_millis(200);

/// The sessions in which this process writes to a server now: the driver gives a session that one line has left to another.
#[derive(Default)]
pub(crate) struct InUse(Mutex<HashSet<Vec<u8>>>);

impl InUse {
    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<Vec<u8>>> {
        // Nothing that holds it can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, id: &Document) -> bool {
        address(id).is_some_and(|id| self.set().contains(&id))
    }
}

fn address(id: &Document) -> Option<Vec<u8>> {
    RawDocumentBuf::try_from(id).ok().map(RawDocumentBuf::into_bytes)
}

/// The session of one sink.
pub(crate) struct Sessions {
    server: Arc<Server>,
    /// Made with the first transaction, kept for the next.
    session: Option<ClientSession>,
    /// A transaction that was dropped is being aborted.
    aborting: Option<JoinHandle<ClientSession>>,
    /// The session that is marked as in use.
    marked: Option<Vec<u8>>,
    /// Whose writer it is said to be.
    announced: Option<(PipelineId, Document)>,
}

impl Sessions {
    pub fn new(server: Arc<Server>) -> Self {
        Sessions { server, session: None, aborting: None, marked: None, announced: None }
    }

    /// The session, with no transaction open.
    pub async fn take(&mut self) -> Result<ClientSession> {
        if let Some(aborting) = self.aborting.take()
            && let Ok(session) = aborting.await
        {
            self.session = Some(session);
        }
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let connected = self.server.connect().await?;
        let session =
            self.server.within("no session can be opened", connected.client.start_session()).await?;
        self.unmark();
        self.marked = address(session.id());
        self.server.writers.set().extend(self.marked.clone());
        Ok(session)
    }

    /// Takes a session back that has no transaction open.
    pub fn keep(&mut self, session: ClientSession) {
        self.session = Some(session);
    }

    fn unmark(&mut self) {
        if let Some(id) = self.marked.take() {
            self.server.writers.set().remove(&id);
        }
    }

    /// Ends what a dropped transaction has left, while the caller goes on. The driver aborts none whose commit was asked for: if
    /// that never arrived, its locks would stay, so the server is told to forget the session.
    pub fn abort(&mut self, mut session: ClientSession, was_committing: bool) {
        // Without a runtime the process is ending: who takes the line over ends it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let limit = self.server.config.timeouts.operation;
        if !was_committing {
            self.aborting = Some(runtime.spawn(async move {
                // What can't be aborted now ends with its time: the next transaction has another number.
                let _ = tokio::time::timeout(limit, session.abort_transaction()).await;
                session
            }));
            return;
        }
        runtime.spawn(async move {
            for _ in 0..KILLS_MAX {
                if let Ok(Ok(_)) = tokio::time::timeout(limit, kill(&session.client(), &[session.id()])).await
                {
                    break;
                }
                tokio::time::sleep(KILL_PAUSE).await;
            }
        });
    }

    /// Says in the target that the line is written in this session from now on, before anything is. What its last writer may have
    /// left open, in this process or in one that is gone, is ended first; one that still runs is fenced off by who asks for this (I6),
    /// and learns of it a little earlier.
    pub async fn announce(&mut self, pipeline: &PipelineId, session: &Document) -> Result<()> {
        if self.announced.as_ref().is_some_and(|(of, id)| of == pipeline && id == session) {
            return Ok(());
        }
        let connected = self.server.connect().await?;
        let checkpoints = connected.database.collection::<Document>(CHECKPOINTS);
        let read = checkpoints
            .find_one(writer(pipeline))
            .read_concern(ReadConcern::local())
            .selection_criteria(ReadPreference::Primary.into());
        let found = self.server.within("the line's last writer can't be read", read).await?;
        let earlier = earlier(found.unwrap_or_default(), session);
        let over: Vec<&Document> = earlier.iter().filter(|id| !self.server.writers.has(id)).collect();
        if !over.is_empty() {
            self.end(&connected.client, &over).await?;
        }
        let note = doc! { SESSION: session, EARLIER: earlier };
        let say = checkpoints
            .update_one(writer(pipeline), doc! { "$set": note })
            .upsert(true)
            .write_concern(WriteConcern::nodes(1));
        self.server.within("the line's writer can't be noted", say).await?;
        self.announced = Some((pipeline.clone(), session.clone()));
        Ok(())
    }

    async fn end(&self, client: &Client, sessions: &[&Document]) -> Result<()> {
        const WHAT: &str = "the sessions of the line's last writers can't be ended";
        match tokio::time::timeout(self.server.config.timeouts.operation, kill(client, sessions)).await {
            Ok(Ok(_)) => {}
            // What it has left ends by itself; until then the line is told that rows are held, and tries again.
            Ok(Err(error)) if kind_of(&error) != ErrorKind::Permission => {
                return Err(self.server.failed(&error, WHAT)); // the note stays: it is tried again
            }
            Ok(Err(error)) => tracing::warn!(database = %self.server.config.name, %error, "{WHAT}"),
            Err(_) => return Err(self.server.timed_out(WHAT)),
        }
        Ok(())
    }
}

/// The document beside the checkpoint that says in which session it is written: not the checkpoint's own, which is held while a
/// transaction is open.
pub(crate) fn writer(pipeline: &PipelineId) -> Document {
    doc! { ID: { "writer_of": &*pipeline.0 } }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.unmark();
    }
}

/// The sessions of a note that are not this one, the last first.
fn earlier(mut note: Document, session: &Document) -> Vec<Document> {
    let last = note.remove(SESSION);
    let before = match note.remove(EARLIER) {
        Some(Bson::Array(before)) => before,
        _ => vec![],
    };
    let mut earlier = vec![];
    for id in last.into_iter().chain(before) {
        match id {
            Bson::Document(id) if id != *session && !earlier.contains(&id) => earlier.push(id),
            _ => {}
        }
    }
    earlier.truncate(EARLIER_MAX);
    earlier
}

/// Aborts the sessions' open transactions. A user may do this to sessions of their own without any privilege.
async fn kill(client: &Client, sessions: &[&Document]) -> mongodb::error::Result<Document> {
    let sessions: Vec<Bson> = sessions.iter().map(|&id| Bson::Document(id.clone())).collect();
    client.database("admin").run_command(doc! { "killSessions": sessions }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sessions_are_known_and_one_s_own_is_not_among_them() {
        let id = |number: i32| doc! { "id": number };
        assert!(earlier(doc! {}, &id(1)).is_empty());
        let mut note = doc! {};
        for number in 1..=20 {
            // Taken up twice in the same session.
            for _ in 0..2 {
                note = doc! { SESSION: id(number), EARLIER: earlier(note, &id(number)) };
            }
        }
        let before: Vec<Document> = (12..20).rev().map(id).collect();
        assert_eq!(earlier(note.clone(), &id(20)), before);
        let back: Vec<Document> = [20, 19, 18, 16, 15, 14, 13, 12].map(id).into();
        assert_eq!(earlier(note, &id(17)), back, "a session that is used again");
    }
}
