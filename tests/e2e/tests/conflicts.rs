//! Somebody else writes the target: what they have changed is noticed, decided and recorded, and what sluice wrote itself never is, also
//! where the target keeps values of other types, and the process is killed.

use std::time::Duration;

use serde_json::Value as Json;
use sluice_e2e::database::{Database, Kind, Table, difference};
use sluice_e2e::random::Random;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::{binary, wait};
use sluice_servers::bson::{DateTime, doc};

/// How often the process is killed in one run.
const KILLS: u32 = 8;
/// Rows of the table.
const ROWS: u32 = 200;

const ITEMS: Table = Table {
    name: "items",
    key: &["id"],
    columns: &[("v", Kind::Plain), ("w", Kind::Plain), ("at", Kind::Moment), ("flag", Kind::Bool)],
};

fn source() -> Database {
    let source = Database::alone_on_postgres("conflicts");
    source.sql(&format!(
        "CREATE TABLE items (id int PRIMARY KEY, v text, w text, at timestamptz, flag boolean, price numeric(10, 2),
             doc jsonb, day date, code uuid, raw bytea, real float4, spans int[]);
         ALTER TABLE items REPLICA IDENTITY FULL;
         INSERT INTO items SELECT i, 'a', 'a', '2020-01-01 12:00:00.125+00', i % 2 = 0, i * 1.50, '{{\"b\": 1, \"a\": [1, 2]}}',
             '2020-02-03', '00000000-0000-0000-0000-000000000001', '\\x00ff', 0.1, '{{1,2}}' FROM generate_series(1, {ROWS}) i"
    ));
    source
}

/// Somebody else's hand: the first 20 rows are later than what is to come, 20 are earlier, 10 are gone.
fn others_write(target: &Database) {
    match target {
        Database::Mongo { server, name } => {
            let at = |year: i64| DateTime::from_millis((year - 1970) * 31_557_600_000);
            let set = |from: i64, upto: i64, at: DateTime| {
                let change = doc! { "$set": { "w": "theirs", "at": at } };
                doc! { "q": { "_id": { "$gte": from, "$lte": upto } }, "u": change, "multi": true }
            };
            let updates = vec![set(1, 20, at(2040)), set(21, 40, at(2000))];
            server.command(name, doc! { "update": "items", "updates": updates });
            let gone = doc! { "q": { "_id": { "$gte": 41, "$lte": 50 } }, "limit": 0 };
            server.command(name, doc! { "delete": "items", "deletes": [gone] });
        }
        _ => {
            target.sql(
                "UPDATE items SET w = 'theirs', at = '2040-01-01 00:00:00+00:00' WHERE id <= 20;
                 UPDATE items SET w = 'theirs', at = '2000-01-01 00:00:00+00:00' WHERE id BETWEEN 21 AND 40;
                 DELETE FROM items WHERE id BETWEEN 41 AND 50;",
            );
        }
    }
}

fn conflicts(site: &Site) -> Vec<Json> {
    let listed =
        site.sluice(&["conflicts", "list", "copy", "--limit", "1000", "--json"]).ended_with(0).json();
    listed["conflicts"].as_array().expect("a list").clone()
}

fn count(conflicts: &[Json], kind: &str, decision: &str) -> usize {
    conflicts.iter().filter(|one| one["kind"] == kind && one["decision"] == decision).count()
}

fn later_rows_win(test: &str, target: &Database) {
    let mut random = Random::seeded(test);
    let source = source();
    let site = Site::between(
        &source,
        target,
        "batch: { rows: 20 }\nconflict: { strategy: latest, column: at }\ntables: [items]",
    );
    let serve = Serve::start(&site);
    serve.caught_up();
    serve.stop();
    others_write(target);

    // Each change is a transaction of its own, while the process dies again and again.
    let dates =
        "at = '2026-01-01 00:00:00+00', flag = NOT flag, price = price + 0.10, doc = doc || '{\"c\": 3}'";
    let mut changes: Vec<String> = Vec::new();
    for round in 1..=3 {
        changes.extend(
            (1..=ROWS - 20).map(|id| format!("UPDATE items SET v = 'ours {round}', {dates} WHERE id = {id}")),
        );
    }
    changes.extend((ROWS - 19..=ROWS).map(|id| format!("DELETE FROM items WHERE id = {id}")));
    changes.extend(
        (1..=9).map(|n| format!("INSERT INTO items (id, v, at) VALUES ({}, 'new', '2026-02-01')", ROWS + n)),
    );
    for some in changes.chunks(changes.len().div_ceil(KILLS as usize)) {
        let serve = Serve::spawn(&site, std::process::Command::new(binary::sluice()));
        some.iter().for_each(|change| drop(source.sql(change)));
        // The moment is random: not a wait for anything.
        std::thread::sleep(Duration::from_millis(random.below(400)));
        serve.kill();
    }
    let serve = Serve::start(&site);
    serve.caught_up();
    let theirs = |row: &[Option<String>]| row.get(2).is_some_and(|w| w.as_deref() == Some("theirs"));
    let (here, there) = wait::until("everything to be there", || {
        let (here, there) = (source.rows(&ITEMS)?, target.rows(&ITEMS)?);
        if here.len() == there.len() { Ok((here, there)) } else { Err(difference("items", &here, &there)) }
    });
    for (here, there) in here.iter().zip(&there) {
        let id: u32 = here[0].as_deref().expect("a key").parse().expect("a number");
        match id {
            1..=20 => assert!(theirs(there) && there[1].as_deref() == Some("a"), "{there:?}"),
            _ => assert_eq!(here, there),
        }
    }
    let kept = conflicts(&site);
    // Each of their later rows is met by three changes; the others are the source's again after the first.
    assert_eq!(count(&kept, "update_differs", "existing"), 60, "{kept:#?}");
    assert_eq!(count(&kept, "update_differs", "incoming"), 20);
    assert_eq!(count(&kept, "update_missing", "incoming"), 10);
    assert_eq!(kept.len(), 90, "what sluice wrote itself is no conflict: {kept:#?}");
    assert_eq!(serve.metric("sluice_conflicts"), 90.0);

    // Both sides' rows are shown when asked for.
    let first = kept.iter().find(|one| one["decision"] == "existing").expect("one");
    let id = first["id"].as_str().expect("an id");
    assert!(first.get("values").is_none());
    let shown = site.sluice(&["conflicts", "show", "copy", id, "--values", "--json"]).ended_with(0).json();
    assert_eq!(
        (&shown["values"]["existing"]["w"], &shown["by"]),
        (&Json::from("theirs"), &Json::from("latest"))
    );
    assert!(shown["values"]["incoming"]["v"].as_str().expect("text").starts_with("ours"));
    site.sluice(&["conflicts", "show", "copy", id]).ended_with(0).says(&[
        "update_differs",
        "latest",
        "--values",
    ]);
    site.sluice(&["conflicts", "show", "copy", "nothing"]).ended_with(1).says(&["no conflict `nothing`"]);
    serve.stop();
}

#[test]
fn later_rows_win_in_postgres() {
    later_rows_win("conflicts in PostgreSQL", &Database::postgres("conflicts_at"));
}

#[test]
fn later_rows_win_in_mongodb() {
    later_rows_win("conflicts in MongoDB", &Database::mongo("conflicts_at"));
}

#[test]
fn later_rows_win_in_sqlite() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    later_rows_win("conflicts in SQLite", &Database::Sqlite(folder.path().join("target.db")));
}

/// What a strategy needs of the source and of the table is found before a row flows, with the statement that helps.
#[test]
fn check_says_what_a_strategy_needs() {
    let source = source();
    source.sql("ALTER TABLE items REPLICA IDENTITY DEFAULT");
    let target = Database::postgres("conflicts_checked");
    let check = |conflict: &str| {
        let site = Site::between(&source, &target, &format!("conflict: {conflict}\ntables: [items]"));
        let done = site.sluice(&["check"]);
        (done.status.code(), done.text())
    };
    for (conflict, code, says) in [
        ("{ strategy: merge-columns }", 1, "ALTER TABLE public.items REPLICA IDENTITY FULL"),
        ("{ strategy: target-wins }", 1, "would not see what others have changed"),
        ("{ strategy: source-wins }", 0, "conflicts-unseen"),
        ("{ strategy: latest, column: att }", 1, "did you mean `at`?"),
        ("{ strategy: version, column: v }", 1, "is text"),
        ("{ strategy: latest, column: at }", 0, ""),
        ("{ strategy: park }", 1, "so `park` would not see"),
        ("{ strategy: plugin, plugin: mine }", 1, "not built"),
    ] {
        let (ended, text) = check(conflict);
        assert!(ended == Some(code) && text.contains(says), "{conflict}: {ended:?}: {text}");
    }
}

/// Conflicts wait for somebody, who decides while the pipeline runs, and while it does not.
fn somebody_decides(target: &Database) {
    let source = source();
    let site = Site::between(&source, target, "conflict: { strategy: park }\ntables: [items]");
    let serve = Serve::start(&site);
    serve.caught_up();
    others_write(target);
    for round in 1..=2 {
        source.sql(&format!("UPDATE items SET v = 'ours {round}' WHERE id IN (1, 2, 3, 4, 150)"));
    }
    serve.caught_up();
    let row = |id: &str| {
        let rows = target.rows(&ITEMS).expect("rows");
        let found = rows.into_iter().find(|row| row[0].as_deref() == Some(id)).expect("the row");
        [1, 2].map(|column| found[column].clone().expect("a text"))
    };
    wait::until("a row that nobody else changed", || match row("150") {
        [v, _] if v == "ours 2" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let parked = || {
        let listed = site.sluice(&["conflicts", "list", "copy", "--parked", "--json"]).ended_with(0).json();
        listed["conflicts"].as_array().expect("a list").clone()
    };
    let kept = parked();
    assert_eq!(kept.len(), 4, "{kept:#?}");
    assert!(kept.iter().all(|one| one["later"] == 1 && one["decision"] == "parked"), "{kept:#?}");
    assert_eq!(row("1"), ["a", "theirs"]);
    assert_eq!(serve.metric("sluice_conflicts_parked"), 4.0);

    let id = |number: usize| kept[number]["id"].as_str().expect("an id").to_string();
    let decide = |number: usize, more: &[&str]| {
        let id = id(number);
        let args = [&["conflicts", "decide", "copy", &id, "--by", "Ann"][..], more].concat();
        site.sluice(&args)
    };
    decide(0, &["--source"]).ended_with(0).says(&["decided by Ann: incoming"]);
    assert_eq!(row("1"), ["ours 2", "a"]);
    decide(0, &["--source"]).ended_with(1).says(&["decided already"]);
    decide(1, &["--values", r#"{"wrong": 1}"#]).ended_with(1).says(&["no column `wrong`"]);
    decide(1, &["--values", r#"{"w": "both"}"#]).ended_with(0);
    assert_eq!(row("2"), ["ours 2", "both"]);
    // The line goes on with what was decided.
    source.sql("UPDATE items SET v = 'ours 3' WHERE id = 1");
    wait::until("the next change", || match row("1") {
        [v, _] if v == "ours 3" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    serve.stop();

    decide(2, &["--target"]).ended_with(0);
    assert_eq!(row("3"), ["a", "theirs"]);
    target.sql("UPDATE items SET w = 'since' WHERE id = 4");
    decide(3, &["--source"]).ended_with(1).says(&["changed since", "--force"]);
    let shown =
        site.sluice(&["conflicts", "show", "copy", &id(3), "--values", "--json"]).ended_with(0).json();
    assert_eq!(shown["values"]["existing"]["w"], "since");
    decide(3, &["--source"]).ended_with(0);
    assert_eq!(row("4"), ["ours 2", "a"]);
    assert_eq!(parked(), Vec::<Json>::new());
    let shown = site.sluice(&["conflicts", "show", "copy", &id(3), "--json"]).ended_with(0).json();
    assert_eq!((&shown["by"], &shown["decision"]), (&Json::from("Ann"), &Json::from("incoming")));
    assert!(shown["decided"].is_string());
}

#[test]
fn somebody_decides_in_postgres() {
    somebody_decides(&Database::postgres("conflicts_decided"));
}

#[test]
fn somebody_decides_in_sqlite() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    somebody_decides(&Database::Sqlite(folder.path().join("target.db")));
}

/// A column that is sealed with another nonce each time is not compared, so a row of sluice's own is never taken for somebody else's.
#[test]
fn sealed_columns_are_not_compared() {
    let site = Site::new();
    site.source()
        .execute_batch(
            "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, ssn TEXT);
             INSERT INTO people VALUES (1, 'Ann', '078-05-1120'), (2, 'Bob', '078-05-1121');",
        )
        .expect("good statements");
    let key = "c2x1aWNlLWUyZS1vbGQta2V5LTMyLWJ5dGVzLWxvbmc=";
    site.write(
        "sluice.yaml",
        format!(
            "version: 1
state: ./state
keys: {{ pii: {key} }}
databases:
  source: {{ kind: sqlite, path: ./source.db }}
  target: {{ kind: sqlite, path: ./target.db }}
pipelines:
  copy:
    source: source
    target: target
    conflict: {{ strategy: target-wins }}
    tables:
      - from: people
        transform:
          - plugin: encryption
            config: {{ key: pii, columns: [ssn] }}
            grant: {{ crypto: {{ keys: [pii], ops: [seal] }} }}
"
        ),
    );
    let sync = |change: &str| {
        site.source().execute_batch(change).expect("a good statement");
        site.sluice(&["sync"]).ended_with(0);
    };
    let names = || {
        let rows = sluice_e2e::compare::rows(&site.target(), "SELECT name FROM people ORDER BY id");
        rows.into_iter().map(|row| format!("{:?}", row[0])).collect::<Vec<_>>().join(" ")
    };
    sync("");
    sync("UPDATE people SET name = name || 'a'");
    sync("UPDATE people SET name = name || 'b', ssn = ssn || '0'");
    assert!(names().contains("Annab") && names().contains("Bobab"), "{}", names());
    assert_eq!(conflicts(&site), Vec::<Json>::new());

    site.target().execute_batch("UPDATE people SET name = 'theirs' WHERE id = 2").expect("a good statement");
    sync("UPDATE people SET name = name || 'c'");
    assert!(names().contains("Annabc") && names().contains("theirs"), "{}", names());
    assert_eq!(count(&conflicts(&site), "update_differs", "existing"), 1);
}
