//! MongoDB.

mod command;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bson::{Document, doc};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::place::{self, Port};
use crate::process::Process;
use crate::tls::tls;
use crate::wait;

/// How long a server may take to stop by itself.
const STOP_MAX: Duration = Duration::from_secs(30);

/// The user that a server with `auth` has, role `root`, in the database `admin`.
const ROOT: &str = "root";

/// Its password, as it stands in a URL too.
const ROOT_PASSWORD: &str = "secret";

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct MongoOptions {
    /// A replica set `rs0` of one node; else a standalone server, which has no transactions.
    pub replica_set: bool,
    /// Clients must say who they are: `root`, or one of `users`.
    pub auth: bool,
    /// `createUser` commands for more users, each with its `$db`.
    pub users: Vec<Document>,
    /// Speaks only TLS, with the certificates of [`crate::tls`].
    pub tls: bool,
    /// Further arguments of `mongod`.
    pub arguments: Vec<String>,
}

impl Default for MongoOptions {
    fn default() -> Self {
        MongoOptions { replica_set: true, auth: false, users: Vec::new(), tls: false, arguments: Vec::new() }
    }
}

/// A private server. Gone when dropped.
#[derive(Debug)]
pub struct Mongo {
    options: MongoOptions,
    port: Port,
    process: Mutex<Option<Process>>,
    folder: TempDir,
}

impl Mongo {
    /// A replica set of one node, open to everybody on this machine.
    #[track_caller]
    pub fn start() -> Mongo {
        Self::start_with(MongoOptions::default())
    }

    /// A server with options.
    #[track_caller]
    pub fn start_with(options: MongoOptions) -> Mongo {
        let folder = place::folder("mongo");
        fs::create_dir(folder.path().join("data")).expect("a folder can be made");
        let server = Mongo { options, port: Port::free(), process: Mutex::new(None), folder };
        // Users are made before anybody is asked for one.
        server.start_as(false);
        if server.options.replica_set {
            let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", server.port()) };
            server.command("admin", doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } });
            server.wait_for_primary();
        }
        if server.options.auth {
            server.command("admin", doc! { "createUser": ROOT, "pwd": ROOT_PASSWORD, "roles": ["root"] });
            for user in &server.options.users {
                server.command("admin", user.clone());
            }
        }
        if server.options.auth || server.options.tls {
            server.stop();
            server.start_again();
        }
        server
    }

    /// The one server of this test process, for tests that only need databases of their own ([`Mongo::database`]).
    #[track_caller]
    pub fn shared() -> &'static Mongo {
        static SHARED: OnceLock<Mongo> = OnceLock::new();
        SHARED.get_or_init(Mongo::start)
    }

    /// A database's name that nobody else has.
    pub fn database(&self, prefix: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// `mongodb://…`: as `root` where the server wants to know, without a database.
    pub fn url(&self) -> String {
        self.url_at(self.port())
    }

    /// The same at another port: a proxy's. A client asks the members of a replica set for their addresses and goes there, so
    /// this one connects directly.
    pub fn url_at(&self, port: u16) -> String {
        let user = if self.options.auth { format!("{ROOT}:{ROOT_PASSWORD}@") } else { String::new() };
        let mut query = Vec::new();
        if port != self.port() {
            query.push("directConnection=true");
        } else if self.options.replica_set {
            query.push("replicaSet=rs0");
        }
        if self.options.auth {
            query.push("authSource=admin");
        }
        format!("mongodb://{user}127.0.0.1:{port}/?{}", query.join("&"))
    }

    /// Its port on 127.0.0.1, the same for as long as it lives.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where its files are, for tests that put something in their way.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The process id.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.process().as_ref().expect("the server runs").pid()
    }

    /// Runs a command that must succeed. Only where the server asks neither for a user nor for TLS: what needs those brings a
    /// client.
    #[track_caller]
    pub fn command(&self, database: &str, command: Document) -> Document {
        self.try_command(database, command.clone()).unwrap_or_else(|why| panic!("{why}, at: {command}"))
    }

    /// The same for one that may fail; the error is the server's answer as text.
    pub fn try_command(&self, database: &str, command: Document) -> Result<Document, String> {
        command::run(self.port(), database, command)
    }

    /// All documents of a collection, by `_id`.
    #[track_caller]
    pub fn find(&self, database: &str, collection: &str) -> Vec<Document> {
        self.try_find(database, collection).unwrap_or_else(|why| panic!("{why}, finding {collection}"))
    }

    /// The same, while the server may be away.
    pub fn try_find(&self, database: &str, collection: &str) -> Result<Vec<Document>, String> {
        let mut found = Vec::new();
        let find = doc! { "find": collection, "sort": { "_id": 1 }, "batchSize": 10_000 };
        let mut answer = self.try_command(database, find)?;
        loop {
            let cursor = answer.get_document("cursor").expect("a cursor").clone();
            for name in ["firstBatch", "nextBatch"] {
                for document in cursor.get_array(name).into_iter().flatten() {
                    found.push(document.as_document().expect("a document").clone());
                }
            }
            match cursor.get_i64("id").expect("a number") {
                0 => return Ok(found),
                id => {
                    answer = self.try_command(database, doc! { "getMore": id, "collection": collection })?;
                }
            }
        }
    }

    /// The number of documents in a collection.
    #[track_caller]
    pub fn count(&self, database: &str, collection: &str) -> u64 {
        let answer = self.command(database, doc! { "count": collection });
        answer.get_i32("n").map(i64::from).or_else(|_| answer.get_i64("n")).expect("a number") as u64
    }

    /// Stops it as an operator does.
    pub fn stop(&self) {
        if let Some(process) = self.process().take() {
            process.end(Signal::TERM, STOP_MAX);
        }
    }

    /// kill -9.
    pub fn kill(&self) {
        if let Some(process) = self.process().take() {
            process.kill();
        }
    }

    /// Starts it after [`Mongo::stop`] or [`Mongo::kill`], and waits until it takes writes.
    #[track_caller]
    pub fn start_again(&self) {
        self.start_as(true);
        // Who must say who he is, or speak TLS, can't ask from here; drivers wait for the primary themselves.
        if self.options.replica_set && !self.options.auth && !self.options.tls {
            self.wait_for_primary();
        }
    }

    /// Stops it and starts it again.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    fn start_as(&self, guarded: bool) {
        let mut running = self.process();
        assert!(running.is_none(), "the server runs already");
        let mut command = Command::new(mongod());
        command.arg("--dbpath").arg(self.data());
        command.args(["--bind_ip", "127.0.0.1", "--port", &self.port().to_string(), "--unixSocketPrefix"]);
        command.arg(self.folder.path());
        command.args([
            "--wiredTigerCacheSizeGB",
            "0.5",
            "--setParameter",
            "diagnosticDataCollectionEnabled=false",
        ]);
        if self.options.replica_set {
            command.args(["--replSet", "rs0", "--oplogSize", "990"]);
        }
        if guarded && self.options.auth {
            command.arg("--auth");
            if self.options.replica_set {
                command.arg("--keyFile").arg(self.key_file());
            }
        }
        if guarded && self.options.tls {
            let tls = tls();
            command.args(["--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"]);
            command.arg("--tlsCertificateKeyFile").arg(tls.server_pem).arg("--tlsCAFile").arg(tls.ca);
        }
        command.args(&self.options.arguments);
        let mut process = Process::start(command, self.folder.path(), "KILL");
        let listens =
            process.ready("mongod", || std::net::TcpStream::connect(("127.0.0.1", self.port())).ok());
        if let Err(why) = listens {
            panic!("{why}");
        }
        *running = Some(process);
    }

    /// What the members of a replica set with users know each other by.
    fn key_file(&self) -> PathBuf {
        let path = self.folder.path().join("key");
        if !path.exists() {
            fs::write(&path, "c2x1aWNlIHRlc3Rz".repeat(4)).expect("a file can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("the file is ours");
        }
        path
    }

    #[track_caller]
    fn wait_for_primary(&self) {
        let primary = || {
            let hello = self.try_command("admin", doc! { "hello": 1 }).ok()?;
            hello.get_bool("isWritablePrimary").is_ok_and(|primary| primary).then_some(())
        };
        wait::within(wait::PATIENCE, primary).expect("a replica set of one node has a primary soon");
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program: `SLUICE_MONGOD`, or what `scripts/setup` has put into place, or the system's.
fn mongod() -> PathBuf {
    if let Some(given) = std::env::var_os("SLUICE_MONGOD") {
        return given.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let placed = place::programs().into_iter().map(|programs| programs.join("mongodb/bin"));
    placed
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join("mongod"))
        .find(|program| program.exists())
        .unwrap_or_else(|| panic!("mongod is not installed; {}", crate::SETUP))
}
