//! `check` of targets that are wrong in one way each.

use serde_json::json;
use sluice_servers::{PASSWORD, Postgres, PostgresOptions};
use sluice_types::ports::TargetTable;
use sluice_types::{ErrorKind, Finding, Severity, TableId};

use crate::harness::{Place, endpoint, endpoint_with, line, target};
use crate::sink::{numbers, schema};

/// A role of the database's own, and the URL by which it connects.
fn role(place: &Place) -> (String, String) {
    let role = format!("role_{}", place.database);
    place.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'"));
    let url = place.server.url_as(&role, &place.database);
    (role, url)
}

async fn findings(url: &str, tables: &[TargetTable]) -> Vec<Finding> {
    endpoint(url).check_target(tables).await.unwrap()
}

/// The codes of the errors, and of the warnings.
fn codes(findings: &[Finding]) -> (Vec<&str>, Vec<&str>) {
    let of = |severity| findings.iter().filter(|f| f.severity == severity).map(|f| f.code.as_ref()).collect();
    (of(Severity::Error), of(Severity::Warning))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_target_has_nothing_but_the_tests_own_fsync() {
    let place = Place::with("CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text)");
    let found = findings(&place.url(), &[target(&numbers("t")), target(&numbers("new"))]).await;
    assert_eq!(codes(&found), (vec![], vec!["not-durable"]), "{found:?}");
    // And nothing was made.
    assert_eq!(place.rows("SELECT to_regclass('public.new'), to_regnamespace('sluice')"), ["~|~"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_right_names_its_grant_and_the_grants_suffice() {
    let place = Place::with("CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text)");
    let (role, url) = role(&place);
    let tables = [target(&numbers("t")), target(&numbers("new"))];
    let mut granted = vec![];
    loop {
        let found = findings(&url, &tables).await;
        let errors: Vec<&Finding> = found.iter().filter(|f| f.severity == Severity::Error).collect();
        if errors.is_empty() {
            break;
        }
        for error in errors {
            assert_eq!(error.code, ErrorKind::Permission.code(), "{error}");
            assert!(error.remedy.starts_with("GRANT "), "{error}");
            assert!(!granted.contains(&error.remedy), "granted, but: {error}");
            place.sql(&error.remedy);
            granted.push(error.remedy.clone());
        }
    }
    assert_eq!(granted.len(), 3, "{granted:?}");
    let (_, warnings) = (codes(&findings(&url, &tables).await).0, findings(&url, &tables).await);
    assert!(warnings.iter().any(|f| f.code == "no-origin" && f.remedy.contains(&role)), "{warnings:?}");
    // A line runs with that.
    let mut sink = endpoint(&url).sink(&line("p")).await.unwrap();
    sink.prepare(&tables).await.unwrap();
    place.sql(&format!("REVOKE ALL ON sluice.sluice_checkpoint FROM {role}; ALTER TABLE sluice.sluice_checkpoint OWNER TO postgres"));
    let found = findings(&url, &tables).await;
    assert_eq!(codes(&found).0, ["permission"], "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_of_a_table_is_told() {
    let place = Place::with(
        "CREATE TABLE parent(id bigint PRIMARY KEY, u bigint, a text);
         CREATE TABLE t(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, u bigint GENERATED ALWAYS AS (1) STORED, a jsonb,
                        p bigint REFERENCES parent);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER always BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         ALTER TABLE t ENABLE ALWAYS TRIGGER always;
         CREATE TRIGGER usual BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         CREATE RULE r AS ON DELETE TO t DO ALSO NOTHING",
    );
    use sluice_types::ColumnType::{Int64, Json};
    let wide = schema("t", "other", 1, &[("id", Int64, ""), ("u", Int64, ""), ("a", Json, "json")]);
    let found = findings(&place.url(), &[target(&wide)]).await;
    let (errors, mut warnings) = codes(&found);
    warnings.sort_unstable();
    let expected =
        ["identity-always", "json-normalised", "not-durable", "target-generated", "target-triggers"];
    assert_eq!((errors, warnings), (vec![], expected.to_vec()), "{found:?}");
    // Where nothing may be kept from acting, all of them do.
    let (_, url) = role(&place);
    let found = findings(&url, &[target(&wide)]).await;
    let (_, warnings) = codes(&found);
    assert_eq!(warnings.iter().filter(|code| **code == "target-triggers").count(), 2, "{found:?}");
    assert!(warnings.contains(&"target-foreign-keys") && warnings.contains(&"target-rules"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_does_not_hold_or_look_after_is_told() {
    let place = Place::with(
        "CREATE TABLE t(id bigint PRIMARY KEY, u integer, a varchar(10), same numeric(10,2), at timestamp(0),
                        CONSTRAINT late UNIQUE (u) DEFERRABLE)",
    );
    use sluice_types::ColumnType::{Decimal, Int64, Text, Timestamp};
    let columns = [
        ("id", Int64, "bigint"),
        ("u", Int64, "bigint"),
        ("a", Text, "character varying(20)"),
        ("same", Decimal, "numeric(10,2)"),
        ("at", Timestamp, "timestamp(3) without time zone"),
    ];
    let found = findings(&place.url(), &[target(&schema("t", "postgres", 1, &columns))]).await;
    let (errors, warnings) = codes(&found);
    let count = |code: &str| warnings.iter().filter(|found| **found == code).count();
    assert_eq!((errors.len(), count("target-narrower"), count("target-deferrable")), (0, 3, 1), "{found:?}");
    assert!(found.iter().any(|one| one.what.contains("late of")), "{found:?}");
    // Where triggers act, the server looks after it. Nobody knows what columns of another kind hold.
    let (_, url) = role(&place);
    let found = findings(&url, &[target(&schema("t", "other", 1, &columns))]).await;
    let (_, warnings) = codes(&found);
    assert!(
        !warnings.iter().any(|code| ["target-narrower", "target-deferrable"].contains(code)),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_names_that_the_target_does_not_have() {
    let place = Place::new();
    use sluice_types::ColumnType::{Enumeration, Int64};
    let mood = schema("t", "postgres", 1, &[("id", Int64, "bigint"), ("m", Enumeration, "public.mood")]);
    let found = findings(&place.url(), &[target(&mood)]).await;
    assert_eq!(codes(&found), (vec![], vec!["not-durable", "type-missing"]), "{found:?}");
    let own = sluice_types::TableSchema {
        table: sluice_types::TableId::new("sluice", "sluice_checkpoint"),
        ..(*numbers("t")).clone()
    };
    let found =
        findings(&place.url(), &[target(&std::sync::Arc::new(own)), target(&numbers(&"n".repeat(64)))]).await;
    assert_eq!(codes(&found).0, ["target-schema", "target-schema"], "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_can_not_be_reached_or_written() {
    let place = Place::new();
    let port = place.server.port();
    for (url, code) in [
        ("postgres://postgres:wrong@127.0.0.1:1/d?connect_timeout=2".to_string(), "unreachable"),
        (format!("postgres://postgres:wrong@127.0.0.1:{port}/{}", place.database), "authentication"),
        (format!("postgres://nobody:wrong@127.0.0.1:{port}/{}", place.database), "authentication"),
        (place.server.url("nowhere"), "config-invalid"),
        (format!("{}?sslmode=require", place.url()), "authentication"),
    ] {
        let found = findings(&url, &[]).await;
        assert_eq!(codes(&found).0, [code], "{found:?}");
        assert!(!found[0].remedy.is_empty() && !found[0].what.contains("wrong"), "{found:?}");
    }
    place.server.sql(
        "postgres",
        &format!("ALTER DATABASE {} SET default_transaction_read_only = on", place.database),
    );
    // What a database has as its default is not in the way.
    let found = endpoint(&place.url()).check_target(&[]).await.unwrap();
    assert_eq!(codes(&found).0, [""; 0], "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_every_mode() {
    let server = Postgres::start_with(PostgresOptions { tls: true, ..PostgresOptions::default() });
    let tls = sluice_servers::tls();
    let (ca, cert, key) = (&tls.ca, &tls.client_cert, &tls.client_key);
    let host = |host: &str| server.url("postgres").replace("127.0.0.1", host);
    for (host_name, settings, good) in [
        ("127.0.0.1", json!({ "mode": "disable" }), true),
        ("127.0.0.1", json!({ "mode": "prefer" }), true),
        ("127.0.0.1", json!({ "mode": "require" }), true),
        ("127.0.0.1", json!({ "mode": "verify-ca", "ca": ca }), true),
        ("localhost", json!({ "mode": "verify-full", "ca": ca, "cert": cert, "key": key }), true),
        ("127.0.0.1", json!({ "mode": "verify-ca", "ca": tls.other_ca }), false),
        ("127.0.0.1", json!({ "mode": "verify-full" }), false),
        ("127.0.0.1", json!({ "mode": "verify-full", "ca": "/nowhere.pem" }), false),
    ] {
        let endpoint = endpoint_with(json!({ "url": host(host_name), "tls": settings }));
        let found = endpoint.check_target(&[]).await.unwrap();
        let errors = codes(&found).0;
        assert_eq!(errors.is_empty(), good, "{settings} {found:?}");
        assert!(good || errors == ["authentication"], "{settings} {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_leaves_behind_is_listed_as_statements() {
    let tables = "CREATE TABLE p(id bigint PRIMARY KEY, u bigint, a text);
                  CREATE TABLE t(id bigint PRIMARY KEY, u bigint REFERENCES p, a text CHECK (a <> '') UNIQUE)";
    let place = Place::with(&format!(
        "{tables}; CREATE INDEX \"t USING u\" ON t(u) WHERE u > 0; CREATE INDEX whole ON t((t IS NOT NULL))"
    ));
    let tables = [TableId::new("public", "p"), TableId::new("public", "t")];
    let all = place.endpoint().secondaries(&tables).await.unwrap();
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["t USING u", "whole", "t_a_check", "t_a_key", "t_u_fkey"]);
    assert_eq!(all[0].columns, ["u"]);
    assert_eq!(all[1].columns, ["id", "u", "a"], "it depends on the row as a whole");
    assert_eq!(all[4].refers_to, Some((tables[0].clone(), vec!["id".to_string()])));
    // The statements make it so, and once.
    let copy = Place::with(
        "CREATE TABLE p(id bigint PRIMARY KEY, u bigint, a text); CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text)",
    );
    let lacking = copy.endpoint().lacking(&all).await.unwrap();
    assert_eq!(lacking.len(), 5, "{lacking:?}");
    let early = copy.endpoint().make(&"p".into(), &lacking[0].1).await.unwrap_err();
    assert!(early.kind() == ErrorKind::Busy && early.what().contains("first copy"), "{early}");
    for (_, statement) in lacking {
        copy.sql(&statement);
    }
    assert_eq!(copy.endpoint().lacking(&all).await.unwrap(), []);
    let shape = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'public.t'::regclass
                 UNION SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'public.t'::regclass ORDER BY 1";
    assert_eq!(copy.rows(shape), place.rows(shape));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_policies_are_in_the_way() {
    let place = Place::with(
        "CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text); ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    );
    let (role, url) = role(&place);
    place.sql(&format!("GRANT ALL ON t TO {role}; GRANT CREATE ON DATABASE {} TO {role}", place.database));
    let found = findings(&url, &[target(&numbers("t"))]).await;
    let errors: Vec<&Finding> = found.iter().filter(|f| f.severity == Severity::Error).collect();
    assert!(errors.len() == 1 && errors[0].remedy.ends_with("BYPASSRLS"), "{found:?}");
    place.server.psql(&place.database, &errors[0].remedy).unwrap();
    assert_eq!(codes(&findings(&url, &[target(&numbers("t"))]).await).0, [""; 0]);
    assert!(
        findings(&place.url(), &[target(&numbers("t"))]).await.iter().all(|f| f.severity != Severity::Error)
    );
}
