//! Transactions that are prepared first and committed later, perhaps by somebody else.

use sluice_servers::{Postgres, PostgresOptions};

use crate::follow::{Follow, shown};
use crate::harness::Place;
use crate::slot::eventually;

fn place() -> Place {
    let conf = vec!["max_prepared_transactions = 5".to_string()];
    let place = Place::on(Postgres::start_with(PostgresOptions { conf, ..PostgresOptions::default() }));
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    place
}

/// Prepares two transactions of several rows each, and lets another one commit behind them.
fn prepare_two(place: &Place) {
    for name in ["kept", "dropped"] {
        let first = if name == "kept" { 10 } else { 20 };
        place.sql(&format!(
            "BEGIN; INSERT INTO t SELECT n, '{name}' FROM generate_series({first}, {first} + 2) n;
             UPDATE t SET a = '{name} twice' WHERE id = {first}; PREPARE TRANSACTION '{name}'"
        ));
    }
    place.sql("INSERT INTO t VALUES (1, 'between')");
}

async fn texts(follow: &mut Follow) -> Vec<Vec<String>> {
    let got = follow.transactions().await.unwrap();
    got.iter()
        .map(|(_, events)| events.iter().map(shown).collect())
        .filter(|t: &Vec<_>| !t.is_empty())
        .collect()
}

const KEPT: [&str; 4] = ["insert >10,kept", "insert >11,kept", "insert >12,kept", "update >10,kept twice"];

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_comes_whole_once_it_is_committed() {
    let place = place();
    let mut follow = Follow::start(&place, &["t"]).await;
    prepare_two(&place);
    assert_eq!(
        texts(&mut follow).await,
        [["insert >1,between"]],
        "nobody knows yet what becomes of the others"
    );
    place.sql("ROLLBACK PREPARED 'dropped'");
    place.sql("COMMIT PREPARED 'kept'");
    place.sql("INSERT INTO t VALUES (2, 'behind')");
    assert_eq!(texts(&mut follow).await, [&KEPT[..], &["insert >2,behind"]]);
}

/// What has been confirmed meanwhile is behind the rows, and before the commit. Neither loses anything that the server starts anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_starts_anew_in_between_gets_it_whole() {
    let place = place();
    let mut follow = Follow::start(&place, &["t"]).await;
    prepare_two(&place);
    assert_eq!(texts(&mut follow).await, [["insert >1,between"]]);
    let at = follow.at.clone();
    follow.source.confirm(&at).await.unwrap();
    eventually(&place, "SELECT confirmed_flush_lsn > restart_lsn FROM pg_replication_slots").await;
    drop(follow);
    eventually(&place, "SELECT bool_and(NOT active) FROM pg_replication_slots").await;
    tokio::task::block_in_place(|| place.server.restart());
    let mut follow = Follow::resume(&place, "p", &["t"], Some(at)).await.unwrap();
    place.sql("COMMIT PREPARED 'kept'");
    place.sql("ROLLBACK PREPARED 'dropped'");
    place.sql("INSERT INTO t VALUES (2, 'behind')");
    assert_eq!(texts(&mut follow).await, [&KEPT[..], &["insert >2,behind"]]);
    // A view that is taken now has seen it.
    assert_eq!(follow.chunk().await.rows.len(), 5);
}
