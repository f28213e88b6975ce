//! sluice-kit
