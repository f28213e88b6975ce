//! The contract itself (`wit/plugin.wit`), as generated: for those who want to answer to the host without any help.

#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code)]

wit_bindgen::generate!({
    world: "hosted-transform-plugin",
    path: "../../wit",
    pub_export_macro: true,
    export_macro_name: "export_transformer",
    default_bindings_module: "sluice_sdk::raw",
});

pub use exports::sluice::plugin::transformer::{Batch, Guest, Output, Plan, RowError, Written};
pub use sluice::plugin::types::{
    Blobs, Column, ColumnData, ColumnInfo, ColumnType, ConfigError, Info, Strings, TableInfo,
};
pub use sluice::plugin::{crypto, log};
