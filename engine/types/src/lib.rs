//! Floor 0 of sluice: what flows through the line, and the ports that the line is built on.
//!
//! Nothing in here runs, reads or writes: the other floors do. Suggested reading order: [`value`], [`schema`], [`event`],
//! [`position`], [`checkpoint`], [`error`], then [`ports`], whose documentation is the contract between the floors.

pub mod checkpoint;
pub mod compare;
pub mod conflict;
pub mod dead_letter;
pub mod error;
pub mod event;
pub mod ids;
pub mod ports;
pub mod position;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod snapshot;
pub mod value;

pub use checkpoint::{Checkpoint, RangeProgress, SnapshotProgress, TableProgress};
pub use conflict::{Conflict, ConflictCount, ConflictId, ConflictKind};
pub use dead_letter::{DeadLetter, DeadLetterId, Reason};
pub use error::{Disposition, Error, ErrorKind, Finding, Place, Result, Severity};
pub use event::{Batch, Change, Event, Origin, Transaction};
pub use ids::{Digest, InstallId, PipelineId};
pub use position::Position;
pub use schema::{Column, ColumnType, Key, TableId, TablePattern, TableSchema};
pub use secret::Secret;
pub use settings::Settings;
pub use snapshot::{Chunk, KeyRange, Mark, Visibility};
pub use value::{Row, Text, Value};
