//! Who wins. Pure: the same two sides, the same decision (I9). What a strategy can't tell apart goes to the source.

use std::cmp::Ordering;

use sluice_types::compare::{order, same};
use sluice_types::ports::Decision;
use sluice_types::{Change, ConflictKind, Event, Row, TableSchema, Value};

use super::same::column_of;
use crate::spec::ConflictStrategy;

pub(super) fn decide(
    strategy: &ConflictStrategy,
    kind: ConflictKind,
    event: &Event,
    existing: Option<&Row>,
) -> Decision {
    let schema = &event.table;
    match (strategy, existing) {
        (ConflictStrategy::SourceWins, _) => Decision::Incoming,
        (ConflictStrategy::TargetWins, _) => Decision::Existing,
        // Both sides say that the row is gone.
        (ConflictStrategy::Park, None) if kind == ConflictKind::DeleteMissing => Decision::Incoming,
        (ConflictStrategy::Park, _) => Decision::Park("the policy leaves it to somebody".into()),
        // The source has a row to compare, and the target none.
        (_, None) => Decision::Incoming,
        (ConflictStrategy::Latest(_) | ConflictStrategy::Version(_), Some(existing)) => {
            let later = column_of(strategy, schema).and_then(|slot| {
                let incoming = incoming(&event.change, slot)?;
                order(existing.get(slot), incoming)
            });
            if later == Some(Ordering::Greater) { Decision::Existing } else { Decision::Incoming }
        }
        (ConflictStrategy::MergeColumns, Some(existing)) => match (&event.change, kind) {
            (Change::Update { before: Some(before), after }, ConflictKind::UpdateDiffers) => {
                merge(schema, before, after, existing)
            }
            // A row that is new, or deleted, has no columns that only one side has changed.
            _ => Decision::Incoming,
        },
    }
}

/// What the source's side says in a column: after the change, or what the log says was there before where the change left it alone.
fn incoming(change: &Change, slot: u32) -> Option<&Value> {
    let sides = match change {
        Change::Update { before, after } => [Some(after), before.as_ref()],
        other => [other.after(), other.identity()],
    };
    sides.into_iter().flatten().map(|row| row.get(slot)).find(|value| value.is_present())
}

/// Three-way: a column that only the target has changed stays as it is there; one that the source has changed gets the source's value.
fn merge(schema: &TableSchema, before: &Row, after: &Row, existing: &Row) -> Decision {
    let mut values = after.values().to_vec();
    values.resize(values.len().max(schema.slots()), Value::Absent);
    let (mut kept, mut taken) = (false, false);
    for (index, column) in schema.columns.iter().enumerate() {
        let (base, new, there) = (before.get(column.slot), after.get(column.slot), existing.get(column.slot));
        if schema.is_key(index) || same(new, there) {
            continue;
        }
        let unchanged = !new.is_present() || (base.is_present() && same(base, new));
        if !unchanged {
            taken = true;
        } else if let Some(value) = values.get_mut(column.slot as usize) {
            kept = true;
            *value = there.clone();
        }
    }
    let moves = schema.key_of(before) != schema.key_of(after);
    match (kept, taken || moves) {
        (false, _) => Decision::Incoming,
        (true, false) => Decision::Existing,
        (true, true) => Decision::Merged(Row::new(values)),
    }
}
