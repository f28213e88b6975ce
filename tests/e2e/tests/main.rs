//! The real process on real databases: killed, restarted, swapped under load, starved, and fed with rubbish.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod authors;
mod away;
mod bad_configuration;
mod bad_servers;
mod changed_source;
mod conflicts;
mod constrained;
mod documents;
mod encryption;
mod full_disk;
mod golden;
mod harness;
mod huge;
mod indexes;
mod kills;
mod large;
mod outages;
mod pairs;
mod poison;
mod postgres_log;
mod preflight;
mod quickstart;
mod restored;
mod service;
mod swap;
mod two_engines;
mod values;
mod values_of_sqlite;
