//! Applies the transforms, and finds the event that a plugin fails on by halving.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use sluice_types::ports::{ApplyFailed, Clock, Transform};
use sluice_types::{Digest, Disposition, Error, ErrorKind, Event, Reason, Result};

use crate::feed::Refused;
use crate::status::Stats;

/// Poison events of one batch, of plugins and target together; one more opens the circuit: the line pauses.
pub const POISON_EVENTS_MAX: usize = 16;

/// What a chain made of some events.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub events: Vec<Event>,
    pub refused: Vec<Refused>,
    /// How many of the refused a plugin failed on.
    pub poison: usize,
}

/// Applies the chains to events, at most `rows` a call. A plugin is deterministic, so what fails is not tried again but halved,
/// down to the event that is to blame.
pub(crate) async fn apply(
    transform: &mut dyn Transform,
    events: Vec<Event>,
    rows: usize,
    clock: &dyn Clock,
    stats: &Stats,
) -> Result<Applied> {
    let started = clock.now_micros();
    stats.events_transformed.fetch_add(events.len() as u64, Relaxed);
    let mut applied = Applied::default();
    let mut ahead = slices(events, rows);
    while let Some(events) = ahead.pop() {
        match transform.apply(events).await {
            Ok(transformed) => {
                applied.events.extend(transformed.events);
                let rejected = transformed.rejected.into_iter();
                applied.refused.extend(rejected.map(|one| Refused { event: one.event, reason: one.reason }));
            }
            Err(ApplyFailed { error, .. }) if error.disposition() != Disposition::DeadLetter => {
                return Err(error);
            }
            Err(ApplyFailed { mut events, .. }) if events.len() > 1 => {
                let second = events.split_off(events.len() / 2);
                ahead.extend([second, events]);
            }
            Err(ApplyFailed { events, error }) => {
                applied.poison += 1;
                circuit(applied.poison, &error)?;
                let reason = reason(&error);
                applied
                    .refused
                    .extend(events.into_iter().map(|event| Refused { event, reason: reason.clone() }));
            }
        }
    }
    applied.keep_events_whole();
    let nanos = (clock.now_micros() - started).max(0) as u64 * 1000;
    stats.transform_nanos.fetch_add(nanos, Relaxed);
    Ok(applied)
}

impl Applied {
    /// Copies of an event that was refused elsewhere in the chain don't go on: the whole event is the dead letter.
    fn keep_events_whole(&mut self) {
        if self.refused.is_empty() {
            return;
        }
        let mut seen = HashSet::new();
        self.refused.retain(|one| seen.insert((one.event.transaction, one.event.index)));
        self.events.retain(|event| !seen.contains(&(event.transaction, event.index)));
        self.refused.sort_by_key(|one| (one.event.transaction, one.event.index));
    }
}

/// In slices of at most `rows`, the first one last.
fn slices(mut events: Vec<Event>, rows: usize) -> Vec<Vec<Event>> {
    let mut slices = vec![];
    while events.len() > rows {
        let at = (events.len() - 1) / rows * rows;
        slices.push(events.split_off(at));
    }
    if !events.is_empty() {
        slices.push(events);
    }
    slices
}

/// An error once there are more poison events than a batch may have.
pub(crate) fn circuit(poison: usize, last: &Error) -> Result<()> {
    if poison <= POISON_EVENTS_MAX {
        return Ok(());
    }
    let what =
        format!("more than {POISON_EVENTS_MAX} events of one batch fail, the last with {}", last.kind());
    let place = last.place().clone();
    Err(Error::new(ErrorKind::TooManyPoison, what)
        .at(|here| *here = place)
        .remedy("Mend the cause (plugin, target table), then `sluice resume`."))
}

/// What a dead letter says of an error.
pub(crate) fn reason(error: &Error) -> Reason {
    let plugin = error.place().plugin.as_deref().and_then(|plugin| {
        let (name, digest) = plugin.split_once('@')?;
        Some((name.to_string(), Digest::parse(digest)?))
    });
    Reason {
        code: error.kind().code().to_string(),
        what: error.what().to_string(),
        plugin,
        column: error.place().column.clone(),
        guest_text: error.guest_text().map(str::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_keep_order_and_limit() {
        let schema = crate::testing::schema("t");
        let events = (0..7).map(|n| crate::testing::insert(&schema, n, n as u64)).collect();
        let mut slices = slices(events, 3);
        let mut order = vec![];
        while let Some(slice) = slices.pop() {
            assert!(slice.len() <= 3);
            order.extend(slice.into_iter().map(|event| event.index));
        }
        assert_eq!(order, (0..7).collect::<Vec<_>>());
    }
}
