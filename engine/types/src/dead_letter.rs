//! Events that could not be applied, kept to be replayed or discarded.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Change, Event};
use crate::ids::{Digest, PipelineId};
use crate::position::Position;
use crate::schema::Key;

/// The identity of a dead letter: the same event met again after a crash has the same id and is kept once (I3).
///
/// An event of the stream is named by its transaction's position and its index there, or by its own entry in the log; a row of a snapshot, whose position moves
/// with every attempt, by a digest of its table and key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetterId(pub String);

impl DeadLetterId {
    /// The id of an event whose transaction ends at `position`.
    pub fn of(event: &Event, position: &Position) -> Self {
        match (event.original.as_deref().unwrap_or(&event.change), event.source_keys().0) {
            (Change::Snapshot(_), Some(key)) => {
                let name = serde_json::to_string(&(&event.source.table, &key)).unwrap_or_default();
                DeadLetterId(format!(
                    "snapshot/{}/{}",
                    event.source.table,
                    Digest::of(name.as_bytes()).short()
                ))
            }
            _ => DeadLetterId(match event.entry {
                Some(entry) => entry.to_string(),
                None => format!("{position}/{}", event.index),
            }),
        }
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an event became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The code of the [`crate::ErrorKind`].
    pub code: String,
    /// What happened, without values of rows: may be logged.
    pub what: String,
    /// The plugin that refused it, as name and digest.
    pub plugin: Option<(String, Digest)>,
    /// The column that it was about.
    pub column: Option<String>,
    /// Text made by a guest: data, which may hold values of the row. Bounded; shown only with the event itself, never logged.
    pub guest_text: Option<String>,
}

/// One event that could not be applied, with its original values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Its identity within the pipeline.
    pub id: DeadLetterId,
    /// Counts the pipeline's dead letters: the order in which they are to be replayed. Given by the store; 0 before.
    pub number: u64,
    /// The event's place in the source's log ([`Event::place`]).
    pub position: Position,
    /// The key that is parked with it, and the new one where the event changed it.
    pub keys: Vec<Key>,
    /// The event as the source delivered it.
    pub event: Event,
    /// Why it could not be applied.
    pub reason: Reason,
    /// When it was kept, microseconds since 1970 UTC.
    pub recorded_micros: i64,
}
