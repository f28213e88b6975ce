//! The command line: reads what was typed, does it by the library or by the running service, and tells what came of it.

mod args;
mod authors;
mod check;
mod client;
mod conflicts;
mod dlq;
mod failure;
mod logging;
mod operations;
mod out;
mod plugins;
mod progress;
mod serve;
mod signals;
mod status;
mod sync;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sluice::{Config, Engine, Error, ErrorKind, Options, Registry};

use args::{Arguments, Command, Common};
use client::Client;
use failure::Failure;

/// Threads that run the lines: the work that blocks (databases, plugins being compiled) has threads of its own.
const WORKERS: usize = 2;

/// Does what was typed.
pub fn main() -> ExitCode {
    let Arguments { common, command } = Arguments::parse();
    if matches!(command, Command::CompilePlugin) {
        return sluice_wasm::compile_plugin_main();
    }
    let quiet = !matches!(command, Command::Serve { .. });
    let done = logging::start(&common, quiet).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "the runtime can't be started").because(error)
            })?;
        let done = runtime.block_on(run(&common, command));
        // What still blocks (a busy database file) must not keep the process from ending.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(common.json),
    }
}

async fn run(common: &Common, command: Command) -> Result<(), Failure> {
    match command {
        Command::Check { offline } => check::check(common, offline).await,
        Command::Sync { pipelines, take_over, drop_slot } => {
            sync::sync(common, &pipelines, take_over, drop_slot).await
        }
        Command::Indexes { pipeline } => check::indexes(common, pipeline.as_deref()).await,
        Command::Serve { take_over, listen } => serve::serve(common, listen, take_over).await,
        Command::Status => status::status(common),
        Command::Pause { pipeline, ddl, tables, reason } => {
            operations::pause(common, pipeline.as_deref(), ddl, &tables, reason.as_deref()).await
        }
        Command::Resume { pipeline } => operations::resume(common, pipeline.as_deref()).await,
        Command::Delete { pipeline } => operations::delete(common, &pipeline).await,
        Command::Resnapshot { pipeline, tables } => operations::resnapshot(common, &pipeline, &tables).await,
        Command::Schema => {
            out::json(&sluice::config::schema::json_schema(&Registry::shipped()));
            Ok(())
        }
        Command::Plugin(command) => plugins::plugin(common, command).await,
        Command::Conflicts(command) => conflicts::conflicts(common, command).await,
        Command::Dlq(command) => dlq::dlq(common, command).await,
        Command::CompilePlugin => Ok(()),
    }
}

/// The configuration that `-c` names.
fn config(common: &Common) -> Result<Config, Failure> {
    Ok(Config::load(&common.config, &Registry::shipped())?)
}

/// An engine on it in this process.
async fn open(config: Config, take_over: bool) -> Result<Engine, Failure> {
    let options = Options { registry: Registry::shipped(), take_over, compiler: Some(own_program()?) };
    Ok(Engine::open(config, options).await?)
}

/// This program, also when its file was replaced since it was started: then the kernel still has it.
fn own_program() -> Result<PathBuf, Failure> {
    let kept = PathBuf::from("/proc/self/exe");
    if kept.exists() {
        return Ok(kept);
    }
    let cannot_tell =
        |error| Error::new(ErrorKind::Internal, "this program's own file can't be found").because(error);
    Ok(std::env::current_exe().map_err(cannot_tell)?)
}

/// Who does it: the service that runs, or this process when none does.
enum Doer {
    Service(Client),
    Here(Box<Engine>),
}

impl Doer {
    async fn find(common: &Common) -> Result<Doer, Failure> {
        let config = config(common)?;
        match Client::find(&config)? {
            Some(client) => Ok(Doer::Service(client)),
            None => Ok(Doer::Here(Box::new(open(config, false).await?))),
        }
    }
}
