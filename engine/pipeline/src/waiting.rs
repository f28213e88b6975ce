//! Events that a constraint of the target refuses and that a later one of their transaction may make good: a child before its parent,
//! where the source looks at its constraints at the end of the transaction.
//!
//! While the events of a failing transaction are looked at one by one, such an event waits until the rest of its transaction is written,
//! and with it every later event of its key: order is kept per key (I4).

use std::collections::HashSet;

use sluice_types::ports::SinkTx;
use sluice_types::{Change, Error, Event, Key, Result, TableId};

use crate::poison::{Segment, Writing, belong, write_whole};

/// How often those that wait are gone through as long as one of them gets through: each may be what another waits for.
const ROUNDS_MAX: usize = 8;

/// Copies of one event, or truncates that belong together.
pub(crate) struct Waits {
    pub events: Vec<Event>,
    /// The events that wanted these rows, when they were read again.
    pub wanted: Option<Vec<Event>>,
    /// Why it was refused; `None`: it follows one that was.
    pub error: Option<Error>,
}

/// Those that wait, in the order of the log.
#[derive(Default)]
pub(crate) struct Waiting {
    all: Vec<Waits>,
    keys: HashSet<(TableId, Key)>,
    /// A truncate waits, which has to do with every row.
    everything: bool,
}

impl Waiting {
    /// One more.
    pub fn push(&mut self, waits: Waits) {
        self.keys.extend(waits.events.iter().flat_map(keys_of));
        self.everything |= waits.events.iter().any(is_truncate);
        self.all.push(waits);
    }

    /// An event that follows an earlier one; together with the one before it where they `belong` together.
    pub fn follow(&mut self, event: Event, wanted: Option<Vec<Event>>, belong: fn(&Event, &Event) -> bool) {
        let last = self.all.last_mut().filter(|last| last.error.is_none());
        let last = last.filter(|last| last.events.last().is_some_and(|last| belong(last, &event)));
        match last {
            Some(last) => last.events.push(event),
            None => self.push(Waits { events: vec![event], wanted, error: None }),
        }
    }

    /// Whether it has to follow an earlier event that waits: one of its key, or, for a truncate, any.
    pub fn holds(&self, event: &Event) -> bool {
        if self.all.is_empty() {
            return false;
        }
        self.everything || is_truncate(event) || keys_of(event).any(|key| self.keys.contains(&key))
    }

    /// Whether nothing of this transaction, or of an earlier one, is still to come when this event is next.
    pub fn is_over_at(&self, next: Option<&Event>) -> bool {
        let Some(first) = self.all.first().and_then(|waits| waits.events.first()) else { return false };
        next.is_none_or(|next| next.transaction > first.transaction)
    }

    /// All of them; nothing waits any more.
    pub fn take(&mut self) -> Vec<Waits> {
        self.keys.clear();
        self.everything = false;
        std::mem::take(&mut self.all)
    }
}

impl Writing<'_> {
    /// Events whose key has an earlier one that waits follow it.
    pub(crate) fn hold_back(&mut self, segment: &mut Segment) {
        let mut kept: Vec<Event> = Vec::with_capacity(segment.events.len());
        for event in std::mem::take(&mut segment.events) {
            if segment.gives_way || !self.waiting.holds(&event) {
                kept.push(event);
            } else {
                self.waiting.follow(event, segment.wanted.clone(), belong);
            }
        }
        segment.events = kept;
    }

    /// The rest of their transaction is written: those that wait are tried again, together and then one by one. What fails now has
    /// nothing to wait for. Says what is to be written next, the first of it last.
    pub(crate) async fn last_chance(&mut self, tx: &mut dyn SinkTx, patient: bool) -> Result<Vec<Segment>> {
        let mut waiting = self.waiting.take();
        let mut next = Vec::new();
        let together = waiting.iter().flat_map(|waits| waits.events.iter().cloned()).collect();
        if waiting.len() > 1
            && waiting.iter().all(|waits| waits.wanted.is_none())
            && let Some(made) = self.try_again(tx, Segment::new(together), patient).await?.ok()
        {
            return Ok(made);
        }
        for _ in 0..ROUNDS_MAX {
            let before = waiting.len();
            // Order is kept per key.
            let mut still = Waiting::default();
            for mut waits in waiting {
                if waits.events.iter().any(|event| still.holds(event)) {
                    still.push(waits);
                    continue;
                }
                let segment = Segment { wanted: waits.wanted.clone(), ..Segment::new(waits.events.clone()) };
                match self.try_again(tx, segment, patient).await? {
                    Ok(made) => next.extend(made.into_iter().rev()),
                    Err(error) => {
                        waits.error = Some(error);
                        still.push(waits);
                    }
                }
            }
            waiting = still.take();
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        for Waits { events, wanted, error } in waiting {
            match error {
                Some(error) => self.condemned(events, wanted, error)?,
                None => next.push(Segment { wanted, ..Segment::new(events) }),
            }
        }
        next.reverse();
        Ok(next)
    }

    async fn try_again(
        &mut self,
        tx: &mut dyn SinkTx,
        segment: Segment,
        patient: bool,
    ) -> Result<Result<Vec<Segment>>> {
        match write_whole(tx, &segment.events, self.is_settled(), patient).await? {
            Ok(written) => Ok(Ok(self.written(segment, written).await?)),
            Err(error) => {
                tx.rollback_to_savepoint().await?;
                Ok(Err(error))
            }
        }
    }
}

fn is_truncate(event: &Event) -> bool {
    matches!(event.change, Change::Truncate)
}

fn keys_of(event: &Event) -> impl Iterator<Item = (TableId, Key)> + use<> {
    let (before, after) = event.source_keys();
    let table = event.source.table.clone();
    before.into_iter().chain(after).map(move |key| (table.clone(), key))
}
