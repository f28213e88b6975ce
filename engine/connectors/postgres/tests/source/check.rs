//! Servers and tables that are configured wrongly, one by one: each is found, with what to do.

use serde_json::json;
use sluice_servers::{Postgres, PostgresOptions};
use sluice_types::ports::TargetTable;
use sluice_types::{Finding, TablePattern};

use crate::follow::Follow;
use crate::harness::{DATABASE, Place, endpoint_with, readers};

pub async fn findings_as(place: &Place, role: &str) -> Vec<Finding> {
    findings_of(place, role, &["p"]).await
}

pub async fn findings_of(place: &Place, role: &str, lines: &[&str]) -> Vec<Finding> {
    let endpoint = endpoint_with(json!({ "url": place.server.url_as(role, DATABASE) }));
    let found = endpoint.discover(&[TablePattern::parse("public.*")]).await.unwrap_or_default();
    let target = |found: sluice_types::ports::Discovered| TargetTable {
        schema: found.schema,
        path: "tables[0]".into(),
    };
    endpoint.check_source(&readers(lines), &found.into_iter().map(target).collect::<Vec<_>>()).await.unwrap()
}

/// What is found about this, and its remedy.
pub async fn remedy(place: &Place, role: &str, about: &str) -> String {
    let findings = findings_as(place, role).await;
    let found = findings.iter().find(|finding| finding.what.contains(about));
    found.unwrap_or_else(|| panic!("{about}: {findings:#?}")).remedy.clone()
}

pub fn started(conf: &[&str], hba: &[&str]) -> Place {
    let text = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
    Place::on(Postgres::start_with(PostgresOptions {
        conf: text(conf),
        hba: text(hba),
        ..PostgresOptions::default()
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_server() {
    let place = started(
        &[
            "wal_level = replica",
            "max_replication_slots = 0",
            "max_wal_senders = 0",
            "synchronous_standby_names = '*'",
            "synchronous_commit = local",
        ],
        &[],
    );
    place.sql("SELECT lo_create(0)");
    assert!(remedy(&place, "postgres", "wal_level").await.contains("wal_level = logical"));
    assert!(
        remedy(&place, "postgres", "replication slots: 1 needed").await.contains("max_replication_slots")
    );
    assert!(remedy(&place, "postgres", "walsenders: 1 needed").await.contains("max_wal_senders"));
    assert!(remedy(&place, "postgres", "synchronous_standby_names").await.contains("standbys"));
    assert!(remedy(&place, "postgres", "large objects").await.contains("bytea"));
    assert!(remedy(&place, "postgres", "nothing limits").await.contains("max_slot_wal_keep_size"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_of_the_role_and_tables() {
    let place = started(&[], &[]);
    let password = sluice_servers::PASSWORD.replace('\'', "''");
    place.sql(&format!(
        "CREATE ROLE weak LOGIN PASSWORD '{password}'; CREATE TABLE t(id int PRIMARY KEY);
         DO $$ BEGIN EXECUTE (SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM public', oid::regprocedure)
             FROM pg_proc WHERE proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype); END $$"
    ));
    for (about, statement) in [
        ("may not replicate", "ALTER ROLE \"weak\" REPLICATION"),
        ("make a publication", "GRANT CREATE ON DATABASE \"shop\""),
        ("heartbeats", "GRANT EXECUTE"),
        ("may not read", "GRANT SELECT ON \"public\".\"t\""),
        ("only its owner", "ALTER TABLE \"public\".\"t\" OWNER TO \"weak\""),
    ] {
        assert!(remedy(&place, "weak", about).await.contains(statement), "{about}");
    }
    // A superuser's role is nothing to be a member of; another one's is.
    place.sql("CREATE ROLE team; ALTER TABLE t OWNER TO team");
    assert_eq!(remedy(&place, "weak", "only its owner").await, "GRANT \"team\" TO \"weak\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_can_not_be_followed() {
    let place = started(&[], &[]);
    place.sql("CREATE TABLE keyless(a int)");
    assert!(remedy(&place, "postgres", "can't be told apart").await.contains("REPLICA IDENTITY FULL"));
    place.sql("DROP TABLE keyless; CREATE UNLOGGED TABLE u(id int PRIMARY KEY)");
    assert!(remedy(&place, "postgres", "unlogged").await.contains("SET LOGGED"));
    place.sql("DROP TABLE u; CREATE TABLE g(id int PRIMARY KEY, b int GENERATED ALWAYS AS (id + 1) STORED)");
    remedy(&place, "postgres", "generated columns").await;
    place.sql("DROP TABLE g; CREATE TABLE p(id int PRIMARY KEY) PARTITION BY RANGE (id)");
    remedy(&place, "postgres", "TRUNCATE of one partition").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_where_all_is_well() {
    let place = started(&["max_slot_wal_keep_size = 10GB"], &[]);
    place.sql("CREATE TABLE t(id int PRIMARY KEY, a text)");
    assert_eq!(findings_as(&place, "postgres").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_line_has_already_is_not_in_its_way() {
    let place = started(&["max_replication_slots = 1", "max_wal_senders = 1"], &[]);
    let slots = async |lines: &[&str]| -> Vec<String> {
        let found = findings_of(&place, "postgres", lines).await;
        found
            .into_iter()
            .map(|finding| finding.what.to_string())
            .filter(|what| what.contains("needed"))
            .collect()
    };
    assert_eq!(slots(&["p"]).await, [""; 0]);
    place.sql("SELECT pg_create_logical_replication_slot('sluice_01234567_p', 'pgoutput')");
    assert_eq!(slots(&["p"]).await, [""; 0], "its own slot");
    place.sql(
        "SELECT pg_drop_replication_slot('sluice_01234567_p'); CREATE TABLE t(id int PRIMARY KEY, a text)",
    );
    let follow = Follow::start(&place, &["t"]).await;
    assert_eq!(slots(&["p"]).await, [""; 0], "its own stream");
    drop(follow);
    crate::slot::eventually(&place, "SELECT bool_and(NOT active) FROM pg_replication_slots").await;
    let wanted = [
        "replication slots: 1 needed, one for each line, and 0 free",
        "walsenders: 2 needed, one for each line, and 1 free",
    ];
    assert_eq!(slots(&["p", "q"]).await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_a_line_that_is_lost_is_told_and_never_to_be_dropped() {
    let place = started(&["max_slot_wal_keep_size = 1MB", "max_wal_size = 32MB", "min_wal_size = 32MB"], &[]);
    place.sql("SELECT pg_create_logical_replication_slot('sluice_01234567_p', 'pgoutput')");
    for _ in 0..4 {
        place.sql("SELECT count(pg_logical_emit_message(true, 'x', repeat('x', 1000000))) FROM generate_series(1, 20)");
        place.sql("SELECT pg_switch_wal()");
        place.sql("CHECKPOINT");
    }
    let found = findings_of(&place, "postgres", &["p"]).await;
    let own: Vec<&Finding> = found.iter().filter(|one| one.what.contains("sluice_01234567_p")).collect();
    assert!(own.len() == 1 && own[0].code == "slot-lost", "{own:#?}");
    assert!(own[0].remedy.starts_with("sluice resnapshot p,"), "{own:#?}");
    // Where no line is called so any more it can only be dropped.
    let found = findings_of(&place, "postgres", &["q"]).await;
    let orphan = found.iter().find(|one| one.code == "orphan-slot").unwrap();
    assert!(orphan.what.contains("sluice_01234567_p is lost"), "{orphan:?}");
    place.server.psql(DATABASE, &orphan.remedy).unwrap();
    assert!(findings_of(&place, "postgres", &["q"]).await.iter().all(|one| one.code != "orphan-slot"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_no_line_uses_is_told_and_no_other() {
    let place = started(&[], &[]);
    for line in ["p", "gone"] {
        place
            .sql(&format!("SELECT pg_create_logical_replication_slot('sluice_01234567_{line}', 'pgoutput')"));
    }
    let orphans = async || -> Vec<Finding> {
        let found = findings_of(&place, "postgres", &["p"]).await;
        found.into_iter().filter(|finding| finding.code == "orphan-slot").collect()
    };
    assert_eq!(orphans().await, [], "they retain next to nothing");
    place.sql("SELECT count(pg_logical_emit_message(false, 'x', repeat('x', 1000000))) FROM generate_series(1, 300)");
    let found = orphans().await;
    let [orphan] = &found[..] else { panic!("{found:?}") };
    assert!(orphan.what.contains("sluice_01234567_gone"), "{orphan:?}");
    place.sql(&orphan.remedy);
    assert_eq!(orphans().await, []);
}
