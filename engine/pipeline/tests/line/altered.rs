//! A table was altered: somebody has to decide, and nobody else decides.

use sluice_pipeline::{Ended, Phase};
use sluice_types::{ErrorKind, TableId};

use crate::world::{World, until};

fn named(name: &str) -> TableId {
    TableId::new("", name)
}

/// A line of two tables that has copied both.
async fn copied() -> World {
    let mut world = World::new();
    world.create("u");
    world.spec = crate::world::spec(&["t", "u"]);
    world.insert("t", 0..10);
    world.insert("u", 0..10);
    world.synced().await;
    world
}

#[track_caller]
fn altered(ended: &Ended, table: &str) {
    let Ended::Failed(error) = ended else { panic!("{ended:?}") };
    assert_eq!(error.kind(), ErrorKind::SchemaChanged);
    assert_eq!(error.place().table, Some(named(table)));
}

/// However often it is started: a clock that starts it decides nothing.
#[tokio::test(start_paused = true)]
async fn a_line_that_is_run_to_the_head_fails_until_somebody_decides() {
    let world = copied().await;
    world.source.alter(&named("t"));
    world.insert("u", 10..20);
    for _ in 0..3 {
        altered(&world.sync().await, "t");
    }
    assert_eq!(world.ids("u").len(), 10);
    let pipeline = world.spec.pipeline.clone();
    let mut state = world.state.line(&pipeline);
    state.resume();
    world.ports.state.set_line_state(&pipeline, &state).await.unwrap();
    world.synced().await;
    assert_eq!(world.ids("u").len(), 20);
    assert_eq!(world.state.line(&pipeline), Default::default(), "and that is done with");
}

#[tokio::test(start_paused = true)]
async fn who_resumes_decides_of_what_was_told_and_of_nothing_else() {
    let world = copied().await;
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    world.source.alter(&named("t"));
    until(|| handle.status().phase == Phase::Paused).await;
    // Nobody has heard of this one yet.
    world.source.alter(&named("u"));
    handle.resume().await.unwrap();
    until(|| world.told() == [named("u")]).await;
    // What was decided of the first counts for what it was then.
    assert!(world.state.line(&world.spec.pipeline).accepted.is_empty());
    handle.resume().await.unwrap();
    world.insert("t", 10..20);
    until(|| world.ids("t").len() == 20).await;

    // Paused for something else: to resume says nothing of what happened meanwhile.
    handle.pause("lunch").await.unwrap();
    world.source.alter(&named("t"));
    handle.resume().await.unwrap();
    until(|| handle.status().phase == Phase::Paused).await;
    assert_eq!(handle.status().reason.unwrap().0, "schema-changed");
    handle.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_told_outlives_the_process_and_a_pause_that_is_lifted_by_a_sync() {
    let world = copied().await;
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    world.source.alter(&named("t"));
    until(|| handle.status().phase == Phase::Paused).await;
    handle.stop();
    running.await.unwrap();
    altered(&world.sync().await, "t");
    let (handle, running) = world.serve();
    until(|| handle.status().phase == Phase::Paused).await;
    handle.resume().await.unwrap();
    world.insert("t", 10..20);
    until(|| world.ids("t").len() == 20).await;
    handle.stop();
    running.await.unwrap();
}

/// What is done to a table after it was told is told by itself.
#[tokio::test(start_paused = true)]
async fn who_resumes_decides_of_what_the_table_was_when_it_was_told() {
    let world = copied().await;
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    world.source.alter(&named("t"));
    until(|| handle.status().phase == Phase::Paused).await;
    world.source.alter(&named("t"));
    handle.resume().await.unwrap();
    // Not gone on with: told once more, as it is by now.
    until(|| handle.status().phase == Phase::Paused && world.told() == [named("t")]).await;
    handle.resume().await.unwrap();
    world.insert("t", 10..20);
    until(|| world.ids("t").len() == 20).await;
    handle.stop();
    running.await.unwrap();
}

/// One that shares its target with a table which is read again is read again with it, and so needs no decision either.
#[tokio::test(start_paused = true)]
async fn a_table_that_is_read_again_with_another_needs_no_decision() {
    let mut world = World::new();
    world.create("u");
    world.spec = crate::world::spec(&["t", "u"]);
    let shared = world.spec.tables[0].to.clone();
    world.spec.tables[1].to = shared;
    world.insert("t", 0..10);
    world.insert("u", 10..20);
    world.synced().await;
    world.source.alter(&named("t"));
    world.source.alter(&named("u"));
    altered(&world.sync().await, "t");
    let pipeline = world.spec.pipeline.clone();
    let mut state = world.state.line(&pipeline);
    state.read_again(vec![named("t")]);
    world.ports.state.set_line_state(&pipeline, &state).await.unwrap();
    world.synced().await;
    assert_eq!(world.state.line(&pipeline), Default::default());
}

/// It is read as it is now.
#[tokio::test(start_paused = true)]
async fn a_table_that_is_read_again_needs_no_other_decision() {
    let world = copied().await;
    let (handle, running) = world.serve();
    until(|| handle.status().ready).await;
    world.source.alter(&named("t"));
    until(|| handle.status().phase == Phase::Paused).await;
    handle.resnapshot(vec![named("t")]).await.unwrap();
    handle.resume().await.unwrap();
    world.insert("t", 10..20);
    until(|| world.ids("t").len() == 20).await;
    // And one that was altered while it was let go for that.
    handle.pause_for_ddl(vec![named("t")]).await.unwrap();
    world.source.alter(&named("t"));
    handle.resume().await.unwrap();
    world.insert("t", 20..30);
    until(|| world.ids("t").len() == 30).await;
    assert_eq!(world.state.line(&world.spec.pipeline), Default::default());
    handle.stop();
    running.await.unwrap();
}
