//! A guest that breaks a limit or a rule costs its batch, nothing else.

use std::time::{Duration, Instant};

use sluice_guests::guest;
use sluice_types::{Change, ErrorKind};
use sluice_wasm::{Compiler, StepLimits, StepSpec};

use crate::support::{TestHost, insert, people};

/// Answers that make no sense.
const NONSENSE: [&str; 23] = [
    "short-column",
    "long-column",
    "wrong-type",
    "undeclared-column",
    "column-twice",
    "bad-state",
    "short-state",
    "bad-bool",
    "descending-offsets",
    "offsets-beyond-end",
    "offsets-in-character",
    "first-offset-not-zero",
    "joined-count",
    "descending-select",
    "select-beyond-end",
    "select-undeclared",
    "short-kinds",
    "bad-kind",
    "kinds-undeclared",
    "short-routes",
    "bad-route",
    "reject-beyond-end",
    "reject-unknown-column",
];

/// Answers that only a language without types and checks can give: they break the canonical ABI itself.
const NONSENSE_OF_BYTES: [&str; 8] = [
    "invalid-utf8",
    "invalid-utf8-message",
    "length-beyond-memory",
    "pointer-beyond-memory",
    "unaligned-list",
    "unknown-case",
    "unknown-option",
    "endless-list",
];

fn limits() -> StepLimits {
    // A Python guest starts with 14 MiB, and takes its time on a machine that has much to do.
    StepLimits { memory: 64 << 20, batch_ms: 600, output: 4 << 20, value: 1 << 20 }
}

/// Applies a batch with one poison event to a guest that does `action` then; the kind of the error and how long it took.
async fn poisoned(host: &TestHost, action: &str) -> (ErrorKind, String, Duration) {
    let table = people();
    let config =
        format!(r#"{{"do":{action},"read":["name"],"when":{{"column":"name","equals":"poison"}}}}"#,);
    let step = StepSpec { limits: limits(), ..StepSpec::new("probe", config, "p") };
    let mut line = host.open(&table, vec![step]).await.unwrap();
    let changes = vec![insert(1, "a"), insert(2, "poison"), insert(3, "b")];
    let events = crate::support::events(&table, changes);
    let started = Instant::now();
    let failed = line.transform.apply(events.clone()).await.expect_err(action);
    let took = started.elapsed();
    assert_eq!(failed.events, events, "{action}");
    // The next batch finds a working instance.
    let made = line.apply(vec![insert(4, "c")]).await.unwrap();
    assert!(matches!(&made.events[0].change, Change::Insert(_)));
    (failed.error.kind(), failed.error.to_string(), took)
}

#[tokio::test]
async fn a_guest_that_runs_for_ever_is_interrupted() {
    for host in TestHost::every_language().await {
        let language = host.language();
        let (kind, text, took) = poisoned(&host, r#""spin""#).await;
        assert_eq!(kind, ErrorKind::PluginTimeout, "{language}: {text}");
        assert!(took > Duration::from_millis(500) && took < Duration::from_secs(5), "{language}: {took:?}");
        assert_eq!(host.host.metrics().instances_discarded, 1);
    }
}

#[tokio::test]
async fn a_spinning_guest_does_not_block_the_runtime() {
    // One thread only: the test's own.
    let host = TestHost::new().await;
    let poisoned = poisoned(&host, r#""spin""#);
    let ticks = async {
        let mut ticks = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            ticks += 1;
            if ticks == 10 {
                return;
            }
        }
    };
    tokio::select! {
        _ = poisoned => panic!("the runtime stood still while the guest was spinning"),
        () = ticks => {}
    }
}

#[tokio::test]
async fn memory_and_stack_have_limits() {
    for host in TestHost::every_language().await {
        let language = host.language();
        let (kind, text, _) = poisoned(&host, r#""allocate""#).await;
        assert_eq!(kind, ErrorKind::PluginMemory, "{language}: {text}");
        // Some languages see the end of their stack coming, and make an exception of it.
        let (kind, text, _) = poisoned(&host, r#""recurse""#).await;
        let expected = [ErrorKind::PluginTrap, ErrorKind::PluginFailed];
        assert!(expected.contains(&kind), "{language}: {text}");
        let (kind, text, _) = poisoned(&host, r#""trap""#).await;
        assert_eq!(kind, ErrorKind::PluginTrap, "{language}: {text}");
        assert!(!text.contains("told"), "what a guest says is data: {text}");
    }
}

#[tokio::test]
async fn a_guest_may_fail_a_batch() {
    for host in TestHost::every_language().await {
        let language = host.language();
        let table = people();
        let mut line = host.probe(&table, r#"{"do":"fail"}"#).await.unwrap();
        let failed = line.apply(vec![insert(1, "a")]).await.unwrap_err();
        assert_eq!(failed.error.kind(), ErrorKind::PluginFailed, "{language}");
        let said = failed.error.guest_text().unwrap();
        // An exception's text may have its kind in front, and the way that it took behind.
        assert!(said.contains("told to fail the batch"), "{language}: {said}");
        assert!(!failed.error.to_string().contains("told"));
        let version = sluice_types::Digest::of(guest(&format!("{language}-probe")));
        assert_eq!(failed.error.place().plugin, Some(format!("probe@{version}")));
        // Failing is no crash: the instance lives.
        assert_eq!(host.host.metrics().instances_discarded, 0, "{language}");
    }
}

#[tokio::test]
async fn nonsense_is_told_apart_from_rows() {
    for host in TestHost::every_language().await {
        let language = host.language();
        for action in NONSENSE {
            let (kind, text, _) = poisoned(&host, &format!("\"{action}\"")).await;
            assert_eq!(kind, ErrorKind::PluginOutput, "{language}, {action}: {text}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_answer_are_told_apart_from_rows() {
    let host = TestHost::in_language("c").await;
    for action in NONSENSE_OF_BYTES {
        let (kind, text, _) = poisoned(&host, &format!("\"{action}\"")).await;
        assert_eq!(kind, ErrorKind::PluginOutput, "{action}: {text}");
    }
}

#[tokio::test]
async fn answers_have_limits() {
    for host in TestHost::every_language().await {
        let language = host.language();
        for (action, times) in [
            ("too-many-rejects", 1_001),
            ("long-reject", 1_025),
            // a gigabyte and more, of one megabyte where the language can say so
            ("aliased-rejects", 1_000),
            ("aliased-columns", 1_000),
            ("huge-output", 3 << 20),
            ("fan-out", 100_000),
        ] {
            let (kind, text, took) = poisoned(&host, &format!(r#""{action}","times":{times}"#)).await;
            // Where it can't, its own memory is the limit that it hits.
            let own = action.starts_with("aliased") && kind == ErrorKind::PluginMemory;
            assert!(kind == ErrorKind::PluginOutput || own, "{language}, {action}: {text}");
            assert!(took < Duration::from_secs(5), "{language}, {action}: {took:?}");
        }
    }
}

#[tokio::test]
async fn a_large_batch_crosses_in_parts() {
    for host in TestHost::every_language().await {
        let language = host.language();
        let table = people();
        for action in ["echo", "fan-out"] {
            let config = format!(r#"{{"do":"{action}","read":["name"],"times":1}}"#);
            let step = StepSpec { limits: limits(), ..StepSpec::new("probe", config, "p") };
            let mut line = host.open(&table, vec![step]).await.unwrap();
            // 10,000 images are more than one call takes; 40 MB are more than the guest has room for.
            let made = line.apply((0..10_000).map(|id| insert(id, "a")).collect()).await.unwrap();
            assert_eq!(made.events.len(), 10_000, "{language}");
            let long = "x".repeat(100_000);
            let made = line.apply((0..400).map(|id| insert(id, &long)).collect()).await.unwrap();
            let ids: Vec<_> = made.events.iter().map(|event| event.index).collect();
            assert_eq!(ids, (0..400).collect::<Vec<u64>>(), "{language}, {action}");
            assert!(made.rejected.is_empty());
        }
    }
}

/// A child that ends like this, and what it means for the component.
#[tokio::test]
async fn how_the_compiling_child_ends_says_whose_fault_it_was() {
    let cache = tempfile::tempdir().unwrap();
    let first = TestHost::new().await;
    for (script, kind, says) in [
        ("kill -9 $$", ErrorKind::PluginInvalid, "more time or memory"),
        ("echo broken >&2; exit 1", ErrorKind::PluginInvalid, "not a valid WebAssembly component"),
        ("exit 3", ErrorKind::Internal, "ended with 3"),
    ] {
        let compiler = Compiler::Child { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
        let cache = cache.path().join(kind.code());
        let host = TestHost::compiling(first.state.clone(), first.folder.clone(), cache, compiler).await;
        let error = host.host.inspect(sluice_guests::PROBE.into()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{script}: {error}");
        assert!(error.to_string().contains(says), "{script}: {error}");
    }
}
