//! What the boundary costs, printed: `cargo test -p sluice-wasm --release -- --ignored --nocapture boundary`.

use std::time::{Duration, Instant};

use sluice_types::{Change, Column, ColumnType, Event, Row, TableSchema, Value};
use sluice_wasm::StepSpec;

use crate::support::{TestHost, events, table};

const EVENTS: i64 = 1_000;

/// 20 columns, of which two are read: `email` and `amount`.
fn wide() -> std::sync::Arc<TableSchema> {
    let names: Vec<String> = (0..20).map(|at| format!("column{at}")).collect();
    let mut columns: Vec<(&str, ColumnType)> =
        names.iter().map(|name| (name.as_str(), ColumnType::Text)).collect();
    columns[0] = ("id", ColumnType::Int64);
    columns[7] = ("email", ColumnType::Text);
    columns[11] = ("amount", ColumnType::Text);
    table(&columns)
}

/// 40 % inserts, 40 % updates, 20 % deletes.
fn batch(table: &std::sync::Arc<TableSchema>) -> Vec<Event> {
    let row = |id: i64| {
        let mut row = Row::with_columns(20);
        row.push(Value::Int64(id));
        for column in 1..20 {
            row.push(Value::Text(match column {
                7 => format!("Person.{id}@Example.COM").into(),
                11 => format!("{}", id * 37).into(),
                _ => format!("some text {id}").into(),
            }));
        }
        row
    };
    let change = |id: i64| match id % 5 {
        0 | 1 => Change::Insert(row(id)),
        2 | 3 => Change::Update { before: Some(row(id)), after: row(id) },
        _ => Change::Delete(row(id)),
    };
    events(table, (0..EVENTS).map(change).collect())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let each = |time: Duration| time.as_nanos() / EVENTS as u128;
    println!("{what:<24} {:>5} ns/event (minimum {})", each(times[times.len() / 2]), each(times[0]));
}

/// The same work on the engine's rows.
fn native(events: &mut [Event], output: &std::sync::Arc<TableSchema>) {
    for event in events {
        for row in event.change.images_mut() {
            let email = match row.get(7) {
                Value::Text(text) => Value::Text(text.to_ascii_lowercase().into()),
                other => other.clone(),
            };
            let amount = match row.get(11) {
                Value::Text(text) => text.parse().map_or(Value::Null, Value::Int64),
                other => other.clone(),
            };
            row.push(email);
            row.push(amount);
        }
        event.table = output.clone();
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn boundary() {
    let host = TestHost::new().await;
    let table = wide();
    let mut output = (*table).clone();
    output.columns.push(Column { slot: 20, ..output.columns[7].clone() });
    let output = std::sync::Arc::new(output);
    let times = (0..150)
        .map(|_| {
            let mut events = batch(&table);
            let started = Instant::now();
            native(&mut events, &output);
            started.elapsed()
        })
        .collect();
    report("native closure", times);
    for (what, steps) in [
        ("echo 2 of 20", vec![r#"{"do":"echo","read":["email","amount"]}"#]),
        ("read 2 of 20", vec![r#"{"do":"nothing","read":["email","amount"]}"#]),
        ("echo with selects", vec![r#"{"do":"fan-out","times":1,"read":["email","amount"]}"#]),
        ("rename only", vec![r#"{"do":"nothing","read":[],"rename":[["email","mail"]]}"#]),
        ("three echoes", vec![r#"{"do":"echo","read":["email","amount"]}"#; 3]),
    ] {
        let steps = steps.into_iter().map(|config| StepSpec::new("probe", config, "p")).collect();
        let mut line = host.open(&table, steps).await.unwrap();
        let mut times = Vec::new();
        for _ in 0..150 {
            let events = batch(&table);
            let started = Instant::now();
            let made = line.transform.apply(events).await.unwrap();
            times.push(started.elapsed());
            drop(made);
        }
        report(what, times);
    }
}
