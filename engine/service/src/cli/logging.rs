//! The log: to standard error, as text or JSON. It never carries a row's values or a secret: errors and events are logged with codes,
//! names and places only.

use std::io::IsTerminal;

use sluice::{Error, ErrorKind};
use tracing_subscriber::EnvFilter;

use super::args::{Common, LogFormat};
use super::failure::Failure;

/// What a service logs, and what a command does that tells its outcome itself.
const FILTER: &str = "info";
const QUIET_FILTER: &str = "warn";

/// Starts logging, by the flags and environment.
pub fn start(common: &Common, quiet: bool) -> Result<(), Failure> {
    let filter = common.log.as_deref().unwrap_or(if quiet { QUIET_FILTER } else { FILTER });
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::WrongUse(format!("`--log {filter}` is not a filter: {error}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match common.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Error::new(ErrorKind::Internal, "logging can't be started").because(error).into())
}
