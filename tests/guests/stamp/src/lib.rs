//! A guest whose versions are told apart by what they write: it adds a text column `made_by` that holds its version, computed (as
//! far as the host can know) from the column that the configuration names.
//!
//! Version and behaviour stand in its data, in [`BUILD`], so that tests make as many different components as they like by patching
//! those bytes (`sluice_e2e::stamp`) instead of building one each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;

use serde::Deserialize;
use sluice_sdk::raw::*;

/// `stamp-build:`, then 8 bytes of version, then 12 bytes of behaviour, both filled up with spaces.
static BUILD: [u8; 32] = *b"stamp-build:v0      plain       ";

fn build() -> (&'static str, &'static str) {
    // Or else the compiler would use what it knows of the bytes before they are patched.
    let build: &'static [u8; 32] = black_box(&BUILD);
    let text = std::str::from_utf8(&build[12..]).unwrap_or("?");
    (text[..8].trim_end(), text[8..].trim_end())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The column that it reads.
    column: String,
    /// Put in front of the version: a configuration that shows.
    #[serde(default)]
    prefix: String,
}

struct Stamp;
sluice_sdk::raw::export_transformer!(Stamp with_types_in sluice_sdk::raw);

/// One opened table.
#[derive(Clone)]
struct Opened {
    prefix: String,
    /// The number of the new column.
    made_by: u32,
}

thread_local! {
    static OPENED: RefCell<HashMap<u32, Opened>> = RefCell::default();
}

impl Guest for Stamp {
    fn describe() -> Info {
        Info {
            name: "stamp".into(),
            version: build().0.into(),
            summary: "Writes its version beside every row".into(),
            config_schema: r#"{"type": "object", "required": ["column"]}"#.into(),
        }
    }

    fn open(handle: u32, table: TableInfo, config: String) -> Result<Option<Plan>, Vec<ConfigError>> {
        let refuse = |path: &str, message: String| vec![ConfigError { path: path.into(), message }];
        let config: Config = serde_json::from_str(&config).map_err(|error| refuse("", error.to_string()))?;
        let behaviour = build().1;
        if behaviour == "refuses" {
            return Err(refuse("/column", "this version wants another configuration".into()));
        }
        let column = table.columns.iter().position(|column| column.name == config.column);
        let column = column
            .ok_or_else(|| refuse("/column", format!("there is no column `{}`", config.column)))?
            as u32;
        let made_by = ColumnInfo {
            name: "made_by".into(),
            type_: if behaviour == "retypes" { ColumnType::Int64 } else { ColumnType::Text },
            native: String::new(),
            nullable: false,
            key: false,
        };
        let index = table.columns.len() as u32;
        let opened = Opened { prefix: config.prefix, made_by: index };
        OPENED.with_borrow_mut(|all| all.insert(handle, opened));
        Ok(Some(Plan {
            // A wider plan wants to see everything.
            read: if behaviour == "wider" { (0..index).collect() } else { vec![column] },
            write: vec![Written { index, column: made_by, from: vec![column], deterministic: true }],
            rename: Vec::new(),
            drop: Vec::new(),
            before_images: true,
            selects: false,
            changes_kinds: false,
            joined_text: false,
            routes: Vec::new(),
        }))
    }

    fn close(handle: u32) {
        OPENED.with_borrow_mut(|all| all.remove(&handle));
    }

    fn transform(handle: u32, batch: Batch) -> Result<Output, String> {
        let opened = OPENED.with_borrow(|all| all.get(&handle).cloned());
        let opened = opened.ok_or_else(|| format!("no table is open as {handle}"))?;
        let (version, behaviour) = build();
        let rows = batch.rows as usize;
        let data = match behaviour {
            "traps" => panic!("this version traps"),
            "spins" => loop {
                black_box(());
            },
            "fails" => return Err("this version fails".into()),
            "retypes" => ColumnData::Ints(vec![0; rows]),
            _ => {
                let stamp = opened.prefix + version;
                let offsets = (0..=rows).map(|row| (row * stamp.len()) as u32).collect();
                ColumnData::Strings(Strings { offsets, data: stamp.repeat(rows) })
            }
        };
        let columns = vec![Column { index: opened.made_by, state: Vec::new(), data }];
        Ok(Output { columns, select: None, kinds: Vec::new(), routes: Vec::new(), rejects: Vec::new() })
    }
}
