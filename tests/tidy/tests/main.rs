//! The laws of the house. Each test says what it forbids and why; each forbids something on a made-up offender too, so that a
//! law which can't fail is noticed.

#![allow(clippy::expect_used)] // a test may stop where its ground is missing

mod source;
mod walls;

use std::path::{Path, PathBuf};

/// The repository's root: where cargo runs the test, for a program in a shared target folder may be older than its clone's place.
fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).ancestors().nth(2).expect("tests/tidy is two below the root").to_path_buf()
}
