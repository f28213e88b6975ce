//! The configuration. The README says what each part means.

use std::collections::BTreeMap;

use serde::Deserialize;
use sluice_sdk::{ColumnType, Table, did_you_mean, pointer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub key: String,
    #[serde(default)]
    pub mode: Mode,
    pub columns: Columns,
    #[serde(default, rename = "as")]
    pub form: Form,
    #[serde(default)]
    pub domain: Option<String>,
    #[serde(default)]
    pub sealed: Option<Sealed>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Seal,
    Open,
    Hash,
}

/// How sealed values and hashes are written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    #[default]
    Text,
    Bytes,
}

impl Form {
    pub fn column_type(self) -> ColumnType {
        match self {
            Form::Text => ColumnType::Text,
            Form::Bytes => ColumnType::Bytes,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Columns {
    Names(Vec<String>),
    Typed(BTreeMap<String, String>),
}

/// Where values were sealed.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    #[serde(default)]
    pub pipeline: String,
    pub table: Option<String>,
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

/// A column of the configuration: its place there, its name, and the type that opening it gives.
pub struct Named {
    pub path: String,
    pub name: String,
    pub ty: ColumnType,
}

impl Config {
    /// The columns; what is wrong about them, and about what belongs to another mode, goes to the table.
    pub fn named(&self, table: &mut Table) -> Vec<Named> {
        if self.domain.is_some() && self.mode != Mode::Hash {
            table.error("/domain", "only a hash has a domain: leave it out, or write `mode: hash`");
        }
        if self.sealed.is_some() && self.mode != Mode::Open {
            table.error(
                "/sealed",
                "only what is opened was sealed before: leave it out, or write `mode: open`",
            );
        }
        if self.key.is_empty() {
            table.error("/key", "name a key of the section `keys:`");
        }
        let named = match &self.columns {
            Columns::Names(names) => {
                let one = |(at, name): (usize, &String)| Named {
                    path: pointer(&["columns", &at.to_string()]),
                    name: name.clone(),
                    ty: ColumnType::Text,
                };
                names.iter().enumerate().map(one).collect()
            }
            Columns::Typed(types) => {
                if self.mode != Mode::Open {
                    table.error("/columns", "write a list of names here: types belong to `mode: open`");
                }
                types.iter().map(|(name, word)| typed(table, name, word)).collect::<Vec<_>>()
            }
        };
        if named.is_empty() {
            table.error("/columns", "name a column");
        }
        for name in self.sealed.iter().flat_map(|sealed| sealed.columns.keys()) {
            if !named.iter().any(|column| column.name == *name) {
                let hint = did_you_mean(name, named.iter().map(|column| column.name.as_str()));
                table
                    .error(&pointer(&["sealed", "columns", name]), format!("`{name}` is not opened; {hint}"));
            }
        }
        named
    }
}

fn typed(table: &mut Table, name: &str, word: &str) -> Named {
    let path = pointer(&["columns", name]);
    let ty = TYPES.iter().find(|ty| ty.word() == word).copied();
    if ty.is_none() {
        let words = TYPES.map(|ty| ty.word());
        let hint = did_you_mean(word, words.iter().copied());
        table.error(&path, format!("there is no type `{word}`; {hint} one of: {}", words.join(", ")));
    }
    Named { path, name: name.into(), ty: ty.unwrap_or(ColumnType::Text) }
}

/// In the order of the contract: a value's type is sealed with it, as its place in here.
pub const TYPES: [ColumnType; 20] = [
    ColumnType::Boolean,
    ColumnType::Int64,
    ColumnType::Uint64,
    ColumnType::Float32,
    ColumnType::Float64,
    ColumnType::Decimal,
    ColumnType::Text,
    ColumnType::Bytes,
    ColumnType::Date,
    ColumnType::Time,
    ColumnType::Timestamp,
    ColumnType::Timestamptz,
    ColumnType::Interval,
    ColumnType::Uuid,
    ColumnType::Json,
    ColumnType::Array,
    ColumnType::Document,
    ColumnType::ObjectId,
    ColumnType::Enumeration,
    ColumnType::Extended,
];
