//! What the server would do to a row in silence, on its own or for somebody else's settings.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sluice_types::value::{Array, Extended, Interval};
use sluice_types::{Change, ColumnType as T, Error, ErrorKind, Row, Value};

use crate::harness::{Place, endpoint_with, line, target};
use crate::sink::*;

fn extended(name: &str, text: &str) -> Value {
    Value::Extended(Arc::new(Extended { type_name: format!("postgres:{name}").into(), text: text.into() }))
}

fn decimal(text: &str) -> Value {
    Value::Decimal(text.into())
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.into_iter().collect();
    Value::Array(Arc::new(Array { dimensions: vec![(items.len() as u32, 1)], items }))
}

/// Types that the cases have columns of.
const TYPES: &str = "
    CREATE DOMAIN some_bits AS bit(3); CREATE DOMAIN more_bits AS some_bits; CREATE DOMAIN cents AS numeric(5,2);
    CREATE DOMAIN words AS varchar(3)[]; CREATE DOMAIN amounts AS numeric(5,2)[]";

#[tokio::test(flavor = "multi_thread")]
async fn values_that_go_by_text_are_not_rounded_or_cut() {
    let timetz = |text| extended("time with time zone", text);
    let mut wrong: Vec<String> = vec![];
    for (native, ty, good, bad) in [
        ("timetz(0)", T::Extended, timetz("12:00:00+00"), timetz("12:00:00.6+00")),
        ("timetz(3)", T::Extended, timetz("23:59:59.999-01:30"), timetz("23:59:59.9996-01:30")),
        ("timetz", T::Text, "12:00:00.123456+02".into(), "12:00:00.1234567+02".into()),
        (
            "timetz(0)[]",
            T::Array,
            list([timetz("12:00:00+00"), Value::Null]),
            list([timetz("12:00:00.6+00")]),
        ),
        ("money", T::Decimal, decimal("-1.50000"), decimal("-1.005")),
        ("money", T::Text, "$1,234.56".into(), "$1,234.567".into()),
        ("money[]", T::Array, list([decimal("1.5")]), list([decimal("1.505")])),
        ("some_bits", T::Extended, extended("bit", "101"), extended("bit", "1011")),
        ("more_bits", T::Extended, extended("bit", "101"), extended("bit", "10")),
        ("some_bits[]", T::Array, list([extended("bit", "101")]), list([extended("bit", "1011")])),
        ("cents[]", T::Array, list([decimal("1.25")]), list([decimal("1.255")])),
        ("words", T::Array, list(["abc".into(), Value::Null]), list(["abcd".into()])),
        ("words", T::Array, list(["ab ".into()]), list(["abc ".into()])),
        ("amounts", T::Array, list([decimal("1.25")]), list([decimal("1.255")])),
        ("numeric(5,2)[]", T::Array, list([decimal("1.25")]), list([decimal("1.255")])),
        ("timestamp(0)[]", T::Array, list([Value::Timestamp(0)]), list([Value::Timestamp(600_000)])),
    ] {
        // A column of a domain keeps the rows from going in the table's own row type.
        for beside in ["int", "cents"] {
            let place = Place::with(&format!(
                "{TYPES}; CREATE TABLE t(id bigint PRIMARY KEY, v {native}, beside {beside})"
            ));
            let s = schema("t", "other", 1, &[("id", T::Int64, ""), ("v", ty, "")]);
            let mut sink = prepared(&place, &[&s]).await;
            for count in [1, 200] {
                let rows = |value: &Value| {
                    let insert = |id: i64| Change::Insert(Row::new(vec![id.into(), value.clone()]));
                    events(&s, (0..count).map(insert))
                };
                let what = format!("{native} beside {beside}, {count} rows");
                match write(&mut sink, &rows(&bad)).await {
                    Ok(_) => wrong
                        .extend(place.rows("SELECT v FROM t LIMIT 1").pop().map(|v| format!("{what}: {v}"))),
                    Err(error)
                        if (error.kind(), error.event()) == (ErrorKind::ValueUnrepresentable, Some(0)) => {}
                    Err(error) => wrong.push(format!("{what}: {error}")),
                }
                if let Err(error) = write(&mut sink, &rows(&good)).await {
                    wrong.push(format!("{what}: {error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_do_not_exist_and_endless_intervals() {
    let place = Place::with("CREATE TABLE t(id bigint PRIMARY KEY, at timestamp, span interval)");
    let endless = place.rows("SELECT current_setting('server_version_num')::int >= 170000") == ["t"];
    let s =
        schema("t", "other", 1, &[("id", T::Int64, ""), ("at", T::Extended, ""), ("span", T::Interval, "")]);
    let mut sink = prepared(&place, &[&s]).await;
    let span = |months, days, micros| Value::Interval(Interval { months, days, micros });
    let (from, to) = (span(i32::MIN, i32::MIN, i64::MIN), span(i32::MAX, i32::MAX, i64::MAX));
    let mut good = vec![(Value::Null, span(i32::MAX, i32::MAX, i64::MAX - 1))];
    let mut bad = vec![(extended("timestamp", "300000-02-30 00:00:00"), Value::Null)];
    bad.push((extended("timestamp", "294247-02-29 00:00:00"), Value::Null));
    bad.push((extended("timestamp", "294248-04-31 00:00:00"), Value::Null));
    good.push((extended("timestamp", "294248-02-29 00:00:00"), Value::Null));
    if endless { &mut good } else { &mut bad }.extend([(Value::Null, from), (Value::Null, to)]);
    for (at, span) in bad {
        let row = Row::new(vec![1.into(), at.clone(), span.clone()]);
        let refused = write(&mut sink, &events(&s, [Change::Insert(row)])).await.map(drop);
        let kind = refused.as_ref().map_err(Error::kind);
        assert_eq!(
            kind,
            Err(ErrorKind::ValueUnrepresentable),
            "{at:?} {span:?} {:?}",
            place.rows("SELECT * FROM t")
        );
    }
    for (at, span) in good {
        write(&mut sink, &events(&s, [Change::Insert(Row::new(vec![1.into(), at, span]))])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_comes_again_is_a_new_row() {
    let place = Place::with(
        "CREATE SEQUENCE n; CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text, extra text DEFAULT 'new', nothing text,
         counted bigint NOT NULL DEFAULT nextval('n'), same bigint GENERATED ALWAYS AS IDENTITY,
         made text GENERATED ALWAYS AS (a || '!') STORED);
         INSERT INTO t SELECT g, g, 'x', 'old', 'old', 0 FROM generate_series(1, 6) g",
    );
    let s = numbers("t");
    let mut sink = prepared(&place, &[&s]).await;
    let patch = Row::new(vec![3.into(), Value::Absent, "c".into()]);
    let changes = [
        Change::Delete(row(1, 0, "")),
        Change::Insert(row(1, 10, "a")),
        // No delete, so still the same row.
        Change::Insert(row(2, 20, "b")),
        Change::Delete(row(3, 0, "")),
        Change::Insert(row(3, 30, "x")),
        update(None, patch),
        Change::Delete(row(4, 0, "")),
        Change::Insert(row(4, 40, "d")),
        Change::Delete(row(4, 0, "")),
        update(None, row(5, 50, "e")),
        Change::Delete(row(7, 0, "")),
        Change::Insert(row(7, 70, "g")),
    ];
    write(&mut sink, &events(&s, changes)).await.unwrap();
    let found = place.rows("SELECT id, u, a, extra, nothing, counted > 0, same > 6, made FROM t ORDER BY id");
    assert_eq!(
        found,
        [
            "1|10|a|new|~|t|t|a!",
            "2|20|b|old|old|f|f|b!",
            "3|30|c|new|~|t|t|c!",
            "5|50|e|old|old|f|f|e!",
            "6|6|x|old|old|f|f|x!",
            "7|70|g|new|~|t|t|g!",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_the_target_that_fails_is_not_taken_for_something_else() {
    for (body, kind) in [
        ("INSERT INTO audit VALUES (1)", ErrorKind::TargetSchema),
        ("PERFORM no_such_function(1)", ErrorKind::TargetSchema),
        ("PERFORM NEW.no_such_column", ErrorKind::TargetSchema),
        ("RAISE undefined_table USING MESSAGE = ''s3cret ''''|| NEW.a", ErrorKind::Constraint),
        ("RAISE insufficient_privilege USING MESSAGE = ''s3cret''", ErrorKind::Constraint),
        ("RAISE check_violation USING MESSAGE = ''s3cret''", ErrorKind::Constraint),
        ("RAISE serialization_failure USING MESSAGE = ''s3cret''", ErrorKind::Busy),
    ] {
        let body = body.replace("''s3cret ''''|| NEW.a", "''s3cret'' || NEW.a");
        let place = Place::with(&format!(
            "CREATE TABLE audit(id int); CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text);
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {body}; RETURN NEW; END';
             CREATE TRIGGER g BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()"
        ));
        let s = numbers("t");
        let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": true }));
        for count in [1, 200] {
            let mut sink = endpoint.sink(&line("p")).await.unwrap();
            sink.prepare(&[target(&s)]).await.unwrap();
            let inserts = (1..=count).map(|id| Change::Insert(row(id, id, "x")));
            let error = write(&mut sink, &events(&s, inserts)).await.unwrap_err();
            let cause = std::error::Error::source(&error).map(|cause| cause.to_string()).unwrap_or_default();
            assert_eq!(error.kind(), kind, "{body}: {error}: {cause}");
            assert!(!format!("{error}{cause}").contains("s3cret"), "{body}: {error}: {cause}");
            if kind == ErrorKind::TargetSchema {
                assert!(error.to_string().contains("search_path"), "{body}: {error}");
            }
        }
    }
}

/// Such types bring an operator of their own, which no session of ours has in its path.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_types_that_extensions_bring_are_compared_as_they_say() {
    for (native, keys, same) in [
        ("ext.citext", ["Ann", "Bob", "Eve", "Max"], true),
        ("ext.folded", ["Ann", "Bob", "Eve", "Max"], true),
        ("ext.ltree", ["a.b", "a.c", "a.d", "a.e"], false),
        ("ext.cube", ["(1)", "(2)", "(3)", "(4)"], false),
    ] {
        let place = Place::with(&format!(
            "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION ltree SCHEMA ext; CREATE EXTENSION cube SCHEMA ext;
             CREATE DOMAIN ext.folded AS ext.citext; CREATE TABLE t(k {native} PRIMARY KEY, v text, mine text DEFAULT 'd')"
        ));
        let s = schema("t", "other", 1, &[("k", T::Extended, ""), ("v", T::Text, "")]);
        let one = |key: &str, v: &str| Row::new(vec![extended("x", key), v.into()]);
        let again = |key: &str| if same { key.to_uppercase() } else { key.to_string() };
        let mut sink = prepared(&place, &[&s]).await;
        write(&mut sink, &events(&s, keys[..3].iter().map(|key| Change::Insert(one(key, "1")))))
            .await
            .unwrap();
        place.sql("UPDATE t SET mine = 'own'");
        let changes = [
            update(None, one(&again(keys[0]), "2")),
            Change::Delete(one(&again(keys[1]), "")),
            update(Some(one(&again(keys[2]), "1")), one(keys[3], "3")),
        ];
        write(&mut sink, &events(&s, changes)).await.unwrap_or_else(|error| panic!("{native}: {error}"));
        let found = place.rows("SELECT k, v, mine FROM t ORDER BY v");
        assert_eq!(found, [format!("{}|2|own", again(keys[0])), format!("{}|3|own", keys[3])], "{native}");
        let asked = [sluice_types::Key(vec![extended("x", &again(keys[3]))])];
        let current = sink.begin().await.unwrap().current(&s, &asked).await.unwrap();
        assert!(current[0].is_some(), "{native}");
    }
}

/// What a trigger has put off is looked at before the commit, where nobody could say any more which event it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_puts_off_is_an_events_error() {
    let place = Place::with(
        "CREATE TABLE known(id bigint PRIMARY KEY); INSERT INTO known VALUES (1), (3), (4);
         CREATE TABLE audit(id bigint REFERENCES known DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.audit VALUES (NEW.id); RETURN NULL; END';
         CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    );
    let s = numbers("t");
    let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": true }));
    let mut sink = endpoint.sink(&line("p")).await.unwrap();
    sink.prepare(&[target(&s)]).await.unwrap();
    let mut transaction = sink.begin().await.unwrap();
    transaction.savepoint().await.unwrap();
    let all = events(&s, (1..=3).map(|id| Change::Insert(row(id, id, "x"))));
    let error = transaction.write(&all).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
    for (event, works) in all.iter().zip([true, false, true]) {
        transaction.rollback_to_savepoint().await.unwrap();
        let written = transaction.write(std::slice::from_ref(event)).await.map(drop);
        assert_eq!(
            written.map_err(|error| error.kind()),
            if works { Ok(()) } else { Err(ErrorKind::Constraint) }
        );
        if works {
            transaction.savepoint().await.unwrap();
        }
    }
    transaction.rollback_to_savepoint().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(place.rows("SELECT id FROM audit ORDER BY 1"), ["1", "3"]);
}

/// While the source's transaction goes on, what it needs may be yet to come.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_off_is_looked_at_when_all_pieces_are_written() {
    let place = Place::with(
        "CREATE TABLE known(id bigint PRIMARY KEY, u bigint, a text);
         CREATE TABLE t(id bigint PRIMARY KEY REFERENCES known DEFERRABLE, u bigint, a text)",
    );
    let (children, parents) = (numbers("t"), numbers("known"));
    let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": true }));
    let mut sink = endpoint.sink(&line("p")).await.unwrap();
    sink.prepare(&[target(&children), target(&parents)]).await.unwrap();
    for (known, settles) in [(1..=3, true), (4..=5, false)] {
        let all = if settles { 1..=3 } else { 4..=6 };
        let mut transaction = sink.begin().await.unwrap();
        transaction.put_off();
        for (table, ids) in [(&children, all), (&parents, known)] {
            transaction.savepoint().await.unwrap();
            let piece = events(table, ids.map(|id| Change::Insert(row(id, id, "x"))));
            transaction.write(&piece).await.unwrap();
        }
        let settled = transaction.settle().await;
        assert_eq!(
            settled.map_err(|error| error.kind()),
            if settles { Ok(()) } else { Err(ErrorKind::Constraint) }
        );
        if settles {
            transaction.commit().await.unwrap();
        }
    }
    assert_eq!(place.rows("SELECT id FROM t ORDER BY 1"), ["1", "2", "3"]);
}

/// Whatever other tables the sink writes, and though nobody may have asked it to write this one.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_whose_constraint_was_put_off_is_named() {
    let place = Place::with(
        "CREATE TABLE known(id bigint PRIMARY KEY, u bigint, a text);
         CREATE TABLE a(id bigint PRIMARY KEY, u bigint, a text); CREATE TABLE z(LIKE a INCLUDING ALL);
         CREATE TABLE m(id bigint PRIMARY KEY, u bigint CONSTRAINT needs_known REFERENCES known DEFERRABLE, a text);
         CREATE TABLE audit(id bigint CONSTRAINT audit_knows REFERENCES known DEFERRABLE INITIALLY DEFERRED);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.audit VALUES (NEW.id); RETURN NULL; END';
         CREATE TRIGGER g AFTER INSERT ON z FOR EACH ROW EXECUTE FUNCTION f()",
    );
    let tables = ["a", "m", "z", "known"].map(numbers);
    let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": true }));
    let mut sink = endpoint.sink(&line("p")).await.unwrap();
    sink.prepare(&tables.each_ref().map(target)).await.unwrap();
    for (table, named, constraint) in [("m", "m", "needs_known"), ("z", "audit", "audit_knows")] {
        let others = tables.iter().filter(|s| &*s.table.name != table);
        let all = others.chain(tables.iter().filter(|s| &*s.table.name == table));
        let all: Vec<_> = all
            .enumerate()
            .flat_map(|(at, s)| events(s, [Change::Insert(row(at as i64 + 10, 99, "x"))]))
            .filter(|event| {
                matches!(&*event.table.table.name, "a" | "known") || *event.table.table.name == *table
            })
            .collect();
        let mut transaction = sink.begin().await.unwrap();
        transaction.put_off();
        transaction.write(&all).await.unwrap();
        transaction.savepoint().await.unwrap();
        let error = transaction.settle().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
        let told = error.place().table.as_ref().unwrap();
        assert_eq!(&*told.name, named, "{error}");
        assert!(error.to_string().contains(constraint), "{error}");
        // What was put off may still come, or be looked at by each write again.
        transaction.rollback_to_savepoint().await.unwrap();
        let known = tables.iter().find(|s| &*s.table.name == "known").unwrap();
        let more = [99, 13].map(|id| Change::Insert(row(id, id, "x")));
        transaction.write(&events(known, more)).await.unwrap();
        transaction.savepoint().await.unwrap();
        let late = events(&tables[1], [Change::Insert(row(50, 51, "x"))]);
        assert_eq!(transaction.write(&late).await.unwrap_err().kind(), ErrorKind::Constraint);
    }
}

/// What one table asks for may be yet to come when another one is emptied; what the emptied one asks for is looked at before.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_leaves_the_constraints_of_other_tables_put_off() {
    let place = Place::with(
        "CREATE TABLE known(id bigint PRIMARY KEY, u bigint, a text);
         CREATE TABLE t(id bigint PRIMARY KEY REFERENCES known DEFERRABLE, u bigint, a text);
         CREATE TABLE other(id bigint PRIMARY KEY, u bigint REFERENCES other DEFERRABLE, a text); INSERT INTO other VALUES (7, 7)",
    );
    let [children, parents, other] = [numbers("t"), numbers("known"), numbers("other")];
    let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": true }));
    let mut sink = endpoint.sink(&line("p")).await.unwrap();
    sink.prepare(&[&children, &parents, &other].map(target)).await.unwrap();
    let mut all = events(&children, [Change::Insert(row(1, 1, "x"))]);
    all.extend(events(&other, [Change::Insert(row(8, 8, "gone")), Change::Truncate]));
    all.extend(events(&parents, [Change::Insert(row(1, 1, "x"))]));
    write(&mut sink, &all).await.unwrap();
    assert_eq!(place.rows("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM other)"), ["1|0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_that_brought_the_value_is_named() {
    let place = Place::new();
    let s = numbers("t");
    let mut sink = prepared(&place, &[&s]).await;
    write(&mut sink, &events(&s, [1, 2].map(|id| Change::Insert(row(id, id, "x"))))).await.unwrap();
    let part = |id: i64, u: Value, a: Value| update(None, Row::new(vec![id.into(), u, a]));
    let changes = [
        part(1, 5.into(), Value::Absent),
        part(2, Value::Absent, "a\0b".into()),
        part(2, 6.into(), Value::Absent),
    ];
    let error = write(&mut sink, &events(&s, changes)).await.unwrap_err();
    assert_eq!((error.kind(), error.event()), (ErrorKind::ValueUnrepresentable, Some(1)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_elses_settings_cut_a_writer_off_or_change_what_it_writes() {
    let place = Place::with(
        "CREATE DOMAIN d AS int; CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text[], beside d);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.3); RETURN NEW; END';
         CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t ENABLE ALWAYS TRIGGER g",
    );
    for setting in [
        "statement_timeout = '150ms'",
        "lock_timeout = '150ms'",
        "idle_in_transaction_session_timeout = '150ms'",
        "idle_session_timeout = '150ms'",
        "array_nulls = off",
        "quote_all_identifiers = on",
        "default_transaction_isolation = 'serializable'",
        "search_path = public, pg_catalog",
        "synchronous_commit = off",
        "default_transaction_read_only = on",
    ] {
        let name = setting.split(' ').next().unwrap();
        if place.rows(&format!("SELECT 1 FROM pg_settings WHERE name = '{name}'")).is_empty() {
            continue; // a server that is older
        }
        place.sql(&format!("ALTER DATABASE {} SET {setting}", place.database));
    }
    let s = schema("t", "other", 1, &[("id", T::Int64, ""), ("u", T::Int64, ""), ("a", T::Array, "")]);
    let mut sink = prepared(&place, &[&s]).await;
    let held = "SET default_transaction_read_only = off; BEGIN; LOCK TABLE t; SELECT pg_catalog.pg_sleep(0.4); COMMIT";
    std::thread::scope(|scope| {
        scope.spawn(|| place.sql(&format!("SET statement_timeout = 0; {held}")));
        std::thread::sleep(Duration::from_millis(100));
    });
    let mut transaction = sink.begin().await.unwrap();
    let one = Row::new(vec![1.into(), 1.into(), list(["a".into(), Value::Null])]);
    transaction.write(&events(&s, [Change::Insert(one)])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    transaction.commit().await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    write(&mut sink, &events(&s, [Change::Delete(Row::new(vec![2.into(), Value::Absent, Value::Absent]))]))
        .await
        .unwrap();
    assert_eq!(place.rows("SELECT a[2] IS NULL FROM t"), ["t"]);
}
