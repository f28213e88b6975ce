//! Constraints that the target puts off to the end of a transaction, and transactions that come in pieces.

use std::sync::atomic::Ordering::Relaxed;

use sluice_kit::Statement;
use sluice_kit::memory::Options;
use sluice_pipeline::{Ended, Until};
use sluice_types::TableId;

use crate::world::{World, insert, spec};

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

/// The line goes on: what nobody's later piece brings is found piece by piece, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn what_nothing_brings_is_a_dead_letter() {
    let world = family();
    world.synced().await;
    // One transaction that is whole at once, ahead of the large one, is not what the retry is about.
    world.source.run(&children_first(1000..1002, &[])).unwrap();
    let parents = (0..200).map(|id| insert("parents", id, "x"));
    let children = (0..201).map(|id| insert("children", id, "x"));
    world.source.run(&parents.chain(children).collect::<Vec<_>>()).unwrap();
    world.source.run(&children_first(2000..2100, &[])).unwrap();
    let (line, handle) = world.line();
    let ended = line.run(Until::Head).await;
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    let letters = world.letters();
    assert_eq!(world.codes(), ["constraint"], "only the one child without a parent");
    assert_eq!(letters[0].event.source.table, TableId::new("", "children"));
    world.assert_equal("parents");
    assert_eq!(world.ids("children").len(), 2 + 200 + 100);
    assert_eq!(handle.stats().retries.load(Relaxed), 1);
}
