//! What the suite does not ask: folding, `_id`, unique indexes, transactions that meet.

use std::sync::Arc;

use serde_json::json;
use sluice_kit::statement::TableDef;
use sluice_servers::bson::doc;
use sluice_types::ports::{Sink, Written};
use sluice_types::{Change, ColumnType, Error, ErrorKind, Row, TableId, TableSchema, Value};

use crate::harness::{
    Place, checkpoint, delete, endpoint, event, insert, line, row, table, target, update, write,
};

#[tokio::test]
async fn the_key_is_the_id_alone_or_as_a_document() {
    let place = Place::new();
    let def = TableDef::new(&TableId::new("", "pairs"));
    let def = def.column("b", ColumnType::Text).column("x", ColumnType::Int64).column("a", ColumnType::Int64);
    let pairs = def.key(&["a", "b"]).schema("s", "k");
    let def = TableDef::new(&TableId::new("", "mapped")).column("name", ColumnType::Text);
    let mapped = def.column("_id", ColumnType::Text).key(&["_id"]).schema("s", "k");
    let dotted = Arc::new(sluice_types::TableSchema {
        table: TableId::new("public", "dotted"),
        ..(*table("x")).clone()
    });
    let mut sink = place.sink().await;
    sink.prepare(&[target(&pairs), target(&mapped), target(&dotted)]).await.unwrap();
    let events = [
        event(&pairs, Change::Insert(Row::new(vec!["y".into(), 1.into(), 2.into()]))),
        event(&mapped, Change::Insert(Row::new(vec!["Ann".into(), "k".into()]))),
        insert(&dotted, 1, "x", 2),
        event(&pairs, Change::Insert(Row::new(vec!["z".into(), 1.into(), 2.into()]))),
        event(&pairs, Change::Delete(Row::new(vec!["z".into(), Value::Absent, 2.into()]))),
    ];
    write(&mut sink, &events).await;
    assert_eq!(place.shown("pairs"), [r#"{ "_id": { "a": 2, "b": "y" }, "x": 1 }"#]);
    assert_eq!(place.shown("mapped"), [r#"{ "_id": "k", "name": "Ann" }"#]);
    assert_eq!(place.shown("public.dotted"), [r#"{ "_id": 1, "a": "x", "n": 2 }"#]);
}

#[tokio::test]
async fn changes_of_one_key_are_folded() {
    let place = Place::new();
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    write(&mut sink, &[insert(&t, 1, "one", 1), insert(&t, 2, "two", 2), insert(&t, 3, "three", 3)]).await;
    let events = [
        insert(&t, 4, "four", 4),
        update(&t, 4, 4, Some("FOUR"), None),
        update(&t, 1, 1, None, Some(10)),
        update(&t, 1, 1, Some("ONE"), None),
        update(&t, 2, 2, None, Some(20)),
        delete(&t, 2),
        insert(&t, 2, "again", 0),
        update(&t, 3, 5, None, None),
        update(&t, 5, 6, None, Some(30)),
        insert(&t, 7, "gone", 0),
        delete(&t, 7),
        update(&t, 8, 8, None, Some(0)),
        update(&t, 7, 7, None, Some(0)),
    ];
    let written = write(&mut sink, &events).await;
    assert_eq!(written.partial, [11, 12], "no such row, and one that is deleted");
    assert_eq!(
        place.shown("t"),
        [
            r#"{ "_id": 1, "a": "ONE", "n": 10 }"#,
            r#"{ "_id": 2, "a": "again", "n": 0 }"#,
            r#"{ "_id": 4, "a": "FOUR", "n": 4 }"#,
            r#"{ "_id": 6, "a": "three", "n": 30 }"#,
        ]
    );
}

#[tokio::test]
async fn a_key_that_changes_takes_along_what_others_added() {
    let place = Place::new();
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    place.server.command(
        &place.database,
        doc! { "insert": "t", "documents": [{ "_id": 1_i64, "a": "x", "n": 1_i64, "extra": [1, "y"] }] },
    );
    write(&mut sink, &[update(&t, 1, 2, Some("y"), None)]).await;
    assert_eq!(place.shown("t"), [r#"{ "_id": 2, "a": "y", "n": 1, "extra": [1, "y"] }"#]);
    // All of its values are known.
    write(&mut sink, &[update(&t, 2, 3, Some("z"), Some(2))]).await;
    assert_eq!(place.shown("t"), [r#"{ "_id": 3, "a": "z", "n": 2, "extra": [1, "y"] }"#]);
    // Within one write, over several keys, and over one that was another row's.
    write(&mut sink, &[insert(&t, 7, "other", 0)]).await;
    let mine = doc! { "q": { "_id": 7_i64 }, "u": { "$set": { "its": "own" } } };
    place.server.command(&place.database, doc! { "update": "t", "updates": [mine] });
    let events = [
        update(&t, 3, 3, Some("a"), Some(3)),
        update(&t, 3, 4, Some("b"), Some(4)),
        delete(&t, 7),
        update(&t, 4, 7, Some("c"), Some(5)),
        insert(&t, 4, "new", 0),
    ];
    write(&mut sink, &events).await;
    let after =
        [r#"{ "_id": 4, "a": "new", "n": 0 }"#, r#"{ "_id": 7, "a": "c", "n": 5, "extra": [1, "y"] }"#];
    assert_eq!(place.shown("t"), after);
    // A row that is gone has nothing to bring along.
    write(&mut sink, &[delete(&t, 7), update(&t, 7, 8, Some("d"), Some(6))]).await;
    assert_eq!(place.shown("t"), [after[0], r#"{ "_id": 8, "a": "d", "n": 6 }"#]);
}

/// As long as every event is written by itself, too.
#[tokio::test]
async fn a_key_that_changes_in_order_takes_along_what_others_added() {
    let place = Place::new();
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    unique(&place);
    write(&mut sink, &[insert(&t, 1, "x", 1), insert(&t, 2, "y", 1), insert(&t, 3, "q", 1)]).await;
    let mine = doc! { "q": {}, "u": { "$set": { "mine": 1 } }, "multi": true };
    place.server.command(&place.database, doc! { "update": "t", "updates": [mine] });
    // Written as last states, the first row would meet the second one's value.
    let events = [
        update(&t, 1, 1, Some("u"), Some(1)),
        update(&t, 2, 2, Some("w"), Some(1)),
        update(&t, 1, 1, Some("y"), Some(2)),
        update(&t, 3, 4, Some("r"), Some(3)),
        update(&t, 4, 5, Some("s"), Some(4)),
    ];
    write(&mut sink, &events).await;
    let expected = [
        r#"{ "_id": 1, "a": "y", "n": 2, "mine": 1 }"#,
        r#"{ "_id": 2, "a": "w", "n": 1, "mine": 1 }"#,
        r#"{ "_id": 5, "a": "s", "n": 4, "mine": 1 }"#,
    ];
    assert_eq!(place.shown("t"), expected);
}

/// A whole update is as gentle as a partial one.
#[tokio::test]
async fn an_update_keeps_the_fields_of_others() {
    let place = Place::new();
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    write(&mut sink, &[insert(&t, 1, "x", 1), insert(&t, 2, "x", 1), insert(&t, 3, "x", 1)]).await;
    let mine = doc! { "q": {}, "u": { "$set": { "mine": 1 } }, "multi": true };
    place.server.command(&place.database, doc! { "update": "t", "updates": [mine] });
    let partial = update(&t, 1, 1, None, Some(5));
    let whole = update(&t, 2, 2, Some("y"), Some(5));
    let missing = update(&t, 4, 4, Some("y"), Some(5));
    let written = write(&mut sink, &[partial, whole, missing, insert(&t, 3, "z", 5)]).await;
    assert_eq!(written, Written { rows: 4, partial: vec![] });
    assert_eq!(
        place.shown("t"),
        [
            r#"{ "_id": 1, "a": "x", "n": 5, "mine": 1 }"#,
            r#"{ "_id": 2, "a": "y", "n": 5, "mine": 1 }"#,
            r#"{ "_id": 3, "a": "z", "n": 5 }"#,
            r#"{ "_id": 4, "a": "y", "n": 5 }"#,
        ]
    );
}

/// Digits that MongoDB takes for the same number are one key, and the later digits stay.
#[tokio::test]
async fn a_decimal_key_is_written_with_its_digits() {
    let place = Place::new();
    let def =
        TableDef::new(&TableId::new("", "d")).column("id", ColumnType::Decimal).column("a", ColumnType::Text);
    let d = def.key(&["id"]).schema("s", "k");
    let image = |id: &str, a: &str| Row::new(vec![Value::Decimal(id.into()), a.into()]);
    let mut sink = place.sink().await;
    sink.prepare(&[target(&d)]).await.unwrap();
    write(&mut sink, &[event(&d, Change::Insert(image("1.0", "x")))]).await;
    let mine = doc! { "q": {}, "u": { "$set": { "mine": 1 } } };
    place.server.command(&place.database, doc! { "update": "d", "updates": [mine] });
    let change = Change::Update { before: Some(image("1.0", "x")), after: image("1.00", "y") };
    write(&mut sink, &[event(&d, change)]).await;
    let found = place.find("d");
    assert_eq!(
        (found.len(), found[0].to_string()),
        (1, r#"{ "_id": 1.00, "a": "y", "mine": 1 }"#.to_string())
    );
    // And within one write.
    let events =
        [event(&d, Change::Insert(image("2.0", "x"))), event(&d, Change::Delete(image("2.00", "x")))];
    write(&mut sink, &events).await;
    assert_eq!(place.find("d").len(), 1);
}

fn unique(place: &Place) {
    let index = doc! { "key": { "a": 1 }, "name": "a", "unique": true };
    place.server.command(&place.database, doc! { "createIndexes": "t", "indexes": [index] });
}

/// The last states of the rows, written in any order, could meet; in the source's order they don't.
#[tokio::test]
async fn a_unique_value_that_moves_from_row_to_row_is_no_violation() {
    let place = Place::new();
    unique(&place);
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    write(&mut sink, &[insert(&t, 1, "x", 1), insert(&t, 2, "y", 2)]).await;
    let whole =
        |id: i64, a: &str| event(&t, Change::Update { before: Some(row(id, "", 0)), after: row(id, a, id) });
    let events = [
        whole(2, "free"),
        whole(1, "y"),
        whole(2, "x"),
        // By way of a partial image and a key that changes.
        update(&t, 1, 3, None, Some(9)),
        insert(&t, 4, "z", 4),
        delete(&t, 4),
        insert(&t, 5, "z", 5),
    ];
    let written = write(&mut sink, &events).await;
    assert_eq!(written.partial, [0usize; 0]);
    assert_eq!(
        place.shown("t"),
        [
            r#"{ "_id": 2, "a": "x", "n": 2 }"#,
            r#"{ "_id": 3, "a": "y", "n": 9 }"#,
            r#"{ "_id": 5, "a": "z", "n": 5 }"#,
        ]
    );
}

/// A refused row is named; what was done before it is still in the transaction.
#[tokio::test]
async fn a_refused_row_takes_nothing_with_it() {
    let place = Place::new();
    place.server.command(
        &place.database,
        doc! { "create": "t", "validator": { "$jsonSchema": { "properties": { "n": { "maximum": 100 } } } } },
    );
    unique(&place);
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    write(&mut sink, &[insert(&t, 1, "taken", 1)]).await;
    let mut tx = sink.begin().await.unwrap();
    tx.write(&[insert(&t, 2, "b", 2), update(&t, 1, 1, None, Some(11))]).await.unwrap();
    tx.savepoint().await.unwrap();
    let refused = |error: Error, kind: ErrorKind, event: usize, what: &str| {
        assert_eq!((error.kind(), error.event()), (kind, Some(event)), "{error}");
        assert!(error.to_string().contains(what) && !error.to_string().contains("secret"), "{error}");
    };
    let events = [insert(&t, 3, "c", 3), insert(&t, 4, "taken", 4), insert(&t, 5, "d", 5)];
    refused(tx.write(&events).await.unwrap_err(), ErrorKind::Constraint, 1, "(a)");
    tx.rollback_to_savepoint().await.unwrap();
    let events = [insert(&t, 3, "c", 3), insert(&t, 4, "secret", 101), insert(&t, 5, "d", 5)];
    refused(tx.write(&events).await.unwrap_err(), ErrorKind::RowRefused, 1, "validation");
    tx.rollback_to_savepoint().await.unwrap();
    tx.write(&[insert(&t, 3, "c", 3)]).await.unwrap();
    tx.savepoint().await.unwrap();
    tx.write(&[insert(&t, 6, "undone", 6)]).await.unwrap();
    tx.rollback_to_savepoint().await.unwrap();
    tx.save(&checkpoint(1), None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        place.shown("t"),
        [
            r#"{ "_id": 1, "a": "taken", "n": 11 }"#,
            r#"{ "_id": 2, "a": "b", "n": 2 }"#,
            r#"{ "_id": 3, "a": "c", "n": 3 }"#,
        ]
    );
}

/// A document of the size that MongoDB just holds, and one byte more.
#[tokio::test]
async fn a_document_may_have_sixteen_mebibytes() {
    let place = Place::new();
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    // Length, `_id`, the text's name, length and NUL, the number, the end.
    let around = 4 + (1 + 4 + 8) + (1 + 2 + 4 + 1) + (1 + 2 + 8) + 1;
    let text = |size: usize| "x".repeat((16 << 20) - around + size);
    for change in [insert(&t, 1, &text(0), 1), update(&t, 1, 1, Some(&text(0)), Some(2))] {
        let written = write(&mut sink, &[change]).await;
        assert_eq!(written, Written { rows: 1, partial: vec![] });
    }
    let mut tx = sink.begin().await.unwrap();
    tx.savepoint().await.unwrap();
    let error = tx.write(&[insert(&t, 2, "small", 2), insert(&t, 3, &text(1), 3)]).await.unwrap_err();
    assert_eq!((error.kind(), error.event()), (ErrorKind::ValueUnrepresentable, Some(1)), "{error}");
    tx.rollback_to_savepoint().await.unwrap();
    tx.write(&[insert(&t, 2, "small", 2)]).await.unwrap();
    tx.savepoint().await.unwrap();
    // Only the server knows how large the document will be.
    let error = tx.write(&[update(&t, 1, 1, Some(&text(1)), None)]).await.unwrap_err();
    assert_eq!((error.kind(), error.event()), (ErrorKind::ValueUnrepresentable, Some(0)), "{error}");
    tx.rollback_to_savepoint().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(place.find("t").len(), 2);
}

/// What is folded and what comes in many commands is written all the same.
#[tokio::test]
async fn a_large_write_is_many_commands() {
    let place = Place::new();
    let (t, u) = (table("t"), table("u"));
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t), target(&u)]).await.unwrap();
    let wide = "w".repeat(2_000);
    let mut events = vec![];
    for id in 0..6_000 {
        events.push(insert(&t, id, &wide, id));
        events.push(insert(&u, id, "narrow", id));
    }
    assert_eq!(write(&mut sink, &events).await.rows, 12_000);
    let events: Vec<_> = (0..6_000)
        .map(|id| match id % 3 {
            0 => delete(&t, id),
            1 => update(&t, id, id, None, Some(-id)),
            _ => event(&t, Change::Update { before: None, after: row(id, &wide, -id) }),
        })
        .collect();
    assert_eq!(write(&mut sink, &events).await, Written { rows: 6_000, partial: vec![] });
    let found = place.find("t");
    assert_eq!(found.len(), 4_000);
    assert!(found.iter().all(|one| one.get_i64("n") == one.get_i64("_id").map(|id| -id)));
}

/// More rows than one transaction should delete go before it.
#[tokio::test]
async fn a_large_collection_is_truncated() {
    let place = Place::new();
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    save(&mut sink, 1, None).await;
    fill(&mut sink, &t).await;
    let mut tx = sink.begin().await.unwrap();
    assert_eq!(tx.checkpoint(&"p".into()).await.unwrap().map(|found| found.epoch), Some(1));
    tx.write(&[insert(&t, -1, "before", 0)]).await.unwrap();
    tx.write(&[insert(&t, -2, "before", 0), event(&t, Change::Truncate), insert(&t, -3, "after", 0)])
        .await
        .unwrap();
    tx.save(&checkpoint(1), Some(1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(place.shown("t"), [r#"{ "_id": -3, "a": "after", "n": 0 }"#]);
}

/// I6: not even the steps that go before the transaction are done by an engine that another has taken the line over from.
#[tokio::test]
async fn a_fenced_engine_empties_nothing() {
    let place = Place::new();
    let t = table("t");
    let mut old = place.sink().await;
    old.prepare(&[target(&t)]).await.unwrap();
    save(&mut old, 1, None).await;
    let mut new = place.sink().await;
    save(&mut new, 2, Some(1)).await;
    fill(&mut new, &t).await;
    let before = place.server.count(&place.database, "t");
    let mut tx = old.begin().await.unwrap();
    let error = tx.write(&[event(&t, Change::Truncate)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    drop(tx);
    assert_eq!(place.server.count(&place.database, "t"), before);
    // The one whose line it is does.
    let mut tx = new.begin().await.unwrap();
    tx.write(&[event(&t, Change::Truncate)]).await.unwrap();
    drop(tx);
    assert_eq!(place.server.count(&place.database, "t"), 0);
}

/// Without a checkpoint of its own an engine has nothing to be fenced by: it empties in its transaction, or not at all.
#[tokio::test]
async fn a_line_that_was_not_claimed_is_emptied_in_its_transaction() {
    let place = Place::new();
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    fill(&mut sink, &t).await;
    let before = place.server.count(&place.database, "t");
    let mut tx = sink.begin().await.unwrap();
    tx.write(&[event(&t, Change::Truncate)]).await.unwrap();
    drop(tx);
    // The next transaction waits until that one is aborted.
    drop(sink.begin().await.unwrap());
    assert_eq!(place.server.count(&place.database, "t"), before);
    write(&mut sink, &[event(&t, Change::Truncate)]).await;
    assert_eq!(place.server.count(&place.database, "t"), 0);
}

async fn save(sink: &mut Box<dyn Sink>, epoch: u64, expected: Option<u64>) {
    let mut checkpoint = checkpoint(1);
    checkpoint.epoch = epoch;
    let mut tx = sink.begin().await.unwrap();
    tx.save(&checkpoint, expected).await.unwrap();
    tx.commit().await.unwrap();
}

/// More rows than are removed in one transaction.
async fn fill(sink: &mut Box<dyn Sink>, t: &Arc<TableSchema>) {
    for part in 0..17 {
        let rows: Vec<_> = (0..6_000).map(|n| insert(t, part * 6_000 + n, "", n)).collect();
        write(sink, &rows).await;
    }
}

/// Whoever looks at the checkpoint in its transaction has it until the transaction ends.
#[tokio::test]
async fn only_one_engine_saves_a_checkpoint() {
    let place = Place::new();
    // Of one process: what another has left open is ended.
    let endpoint = endpoint(&place.server.url(), &place.database, json!({}));
    let (mut one, mut two) = (endpoint.sink(&line()).await.unwrap(), endpoint.sink(&line()).await.unwrap());
    one.prepare(&[]).await.unwrap();
    for taken in [false, true] {
        let mut first = one.begin().await.unwrap();
        let expected = taken.then_some(1);
        assert_eq!(first.checkpoint(&"p".into()).await.unwrap().map(|found| found.epoch), expected);
        let mut second = two.begin().await.unwrap();
        let error = second.save(&checkpoint(9), expected).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        drop(second);
        first.save(&checkpoint(1), expected).await.unwrap();
        first.commit().await.unwrap();
    }
    // A place that is held and never filled is no checkpoint.
    let mut tx = one.begin().await.unwrap();
    assert_eq!(tx.checkpoint(&"q".into()).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(two.checkpoint(&"q".into()).await.unwrap(), None);
    let mut tx = two.begin().await.unwrap();
    let mut other = checkpoint(3);
    other.pipeline = "q".into();
    tx.save(&other, None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(one.checkpoint(&"q".into()).await.unwrap(), Some(other));
}

/// Somebody else's write is in the way: the transaction is run again from its log.
#[tokio::test]
async fn a_conflict_is_tried_again() {
    let place = Place::new();
    let t = table("t");
    let mut sink = place.sink().await;
    sink.prepare(&[target(&t)]).await.unwrap();
    write(&mut sink, &[insert(&t, 1, "x", 1), insert(&t, 2, "y", 2)]).await;
    let mut tx = sink.begin().await.unwrap();
    tx.write(&[update(&t, 1, 1, Some("ours"), None)]).await.unwrap();
    let other =
        doc! { "update": "t", "updates": [{ "q": { "_id": 2_i64 }, "u": { "$set": { "n": 0_i64 } } }] };
    place.server.command(&place.database, other);
    tx.write(&[update(&t, 2, 2, Some("ours"), None)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        place.shown("t"),
        [r#"{ "_id": 1, "a": "ours", "n": 1 }"#, r#"{ "_id": 2, "a": "ours", "n": 0 }"#]
    );
}

#[tokio::test]
async fn microseconds_are_kept_out_unless_the_user_says_so() {
    let place = Place::new();
    let def = TableDef::new(&TableId::new("", "m")).column("id", ColumnType::Int64);
    let m = def.column("at", ColumnType::Timestamptz).key(&["id"]).schema("s", "k");
    let image = |micros| event(&m, Change::Insert(Row::new(vec![1.into(), Value::Timestamptz(micros)])));
    let mut strict = place.sink().await;
    strict.prepare(&[target(&m)]).await.unwrap();
    let error = strict.begin().await.unwrap().write(&[image(1_001)]).await.unwrap_err();
    assert_eq!((error.kind(), error.event()), (ErrorKind::ValueUnrepresentable, Some(0)));
    assert_eq!(error.place().column.as_deref(), Some("at"));
    assert!(error.remedy_text().unwrap().contains("microseconds: truncate"));
    let mut cutting = place.sink_with(json!({ "microseconds": "truncate" })).await;
    write(&mut cutting, &[image(-1)]).await;
    assert_eq!(place.find("m")[0].get_datetime("at").unwrap().timestamp_millis(), -1);
}
