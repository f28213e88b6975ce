//! sluice keeps databases in step: the service, and the face for programs that embed the engine.
//!
//! A program that embeds it loads a [`Config`], opens an [`Engine`] on it and starts its pipelines (`examples/embed.rs`); [`serve`]
//! runs the whole service. The `sluice` command is a thin user of what is here.

pub mod authoring;
pub mod cases;
pub mod check;
mod clock;
pub mod config;
mod engine;
mod http;
mod inspect;
mod process;
mod registry;
mod secrets;
mod service;
mod shipped;
mod wording;

pub use clock::SystemClock;
pub use config::Config;
pub use engine::{
    COMPILE_PLUGIN, ConflictView, DeadLetterView, DecidedRow, Engine, LineLineage, LineName, LineReport,
    Options, Outcome, Reloaded, Scope, Status,
};
pub use http::Server;
pub use inspect::{Inspected, inspect};
pub use registry::Registry;
pub use service::{Request, STOP_WITHIN, serve, service_address};
pub use shipped::PLUGINS as SHIPPED_PLUGINS;
pub use sluice_pipeline::{LineStatus, Phase, Until};
pub use sluice_types::{Error, ErrorKind, Result};
pub use wording::for_callers;
