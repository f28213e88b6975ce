//! The settings of one MongoDB database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mongodb::options::{AuthMechanism, ConnectionString, HostInfo};
use sluice_types::ports::Endpoint;
use sluice_types::{ErrorKind, Finding, Secret, Settings};

use crate::endpoint::Database;
use crate::values::Microseconds;

/// The kind's name.
pub(crate) const KIND: &str = "mongodb";
/// How the server's log names this client, unless `application_name` or the URL says so.
pub(crate) const APP_NAME: &str = "sluice";
/// Milliseconds, unless `timeouts` says so.
pub(crate) const CONNECT_MS: u64 = 10_000;
pub(crate) const SELECT_MS: u64 = 10_000;
const OPERATION_MS: u64 = 90_000;
const COMMIT_MS: u64 = 60_000;
/// What the driver does by itself.
const CHECK_SECS: u64 = 10;
/// Connections of one process to one database, unless `pool` says so.
pub(crate) const POOL_MAX: u32 = 10;

/// MongoDB: `kind: mongodb`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connector;

/// What one database's configuration says.
#[derive(Debug)]
pub(crate) struct Config {
    /// The database's name in the configuration.
    pub name: String,
    /// With credentials in it.
    pub url: Secret,
    /// The database on the server.
    pub database: String,
    /// The hosts and the database, without credentials.
    pub address: String,
    pub tls: Option<Tls>,
    pub auth_source: Option<String>,
    pub auth_mechanism: Option<AuthMechanism>,
    pub read_preference: Option<ReadPreference>,
    pub retry_reads: Option<bool>,
    pub retry_writes: Option<bool>,
    /// `None`: what the URL says, else [`APP_NAME`].
    pub application_name: Option<String>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub pool: Pool,
    pub timeouts: Timeouts,
    pub microseconds: Microseconds,
}

/// `tls:`
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub mode: TlsMode,
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// `tls.mode:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    /// Encrypted, with whoever answers.
    Require,
    /// The certificate and the host's name are verified.
    #[default]
    VerifyFull,
}

/// `read_preference:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadPreference {
    Primary,
    PrimaryPreferred,
    Secondary,
    SecondaryPreferred,
    Nearest,
}

/// `pool:`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    pub min: Option<u32>,
    /// `None`: what the URL says, else [`POOL_MAX`].
    pub max: Option<u32>,
    pub idle: Option<Duration>,
    /// How often each server is asked whether it is alive.
    pub check: Option<Duration>,
}

/// `timeouts:`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// Making a connection. `None`: what the URL says, else [`CONNECT_MS`].
    pub connect: Option<Duration>,
    /// Finding a primary. `None`: what the URL says, else [`SELECT_MS`].
    pub select: Option<Duration>,
    /// One command.
    pub operation: Duration,
    /// A commit, with everything that is tried until its result is known.
    pub commit: Duration,
}

impl sluice_types::ports::Connector for Connector {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn parse(&self, name: &str, settings: &mut Settings, base: &Path) -> Option<Arc<dyn Endpoint>> {
        let config = Config::read(name, settings, base)?;
        (!settings.has_errors()).then(|| Arc::new(Database::new(config)) as _)
    }

    fn settings_schema(&self) -> serde_json::Value {
        schema()
    }
}

impl Config {
    /// Reads the settings. Every finding goes into them; `None` where nothing can be made of them.
    pub fn read(name: &str, settings: &mut Settings, base: &Path) -> Option<Self> {
        let url = settings.need_text("url", "such as mongodb://user:password@host:27017/?replicaSet=rs0");
        let database = settings.take_text("database");
        let tls = tls(settings, base);
        let auth = auth(settings);
        let preferences = [
            ("primary", ReadPreference::Primary),
            ("primaryPreferred", ReadPreference::PrimaryPreferred),
            ("secondary", ReadPreference::Secondary),
            ("secondaryPreferred", ReadPreference::SecondaryPreferred),
            ("nearest", ReadPreference::Nearest),
        ];
        let read_preference = word(settings, "read_preference", &preferences);
        let retry_reads = settings.take_bool("retry_reads");
        let retry_writes = settings.take_bool("retry_writes");
        let application_name = settings.take_text("application_name");
        let user = settings.take_text("user");
        let password = settings.take_text("password").map(Secret::new);
        let pool = pool(settings);
        let timeouts = timeouts(settings);
        let rules = [("reject", Microseconds::Reject), ("truncate", Microseconds::Truncate)];
        let microseconds = word(settings, "microseconds", &rules);
        let (url, address, database) = url_and_database(settings, url?, database)?;
        let (auth_source, auth_mechanism) = auth?;
        Some(Config {
            name: name.to_string(),
            url,
            database,
            address,
            tls: tls?,
            auth_source,
            auth_mechanism,
            read_preference: read_preference?,
            retry_reads,
            retry_writes,
            application_name,
            user,
            password,
            pool: pool?,
            timeouts,
            microseconds: microseconds?.unwrap_or_default(),
        })
    }
}

/// `Some(None)` where the key is missing, `None` where it is wrong.
fn word<T: Copy>(
    settings: &mut Settings,
    key: &'static str,
    words: &[(&'static str, T)],
) -> Option<Option<T>> {
    let there = settings.has(key);
    let found = settings.take_word(key, words);
    (found.is_some() || !there).then_some(found)
}

/// The URL, its address without credentials, and the database.
fn url_and_database(
    settings: &mut Settings,
    url: String,
    database: Option<String>,
) -> Option<(Secret, String, String)> {
    let parsed = match ConnectionString::parse(&url) {
        Ok(parsed) => parsed,
        Err(error) => {
            // The driver quotes the URL: where it may hold a password, its words are not repeated.
            let why = if url.contains('@') { String::new() } else { format!(": {error}") };
            let what = format!("`url` is not a connection string of MongoDB{why}");
            settings.reject("url", what, "such as mongodb://user:password@host:27017/?replicaSet=rs0, with special characters of the password percent-encoded");
            return None;
        }
    };
    let hosts = match &parsed.host_info {
        HostInfo::HostIdentifiers(hosts) => {
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        HostInfo::DnsRecord(host) => host.clone(),
        _ => "mongodb".into(),
    };
    let Some(database) = database.or(parsed.default_database) else {
        settings.reject(
            "database",
            "`database` is missing",
            "the database on the server, such as `database: app`",
        );
        return None;
    };
    let bad = |character: char| "/\\. \"$*<>:|?\0".contains(character);
    if database.is_empty()
        || database.contains(bad)
        || ["admin", "local", "config"].contains(&database.as_str())
    {
        settings.reject(
            "database",
            "not a database that rows can be written to",
            "a name without / \\ . \" $ and spaces, and not admin, local or config",
        );
        return None;
    }
    Some((Secret::new(url), format!("{hosts}/{database}"), database))
}

/// `Some(None)` where nothing is said of it.
///
/// `verify-ca` is refused rather than read as one of its neighbours: the driver makes its TLS settings itself and takes none that
/// are ready. With rustls it verifies the certificate and the name, or nothing at all; it can leave out the name alone only with
/// OpenSSL, which is not in this tree. To take it for `verify-full` would refuse servers that it is to accept, for `require` accept
/// those that it is to refuse.
fn tls(settings: &mut Settings, base: &Path) -> Option<Option<Tls>> {
    let there = settings.has("tls");
    let Some(mut nested) = settings.take_settings("tls") else { return (!there).then_some(None) };
    let words = [
        ("disable", Some(TlsMode::Disable)),
        ("require", Some(TlsMode::Require)),
        ("verify-ca", None),
        ("verify-full", Some(TlsMode::VerifyFull)),
    ];
    let mode = match word(&mut nested, "mode", &words) {
        Some(Some(Some(mode))) => Some(mode),
        Some(Some(None)) => {
            let what = "`mode: verify-ca` is not built yet for MongoDB: its driver verifies the host's name with the certificate";
            let finding = Finding::error(
                ErrorKind::NotBuilt,
                nested.path_of("mode"),
                what,
                "write `mode: verify-full`, with the authority in `ca` and, in `url`, a host that the certificate names: where it names another, let that name lead to the server (DNS or /etc/hosts), or give the server a certificate with the host in its subjectAltName; `require` encrypts and verifies nothing",
            );
            nested.find(finding);
            None
        }
        Some(None) => Some(TlsMode::default()),
        None => None,
    };
    let mut path = |key| nested.take_text(key).map(|path| base.join(path));
    let (ca, cert, key) = (path("ca"), path("cert"), path("key"));
    if key.is_some() && cert.is_none() {
        nested.reject("cert", "`cert` is missing beside `key`", "the client's certificate, as PEM");
    }
    let orphan = key.is_some() && cert.is_none();
    settings.absorb(nested);
    mode.filter(|_| !orphan).map(|mode| Some(Tls { mode, ca, cert, key }))
}

type Auth = (Option<String>, Option<AuthMechanism>);

fn auth(settings: &mut Settings) -> Option<Auth> {
    let there = settings.has("auth");
    let Some(mut nested) = settings.take_settings("auth") else { return (!there).then_some((None, None)) };
    let source = nested.take_text("source");
    let mechanisms = ["SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509", "PLAIN"];
    let words = mechanisms.map(|name| (name, name));
    let mechanism = word(&mut nested, "mechanism", &words);
    settings.absorb(nested);
    let mechanism = mechanism?.map(|name| match name {
        "SCRAM-SHA-1" => AuthMechanism::ScramSha1,
        "SCRAM-SHA-256" => AuthMechanism::ScramSha256,
        "MONGODB-X509" => AuthMechanism::MongoDbX509,
        _ => AuthMechanism::Plain,
    });
    Some((source, mechanism))
}

fn pool(settings: &mut Settings) -> Option<Pool> {
    let there = settings.has("pool");
    let Some(mut nested) = settings.take_settings("pool") else {
        return (!there).then_some(Pool { min: None, max: None, idle: None, check: None });
    };
    let min = nested.take_number("min", 0);
    let max = nested.take_number("max", 1);
    let mut seconds = |key| nested.take_number(key, 1).map(Duration::from_secs);
    let (idle, check) = (seconds("idle_secs"), seconds("check_secs"));
    let most = max.unwrap_or(POOL_MAX.into());
    if min.is_some_and(|min| min > most) {
        nested.reject("min", "`min` is above `max`", format!("{most} or less"));
    }
    settings.absorb(nested);
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Pool { min: min.map(|min| count(min.min(most))), max: max.map(count), idle, check })
}

fn timeouts(settings: &mut Settings) -> Timeouts {
    let mut nested =
        settings.take_settings("timeouts").unwrap_or_else(|| Settings::new("", serde_json::Value::Null));
    let mut millis = |key| nested.take_number(key, 1).map(Duration::from_millis);
    let timeouts = Timeouts {
        connect: millis("connect_ms"),
        select: millis("select_ms"),
        operation: millis("operation_ms").unwrap_or(Duration::from_millis(OPERATION_MS)),
        commit: millis("commit_ms").unwrap_or(Duration::from_millis(COMMIT_MS)),
    };
    settings.absorb(nested);
    timeouts
}

fn schema() -> serde_json::Value {
    use serde_json::json;
    let millis = |default: u64, what: &str| json!({ "type": "integer", "minimum": 1, "default": default, "description": what });
    let text = |what: &str| json!({ "type": "string", "description": what });
    json!({
        "type": "object",
        "required": ["kind", "url"],
        "additionalProperties": false,
        "properties": {
            "kind": { "const": KIND },
            "url": text("mongodb://user:password@host:27017/?replicaSet=rs0 or mongodb+srv://... What its options say holds unless a key here says it too."),
            "database": text("The database on the server; or in the URL."),
            "tls": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "mode": { "enum": ["disable", "require", "verify-ca", "verify-full"], "default": "verify-full", "description": "verify-ca is not built for MongoDB: with verify-full the certificate must name the host of `url`." },
                    "ca": text("Certificates to trust, as PEM; the usual ones of the web without."),
                    "cert": text("The client's certificate, as PEM; its key may be in the same file."),
                    "key": text("The key of `cert`, as PEM.")
                }
            },
            "auth": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "source": text("The database in which the user is defined."),
                    "mechanism": { "enum": ["SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509", "PLAIN"] }
                }
            },
            "read_preference": {
                "enum": ["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"],
                "description": "Where a source reads. A target is always read at its primary."
            },
            "retry_reads": { "type": "boolean", "default": true },
            "retry_writes": { "type": "boolean", "default": true },
            "user": text("In place of the one in the URL."),
            "password": text("Its password: ${env:NAME} or ${file:PATH}."),
            "application_name": { "type": "string", "default": APP_NAME, "description": "How the server's log names this client." },
            "pool": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "min": { "type": "integer", "minimum": 0, "default": 0 },
                    "max": { "type": "integer", "minimum": 1, "default": POOL_MAX },
                    "idle_secs": { "type": "integer", "minimum": 1, "description": "After how long an idle connection is closed." },
                    "check_secs": {
                        "type": "integer", "minimum": 1, "default": CHECK_SECS,
                        "description": "How often each server is asked whether it is alive: when one is not, its connections are given up. \
                                        The driver knows no lifetime of a connection."
                    }
                }
            },
            "timeouts": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "connect_ms": millis(CONNECT_MS, "Making a connection."),
                    "select_ms": millis(SELECT_MS, "Finding a primary."),
                    "operation_ms": millis(OPERATION_MS, "One command."),
                    "commit_ms": millis(COMMIT_MS, "A commit, until its result is known.")
                }
            },
            "microseconds": {
                "enum": ["reject", "truncate"], "default": "reject",
                "description": "What becomes of the microseconds of a timestamp: a date of MongoDB has milliseconds."
            }
        }
    })
}

#[cfg(test)]
mod tests;
