//! What flows: snapshot, stream, order, transactions, restarts.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sluice_kit::Statement;
use sluice_kit::faults::{Call, Fault, Scripted, endpoint};
use sluice_kit::memory::{AfterImages, BeforeImages, Options, Step};
use sluice_pipeline::{
    Ended, OnLarge, OnPositionLost, Phase, SnapshotMode, TruncatePolicy, Until, delete_line,
};
use sluice_types::{ErrorKind, TableId, Value};

use crate::world::{World, delete, insert, table, until, update};

#[tokio::test(start_paused = true)]
async fn a_table_is_copied_and_the_line_ends_at_the_head() {
    let world = World::new();
    world.insert("t", 0..500);
    world.synced().await;
    world.assert_equal("t");
    // Nothing new: it ends at once, and says that it is ready.
    let (line, handle) = world.line();
    assert!(matches!(line.run(Until::Head).await, Ended::Done));
    let status = handle.status();
    assert!(status.ready && status.phase == Phase::Ended && status.tables[0].snapshot_done);
    assert_eq!(status.tables[0].snapshot_rows, 500);
}

#[tokio::test(start_paused = true)]
async fn an_empty_table_is_ready_too() {
    let world = World::new();
    world.synced().await;
    assert!(world.ids("t").is_empty());
}

#[tokio::test(start_paused = true)]
async fn changes_during_and_after_the_snapshot_arrive() {
    let mut world = World::new();
    world.insert("t", 0..300);
    // Every chunk takes its time, so changes overtake it.
    let mut script = Scripted::new();
    for nth in 1..40 {
        script = script.on(Call::ReadChunk, nth, Fault::Delay(20));
    }
    world.ports.source = endpoint(world.ports.source.clone(), Arc::new(script));
    let (handle, running) = world.serve();
    for round in 0..60 {
        let id = round * 5;
        world.source.run(&[update("t", id, &[("v", format!("new{round}").as_str().into())])]).unwrap();
        world.source.run(&[delete("t", id + 1), insert("t", 1000 + id, "late")]).unwrap();
        world.source.run(&[update("t", id + 2, &[("id", (2000 + id).into())])]).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    until(|| handle.status().ready && world.target.rows(&t()) == world.source.rows(&t())).await;
    handle.stop();
    assert!(matches!(running.await.unwrap(), Ended::Stopped));
    assert!(world.letters().is_empty());
}

fn t() -> TableId {
    TableId::new("", "t")
}

#[tokio::test(start_paused = true)]
async fn a_chunk_does_not_overwrite_what_it_has_not_seen() {
    for late_visibility in [false, true] {
        let mut world = World::with(Options { late_visibility, ..Options::default() }, Options::default());
        world.insert("t", 0..50);
        // The chunk is read, and handed over only after the stream has deleted and changed rows of it.
        let script = Scripted::new().on(Call::ReadChunk, 1, Fault::Delay(1));
        world.ports.source = endpoint(world.ports.source.clone(), Arc::new(script));
        let (handle, running) = world.serve();
        for id in 0..50 {
            let change = if id % 2 == 0 { delete("t", id) } else { update("t", id, &[("v", "new".into())]) };
            world.source.run(&[change]).unwrap();
            tokio::task::yield_now().await;
        }
        until(|| {
            world.source.reveal(0);
            handle.status().ready && world.target.rows(&t()) == world.source.rows(&t())
        })
        .await;
        handle.stop();
        running.await.unwrap();
    }
}

/// Values move between rows while they are copied: the target, too, has a unique constraint, and must never meet a value twice.
#[tokio::test(start_paused = true)]
async fn a_snapshot_under_writes_meets_no_unique_constraint() {
    let mut world = World::new();
    world.source.run(&[Statement::CreateTable(table("n").unique(&["v"]))]).unwrap();
    world.target.run(&[Statement::CreateTable(table("n").unique(&["v"]))]).unwrap();
    world.spec = crate::world::spec(&["n"]);
    world.spec.batch.rows = NonZeroUsize::new(3).unwrap();
    world.spec.batch.bytes = NonZeroUsize::new(2_000).unwrap();
    world.insert("n", 0..200);
    let mut script = Scripted::new();
    for nth in 1..300 {
        script = script.on(Call::Commit, nth, Fault::Delay(3));
    }
    world.ports.target = endpoint(world.ports.target.clone(), Arc::new(script));
    let (handle, running) = world.serve();
    for round in 0..400i64 {
        let (from, to) = ((round * 7) % 200, (round * 13 + 1) % 200);
        if from != to {
            // `to` takes the value that `from` had.
            let name = |tag: &str| Value::from(format!("{tag}{round}").as_str());
            world.source.run(&[update("n", from, &[("v", name("free"))])]).unwrap();
            world.source.run(&[update("n", to, &[("v", name("own"))])]).unwrap();
            world
                .source
                .run(&[update("n", from, &[("v", name("tmp"))]), update("n", to, &[("v", name("free"))])])
                .unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let n = TableId::new("", "n");
    until(|| handle.status().ready && world.target.rows(&n) == world.source.rows(&n)).await;
    handle.stop();
    running.await.unwrap();
    assert_eq!(world.codes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_goes_on_where_it_was_interrupted() {
    let mut world = World::new();
    world.insert("t", 0..1000);
    let script = Arc::new(Scripted::new().on(Call::ReadChunk, 5, Fault::Reject(ErrorKind::Unreachable)));
    world.ports.source = endpoint(world.ports.source.clone(), script.clone());
    world.synced().await;
    world.assert_equal("t");
    assert_eq!(script.calls(Call::Divide), 1, "it is divided once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_of_a_commit_is_settled_by_the_target() {
    let mut world = World::new();
    world.insert("t", 0..100);
    let mut script = Scripted::new();
    for nth in 1..12 {
        script = script.on(Call::Commit, nth * 2, Fault::FailAfter(ErrorKind::Unreachable));
    }
    world.ports.target = endpoint(world.ports.target.clone(), Arc::new(script));
    world.synced().await;
    world.insert("t", 100..200);
    world.synced().await;
    world.assert_equal("t");
    assert!(world.letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn backlog_is_merged_into_larger_target_transactions() {
    let world = World::new();
    world.synced().await;
    for id in 0..100 {
        world.insert("t", [id]);
    }
    let (line, handle) = world.line();
    assert!(matches!(line.run(Until::Head).await, Ended::Done));
    world.assert_equal("t");
    let batches = handle.stats().batches.load(Relaxed);
    assert!(batches < 20, "100 transactions went in {batches}");
}

#[tokio::test(start_paused = true)]
async fn a_large_transaction_is_one_target_transaction() {
    let world = World::new();
    world.synced().await;
    world.insert("t", 0..500);
    let (line, handle) = world.line();
    assert!(matches!(line.run(Until::Head).await, Ended::Done));
    world.assert_equal("t");
    assert_eq!(handle.stats().batches.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_large_transaction_goes_in_parts_if_wanted_or_needed() {
    for limit in [None, Some(150)] {
        let mut world =
            World::with(Options::default(), Options { transaction_limit: limit, ..Options::default() });
        world.spec.large_transactions.rows = 100;
        world.spec.large_transactions.then = if limit.is_some() { OnLarge::Spill } else { OnLarge::Parts };
        world.synced().await;
        world.insert("t", 0..500);
        // The line dies in the middle, and goes on after the part that the target has.
        let script = Scripted::new().on(Call::Commit, 4, Fault::FailAfter(ErrorKind::Unreachable));
        world.ports.target = endpoint(world.ports.target.clone(), Arc::new(script));
        let (line, handle) = world.line();
        assert!(matches!(line.run(Until::Head).await, Ended::Done));
        world.assert_equal("t");
        let stats = handle.stats();
        assert!(stats.batches.load(Relaxed) >= 4 && stats.transactions_in_parts.load(Relaxed) >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_transaction_fails_if_wanted() {
    let mut world = World::new();
    world.spec.large_transactions.rows = 100;
    world.spec.large_transactions.then = OnLarge::Fail;
    world.synced().await;
    world.insert("t", 0..100);
    world.synced().await;
    world.insert("t", 100..201);
    match world.sync().await {
        Ended::Failed(error) => assert_eq!(error.kind(), ErrorKind::TransactionTooLarge),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.ids("t").len(), 100, "nothing of it is in the target");
}

#[tokio::test(start_paused = true)]
async fn a_partial_image_of_a_missing_row_is_read_again() {
    let options =
        Options { before: BeforeImages::KeyIfChanged, after: AfterImages::Changed, ..Options::default() };
    let world = World::with(options, Options::default());
    world.insert("t", 0..20);
    world.synced().await;
    // Somebody removes rows from the target.
    for id in [3, 4, 5] {
        world.target.run(&[delete("t", id)]).unwrap();
    }
    world.source.run(&[update("t", 3, &[("v", "new".into())])]).unwrap();
    world.source.run(&[update("t", 4, &[("id", 400.into())])]).unwrap();
    world.source.run(&[update("t", 5, &[("v", "gone soon".into())])]).unwrap();
    world.source.run(&[delete("t", 5)]).unwrap();
    world.synced().await;
    world.assert_equal("t");
    assert!(world.letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_heavy_are_read_again_a_few_at_once() {
    let options =
        Options { before: BeforeImages::KeyIfChanged, after: AfterImages::Changed, ..Options::default() };
    let mut world = World::with(options, Options::default());
    world.synced().await;
    let heavy = "x".repeat(300_000);
    let inserts: Vec<_> = (0..120).map(|id| insert("t", id, &heavy)).collect();
    world.source.run(&inserts).unwrap();
    world.synced().await;
    let deletes: Vec<_> = (0..120).map(|id| delete("t", id)).collect();
    world.target.run(&deletes).unwrap();
    let updates: Vec<_> = (0..120).map(|id| update("t", id, &[("w", id.into())])).collect();
    world.source.run(&updates).unwrap();
    let script = Arc::new(Scripted::new());
    world.ports.source = endpoint(world.ports.source.clone(), script.clone());
    world.synced().await;
    // 16 rows, and then about 8 MiB each time.
    assert!(script.calls(Call::Reread) >= 5, "{} times", script.calls(Call::Reread));
    world.assert_equal("t");
    assert!(world.letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_added_is_copied_while_the_others_go_on() {
    let mut world = World::new();
    world.insert("t", 0..10);
    world.synced().await;
    world.create("u");
    world.insert("u", 0..30);
    world.spec = crate::world::spec(&["t", "u"]);
    world.insert("t", 10..20);
    world.synced().await;
    world.assert_equal("t");
    world.assert_equal("u");
}

#[tokio::test(start_paused = true)]
async fn without_a_snapshot_only_changes_flow() {
    let mut world = World::new();
    world.spec.snapshot = SnapshotMode::Never;
    world.insert("t", 0..10);
    world.synced().await;
    world.insert("t", 10..20);
    world.synced().await;
    assert_eq!(world.ids("t"), (10..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn snapshot_only_ends_when_the_copy_is_consistent() {
    let mut world = World::new();
    world.spec.snapshot = SnapshotMode::Only;
    world.insert("t", 0..100);
    let ended = world.line().0.run(Until::Stopped).await;
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    world.assert_equal("t");
}

#[tokio::test(start_paused = true)]
async fn a_target_restored_from_an_older_copy_leaves_no_hole() {
    let mut world = World::new();
    world.insert("t", 0..10);
    world.synced().await;
    let copy = world.target.backup();
    world.insert("t", 10..20);
    world.synced().await;
    world.target.restore(&copy);
    world.target.run(&[insert("t", 999, "stray")]).unwrap();
    match world.sync().await {
        Ended::Failed(error) => assert_eq!(error.kind(), ErrorKind::PositionLost),
        other => panic!("{other:?}"),
    }
    world.spec.on_position_lost = OnPositionLost::Resnapshot;
    world.synced().await;
    world.assert_equal("t");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_thrown_away_is_begun_anew() {
    let mut world = World::new();
    world.spec.on_position_lost = OnPositionLost::Resnapshot;
    world.insert("t", 0..10);
    world.synced().await;
    world.insert("t", 10..20);
    world.source.purge_log();
    world.synced().await;
    world.assert_equal("t");
}

#[tokio::test(start_paused = true)]
async fn truncates_are_applied_ignored_or_held() {
    let empty = Statement::Truncate { table: t() };
    let mut world = World::new();
    world.insert("t", 0..10);
    world.synced().await;
    world.spec.truncate = TruncatePolicy::Pause;
    world.source.run(std::slice::from_ref(&empty)).unwrap();
    world.insert("t", 10..12);
    match world.sync().await {
        Ended::Failed(error) => assert_eq!(error.kind(), ErrorKind::TruncateHeld),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.ids("t").len(), 10);
    world.spec.truncate = TruncatePolicy::Ignore;
    world.synced().await;
    assert_eq!(world.ids("t").len(), 12);
    world.spec.truncate = TruncatePolicy::Apply;
    world.source.run(&[empty]).unwrap();
    world.insert("t", [50]);
    world.synced().await;
    assert_eq!(world.ids("t"), [50]);
}

#[tokio::test(start_paused = true)]
async fn columns_are_left_out_and_keys_given() {
    let mut world = World::new();
    let mut keyless = table("k");
    keyless.key.clear();
    world.source.run(&[Statement::CreateTable(keyless)]).unwrap();
    world.spec = crate::world::spec(&["k"]);
    match world.sync().await {
        Ended::Failed(error) => assert_eq!(error.kind(), ErrorKind::KeyMissing),
        other => panic!("{other:?}"),
    }
    world.spec = crate::world::spec(&["t"]);
    world.spec.tables[0].exclude = vec!["w".into()];
    world.insert("t", 0..5);
    world.synced().await;
    world.insert("t", 5..9);
    world.synced().await;
    let rows = world.target.rows(&t());
    assert_eq!(rows.len(), 9);
    assert!(rows.iter().all(|row| row.values().len() == 2));
}

#[tokio::test(start_paused = true)]
async fn a_swapped_plugin_takes_over_between_batches() {
    let mut world = World::new();
    world.steps = vec![Step::Version { column: "made_by" }];
    let (handle, running) = world.serve();
    world.insert("t", 0..10);
    until(|| world.ids("t").len() == 10).await;
    world.promotions.promote(7);
    until(|| handle.stats().swaps.load(Relaxed) == 1).await;
    world.insert("t", 10..20);
    until(|| world.ids("t").len() == 20).await;
    handle.stop();
    running.await.unwrap();
    let versions: Vec<Value> = world.target.rows(&t()).iter().map(|row| row.values()[3].clone()).collect();
    let expected = (0..20).map(|id| Value::Int64(if id < 10 { 0 } else { 7 }));
    assert_eq!(versions, expected.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_line_leaves_nothing_but_rows() {
    let world = World::new();
    world.insert("t", 0..10);
    world.synced().await;
    delete_line(&world.spec, &world.ports).await.unwrap();
    delete_line(&world.spec, &world.ports).await.unwrap();
    assert!(world.source.is_released());
    assert!(world.target.checkpoint(&world.spec.pipeline).is_none());
    assert_eq!(world.ids("t").len(), 10);
}

#[tokio::test(start_paused = true)]
async fn idle_progress_is_saved_before_it_is_confirmed() {
    let world = World::new();
    world.create("other");
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    for _ in 0..5 {
        world.insert("other", [world.source.end() as i64]);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    until(|| handle.status().position == Some(world.source.end().to_string())).await;
    handle.stop();
    running.await.unwrap();
    let batches = handle.stats().batches.load(Relaxed);
    assert!(batches < 5, "not every sign of life is saved: {batches}");
}
