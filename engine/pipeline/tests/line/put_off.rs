//! Constraints that the target puts off to the end of a transaction, and transactions that come in pieces.

use std::sync::atomic::Ordering::Relaxed;

use sluice_kit::Statement;
use sluice_kit::memory::Options;
use sluice_pipeline::{Ended, LargeTransactions, OnLarge, Phase, Until};
use sluice_types::TableId;

use crate::world::{World, delete, insert, spec, until, update};

/// Each child needs a parent with the same id, at the end of the transaction.
fn family() -> World {
    let deferred = Some((TableId::new("", "children"), TableId::new("", "parents")));
    let mut world = World::with(Options::default(), Options { deferred, ..Options::default() });
    world.create("children");
    world.create("parents");
    world.spec = spec(&["children", "parents"]);
    world
}

/// One transaction of many batches: all children, then the parents but those that are `missing`.
fn children_first(children: std::ops::Range<i64>, missing: &[i64]) -> Vec<Statement> {
    let parents = children.clone().filter(|id| !missing.contains(id));
    let children = children.map(|id| insert("children", id, "x"));
    children.chain(parents.map(|id| insert("parents", id, "x"))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_later_piece_brings_is_waited_for() {
    let world = family();
    world.synced().await;
    world.source.run(&children_first(0..200, &[])).unwrap();
    let (line, handle) = world.line();
    let ended = line.run(Until::Head).await;
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    assert!(world.letters().is_empty(), "{:?}", world.codes());
    world.assert_equal("children");
    assert_eq!(handle.stats().retries.load(Relaxed), 0);
}

/// Nobody can say any more which event it was, and to look at each piece by itself would blame those whose parents come later: the
/// line stands still, has lost nothing, and goes on once somebody has put it right.
#[tokio::test(start_paused = true)]
async fn what_nothing_brings_needs_somebody_and_blames_nobody_else() {
    let world = family();
    world.synced().await;
    // Others before and behind it, in pieces and not, are whole and good.
    world.source.run(&children_first(1000..1002, &[])).unwrap();
    world.source.run(&children_first(3000..3200, &[])).unwrap();
    world.source.run(&children_first(0..200, &[77])).unwrap();
    world.source.run(&children_first(2000..2100, &[])).unwrap();
    let (handle, running) = world.serve();
    until(|| handle.status().phase == Phase::Paused).await;
    let reason = handle.status().reason.unwrap();
    assert_eq!(reason.0, "constraint");
    assert!(reason.1.contains("as a whole") && reason.1.contains("sluice resume"), "{}", reason.1);
    assert_eq!(handle.stats().retries.load(Relaxed), 1, "as often as an event is");
    assert_eq!(world.ids("children").len(), 2 + 200, "what comes before it is there");
    handle.resume().await.unwrap();
    until(|| handle.stats().retries.load(Relaxed) == 2).await;
    until(|| handle.status().phase == Phase::Paused).await;

    world.target.run(&[insert("parents", 77, "x")]).unwrap();
    handle.resume().await.unwrap();
    until(|| world.ids("children").len() == 2 + 200 + 200 + 100).await;
    assert!(world.letters().is_empty(), "{:?}", world.codes());
    handle.stop();
    running.await.unwrap();
}

/// Another writer brings it meanwhile.
#[tokio::test(start_paused = true)]
async fn what_heals_in_time_needs_nobody() {
    let mut world = family();
    world.spec.on_error.retries = 1_000;
    world.synced().await;
    world.source.run(&children_first(0..200, &[77])).unwrap();
    let (handle, running) = world.serve();
    until(|| handle.stats().retries.load(Relaxed) > 3).await;
    world.target.run(&[insert("parents", 77, "x")]).unwrap();
    until(|| world.ids("children").len() == 200).await;
    assert!(world.letters().is_empty());
    handle.stop();
    running.await.unwrap();
}

/// Those that stand in one batch with the first and the last piece of a large one, whatever its own come to.
#[tokio::test(start_paused = true)]
async fn an_event_of_a_whole_transaction_beside_pieces_is_a_dead_letter() {
    let world = family();
    world.synced().await;
    for (bad, first) in [(500, 1000), (501, 2000), (502, 3000)] {
        world.source.run(&[insert("children", bad, "x")]).unwrap();
        world.source.run(&children_first(first..first + 18, &[])).unwrap();
        world.source.run(&children_first(first + 100..first + 101, &[])).unwrap();
    }
    world.source.run(&[insert("children", 503, "x")]).unwrap();
    world.synced().await;
    assert_eq!(world.codes(), ["constraint"; 4]);
    let bad = |row: &sluice_types::Row| matches!(row.values()[0], sluice_types::Value::Int64(500..=503));
    let mut whole = world.source.rows(&TableId::new("", "children"));
    whole.retain(|row| !bad(row));
    assert_eq!(world.target.rows(&TableId::new("", "children")), whole);
}

/// Events of one transaction that are looked at one by one, because one of them fails, don't stand in each other's way: what a child
/// needs comes later.
#[tokio::test(start_paused = true)]
async fn of_a_whole_transaction_only_what_nothing_makes_good_is_a_dead_letter() {
    let world = family();
    world.synced().await;
    world.source.run(&children_first(0..4, &[3])).unwrap();
    // Later events of a child that waits keep their order, and follow one that nothing makes good.
    let mut all = children_first(100..103, &[102]);
    all.insert(3, update("children", 101, &[("v", "y".into())]));
    all.insert(4, update("children", 102, &[("v", "y".into())]));
    all.insert(5, delete("children", 100));
    world.source.run(&all).unwrap();
    world.source.run(&children_first(200..202, &[])).unwrap();
    world.synced().await;
    assert_eq!(world.codes(), ["constraint", "constraint", "parked"]);
    let bad = |row: &sluice_types::Row| matches!(row.values()[0], sluice_types::Value::Int64(3 | 102));
    let mut good = world.source.rows(&TableId::new("", "children"));
    good.retain(|row| !bad(row));
    assert_eq!(world.target.rows(&TableId::new("", "children")), good);
    world.assert_equal("parents");
}

/// A part ends where the constraints hold, however much larger than the limit it becomes.
#[tokio::test(start_paused = true)]
async fn a_part_waits_for_what_is_put_off() {
    let mut world = family();
    world.spec.large_transactions = LargeTransactions { rows: 30, bytes: 1 << 30, then: OnLarge::Parts };
    world.synced().await;
    // Looked at after 30 and 60 events, then after 120, where it holds; likewise the second half, and the third is the rest.
    let families = [0..60, 100..160, 200..203];
    let all: Vec<_> = families.into_iter().flat_map(|ids| children_first(ids, &[])).collect();
    world.source.run(&all).unwrap();
    let (line, handle) = world.line();
    let ended = line.run(Until::Head).await;
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    assert!(world.letters().is_empty(), "{:?}", world.codes());
    world.assert_equal("children");
    assert_eq!(handle.stats().transactions_in_parts.load(Relaxed), 1);
    assert_eq!(handle.stats().retries.load(Relaxed), 0);
}

/// What no part and not the whole brings is told like that of any large transaction, and lost is nothing.
#[tokio::test(start_paused = true)]
async fn what_no_part_brings_needs_somebody() {
    let mut world = family();
    world.spec.large_transactions = LargeTransactions { rows: 30, bytes: 1 << 30, then: OnLarge::Parts };
    world.synced().await;
    world.source.run(&children_first(0..100, &[77])).unwrap();
    let (handle, running) = world.serve();
    until(|| handle.status().phase == Phase::Paused).await;
    let reason = handle.status().reason.unwrap();
    assert!(reason.0 == "constraint" && reason.1.contains("as a whole"), "{reason:?}");
    world.target.run(&[insert("parents", 77, "x")]).unwrap();
    handle.resume().await.unwrap();
    until(|| world.ids("children").len() == 100).await;
    assert!(world.letters().is_empty(), "{:?}", world.codes());
    handle.stop();
    running.await.unwrap();
}
