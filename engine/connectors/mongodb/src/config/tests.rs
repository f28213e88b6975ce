//! What the module promises.

use serde_json::json;

use super::*;

fn read(value: serde_json::Value) -> (Option<Config>, Vec<String>) {
    let mut settings = Settings::new("databases.app", value);
    let config = Config::read("app", &mut settings, Path::new("/etc/sluice"));
    (config, settings.finish().iter().map(ToString::to_string).collect())
}

#[test]
fn the_usual_configuration() {
    let (config, findings) = read(json!({
        "url": "mongodb://ann:s3cret@h1:27017,h2/?replicaSet=rs0", "database": "app",
        "tls": { "ca": "ca.pem", "cert": "c.pem", "key": "k.pem" },
        "auth": { "source": "admin", "mechanism": "SCRAM-SHA-256" },
        "pool": { "min": 1, "max": 4, "idle_secs": 60 }, "retry_writes": "true",
        "read_preference": "nearest", "timeouts": { "commit_ms": 5 }, "microseconds": "truncate",
    }));
    assert_eq!(findings, [""; 0]);
    let config = config.unwrap();
    assert_eq!(config.address, "h1:27017,h2:27017/app");
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(config.tls.unwrap().ca.unwrap(), Path::new("/etc/sluice/ca.pem"));
    assert_eq!(config.microseconds, Microseconds::Truncate);
    let in_url = read(json!({ "url": "mongodb://h/app" })).0.unwrap();
    assert_eq!(in_url.database, "app");
}

#[test]
fn every_finding_comes_at_once() {
    let (config, findings) = read(json!({
        "url": "mongodb://ann:s3cret@h1:port/", "datbase": "x", "tls": { "mode": "verify-ca", "key": "k" },
        "pool": { "min": 9, "max": 2, "size": 1 }, "read_preference": "primery", "microseconds": 3,
        "auth": { "mechanism": "GSSAPI" }, "timeouts": { "connect_ms": 0 },
    }));
    assert!(config.is_none());
    assert_eq!(findings.len(), 10, "{findings:#?}");
    assert!(!findings.concat().contains("s3cret"), "{findings:#?}");
}

#[test]
fn a_database_of_the_server_s_own_is_refused() {
    for database in ["admin", "a.b", "", "local"] {
        assert!(read(json!({ "url": "mongodb://h", "database": database })).0.is_none(), "{database}");
    }
    assert!(read(json!({ "url": "mongodb://h" })).1[0].contains("`database` is missing"));
}

#[test]
fn the_schema_knows_every_key() {
    let keys = schema();
    let properties = keys["properties"].as_object().unwrap();
    assert_eq!(properties.len(), 14);
}
