//! Every guest of this repository as a component, built by `scripts/build-guest`: the shipped plugins, the SDKs' probes and
//! templates, and the small ones in the folders beside this crate.

#![allow(clippy::panic)] // for tests only: a guest that isn't there is a mistake in the test

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// The Rust SDK's probe: a guest that does on command whatever a guest may and may not do.
pub const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rust-probe.wasm"));

/// The guest of that name: its folder's, with the language in front for an SDK's `probe`, `template` and `forbidden` (`rust-probe`).
///
/// # Panics
/// If there is none.
pub fn guest(name: &str) -> &'static [u8] {
    match GUESTS.iter().find(|(known, ..)| *known == name) {
        Some((.., path)) => read(path),
        None => panic!("there is no guest `{name}`; there are: {}", names().collect::<Vec<_>>().join(", ")),
    }
}

/// The bytes of a component, read once: those of a Python guest are not linked into every test program.
fn read(path: &'static str) -> &'static [u8] {
    static READ: Mutex<BTreeMap<&str, &'static [u8]>> = Mutex::new(BTreeMap::new());
    READ.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_insert_with(|| {
        let bytes = std::fs::read(path);
        Box::leak(bytes.unwrap_or_else(|error| panic!("{path} can't be read: {error}")).into_boxed_slice())
    })
}

/// The names of all guests.
pub fn names() -> impl Iterator<Item = &'static str> {
    GUESTS.iter().map(|(name, ..)| *name)
}

/// The languages that there is a probe in, by the names of their folders in `sdk/`: a guest that does on command whatever a guest may and may
/// not do, and by which the language is proved against the host's one suite.
pub fn languages() -> impl Iterator<Item = &'static str> {
    names().filter_map(|name| name.strip_suffix("-probe"))
}

/// The folder of a guest's package.
pub fn folder(name: &str) -> Option<&'static std::path::Path> {
    GUESTS.iter().find(|(known, ..)| *known == name).map(|(_, folder, ..)| std::path::Path::new(*folder))
}

/// The shipped plugins, by name, as the host takes them.
pub fn shipped() -> &'static [(&'static str, &'static [u8])] {
    static SHIPPED: std::sync::OnceLock<Vec<(&'static str, &'static [u8])>> = std::sync::OnceLock::new();
    SHIPPED.get_or_init(|| {
        GUESTS
            .iter()
            .filter(|(_, _, shipped, _)| *shipped)
            .map(|(name, _, _, path)| (*name, read(path)))
            .collect()
    })
}
