//! A transaction of the target.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use sluice_types::ports::{SinkTx, Written};
use sluice_types::{
    Change, Checkpoint, Disposition, Error, ErrorKind, Event, Key, PipelineId, Result, Row, TableId,
    TableSchema, Value,
};
use tokio_postgres::Error as PgError;
use tokio_postgres::types::{FromSql, Type};

use super::PostgresSink;
use crate::checkpoint;
use crate::codec::Form;
use crate::decode::{self, Arena};
use crate::feed;
use crate::fold::Segment;
use crate::plan::Plan;
use crate::table;
use crate::write::Done;

/// A transaction of the target. What it does first is sent together with its `BEGIN`.
pub(super) struct PostgresTx<'a> {
    sink: &'a mut PostgresSink,
    /// Committed, or as good as gone.
    ended: bool,
    /// There is a savepoint.
    marked: bool,
    /// And nothing was written since.
    fresh: bool,
    /// Deferred constraints are looked at when all pieces are written.
    puts_off: bool,
}

impl<'a> PostgresTx<'a> {
    pub fn new(sink: &'a mut PostgresSink) -> Self {
        PostgresTx { sink, ended: false, marked: false, fresh: false, puts_off: false }
    }

    /// Folds and runs a range of events.
    async fn apply(&mut self, events: &[Event], range: Range<usize>, done: &mut Done) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let sink = &mut *self.sink;
            let segment = Segment::fold(events, at..range.end, |schema| {
                let plan = sink.known_plan(schema);
                plan.ok_or_else(|| Error::new(ErrorKind::Internal, "a table without a plan"))
            })?;
            at = segment.end;
            sink.run(&segment, done).await?;
        }
        Ok(())
    }

    /// Something stood in the way of the folded events: the same again in ever smaller parts, in the order of the source, so that
    /// each finds the rows as they were there. A single event that fails even so is the one to blame.
    async fn apply_in_order(&mut self, events: &[Event], done: &mut Done) -> Result<()> {
        let mut ahead: Vec<Range<usize>> = Vec::new();
        ahead.push(0..events.len());
        // All of it at once is what has failed.
        let mut first = true;
        while let Some(part) = ahead.pop() {
            let cut = cut(events, &part);
            if !std::mem::replace(&mut first, false) || cut.is_none() {
                let mut of_part = Done::default();
                self.sink.then("SAVEPOINT sluice_part");
                match self.apply(events, part.clone(), &mut of_part).await {
                    Ok(()) => {
                        self.sink.then("RELEASE sluice_part");
                        done.rows += of_part.rows;
                        done.partial.extend(of_part.partial);
                        continue;
                    }
                    Err(error) if !may_be_order(&error) => return Err(error),
                    Err(error) if cut.is_none() => return Err(error.of_event(part.start)),
                    Err(_) => {
                        self.sink.rollback_to("sluice_part").await?;
                        self.sink.then("RELEASE sluice_part");
                    }
                }
            }
            if let Some(cut) = cut {
                ahead.push(cut..part.end);
                ahead.push(part.start..cut);
            }
        }
        Ok(())
    }

    async fn write_all(&mut self, events: &[Event]) -> Result<Done> {
        let mut last = 0;
        for event in events {
            let address = Arc::as_ptr(&event.table) as usize;
            if std::mem::replace(&mut last, address) != address {
                self.sink.plan(&event.table).await?;
            }
        }
        let mut done = Done::default();
        if events.len() == 1 {
            self.fresh = false;
            self.apply(events, 0..1, &mut done).await.map_err(|error| blamed(error, 0))?;
            return Ok(done);
        }
        // The line's own savepoint will do, if it was just made.
        let guard = if std::mem::take(&mut self.fresh) { "sluice" } else { "sluice_write" };
        if guard == "sluice_write" {
            self.sink.then("SAVEPOINT sluice_write");
        }
        match self.apply(events, 0..events.len(), &mut done).await {
            Err(error) if may_be_order(&error) => {
                self.sink.rollback_to(guard).await?;
                done = Done::default();
                self.apply_in_order(events, &mut done).await?;
            }
            other => other?,
        }
        if guard == "sluice_write" {
            self.sink.then("RELEASE sluice_write");
        }
        Ok(done)
    }

    /// The table whose constraint it is: any that a trigger writes, perhaps. A trigger that raises an error does not say.
    fn table_of(&self, error: &PgError) -> Option<TableId> {
        let told = error.as_db_error().and_then(|db| Some((db.schema()?, db.table()?)));
        let mut ours = self.sink.plans.values().map(|plan| &plan.schema.table);
        match told {
            Some(told) => {
                let known = ours.find(|table| table::place(table) == told);
                Some(known.cloned().unwrap_or_else(|| TableId::new(told.0, told.1)))
            }
            None => ours.next().filter(|first| ours.all(|other| other == *first)).cloned(),
        }
    }

    /// Deferred constraints are looked at before the commit, where nobody could say any more what was to blame.
    async fn look_at_constraints(&mut self) -> Result<()> {
        let fires = self.sink.fires;
        if !self.sink.shapes.values().any(|shape| shape.puts_off(fires)) {
            return Ok(());
        }
        let looked = self.sink.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED").await;
        looked.map_err(|error| self.sink.failed_at(&error, self.table_of(&error).as_ref()))
    }
}

/// Where events can be cut in two, as near to the middle as can be; `None`: they can't. One statement may have emptied several
/// tables that refer to each other, so truncates that stand together in a transaction stay together.
fn cut(events: &[Event], part: &Range<usize>) -> Option<usize> {
    let divides = |at: &usize| {
        let (before, after) = (&events[at - 1], &events[*at]);
        let both = matches!((&before.change, &after.change), (Change::Truncate, Change::Truncate));
        !(both && before.transaction == after.transaction)
    };
    let middle = part.start + part.len() / 2;
    let before = (part.start + 1..=middle).rev().find(divides);
    before.or_else(|| (middle + 1..part.end).find(divides))
}

/// Whether the order in which folded events are applied may have made an error, or one of several events has.
fn may_be_order(error: &Error) -> bool {
    error.disposition() == Disposition::DeadLetter && error.event().is_none()
}

fn blamed(error: Error, event: usize) -> Error {
    if error.disposition() == Disposition::DeadLetter && error.event().is_none() {
        error.of_event(event)
    } else {
        error
    }
}

impl Drop for PostgresTx<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.sink.pending.clear();
        self.sink.ahead = None;
        // Sent at the first poll, answered to nobody. A session that is closed has nothing to roll back.
        let _ = self.sink.client().batch_execute("ROLLBACK").now_or_never();
    }
}

/// A value in the server's own form, whatever its type.
struct Cell<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(
        _ty: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Cell(raw))
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }
}

/// The row that stands in an answer of [`Plan::current`].
fn row(plan: &Plan, found: &tokio_postgres::Row, arena: &mut Arena) -> Result<Row> {
    let mut values = vec![Value::Absent; plan.schema.slots()];
    for (at, column) in plan.columns.iter().enumerate() {
        let odd = |error| Error::new(ErrorKind::Corrupt, "a row of the target can't be read").because(error);
        let cell: Option<Cell<'_>> = found.try_get(at + 1).map_err(odd)?;
        values[column.slot as usize] = match cell {
            None => Value::Null,
            Some(Cell(bytes)) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let form = if column.always_aside { Form::Text } else { Form::Binary };
                let codec = &plan.shape.columns[column.place].codec;
                decode::value(codec, form, &bytes, 0..bytes.len(), arena)?
            }
        };
    }
    Ok(Row::new(values))
}

#[async_trait]
impl SinkTx for PostgresTx<'_> {
    async fn current(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        let plan = self.sink.plan(table).await?;
        self.sink.hold(&plan).await?;
        let asked = feed::asked_keys(&plan, keys)?;
        let mut found = vec![None; keys.len()];
        let mut arena = Arena::default();
        for answer in self.sink.query(&plan, plan.current(), &asked).await? {
            let at: i64 = answer.try_get(0).unwrap_or(0);
            if let Some(place) = found.get_mut((at - 1).max(0) as usize) {
                *place = Some(row(&plan, &answer, &mut arena)?);
            }
        }
        Ok(found)
    }

    async fn write(&mut self, events: &[Event]) -> Result<Written> {
        if events.is_empty() {
            return Ok(Written::default());
        }
        let written = match self.write_all(events).await {
            Ok(done) if !self.puts_off => self.look_at_constraints().await.map(|()| done),
            other => other,
        };
        // A value that was refused here may have cut off what was being sent.
        self.sink.broken |= written.is_err();
        let Done { rows, mut partial } = written?;
        partial.sort_unstable();
        Ok(Written { rows, partial })
    }

    fn put_off(&mut self) {
        self.puts_off = true;
    }

    async fn settle(&mut self) -> Result<()> {
        self.puts_off = false;
        let looked = self.look_at_constraints().await;
        self.sink.broken |= looked.is_err();
        looked
    }

    async fn savepoint(&mut self) -> Result<()> {
        self.sink.then(if self.marked { "RELEASE sluice; SAVEPOINT sluice" } else { "SAVEPOINT sluice" });
        (self.marked, self.fresh) = (true, true);
        Ok(())
    }

    async fn rollback_to_savepoint(&mut self) -> Result<()> {
        if self.fresh && !self.sink.broken {
            return Ok(()); // nothing happened since, and the savepoint may not even have been sent
        }
        self.sink.rollback_to("sluice").await?;
        self.fresh = true;
        Ok(())
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        let client = self.sink.client();
        let text = self.sink.send(checkpoint::lock(&client, pipeline)).await;
        let text = text.map_err(|error| self.sink.server.failed(&error, "the checkpoint can't be read"))?;
        text.map(|text| checkpoint::parse(&text)).transpose()
    }

    async fn save(&mut self, checkpoint: &Checkpoint, expected: Option<u64>) -> Result<()> {
        let text = checkpoint::text(checkpoint)?;
        let client = self.sink.client();
        let saved = match expected {
            None => self.sink.send(checkpoint::begin(&client, checkpoint, &text)).await,
            Some(expected) => match self.sink.prepared(checkpoint::SAVE).await {
                Ok(statement) => {
                    let save = checkpoint::save(&client, &statement, checkpoint, &text, expected);
                    self.sink.send(save).await
                }
                Err(error) => Err(error),
            },
        };
        match saved.map_err(|error| self.sink.server.failed(&error, "the checkpoint can't be saved"))? {
            true => Ok(()),
            false => Err(checkpoint::fenced()),
        }
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        if self.sink.broken {
            // The server would answer a commit of it as if nothing was wrong, and roll back.
            return Err(Error::new(ErrorKind::Internal, "a transaction that had failed was to be committed"));
        }
        let done = self.sink.execute("COMMIT").await;
        self.ended = done.is_ok();
        done.map_err(|error| self.sink.server.failed(&error, "the target can't commit"))
    }
}
