//! Why a command did not do what was asked, and its exit code.

use std::process::ExitCode;

use serde_json::{Value, json};
use sluice::{Error, ErrorKind};

use super::out;

/// The exit code of a finding or failure.
const FAILED: u8 = 1;
/// The exit code of wrong use.
const WRONG_USE: u8 = 2;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The engine, in this process.
    Engine(Error),
    /// The running service answered so.
    Service { code: String, message: String },
    /// What was typed makes no sense.
    WrongUse(String),
    /// All has been said already.
    Told,
}

impl Failure {
    /// Tells it to whoever typed the command, and gives the exit code.
    pub fn tell(self, as_json: bool) -> ExitCode {
        let (code, message) = match &self {
            Failure::Engine(error) => (error.kind().code(), error.to_string()),
            Failure::Service { code, message } => (code.as_str(), format!("{code}: {message}")),
            Failure::WrongUse(message) => ("wrong-use", message.clone()),
            Failure::Told => return ExitCode::from(FAILED),
        };
        if as_json {
            out::json(&self.to_json(code, &message));
        } else {
            out::note(format_args!("sluice: {message}"));
        }
        let wrong_use = matches!(self, Failure::WrongUse(_)) || code == ErrorKind::PipelineMissing.code();
        ExitCode::from(if wrong_use { WRONG_USE } else { FAILED })
    }

    fn to_json(&self, code: &str, message: &str) -> Value {
        match self {
            Failure::Engine(error) => json!({
                "code": code,
                "message": sluice::for_callers(error),
                "findings": error.all_findings(),
            }),
            Failure::Service { message, .. } => json!({ "code": code, "message": message }),
            _ => json!({ "code": code, "message": message }),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Engine(error)
    }
}
