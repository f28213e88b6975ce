//! What a line tells about itself: a status for people, and counters for metrics.

use std::sync::atomic::{AtomicI64, AtomicU64};

use serde::Serialize;
use sluice_types::ConflictKind;

use crate::spec::ConflictStrategy;

/// What a line is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Connecting, proving positions, opening chains.
    Starting,
    /// Copying; the target is not consistent yet.
    Snapshot,
    /// Following the stream; the target is consistent (`ready`).
    Streaming,
    /// Waiting to try again after an error that needs nobody.
    Retrying,
    /// Standing still until somebody resumes it.
    Paused,
    /// Ended.
    Ended,
}

/// A line's status, made on request.
#[derive(Clone, Debug, Serialize)]
pub struct LineStatus {
    /// The pipeline.
    pub pipeline: String,
    /// What it is doing.
    pub phase: Phase,
    /// Whether the target is consistent with some moment of the source.
    pub ready: bool,
    /// Why it is paused, retrying or ended: a code (that of an error kind, or `paused` when a person asked for it) and text,
    /// never a row's values.
    pub reason: Option<(String, String)>,
    /// The durable position.
    pub position: Option<String>,
    /// How far behind, in the source's unit.
    pub lag: u64,
    /// That unit.
    pub lag_unit: &'static str,
    /// How old the oldest change is that is not applied yet; 0 when there is none.
    pub lag_seconds: f64,
    /// Bytes of log that the source keeps because of this line, where it says so.
    pub retained_bytes: Option<u64>,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Conflicts kept: rows that somebody else had changed in the target.
    pub conflicts: u64,
    /// Those of them that wait for somebody.
    pub parked_conflicts: u64,
    /// The plugin versions at work, name and digest.
    pub plugins: Vec<(String, String)>,
    /// The tables.
    pub tables: Vec<TableStatus>,
}

/// One table's part of a status.
#[derive(Clone, Debug, Serialize)]
pub struct TableStatus {
    /// The source's table.
    pub from: String,
    /// The target's table.
    pub to: String,
    /// Rows copied by the snapshot so far.
    pub snapshot_rows: u64,
    /// Rows expected, where known.
    pub snapshot_estimate: Option<u64>,
    /// Whether its snapshot is done.
    pub snapshot_done: bool,
}

/// A line's counters. Written by the line without locks, read by whoever renders metrics. All since the process started.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Stats {
    /// Events that the source delivered, snapshot rows included.
    pub events_read: AtomicU64,
    /// Bytes of their images.
    pub bytes_read: AtomicU64,
    /// Rows inserted, updated or deleted at the target.
    pub rows_written: AtomicU64,
    /// Bytes of the images handed to the sink.
    pub bytes_written: AtomicU64,
    /// Events that became dead letters.
    pub events_rejected: AtomicU64,
    /// Events that a rule skipped (filter, excluded by the snapshot).
    pub events_skipped: AtomicU64,
    /// Target transactions committed.
    pub batches: AtomicU64,
    /// Time from a batch's read to its commit, sum in microseconds.
    pub batch_micros: AtomicU64,
    /// Time in transforms, sum in nanoseconds; divide by `events_transformed`.
    pub transform_nanos: AtomicU64,
    pub events_transformed: AtomicU64,
    /// Plugin versions taken over.
    pub swaps: AtomicU64,
    /// The longest time that a swap held the line up, in microseconds.
    pub swap_pause_micros_max: AtomicU64,
    /// Restarts after an error.
    pub retries: AtomicU64,
    /// Transactions applied in parts.
    pub transactions_in_parts: AtomicU64,
    /// Conflicts, by kind (as in [`ConflictKind::ALL`]) and strategy (as in [`ConflictStrategy::NAMES`]).
    pub conflicts: [[AtomicU64; ConflictStrategy::NAMES.len()]; ConflictKind::ALL.len()],
    /// When the last batch was committed, microseconds since 1970 UTC; 0 before the first.
    pub last_commit_micros: AtomicI64,
}
