//! Rows of a table from before it was altered.

use std::time::Duration;

use sluice_servers::{Postgres, PostgresOptions};
use sluice_types::ports::{Read, ReadLimits};
use sluice_types::{ErrorKind, KeyRange};

use crate::follow::{Follow, LIMITS, shown};
use crate::harness::Place;

async fn events(follow: &mut Follow) -> Vec<String> {
    follow.events().await.iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_retyped_column_are_left_out_once_the_table_is_read_anew() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let follow = Follow::start(&place, &["t"]).await;
    let at = follow.at.clone();
    drop(follow);
    place.sql("INSERT INTO t VALUES (1, 'x')");
    // In the very transaction that alters it, too.
    place.sql("BEGIN; DELETE FROM t WHERE id = 9; INSERT INTO t VALUES (2, 'y'); ALTER TABLE t ALTER a TYPE int USING 5; COMMIT");
    place.sql("INSERT INTO t VALUES (3, 7)");
    Follow::accepted(&place, &["t"]).await;
    for _ in 0..2 {
        let mut refused = Follow::resume(&place, "p", &["t"], Some(at.clone())).await.unwrap();
        let error = refused.try_events().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CaptureBroken, "{error}");
    }
    let mut anew = Follow::anew(&place, &["t"], at.clone()).await.unwrap();
    assert_eq!(anew.chunk().await.rows.len(), 3, "what is left out is in every chunk");
    assert_eq!(events(&mut anew).await, ["insert >3,7"]);
    drop(anew);
    // And in later sessions.
    let mut again = Follow::resume(&place, "p", &["t"], Some(at.clone())).await.unwrap();
    assert_eq!(events(&mut again).await, ["insert >3,7"]);
    drop(again);
    // Not what was made in another shape after that, whatever the table looks like in the end.
    place.sql("ALTER TABLE t ALTER a TYPE text");
    place.sql("INSERT INTO t VALUES (4, 'later')");
    place.sql("ALTER TABLE t ALTER a TYPE int USING 6");
    Follow::accepted(&place, &["t"]).await;
    let mut refused = Follow::resume(&place, "p", &["t"], Some(at.clone())).await.unwrap();
    assert_eq!(refused.try_events().await.unwrap_err().kind(), ErrorKind::CaptureBroken);
    drop(refused);
    // Nor what was made before, when the table has changed once more since it was read.
    place.sql("ALTER TABLE t ALTER a TYPE text");
    Follow::accepted(&place, &["t"]).await;
    let mut refused = Follow::resume(&place, "p", &["t"], Some(at.clone())).await.unwrap();
    assert_eq!(refused.try_events().await.unwrap_err().kind(), ErrorKind::CaptureBroken);
    drop(refused);
    let mut anew = Follow::anew(&place, &["t"], at).await.unwrap();
    assert_eq!(events(&mut anew).await.last().map(String::as_str), Some("insert >4,later"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_transaction_and_an_identity_of_before_are_left_out_too() {
    let conf = vec!["logical_decoding_work_mem = 64kB".into()];
    let place = Place::on(Postgres::start_with(PostgresOptions { conf, ..PostgresOptions::default() }));
    place.sql("CREATE TABLE t(id int PRIMARY KEY, code text NOT NULL UNIQUE, a text); CREATE TABLE u(id int PRIMARY KEY)");
    let follow = Follow::start(&place, &["t", "u"]).await;
    let at = follow.at.clone();
    drop(follow);
    place.sql(
        "BEGIN; INSERT INTO t SELECT i, i, repeat('x', 100) FROM generate_series(1, 3000) i; INSERT INTO u VALUES (1); COMMIT",
    );
    place.sql(
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ALTER code TYPE int USING code::int, ADD PRIMARY KEY (code)",
    );
    place.sql("INSERT INTO t VALUES (0, 5000, 'new')");
    Follow::accepted(&place, &["t", "u"]).await;
    let mut refused = Follow::resume(&place, "p", &["t", "u"], Some(at.clone())).await.unwrap();
    assert_eq!(refused.try_events().await.unwrap_err().kind(), ErrorKind::CaptureBroken);
    drop(refused);
    let mut anew = Follow::anew(&place, &["t", "u"], at).await.unwrap();
    assert_eq!(events(&mut anew).await, ["insert >1", "insert >0,5000,new"]);
}

/// None of this is in the log, or not so that it could be told from what was before.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_gives_rows_other_values_is_told_when_the_line_starts() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, n numeric(10,4), c text, i int); INSERT INTO t VALUES (1, 1.2345, 'x', 7)");
    drop(Follow::start(&place, &["t"]).await);
    for quiet in [
        "VACUUM FULL t",
        "CLUSTER t USING t_pkey",
        "ALTER TABLE t ALTER c SET DEFAULT 'd'",
        "ANALYZE t",
        "ALTER TABLE t ALTER c SET STATISTICS 5",
    ] {
        place.sql(quiet);
        Follow::resume(&place, "p", &["t"], None).await.unwrap_or_else(|error| panic!("{quiet}: {error}"));
    }
    for altered in [
        "ALTER n TYPE numeric(10,2)",
        "ALTER c TYPE text USING upper(c)",
        "DROP c, ADD c text DEFAULT 'new'",
        "ALTER i TYPE bigint USING i * 1000",
        "ADD u uuid DEFAULT gen_random_uuid()",
        "ADD v int DEFAULT 5",
        "RENAME c TO d",
    ] {
        place.sql(&format!("ALTER TABLE t {altered}"));
        Follow::accepted(&place, &["t"]).await;
        Follow::resume(&place, "p", &["t"], None).await.unwrap_or_else(|error| panic!("{altered}: {error}"));
    }
}

/// What is done to a table after it was told is for somebody to hear, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_is_what_is_decided_of() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, c text, n int); INSERT INTO t VALUES (1, 'x', 7)");
    drop(Follow::start(&place, &["t"]).await);
    place.sql("ALTER TABLE t ALTER n TYPE bigint");
    let told = Follow::told(&place, &["t"]).await;
    place.sql("ALTER TABLE t ALTER c TYPE text USING upper(c)");
    Follow::decide(&place, told).await;
    let told = Follow::told(&place, &["t"]).await;
    // That changes nothing which somebody would have to hear of.
    place.sql("VACUUM FULL t");
    Follow::decide(&place, told).await;
    Follow::resume(&place, "p", &["t"], None).await.unwrap();
}

/// What was told is not forgotten by what somebody does about another table, nor by taking a table's capture away.
#[tokio::test(flavor = "multi_thread")]
async fn each_altered_table_is_decided_by_itself() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, c text); CREATE TABLE u(id int PRIMARY KEY, c text)");
    drop(Follow::start(&place, &["t", "u"]).await);
    place.sql(
        "ALTER TABLE t ALTER c TYPE text USING upper(c); ALTER TABLE u ALTER c TYPE text USING upper(c)",
    );
    let told =
        async || Follow::resume(&place, "p", &["t", "u"], None).await.err().map(|error| error.to_string());
    assert!(told().await.unwrap().contains("public.t"));
    Follow::accept(&place, &["t"]).await;
    assert!(told().await.unwrap().contains("public.u"));
    let mut source = place.endpoint().source(&crate::harness::line("p")).await.unwrap();
    source.detach(&[sluice_types::TableId::new("public", "u")]).await.unwrap();
    assert!(told().await.unwrap().contains("public.u"));
    Follow::accept(&place, &["u"]).await;
    assert_eq!(told().await, None);
}

/// None of its rows comes by the stream, and no row that comes looks other than before.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_written_anew_while_it_is_followed() {
    for (made, altered) in [
        ("PRIMARY KEY (id))", "ALTER TABLE t ALTER c TYPE text USING upper(c)"),
        ("PRIMARY KEY (id))", "ALTER TABLE t DROP c, ADD c text DEFAULT 'new'"),
        (
            "PRIMARY KEY (id)) PARTITION BY LIST (id); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
            "ALTER TABLE t ALTER c TYPE text USING upper(c)",
        ),
    ] {
        let place = Place::start();
        place.sql(&format!("CREATE TABLE t(id int, c text, {made}; INSERT INTO t VALUES (1, 'x')"));
        let mut follow = Follow::on(place.busy_endpoint(), "p", &["t"], None).await.unwrap();
        place.sql(altered);
        let error = loop {
            match follow.next(&LIMITS).await {
                Ok(read) => assert!(matches!(read, Read::Progress(_)), "{altered}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::SchemaChanged, "{altered}: {error}");
        drop(follow);
        Follow::accepted(&place, &["t"]).await;
        Follow::resume(&place, "p", &["t"], None).await.unwrap();
    }
}

/// A partition keeps of its rows what it is told itself.
#[tokio::test(flavor = "multi_thread")]
async fn whole_images_of_before_are_promised_where_the_table_itself_keeps_them() {
    let place = Place::start();
    place.sql(
        "CREATE TABLE t(id int PRIMARY KEY, c text); CREATE TABLE whole(LIKE t INCLUDING ALL); ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE parts(LIKE t INCLUDING ALL) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF parts FOR VALUES IN (1);
         ALTER TABLE parts REPLICA IDENTITY FULL",
    );
    let follow = Follow::start(&place, &["t", "whole", "parts"]).await;
    let promised: Vec<bool> = follow.schemas.iter().map(|schema| schema.before_images).collect();
    assert_eq!(promised, [false, true, false]);
}

/// What leaves rows as they were does not add up over the time that a line runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_and_later_gets_a_default() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, c text)");
    let remembered =
        || place.sql("SELECT obj_description(oid, 'pg_publication') FROM pg_publication")[0][0].clone();
    let follow = Follow::on(place.busy_endpoint(), "p", &["t"], None).await.unwrap();
    let before = remembered();
    place.sql("TRUNCATE t");
    for tries in 0.. {
        if remembered() != before {
            break;
        }
        assert!(tries < 3_000, "it is not remembered where the rows are now");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    place.sql("ALTER TABLE t ALTER c SET DEFAULT 'd'");
    drop(follow);
    Follow::resume(&place, "p", &["t"], None).await.unwrap();
}

/// A view that was taken before a table was written anew finds none of its rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_waits_for_an_alter_does_not_take_the_table_for_empty() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, n bigint); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i");
    for (altered, rows) in
        [("ALTER TABLE t ADD u uuid DEFAULT gen_random_uuid()", None), ("VACUUM FULL t", Some(100))]
    {
        Follow::accept(&place, &["t"]).await;
        let mut follow = Follow::resume(&place, "p", &["t"], None).await.unwrap();
        let mut chunks = follow.source.chunks().await.unwrap();
        let table = follow.schemas[0].clone();
        let mut other = place.server.session(crate::harness::DATABASE);
        other.sql("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
        if rows.is_none() {
            other.sql(altered);
        }
        let reading = tokio::spawn(async move {
            let limits = ReadLimits { rows: 1000, bytes: 1 << 20 };
            chunks.read(&table, &KeyRange::default(), &limits).await
        });
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass";
        for tries in 0.. {
            if place.sql(waits)[0][0].as_deref() == Some("1") {
                break;
            }
            assert!(tries < 3_000, "the chunk does not wait for the lock");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        other.sql("COMMIT");
        let read = reading.await.unwrap();
        match rows {
            Some(rows) => assert_eq!(read.unwrap().rows.len(), rows, "{altered}"),
            None => assert_eq!(read.unwrap_err().kind(), ErrorKind::SchemaChanged, "{altered}"),
        }
    }
}

/// A copy has no types with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_another_type_is_not_read_by_the_old_one() {
    let place = Place::start();
    place.sql("CREATE TABLE t(id int PRIMARY KEY, n bigint); INSERT INTO t VALUES (1, 1), (2, 2)");
    let mut follow = Follow::start(&place, &["t"]).await;
    assert_eq!(follow.chunk().await.rows.len(), 2);
    place.sql("ALTER TABLE t ALTER n TYPE double precision");
    let (table, keys) = (follow.schemas[0].clone(), [sluice_types::Key(vec![1.into()])]);
    let mut chunks = follow.source.chunks().await.unwrap();
    let limits = ReadLimits { rows: 10, bytes: 1 << 20 };
    let chunk = chunks.read(&table, &KeyRange::default(), &limits).await;
    assert_eq!(chunk.unwrap_err().kind(), ErrorKind::SchemaChanged);
    assert_eq!(follow.source.reread(&table, &keys).await.unwrap_err().kind(), ErrorKind::SchemaChanged);
    drop(follow);
    // Whoever reads it says so, and nobody has decided anything by that.
    Follow::accepted(&place, &["t"]).await;
    Follow::resume(&place, "p", &["t"], None).await.unwrap();
}
