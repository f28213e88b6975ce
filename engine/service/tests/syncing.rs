//! `sluice sync`: to the end, and then it is done.

use crate::place::{PEOPLE, Place};

const ALL: &str = "SELECT id, name, age FROM people ORDER BY id";

#[test]
fn a_sync_copies_then_brings_what_changed() {
    let place = Place::new(PEOPLE);
    place.add_people(2_500);
    let told = place.good(&["sync"]);
    assert!(told.contains("people -> there: done: 2 500 rows written"), "{told}");
    assert_eq!(place.rows("target.db", ALL), place.rows("source.db", ALL));

    place.source("UPDATE people SET name = 'Ann' WHERE id = 7; DELETE FROM people WHERE id = 8");
    let told = place.json(&["sync", "people"]);
    assert_eq!(told["lines"][0]["rows_written"], 2, "{told}");
    assert_eq!(told["lines"][0]["dead_letters"], 0, "{told}");
    assert_eq!(place.rows("target.db", ALL), place.rows("source.db", ALL));
}

#[test]
fn rows_go_through_the_shipped_plugins() {
    let steps = "
    tables:
      - from: people
        where: \"age <> '3'\"
        transform:
          - { plugin: field-mapping, config: { rename: { name: full_name } } }
          - { plugin: type-conversion, config: { columns: { age: integer } } }
";
    let place = Place::new(&PEOPLE.replace("\n    tables: [people]\n", steps));
    place.add_people(5);
    place.source("UPDATE people SET age = 'old' WHERE id = 5");
    let told = place.good(&["sync"]);
    assert!(told.contains("1 dead letter"), "{told}");
    let rows = place.rows("target.db", "SELECT full_name, age FROM people ORDER BY id");
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rows[0], "Text(\"name 1\")|Integer(1)");

    let list = place.good(&["dlq", "list", "people"]);
    assert!(list.contains("plugin-reject") && list.contains("age"), "{list}");
    let show = place.good(&["dlq", "show", "people"]);
    assert!(!show.contains("old") && show.contains("--values"), "values only when asked: {show}");
    let show = place.good(&["dlq", "show", "people", "--values"]);
    assert!(show.contains("age: \"old\""), "{show}");
}

#[test]
fn a_deleted_pipeline_leaves_the_source_as_it_was() {
    let place = Place::new(PEOPLE);
    place.add_people(3);
    // SQLite's own counters, once they are there, can't be dropped by anybody.
    let schema = "SELECT type, name, sql FROM sqlite_schema WHERE name <> 'sqlite_sequence' ORDER BY name";
    let before = place.rows("source.db", schema);
    place.good(&["sync"]);
    assert_ne!(place.rows("source.db", schema), before, "changes are captured by triggers");
    let told = place.good(&["delete", "people"]);
    assert!(told.contains("rows stay"), "{told}");
    assert_eq!(place.rows("source.db", schema), before);
    assert_eq!(place.rows("target.db", ALL).len(), 3);
}

#[test]
fn a_resnapshot_reads_everything_again() {
    let place = Place::new(PEOPLE);
    place.add_people(3);
    place.good(&["sync"]);
    let target = rusqlite::Connection::open(place.path("target.db")).unwrap();
    target.execute_batch("UPDATE people SET name = 'by hand'; INSERT INTO people (id) VALUES (99)").unwrap();
    drop(target);
    place.good(&["resnapshot", "people"]);
    place.good(&["sync"]);
    assert_eq!(place.rows("target.db", ALL), place.rows("source.db", ALL));
}

#[test]
fn the_example_of_an_own_program_works() {
    let place = Place::new(PEOPLE);
    place.add_people(50);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(crate::embed::bring_in_step(&place.path("sluice.yaml"), None)).unwrap();
    assert_eq!(place.rows("target.db", ALL), place.rows("source.db", ALL));
}
