//! The settings of one PostgreSQL database.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sluice_types::ports::Endpoint;
use sluice_types::{Secret, Settings};

use crate::address::{self, Address};
use crate::endpoint::Database;
use crate::pool::PoolLimits;
use crate::session;
use crate::tls::{Tls, TlsMode};

/// The kind's name.
pub(crate) const KIND: &str = "postgres";
/// How long making a connection may take, in seconds, unless `connect_timeout_secs` says so.
const CONNECT_TIMEOUT_SECS: u64 = 10;
/// How long sent data may stay unacknowledged until the connection counts as broken, unless `tcp_user_timeout_secs` says so.
const TCP_USER_TIMEOUT_SECS: u64 = 30;
/// Silence after which the peer is probed, unless `keepalives.idle_secs` says so.
const KEEPALIVE_IDLE_SECS: u64 = 15;
/// The pause between two probes, unless `keepalives.interval_secs` says so.
const KEEPALIVE_INTERVAL_SECS: u64 = 5;
/// Probes without an answer until the connection counts as broken, unless `keepalives.count` says so.
const KEEPALIVE_COUNT: u64 = 3;

/// How often a source's log is moved on where nothing else does, in seconds, unless `heartbeat_secs` says so.
const HEARTBEAT_SECS: u64 = 10;

/// Log that a line retains at its source from which on a warning tells of it, in bytes, unless `retained.warn` says so.
const RETAINED_WARN: u64 = 1 << 30;

/// PostgreSQL: `kind: postgres`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connector;

/// How a silent peer is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalives {
    pub idle: Duration,
    pub interval: Duration,
    pub count: u32,
    /// Sent data that nobody acknowledges for so long breaks the connection.
    pub user_timeout: Duration,
}

/// How much log a slot may make its server keep (as a source).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetainedLimits {
    /// From so many bytes on a warning tells of it.
    pub warn: u64,
    /// At so many bytes the line pauses. It never drops its slot by itself. `None`: it goes on.
    pub limit: Option<u64>,
}

/// One configured database: everything that a connection to it needs.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// The database's name in the configuration.
    pub name: String,
    pub address: Address,
    pub user: String,
    pub password: Option<Secret>,
    /// The database on the server.
    pub dbname: String,
    pub application_name: String,
    pub tls: Tls,
    pub connect_timeout: Duration,
    pub keepalives: Keepalives,
    /// The user's own server settings, set on every connection.
    pub settings: BTreeMap<String, String>,
    pub pool: PoolLimits,
    /// How often a heartbeat is written where others have written since (as a source).
    pub heartbeat: Duration,
    /// How much log a slot may make the server keep (as a source).
    pub retained: RetainedLimits,
    /// Whether the target's triggers and foreign keys act on what sluice writes (as a target).
    pub fire_triggers: bool,
}

impl sluice_types::ports::Connector for Connector {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn parse(&self, name: &str, settings: &mut Settings, base: &Path) -> Option<Arc<dyn Endpoint>> {
        let server = server(name, settings, base)?;
        (!settings.has_errors()).then(|| Arc::new(Database::new(server)) as _)
    }

    fn settings_schema(&self) -> Json {
        let seconds = |default: u64, what: &str| json!({ "type": "integer", "minimum": 1, "default": default, "description": what });
        let text = |what: &str| json!({ "type": "string", "description": what });
        json!({
            "type": "object",
            "required": ["kind"],
            "additionalProperties": false,
            "properties": {
                "kind": { "const": KIND },
                "url": text("postgres://user:password@host:port/database; or host, port, user, password and database."),
                "host": text("A host name, an address, or the folder of a unix socket."),
                "port": { "type": "integer", "minimum": 1, "maximum": 65535, "default": address::PORT },
                "user": text("The role to connect as."),
                "password": text("Its password: ${env:NAME} or ${file:PATH}."),
                "database": text("The database on the server."),
                "application_name": text("What pg_stat_activity shows; `sluice` by default."),
                "tls": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "mode": { "enum": TlsMode::WORDS.map(|(word, _)| word), "default": TlsMode::default().word() },
                        "ca": text("A PEM file of the authorities to trust, in place of the system's."),
                        "cert": text("A PEM file with the client's certificate chain."),
                        "key": text("A PEM file with the client's key.")
                    }
                },
                "settings": {
                    "type": "object",
                    "additionalProperties": { "type": ["string", "number", "boolean"] },
                    "description": "Server settings of every connection, such as statement_timeout: 30s."
                },
                "pool": PoolLimits::settings_schema(),
                "connect_timeout_secs": seconds(CONNECT_TIMEOUT_SECS, "How long making a connection may take."),
                "tcp_user_timeout_secs":
                    seconds(TCP_USER_TIMEOUT_SECS, "Sent data unacknowledged for so long breaks the connection."),
                "keepalives": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "idle_secs": seconds(KEEPALIVE_IDLE_SECS, "Silence after which the peer is probed."),
                        "interval_secs": seconds(KEEPALIVE_INTERVAL_SECS, "The pause between two probes."),
                        "count": seconds(KEEPALIVE_COUNT, "Probes without an answer that break the connection.")
                    }
                },
                "heartbeat_secs": seconds(HEARTBEAT_SECS, "As a source: how often a message is written into the log, so that idle tables retain none of it."),
                "retained": {
                    "type": "object",
                    "additionalProperties": false,
                    "description": "As a source: how much log a pipeline's slot may make the server keep. A slot is never dropped \
                                    for it. Looked at while the pipeline runs, retries or is paused. Between \
                                    two runs of `sync` nothing looks: there max_slot_wal_keep_size of the server bounds the \
                                    log, at the cost of the position, or `sync --drop-slot` gives the slot up.",
                    "properties": {
                        "warn": {
                            "type": ["string", "integer"],
                            "default": "1GiB",
                            "description": "From here on a warning is logged, once; at the start of a run, too."
                        },
                        "limit": {
                            "type": ["string", "integer"],
                            "description": "Where this is passed while the pipeline runs or retries, it pauses (retained-limit). None by default. \
                                            What resumes it, or starts it above the limit, lets it go on and catch up."
                        }
                    }
                },
                "fire_triggers": {
                    "type": "boolean",
                    "default": false,
                    "description": "As a target: let its triggers and foreign keys act on what sluice writes."
                }
            }
        })
    }
}

/// Reads the settings; every finding goes into them.
pub(crate) fn server(name: &str, settings: &mut Settings, base: &Path) -> Option<Server> {
    let mut good = true;
    let target = address::take(settings);
    let tls = Tls::take(settings, base, target.as_ref().map(|target| &target.tls));
    let pool = PoolLimits::take(settings);
    let own_settings = take_server_settings(settings);
    let application_name = settings.take_text("application_name");
    let connect_timeout = seconds(settings, "connect_timeout_secs", CONNECT_TIMEOUT_SECS, &mut good);
    let user_timeout = seconds(settings, "tcp_user_timeout_secs", TCP_USER_TIMEOUT_SECS, &mut good);
    let mut keepalives =
        settings.take_settings("keepalives").unwrap_or_else(|| Settings::new("", Json::Null));
    let idle = seconds(&mut keepalives, "idle_secs", KEEPALIVE_IDLE_SECS, &mut good);
    let interval = seconds(&mut keepalives, "interval_secs", KEEPALIVE_INTERVAL_SECS, &mut good);
    let count = number(&mut keepalives, "count", KEEPALIVE_COUNT, &mut good);
    settings.absorb(keepalives);
    let heartbeat = seconds(settings, "heartbeat_secs", HEARTBEAT_SECS, &mut good);
    let retained = take_retained(settings, &mut good);
    let fire_triggers = settings.has("fire_triggers");
    let fire = settings.take_bool("fire_triggers");
    good &= fire.is_some() || !fire_triggers;
    let target = target?;
    let server = Server {
        name: name.to_string(),
        address: target.address,
        user: target.user,
        password: target.password,
        dbname: target.dbname,
        application_name: application_name.or(target.application_name).unwrap_or_else(|| "sluice".into()),
        tls: tls?,
        connect_timeout: target.connect_timeout.unwrap_or(connect_timeout),
        keepalives: Keepalives { idle, interval, count: count.min(100) as u32, user_timeout },
        settings: own_settings?,
        pool: pool?,
        heartbeat,
        retained,
        fire_triggers: fire.unwrap_or(false),
    };
    good.then_some(server)
}

/// A number with a default; a wrong one is a finding and not good.
pub(crate) fn number(settings: &mut Settings, key: &'static str, default: u64, good: &mut bool) -> u64 {
    let there = settings.has(key);
    let number = settings.take_number(key, 1);
    *good &= number.is_some() || !there;
    number.unwrap_or(default)
}

fn seconds(settings: &mut Settings, key: &'static str, default: u64, good: &mut bool) -> Duration {
    Duration::from_secs(number(settings, key, default, good))
}

/// `retained: { warn: 1GiB, limit: 10GiB }`.
fn take_retained(settings: &mut Settings, good: &mut bool) -> RetainedLimits {
    let mut nested = settings.take_settings("retained").unwrap_or_else(|| Settings::new("", Json::Null));
    let mut size = |key: &'static str| {
        let there = nested.has(key);
        let size = nested.take_size(key);
        *good &= size.is_some() || !there;
        size
    };
    let (warn, limit) = (size("warn"), size("limit"));
    if let (Some(warn), Some(limit)) = (warn, limit)
        && warn > limit
    {
        nested.reject("warn", "`warn` is above `limit`", "warn before the pipeline pauses");
        *good = false;
    }
    settings.absorb(nested);
    let warn = warn.unwrap_or(limit.map_or(RETAINED_WARN, |limit| limit.min(RETAINED_WARN)));
    RetainedLimits { warn, limit }
}

/// `settings: { statement_timeout: 30s }`. What sluice itself depends on can't be set.
fn take_server_settings(settings: &mut Settings) -> Option<BTreeMap<String, String>> {
    let map = match settings.take("settings") {
        None => return Some(BTreeMap::new()),
        Some(Json::Object(map)) => map,
        Some(_) => {
            settings.reject(
                "settings",
                "`settings` is no mapping",
                "write `statement_timeout: 30s` lines in it",
            );
            return None;
        }
    };
    let mut taken = BTreeMap::new();
    let mut good = true;
    for (key, value) in map {
        let path = format!("settings.{key}");
        let name = key.to_ascii_lowercase();
        let value = match value {
            Json::String(text) => text,
            Json::Number(number) => number.to_string(),
            Json::Bool(flag) => if flag { "on" } else { "off" }.into(),
            _ => {
                settings.reject(
                    &path,
                    format!("`{key}` is not one value"),
                    "write text, a number, true or false",
                );
                good = false;
                continue;
            }
        };
        if let Err((what, remedy)) = session::may_be_set(&name, &value) {
            settings.reject(&path, what, remedy);
            good = false;
            continue;
        }
        taken.insert(name, value);
    }
    good.then_some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Json) -> (Option<Server>, Vec<String>) {
        let mut settings = Settings::new("databases.shop", value);
        let server = server("shop", &mut settings, Path::new("/etc/sluice"));
        (server, settings.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_url_or_its_parts_say_the_same() {
        let (one, findings) = read(json!({"url": "postgres://ann:s3cret@db:5433/shop"}));
        assert_eq!(findings, [""; 0]);
        let (two, findings) = read(
            json!({"host": "db", "port": 5433, "user": "ann", "password": "s3cret", "database": "shop"}),
        );
        assert_eq!(findings, [""; 0]);
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((&one.address, &one.user, &one.dbname), (&two.address, &two.user, &two.dbname));
        assert_eq!(one.password, two.password);
        assert_eq!(one.address.to_string(), "db:5433");
        assert!(!format!("{one:?}").contains("s3cret"));
    }

    #[test]
    fn every_finding_comes_at_once() {
        let (server, findings) = read(json!({
            "user": "ann", "databse": "x", "port": 70000,
            "tls": {"mode": "verify", "cert": "c.pem"}, "pool": {"min": 5, "max": 2},
            "settings": {"search_path": "public", "statement_timeout": "30s", "synchronous_commit": "off"},
            "keepalives": {"idle": 3}, "retained": {"warn": "2GiB", "limit": "1GiB"}
        }));
        assert!(server.is_none());
        for part in [
            "host",
            "database",
            "databse",
            "port",
            "tls.mode",
            "tls.key",
            "pool.min",
            "search_path",
            "synchronous_commit",
            "keepalives",
            "retained.warn",
        ] {
            assert!(findings.iter().any(|finding| finding.contains(part)), "{part}: {findings:#?}");
        }
    }

    #[test]
    fn a_pool_bounds_how_many_chunks_are_read_at_once() {
        for (max, readers) in [(1, 1), (3, 3), (50, 4)] {
            let (server, _) = read(json!({"url": "postgres://a@h/d", "pool": {"max": max}}));
            let endpoint = crate::endpoint::Database::new(server.unwrap());
            assert_eq!(sluice_types::ports::Endpoint::capabilities(&endpoint).chunk_readers, readers);
        }
    }

    #[test]
    fn what_a_slot_may_retain_has_a_warning_and_a_limit() {
        for (retained, warn, limit) in [
            (json!({}), RETAINED_WARN, None),
            (json!({"warn": "100MiB"}), 100 << 20, None),
            (json!({"limit": "10GiB"}), RETAINED_WARN, Some(10 << 30)),
            (json!({"limit": "10MiB"}), 10 << 20, Some(10 << 20)),
        ] {
            let (server, findings) = read(json!({"url": "postgres://a@h/d", "retained": retained}));
            assert_eq!(findings, [""; 0]);
            assert_eq!(server.unwrap().retained, RetainedLimits { warn, limit });
        }
        assert!(read(json!({"url": "postgres://a@h/d", "retained": {"limit": "much"}})).0.is_none());
    }

    #[test]
    fn server_settings_are_taken_as_text() {
        let (server, findings) = read(json!({
            "url": "postgres://a@h/d?sslmode=verify-full&sslrootcert=ca.pem",
            "settings": {"statement_timeout": "30s", "work_mem": 64, "jit": true}
        }));
        assert_eq!(findings, [""; 0]);
        let server = server.unwrap();
        let settings: Vec<_> = server.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(settings, ["jit=on", "statement_timeout=30s", "work_mem=64"]);
        assert_eq!(server.tls.mode, TlsMode::VerifyFull);
        assert_eq!(server.tls.ca.as_deref(), Some(Path::new("/etc/sluice/ca.pem")));
    }
}
