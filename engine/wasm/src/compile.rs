//! Compiling components off the hot path.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

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

/// The child's side: reads a component from standard input, writes compiled code to standard output.
pub fn compile_plugin_main() -> ExitCode {
    ExitCode::FAILURE
}
