//! Events into an open transaction: folded first, one by one where a constraint minds.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use mongodb::bson::{Document, RawDocumentBuf};
use sluice_types::ports::Written;
use sluice_types::{Error, ErrorKind, Event, Result};

use crate::empty;
use crate::encode::{close, open, ty};
use crate::errors::kind_of_code;
use crate::fold::{Fetched, Fold, Op, address};
use crate::key::{FoldKey, push_raw};
use crate::plan::{ID, ID_NAME, Plan};
use crate::transaction::MongoTx;
use crate::work::{Answer, Work};
use crate::write::{self, Command, Kind, Reply, Step, WriteError, Writer, push_in_list};

/// Ids in one query.
pub(crate) const IDS_MAX: usize = 10_000;

/// How a run of events is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One change per key; rows that should be new are inserted.
    Insert,
    /// One change per key; every row is upserted.
    Upsert,
    /// Event by event, in order.
    InOrder,
}

/// Why a run of events was not written.
enum Trouble {
    /// A row that should be new is there; in no mode but the first.
    There(Arc<str>),
    /// The target refuses a row.
    Refused(Error),
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Failed(error)
    }
}

/// Applies events in order.
pub(crate) async fn write(tx: &mut MongoTx<'_>, events: &[Event]) -> Result<Written> {
    let plans = plans(tx, events)?;
    tx.sink.calm();
    let mut written = Written::default();
    let mut start = 0;
    while start < events.len() {
        let end = same_shapes(&plans, start);
        empty::ahead(tx, events, &plans, start..end).await?;
        run(tx, events, &plans, start..end, &mut written).await?;
        start = end;
    }
    written.partial.sort_unstable();
    written.partial.dedup();
    Ok(written)
}

fn plans(tx: &mut MongoTx<'_>, events: &[Event]) -> Result<Vec<Arc<Plan>>> {
    let mut plans: Vec<Arc<Plan>> = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        let plan = match plans.last() {
            Some(last) if Arc::ptr_eq(&last.schema, &event.table) => last.clone(),
            _ => tx.sink.plan(&event.table).map_err(|error| error.of_event(index))?,
        };
        plans.push(plan);
    }
    Ok(plans)
}

/// The end of the run in which every collection has one shape.
fn same_shapes(plans: &[Arc<Plan>], start: usize) -> usize {
    let mut shapes: HashMap<&str, &Arc<Plan>> = HashMap::new();
    let mut last = &plans[start];
    shapes.insert(&last.collection, last);
    for (index, plan) in plans.iter().enumerate().skip(start) {
        if Arc::ptr_eq(plan, last) {
            continue;
        }
        let known = *shapes.entry(&plan.collection).or_insert(plan);
        if !Arc::ptr_eq(known, plan) {
            return index;
        }
        last = plan;
    }
    plans.len()
}

async fn run(
    tx: &mut MongoTx<'_>,
    events: &[Event],
    plans: &[Arc<Plan>],
    range: Range<usize>,
    written: &mut Written,
) -> Result<()> {
    let here = tx.here();
    let mut mode = Mode::Insert;
    loop {
        match apply(tx, events, plans, range.clone(), mode).await {
            Ok(done) => {
                written.add(done);
                return Ok(());
            }
            Err(Trouble::There(collection)) => {
                tx.sink.surprise(&collection);
                mode = Mode::Upsert;
            }
            // Between the first state and the last a row may have passed by another: in order it may do.
            Err(Trouble::Refused(_)) if mode != Mode::InOrder && range.len() > 1 => mode = Mode::InOrder,
            Err(Trouble::Refused(error) | Trouble::Failed(error)) => return Err(error),
        }
        tx.undo_to(here);
    }
}

async fn apply(
    tx: &mut MongoTx<'_>,
    events: &[Event],
    plans: &[Arc<Plan>],
    range: Range<usize>,
    mode: Mode,
) -> Result<Written, Trouble> {
    if mode != Mode::InOrder {
        return apply_fold(tx, events, plans, range, mode).await;
    }
    // An event that carries values over from the target needs to see what came before it.
    let mut written = Written::default();
    let mut start = range.start;
    for index in range.clone() {
        if Fold::wants(&events[index], &plans[index])?.is_some() {
            for part in [start..index, index..index + 1] {
                written.add(apply_fold(tx, events, plans, part, mode).await?);
            }
            start = index + 1;
        }
    }
    written.add(apply_fold(tx, events, plans, start..range.end, mode).await?);
    Ok(written)
}

async fn apply_fold(
    tx: &mut MongoTx<'_>,
    events: &[Event],
    plans: &[Arc<Plan>],
    range: Range<usize>,
    mode: Mode,
) -> Result<Written, Trouble> {
    let fetched = fetch(tx, events, plans, range.clone()).await?;
    let mut fold = if mode == Mode::InOrder { Fold::unfolded() } else { Fold::default() };
    for index in range {
        fold.add(index, &events[index], &plans[index], &fetched)?;
    }
    let steps = match mode {
        Mode::InOrder => write::in_order(&fold),
        mode => {
            write::folded(&fold, |plan| mode == Mode::Insert && tx.sink.expects_new_rows(&plan.collection))
        }
    };
    let mut written = Written { rows: 0, partial: std::mem::take(&mut fold.partial) };
    let writer = Writer { events, fold: &fold, steps: &steps, limits: tx.limits };
    let mut next = 0;
    while next < steps.len() {
        let Command { kind, collection, body, steps: done } = writer.command(next)?;
        next = done.end;
        let Answer::Written(reply) = tx.run(Work::Write(body), "the target can't be written").await? else {
            continue;
        };
        if let Some(error) = &reply.error {
            return Err(refusal(&fold, &steps[done], kind, mode, error));
        }
        let missing = missing(tx, &fold, &steps[done], kind, &collection, &reply).await?;
        written.partial.extend(missing);
        written.rows += reply.count;
    }
    Ok(written)
}

/// The documents whose key changes while not all of their values are known.
async fn fetch(
    tx: &mut MongoTx<'_>,
    events: &[Event],
    plans: &[Arc<Plan>],
    range: Range<usize>,
) -> Result<Fetched> {
    let mut wanted: HashMap<usize, (Arc<Plan>, Vec<Vec<u8>>)> = HashMap::new();
    for index in range {
        let found = Fold::wants(&events[index], &plans[index]).map_err(|error| error.of_event(index))?;
        if let Some(id) = found {
            let plan = &plans[index];
            wanted.entry(address(plan)).or_insert_with(|| (plan.clone(), vec![])).1.push(id);
        }
    }
    let mut fetched = Fetched::new();
    for (plan, (of_plan, ids)) in wanted {
        for some in ids.chunks(IDS_MAX) {
            let some: Vec<&[u8]> = some.iter().map(Vec::as_slice).collect();
            for document in tx.find(&of_plan.collection, &some, false).await? {
                fetched.insert((plan, id_of(&document)), Arc::new(document));
            }
        }
    }
    Ok(fetched)
}

fn id_of(document: &RawDocumentBuf) -> FoldKey {
    let mut id = vec![];
    if let Ok(Some(stored)) = document.get(ID) {
        push_raw(&mut id, stored);
    }
    FoldKey::new(&id)
}

/// `{_id: {$in: [...]}}`
pub(crate) fn with_ids(ids: &[&[u8]]) -> Result<Document> {
    let mut out = vec![];
    let at = open(&mut out);
    out.push(ty::DOCUMENT);
    out.extend_from_slice(ID_NAME);
    let condition = open(&mut out);
    out.push(ty::ARRAY);
    out.extend_from_slice(b"$in\0");
    let list = open(&mut out);
    for (index, id) in ids.iter().enumerate() {
        push_in_list(&mut out, index, id);
    }
    close(&mut out, list);
    close(&mut out, condition);
    close(&mut out, at);
    let made = RawDocumentBuf::from_bytes(out).ok().and_then(|raw| raw.to_document().ok());
    made.ok_or_else(|| Error::new(ErrorKind::Internal, "a query was not written well"))
}

/// A statement that the server refuses: an event's fault, or a row that should have been new.
fn refusal(fold: &Fold, steps: &[Step], kind: Kind, mode: Mode, error: &WriteError) -> Trouble {
    let entry = match kind {
        Kind::Insert | Kind::Update => steps.get(error.index).map(|step| &fold.entries[step.entry]),
        Kind::Delete | Kind::Truncate => steps.first().map(|step| &fold.entries[step.entry]),
    };
    let Some(entry) = entry else {
        return Trouble::Failed(Error::new(
            ErrorKind::Corrupt,
            "the server refuses a statement that was not sent",
        ));
    };
    if mode == Mode::Insert && kind == Kind::Insert && error.is_same_id() {
        return Trouble::There(entry.plan.collection.clone());
    }
    let table = &entry.plan.schema.table;
    let what = match (kind_of_code(error.code), error.index_fields.as_slice()) {
        (ErrorKind::RowRefused, _) => "the collection's validation refuses the document".to_string(),
        (ErrorKind::Constraint, fields) => {
            format!("a unique index of the target over ({}) refuses the document", fields.join(", "))
        }
        (ErrorKind::ValueUnrepresentable, _) => "the target can't hold the document".to_string(),
        (kind, _) => {
            let what = format!("the target can't be written: error {}", error.code);
            return Trouble::Failed(Error::new(kind, what).at_table(table));
        }
    };
    let failed = Error::new(kind_of_code(error.code), what).at_table(table);
    let failed = failed.remedy(format!(
        "The server's error is {}; change the row on its way, or the collection",
        error.code
    ));
    Trouble::Refused(failed.of_event(entry.layers.last()))
}

/// The events of a command that found no document to change (I13). The server says only how many it found.
async fn missing(
    tx: &mut MongoTx<'_>,
    fold: &Fold,
    steps: &[Step],
    kind: Kind,
    collection: &Arc<str>,
    reply: &Reply,
) -> Result<Vec<usize>> {
    if kind != Kind::Update || reply.count == steps.len() as u64 {
        return Ok(vec![]);
    }
    let patches: Vec<_> =
        steps.iter().map(|step| &fold.entries[step.entry]).filter(|entry| entry.op == Op::Patch).collect();
    let mut there = std::collections::HashSet::new();
    for some in patches.chunks(IDS_MAX) {
        let ids: Vec<&[u8]> = some.iter().map(|entry| &fold.arena[entry.id.clone()]).collect();
        there.extend(tx.find(collection, &ids, true).await?.iter().map(id_of));
    }
    let gone =
        patches.into_iter().filter(|entry| !there.contains(&FoldKey::new(&fold.arena[entry.id.clone()])));
    Ok(gone.flat_map(|entry| entry.layers.events().iter().map(|event| *event as usize)).collect())
}
