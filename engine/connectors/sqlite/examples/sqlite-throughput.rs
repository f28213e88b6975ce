//! What the connector costs, beside what SQLite itself takes: `cargo run --release -p sluice-sqlite --example sqlite-throughput [rows]`.
//!
//! Rows have 20 columns and about 500 bytes. Each figure is of one run; compare those of one run only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a program for the terminal

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use sluice_sqlite::Connector;
use sluice_types::ports::{
    Clock, Connector as _, Endpoint, LineContext, Read, ReadLimits, SpillRoom, StreamStart, TargetTable,
};
use sluice_types::{Change, Event, KeyRange, Settings, TableId};

const LIMITS: ReadLimits = ReadLimits { rows: 5_000, bytes: 8 << 20 };

struct RealClock;

#[async_trait::async_trait]
impl Clock for RealClock {
    fn now_micros(&self) -> i64 {
        0
    }
    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn endpoint(path: &Path) -> Arc<dyn Endpoint> {
    let mut settings = Settings::new("d", serde_json::json!({ "path": path }));
    Connector.parse("d", &mut settings, Path::new("/")).expect("settings")
}

/// Inserts rows in transactions of `per`; returns rows per second.
fn fill(connection: &Connection, from: i64, rows: i64, per: i64) -> f64 {
    let text: Vec<String> = (0..10).map(|i| format!("some text of row {i} {}", "x".repeat(28))).collect();
    let begun = Instant::now();
    let mut statement =
        connection.prepare(&format!("INSERT INTO t VALUES ({})", vec!["?"; 20].join(","))).unwrap();
    for id in from..from + rows {
        if (id - from) % per == 0 {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        for column in 1..=20 {
            match column {
                1..=6 => {
                    statement.raw_bind_parameter(column, id * column as i64 / (column as i64).max(1)).unwrap()
                }
                7..=10 => statement.raw_bind_parameter(column, id as f64 * 1.5).unwrap(),
                _ => statement.raw_bind_parameter(column, &text[column - 11]).unwrap(),
            }
        }
        statement.raw_execute().unwrap();
        if (id - from + 1) % per == 0 || id + 1 == from + rows {
            connection.execute_batch("COMMIT").unwrap();
        }
    }
    rows as f64 / begun.elapsed().as_secs_f64()
}

fn update(connection: &Connection, rows: i64, per: i64) -> f64 {
    let begun = Instant::now();
    let mut statement = connection.prepare("UPDATE t SET c3 = c3 + 1, c15 = ?1 WHERE c0 = ?2").unwrap();
    for id in 0..rows {
        if id % per == 0 {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        statement.execute(("another text, about as long as the one that was", id)).unwrap();
        if (id + 1) % per == 0 || id + 1 == rows {
            connection.execute_batch("COMMIT").unwrap();
        }
    }
    rows as f64 / begun.elapsed().as_secs_f64()
}

fn file(path: &Path, wal: bool) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    if wal {
        connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    }
    connection.execute_batch(&format!("CREATE TABLE t({})", columns())).unwrap();
    connection
}

fn columns() -> String {
    let column = |i: i32| match i {
        0 => "c0 INTEGER PRIMARY KEY".to_string(),
        1..=5 => format!("c{i} INTEGER"),
        6..=9 => format!("c{i} REAL"),
        _ => format!("c{i} TEXT"),
    };
    (0..20).map(column).collect::<Vec<_>>().join(", ")
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[tokio::main]
async fn main() {
    let rows: i64 = std::env::args().nth(1).map_or(200_000, |rows| rows.parse().expect("a number of rows"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let line = LineContext {
        pipeline: "p".into(),
        install: "i".into(),
        clock: Arc::new(RealClock),
        spill: SpillRoom::new("spill", 0),
    };

    let source_path = path("source.db");
    let writer = file(&source_path, true);
    fill(&writer, 0, rows, 10_000);

    let begun = Instant::now();
    writer.execute_batch(&format!("ATTACH '{}' AS other", path("select.db").display())).unwrap();
    writer
        .execute_batch(&format!(
            "PRAGMA other.synchronous = FULL; CREATE TABLE other.t({}); INSERT INTO other.t SELECT * FROM main.t; DETACH other",
            columns()
        ))
        .unwrap();
    let select = begun.elapsed().as_secs_f64();
    println!("INSERT ... SELECT        {:>9.0} rows/s", rows as f64 / select);

    let before = peak_mib();
    let mut source = endpoint(&source_path).source(&line).await.unwrap();
    let schemas = source.schemas(&[TableId::new("", "t")]).await.unwrap();
    let start = source.hold(&schemas).await.unwrap();
    let target = endpoint(&path("target.db"));
    let mut sink = target.sink(&line).await.unwrap();
    sink.prepare(&[TargetTable { schema: schemas[0].clone(), path: String::new() }]).await.unwrap();
    let (mut reading, mut writing) = (Duration::ZERO, Duration::ZERO);
    let mut chunks = source.chunks().await.unwrap();
    let (chunk_sender, mut chunk_receiver) = tokio::sync::mpsc::channel(1);
    let schema = schemas[0].clone();
    let begun = Instant::now();
    let reader = tokio::spawn(async move {
        let mut range = KeyRange::default();
        loop {
            let begun = Instant::now();
            let chunk = chunks.read(&schema, &range, &LIMITS).await.unwrap();
            reading += begun.elapsed();
            range.after = chunk.next.clone();
            let last = chunk.next.is_none();
            chunk_sender.send(chunk.rows).await.unwrap();
            if last {
                return reading;
            }
        }
    });
    while let Some(rows) = chunk_receiver.recv().await {
        let events: Vec<Event> =
            rows.into_iter().map(|row| Event::new(schemas[0].clone(), Change::Snapshot(row), 0, 0)).collect();
        let begun = Instant::now();
        let mut transaction = sink.begin().await.unwrap();
        transaction.write(&events).await.unwrap();
        transaction.commit().await.unwrap();
        writing += begun.elapsed();
    }
    let reading = reader.await.unwrap();
    let snapshot = begun.elapsed().as_secs_f64();
    println!(
        "snapshot, overlapped     {:>9.0} rows/s  ratio {:.2}  (chunks alone {:.0}/s, sink alone {:.0}/s; peak {} MiB, before {before})",
        rows as f64 / snapshot,
        select / snapshot,
        rows as f64 / reading.as_secs_f64(),
        rows as f64 / writing.as_secs_f64(),
        peak_mib()
    );

    fill(&writer, rows, rows, rows);
    source.open(&StreamStart { position: start, part: 0 }, &schemas).await.unwrap();
    let (mut events, mut applied) = (0, Duration::ZERO);
    let begun = Instant::now();
    let mut transaction = sink.begin().await.unwrap();
    while events < rows as usize {
        let Read::Batch(batch) = source.next(&LIMITS).await.unwrap() else { continue };
        events += batch.events.len();
        let begun = Instant::now();
        transaction.write(&batch.events).await.unwrap();
        applied += begun.elapsed();
    }
    transaction.commit().await.unwrap();
    let stream = begun.elapsed();
    println!(
        "one transaction, stream  {:>9.0} rows/s  (reading alone {:.0}/s; peak {} MiB)",
        rows as f64 / stream.as_secs_f64(),
        rows as f64 / (stream - applied).as_secs_f64(),
        peak_mib()
    );
    drop((source, writer));

    for wal in [false, true] {
        for per in [100, 10_000, rows] {
            let rates = |name: &str, captured: bool| {
                let connection = file(&path(name), wal);
                (connection, captured)
            };
            let mut figures = vec![];
            for (turn, captured) in [false, true, false, true].into_iter().enumerate() {
                let name = format!("w{wal}{per}{turn}.db");
                let (connection, captured) = rates(&name, captured);
                if captured {
                    let mut source = endpoint(&path(&name)).source(&line).await.unwrap();
                    let schemas = source.schemas(&[TableId::new("", "t")]).await.unwrap();
                    source.hold(&schemas).await.unwrap();
                }
                let rows = rows.min(per * 500);
                figures.push((fill(&connection, 0, rows, per), update(&connection, rows, per)));
                drop(connection);
                let _ = std::fs::remove_file(path(&name));
            }
            let ratio = |of: fn(&(f64, f64)) -> f64| {
                (of(&figures[1]) + of(&figures[3])) / (of(&figures[0]) + of(&figures[2]))
            };
            println!(
                "writer under triggers    wal {wal:<5} {per:>7} a transaction: inserts keep {:.2}, updates keep {:.2}  (A/A inserts {:.2})",
                ratio(|f| f.0),
                ratio(|f| f.1),
                figures[2].0 / figures[0].0
            );
        }
    }
}
