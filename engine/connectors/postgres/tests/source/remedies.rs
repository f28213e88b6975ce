//! What `check` says of a source is true once, and no more after its remedy was run as it is given.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::json;
use sluice_servers::PASSWORD;
use sluice_types::ports::TargetTable;
use sluice_types::{ErrorKind, Finding, Severity, TableId, TablePattern, TableSchema};

use crate::check::{findings_as, findings_of, remedy, started};
use crate::follow::Follow;
use crate::harness::{DATABASE, Place, endpoint_with, readers};

/// Pastes the remedies of what is found about each of these into psql, one by one, and sees that each is found no more: after a start
/// where the remedy says so.
async fn mended(place: &Place, role: &str, abouts: &[&str]) {
    for about in abouts {
        let remedy = remedy(place, role, about).await;
        place.server.psql(DATABASE, &remedy).unwrap_or_else(|why| panic!("{why}, at: {remedy}"));
        if remedy.contains("restart the server") {
            tokio::task::block_in_place(|| place.server.restart());
        }
        let mut found = vec![];
        for _ in 0..100 {
            found = findings_as(place, role).await;
            found.retain(|finding| finding.what.contains(about));
            if found.is_empty() {
                break;
            }
            // A configuration is read again a moment after it was asked for.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(found, [], "after {remedy}");
    }
}

/// The tables that are there, with another key than they have.
async fn with_key(place: &Place, key: &[u32]) -> Vec<Finding> {
    let endpoint = place.endpoint();
    let found = endpoint.discover(&[TablePattern::parse("public.*")]).await.unwrap();
    let target = |found: sluice_types::ports::Discovered| {
        let schema = Arc::new(TableSchema { key: key.to_vec(), ..(*found.schema).clone() });
        TargetTable { schema, path: "tables[0]".into() }
    };
    endpoint.check_source(&readers(&["p"]), &found.into_iter().map(target).collect::<Vec<_>>()).await.unwrap()
}

fn errors(found: &[Finding]) -> Vec<&Finding> {
    found.iter().filter(|finding| finding.severity == Severity::Error).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_mended() {
    let place = started(&["wal_level = replica", "max_replication_slots = 0", "max_wal_senders = 0"], &[]);
    mended(&place, "postgres", &["nothing limits", "wal_level", "replication slots", "walsenders"]).await;
    assert_eq!(findings_as(&place, "postgres").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_mended_whatever_names_are_like() {
    let place = started(&["max_slot_wal_keep_size = 10GB"], &[]);
    let role = r#""We ""ak""#;
    place.sql(&format!(
        r#"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE "Te am";
        CREATE SCHEMA "Sh ""op"; CREATE TABLE "Sh ""op"."T ""1"(id int PRIMARY KEY);
        CREATE TABLE of_team(id int PRIMARY KEY); ALTER TABLE of_team OWNER TO "Te am";
        CREATE TABLE rows(id int PRIMARY KEY, who name); ALTER TABLE rows ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON rows USING (who = current_user);
        DO $$ BEGIN EXECUTE (SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM public', oid::regprocedure)
            FROM pg_proc WHERE proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype); END $$"#
    ));
    let weak = "We%20%22ak";
    mended(&place, weak, &["may not replicate", "make a publication", "heartbeats"]).await;
    for _ in 0..2 {
        // Two tables, one after the other; policies are told of what may be read.
        let remedy = remedy(&place, weak, "may not read").await;
        place.server.psql(DATABASE, &remedy).unwrap();
    }
    let hides = "row policies hide rows of public.rows";
    assert_eq!(remedy(&place, weak, hides).await, r#"ALTER ROLE "We ""ak" BYPASSRLS"#);
    mended(&place, weak, &[hides, "may publish public.of_team", "may publish public.rows"]).await;
    assert_eq!(findings_as(&place, weak).await, []);
    // Names with blanks and quotes are not the schema's of the tests' own pattern.
    let endpoint = endpoint_with(json!({ "url": place.server.url_as(weak, DATABASE) }));
    let tables = || async {
        let found = endpoint.discover(&[TablePattern::parse("*.*")]).await.unwrap();
        let odd = found.into_iter().filter(|found| &*found.table.name == "T \"1");
        let target =
            |found: sluice_types::ports::Discovered| TargetTable { schema: found.schema, path: "t".into() };
        let tables: Vec<TargetTable> = odd.map(target).collect();
        assert_eq!(tables.len(), 1);
        endpoint.check_source(&readers(&["p"]), &tables).await.unwrap()
    };
    let found = tables().await;
    assert_eq!(found.len(), 2, "{found:#?}");
    for finding in &found {
        place.server.psql(DATABASE, &finding.remedy).unwrap_or_else(|why| panic!("{why}, at: {finding}"));
    }
    assert_eq!(tables().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_hold_for_the_owner_too_are_told() {
    let place = started(&[], &[]);
    place.sql(&format!(
        "CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}'; CREATE TABLE t(id int PRIMARY KEY); ALTER TABLE t OWNER TO owner;
         ALTER TABLE t ENABLE ROW LEVEL SECURITY"
    ));
    let hides = |found: Vec<Finding>| found.iter().any(|one| one.what.contains("row policies"));
    assert!(!hides(findings_as(&place, "owner").await), "they are not for him");
    place.sql("ALTER TABLE t FORCE ROW LEVEL SECURITY");
    mended(&place, "owner", &["row policies"]).await;
    assert!(!hides(findings_as(&place, "postgres").await), "nor for a superuser");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_by_the_line_that_is_given() {
    let place = started(&["max_slot_wal_keep_size = 10GB"], &["host all outsider all reject"]);
    place.sql("CREATE ROLE outsider NOLOGIN SUPERUSER");
    place.sql(&format!("ALTER ROLE outsider PASSWORD '{PASSWORD}'"));
    let hba = place.server.data_dir().join("pg_hba.conf");
    let old = fs::read_to_string(&hba).unwrap();
    let remedy = remedy(&place, "outsider", "").await;
    let line = remedy.split_once("pg_hba.conf: ").unwrap().1.split_once(';').unwrap().0;
    fs::write(&hba, format!("{line}\n{old}")).unwrap();
    let login = remedy.split_once('(').unwrap().1.split_once(')').unwrap().0;
    place.server.psql(DATABASE, &format!("{login}; SELECT pg_reload_conf();")).unwrap();
    place.server.restart();
    assert_eq!(findings_as(&place, "outsider").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_mended() {
    let place = started(&["max_slot_wal_keep_size = 10GB"], &[]);
    place.sql("CREATE UNLOGGED TABLE u(id int PRIMARY KEY)");
    mended(&place, "postgres", &["unlogged"]).await;
    // Its key is there, but for the log.
    place.sql(
        "DROP TABLE u; CREATE TABLE n(id int PRIMARY KEY, a int); ALTER TABLE n REPLICA IDENTITY NOTHING",
    );
    assert!(remedy(&place, "postgres", "told apart").await.ends_with("REPLICA IDENTITY DEFAULT"));
    mended(&place, "postgres", &["told apart"]).await;
    place.sql("DROP TABLE n; CREATE TABLE q(id int NOT NULL UNIQUE, a int)");
    mended(&place, "postgres", &["told apart"]).await;
    // No key is known, until somebody names one.
    place.sql("DROP TABLE q; CREATE TABLE k(id int, a int)");
    place.server.psql(DATABASE, &remedy(&place, "postgres", "told apart").await).unwrap();
    assert_eq!(errors(&findings_as(&place, "postgres").await).len(), 1);
    assert_eq!(with_key(&place, &[0]).await, []);
    // Another key than the log keeps.
    place.sql("DROP TABLE k; CREATE TABLE o(id int PRIMARY KEY, a int NOT NULL UNIQUE)");
    let found = with_key(&place, &[1]).await;
    assert!(found.len() == 1 && found[0].what.contains("does not keep the key"), "{found:#?}");
    place.server.psql(DATABASE, &found[0].remedy).unwrap();
    assert_eq!(with_key(&place, &[1]).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_table_or_not_there_is_told() {
    let place = started(&["max_slot_wal_keep_size = 10GB"], &[]);
    place.sql("CREATE TABLE t(id int PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t");
    let found = place.endpoint().discover(&[TablePattern::parse("public.t")]).await.unwrap();
    for name in ["v", "T"] {
        let schema = TableSchema { table: TableId::new("public", name), ..(*found[0].schema).clone() };
        let table = TargetTable { schema: Arc::new(schema), path: "tables[0]".into() };
        let found = place.endpoint().check_source(&readers(&["p"]), &[table]).await.unwrap();
        assert!(found.len() == 1 && found[0].code == ErrorKind::TableMissing.code(), "{found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heirs_are_named_until_they_are_read_too() {
    let place = started(&["max_slot_wal_keep_size = 10GB"], &[]);
    place.sql(
        "CREATE TABLE old(id int PRIMARY KEY); CREATE TABLE young(PRIMARY KEY (id)) INHERITS (old);
         CREATE TABLE youngest(PRIMARY KEY (id)) INHERITS (young)",
    );
    let found = place.endpoint().discover(&[TablePattern::parse("public.*")]).await.unwrap();
    let target = |found: &sluice_types::ports::Discovered| TargetTable {
        schema: found.schema.clone(),
        path: found.table.name.to_string(),
    };
    let all: Vec<TargetTable> = found.iter().map(target).collect();
    let check = async |tables: &[TargetTable]| {
        let found = place.endpoint().check_source(&readers(&["p"]), tables).await.unwrap();
        found.into_iter().map(|one| format!("{} {}: {}", one.path, one.code, one.remedy)).collect::<Vec<_>>()
    };
    let told = "inheritance: Name them in the pipeline, too: public.";
    assert_eq!(check(&all[..1]).await, [format!("old {told}young, public.youngest")]);
    assert_eq!(check(&all[..2]).await, [format!("old {told}youngest"), format!("young {told}youngest")]);
    assert_eq!(check(&all).await, [""; 0]);
}

/// What poolers do: they take sessions for queries and nothing else.
fn pooler(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move |mut client: TcpStream| -> std::io::Result<()> {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut startup)?;
        if startup.windows(11).any(|part| part == b"replication") {
            let fields = b"SFATAL\0C08P01\0Munsupported startup parameter: replication\0\0";
            client.write_all(b"E")?;
            client.write_all(&(fields.len() as u32 + 4).to_be_bytes())?;
            return client.write_all(fields);
        }
        let mut server = TcpStream::connect(("127.0.0.1", server))?;
        server.write_all(&length)?;
        server.write_all(&startup)?;
        let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
        std::io::copy(&mut client, &mut server).map(drop)
    };
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || serve(client.unwrap()));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_between_is_told() {
    let place = started(&["max_slot_wal_keep_size = 10GB"], &[]);
    let url = place.server.url_at(pooler(place.server.port()), "postgres", DATABASE);
    let endpoint = endpoint_with(json!({ "url": url, "tls": { "mode": "disable" } }));
    let found = endpoint.check_source(&readers(&["p"]), &[]).await.unwrap();
    assert!(found.len() == 1 && found[0].code == ErrorKind::Unreachable.code(), "{found:#?}");
    assert!(found[0].remedy.contains("pooler"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_no_source() {
    let place = started(&["max_slot_wal_keep_size = 10GB"], &[]);
    place.sql("CREATE TABLE t(id int PRIMARY KEY)");
    let standby = tokio::task::block_in_place(|| Place { server: place.server.standby() });
    let found = findings_of(&standby, "postgres", &["p"]).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&*found[0].code, found[0].severity), (ErrorKind::Permission.code(), Severity::Error));
    assert!(found[0].what.contains("standby") && found[0].remedy.contains("primary"), "{}", found[0]);
    assert_eq!(findings_of(&place, "postgres", &["p"]).await, []);
    // Among several hosts it is left out, by whoever asks them, if the primary is one of them.
    let both = |other: u16| {
        let (from, to) = (
            format!(":{}/", standby.server.port()),
            format!(":{},127.0.0.1:{other}/", standby.server.port()),
        );
        endpoint_with(json!({ "url": standby.server.url(DATABASE).replace(&from, &to) }))
    };
    let found = both(standby.server.port()).check_source(&readers(&["p"]), &[]).await.unwrap();
    assert!(found.len() == 1 && found[0].remedy.starts_with("Name the primary"), "{found:#?}");
    let endpoint = both(place.server.port());
    assert_eq!(endpoint.check_source(&readers(&["p"]), &[]).await.unwrap(), []);
    standby.sql("SELECT pg_wal_replay_pause()");
    let mut follow = Follow::on(endpoint.clone(), "p", &["t"], None).await.unwrap();
    place.sql("INSERT INTO t VALUES (1)");
    assert_eq!(follow.events().await.len(), 1);
    assert_eq!(follow.chunk().await.rows.len(), 1, "the standby's replay is not waited for");
    drop(follow);
    // Whoever is the primary now is a source.
    place.server.stop();
    let between = endpoint.check_source(&readers(&["p"]), &[]).await.unwrap();
    assert_eq!(between[0].code, ErrorKind::Unreachable.code(), "a failover is waited for: {}", between[0]);
    standby.sql("SELECT pg_promote()");
    assert_eq!(findings_of(&standby, "postgres", &["p"]).await, []);
    assert_eq!(endpoint.check_source(&readers(&["p"]), &[]).await.unwrap(), []);
}
