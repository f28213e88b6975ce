//! Rows that change their key while the target holds rows that are newer than the stream: rows read again, or of a chunk that
//! did not wait.
//!
//! An update of the key whose image after is partial takes the absent values from the row under the old key. That row may by now
//! be another one, which got the key later: it must not be moved. So the old key is deleted, which the stream mends when it comes
//! to the newer row, and the row under the new key is read again (I13).

use sluice_types::{Change, Event, Position};

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
