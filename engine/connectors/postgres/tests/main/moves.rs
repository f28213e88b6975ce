//! Rows that get another key, and deletes and truncates that reach other tables.

use std::sync::Arc;

use serde_json::json;
use sluice_types::ports::Sink;
use sluice_types::{Change, ColumnType as T, ErrorKind, Row, TableSchema, Value};

use crate::harness::{Place, endpoint_with, line, target};
use crate::sink::*;

fn decimal(text: &str) -> Value {
    Value::Decimal(text.into())
}

/// A sink under which the target's triggers and foreign keys act.
async fn firing(place: &Place, schemas: &[&Arc<TableSchema>]) -> Box<dyn Sink> {
    let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": true }));
    let mut sink = endpoint.sink(&line("p")).await.unwrap();
    let tables: Vec<_> = schemas.iter().map(|schema| target(schema)).collect();
    sink.prepare(&tables).await.unwrap();
    sink
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_only_looks_different_is_the_same_rows() {
    let place = Place::with(
        "CREATE TABLE t(id numeric PRIMARY KEY, a text, extra text DEFAULT 'd');
         CREATE TABLE ch(id int PRIMARY KEY, t numeric REFERENCES t ON DELETE CASCADE);
         INSERT INTO t VALUES (1.0,'a','mine'),(2.0,'b','mine'); INSERT INTO ch VALUES (1,1.0)",
    );
    let s = schema("t", "other", 1, &[("id", T::Decimal, ""), ("a", T::Text, "")]);
    let of = |id: &str, a: Value| Row::new(vec![decimal(id), a]);
    let mut sink = prepared(&place, &[&s]).await;
    let patch = update(Some(of("2.0", Value::Absent)), of("2.00", Value::Absent));
    assert_eq!(write(&mut sink, &events(&s, [patch])).await.unwrap().partial, [0; 0]);
    drop(sink);
    let mut sink = firing(&place, &[&s]).await;
    write(&mut sink, &events(&s, [update(Some(of("1.0", Value::Absent)), of("1.00", "A".into()))]))
        .await
        .unwrap();
    assert_eq!(place.rows("SELECT * FROM t ORDER BY id"), ["1.00|A|mine", "2.00|b|mine"]);
    assert_eq!(place.rows("SELECT * FROM ch"), ["1|1.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_a_collation_make_two_of_it() {
    let place = Place::with(
        "CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t(id text COLLATE public.ci PRIMARY KEY, v text, mine text DEFAULT 'd');
         INSERT INTO t VALUES ('ann', 'big', 'mine')",
    );
    let s = schema("t", "other", 1, &[("id", T::Text, ""), ("v", T::Text, "")]);
    let mut sink = prepared(&place, &[&s]).await;
    let of = |id: &str| Row::new(vec![id.into(), Value::Absent]);
    let written = write(&mut sink, &events(&s, [update(Some(of("ann")), of("Ann"))])).await.unwrap();
    assert_eq!(written.partial, [0; 0]);
    assert_eq!(place.rows("SELECT * FROM t"), ["Ann|big|mine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_without_its_old_row_does_as_any_update() {
    let place = Place::new();
    let s = numbers("t");
    let mut sink = prepared(&place, &[&s]).await;
    write(&mut sink, &events(&s, [Change::Insert(row(2, 2, "old"))])).await.unwrap();
    // Complete: the row is as the image says.
    let all =
        [update(Some(row(1, 1, "x")), row(2, 7, "new")), update(Some(row(8, 1, "x")), row(9, 9, "nine"))];
    assert_eq!(write(&mut sink, &events(&s, all)).await.unwrap().partial, [0; 0]);
    assert_eq!(place.rows("SELECT * FROM t ORDER BY id"), ["2|7|new", "9|9|nine"]);
    // Partial (I13): another row under the new key is not the one that is meant.
    let part = |id: i64| Row::new(vec![id.into(), 5.into(), Value::Absent]);
    let moves = [update(Some(row(1, 1, "x")), part(2)), update(Some(row(3, 1, "x")), part(4))];
    assert_eq!(write(&mut sink, &events(&s, moves)).await.unwrap().partial, [0, 1]);
    assert_eq!(place.rows("SELECT * FROM t ORDER BY id"), ["2|7|new", "9|9|nine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_reaches_children_keeps_its_place() {
    let place = Place::with(
        "CREATE TABLE p(id bigint PRIMARY KEY, u bigint, a text);
         CREATE TABLE c(id bigint PRIMARY KEY, u bigint REFERENCES p ON DELETE CASCADE, a text);
         CREATE TABLE g(id bigint PRIMARY KEY, u bigint REFERENCES c ON DELETE CASCADE, a text);
         INSERT INTO p VALUES (1),(2),(3); INSERT INTO c VALUES (10,1,'c'), (11,3,'c'); INSERT INTO g VALUES (100,10,'g')",
    );
    let (p, c, g) = (numbers("p"), numbers("c"), numbers("g"));
    let mut sink = firing(&place, &[&p, &c, &g]).await;
    // The child has another parent before its own goes.
    let mut all = events(&c, [update(None, row(10, 2, "c"))]);
    all.extend(events(
        &p,
        [Change::Delete(row(1, 0, "")), Change::Delete(row(3, 0, "")), Change::Insert(row(3, 0, "again"))],
    ));
    write(&mut sink, &all).await.unwrap();
    assert_eq!(place.rows("SELECT id FROM p ORDER BY 1"), ["2", "3"]);
    assert_eq!(place.rows("SELECT * FROM c"), ["10|2|c"]);
    assert_eq!(place.rows("SELECT * FROM g"), ["100|10|g"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncates_of_one_statement_stay_together_beside_a_poisoned_event() {
    let place = Place::with(
        "CREATE TABLE p(id bigint PRIMARY KEY, u bigint, a text); INSERT INTO p VALUES (1);
         CREATE TABLE c(id bigint PRIMARY KEY, u bigint REFERENCES p, a text); INSERT INTO c VALUES (1, 1);
         CREATE TABLE q(id bigint PRIMARY KEY, u bigint CHECK (u < 100), a text)",
    );
    let (p, c, q) = (numbers("p"), numbers("c"), numbers("q"));
    let mut sink = prepared(&place, &[&p, &c, &q]).await;
    let insert = |id, u| events(&q, [Change::Insert(row(id, u, "x"))]);
    let truncates = [events(&p, [Change::Truncate]), events(&c, [Change::Truncate])].concat();
    for (before, after) in [(vec![], 1), (vec![3], 1), (vec![3, 4, 5, 6, 7], 2)] {
        let before: Vec<_> = before.into_iter().flat_map(|id| insert(id, 1)).collect();
        let poison = before.len() + truncates.len();
        let mut all = [before, truncates.clone(), insert(1, 1000)].concat();
        (0..after).for_each(|id| all.extend(insert(20 + id, 1)));
        let error = write(&mut sink, &all).await.unwrap_err();
        assert_eq!((error.kind(), error.event()), (ErrorKind::RowRefused, Some(poison)), "{error}");
    }
    write(&mut sink, &truncates).await.unwrap();
    assert_eq!(place.rows("SELECT (SELECT count(*) FROM p) + (SELECT count(*) FROM c)"), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_with_deferrable_constraints_are_truncated_at_once() {
    let place = Place::with(
        "CREATE TABLE p(id bigint PRIMARY KEY, u bigint UNIQUE DEFERRABLE, a text);
         CREATE TABLE z(id bigint PRIMARY KEY, u bigint REFERENCES p(id) DEFERRABLE, a text);
         INSERT INTO p VALUES (1,1,''); INSERT INTO z VALUES (1,1,'')",
    );
    let (p, z) = (numbers("p"), numbers("z"));
    let mut sink = firing(&place, &[&p, &z]).await;
    // Constraints of rows that were just written are still to be looked at.
    let mut all = events(&p, [Change::Insert(row(2, 2, ""))]);
    all.extend(events(&z, [Change::Insert(row(2, 2, ""))]));
    all.extend(events(&p, [Change::Truncate]));
    all.extend(events(&z, [Change::Truncate, Change::Insert(row(5, 7, ""))]));
    all.extend(events(&p, [Change::Insert(row(7, 7, ""))]));
    write(&mut sink, &all).await.unwrap();
    assert_eq!(place.rows("SELECT z.id, p.id FROM z JOIN p ON z.u = p.id"), ["5|7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_called_what_it_is_called() {
    let place = Place::new();
    let s = numbers("x AS t");
    let mut sink = prepared(&place, &[&s]).await;
    write(&mut sink, &events(&s, [Change::Insert(row(1, 1, "x"))])).await.unwrap();
    write(&mut sink, &events(&s, [update(Some(row(1, 1, "x")), row(2, 1, "x"))])).await.unwrap();
    assert_eq!(place.rows("SELECT * FROM \"x AS t\""), ["2|1|x"]);
}
