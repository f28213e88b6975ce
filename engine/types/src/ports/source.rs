//! Reading: a stream of changes, and chunks of what is there.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::event::Batch;
use crate::ports::Altered;
use crate::position::Position;
use crate::schema::{Key, TableId, TableSchema};
use crate::snapshot::{Chunk, KeyRange, Mark};
use crate::value::Row;

/// How much a read may bring at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Events; exceeded only to end a transaction that has fewer than this itself.
    pub rows: usize,
    /// Bytes of images.
    pub bytes: usize,
}

/// Where a stream is to start: what the target's checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// Everything up to here is in the target.
    pub position: Position,
    /// So many events of the next transaction are, too; the stream leaves them out, and counts `Event::index` on from there.
    pub part: u64,
}

/// What a read brought.
#[derive(Debug)]
pub enum Read {
    /// Changes, at least one transaction or a part of one.
    Batch(Batch),
    /// No changes of the line's tables, but the log went on: everything up to here has been delivered. Saved as a
    /// checkpoint-only transaction of the target before it is confirmed (I1).
    Progress(Position),
}

/// How far a line is behind its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// In the source's own unit.
    pub amount: u64,
    /// `changes`, `bytes`.
    pub unit: &'static str,
    /// When the oldest change that is not yet delivered was made, microseconds since 1970 UTC; `None` if there is none or the
    /// log doesn't say.
    pub oldest_micros: Option<i64>,
}

/// One line's reader of one database.
///
/// The line calls, in this order: `identity`, `schemas`, `accept`, `hold`, `open`, and then `next` and `confirm` in turn. `chunks`, `reread`,
/// `head` and `lag` may come at any time after `hold`; `read_anew` may come between `hold` and `open`. After an error the line drops the source and opens a new one.
#[async_trait]
pub trait Source: Send {
    /// The identity of the log: two sources with the same identity give the same meaning to a position.
    async fn identity(&mut self) -> Result<Arc<str>>;

    /// The present schemas of these tables. A missing table is an error `table-missing`, one without a key has an empty key.
    async fn schemas(&mut self, tables: &[TableId]) -> Result<Vec<Arc<TableSchema>>>;

    /// Somebody decided that these tables go on as `schema-changed` told them ([`crate::Error::seen_as`]): from here on an alteration
    /// is one of that. Where nothing was seen they go on as they are now. Comes between `schemas` and `hold`. Until it is called an altered table is refused, in every
    /// session anew, by a source that can tell; a source that can't go on with a table but from its start does nothing.
    async fn accept(&mut self, tables: &[Altered]) -> Result<()> {
        let _ = tables;
        Ok(())
    }

    /// Makes sure that changes of these tables are captured and kept from now on, until confirmed, and says from where: the
    /// stream's start for a line that has no checkpoint yet (I5). Made durable before it returns. Idempotent: for a line that
    /// has a checkpoint it mends nothing that could hide a gap, and captures what is new.
    async fn hold(&mut self, tables: &[Arc<TableSchema>]) -> Result<Position>;

    /// These tables are read from their start, every chunk of them after this. Where they have changed their shape before, rows that
    /// the stream brings in an older one are older than every chunk, too: a source that can't make rows of the table out of those
    /// leaves them out, now and in later sessions.
    async fn read_anew(&mut self, tables: &[TableId]) -> Result<()> {
        let _ = tables;
        Ok(())
    }

    /// Starts the stream. Proves first that it can deliver everything after `from` (I12); if not, `position-lost`, and nothing
    /// has been started.
    async fn open(&mut self, from: &StreamStart, tables: &[Arc<TableSchema>]) -> Result<()>;

    /// The next changes, in the order of the log, whole transactions unless one is larger than the limits (then
    /// [`Batch::open`]). Waits until there is something. A batch never takes longer to gather than what is there already: at
    /// idle the first change comes at once.
    ///
    /// Cancel safe: a `next` whose future was dropped has consumed nothing.
    async fn next(&mut self, limits: &ReadLimits) -> Result<Read>;

    /// The present end of the log: everything that was committed before this call is at or before it.
    async fn head(&mut self) -> Result<Position>;

    /// A reader of chunks with a connection of its own.
    async fn chunks(&mut self) -> Result<Box<dyn ChunkReader>>;

    /// Reads rows again by key, in one consistent view (I13). One answer per key, in order; `None`: there is no such row.
    async fn reread(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<(Vec<Option<Row>>, Mark)>;

    /// Whether every view from now on sees everything up to where the stream was opened. Where commits are in the log before they
    /// are visible, one of them may be in the target already, and a chunk that misses it would put older rows over it: no chunk is
    /// read before this says yes. What comes in this session's stream does not matter here.
    async fn settled(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// The log up to here may go: it is durable in the target (I1). Never called with a position that is not.
    async fn confirm(&mut self, durable: &Position) -> Result<()>;

    /// How far behind a line is that stands at `position`.
    async fn lag(&mut self, position: &Position) -> Result<Lag>;

    /// Takes away what stands in the way of the user's DDL on these tables (triggers). Changes made until the next `hold` are
    /// not captured: the line reads these tables again. A source with nothing in the way does nothing and says `false`.
    async fn detach(&mut self, tables: &[TableId]) -> Result<bool>;

    /// Removes everything that was made at the source for this line: read mark, slot, publication, and what nobody else uses.
    /// Idempotent.
    async fn release(&mut self) -> Result<()>;
}

/// Reads a table in chunks; see [`crate::snapshot`].
#[async_trait]
pub trait ChunkReader: Send {
    /// Divides a table into at most `parts` ranges that cover every key, and estimates its rows where that is cheap.
    async fn divide(
        &mut self,
        table: &Arc<TableSchema>,
        parts: usize,
    ) -> Result<(Vec<KeyRange>, Option<u64>)>;

    /// The first rows of a range, in key order, within the limits, in one consistent view.
    async fn read(
        &mut self,
        table: &Arc<TableSchema>,
        range: &KeyRange,
        limits: &ReadLimits,
    ) -> Result<Chunk>;
}
