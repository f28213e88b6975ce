use sluice_types::{Column, ColumnType, TableId};

use super::*;
use crate::codec::Codec;
use crate::table::{Shape, ShapeColumn, Unique};
use crate::values::Kind;

fn schema() -> Arc<TableSchema> {
    let column = |name: &str, slot| Column {
        name: name.into(),
        ty: ColumnType::Int64,
        native: "bigint".into(),
        nullable: slot > 0,
        slot,
    };
    Arc::new(TableSchema {
        table: TableId::new("", "t"),
        database: "d".into(),
        kind: "other".into(),
        version: 1,
        columns: vec![column("id", 0), column("a", 1), column("b", 2)],
        key: vec![0],
        before_images: false,
    })
}

fn plan(schema: &Arc<TableSchema>, loose: bool) -> Arc<Plan> {
    let column = |name: &str| ShapeColumn {
        name: name.into(),
        kind: Kind::Int8,
        codec: Codec::Int8,
        loose,
        declared: "bigint".into(),
        type_oid: 20,
        cast: "bigint".into(),
        held: Kind::Int8,
        is_domain: false,
        has_binary: true,
        bare_oid: 20,
        bare_array: Some("bigint[]".into()),
        equal: "=".into(),
        not_null: false,
        has_default: false,
        identity_always: false,
        generated: false,
        is_virtual: false,
    };
    let shape = Shape {
        oid: 1,
        row_type: 2,
        schema: "public".into(),
        name: "t".into(),
        relkind: 'r',
        unlogged: false,
        columns: vec![column("id"), column("a"), column("b")],
        uniques: vec![Unique { columns: vec!["id".into()], primary: true, odd: false }],
        deferrable: false,
        deferrable_uniques: vec![],
        triggers: vec![],
        rules: vec![],
        policies: false,
        foreign_keys: false,
        cascades: false,
    };
    Arc::new(Plan::new(schema.clone(), Arc::new(shape), false).unwrap())
}

fn row(id: i64, a: Option<i64>, b: Option<i64>) -> Row {
    let value = |one: Option<i64>| one.map_or(Value::Absent, Value::Int64);
    Row::new(vec![Value::Int64(id), value(a), value(b)])
}

fn insert(id: i64, a: i64) -> Change {
    Change::Insert(row(id, Some(a), Some(0)))
}

fn patch(id: i64, a: i64) -> Change {
    Change::Update { before: None, after: row(id, Some(a), None) }
}

fn put(id: i64, a: i64) -> Change {
    Change::Update { before: None, after: row(id, Some(a), Some(0)) }
}

fn delete(id: i64) -> Change {
    Change::Delete(row(id, None, None))
}

fn moved(from: i64, to: i64) -> Change {
    Change::Update { before: Some(row(from, None, None)), after: row(to, None, Some(1)) }
}

/// The segments' steps as `op key a`, and where each begins.
fn folded(changes: Vec<Change>, loose: bool) -> Vec<Vec<String>> {
    let schema = schema();
    let plan = plan(&schema, loose);
    let events: Vec<Event> = changes
        .into_iter()
        .enumerate()
        .map(|(at, change)| Event::new(schema.clone(), change, 0, at as u64))
        .collect();
    let mut segments = vec![];
    let mut at = 0;
    while at < events.len() {
        let segment = Segment::fold(&events, at..events.len(), |_| Ok(plan.clone())).unwrap();
        assert!(segment.end > at);
        at = segment.end;
        let mut shown: Vec<String> = segment.truncated.iter().map(|_| "truncate".to_string()).collect();
        for step in segment.tables.iter().flat_map(|table| &table.steps) {
            let number = |value: &Value| match value {
                Value::Int64(number) => number.to_string(),
                other => other.type_name().into(),
            };
            let values = match step.op {
                Op::Delete => String::new(),
                _ => format!(" {}", number(segment.value(step, 1))),
            };
            shown.push(format!("{:?} {}{values}", step.op, number(segment.key_value(step, 0))));
        }
        shown.extend(segment.partial.iter().map(|at| format!("partial {at}")));
        segments.push(shown);
    }
    segments
}

#[test]
fn changes_of_one_key_become_one() {
    for (changes, steps) in [
        (vec![insert(1, 1), put(1, 2), patch(1, 3)], vec!["Insert 1 3"]),
        (vec![insert(1, 1), delete(1)], vec!["Delete 1"]),
        (vec![delete(1), insert(1, 2)], vec!["Replace 1 2"]),
        (vec![put(1, 1), patch(1, 2)], vec!["Update 1 2"]),
        (vec![patch(1, 1), put(1, 2)], vec!["Update 1 2"]),
        (vec![patch(1, 1), insert(1, 2)], vec!["Upsert 1 2"]),
        (vec![delete(1), patch(1, 2)], vec!["Delete 1", "partial 1"]),
        (vec![patch(1, 1), delete(1), insert(1, 5), patch(1, 6)], vec!["Replace 1 6"]),
        (vec![insert(1, 1), insert(2, 2), put(1, 3)], vec!["Insert 1 3", "Insert 2 2"]),
    ] {
        assert_eq!(folded(changes, false), [steps]);
    }
}

#[test]
fn a_patch_remembers_every_event_it_is_made_of() {
    let schema = schema();
    let plan = plan(&schema, false);
    let b = Change::Update { before: None, after: row(1, None, Some(7)) };
    let events: Vec<Event> =
        [patch(1, 1), b, patch(1, 2)].map(|change| Event::new(schema.clone(), change, 0, 0)).into();
    let segment = Segment::fold(&events, 0..3, |_| Ok(plan.clone())).unwrap();
    let step = &segment.tables[0].steps[0];
    assert_eq!(segment.events_of(step).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!((segment.value(step, 1), segment.value(step, 2)), (&Value::Int64(2), &Value::Int64(7)));
}

#[test]
fn a_key_that_moves_commutes_with_other_keys_only() {
    assert_eq!(folded(vec![insert(1, 1), moved(2, 3), insert(4, 4)], false).len(), 1);
    let chain = folded(vec![moved(1, 9), moved(2, 1), moved(9, 2)], false);
    assert_eq!(chain, [["Move 1 absent"], ["Move 2 absent"], ["Move 9 absent"]]);
    assert_eq!(folded(vec![moved(1, 2), insert(1, 5)], false).len(), 2);
    assert_eq!(folded(vec![insert(2, 5), moved(1, 2)], false).len(), 2);
    // The same key written out is no move.
    assert_eq!(folded(vec![moved(1, 1)], false), [["Patch 1 absent"]]);
}

#[test]
fn many_steps_go_in_the_order_of_their_keys() {
    let count = SORT_STEPS_MIN as i64;
    let mut changes: Vec<Change> = (0..count).map(|n| insert(1 + n * 37 % count, n)).collect();
    changes.extend([moved(5_000, 0), delete(3), put(7, 1)]);
    let steps = folded(changes, false).concat();
    assert_eq!(steps.len() as i64, count + 1, "a row with two keys is one step");
    let key = |step: &String| step.split(' ').nth(1).unwrap().parse().unwrap();
    let keys: Vec<i64> = steps.iter().map(key).collect();
    // A move stands where the first of its keys does.
    assert_eq!(keys[0], 5_000);
    assert!(keys[1..].is_sorted(), "{keys:?}");
    assert!(steps.contains(&"Delete 3".to_string()), "{steps:?}");
}

#[test]
fn a_truncate_stands_alone() {
    let expected = [vec!["Insert 1 1"], vec!["truncate", "truncate"], vec!["Insert 1 2"]];
    assert_eq!(folded(vec![insert(1, 1), Change::Truncate, Change::Truncate, insert(1, 2)], false), expected);
}

#[test]
fn keys_that_may_be_the_same_are_not_folded() {
    assert_eq!(folded(vec![insert(1, 1), put(1, 2)], true), [["Insert 1 1"], ["Update 1 2"]]);
}

#[test]
fn two_shapes_of_one_table_are_not_mixed() {
    let (one, two) = (schema(), schema());
    let plans = [plan(&one, false), plan(&two, false)];
    let events = [Event::new(one.clone(), insert(1, 1), 0, 0), Event::new(two.clone(), delete(1), 0, 1)];
    let plan_of = |schema: &Arc<TableSchema>| Ok(plans[usize::from(Arc::ptr_eq(schema, &two))].clone());
    assert_eq!(Segment::fold(&events, 0..2, plan_of).unwrap().end, 1);
}
