//! A case as it stands in its file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_types::{Column, ColumnType, TableId, TableSchema};
use sluice_wasm::{CryptoGrant, CryptoOp, Grants, KeyRing};

/// The columns of one image by name. One that is left out is absent.
pub type Fields = BTreeMap<String, Json>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What is shown, in a sentence.
    pub about: String,
    pub table: Vec<ColumnDef>,
    pub config: Json,
    /// Whether the source logs rows whole as they were before a change.
    #[serde(default)]
    pub complete_before_images: bool,
    /// What the step is granted, as in `sluice.yaml`; keys are named by `keys`.
    #[serde(default)]
    pub grant: GrantDef,
    /// Base64 of 32 bytes, by name.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    /// The columns that come out, in order, if the case is about them.
    pub output: Option<Vec<ColumnDef>>,
    /// What is wrong with the configuration; then there are no events.
    #[serde(default)]
    pub errors: Vec<ExpectedError>,
    #[serde(default)]
    pub events: Vec<EventCase>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDef {
    pub crypto: Option<CryptoDef>,
    pub log: Option<Empty>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CryptoDef {
    pub keys: Vec<String>,
    pub ops: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnDef {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: ColumnType,
    #[serde(default)]
    pub key: bool,
    /// If left out: everything but the key may be null.
    pub nullable: Option<bool>,
    #[serde(default)]
    pub native: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedError {
    /// A JSON Pointer into the configuration.
    pub path: String,
    /// Part of what is said.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventCase {
    pub event: ChangeDef,
    /// What comes out, in order.
    pub gives: Option<Vec<ChangeDef>>,
    /// Why it is refused instead.
    pub rejects: Option<ExpectedReject>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedReject {
    pub column: Option<String>,
    /// Part of what is said.
    pub message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeDef {
    Snapshot(Fields),
    Insert(Fields),
    Update { before: Option<Fields>, after: Fields },
    Delete(Fields),
}

impl Case {
    pub fn load(path: &Path) -> Result<Case, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        // `y` and `on` are names of columns here, as everywhere since YAML 1.2.
        let options = serde_saphyr::options! { strict_booleans: true };
        let json: Json =
            serde_saphyr::from_str_with_options(&text, options).map_err(|error| error.to_string())?;
        let case: Case = serde_json::from_value(json).map_err(|error| error.to_string())?;
        if case.errors.is_empty() == case.events.is_empty() {
            return Err("a case has either `errors` or `events`".into());
        }
        Ok(case)
    }

    /// What the step is granted.
    pub fn grants(&self) -> Result<Grants, String> {
        let key = |name: &String| -> Option<KeyRing> {
            let bytes = base64::engine::general_purpose::STANDARD.decode(self.keys.get(name)?).ok()?;
            Some(KeyRing::new(name, &bytes.try_into().ok()?, &[]))
        };
        let op = |word: &String| CryptoOp::ALL.into_iter().find(|op| op.word() == word);
        let crypto = self.grant.crypto.as_ref().map(|def| {
            let keys: Option<Vec<KeyRing>> = def.keys.iter().map(key).collect();
            let ops: Option<BTreeSet<CryptoOp>> = def.ops.iter().map(op).collect();
            keys.zip(ops)
                .map(|(keys, ops)| CryptoGrant { keys, ops })
                .ok_or("the grant names no key or operation")
        });
        Ok(Grants { crypto: crypto.transpose()?, log: self.grant.log.is_some() })
    }

    pub fn schema(&self) -> TableSchema {
        let column = |(slot, def): (usize, &ColumnDef)| Column {
            name: def.name.as_str().into(),
            ty: def.ty,
            native: def.native.as_str().into(),
            nullable: def.nullable.unwrap_or(!def.key),
            slot: slot as u32,
        };
        TableSchema {
            table: TableId::new("", "t"),
            database: "test".into(),
            kind: "memory".into(),
            version: 1,
            columns: self.table.iter().enumerate().map(column).collect(),
            key: (0..self.table.len() as u32).filter(|&at| self.table[at as usize].key).collect(),
            before_images: self.complete_before_images,
        }
    }
}

/// A schema in the words of a case.
pub fn described(schema: &Arc<TableSchema>) -> Vec<ColumnDef> {
    let columns = schema.columns.iter().enumerate();
    columns
        .map(|(at, column)| ColumnDef {
            name: column.name.to_string(),
            ty: column.ty,
            key: schema.is_key(at),
            nullable: Some(column.nullable),
            native: column.native.to_string(),
        })
        .collect()
}
