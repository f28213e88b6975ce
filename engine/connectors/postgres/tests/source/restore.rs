//! A server that was put back together with its slot, and one that was promoted.

use std::path::Path;
use std::process::Command;

use sluice_types::ErrorKind;

use crate::follow::Follow;
use crate::harness::Place;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Starts the stopped server as one that is recovered from an archive: on a new timeline.
fn start_recovered(place: &Place) {
    place.server.conf(&["restore_command = 'false'"]);
    let signal = place.server.data_dir().join("recovery.signal");
    // Of the owner of the folder.
    copy(&place.server.data_dir().join("PG_VERSION"), &signal);
    place.server.start_again();
    for _ in 0..400 {
        if place.sql("SELECT pg_is_in_recovery()")[0][0].as_deref() == Some("f") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("the server is still in recovery");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_put_back_with_its_slot_and_written_past_the_checkpoint_is_a_lost_position() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    drop(Follow::start(&place, &["t"]).await);
    place.server.stop();
    let snapshot = place.server.data_dir().with_file_name("snapshot");
    copy(&place.server.data_dir(), &snapshot);
    place.server.start_again();
    let mut follow = Follow::resume(&place, "p", &["t"], None).await.unwrap();
    place.sql("INSERT INTO t VALUES (1, 'lost with the disk')");
    assert_eq!(follow.events().await.len(), 1);
    let at = follow.at.clone();
    drop(follow);

    place.server.stop();
    std::fs::remove_dir_all(place.server.data_dir()).unwrap();
    copy(&snapshot, &place.server.data_dir());
    start_recovered(&place);
    place.sql("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(2, 2000) n");
    place.sql("INSERT INTO t VALUES (1, 'another')");
    let error = Follow::resume(&place, "p", &["t"], Some(at)).await.err().expect("not in silence");
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.to_string().contains("timeline"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_server_that_has_all_that_the_target_has_goes_on() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t VALUES (1, 'x')");
    assert_eq!(follow.events().await.len(), 1);
    let at = follow.at.clone();
    drop(follow);
    place.server.stop();
    start_recovered(&place);
    place.sql("INSERT INTO t VALUES (2, 'y')");
    let mut follow = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    assert_eq!(follow.events().await.len(), 1);
    assert!(follow.at.text().ends_with("/2"), "{}", follow.at);
}
