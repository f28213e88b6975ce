//! A place where sluice is at work: a temporary folder with a configuration, databases, plugins and state.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::binary;
use crate::database::Database;

/// How long a command that ends by itself may take.
const COMMAND_MAX: Duration = Duration::from_secs(120);

/// Lines of a log that are shown when a test fails.
const LOG_LINES_SHOWN: usize = 80;

/// What a command did.
#[derive(Clone, Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// What it answered.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Done {
    /// Fails unless it ended with this code.
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// Everything that it said.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails unless everything that it said contains each of these.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) -> &Self {
        let text = self.text();
        let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
        assert!(missing.is_empty(), "not said: {missing:?}, but:\n{text}");
        self
    }

    /// Its answer as JSON.
    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:#?}"))
    }
}

/// A temporary folder. When its test fails, the logs in it are shown.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
}

impl Site {
    /// An empty folder.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sluice-e2e-").tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("plugins")).expect("a folder can be made");
        Site { dir }
    }

    /// A folder with `source.db` made by these statements, and a configuration with one pipeline `copy` from there to
    /// `target.db` that has these further lines (see [`Site::configure`]).
    pub fn with(statements: &str, pipeline: &str) -> Self {
        let site = Site::new();
        site.source().execute_batch(statements).expect("the source's statements are good");
        site.configure(pipeline);
        site
    }

    /// Writes the configuration: one pipeline `copy` from `source.db` to `target.db`. `pipeline` holds its further lines.
    pub fn configure(&self, pipeline: &str) {
        self.configure_between(
            "{ kind: sqlite, path: ./source.db }",
            "{ kind: sqlite, path: ./target.db }",
            pipeline,
        );
    }

    /// Writes the configuration: one pipeline `copy` between two databases, given by their settings. `pipeline` holds its further
    /// lines.
    pub fn configure_between(&self, source: &str, target: &str, pipeline: &str) {
        let lines: String = pipeline.lines().map(|line| format!("    {line}\n")).collect();
        self.write(
            "sluice.yaml",
            format!(
                "version: 1\n\
                 state: ./state\n\
                 service: {{ listen: \"127.0.0.1:0\" }}\n\
                 plugins: {{ dir: ./plugins }}\n\
                 databases:\n  source: {source}\n  target: {target}\n\
                 pipelines:\n  copy:\n    source: source\n    target: target\n{lines}"
            ),
        );
    }

    /// A folder with a configuration: one pipeline `copy` from one database to another, with these further lines.
    pub fn between(source: &Database, target: &Database, pipeline: &str) -> Self {
        let site = Site::new();
        site.configure_between(&source.settings(), &target.settings(), pipeline);
        site
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, whole and at once as seen from outside.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let part = self.path(&format!("{name}.part"));
        fs::write(&part, content).expect("a file can be written");
        fs::rename(&part, self.path(name)).expect("a file can be renamed");
    }

    /// Drops a component into the plugin folder.
    pub fn plugin(&self, name: &str, component: &[u8]) {
        self.write(&format!("plugins/{name}.wasm"), component);
    }

    /// A connection to a database of the folder, patient as a well-behaved program.
    pub fn open(&self, name: &str) -> Connection {
        open(&self.path(name))
    }

    /// A connection to the source.
    pub fn source(&self) -> Connection {
        self.open("source.db")
    }

    /// A connection to the target.
    pub fn target(&self) -> Connection {
        self.open("target.db")
    }

    /// Runs a command of `sluice` with the folder's configuration to its end.
    #[track_caller]
    pub fn sluice(&self, arguments: &[&str]) -> Done {
        let mut command = Command::new(binary::sluice());
        command.args(arguments).arg("-c").arg(self.path("sluice.yaml"));
        self.run(command)
    }

    /// Runs a command to its end, in the folder.
    #[track_caller]
    pub fn run(&self, mut command: Command) -> Done {
        let output = tempfile::tempdir_in(self.dir.path()).expect("a temporary folder");
        let file = |name: &str| File::create(output.path().join(name)).expect("a file can be made");
        let read = |name: &str| {
            String::from_utf8_lossy(&fs::read(output.path().join(name)).expect("a file can be read"))
                .into_owned()
        };
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let mut child = command.spawn().expect("a program can be started");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                break status;
            }
            if started.elapsed() > COMMAND_MAX {
                child.kill().expect("it is our child");
                child.wait().expect("it is our child");
                panic!("{command:?} did not end within {COMMAND_MAX:?}:\n{}{}", read("out"), read("err"));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Done { status, stdout: read("out"), stderr: read("err") }
    }

    /// What the service's processes have logged so far, all runs together.
    pub fn log(&self) -> String {
        fs::read(self.path("serve.log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }
}

/// A connection to a file, patient as a well-behaved program.
pub fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a database can be opened");
    connection.busy_timeout(Duration::from_secs(30)).expect("a timeout can be set");
    // What the tests write need not survive a power cut, and there is a lot of it. sluice's own connections are another matter.
    connection.pragma_update(None, "synchronous", "off").expect("a setting");
    connection
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            println!("--- the end of serve.log ---\n{}\n---", shown.join("\n"));
        }
    }
}
