//! Rows that are read again by key (I13).

use std::sync::Arc;

use sluice_types::{Change, Error, ErrorKind, Event, Key, Mark, Result, Row, TableSchema, Transaction};

use crate::feed::{Reread, RereadRows};
use crate::reader::Reader;
use crate::snapshot::raise;

/// How often a row is read again in a view that has not seen its event yet, and the pause in between.
const REREADS_MAX: u32 = 100;
const REREAD_PAUSE_MS: u64 = 20;

/// Rows that are read again at once as long as nobody knows what they weigh, and at most.
const ROWS_FIRST: usize = 16;
const ROWS_MAX: usize = 10_000;
/// What rows that are read again at once may weigh, as far as the last ones tell; in bytes.
const REREAD_BYTES: usize = 8 << 20;

/// How many rows are read again at once (I10).
#[derive(Debug)]
pub(crate) struct RereadSize(usize);

impl Default for RereadSize {
    fn default() -> Self {
        RereadSize(ROWS_FIRST)
    }
}

impl RereadSize {
    pub fn rows(&self) -> usize {
        self.0
    }

    /// Rows have come. Heavy ones make the next fewer at once, light ones more by and by.
    pub fn weighed(&mut self, rows: &[Event]) {
        if rows.is_empty() {
            return;
        }
        let weight: usize = rows.iter().map(|event| event.change.weight()).sum();
        let fits = REREAD_BYTES / weight.div_ceil(rows.len()).max(1);
        self.0 = fits.min(self.0.saturating_mul(8)).clamp(1, ROWS_MAX);
    }
}

impl Reader {
    /// Reads rows again, in a view that has seen everything the line is writing; they are newer than that then, like the rows of
    /// a chunk, and right once the stream has passed the view's mark.
    pub(crate) async fn reread(&mut self, reread: Reread) -> Result<()> {
        let (mut all, mut refused, mut high) = (vec![], vec![], None);
        for (table, wanted) in by_table(&reread.wanted) {
            let keys: Vec<_> =
                wanted.iter().filter_map(|event| Some(table.key_of(original(event).after()?))).collect();
            let (found, mark) = self.read_seeing(&table, &keys, &reread.transactions).await?;
            raise(&mut high, &mark.high);
            raise(&mut self.state.high, &mark.high);
            let found = wanted.iter().zip(found).filter_map(|(event, row)| {
                let row = Change::Snapshot(row?);
                let entry = event.entry;
                Some(Event { entry, ..Event::new(table.clone(), row, event.transaction, event.index) })
            });
            let mut events: Vec<Event> = found.collect();
            self.route(&mut events)?;
            let applied = self.transform(events).await?;
            all.extend(applied.events);
            refused.extend(applied.refused);
        }
        // The line has gone if nobody takes the answer; what it wanted is read again after its restart.
        self.snapshot.unsettle();
        drop(reread.answer.send(RereadRows { events: all, refused, high }));
        Ok(())
    }

    /// Reads rows in a view that has seen these transactions.
    pub(crate) async fn read_seeing(
        &mut self,
        table: &Arc<TableSchema>,
        keys: &[Key],
        transactions: &[Transaction],
    ) -> Result<(Vec<Option<Row>>, Mark)> {
        for _ in 0..REREADS_MAX {
            let (found, mark) = self.source.reread(table, keys).await?;
            if transactions.iter().all(|transaction| mark.sees(transaction)) {
                return Ok((found, mark));
            }
            self.clock.sleep_ms(REREAD_PAUSE_MS).await;
        }
        let what = "rows read again do not show the changes that the stream has brought";
        Err(Error::new(ErrorKind::Timeout, what).at_table(&table.table))
    }
}

fn original(event: &Event) -> &Change {
    event.original.as_deref().unwrap_or(&event.change)
}

/// The first event of each row, by source table: copies and later events of the row want the same.
fn by_table(wanted: &[Event]) -> Vec<(Arc<TableSchema>, Vec<&Event>)> {
    let mut tables: Vec<(Arc<TableSchema>, Vec<&Event>)> = vec![];
    for event in wanted.iter().filter(|event| original(event).after().is_some()) {
        let known = tables.iter().position(|(table, _)| *table == event.source);
        let at = known.unwrap_or_else(|| {
            tables.push((event.source.clone(), vec![]));
            tables.len() - 1
        });
        if let Some((table, events)) = tables.get_mut(at) {
            let key = |event: &Event| original(event).after().map(|row| table.key_of(row));
            if !events.iter().any(|one| key(one) == key(event)) {
                events.push(event);
            }
        }
    }
    tables
}
