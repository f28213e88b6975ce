//! Rows that change their key.
//!
//! Where the target's rows are of one moment, the row under the new key can't be a later state of the row that moves: the one under
//! the old key is. So if both are there, somebody else's row is in the way, and the move is refused rather than that row replaced.
//!
//! It is otherwise while the target holds rows that are newer than the stream: rows read again, or of a chunk that did not wait.
//! An update of the key whose image after is partial takes the absent values from the row under the old key. That row may by now
//! be another one, which got the key later: it must not be moved. So the old key is deleted, which the stream mends when it comes
//! to the newer row, and the row under the new key is read again (I13).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sluice_types::ports::SinkTx;
use sluice_types::{Change, Error, ErrorKind, Event, Key, Position, Result, TableId};

/// Makes deletes of such updates. `high` is what the stream has to pass until no row is newer than it; `here` where it stands.
pub(crate) fn split(events: &mut [Event], here: &Position, high: Option<&Position>) {
    if high.is_none_or(|high| high <= here) {
        return;
    }
    for event in events {
        let Change::Update { before: Some(before), after } = &event.change else { continue };
        let moves = event.table.key_of(before) != event.table.key_of(after);
        if moves && !event.table.is_complete(after) {
            let delete = Change::Delete(before.clone());
            let original = std::mem::replace(&mut event.change, delete);
            event.original.get_or_insert_with(|| Box::new(original));
        }
    }
}

/// Looks whether one of these events, which are about to be written, moves a row to a key under which the target has another row.
///
/// What earlier ones of these events have made of a key is not looked at: with several events the error names one that may be to
/// blame, and only with one it is certain. The line isolates it, so it always comes to be one.
pub(crate) async fn check(tx: &mut dyn SinkTx, events: &[Event]) -> Result<()> {
    let moves: HashMap<usize, (Key, Key)> =
        events.iter().enumerate().filter_map(|(at, event)| Some((at, keys_of_move(event)?))).collect();
    let Some(&last) = moves.keys().max() else { return Ok(()) };
    let mut touched: HashSet<(&TableId, Key)> = HashSet::new();
    let mut emptied: HashSet<&TableId> = HashSet::new();
    // Event, old key, new key, and whether an earlier event has written the row under the old key.
    let mut asked: Vec<(usize, &Key, &Key, bool)> = vec![];
    for (at, event) in events.iter().enumerate().take(last + 1) {
        let table = &event.table.table;
        if let Some((from, to)) = moves.get(&at) {
            if !emptied.contains(table) && !touched.contains(&(table, to.clone())) {
                asked.push((at, from, to, touched.contains(&(table, from.clone()))));
            }
            touched.extend([(table, from.clone()), (table, to.clone())]);
        } else if matches!(event.change, Change::Truncate) {
            emptied.insert(table);
        } else {
            let row = event.change.after().or(event.change.identity());
            touched.extend(row.map(|row| (table, event.table.key_of(row))));
        }
    }
    while let Some((first, ..)) = asked.first() {
        let schema = events[*first].table.clone();
        let (of_table, others) =
            asked.into_iter().partition(|(at, ..)| Arc::ptr_eq(&events[*at].table, &schema));
        asked = others;
        let of_table: Vec<(usize, &Key, &Key, bool)> = of_table;
        let keys: Vec<Key> = of_table.iter().flat_map(|(_, from, to, _)| [*from, *to]).cloned().collect();
        let rows = tx.current(&schema, &keys).await?;
        for ((at, .., written), rows) in of_table.iter().zip(rows.chunks(2)) {
            let [old, Some(other)] = rows else { continue };
            // A key that only looks different is the same row's.
            let another = |old| schema.key_of(old) != schema.key_of(other);
            if old.as_ref().map_or(*written, another) {
                let what = "the row gets a key under which the target has another row";
                let error = Error::new(ErrorKind::Constraint, what).at_table(&schema.table).of_event(*at);
                return Err(error.remedy("Nobody of this pipeline has written that row: move or delete it"));
            }
        }
    }
    Ok(())
}

/// The old and the new key of an update that changes it. A part that the image after does not carry has not changed; a before image
/// without its whole key names no other.
fn keys_of_move(event: &Event) -> Option<(Key, Key)> {
    let Change::Update { before: Some(before), after } = &event.change else { return None };
    let key = || event.table.key_columns().map(|column| (before.get(column.slot), after.get(column.slot)));
    let moves =
        key().all(|(old, _)| old.is_present()) && key().any(|(old, new)| new.is_present() && old != new);
    let to = || key().map(|(old, new)| if new.is_present() { new } else { old }.clone()).collect();
    moves.then(|| (event.table.key_of(before), Key(to())))
}

/// Whether an event that was written leaves a row to be read again.
pub(crate) fn wants_row(event: &Event) -> bool {
    let (Change::Delete(_), Some(original)) = (&event.change, event.original.as_deref()) else {
        return false;
    };
    let Change::Update { before: Some(before), after } = original else { return false };
    let moves = event.source.key_of(before) != event.source.key_of(after);
    moves && !event.source.is_complete(after)
}

#[cfg(test)]
mod tests {
    use sluice_types::{Row, Value};

    use super::*;
    use crate::testing::{at, row, schema};

    fn moved(after: Row) -> Vec<Event> {
        let change = Change::Update { before: Some(row(1, "a")), after };
        vec![Event::new(schema("t"), change, 0, 0)]
    }

    #[test]
    fn only_a_partial_move_among_newer_rows_is_split() {
        let partial = || Row::new(vec![Value::Int64(2), Value::Absent]);
        for (after, high, split_up) in [
            (partial(), Some(at(9)), true),
            (partial(), Some(at(5)), false),
            (partial(), None, false),
            (row(2, "a"), Some(at(9)), false),
            (Row::new(vec![Value::Int64(1), Value::Absent]), Some(at(9)), false),
        ] {
            let mut events = moved(after);
            split(&mut events, &at(5), high.as_ref());
            assert_eq!(matches!(events[0].change, Change::Delete(_)), split_up, "{events:?}");
            assert_eq!(wants_row(&events[0]), split_up);
        }
    }
}
