use sluice_servers::bson::doc;
use sluice_servers::{Mongo, MongoOptions};

#[test]
fn a_replica_set_holds_what_it_is_given() {
    let server = Mongo::start();
    let rows: Vec<_> = (0..3).map(|id| doc! { "_id": id, "name": format!("row {id}") }).collect();
    server.command("shop", doc! { "insert": "things", "documents": rows.clone() });
    assert_eq!(server.find("shop", "things"), rows);
    server.kill();
    assert!(server.try_command("shop", doc! { "ping": 1 }).is_err());
    server.start_again();
    server.command("shop", doc! { "insert": "things", "documents": [{ "_id": 9 }] });
    server.restart();
    assert_eq!(server.count("shop", "things"), 4);
    let refused = server.try_command("shop", doc! { "insert": "things", "documents": [{ "_id": 9 }] });
    assert!(refused.unwrap_err().contains("11000"));
}

#[test]
fn a_standalone_server_has_no_replica_set() {
    let server = Mongo::start_with(MongoOptions { replica_set: false, ..Default::default() });
    assert!(!server.command("admin", doc! { "hello": 1 }).contains_key("setName"));
}

#[test]
fn with_users_it_asks_who_is_there() {
    let writer = doc! { "createUser": "writer", "pwd": "w", "roles": [{ "role": "readWrite", "db": "shop" }], "$db": "shop" };
    let server = Mongo::start_with(MongoOptions { auth: true, users: vec![writer], ..Default::default() });
    let refused = server.try_command("shop", doc! { "find": "things" }).unwrap_err();
    assert!(refused.contains("authentication"), "{refused}");
    assert!(server.url().contains("root:"), "{}", server.url());
}

#[test]
fn with_tls_it_speaks_nothing_else() {
    let server = Mongo::start_with(MongoOptions { tls: true, ..Default::default() });
    assert!(server.try_command("shop", doc! { "ping": 1 }).is_err());
}
