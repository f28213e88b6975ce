//! Connecting, and what the server says of itself.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::{
    ClientOptions, Credential, ReadPreference as Preference, SelectionCriteria, Tls as DriverTls, TlsOptions,
};
use mongodb::{Client, Database};
use sluice_types::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;
use tokio::sync::OnceCell;

use crate::config::{APP_NAME, CONNECT_MS, Config, POOL_MAX, ReadPreference, SELECT_MS, Tls, TlsMode};
use crate::errors;
use crate::session::InUse;
use crate::write::Limits;

/// MongoDB 5.0, by the number of its protocol: names inside documents may have dots and begin with dollars.
const WIRE_VERSION_MIN: i32 = 13;
/// How long the look at a server that is no primary may take.
const DIAGNOSIS: Duration = Duration::from_secs(3);
/// How a replica set is made of one server.
const MAKE_REPLICA_SET: &str =
    "Start mongod with `--replSet rs0` and run `rs.initiate()` once in mongosh: one member is enough";

/// One configured server, connected when it is first needed. The driver's pool is shared by all lines.
pub(crate) struct Server {
    pub config: Config,
    /// The sessions of its writers.
    pub writers: InUse,
    connected: OnceCell<Connected>,
}

/// A client, and what its server can.
pub(crate) struct Connected {
    pub client: Client,
    pub database: Database,
    pub limits: Limits,
    pub hello: Hello,
    /// Who we are, and of which database.
    user: Option<(String, String)>,
}

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub set_name: Option<String>,
    pub is_router: bool,
    /// It does not wait for its replica set to be made.
    pub is_initiated: bool,
    pub wire_version: i32,
}

impl Hello {
    /// Why such a server can't be a target, if it can't.
    pub fn unfit(&self) -> Option<Error> {
        if self.wire_version < WIRE_VERSION_MIN {
            let old = Error::new(ErrorKind::Config, "the server is older than MongoDB 5.0");
            return Some(old.remedy("Upgrade the server to MongoDB 5.0 or newer"));
        }
        match self {
            Hello { is_initiated: false, .. } => Some(not_initiated()),
            // Routers and members of replica sets have transactions.
            Hello { set_name: None, is_router: false, .. } => Some(standalone()),
            _ => None,
        }
    }
}

impl Server {
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Server { config, writers: InUse::default(), connected: OnceCell::new() })
    }

    /// The connection, made if there is none yet, to a server that has transactions.
    pub async fn connect(&self) -> Result<&Connected> {
        self.connected.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Connected> {
        let (options, _certificate) = self.options().await?;
        let alone = options.hosts.len() == 1;
        let client = Client::with_options(options.clone())
            .map_err(|error| self.failed(&error, "the connection's settings are refused"))?;
        let admin = client.database("admin");
        let answer = admin.run_command(doc! { "hello": 1 }).await;
        let hello = match answer {
            Ok(hello) => hello,
            Err(error) => {
                if let Some(error) = self.of_tls(&error, matches!(options.tls, Some(DriverTls::Enabled(_)))) {
                    return Err(error);
                }
                let told = if alone { diagnose(options).await } else { None };
                return Err(told.unwrap_or_else(|| self.failed(&error, "the server can't be reached")));
            }
        };
        let number = |name: &str| hello.get_i32(name).ok();
        let limits = Limits {
            document_bytes: number("maxBsonObjectSize").map_or(16 << 20, |bytes| bytes.max(0) as usize),
            statements: number("maxWriteBatchSize").map_or(100_000, |count| count.max(1) as usize),
        };
        let hello = read_hello(&hello);
        if let Some(unfit) = hello.unfit() {
            // Asked again by the next one: somebody may have done what the remedy says.
            return Err(unfit.at(|place| place.database = Some(self.config.name.clone())));
        }
        let database = client.database(&self.config.database);
        let user = options.credential.and_then(|credential| {
            Some((credential.username?, credential.source.unwrap_or_else(|| "admin".into())))
        });
        Ok(Connected { client, database, limits, hello, user })
    }

    /// What is to be said of an error that encryption explains. The driver has no kind for it, but the words of the TLS library.
    fn of_tls(&self, error: &mongodb::error::Error, encrypted: bool) -> Option<Error> {
        let words = error.to_string();
        let (kind, what, remedy) = if words.contains("invalid peer certificate") {
            (
                ErrorKind::Authentication,
                "the server's certificate is not accepted",
                "Set `tls: { ca: PATH }` to the authority that has signed it, and in `url` a host that it names; \
                 `tls: { mode: require }` encrypts and verifies nothing",
            )
        } else if encrypted && words.contains("tls handshake eof") {
            (
                ErrorKind::Unreachable,
                "the server broke off the TLS handshake",
                "Does it speak TLS (`net.tls.mode`)? If not, set `tls: { mode: disable }`. It is tried again",
            )
        } else if !encrypted && words.contains("unexpected end of file") {
            (
                ErrorKind::Unreachable,
                "the server closed the connection at once",
                "Does it take only TLS (`net.tls.mode: requireTLS`)? Then set `tls: { mode: verify-full, ca: PATH }`. \
                 It is tried again",
            )
        } else {
            return None;
        };
        let told = Error::new(kind, format!("{what}: {}", self.config.address)).remedy(remedy);
        let told = told.because(errors::Cause::of(error, kind));
        Some(told.at(|place| place.database = Some(self.config.name.clone())))
    }

    /// The driver wants certificate and key in one file, and reads it when a client is made.
    fn certificate_and_key(&self, tls: &Tls) -> Result<Option<NamedTempFile>> {
        let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else { return Ok(None) };
        if cert == key {
            return Ok(None);
        }
        let joined = || {
            // Nobody else may read it, and it is gone with the client's making.
            let mut file = NamedTempFile::new()?;
            for part in [cert, key] {
                file.write_all(&std::fs::read(part)?)?;
                file.write_all(b"\n")?;
            }
            file.flush()?;
            Ok(file)
        };
        joined().map(Some).map_err(|error: std::io::Error| {
            Error::new(ErrorKind::Config, "the client's certificate or key can't be read")
                .because(error)
                .remedy("Check `tls: { cert, key }`")
        })
    }

    /// And the file that must be there while a client is made of them.
    async fn options(&self) -> Result<(ClientOptions, Option<NamedTempFile>)> {
        let Config { url, tls, auth_source, auth_mechanism, pool, timeouts, .. } = &self.config;
        let mut options = ClientOptions::parse(url.expose())
            .await
            .map_err(|error| self.failed(&error, "the server's name can't be resolved"))?;
        let named = self.config.application_name.clone().or(options.app_name);
        options.app_name = named.or_else(|| Some(APP_NAME.to_string()));
        // A key of the configuration, else the URL's option, else our own default.
        let millis = |millis| Some(Duration::from_millis(millis));
        options.connect_timeout = timeouts.connect.or(options.connect_timeout).or(millis(CONNECT_MS));
        options.server_selection_timeout =
            timeouts.select.or(options.server_selection_timeout).or(millis(SELECT_MS));
        options.min_pool_size = pool.min.or(options.min_pool_size);
        options.max_pool_size = pool.max.or(options.max_pool_size).or(Some(POOL_MAX));
        options.max_idle_time = pool.idle.or(options.max_idle_time);
        options.heartbeat_freq = pool.check.or(options.heartbeat_freq);
        options.retry_reads = self.config.retry_reads.or(options.retry_reads);
        options.retry_writes = self.config.retry_writes.or(options.retry_writes);
        if let Some(preference) = self.config.read_preference {
            options.selection_criteria = Some(criteria(preference));
        }
        let Config { user, password, .. } = &self.config;
        if auth_source.is_some() || auth_mechanism.is_some() || user.is_some() || password.is_some() {
            let credential = options.credential.get_or_insert_with(Credential::default);
            credential.username = user.clone().or(credential.username.take());
            let password = password.as_ref().map(|password| password.expose().to_string());
            credential.password = password.or(credential.password.take());
            credential.source = auth_source.clone().or(credential.source.take());
            credential.mechanism = auth_mechanism.clone().or(credential.mechanism.take());
        }
        let mut pair = None;
        if let Some(tls) = tls {
            pair = self.certificate_and_key(tls)?;
            options.tls = Some(match tls.mode {
                TlsMode::Disable => DriverTls::Disabled,
                mode => {
                    let mut made = TlsOptions::default();
                    made.allow_invalid_certificates = (mode == TlsMode::Require).then_some(true);
                    made.ca_file_path = tls.ca.clone();
                    made.cert_key_file_path =
                        pair.as_ref().map(|pair| pair.path().to_path_buf()).or_else(|| tls.cert.clone());
                    made.into()
                }
            });
        }
        Ok((options, pair))
    }

    /// An error of this server.
    pub fn failed(&self, error: &mongodb::error::Error, what: &str) -> Error {
        let failed = errors::failed(error, &self.config.name, &format!("{what}: {}", self.config.address));
        match self.connected.get().map(|connected| &connected.user) {
            Some(user) if failed.kind() == ErrorKind::Permission => failed.remedy(match user {
                Some((user, of)) => errors::grant(user, of, &self.config.database),
                None => {
                    "The server wants to know who is there: set `user`, `password` and `auth: { source }`"
                        .into()
                }
            }),
            _ => failed,
        }
    }

    /// Runs something of the driver's within the time that one operation may take.
    pub async fn within<T>(
        &self,
        what: &'static str,
        work: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.config.timeouts.operation, work).await {
            Ok(done) => done.map_err(|error| self.failed(&error, what)),
            Err(_) => Err(self.timed_out(what)),
        }
    }

    /// What is said when the time of an operation is over.
    pub fn timed_out(&self, what: &str) -> Error {
        let what = format!("{what}: {} did not answer in time", self.config.address);
        Error::new(ErrorKind::Timeout, what).at(|place| place.database = Some(self.config.name.clone()))
    }
}

fn read_hello(hello: &Document) -> Hello {
    Hello {
        set_name: hello.get_str("setName").ok().map(str::to_string),
        is_router: hello.get_str("msg") == Ok("isdbgrid"),
        is_initiated: hello.get_bool("isreplicaset") != Ok(true),
        wire_version: hello.get_i32("maxWireVersion").unwrap_or(0),
    }
}

fn criteria(preference: ReadPreference) -> SelectionCriteria {
    SelectionCriteria::ReadPreference(match preference {
        ReadPreference::Primary => Preference::Primary,
        ReadPreference::PrimaryPreferred => Preference::PrimaryPreferred { options: Default::default() },
        ReadPreference::Secondary => Preference::Secondary { options: Default::default() },
        ReadPreference::SecondaryPreferred => Preference::SecondaryPreferred { options: Default::default() },
        ReadPreference::Nearest => Preference::Nearest { options: Default::default() },
    })
}

/// A driver that looks for a replica set never says why the one server it knows is none. So it is asked directly.
async fn diagnose(mut options: ClientOptions) -> Option<Error> {
    let wanted = options.repl_set_name.take();
    options.direct_connection = Some(true);
    options.server_selection_timeout = Some(DIAGNOSIS);
    let client = Client::with_options(options).ok()?;
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.ok()?;
    client.shutdown().immediate(true).await;
    let hello = read_hello(&hello);
    match (hello.unfit(), hello.set_name, wanted) {
        (Some(unfit), ..) => Some(unfit),
        (None, Some(name), Some(wanted)) if name != wanted => {
            let what = format!("the server belongs to the replica set {name}, and the URL says {wanted}");
            Some(Error::new(ErrorKind::Config, what).remedy(format!("Write replicaSet={name} in the URL")))
        }
        _ => None,
    }
}

/// What is said of a server that waits for its replica set to be made. It may be about to be: it is tried again.
fn not_initiated() -> Error {
    Error::new(ErrorKind::Unreachable, "the server's replica set is not initiated yet")
        .remedy("Run `rs.initiate()` once in mongosh")
}

/// What is said of a server without transactions.
fn standalone() -> Error {
    Error::new(
        ErrorKind::Config,
        "the server is no member of a replica set, and only those have transactions",
    )
    .remedy(MAKE_REPLICA_SET)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use sluice_types::Settings;

    use super::*;

    async fn options(settings: serde_json::Value) -> ClientOptions {
        let config = Config::read("app", &mut Settings::new("databases.app", settings), Path::new("."));
        Server::new(config.unwrap()).options().await.unwrap().0
    }

    #[test]
    fn servers_that_can_not_be_targets_say_why() {
        let member = doc! { "setName": "rs0", "maxWireVersion": 17 };
        let router = doc! { "msg": "isdbgrid", "maxWireVersion": 13 };
        for good in [member.clone(), router.clone()] {
            assert!(read_hello(&good).unfit().is_none(), "{good}");
        }
        assert!(read_hello(&router).is_router && !read_hello(&member).is_router);
        for (bad, why) in [
            (doc! { "setName": "rs0", "maxWireVersion": 9 }, "older than MongoDB 5.0"),
            (doc! { "msg": "isdbgrid", "maxWireVersion": 9 }, "older than MongoDB 5.0"),
            (doc! { "isreplicaset": true, "maxWireVersion": 17 }, "not initiated"),
            (doc! { "maxWireVersion": 17 }, "no member of a replica set"),
        ] {
            let error = read_hello(&bad).unfit().unwrap();
            assert!(error.what().contains(why) && error.remedy_text().is_some(), "{bad}: {error}");
        }
    }

    #[tokio::test]
    async fn a_key_wins_over_the_url_and_the_url_over_the_default() {
        let url = "mongodb://h/app?maxPoolSize=7&minPoolSize=2&maxIdleTimeMS=3000&heartbeatFrequencyMS=6000&connectTimeoutMS=4000&\
                   serverSelectionTimeoutMS=5000&retryWrites=false&retryReads=false&readPreference=nearest&appName=mine";
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let of_url = options(json!({ "url": url })).await;
        assert_eq!((of_url.min_pool_size, of_url.max_pool_size), (Some(2), Some(7)));
        assert_eq!((of_url.max_idle_time, of_url.heartbeat_freq), (seconds(3), seconds(6)));
        assert_eq!((of_url.connect_timeout, of_url.server_selection_timeout), (seconds(4), seconds(5)));
        assert_eq!((of_url.retry_writes, of_url.retry_reads), (Some(false), Some(false)));
        assert_eq!(of_url.app_name.as_deref(), Some("mine"));
        assert_eq!(of_url.selection_criteria, Some(criteria(ReadPreference::Nearest)));
        let of_keys = options(json!({
            "url": url, "pool": { "min": 1, "max": 3, "idle_secs": 9, "check_secs": 8 }, "retry_writes": true, "retry_reads": true,
            "timeouts": { "connect_ms": 1000, "select_ms": 2000 }, "read_preference": "secondary",
            "application_name": "ours",
        }))
        .await;
        assert_eq!((of_keys.min_pool_size, of_keys.max_pool_size), (Some(1), Some(3)));
        assert_eq!((of_keys.max_idle_time, of_keys.heartbeat_freq), (seconds(9), seconds(8)));
        assert_eq!((of_keys.connect_timeout, of_keys.server_selection_timeout), (seconds(1), seconds(2)));
        assert_eq!((of_keys.retry_writes, of_keys.retry_reads), (Some(true), Some(true)));
        assert_eq!(of_keys.app_name.as_deref(), Some("ours"));
        assert_eq!(of_keys.selection_criteria, Some(criteria(ReadPreference::Secondary)));
        let plain = options(json!({ "url": "mongodb://h/app" })).await;
        assert_eq!((plain.max_pool_size, plain.connect_timeout), (Some(POOL_MAX), seconds(10)));
        assert_eq!(
            (plain.server_selection_timeout, plain.app_name.as_deref()),
            (seconds(10), Some(APP_NAME))
        );
    }
}
