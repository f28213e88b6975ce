//! How fast the sink writes, and what that costs here and there: the engine's and the server's CPU per row.
//!
//! `cargo run --release -p sluice-postgres --example postgres-throughput -- URL [rows per batch] [rows]`, where URL is a database to be filled.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use sluice_postgres::Connector;
use sluice_types::ports::{Clock, Connector as _, LineContext, Sink, SpillRoom, TargetTable};
use sluice_types::{Change, Column, ColumnType, Event, Row, Settings, TableId, TableSchema, Text, Value};

struct RealClock;

#[async_trait]
impl Clock for RealClock {
    fn now_micros(&self) -> i64 {
        0
    }
    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// Twenty mixed columns, about 500 bytes.
fn schema() -> Arc<TableSchema> {
    let types = [
        (ColumnType::Int64, "bigint", 6),
        (ColumnType::Int64, "integer", 1),
        (ColumnType::Float64, "double precision", 3),
        (ColumnType::Decimal, "numeric(12,2)", 1),
        (ColumnType::Text, "text", 6),
        (ColumnType::Timestamptz, "timestamp with time zone", 2),
        (ColumnType::Boolean, "boolean", 1),
    ];
    let list = types.iter().flat_map(|(ty, native, count)| std::iter::repeat_n((*ty, *native), *count));
    let column = |(slot, (ty, native)): (usize, (ColumnType, &str))| Column {
        name: format!("c{slot}").into(),
        ty,
        native: native.into(),
        nullable: slot > 0,
        slot: slot as u32,
    };
    Arc::new(TableSchema {
        table: TableId::new("public", "throughput"),
        database: "d".into(),
        kind: "postgres".into(),
        version: 1,
        columns: list.enumerate().map(column).collect(),
        key: vec![0],
        before_images: false,
    })
}

fn row(schema: &TableSchema, id: i64, version: i64, text: &Text) -> Row {
    let value = |column: &Column| match column.ty {
        ColumnType::Int64 if column.slot == 0 => Value::Int64(id),
        ColumnType::Int64 => Value::Int64((id * 7 + version) & 0xff_ffff),
        ColumnType::Float64 => Value::Float64(id as f64 / 3.0),
        ColumnType::Decimal => Value::Decimal(text.slice_ref(&text[..0])),
        ColumnType::Text => Value::Text(text.clone()),
        ColumnType::Timestamptz => Value::Timestamptz(id * 1000 + version),
        _ => Value::Bool(id % 2 == 0),
    };
    let mut row = Row::new(schema.columns.iter().map(value).collect());
    let mut values = row.values().to_vec();
    values[10] = Value::Decimal("12345.67".into());
    row = Row::new(values);
    row
}

/// Seconds of CPU of a process.
fn cpu(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// The process of the sink's session.
fn backend() -> String {
    let mut found: Vec<(u64, String)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().into_string().ok()?;
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let ours = line.starts_with("postgres: ") && (line.contains("idle") || line.contains("INSERT"));
            Some((pid.parse().ok()?, pid)).filter(|_| ours)
        })
        .collect();
    found.sort();
    found.pop().unwrap().1
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let batch: usize = std::env::args().nth(2).map_or(10_000, |text| text.parse().unwrap());
    let rows: i64 = std::env::args().nth(3).map_or(200_000, |text| text.parse().unwrap());
    let mut settings = Settings::new("", json!({ "url": url }));
    let endpoint = Connector.parse("d", &mut settings, std::path::Path::new(".")).unwrap();
    let line = LineContext {
        pipeline: "throughput".into(),
        install: "0123456789abcdef".into(),
        clock: Arc::new(RealClock),
        spill: SpillRoom::new("spill", 0),
    };
    let schema = schema();
    let mut sink = endpoint.sink(&line).await.unwrap();
    sink.prepare(&[TargetTable { schema: schema.clone(), path: String::new() }]).await.unwrap();
    let backend = backend();
    let text = Text::from("some text of a usual length, about fifty bytes long");
    let mut order: Vec<i64> = (0..rows).collect();
    let mut seed = 12_345_u64;
    for at in (1..order.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (seed >> 33) as usize % (at + 1));
    }
    let absent = |mut row: Row| {
        let mut values = row.values().to_vec();
        values[12..14].fill(Value::Absent);
        row = Row::new(values);
        row
    };
    for (name, shuffled, change) in [
        ("insert", false, 0),
        ("insert again", false, 0),
        ("update", true, 1),
        ("patch", true, 2),
        ("delete", true, 3),
        ("insert", false, 0),
        ("mixed 5:3:2", true, 4),
        ("delete", true, 3),
    ] {
        let ids: Vec<i64> = if shuffled { order.clone() } else { (0..rows).collect() };
        let make = |id: i64| match change {
            0 => Change::Insert(row(&schema, id, 0, &text)),
            1 => Change::Update { before: None, after: row(&schema, id, 1, &text) },
            2 => Change::Update { before: None, after: absent(row(&schema, id, 2, &text)) },
            3 => Change::Delete(row(&schema, id, 2, &text)),
            _ if id % 10 < 5 => Change::Insert(row(&schema, id + rows, 3, &text)),
            _ if id % 10 < 8 => Change::Update { before: None, after: row(&schema, id, 3, &text) },
            _ => Change::Delete(row(&schema, id, 2, &text)),
        };
        let events: Vec<Event> = ids
            .iter()
            .enumerate()
            .map(|(at, id)| Event::new(schema.clone(), make(*id), 0, at as u64))
            .collect();
        let (started, here, there) = (Instant::now(), cpu("self"), cpu(&backend));
        for part in events.chunks(batch) {
            write(&mut sink, part).await;
        }
        let each = |seconds: f64| seconds * 1e6 / rows as f64;
        println!(
            "{name:>14}: {:>6.2} us/row, here {:>5.2}, server {:>5.2}",
            each(started.elapsed().as_secs_f64()),
            each(cpu("self") - here),
            each(cpu(&backend) - there)
        );
    }
}

async fn write(sink: &mut Box<dyn Sink>, events: &[Event]) {
    let mut transaction = sink.begin().await.unwrap();
    transaction.savepoint().await.unwrap();
    transaction.write(events).await.unwrap();
    transaction.commit().await.unwrap();
}
