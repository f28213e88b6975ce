//! Changing events on the way, and deciding conflicts.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::dead_letter::Reason;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::Digest;
use crate::schema::TableSchema;
use crate::value::Row;

/// What a chain makes of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The shapes that its events leave in: that of the default target first, then one per route.
    pub outputs: Vec<Arc<TableSchema>>,
    /// Columns of the outputs whose value is another one each time (a random nonce): two images of one row can't be compared in them.
    pub unstable: Vec<Arc<str>>,
    /// Whether it does anything to this table. If not, its events need not be handed over.
    pub active: bool,
}

/// An event that a transform refused.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The event as it was handed over.
    pub event: Event,
    /// Why.
    pub reason: Reason,
}

/// What a chain made of a batch.
#[derive(Debug, Default)]
pub struct Transformed {
    /// The events that go on, in the order of those they came from.
    pub events: Vec<Event>,
    /// The events that were refused.
    pub rejected: Vec<Rejection>,
}

/// A batch failed as a whole: the events as they were handed over, and why. The line halves the batch to find the culprit.
#[derive(Debug)]
pub struct ApplyFailed {
    /// Untouched.
    pub events: Vec<Event>,
    /// Of a kind whose disposition is `dead-letter` when one of the events is to blame.
    pub error: Error,
}

/// The chains of one line: for each table a sequence of plugins, in their current versions.
#[async_trait]
pub trait Transform: Send {
    /// Opens the chain of the table `source.table`. `source` is the shape in which the source delivers it ([`Event::source`]);
    /// `entry` is the same with the columns that the configuration excludes left out and the target's name set, which is the
    /// shape that the events have when they are handed over ([`Event::table`]). New values go behind `source`'s slots.
    async fn open(&mut self, source: &Arc<TableSchema>, entry: &Arc<TableSchema>) -> Result<Opened>;

    /// Takes over versions that have passed their checks since the last call (I8). Called only between batches. `true`: a
    /// version changed, and the line opens its tables again before the next batch. Costs next to nothing when there is none.
    async fn take_over(&mut self) -> Result<bool>;

    /// Applies the chains. Events of all tables, all of them opened before; truncates are handed through.
    async fn apply(&mut self, events: Vec<Event>) -> Result<Transformed, ApplyFailed>;

    /// The versions that `apply` uses now, for checkpoints and dead letters.
    fn versions(&self) -> BTreeMap<Arc<str>, Digest>;
}

/// What is decided of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The incoming change wins.
    Incoming,
    /// The existing row stays.
    Existing,
    /// Neither: this row.
    Merged(Row),
    /// A person decides; until then the existing row stays.
    Park(String),
}

impl Decision {
    /// `incoming`, `existing`, `merged` or `parked`.
    pub fn name(&self) -> &'static str {
        match self {
            Decision::Incoming => "incoming",
            Decision::Existing => "existing",
            Decision::Merged(_) => "merged",
            Decision::Park(_) => "parked",
        }
    }
}

/// Decides conflicts. Pure: the same inputs, the same decision (I9).
#[async_trait]
pub trait Resolver: Send {
    /// One decision per pair of an incoming event and the target's present row, in order.
    async fn resolve(&mut self, conflicts: &[(Event, Option<Row>)]) -> Result<Vec<Decision>>;
}
