//! Tables and their columns.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::value::{Row, Value};

/// The canonical types; the same list as `column-type` of the plugin contract (`wit/plugin.wit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum ColumnType {
    Boolean,
    Int64,
    Uint64,
    Float32,
    Float64,
    Decimal,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Json,
    Array,
    Document,
    ObjectId,
    Enumeration,
    Extended,
}

impl ColumnType {
    /// Whether a value is of this type; null and absent are of every type.
    pub fn holds(self, value: &Value) -> bool {
        match value {
            Value::Absent | Value::Null => true,
            other => other.type_name() == self.name(),
        }
    }

    /// The kebab-case name, as in the contract.
    pub fn name(self) -> &'static str {
        match self {
            ColumnType::Boolean => "boolean",
            ColumnType::Int64 => "int64",
            ColumnType::Uint64 => "uint64",
            ColumnType::Float32 => "float32",
            ColumnType::Float64 => "float64",
            ColumnType::Decimal => "decimal",
            ColumnType::Text => "text",
            ColumnType::Bytes => "bytes",
            ColumnType::Date => "date",
            ColumnType::Time => "time",
            ColumnType::Timestamp => "timestamp",
            ColumnType::Timestamptz => "timestamptz",
            ColumnType::Interval => "interval",
            ColumnType::Uuid => "uuid",
            ColumnType::Json => "json",
            ColumnType::Array => "array",
            ColumnType::Document => "document",
            ColumnType::ObjectId => "object-id",
            ColumnType::Enumeration => "enumeration",
            ColumnType::Extended => "extended",
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A table's name: its schema (empty where the database has none) and its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId {
    /// The schema or namespace; empty where there is none.
    pub schema: Arc<str>,
    /// The table's own name.
    pub name: Arc<str>,
}

impl TableId {
    /// A table in a schema; the empty schema where the database has none.
    pub fn new(schema: &str, name: &str) -> Self {
        TableId { schema: schema.into(), name: name.into() }
    }

    /// Reads `schema.name` or `name`. The first dot divides.
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => TableId::new(schema, name),
            None => TableId::new("", text),
        }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}.{}", self.schema, self.name)
        }
    }
}

/// A table's name with `*` for any run of characters, in the schema and in the name: `public.*`, `order_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern {
    schema: Option<String>,
    name: String,
}

impl TablePattern {
    /// Reads `schema.name` or `name`. Without a schema the pattern means the connector's default one
    /// (`public`, the connected database, none).
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => TablePattern { schema: Some(schema.into()), name: name.into() },
            None => TablePattern { schema: None, name: text.into() },
        }
    }

    /// Whether a table is meant, where `default_schema` is the schema that a bare name means.
    pub fn matches(&self, table: &TableId, default_schema: &str) -> bool {
        let schema = self.schema.as_deref().unwrap_or(default_schema);
        like(schema, &table.schema) && like(&self.name, &table.name)
    }

    /// The one table that is meant, when there is no `*` in the pattern.
    pub fn exact(&self, default_schema: &str) -> Option<TableId> {
        let schema = self.schema.as_deref().unwrap_or(default_schema);
        (!schema.contains('*') && !self.name.contains('*')).then(|| TableId::new(schema, &self.name))
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Whether `text` is like `pattern`, where `*` stands for any run of characters.
fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// One column of a [`TableSchema`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name, at this point of the line.
    pub name: Arc<str>,
    /// Its canonical type. A source with dynamic types (SQLite, MongoDB) may deliver values of other types too.
    pub ty: ColumnType,
    /// The source's own type name, as declared there (`numeric(18,4)`); empty for a column that a plugin made.
    pub native: Arc<str>,
    /// Whether null is allowed.
    pub nullable: bool,
    /// Where its value stands in a [`Row`].
    pub slot: u32,
}

/// What a table looks like at one point of the line: as its source has it, or as a chain of transforms made it.
///
/// Shared by every event that has this shape; a change of any kind is a new schema with a higher version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSchema {
    /// The table. After routing: the target's table.
    pub table: TableId,
    /// The database's name in the configuration.
    pub database: Arc<str>,
    /// The kind of the database that the native types are of: `sqlite`, `postgres`.
    pub kind: Arc<str>,
    /// Counts the shapes that the source's table has had, from 1.
    pub version: u32,
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The key, as indexes into `columns` in the key's own order. Never empty once the line runs.
    pub key: Vec<u32>,
    /// Every update and delete of the source's table brings a complete before image. `false` where that is not known.
    #[serde(default)]
    pub before_images: bool,
}

impl TableSchema {
    /// The index of a column by name.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }

    /// Whether a column (by index) is part of the key.
    pub fn is_key(&self, column: usize) -> bool {
        self.key.contains(&(column as u32))
    }

    /// The key's columns, in the key's order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|&index| self.columns.get(index as usize))
    }

    /// The key of a row of this shape.
    pub fn key_of(&self, row: &Row) -> Key {
        Key(self.key_columns().map(|column| row.get(column.slot).clone()).collect())
    }

    /// The values of a row in column order.
    pub fn values<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a Value> {
        self.columns.iter().map(|column| row.get(column.slot))
    }

    /// Whether every column's value is present (I13: only such an image may be inserted).
    pub fn is_complete(&self, row: &Row) -> bool {
        self.values(row).all(Value::is_present)
    }

    /// One more than the highest slot in use.
    pub fn slots(&self) -> usize {
        self.columns.iter().map(|column| column.slot as usize + 1).max().unwrap_or(0)
    }
}

/// The values of a row's key, in the key's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key(pub Vec<Value>);

impl Key {
    /// The same key with its bytes in memory of its own. What remembers a key beyond its batch takes it so: a slice would keep
    /// the whole block alive that it was read into.
    pub fn detached(self) -> Key {
        Key(self.0.into_iter().map(Value::detached).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, text, yes) in [
            ("*", "", true),
            ("*", "orders", true),
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("order_*", "order_items", true),
            ("*_log", "audit_log", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(like(pattern, text), yes, "{pattern} {text}");
        }
    }

    #[test]
    fn a_bare_pattern_means_the_default_schema() {
        let pattern = TablePattern::parse("orders");
        assert!(pattern.matches(&TableId::new("public", "orders"), "public"));
        assert!(!pattern.matches(&TableId::new("other", "orders"), "public"));
        assert_eq!(TablePattern::parse("a.b").exact(""), Some(TableId::new("a", "b")));
        assert_eq!(TablePattern::parse("a.*").exact(""), None);
    }
}
