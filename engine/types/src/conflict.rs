//! Conflicts: events that meet a row of the target which somebody else has made, changed or removed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dead_letter::DeadLetterId;
use crate::event::Event;
use crate::ids::PipelineId;
use crate::ports::Decision;
use crate::position::Position;
use crate::schema::Key;
use crate::value::Row;

/// What an event has met, by the names that PostgreSQL gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// The row is new, or gets this key, and the target has another one under the key.
    InsertExists,
    /// The row is changed, and the target does not have it.
    UpdateMissing,
    /// The row is changed, and the target's is not the one before the change.
    UpdateDiffers,
    /// The row is deleted, and the target does not have it.
    DeleteMissing,
    /// The row is deleted, and the target's is another one.
    DeleteDiffers,
}

impl ConflictKind {
    /// Every kind.
    pub const ALL: [ConflictKind; 5] = [
        ConflictKind::InsertExists,
        ConflictKind::UpdateMissing,
        ConflictKind::UpdateDiffers,
        ConflictKind::DeleteMissing,
        ConflictKind::DeleteDiffers,
    ];

    /// Its name everywhere: `insert_exists`.
    pub fn name(self) -> &'static str {
        match self {
            ConflictKind::InsertExists => "insert_exists",
            ConflictKind::UpdateMissing => "update_missing",
            ConflictKind::UpdateDiffers => "update_differs",
            ConflictKind::DeleteMissing => "delete_missing",
            ConflictKind::DeleteDiffers => "delete_differs",
        }
    }
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The identity of a conflict: that of its event ([`DeadLetterId`]), and for the later ones of several copies of one event `~` and a
/// number. So the same event met again after a crash is recorded once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConflictId(pub String);

impl ConflictId {
    /// The id of the conflict number `copy` (from 0) of an event.
    pub fn of(event: &DeadLetterId, copy: usize) -> Self {
        match copy {
            0 => ConflictId(event.0.clone()),
            copy => ConflictId(format!("{event}~{copy}")),
        }
    }
}

impl fmt::Display for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One conflict, with both sides and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Its identity within the pipeline.
    pub id: ConflictId,
    /// Counts the pipeline's conflicts. Given by the store; 0 before.
    pub number: u64,
    /// What the event has met.
    pub kind: ConflictKind,
    /// The event's place in the source's log ([`Event::place`]).
    pub position: Position,
    /// One side: the event as it was about to be written.
    pub incoming: Event,
    /// The other side: the target's row, in the shape `incoming.table`; `None` where it is missing.
    pub existing: Option<Row>,
    /// What was decided.
    pub decision: Decision,
    /// The strategy that the configuration names.
    pub strategy: String,
    /// Who decided: the strategy, or a person.
    pub by: String,
    /// When it was met, microseconds since 1970 UTC.
    pub recorded_micros: i64,
    /// Later changes of the row that came while it was parked: `incoming` is what all of them make of it, and `position` and
    /// `incoming.index` are the place of the last.
    pub later: u64,
    /// The place of the first change, where later ones came: position and index.
    pub since: Option<(Position, u64)>,
    /// When somebody decided a parked one, microseconds since 1970 UTC.
    pub decided_micros: Option<i64>,
}

impl Conflict {
    /// Whether nobody has decided it yet.
    pub fn is_parked(&self) -> bool {
        matches!(self.decision, Decision::Park(_))
    }

    /// The place of the first change of it: position, and index where the position is not the change's own.
    pub fn since(&self) -> (Position, u64) {
        self.since.clone().unwrap_or_else(|| self.upto())
    }

    /// The place of the last change of it.
    pub fn upto(&self) -> (Position, u64) {
        let index = if self.incoming.entry.is_some() { 0 } else { self.incoming.index };
        (self.position.clone(), index)
    }

    /// The key of the target's row: that which the row gets, where `insert_exists` says that another one has it.
    pub fn key(&self) -> Key {
        let after = self.incoming.change.after().filter(|_| self.kind == ConflictKind::InsertExists);
        let row = after.or(self.incoming.change.identity());
        row.map_or(Key(vec![]), |row| self.incoming.table.key_of(row))
    }
}

/// How many conflicts of a pipeline there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConflictCount {
    /// Recorded ones that are still kept.
    pub kept: u64,
    /// Those of them that wait for somebody.
    pub parked: u64,
}
