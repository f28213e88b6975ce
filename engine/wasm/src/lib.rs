//! sluice-wasm
