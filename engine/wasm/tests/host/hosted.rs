//! What a guest may ask its host, and what it gets where it may not.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_guests::guest;
use sluice_types::ports::Swapped;
use sluice_types::{Change, ColumnType, ErrorKind, Row, Value};
use sluice_wasm::{CryptoGrant, CryptoOp, Grants, KeyRing, StepSpec};

use crate::support::{Line, TestHost, insert, people, table};
use crate::values::{TYPES, every_type, row};

/// Bytes that stand nowhere by chance.
const SECRET: [u8; 32] = *b"\x91never-in-a-guest\x92nor-in-a-log\x93x";

fn granted(ops: &[CryptoOp], log: bool) -> Arc<Grants> {
    let keys = vec![KeyRing::new("pii", &SECRET, &[])];
    let crypto = (!ops.is_empty()).then(|| CryptoGrant { keys, ops: ops.iter().copied().collect() });
    Arc::new(Grants { crypto, log })
}

fn all() -> Arc<Grants> {
    granted(&CryptoOp::ALL, true)
}

/// What the guest answers for the value `Ann`.
async fn told(host: &TestHost, config: &str, grant: Arc<Grants>) -> String {
    told_of(host, config, grant, "Ann").await
}

async fn told_of(host: &TestHost, config: &str, grant: Arc<Grants>, value: &str) -> String {
    let table = table(&[("id", ColumnType::Int64), ("v", ColumnType::Text)]);
    host.put("hosted", guest("hosted"));
    let step = StepSpec { grant, ..StepSpec::new("hosted", config, "step") };
    let mut line = host.open(&table, vec![step]).await.unwrap();
    let row = Row::new(vec![1.into(), value.into()]);
    let made = line.apply(vec![Change::Insert(row)]).await.unwrap();
    let Change::Insert(row) = &made.events[0].change else { panic!("{:?}", made.events) };
    match &line.values(row)[1] {
        Value::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_granted_works_and_nothing_else() {
    let host = TestHost::new().await;
    let seal = r#"{"do":"seal","key":"pii"}"#;
    assert_eq!(told(&host, seal, all()).await, "36 bytes, 0 failed: Ann");
    let hash = told(&host, r#"{"do":"hash","key":"pii"}"#, all()).await;
    assert_eq!(hash.len(), 64);
    assert_eq!(told(&host, r#"{"do":"open","key":"pii"}"#, all()).await, "failed: [0]");
    for (config, grant, says) in [
        (seal, granted(&[CryptoOp::Seal], true), "not granted `crypto: { keys: [pii], ops: [open] }`"),
        (seal, granted(&[CryptoOp::Open], true), "not granted `crypto: { keys: [pii], ops: [seal] }`"),
        (r#"{"do":"hash","key":"other"}"#, all(), "not granted `crypto: { keys: [other], ops: [hash] }`"),
        (r#"{"do":"bad-offsets","key":"pii"}"#, all(), "offsets are not ascending"),
    ] {
        let told = told(&host, config, grant).await;
        assert!(told.starts_with("refused: ") && told.contains(says), "{config}: {told}");
    }
}

#[tokio::test]
async fn a_component_that_imports_more_than_is_granted_is_not_opened() {
    let host = TestHost::new().await;
    host.put("hosted", guest("hosted"));
    for (grant, says, write) in [
        (granted(&[], true), "sluice:plugin/crypto@0.1.0", "crypto: { keys: [NAME], ops: [seal] }"),
        (granted(&CryptoOp::ALL, false), "sluice:plugin/log@0.1.0", "log: {}"),
    ] {
        let step = StepSpec { grant, ..StepSpec::new("hosted", r#"{"do":"log"}"#, "step") };
        let error = host.chains(vec![step]).await.err().unwrap();
        let finding = &error.all_findings()[0];
        assert_eq!((error.kind(), &*finding.path), (ErrorKind::PluginRefused, "step.grant"));
        assert!(finding.what.contains(says) && finding.remedy.contains(write), "{finding}");
    }
}

/// A candidate that imports what the running version does not is never taken over by itself, granted or not.
#[tokio::test]
async fn a_candidate_that_imports_more_is_refused_or_waits() {
    for (grant, outcome, says) in [
        (
            Arc::default(),
            Swapped::Refused,
            "it imports `sluice:plugin/crypto@0.1.0`, which it was not granted",
        ),
        (all(), Swapped::Waiting, "it imports `sluice:plugin/crypto@0.1.0`"),
    ] {
        let host = TestHost::new().await;
        host.put("tag", guest("tag-v1"));
        let step = StepSpec { grant, ..StepSpec::new("tag", "{}", "step") };
        let mut line: Line = host.open(&people(), vec![step]).await.unwrap();
        line.apply(vec![insert(1, "Ann")]).await.unwrap();
        host.put("tag", guest("tag-hosted"));
        let report = host.host.swap("tag", false).await.unwrap();
        assert_eq!(report.outcome, outcome, "{report:?}");
        assert!(report.why.contains(says), "{report:?}");
    }
}

/// Everything that any test of this process logs: guests run on threads of their own.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged() -> String {
    static LOGGED: OnceLock<Logged> = OnceLock::new();
    let logged = LOGGED.get_or_init(|| {
        let logged = Logged::default();
        let to = logged.clone();
        let level = tracing::Level::TRACE;
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || to.clone())
            .init();
        logged
    });
    String::from_utf8(logged.0.lock().unwrap().clone()).unwrap()
}

fn turned(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{:02x}", !byte)).collect()
}

#[tokio::test]
async fn a_key_is_neither_in_the_memory_of_a_guest_nor_in_a_log() {
    logged();
    let host = TestHost::new().await;
    let scan = |what: &[u8]| format!(r#"{{"do":"scan","key":"pii","turned":"{}"}}"#, turned(what));
    assert_ne!(told(&host, &scan(b"Ann"), all()).await, "0 times", "what is there is found");
    assert_eq!(told(&host, &scan(&SECRET), all()).await, "0 times");
    assert_eq!(told(&host, &scan(&SECRET[..8]), all()).await, "0 times");
    told_of(&host, r#"{"do":"log","times":3}"#, all(), "three of this").await;
    let log = logged();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("three of this")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[0].contains("pipeline=p plugin=hosted"), "{lines:?}");
    assert!(!log.contains("never-in-a-guest") && !log.contains(&hex::encode(SECRET)), "{log}");
}

#[tokio::test]
async fn of_many_lines_a_few_are_logged() {
    logged();
    let host = TestHost::new().await;
    told_of(&host, r#"{"do":"log","times":100000}"#, all(), "many of this\u{7}").await;
    // Ten a second, and it takes much less than five. What could move a terminal's cursor is taken out.
    let lines = logged().matches("many of this ").count();
    assert!((10..60).contains(&lines), "{lines}");
}

/// One chain seals and opens: what comes out is what went in, for every type, with null and absent.
#[test]
fn what_is_sealed_opens_to_the_same_value() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let table = every_type();
    let names = TYPES.map(|ty| ty.name());
    let words: serde_json::Map<_, _> = names.iter().map(|name| (name.to_string(), (*name).into())).collect();
    let open = serde_json::json!({ "key": "pii", "mode": "open", "columns": words }).to_string();
    for form in ["text", "bytes"] {
        let seal = serde_json::json!({ "key": "pii", "columns": names, "as": form }).to_string();
        let step = |config: &str| StepSpec { grant: all(), ..StepSpec::new("encryption", config, "step") };
        let (mut sealing, mut both) = runtime.block_on(async {
            let host = TestHost::new().await;
            host.put("encryption", guest("encryption"));
            let sealing = host.open(&table, vec![step(&seal)]).await.unwrap();
            (sealing, host.open(&table, vec![step(&seal), step(&open)]).await.unwrap())
        });
        let mut runner =
            TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
        let (sealing, both) = (RefCell::new(&mut sealing), RefCell::new(&mut both));
        let rows = proptest::collection::vec(row(), 1..20);
        let outcome = runner.run(&rows, |rows| {
            let inserts: Vec<Change> = rows.iter().cloned().map(Change::Insert).collect();
            let [sealed, opened] = [&sealing, &both].map(|line| {
                let mut line = line.borrow_mut();
                let made = runtime.block_on(line.apply(inserts.clone())).unwrap();
                assert!(made.rejected.is_empty(), "{:?}", made.rejected);
                let image = |mut change: Change| line.values(change.images_mut().next().unwrap());
                made.events.into_iter().map(|event| image(event.change)).collect::<Vec<_>>()
            });
            for ((row, sealed), opened) in rows.iter().zip(sealed).zip(opened) {
                prop_assert_eq!(&opened[..], row.values());
                for (value, sealed) in row.values().iter().zip(&sealed).skip(1) {
                    let hidden = value.is_present() && *value != Value::Null;
                    prop_assert_eq!(hidden, value != sealed, "{:?}", sealed);
                }
            }
            Ok(())
        });
        outcome.unwrap();
    }
}
