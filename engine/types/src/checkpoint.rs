//! How far a line has come, as its target knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Digest, InstallId, PipelineId};
use crate::position::Position;
use crate::schema::Key;
use crate::snapshot::KeyRange;

/// The last position whose effects are durable in the target, saved in the target's own transaction (I2).
///
/// The target's copy is the truth: no other is kept. `epoch` counts the engines that took the line over; a save succeeds only
/// while the target still holds the epoch that the saver knows, so a second engine fences the first one off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The installation that owns it.
    pub install: InstallId,
    /// The identity of the source's log (system identifier, replica set id, change log id): positions of another mean nothing.
    pub source: Arc<str>,
    /// The claim under which it was saved.
    pub epoch: u64,
    /// Everything up to here is in the target.
    pub position: Position,
    /// And of the transaction after `position` this many events (only with `large_transactions: parts`).
    pub part: u64,
    /// How far the snapshot has come; empty when none was made.
    pub snapshot: SnapshotProgress,
    /// The plugin versions that made the last change.
    pub plugins: BTreeMap<Arc<str>, Digest>,
}

impl Checkpoint {
    /// Moves on to a later position, at the end of a transaction. A step back or the same place again is an error (I6).
    pub fn advance(&mut self, to: &Position) -> Result<()> {
        if *to <= self.position {
            return Err(self.step_back(to, 0));
        }
        self.position = to.clone();
        self.part = 0;
        Ok(())
    }

    /// Moves on within the transaction after `position`, to its event number `part` (I6).
    pub fn advance_part(&mut self, part: u64) -> Result<()> {
        if part <= self.part {
            return Err(self.step_back(&self.position, part));
        }
        self.part = part;
        Ok(())
    }

    fn step_back(&self, to: &Position, part: u64) -> Error {
        let what = format!(
            "the checkpoint stands at {} part {} and cannot go to {to} part {part}",
            self.position, self.part
        );
        Error::new(ErrorKind::CheckpointStepBack, what)
    }
}

/// How far the snapshot of each table has come, by the source's table name (`schema.name`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotProgress {
    /// The tables that have been or are being read.
    pub tables: BTreeMap<String, TableProgress>,
    /// The greatest high mark of all chunks: the target is consistent once the stream has passed it.
    pub high: Option<Position>,
    /// Rows, by the source's table, that met a constraint while the target had rows of different moments. They are not in the
    /// target, and are read again once its rows are of one moment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub postponed: BTreeMap<String, Vec<Key>>,
}

impl SnapshotProgress {
    /// Whether every table has been read whole.
    pub fn is_read(&self) -> bool {
        self.tables.values().all(TableProgress::is_done)
    }

    /// Whether the rows of a target that stands at `position` are of one moment; some may be missing.
    pub fn is_settled(&self, position: &Position) -> bool {
        self.is_read() && self.high.as_ref().is_none_or(|high| high <= position)
    }

    /// Whether a target that stands at `position` is consistent.
    pub fn is_ready(&self, position: &Position) -> bool {
        self.is_settled(position) && self.postponed.is_empty()
    }
}

/// How far the snapshot of one table has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableProgress {
    /// The ranges that the table was divided into; empty until it was.
    pub ranges: Vec<RangeProgress>,
    /// Rows read so far.
    pub rows: u64,
    /// Rows expected, where the source could tell.
    pub estimate: Option<u64>,
    /// The table was read anew from here on: every chunk has seen what the stream brings of it up to here, so that is skipped.
    /// It must be where changes were not captured for a time: the stream does not know of rows that were deleted meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Position>,
}

impl TableProgress {
    /// Whether every range has been read.
    pub fn is_done(&self) -> bool {
        !self.ranges.is_empty() && self.ranges.iter().all(|range| range.done)
    }
}

/// How far the snapshot of one range of keys has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeProgress {
    /// The range as it was cut.
    pub range: KeyRange,
    /// The greatest key read; `None` before the first chunk.
    pub cursor: Option<Key>,
    /// Nothing is left in the range.
    pub done: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(at: u64, part: u64) -> Checkpoint {
        Checkpoint {
            pipeline: "p".into(),
            install: "i".into(),
            source: "s".into(),
            epoch: 1,
            position: Position::from_number(at, at.to_string()),
            part,
            snapshot: SnapshotProgress::default(),
            plugins: BTreeMap::new(),
        }
    }

    #[test]
    fn a_checkpoint_only_advances() {
        let mut here = checkpoint(10, 3);
        for (to, good) in [(9, false), (10, false), (11, true), (11, false)] {
            assert_eq!(here.advance(&Position::from_number(to, "")).is_ok(), good, "{to}");
        }
        assert_eq!(here.part, 0);
        for (part, good) in [(2, true), (2, false), (1, false), (5, true)] {
            assert_eq!(here.advance_part(part).is_ok(), good, "{part}");
        }
        let error = here.advance(&Position::from_number(1, "1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CheckpointStepBack);
    }

    #[test]
    fn ready_means_read_and_passed() {
        let mut progress = SnapshotProgress::default();
        let at = |n: u64| Position::from_number(n, "");
        assert!(progress.is_ready(&at(0)));
        progress.tables.insert("t".into(), TableProgress::default());
        assert!(!progress.is_ready(&at(0)), "not divided yet");
        progress.tables.get_mut("t").unwrap().ranges.push(RangeProgress { done: true, ..Default::default() });
        progress.high = Some(at(5));
        assert!(!progress.is_ready(&at(4)) && progress.is_ready(&at(5)));
        progress.postponed.insert("t".into(), vec![Key(vec![])]);
        assert!(progress.is_settled(&at(5)) && !progress.is_ready(&at(5)), "a row is missing");
    }
}
