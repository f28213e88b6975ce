//! Writes events into an open target transaction: the parked go aside, the failing are found by halving, rows whose image is
//! partial are read again. Everything that does not reach the target comes back as a dead letter.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sluice_types::ports::{Clock, SinkTx, StateStore, Written};
use sluice_types::{
    Change, Checkpoint, DeadLetter, DeadLetterId, Disposition, Error, ErrorKind, Event, Key, PipelineId,
    Position, Reason, Result, Row, SnapshotProgress, TableId, Value,
};

use crate::chain::{circuit, reason};
use crate::conflict::{At, Conflicts, Told};
use crate::feed::{Feed, Passage, Work};
use crate::moved;
use crate::parking::Parked;
use crate::postponed::{ATTEMPTS_MAX, POSTPONED_MAX};
use crate::reread::RereadSize;
use crate::spec::{OnError, OnErrorThen};
use crate::status::Stats;
use crate::waiting::{Waiting, Waits};

/// What writing needs to know, and remembers from batch to batch.
pub(crate) struct Writer {
    pub pipeline: PipelineId,
    pub on_error: OnError,
    pub parked: Parked,
    pub conflicts: Conflicts,
    pub state: Arc<dyn StateStore>,
    pub clock: Arc<dyn Clock>,
    pub stats: Arc<Stats>,
    /// How often rows that were postponed and read again were postponed once more.
    pub attempts: HashMap<(TableId, Key), u32>,
    pub reread_size: RereadSize,
}

/// What became of a piece of work in the open transaction.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// In the order of the log. To be kept durably before the commit (I3).
    pub letters: Vec<DeadLetter>,
    /// Rows of the target that somebody else had changed, and what was decided. To be recorded before the commit.
    pub conflicts: Told,
    /// Rows written.
    pub rows: u64,
    /// What the stream has to pass before the target is consistent with rows that were read again.
    pub high: Option<Position>,
    /// Rows that are not in the target until they are read again.
    pub postponed: Vec<(TableId, Key)>,
}

/// One piece of work being written.
pub(crate) struct Writing<'a> {
    writer: &'a mut Writer,
    work: &'a Work,
    feed: &'a Feed,
    here: &'a Position,
    progress: &'a SnapshotProgress,
    poison: usize,
    outcome: Outcome,
    /// What the rest of its transaction may make good.
    pub(crate) waiting: Waiting,
}

/// Events to be written together.
pub(crate) struct Segment {
    pub events: Vec<Event>,
    /// The events that wanted these rows, when they were read again.
    pub wanted: Option<Vec<Event>>,
    /// They take postponed rows out of the target. One that can't be taken out stays as it is.
    pub gives_way: bool,
    /// Instead of events to be written: such as were, whose rows are still to be read again.
    pub asks: Vec<Event>,
}

impl Writer {
    /// Writes a piece of work where the line stands at `checkpoint`. With `patient`, an error of an event that may heal by itself
    /// comes back before anything is condemned; `work` is untouched then.
    pub async fn write(
        &mut self,
        tx: &mut dyn SinkTx,
        work: &mut Work,
        feed: &Feed,
        checkpoint: &Checkpoint,
        patient: bool,
    ) -> Result<Outcome> {
        if !self.conflicts.concern(work, checkpoint) {
            return self.write_decided(tx, work, feed, checkpoint, patient).await;
        }
        // What is tried again is decided anew: others may have changed their rows meanwhile.
        let untouched = patient.then(|| work.events.clone());
        let events = std::mem::take(&mut work.events);
        let at = At {
            pipeline: &self.pipeline,
            parked: &self.parked,
            state: &*self.state,
            work,
            checkpoint,
            now_micros: self.clock.now_micros(),
        };
        let decided = self.conflicts.decide(tx, events, &at).await?;
        work.events = decided.events;
        match self.write_decided(tx, work, feed, checkpoint, patient).await {
            Ok(mut outcome) => {
                self.stats.events_skipped.fetch_add(decided.dropped, Relaxed);
                outcome.conflicts = decided.met.without(&outcome.letters);
                self.conflicts.hold(decided.held);
                Ok(outcome)
            }
            Err(error) => {
                work.events = untouched.unwrap_or_default();
                Err(error)
            }
        }
    }

    async fn write_decided(
        &mut self,
        tx: &mut dyn SinkTx,
        work: &mut Work,
        feed: &Feed,
        checkpoint: &Checkpoint,
        patient: bool,
    ) -> Result<Outcome> {
        let (here, progress) = (&checkpoint.position, &checkpoint.snapshot);
        moved::split(&mut work.events, here, progress.high.as_ref());
        // What time heals there is healed by reading again.
        let settled = progress.is_settled(here) && work.is_settled(here);
        let patient = patient && settled;
        // The usual way: everything at once, nothing moved.
        let undisturbed = self.parked.is_empty() && work.refused.is_empty();
        let whole =
            if undisturbed { Some(write_whole(tx, &work.events, settled, patient).await?) } else { None };
        // Unless all is written already, an error may come that is to be tried again with the same events.
        let all = |written: &Written| written.partial.is_empty() && !work.events.iter().any(moved::wants_row);
        let done = matches!(&whole, Some(Ok(written)) if all(written));
        let keep_for_retry = patient && !done;
        let events = if keep_for_retry { work.events.clone() } else { std::mem::take(&mut work.events) };
        let poison = work.poison;
        let outcome = Outcome::default();
        let waiting = Waiting::default();
        let mut writing = Writing { writer: self, work, feed, here, progress, poison, outcome, waiting };
        let ahead = match whole {
            Some(Ok(written)) => writing.written(Segment::new(events), written).await?,
            Some(Err(error)) => {
                tx.rollback_to_savepoint().await?;
                writing.narrow(Segment::new(events), error)?
            }
            None => vec![Segment::new(writing.divert(events)?)],
        };
        writing.write(tx, ahead, patient).await?;
        let mut outcome = writing.outcome;
        outcome.letters.sort_by(|a, b| (&a.position, a.event.index).cmp(&(&b.position, b.event.index)));
        // Copies of one event are one dead letter.
        outcome.letters.dedup_by(|a, b| a.id == b.id);
        Ok(outcome)
    }
}

impl Segment {
    pub(crate) fn new(events: Vec<Event>) -> Self {
        Segment { events, wanted: None, gives_way: false, asks: vec![] }
    }

    /// What takes the rows of these events out of the target.
    fn giving_way(events: Vec<Event>) -> Self {
        let delete = |event: &Event, row: Row| {
            let known = event.table.key_of(&row).0.iter().all(Value::is_present);
            known.then(|| Event { change: Change::Delete(row), original: None, ..event.clone() })
        };
        let of_event = |event: Event| {
            let (first, second) = match event.change.clone() {
                Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => (Some(row), None),
                Change::Update { before, after } => (before, Some(after)),
                Change::Truncate => (None, None),
            };
            first.into_iter().chain(second).filter_map(move |row| delete(&event, row))
        };
        let events = events.into_iter().flat_map(of_event).collect();
        Segment { gives_way: true, ..Segment::new(events) }
    }
}

/// Whether two events, one behind the other, are written together or not at all: copies of one event, and truncates of one
/// transaction, for a single statement may have emptied tables that refer to each other.
pub(crate) fn belong(before: &Event, after: &Event) -> bool {
    let truncates = matches!((&before.change, &after.change), (Change::Truncate, Change::Truncate));
    before.transaction == after.transaction && (before.index == after.index || truncates)
}

/// One write. The inner error is one of an event that is to be isolated now, after going back to the savepoint.
pub(crate) async fn write_whole(
    tx: &mut dyn SinkTx,
    events: &[Event],
    settled: bool,
    patient: bool,
) -> Result<Result<Written>> {
    if events.is_empty() {
        return Ok(Ok(Written::default()));
    }
    tx.savepoint().await?;
    // Where rows are of different moments, the one under a row's new key may be its own later state.
    let checked = if settled { moved::check(tx, events).await } else { Ok(()) };
    let written = match checked {
        Ok(()) => tx.write(events).await,
        Err(error) => Err(error),
    };
    match written {
        Ok(written) => Ok(Ok(written)),
        Err(error) if error.disposition() != Disposition::DeadLetter => Err(error),
        Err(error) if patient && error.kind().heals_by_others() => Err(error),
        Err(error) => Ok(Err(error)),
    }
}

impl Writing<'_> {
    /// Puts aside, in order, what a transform refused and what is parked.
    fn divert(&mut self, events: Vec<Event>) -> Result<Vec<Event>> {
        let mut refused = self.work.refused.iter().peekable();
        let mut kept = Vec::with_capacity(events.len());
        for event in events {
            let place = (event.transaction, event.index);
            while let Some(one) = refused.next_if(|one| (one.event.transaction, one.event.index) < place) {
                self.refuse(&one.event, &one.reason)?;
            }
            if self.is_parked(&event) {
                self.condemn(&event, parked())?;
            } else {
                kept.push(event);
            }
        }
        for one in refused {
            self.refuse(&one.event, &one.reason)?;
        }
        Ok(kept)
    }

    /// A transform refused the event.
    fn refuse(&mut self, event: &Event, reason: &Reason) -> Result<()> {
        if self.writer.on_error.then == OnErrorThen::DeadLetter {
            return self.condemn(event, reason.clone());
        }
        let kind = ErrorKind::ALL.iter().find(|kind| kind.code() == reason.code);
        let error = Error::new(*kind.unwrap_or(&ErrorKind::PluginReject), reason.what.clone());
        Err(error.at(|place| {
            place.table = Some(event.source.table.clone());
            place.column = reason.column.clone();
            place.position = Some(self.work.position_of(event, self.here).clone());
            place.plugin = reason.plugin.as_ref().map(|(name, digest)| format!("{name}@{digest}"));
        }))
    }

    /// Writes segments, the last one first, and what comes of them.
    async fn write(&mut self, tx: &mut dyn SinkTx, mut ahead: Vec<Segment>, patient: bool) -> Result<()> {
        loop {
            let next = ahead.iter().rev().find_map(|next| next.events.first().or(next.asks.first()));
            if self.waiting.is_over_at(next) {
                ahead.extend(self.last_chance(tx, patient).await?);
            }
            let Some(mut segment) = ahead.pop() else { return Ok(()) };
            self.drop_parked(&mut segment)?;
            moved::split(&mut segment.events, self.here, self.outcome.high.as_ref());
            self.hold_back(&mut segment);
            match write_whole(tx, &segment.events, self.is_settled(), patient).await? {
                Ok(written) => ahead.extend(self.written(segment, written).await?),
                Err(error) => {
                    tx.rollback_to_savepoint().await?;
                    ahead.extend(self.narrow(segment, error)?);
                }
            }
        }
    }

    /// A segment fails: smaller ones, the first of them last; or, if it is one event, its dead letter.
    fn narrow(&mut self, segment: Segment, error: Error) -> Result<Vec<Segment>> {
        let Segment { mut events, wanted, gives_way, asks } = segment;
        if gives_way {
            return Ok(vec![]);
        }
        let starts: Vec<usize> =
            (0..events.len()).filter(|&at| at == 0 || !belong(&events[at - 1], &events[at])).collect();
        if starts.len() <= 1 {
            return Ok(self.poisoned(events, wanted, error)?.into_iter().collect());
        }
        let culprit = error.event().map(|index| starts.partition_point(|&start| start <= index).max(1) - 1);
        let cuts = match culprit {
            Some(group) => [starts.get(group + 1), starts.get(group)],
            // Between transactions first: what one event needs, a later one of its own transaction may bring.
            None => {
                let middle = events.len() / 2;
                let divides =
                    |at: &&usize| **at > 0 && events[**at - 1].transaction != events[**at].transaction;
                let between = starts.iter().filter(divides).min_by_key(|at| at.abs_diff(middle));
                [between.or(starts.get(starts.len() / 2)), None]
            }
        };
        let cuts = cuts.into_iter().flatten().filter(|&&at| at > 0);
        let mut segments = vec![];
        for &at in cuts {
            let events = events.split_off(at);
            segments.push(Segment { events, wanted: wanted.clone(), gives_way, asks: vec![] });
        }
        segments.push(Segment { events, wanted, gives_way, asks });
        Ok(segments)
    }

    /// One event, with its copies (or truncates that belong together), can't be written: it becomes a dead letter, unless it is to be read again later.
    fn poisoned(
        &mut self,
        events: Vec<Event>,
        wanted: Option<Vec<Event>>,
        error: Error,
    ) -> Result<Option<Segment>> {
        if error.kind().heals_by_others() && !self.is_settled() && self.postpone(&events) {
            return Ok(Some(Segment::giving_way(events)));
        }
        // Where rows are of different moments nothing is said by the rest of a transaction.
        if error.kind() == ErrorKind::Constraint && self.is_settled() {
            self.waiting.push(Waits { events, wanted, error: Some(error) });
            return Ok(None);
        }
        self.condemned(events, wanted, error)?;
        Ok(None)
    }

    /// Nothing will make it good.
    pub(crate) fn condemned(
        &mut self,
        events: Vec<Event>,
        wanted: Option<Vec<Event>>,
        error: Error,
    ) -> Result<()> {
        if self.writer.on_error.then == OnErrorThen::Pause {
            return Err(error);
        }
        self.poison += 1;
        circuit(self.poison, &error)?;
        let place = |event: &Event| (event.transaction, event.index);
        let mut last = None;
        for event in events {
            if last.replace(place(&event)) != Some(place(&event)) {
                self.condemn(&asking(event, wanted.clone()), reason(&error))?;
            }
        }
        Ok(())
    }

    /// Whether all rows of the target are of one moment, those of this work included.
    pub(crate) fn is_settled(&self) -> bool {
        let read_again = self.outcome.high.as_ref();
        self.progress.is_settled(self.here)
            && self.work.is_settled(self.here)
            && read_again.is_none_or(|high| high <= self.here)
    }

    /// Notes that the row of these copies of an event is to be read again; `false` when there is no room or it was often enough.
    fn postpone(&mut self, events: &[Event]) -> bool {
        let Some(event) = events.first() else { return false };
        let table = &event.source.table;
        let (before, after) = event.source_keys();
        let keys: Vec<(TableId, Key)> =
            before.into_iter().chain(after).map(|key| (table.clone(), key.detached())).collect();
        let waiting: usize = self.progress.postponed.values().map(Vec::len).sum();
        if keys.is_empty() || waiting + self.outcome.postponed.len() + keys.len() > POSTPONED_MAX {
            return false;
        }
        if matches!(self.work.passage, Passage::Postponed(_)) {
            let attempts = self.writer.attempts.entry(keys[0].clone()).or_default();
            *attempts += 1;
            if *attempts >= ATTEMPTS_MAX {
                return false;
            }
        }
        self.outcome.postponed.extend(keys);
        self.writer.stats.events_skipped.fetch_add(1, Relaxed);
        true
    }

    /// A segment is written. Rows whose image is partial and that the target does not have are read again (I13), not more at once
    /// than there is room for (I10). Says what is to be written next, the first of it last.
    pub(crate) async fn written(&mut self, segment: Segment, written: Written) -> Result<Vec<Segment>> {
        self.outcome.rows += written.rows;
        let events = segment.events;
        let moved = events.iter().enumerate().filter(|(_, event)| moved::wants_row(event)).map(|(at, _)| at);
        let mut partial: Vec<usize> = written.partial.iter().copied().chain(moved).collect();
        partial.sort_unstable();
        let mut partial: Vec<Event> = partial.iter().filter_map(|&at| events.get(at).cloned()).collect();
        partial.extend(segment.asks);
        if partial.is_empty() {
            return Ok(vec![]);
        }
        if segment.wanted.is_some() {
            for event in partial {
                let error = Error::new(ErrorKind::PartialRow, "the row read again is not complete either");
                // Never postponed: it was read again just now.
                self.poisoned(vec![event], segment.wanted.clone(), error)?;
            }
            return Ok(vec![]);
        }
        let rest = partial.split_off(partial.len().min(self.writer.reread_size.rows()));
        let rows = self.feed.reread(partial.clone(), self.work.transactions.clone()).await?;
        self.writer.reread_size.weighed(&rows.events);
        if let Some(high) = &rows.high {
            crate::snapshot::raise(&mut self.outcome.high, high);
        }
        for one in &rows.refused {
            self.refuse(&asking(one.event.clone(), Some(partial.clone())), &one.reason)?;
        }
        // A row that is gone was deleted, or given another key, by a transaction that this view has seen and the stream has yet
        // to bring: there is nothing to write.
        let refused = rows.refused.iter().map(|one| &one.event);
        let found: HashSet<_> =
            rows.events.iter().chain(refused).map(|event| (event.transaction, event.index)).collect();
        let gone = partial.iter().filter(|event| !found.contains(&(event.transaction, event.index))).count();
        self.writer.stats.events_skipped.fetch_add(gone as u64, Relaxed);
        let found = Segment { wanted: Some(partial), ..Segment::new(rows.events) };
        let rest = (!rest.is_empty()).then(|| Segment { asks: rest, ..Segment::new(vec![]) });
        Ok(rest.into_iter().chain([found]).collect())
    }

    /// Within a batch, too, events follow an earlier one of their key.
    fn drop_parked(&mut self, segment: &mut Segment) -> Result<()> {
        if self.writer.parked.is_empty() {
            return Ok(());
        }
        let (parked_ones, kept) =
            std::mem::take(&mut segment.events).into_iter().partition(|event| self.is_parked(event));
        segment.events = kept;
        let parked_ones: Vec<Event> = parked_ones;
        parked_ones
            .into_iter()
            .try_for_each(|event| self.condemn(&asking(event, segment.wanted.clone()), parked()))
    }

    fn is_parked(&self, event: &Event) -> bool {
        let snapshot = self.work.transactions.is_empty();
        let index = if snapshot { u64::MAX } else { event.index };
        self.writer.parked.holds(event, self.work.position_of(event, self.here), index)
    }

    fn condemn(&mut self, event: &Event, reason: Reason) -> Result<()> {
        let position = event.place(self.work.position_of(event, self.here));
        let event = event.to_original();
        let id = DeadLetterId::of(&event, &position);
        let keys = self.writer.parked.park_event(&event, &position)?;
        self.outcome.letters.push(DeadLetter {
            pipeline: self.writer.pipeline.clone(),
            id,
            number: 0,
            position,
            keys,
            event,
            reason,
            recorded_micros: self.writer.clock.now_micros(),
        });
        Ok(())
    }
}

/// The event of the stream that asked for a row to be read again, for its dead letter; else the event itself.
fn asking(event: Event, wanted: Option<Vec<Event>>) -> Event {
    let place = (event.transaction, event.index);
    let asked = wanted.into_iter().flatten().find(|one| (one.transaction, one.index) == place);
    asked.unwrap_or(event)
}

fn parked() -> Reason {
    reason(&Error::new(ErrorKind::Parked, "an earlier event of the same key is a dead letter"))
}
