//! What `check` says of a target is true once, and no more after its remedy was run as it is given.

use sluice_servers::{PASSWORD, Postgres, PostgresOptions};
use sluice_types::ColumnType::{Int64, Json, Text};
use sluice_types::ports::TargetTable;
use sluice_types::{Change, ErrorKind, Finding, Severity, TableSchema};

use crate::harness::{Place, endpoint, line, target};
use crate::sink::{events, numbers, row, schema, write};

fn start(conf: &[&str]) -> Postgres {
    let conf = conf.iter().map(ToString::to_string).collect();
    // Its writes reach the disk, so that nothing is found but what a test is about.
    let options = PostgresOptions { conf, fsync: true, ..PostgresOptions::default() };
    tokio::task::block_in_place(|| Postgres::start_with(options))
}

async fn findings(url: &str, tables: &[TargetTable]) -> Vec<Finding> {
    let mut found = endpoint(url).check_target(tables).await.unwrap();
    // The shared server's own.
    found.retain(|one| one.code != "not-durable" || !one.what.contains("fsync and"));
    found
}

/// Pastes every remedy into psql until nothing is found any more; answers the codes in their order.
async fn mended(server: &Postgres, url: &str, tables: &[TargetTable]) -> Vec<String> {
    let database = url.rsplit_once('/').unwrap().1;
    let (mut codes, mut done) = (vec![], vec![]);
    loop {
        let found = findings(url, tables).await;
        if found.is_empty() {
            return codes;
        }
        for finding in found {
            assert!(!done.contains(&finding), "it was run, but: {finding}");
            server.psql(database, &finding.remedy).unwrap_or_else(|why| panic!("{why}, at: {finding}"));
            codes.push(finding.code.to_string());
            done.push(finding);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_mended_whatever_names_are_like() {
    let server = start(&[]);
    let role = r#""We ""ak""#;
    server.sql(
        "postgres",
        &format!(
            r#"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; REVOKE CREATE ON SCHEMA public FROM public"#
        ),
    );
    server.sql(
        "postgres",
        r#"CREATE SCHEMA "Sh ""op"; CREATE TABLE "Sh ""op"."T ""1"(id bigint PRIMARY KEY, u bigint, a text)"#,
    );
    let of = |schema: &str, name: &str| {
        let table = sluice_types::TableId::new(schema, name);
        target(&std::sync::Arc::new(TableSchema { table, ..(*numbers("t")).clone() }))
    };
    let tables = [of("Sh \"op", "T \"1"), of("public", "new")];
    let url = server.url_as("We%20%22ak", "postgres");
    let codes = mended(&server, &url, &tables).await;
    // CREATE in the database and in the schema of a table that is to be made; USAGE of the other's, and its rows.
    let rights = ["permission", "no-origin", "permission", "permission", "no-truncate", "permission"];
    assert_eq!(codes, rights);
    // A line runs with that, its writes marked and its tables truncated.
    let mut sink = endpoint(&url).sink(&line("p")).await.unwrap();
    sink.prepare(&tables).await.unwrap();
    write(&mut sink, &events(&tables[0].schema, [Change::Insert(row(1, 1, "x")), Change::Truncate]))
        .await
        .unwrap();
    assert_eq!(server.one("postgres", "SELECT count(*) FROM pg_replication_origin_status"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_in_a_schema_sluice_that_somebody_else_has_made_are_mended() {
    let server = start(&[]);
    server.sql("postgres", &format!("CREATE ROLE weak LOGIN PASSWORD '{PASSWORD}'; CREATE SCHEMA sluice"));
    let url = server.url_as("weak", "postgres");
    let codes =
        |found: Vec<Finding>| -> Vec<String> { found.iter().map(|one| one.code.to_string()).collect() };
    let found = findings(&url, &[]).await;
    assert!(found[0].what.contains("nothing can be made in the schema sluice"), "{found:?}");
    assert_eq!(mended(&server, &url, &[]).await, ["permission", "no-origin"]);
    // Another role's line has made the checkpoint meanwhile.
    endpoint(&server.url("postgres")).sink(&line("p")).await.unwrap().prepare(&[]).await.unwrap();
    server.sql("postgres", "REVOKE ALL ON SCHEMA sluice FROM weak");
    let found = findings(&url, &[]).await;
    assert!(found[0].what.contains("the checkpoint can't be"), "{found:?}");
    assert_eq!(codes(found), ["permission"]);
    assert_eq!(mended(&server, &url, &[]).await, ["permission"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_no_target() {
    let server = start(&[]);
    let standby = tokio::task::block_in_place(|| server.standby());
    let found = findings(&standby.url("postgres"), &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&*found[0].code, found[0].severity), (ErrorKind::Permission.code(), Severity::Error));
    assert!(found[0].what.contains("standby") && found[0].remedy.contains("primary"), "{}", found[0]);
    // Among several hosts it is left out, if the primary is one of them.
    let both = |other: u16| {
        let (from, to) = (format!(":{}/", standby.port()), format!(":{},127.0.0.1:{other}/", standby.port()));
        standby.url("postgres").replace(&from, &to)
    };
    let found = findings(&both(standby.port()), &[]).await;
    assert!(found.len() == 1 && found[0].remedy.contains("primary"), "{found:?}");
    assert_eq!(findings(&both(server.port()), &[]).await, []);
    standby.sql("postgres", "SELECT pg_promote()");
    assert_eq!(findings(&standby.url("postgres"), &[]).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_power_cut_would_lose_is_mended() {
    let server = start(&["full_page_writes = off"]);
    let found = findings(&server.url("postgres"), &[]).await;
    assert!(found.len() == 1 && found[0].what.starts_with("full_page_writes is off"), "{found:?}");
    server.conf(&["fsync = off"]);
    server.reload();
    let mut remedy = String::new();
    for left in (0..200).rev() {
        // The server reads its configuration a moment after it is told to.
        match endpoint(&server.url("postgres")).check_target(&[]).await.unwrap().pop() {
            Some(found)
                if remedy.is_empty() && found.what.starts_with("fsync and full_page_writes are off") =>
            {
                remedy = found.remedy;
                server.psql("postgres", &remedy).unwrap();
            }
            Some(_) => {}
            None if !remedy.is_empty() => break,
            None => panic!("nothing is found, and nothing was done"),
        }
        assert!(left > 0, "it is still found after {remedy}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Nobody can take from a session of ours that its commits wait for the disk, so there is nothing to find.
#[tokio::test(flavor = "multi_thread")]
async fn commits_are_durable_whatever_the_server_the_database_and_the_role_say() {
    let server = start(&["synchronous_commit = off"]);
    server.sql("postgres", &format!("CREATE ROLE careless LOGIN SUPERUSER PASSWORD '{PASSWORD}'"));
    for of in ["DATABASE postgres", "ROLE careless", "ROLE careless IN DATABASE postgres"] {
        server.sql("postgres", &format!("ALTER {of} SET synchronous_commit = local"));
    }
    server.sql(
        "postgres",
        "CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN NEW.a := pg_catalog.current_setting('synchronous_commit'); RETURN NEW; END $$;
         CREATE TRIGGER tell BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tell();
         ALTER TABLE t ENABLE ALWAYS TRIGGER tell",
    );
    let url = server.url_as("careless", "postgres");
    assert_eq!(findings(&url, &[]).await, []);
    let table = target(&numbers("t"));
    let mut sink = endpoint(&url).sink(&line("p")).await.unwrap();
    sink.prepare(std::slice::from_ref(&table)).await.unwrap();
    write(&mut sink, &events(&table.schema, [Change::Insert(row(1, 1, "x"))])).await.unwrap();
    assert_eq!(server.one("postgres", "SELECT a FROM t"), "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_have_every_text_is_told_and_another_one_made() {
    let server = start(&[]);
    server.sql("postgres", "CREATE DATABASE \"la tin\" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let found = findings(&server.url("la%20tin"), &[]).await;
    assert!(found.len() == 1 && found[0].code == "target-encoding", "{found:?}");
    assert!(found[0].what.contains("LATIN1"), "{found:?}");
    server.psql("la tin", &found[0].remedy).unwrap();
    assert_eq!(findings(&server.url("la%20tin_utf8"), &[]).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_for_another_origin_is_told_and_given_more() {
    let server = start(&[]);
    let setting =
        if server.version() >= 18 { "max_active_replication_origins" } else { "max_replication_slots" };
    server.sql("postgres", &format!("CREATE ROLE weak LOGIN PASSWORD '{PASSWORD}'"));
    let full = async |url: &str| {
        let found = findings(url, &[]).await;
        let found: Vec<Finding> = found.into_iter().filter(|one| one.code == "origins-full").collect();
        assert!(found.len() < 2, "{found:?}");
        found.into_iter().next()
    };
    let (url, weak) = (server.url("postgres"), server.url_as("weak", "postgres"));
    for (room, lines) in [(0, &["p"][..]), (1, &["p", "q"][..])] {
        server.conf(&[&format!("{setting} = {room}")]);
        tokio::task::block_in_place(|| server.restart());
        // Lines go on without.
        for line_ in lines {
            endpoint(&url).sink(&line(line_)).await.unwrap();
        }
        let found = full(&url).await.unwrap();
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.what.contains(&format!("({setting} is {room})")), "{found}");
        server.psql("postgres", &found.remedy).unwrap();
        tokio::task::block_in_place(|| server.restart());
        assert_eq!(full(&url).await, None);
        assert_eq!(endpoint(&url).check_target(&[]).await.unwrap(), []);
    }
    // Who may not see which origins are in use goes by those that there are.
    server.sql(
        "postgres",
        "GRANT EXECUTE ON FUNCTION pg_replication_origin_oid(text), pg_replication_origin_create(text), \
        pg_replication_origin_session_setup(text) TO weak",
    );
    assert_eq!(full(&weak).await, None);
    server.conf(&[&format!("{setting} = 2")]);
    tokio::task::block_in_place(|| server.restart());
    assert_eq!(full(&weak).await.map(|one| one.code.to_string()).as_deref(), Some("origins-full"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_acts_on_our_writes_is_mended() {
    let server = start(&[]);
    let virtual_one =
        if server.version() >= 18 { ", v bigint GENERATED ALWAYS AS (1) VIRTUAL" } else { ", v bigint" };
    let sql = format!(
        r#"CREATE TABLE parent(id bigint PRIMARY KEY);
        CREATE TABLE t(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, u bigint GENERATED ALWAYS AS (1) STORED, a jsonb,
                       n integer, c varchar(10), p bigint REFERENCES parent{virtual_one},
                       CONSTRAINT "La te" UNIQUE (n) DEFERRABLE INITIALLY DEFERRED,
                       CONSTRAINT apart EXCLUDE USING btree (c WITH =) WHERE (c <> ' DEFERRABLE') DEFERRABLE);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER "Al ways" BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
        ALTER TABLE t ENABLE ALWAYS TRIGGER "Al ways";
        CREATE TRIGGER usual BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
        CREATE RULE "Ru le" AS ON DELETE TO t DO ALSO NOTHING;
        ALTER TABLE t ENABLE ALWAYS RULE "Ru le";
        CREATE RULE usual AS ON UPDATE TO t DO ALSO NOTHING"#
    );
    server.sql("postgres", &sql);
    let columns = [
        ("id", Int64, "bigint"),
        ("u", Int64, "bigint"),
        ("a", Json, "json"),
        ("n", Int64, "bigint"),
        ("c", Text, "character varying(20)"),
        ("v", Int64, "bigint"),
    ];
    let table = target(&schema("t", "postgres", 1, &columns));
    let mut codes = mended(&server, &server.url("postgres"), std::slice::from_ref(&table)).await;
    codes.sort_unstable();
    codes.dedup();
    let expected = [
        "identity-always",
        "json-normalised",
        "target-deferrable",
        "target-generated",
        "target-narrower",
        "target-rules",
        "target-triggers",
    ];
    assert_eq!(codes, expected);
    assert_eq!(
        server.one(
            "postgres",
            "SELECT string_agg(pg_get_constraintdef(oid), '; ' ORDER BY conname) FROM pg_constraint \
                   WHERE conrelid = 't'::regclass AND contype IN ('u', 'x')"
        ),
        "UNIQUE (n); EXCLUDE USING btree (c WITH =) WHERE (((c)::text <> ' DEFERRABLE'::text))"
    );
    // Who may not keep triggers from acting is told of those that the others need not know.
    server.sql("postgres", &format!("CREATE ROLE weak LOGIN PASSWORD '{PASSWORD}'; GRANT ALL ON t TO weak"));
    let codes = mended(&server, &server.url_as("weak", "postgres"), &[table]).await;
    assert_eq!(codes, ["permission", "no-origin", "target-triggers", "target-rules", "target-foreign-keys"]);
}

/// As the server's own logical replication has it: usual rules are for those who write first.
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_not_told_do_not_act() {
    let place = Place::with(
        "CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text); INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y');
         CREATE RULE stays AS ON DELETE TO t DO INSTEAD NOTHING",
    );
    let table = target(&numbers("t"));
    let rules = async || {
        let found = findings(&place.url(), std::slice::from_ref(&table)).await;
        found.iter().filter(|one| one.code == "target-rules").count()
    };
    for (told, left) in [(0, "1"), (1, "1"), (0, "0")] {
        assert_eq!(rules().await, told);
        let mut sink = place.sink().await;
        sink.prepare(std::slice::from_ref(&table)).await.unwrap();
        let gone = if told == 0 && left == "1" { 1 } else { 2 };
        write(&mut sink, &events(&table.schema, [Change::Delete(row(gone, gone, "x"))])).await.unwrap();
        assert_eq!(place.rows("SELECT count(*) FROM t"), [left]);
        let state = if told == 0 { "ENABLE ALWAYS" } else { "DISABLE" };
        place.sql(&format!("ALTER TABLE t {state} RULE stays"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_do_not_take_the_rows_are_mended() {
    let place = Place::with(
        "CREATE UNLOGGED TABLE t(id bigint, u text, must int NOT NULL, g bigint GENERATED ALWAYS AS IDENTITY);
         CREATE TABLE k(id bigint GENERATED ALWAYS AS (1) STORED PRIMARY KEY, u bigint, a text)",
    );
    let tables = [
        target(&schema(
            "t",
            "other",
            1,
            &[("id", Int64, ""), ("u", Int64, ""), ("a", Text, ""), ("g", Int64, "")],
        )),
        target(&numbers("k")),
    ];
    let codes = mended(place.server, &place.url(), &tables).await;
    assert_eq!(codes.iter().filter(|code| *code == "target-schema").count(), 7, "{codes:?}");
    let mut sink = place.sink().await;
    sink.prepare(&tables).await.unwrap();
}
