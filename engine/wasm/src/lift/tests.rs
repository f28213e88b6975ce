//! Whatever comes back: valid rows or a defect, never a panic.

use std::sync::Arc;

use proptest::prelude::*;
use sluice_types::{Change, Event, TableId, TableSchema};

use super::*;
use crate::contract::{Blobs, ColumnInfo, Plan, Strings, Written, to_wit};
use crate::lower::{Excluded, rows};
use crate::pairing::{Reshaped, reshape};
use crate::plan::{self, StepInput};
use crate::spec::StepSpec;

const TYPES: [ColumnType; 8] = [
    ColumnType::Text,
    ColumnType::Boolean,
    ColumnType::Time,
    ColumnType::Float32,
    ColumnType::Decimal,
    ColumnType::ObjectId,
    ColumnType::Uuid,
    ColumnType::Document,
];

fn table() -> Arc<TableSchema> {
    let column = |(slot, ty): (u32, ColumnType)| sluice_types::Column {
        name: format!("c{slot}").into(),
        ty,
        native: "".into(),
        nullable: true,
        slot,
    };
    Arc::new(TableSchema {
        table: TableId::parse("t"),
        database: "d".into(),
        kind: "k".into(),
        version: 1,
        columns: (0u32..).zip([ColumnType::Int64, ColumnType::Text]).map(column).collect(),
        key: vec![0],
        before_images: true,
    })
}

/// Writes a new column of every type, may do everything.
fn checked_plan() -> CheckedPlan {
    let written = |(at, ty): (u32, &ColumnType)| Written {
        index: 2 + at,
        column: ColumnInfo {
            name: format!("new{at}"),
            type_: to_wit(*ty),
            native: String::new(),
            nullable: at % 2 == 0,
            key: false,
        },
        from: vec![1],
        deterministic: true,
    };
    let plan = Plan {
        read: vec![1],
        write: (0u32..).zip(&TYPES).map(written).collect(),
        rename: vec![],
        drop: vec![],
        before_images: true,
        selects: true,
        changes_kinds: true,
        joined_text: true,
        routes: vec!["side".into()],
    };
    let table = table();
    let input = StepInput::first(&table, &table);
    match plan::check(plan, &input, &StepSpec::new("p", "{}", "")) {
        Ok(plan) => plan,
        Err(findings) => panic!("{findings:?}"),
    }
}

fn events() -> Vec<Event> {
    let row = |id: i64| Row::new(vec![Value::Int64(id), "text".into()]);
    let changes = [
        Change::Insert(row(1)),
        Change::Update { before: Some(row(2)), after: row(2) },
        Change::Update { before: None, after: row(3) },
        Change::Truncate,
        Change::Delete(row(4)),
        Change::Update { before: Some(row(5)), after: row(5) },
    ];
    let table = table();
    (0u64..).zip(changes).map(|(at, change)| Event::new(table.clone(), change, 0, at)).collect()
}

/// Mostly `right`, sometimes anything.
fn near(right: usize) -> impl Strategy<Value = usize> {
    prop_oneof![8 => Just(right), 1 => 0..right + 3]
}

fn list<T: std::fmt::Debug + Clone>(
    element: impl Strategy<Value = T> + Clone,
    right: usize,
) -> impl Strategy<Value = Vec<T>> {
    near(right).prop_flat_map(move |length| proptest::collection::vec(element.clone(), length))
}

fn offsets(rows: usize, end: usize) -> impl Strategy<Value = Vec<u32>> {
    let right = move |mut cuts: Vec<u32>| {
        cuts.sort();
        let middle = cuts.into_iter().map(move |cut| cut % (end as u32 + 1));
        let mut all: Vec<u32> = std::iter::once(0).chain(middle).chain([end as u32]).collect();
        all.sort();
        all
    };
    prop_oneof![
        6 => proptest::collection::vec(any::<u32>(), rows.saturating_sub(1)).prop_map(right),
        1 => Just(vec![]),
        1 => proptest::collection::vec(any::<u32>(), 0..rows + 3),
        1 => proptest::collection::vec(0..8u32, rows + 1),
    ]
}

fn data(rows: usize) -> impl Strategy<Value = ColumnData> {
    let text = prop_oneof!["[a-z0-9]{0,12}", "[\u{0}\u{e9}\u{1f600}1-9]{0,8}", "(\\{\"a\":1\\}){0,3}"];
    prop_oneof![
        list(0..3u8, rows).prop_map(ColumnData::Bools),
        list(any::<i64>(), rows).prop_map(ColumnData::Ints),
        list(0..100i64, rows).prop_map(ColumnData::Ints),
        list(any::<f64>(), rows).prop_map(ColumnData::Floats),
        list(Just(0.5), rows).prop_map(ColumnData::Floats),
        list(any::<u8>(), rows * 16).prop_map(ColumnData::Uuids),
        text.prop_flat_map(move |data| {
            offsets(rows, data.len())
                .prop_map(move |offsets| ColumnData::Strings(Strings { offsets, data: data.clone() }))
        }),
        proptest::collection::vec(any::<u8>(), rows * 12).prop_flat_map(move |data| {
            let twelve = (0..=rows as u32).map(|row| row * 12).collect::<Vec<_>>();
            prop_oneof![Just(twelve), offsets(rows, data.len())]
                .prop_map(move |offsets| ColumnData::Blobs(Blobs { offsets, data: data.clone() }))
        }),
    ]
}

fn output(sent: usize) -> impl Strategy<Value = Output> {
    let select = proptest::option::of(prop_oneof![
        6 => proptest::collection::vec(0..sent as u32, 0..12).prop_map(|mut all| { all.sort(); all }),
        1 => proptest::collection::vec(0..sent as u32 + 2, 0..12),
    ]);
    select.prop_flat_map(move |select| {
        let rows = select.as_ref().map_or(sent, Vec::len);
        let state = prop_oneof![4 => Just(vec![]), 2 => list(0..3u8, rows), 1 => list(0..4u8, rows)];
        let column =
            (0..11u32, state, data(rows)).prop_map(|(index, state, data)| Column { index, state, data });
        let reject = (0..sent as u32 + 1, proptest::option::of(0..12u32))
            .prop_map(|(row, column)| RowError { row, column, message: "no".into() });
        (
            proptest::collection::vec(column, 0..4),
            prop_oneof![3 => Just(vec![]), 1 => list(0..5u8, rows), 1 => list(Just(1u8), rows)],
            prop_oneof![3 => Just(vec![]), 1 => list(0..2u16, rows), 1 => list(0..3u16, rows)],
            prop_oneof![4 => Just(vec![]), 1 => proptest::collection::vec(reject, 0..3)],
        )
            .prop_map(move |(columns, kinds, routes, rejects)| Output {
                columns,
                select: select.clone(),
                kinds,
                routes,
                rejects,
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_is_valid_rows_or_a_defect(output in output(7)) {
        // Left out, these would be defects of nearly every answer.
        let mut plan = checked_plan();
        plan.writes.iter_mut().for_each(|write| write.nullable = true);
        let events = events();
        let mut images = Images::default();
        images.collect(&events, true, &Excluded::new());
        prop_assert_eq!(rows(&events, &images, true, &Excluded::new()).len(), 7);
        let Ok(answer) = check(output, &plan, &images) else { return Ok(()) };
        let rejected: Vec<u32> = answer.rejects.iter().map(|reject| images.events[reject.row as usize]).collect();
        let mut to = Reshaped::default();
        let count = events.len() as u32;
        let outcome = reshape(events, &images, &answer, &plan, |_| true, |at| rejected.contains(&at), &mut to);
        // Nothing is lost, whatever came back.
        for at in 0..count {
            prop_assert!(to.events.iter().any(|(from, ..)| *from == at) || to.kept.iter().any(|(from, _)| *from == at));
        }
        if outcome.is_err() {
            return Ok(());
        }
        for (from, route, mut event) in to.events {
            prop_assert!(!rejected.contains(&from));
            prop_assert!(route <= 1);
            for row in event.change.images_mut() {
                prop_assert_eq!(row.values().len(), 2 + TYPES.len());
                for (value, ty) in row.values()[2..].iter().zip(TYPES) {
                    prop_assert!(ty.holds(value), "{:?} is no {}", value, ty);
                }
            }
        }
    }
}
