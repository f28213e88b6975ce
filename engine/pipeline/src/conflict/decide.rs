//! What a person decides of a parked conflict, carried out.
//!
//! The target is written in a transaction of its own, and then the state is told. A crash in between leaves the conflict parked and
//! the row as it was decided: decided once more the same way it finds the row so, and tells the state.

use sluice_types::ports::{Decision, SinkTx};
use sluice_types::{Change, Conflict, ConflictId, ConflictKind, Error, ErrorKind, Event, Key, Result, Row};

use super::held::{Held, kind_of};
use super::rows::{keys_of, over};
use super::same::Comparison;
use crate::line::Ports;
use crate::spec::LineSpec;

/// Which row is to be in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The source's: what the parked change, and those that came after it, make of it.
    Source,
    /// The target's: it stays.
    Target,
    /// The source's with other values in some columns, of the target's row where the source has deleted it. In the shape of
    /// [`Conflict::incoming`], absent in the other columns.
    Values(Row),
}

/// What somebody has decided of a conflict.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Of which.
    pub id: ConflictId,
    /// What.
    pub choice: Choice,
    /// Who.
    pub by: String,
    /// Also when the target's row has been changed since the conflict was recorded.
    pub force: bool,
}

/// What the conflict's rows are now, and what is to become of them.
struct Plan {
    /// The key under which the recorded row was.
    key: Key,
    /// The row there now.
    there: Option<Row>,
    /// What to write, in order.
    events: Vec<Event>,
}

/// Carries out a decision. The line must stand still: a running one is asked by [`crate::LineHandle::decide`].
///
/// Errors: `conflict-missing`; `conflict-refused` where it is decided already, another of its key waits before it, the line has not
/// committed what it came with, its row was changed since (the record is brought up to date then), or the row to be written is not known
/// whole; `fenced`; and those of the target, which then has not changed.
pub async fn decide_conflict(spec: &LineSpec, ports: &Ports, verdict: &Verdict) -> Result<()> {
    let mut sink = ports.target.sink(&ports.context(spec)).await?;
    let mut tx = sink.begin().await?;
    // Nobody else decides before this ends.
    let checkpoint = tx.checkpoint(&spec.pipeline).await?;
    let state = &*ports.state;
    let Some(mut conflict) = state.conflict(&spec.pipeline, &verdict.id).await? else {
        let what = format!("there is no conflict `{}`", verdict.id);
        return Err(Error::new(ErrorKind::ConflictMissing, what)
            .remedy("`sluice conflicts list` shows what there is."));
    };
    let at_table = |error: Error| error.at_table(&conflict.incoming.source.table);
    if !conflict.is_parked() {
        let what = format!("it is decided already: {}, by {}", conflict.decision.name(), conflict.by);
        return Err(at_table(refused(what, "There is nothing to do.")));
    }
    if let Some(first) = Held::load(state, &spec.pipeline).await?.before(&conflict) {
        let remedy = format!("Decide `{first}` first.");
        return Err(at_table(refused("another conflict of its key waits before it", remedy)));
    }
    let Some(checkpoint) = checkpoint else {
        return Err(at_table(refused(
            "the target has no checkpoint of this pipeline",
            "Run the pipeline first.",
        )));
    };
    if checkpoint.install != *state.install() {
        return Err(Error::new(
            ErrorKind::Fenced,
            "another installation has the pipeline in this target now",
        ));
    }
    let (position, index) = conflict.upto();
    let committed = position <= checkpoint.position || (index != u64::MAX && checkpoint.part > index);
    if !committed && !verdict.force {
        let remedy =
            "Let the pipeline go on until it has, and decide then; or decide all the same with `--force`.";
        return Err(at_table(refused("the line has not committed yet what the conflict came with", remedy)));
    }
    tx.savepoint().await?;
    let plan = plan(&mut *tx, &conflict, verdict).await.map_err(at_table)?;
    let Some(plan) = plan else {
        drop(tx);
        return changed_since(ports, conflict, verdict, sink).await;
    };
    if !plan.events.is_empty() {
        let written = tx.write(&plan.events).await?;
        if !written.partial.is_empty() {
            return Err(at_table(not_whole()));
        }
    }
    tx.commit().await?;
    conflict.decision = match &verdict.choice {
        Choice::Source => Decision::Incoming,
        Choice::Target => Decision::Existing,
        Choice::Values(_) => {
            let merged = plan.events.last().and_then(|event| event.change.after()).cloned();
            merged.or(plan.there.clone()).map_or(Decision::Incoming, Decision::Merged)
        }
    };
    // What it was decided over.
    if !plan.key.0.is_empty() && verdict.force {
        conflict.existing = plan.there;
    }
    conflict.by = verdict.by.clone();
    conflict.decided_micros = Some(ports.clock.now_micros());
    state.keep_conflicts(vec![conflict]).await
}

fn refused(what: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConflictRefused, what.into()).remedy(remedy.into())
}

fn not_whole() -> Error {
    refused(
        "the log did not carry the source's row whole, and the target does not have it",
        "Give the missing columns with `--values`, leave the row as it is with `--target`, or read the table again with `sluice resnapshot`.",
    )
}

/// The record gets the row that is there now, so that whoever decides next has seen it.
async fn changed_since(
    ports: &Ports,
    mut conflict: Conflict,
    verdict: &Verdict,
    mut sink: Box<dyn sluice_types::ports::Sink>,
) -> Result<()> {
    let mut tx = sink.begin().await?;
    let key = conflict.key();
    conflict.existing = tx.current(&conflict.incoming.table, &[key]).await?.pop().flatten();
    drop(tx);
    conflict.kind = kind_of(&conflict);
    let table = conflict.incoming.source.table.clone();
    ports.state.keep_conflicts(vec![conflict]).await?;
    let remedy = format!(
        "Look at it again (`sluice conflicts show PIPELINE {} --values`) and decide again; `--force` decides whatever is there.",
        verdict.id
    );
    Err(refused("the target's row was changed since the conflict was recorded", remedy).at_table(&table))
}

/// What is to be written; `None`: the target's row is neither what was recorded nor what was decided.
async fn plan(tx: &mut dyn SinkTx, conflict: &Conflict, verdict: &Verdict) -> Result<Option<Plan>> {
    let incoming = Event { transaction: 0, index: 0, original: None, ..conflict.incoming.clone() };
    let schema = incoming.table.clone();
    let key = conflict.key();
    let Some((old, new)) = keys_of(&incoming) else { return Err(not_whole()) };
    let mut keys = vec![old.clone()];
    keys.extend(new.clone());
    let rows = tx.current(&schema, &keys).await?;
    let row =
        |key: &Key| keys.iter().position(|one| one == key).and_then(|at| rows.get(at).cloned().flatten());
    let there = row(&key);
    let mut event = incoming;
    if let Choice::Values(values) = &verdict.choice {
        event.change = with_values(&event, values, there.as_ref());
    }
    let after = event.change.after().cloned();
    let complete = after.as_ref().is_none_or(|after| schema.is_complete(after));
    let mut compared = Comparison { tx, schema: &schema, unstable: &[] };
    // Whether everything is as it was decided already: then it was carried out, and the state was not told.
    let is_so = verdict.choice != Choice::Target
        && match (&after, row(new.as_ref().unwrap_or(&old))) {
            (Some(after), Some(row)) => {
                !compared.differs(after, &row).await? && (new.is_none() || row_is_gone(&rows))
            }
            (None, None) => true,
            _ => false,
        };
    if is_so {
        return Ok(Some(Plan { key, there, events: vec![] }));
    }
    let as_recorded = match (&conflict.existing, &there) {
        (Some(recorded), Some(there)) => !compared.differs(recorded, there).await?,
        (recorded, there) => recorded.is_none() && there.is_none(),
    };
    if !as_recorded && !verdict.force {
        return Ok(None);
    }
    // Another row under the key that this one gets, of which nobody has been told.
    let in_the_way = new.as_ref().and_then(&row).filter(|_| conflict.kind != ConflictKind::InsertExists);
    if in_the_way.is_some() && verdict.choice != Choice::Target && !verdict.force {
        return Err(refused(
            "the target has another row under the key that this one gets",
            "Remove it in the target, or replace it with `--force`.",
        ));
    }
    let delete = |row: Row| Event { change: Change::Delete(row), ..event.clone() };
    let mut events = vec![];
    if verdict.choice == Choice::Target {
        // The row has left its old key at the source, whoever has the new one.
        let moved = conflict.kind == ConflictKind::InsertExists && new.is_some();
        events.extend(event.change.identity().filter(|_| moved).cloned().map(delete));
    } else {
        let has_row = row(&old).is_some();
        let is_update = matches!(event.change, Change::Update { .. });
        if !(complete || is_update && has_row) {
            return Err(not_whole());
        }
        events.extend(new.as_ref().and_then(row).map(delete));
        events.push(event.clone());
    }
    Ok(Some(Plan { key, there, events }))
}

/// Whether the row under the first of these keys, the old one, is gone.
fn row_is_gone(rows: &[Option<Row>]) -> bool {
    rows.first().is_some_and(Option::is_none)
}

/// The change with other values in some columns.
fn with_values(event: &Event, values: &Row, there: Option<&Row>) -> Change {
    let schema = &event.table;
    let below = |row: &Row| match there {
        Some(there) => over(schema, row, there),
        None => row.clone(),
    };
    match &event.change {
        Change::Update { before, after } => {
            Change::Update { before: before.clone(), after: over(schema, values, after) }
        }
        Change::Insert(row) | Change::Snapshot(row) | Change::Delete(row) => {
            // A deleted row comes back as the target has it.
            let image = if matches!(event.change, Change::Delete(_)) {
                below(&Row::new(vec![]))
            } else {
                row.clone()
            };
            Change::Insert(over(schema, values, &over(schema, &image, row)))
        }
        Change::Truncate => Change::Truncate,
    }
}
