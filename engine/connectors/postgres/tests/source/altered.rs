//! Rows of a table from before it was altered.

use sluice_servers::{Postgres, PostgresOptions};
use sluice_types::ErrorKind;

use crate::follow::{Follow, shown};
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
    for _ in 0..2 {
        let mut refused = Follow::resume(&place, "p", &["t"], Some(at.clone())).await.unwrap();
        let error = refused.try_events().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SchemaChanged, "{error}");
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
    let mut refused = Follow::resume(&place, "p", &["t"], Some(at.clone())).await.unwrap();
    assert_eq!(refused.try_events().await.unwrap_err().kind(), ErrorKind::SchemaChanged);
    drop(refused);
    // Nor what was made before, when the table has changed once more since it was read.
    place.sql("ALTER TABLE t ALTER a TYPE text");
    let mut refused = Follow::resume(&place, "p", &["t"], Some(at.clone())).await.unwrap();
    assert_eq!(refused.try_events().await.unwrap_err().kind(), ErrorKind::SchemaChanged);
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
    let mut refused = Follow::resume(&place, "p", &["t", "u"], Some(at.clone())).await.unwrap();
    assert_eq!(refused.try_events().await.unwrap_err().kind(), ErrorKind::SchemaChanged);
    drop(refused);
    let mut anew = Follow::anew(&place, &["t", "u"], at).await.unwrap();
    assert_eq!(events(&mut anew).await, ["insert >1", "insert >0,5000,new"]);
}
