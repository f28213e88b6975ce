//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `sluice` binary. With `SLUICE=PATH` in the environment that one; else it is brought up to date with cargo once per run
/// of the tests, into the target folder and profile that the tests themselves were built in. (Cargo gives the path of a binary
/// only to tests of its own package, and what lies in the target folder may be older than the sources.)
pub fn sluice() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("SLUICE") {
        Some(given) => std::fs::canonicalize(given).expect("SLUICE names a program"),
        None => build(),
    })
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/e2e is two below the root")
}

fn build() -> PathBuf {
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
    assert!(output.status.success(), "sluice does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    profile.join("sluice")
}
