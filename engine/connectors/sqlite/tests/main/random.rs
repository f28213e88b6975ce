//! Random writers: whatever they do, the replica ends as the table, and every boundary is a state that the table had.

use proptest::prelude::*;

use crate::harness::{LIMITS, Line, Place};

/// Values of every storage class, from few enough that they collide.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("NULL".to_string()),
        (-3..4_i64).prop_map(|n| n.to_string()),
        (-3..4_i64).prop_map(|n| format!("{n}.5")),
        (-3..4_i64).prop_map(|n| format!("{n}.0")),
        "[aAbB]{0,2}".prop_map(|text| format!("'{text}'")),
        (0..4_u8).prop_map(|byte| format!("x'{byte:02x}ff'")),
        (0..4_u8).prop_map(|byte| format!("CAST(x'{byte:02x}ff' AS TEXT)")),
        (0..4_u8).prop_map(|n| format!("'{n}'")),
    ]
}

fn key() -> impl Strategy<Value = String> {
    (0..6_i64).prop_map(|n| n.to_string())
}

fn text_key() -> impl Strategy<Value = String> {
    "[abAB]".prop_map(|text| format!("'{text}'"))
}

fn statement() -> impl Strategy<Value = String> {
    let or =
        prop_oneof![Just(""), Just("OR REPLACE"), Just("OR IGNORE"), Just("OR FAIL"), Just("OR ROLLBACK")];
    let insert = (or.clone(), key(), value(), value(), value())
        .prop_map(|(or, k, a, b, c)| format!("INSERT {or} INTO t VALUES ({k}, {a}, {b}, {c})"));
    let update = (or.clone(), key(), value(), value())
        .prop_map(|(or, k, a, b)| format!("UPDATE {or} t SET a = {a}, b = {b} WHERE id = {k}"));
    let rekey = (or.clone(), key(), key())
        .prop_map(|(or, k, l)| format!("UPDATE {or} t SET id = {l} WHERE id = {k}"));
    let shift =
        (or.clone(), key()).prop_map(|(or, k)| format!("UPDATE {or} t SET id = id + 1 WHERE id > {k}"));
    let delete = key().prop_map(|k| format!("DELETE FROM t WHERE id >= {k}"));
    let upsert = (key(), value(), value()).prop_map(|(k, a, b)| {
        format!("INSERT INTO t VALUES ({k}, {a}, {b}, 0) ON CONFLICT DO UPDATE SET a = excluded.a, c = excluded.id")
    });
    let text = (or, text_key(), value(), text_key()).prop_map(|(or, k, a, l)| {
        format!("INSERT {or} INTO w(k, a) VALUES ({k}, {a}); UPDATE {or} w SET k = {l} WHERE k = {k}")
    });
    let untext = text_key().prop_map(|k| format!("DELETE FROM w WHERE k = {k}"));
    let control = prop_oneof![
        Just("BEGIN"),
        Just("COMMIT"),
        Just("COMMIT"),
        Just("ROLLBACK"),
        Just("SAVEPOINT s"),
        Just("ROLLBACK TO s"),
        Just("RELEASE s")
    ]
    .prop_map(str::to_string);
    prop_oneof![4 => insert, 2 => update, 1 => rekey, 1 => shift, 1 => delete, 1 => upsert, 2 => text, 1 => untext, 3 => control]
}

#[derive(Debug, Clone)]
enum Step {
    Write(String),
    Read,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![8 => statement().prop_map(Step::Write), 1 => Just(Step::Read)];
    proptest::collection::vec(step, 1..60)
}

const TABLES: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b TEXT COLLATE NOCASE, c REAL);
     CREATE UNIQUE INDEX e ON t(lower(b)) WHERE c > 0;
     CREATE TABLE w(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, a NUMERIC UNIQUE)";

async fn replay(steps: Vec<Step>, rows: usize, recursive: bool) {
    let place = Place::with(TABLES);
    let mut line = Line::start(&place, &["t", "w"]).await;
    let writer = place.writer();
    writer.pragma_update(None, "recursive_triggers", recursive).unwrap();
    writer.pragma_update(None, "synchronous", "OFF").unwrap();
    let limits = sluice_types::ports::ReadLimits { rows, ..LIMITS };
    for step in steps.into_iter().chain([Step::Write("COMMIT".into()), Step::Read]) {
        match step {
            // Many fail, as a writer's statements do.
            Step::Write(sql) => drop(writer.execute_batch(&sql)),
            Step::Read => {
                line.catch_up_within(limits).await.unwrap();
                line.assert_same(&place, "t");
                line.assert_same(&place, "w");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_replica_follows_any_writer(steps in steps(), rows in prop_oneof![Just(1000_usize), 1..4_usize], recursive: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(replay(steps, rows, recursive));
    }
}
