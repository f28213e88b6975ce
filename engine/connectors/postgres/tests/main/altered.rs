//! Tables that somebody alters while a sink writes them.

use sluice_types::{Change, ColumnType as T, ErrorKind, Row, Value};

use crate::harness::{Place, target};
use crate::sink::*;

/// Rows `range` with a value each.
fn inserts(range: std::ops::Range<i64>, value: &Value) -> Vec<Change> {
    range.map(|id| Change::Insert(Row::new(vec![id.into(), value.clone()]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_never_writes_one_types_bytes_as_anothers() {
    let number = Value::Int64(5);
    for (from, to, ty, value) in [
        ("bigint", "double precision", T::Int64, &number),
        ("bigint", "timestamp USING to_timestamp(v)::timestamp", T::Int64, &number),
        ("bigint", "numeric", T::Int64, &number),
        ("real", "int", T::Float32, &Value::Float32(5.0)),
        ("numeric(10,4)", "numeric(10,2)", T::Decimal, &Value::Decimal("1.2345".into())),
    ] {
        for (before, after) in [(100, 100), (1, 100), (100, 1)] {
            let place = Place::with(&format!("CREATE TABLE t(id bigint PRIMARY KEY, v {from})"));
            let s = schema("t", "other", 1, &[("id", T::Int64, ""), ("v", ty, "")]);
            let mut sink = prepared(&place, &[&s]).await;
            write(&mut sink, &events(&s, inserts(0..before, value))).await.unwrap();
            write(&mut sink, &events(&s, inserts(300..300 + before, value))).await.unwrap();
            place.sql(&format!("ALTER TABLE t ALTER v TYPE {to}"));
            let error = write(&mut sink, &events(&s, inserts(500..500 + after, value))).await.unwrap_err();
            assert_eq!((error.kind(), error.event()), (ErrorKind::Busy, None), "{from} to {to}: {error}");
            assert_eq!(place.rows("SELECT count(*) FROM t WHERE id >= 500"), ["0"], "{from} to {to}");
            // What the line does then: a new sink says whether the table still fits.
            let mut sink = place.sink().await;
            let fits = sink.prepare(&[target(&s)]).await;
            match to {
                "double precision" | "numeric" => {
                    fits.unwrap();
                    write(&mut sink, &events(&s, inserts(500..501, value))).await.unwrap();
                    assert_eq!(place.rows("SELECT v FROM t WHERE id = 500"), ["5"]);
                }
                "numeric(10,2)" => {
                    fits.unwrap();
                    let error = write(&mut sink, &events(&s, inserts(500..501, value))).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::ValueUnrepresentable, "{error}");
                }
                _ => assert_eq!(fits.unwrap_err().kind(), ErrorKind::TargetSchema),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_altered_before_its_first_write_is_noticed_too() {
    let place = Place::with("CREATE TABLE t(id bigint PRIMARY KEY, v bigint)");
    let s = schema("t", "other", 1, &[("id", T::Int64, ""), ("v", T::Int64, "")]);
    let mut sink = prepared(&place, &[&s]).await;
    place.sql("ALTER TABLE t ALTER v TYPE double precision");
    let error = write(&mut sink, &events(&s, inserts(0..100, &Value::Int64(5)))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(place.rows("SELECT count(*) FROM t"), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_alters_a_table_between_two_writes_of_a_transaction() {
    let place = Place::with("CREATE TABLE t(id bigint PRIMARY KEY, v bigint)");
    let s = schema("t", "other", 1, &[("id", T::Int64, ""), ("v", T::Int64, "")]);
    let mut sink = prepared(&place, &[&s]).await;
    let mut transaction = sink.begin().await.unwrap();
    transaction.savepoint().await.unwrap();
    transaction.write(&events(&s, inserts(0..100, &Value::Int64(5)))).await.unwrap();
    // Going back gives locks free, so what follows asks again.
    transaction.rollback_to_savepoint().await.unwrap();
    place.sql("SET lock_timeout = '5s'; ALTER TABLE t ALTER v TYPE double precision");
    let error = transaction.write(&events(&s, inserts(0..100, &Value::Int64(5)))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
}
