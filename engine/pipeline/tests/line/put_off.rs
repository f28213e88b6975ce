//! Constraints that the target puts off to the end of a transaction, and transactions that come in pieces.

use std::sync::atomic::Ordering::Relaxed;

use sluice_kit::Statement;
use sluice_kit::memory::Options;
use sluice_pipeline::{Ended, Phase, Until};
use sluice_types::TableId;

use crate::world::{World, insert, spec, until};

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
