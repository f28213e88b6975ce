//! Conflicts that wait for somebody: what comes of their rows meanwhile, and of what is decided.

use sluice_pipeline::{Choice, Verdict, decide_conflict};
use sluice_types::ports::{Decision, StateStore};
use sluice_types::{Conflict, Error, ErrorKind, Row, Value};

use crate::conflicts::{Mortal, c, delete, insert, met, rows, shown, update, world};
use crate::world::{World, until};

/// The row 1, which somebody else has changed, and which the source has changed then.
async fn contested() -> World {
    let world = world("park");
    world.source.run(&[insert(1, "base", "base", 5)]).unwrap();
    world.synced().await;
    world.target.run(&[update(1, &[("w", "theirs".into())])]).unwrap();
    world.source.run(&[update(1, &[("v", "ours".into())])]).unwrap();
    world.synced().await;
    assert_eq!(shown(&world), ["update_differs parked"]);
    assert_eq!(rows(&world), ["1 base theirs 5"]);
    world
}

fn verdict(conflict: &Conflict, choice: Choice) -> Verdict {
    Verdict { id: conflict.id.clone(), choice, by: "Ann".into(), force: false }
}

async fn decide(world: &World, number: usize, choice: Choice) -> Result<(), Error> {
    decide_conflict(&world.spec, &world.ports, &verdict(&met(world)[number], choice)).await
}

#[track_caller]
fn refused(decided: Result<(), Error>, says: &str) {
    let error = decided.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictRefused);
    assert!(error.to_string().contains(says), "{error}");
}

/// Later changes of the row wait with the first one, in one record; what is decided is about all of them, and then the line goes on.
#[tokio::test(start_paused = true)]
async fn later_changes_are_one_conflict_with_the_first() {
    let world = contested().await;
    world
        .source
        .run(&[update(1, &[("v", "later".into()), ("n", 6.into())]), update(1, &[("n", 7.into())])])
        .unwrap();
    world.source.run(&[insert(2, "other", "row", 1)]).unwrap();
    world.synced().await;
    assert_eq!(rows(&world), ["1 base theirs 5", "2 other row 1"]);
    let [one] = &met(&world)[..] else { panic!("one conflict") };
    assert_eq!((one.later, one.is_parked()), (2, true));
    assert_eq!(
        one.incoming.change.after().unwrap().values(),
        [1.into(), "later".into(), "base".into(), 7.into()]
    );

    let (handle, running) = world.serve();
    handle.decide(verdict(one, Choice::Source)).await.unwrap();
    assert_eq!(rows(&world), ["1 later base 7", "2 other row 1"]);
    world.source.run(&[update(1, &[("v", "last".into())])]).unwrap();
    until(|| rows(&world)[0] == "1 last base 7").await;
    assert_eq!((handle.status().conflicts, handle.status().parked_conflicts), (1, 0));
    handle.stop();
    running.await.unwrap();
    let [one] = &met(&world)[..] else { panic!("one conflict") };
    assert_eq!((&one.decision, &*one.by), (&Decision::Incoming, "Ann"));
    assert!(one.decided_micros.is_some());
    refused(decide(&world, 0, Choice::Target).await, "decided already");
}

/// The target's row stays; the next change of it is another conflict.
#[tokio::test(start_paused = true)]
async fn the_targets_row_stays_until_the_next_change() {
    let world = contested().await;
    decide(&world, 0, Choice::Target).await.unwrap();
    world.synced().await;
    assert_eq!(rows(&world), ["1 base theirs 5"]);
    world.source.run(&[delete(1)]).unwrap();
    world.synced().await;
    assert_eq!(shown(&world), ["update_differs existing", "delete_differs parked"]);
    decide(&world, 1, Choice::Source).await.unwrap();
    assert_eq!(rows(&world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn other_values_can_be_given() {
    let world = contested().await;
    let values = Row::new(vec![Value::Absent, Value::Absent, "both".into(), Value::Absent]);
    decide(&world, 0, Choice::Values(values.clone())).await.unwrap();
    assert_eq!(rows(&world), ["1 ours both 5"]);
    assert_eq!(shown(&world), ["update_differs merged"]);
    // A row that the source has deleted comes back as the target has it.
    world.source.run(&[delete(1)]).unwrap();
    world.synced().await;
    decide(&world, 1, Choice::Values(values)).await.unwrap();
    assert_eq!(rows(&world), ["1 ours both 5"]);
}

/// Nobody decides over a row that was not the one that is shown.
#[tokio::test(start_paused = true)]
async fn a_row_that_was_changed_since_is_shown_first() {
    let world = contested().await;
    for by_force in [false, true] {
        world.target.run(&[update(1, &[("w", if by_force { "again" } else { "since" }.into())])]).unwrap();
        let mut verdict = verdict(&met(&world)[0], Choice::Source);
        let decided = decide_conflict(&world.spec, &world.ports, &verdict).await;
        refused(decided, "changed since");
        assert_eq!(
            met(&world)[0].existing.as_ref().unwrap().values()[2],
            if by_force { "again" } else { "since" }.into()
        );
        if by_force {
            world.target.run(&[update(1, &[("w", "and again".into())])]).unwrap();
            verdict.force = true;
            decide_conflict(&world.spec, &world.ports, &verdict).await.unwrap();
            assert_eq!(rows(&world), ["1 ours base 5"]);
        }
    }
}

/// A crash after the commit and before the state is told: the same is decided once more, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_decision_that_the_state_was_not_told_is_made_again() {
    let world = contested().await;
    let parked = met(&world);
    decide(&world, 0, Choice::Source).await.unwrap();
    world.state.keep_conflicts(parked).await.unwrap();
    // The line knows nothing of it, and the row waits.
    world.source.run(&[update(1, &[("n", 8.into())])]).unwrap();
    world.synced().await;
    assert_eq!(rows(&world), ["1 ours base 5"]);
    refused(decide(&world, 0, Choice::Target).await, "changed since");
    decide(&world, 0, Choice::Source).await.unwrap();
    assert_eq!(rows(&world), ["1 ours base 8"]);
    let parked = Conflict { decision: Decision::Park(String::new()), ..met(&world)[0].clone() };
    world.state.keep_conflicts(vec![parked]).await.unwrap();
    decide(&world, 0, Choice::Source).await.unwrap();
    assert_eq!(
        (rows(&world), shown(&world)),
        (vec!["1 ours base 8".into()], vec!["update_differs incoming".into()])
    );
}

/// Rows that change their keys while they wait, and others that get the keys which they have left.
#[tokio::test(start_paused = true)]
async fn another_row_of_a_held_key_waits_behind() {
    let world = contested().await;
    world
        .source
        .run(&[update(1, &[("id", 2.into())]), insert(1, "new", "new", 1), update(1, &[("n", 2.into())])])
        .unwrap();
    world.source.run(&[update(2, &[("n", 9.into())])]).unwrap();
    world.synced().await;
    assert_eq!(rows(&world), ["1 base theirs 5"]);
    assert_eq!(met(&world).iter().map(|one| one.later).collect::<Vec<_>>(), [2, 1]);
    refused(decide(&world, 1, Choice::Source).await, "waits before it");
    decide(&world, 0, Choice::Source).await.unwrap();
    assert_eq!(rows(&world), ["2 ours base 9"]);
    decide(&world, 1, Choice::Source).await.unwrap();
    assert_eq!(rows(&world), ["1 new new 2", "2 ours base 9"]);
    world.source.run(&[update(1, &[("v", "x".into())]), update(2, &[("v", "y".into())])]).unwrap();
    world.synced().await;
    assert_eq!(rows(&world), ["1 x new 2", "2 y base 9"]);
}

/// Two rows that wait change their keys with each other: everything is decided in its order, and ends as the source has it.
#[tokio::test(start_paused = true)]
async fn rows_that_wait_swap_their_keys() {
    let world = world("park");
    world.source.run(&[insert(1, "a", "a", 1), insert(2, "b", "b", 2)]).unwrap();
    world.synced().await;
    world.target.run(&[update(1, &[("w", "x".into())]), update(2, &[("w", "y".into())])]).unwrap();
    let swap = [(1, 9), (2, 1), (9, 2)].map(|(from, to)| update(from, &[("id", to.into())]));
    world.source.run(&[update(1, &[("n", 3.into())]), update(2, &[("n", 4.into())])]).unwrap();
    world.source.run(&swap).unwrap();
    world.source.run(&[update(1, &[("v", "bb".into())]), insert(9, "new", "new", 1)]).unwrap();
    world.synced().await;
    assert_eq!(rows(&world), ["1 a x 1", "2 b y 2"]);
    let waiting = met(&world).len();
    for number in 0..waiting {
        if let Err(error) = decide(&world, number, Choice::Source).await {
            // Nobody knew the row that it meets, before those in front of it were decided.
            refused(Err(error), "changed since");
            decide(&world, number, Choice::Source).await.unwrap();
        }
    }
    assert_eq!(rows(&world), ["1 bb b 4", "2 a a 3", "9 new new 1"]);
    world.synced().await;
    assert_eq!(met(&world).len(), waiting);
}

/// A crash at any moment of a decision: it is made, or it can be made again.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_await_of_a_decision() {
    for choice in [Choice::Source, Choice::Target] {
        let expected = if choice == Choice::Source { "1 ours base 5" } else { "1 base theirs 5" };
        for left in 1.. {
            let world = contested().await;
            let verdict = verdict(&met(&world)[0], choice.clone());
            let inner = Box::pin(decide_conflict(&world.spec, &world.ports, &verdict));
            let died = (Mortal { inner, left }).await.is_none();
            world.synced().await;
            if met(&world)[0].is_parked() {
                decide_conflict(&world.spec, &world.ports, &verdict).await.unwrap();
            }
            assert_eq!((rows(&world), met(&world).len()), (vec![expected.to_string()], 1), "{left}");
            assert_eq!(&*met(&world)[0].by, "Ann", "{left}");
            if !died {
                break;
            }
        }
    }
}

/// A row that moves to a key under which somebody else has put another one.
#[tokio::test(start_paused = true)]
async fn a_row_that_moves_to_a_taken_key_waits() {
    for (choice, left) in [(Choice::Source, &["2 a a 1"][..]), (Choice::Target, &["2 theirs x 9"][..])] {
        let world = world("park");
        world.source.run(&[insert(1, "a", "a", 1)]).unwrap();
        world.synced().await;
        world.target.run(&[insert(2, "theirs", "x", 9)]).unwrap();
        world.source.run(&[update(1, &[("id", 2.into())])]).unwrap();
        world.synced().await;
        assert_eq!(shown(&world), ["insert_exists parked"]);
        assert_eq!(rows(&world), ["1 a a 1", "2 theirs x 9"]);
        decide(&world, 0, choice).await.unwrap();
        assert_eq!(rows(&world), left);
    }
}

/// Whatever empties the table, or reads it again, decides.
#[tokio::test(start_paused = true)]
async fn what_takes_the_rows_away_decides() {
    let world = contested().await;
    world.source.run(&[sluice_kit::Statement::Truncate { table: c() }, insert(1, "new", "new", 1)]).unwrap();
    world.synced().await;
    assert_eq!((rows(&world), &*met(&world)[0].by), (vec!["1 new new 1".to_string()], "truncate"));

    let world = contested().await;
    let (handle, running) = world.serve();
    handle.resnapshot(vec![]).await.unwrap();
    until(|| rows(&world) == ["1 ours base 5"]).await;
    handle.stop();
    running.await.unwrap();
    assert_eq!((&*met(&world)[0].by, met(&world)[0].is_parked()), ("resnapshot", false));
}

/// What the line has recorded and not committed it meets again: nobody decides before.
#[tokio::test(start_paused = true)]
async fn what_is_not_committed_is_not_decided() {
    let world = contested().await;
    let mut early = met(&world);
    early[0].position = sluice_types::Position::from_number(u64::MAX, "later");
    world.state.keep_conflicts(early).await.unwrap();
    refused(decide(&world, 0, Choice::Source).await, "not committed yet");
    assert_eq!(rows(&world), ["1 base theirs 5"]);
}
