//! Conflicts: recorded once, the last word counts, sealed, and the oldest decided ones make room.

use sluice_store::{Limits, Store};
use sluice_types::ports::{Decision, StateStore};
use sluice_types::{Conflict, ConflictCount, ConflictId, ConflictKind, ErrorKind, PipelineId, Row};

use crate::{all_bytes, holds, key, letter, open};

/// A conflict whose rows hold `secret`.
fn conflict(number: i64, decision: Decision, secret: &str) -> Conflict {
    let letter = letter("p", "t", number, secret);
    Conflict {
        pipeline: letter.pipeline,
        id: ConflictId::of(&letter.id, 0),
        number: 0,
        kind: ConflictKind::UpdateDiffers,
        position: letter.position,
        incoming: letter.event,
        existing: Some(Row::new(vec![number.into(), secret.into()])),
        decision,
        strategy: "latest".into(),
        by: "latest".into(),
        recorded_micros: 7,
        later: 0,
        since: None,
        decided_micros: None,
    }
}

fn parked() -> Decision {
    Decision::Park(String::new())
}

#[tokio::test]
async fn the_same_conflict_is_kept_once_with_the_last_word() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    let store = open(dir.path());
    store
        .keep_conflicts(vec![conflict(1, Decision::Existing, "x"), conflict(2, parked(), "y")])
        .await
        .unwrap();
    // Met again after a crash in which the commit was lost: somebody else has changed the row once more.
    let again = conflict(1, Decision::Merged(Row::new(vec![1.into(), "z".into()])), "z");
    store.keep_conflicts(vec![again.clone(), conflict(3, Decision::Incoming, "w")]).await.unwrap();
    drop(store);

    let store = open(dir.path());
    let kept = store.conflicts(&pipeline, false, 0, 10).await.unwrap();
    assert_eq!(kept.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(kept[0], Conflict { number: 1, ..again.clone() });
    assert_eq!(store.conflict(&pipeline, &again.id).await.unwrap().as_ref(), Some(&kept[0]));
    assert_eq!(store.conflict(&"q".into(), &again.id).await.unwrap(), None);
    assert_eq!(store.conflicts(&pipeline, true, 0, 10).await.unwrap(), [kept[1].clone()]);
    assert_eq!(store.conflicts(&pipeline, false, 1, 1).await.unwrap(), [kept[1].clone()]);
    assert_eq!(store.count_conflicts(&pipeline).await.unwrap(), ConflictCount { kept: 3, parked: 1 });
    store.forget(&pipeline).await.unwrap();
    assert_eq!(store.count_conflicts(&pipeline).await.unwrap(), ConflictCount::default());
    assert!(store.conflicts(&pipeline, false, 0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_oldest_decided_ones_make_room_and_the_parked_never_do() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    let limits = Limits { conflicts: 3, ..Limits::default() };
    let store = Store::open_within(dir.path(), None, limits).unwrap();
    let numbers = async |store: &Store| {
        let kept = store.conflicts(&pipeline, false, 0, 10).await.unwrap();
        kept.iter().map(|one| one.number).collect::<Vec<_>>()
    };
    let first = [
        conflict(1, parked(), "x"),
        conflict(2, Decision::Existing, "x"),
        conflict(3, Decision::Existing, "x"),
    ];
    store.keep_conflicts(first.into()).await.unwrap();
    store.keep_conflicts(vec![conflict(4, Decision::Incoming, "x")]).await.unwrap();
    assert_eq!(numbers(&store).await, [1, 3, 4]);
    store.keep_conflicts(vec![conflict(5, parked(), "x"), conflict(6, parked(), "x")]).await.unwrap();
    assert_eq!(numbers(&store).await, [1, 5, 6], "a number is never given twice");
    let error = store.keep_conflicts(vec![conflict(7, parked(), "x")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictsFull);
    assert_eq!(numbers(&store).await, [1, 5, 6], "all of a call or nothing");
    // A decided one finds no room and is not kept; what waits for somebody is.
    store.keep_conflicts(vec![conflict(8, Decision::Incoming, "x")]).await.unwrap();
    assert_eq!(numbers(&store).await, [1, 5, 6]);

    let limits = Limits { conflict_bytes: 6_000, ..Limits::default() };
    drop(store);
    let store = Store::open_within(dir.path(), None, limits).unwrap();
    store.forget(&pipeline).await.unwrap();
    for number in 1..50 {
        store.keep_conflicts(vec![conflict(number, Decision::Incoming, "x")]).await.unwrap();
    }
    let kept = store.conflicts(&pipeline, false, 0, 100).await.unwrap();
    assert!((1..20).contains(&kept.len()) && kept.last().unwrap().number == 49, "{}", kept.len());
}

#[tokio::test]
async fn more_than_so_many_are_not_parked() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    let limits = Limits { parked_conflicts: 2, ..Limits::default() };
    let store = Store::open_within(dir.path(), None, limits).unwrap();
    let (first, second) = (conflict(1, parked(), "x"), conflict(2, parked(), "x"));
    store.keep_conflicts(vec![first, second.clone()]).await.unwrap();
    let error = store.keep_conflicts(vec![conflict(3, parked(), "x")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictsFull);
    assert!(error.to_string().contains("conflicts decide"), "{error}");
    // A later change of one, and what is decided, have room.
    let later = Conflict { later: 1, since: Some((second.position.clone(), 4)), ..second };
    store.keep_conflicts(vec![later.clone(), conflict(4, Decision::Existing, "x")]).await.unwrap();
    assert_eq!(
        store.conflict(&pipeline, &later.id).await.unwrap(),
        Some(Conflict { number: 2, ..later.clone() })
    );
    let decided = Conflict { decision: Decision::Incoming, decided_micros: Some(9), ..later };
    store.keep_conflicts(vec![decided.clone(), conflict(5, parked(), "x")]).await.unwrap();
    assert_eq!(
        store.conflict(&pipeline, &decided.id).await.unwrap(),
        Some(Conflict { number: 2, ..decided })
    );
}

#[tokio::test]
async fn rows_that_are_gone_are_nobodys_to_decide() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    let store = Store::open(dir.path(), key('A')).unwrap();
    let many = (1..=250).map(|number| conflict(number, parked(), "x")).collect();
    store.keep_conflicts(many).await.unwrap();
    let table = store.conflicts(&pipeline, true, 0, 1).await.unwrap()[0].incoming.table.table.clone();
    let other = sluice_types::TableId::new("", "other");
    assert_eq!(
        store.supersede_conflicts(&pipeline, std::slice::from_ref(&other), "truncate").await.unwrap(),
        0
    );
    assert_eq!(store.supersede_conflicts(&pipeline, &[table, other], "truncate").await.unwrap(), 250);
    assert_eq!(store.count_conflicts(&pipeline).await.unwrap(), ConflictCount { kept: 250, parked: 0 });
    let kept = store.conflicts(&pipeline, false, 249, 1).await.unwrap();
    assert_eq!((&*kept[0].by, &kept[0].decision), ("truncate", &Decision::Incoming));
}

#[tokio::test]
async fn with_a_key_no_value_of_a_conflict_can_be_read_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), key('A')).unwrap();
    store.keep_conflicts(vec![conflict(1, Decision::Existing, "hunter2")]).await.unwrap();
    drop(store);
    assert!(!holds(&all_bytes(dir.path()), "hunter2"));
    let error = Store::open(dir.path(), key('E')).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let store = Store::open(dir.path(), key('A')).unwrap();
    let kept = store.conflicts(&"p".into(), false, 0, 10).await.unwrap();
    assert_eq!(kept[0].existing.as_ref().unwrap().values()[1], "hunter2".into());
}

/// A state that an earlier version has left.
#[tokio::test]
async fn a_state_of_the_first_format_is_brought_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    let store = open(dir.path());
    let install = store.install().clone();
    store.keep_dead_letters(vec![letter("p", "t", 1, "x")]).await.unwrap();
    drop(store);
    let first = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    first
        .execute_batch(
            "drop table conflicts;
             alter table lines drop column next_conflict;
             alter table lines drop column conflicts;
             alter table lines drop column conflict_bytes;
             pragma user_version = 1;",
        )
        .unwrap();
    drop(first);
    assert!(Store::scratch(dir.path()).is_ok(), "`check` reads it as it is");
    let store = open(dir.path());
    assert_eq!(store.install(), &install);
    assert_eq!(store.count_dead_letters(&pipeline).await.unwrap(), 1);
    store.keep_conflicts(vec![conflict(1, Decision::Incoming, "x")]).await.unwrap();
    assert_eq!(store.count_conflicts(&pipeline).await.unwrap().kept, 1);
}
