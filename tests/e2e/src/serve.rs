//! The service as a process.

use std::fs::{self, OpenOptions};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::http::{self, Answer};
use crate::site::Site;
use crate::{binary, wait};

/// A running `sluice serve`. Killed when dropped.
#[derive(Debug)]
pub struct Serve {
    child: Child,
    address: String,
    token: String,
}

impl Serve {
    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start(site: &Site) -> Self {
        Self::start_with(site, Command::new(binary::sluice()))
    }

    /// The same with a command that runs `sluice` with the arguments it is given (to set limits, say).
    #[track_caller]
    pub fn start_with(site: &Site, command: Command) -> Self {
        let mut serve = Self::spawn(site, command);
        let (address, token) = wait::until("serve to answer", || {
            if let Some(status) = serve.exited() {
                panic!("serve ended with {status}:\n{}", site.log());
            }
            let read =
                |name: &str| fs::read_to_string(site.path(name)).map_err(|error| format!("{name}: {error}"));
            let address = read("state/address")?.lines().next().unwrap_or_default().to_string();
            let health = http::request("GET", &address, "/health", &[])?;
            wait::when(health, |health| health.status == 200).map_err(|health| format!("{health:?}"))?;
            Ok::<_, String>((address, read("state/token")?.trim().to_string()))
        });
        serve.address = address;
        serve.token = token;
        serve
    }

    /// Starts it without waiting for anything: for one that is to be killed, or to refuse.
    #[track_caller]
    pub fn spawn(site: &Site, mut command: Command) -> Self {
        // What an earlier process wrote there that was killed must not be taken for this one's.
        let _ = fs::remove_file(site.path("state/address"));
        let log = OpenOptions::new().create(true).append(true).open(site.path("serve.log")).expect("a log");
        command
            .args(["serve", "-c"])
            .arg(site.path("sluice.yaml"))
            .current_dir(site.path(""))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let child = command.spawn().expect("serve can be started");
        Serve { child, address: String::new(), token: String::new() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The token in its state folder.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Asks without a token.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        http::request("GET", &self.address, path, &[]).expect("serve answers")
    }

    /// Asks with the token.
    #[track_caller]
    pub fn post(&self, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        http::request("POST", &self.address, path, &[("authorization", &bearer)]).expect("serve answers")
    }

    /// The status of its first line.
    #[track_caller]
    pub fn line(&self) -> Json {
        self.get("/api/v1/status").json()["lines"][0].clone()
    }

    /// A metric, all labels summed up; 0 when it isn't there.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        http::metric(&self.get("/metrics").text, name, &[]).unwrap_or(0.0)
    }

    /// Waits until the line is as wanted, and answers its status.
    #[track_caller]
    pub fn line_when(&self, what: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        wait::until(what, || wait::when(self.line(), |line| wanted(line)))
    }

    /// Waits until the line has met its databases, so that what befalls them befalls it.
    #[track_caller]
    pub fn under_way(&self) -> Json {
        self.line_when("the line to be under way", |line| line["phase"] != "starting")
    }

    /// Waits until the target is consistent and nothing is left to do.
    #[track_caller]
    pub fn caught_up(&self) -> Json {
        self.line_when("the line to catch up", |line| line["ready"] == true && line["lag"] == 0)
    }

    /// Waits until the line has paused, and answers its reason: code and text.
    #[track_caller]
    pub fn paused(&self) -> (String, String) {
        reason(&self.line_when("the line to pause", |line| line["phase"] == "paused"))
    }

    /// Waits until the line retries, and answers its reason: code and text.
    #[track_caller]
    pub fn retrying(&self) -> (String, String) {
        reason(&self.line_when("the line to retry", |line| line["phase"] == "retrying"))
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        wait::until("serve to end", || self.exited().ok_or("it runs"))
    }

    /// kill -9, and gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// Asks it to end and answers how it did, and how long it took.
    #[track_caller]
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        self.signal(Signal::TERM);
        (self.ended(), asked.elapsed())
    }

    /// Asks it to end, which must be well.
    #[track_caller]
    pub fn stop(self) {
        let (status, _) = self.terminate();
        assert_eq!(status.code(), Some(0), "serve ends well when asked to");
    }
}

fn reason(line: &Json) -> (String, String) {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_string();
    (text(&line["reason"][0]), text(&line["reason"][1]))
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
