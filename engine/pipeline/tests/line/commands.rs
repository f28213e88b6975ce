//! What people ask of a running line.

use std::time::Duration;

use sluice_kit::Statement;
use sluice_kit::memory::Options;
use sluice_pipeline::{Ended, Phase};
use sluice_types::ports::{LineState, StateStore};
use sluice_types::{ErrorKind, TableId, Value};

use crate::world::{World, insert, spec, table, until, update};

fn t() -> TableId {
    TableId::new("", "t")
}

#[tokio::test(start_paused = true)]
async fn a_paused_line_stands_still_also_after_a_restart() {
    let world = World::new();
    world.insert("t", 0..10);
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    handle.pause("the target is being moved").await.unwrap();
    assert_eq!(handle.status().phase, Phase::Paused);
    world.insert("t", 10..20);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.ids("t").len(), 10);
    handle.stop();
    assert!(matches!(running.await.unwrap(), Ended::Stopped));

    let (handle, running) = world.serve();
    until(|| handle.status().phase == Phase::Paused).await;
    assert_eq!(handle.status().reason, Some(("paused".into(), "the target is being moved".into())));
    handle.resume().await.unwrap();
    until(|| world.ids("t").len() == 20).await;
    handle.stop();
    running.await.unwrap();
    assert!(handle.resume().await.is_err(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_line_can_be_paused_in_the_middle_of_its_snapshot() {
    let world = World::new();
    world.insert("t", 0..2000);
    let (handle, running) = world.serve();
    until(|| !world.ids("t").is_empty()).await;
    handle.pause("why not").await.unwrap();
    assert!(!handle.status().ready);
    handle.resume().await.unwrap();
    until(|| handle.status().ready).await;
    world.assert_equal("t");
    handle.stop();
    running.await.unwrap();
}

/// Asked for before the line has ever run: there is nothing to read again, but what is in the target's table goes all the same.
#[tokio::test(start_paused = true)]
async fn a_resnapshot_before_the_first_copy_empties_what_it_names() {
    let mut world = World::new();
    world.create("u");
    world.spec = spec(&["t", "u"]);
    for name in ["t", "u"] {
        world.insert(name, 0..10);
        world.target.run(&[Statement::CreateTable(table(name)), insert(name, 99, "left")]).unwrap();
    }
    let line_state = LineState { resnapshot: vec![t()], ..LineState::default() };
    world.state.set_line_state(&world.spec.pipeline, &line_state).await.unwrap();
    let tables = [t(), TableId::new("", "u")];
    let filled = async || world.ports.target.filled(&world.spec.pipeline, &tables).await.unwrap();
    assert_eq!(filled().await, tables);
    world.synced().await;
    world.assert_equal("t");
    assert_eq!(world.ids("u").len(), 11, "what was not asked for stays, and is told");
    assert_eq!(filled().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_resnapshot_empties_and_reads_again_and_forgets_dead_letters() {
    let bad = Options { unrepresentable: Some(Value::from("bad")), ..Options::default() };
    let world = World::with(Options::default(), bad);
    world.insert("t", 0..10);
    world.source.run(&[insert("t", 50, "bad")]).unwrap();
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    assert_eq!(handle.status().dead_letters, 1);
    world.target.run(&[insert("t", 77, "stray")]).unwrap();
    world.source.run(&[update("t", 50, &[("v", "good".into())])]).unwrap();
    until(|| handle.status().dead_letters == 2).await;
    handle.resnapshot(vec![t()]).await.unwrap();
    until(|| handle.status().ready && world.ids("t").len() == 11).await;
    world.assert_equal("t");
    assert_eq!(handle.status().dead_letters, 0);
    assert!(world.letters().is_empty());
    let unknown = handle.resnapshot(vec![TableId::new("", "nope")]).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Config);
    handle.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tables_that_share_a_target_are_read_again_together() {
    let mut world = World::new();
    world.create("u");
    world.spec = crate::world::spec(&["t", "u"]);
    world.spec.tables[1].to = t();
    world.insert("t", 0..10);
    world.insert("u", 100..110);
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    handle.resnapshot(vec![t()]).await.unwrap();
    until(|| handle.status().phase == Phase::Streaming && handle.status().ready).await;
    until(|| world.ids("t").len() == 20).await;
    handle.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tables_let_go_for_ddl_are_read_again() {
    let world = World::new();
    world.insert("t", 0..10);
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    handle.pause_for_ddl(vec![]).await.unwrap();
    assert_eq!(world.state.line(&world.spec.pipeline).detached, [t()]);
    // Not captured.
    world.insert("t", 10..20);
    handle.resume().await.unwrap();
    until(|| handle.status().ready && world.ids("t").len() == 20).await;
    assert!(world.state.line(&world.spec.pipeline).detached.is_empty());
    handle.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_line_that_retries_can_be_stopped_and_resumed_at_once() {
    let world = World::new();
    world.source.set_away(true);
    let (handle, running) = world.serve();
    until(|| handle.status().phase == Phase::Retrying).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.source.set_away(false);
    handle.resume().await.unwrap();
    until(|| handle.status().ready).await;
    world.source.set_away(true);
    until(|| handle.status().phase == Phase::Retrying).await;
    handle.stop();
    assert!(matches!(running.await.unwrap(), Ended::Stopped));
    assert_eq!(handle.status().phase, Phase::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_resnapshot_helps_a_line_whose_position_is_lost() {
    let world = World::new();
    world.insert("t", 0..10);
    world.synced().await;
    let copy = world.target.backup();
    world.insert("t", 10..20);
    world.synced().await;
    world.target.restore(&copy);
    let (handle, running) = world.serve();
    until(|| handle.status().phase == Phase::Paused).await;
    assert_eq!(handle.status().reason.unwrap().0, "position-lost");
    handle.resnapshot(vec![]).await.unwrap();
    assert_eq!(handle.status().phase, Phase::Paused);
    handle.resume().await.unwrap();
    until(|| handle.status().ready && world.ids("t").len() == 20).await;
    handle.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn resuming_a_line_that_runs_disturbs_nothing() {
    let world = World::new();
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    let epoch = || world.target.checkpoint(&world.spec.pipeline).unwrap().epoch;
    let before = epoch();
    handle.resume().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(epoch(), before, "the same session goes on");
    handle.stop();
    running.await.unwrap();
}
