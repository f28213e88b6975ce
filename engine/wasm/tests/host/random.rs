//! Whatever bytes a guest answers: an error, or rows that are what its plan says. Never a crash, and never another row's values.
//!
//! The guest is the C probe, since nothing keeps C from answering anything: it spoils a right answer as a seed says, in the lists, their lengths and
//! contents, and in the bytes of the answer itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sluice_types::ports::Transformed;
use sluice_types::{Change, ColumnType, ErrorKind, Event, Row, TableSchema, Value};
use sluice_wasm::{StepLimits, StepSpec};

use crate::support::{Line, TestHost, events};
use crate::values::{TYPES, every_type, row};

const SEEDS: u64 = 2_000;
/// What may be wrong with such an answer.
const KINDS: [ErrorKind; 4] =
    [ErrorKind::PluginOutput, ErrorKind::PluginFailed, ErrorKind::PluginTrap, ErrorKind::PluginMemory];
/// A dead letter's text is cut after 1 KiB, and says so.
const TEXT_MAX: usize = 2 << 10;

/// Changes of every kind, the same for the same seed. Images of before are whole: the probe routes by them.
fn changes(seed: u64) -> Vec<Change> {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut any = || row().new_tree(&mut runner).unwrap().current();
    let whole = |row: Row| {
        let value = |value: &Value| if value.is_present() { value.clone() } else { Value::Null };
        Row::new(row.values().iter().map(value).collect())
    };
    let mut changes = Vec::new();
    for _ in 0..1 + seed % 4 {
        changes.push(Change::Insert(any()));
        changes.push(Change::Update { before: Some(whole(any())), after: any() });
        changes.push(Change::Delete(whole(any())));
        changes.push(Change::Snapshot(any()));
    }
    changes
}

fn is_of(value: &Value, ty: ColumnType) -> bool {
    match value {
        Value::Null | Value::Absent => true,
        Value::Bool(_) => ty == ColumnType::Boolean,
        Value::Int64(_) => ty == ColumnType::Int64,
        Value::Uint64(_) => ty == ColumnType::Uint64,
        Value::Float32(_) => ty == ColumnType::Float32,
        Value::Float64(_) => ty == ColumnType::Float64,
        Value::Decimal(_) => ty == ColumnType::Decimal,
        Value::Text(text) => ty == ColumnType::Text && std::str::from_utf8(text.as_bytes()).is_ok(),
        Value::Bytes(_) => ty == ColumnType::Bytes,
        Value::Date(_) => ty == ColumnType::Date,
        Value::Time(_) => ty == ColumnType::Time,
        Value::Timestamp(_) => ty == ColumnType::Timestamp,
        Value::Timestamptz(_) => ty == ColumnType::Timestamptz,
        Value::Interval(_) => ty == ColumnType::Interval,
        Value::Uuid(_) => ty == ColumnType::Uuid,
        Value::Json(_) => ty == ColumnType::Json,
        Value::Array(_) => ty == ColumnType::Array,
        Value::Document(_) => ty == ColumnType::Document,
        Value::ObjectId(_) => ty == ColumnType::ObjectId,
        Value::Enum(text) => ty == ColumnType::Enumeration && std::str::from_utf8(text.as_bytes()).is_ok(),
        Value::Extended(_) => ty == ColumnType::Extended,
    }
}

/// The keys of an event's images, which the guest can't see.
fn keys(event: &Event) -> Vec<Value> {
    let mut change = event.change.clone();
    change.images_mut().map(|image| image.get(0).clone()).collect()
}

/// What was accepted is what the plan says, and of the event that it came from.
fn check(seed: u64, line: &Line, made: &Transformed, given: &[Event]) {
    let given: BTreeMap<u64, &Event> = given.iter().map(|event| (event.index, event)).collect();
    let mut before = 0;
    for event in &made.events {
        assert!(event.index >= before, "seed {seed}: the order of events");
        before = event.index;
        assert!(
            line.outputs.iter().any(|schema| Arc::ptr_eq(schema, &event.table)),
            "seed {seed}: the table"
        );
        let known = keys(given[&event.index]);
        let mut change = event.change.clone();
        for image in change.images_mut() {
            assert!(known.contains(image.get(0)), "seed {seed}: the key of another row");
            let values: Vec<&Value> = event.table.values(image).collect();
            assert_eq!(values.len(), event.table.columns.len());
            for (value, column) in values.into_iter().zip(&event.table.columns) {
                assert!(is_of(value, column.ty), "seed {seed}: {value:?} in {}", column.name);
            }
        }
    }
    for rejection in &made.rejected {
        assert_eq!(&rejection.event, given[&rejection.event.index], "seed {seed}: refused with other values");
    }
}

/// How often it came out how.
#[derive(Debug, Default)]
struct Outcomes {
    accepted: usize,
    rejected: usize,
    failed: BTreeMap<&'static str, usize>,
}

async fn one(host: &TestHost, table: &Arc<TableSchema>, seed: u64, outcomes: &mut Outcomes) {
    let read = TYPES.map(|ty| format!("{:?}", ty.name())).join(",");
    let config = format!(r#"{{"do":"random","seed":{seed},"read":[{read}]}}"#);
    let limits = StepLimits { memory: 16 << 20, batch_ms: 2_000, output: 4 << 20, value: 1 << 20 };
    let step = StepSpec { limits, ..StepSpec::new("probe", config, "p") };
    let mut line = host.open(table, vec![step]).await.unwrap();
    let given = events(table, changes(seed));
    match line.transform.apply(given.clone()).await {
        Ok(made) => {
            check(seed, &line, &made, &given);
            outcomes.accepted += 1;
            outcomes.rejected += made.rejected.len();
        }
        Err(failed) => {
            let kind = failed.error.kind();
            assert!(KINDS.contains(&kind), "seed {seed}: {}", failed.error);
            assert_eq!(failed.events, given, "seed {seed}: not handed back as they were");
            assert!(failed.error.guest_text().is_none_or(|text| text.len() <= TEXT_MAX), "seed {seed}");
            *outcomes.failed.entry(kind.code()).or_default() += 1;
        }
    }
}

#[tokio::test]
async fn no_answer_breaks_the_host_or_another_row() {
    let host = TestHost::in_language("c").await;
    let table = every_type();
    let mut outcomes = Outcomes::default();
    for seed in 0..SEEDS {
        one(&host, &table, seed, &mut outcomes).await;
        if seed % 100 == 0 {
            // The host is none the worse.
            let mut line = host.probe(&table, r#"{"do":"echo"}"#).await.unwrap();
            let given = changes(seed);
            let made = line.apply(given.clone()).await.unwrap();
            let back: Vec<Change> = made.events.iter().map(|event| event.to_original().change).collect();
            assert_eq!(back, given, "after seed {seed}");
        }
    }
    println!("{outcomes:?}");
    // Both ways are gone often: neither is everything refused before it is looked at, nor does everything get through.
    let failed: usize = outcomes.failed.values().sum();
    assert!(outcomes.accepted as u64 > SEEDS / 20 && failed as u64 > SEEDS / 3, "{outcomes:?}");
    assert!(outcomes.rejected > 0 && outcomes.failed.contains_key("plugin-output"), "{outcomes:?}");
}
