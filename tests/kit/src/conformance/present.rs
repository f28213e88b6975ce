//! The cases of a sink that is asked for the present rows: what it answers, and that nobody changes them behind its back.

use std::time::Duration;

use sluice_types::compare::same;
use sluice_types::{Change, ColumnType, Disposition, Key, Row, Value};

use super::Harness;
use super::world::{World, definition, event, foreign, row, target};
use crate::statement::TableDef;

/// How long another writer is given to get between the look and the commit, in milliseconds.
const OTHERS_MS: u64 = 300;

/// Who has been asked for a row knows it until the transaction ends: another writer waits, or fails, or the transaction does.
pub async fn current_holds_the_rows<H: Harness>() {
    for keeps in [false, true] {
        let world = World::<H>::with_rows(2).await;
        let schema = foreign(&definition(&world.table));
        let mut sink = world.sink().await;
        sink.prepare(&[target(&schema)]).await.unwrap();
        let mut transaction = sink.begin().await.unwrap();
        let rows = transaction.current(&schema, &[Key(vec![1.into()])]).await.unwrap();
        assert_eq!(rows[0].as_ref().map(|row| row.values()[2].clone()), Some(10.into()));
        let theirs = world.update(1, &[("n", 999.into())]);
        let harness = world.harness.clone();
        // A thread of its own: another writer may block until the row is free.
        let other = tokio::task::spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(async { harness.transaction(&[theirs]).await });
        });
        tokio::time::sleep(Duration::from_millis(OTHERS_MS)).await;
        let committed = async {
            if !keeps {
                let ours = Change::Update { before: None, after: Row::new(row(1, "ours", 11)) };
                transaction.write(&[event(&schema, ours, 0)]).await?;
            }
            transaction.commit().await
        };
        let committed = committed.await;
        other.await.expect("the other writer writes in the end");
        match committed {
            Ok(()) if keeps => assert_eq!(world.rows().await[0], row(1, "first", 999)),
            Ok(()) => assert_eq!(world.rows().await[0], row(1, "ours", 999), "theirs comes after ours"),
            Err(error) => {
                assert_eq!(error.disposition(), Disposition::Retry, "{error}");
                assert_eq!(world.rows().await[0], row(1, "first", 999));
            }
        }
    }
}

/// What is written comes back as `as_stored` has said, so that the line's own row never looks like somebody else's.
pub async fn rows_come_back_as_stored<H: Harness>() {
    use ColumnType as Type;
    let world = World::<H>::empty().await;
    let noon = 1_700_000_000_123_000;
    let columns: Vec<(Type, Value)> = vec![
        (Type::Boolean, Value::Bool(true)),
        (Type::Int64, Value::Int64(-7)),
        (Type::Uint64, Value::Uint64(7)),
        (Type::Float32, Value::Float32(1.5)),
        (Type::Float64, Value::Float64(0.1)),
        (Type::Decimal, Value::Decimal("1.50".into())),
        (Type::Text, "a\u{e9}".into()),
        (Type::Bytes, Value::Bytes(vec![0, 255].into())),
        (Type::Date, Value::Date(20_000)),
        (Type::Time, Value::Time(3_600_000_000)),
        (Type::Timestamp, Value::Timestamp(noon)),
        (Type::Timestamptz, Value::Timestamptz(noon)),
        (Type::Uuid, Value::Uuid([7; 16])),
        (Type::Json, Value::Json("{\"b\": 1, \"a\": [2, null]}".into())),
        (Type::Text, Value::Null),
    ];
    for (number, (ty, value)) in columns.into_iter().enumerate() {
        let table = H::table(&format!("s{number}"));
        let schema = foreign(&TableDef::new(&table).column("id", Type::Int64).column("v", ty).key(&["id"]));
        let mut sink = world.sink().await;
        sink.prepare(&[target(&schema)]).await.unwrap();
        let image = Row::new(vec![1.into(), value.clone()]);
        let mut transaction = sink.begin().await.unwrap();
        let partial = Row::new(vec![1.into(), Value::Absent]);
        let stored = transaction.as_stored(&schema, vec![image.clone(), partial]).await.unwrap();
        assert_eq!(stored[1].get(1), &Value::Absent, "what is absent stays so");
        transaction.write(&[event(&schema, Change::Insert(image), 0)]).await.unwrap();
        let found = transaction.current(&schema, &[Key(vec![1.into()])]).await.unwrap();
        let found = found[0].as_ref().expect("the row is there");
        assert!(same(stored[0].get(1), found.get(1)), "{ty}: {value:?} -> {stored:?} but {found:?}");
        drop(transaction);
    }
}
