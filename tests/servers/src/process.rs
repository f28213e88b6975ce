//! A server's process, and the watchdog that outlives its owner.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// What is shown of a log when a server doesn't come up.
const LOG_BYTES_SHOWN: usize = 4_000;

/// Waits for the end of its input, then ends the server and takes its folder away; a line of input sends it home instead.
const WATCHDOG: &str = r#"
read -r word && exit 0
kill -s "$2" "$1" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
kill -s KILL "$1" 2>/dev/null
rm -rf "$3"
"#;

/// A running server.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    watchdog: Child,
    leash: Option<ChildStdin>,
}

impl Process {
    /// Starts a command in `folder`, its output in `folder/log`. When this process ends in whatever way, the watchdog sends
    /// `at_end` to the server and removes the folder.
    pub fn start(mut command: Command, folder: &Path, at_end: &str) -> Process {
        let log = folder.join("log");
        let output = File::options().create(true).append(true).open(&log).expect("a log");
        // A process group of its own: an interrupt at the terminal is for the tests, which then end the server.
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG, "watchdog"]).arg(child.id().to_string()).arg(at_end).arg(folder);
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut watchdog = watchdog.spawn().expect("a shell");
        let leash = watchdog.stdin.take();
        Process { child, log, watchdog, leash }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True once it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits until `ready` answers, or says what the log does when the server has ended instead.
    pub fn ready<T>(&mut self, what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T, String> {
        let seen = wait::within(wait::PATIENCE, || match ready() {
            Some(found) => Some(Ok(found)),
            None if self.ended() => Some(Err(format!("{what} has ended:\n{}", self.log_end()))),
            None => None,
        });
        seen.unwrap_or_else(|| {
            Err(format!("{what} does not answer within {:?}:\n{}", wait::PATIENCE, self.log_end()))
        })
    }

    /// The end of the log.
    fn log_end(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_BYTES_SHOWN)..]).into_owned()
    }

    /// Sends a signal and waits for the end; after `patience` it is killed.
    pub fn end(mut self, signal: Signal, patience: Duration) {
        if !self.ended() {
            // It may end at this very moment.
            let _ = kill_process(Pid::from_child(&self.child), signal);
            if wait::within(patience, || self.ended().then_some(())).is_none() {
                println!("process {} ignores {signal:?} for {patience:?}; killed", self.pid());
                self.child.kill().expect("it is our child");
                self.child.wait().expect("it is our child");
            }
        }
        self.dismiss_watchdog();
    }

    /// kill -9 for it and everything that it has started, at once as far as that goes.
    pub fn kill(mut self) {
        let children = children(self.pid());
        // Stopped first: one that still runs would notice that the others die.
        for pid in std::iter::once(self.pid()).chain(children.iter().copied()) {
            send(pid, Signal::STOP);
        }
        for pid in std::iter::once(self.pid()).chain(children.iter().copied()) {
            send(pid, Signal::KILL);
        }
        self.child.wait().expect("it is our child");
        wait::within(wait::PATIENCE, || children.iter().all(|pid| !alive(*pid)).then_some(()));
        self.dismiss_watchdog();
    }

    fn dismiss_watchdog(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            // It may be gone: somebody killed it.
            let _ = leash.write_all(b"home\n");
        }
        let _ = self.watchdog.wait();
    }
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // One that has ended meanwhile needs no signal.
        let _ = kill_process(pid, signal);
    }
}

/// Whether a process is there and not a zombie.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
