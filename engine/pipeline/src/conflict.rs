//! Rows of the target that somebody else has made, changed or removed: found before they are written over, and decided by the table's
//! policy.
//!
//! Nobody looks where no policy asks. Where one does, the present rows of a batch's keys are read in bulk in the batch's own transaction,
//! locked, and each event is compared with the row that it is about to meet: that of the target, or what earlier events of the batch
//! make of it.
//!
//! What is the line's own is never a conflict. A commit takes rows and checkpoint together, so an event comes again only where nothing
//! of it is in the target. It is otherwise with rows that are newer than the stream: such as are read again, and chunks that could not
//! wait for it. The stream brings them older images then, so no event up to the mark that the stream has to pass is compared. To keep
//! that rare, a chunk of a line with a policy waits for the stream until it has passed the chunk's mark.

pub(crate) mod decide;
pub(crate) mod held;
mod met;
mod rows;
mod same;
mod verdict;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use sluice_types::ports::{Decision, SinkTx, StateStore, TargetTable};
use sluice_types::{
    Change, Checkpoint, Conflict, ConflictId, ConflictKind, DeadLetterId, Error, ErrorKind, Event, Key,
    PipelineId, Result, Row, TableId,
};

use crate::conflict::held::{Held, Hold};
use crate::conflict::met::{Met, OneMet};
use crate::conflict::rows::{Found, Rows};
use crate::conflict::same::Comparison;
use crate::feed::{Passage, Work};
use crate::parking::Parked;
use crate::spec::{ConflictPolicy, ConflictStrategy, LineSpec, TableRoute};

pub(crate) use crate::conflict::met::{Told, record};

/// Rows of the target that are asked for at once (I10). What later events of the same batch still need of them is kept until then.
pub const CURRENT_ROWS_MAX: usize = 1_000;

/// The policies of a line, by the source's table, and what they have parked.
pub(crate) struct Conflicts {
    policies: HashMap<TableId, ConflictPolicy>,
    held: Held,
}

/// Where the events stand that are looked at.
pub(crate) struct At<'a> {
    pub pipeline: &'a PipelineId,
    pub parked: &'a Parked,
    pub state: &'a dyn StateStore,
    /// Without the events.
    pub work: &'a Work,
    pub checkpoint: &'a Checkpoint,
    pub now_micros: i64,
}

/// What is to be written, and why.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub events: Vec<Event>,
    pub met: Met,
    /// Events that are not written: the target's row stays.
    pub dropped: u64,
    /// What is parked afterwards, where that is something else than before.
    pub held: Option<Held>,
}

/// What is done with one event.
enum Look<'a> {
    /// Nobody asks for it, or it is not going to be written.
    Pass,
    /// It is written as it is, and later ones meet what it makes of its row.
    Follow,
    /// It is compared.
    Compare(&'a ConflictPolicy),
}

/// Refuses a line whose chains make tables that a policy can't decide.
pub(crate) fn suits(spec: &LineSpec, targets: &[TargetTable]) -> Result<()> {
    for route in &spec.tables {
        let Some(policy) = &route.conflict else { continue };
        for target in targets.iter().filter(|target| target.path == route.path) {
            if let Err((what, remedy)) = policy.suits(&target.schema) {
                return Err(Error::new(ErrorKind::Config, what).at_table(&route.from).remedy(remedy));
            }
        }
    }
    Ok(())
}

impl Conflicts {
    pub fn new(tables: &[TableRoute], held: Held) -> Self {
        let policy = |route: &TableRoute| Some((route.from.clone(), route.conflict.clone()?));
        Conflicts { policies: tables.iter().filter_map(policy).collect(), held }
    }

    /// Whether a policy asks for any of these events, and the rows can be compared; or something of their tables is parked.
    pub fn concern(&self, work: &Work, checkpoint: &Checkpoint) -> bool {
        let asked = |event: &Event| self.policies.contains_key(&event.source.table);
        let compared =
            !self.policies.is_empty() && comparable(work, checkpoint) && work.events.iter().any(asked);
        compared || !self.held.is_empty()
    }

    /// What was decided is going to be recorded: this is parked from here on.
    pub fn hold(&mut self, held: Option<Held>) {
        if let Some(held) = held {
            self.held = held;
        }
    }

    /// Looks at events that are about to be written, and decides what becomes of them.
    pub async fn decide(&self, tx: &mut dyn SinkTx, events: Vec<Event>, at: &At<'_>) -> Result<Decided> {
        let mut decided = Decided { events: Vec::with_capacity(events.len()), ..Decided::default() };
        let mut rows = Rows::default();
        let aside = aside(&events, at);
        let is_aside = |event: &Event| aside.contains(&(event.transaction, event.index));
        let comparable = comparable(at.work, at.checkpoint);
        let look = |event: &Event| match is_aside(event) || !comparable {
            true => Look::Pass,
            false => self.look(event, at),
        };
        let mut held = Cow::Borrowed(&self.held);
        events.iter().filter(|event| !matches!(look(event), Look::Pass)).for_each(|event| rows.expect(event));
        // A key that the target can't hold is found out by going back to here.
        tx.savepoint().await?;
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let slice: Vec<Event> = events.by_ref().take(CURRENT_ROWS_MAX / 2).collect();
            let asked = slice.iter().filter(|event| !matches!(look(event), Look::Pass));
            rows.read(tx, asked).await?;
            for event in slice {
                if !is_aside(&event) && hold(&event, &mut held, at, &mut decided).await? {
                    if !matches!(look(&event), Look::Pass) {
                        rows.done(&event);
                    }
                    continue;
                }
                match look(&event) {
                    Look::Pass => decided.events.push(event),
                    Look::Follow => {
                        rows.apply(&event);
                        rows.done(&event);
                        decided.events.push(event);
                    }
                    Look::Compare(policy) => {
                        let whole = event.clone();
                        let parked = decided.met.parked.len();
                        compare(tx, event, policy, &mut rows, at, &mut decided).await?;
                        rows.done(&whole);
                        let last = decided.met.all.last().filter(|_| decided.met.parked.len() > parked);
                        last.into_iter().for_each(|one| held.to_mut().hold(&one.conflict));
                    }
                }
            }
        }
        if let Cow::Owned(held) = held {
            decided.held = Some(held);
        }
        Ok(decided)
    }

    fn look(&self, event: &Event, at: &At<'_>) -> Look<'_> {
        let Some(policy) = self.policies.get(&event.source.table) else { return Look::Pass };
        if matches!(event.change, Change::Truncate) {
            return Look::Follow;
        }
        let here = &at.checkpoint.position;
        let position = at.work.position_of(event, here);
        let of_stream = matches!(at.work.passage, Passage::Stream { .. });
        if rows::keys_of(event).is_none() {
            return Look::Pass;
        }
        let progress = &at.checkpoint.snapshot;
        let older = of_stream && progress.high.as_ref().is_some_and(|high| position <= high);
        if older || at.is_postponed(event) { Look::Follow } else { Look::Compare(policy) }
    }
}

/// Whether the rows of the target are of a moment that these events can be compared with.
fn comparable(work: &Work, checkpoint: &Checkpoint) -> bool {
    let high = checkpoint.snapshot.high.as_ref();
    match &work.passage {
        Passage::Stream { .. } => true,
        Passage::Chunk(done) => {
            done.in_step.as_ref().is_some_and(|stream| high.is_none_or(|high| high <= stream))
        }
        // The rows that were taken out of the target for them are the line's own.
        Passage::Postponed(_) => false,
    }
}

/// Has an event follow those of its row that are parked; `false`: there are none.
async fn hold(event: &Event, held: &mut Cow<'_, Held>, at: &At<'_>, decided: &mut Decided) -> Result<bool> {
    if held.is_empty() {
        return Ok(false);
    }
    if matches!(event.change, Change::Truncate) {
        if held.concerns(event) {
            held.to_mut().forget(&event.table.table);
            decided.met.empty(&event.table.table);
        }
        return Ok(false);
    }
    let position = event.place(at.work.position_of(event, &at.checkpoint.position));
    let index = if event.entry.is_some() { 0 } else { held::index_of(event) };
    let place = (position.clone(), index);
    let fresh = |id: &ConflictId| decided.met.parked.contains_key(id);
    let Some(how) = held.of(event, &place, fresh) else { return Ok(false) };
    decided.dropped += 1;
    match how {
        Hold::Known => {}
        Hold::Later(id) => {
            let known = match decided.met.parked(&id) {
                Some(known) => Some(known.clone()),
                None => at.state.conflict(at.pipeline, &id).await?,
            };
            let missing =
                || Error::new(ErrorKind::Internal, "a parked conflict is not in the state any more");
            let mut conflict = known.ok_or_else(missing)?;
            held::fold(&mut conflict, event, position.clone());
            held.to_mut().hold(&conflict);
            decided.met.park(conflict, DeadLetterId::of(&event.to_original(), &position));
        }
        Hold::Behind => {
            let behind = Decision::Park("an earlier one of its key waits to be decided".into());
            let kind = match &event.change {
                Change::Delete(_) | Change::Truncate => ConflictKind::DeleteMissing,
                Change::Update { .. } => ConflictKind::UpdateMissing,
                Change::Insert(_) | Change::Snapshot(_) => ConflictKind::InsertExists,
            };
            at.record(event, kind, None, (&ConflictStrategy::Park, &behind), decided);
            if let Some(one) = decided.met.all.last() {
                held.to_mut().hold(&one.conflict);
            }
        }
    }
    Ok(true)
}

/// The events that follow an earlier one of their key to the dead letters, by their place: they meet no row.
fn aside(events: &[Event], at: &At<'_>) -> HashSet<(u32, u64)> {
    let (mut aside, mut keys) = (HashSet::new(), HashSet::new());
    if at.parked.is_empty() && at.work.refused.is_empty() {
        return aside;
    }
    let place = |event: &Event| (event.transaction, event.index);
    let keys_of = |event: &Event| {
        let (before, after) = event.source_keys();
        let table = event.source.table.clone();
        before.into_iter().chain(after).map(move |key| (table.clone(), key))
    };
    let mut refused = at.work.refused.iter().map(|one| &one.event).peekable();
    for event in events {
        while let Some(one) = refused.next_if(|one| place(one) < place(event)) {
            keys.extend(keys_of(one));
        }
        if at.is_parked(event) || keys_of(event).any(|key| keys.contains(&key)) {
            keys.extend(keys_of(event));
            aside.insert(place(event));
        }
    }
    aside
}

impl At<'_> {
    /// Whether an earlier event of its key is a dead letter.
    fn is_parked(&self, event: &Event) -> bool {
        let of_stream = matches!(self.work.passage, Passage::Stream { .. });
        let index = if of_stream { event.index } else { u64::MAX };
        self.parked.holds(event, self.work.position_of(event, &self.checkpoint.position), index)
    }

    /// Whether the event's row was taken out of the target by the line itself.
    fn is_postponed(&self, event: &Event) -> bool {
        let postponed = &self.checkpoint.snapshot.postponed;
        if postponed.is_empty() {
            return false;
        }
        let (before, after) = event.source_keys();
        let keys = postponed.get(&event.source.table.to_string());
        keys.is_some_and(|keys| before.iter().chain(&after).any(|key| keys.contains(key)))
    }

    /// Whether the event's table has been copied: otherwise a row that is missing is only not there yet.
    fn is_copied(&self, event: &Event) -> bool {
        let tables = &self.checkpoint.snapshot.tables;
        tables.get(&event.source.table.to_string()).is_none_or(|table| table.is_done())
    }

    fn record(
        &self,
        event: &Event,
        kind: ConflictKind,
        existing: Option<&Row>,
        (strategy, decision): (&ConflictStrategy, &Decision),
        decided: &mut Decided,
    ) {
        let position = event.place(self.work.position_of(event, &self.checkpoint.position));
        let letter = DeadLetterId::of(&event.to_original(), &position);
        let copy = decided.met.all.iter().rev().take_while(|one| one.letter == letter && one.is_new).count();
        let mut conflict = Conflict {
            pipeline: self.pipeline.clone(),
            id: ConflictId::of(&letter, copy),
            number: 0,
            kind,
            position,
            incoming: Event { original: None, ..event.clone() },
            existing: existing.cloned(),
            decision: decision.clone(),
            strategy: strategy.name().to_string(),
            by: strategy.name().to_string(),
            recorded_micros: self.now_micros,
            later: 0,
            since: None,
            decided_micros: None,
        };
        if conflict.is_parked() {
            conflict.incoming.index = held::index_of(event);
            decided.met.parked.insert(conflict.id.clone(), decided.met.all.len());
        }
        decided.met.all.push(OneMet { letter, conflict, is_new: true });
    }
}

/// Compares one event with the row that it meets, and passes on what is to be written of it.
async fn compare(
    tx: &mut dyn SinkTx,
    mut event: Event,
    policy: &ConflictPolicy,
    rows: &mut Rows,
    at: &At<'_>,
    decided: &mut Decided,
) -> Result<()> {
    let Some((key, moved_to)) = rows::keys_of(&event) else {
        decided.events.push(event);
        return Ok(());
    };
    let schema = event.table.clone();
    let unstable = at.work.unstable.get(&schema.table).map_or(&[][..], Vec::as_slice);
    let (Found::Known(existing), Some(in_the_way)) =
        (rows.get(&schema, &key), moved_to.as_ref().map_or(Some(None), |key| rows.get(&schema, key).known()))
    else {
        // The target can't hold the key: the write tells.
        decided.events.push(event);
        return Ok(());
    };
    let mut comparison = Comparison { tx, schema: &schema, unstable };
    let kind = kind_of(&mut comparison, &event, existing.as_ref(), in_the_way.as_ref(), policy, at).await?;
    if let Some(kind) = kind {
        let decision = comparison.decide(&policy.strategy, kind, &event, existing.as_ref()).await?;
        at.record(&event, kind, existing.as_ref(), (&policy.strategy, &decision), decided);
        if !take(&mut event, kind, decision) {
            decided.dropped += 1;
            return Ok(());
        }
    }
    // The key that the row gets may be another row's by now.
    let after = event.change.after().filter(|_| moved_to.is_some()).cloned();
    if let (Some(other), Some(after)) = (&in_the_way, after)
        && comparison.differs(&after, other).await?
    {
        let kind = ConflictKind::InsertExists;
        let decision = comparison.decide(&policy.strategy, kind, &event, Some(other)).await?;
        at.record(&event, kind, Some(other), (&policy.strategy, &decision), decided);
        let delete = |row: &Row| Event {
            change: Change::Delete(row.clone()),
            original: Some(Box::new(event.original.as_deref().unwrap_or(&event.change).clone())),
            ..event.clone()
        };
        // The row has left its old key at the source, whoever has the new one.
        // But where somebody is to decide nothing is written.
        let parks = matches!(decision, Decision::Park(_));
        let leaves = event.change.identity().filter(|_| !parks).map(&delete);
        let gives_way = delete(other);
        let goes_on = take(&mut event, kind, decision);
        let first = if goes_on { Some(gives_way) } else { leaves };
        if let Some(first) = first {
            rows.apply(&first);
            decided.events.push(first);
        }
        if !goes_on {
            decided.dropped += 1;
            return Ok(());
        }
    }
    rows.apply(&event);
    decided.events.push(event);
    Ok(())
}

/// What the event meets under its (old) key. Everything that is like it is no conflict: it is written for the second time, or somebody
/// else did the same.
async fn kind_of(
    comparison: &mut Comparison<'_>,
    event: &Event,
    existing: Option<&Row>,
    in_the_way: Option<&Row>,
    policy: &ConflictPolicy,
    at: &At<'_>,
) -> Result<Option<ConflictKind>> {
    let schema = &event.table;
    Ok(match (&event.change, existing) {
        (Change::Snapshot(after) | Change::Insert(after), Some(there)) => {
            comparison.differs(after, there).await?.then_some(ConflictKind::InsertExists)
        }
        (Change::Update { before, after }, Some(there)) => {
            let changed = match before {
                Some(before) => comparison.differs(before, there).await?,
                None => false,
            };
            let changed =
                changed || comparison.is_later(&policy.strategy, before.as_ref(), after, there).await?;
            (changed && comparison.differs(after, there).await?).then_some(ConflictKind::UpdateDiffers)
        }
        // Without a complete image before nobody can say whether the row was ever to be in the target: a filter may have kept it out.
        (Change::Update { before: Some(before), .. }, None) if in_the_way.is_none() => {
            (schema.is_complete(before) && at.is_copied(event)).then_some(ConflictKind::UpdateMissing)
        }
        (Change::Delete(before), None) => {
            (schema.is_complete(before) && at.is_copied(event)).then_some(ConflictKind::DeleteMissing)
        }
        (Change::Delete(before), Some(there)) => {
            comparison.differs(before, there).await?.then_some(ConflictKind::DeleteDiffers)
        }
        _ => None,
    })
}

/// Makes of an event what was decided; `false`: nothing is to be written.
fn take(event: &mut Event, kind: ConflictKind, decision: Decision) -> bool {
    let merged = match decision {
        // There is nothing to delete.
        Decision::Incoming => return kind != ConflictKind::DeleteMissing,
        Decision::Existing | Decision::Park(_) => return false,
        Decision::Merged(row) => row,
    };
    let change = match &event.change {
        Change::Update { before, .. } => Change::Update { before: before.clone(), after: merged },
        _ => Change::Insert(merged),
    };
    let original = std::mem::replace(&mut event.change, change);
    event.original.get_or_insert_with(|| Box::new(original));
    true
}

/// The key of the row that an event is about, and the one that it gets where it changes it; `None` where the event does not tell.
type Keys = (Key, Option<Key>);
