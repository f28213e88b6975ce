//! The cases of a source.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sluice_types::ports::{Read, ReadLimits, StreamStart};
use sluice_types::{Change, Disposition, ErrorKind, Event, Key, KeyRange, TablePattern, Value};

use super::Harness;
use super::follow::Replica;
pub use super::values::{values_by_snapshot, values_by_stream};
use super::world::{LARGE, SMALL, World, definition, insert_into, row, sorted};
use crate::rng::Rng;
use crate::statement::{Statement, fields};

/// The same log has the same identity, whoever opens it.
pub async fn identity_is_stable<H: Harness>() {
    let world = World::<H>::start().await;
    let first = world.source().await.identity().await.unwrap();
    world.native(&[world.insert(1, "x", 1)]).await;
    assert_eq!(world.source().await.identity().await.unwrap(), first);
}

/// A missing table is an error that says so.
pub async fn missing_table_is_named<H: Harness>() {
    let world = World::<H>::start().await;
    let error = world.source().await.schemas(&[H::table("nowhere")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableMissing, "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// Patterns match the user's tables and never ours.
pub async fn own_tables_are_not_discovered<H: Harness>() {
    let world = World::<H>::with_rows(3).await;
    let mut streaming = world.streaming().await;
    world.native(&[world.insert(4, "x", 1)]).await;
    streaming.events().await;
    let pattern = match &*world.table.schema {
        "" => TablePattern::parse("*"),
        schema => TablePattern::parse(&format!("{schema}.*")),
    };
    let found = world.endpoint().discover(&[pattern]).await.unwrap();
    let tables: Vec<_> = found.iter().map(|found| &found.table).collect();
    assert_eq!(tables, [&world.table]);
    let key: Vec<_> = found[0].schema.key_columns().map(|column| &*column.name).collect();
    assert_eq!(key, ["id"]);
}

/// The ranges cover every key, the chunks every row, in key order and none twice.
pub async fn snapshot_reads_every_row_once<H: Harness>() {
    for rows in [0, 1, 16, 100] {
        let world = World::<H>::with_rows(rows).await;
        let mut held = world.held().await;
        for parts in [1, 4] {
            let chunks = held.chunks(parts, &SMALL).await;
            let schema = held.schemas[0].clone();
            for chunk in &chunks {
                let ids = sorted(&schema, chunk.rows.clone());
                let read: Vec<Vec<Value>> =
                    chunk.rows.iter().map(|row| schema.values(row).cloned().collect()).collect();
                assert_eq!(read, ids, "a chunk is in key order");
            }
            let read = sorted(&schema, chunks.into_iter().flat_map(|chunk| chunk.rows));
            assert_eq!(read, world.rows().await, "{rows} rows in {parts} parts");
        }
    }
}

/// Some transaction of a client: any mixture of changes of a few dozen keys.
fn scribble<H: Harness>(world: &World<H>, rng: &mut Rng, count: i64) -> Vec<Statement> {
    let mut statements = Vec::new();
    for step in 0..rng.between(1, 4) as i64 {
        let id = rng.between(1, 60) as i64;
        match rng.below(5) {
            0 => statements.push(world.delete(id)),
            1 => {
                // Delete and insert again: an upsert in plain words.
                statements.push(world.delete(id));
                statements.push(world.insert(id, "again", count * 10 + step));
            }
            2 => {
                let to = rng.between(1, 60) as i64;
                if to != id {
                    statements.push(world.delete(to));
                    statements.push(world.update(id, &[("id", to.into())]));
                }
            }
            3 => statements.push(world.update(id, &[("a", Value::Null), ("n", (count * 10 + step).into())])),
            _ => statements.push(world.update(id, &[("n", (count * 10 + step).into())])),
        }
    }
    statements
}

/// Writes transactions in a task of its own; `stop` ends it.
fn writer<H: Harness>(
    world: &Arc<World<H>>,
    seed: u64,
) -> (tokio::task::JoinHandle<()>, tokio::sync::oneshot::Sender<()>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let world = world.clone();
    let task = tokio::spawn(async move {
        let mut rng = Rng::new(seed);
        let mut count = 0;
        while stopped.try_recv().is_err() {
            count += 1;
            world.native(&scribble(&world, &mut rng, count)).await;
            tokio::task::yield_now().await;
        }
    });
    (task, stop)
}

/// Chunks read while others write, and the stream from before them, give what is there in the end.
pub async fn snapshot_under_writes<H: Harness>() {
    let world = Arc::new(World::<H>::with_rows(60).await);
    let mut streaming = world.streaming().await;
    let (task, stop) = writer(&world, 1);
    let chunks = streaming.chunks(4, &ReadLimits { rows: 5, ..SMALL }).await;
    stop.send(()).unwrap();
    task.await.unwrap();
    let mut replica = Replica::of(&streaming.schemas[0], &world.context).await;
    for chunk in &chunks {
        replica.chunk(chunk).await;
    }
    replica.apply(&streaming.events().await).await;
    assert_eq!(replica.rows(), world.rows().await);
}

/// A snapshot goes on after its last chunk with a new source, from the cursor, and the stream from the first start.
pub async fn snapshot_resumes_in_the_middle<H: Harness>() {
    let world = Arc::new(World::<H>::with_rows(60).await);
    let mut held = world.held().await;
    let schema = held.schemas[0].clone();
    let mut replica = Replica::of(&schema, &world.context).await;
    let few = ReadLimits { rows: 20, ..SMALL };
    let mut reader = held.source.chunks().await.unwrap();
    let first = reader.read(&schema, &KeyRange::default(), &few).await.unwrap();
    replica.chunk(&first).await;
    let start = held.start.clone();
    drop((reader, held));

    world
        .native(&[world.delete(1), world.update(30, &[("a", "changed".into())]), world.insert(61, "new", 1)])
        .await;
    let mut held = world.held().await;
    assert!(held.start <= start, "hold must keep the log that an earlier hold has promised");
    held.open(start.clone(), 0).await;
    held.start = start;
    let mut reader = held.source.chunks().await.unwrap();
    let mut cursor = first.next;
    while let Some(after) = cursor {
        let range = KeyRange { after: Some(after), upto: None };
        let chunk = reader.read(&schema, &range, &few).await.unwrap();
        replica.chunk(&chunk).await;
        cursor = chunk.next;
    }
    replica.apply(&held.events().await).await;
    assert_eq!(replica.rows(), world.rows().await);
}

/// A chunk's mark tells of every transaction whether the chunk has seen it: the transactions seen, and no others, make its rows.
pub async fn a_chunk_says_what_it_has_seen<H: Harness>() {
    let world = Arc::new(World::<H>::start().await);
    let mut streaming = world.streaming().await;
    let inserts: Vec<Statement> = (1..=60).map(|id| world.insert(id, "first", 0)).collect();
    world.native(&inserts).await;
    let (task, stop) = writer(&world, 2);
    let mut chunks = Vec::new();
    for _ in 0..8 {
        chunks.extend(streaming.chunks(1, &LARGE).await);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    stop.send(()).unwrap();
    task.await.unwrap();
    let transactions = streaming.read_to_head().await;
    for chunk in &chunks {
        let mut replica = Replica::of(&streaming.schemas[0], &world.context).await;
        let seen = transactions.iter().filter(|(transaction, _)| chunk.mark.sees(transaction));
        for (transaction, events) in seen {
            assert!(transaction.position <= chunk.mark.high, "`high` is not below what was seen");
            replica.apply(events).await;
        }
        assert_eq!(replica.rows(), sorted(&streaming.schemas[0], chunk.rows.clone()));
    }
}

/// Rows are read again by key, one answer per key, in order.
pub async fn reread_by_key<H: Harness>() {
    let world = World::<H>::with_rows(3).await;
    let mut held = world.held().await;
    let schema = held.schemas[0].clone();
    let keys: Vec<Key> = [3, 9, 1].map(|id: i64| Key(vec![id.into()])).into();
    let (rows, mark) = held.source.reread(&schema, &keys).await.unwrap();
    let ids: Vec<Option<Value>> = rows.iter().map(|row| row.as_ref().map(|row| row.get(0).clone())).collect();
    assert_eq!(ids, [Some(3.into()), None, Some(1.into())]);
    assert!(rows.iter().flatten().all(|row| schema.is_complete(row)));
    assert!(mark.high >= held.start);
}

/// Checks a streamed image against what the row was: present values are equal, and the key is present.
fn agrees(event: &Event, image: &sluice_types::Row, expected: &[Value]) {
    for (column, value) in event.table.columns.iter().zip(expected) {
        let got = image.get(column.slot);
        assert!(!got.is_present() || got == value, "column {} of {:?}", column.name, event.change);
    }
    assert!(event.table.key_of(image).0.iter().all(Value::is_present), "the key is present");
}

/// Inserts, updates and deletes arrive as such.
pub async fn every_kind_of_change<H: Harness>() {
    let world = World::<H>::with_rows(3).await;
    let mut streaming = world.streaming().await;
    world.native(&[world.insert(4, "new", 4)]).await;
    world.native(&[world.update(1, &[("a", "other".into())])]).await;
    world.native(&[world.delete(2)]).await;
    let events = streaming.events().await;
    let names: Vec<&str> = events.iter().map(|event| event.change.name()).collect();
    assert_eq!(names, ["insert", "update", "delete"]);
    for (event, expected) in events.iter().zip([row(4, "new", 4), row(1, "other", 10)]) {
        agrees(event, event.change.after().unwrap(), &expected);
    }
    let Change::Insert(inserted) = &events[0].change else { unreachable!() };
    assert!(events[0].table.is_complete(inserted), "an insert is complete");
    agrees(&events[2], events[2].change.identity().unwrap(), &row(2, "first", 20));
    if let Change::Update { before: Some(before), .. } = &events[1].change {
        agrees(&events[1], before, &row(1, "first", 10));
    }
}

/// A null is null, by snapshot and by stream; a value that the log does not carry is absent, never null.
pub async fn absent_is_not_null<H: Harness>() {
    let world = World::<H>::with_rows(1).await;
    let mut streaming = world.streaming().await;
    world.native(&[world.update(1, &[("a", Value::Null)])]).await;
    world.native(&[world.update(1, &[("n", 5.into())])]).await;
    world.native(&[world.delete(1)]).await;
    let events = streaming.events().await;
    let expected = [vec![1.into(), Value::Null, 10.into()], vec![1.into(), Value::Null, 5.into()]];
    for (event, expected) in events.iter().zip(&expected) {
        agrees(event, event.change.after().unwrap(), expected);
    }
    agrees(&events[2], events[2].change.identity().unwrap(), &expected[1]);
    assert_eq!(events[0].change.after().unwrap().get(1), &Value::Null, "what became null is there as null");
}

/// An update of the key says what the key was.
pub async fn key_change<H: Harness>() {
    let world = World::<H>::with_rows(2).await;
    let mut streaming = world.streaming().await;
    world.native(&[world.update(1, &[("id", 7.into())])]).await;
    let events = streaming.events().await;
    let mut replica = Replica::of(&streaming.schemas[0], &world.context).await;
    replica.apply(&events).await;
    let old = events[0].change.identity().map(|row| row.get(0).clone());
    assert_eq!(old, Some(1.into()), "the first event names the old key: {events:?}");
    let last = events.last().unwrap().change.after().map(|row| row.get(0).clone());
    assert_eq!(last, Some(7.into()));
}

/// A table that is emptied is empty afterwards, by one truncate or by deletes.
pub async fn truncate<H: Harness>() {
    let world = World::<H>::with_rows(5).await;
    let mut streaming = world.streaming().await;
    let mut replica = Replica::of(&streaming.schemas[0], &world.context).await;
    for chunk in streaming.chunks(1, &LARGE).await {
        replica.chunk(&chunk).await;
    }
    world.native(&[Statement::Truncate { table: world.table.clone() }, world.insert(9, "after", 9)]).await;
    replica.apply(&streaming.events().await).await;
    assert_eq!(replica.rows(), [row(9, "after", 9)]);
}

/// Changes come in the order in which they were made; one native transaction is never divided over two.
pub async fn order_and_atomicity<H: Harness>() {
    let world = World::<H>::start().await;
    let mut streaming = world.streaming().await;
    for number in 0..20 {
        let changes: Vec<Statement> =
            (0..3).map(|step| world.insert(number * 3 + step, "x", number)).collect();
        world.native(&changes).await;
    }
    let mut ids = Vec::new();
    let mut last = None;
    let head = streaming.source.head().await.unwrap();
    for (transaction, events) in streaming.until(&head, &SMALL).await {
        assert!(last.is_none_or(|last| last < transaction.position), "positions ascend");
        last = Some(transaction.position);
        let indexes: Vec<u64> = events.iter().map(|event| event.index).collect();
        assert_eq!(indexes, (0..events.len() as u64).collect::<Vec<_>>(), "indexes count from 0");
        assert_eq!(events.len() % 3, 0, "a transaction was divided");
        ids.extend(events.iter().map(|event| event.change.after().unwrap().get(0).clone()));
    }
    assert_eq!(ids, (0..60).map(Value::Int64).collect::<Vec<_>>());
}

/// A transaction above the limits comes in parts that say so, and goes on from a part.
pub async fn a_large_transaction_comes_in_parts<H: Harness>() {
    let world = World::<H>::start().await;
    let start = world.streaming().await.start;
    let inserts: Vec<Statement> = (0..50).map(|id| world.insert(id, "x", id)).collect();
    world.native(&inserts).await;
    for part in [0, 20, 49] {
        let mut streaming = world.streaming_from(&start, part).await;
        let mut index = part;
        loop {
            let Read::Batch(batch) = streaming.next(&SMALL).await else { continue };
            assert!(batch.events.len() <= SMALL.rows, "{} events", batch.events.len());
            for event in &batch.events {
                assert_eq!(
                    (event.index, event.change.after().unwrap().get(0)),
                    (index, &Value::Int64(index as i64))
                );
                index += 1;
            }
            assert_eq!(batch.open, index < 50, "open until it has come whole");
            assert_eq!(batch.end().is_some(), !batch.open);
            if !batch.open {
                break;
            }
        }
        assert_eq!(index, 50);
    }
}

/// What was rolled back never happened.
pub async fn rolled_back_is_never_seen<H: Harness>() {
    let world = World::<H>::with_rows(2).await;
    let mut streaming = world.streaming().await;
    world.harness.rolled_back(&[world.insert(8, "never", 0), world.delete(1)]).await;
    world.native(&[world.insert(3, "really", 0)]).await;
    let events = streaming.events().await;
    assert_eq!(events.len(), 1, "{events:?}");
    let read = streaming.chunks(1, &LARGE).await.into_iter().flat_map(|chunk| chunk.rows);
    let ids: Vec<Value> = sorted(&streaming.schemas[0], read).into_iter().map(|row| row[0].clone()).collect();
    assert!(ids.contains(&1.into()) && !ids.contains(&8.into()), "{ids:?}");
}

/// A `next` that waits returns when something happens.
pub async fn waiting_next_is_woken<H: Harness>() {
    let world = Arc::new(World::<H>::start().await);
    let mut streaming = world.streaming().await;
    let task = {
        let world = world.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            world.native(&[world.insert(1, "x", 1)]).await;
        })
    };
    loop {
        if let Read::Batch(batch) = streaming.next(&LARGE).await {
            assert_eq!(batch.events.len(), 1);
            break;
        }
    }
    task.await.unwrap();
}

/// A `next` that is dropped while it waits or works has consumed nothing.
pub async fn dropped_next_consumes_nothing<H: Harness>() {
    let world = Arc::new(World::<H>::start().await);
    let mut streaming = world.streaming().await;
    let task = {
        let world = world.clone();
        tokio::spawn(async move {
            for id in 0..40 {
                world.native(&[world.insert(id, "x", id)]).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let mut ids = BTreeSet::new();
    let mut patience = 0;
    while ids.len() < 40 {
        // Sometimes too little patience, sometimes enough.
        patience = (patience + 1) % 8;
        let wait = Duration::from_micros([0, 100, 500, 1_000, 3_000, 10_000, 40_000, 200_000][patience]);
        let Ok(read) = tokio::time::timeout(wait, streaming.source.next(&LARGE)).await else { continue };
        let Read::Batch(batch) = read.unwrap() else { continue };
        for event in batch.events {
            let Value::Int64(id) = event.change.after().unwrap().get(0) else { unreachable!() };
            assert_eq!(*id, ids.len() as i64, "in order and none lost");
            ids.insert(*id);
        }
    }
    task.await.unwrap();
}

/// Changes of tables that the line did not ask for are not delivered.
pub async fn other_tables_are_not_delivered<H: Harness>() {
    let world = World::<H>::start().await;
    let other = H::table("other");
    world.native(&[Statement::CreateTable(definition(&other))]).await;
    let mut streaming = world.streaming().await;
    world
        .native(&[insert_into(&other, 1, "x", 1), world.insert(1, "x", 1), insert_into(&other, 2, "x", 1)])
        .await;
    world.native(&[insert_into(&other, 3, "x", 1)]).await;
    let events = streaming.events().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].table.table, world.table);
}

/// The head is at or behind everything that was committed before; a stream that has nothing to deliver reaches it.
pub async fn head_is_reached<H: Harness>() {
    let world = World::<H>::with_rows(3).await;
    let mut streaming = world.streaming().await;
    world.native(&[world.insert(4, "x", 1)]).await;
    let head = streaming.source.head().await.unwrap();
    world.native(&[world.insert(5, "x", 1)]).await;
    let got = streaming.until(&head, &LARGE).await;
    assert!(
        got.iter()
            .any(|(_, events)| events.iter().any(|event| event.change.after().unwrap().get(0) == &4.into()))
    );
    assert!(streaming.source.head().await.unwrap() >= head);
}

/// What was not confirmed is delivered again to whoever asks from there (I1).
pub async fn unconfirmed_comes_again<H: Harness>() {
    let world = World::<H>::start().await;
    let start = world.streaming().await.start;
    for id in 0..3 {
        world.native(&[world.insert(id, "x", id)]).await;
    }
    for _ in 0..2 {
        let events = world.streaming_from(&start, 0).await.events().await;
        assert_eq!(events.len(), 3);
    }
}

/// After a confirm the stream goes on there. Who asks from before it gets everything, or is told that it is lost (I12).
pub async fn confirmed_may_go_and_never_leaves_a_gap<H: Harness>() {
    let world = World::<H>::start().await;
    let mut streaming = world.streaming().await;
    let start = streaming.start.clone();
    world.native(&[world.insert(1, "x", 1)]).await;
    streaming.events().await;
    let confirmed = streaming.start.clone();
    streaming.source.confirm(&confirmed).await.unwrap();
    streaming.source.confirm(&confirmed).await.unwrap();
    world.native(&[world.insert(2, "x", 2)]).await;
    drop(streaming);

    let events = world.streaming_from(&confirmed, 0).await.events().await;
    assert_eq!(events.len(), 1, "only what came after: {events:?}");
    let mut held = world.held().await;
    match held.source.open(&StreamStart { position: start.clone(), part: 0 }, &held.schemas).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}"),
        Ok(()) => {
            held.start = start;
            assert_eq!(held.events().await.len(), 2, "a stream that opens has no gap");
        }
    }
}

/// Who has read everything is not behind.
pub async fn lag_shrinks_to_nothing<H: Harness>() {
    let world = World::<H>::start().await;
    let mut streaming = world.streaming().await;
    let start = streaming.start.clone();
    world.native(&[world.insert(1, "x", 1), world.insert(2, "x", 1)]).await;
    let behind = streaming.source.lag(&start).await.unwrap();
    assert!(behind.amount > 0 && !behind.unit.is_empty(), "{behind:?}");
    streaming.events().await;
    let end = streaming.start.clone();
    assert_eq!(streaming.source.lag(&end).await.unwrap().amount, 0);
}

/// A broken connection is an error that is tried again, and a new source goes on without loss.
pub async fn reconnect<H: Harness>() {
    let world = World::<H>::start().await;
    let mut streaming = world.streaming().await;
    let start = streaming.start.clone();
    world.native(&[world.insert(1, "x", 1)]).await;
    if !world.harness.interrupt().await {
        return;
    }
    if let Err(error) = streaming.source.next(&LARGE).await {
        assert_eq!(error.disposition(), Disposition::Retry, "{error}");
    }
    drop(streaming);
    world.native(&[world.insert(2, "x", 2)]).await;
    assert_eq!(world.streaming_from(&start, 0).await.events().await.len(), 2);
}

/// A source that was put back to an older copy never streams in silence from a place that it has not reached (I12).
pub async fn a_restored_source_is_noticed<H: Harness>() {
    let world = World::<H>::start().await;
    let mut streaming = world.streaming().await;
    let identity = streaming.source.identity().await.unwrap();
    world.native(&[world.insert(1, "x", 1)]).await;
    world.harness.keep_copy().await;
    for id in 2..5 {
        world.native(&[world.insert(id, "lost", id)]).await;
    }
    streaming.events().await;
    let position = streaming.start.clone();
    drop(streaming);
    world.harness.restore_copy().await;
    world.native(&[world.insert(9, "elsewhere", 9)]).await;

    let mut held = world.held().await;
    if held.source.identity().await.unwrap() != identity {
        return;
    }
    let opened = held.source.open(&StreamStart { position, part: 0 }, &held.schemas).await;
    let error = opened.expect_err("the log never came to this position in this history");
    assert!(matches!(error.kind(), ErrorKind::PositionLost | ErrorKind::SourceChanged), "{error}");
}

/// `detach` takes away what is in the way of DDL; after `hold` changes are captured again.
pub async fn detach_and_hold_again<H: Harness>() {
    let world = World::<H>::with_rows(2).await;
    let mut streaming = world.streaming().await;
    let start = streaming.start.clone();
    streaming.source.detach(std::slice::from_ref(&world.table)).await.unwrap();
    drop(streaming);
    world.native(&[world.insert(3, "perhaps not captured", 3)]).await;
    let mut held = world.held().await;
    held.open(start.clone(), 0).await;
    held.start = start;
    world.native(&[world.insert(4, "captured", 4)]).await;
    let events = held.events().await;
    let last = events.last().and_then(|event| event.change.after()).map(|row| row.get(0).clone());
    assert_eq!(last, Some(4.into()));
}

/// `release` removes everything that was made, may be called again, and the user's tables go on.
pub async fn release_removes_everything<H: Harness>() {
    let world = World::<H>::with_rows(3).await;
    assert_eq!(world.harness.traces().await, Vec::<String>::new(), "nothing was made yet");
    let mut streaming = world.streaming().await;
    world.native(&[world.insert(4, "x", 4)]).await;
    streaming.events().await;
    assert_ne!(world.harness.traces().await, Vec::<String>::new(), "the harness sees what is made");
    streaming.source.release().await.unwrap();
    drop(streaming);
    world.source().await.release().await.unwrap();
    assert_eq!(world.harness.traces().await, Vec::<String>::new());
    let key = fields(&[("id", 1.into())]);
    world.native(&[Statement::Delete { table: world.table.clone(), key }]).await;
    assert_eq!(world.rows().await.len(), 3);
}
