//! What the log brings.

use sluice_servers::{Postgres, PostgresOptions};
use sluice_types::ports::{Read, ReadLimits, StreamStart};
use sluice_types::{Change, ErrorKind, TableId, Value};

use crate::follow::{Follow, shown};
use crate::harness::{Place, line};

fn place(sql: &str) -> Place {
    let place = Place::start();
    place.sql(sql);
    place
}

/// A server that streams every transaction of more than a few rows.
fn streaming_place(sql: &str) -> Place {
    let conf = vec!["logical_decoding_work_mem = 64kB".into()];
    let place = Place::on(Postgres::start_with(PostgresOptions { conf, ..PostgresOptions::default() }));
    place.sql(sql);
    place
}

async fn all(place: &Place, sql: &str) -> Vec<String> {
    let mut follow = Follow::start(place, &["t"]).await;
    place.sql(sql);
    follow.events().await.iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_toast_kept_is_absent_and_never_null() {
    let big = "repeat(md5('x'), 1) || (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i)";
    let place = place(&format!(
        "CREATE TABLE t(id int PRIMARY KEY, big text, n int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t VALUES (1, {big}, 1), (2, NULL, 2)"
    ));
    let got =
        all(&place, "UPDATE t SET n = 9; UPDATE t SET id = 7 WHERE id = 1; DELETE FROM t WHERE id = 7").await;
    let expected = [
        "update >1,absent,9",
        "update >2,null,9",
        "update 1,absent,absent>7,absent,9",
        "delete 7,absent,absent>",
    ];
    assert_eq!(got, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_identity() {
    let big = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i)";
    let full = place(&format!(
        "CREATE TABLE t(id int PRIMARY KEY, a text, big text); ALTER TABLE t REPLICA IDENTITY FULL;
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL; INSERT INTO t VALUES (1, 'a', {big})"
    ));
    let got = all(&full, "UPDATE t SET a = NULL; DELETE FROM t").await;
    assert_eq!(got, ["update 1,a,c4c..>1,null,c4c..", "delete 1,null,c4c..>"], "the image is made whole");
    let index = place(
        "CREATE TABLE t(id int PRIMARY KEY, code text NOT NULL, a int); CREATE UNIQUE INDEX c ON t(code);
         ALTER TABLE t REPLICA IDENTITY USING INDEX c; INSERT INTO t VALUES (1, 'x', 1)",
    );
    let got = all(&index, "UPDATE t SET a = 2; UPDATE t SET code = 'y'; DELETE FROM t").await;
    assert_eq!(got, ["update >1,x,2", "update absent,x,absent>1,y,2", "delete absent,y,absent>"]);
    let nothing = place("CREATE TABLE t(id int, a text)");
    let refused = Follow::resume(&nothing, "p", &["t"], None).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::KeyMissing, "{refused}");
    assert!(refused.remedy_text().unwrap().contains("REPLICA IDENTITY FULL"), "{refused}");
    nothing.sql("INSERT INTO t VALUES (1, 'x'); UPDATE t SET a = 'y'; DELETE FROM t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_transaction_loses_only_what_was_rolled_back() {
    let place = streaming_place(
        "CREATE TABLE t(id int PRIMARY KEY, a text); CREATE TABLE u(id int PRIMARY KEY, a text)",
    );
    let mut follow = Follow::start(&place, &["t", "u"]).await;
    let insert = |table: &str, from: i32, to: i32| {
        format!("INSERT INTO {table} SELECT i, repeat('x', 100) FROM generate_series({from}, {to}) i;")
    };
    let sql = [
        "BEGIN;".into(),
        insert("t", 1, 3000),
        "SAVEPOINT a;".into(),
        // The first rows of `u` are rolled back, and with them what was said of it.
        insert("u", 1, 3000),
        insert("t", 3001, 6000),
        "SAVEPOINT b;".into(),
        insert("t", 6001, 9000),
        "ROLLBACK TO a;".into(),
        insert("u", 10_001, 13_000),
        "SAVEPOINT c;".into(),
        insert("t", 20_001, 23_000),
        "RELEASE c; DELETE FROM t WHERE id <= 10; COMMIT".into(),
    ];
    place.sql(&sql.concat());
    place.sql(&format!("BEGIN; {} ROLLBACK", insert("t", 50_001, 60_000)));
    place.sql("INSERT INTO t VALUES (70000, 'last')");
    let transactions = follow.transactions().await.unwrap();
    assert_eq!(transactions.len(), 2);
    let events = &transactions[0].1;
    let indexes: Vec<u64> = events.iter().map(|event| event.index).collect();
    assert_eq!(indexes, (0..events.len() as u64).collect::<Vec<_>>());
    let key = |change: &Change| match change.identity().unwrap().get(0) {
        Value::Int64(id) => *id,
        other => panic!("{other:?}"),
    };
    let of = |name: &str| -> Vec<i64> {
        events
            .iter()
            .filter(|event| &*event.table.table.name == name)
            .map(|event| key(&event.change))
            .collect()
    };
    let expected: Vec<i64> = (1..=3000).chain(20_001..=23_000).chain(1..=10).collect();
    assert_eq!(of("t"), expected);
    assert_eq!(of("u"), (10_001..=13_000).collect::<Vec<i64>>());
    assert!(transactions[0].0.xid.is_some() && transactions[0].0.committed_micros.is_some());
    let stored = place.sql("SELECT count(*) FROM t")[0][0].clone().unwrap();
    assert_eq!(stored, (3000 + 3000 - 10 + 1).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_that_is_not_streamed_comes_whole() {
    let place = place("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t SELECT i, repeat('y', 200) FROM generate_series(1, 60000) i");
    let transactions = follow.transactions().await.unwrap();
    let ids: Vec<Value> =
        transactions[0].1.iter().map(|e| e.change.after().unwrap().get(0).clone()).collect();
    assert_eq!(ids, (1..=60_000).map(Value::Int64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_column_without_a_binary_form_makes_the_stream_text() {
    let place = place("CREATE TABLE t(id int PRIMARY KEY, a point, b numeric, c timestamptz, d bytea)");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t VALUES (1, '(1.5,-2)', 1.50, '2020-01-01 00:00+00', '\\x00ff')");
    let streamed = follow.events().await;
    let chunk = follow.chunk().await;
    assert_eq!(streamed[0].change.after().unwrap().values(), chunk.rows[0].values());
}

#[tokio::test(flavor = "multi_thread")]
async fn truncates_partitions_and_odd_names() {
    let place = place(
        "CREATE TABLE t(id int, k text, \"größe \"\"x\"\"\" int, g int GENERATED ALWAYS AS (id * 2) STORED,
            i int GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (k, id)) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
         CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200)",
    );
    let got = all(
        &place,
        "INSERT INTO t VALUES (1, 'a', 5), (150, 'b', NULL); UPDATE t SET id = 101 WHERE k = 'a'; TRUNCATE t",
    )
    .await;
    let expected = [
        "insert >1,a,5,1",
        "insert >150,b,null,2",
        "delete 1,a,absent,absent>",
        "insert >101,a,5,1",
        "truncate >",
    ];
    assert_eq!(got, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_added_stops_the_line_and_is_followed_after() {
    let place = place("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t VALUES (1, 'x')");
    follow.events().await;
    let at = follow.at.clone();
    place.sql("INSERT INTO t VALUES (2, 'y')");
    place.sql("ALTER TABLE t ADD COLUMN b int DEFAULT 5; INSERT INTO t VALUES (3, 'z', 6)");
    let error = follow.try_events().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaChanged, "{error}");
    drop(follow);
    Follow::accepted(&place, &["t"]).await;
    let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    let got: Vec<String> = again.events().await.iter().map(shown).collect();
    assert_eq!(got, ["insert >2,y,absent", "insert >3,z,6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_another_replication_carry_its_name() {
    let place =
        place("CREATE TABLE t(id int PRIMARY KEY, a text); SELECT pg_replication_origin_create('elsewhere')");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("SELECT pg_replication_origin_session_setup('elsewhere'); INSERT INTO t VALUES (1, 'x')");
    place.sql("INSERT INTO t VALUES (2, 'y')");
    let origins: Vec<Option<String>> = follow
        .transactions()
        .await
        .unwrap()
        .into_iter()
        .map(|(transaction, _)| transaction.origin.map(|origin| origin.0.to_string()))
        .collect();
    assert_eq!(origins, [Some("elsewhere".into()), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_column_of_any_type_is_passed_over() {
    let place = place("CREATE TABLE t(id int PRIMARY KEY, b path, c tsquery, d pg_snapshot, e text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    let at = follow.at.clone();
    place.sql("INSERT INTO t VALUES (1, '((0,0),(1,1))', 'a & b', '1:2:', 'x')");
    assert_eq!(follow.events().await.len(), 1);
    drop(follow);
    place.sql("ALTER TABLE t DROP b, DROP c, DROP d");
    Follow::accepted(&place, &["t"]).await;
    let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    let got: Vec<String> = again.events().await.iter().map(shown).collect();
    assert_eq!(got, ["insert >1,x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_has_is_not_looked_into() {
    let place = place("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t VALUES (1, 'x')");
    follow.events().await;
    let at = follow.at.clone();
    drop(follow);
    // The slot still begins before the row of the old type.
    place.sql("ALTER TABLE t ALTER a TYPE int USING 5; INSERT INTO t VALUES (2, 7)");
    Follow::accepted(&place, &["t"]).await;
    let mut again = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    let got: Vec<String> = again.events().await.iter().map(shown).collect();
    assert_eq!(got, ["insert >2,7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_toast_kept_is_in_both_images() {
    let place = place(
        "CREATE TABLE t(k text, n int, PRIMARY KEY (k, n)); ALTER TABLE t ALTER k SET STORAGE EXTERNAL;
         INSERT INTO t SELECT string_agg(md5(i::text), ''), 1 FROM generate_series(1, 70) i",
    );
    assert_eq!(all(&place, "UPDATE t SET n = 2").await, ["update c4c..,1>c4c..,2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_the_same_part_when_the_tables_have_changed() {
    let place = place("CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE u(id int PRIMARY KEY)");
    let mut follow = Follow::start(&place, &["u", "t"]).await;
    let start = follow.at.clone();
    place.sql("BEGIN; INSERT INTO u VALUES (1), (2), (3); INSERT INTO t VALUES (1), (2), (3); COMMIT");
    let limits = ReadLimits { rows: 4, bytes: 1 << 20 };
    let batch = loop {
        match follow.next(&limits).await.unwrap() {
            Read::Batch(batch) => break batch,
            Read::Progress(_) => {}
        }
    };
    assert!(batch.open && batch.events.len() == 4);
    let part = batch.events[3].index + 1;
    drop(follow);
    let mut source = place.endpoint().source(&line("p")).await.unwrap();
    source.identity().await.unwrap();
    let schemas = source.schemas(&[TableId::new("public", "t")]).await.unwrap();
    source.hold(&schemas).await.unwrap();
    source.open(&StreamStart { position: start.clone(), part }, &schemas).await.unwrap();
    let mut again = Follow { source, schemas, at: start };
    let got: Vec<String> = again.events().await.iter().map(shown).collect();
    assert_eq!(got, ["insert >2", "insert >3"]);
}

/// The server hears from us while the line takes nothing, however much there is to take.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_stalls_is_not_cut_off() {
    let conf = vec!["wal_sender_timeout = 1s".into()];
    let place = Place::on(Postgres::start_with(PostgresOptions { conf, ..PostgresOptions::default() }));
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    let mut follow = Follow::start(&place, &["t"]).await;
    // More than all buffers on the way hold together.
    for part in 0..30 {
        place.sql(&format!(
            "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series({part} * 2000 + 1, {part} * 2000 + 2000) i"
        ));
    }
    // How long nobody asks for anything: not a wait for something.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let connected = "SELECT count(*) FROM pg_stat_replication WHERE now() - backend_start > interval '3 s'";
    assert_eq!(place.sql(connected)[0][0].as_deref(), Some("1"), "the stream was cut off");
    assert_eq!(follow.events().await.len(), 60_000);
}
