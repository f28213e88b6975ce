//! sluice-sqlite
