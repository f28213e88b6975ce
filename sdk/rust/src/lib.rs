//! Write sluice plugins in Rust.
//!
//! So far the contract itself, as generated ([`raw`]); the layer for authors is being built on it.

pub mod raw;
