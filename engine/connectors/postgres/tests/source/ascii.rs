//! A database that knows no encoding (`SQL_ASCII`) keeps whatever bytes it was given.

use sluice_types::ErrorKind;

use crate::follow::{Follow, shown};
use crate::harness::{DATABASE, Place};

fn place() -> Place {
    let place = Place::start();
    let make = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    place.server.sql("postgres", &format!("DROP DATABASE {DATABASE}"));
    place.server.sql("postgres", &format!("CREATE DATABASE {DATABASE} {make}"));
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text, b bytea)");
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_utf_8_comes_as_from_any_other() {
    let place = place();
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t VALUES (1, convert_from('\\xc3a9', 'SQL_ASCII'), '\\xff')");
    let events: Vec<String> = follow.events().await.iter().map(shown).collect();
    assert_eq!(events, ["insert >1,é,Bytes(b\"\\xff\")"]);
    assert_eq!(follow.chunk().await.rows.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_stops_the_line_and_says_why() {
    let place = place();
    let mut follow = Follow::start(&place, &["t"]).await;
    place.sql("INSERT INTO t VALUES (1, convert_from('\\x61ff', 'SQL_ASCII'), '\\xff')");
    let streamed = follow.try_events().await;
    let mut reader = follow.source.chunks().await.unwrap();
    let copied = reader.read(&follow.schemas[0], &Default::default(), &crate::follow::LIMITS).await;
    for error in [streamed.unwrap_err(), copied.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::ValueUnrepresentable, "{error}");
        assert!(error.remedy_text().is_some_and(|remedy| remedy.contains("SQL_ASCII")), "{error}");
    }
}
