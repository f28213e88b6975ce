//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `sluice` binary. With `SLUICE=PATH` in the environment that one; else it is brought up to date with cargo once per run
/// of the tests, into the target folder and profile that the tests themselves were built in. (Cargo gives the path of a binary
/// only to tests of its own package, and what lies in the target folder may be older than the sources.)
pub fn sluice() -> &'static Path {
    // A failure is kept too: one test says why, the others don't build again.
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let binary = BINARY.get_or_init(|| match std::env::var_os("SLUICE") {
        Some(given) => {
            std::fs::canonicalize(given).map_err(|error| format!("SLUICE names no program: {error}"))
        }
        None => build(),
    });
    binary.as_deref().unwrap_or_else(|why| panic!("{why}"))
}

/// The root of the repository: where cargo runs the test, for a program in a shared target folder may be older than its clone's
/// place.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&here).ancestors().nth(2).expect("tests/e2e is two below the root").to_path_buf()
    })
}

fn build() -> Result<PathBuf, String> {
    // TARGET/PROFILE/deps/e2e-HASH
    let own = std::env::current_exe().expect("a test knows its own program");
    let profile = own.ancestors().nth(2).expect("the profile's folder");
    let target = profile.parent().expect("the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace is selected so that features are unified as they were for the tests: nothing is compiled twice.
    cargo
        .args(["build", "--workspace", "--bin", "sluice", "--offline", "--quiet", "--target-dir"])
        .arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(root()).output().expect("cargo runs");
    match output.status.success() {
        true => Ok(profile.join("sluice")),
        false => Err(format!("sluice does not build:\n{}", String::from_utf8_lossy(&output.stderr))),
    }
}
