//! The mark on a line's writes by which a line in the other direction knows its own echo.

use std::sync::Arc;

use sluice_servers::{Postgres, PostgresOptions};
use sluice_types::Change;
use sluice_types::ports::{Clock, LineContext};

use crate::harness::{Place, endpoint, line, target};
use crate::sink::{events, numbers, prepared, row, write};

#[tokio::test(flavor = "multi_thread")]
async fn writes_carry_the_lines_origin() {
    let place = Place::new();
    let schema = numbers("t");
    place.sql("SELECT pg_create_logical_replication_slot('s_' || current_database(), 'test_decoding')");
    let mut sink = prepared(&place, &[&schema]).await;
    write(&mut sink, &events(&schema, [Change::Insert(row(1, 1, "x"))])).await.unwrap();
    assert_eq!(place.rows("SELECT count(*) FROM t"), ["1"]);
    let local = "SELECT count(*) FROM pg_logical_slot_peek_changes('s_' || current_database(), NULL, NULL,
                 'only-local', 'true', 'skip-empty-xacts', 'true') WHERE data LIKE 'table public.t%'";
    let all = local.replace("'only-local', 'true',", "");
    assert_eq!((place.rows(local), place.rows(&all)), (vec!["0".to_string()], vec!["1".to_string()]));
    place.sql("SELECT pg_drop_replication_slot('s_' || current_database())");
}

/// Time in which nothing is waited for.
struct NoPatience;

#[async_trait::async_trait]
impl Clock for NoPatience {
    fn now_micros(&self) -> i64 {
        0
    }
    async fn sleep_ms(&self, _ms: u64) {
        panic!("it waits for what does not come by itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_an_origin_a_line_goes_on_at_once() {
    let conf = vec!["max_replication_slots = 1".into()];
    let start = || Postgres::start_with(PostgresOptions { conf, ..PostgresOptions::default() });
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let endpoint = endpoint(&server.url("postgres"));
    let mut first = endpoint.sink(&line("p")).await.unwrap();
    let mut second = endpoint.sink(&LineContext { clock: Arc::new(NoPatience), ..line("q") }).await.unwrap();
    let schema = numbers("t");
    for sink in [&mut first, &mut second] {
        sink.prepare(&[target(&schema)]).await.unwrap();
        write(sink, &events(&schema, [Change::Truncate])).await.unwrap();
    }
}
