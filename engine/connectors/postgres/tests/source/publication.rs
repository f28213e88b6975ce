//! A publication in somebody else's hands: afterwards everything looks as before, and the stream has a hole.

use std::time::Duration;

use serde_json::json;
use sluice_types::ports::Read;
use sluice_types::{Error, ErrorKind, Value};

use crate::follow::{Follow, LIMITS, shown};
use crate::harness::{DATABASE, Place, endpoint_with};
use crate::slot::{SLOT, eventually, filled};

/// What somebody does, one transaction after the other, and whether it is known which table it was done to.
fn gaps() -> Vec<(Vec<String>, bool)> {
    let texts = |list: &[&str]| list.iter().map(|text| text.replace("SLOT", SLOT)).collect();
    let made_again = "DO $$ DECLARE memory text; BEGIN
        SELECT obj_description(oid, 'pg_publication') INTO memory FROM pg_publication WHERE pubname = 'SLOT';
        DROP PUBLICATION SLOT;
        CREATE PUBLICATION SLOT FOR TABLE ONLY t WITH (publish_via_partition_root = true);
        EXECUTE format('COMMENT ON PUBLICATION SLOT IS %L', memory); END $$";
    vec![
        (
            texts(&[
                "ALTER PUBLICATION SLOT DROP TABLE t",
                "INSERT INTO t VALUES (3, 'missed')",
                "ALTER PUBLICATION SLOT ADD TABLE ONLY t",
            ]),
            true,
        ),
        (
            texts(&[
                "ALTER PUBLICATION SLOT SET TABLE t WHERE (id > 5)",
                "INSERT INTO t VALUES (3, 'missed')",
                "ALTER PUBLICATION SLOT SET TABLE t",
            ]),
            true,
        ),
        (
            texts(&[
                "ALTER TABLE t RENAME TO old",
                "CREATE TABLE t(id int PRIMARY KEY, a text)",
                "INSERT INTO t VALUES (3, 'missed')",
                "DROP TABLE old",
                "ALTER PUBLICATION SLOT ADD TABLE t",
            ]),
            true,
        ),
        (
            texts(&[
                "ALTER PUBLICATION SLOT SET (publish = 'insert')",
                "UPDATE t SET a = 'missed'",
                "ALTER PUBLICATION SLOT SET (publish = 'insert, update, delete, truncate')",
            ]),
            false,
        ),
        (texts(&[made_again]), false),
    ]
}

/// Reads and confirms until the line is told.
async fn told(follow: &mut Follow) -> Error {
    loop {
        match follow.next(&LIMITS).await {
            Err(error) => return error,
            Ok(Read::Progress(to)) => follow.at = to,
            Ok(Read::Batch(batch)) => follow.at = batch.end().unwrap().clone(),
        }
        follow.source.confirm(&follow.at.clone()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_is_closed_again_while_the_line_runs_is_told_and_not_confirmed() {
    for (gap, names_table) in gaps() {
        let (place, mut follow) = filled().await;
        let before = place.sql("SELECT pg_current_wal_insert_lsn()")[0][0].clone().unwrap();
        gap.iter().for_each(|sql| drop(place.sql(sql)));
        place.sql("INSERT INTO t VALUES (9, 'after')");
        let error = told(&mut follow).await;
        assert_eq!(error.kind(), ErrorKind::CaptureBroken, "{gap:?}: {error}");
        assert_eq!(error.place().table.is_some(), names_table, "{gap:?}: {error}");
        assert!(error.remedy_text().unwrap().contains("sluice resnapshot"), "{error}");
        follow.source.confirm(&follow.at.clone()).await.unwrap();
        drop(follow);
        eventually(&place, "SELECT bool_and(NOT active) FROM pg_replication_slots").await;
        let kept = format!("SELECT confirmed_flush_lsn <= '{before}' FROM pg_replication_slots");
        assert_eq!(place.sql(&kept)[0][0].as_deref(), Some("t"), "{gap:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_is_closed_again_while_nobody_looks_is_seen_by_the_next_session() {
    for (gap, names_table) in gaps() {
        let (place, mut follow) = filled().await;
        let at = follow.at.clone();
        gap.iter().for_each(|sql| drop(place.sql(sql)));
        // Whoever wants to go as far as this would go too far.
        assert_eq!(follow.source.head().await.unwrap_err().kind(), ErrorKind::CaptureBroken);
        drop(follow);
        for _ in 0..2 {
            let error =
                Follow::resume(&place, "p", &["t"], Some(at.clone())).await.err().expect("not in silence");
            if !names_table {
                assert_eq!(error.kind(), ErrorKind::PositionLost, "{gap:?}: {error}");
                continue;
            }
            assert_eq!(error.kind(), ErrorKind::CaptureBroken, "{gap:?}: {error}");
            assert_eq!(error.place().table.as_ref().unwrap().to_string(), "public.t");
        }
        if names_table {
            // Read again, its capture goes on.
            let mut source = place.endpoint().source(&crate::harness::line("p")).await.unwrap();
            assert!(source.detach(&[sluice_types::TableId::new("public", "t")]).await.unwrap());
            let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
            place.sql("INSERT INTO t VALUES (10, 'new')");
            assert_eq!(again.events().await.last().map(shown).as_deref(), Some("insert >10,new"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_told_on_an_idle_source_too() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let endpoint = endpoint_with(json!({ "url": place.server.url(DATABASE), "heartbeat_secs": 1 }));
    let mut follow = Follow::on(endpoint, "p", &["t"], None).await.unwrap();
    place.sql(&format!("ALTER PUBLICATION {SLOT} DROP TABLE t"));
    place.sql(&format!("ALTER PUBLICATION {SLOT} ADD TABLE t"));
    let error = loop {
        match follow.next(&LIMITS).await {
            Ok(Read::Progress(_)) => {}
            Ok(Read::Batch(_)) => panic!("nothing was changed"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::CaptureBroken, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_gap_is_not_told() {
    let (place, mut follow) = filled().await;
    for harmless in [
        "VACUUM FULL FREEZE pg_publication",
        "VACUUM FULL FREEZE pg_publication_rel",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE u RENAME TO t",
        "CREATE TABLE v(id int PRIMARY KEY)",
        "ALTER PUBLICATION SLOT ADD TABLE v",
        "ALTER PUBLICATION SLOT DROP TABLE v",
        "TRUNCATE t",
    ] {
        place.sql(&harmless.replace("SLOT", SLOT));
        follow.source.confirm(&follow.at.clone()).await.unwrap();
        follow.events().await;
    }
    let at = follow.at.clone();
    drop(follow);
    let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    place.sql("INSERT INTO t VALUES (9, 'after')");
    assert_eq!(again.events().await.iter().map(shown).collect::<Vec<_>>(), ["insert >9,after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_else_published_is_captured_as_one_that_is_new() {
    let (place, follow) = filled().await;
    place.sql("CREATE TABLE u(id int PRIMARY KEY)");
    let at = follow.at.clone();
    drop(follow);
    let mut old = place.server.session(DATABASE);
    old.sql("BEGIN");
    old.sql("INSERT INTO u VALUES (1)");
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        old.sql("INSERT INTO u VALUES (2)");
        old.sql("COMMIT");
    });
    // With a filter, and while a transaction writes that is in no stream.
    place.sql(&format!("ALTER PUBLICATION {SLOT} ADD TABLE u WHERE (id > 5)"));
    let mut follow = Follow::resume(&place, "p", &["u", "t"], Some(at)).await.unwrap();
    late.join().unwrap();
    let ids: Vec<Value> = follow.chunk().await.rows.iter().map(|row| row.get(0).clone()).collect();
    assert_eq!(ids, [1.into(), 2.into()]);
    place.sql("INSERT INTO u VALUES (3), (7)");
    let got: Vec<String> = follow.events().await.iter().map(shown).collect();
    // The second row of the old transaction came late enough for the stream, too.
    let new = got.iter().filter(|event| *event != "insert >2").collect::<Vec<_>>();
    assert_eq!(new, ["insert >3", "insert >7"]);
}
