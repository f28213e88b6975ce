//! A transform that imports a clock, which nobody grants.

wit_bindgen::generate!({
    inline: r#"
        package test:forbidden;
        world clocked {
            include sluice:plugin/transform-plugin@0.1.0;
            import wasi:clocks/monotonic-clock@0.2.0;
        }
        package wasi:clocks@0.2.0 { interface monotonic-clock { type instant = u64; now: func() -> instant; } }
    "#,
    path: "../../../wit",
    world: "test:forbidden/clocked",
    generate_all,
});

use exports::sluice::plugin::transformer::{Batch, Guest, Output, Plan};
use sluice::plugin::types::{ConfigError, Info, TableInfo};

struct Clocked;
export!(Clocked);

impl Guest for Clocked {
    fn describe() -> Info {
        let version = wasi::clocks::monotonic_clock::now().to_string();
        Info { name: "forbidden-import".into(), version, summary: String::new(), config_schema: "{}".into() }
    }

    fn open(_: u32, _: TableInfo, _: String) -> Result<Option<Plan>, Vec<ConfigError>> {
        Ok(None)
    }

    fn close(_: u32) {}

    fn transform(_: u32, _: Batch) -> Result<Output, String> {
        Err("never opened".into())
    }
}
