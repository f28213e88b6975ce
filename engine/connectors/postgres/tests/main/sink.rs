//! The sink beyond the suite: what real tables and workloads do to it.

use std::sync::Arc;

use serde_json::json;
use sluice_types::ports::{Sink, Written};
use sluice_types::value::{Array, Extended, Interval};
use sluice_types::{Change, Column, ColumnType, ErrorKind, Event, Result, Row, TableId, TableSchema, Value};

use crate::harness::{Place, endpoint_with, line, table, target};

/// The schema of a table with these columns, `name type native`; the first `key` are the key.
pub fn schema(name: &str, kind: &str, key: u32, columns: &[(&str, ColumnType, &str)]) -> Arc<TableSchema> {
    let column = |(slot, (name, ty, native)): (usize, &(&str, ColumnType, &str))| Column {
        name: (*name).into(),
        ty: *ty,
        native: (*native).into(),
        nullable: slot as u32 >= key,
        slot: slot as u32,
    };
    Arc::new(TableSchema {
        table: table(name),
        database: "src".into(),
        kind: kind.into(),
        version: 1,
        columns: columns.iter().enumerate().map(column).collect(),
        key: (0..key).collect(),
        before_images: false,
    })
}

pub fn numbers(name: &str) -> Arc<TableSchema> {
    use ColumnType::{Int64, Text};
    schema(name, "other", 1, &[("id", Int64, ""), ("u", Int64, ""), ("a", Text, "")])
}

pub fn row(id: i64, u: i64, a: &str) -> Row {
    Row::new(vec![id.into(), u.into(), a.into()])
}

pub fn events(schema: &Arc<TableSchema>, changes: impl IntoIterator<Item = Change>) -> Vec<Event> {
    changes
        .into_iter()
        .enumerate()
        .map(|(at, change)| Event::new(schema.clone(), change, 0, at as u64))
        .collect()
}

pub fn update(before: Option<Row>, after: Row) -> Change {
    Change::Update { before, after }
}

pub async fn write(sink: &mut Box<dyn Sink>, events: &[Event]) -> Result<Written> {
    let mut transaction = sink.begin().await?;
    transaction.savepoint().await?;
    let written = transaction.write(events).await?;
    transaction.commit().await?;
    Ok(written)
}

pub async fn prepared(place: &Place, schemas: &[&Arc<TableSchema>]) -> Box<dyn Sink> {
    let mut sink = place.sink().await;
    let tables: Vec<_> = schemas.iter().map(|schema| target(schema)).collect();
    sink.prepare(&tables).await.unwrap();
    sink
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_copied_and_found_again() {
    let place = Place::new();
    let schema = numbers("t");
    let mut sink = prepared(&place, &[&schema]).await;
    let inserts = |range: std::ops::Range<i64>| range.map(|id| Change::Insert(row(id, id, "new")));
    write(&mut sink, &events(&schema, inserts(0..5000))).await.unwrap();
    // Half of them are there already: the copy gives way to an upsert, nobody notices.
    let again = (2500..7500).map(|id| Change::Snapshot(row(id, id, "copied")));
    let written = write(&mut sink, &events(&schema, again)).await.unwrap();
    assert_eq!(written, Written { rows: 5000, partial: vec![] });
    assert_eq!(place.rows("SELECT a, count(*) FROM t GROUP BY 1 ORDER BY 1"), ["copied|5000", "new|2500"]);
    let mixed = (0..7500).map(|id| match id % 3 {
        0 => Change::Delete(row(id, 0, "")),
        1 => update(None, row(id, -id, "updated")),
        _ => update(None, Row::new(vec![id.into(), Value::Absent, "patched".into()])),
    });
    let written = write(&mut sink, &events(&schema, mixed)).await.unwrap();
    assert_eq!(written, Written { rows: 7500, partial: vec![] });
    let found = place.rows("SELECT a, count(*), sum(sign(u)) FROM t GROUP BY 1 ORDER BY 1");
    assert_eq!(found, ["patched|2500|2500", "updated|2500|-2500"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_change_places() {
    let place = Place::with("CREATE TABLE t(id int PRIMARY KEY, u bigint UNIQUE, a text)");
    let schema = numbers("t");
    let mut sink = prepared(&place, &[&schema]).await;
    let rows = || (1..=200).map(|id| Change::Insert(row(id, id, "x")));
    write(&mut sink, &events(&schema, rows())).await.unwrap();
    // As an application must do it: by way of a free value. Folded it is an exchange, which no statement does at once.
    let swap = |a: i64, b: i64| {
        [update(None, row(a, -1, "s")), update(None, row(b, a, "s")), update(None, row(a, b, "s"))]
    };
    let changes = swap(1, 2).into_iter().chain(swap(50, 150)).chain([
        // A value that goes from a row that is deleted to one that is new, and from one that is updated.
        Change::Delete(row(3, 3, "")),
        Change::Insert(row(300, 3, "n")),
        update(None, row(4, 400, "s")),
        Change::Insert(row(301, 4, "n")),
    ]);
    let written = write(&mut sink, &events(&schema, changes)).await.unwrap();
    assert_eq!(written.partial, [0; 0]);
    let found = place.rows("SELECT id, u FROM t WHERE id <> u ORDER BY 1");
    assert_eq!(found, ["1|2", "2|1", "4|400", "50|150", "150|50", "300|3", "301|4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_event_that_is_refused_is_named() {
    let place = Place::with("CREATE TABLE t(id int PRIMARY KEY, u bigint CHECK (u < 1000), a text)");
    let schema = numbers("t");
    let mut sink = prepared(&place, &[&schema]).await;
    let changes = (0..500).map(|id| Change::Insert(row(id, if id == 321 { 1000 } else { id }, "x")));
    let all = events(&schema, changes);
    let mut transaction = sink.begin().await.unwrap();
    transaction.savepoint().await.unwrap();
    let error = transaction.write(&all).await.unwrap_err();
    assert_eq!((error.kind(), error.event()), (ErrorKind::RowRefused, Some(321)), "{error}");
    assert!(error.to_string().contains("t_u_check") && !error.to_string().contains("1000"), "{error}");
    transaction.rollback_to_savepoint().await.unwrap();
    transaction.write(&all[..321]).await.unwrap();
    transaction.write(&all[322..]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(place.rows("SELECT count(*) FROM t"), ["499"]);
    // One that does not fit its column is known before the server sees it.
    let wide = events(&schema, (0..100).map(|id| Change::Insert(row(1000 + id + ((id / 99) << 40), 1, "x"))));
    let error = write(&mut sink, &wide).await.unwrap_err();
    assert_eq!((error.kind(), error.event()), (ErrorKind::ValueUnrepresentable, Some(99)), "{error}");
    assert_eq!(error.place().column.as_deref(), Some("id"));
    assert_eq!(place.rows("SELECT count(*) FROM t"), ["499"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_and_parents_in_any_order() {
    let sql = "CREATE TABLE p(id bigint PRIMARY KEY, u bigint, a text);
               CREATE TABLE c(id bigint PRIMARY KEY, u bigint REFERENCES p ON DELETE CASCADE, a text)";
    for fire in [false, true] {
        let place = Place::with(sql);
        let (parent, child) = (numbers("p"), numbers("c"));
        let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": fire }));
        let mut sink = endpoint.sink(&line("p")).await.unwrap();
        sink.prepare(&[target(&parent), target(&child)]).await.unwrap();
        let mut all = events(&parent, (0..100).map(|id| Change::Insert(row(id, 0, "p"))));
        all.extend(events(&child, (0..100).map(|id| Change::Insert(row(id, id, "c")))));
        // A child goes over to a new parent, and the old one goes.
        all.extend(events(&parent, [Change::Insert(row(500, 0, "p"))]));
        all.extend(events(&child, [update(None, row(7, 500, "c"))]));
        all.extend(events(&parent, [Change::Delete(row(7, 0, ""))]));
        write(&mut sink, &all).await.unwrap();
        assert_eq!(place.rows("SELECT count(*) FROM p JOIN c ON c.u = p.id"), ["100"], "{fire}");
        let mut later = events(&child, [update(None, row(9, 600, "c"))]);
        later.splice(0..0, events(&parent, [Change::Insert(row(600, 0, "p"))]));
        later.extend(events(&parent, [Change::Delete(row(9, 0, ""))]));
        write(&mut sink, &later).await.unwrap();
        assert_eq!(place.rows("SELECT count(*) FROM p JOIN c ON c.u = p.id"), ["100"], "{fire}");
        // An orphan is refused only where foreign keys act.
        let orphan = write(&mut sink, &events(&child, [Change::Insert(row(999, 999, "c"))])).await;
        assert_eq!(orphan.is_err(), fire);
        if let Err(error) = orphan {
            assert_eq!((error.kind(), error.event()), (ErrorKind::Constraint, Some(0)), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deferred_constraints_are_looked_at_in_time() {
    let place = Place::with(
        "CREATE TABLE t(id bigint PRIMARY KEY, u bigint UNIQUE DEFERRABLE INITIALLY IMMEDIATE, a text)",
    );
    let schema = numbers("t");
    let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": true }));
    let mut sink = endpoint.sink(&line("p")).await.unwrap();
    sink.prepare(&[target(&schema)]).await.unwrap();
    write(&mut sink, &events(&schema, (1..=9).map(|id| Change::Insert(row(id, id, "x"))))).await.unwrap();
    let shift = (1..=9).map(|id| update(None, row(id, id % 9 + 1, "x")));
    write(&mut sink, &events(&schema, shift)).await.unwrap();
    assert_eq!(place.rows("SELECT string_agg(u::text, ' ' ORDER BY id) FROM t"), ["2 3 4 5 6 7 8 9 1"]);
    let error = write(&mut sink, &events(&schema, [update(None, row(1, 3, "x"))])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_of_the_target_rest_unless_they_are_wanted() {
    for fire in [false, true] {
        let place = Place::with(
            "CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text);
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.a := upper(NEW.a); RETURN NEW; END';
             CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        );
        let schema = numbers("t");
        let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": fire }));
        let mut sink = endpoint.sink(&line("p")).await.unwrap();
        sink.prepare(&[target(&schema)]).await.unwrap();
        write(&mut sink, &events(&schema, [Change::Insert(row(1, 1, "small"))])).await.unwrap();
        assert_eq!(place.rows("SELECT a FROM t"), [if fire { "SMALL" } else { "small" }]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_the_target_makes_itself() {
    let place = Place::with(
        "CREATE TABLE t(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, u bigint,
                        a bigint GENERATED ALWAYS AS (u * 2) STORED, extra text DEFAULT 'kept')",
    );
    use ColumnType::Int64;
    let schema = schema("t", "other", 1, &[("id", Int64, ""), ("u", Int64, ""), ("a", Int64, "")]);
    let mut sink = prepared(&place, &[&schema]).await;
    let one = |id: i64, u: i64| Row::new(vec![id.into(), u.into(), 0.into()]);
    write(&mut sink, &events(&schema, (10..200).map(|id| Change::Insert(one(id, id))))).await.unwrap();
    write(&mut sink, &events(&schema, [Change::Insert(one(7, 7)), update(None, one(10, 5))])).await.unwrap();
    write(&mut sink, &events(&schema, [update(None, one(11, 6))])).await.unwrap();
    let found = place.rows("SELECT id, u, a, extra FROM t WHERE id < 13 ORDER BY 1");
    assert_eq!(found, ["7|7|14|kept", "10|5|10|kept", "11|6|12|kept", "12|12|24|kept"]);
    // Only a change of such a key can't be done; it says how it could.
    let error = write(&mut sink, &events(&schema, [update(Some(one(11, 6)), one(99, 6))])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetSchema);
    assert!(error.to_string().contains("SET GENERATED BY DEFAULT"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_do_not_fit_say_what_to_run() {
    let place = Place::with(
        "CREATE UNLOGGED TABLE a(id bigint PRIMARY KEY, u bigint, a text);
         CREATE TABLE b(id bigint, u bigint, a text);
         CREATE UNIQUE INDEX ON b(id) WHERE u > 0;
         CREATE TABLE c(id bigint PRIMARY KEY, u uuid, a text);
         CREATE VIEW d AS SELECT * FROM b;
         CREATE TABLE e(id bigint PRIMARY KEY, u bigint GENERATED ALWAYS AS IDENTITY, a text);
         CREATE TABLE f(id bigint PRIMARY KEY DEFERRABLE, u bigint, a text)",
    );
    for (name, says) in [
        ("a", "SET LOGGED"),
        ("b", "CREATE UNIQUE INDEX"),
        ("c", "ALTER COLUMN \"u\" TYPE bigint"),
        ("d", "not a table"),
        ("e", "SET GENERATED BY DEFAULT"),
        ("f", "CREATE UNIQUE INDEX"),
    ] {
        let error = place.sink().await.prepare(&[target(&numbers(name))]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetSchema, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// A value as text in SQL, and what it is; in a column of a native type.
fn typed_values() -> Vec<(&'static str, ColumnType, Value, &'static str)> {
    use ColumnType as T;
    let array = |dimensions: &[(u32, i32)], items: Vec<Value>| {
        Value::Array(Arc::new(Array { dimensions: dimensions.to_vec(), items }))
    };
    let extended = |name: &str, text: &str| {
        Value::Extended(Arc::new(Extended {
            type_name: format!("postgres:{name}").as_str().into(),
            text: text.into(),
        }))
    };
    let decimal = |text: &str| Value::Decimal(text.into());
    vec![
        ("smallint", T::Int64, Value::Int64(-32768), "-32768"),
        ("numeric(10,2)", T::Decimal, decimal("-12345678.90"), "-12345678.90"),
        ("numeric", T::Decimal, decimal("0.00000000000000000001"), "0.00000000000000000001"),
        (
            "numeric",
            T::Decimal,
            decimal("123456789012345678901234567890.5"),
            "123456789012345678901234567890.5",
        ),
        ("numeric", T::Decimal, decimal("NaN"), "NaN"),
        ("numeric", T::Decimal, decimal("-Infinity"), "-Infinity"),
        ("numeric", T::Decimal, decimal("100000000"), "100000000"),
        ("numeric", T::Decimal, decimal("0.000"), "0.000"),
        ("real", T::Float32, Value::Float32(0.1), "0.1"),
        ("double precision", T::Float64, Value::Float64(-0.0), "-0"),
        ("character varying(3)", T::Text, "äöü".into(), "äöü"),
        ("character(5)", T::Text, "ab   ".into(), "ab"), // a cast to text leaves the blanks out
        ("\"char\"", T::Text, "x".into(), "x"),
        ("name", T::Text, "n".into(), "n"),
        ("bytea", T::Bytes, Value::Bytes(vec![0, 255].into()), "\\x00ff"),
        ("date", T::Date, Value::Date(i32::MAX), "infinity"),
        ("date", T::Date, Value::Date(-719_163), "0001-12-31 BC"),
        ("time without time zone", T::Time, Value::Time(86_400_000_000), "24:00:00"),
        ("timestamp without time zone", T::Timestamp, Value::Timestamp(-1), "1969-12-31 23:59:59.999999"),
        ("timestamp without time zone", T::Timestamp, Value::Timestamp(i64::MIN), "-infinity"),
        (
            "timestamp(3) with time zone",
            T::Timestamptz,
            Value::Timestamptz(1000),
            "1970-01-01 00:00:00.001+00",
        ),
        (
            "timestamp without time zone",
            T::Timestamp,
            extended("timestamp", "294276-12-31 23:59:59.999999"),
            "294276-12-31 23:59:59.999999",
        ),
        (
            "interval",
            T::Interval,
            Value::Interval(Interval { months: -13, days: 2, micros: 3_000_001 }),
            "-1 years -1 mons +2 days 00:00:03.000001",
        ),
        ("uuid", T::Uuid, Value::Uuid([0xab; 16]), "abababab-abab-abab-abab-abababababab"),
        ("json", T::Json, Value::Json("{\"b\": 1,  \"a\":2}".into()), "{\"b\": 1,  \"a\":2}"),
        ("jsonb", T::Json, Value::Json("{\"a\": 1.50}".into()), "{\"a\": 1.50}"),
        ("oid", T::Int64, Value::Int64(4_294_967_295), "4294967295"),
        ("public.mood", T::Enumeration, Value::Enum("sad".into()), "sad"),
        (
            "public.mood[]",
            T::Array,
            array(&[(2, 1)], vec![Value::Enum("sad".into()), Value::Null]),
            "{sad,NULL}",
        ),
        (
            "integer[]",
            T::Array,
            array(&[(2, 0), (2, 1)], (1..=4).map(Value::Int64).collect()),
            "[0:1][1:2]={{1,2},{3,4}}",
        ),
        ("text[]", T::Array, array(&[], vec![]), "{}"),
        ("text[]", T::Array, array(&[(2, 1)], vec!["a,\"b".into(), Value::Null]), "{\"a,\\\"b\",NULL}"),
        ("public.short", T::Text, "dom".into(), "dom"),
        ("public.pair", T::Extended, extended("public.pair", "(1,\"a b\")"), "(1,\"a b\")"),
        ("inet", T::Extended, extended("inet", "::1/64"), "::1/64"),
        ("inet[]", T::Array, array(&[(1, 1)], vec![extended("inet", "10.0.0.1")]), "{10.0.0.1}"),
        ("int4range", T::Extended, extended("int4range", "[1,5)"), "[1,5)"),
        ("money", T::Extended, extended("money", "-$1,234.50"), "-$1,234.50"),
        ("bit(3)", T::Extended, extended("bit", "101"), "101"),
        ("bit varying(5)", T::Extended, extended("bit varying", "1"), "1"),
        ("time with time zone", T::Extended, extended("time with time zone", "12:00:00+02"), "12:00:00+02"),
        ("xml", T::Extended, extended("xml", "<a>1</a>"), "<a>1</a>"),
        ("tsvector", T::Extended, extended("tsvector", "'a':1 'b':2"), "'a':1 'b':2"),
        ("point", T::Extended, extended("point", "(1.5,2)"), "(1.5,2)"),
        ("pg_lsn", T::Extended, extended("pg_lsn", "0/16B3748"), "0/16B3748"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_in_a_table_of_all_of_them() {
    let sql = "CREATE TYPE public.mood AS ENUM ('sad', 'ok');
               CREATE DOMAIN public.short AS varchar(5) NOT NULL DEFAULT '';
               CREATE TYPE public.pair AS (n int, t text)";
    let values = typed_values();
    // With the domain rows go as one array per column, without it as rows of the table's type.
    for with_domain in [true, false] {
        let place = Place::with(sql);
        let kept: Vec<_> = values.iter().filter(|value| with_domain || value.0 != "public.short").collect();
        let names: Vec<String> = (0..kept.len()).map(|at| format!("v{at}")).collect();
        let mut columns = vec![("id", ColumnType::Int64, "bigint")];
        columns.extend(kept.iter().zip(&names).map(|(value, name)| (name.as_str(), value.1, value.0)));
        let schema = schema("t", "postgres", 1, &columns);
        let mut sink = prepared(&place, &[&schema]).await;
        let full = |id: i64| {
            let mut values: Vec<Value> = kept.iter().map(|value| value.2.clone()).collect();
            values.insert(0, id.into());
            Row::new(values)
        };
        let nulls = |id: i64| {
            let mut values: Vec<Value> = kept
                .iter()
                .map(|value| if value.0 == "public.short" { value.2.clone() } else { Value::Null })
                .collect();
            values.insert(0, id.into());
            Row::new(values)
        };
        write(&mut sink, &events(&schema, (1..=100).map(|id| Change::Insert(full(id))))).await.unwrap();
        write(&mut sink, &events(&schema, [Change::Insert(full(101)), Change::Insert(nulls(102))]))
            .await
            .unwrap();
        write(&mut sink, &events(&schema, [update(None, nulls(1)), update(None, full(102))])).await.unwrap();
        for (at, value) in kept.iter().enumerate() {
            let found = place.rows(&format!(
                "SET lc_monetary = 'C'; SET timezone = 'UTC'; SELECT DISTINCT v{at}::text FROM t WHERE id > 1"
            ));
            assert_eq!(found, [value.3], "{}", value.0);
            let null = place.rows(&format!("SELECT v{at}::text FROM t WHERE id = 1"));
            assert_eq!(null, [if value.0 == "public.short" { value.3 } else { "~" }], "{}", value.0);
        }
        // Each of them absent, with the others kept; and read back as it was.
        let mut patch = full(2).values().to_vec();
        patch[1..].fill(Value::Absent);
        patch[2] = "1.50".into();
        patch[2] = Value::Decimal("1.50".into());
        write(&mut sink, &events(&schema, [update(None, Row::new(patch))])).await.unwrap();
        assert_eq!(place.rows("SELECT v1, v0 FROM t WHERE id = 2"), ["1.50|-32768"]);
        let mut transaction = sink.begin().await.unwrap();
        let key = sluice_types::Key(vec![3.into()]);
        let current = transaction.current(&schema, &[key]).await.unwrap();
        let current = current.into_iter().next().unwrap().unwrap();
        for (at, value) in kept.iter().enumerate() {
            assert_eq!(current.get(at as u32 + 1), &value.2, "{}", value.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_would_change_in_silence_becomes_an_error() {
    use ColumnType as T;
    let extended = |name: &str, text: &str| {
        Value::Extended(Arc::new(Extended { type_name: name.into(), text: text.into() }))
    };
    for (native, ty, value) in [
        ("numeric(5,2)", T::Decimal, Value::Decimal("1.005".into())),
        ("character varying(3)", T::Text, "abc ".into()),
        ("timestamp(0) without time zone", T::Timestamp, Value::Timestamp(1)),
        ("bit(3)", T::Extended, extended("postgres:bit", "1011")),
        ("bit varying(3)", T::Extended, extended("postgres:bit varying", "1011")),
        ("text", T::Text, "a\0b".into()),
        ("inet", T::Extended, extended("mysql:geometry", "x")),
        ("inet", T::Extended, extended("postgres:inet", "no address")),
        ("jsonb", T::Json, Value::Json("{\"a\": \"\\u0000\"}".into())),
        ("name", T::Text, "n".repeat(64).as_str().into()),
    ] {
        let place = Place::new();
        let schema = schema("t", "postgres", 1, &[("id", T::Int64, "bigint"), ("v", ty, native)]);
        let mut sink = prepared(&place, &[&schema]).await;
        for count in [1, 200] {
            let rows = (0..count).map(|id| Change::Insert(Row::new(vec![id.into(), value.clone()])));
            let error = write(&mut sink, &events(&schema, rows)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueUnrepresentable, "{native}: {error}");
            assert_eq!(error.event(), Some(0), "{native}: {error}");
        }
        assert_eq!(place.rows("SELECT count(*) FROM t"), ["0"], "{native}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_composite_keys() {
    let place = Place::new();
    use ColumnType::{Decimal, Text};
    let schema = Arc::new(TableSchema {
        table: TableId::new("Other \"schema\"", "Täble; DROP"),
        ..(*schema("x", "other", 2, &[("k\"1", Text, ""), ("K 2", Decimal, ""), ("välue", Text, "")])).clone()
    });
    let mut sink = prepared(&place, &[&schema]).await;
    let one = |a: &str, b: &str, v: &str| Row::new(vec![a.into(), Value::Decimal(b.into()), v.into()]);
    let changes = [
        Change::Insert(one("a", "1.0", "first")),
        Change::Insert(one("a", "2.50", "x")),
        update(None, one("a", "1.00", "second")),
        Change::Delete(one("a", "2.5", "")),
        update(Some(one("a", "1", "")), one("b", "1", "moved")),
    ];
    write(&mut sink, &events(&schema, changes)).await.unwrap();
    let found = place.rows("SELECT * FROM \"Other \"\"schema\"\"\".\"Täble; DROP\"");
    assert_eq!(found, ["b|1|moved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_only_the_server_can_compare() {
    let place = Place::with(
        "CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t(id text COLLATE public.ci PRIMARY KEY, v text)",
    );
    let schema = schema("t", "other", 1, &[("id", ColumnType::Text, ""), ("v", ColumnType::Text, "")]);
    let mut sink = prepared(&place, &[&schema]).await;
    let one = |id: &str, v: &str| Row::new(vec![id.into(), v.into()]);
    let changes = [
        Change::Insert(one("Ann", "1")),
        update(None, one("ANN", "2")),
        Change::Insert(one("Bob", "1")),
        Change::Delete(one("bob", "")),
        Change::Insert(one("ann", "3")),
    ];
    write(&mut sink, &events(&schema, changes)).await.unwrap();
    assert_eq!(place.rows("SELECT id, v FROM t"), ["ann|3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_moves_onto_its_later_self() {
    let place = Place::new();
    let schema = numbers("t");
    let mut sink = prepared(&place, &[&schema]).await;
    write(&mut sink, &events(&schema, [1, 2, 5].map(|id| Change::Insert(row(id, id, "x"))))).await.unwrap();
    // A chunk has brought row 2 as it is after the move; the stream moves 1 there.
    let moved = update(Some(row(1, 1, "x")), Row::new(vec![2.into(), 7.into(), Value::Absent]));
    write(&mut sink, &events(&schema, [moved])).await.unwrap();
    assert_eq!(place.rows("SELECT id, u, a FROM t ORDER BY 1"), ["2|7|x", "5|5|x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncates_of_tables_that_refer_to_each_other() {
    let place = Place::with(
        "CREATE TABLE p(id bigint PRIMARY KEY, u bigint, a text);
         CREATE TABLE c(id bigint PRIMARY KEY, u bigint REFERENCES p, a text);
         INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, 1)",
    );
    let (parent, child) = (numbers("p"), numbers("c"));
    let mut sink = prepared(&place, &[&parent, &child]).await;
    let error = write(&mut sink, &events(&parent, [Change::Truncate])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetSchema, "{error}");
    assert!(error.to_string().contains("truncate: ignore"), "{error}");
    let mut both = events(&parent, [Change::Truncate]);
    both.extend(events(&child, [Change::Truncate]));
    write(&mut sink, &both).await.unwrap();
    assert_eq!(place.rows("SELECT (SELECT count(*) FROM p) + (SELECT count(*) FROM c)"), ["0"]);
}
