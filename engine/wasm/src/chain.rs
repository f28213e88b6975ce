//! The chain of one table: its steps in order, type-checked from end to end before a row flows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sluice_types::ports::{Opened, Rejection};
use sluice_types::{Change, Error, ErrorKind, Event, Result, Row, TableId, TableSchema, Value};

use crate::inspect::StepLineage;
use crate::instance::Instances;
use crate::plan::StepInput;
use crate::step::{Flow, Step, StepVersion};

/// The steps of one table, opened on one shape of it.
pub(crate) struct TableChain {
    pub(crate) source: Arc<TableSchema>,
    pub(crate) entry: Arc<TableSchema>,
    steps: Vec<Step>,
    outputs: Vec<Arc<TableSchema>>,
    slots: usize,
    /// Of any step ([`crate::plan::CheckedPlan::relies_on_before`]).
    relies_on_before: bool,
}

/// What a chain made of the events of its table, each with the place that the event it came from had.
pub(crate) struct Made {
    pub(crate) events: Vec<Event>,
    /// `None`: as many as before, at the same places.
    pub(crate) origins: Option<Vec<u32>>,
    pub(crate) rejected: Vec<(u32, Rejection)>,
}

impl TableChain {
    /// Opens every step on the output of the one before.
    ///
    /// # Errors
    /// Those of the first step that can't be opened; the steps behind it can't be known.
    pub(crate) fn open(
        versions: &[StepVersion],
        source: &Arc<TableSchema>,
        entry: &Arc<TableSchema>,
        instances: &mut Instances,
    ) -> Result<TableChain> {
        let first = StepInput::first(source, entry);
        let slots = first.slots;
        let mut steps: Vec<Step> = Vec::with_capacity(versions.len());
        let mut routes: Vec<Arc<str>> = Vec::new();
        let mut base = 0;
        for version in versions {
            let input = steps.last().map_or(&first, Step::output).clone();
            let opened = Step::open(version.clone(), input, base, instances);
            let counted = opened.and_then(|step| {
                routes.extend(step.plan().into_iter().flat_map(|plan| plan.routes.iter().cloned()));
                steps.push(step);
                count_routes(routes.len(), entry)
            });
            base = match counted {
                Ok(count) => count,
                Err(error) => {
                    steps.iter().for_each(|step| step.close(instances));
                    return Err(error);
                }
            };
        }
        let default = steps.last().map_or(&first, Step::output).schema.clone();
        let routed =
            |route: &Arc<str>| Arc::new(TableSchema { table: TableId::parse(route), ..(*default).clone() });
        let outputs = std::iter::once(default.clone()).chain(routes.iter().map(routed)).collect();
        let relies_on_before = steps.iter().filter_map(Step::plan).any(|plan| plan.relies_on_before);
        Ok(TableChain {
            source: source.clone(),
            entry: entry.clone(),
            steps,
            outputs,
            slots,
            relies_on_before,
        })
    }

    pub(crate) fn opened(&self) -> Opened {
        let output = self.steps.last().map(Step::output);
        let columns = output.iter().flat_map(|output| output.schema.columns.iter().zip(&output.facts));
        Opened {
            outputs: self.outputs.clone(),
            unstable: columns
                .filter(|(_, facts)| !facts.deterministic)
                .map(|(it, _)| it.name.clone())
                .collect(),
            active: self.steps.iter().any(|step| step.plan().is_some()),
        }
    }

    pub(crate) fn lineage(&self) -> Vec<StepLineage> {
        self.steps.iter().map(Step::lineage).collect()
    }

    pub(crate) fn outputs(&self) -> &[Arc<TableSchema>] {
        &self.outputs
    }

    pub(crate) fn close(&self, instances: &mut Instances) {
        self.steps.iter().for_each(|step| step.close(instances));
    }

    /// Applies every step; [`TableChain::finish`] or [`TableChain::restore`] ends it. On an error the events come back as they were.
    pub(crate) fn apply(
        &mut self,
        mut events: Vec<Event>,
        instances: &mut Instances,
    ) -> Result<Flow, (Vec<Event>, Error)> {
        if self.relies_on_before
            && let Some(event) = events.iter().find(|event| !self.has_whole_before(event))
        {
            let error = partial_before(event);
            return Err((events, error));
        }
        for event in &mut events {
            event.change.images_mut().for_each(|row| fit(row, self.slots));
        }
        let mut flow = Flow::new(events);
        for step in &mut self.steps {
            if let Err(error) = step.apply(&mut flow, instances) {
                return Err((self.restore(flow), error));
            }
        }
        Ok(flow)
    }

    /// Whether the image before is as the chain was promised it: a log that is written otherwise by now may still hold changes of
    /// before that.
    fn has_whole_before(&self, event: &Event) -> bool {
        let before = match &event.change {
            Change::Update { before, .. } => before.as_ref(),
            Change::Delete(before) => Some(before),
            Change::Snapshot(_) | Change::Insert(_) | Change::Truncate => return true,
        };
        before.is_some_and(|before| {
            self.entry.columns.iter().all(|column| before.get(column.slot).is_present())
        })
    }

    /// The events as they leave.
    pub(crate) fn finish(&self, mut flow: Flow) -> Made {
        if !flow.rejected.is_empty() {
            drop_rejected(&mut flow);
        }
        match &flow.routes {
            None => flow.events.iter_mut().for_each(|event| event.table = self.outputs[0].clone()),
            Some(routes) => {
                for (event, route) in flow.events.iter_mut().zip(routes) {
                    event.table = self.outputs[usize::from(*route)].clone();
                }
            }
        }
        // One reason per event, the first; and of what was kept of it the earliest, which is the event as it was handed over.
        let mut reasons = BTreeMap::new();
        for (origin, reason) in flow.rejected {
            reasons.entry(origin).or_insert(reason);
        }
        let mut rejected = Vec::with_capacity(reasons.len());
        for (origin, event) in flow.kept {
            if let Some(reason) = reasons.remove(&origin) {
                rejected.push((origin, Rejection { event: self.restored(event), reason }));
            }
        }
        rejected.sort_by_key(|(origin, _)| *origin);
        Made { events: flow.events, origins: flow.origins, rejected }
    }

    /// The events as they were handed over.
    pub(crate) fn restore(&self, flow: Flow) -> Vec<Event> {
        let mut slots: Vec<Option<Event>> = Vec::new();
        slots.resize_with(flow.handed_over, || None);
        // What was kept comes first: it is from before the event was taken apart.
        let kept = flow.kept.into_iter();
        let origins = flow.origins;
        let going = flow.events.into_iter().enumerate();
        let going =
            going.map(|(at, event)| (origins.as_ref().map_or(at as u32, |origins| origins[at]), event));
        for (origin, event) in kept.chain(going) {
            if let Some(slot) = slots.get_mut(origin as usize) {
                slot.get_or_insert_with(|| event);
            }
        }
        slots.into_iter().flatten().map(|event| self.restored(event)).collect()
    }

    /// An event without what the steps appended.
    fn restored(&self, mut event: Event) -> Event {
        event.change.images_mut().for_each(|row| row.truncate(self.slots));
        event.table = self.entry.clone();
        event
    }
}

fn partial_before(event: &Event) -> Error {
    let what =
        "a change was made while the log did not keep whole images of before, which the transforms need";
    // Not `schema-changed`: nobody can decide that the event is whole, and to resume must not pass for a decision about the table.
    Error::new(ErrorKind::CaptureBroken, what)
        .at_table(&event.source.table)
        .remedy("Read the table again: sluice resnapshot, then sluice resume")
}

/// The routes of the steps so far, where the number of every one of them is one of 16 bits.
fn count_routes(routes: usize, entry: &TableSchema) -> Result<u16> {
    u16::try_from(routes).map_err(|_| {
        let what = format!("the steps of this table have more than {} routes together", u16::MAX);
        Error::new(ErrorKind::PluginRefused, what)
            .remedy("Let fewer steps route, or each of them to fewer tables")
            .at_table(&entry.table)
    })
}

/// Gives a row exactly so many values: written ones are appended, so their place must be known.
fn fit(row: &mut Row, slots: usize) {
    let values = row.values().len();
    if values > slots {
        row.truncate(slots);
    }
    for _ in values..slots {
        row.push(Value::Absent);
    }
}

/// The whole event is rejected, so copies of it that a step made don't go on either.
fn drop_rejected(flow: &mut Flow) {
    let Some(origins) = &mut flow.origins else { return };
    let rejected: HashSet<u32> = flow.rejected.iter().map(|(origin, _)| *origin).collect();
    if !origins.iter().any(|origin| rejected.contains(origin)) {
        return;
    }
    let stays: Vec<bool> = origins.iter().map(|origin| !rejected.contains(origin)).collect();
    let mut at = stays.iter();
    flow.events.retain(|_| *at.next().unwrap_or(&true));
    let mut at = stays.iter();
    origins.retain(|_| *at.next().unwrap_or(&true));
    if let Some(routes) = &mut flow.routes {
        let mut at = stays.iter();
        routes.retain(|_| *at.next().unwrap_or(&true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_routes_than_numbers_are_a_clear_error() {
        let table = TableSchema {
            table: TableId::parse("people"),
            database: "d".into(),
            kind: "memory".into(),
            version: 1,
            columns: Vec::new(),
            key: Vec::new(),
            before_images: false,
        };
        assert_eq!(count_routes(65_535, &table).unwrap(), u16::MAX);
        let error = count_routes(65_536, &table).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PluginRefused);
        assert!(error.what().contains("65535 routes"), "{error}");
    }
}
