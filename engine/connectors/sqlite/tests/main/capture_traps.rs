//! What is known to break change capture by triggers, each with its test.

use sluice_types::{ErrorKind, TableId};

use crate::harness::{LIMITS, Line, Place, line, stored, table};

/// Runs statements after a line has started, and proves that the replica follows, in one batch and in small ones.
async fn follows(tables: &str, names: &[&str], before: &str, statements: &str) -> Vec<&'static str> {
    let mut kinds = vec![];
    for rows in [1000, 1] {
        for recursive in ["OFF", "ON"] {
            let place = Place::with(tables);
            let mut line = Line::start(&place, names).await;
            place.writer().execute_batch(before).unwrap();
            line.catch_up().await.unwrap();
            line.take_kinds();
            place
                .writer()
                .execute_batch(&format!("PRAGMA recursive_triggers = {recursive}; {statements}"))
                .unwrap();
            line.catch_up_within(sluice_types::ports::ReadLimits { rows, ..LIMITS }).await.unwrap();
            names.iter().for_each(|name| line.assert_same(&place, name));
            if rows == 1000 && recursive == "OFF" {
                kinds = line.take_kinds();
            }
        }
    }
    kinds
}

#[tokio::test]
async fn insert_or_replace_on_the_key() {
    let kinds = follows(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
        &["t"],
        "INSERT INTO t VALUES (1, 'a')",
        "INSERT OR REPLACE INTO t VALUES (1, 'b'), (2, 'c'); REPLACE INTO t VALUES (1, 'd')",
    )
    .await;
    assert_eq!(kinds, ["delete", "insert", "insert", "delete", "insert"]);
}

#[tokio::test]
async fn replace_on_a_secondary_unique_index_deletes_the_row_that_collides() {
    let kinds = follows(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE, b, c, UNIQUE(b, c))",
        &["t"],
        "INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 1, 2), (3, 'c', NULL, 1), (4, 'd', NULL, 1)",
        "INSERT OR REPLACE INTO t VALUES (9, 'a', 1, 2); UPDATE OR REPLACE t SET a = 'c' WHERE id = 4;
         INSERT OR REPLACE INTO t VALUES (10, NULL, NULL, 1)",
    )
    .await;
    assert_eq!(kinds, ["delete", "delete", "insert", "delete", "update", "insert"]);
}

#[tokio::test]
async fn replace_by_a_default_in_place_of_null() {
    let kinds = follows(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT NOT NULL DEFAULT 'x' UNIQUE)",
        &["t"],
        "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
        "INSERT OR REPLACE INTO t VALUES (3, NULL); UPDATE OR REPLACE t SET u = NULL WHERE id = 2",
    )
    .await;
    assert_eq!(kinds.iter().filter(|kind| **kind == "delete").count(), 2, "{kinds:?}");
}

#[tokio::test]
async fn update_or_replace_of_the_key_and_of_the_rowid() {
    follows(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE w(k TEXT PRIMARY KEY NOT NULL, a)",
        &["t", "w"],
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO w VALUES ('x', 1), ('y', 2), ('z', 3)",
        "UPDATE OR REPLACE t SET id = 2 WHERE id = 1; UPDATE OR REPLACE t SET rowid = 3 WHERE id = 2;
         INSERT OR REPLACE INTO w(rowid, k, a) VALUES (1, 'new', 9); UPDATE OR REPLACE w SET rowid = 3 WHERE k = 'y'",
    )
    .await;
}

#[tokio::test]
async fn replace_by_expression_partial_and_collating_indexes() {
    follows(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, \"b c\" INT, d TEXT COLLATE NOCASE UNIQUE);
         CREATE UNIQUE INDEX e ON t(lower(a) || \"b c\" /* ) */, \"b c\" DESC);
         CREATE UNIQUE INDEX p ON t(\"b c\") WHERE \"b c\" > 100 -- odd\n;",
        &["t"],
        "INSERT INTO t VALUES (1, 'A', 1, 'x'), (2, 'b', 200, 'y'), (3, 'c', 3, 'z'), (4, 'c', 4, 'w')",
        "INSERT OR REPLACE INTO t VALUES (11, 'a', 1, NULL); INSERT OR REPLACE INTO t VALUES (12, 'q', 200, NULL);
         INSERT OR REPLACE INTO t VALUES (13, 'r', 3, 'Z'); UPDATE OR REPLACE t SET a = 'R', \"b c\" = 3 WHERE id = 4;
         UPDATE OR REPLACE t SET d = 'W' WHERE id = 4",
    )
    .await;
}

#[tokio::test]
async fn a_key_that_differs_only_for_the_eye_is_another_key() {
    follows(
        "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, a); CREATE TABLE u(k PRIMARY KEY NOT NULL, a)",
        &["t", "u"],
        "INSERT INTO t VALUES ('ann', 1), ('bob', 2); INSERT INTO u VALUES (1, 'i'), ('1', 't'), (x'31', 'b')",
        "INSERT OR REPLACE INTO t VALUES ('ANN', 3); UPDATE t SET k = 'Bob' WHERE k = 'bob';
         INSERT OR REPLACE INTO u VALUES (1.0, 'r'); UPDATE u SET k = 2.5 WHERE k = 1; DELETE FROM u WHERE k = '1'",
    )
    .await;
}

#[tokio::test]
async fn upserts_and_ignored_inserts_delete_nothing() {
    let kinds = follows(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE, n)",
        &["t"],
        "INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0)",
        "INSERT INTO t VALUES (1, 'z', 5) ON CONFLICT(id) DO UPDATE SET n = excluded.n;
         INSERT OR IGNORE INTO t VALUES (7, 'b', 1); INSERT INTO t VALUES (8, 'a', 1) ON CONFLICT DO NOTHING;
         UPDATE OR IGNORE t SET a = 'b' WHERE id = 1",
    )
    .await;
    assert_eq!(kinds, ["update"]);
}

#[tokio::test]
async fn keys_may_be_swapped_and_moved() {
    follows(
        "CREATE TABLE t(x TEXT, y INT, a, PRIMARY KEY (y, x)) WITHOUT ROWID",
        &["t"],
        "INSERT INTO t VALUES ('p', 1, 'one'), ('q', 2, 'two'), ('r', 3, 'three')",
        "BEGIN; UPDATE t SET y = -1 WHERE y = 1; UPDATE t SET y = 1 WHERE y = 2; UPDATE t SET y = 2 WHERE y = -1; COMMIT;
         UPDATE t SET x = 'r', y = 4 WHERE y = 3; UPDATE t SET a = y; DELETE FROM t WHERE y = 4; INSERT INTO t VALUES ('r', 4, 'again')",
    )
    .await;
}

#[tokio::test]
async fn triggers_of_the_user_may_change_the_row_again_in_any_order() {
    // Made before ours and after ours: SQLite does not define which fires first.
    let users = |name: &str| {
        format!(
            "CREATE TRIGGER {name}_i AFTER INSERT ON t BEGIN UPDATE t SET n = n + 1 WHERE id = NEW.id; END;
             CREATE TRIGGER {name}_u AFTER UPDATE OF a ON t BEGIN UPDATE t SET n = n + 10 WHERE id = NEW.id; END;
             CREATE TRIGGER {name}_x AFTER INSERT ON t WHEN NEW.a = 'gone' BEGIN DELETE FROM t WHERE id = NEW.id; END;"
        )
    };
    follows(
        &format!("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE, n INT); {}", users("before_ours")),
        &["t"],
        "",
        &format!(
            "{} INSERT INTO t VALUES (1, 'a', 0), (2, 'gone', 0), (3, 'c', 0); UPDATE t SET a = 'b' WHERE id = 1;
             INSERT OR REPLACE INTO t VALUES (4, 'c', 0); UPDATE t SET id = 7 WHERE id = 4",
            users("after_ours")
        ),
    )
    .await;
}

#[tokio::test]
async fn cascades_are_captured() {
    follows(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE)",
        &["p", "c"],
        "INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 1), (3, 2)",
        "PRAGMA foreign_keys = ON; DELETE FROM p WHERE id = 1; UPDATE p SET id = 5 WHERE id = 2",
    )
    .await;
}

#[tokio::test]
async fn vacuum_changes_nothing() {
    let kinds = follows(
        "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, a)",
        &["t"],
        "INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3); DELETE FROM t WHERE k = 'a'",
        "VACUUM; UPDATE t SET a = 9 WHERE k = 'c'",
    )
    .await;
    assert_eq!(kinds, ["update"]);
}

#[tokio::test]
async fn storage_classes_and_odd_names_are_kept() {
    follows(
        "CREATE TABLE \"or.der \"\"x\"\"\"(\"select\" INTEGER PRIMARY KEY, \"größe\" REAL, any_, t TEXT, b BLOB, n DECIMAL(10,2),
            g AS (t || '!') VIRTUAL, s AS (any_) STORED);
         CREATE TABLE strict_(id INTEGER PRIMARY KEY, a ANY, t TEXT) STRICT",
        &["or.der \"x\"", "strict_"],
        "",
        "INSERT INTO \"or.der \"\"x\"\"\" VALUES (NULL, 5, 5.0, 7, x'00ff', '1.50'), (-1, 9e999, '5', 'a' || char(0) || 'é', 'text', 'x'),
            (9223372036854775807, -0.0, CAST(x'61ff' AS TEXT), NULL, 3, 12345678901234567890);
         INSERT INTO strict_ VALUES (1, '007', 'x'), (2, 7, 'y'), (3, x'07', 'z');
         UPDATE \"or.der \"\"x\"\"\" SET any_ = any_, n = n + 1; DELETE FROM strict_ WHERE id = 2; UPDATE strict_ SET a = 7.0 WHERE id = 3",
    )
    .await;
}

#[tokio::test]
async fn text_in_utf_16_is_read_as_utf_8() {
    let place = Place::with("PRAGMA encoding = 'UTF-16'; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)");
    let mut line = Line::start(&place, &["t"]).await;
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'zażółć 🦀')").unwrap();
    line.catch_up().await.unwrap();
    line.assert_same(&place, "t");
}

async fn breaks(statement: &str) -> ErrorKind {
    let place = Place::with("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
    let mut line = Line::start(&place, &["t"]).await;
    place.writer().execute_batch(statement).unwrap();
    place.writer().execute_batch("CREATE TABLE IF NOT EXISTS unrelated(x)").unwrap();
    let error = line.next(LIMITS).await.unwrap_err();
    assert!(error.remedy_text().is_some(), "{error}");
    // Nor does a new line's start mend it in silence.
    let again = Line::resume(&place, "p", &["t"], None).await.err().unwrap();
    assert_eq!(again.kind(), error.kind());
    error.kind()
}

#[tokio::test]
async fn ddl_of_the_user_is_never_passed_in_silence() {
    assert_eq!(breaks("DROP TABLE t").await, ErrorKind::TableMissing);
    assert_eq!(breaks("ALTER TABLE t RENAME TO u").await, ErrorKind::TableMissing);
    assert_eq!(breaks("ALTER TABLE t ADD COLUMN c").await, ErrorKind::SchemaChanged);
    assert_eq!(breaks("ALTER TABLE t RENAME COLUMN a TO c").await, ErrorKind::SchemaChanged);
    assert_eq!(
        breaks("DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)").await,
        ErrorKind::CaptureBroken
    );
    assert_eq!(breaks("DROP TRIGGER sluice_1_update").await, ErrorKind::CaptureBroken);
    assert_eq!(breaks("CREATE UNIQUE INDEX i ON t(a)").await, ErrorKind::CaptureBroken);
}

#[tokio::test]
async fn ddl_of_no_concern_changes_nothing() {
    let place =
        Place::with("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE); CREATE UNIQUE INDEX i ON t(a, id)");
    let mut line = Line::start(&place, &["t"]).await;
    place
        .writer()
        .execute_batch("DROP INDEX i; CREATE INDEX j ON t(a); CREATE TABLE u(x); INSERT INTO t VALUES (1, 1)")
        .unwrap();
    line.catch_up().await.unwrap();
    line.assert_same(&place, "t");
}

#[tokio::test]
async fn drop_column_works_once_the_line_has_given_the_table_up() {
    let place = Place::with("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
    let mut first = Line::start(&place, &["t"]).await;
    let mut other = Line::resume(&place, "other", &["t"], None).await.unwrap();
    let drop_column = "ALTER TABLE t DROP COLUMN b";
    assert!(place.writer().execute_batch(drop_column).is_err(), "our triggers are in the way");
    assert!(first.source.detach(&[table("t")]).await.unwrap());
    place.writer().execute_batch(drop_column).unwrap();
    place.writer().execute_batch("INSERT INTO t VALUES (1, 'unseen')").unwrap();
    drop(first);
    let mut again = Line::start(&place, &["t"]).await;
    place.writer().execute_batch("INSERT INTO t VALUES (2, 'seen')").unwrap();
    again.catch_up().await.unwrap();
    assert_eq!(again.take_kinds(), ["insert"]);
    // The other line is told that it may have missed something, until it reads the table again too.
    assert_ne!(other.next(LIMITS).await.unwrap_err().kind(), ErrorKind::Internal);
    other.source.detach(&[table("t")]).await.unwrap();
    drop(other);
    Line::resume(&place, "other", &["t"], None).await.unwrap();
}

#[tokio::test]
async fn a_table_that_grew_is_captured_anew_after_detach() {
    let place = Place::with("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    let mut first = Line::start(&place, &["t"]).await;
    let columns: Vec<String> =
        (0..40).map(|n| format!("ALTER TABLE t ADD COLUMN c{n} DEFAULT {n};")).collect();
    place.writer().execute_batch(&columns.join("")).unwrap();
    assert_eq!(first.next(LIMITS).await.unwrap_err().kind(), ErrorKind::SchemaChanged);
    first.source.detach(&[table("t")]).await.unwrap();
    drop(first);
    let mut again = Line::start(&place, &["t"]).await;
    place.writer().execute_batch("INSERT INTO t(id) VALUES (1); UPDATE t SET c39 = 'x'").unwrap();
    again.catch_up().await.unwrap();
    again.assert_same(&place, "t");
}

#[tokio::test]
async fn tables_without_a_key_need_one_that_holds() {
    let place = Place::with("CREATE TABLE t(a TEXT NOT NULL UNIQUE, b UNIQUE, c NOT NULL)");
    let mut source = place.endpoint().source(&line("p")).await.unwrap();
    let bare = source.schemas(&[table("t")]).await.unwrap().remove(0);
    assert!(bare.key.is_empty());
    assert_eq!(source.hold(std::slice::from_ref(&bare)).await.unwrap_err().kind(), ErrorKind::KeyMissing);
    for (column, good) in [(0, true), (1, false), (2, false)] {
        let keyed = sluice_types::TableSchema { key: vec![column], ..(*bare).clone() };
        assert_eq!(source.hold(&[keyed.into()]).await.is_ok(), good, "{column}");
        source.release().await.unwrap();
    }
    let missing = source.schemas(&[TableId::new("", "none")]).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::TableMissing);
}

#[tokio::test]
async fn a_null_in_a_key_is_told() {
    let place = Place::with("CREATE TABLE t(k TEXT PRIMARY KEY, a)");
    let mut line = Line::start(&place, &["t"]).await;
    place.writer().execute_batch("INSERT INTO t VALUES (NULL, 1)").unwrap();
    assert_eq!(line.next(LIMITS).await.unwrap_err().kind(), ErrorKind::KeyMissing);
    let mut chunks = line.source.chunks().await.unwrap();
    assert_eq!(chunks.divide(&line.schemas[0].clone(), 1).await.unwrap_err().kind(), ErrorKind::KeyMissing);
}

#[tokio::test]
async fn the_journal_mode_is_never_changed() {
    for mode in ["delete", "wal", "truncate", "persist"] {
        let place =
            Place::with(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY)"));
        let kept = |place: &Place| {
            place.writer().query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0)).unwrap()
        };
        let before = kept(&place);
        let mut line = Line::start(&place, &["t"]).await;
        place.writer().execute_batch("INSERT INTO t VALUES (1)").unwrap();
        line.catch_up().await.unwrap();
        line.assert_same(&place, "t");
        line.source.release().await.unwrap();
        assert_eq!(kept(&place), before);
    }
}

#[tokio::test]
async fn our_own_tables_and_what_is_no_table_are_not_discovered() {
    let place = Place::with(
        "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t; CREATE VIRTUAL TABLE f USING fts5(a);
         CREATE TABLE \"a.b\"(id INTEGER PRIMARY KEY)",
    );
    let _line = Line::start(&place, &["t"]).await;
    let found = place.endpoint().discover(&[sluice_types::TablePattern::parse("*")]).await.unwrap();
    let names: Vec<&str> = found.iter().map(|one| &*one.table.name).collect();
    assert_eq!(names, ["a.b", "t"]);
    let schema = found[1].schema.clone();
    assert!(stored(&place.writer(), &schema).is_empty());
    let wanted = |name: &str| sluice_types::ports::TargetTable {
        schema: sluice_types::TableSchema { table: table(name), ..(*schema).clone() }.into(),
        path: format!("tables.{name}"),
    };
    let findings = place
        .endpoint()
        .check_source(&crate::harness::readers(), &[wanted("t"), wanted("v"), wanted("f"), wanted("none")])
        .await
        .unwrap();
    let paths: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(paths, ["tables.v", "tables.f", "tables.none"]);
    assert!(findings.iter().all(|finding| !finding.remedy.is_empty()));
}
