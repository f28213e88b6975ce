//! The cases of a sink.

use std::sync::Arc;

use sluice_types::ports::{Sink, Written};
use sluice_types::{
    Change, Checkpoint, ColumnType, Digest, Disposition, ErrorKind, Event, Key, KeyRange, PipelineId,
    Position, RangeProgress, Row, TableProgress, TableSchema, Value,
};

pub use super::present::{current_holds_the_rows, rows_come_back_as_stored};

use super::Harness;
use super::world::{LARGE, World, checkpoint, definition, event, foreign, row, sorted, target};
use crate::faults::{self, Call, Fault, Scripted};
use crate::statement::{Statement, TableDef};

/// A world whose target table was made by the sink, and the shape of the events for it.
async fn prepared<H: Harness>() -> (World<H>, Box<dyn Sink>, Arc<TableSchema>) {
    let world = World::<H>::empty().await;
    let schema = foreign(&definition(&world.table));
    let mut sink = world.sink().await;
    sink.prepare(&[target(&schema)]).await.expect("prepare");
    (world, sink, schema)
}

/// Writes changes in one transaction, with a checkpoint at `at` of the line that `expected` says.
async fn commit(
    sink: &mut Box<dyn Sink>,
    changes: &[Event],
    save: &Checkpoint,
    expected: Option<u64>,
) -> Written {
    let mut transaction = sink.begin().await.expect("begin");
    let written = transaction.write(changes).await.expect("write");
    transaction.save(save, expected).await.expect("save");
    transaction.commit().await.expect("commit");
    written
}

/// Writes changes in one transaction without a checkpoint.
async fn write(sink: &mut Box<dyn Sink>, changes: &[Event]) -> Written {
    let mut transaction = sink.begin().await.expect("begin");
    let written = transaction.write(changes).await.expect("write");
    transaction.commit().await.expect("commit");
    written
}

fn image(id: i64, a: &str, n: i64) -> Row {
    Row::new(row(id, a, n))
}

/// The key alone.
fn key_only(id: i64) -> Row {
    Row::new(vec![id.into(), Value::Absent, Value::Absent])
}

fn inserts(schema: &Arc<TableSchema>, ids: std::ops::RangeInclusive<i64>) -> Vec<Event> {
    ids.enumerate()
        .map(|(at, id)| event(schema, Change::Insert(image(id, "first", id * 10)), at as u64))
        .collect()
}

fn update(schema: &Arc<TableSchema>, before: Option<Row>, after: Row) -> Event {
    event(schema, Change::Update { before, after }, 0)
}

/// A missing table is made, with its key; asking again changes nothing.
pub async fn prepare_makes_what_is_missing<H: Harness>() {
    let world = World::<H>::empty().await;
    let schema = foreign(&definition(&world.table));
    let mut sink = world.sink().await;
    sink.prepare(&[]).await.unwrap();
    let gone = sink.missing(std::slice::from_ref(&schema)).await.unwrap();
    assert_eq!(gone, std::slice::from_ref(&schema.table));
    sink.prepare(&[target(&schema)]).await.unwrap();
    assert_eq!(sink.missing(std::slice::from_ref(&schema)).await.unwrap(), []);
    write(&mut sink, &inserts(&schema, 1..=2)).await;
    sink.prepare(&[target(&schema)]).await.unwrap();
    world.sink().await.prepare(&[target(&schema)]).await.unwrap();
    assert_eq!(world.rows().await, [row(1, "first", 10), row(2, "first", 20)]);
    assert_eq!(sink.checkpoint(&world.context.pipeline).await.unwrap(), None);
}

/// Rows under which there is no checkpoint of the line are told, whatever there is of other lines.
pub async fn rows_without_a_checkpoint_are_seen<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let endpoint = world.endpoint();
    let (line, other) = (world.context.pipeline.clone(), PipelineId::from("other"));
    let tables = [schema.table.clone(), H::table("not_there")];
    assert_eq!(endpoint.filled(&line, &tables).await.unwrap(), [], "there are no rows");
    commit(&mut sink, &inserts(&schema, 1..=3), &checkpoint(&other, 5), None).await;
    assert_eq!(endpoint.filled(&line, &tables).await.unwrap(), tables[..1]);
    assert_eq!(endpoint.filled(&other, &tables).await.unwrap(), []);
    sink.forget(&other).await.unwrap();
    assert_eq!(endpoint.filled(&other, &tables).await.unwrap(), tables[..1]);
}

/// A table that can't take the rows is an error that names what is wrong, and is not touched.
pub async fn a_table_that_does_not_fit_is_left_alone<H: Harness>() {
    let world = World::<H>::with_rows(1).await;
    let wider = foreign(&definition(&world.table).column("more", ColumnType::Text));
    let mut sink = world.sink().await;
    let error = sink.prepare(&[target(&wider)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetSchema, "{error}");
    assert!(error.to_string().contains("more"), "{error}");
    assert_eq!(world.rows().await, [row(1, "first", 10)]);
}

/// Snapshot rows, inserts, updates and deletes; upserts where the row is there already.
pub async fn every_kind_of_change<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let first = [
        event(&schema, Change::Snapshot(image(1, "copied", 1)), 0),
        event(&schema, Change::Insert(image(2, "new", 2)), 1),
        event(&schema, Change::Insert(image(3, "new", 3)), 2),
    ];
    let written = write(&mut sink, &first).await;
    assert_eq!(written, Written { rows: 3, partial: vec![] });
    let then = [
        event(&schema, Change::Snapshot(image(1, "copied again", 1)), 0),
        event(&schema, Change::Insert(image(2, "upserted", 2)), 1),
        update(&schema, Some(image(3, "new", 3)), image(3, "updated", 3)),
        update(&schema, None, image(4, "not here before", 4)),
        event(&schema, Change::Delete(key_only(1)), 4),
        event(&schema, Change::Delete(key_only(99)), 5),
    ];
    write(&mut sink, &then).await;
    assert_eq!(
        world.rows().await,
        [row(2, "upserted", 2), row(3, "updated", 3), row(4, "not here before", 4)]
    );
    let nulls = Row::new(vec![5.into(), Value::Null, Value::Null]);
    write(&mut sink, &[event(&schema, Change::Insert(nulls.clone()), 0)]).await;
    assert_eq!(world.rows().await[3], nulls.values());
}

/// Some transactions with everything in them, the key changes too.
fn history(schema: &Arc<TableSchema>) -> Vec<Event> {
    let mut events = inserts(schema, 1..=6);
    events.extend([
        update(schema, Some(image(1, "first", 10)), image(1, "second", 11)),
        event(schema, Change::Delete(image(2, "first", 20)), 0),
        update(schema, Some(image(3, "first", 30)), image(9, "moved", 30)),
        update(schema, Some(key_only(4)), Row::new(vec![4.into(), Value::Absent, 41.into()])),
        event(schema, Change::Delete(key_only(5)), 0),
        event(schema, Change::Insert(image(5, "again", 5)), 0),
    ]);
    events
}

/// Applying the same events again, from the beginning or from the middle, ends in the same rows.
pub async fn replay_changes_nothing<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let events = history(&schema);
    write(&mut sink, &events).await;
    let once = world.rows().await;
    assert_eq!(once.len(), 5);
    for from in [0, 6, 8, 9, 11] {
        let written = write(&mut sink, &events[from..]).await;
        assert_eq!(written.partial, Vec::<usize>::new(), "from {from}");
        assert_eq!(world.rows().await, once, "from {from}");
    }
}

/// An absent value leaves the column as it is; a null makes it null.
pub async fn absent_leaves_the_column<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    write(&mut sink, &inserts(&schema, 1..=2)).await;
    let changes = [
        update(&schema, None, Row::new(vec![1.into(), Value::Absent, Value::Null])),
        update(&schema, Some(key_only(2)), Row::new(vec![2.into(), "b".into(), Value::Absent])),
    ];
    let written = write(&mut sink, &changes).await;
    assert_eq!(written, Written { rows: 2, partial: vec![] });
    let expected = [vec![1.into(), "first".into(), Value::Null], row(2, "b", 20)];
    assert_eq!(world.rows().await, expected);
}

/// An image with absent values whose row is not there is reported and not written; the others are (I13).
pub async fn absent_is_never_inserted<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let partial = |id: i64| Row::new(vec![id.into(), "x".into(), Value::Absent]);
    let changes = [
        event(&schema, Change::Insert(image(1, "whole", 1)), 0),
        update(&schema, None, partial(2)),
        update(&schema, Some(key_only(3)), partial(3)),
        update(&schema, None, partial(1)),
        update(&schema, Some(key_only(4)), partial(5)),
    ];
    let written = write(&mut sink, &changes).await;
    assert_eq!(written.partial, [1, 2, 4]);
    assert_eq!(world.rows().await, [row(1, "x", 1)]);
}

/// The row moves: the old key is gone, values that are absent come along.
pub async fn key_change<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    write(&mut sink, &inserts(&schema, 1..=4)).await;
    let changes = [
        update(&schema, Some(image(1, "first", 10)), image(11, "moved", 10)),
        update(&schema, Some(key_only(2)), Row::new(vec![12.into(), Value::Absent, 21.into()])),
        // Not here: a complete image is upserted under the new key.
        update(&schema, Some(key_only(98)), image(13, "upserted", 0)),
    ];
    write(&mut sink, &changes).await;
    let expected = [
        row(3, "first", 30),
        row(4, "first", 40),
        row(11, "moved", 10),
        row(12, "first", 21),
        row(13, "upserted", 0),
    ];
    assert_eq!(world.rows().await, expected);
}

/// Keys that move one behind the other in one transaction.
pub async fn key_change_chain<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    write(&mut sink, &inserts(&schema, 1..=3)).await;
    let moved = |from: i64, to: i64| {
        update(
            &schema,
            Some(image(from, "first", 0)),
            Row::new(vec![to.into(), Value::Absent, Value::Absent]),
        )
    };
    // 1 and 2 change places by way of 9; 3 moves on, a new 3 comes.
    let changes = [
        moved(1, 9),
        moved(2, 1),
        moved(9, 2),
        moved(3, 4),
        event(&schema, Change::Insert(image(3, "new", 0)), 0),
    ];
    write(&mut sink, &changes).await;
    assert_eq!(
        world.rows().await,
        [row(1, "first", 20), row(2, "first", 10), row(3, "new", 0), row(4, "first", 30)]
    );
}

/// A row that gets a key which another row has replaces that row whole, one event alone as well as among others: the line has looked
/// whether it may. One that is not there itself replaces it if its image is complete, and is asked for otherwise (I13).
pub async fn key_change_onto_a_held_key<H: Harness>() {
    for together in [false, true] {
        let (world, mut sink, schema) = prepared::<H>().await;
        write(&mut sink, &inserts(&schema, 1..=8)).await;
        let partial = |to: i64, n: i64| Row::new(vec![to.into(), Value::Absent, n.into()]);
        let changes = [
            update(&schema, Some(image(1, "first", 10)), image(2, "moved", 1)),
            update(&schema, Some(key_only(3)), partial(4, 31)),
            update(&schema, Some(key_only(98)), image(5, "upserted", 0)),
            update(&schema, Some(key_only(99)), partial(6, 0)),
            // The key is free by then.
            event(&schema, Change::Delete(key_only(7)), 0),
            update(&schema, Some(key_only(8)), partial(7, 81)),
        ];
        let mut missing = vec![];
        for (start, part) in changes.chunks(if together { changes.len() } else { 1 }).enumerate() {
            missing.extend(write(&mut sink, part).await.partial.iter().map(|at| at + start));
        }
        assert_eq!(missing, [3], "together: {together}");
        let expected = [
            row(2, "moved", 1),
            row(4, "first", 31),
            row(5, "upserted", 0),
            row(6, "first", 60),
            row(7, "first", 81),
        ];
        assert_eq!(world.rows().await, expected, "together: {together}");
    }
}

/// A truncate empties the table; what follows it stays.
pub async fn truncate<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    write(&mut sink, &inserts(&schema, 1..=3)).await;
    let changes = [
        event(&schema, Change::Insert(image(4, "before", 0)), 0),
        event(&schema, Change::Truncate, 1),
        event(&schema, Change::Insert(image(5, "after", 5)), 2),
    ];
    write(&mut sink, &changes).await;
    assert_eq!(world.rows().await, [row(5, "after", 5)]);
}

/// The transaction sees present rows by key, its own writes too; one answer per key, in order, as often as it is asked for.
pub async fn current_rows<H: Harness>() {
    let (_world, mut sink, schema) = prepared::<H>().await;
    write(&mut sink, &inserts(&schema, 1..=2)).await;
    let mut transaction = sink.begin().await.unwrap();
    transaction.write(&[event(&schema, Change::Insert(image(3, "own", 3)), 0)]).await.unwrap();
    let keys: Vec<Key> = [3, 9, 1, 3, 9].map(|id: i64| Key(vec![id.into()])).into();
    let rows = transaction.current(&schema, &keys).await.unwrap();
    let values: Vec<Option<Vec<Value>>> =
        rows.iter().map(|row| row.as_ref().map(|row| schema.values(row).cloned().collect())).collect();
    let own = Some(row(3, "own", 3));
    assert_eq!(values, [own.clone(), None, Some(row(1, "first", 10)), own, None]);
}

/// Rows and checkpoint become durable at once (I2).
pub async fn data_and_checkpoint_commit_together<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let pipeline = &world.context.pipeline;
    let mut transaction = sink.begin().await.unwrap();
    transaction.write(&inserts(&schema, 1..=2)).await.unwrap();
    transaction.save(&checkpoint(pipeline, 5), None).await.unwrap();
    transaction.commit().await.unwrap();
    drop(sink);
    let found = world.sink().await.checkpoint(pipeline).await.unwrap();
    assert_eq!(found, Some(checkpoint(pipeline, 5)));
    assert_eq!(world.rows().await.len(), 2);
}

/// A transaction that is dropped, before or after the save, leaves neither rows nor a checkpoint.
pub async fn a_dropped_transaction_leaves_nothing<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let pipeline = world.context.pipeline.clone();
    commit(&mut sink, &inserts(&schema, 1..=1), &checkpoint(&pipeline, 1), None).await;
    for saves in [false, true] {
        let mut transaction = sink.begin().await.unwrap();
        transaction.write(&inserts(&schema, 2..=3)).await.unwrap();
        if saves {
            transaction.save(&checkpoint(&pipeline, 2), Some(1)).await.unwrap();
        }
        drop(transaction);
        assert_eq!(world.rows().await, [row(1, "first", 10)]);
        assert_eq!(sink.checkpoint(&pipeline).await.unwrap(), Some(checkpoint(&pipeline, 1)));
    }
    // And the sink goes on.
    commit(&mut sink, &inserts(&schema, 2..=2), &checkpoint(&pipeline, 2), Some(1)).await;
    assert_eq!(world.rows().await.len(), 2);
}

/// A checkpoint with everything in it comes back equal.
pub async fn checkpoint_comes_back_as_saved<H: Harness>() {
    let (world, mut sink, _) = prepared::<H>().await;
    let pipeline = &world.context.pipeline;
    let mut full = checkpoint(pipeline, 7);
    full.position = Position::new(vec![0, 255, 7], "odd 'text' \"é\"");
    full.part = 12;
    full.plugins.insert("chain".into(), Digest::of(b"x"));
    full.snapshot.high = Some(Position::from_number(9, "9"));
    let key = |value: Value| Some(Key(vec![value]));
    let range = KeyRange { after: key(Value::Null), upto: key("z'".into()) };
    let ranges = vec![RangeProgress { range, cursor: key(Value::Float64(f64::NAN)), done: false }];
    full.snapshot
        .tables
        .insert("t".into(), TableProgress { ranges, rows: 3, estimate: Some(4), since: None });
    commit(&mut sink, &[], &full, None).await;
    let found = world.sink().await.checkpoint(pipeline).await.unwrap().unwrap();
    assert_eq!(found, full);
    assert_eq!(found.position.text(), full.position.text());
}

/// A save succeeds only while the target holds the epoch that the saver knows; otherwise nothing of its transaction stays.
pub async fn checkpoint_is_compared_and_set<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let pipeline = &world.context.pipeline;
    let claimed = Checkpoint { epoch: 2, ..checkpoint(pipeline, 6) };
    for (expected, save, good) in [
        (Some(1), checkpoint(pipeline, 5), false), // there is none yet
        (None, checkpoint(pipeline, 5), true),
        (None, checkpoint(pipeline, 6), false),    // there is one
        (Some(1), claimed.clone(), true),          // a second engine takes over
        (Some(1), checkpoint(pipeline, 7), false), // the first finds itself fenced
        (Some(2), Checkpoint { epoch: 2, ..checkpoint(pipeline, 8) }, true),
    ] {
        let before = (world.rows().await, sink.checkpoint(pipeline).await.unwrap());
        let mut transaction = sink.begin().await.unwrap();
        transaction.write(&inserts(&schema, save.position.number().unwrap() as i64..=8)).await.unwrap();
        match transaction.save(&save, expected).await {
            Ok(()) => {
                assert!(good, "{expected:?} was taken");
                transaction.commit().await.unwrap();
                assert_eq!(sink.checkpoint(pipeline).await.unwrap(), Some(save));
            }
            Err(error) => {
                assert!(!good, "{expected:?}: {error}");
                assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
                drop(transaction);
                assert_eq!((world.rows().await, sink.checkpoint(pipeline).await.unwrap()), before);
            }
        }
    }
}

/// Checkpoints of two pipelines know nothing of each other; `forget` removes one, and no rows.
pub async fn two_pipelines_do_not_mix<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let (one, two): (PipelineId, PipelineId) = ("one".into(), "two".into());
    commit(&mut sink, &inserts(&schema, 1..=1), &checkpoint(&one, 1), None).await;
    commit(&mut sink, &inserts(&schema, 2..=2), &checkpoint(&two, 9), None).await;
    sink.forget(&one).await.unwrap();
    sink.forget(&one).await.unwrap();
    assert_eq!(sink.checkpoint(&one).await.unwrap(), None);
    assert_eq!(sink.checkpoint(&two).await.unwrap(), Some(checkpoint(&two, 9)));
    assert_eq!(world.rows().await.len(), 2);
}

/// What came after the savepoint can be undone, again and again; what came before stays.
pub async fn savepoints<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let mut transaction = sink.begin().await.unwrap();
    transaction.write(&inserts(&schema, 1..=1)).await.unwrap();
    transaction.savepoint().await.unwrap();
    for _ in 0..2 {
        transaction.write(&inserts(&schema, 2..=3)).await.unwrap();
        transaction.rollback_to_savepoint().await.unwrap();
    }
    transaction.write(&inserts(&schema, 4..=4)).await.unwrap();
    transaction.savepoint().await.unwrap();
    transaction.write(&inserts(&schema, 5..=5)).await.unwrap();
    transaction.rollback_to_savepoint().await.unwrap();
    transaction.save(&checkpoint(&world.context.pipeline, 1), None).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(world.rows().await, [row(1, "first", 10), row(4, "first", 40)]);
}

/// A violated constraint is of the kind `constraint`, names its event, and the transaction goes on from the savepoint.
pub async fn a_constraint_error_names_its_event<H: Harness>() {
    let world = World::<H>::empty().await;
    let def = definition(&world.table).unique(&["a"]);
    world.native(&[Statement::CreateTable(def.clone())]).await;
    let schema = foreign(&def);
    let mut sink = world.sink().await;
    sink.prepare(&[target(&schema)]).await.unwrap();
    let insert = |id: i64, a: &str| event(&schema, Change::Insert(image(id, a, id)), id as u64);
    write(&mut sink, &[insert(1, "taken")]).await;
    let mut transaction = sink.begin().await.unwrap();
    transaction.savepoint().await.unwrap();
    let error = transaction
        .write(&[insert(2, "free"), insert(3, "taken"), insert(4, "also free")])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
    assert!(error.event().is_none_or(|event| event == 1), "{:?}", error.event());
    assert!(!error.to_string().contains("taken"), "no values in errors: {error}");
    transaction.rollback_to_savepoint().await.unwrap();
    // One by one the sink must know which it was.
    transaction.write(&[insert(2, "free")]).await.unwrap();
    transaction.savepoint().await.unwrap();
    let error = transaction.write(&[insert(3, "taken")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
    transaction.rollback_to_savepoint().await.unwrap();
    transaction.write(&[insert(4, "also free")]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(world.rows().await, [row(1, "taken", 1), row(2, "free", 2), row(4, "also free", 4)]);
}

/// What the target can't hold exactly is refused, never changed (I7).
pub async fn an_unrepresentable_value_is_refused<H: Harness>() {
    let Some((ty, native, value)) = H::unrepresentable() else { return };
    let world = World::<H>::empty().await;
    let def = TableDef::new(&world.table).column("id", ColumnType::Int64);
    let schema = foreign(&def.native_column("v", ty, &native).key(&["id"]));
    let mut sink = world.sink().await;
    sink.prepare(&[target(&schema)]).await.unwrap();
    let mut transaction = sink.begin().await.unwrap();
    transaction.savepoint().await.unwrap();
    let row = Row::new(vec![1.into(), value]);
    let error = transaction.write(&[event(&schema, Change::Insert(row), 0)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueUnrepresentable, "{error}");
    transaction.rollback_to_savepoint().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(world.rows().await.len(), 0);
}

/// The commit worked, but the caller was told that it failed: the checkpoint tells, and a replay changes nothing.
pub async fn lost_commit_reply<H: Harness>() {
    let (world, _, schema) = prepared::<H>().await;
    let pipeline = &world.context.pipeline;
    for (fault, durable) in
        [(Fault::Reject(ErrorKind::Unreachable), false), (Fault::FailAfter(ErrorKind::Unreachable), true)]
    {
        let script = Arc::new(Scripted::new().on(Call::Commit, 1, fault));
        let endpoint = faults::endpoint(world.endpoint(), script);
        let mut sink = endpoint.sink(&world.context).await.unwrap();
        sink.prepare(&[target(&schema)]).await.unwrap();
        let mut transaction = sink.begin().await.unwrap();
        transaction.write(&history(&schema)).await.unwrap();
        transaction.save(&checkpoint(pipeline, 5), None).await.unwrap();
        assert!(transaction.commit().await.is_err());
        drop(sink);
        let mut sink = world.sink().await;
        let found = sink.checkpoint(pipeline).await.unwrap();
        assert_eq!(found, durable.then(|| checkpoint(pipeline, 5)));
        assert_eq!(world.rows().await.len(), if durable { 5 } else { 0 });
        let before = world.rows().await;
        if durable {
            commit(&mut sink, &history(&schema), &checkpoint(pipeline, 5), Some(1)).await;
            assert_eq!(world.rows().await, before);
        }
    }
}

/// A target that was put back to an older copy has the older checkpoint with the older rows: replaying from there mends it.
pub async fn a_target_restored_from_an_older_copy<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let pipeline = &world.context.pipeline;
    let events = history(&schema);
    commit(&mut sink, &events[..6], &checkpoint(pipeline, 1), None).await;
    drop(sink);
    world.harness.keep_copy().await;
    let mut sink = world.sink().await;
    commit(&mut sink, &events[6..], &checkpoint(pipeline, 2), Some(1)).await;
    let newest = world.rows().await;
    drop(sink);
    world.harness.restore_copy().await;

    let mut sink = world.sink().await;
    sink.prepare(&[target(&schema)]).await.unwrap();
    assert_eq!(sink.checkpoint(pipeline).await.unwrap(), Some(checkpoint(pipeline, 1)));
    assert_eq!(world.rows().await.len(), 6);
    commit(&mut sink, &events[6..], &checkpoint(pipeline, 2), Some(1)).await;
    assert_eq!(world.rows().await, newest);
}

/// A connection that breaks in a transaction leaves nothing of it, is tried again, and a new sink goes on.
pub async fn reconnect<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    let mut transaction = sink.begin().await.unwrap();
    transaction.write(&inserts(&schema, 1..=2)).await.unwrap();
    if !world.harness.interrupt().await {
        return;
    }
    let error = transaction.commit().await.expect_err("the connection is broken");
    assert_eq!(error.disposition(), Disposition::Retry, "{error}");
    drop(sink);
    assert_eq!(world.rows().await.len(), 0);
    let mut sink = world.sink().await;
    sink.prepare(&[target(&schema)]).await.unwrap();
    write(&mut sink, &inserts(&schema, 1..=2)).await;
    assert_eq!(world.rows().await.len(), 2);
}

/// A transaction of many writes is one transaction.
pub async fn a_large_transaction<H: Harness>() {
    let (world, mut sink, schema) = prepared::<H>().await;
    if !world.endpoint().capabilities().unlimited_transactions {
        return;
    }
    let mut transaction = sink.begin().await.unwrap();
    for hundred in 0..100 {
        let written =
            transaction.write(&inserts(&schema, hundred * 100 + 1..=hundred * 100 + 100)).await.unwrap();
        assert_eq!(written.rows, 100);
    }
    transaction.commit().await.unwrap();
    assert_eq!(world.rows().await.len(), 10_000);
}

/// Every value of the connector's list, written to a column of its own type, is read back as it was.
pub async fn values_round_trip<H: Harness>() {
    let world = World::<H>::empty().await;
    let kind = world.endpoint().kind();
    for (number, value) in H::values().into_iter().enumerate() {
        let table = H::table(&format!("r{number}"));
        let def = TableDef::new(&table).column("id", ColumnType::Int64);
        let schema = def.native_column("v", value.ty, &value.native).key(&["id"]).schema("same", kind);
        let mut sink = world.sink().await;
        sink.prepare(&[target(&schema)]).await.unwrap();
        let written = Row::new(vec![1.into(), value.value.clone()]);
        write(&mut sink, &[event(&schema, Change::Insert(written.clone()), 0)]).await;
        // And once more through an update.
        write(&mut sink, &[update(&schema, Some(key_only(1)), written)]).await;
        drop(sink);
        let mut held = world.held_tables(std::slice::from_ref(&table)).await;
        let rows = held.chunks(1, &LARGE).await.into_iter().flat_map(|chunk| chunk.rows);
        let read = sorted(&held.schemas[0], rows);
        assert_eq!(read, [vec![1.into(), value.value]], "{} {}", value.native, value.literal);
    }
}
