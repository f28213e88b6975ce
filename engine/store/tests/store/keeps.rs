//! What is kept comes back, once, in order, sealed.

use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use sluice_store::{Limits, PLUGIN_VERSIONS_MAX, Store};
use sluice_types::ports::{Altered, LineState, ParkedKey, PluginVersion, StateStore, Swapped};
use sluice_types::{Digest, ErrorKind, Key, PipelineId, TableId, Value};

use crate::{all_bytes, holds, key, letter, open};

#[tokio::test]
async fn dead_letters_are_kept_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (p, q) = (PipelineId::from("p"), PipelineId::from("q"));
    let store = open(dir.path());
    store.keep_dead_letters(vec![letter("p", "a", 5, "x"), letter("p", "b", 3, "y")]).await.unwrap();
    // Met again after a crash, beside a new one and one of another pipeline.
    let again = vec![letter("p", "a", 5, "x"), letter("p", "a", 9, "z"), letter("q", "a", 5, "x")];
    store.keep_dead_letters(again).await.unwrap();
    drop(store);

    let store = open(dir.path());
    let letters = store.dead_letters(&p, 0, 10).await.unwrap();
    let numbers: Vec<_> = letters.iter().map(|l| (l.number, l.position.text().to_string())).collect();
    assert_eq!(numbers, [(1, "5".into()), (2, "3".into()), (3, "9".into())]);
    let expected = sluice_types::DeadLetter { number: 1, ..letter("p", "a", 5, "x") };
    assert_eq!(letters[0], expected);
    assert_eq!(store.dead_letters(&p, 1, 1).await.unwrap()[0].number, 2);
    assert_eq!(store.dead_letter(&p, &expected.id).await.unwrap(), Some(expected));
    assert_eq!(
        (store.count_dead_letters(&p).await.unwrap(), store.count_dead_letters(&q).await.unwrap()),
        (3, 1)
    );
    let parked = store.parked_keys(&p).await.unwrap();
    let three = ParkedKey {
        table: TableId::new("", "b"),
        key: Key(vec![Value::Int64(3)]),
        position: letters[1].position.clone(),
        index: 0,
    };
    assert!(parked.contains(&three) && parked.len() == 3);

    assert_eq!(store.supersede_dead_letters(&p, &[TableId::new("", "a")]).await.unwrap(), 2);
    assert_eq!(store.count_dead_letters(&p).await.unwrap(), 1);
    assert_eq!(store.supersede_dead_letters(&p, &[]).await.unwrap(), 1);
    store.keep_dead_letters(vec![letter("p", "a", 5, "x")]).await.unwrap();
    assert_eq!(store.dead_letters(&p, 0, 10).await.unwrap()[0].number, 4, "a number is never given twice");
    store.forget(&p).await.unwrap();
    assert_eq!(
        (store.count_dead_letters(&p).await.unwrap(), store.count_dead_letters(&q).await.unwrap()),
        (0, 1)
    );
}

#[tokio::test]
async fn with_a_key_no_value_can_be_read_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    let store = Store::open(dir.path(), key('A')).unwrap();
    store.keep_dead_letters(vec![letter("p", "t", 1, "hunter2")]).await.unwrap();
    assert!(!holds(&all_bytes(dir.path()), "hunter2"));
    drop(store);
    assert!(!holds(&all_bytes(dir.path()), "hunter2"));

    for (wrong, words) in [(key('E'), "not the key"), (None, "is missing")] {
        let error = Store::open(dir.path(), wrong).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(words), "{error}");
    }
    let store = Store::open(dir.path(), key('A')).unwrap();
    let letters = store.dead_letters(&pipeline, 0, 9).await.unwrap();
    assert_eq!(letters[0].reason.guest_text.as_deref(), Some("bad: hunter2"));
    store.supersede_dead_letters(&pipeline, &[]).await.unwrap();
    drop(store);
    let store = Store::open(dir.path(), key('E')).expect("with no dead letter kept the key may change");
    store.keep_dead_letters(vec![letter("p", "t", 1, "hunter2")]).await.unwrap();
    drop(store);

    let plain = tempfile::tempdir().unwrap();
    let store = open(plain.path());
    store.keep_dead_letters(vec![letter("p", "t", 1, "hunter2")]).await.unwrap();
    drop(store);
    assert!(holds(&all_bytes(plain.path()), "hunter2"), "the test would see it");
    let store = Store::open(plain.path(), key('A')).expect("a key may be added later");
    assert_eq!(store.dead_letters(&pipeline, 0, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_shelf_of_dead_letters_refuses_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    for limits in [
        Limits { dead_letters: 2, ..Limits::default() },
        Limits { dead_letter_bytes: 2000, ..Limits::default() },
    ] {
        let store = Store::open_within(dir.path(), None, limits).unwrap();
        store.forget(&pipeline).await.unwrap();
        store.keep_dead_letters(vec![letter("p", "t", 1, "x")]).await.unwrap();
        let error =
            store.keep_dead_letters((1..20).map(|n| letter("p", "t", n, "x")).collect()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadLettersFull);
        assert_eq!(error.disposition(), sluice_types::Disposition::Pause);
        assert_eq!(store.count_dead_letters(&pipeline).await.unwrap(), 1, "all of a call or nothing");
        assert_eq!(store.dead_letters(&pipeline, 0, 9).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_a_line_was_told_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    let state = LineState {
        paused: Some("lunch".into()),
        detached: vec![TableId::new("", "a")],
        resnapshot: vec![TableId::new("s", "b")],
        altered: vec![Altered { table: TableId::new("s", "c"), seen: Some("as it was".into()) }],
        accepted: vec![Altered { table: TableId::new("s", "d"), seen: None }],
    };
    let store = open(dir.path());
    let install = store.install().clone();
    let cache_key = store.cache_key();
    assert_eq!(store.line_state(&pipeline).await.unwrap(), LineState::default());
    store.keep_dead_letters(vec![letter("p", "t", 1, "x")]).await.unwrap();
    assert_eq!(store.line_state(&pipeline).await.unwrap(), LineState::default());
    store.set_line_state(&pipeline, &state).await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.line_state(&pipeline).await.unwrap(), state);
    assert_eq!(store.count_dead_letters(&pipeline).await.unwrap(), 1);
    assert_eq!((store.install(), store.cache_key()), (&install, cache_key));
    assert_eq!(install.0.len(), 32);
}

fn version(name: &str, bytes: &[u8], outcome: Swapped) -> PluginVersion {
    PluginVersion {
        name: name.into(),
        digest: Digest::of(bytes),
        outcome,
        why: "because".into(),
        at_micros: 1,
    }
}

#[tokio::test]
async fn the_promoted_version_comes_back_with_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.promoted_plugin("a").await.unwrap(), None);
    let one = Bytes::from_static(b"one");
    store.record_plugin(version("a", b"one", Swapped::Promoted), Some(one.clone())).await.unwrap();
    store.record_plugin(version("b", b"one", Swapped::Promoted), Some(one.clone())).await.unwrap();
    store
        .record_plugin(version("a", b"two", Swapped::Refused), Some(Bytes::from_static(b"two")))
        .await
        .unwrap();
    store.record_plugin(version("a", b"none", Swapped::Waiting), None).await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.promoted_plugin("a").await.unwrap(), Some((Digest::of(b"one"), one)));
    assert_eq!(store.plugin_bytes(&Digest::of(b"two")).await.unwrap(), Some(Bytes::from_static(b"two")));
    assert_eq!(store.plugin_bytes(&Digest::of(b"none")).await.unwrap(), None);
    let outcomes: Vec<_> =
        store.plugin_history(Some("a")).await.unwrap().into_iter().map(|version| version.outcome).collect();
    assert_eq!(outcomes, [Swapped::Waiting, Swapped::Refused, Swapped::Promoted]);
    assert_eq!(store.plugin_history(None).await.unwrap().len(), 4);
    // Back to an earlier version: its bytes are there already.
    store.record_plugin(version("a", b"two", Swapped::Promoted), None).await.unwrap();
    assert_eq!(store.promoted_plugin("a").await.unwrap().unwrap().0, Digest::of(b"two"));
    assert!(store.record_plugin(version("a", b"none", Swapped::Promoted), None).await.is_err());
    assert!(store.record_plugin(version("a", b"x", Swapped::Promoted), Some("y".into())).await.is_err());
    assert_eq!(store.promoted_plugin("a").await.unwrap().unwrap().0, Digest::of(b"two"));
}

#[tokio::test]
async fn a_history_is_bounded_and_what_runs_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.record_plugin(version("a", b"runs", Swapped::Promoted), Some("runs".into())).await.unwrap();
    for n in 0..PLUGIN_VERSIONS_MAX + 5 {
        let bytes = Bytes::from(n.to_string());
        store.record_plugin(version("a", &bytes, Swapped::Refused), Some(bytes)).await.unwrap();
    }
    assert_eq!(store.plugin_history(Some("a")).await.unwrap().len(), PLUGIN_VERSIONS_MAX + 1);
    assert_eq!(store.plugin_bytes(&Digest::of(b"0")).await.unwrap(), None);
    assert_eq!(store.promoted_plugin("a").await.unwrap().unwrap().1, "runs");
}

#[test]
fn the_folder_is_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("deep/state");
    let store = open(&dir);
    let token = store.token().unwrap();
    assert_eq!(store.token().unwrap(), token);
    assert_eq!(Store::read_token(&dir).unwrap(), Some(token.clone()));
    assert_eq!(token.expose().len(), 64);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(open(&dir));
    assert_eq!(mode(&dir), 0o700, "an open folder is closed");
}

#[tokio::test]
async fn check_sees_the_plugin_versions_of_a_running_service() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.record_plugin(version("a", b"one", Swapped::Promoted), Some("one".into())).await.unwrap();
    let scratch = Store::scratch(dir.path()).unwrap();
    assert_eq!(scratch.promoted_plugin("a").await.unwrap().unwrap().1, "one");
    assert_eq!(scratch.cache_key(), store.cache_key());
    scratch.record_plugin(version("a", b"two", Swapped::Promoted), Some("two".into())).await.unwrap();
    assert_eq!(store.promoted_plugin("a").await.unwrap().unwrap().1, "one");
    let nowhere = dir.path().join("nowhere");
    Store::scratch(&nowhere).unwrap();
    assert!(!nowhere.exists());
}
