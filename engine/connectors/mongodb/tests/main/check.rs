//! Servers that are configured wrongly, one by one: each is told with what to do.

use std::sync::Arc;

use serde_json::json;
use sluice_kit::statement::TableDef;
use sluice_servers::bson::doc;
use sluice_servers::{Mongo, MongoOptions, tls};
use sluice_types::ports::TargetTable;
use sluice_types::{ColumnType, ErrorKind, Finding, Severity, TableId, TableSchema};

use crate::harness::{Place, endpoint, line, table, target};

async fn check(url: &str, database: &str, more: serde_json::Value, tables: &[TargetTable]) -> Vec<Finding> {
    let mut settings = json!({ "timeouts": { "select_ms": 2000, "connect_ms": 2000 } });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    endpoint(url, database, settings).check_target(tables).await.unwrap()
}

/// The only finding.
async fn only(url: &str, more: serde_json::Value) -> Finding {
    let findings = check(url, "app", more, &[target(&table("t"))]).await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_has_no_findings() {
    let place = Place::new();
    let found = check(&place.server.url(), &place.database, json!({}), &[target(&table("t"))]).await;
    assert_eq!(found, []);
    assert!(
        place
            .server
            .try_command(&place.database, doc! { "listCollections": 1 })
            .unwrap()
            .to_string()
            .contains("\"firstBatch\": []"),
        "a check changes nothing"
    );
}

/// `app.t` in the database `app` is the collection `t`, as `t` is.
#[tokio::test(flavor = "multi_thread")]
async fn two_tables_are_not_one_collection() {
    let place = Place::new();
    let both = [TableId::new("", "t"), TableId::new(&place.database, "t")]
        .map(|id| target(&Arc::new(TableSchema { table: id, ..(*table("t")).clone() })));
    let found = check(&place.server.url(), &place.database, json!({}), &both).await;
    assert_eq!((found.len(), &*found[0].code), (1, ErrorKind::TargetSchema.code()), "{found:#?}");
    assert!(found[0].what.contains("would both be the collection t"), "{}", found[0]);
    let mut sink = endpoint(&place.server.url(), &place.database, json!({})).sink(&line()).await.unwrap();
    assert_eq!(sink.prepare(&both).await.unwrap_err().kind(), ErrorKind::TargetSchema);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_server_is_told_how_to_become_a_replica_set() {
    let server = Mongo::start_with(MongoOptions { replica_set: false, ..MongoOptions::default() });
    for url in [server.url(), format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", server.port())] {
        let finding = only(&url, json!({})).await;
        assert_eq!((&*finding.code, &*finding.path), ("config-invalid", "url"), "{finding}");
        assert!(
            finding.remedy.contains("rs.initiate()") && finding.remedy.contains("--replSet"),
            "{finding}"
        );
        let error = endpoint(&url, "app", json!({ "timeouts": { "select_ms": 1000 } }))
            .sink(&line())
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.remedy_text().unwrap().contains("rs.initiate()"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_set_that_is_not_initiated_is_told_how_to_be() {
    let arguments = ["--replSet", "rs0"].map(String::from).to_vec();
    let options = MongoOptions { replica_set: false, arguments, ..MongoOptions::default() };
    let server = Mongo::start_with(options);
    let urls = ["", "?replicaSet=rs0", "?directConnection=true"]
        .map(|query| format!("mongodb://127.0.0.1:{}/{query}", server.port()));
    for url in &urls {
        let finding = only(url, json!({})).await;
        assert_eq!((&*finding.code, &*finding.path), ("unreachable", "url"), "{url}: {finding}");
        assert!(finding.what.contains("not initiated"), "{url}: {finding}");
        assert!(finding.remedy.contains("`rs.initiate()`"), "{url}: {finding}");
    }
    let endpoints = urls.map(|url| endpoint(&url, "app", json!({ "timeouts": { "select_ms": 2000 } })));
    for endpoint in &endpoints {
        assert_eq!(endpoint.sink(&line()).await.err().unwrap().kind(), ErrorKind::Unreachable);
    }
    // What rs.initiate() does. Who has asked before sees it, too.
    server.command("admin", doc! { "replSetInitiate": {} });
    for endpoint in &endpoints {
        let started = std::time::Instant::now();
        // It elects itself.
        while let Err(error) = endpoint.sink(&line()).await {
            assert!(started.elapsed().as_secs() < 30, "{error}");
        }
        assert_eq!(endpoint.check_target(&[target(&table("t"))]).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_set_s_name_is_told() {
    let server = Mongo::shared();
    let finding = only(&format!("mongodb://127.0.0.1:{}/?replicaSet=other", server.port()), json!({})).await;
    assert!(finding.what.contains("rs0") && finding.remedy.contains("replicaSet=rs0"), "{finding}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there() {
    let finding = only("mongodb://127.0.0.1:1/?replicaSet=rs0", json!({})).await;
    assert_eq!(&*finding.code, "unreachable", "{finding}");
    assert!(finding.what.contains("127.0.0.1:1"), "{finding}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_what_they_may() {
    let user = |name: &str, role: &str| doc! { "createUser": name, "pwd": "s3cret", "roles": [{ "role": role, "db": "app" }], "$db": "admin" };
    let options = MongoOptions {
        auth: true,
        users: vec![user("writer", "readWrite"), user("reader", "read")],
        ..MongoOptions::default()
    };
    let server = Mongo::start_with(options);
    let url =
        |user: &str| format!("mongodb://{user}127.0.0.1:{}/?replicaSet=rs0&authSource=admin", server.port());
    assert_eq!(check(&server.url(), "app", json!({}), &[]).await, []);
    assert_eq!(check(&url("writer:s3cret@"), "app", json!({}), &[]).await, []);
    let split = json!({ "user": "writer", "password": "s3cret", "auth": { "source": "admin", "mechanism": "SCRAM-SHA-256" } });
    assert_eq!(check(&url(""), "app", split, &[]).await, []);

    let finding = only(&url("reader:s3cret@"), json!({})).await;
    assert_eq!((&*finding.code, finding.severity), ("privileges", Severity::Warning), "{finding}");
    let grant = "db.getSiblingDB(\"admin\").grantRolesToUser(\"reader\", [{ \"role\": \"readWrite\", \"db\": \"app\" }])";
    assert!(finding.what.contains("insert") && finding.remedy == grant, "{finding}");
    let error = endpoint(&url("reader:s3cret@"), "app", json!({}))
        .sink(&line())
        .await
        .unwrap()
        .prepare(&[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");

    for wrong in ["writer:wrong@", "nobody:s3cret@"] {
        let finding = only(&url(wrong), json!({})).await;
        assert_eq!(&*finding.code, "authentication", "{finding}");
        assert!(!finding.to_string().contains("s3cret"), "{finding}");
    }
    let stranger = only(&url(""), json!({})).await;
    assert_eq!(&*stranger.code, "permission", "{stranger}");
    assert!(stranger.remedy.contains("`password`"), "{stranger}");

    assert_eq!(error.remedy_text(), Some(grant));
    run(&server.url(), &finding.remedy).await;
    assert_eq!(check(&url("reader:s3cret@"), "app", json!({}), &[]).await, []);
}

/// Runs a remedy as mongosh does, as far as these go: `grantRolesToUser(USER, ROLES)` and `runCommand(COMMAND)`
/// of `db.getSiblingDB(NAME)`, with names and numbers as JSON has them.
async fn run(url: &str, statement: &str) {
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    let (of, call) =
        statement.strip_prefix("db.getSiblingDB(\"").and_then(|rest| rest.split_once("\").")).unwrap();
    let (function, arguments) = call.strip_suffix(')').and_then(|call| call.split_once('(')).unwrap();
    let arguments: Vec<serde_json::Value> = serde_json::from_str(&format!("[{arguments}]")).unwrap();
    let command = match (function, &arguments[..]) {
        ("grantRolesToUser", [user, roles]) => json!({ "grantRolesToUser": user, "roles": roles }),
        ("runCommand", [command]) => command.clone(),
        _ => panic!("what is {statement}?"),
    };
    let command = mongodb::bson::to_document(&command).unwrap();
    client.database(of).run_command(command).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_every_mode() {
    let server = Mongo::start_with(MongoOptions { tls: true, ..MongoOptions::default() });
    let files = tls();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_string();
    let (ca, other) = (path(&files.ca), path(&files.other_ca));
    let pair = json!({ "mode": "verify-full", "ca": ca, "cert": path(&files.client_cert), "key": path(&files.client_key) });
    for good in [
        json!({ "mode": "require" }),
        json!({ "mode": "verify-full", "ca": ca }),
        json!({ "ca": ca, "cert": path(&files.client_pem) }),
        pair,
    ] {
        let found = check(&server.url(), "app", json!({ "tls": good }), &[]).await;
        assert_eq!(found, [], "{good}");
    }
    for bad in [json!({ "mode": "verify-full", "ca": other }), json!({})] {
        let finding = only(&server.url(), json!({ "tls": bad })).await;
        assert_eq!(&*finding.code, "authentication", "{finding}");
        assert!(finding.remedy.contains("`tls: { ca: PATH }`"), "{finding}");
    }
    // A network that fails looks the same: it is tried again, and the remedy tells of TLS.
    let disabled = only(&server.url(), json!({ "tls": { "mode": "disable" } })).await;
    let plain = only(&Mongo::shared().url(), json!({ "tls": { "ca": ca } })).await;
    for finding in [disabled, plain] {
        assert_eq!(&*finding.code, "unreachable", "{finding}");
        assert!(finding.remedy.contains("net.tls.mode"), "{finding}");
    }
    let missing =
        only(&server.url(), json!({ "tls": { "ca": ca, "cert": "/no/such", "key": "/no/key" } })).await;
    assert_eq!(&*missing.code, "config-invalid", "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_that_can_not_be_targets() {
    let place = Place::new();
    for command in [
        doc! { "create": "a_view", "viewOn": "t", "pipeline": [] },
        doc! { "create": "capped", "capped": true, "size": 4096 },
        doc! { "create": "series", "timeseries": { "timeField": "at" } },
        doc! { "create": "nocase", "collation": { "locale": "en", "strength": 2 } },
        doc! { "create": "closed", "validator": { "$jsonSchema": { "required": ["owner"], "additionalProperties": false, "properties": { "_id": {}, "owner": {}, "a": {} } } } },
        doc! { "create": "open", "validator": { "$jsonSchema": { "required": ["a"] } } },
    ] {
        place.server.command(&place.database, command);
    }
    let of = async |name: &str| {
        let found = check(&place.server.url(), &place.database, json!({}), &[target(&table(name))]).await;
        assert!(found.iter().all(|finding| finding.path == "pipelines.p.tables[0]"), "{found:#?}");
        found.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>().join("; ")
    };
    assert!(of("a_view").await.contains("view"));
    assert!(of("capped").await.contains("capped"));
    assert!(of("series").await.contains("time series"));
    assert!(of("nocase").await.contains("collation"));
    let closed = of("closed").await;
    assert!(closed.contains("owner") && closed.contains("no field n"), "{closed}");
    let tables = [target(&table("closed"))];
    let found = check(&place.server.url(), &place.database, json!({}), &tables).await;
    let (_, statement) = found[0].remedy.split_once("warn only: ").unwrap();
    let mut refuses = place.sink().await;
    assert_eq!(refuses.prepare(&tables).await.unwrap_err().kind(), ErrorKind::TargetSchema);
    run(&place.server.url(), statement).await;
    assert_eq!(check(&place.server.url(), &place.database, json!({}), &tables).await, []);
    place.sink().await.prepare(&tables).await.unwrap();
    assert_eq!(of("open").await, "");
    for name in ["sluice_checkpoint", "system.views", "a$b", ""] {
        assert!(!of(name).await.is_empty(), "{name}");
    }
    let mut sink = place.sink().await;
    for name in ["a_view", "capped", "series", "nocase"] {
        let error = sink.prepare(&[target(&table(name))]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetSchema, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_can_not_be_fields_and_dates_that_lose_something() {
    let server = Mongo::shared();
    let def =
        TableDef::new(&TableId::new("", "t")).column("id", ColumnType::Int64).column("a.b", ColumnType::Text);
    let dotted = def.key(&["id"]).schema("s", "postgres");
    let def = TableDef::new(&TableId::new("", "u")).column("id", ColumnType::Int64);
    let def = def.native_column("at", ColumnType::Timestamptz, "timestamp with time zone");
    let dated =
        def.native_column("short", ColumnType::Timestamp, "timestamp(3) without time zone").key(&["id"]);
    let tables = [target(&dotted), target(&dated.schema("s", "postgres"))];
    let found = check(&server.url(), "app", json!({}), &tables).await;
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].severity == Severity::Error && found[0].what.contains("a.b"), "{}", found[0]);
    assert!(found[1].severity == Severity::Warning && found[1].what.starts_with("at may"), "{}", found[1]);
    let found = check(&server.url(), "app", json!({ "microseconds": "truncate" }), &tables[1..]).await;
    assert_eq!(found, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_source_yet_and_says_so() {
    let place = Place::new();
    let endpoint = endpoint(&place.server.url(), &place.database, json!({}));
    assert_eq!(endpoint.source(&line()).await.err().unwrap().kind(), ErrorKind::NotBuilt);
    assert_eq!(&*endpoint.check_source(&crate::harness::readers(), &[]).await.unwrap()[0].code, "not_built");
    assert_eq!(endpoint.large_transaction(), (100_000, 64 << 20));
    let _: Arc<dyn sluice_types::ports::Endpoint> = endpoint;
}
