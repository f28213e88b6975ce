//! PostgreSQL.

mod programs;
mod session;
mod template;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

pub use programs::{Installed, installed};
pub use session::{Rows, Session, SqlError};

use crate::place::{self, Port, User};
use crate::process::Process;
use crate::tls::tls;

/// The password of `postgres`, and of every role that a test makes with it.
pub const PASSWORD: &str = "secret word/with: signs";

/// The same inside a URL.
const PASSWORD_IN_URL: &str = "secret%20word%2Fwith%3A%20signs";

/// How long a server may take to stop by itself.
const STOP_MAX: Duration = Duration::from_secs(30);

/// What a server is started with.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// The major version. If not given, what the environment variable `SLUICE_POSTGRES` says; the oldest one that is installed if
    /// that says nothing either.
    pub version: Option<u32>,
    /// Lines of its configuration, which win over the harness's own (`wal_level = replica`).
    pub conf: Vec<String>,
    /// Lines of `pg_hba.conf` that come before the harness's own.
    pub hba: Vec<String>,
    /// Speaks TLS too, with the certificates of [`tls`]; TLS only where `hba` says so.
    pub tls: bool,
    /// Writes reach the disk. Without it a crash of the server's process loses nothing, but it is a lot quicker.
    pub fsync: bool,
}

/// A private server, `wal_level = logical`, with the superuser `postgres`: over TCP with [`PASSWORD`] (SCRAM), over the socket
/// without. Gone when dropped.
#[derive(Debug)]
pub struct Postgres {
    installed: Installed,
    user: Option<User>,
    port: Port,
    process: Mutex<Option<Process>>,
    folder: TempDir,
}

/// The version that whoever runs the tests wants servers of: a number, or `newest`.
fn wanted(found: &[Installed]) -> Option<u32> {
    let version = std::env::var("SLUICE_POSTGRES").ok()?;
    if version == "newest" {
        return found.last().map(|installed| installed.version);
    }
    Some(version.parse().expect("SLUICE_POSTGRES is `newest` or a major version"))
}

impl Postgres {
    /// A server as most tests want it.
    #[track_caller]
    pub fn start() -> Postgres {
        Self::start_with(PostgresOptions::default())
    }

    /// A server with options.
    #[track_caller]
    pub fn start_with(options: PostgresOptions) -> Postgres {
        let found = installed();
        let version = options.version.or_else(|| wanted(&found));
        let chosen = match version {
            Some(version) => found.iter().find(|installed| installed.version == version),
            None => found.first(),
        };
        let Some(chosen) = chosen else {
            let wanted = version.map(|version| format!(" {version}")).unwrap_or_default();
            panic!("PostgreSQL{wanted} is not installed (found: {found:?}); {}", crate::SETUP);
        };
        let server = Self::prepare(chosen.clone(), |data| template::copy_to(chosen, data));
        server.configure(&options);
        server.start_again();
        server
    }

    /// A server on a base backup (a data folder that [`Postgres::backup`] made), with the configuration that it had.
    #[track_caller]
    pub fn restored(&self, backup: &Path) -> Postgres {
        let server = Self::prepare(self.installed.clone(), |data| copy(self.user, backup, data));
        server.conf(&[&server.own_place()]);
        server.start_again();
        server
    }

    /// A standby of this server, which streams from it and takes queries.
    #[track_caller]
    pub fn standby(&self) -> Postgres {
        let backup = self.backup("standby");
        let standby = Self::prepare(self.installed.clone(), |data| copy(self.user, &backup, data));
        let (host, port) = (self.socket_dir().display(), self.port());
        let from = format!("primary_conninfo = 'host={host} port={port} user=postgres'");
        standby.conf(&[&standby.own_place(), &from]);
        standby.write("standby.signal", "");
        standby.start_again();
        standby
    }

    fn prepare(installed: Installed, make_data: impl FnOnce(&Path)) -> Postgres {
        let folder = place::folder("pg");
        let user = User::for_postgres();
        User::own(user, folder.path());
        make_data(&folder.path().join("data"));
        Postgres { installed, user, port: Port::free(), process: Mutex::new(None), folder }
    }

    /// The one server of this test process, for tests that only need databases of their own ([`Postgres::database`]).
    #[track_caller]
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// Makes a database of a name that nobody else has, and answers it.
    #[track_caller]
    pub fn database(&self, prefix: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
        name
    }

    /// `postgres://…`, for the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// `postgres://…`, for a role with [`PASSWORD`].
    pub fn url_as(&self, role: &str, database: &str) -> String {
        self.url_at(self.port(), role, database)
    }

    /// The same at another port: a proxy's.
    pub fn url_at(&self, port: u16, role: &str, database: &str) -> String {
        format!("postgres://{role}:{PASSWORD_IN_URL}@127.0.0.1:{port}/{database}")
    }

    /// Its port on 127.0.0.1, the same for as long as it lives.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The folder of its socket.
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its major version.
    pub fn version(&self) -> u32 {
        self.installed.version
    }

    /// A command for one of PostgreSQL's own programs (`psql`, `pg_dump`, `pgbench`), connected to this server by the
    /// environment.
    pub fn program(&self, name: &str) -> Command {
        let mut command = User::command(self.user, &self.installed.bin.join(name));
        command
            .env("PGHOST", self.socket_dir())
            .env("PGPORT", self.port().to_string())
            .env("PGUSER", "postgres");
        command.current_dir(self.folder.path());
        command
    }

    /// The process id of its main process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.process().as_ref().expect("the server runs").pid()
    }

    /// Runs statements over a connection of their own and answers the last one's rows. Several are one transaction, unless they
    /// begin and end their own.
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> Rows {
        self.try_sql(database, statements).unwrap_or_else(|error| panic!("{error}, in: {statements}"))
    }

    /// The same, for statements that may fail.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<Rows, SqlError> {
        Session::open(self.socket_dir(), self.port(), "postgres", database)?.run(statements)
    }

    /// Runs what somebody pastes into psql: statement by statement, comments and all; or answers what psql says of the first one that
    /// fails.
    pub fn psql(&self, database: &str, script: &str) -> Result<(), String> {
        let mut command = self.program("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut psql = command.spawn().map_err(|error| format!("psql does not start: {error}"))?;
        if let Some(mut input) = psql.stdin.take() {
            input.write_all(script.as_bytes()).map_err(|error| format!("psql does not read: {error}"))?;
        }
        let output = psql.wait_with_output().map_err(|error| format!("psql does not end: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The first column of the first row, as text.
    #[track_caller]
    pub fn one(&self, database: &str, query: &str) -> String {
        let rows = self.sql(database, query);
        let value = rows.first().and_then(|row| row.first()).unwrap_or_else(|| panic!("no rows: {query}"));
        value.clone().unwrap_or_else(|| panic!("null: {query}"))
    }

    /// A connection as the superuser, for transactions of a test's own.
    #[track_caller]
    pub fn session(&self, database: &str) -> Session {
        Session::open(self.socket_dir(), self.port(), "postgres", database)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Adds lines to its configuration. They count from the next start, or from [`Postgres::reload`] where that is enough.
    pub fn conf(&self, lines: &[&str]) {
        let path = self.data_dir().join("postgresql.auto.conf");
        let mut content = fs::read_to_string(&path).expect("a configuration");
        for line in lines {
            content.push_str(line);
            content.push('\n');
        }
        self.write("postgresql.auto.conf", &content);
    }

    /// Has it read its configuration again.
    #[track_caller]
    pub fn reload(&self) {
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// A base backup of the running server, into `folder` (which must not exist): what an operator restores.
    #[track_caller]
    pub fn backup(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        let mut command = self.program("pg_basebackup");
        command.args(["-X", "stream", "-c", "fast", "--no-sync", "-D"]).arg(&folder);
        let output = command.output().expect("pg_basebackup");
        assert!(output.status.success(), "{output:?}");
        folder
    }

    /// Stops it as an operator does (fast: connections are ended).
    pub fn stop(&self) {
        if let Some(process) = self.process().take() {
            process.end(Signal::INT, STOP_MAX);
        }
    }

    /// Kills it, with every process of its own, without a word.
    pub fn kill(&self) {
        if let Some(process) = self.process().take() {
            process.kill();
        }
    }

    /// Starts it after [`Postgres::stop`] or [`Postgres::kill`], and waits until it takes connections.
    #[track_caller]
    pub fn start_again(&self) {
        let mut running = self.process();
        assert!(running.is_none(), "the server runs already");
        let mut command = User::command(self.user, &self.installed.bin.join("postgres"));
        command.arg("-D").arg(self.data_dir());
        let mut process = Process::start(command, self.folder.path(), "QUIT");
        let ready = process.ready("PostgreSQL", || {
            Session::open(self.socket_dir(), self.port(), "postgres", "postgres").ok().map(drop)
        });
        if let Err(why) = ready {
            panic!("{why}");
        }
        *running = Some(process);
    }

    /// Stops it and starts it again.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // A failed start is one test's panic; the others say for themselves what they miss.
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn own_place(&self) -> String {
        let socket = self.socket_dir().display();
        format!("port = {}\nunix_socket_directories = '{socket}'", self.port())
    }

    fn configure(&self, options: &PostgresOptions) {
        let mut conf = vec![
            self.own_place(),
            "listen_addresses = '127.0.0.1'".into(),
            "wal_level = logical".into(),
            "max_wal_senders = 20".into(),
            "max_replication_slots = 20".into(),
            "max_prepared_transactions = 20".into(),
            "max_connections = 100".into(),
            "shared_buffers = 64MB".into(),
            "max_wal_size = 2GB".into(),
            "password_encryption = 'scram-sha-256'".into(),
            "log_line_prefix = '%m [%p] '".into(),
        ];
        if !options.fsync {
            // A slot reads only what is flushed, so commits must wait for that: synchronous_commit stays on.
            conf.extend(["fsync = off".into(), "full_page_writes = off".into()]);
        }
        if options.tls {
            let tls = tls();
            for (name, from) in
                [("server.crt", tls.server_cert), ("server.key", tls.server_key), ("ca.crt", tls.ca)]
            {
                self.write(name, &fs::read_to_string(from).expect("a certificate"));
            }
            let files =
                ["ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'ca.crt'"];
            conf.push("ssl = on".into());
            conf.extend(files.map(String::from));
        }
        conf.extend(options.conf.iter().cloned());
        self.write("postgresql.auto.conf", &format!("{}\n", conf.join("\n")));
        let own = "local all all trust\n\
                   local replication all trust\n\
                   host all all 127.0.0.1/32 scram-sha-256\n\
                   host replication all 127.0.0.1/32 scram-sha-256\n";
        let given: String = options.hba.iter().map(|line| format!("{line}\n")).collect();
        self.write("pg_hba.conf", &format!("{given}{own}"));
    }

    /// Writes a file of the data folder, as the server wants its files.
    fn write(&self, name: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.data_dir().join(name);
        fs::write(&path, content).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        User::own(self.user, &path);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = self.process().take() {
            // Nobody will look at its data again.
            process.end(Signal::QUIT, STOP_MAX);
        }
    }
}

/// Copies a data folder as the server's user.
fn copy(user: Option<User>, from: &Path, to: &Path) {
    let mut command = User::command(user, Path::new("cp"));
    let output = command.args(["-a", "--reflink=auto"]).args([from, to]).output().expect("cp");
    assert!(output.status.success(), "{output:?}");
}
