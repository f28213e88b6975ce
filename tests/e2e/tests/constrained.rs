//! Targets with constraints of their own: what they refuse is a dead letter soon, whether anybody writes to the source or not.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_e2e::database::Database;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::wait;

/// How long a first copy of three rows may take, whatever the target thinks of them, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Rows 1 to 4, and what the target refuses of them: 2 by itself (twice over), 3 for a row of the target's own.
const SOURCE: &str = "
    CREATE TABLE items (id integer PRIMARY KEY, amount integer, name text);
    INSERT INTO items VALUES (1, 1, 'one'), (2, -1, NULL), (3, 3, 'taken'), (4, 4, 'four')";
const TARGET: &str = "
    CREATE TABLE items (id integer PRIMARY KEY, amount integer CHECK (amount > 0), name text NOT NULL UNIQUE);
    INSERT INTO items VALUES (99, 99, 'taken')";

fn letters(site: &Site) -> BTreeSet<(String, String)> {
    let letters = site.sluice(&["dlq", "list", "copy", "--json"]).ended_with(0).json();
    let letters = letters["dead_letters"].as_array().expect("a list").clone();
    letters
        .iter()
        .map(|letter| {
            let id = letter["id"].as_str().expect("an id");
            let shown = site.sluice(&["dlq", "show", "copy", id, "--values"]).ended_with(0).text();
            let row = if shown.contains("taken") { "taken" } else { "-1" };
            (letter["code"].as_str().expect("a code").to_string(), row.to_string())
        })
        .collect()
}

/// On an idle source: the first copy ends at once with exactly the dead letters of what can't be in the target.
fn refused_soon(source: &Database, target: &Database) {
    source.sql(SOURCE);
    target.sql(TARGET);
    let pipeline = "on_error: { retries: 1, base_ms: 10 }\ntables: [{ from: items }]";
    let expected = [("constraint", "taken"), ("row-refused", "-1")];
    let expected: BTreeSet<_> = expected.map(|(code, row)| (code.to_string(), row.to_string())).into();

    let site = Site::between(source, target, pipeline);
    let started = std::time::Instant::now();
    site.sluice(&["sync", "copy"]).ended_with(0);
    println!("sync: {:?}", started.elapsed());
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert_eq!(letters(&site), expected);
    assert_eq!(target.one("SELECT count(*) FROM items"), "3");
    site.sluice(&["delete", "copy"]).ended_with(0);

    let site = Site::between(source, target, pipeline);
    let serve = Serve::start(&site);
    let started = std::time::Instant::now();
    wait::until_within(SOON, "the target to be consistent", || {
        wait::when(serve.line(), |line| line["ready"] == true)
    });
    println!("serve: {:?}", started.elapsed());
    assert_eq!(letters(&site), expected);
    serve.stop();
}

#[test]
fn postgres_to_postgres() {
    refused_soon(&Database::alone_on_postgres("source"), &Database::postgres("copy"));
}

/// Deferrable foreign keys that act at the target: what a large transaction needs may come in its last piece.
#[test]
fn children_before_their_parents_in_one_large_transaction() {
    let tables = "
        CREATE TABLE parents (id integer PRIMARY KEY, name text);
        CREATE TABLE children (id integer PRIMARY KEY, parent integer";
    let source = Database::alone_on_postgres("source");
    source.sql(&format!("{tables})"));
    let target = Database::postgres("copy");
    target.sql(&format!("{tables} REFERENCES parents DEFERRABLE)"));
    let site = Site::new();
    let acting = target.settings().replacen("{ ", "{ fire_triggers: true, ", 1);
    let pipeline = "on_error: { retries: 1, base_ms: 10 }\nbatch: { rows: 100 }\n\
                    tables: [{ from: children }, { from: parents }]";
    site.configure_between(&source.settings(), &acting, pipeline);
    site.sluice(&["sync", "copy"]).ended_with(0);

    source.sql(
        "BEGIN; INSERT INTO children SELECT n, n % 500 FROM generate_series(1, 3000) n;
         INSERT INTO parents SELECT n, 'x' FROM generate_series(0, 499) n; COMMIT",
    );
    site.sluice(&["sync", "copy"]).ended_with(0);
    assert_eq!(target.one("SELECT count(*) FROM children"), "3000");
    let listed =
        || site.sluice(&["dlq", "list", "copy", "--json"]).ended_with(0).json()["dead_letters"].clone();
    assert_eq!(listed(), serde_json::json!([]));

    // And one whose parent never comes: the line stands still until somebody has put it right.
    source.sql(
        "BEGIN; INSERT INTO children SELECT n, n % 500 FROM generate_series(3001, 4000) n; INSERT INTO children VALUES (5000, 777);
         INSERT INTO children SELECT n, 600 FROM generate_series(4001, 4900) n; INSERT INTO parents VALUES (600, 'x'); COMMIT",
    );
    site.sluice(&["sync", "copy"]).ended_with(1).says(&["constraint", "as a whole"]);
    assert_eq!(target.one("SELECT count(*) FROM children"), "3000");
    target.sql("INSERT INTO parents VALUES (777, 'found')");
    site.sluice(&["sync", "copy"]).ended_with(0);
    assert_eq!(target.one("SELECT count(*) FROM children"), "4901");
    assert_eq!(listed(), serde_json::json!([]));
}

/// The target's own commits move the log of the source.
#[test]
fn postgres_to_the_same_server() {
    let source = Database::alone_on_postgres("source");
    let Database::Postgres { server, .. } = &source else { unreachable!() };
    refused_soon(&source, &Database::on_postgres(server, "copy"));
}

#[test]
fn postgres_to_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    refused_soon(&Database::alone_on_postgres("source"), &Database::Sqlite(folder.path().join("copy.db")));
}

#[test]
fn sqlite_to_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name| Database::Sqlite(folder.path().join(name));
    refused_soon(&file("source.db"), &file("copy.db"));
}
