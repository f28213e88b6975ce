//! The sink: events, checkpoints, and what it refuses.

use std::sync::Arc;

use sluice_types::ports::{Sink, Written};
use sluice_types::value::Extended;
use sluice_types::{
    Change, Checkpoint, Column, ColumnType, ErrorKind, Event, Key, Position, Row, TableSchema, Value,
};

use crate::harness::{Place, sink, stored, table, target};

fn schema(columns: &[(&str, &str, ColumnType)]) -> Arc<TableSchema> {
    let column = |(slot, (name, native, ty)): (usize, &(&str, &str, ColumnType))| Column {
        name: (*name).into(),
        ty: *ty,
        native: (*native).into(),
        nullable: slot > 0,
        slot: slot as u32,
    };
    Arc::new(TableSchema {
        table: table("t"),
        database: "d".into(),
        kind: "sqlite".into(),
        version: 1,
        columns: columns.iter().enumerate().map(column).collect(),
        key: vec![0],
        before_images: false,
    })
}

fn items() -> Arc<TableSchema> {
    schema(&[
        ("id", "INTEGER", ColumnType::Int64),
        ("a", "TEXT", ColumnType::Text),
        ("b", "", ColumnType::Text),
    ])
}

fn row(id: i64, a: impl Into<Value>, b: impl Into<Value>) -> Row {
    Row::new(vec![id.into(), a.into(), b.into()])
}

fn event(schema: &Arc<TableSchema>, change: Change) -> Event {
    Event::new(schema.clone(), change, 0, 0)
}

async fn write(sink: &mut Box<dyn Sink>, events: &[Event]) -> sluice_types::Result<Written> {
    let mut transaction = sink.begin().await?;
    let written = transaction.write(events).await?;
    transaction.commit().await?;
    Ok(written)
}

fn checkpoint(epoch: u64, at: u64) -> Checkpoint {
    Checkpoint {
        pipeline: "p".into(),
        install: "i".into(),
        source: "s".into(),
        epoch,
        position: Position::from_number(at, at.to_string()),
        part: 0,
        snapshot: Default::default(),
        plugins: Default::default(),
    }
}

#[tokio::test]
async fn events_are_applied_by_the_rules_of_the_port() {
    let place = Place::new();
    let mut sink = sink(&place).await;
    let items = items();
    sink.prepare(&[target(&items)]).await.unwrap();
    sink.prepare(&[target(&items)]).await.unwrap();
    let update = |before, after| event(&items, Change::Update { before, after });
    let written = write(
        &mut sink,
        &[
            event(&items, Change::Snapshot(row(1, "a", "x"))),
            event(&items, Change::Insert(row(1, "b", Value::Null))),
            event(&items, Change::Insert(row(2, "c", 5))),
            // Absent is left as it is.
            update(None, row(2, "d", Value::Absent)),
            // A key change keeps what is absent.
            update(Some(row(2, "d", 5)), row(3, "e", Value::Absent)),
            // Its row isn't there: complete, so it is made.
            update(Some(row(50, "x", 0)), row(51, "f", "g")),
            update(None, row(52, "h", "i")),
            event(&items, Change::Delete(row(1, Value::Absent, Value::Absent))),
            event(&items, Change::Delete(row(99, Value::Absent, Value::Absent))),
            // I13
            update(None, row(60, "j", Value::Absent)),
            event(&items, Change::Insert(row(61, Value::Absent, 1))),
            event(&items, Change::Insert(row(3, Value::Absent, 6))),
        ],
    )
    .await
    .unwrap();
    assert_eq!(written.partial, [9, 10]);
    assert_eq!(written.rows, 9);
    let found = stored(&place.writer(), &items);
    let key = |id: i64| Key(vec![id.into()]);
    assert_eq!(found.len(), 3);
    assert_eq!(found[&key(3)], row(3, "e", 6));
    assert_eq!(found[&key(51)], row(51, "f", "g"));
    let mut transaction = sink.begin().await.unwrap();
    assert_eq!(
        transaction.current(&items, &[key(51), key(1)]).await.unwrap(),
        [Some(row(51, "f", "g")), None]
    );
    transaction.write(&[event(&items, Change::Truncate)]).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(stored(&place.writer(), &items).is_empty());
}

#[tokio::test]
async fn a_clause_of_the_table_neither_ignores_nor_replaces_a_row_in_silence() {
    for clause in ["IGNORE", "REPLACE", "ROLLBACK"] {
        let place = Place::with(&format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE ON CONFLICT {clause}, b)"
        ));
        let mut sink = sink(&place).await;
        let items = items();
        sink.prepare(&[target(&items)]).await.unwrap();
        let rows = [(1, "a"), (2, "b")].map(|(id, a)| event(&items, Change::Insert(row(id, a, Value::Null))));
        write(&mut sink, &rows).await.unwrap();
        let after = row(2, "a", Value::Absent);
        for change in [Change::Insert(row(3, "a", Value::Null)), Change::Update { before: None, after }] {
            let mut transaction = sink.begin().await.unwrap();
            transaction.savepoint().await.unwrap();
            let refused = transaction.write(&[event(&items, change)]).await.unwrap_err();
            assert_eq!((refused.kind(), refused.event()), (ErrorKind::Constraint, Some(0)), "{clause}");
            transaction.rollback_to_savepoint().await.unwrap();
            transaction.commit().await.unwrap();
        }
        let found = stored(&place.writer(), &items);
        assert_eq!((found.len(), found[&Key(vec![1.into()])].get(1)), (2, &Value::from("a")), "{clause}");
    }
}

#[tokio::test]
async fn a_key_that_the_image_after_does_not_carry_has_not_changed() {
    let place = Place::new();
    let mut sink = sink(&place).await;
    let items = items();
    sink.prepare(&[target(&items)]).await.unwrap();
    let after = Row::new(vec![Value::Absent, "new".into(), Value::Absent]);
    let update = Change::Update { before: Some(row(1, "a", 7)), after };
    write(&mut sink, &[event(&items, Change::Insert(row(1, "a", 7))), event(&items, update)]).await.unwrap();
    assert_eq!(stored(&place.writer(), &items)[&Key(vec![1.into()])], row(1, "new", 7));
}

#[tokio::test]
async fn a_key_change_meets_the_row_that_a_chunk_brought_already() {
    let place = Place::new();
    let mut sink = sink(&place).await;
    let items = items();
    sink.prepare(&[target(&items)]).await.unwrap();
    let moved = Change::Update { before: Some(row(1, "a", 0)), after: row(2, "b", 0) };
    write(
        &mut sink,
        &[
            event(&items, Change::Snapshot(row(1, "a", 0))),
            event(&items, Change::Snapshot(row(2, "c", 0))),
            event(&items, moved),
        ],
    )
    .await
    .unwrap();
    assert_eq!(stored(&place.writer(), &items).into_values().collect::<Vec<_>>(), [row(2, "b", 0)]);
}

#[tokio::test]
async fn data_and_checkpoint_commit_together_or_not_at_all() {
    let place = Place::new();
    let mut sink = sink(&place).await;
    let items = items();
    assert_eq!(sink.checkpoint(&"p".into()).await.unwrap(), None);
    sink.prepare(&[target(&items)]).await.unwrap();
    let mut transaction = sink.begin().await.unwrap();
    transaction.write(&[event(&items, Change::Insert(row(1, "a", 0)))]).await.unwrap();
    transaction.save(&checkpoint(1, 10), None).await.unwrap();
    drop(transaction);
    assert_eq!(sink.checkpoint(&"p".into()).await.unwrap(), None);
    let mut transaction = sink.begin().await.unwrap();
    transaction.write(&[event(&items, Change::Insert(row(1, "a", 0)))]).await.unwrap();
    transaction.save(&checkpoint(1, 10), None).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(sink.checkpoint(&"p".into()).await.unwrap(), Some(checkpoint(1, 10)));
    assert_eq!(stored(&place.writer(), &items).len(), 1);
    sink.forget(&"p".into()).await.unwrap();
    assert_eq!(sink.checkpoint(&"p".into()).await.unwrap(), None);
}

#[tokio::test]
async fn a_second_engine_is_fenced() {
    let place = Place::new();
    let (mut first, mut second) = (sink(&place).await, sink(&place).await);
    first.prepare(&[]).await.unwrap();
    let turns = [
        (1, 1, None, true),
        (2, 1, None, false),
        (2, 2, Some(1), true),
        (1, 1, Some(1), false),
        (2, 2, Some(2), true),
    ];
    for (sink, epoch, expected, good) in turns {
        let sink = if sink == 1 { &mut first } else { &mut second };
        let mut transaction = sink.begin().await.unwrap();
        match transaction.save(&checkpoint(epoch, 1), expected).await {
            Ok(()) if good => transaction.commit().await.unwrap(),
            Err(error) if !good => assert_eq!(error.kind(), ErrorKind::Fenced),
            other => panic!("{epoch} {expected:?}: {other:?}"),
        }
    }
    assert_eq!(second.checkpoint(&"p".into()).await.unwrap().unwrap().epoch, 2);
}

#[tokio::test]
async fn savepoints_undo_what_came_after_them() {
    let place = Place::new();
    let mut sink = sink(&place).await;
    let items = items();
    sink.prepare(&[target(&items)]).await.unwrap();
    let insert = |id| [event(&items, Change::Insert(row(id, "a", 0)))];
    let mut transaction = sink.begin().await.unwrap();
    transaction.write(&insert(1)).await.unwrap();
    transaction.savepoint().await.unwrap();
    transaction.write(&insert(2)).await.unwrap();
    transaction.rollback_to_savepoint().await.unwrap();
    transaction.write(&insert(3)).await.unwrap();
    transaction.rollback_to_savepoint().await.unwrap();
    transaction.write(&insert(4)).await.unwrap();
    transaction.savepoint().await.unwrap();
    transaction.write(&insert(5)).await.unwrap();
    transaction.rollback_to_savepoint().await.unwrap();
    transaction.commit().await.unwrap();
    let mut ids: Vec<Value> =
        stored(&place.writer(), &items).into_keys().map(|key| key.0[0].clone()).collect();
    ids.sort_by_key(|id| format!("{id:?}"));
    assert_eq!(ids, [1.into(), 4.into()]);
}

#[tokio::test]
async fn a_refused_row_names_its_event() {
    let place = Place::with("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE, b CHECK (length(b) < 4))");
    let mut sink = sink(&place).await;
    let items = items();
    sink.prepare(&[target(&items)]).await.unwrap();
    let first = event(&items, Change::Insert(row(1, "a", 0)));
    for (change, kind) in [
        (Change::Insert(row(2, "a", 0)), ErrorKind::Constraint),
        (Change::Insert(row(2, "b", "secret")), ErrorKind::RowRefused),
        (Change::Insert(row(2, 7, 0)), ErrorKind::ValueUnrepresentable),
        (
            Change::Insert(Row::new(vec!["x".into(), "y".into(), Value::Null])),
            ErrorKind::ValueUnrepresentable,
        ),
        (Change::Insert(row(2, "c", Value::Float64(f64::NAN))), ErrorKind::ValueUnrepresentable),
    ] {
        let mut transaction = sink.begin().await.unwrap();
        transaction.savepoint().await.unwrap();
        let error = transaction.write(&[first.clone(), event(&items, change)]).await.unwrap_err();
        assert_eq!((error.kind(), error.event()), (kind, Some(1)), "{error}");
        assert!(!error.to_string().contains("secret"), "no value of a row: {error}");
        transaction.rollback_to_savepoint().await.unwrap();
        transaction.write(std::slice::from_ref(&first)).await.unwrap();
        transaction.commit().await.unwrap();
    }
    assert_eq!(stored(&place.writer(), &items).len(), 1);
}

#[tokio::test]
async fn a_target_that_does_not_fit_is_not_altered() {
    let place = Place::with("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)");
    let mut sink = sink(&place).await;
    let items = items();
    let error = sink.prepare(&[target(&items)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetSchema);
    assert!(error.remedy_text().unwrap().contains("ADD COLUMN \"b\""), "{error}");
    let findings = place.endpoint().check_target(&[target(&items)]).await.unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].path, "pipelines.p.tables[0]");
}

#[tokio::test]
async fn a_target_whose_key_would_merge_rows_is_refused() {
    let place = Place::with("CREATE TABLE t(id TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, a, b)");
    let made =
        schema(&[("id", "TEXT", ColumnType::Text), ("a", "", ColumnType::Text), ("b", "", ColumnType::Text)]);
    let mut sink = sink(&place).await;
    let error = sink.prepare(&[target(&made)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetSchema);
    assert!(error.remedy_text().unwrap().contains("\"id\" COLLATE BINARY"), "{error}");
    let findings = place.endpoint().check_target(&[target(&made)]).await.unwrap();
    assert!(findings.len() == 1 && findings[0].code == "target-schema", "{findings:?}");
    place.writer().execute_batch("DROP TABLE t").unwrap();
    sink.prepare(&[target(&made)]).await.unwrap();
    let put = |id: &str| event(&made, Change::Snapshot(Row::new(vec![id.into(), 1.into(), 1.into()])));
    write(&mut sink, &[put("a"), put("A")]).await.unwrap();
    assert_eq!(stored(&place.writer(), &made).len(), 2);
}

#[tokio::test]
async fn every_canonical_type_has_a_place() {
    let place = Place::new();
    let mut sink = sink(&place).await;
    let columns = [
        ("id", ColumnType::Uuid, Value::Uuid([1; 16]), "01010101-0101-0101-0101-010101010101".into()),
        ("bo", ColumnType::Boolean, Value::Bool(true), 1.into()),
        ("ui", ColumnType::Uint64, Value::Uint64(7), 7.into()),
        ("f4", ColumnType::Float32, Value::Float32(0.1), Value::Float64(f64::from(0.1_f32))),
        ("de", ColumnType::Decimal, Value::Decimal("007.10".into()), "007.10".into()),
        ("by", ColumnType::Bytes, Value::Bytes(vec![0, 1].into()), Value::Bytes(vec![0, 1].into())),
        ("da", ColumnType::Date, Value::Date(1), "1970-01-02".into()),
        ("ts", ColumnType::Timestamptz, Value::Timestamptz(1), "1970-01-01 00:00:00.000001+00:00".into()),
        ("js", ColumnType::Json, Value::Json("{ }".into()), "{ }".into()),
        ("en", ColumnType::Enumeration, Value::Enum("12".into()), "12".into()),
    ];
    let mut made = (*schema(&[])).clone();
    made.kind = "postgres".into();
    made.columns = columns
        .iter()
        .enumerate()
        .map(|(slot, (name, ty, ..))| Column {
            name: (*name).into(),
            ty: *ty,
            native: "pg".into(),
            nullable: slot > 0,
            slot: slot as u32,
        })
        .collect();
    let made = Arc::new(made);
    sink.prepare(&[target(&made)]).await.unwrap();
    let sent = Row::new(columns.iter().map(|column| column.2.clone()).collect());
    let expected = Row::new(columns.iter().map(|column| column.3.clone()).collect());
    write(&mut sink, &[event(&made, Change::Insert(sent.clone())), event(&made, Change::Snapshot(sent))])
        .await
        .unwrap();
    assert_eq!(stored(&place.writer(), &made).into_values().collect::<Vec<_>>(), [expected]);
}

#[tokio::test]
async fn text_that_is_not_utf8_arrives_as_it_was() {
    let place = Place::new();
    let mut sink = sink(&place).await;
    let items = items();
    sink.prepare(&[target(&items)]).await.unwrap();
    let odd = Value::Extended(Arc::new(Extended { type_name: "sqlite:text".into(), text: "61ff".into() }));
    let sent = row(1, odd, 1);
    write(&mut sink, &[event(&items, Change::Insert(sent.clone()))]).await.unwrap();
    assert_eq!(stored(&place.writer(), &items).into_values().collect::<Vec<_>>(), [sent]);
}

#[tokio::test]
async fn a_locked_target_is_busy_and_a_read_only_one_forbidden() {
    let place = Place::with("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b)");
    let endpoint = place.endpoint_with(serde_json::json!({"busy_timeout_ms": 50}));
    let mut sink = endpoint.sink(&crate::harness::line("p")).await.unwrap();
    let locker = place.writer();
    locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(sink.begin().await.err().unwrap().kind(), ErrorKind::Busy);
    locker.execute_batch("ROLLBACK").unwrap();
    sink.begin().await.unwrap();
    let away = place.folder.path().join("none/x.db");
    let gone = Place { folder: tempfile::tempdir().unwrap(), path: away };
    assert_eq!(
        gone.endpoint().sink(&crate::harness::line("p")).await.err().unwrap().kind(),
        ErrorKind::Unreachable
    );
    assert_eq!(gone.endpoint().check_target(&[]).await.unwrap().len(), 1);
}
