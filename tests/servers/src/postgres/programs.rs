//! Which versions of PostgreSQL are installed here, and where.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place;

/// Where distributions put a version's programs, and where `scripts/setup` does; `*` is the version.
const SYSTEM: &[&str] = &["/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"];

/// One installed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its major version.
    pub version: u32,
    /// The folder of its programs.
    pub bin: PathBuf,
}

/// The versions that are installed, the oldest first. Those before 15 don't count.
pub fn installed() -> Vec<Installed> {
    let mut candidates = Vec::new();
    for pattern in SYSTEM {
        let (before, after) = pattern.split_once('*').expect("a pattern");
        candidates.extend((15..40).map(|version| PathBuf::from(format!("{before}{version}{after}"))));
    }
    for programs in place::programs() {
        candidates.extend((15..40).map(|version| programs.join(format!("postgresql-{version}/bin"))));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    candidates.extend(std::env::split_paths(&path).filter(|dir| dir.join("initdb").exists()));
    let mut found: Vec<Installed> = Vec::new();
    for bin in candidates {
        if let Some(version) = version(&bin)
            && version >= 15
            && found.iter().all(|installed| installed.version != version)
        {
            found.push(Installed { version, bin });
        }
    }
    found.sort_by_key(|installed| installed.version);
    found
}

/// `postgres (PostgreSQL) 15.18 (Debian …)`.
fn version(bin: &Path) -> Option<u32> {
    if !bin.join("postgres").exists() {
        return None;
    }
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}
