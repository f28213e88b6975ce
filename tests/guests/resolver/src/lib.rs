//! A component of the other world: a resolver where a transform is expected. The incoming side always wins.

wit_bindgen::generate!({ path: "../../../wit", world: "resolve-plugin" });

use exports::sluice::plugin::resolver::{Conflicts, Guest, Plan, Resolution};
use sluice::plugin::types::{ConfigError, Info, TableInfo};

struct Incoming;
export!(Incoming);

impl Guest for Incoming {
    fn describe() -> Info {
        Info {
            name: "incoming".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "The incoming side wins".into(),
            config_schema: "{}".into(),
        }
    }

    fn open(_: u32, _: TableInfo, _: String) -> Result<Option<Plan>, Vec<ConfigError>> {
        Ok(Some(Plan { read: Vec::new(), write: Vec::new(), joined_text: false }))
    }

    fn close(_: u32) {}

    fn resolve(_: u32, conflicts: Conflicts) -> Result<Resolution, String> {
        Ok(Resolution { choices: vec![0; conflicts.rows as usize], merged: Vec::new(), reasons: Vec::new() })
    }
}
