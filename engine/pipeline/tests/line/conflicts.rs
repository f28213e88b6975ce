//! Rows of the target that somebody else has changed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use sluice_kit::memory::{AfterImages, BeforeImages, Options, Step};
use sluice_kit::{Statement, TableDef, fields};
use sluice_pipeline::{ConflictPolicy, ConflictStrategy, Ended, SnapshotMode, Until};
use sluice_types::{ColumnType, Conflict, ConflictKind, PipelineId, TableId, Value};

use crate::world::World;

pub fn c() -> TableId {
    TableId::new("", "c")
}

fn definition() -> TableDef {
    TableDef::new(&c())
        .column("id", ColumnType::Int64)
        .column("v", ColumnType::Text)
        .column("w", ColumnType::Text)
        .column("n", ColumnType::Int64)
        .key(&["id"])
}

fn strategy(name: &str) -> ConflictStrategy {
    match name {
        "source-wins" => ConflictStrategy::SourceWins,
        "target-wins" => ConflictStrategy::TargetWins,
        "latest" => ConflictStrategy::Latest("n".into()),
        "version" => ConflictStrategy::Version("n".into()),
        "merge-columns" => ConflictStrategy::MergeColumns,
        "park" => ConflictStrategy::Park,
        other => panic!("there is no strategy {other}"),
    }
}

pub fn insert(id: i64, v: &str, w: &str, n: i64) -> Statement {
    let row = fields(&[("id", id.into()), ("v", v.into()), ("w", w.into()), ("n", n.into())]);
    Statement::Insert { table: c(), row }
}

pub fn update(id: i64, set: &[(&str, Value)]) -> Statement {
    Statement::Update { table: c(), key: fields(&[("id", id.into())]), set: fields(set) }
}

pub fn delete(id: i64) -> Statement {
    Statement::Delete { table: c(), key: fields(&[("id", id.into())]) }
}

/// Two databases with a table `c (id, v, w, n)`, and a line with this strategy.
pub fn world(by: &str) -> World {
    world_with(by, Options::default())
}

fn world_with(by: &str, source: Options) -> World {
    let mut world = World::with(source, Options::default());
    world.spec = crate::world::spec(&["c"]);
    let path = "pipelines.p.conflict".to_string();
    world.spec.tables[0].conflict = Some(ConflictPolicy { strategy: strategy(by), path });
    for database in [&world.source, &world.target] {
        database.run(&[Statement::CreateTable(definition())]).unwrap();
    }
    world
}

/// The target's rows, each as `id v w n`.
pub fn rows(world: &World) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Int64(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    };
    let row = |row: &sluice_types::Row| row.values().iter().map(text).collect::<Vec<_>>().join(" ");
    world.target.rows(&c()).iter().map(row).collect()
}

pub fn met(world: &World) -> Vec<Conflict> {
    world.state.conflicts_of(&PipelineId::from("p"))
}

/// Each as `kind decision`.
pub fn shown(world: &World) -> Vec<String> {
    met(world).iter().map(|one| format!("{} {}", one.kind, one.decision.name())).collect()
}

/// Each line of `conflicts.cases`.
#[tokio::test(start_paused = true)]
async fn every_kind_by_every_strategy() {
    let cases =
        include_str!("conflicts.cases").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut done = 0;
    for case in cases {
        let [kind, by, theirs, ours, decision, row @ ..] = &case.split_whitespace().collect::<Vec<_>>()[..]
        else {
            panic!("not a case: {case}")
        };
        let (theirs, ours) = (theirs.parse::<i64>(), ours.parse::<i64>());
        let world = world(by);
        if *kind != "insert_exists" {
            world.source.run(&[insert(1, "base", "base", 5)]).unwrap();
        }
        world.synced().await;
        let differs = || update(1, &[("w", "theirs".into()), ("n", theirs.clone().unwrap().into())]);
        let changes = || update(1, &[("v", "ours".into()), ("n", ours.clone().unwrap().into())]);
        let (there, here) = match *kind {
            "insert_exists" => {
                let theirs = insert(1, "base", "theirs", theirs.clone().unwrap());
                (theirs, insert(1, "ours", "base", ours.clone().unwrap()))
            }
            "update_missing" => (delete(1), changes()),
            "update_differs" => (differs(), changes()),
            "delete_missing" => (delete(1), delete(1)),
            "delete_differs" => (differs(), delete(1)),
            other => panic!("there is no kind {other}"),
        };
        world.target.run(&[there]).unwrap();
        world.source.run(&[here]).unwrap();
        let (line, handle) = world.line();
        assert!(matches!(line.run(Until::Head).await, Ended::Done), "{case}");
        assert_eq!(shown(&world), [format!("{kind} {decision}")], "{case}");
        let expected = if *row == ["-"] { vec![] } else { vec![format!("1 {}", row.join(" "))] };
        assert_eq!(rows(&world), expected, "{case}");
        let counted = handle.stats().conflicts.iter().flatten().map(|count| count.load(Relaxed)).sum::<u64>();
        assert_eq!((counted, handle.status().conflicts), (1, 1), "{case}");
        assert!(world.letters().is_empty(), "{case}");
        done += 1;
    }
    assert!(done >= ConflictKind::ALL.len() * ConflictStrategy::NAMES.len(), "{done} cases");
}

/// Both sides of a conflict are in its record.
#[tokio::test(start_paused = true)]
async fn a_record_has_both_sides_and_who_decided() {
    let world = world("latest");
    world.source.run(&[insert(1, "base", "base", 5)]).unwrap();
    world.synced().await;
    world.target.run(&[update(1, &[("w", "theirs".into()), ("n", 7.into())])]).unwrap();
    world.source.run(&[update(1, &[("v", "ours".into()), ("n", 6.into())])]).unwrap();
    world.synced().await;
    let [one] = &met(&world)[..] else { panic!("one conflict") };
    let there = one.existing.as_ref().unwrap();
    assert_eq!(there.values(), [1.into(), "base".into(), "theirs".into(), 7.into()]);
    assert_eq!(one.incoming.change.after().unwrap().values()[1], "ours".into());
    assert_eq!((&*one.strategy, &*one.by, one.number), ("latest", "latest", 1));
    assert_eq!(one.id.0, format!("{}/0", one.position));
}

/// Nobody else writes: there is none, whatever happens to one row in one batch, and how often it comes.
#[tokio::test(start_paused = true)]
async fn what_is_ones_own_is_no_conflict() {
    for by in ConflictStrategy::NAMES {
        for source in [
            Options::default(),
            Options { before: BeforeImages::Key, ..Options::default() },
            Options { before: BeforeImages::KeyIfChanged, after: AfterImages::Changed, ..Options::default() },
        ] {
            let world = world_with(by, source);
            world.source.run(&[insert(1, "a", "a", 1), insert(2, "b", "b", 1)]).unwrap();
            world.synced().await;
            let history = [
                update(1, &[("v", "c".into()), ("n", 2.into())]),
                update(1, &[("w", "d".into())]),
                update(1, &[("id", 9.into()), ("n", 3.into())]),
                insert(1, "again", "x", 1),
                delete(2),
                insert(2, "b2", "b2", 2),
                update(2, &[("id", 3.into())]),
                update(9, &[("id", 2.into())]),
                update(2, &[("id", 9.into())]),
                delete(3),
            ];
            world.source.run(&history).unwrap();
            world.source.run(&[Statement::Truncate { table: c() }, insert(1, "anew", "y", 1)]).unwrap();
            world.source.run(&[update(1, &[("v", "last".into()), ("n", 2.into())])]).unwrap();
            world.synced().await;
            assert_eq!(shown(&world), Vec::<String>::new(), "{by}");
            assert_eq!(rows(&world), ["1 last y 2"], "{by}");
        }
    }
}

/// A later event of a key meets what an earlier one of its batch has made of the row.
#[tokio::test(start_paused = true)]
async fn later_events_see_what_earlier_ones_did() {
    for (by, expected, left) in [
        (
            "target-wins",
            &["update_differs existing", "update_differs existing", "delete_differs existing"][..],
            1,
        ),
        ("source-wins", &["update_differs incoming"][..], 0),
    ] {
        let world = world(by);
        world.source.run(&[insert(1, "a", "a", 1)]).unwrap();
        world.synced().await;
        world.target.run(&[update(1, &[("w", "theirs".into())])]).unwrap();
        let changes = [update(1, &[("v", "b".into())]), update(1, &[("v", "c".into())]), delete(1)];
        world.source.run(&changes).unwrap();
        world.synced().await;
        assert_eq!(shown(&world), expected, "{by}");
        assert_eq!(rows(&world).len(), left, "{by}");
        let ids: std::collections::HashSet<_> = met(&world).into_iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), expected.len(), "each has its own id");
    }
}

/// A row gets a key under which somebody else has put another one.
#[tokio::test(start_paused = true)]
async fn a_row_moves_to_a_key_that_is_taken() {
    for (by, expected, left) in [
        ("source-wins", "insert_exists incoming", "2 a a 1"),
        ("target-wins", "insert_exists existing", "2 theirs x 9"),
        ("latest", "insert_exists existing", "2 theirs x 9"),
    ] {
        let world = world(by);
        world.source.run(&[insert(1, "a", "a", 1)]).unwrap();
        world.synced().await;
        world.target.run(&[insert(2, "theirs", "x", 9)]).unwrap();
        world.source.run(&[update(1, &[("id", 2.into())])]).unwrap();
        world.synced().await;
        assert_eq!(shown(&world), [expected], "{by}");
        assert_eq!(rows(&world), [left], "{by}");
        assert!(world.letters().is_empty(), "{by}");
    }
}

/// A row that is copied onto another one; one that is like it is no conflict.
#[tokio::test(start_paused = true)]
async fn rows_of_a_snapshot_meet_rows_that_were_there() {
    let world = world("target-wins");
    world.source.run(&[insert(1, "a", "a", 1), insert(2, "b", "b", 1), insert(3, "c", "c", 1)]).unwrap();
    world
        .target
        .run(&[insert(1, "a", "a", 1), insert(2, "theirs", "x", 1), insert(8, "theirs", "y", 1)])
        .unwrap();
    world.synced().await;
    assert_eq!(shown(&world), ["insert_exists existing"]);
    assert_eq!(rows(&world), ["1 a a 1", "2 theirs x 1", "3 c c 1", "8 theirs y 1"]);
}

/// While the table is copied, what changes meanwhile is the line's own.
#[tokio::test(start_paused = true)]
async fn changes_during_the_copy_are_no_conflicts() {
    for by in ConflictStrategy::NAMES {
        for late_visibility in [false, true] {
            let world = world_with(by, Options { late_visibility, ..Options::default() });
            let many: Vec<_> = (0..300).map(|id| insert(id, "a", "a", 1)).collect();
            world.source.run(&many).unwrap();
            world.source.reveal(0);
            let (handle, running) = world.serve();
            for round in 0..100 {
                let id = round * 3;
                world.source.run(&[update(id, &[("v", "b".into()), ("n", (2 + round).into())])]).unwrap();
                world.source.run(&[delete(id + 1), insert(1000 + id, "late", "x", 1)]).unwrap();
                world.source.run(&[update(id + 2, &[("id", (2000 + id).into())])]).unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(round as u64 % 4)).await;
            }
            crate::world::until(|| {
                world.source.reveal(0);
                handle.status().ready && world.target.rows(&c()) == world.source.rows(&c())
            })
            .await;
            handle.stop();
            running.await.unwrap();
            assert_eq!(shown(&world), Vec::<String>::new(), "{by} {late_visibility}");
        }
    }
}

/// Without images before, `latest` and `version` still see a row that is later than the source's.
#[tokio::test(start_paused = true)]
async fn a_column_tells_where_there_is_no_image_before() {
    for (by, theirs, expected, left) in [
        ("latest", 7, &["update_differs existing"][..], "1 base theirs 7"),
        ("version", 7, &["update_differs existing"][..], "1 base theirs 7"),
        ("latest", 5, &[][..], "1 ours base 6"),
    ] {
        let world = world_with(by, Options { before: BeforeImages::Key, ..Options::default() });
        world.source.run(&[insert(1, "base", "base", 5)]).unwrap();
        world.synced().await;
        world.target.run(&[update(1, &[("w", "theirs".into()), ("n", theirs.into())])]).unwrap();
        world.source.run(&[update(1, &[("v", "ours".into()), ("n", 6.into())])]).unwrap();
        world.synced().await;
        assert_eq!(shown(&world), expected, "{by}");
        assert_eq!(rows(&world), [left], "{by}");
    }
}

/// An event that can't be written is a dead letter and no conflict.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_no_conflict() {
    let mut world = world("source-wins");
    world.steps = vec![];
    let target = Options { unrepresentable: Some("odd".into()), ..Options::default() };
    let other = World::with(Options::default(), target);
    (world.target, world.ports.target) = (other.target.clone(), other.ports.target.clone());
    world.target.run(&[Statement::CreateTable(definition())]).unwrap();
    world.source.run(&[insert(1, "a", "a", 1), insert(2, "b", "b", 1)]).unwrap();
    world.synced().await;
    world.target.run(&[update(1, &[("w", "x".into())]), update(2, &[("w", "x".into())])]).unwrap();
    world.source.run(&[update(1, &[("v", "odd".into())]), update(2, &[("v", "good".into())])]).unwrap();
    world.source.run(&[update(1, &[("v", "later".into())])]).unwrap();
    world.synced().await;
    assert_eq!(shown(&world), ["update_differs incoming"]);
    assert_eq!(world.codes(), ["value-unrepresentable", "parked"]);
    assert_eq!(rows(&world), ["1 a x 1", "2 good b 1"]);
}

/// What follows a refused event to the dead letters is compared with nothing: its row is not what it would have been.
#[tokio::test(start_paused = true)]
async fn what_follows_a_refused_event_is_no_conflict() {
    for by in ConflictStrategy::NAMES {
        let mut world = world(by);
        let refuse = |value: &Value| *value == Value::from("bad");
        world.steps = vec![Step::Reject { column: "v", refuse }];
        world.source.run(&[insert(1, "a", "a", 5)]).unwrap();
        world.synced().await;
        world.source.run(&[update(1, &[("v", "bad".into()), ("n", 4.into())])]).unwrap();
        world.source.run(&[update(1, &[("v", "good".into())]), update(1, &[("id", 2.into())])]).unwrap();
        world.source.run(&[update(2, &[("w", "b".into())]), delete(2)]).unwrap();
        world.synced().await;
        assert_eq!(shown(&world), Vec::<String>::new(), "{by}");
        assert_eq!(world.codes(), ["plugin-reject", "parked", "parked", "parked", "parked"], "{by}");
        assert_eq!(rows(&world), ["1 a a 5"], "{by}");
    }
}

/// A row that a plugin takes out of the pipeline is not missing.
#[tokio::test(start_paused = true)]
async fn what_a_filter_keeps_out_is_not_missing() {
    let mut world = world("target-wins");
    let keep = |value: &Value| *value != Value::Int64(0);
    world.steps = vec![Step::Filter { column: "n", keep }];
    world.source.run(&[insert(1, "a", "a", 0), insert(2, "b", "b", 0), insert(3, "c", "c", 1)]).unwrap();
    world.synced().await;
    world.source.run(&[update(1, &[("n", 1.into())]), delete(2), update(3, &[("n", 0.into())])]).unwrap();
    world.source.run(&[update(3, &[("v", "out".into())]), update(3, &[("n", 2.into())])]).unwrap();
    world.synced().await;
    assert_eq!(shown(&world), Vec::<String>::new());
    assert_eq!(rows(&world), ["1 a a 1", "3 out c 2"]);
}

/// Where nobody asks, nobody looks: today's behaviour.
#[tokio::test(start_paused = true)]
async fn without_a_policy_nothing_is_recorded() {
    let mut world = world("target-wins");
    world.spec.tables[0].conflict = None;
    world.source.run(&[insert(1, "a", "a", 1)]).unwrap();
    world.synced().await;
    world.target.run(&[update(1, &[("w", "theirs".into())])]).unwrap();
    world.source.run(&[update(1, &[("v", "b".into())])]).unwrap();
    world.synced().await;
    assert!(met(&world).is_empty());
    assert_eq!(rows(&world), ["1 b a 1"]);
}

/// A policy that the table does not have the column for is refused before a row flows.
#[tokio::test(start_paused = true)]
async fn a_policy_that_does_not_suit_is_refused() {
    for by in [ConflictStrategy::Latest("nn".into()), ConflictStrategy::Version("v".into())] {
        let mut world = world("target-wins");
        world.spec.tables[0].conflict = Some(ConflictPolicy { strategy: by, path: "here".into() });
        let ended = world.sync().await;
        assert!(
            matches!(&ended, Ended::Failed(error) if error.kind().code() == "config-invalid"),
            "{ended:?}"
        );
    }
}

/// Dies when it has been polled so often.
pub struct Mortal<F> {
    pub inner: Pin<Box<F>>,
    pub left: u64,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.inner.as_mut().poll(context).map(Some)
    }
}

/// Rows on which everything happens, and somebody else at the target.
fn contested(by: &str, snapshot: SnapshotMode) -> World {
    let mut world = world(by);
    world.spec.snapshot = snapshot;
    let first: Vec<_> = (0..40).map(|id| insert(id, "a", "a", 5)).collect();
    world.target.run(&first).unwrap();
    for id in 0..40 {
        let theirs = match id % 4 {
            0 => delete(id),
            1 => update(id, &[("w", "theirs".into()), ("n", 7.into())]),
            2 => update(id, &[("w", "theirs".into()), ("n", 4.into())]),
            _ => continue,
        };
        world.target.run(&[theirs]).unwrap();
    }
    world.source.run(&first).unwrap();
    world
}

fn change_everything(world: &World) {
    for id in 0..40 {
        let changes = [update(id, &[("v", "b".into()), ("n", 6.into())]), update(id, &[("v", "c".into())])];
        world.source.run(&changes).unwrap();
        match id % 3 {
            0 => drop(world.source.run(&[delete(id), insert(id, "new", "new", 1)]).unwrap()),
            1 => drop(world.source.run(&[update(id, &[("id", (id + 100).into())])]).unwrap()),
            _ => {}
        }
    }
}

/// A crash at any moment changes nothing about what is decided, and what was applied before it is no conflict when the line goes on.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_await_decides_the_same() {
    for by in ConflictStrategy::NAMES {
        for snapshot in [SnapshotMode::Initial, SnapshotMode::Never] {
            let decisions = |world: &World| {
                let one = |one: Conflict| (one.id, one.kind, one.decision, one.existing);
                let mut all: Vec<_> = met(world).into_iter().map(one).collect();
                all.sort_by(|a, b| a.0.cmp(&b.0));
                all
            };
            let undisturbed = contested(by, snapshot);
            undisturbed.synced().await;
            change_everything(&undisturbed);
            undisturbed.synced().await;
            let (expected, expected_rows) = (decisions(&undisturbed), rows(&undisturbed));
            assert!(expected.len() >= 20, "{by}: {}", expected.len());
            for moment in 1.. {
                let world = contested(by, snapshot);
                let mut died = 0;
                for change in [false, true] {
                    if change {
                        change_everything(&world);
                    }
                    // Twice at the same moment of a life, then it lives on.
                    for left in [moment, moment, u64::MAX] {
                        let inner = Box::pin(world.line().0.run(Until::Head));
                        match (Mortal { inner, left }).await {
                            None => died += 1,
                            Some(ended) => assert!(matches!(ended, Ended::Done), "{ended:?}"),
                        }
                        // The tasks of the dead are gone before the next life.
                        for _ in 0..3 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                assert_eq!(decisions(&world), expected, "{by} {moment}");
                assert_eq!(rows(&world), expected_rows, "{by} {moment}");
                if died == 0 {
                    break;
                }
            }
        }
    }
}
