//! Ranges of keys whose order is not the server's own.

use sluice_types::ports::ReadLimits;
use sluice_types::{KeyRange, Value};

use crate::follow::Follow;
use crate::harness::Place;
use crate::slot::eventually;

/// All rows of `t`, a few at a time: the texts of the column `at`.
async fn in_chunks(follow: &mut Follow, at: u32) -> Vec<String> {
    let mut reader = follow.source.chunks().await.unwrap();
    let schema = follow.schemas[0].clone();
    let (ranges, _) = reader.divide(&schema, 4).await.unwrap();
    let mut got = vec![];
    for range in ranges {
        let mut after = range.after.clone();
        loop {
            let range = KeyRange { after, upto: range.upto.clone() };
            let chunk = reader.read(&schema, &range, &ReadLimits { rows: 2, bytes: 1 << 20 }).await.unwrap();
            got.extend(chunk.rows.iter().map(|row| match row.get(at) {
                Value::Text(text) => text.to_string(),
                other => panic!("{other:?}"),
            }));
            match chunk.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_whatever_orders_the_key() {
    let words = "VALUES ('b'), ('A'), ('c'), ('B2'), ('a2'), ('Z'), ('C3'), ('x')";
    for (key, more) in [
        ("k ext.citext, n int DEFAULT 1, PRIMARY KEY (k)", ""),
        ("k ext.folded, n int DEFAULT 1, PRIMARY KEY (k)", "CREATE DOMAIN ext.folded AS ext.citext"),
        ("k ext.citext, n int DEFAULT 1, PRIMARY KEY (n, k)", ""),
        ("k ext.citext, n int DEFAULT 1, PRIMARY KEY (k, n)", ""),
    ] {
        let place = Place::start();
        place.sql(&format!(
            "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; {more}; CREATE TABLE t({key}); \
             INSERT INTO t(k) {words}; ANALYZE t"
        ));
        let mut follow = Follow::start(&place, &["t"]).await;
        let got = in_chunks(&mut follow, 0).await;
        assert_eq!(got, ["A", "a2", "b", "B2", "c", "C3", "x", "Z"], "{key}");
        // A range ends where its key says.
        let key = |word: &str| {
            let schema = &follow.schemas[0];
            let values = schema.key_columns().map(|column| match &*column.name {
                "k" => Value::from(word),
                _ => Value::Int64(1),
            });
            sluice_types::Key(values.collect())
        };
        let range = KeyRange { after: Some(key("A")), upto: Some(key("c")) };
        let mut reader = follow.source.chunks().await.unwrap();
        let limits = ReadLimits { rows: 100, bytes: 1 << 20 };
        let chunk = reader.read(&follow.schemas[0], &range, &limits).await.unwrap();
        assert_eq!(chunk.rows.len(), 4);
        // Rows are found by the very keys that they have, and by the key's index.
        place.sql("UPDATE t SET k = 'X' WHERE k = 'x'");
        let asked: Vec<_> = ["b", "x", "B", "X", "nobody"].into_iter().map(key).collect();
        let schema = follow.schemas[0].clone();
        let (found, _) = follow.source.reread(&schema, &asked).await.unwrap();
        let found: Vec<bool> = found.iter().map(Option::is_some).collect();
        assert_eq!(found, [true, false, false, true, false]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_again_by_the_index_of_their_key() {
    let place = Place::start();
    place.sql(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TABLE t(k ext.citext PRIMARY KEY, a text); \
         INSERT INTO t SELECT md5(i::text), 'x' FROM generate_series(1, 20000) i; ANALYZE t",
    );
    let mut follow = Follow::start(&place, &["t"]).await;
    let schema = follow.schemas[0].clone();
    let key = |n: &str| place.sql(&format!("SELECT md5('{n}')"))[0][0].clone().unwrap();
    let keys: Vec<_> = ["7", "8"].map(|n| sluice_types::Key(vec![Value::Text(key(n).into())])).to_vec();
    let (found, _) = follow.source.reread(&schema, &keys).await.unwrap();
    assert!(found.iter().all(Option::is_some));
    drop(follow);
    // Told when the session is gone.
    eventually(&place, "SELECT idx_scan >= 2 FROM pg_stat_user_tables WHERE relname = 't'").await;
}
