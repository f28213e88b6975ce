//! What goes wrong: events, servers, other engines.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sluice_kit::Statement;
use sluice_kit::faults::{Call, Fault, Plan, Script, Scripted, endpoint};
use sluice_kit::memory::{Options, State, Step};
use sluice_pipeline::{Ended, OnErrorThen, POISON_EVENTS_MAX, Phase, Until};
use sluice_types::{ErrorKind, TableId, Value};

use crate::world::{World, delete, insert, table, until, update};

fn bad() -> Options {
    Options { unrepresentable: Some(Value::from("bad")), ..Options::default() }
}

#[track_caller]
fn failed(ended: Ended) -> ErrorKind {
    match ended {
        Ended::Failed(error) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_and_what_follows_of_its_key_become_dead_letters() {
    let world = World::with(Options::default(), bad());
    world.insert("t", 0..5);
    world.synced().await;
    let rows: Vec<_> = (10..40).map(|id| insert("t", id, if id == 20 { "bad" } else { "good" })).collect();
    world.source.run(&rows).unwrap();
    world
        .source
        .run(&[update("t", 20, &[("v", "better".into())]), update("t", 21, &[("v", "x".into())])])
        .unwrap();
    world.source.run(&[update("t", 20, &[("id", 200.into())])]).unwrap();
    world.synced().await;
    world.source.run(&[update("t", 200, &[("v", "y".into())])]).unwrap();
    world.synced().await;
    assert_eq!(world.codes(), ["value-unrepresentable", "parked", "parked", "parked"]);
    assert_eq!(world.ids("t").len(), 5 + 29);
    let letters = world.letters();
    assert!(letters.is_sorted_by_key(|letter| (letter.position.clone(), letter.event.index)));
    assert_eq!(letters[0].reason.column.as_deref(), Some("v"));
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_snapshot_can_be_poison_too() {
    let world = World::with(Options::default(), bad());
    world.source.run(&[insert("t", 1, "good"), insert("t", 2, "bad"), insert("t", 3, "good")]).unwrap();
    world.synced().await;
    assert_eq!(world.ids("t"), [1, 3]);
    assert_eq!(world.codes(), ["value-unrepresentable"]);
    world.source.run(&[update("t", 2, &[("v", "good".into())])]).unwrap();
    world.synced().await;
    assert_eq!(world.codes(), ["value-unrepresentable", "parked"]);
}

#[tokio::test(start_paused = true)]
async fn a_constraint_is_tried_again_and_may_heal() {
    let world = World::new();
    world.target.run(&[Statement::CreateTable(table("t").unique(&["v"]))]).unwrap();
    world.target.run(&[insert("t", 99, "same")]).unwrap();
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    world.source.run(&[insert("t", 1, "same")]).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.target.run(&[delete("t", 99)]).unwrap();
    until(|| world.ids("t") == [1]).await;
    assert!(world.letters().is_empty());
    // This one does not heal.
    world.source.run(&[insert("t", 2, "same"), insert("t", 3, "other")]).unwrap();
    until(|| world.ids("t") == [1, 3]).await;
    assert_eq!(world.codes(), ["constraint"]);
    handle.stop();
    running.await.unwrap();
}

/// What a row is refused for by itself is not waited for: neither its retries nor the stream's progress would heal it.
#[tokio::test(start_paused = true)]
async fn a_row_that_no_other_row_can_heal_is_a_dead_letter_at_once() {
    let mut world = World::new();
    world.target.run(&[Statement::CreateTable(table("t").required("v"))]).unwrap();
    world.spec.on_error.retries = 1000;
    world.insert("t", 1..=3);
    world.source.run(&[update("t", 2, &[("v", Value::Null)])]).unwrap();
    let (handle, running) = world.serve();
    until(|| !world.letters().is_empty()).await;
    assert_eq!(world.target.checkpoint(&world.spec.pipeline).unwrap().snapshot.postponed.len(), 0);
    until(|| handle.status().ready).await;
    world.source.run(&[insert("t", 4, "x"), update("t", 4, &[("v", Value::Null)])]).unwrap();
    until(|| world.letters().len() == 2).await;
    assert_eq!(world.codes(), ["row-refused", "row-refused"]);
    handle.stop();
    running.await.unwrap();
}

/// The log of the source moves on while postponed rows are read again, so that every time they are newer than the target.
#[tokio::test(start_paused = true)]
async fn a_postponed_row_that_never_heals_is_a_dead_letter_in_the_end() {
    let world = World::new();
    world.target.run(&[Statement::CreateTable(table("t").unique(&["v"]))]).unwrap();
    world.target.run(&[insert("t", 99, "v2")]).unwrap();
    world.create("foreign");
    world.insert("t", 1..=3);
    let source = world.source.clone();
    let traffic = tokio::spawn(async move {
        for id in 0.. {
            source.run(&[insert("foreign", id, "x")]).unwrap();
            match id % 10 {
                0 => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => tokio::task::yield_now().await,
            }
        }
    });
    let (handle, running) = world.serve();
    tokio::time::timeout(Duration::from_secs(60), until(|| handle.status().ready)).await.unwrap();
    assert_eq!(world.codes(), ["constraint"]);
    assert_eq!(world.ids("t"), [1, 3, 99]);
    traffic.abort();
    handle.stop();
    running.await.unwrap();
}

/// A row of somebody else's at the new key is not replaced; the row's own later state is.
#[tokio::test(start_paused = true)]
async fn a_move_does_not_replace_another_row() {
    let moved = |id: i64, to: i64| update("t", id, &[("id", to.into())]);
    let world = World::new();
    world.insert("t", 1..=6);
    world.synced().await;
    world
        .target
        .run(&[insert("t", 50, "own"), insert("t", 70, "own"), delete("t", 2), insert("t", 60, "late")])
        .unwrap();
    // In one transaction, with moves that find their keys free: 3 and 4 change places by way of 9.
    let mut all = vec![moved(3, 9), moved(4, 3), moved(9, 4), moved(1, 50), moved(2, 60), moved(5, 80)];
    all.extend([delete("t", 6), insert("t", 6, "again"), moved(6, 5)]);
    // A row that the same transaction has made.
    all.extend([insert("t", 7, "new"), moved(7, 70)]);
    world.source.run(&all).unwrap();
    world.synced().await;
    assert_eq!(world.codes(), ["constraint", "constraint"]);
    assert_eq!(world.ids("t"), [1, 3, 4, 5, 7, 50, 60, 70, 80]);
    let rows = world.target.rows(&TableId::new("", "t"));
    let value =
        |id: i64| rows.iter().find(|row| row.values()[0] == Value::from(id)).unwrap().values()[1].clone();
    for (id, v) in [(50, "own"), (70, "own"), (60, "v2"), (3, "v4"), (4, "v3"), (5, "again"), (7, "new")] {
        assert_eq!(value(id), Value::from(v), "{id}");
    }
}

/// I4: what was written of a transaction before its failing piece comes again with it.
#[tokio::test(start_paused = true)]
async fn a_constraint_in_a_later_piece_of_a_transaction_costs_no_earlier_piece() {
    let mut world = World::new();
    world.spec.on_error.then = OnErrorThen::Pause;
    world.target.run(&[Statement::CreateTable(table("t").unique(&["v"]))]).unwrap();
    world.target.run(&[insert("t", 99, "v15")]).unwrap();
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    world.insert("t", 0..25);
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.target.run(&[delete("t", 99)]).unwrap();
    until(|| handle.status().phase == Phase::Paused || world.ids("t").contains(&24)).await;
    handle.resume().await.unwrap();
    until(|| world.ids("t").contains(&24)).await;
    assert_eq!(world.ids("t"), (0..25).collect::<Vec<_>>());
    handle.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn too_many_poison_events_open_the_circuit() {
    let world = World::with(Options::default(), bad());
    let rows = |n: usize| (0..n as i64).map(|id| insert("t", id, "bad")).collect::<Vec<_>>();
    world.source.run(&rows(POISON_EVENTS_MAX)).unwrap();
    world.synced().await;
    assert_eq!(world.codes().len(), POISON_EVENTS_MAX);
    // One reader of chunks: one chunk, one batch.
    let mut world = World::with(Options::default(), bad());
    world.spec.concurrency = NonZeroUsize::MIN;
    world.source.run(&rows(POISON_EVENTS_MAX + 1)).unwrap();
    assert_eq!(failed(world.sync().await), ErrorKind::TooManyPoison);
    assert!(world.letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_pauses_the_line_if_wanted() {
    let mut world = World::with(Options::default(), bad());
    world.spec.on_error.then = OnErrorThen::Pause;
    world.source.run(&[insert("t", 1, "bad")]).unwrap();
    let (handle, running) = world.serve();
    until(|| handle.status().phase == Phase::Paused).await;
    let (code, text) = handle.status().reason.unwrap();
    assert_eq!(code, "value-unrepresentable");
    assert!(text.contains("pipeline p"), "{text}");
    assert!(world.letters().is_empty());
    handle.stop();
    assert!(matches!(running.await.unwrap(), Ended::Stopped));

    let mut world = World::new();
    world.spec.on_error.then = OnErrorThen::Pause;
    world.steps = vec![Step::Reject { column: "v", refuse: |value| *value == Value::from("bad") }];
    world.source.run(&[insert("t", 1, "bad")]).unwrap();
    assert_eq!(failed(world.sync().await), ErrorKind::PluginReject);
    assert!(world.letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_traps_costs_one_event() {
    let mut world = World::new();
    let is_bad = |value: &Value| *value == Value::from("bad");
    let is_worse = |value: &Value| *value == Value::from("worse");
    world.steps =
        vec![Step::Trap { column: "v", on: is_bad }, Step::Reject { column: "v", refuse: is_worse }];
    world.insert("t", 0..5);
    world.synced().await;
    let rows: Vec<_> = (10..60)
        .map(|id| {
            insert(
                "t",
                id,
                match id {
                    30 => "bad",
                    40 => "worse",
                    _ => "good",
                },
            )
        })
        .collect();
    world.source.run(&rows).unwrap();
    world.source.run(&[update("t", 40, &[("v", "good".into())])]).unwrap();
    world.synced().await;
    assert_eq!(world.codes(), ["plugin-trap", "plugin-reject", "parked"]);
    assert_eq!(world.ids("t").len(), 5 + 48);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_away_makes_no_dead_letter() {
    let world = World::new();
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    world.target.set_away(true);
    world.insert("t", 0..50);
    until(|| handle.status().phase == Phase::Retrying).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(handle.status().reason.unwrap().0, "unreachable");
    world.target.set_away(false);
    until(|| world.ids("t").len() == 50).await;
    assert!(world.letters().is_empty() && handle.stats().retries.load(Relaxed) > 1);
    handle.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_breaks_is_opened_again() {
    let world = World::new();
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    for id in 0..20 {
        world.insert("t", [id]);
        world.source.interrupt();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    until(|| world.ids("t").len() == 20).await;
    handle.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_engine_is_fenced_off() {
    let world = World::new();
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    let mut other = World::new();
    other.ports.source = world.ports.source.clone();
    other.ports.target = world.ports.target.clone();
    other.ports.state = Arc::new(State::new("ffffffffffffffffffffffffffffffff"));
    let ended = other.sync().await;
    assert!(matches!(&ended, Ended::Failed(error) if error.to_string().contains("--take-over")), "{ended:?}");
    assert_eq!(failed(ended), ErrorKind::Fenced);
    // Taken over on purpose, the first one stops.
    other.spec.take_over = true;
    other.synced().await;
    world.insert("t", 0..10);
    assert_eq!(failed(running.await.unwrap()), ErrorKind::Fenced);
    assert!(world.ids("t").is_empty());
    other.synced().await;
    assert_eq!(world.ids("t").len(), 10);
}

/// Rejects the next transaction of the target when it is told to.
#[derive(Default)]
struct RejectNext(AtomicBool);

impl Script for RejectNext {
    fn plan(&self, call: Call) -> Plan {
        let now = call == Call::Begin && self.0.swap(false, Relaxed);
        Plan { fault: now.then_some(Fault::Reject(ErrorKind::Busy)), ..Plan::default() }
    }
}

/// The two share an installation (a copied state folder), so only the epoch tells them apart: the one that tries again after an
/// error must not take the line back, or they would fence each other off for ever.
#[tokio::test(start_paused = true)]
async fn a_line_that_tries_again_does_not_take_back_what_another_took_over() {
    let mut world = World::new();
    let target = world.ports.target.clone();
    let script = Arc::new(RejectNext::default());
    world.ports.target = endpoint(target.clone(), script.clone());
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    let mut other = World::new();
    other.ports = world.ports.clone();
    other.ports.target = target;
    other.synced().await;
    script.0.store(true, Relaxed);
    world.insert("t", 0..10);
    assert_eq!(failed(running.await.unwrap()), ErrorKind::Fenced);
    assert!(!script.0.load(Relaxed), "the first did meet the error");
    other.synced().await;
    assert_eq!(world.ids("t").len(), 10);
}

#[tokio::test(start_paused = true)]
async fn another_source_is_not_gone_on_from() {
    let world = World::new();
    world.synced().await;
    let mut other = World::with(Options { name: "x".into(), ..Options::default() }, Options::default());
    let elsewhere =
        sluice_kit::memory::Database::new(Options { name: "elsewhere".into(), ..Options::default() });
    elsewhere.run(&[Statement::CreateTable(table("t"))]).unwrap();
    other.ports = world.ports.clone();
    other.ports.source = Arc::new(elsewhere);
    assert_eq!(failed(other.sync().await), ErrorKind::SourceChanged);
}

/// I3 and I11: the dead letter is kept, the commit is lost, and earlier events of the key come again.
#[tokio::test(start_paused = true)]
async fn events_before_a_dead_letter_are_applied_after_a_crash_between_the_two() {
    let mut world = World::with(Options::default(), bad());
    world.synced().await;
    world.source.run(&[insert("t", 1, "good"), insert("t", 2, "good")]).unwrap();
    world.source.run(&[update("t", 1, &[("v", "bad".into())])]).unwrap();
    let script = Scripted::new().on(Call::Save, 2, Fault::Reject(ErrorKind::Unreachable));
    world.ports.target = endpoint(world.ports.target.clone(), Arc::new(script));
    world.synced().await;
    assert_eq!(world.codes(), ["value-unrepresentable"]);
    assert_eq!(world.ids("t"), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_line_is_a_crash_and_nothing_is_lost() {
    let world = World::new();
    for round in 0..30 {
        world.insert("t", round * 10..round * 10 + 10);
        let (line, _handle) = world.line();
        let deadline = tokio::time::timeout(Duration::from_micros(round as u64 * 300), line.run(Until::Head));
        drop(deadline.await);
        tokio::task::yield_now().await;
    }
    world.synced().await;
    world.assert_equal("t");
}
