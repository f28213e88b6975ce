//! Compiling components off the hot path: in a child process with limits, since a component is somebody else's input to a
//! compiler, and a large one takes 10 seconds of CPU.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_types::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::engine;
use crate::limits::{
    COMPILE_CPU_SECS, COMPILE_MEMORY_BYTES, COMPILE_WALL_SECS, COMPILED_BYTES, COMPONENT_BYTES,
};
use crate::text::printable;

/// Where components are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In this process, without limits: for tests and for embedders that trust their plugins' authors.
    InProcess,
    /// In a child process with limits on memory and CPU: this program with these arguments must call [`compile_plugin_main`].
    Child {
        /// The program; the `sluice` binary passes itself.
        program: PathBuf,
        /// Its arguments; the `sluice` binary passes a hidden subcommand.
        args: Vec<OsString>,
    },
}

impl Compiler {
    /// Compiled code for this component.
    pub(crate) async fn compile(&self, component: Bytes) -> Result<Vec<u8>> {
        match self {
            Compiler::InProcess => tokio::task::spawn_blocking(move || compile(&component))
                .await
                .map_err(|why| Error::new(ErrorKind::Internal, "the compiler broke").because(why))?,
            Compiler::Child { program, args } => {
                let limit = Duration::from_secs(COMPILE_WALL_SECS);
                match tokio::time::timeout(limit, in_child(program, args, component)).await {
                    Ok(result) => result,
                    Err(_) => Err(too_slow()),
                }
            }
        }
    }
}

fn compile(component: &[u8]) -> Result<Vec<u8>> {
    engine::on_demand()?.precompile_component(component).map_err(|why| {
        let what = "the file is not a valid WebAssembly component";
        invalid(what, &format!("{:#}", why))
    })
}

fn invalid(what: &'static str, why: &str) -> Error {
    Error::new(ErrorKind::PluginInvalid, what)
        .because(printable(why, 500))
        .remedy("Build it as a component (`sluice plugin inspect FILE` says more), and copy it whole: to another name first, then rename it")
}

fn over_limits() -> Error {
    let what = "the compiler needed more time or memory than a plugin may cost";
    Error::new(ErrorKind::PluginInvalid, what).remedy(format!(
        "Limits: {COMPILE_MEMORY_BYTES} bytes, {COMPILE_CPU_SECS} CPU seconds. Is it a plugin?"
    ))
}

/// The child has CPU time of its own: if that is not used up by now, the machine had none to give.
fn too_slow() -> Error {
    let what = format!("the machine had no time to compile the plugin within {COMPILE_WALL_SECS} seconds");
    Error::new(ErrorKind::Timeout, what).remedy("Try again when the machine has less to do")
}

async fn in_child(program: &PathBuf, args: &[OsString], component: Bytes) -> Result<Vec<u8>> {
    let broke = |why: std::io::Error| {
        Error::new(ErrorKind::Internal, "the compiling process can't be run").because(why)
    };
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broke)?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Error::new(ErrorKind::Internal, "the compiling process has no pipes"));
    };
    let (mut code, mut said) = (Vec::new(), Vec::new());
    let feed = async move {
        // A child that died early closes its pipe; its exit status says why.
        let _ = stdin.write_all(&component).await;
        drop(stdin);
    };
    let mut stdout = stdout.take(COMPILED_BYTES);
    let mut stderr = stderr.take(4 << 10);
    let (_, read, _) = tokio::join!(feed, stdout.read_to_end(&mut code), stderr.read_to_end(&mut said));
    read.map_err(broke)?;
    let status = child.wait().await.map_err(broke)?;
    match status.code() {
        Some(0) if (code.len() as u64) < COMPILED_BYTES => Ok(code),
        Some(1) => {
            Err(invalid("the file is not a valid WebAssembly component", &String::from_utf8_lossy(&said)))
        }
        Some(0) | None => Err(over_limits()),
        Some(other) => {
            let said = printable(&String::from_utf8_lossy(&said), 500);
            Err(Error::new(ErrorKind::Internal, format!("the compiling process ended with {other}"))
                .because(said))
        }
    }
}

/// The child's side: reads a component from standard input, writes compiled code to standard output. Exit code 1: the component is
/// invalid, and standard error says why; 3: something else broke.
pub fn compile_plugin_main() -> ExitCode {
    match child() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.kind() == ErrorKind::PluginInvalid { 1 } else { 3 };
            let cause =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            // Nobody is left to be told when standard error is gone.
            let _ = std::io::stderr().write_all(cause.as_bytes());
            ExitCode::from(code)
        }
    }
}

fn child() -> Result<()> {
    lower_limits()?;
    let io = |why: std::io::Error| Error::new(ErrorKind::Internal, "a pipe broke").because(why);
    let mut component = Vec::new();
    std::io::stdin().take(COMPONENT_BYTES + 1).read_to_end(&mut component).map_err(io)?;
    let code = compile(&component)?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&code).and_then(|()| stdout.flush()).map_err(io)
}

/// Data, not address space: wasmtime reserves far more addresses than it uses.
fn lower_limits() -> Result<()> {
    for (resource, limit) in
        [(Resource::Data, COMPILE_MEMORY_BYTES), (Resource::Cpu, COMPILE_CPU_SECS), (Resource::Core, 0)]
    {
        let now = getrlimit(resource);
        let least = |given: Option<u64>| Some(given.map_or(limit, |given| given.min(limit)));
        setrlimit(resource, Rlimit { current: least(now.current), maximum: least(now.maximum) })
            .map_err(|why| Error::new(ErrorKind::Internal, "a resource limit can't be set").because(why))?;
    }
    Ok(())
}
