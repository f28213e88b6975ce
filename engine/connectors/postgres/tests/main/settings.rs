//! What a writer's session is set to, as the server tells it.

use serde_json::json;
use sluice_types::Change;

use crate::harness::{Place, endpoint_with, line, target};
use crate::sink::{events, numbers, row, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_has_the_settings_of_the_user_and_those_it_depends_on() {
    let shown = [
        ("work_mem", "7MB"),
        ("my.setting", "of mine"),
        ("lock_timeout", "5s"),
        ("synchronous_commit", "remote_apply"),
        ("application_name", "the shop's"),
        // Whatever the database and the role say.
        ("search_path", ""),
        ("timezone", "UTC"),
        ("session_replication_role", "replica"),
        ("default_transaction_read_only", "off"),
        ("statement_timeout", "0"),
    ];
    let columns: Vec<String> =
        (0..shown.len()).map(|at| format!("s{at} text DEFAULT current_setting('{}')", shown[at].0)).collect();
    let place = Place::with(&format!(
        "CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text, {});
         DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I SET timezone = ''CET''', current_database());
             EXECUTE format('ALTER DATABASE %I SET statement_timeout = ''1h''', current_database());
             EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
         END $$",
        columns.join(", ")
    ));
    let endpoint = endpoint_with(json!({
        "url": place.url(), "application_name": "the shop's",
        "settings": {
            "work_mem": "7MB", "my.setting": "of mine", "lock_timeout": "5s", "synchronous_commit": "remote_apply",
        },
    }));
    let mut sink = endpoint.sink(&line("p")).await.unwrap();
    let schema = numbers("t");
    sink.prepare(&[target(&schema)]).await.unwrap();
    write(&mut sink, &events(&schema, [Change::Insert(row(1, 1, "x"))])).await.unwrap();
    for (at, (name, value)) in shown.iter().enumerate() {
        let found = place.rows(&format!("SELECT s{at} FROM t"));
        assert_eq!(found, [*value], "{name}");
    }
}
