//! The plugin boundary: nanoseconds per event for 2 of 20 columns in batches of 1,000 events, the host's work and validation included.
//!
//! The events: 40 % inserts, 40 % updates (two images each), 20 % deletes.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use sluice_kit::TestClock;
use sluice_kit::memory::State;
use sluice_types::ports::Transform;
use sluice_types::{Change, Column, ColumnType, Event, PipelineId, Row, TableId, TableSchema, Text, Value};
use sluice_wasm::{ChainSpec, Compiler, Host, HostOptions, StepSpec};

use crate::data::mix;
use crate::measure::median;
use crate::table::{Limit, Table};

const EVENTS: usize = 1000;
const BATCHES: usize = 300;

/// The guests of this part, as if they came with the binary.
static GUESTS: LazyLock<Vec<(&'static str, &'static [u8])>> = LazyLock::new(|| {
    sluice_guests::names().filter(is_ours).map(|name| (name, sluice_guests::guest(name))).collect()
});

/// The same work in every language, by whole columns and row by row: the guest, and what it may take per event.
const LANGUAGES: [(&str, &str, f64); 8] = [
    ("bench-columns", "one Rust plugin, column interface", 190.0),
    ("bench-rows", "one Rust plugin, row interface", 320.0),
    ("bench-columns-c", "one C plugin, column interface", 200.0),
    ("bench-rows-c", "one C plugin, row interface", 400.0),
    ("bench-columns-python", "one Python plugin, column interface", 3500.0),
    ("bench-rows-python", "one Python plugin, row interface", 5000.0),
    ("bench-columns-javascript", "one JavaScript plugin, column interface", 4000.0),
    ("bench-rows-javascript", "one JavaScript plugin, row interface", 6500.0),
];

fn is_ours(name: &&str) -> bool {
    LANGUAGES.iter().any(|(guest, ..)| guest == name)
}

/// The boundary part.
pub fn run(table: &mut Table) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let cache = tempfile::tempdir().expect("a folder");
    let host = runtime.block_on(async {
        let options = HostOptions {
            cache_dir: cache.path().join("compiled"),
            cache_key: [7; 32],
            plugin_dir: None,
            shipped: &GUESTS,
            state: Arc::new(State::new("bench")),
            clock: TestClock::start(),
            compiler: Compiler::InProcess,
        };
        Host::new(options).await.expect("a host")
    });
    let schema = schema();

    let native = time(native);
    let again = time(native_again);
    table.show("boundary", "native closure, rows in place", native, "ns/event");
    table.show("boundary", "A/A: the same again, ratio", again / native, "x");

    let chain = |steps: &[&str]| {
        let steps: Vec<StepSpec> = steps.iter().enumerate().map(|(at, name)| step(name, at)).collect();
        let spec = ChainSpec { tables: BTreeMap::from([(schema.table.clone(), steps)]) };
        runtime.block_on(async {
            let chains = host.chains(&PipelineId::from("bench"), spec).await.expect("the chain loads");
            let mut transform = chains.transform();
            transform.open(&schema, &schema).await.expect("the chain opens");
            transform
        })
    };
    let through = |steps: &[&str]| {
        let mut transform: Box<dyn Transform> = chain(steps);
        time(|events| {
            let done = runtime.block_on(transform.apply(events)).expect("the batch passes");
            assert!(done.rejected.is_empty());
            done.events
        })
    };
    for (guest, what, most) in LANGUAGES {
        let figure = through(&[guest]);
        table.add(
            "boundary",
            what,
            figure,
            "ns/event",
            Limit::Most(most),
            "lowercases text, parses an integer",
        );
        if guest == "bench-columns" {
            table.add(
                "boundary",
                "one Rust plugin / native closure",
                figure / native,
                "x",
                Limit::Most(4.0),
                "",
            );
        }
    }
    table.show(
        "boundary",
        "chain of three",
        through(&["bench-columns", "bench-columns", "bench-columns"]),
        "ns/event",
    );
    table.show(
        "boundary",
        "no-op plugin (reads the two, changes nothing)",
        through(&["bench-columns:idle"]),
        "ns/event",
    );
    table.show("boundary", "no plugin", through(&[]), "ns/event");
}

/// A step of the chain: the guest's name, `:idle` behind it for one that changes nothing.
fn step(name: &str, at: usize) -> StepSpec {
    let (guest, idle) = name.split_once(':').map_or((name, false), |(guest, _)| (guest, true));
    StepSpec::new(guest, config(idle, at), "bench")
}

/// The configuration of a guest as the step number `at` of a chain.
fn config(idle: bool, at: usize) -> String {
    format!(r#"{{"lowercase": "email", "integer": "amount", "to": "amount_{at}", "idle": {idle}}}"#)
}

/// The median nanoseconds per event of many batches; making the batch is not counted.
fn time(mut pass: impl FnMut(Vec<Event>) -> Vec<Event>) -> f64 {
    let events = events();
    let mut figures = Vec::with_capacity(BATCHES);
    for round in 0..BATCHES + 20 {
        let input = as_decoded(&events);
        let start = Instant::now();
        let output = pass(input);
        let nanos = start.elapsed().as_nanos() as f64 / EVENTS as f64;
        assert_eq!(output.len(), EVENTS);
        if round >= 20 {
            figures.push(nanos);
        }
    }
    median(&mut figures)
}

/// A copy of the events whose rows have the room for more values that decoders leave.
fn as_decoded(events: &[Event]) -> Vec<Event> {
    let mut copies = events.to_vec();
    for row in copies.iter_mut().flat_map(|event| event.change.images_mut()) {
        let mut copy = Row::with_columns(row.values().len());
        row.values().iter().for_each(|value| {
            copy.push(value.clone());
        });
        *row = copy;
    }
    copies
}

/// What the plugin does, by a function of the host on its own rows: the limit.
fn native(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        for row in event.change.images_mut() {
            let Value::Text(email) = row.get(4) else { continue };
            let lower = Text::from(email.to_ascii_lowercase());
            let Value::Text(amount) = row.get(9) else { continue };
            let number = amount.parse::<i64>().map_or(Value::Null, Value::Int64);
            row.push(Value::Text(lower));
            row.push(number);
        }
    }
    events
}

/// The same by another name, for the A/A line.
fn native_again(events: Vec<Event>) -> Vec<Event> {
    native(events)
}

fn schema() -> Arc<TableSchema> {
    let names = [
        "id",
        "external_id",
        "first_name",
        "last_name",
        "email",
        "phone",
        "street",
        "city",
        "country",
        "amount",
        "balance",
        "score",
        "visits",
        "flags",
        "parent",
        "active",
        "created",
        "updated",
        "notes",
        "avatar",
    ];
    let column = |(slot, name): (usize, &&str)| {
        let ty = match *name {
            "id" | "visits" | "flags" | "parent" | "active" => ColumnType::Int64,
            "balance" | "score" => ColumnType::Float64,
            "avatar" => ColumnType::Bytes,
            _ => ColumnType::Text,
        };
        Column { name: (*name).into(), ty, native: "".into(), nullable: slot > 0, slot: slot as u32 }
    };
    Arc::new(TableSchema {
        table: TableId::new("", "customers"),
        database: "a".into(),
        kind: "sqlite".into(),
        version: 1,
        columns: names.iter().enumerate().map(column).collect(),
        key: vec![0],
        before_images: true,
    })
}

fn row(id: u64) -> Row {
    let r = mix(id);
    let text = |length: usize| Value::Text(Text::from("0123456789abcdef".repeat(12)[..length].to_string()));
    let mut row = Row::with_columns(20);
    for value in [
        Value::Int64(id as i64),
        text(36),
        text(9),
        text(12),
        Value::Text(Text::from(format!("User.{}@Example{}.com", r % 1_000_000, r % 97))),
        text(14),
        text(32),
        text(12),
        text(2),
        Value::Text(Text::from((r % 1_000_000).to_string())),
        Value::Float64(r as f64),
        Value::Float64(1.0),
        Value::Int64(1),
        Value::Int64(2),
        Value::Int64(3),
        Value::Int64(1),
        text(19),
        text(19),
        text(160),
        Value::Bytes(Bytes::from(vec![7; 64])),
    ] {
        row.push(value);
    }
    row
}

fn events() -> Vec<Event> {
    let schema = schema();
    (0..EVENTS as u64)
        .map(|n| {
            let change = match n % 5 {
                0 | 1 => Change::Insert(row(n)),
                2 | 3 => Change::Update { before: Some(row(n)), after: row(n + 1_000_000) },
                _ => Change::Delete(row(n)),
            };
            Event::new(schema.clone(), change, 0, n)
        })
        .collect()
}
