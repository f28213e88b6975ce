//! `sluice indexes`: what a copy leaves behind is made at the target, under the target's names.

use sluice_e2e::database::Database;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::wait;

const SOURCE: &str = "
    CREATE TABLE parents (id bigint PRIMARY KEY, code text UNIQUE, name text);
    CREATE TABLE children (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE CASCADE, note text, other text,
        CHECK (note <> ''));
    CREATE INDEX by_note ON children (lower(note)) WHERE parent > 0;
    CREATE INDEX by_other ON children (other);
    INSERT INTO parents SELECT i, 'c' || i, 'name' FROM generate_series(1, 500) i;
    INSERT INTO children SELECT i, 1 + i % 500, 'note ' || i, 'x' FROM generate_series(1, 2000) i;";

const PIPELINE: &str = "tables:
  - { from: parents, to: shop.ancestors }
  - from: children
    to: shop.heirs
    columns: { exclude: [other] }";

#[test]
fn what_a_copy_leaves_behind_is_made_on_request() {
    let (source, target) = (Database::alone_on_postgres("family"), Database::postgres("copy"));
    source.sql(SOURCE);
    let site = Site::between(&source, &target, PIPELINE);
    let wanted = [
        "CREATE INDEX by_note ON \"shop\".\"heirs\"",
        "ALTER TABLE \"shop\".\"ancestors\" ADD CONSTRAINT parents_code_key UNIQUE (code)",
        "REFERENCES \"shop\".\"ancestors\"(id) ON DELETE CASCADE",
    ];
    let checked = site.sluice(&["check"]).ended_with(0);
    checked.says(&["not-made", "sluice indexes copy", "not-carried", "by_other"]);
    checked.says(&wanted);
    site.sluice(&["indexes", "copy"]).ended_with(1).says(&["FAILED", "the first copy of copy is not done"]);
    let serve = Serve::start(&site);
    serve.caught_up();
    // Somebody is faster with one name, and for another thing.
    target.sql("CREATE TABLE shop.by_note (id int)");
    let made = site.sluice(&["indexes", "copy"]).ended_with(1);
    made.says(&["FAILED: CREATE INDEX by_note", "already exists"]);
    serve.kill();
    target.sql("DROP TABLE shop.by_note");
    site.sluice(&["indexes", "copy"]).ended_with(0).says(&["CREATE INDEX by_note"]);
    site.sluice(&["indexes", "copy"]).ended_with(0).says(&["everything is there"]);
    let checked = site.sluice(&["check"]).ended_with(0).text();
    assert!(!checked.contains("not-made"), "{checked}");
    let made = target.sql(
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'shop'
         UNION SELECT conname FROM pg_constraint WHERE connamespace = 'shop'::regnamespace AND contype IN ('f', 'c')
         ORDER BY 1",
    );
    let made: Vec<&str> = made.iter().filter_map(|row| row[0].as_deref()).collect();
    let wanted = [
        "ancestors_pkey",
        "by_note",
        "children_note_check",
        "children_parent_fkey",
        "heirs_pkey",
        "parents_code_key",
    ];
    assert_eq!(made, wanted);
    // The line goes on into what was made: a cascade of the source comes as its own changes.
    let serve = Serve::start(&site);
    source.sql("DELETE FROM parents WHERE id <= 5; INSERT INTO children VALUES (9000, 7, 'late', 'x')");
    let of_source = "SELECT (SELECT count(*) FROM parents) || ' ' || (SELECT count(*) FROM children)";
    let of_target =
        "SELECT (SELECT count(*) FROM shop.ancestors) || ' ' || (SELECT count(*) FROM shop.heirs)";
    let wanted = source.one(of_source);
    wait::until("both sides to be equal", || wait::when(target.one(of_target), |found| *found == wanted));
    assert_eq!(serve.line()["dead_letters"], 0);
    serve.stop();
    assert!(site.sluice(&["indexes", "nothing"]).text().contains("nothing"));
}
