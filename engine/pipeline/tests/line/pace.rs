//! A target that takes less in one transaction than is gathered, or than a part is.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering::Relaxed;

use sluice_kit::memory::Options;
use sluice_pipeline::{Ended, OnLarge, Until};

use crate::world::World;

fn takes(events: usize) -> World {
    World::with(Options::default(), Options { transaction_limit: Some(events), ..Options::default() })
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_a_target_does_not_take_at_once_goes_in_smaller_batches() {
    let mut world = takes(200);
    world.spec.batch.bytes = NonZeroUsize::new(200_000).unwrap();
    world.synced().await;
    for id in 0..3_000 {
        world.insert("t", [id]);
    }
    let (line, handle) = world.line();
    let ended = line.run(Until::Head).await;
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    world.assert_equal("t");
    let retries = handle.stats().retries.load(Relaxed);
    assert!((1..10).contains(&retries), "it was not too much, or was tried again and again: {retries}");
}

#[tokio::test(start_paused = true)]
async fn parts_that_a_target_does_not_take_become_smaller() {
    let mut world = takes(60);
    world.spec.large_transactions.rows = 100;
    world.spec.large_transactions.then = OnLarge::Parts;
    world.synced().await;
    world.insert("t", 0..500);
    let (line, handle) = world.line();
    let ended = line.run(Until::Head).await;
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    world.assert_equal("t");
    assert!(handle.stats().batches.load(Relaxed) >= 500 / 60);
    assert_eq!(handle.stats().transactions_in_parts.load(Relaxed), 1);
}

/// Nobody has said that a transaction may be seen in parts.
#[tokio::test(start_paused = true)]
async fn what_is_to_fail_fails() {
    let mut world = takes(60);
    world.spec.large_transactions.then = OnLarge::Fail;
    world.synced().await;
    world.insert("t", 0..500);
    let ended = world.sync().await;
    assert!(matches!(ended, Ended::Failed(_)), "{ended:?}");
    assert!(world.ids("t").is_empty(), "a part of it is in the target");
}

/// Each read ends within a transaction, and the next one ends that and begins another.
#[tokio::test(start_paused = true)]
async fn transactions_that_come_in_pieces_one_behind_the_other_are_not_one_for_ever() {
    let world = takes(300);
    world.synced().await;
    for start in (0..4_500).step_by(15) {
        world.insert("t", start..start + 15);
    }
    let (line, handle) = world.line();
    let ended = line.run(Until::Head).await;
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    world.assert_equal("t");
    let stats = handle.stats();
    assert_eq!((stats.retries.load(Relaxed), stats.transactions_in_parts.load(Relaxed)), (0, 0));
    assert!(stats.batches.load(Relaxed) >= 4_500 / 300);
}
