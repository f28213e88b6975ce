//! A folder with a configuration and two SQLite files, the binary run in it, and a service that ends with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take here before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipeline `people` from `source.db` to `target.db`.
pub const PEOPLE: &str = "\
version: 1
state: ./state
service: { listen: 127.0.0.1:0 }
plugins: { dir: ./plugins }
databases:
  here: { kind: sqlite, path: ./source.db }
  there: { kind: sqlite, path: ./target.db }
pipelines:
  people:
    source: here
    target: there
    tables: [people]
";

pub struct Place {
    dir: TempDir,
}

impl Place {
    /// With this configuration, and a source that has a table of people.
    pub fn new(config: &str) -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        place.write("sluice.yaml", config);
        std::fs::create_dir(place.path("plugins")).unwrap();
        place.source("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age TEXT)");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Runs statements on the source, as another program would.
    pub fn source(&self, sql: &str) {
        let connection = Connection::open(self.path("source.db")).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    /// So many more people.
    pub fn add_people(&self, count: u32) {
        self.source(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO people (name, age) SELECT 'name ' || i, CAST(i AS TEXT) FROM n"
        ));
    }

    /// The rows of a query on one of the files, as text; nothing while the table is not there.
    pub fn rows(&self, file: &str, sql: &str) -> Vec<String> {
        let connection = Connection::open(self.path(file)).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        let Ok(mut statement) = connection.prepare(sql) else { return Vec::new() };
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let cell = |index| row.get::<_, rusqlite::types::Value>(index).map(|value| format!("{value:?}"));
            Ok((0..columns).map(cell).collect::<Result<Vec<_>, _>>()?.join("|"))
        };
        statement.query_map([], row).unwrap().map(Result::unwrap).collect()
    }

    /// What the binary does with these words.
    pub fn sluice(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same, expected to succeed; its standard output.
    pub fn good(&self, words: &[&str]) -> String {
        let output = self.sluice(words);
        assert!(output.status.success(), "{words:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let mut words = words.to_vec();
        words.push("--json");
        serde_json::from_str(&self.good(&words)).unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(words).current_dir(self.dir.path()).env_remove("SLUICE_LOG").env_remove("SLUICE_CONFIG");
        command
    }

    /// Starts the service; returns when it says that it serves.
    pub fn serve(&self) -> Served {
        let mut child = self.command(&["serve", "--log", "info"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        let address = loop {
            let mut line = String::new();
            if log.read_line(&mut line).unwrap() == 0 {
                panic!("the service ended: {told}");
            }
            told.push_str(&line);
            if let Some((_, rest)) = line.split_once("serving address=") {
                break rest.split_whitespace().next().unwrap().to_string();
            }
        };
        // Read on, so that the service never waits for room in the pipe.
        let log = std::thread::spawn(move || {
            let mut rest = String::new();
            log.read_to_string(&mut rest).unwrap();
            told + &rest
        });
        let token = std::fs::read_to_string(self.path("state/token")).unwrap().trim().to_string();
        Served { child, address, token, log: Some(log) }
    }
}

/// What a run said, for messages.
pub fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("exit {:?}\n{}{}", output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A service that runs; killed if the test ends before it does.
pub struct Served {
    child: Child,
    pub address: String,
    pub token: String,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Served {
    /// Sends a request with these further header lines and this body; gives status and body.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            request.push_str(&format!("Host: {}\r\n", self.address));
        }
        headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string())
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, &[], "")
    }

    /// With the token.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.ask("POST", path, &[&format!("Authorization: Bearer {}", self.token)], body)
    }

    /// Waits until every target is consistent.
    pub fn ready(&self) {
        until("it is ready", || self.get("/ready").0 == 200);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Sends SIGTERM, waits for the end; gives exit status and log.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        (status, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The mode bits of a file.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
