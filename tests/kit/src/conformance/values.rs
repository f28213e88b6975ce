//! Every value of a connector's `VALUES.md`, read by a snapshot and by the stream.

use sluice_types::{Change, ColumnType, Value};

use super::Harness;
use super::world::{LARGE, World, sorted};
use crate::statement::{Statement, TableDef};

/// One table per native type, with every value of the type.
async fn value_tables<H: Harness>(world: &World<H>) -> Vec<(TableDef, Vec<(String, Value)>)> {
    let mut tables: Vec<(TableDef, Vec<(String, Value)>)> = Vec::new();
    for value in H::values() {
        let same = |(def, _): &&mut (TableDef, Vec<_>)| def.columns[1].2 == value.native;
        let entry = (value.literal, value.value);
        if let Some((_, values)) = tables.iter_mut().find(same) {
            values.push(entry);
            continue;
        }
        let table = H::table(&format!("v{}", tables.len()));
        let def = TableDef::new(&table).column("id", ColumnType::Int64);
        tables.push((def.native_column("v", value.ty, &value.native).key(&["id"]), vec![entry]));
    }
    for (def, _) in &tables {
        world.native(&[Statement::CreateTable(def.clone())]).await;
    }
    tables
}

/// Every value of the connector's list is read by a snapshot as the list says.
pub async fn values_by_snapshot<H: Harness>() {
    let world = World::<H>::empty().await;
    for (def, values) in value_tables(&world).await {
        for (id, (literal, _)) in values.iter().enumerate() {
            world.harness.insert_literal(&def.table, id as i64, literal).await;
        }
        let mut held = world.held_tables(std::slice::from_ref(&def.table)).await;
        let rows = held.chunks(1, &LARGE).await.into_iter().flat_map(|chunk| chunk.rows);
        let read = sorted(&held.schemas[0], rows);
        let native = &def.columns[1].2;
        assert_eq!(read.len(), values.len(), "{native}");
        for (row, (literal, value)) in read.iter().zip(&values) {
            assert_eq!(&row[1], value, "{native} {literal}");
        }
    }
}

/// And by the stream, from the same decoder: inserted, updated to, and deleted.
pub async fn values_by_stream<H: Harness>() {
    let world = World::<H>::empty().await;
    let tables = value_tables(&world).await;
    let names: Vec<_> = tables.iter().map(|(def, _)| def.table.clone()).collect();
    let mut held = world.held_tables(&names).await;
    held.open(held.start.clone(), 0).await;
    for (def, values) in &tables {
        for (id, (literal, _)) in values.iter().enumerate() {
            world.harness.insert_literal(&def.table, id as i64, literal).await;
        }
        world.native(&[Statement::Truncate { table: def.table.clone() }]).await;
    }
    let events = held.events().await;
    for (def, values) in &tables {
        let native = &def.columns[1].2;
        let of_table = || events.iter().filter(|event| event.table.table == def.table);
        let inserts: Vec<_> = of_table().filter(|event| matches!(event.change, Change::Insert(_))).collect();
        assert_eq!(inserts.len(), values.len(), "{native}");
        for (event, (literal, value)) in inserts.iter().zip(values) {
            let slot = event.table.columns[1].slot;
            assert_eq!(event.change.after().unwrap().get(slot), value, "{native} {literal}");
        }
        for event in of_table() {
            let (Change::Delete(image), Some(column)) = (&event.change, event.table.columns.get(1)) else {
                continue;
            };
            let Value::Int64(id) = image.get(0) else { panic!("the key is an integer") };
            let (got, (literal, value)) = (image.get(column.slot), &values[*id as usize]);
            assert!(!got.is_present() || got == value, "{native} {literal} in a before image: {got:?}");
        }
    }
}
