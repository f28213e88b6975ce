//! Writing: data and checkpoint in one transaction.

use std::sync::Arc;

use async_trait::async_trait;

use super::TargetTable;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::event::Event;
use crate::ids::PipelineId;
use crate::schema::{Key, TableId, TableSchema};
use crate::value::Row;

/// What a write did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows inserted, updated or deleted.
    pub rows: u64,
    /// Events (indexes into the slice) whose image has absent values and whose row is not in the target. They were not written:
    /// the line reads the row again, or makes a dead letter `partial_row` (I13).
    pub partial: Vec<usize>,
}

impl Written {
    /// Adds what a later part of the same events did.
    pub fn add(&mut self, later: Written) {
        self.rows += later.rows;
        self.partial.extend(later.partial);
    }
}

/// One line's writer of one database. After an error other than an event's the line drops it and opens a new one.
#[async_trait]
pub trait Sink: Send {
    /// Which of these tables are not there. Changes nothing.
    async fn missing(&mut self, tables: &[Arc<TableSchema>]) -> Result<Vec<TableId>>;

    /// Makes what is missing: sluice's own tables, and these target tables with their key. An existing table that can't take the
    /// rows is an error `target-schema`; it is never altered or dropped.
    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<()>;

    /// The line's checkpoint, as it is durable in the target; `None` if it never had one.
    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>>;

    /// Begins a transaction.
    async fn begin(&mut self) -> Result<Box<dyn SinkTx + '_>>;

    /// Removes the line's checkpoint (`delete`). Rows stay.
    async fn forget(&mut self, pipeline: &PipelineId) -> Result<()>;
}

/// A transaction of the target. Dropped without `commit`: nothing happened.
///
/// Once `commit` has returned `Ok` its effects are durable (I1). An error from `commit` leaves open whether it worked: the line
/// reads the checkpoint to know.
#[async_trait]
pub trait SinkTx: Send {
    /// The present rows of these keys: nobody else changes them before the transaction ends, or the transaction fails. All in one go,
    /// and one answer per key.
    async fn current(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<Vec<Option<Row>>>;

    /// These images as [`SinkTx::current`] would read them once they are written: where the target has other types than the column
    /// says, a value comes back as another one (a boolean as 1). Absent values stay, and so do those that the target can't hold.
    async fn as_stored(&mut self, table: &Arc<TableSchema>, images: Vec<Row>) -> Result<Vec<Row>> {
        let _ = table;
        Ok(images)
    }

    /// Applies events in order. Per event, with the table and key of `event.table`:
    /// - snapshot, insert: upsert.
    /// - update: the row under the before image's key (the after image's where there is none) gets every present value of the
    ///   after image, its key too. No such row: an upsert of the after image if that is complete, else [`Written::partial`].
    /// - delete: by key; no such row is fine.
    /// - truncate: every row of the table.
    ///
    /// A row that has an update's new key is replaced: where that may be another row than the one that moves, the line has looked
    /// (with [`SinkTx::current`]) before it writes.
    ///
    /// A value that the target can't hold exactly is `value-unrepresentable` (I7), a refused row `constraint` or `row-refused`
    /// ([`crate::ErrorKind::heals_by_others`]), each with [`crate::Error::of_event`] where the sink knows which. After such an
    /// error the transaction is usable again only from a savepoint.
    async fn write(&mut self, events: &[Event]) -> Result<Written>;

    /// The source's transaction comes in pieces: from here to [`SinkTx::settle`] no `write` looks at the constraints that the target
    /// puts off to the end of a transaction (deferrable ones), for a later piece may bring what an earlier one needs.
    fn put_off(&mut self) {}

    /// Looks at what was put off; from here on each `write` looks again. `constraint`: the events as a whole break one, of which
    /// nobody knows the event. The transaction is usable again only from a savepoint then, from which on nothing is put off.
    async fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Marks a place to go back to, in place of the last one marked.
    async fn savepoint(&mut self) -> Result<()>;

    /// Undoes everything since the last savepoint, which stays.
    async fn rollback_to_savepoint(&mut self) -> Result<()>;

    /// The line's checkpoint as this transaction sees it; nobody else saves one until the transaction ends. Whoever takes a line
    /// over goes on from this one: what was read before the transaction may be old by now (I6).
    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>>;

    /// Saves the checkpoint if the target's epoch for this pipeline is still `expected` (`None`: there is no checkpoint yet);
    /// otherwise `fenced`, and the transaction must be dropped.
    async fn save(&mut self, checkpoint: &Checkpoint, expected: Option<u64>) -> Result<()>;

    /// Commits, durably.
    async fn commit(self: Box<Self>) -> Result<()>;
}
