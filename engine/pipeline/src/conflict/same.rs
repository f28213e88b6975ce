//! When two images say the same.

use std::cmp::Ordering;
use std::sync::Arc;

use sluice_types::compare::{order, same};
use sluice_types::ports::{Decision, SinkTx};
use sluice_types::{ConflictKind, Event, Result, Row, TableSchema};

use super::verdict;
use crate::spec::ConflictStrategy;

/// Compares images of one table with what the target has.
pub(super) struct Comparison<'a> {
    pub tx: &'a mut dyn SinkTx,
    pub schema: &'a Arc<TableSchema>,
    /// Columns that can't be compared: a plugin makes another value of the same each time.
    pub unstable: &'a [Arc<str>],
}

impl Comparison<'_> {
    /// Whether the target's row has another value than the image in a column that the image carries. A value that the target keeps as
    /// another one is that one.
    pub async fn differs(&mut self, image: &Row, there: &Row) -> Result<bool> {
        if !self.unlike(image, there) {
            return Ok(false);
        }
        let stored = self.tx.as_stored(self.schema, vec![image.clone()]).await?;
        Ok(stored.first().is_none_or(|stored| self.unlike(stored, there)))
    }

    fn unlike(&self, image: &Row, there: &Row) -> bool {
        let compared = self.schema.columns.iter().filter(|column| !self.unstable.contains(&column.name));
        compared.into_iter().any(|column| {
            let (value, there) = (image.get(column.slot), there.get(column.slot));
            // What the target computes by itself it does not read.
            value.is_present() && there.is_present() && !same(value, there)
        })
    }

    /// What a strategy makes of a conflict. Both sides as the target keeps them, so that values of the one are of the other's types.
    pub async fn decide(
        &mut self,
        strategy: &ConflictStrategy,
        kind: ConflictKind,
        event: &Event,
        existing: Option<&Row>,
    ) -> Result<Decision> {
        let mut stored = event.clone();
        let images: Vec<Row> = stored.change.images_mut().map(|image| image.clone()).collect();
        let kept = self.tx.as_stored(self.schema, images).await?;
        stored.change.images_mut().zip(kept).for_each(|(image, kept)| *image = kept);
        Ok(verdict::decide(strategy, kind, &stored, existing))
    }

    /// Whether the target's row is later than the image after by the strategy's column: where no image before tells what the row was, that
    /// says that somebody else has changed it.
    pub async fn is_later(
        &mut self,
        strategy: &ConflictStrategy,
        before: Option<&Row>,
        after: &Row,
        there: &Row,
    ) -> Result<bool> {
        let Some(slot) = column_of(strategy, self.schema) else { return Ok(false) };
        if before.is_some_and(|before| before.get(slot).is_present()) {
            return Ok(false);
        }
        let stored = self.tx.as_stored(self.schema, vec![after.clone()]).await?;
        let order = stored.first().and_then(|stored| order(there.get(slot), stored.get(slot)));
        Ok(order == Some(Ordering::Greater))
    }
}

/// Where the column stands that a strategy compares.
pub(super) fn column_of(strategy: &ConflictStrategy, schema: &TableSchema) -> Option<u32> {
    let (ConflictStrategy::Latest(name) | ConflictStrategy::Version(name)) = strategy else { return None };
    schema.columns.get(schema.column_index(name)?).map(|column| column.slot)
}
