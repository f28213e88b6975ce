//! The real process on real databases: killed, restarted, swapped under load, starved, and fed with rubbish.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod away;
mod bad_configuration;
mod changed_source;
mod full_disk;
mod harness;
mod kills;
mod large;
mod poison;
mod quickstart;
mod restored;
mod service;
mod swap;
mod two_engines;
