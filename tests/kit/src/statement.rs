//! Statements that the kit's tests run at a database, in words that every kind of database has.

use std::sync::Arc;

use sluice_types::{Column, ColumnType, TableId, TableSchema, Value};

/// A table as a test wants it.
#[derive(Clone, Debug)]
pub struct TableDef {
    /// Its name.
    pub table: TableId,
    /// Name, canonical type, native type (empty: the database's usual one for the canonical type), whether null is allowed.
    pub columns: Vec<(String, ColumnType, String, bool)>,
    /// The primary key, by name. Empty: the table has none.
    pub key: Vec<String>,
    /// Secondary unique constraints, each a list of columns.
    pub unique: Vec<Vec<String>>,
}

impl TableDef {
    /// A table without columns.
    pub fn new(table: &TableId) -> Self {
        TableDef { table: table.clone(), columns: vec![], key: vec![], unique: vec![] }
    }

    /// With one more column, nullable.
    pub fn column(mut self, name: &str, ty: ColumnType) -> Self {
        self.columns.push((name.into(), ty, String::new(), true));
        self
    }

    /// With one more column of a native type, nullable.
    pub fn native_column(mut self, name: &str, ty: ColumnType, native: &str) -> Self {
        self.columns.push((name.into(), ty, native.into(), true));
        self
    }

    /// With this primary key, whose columns are not nullable.
    pub fn key(mut self, names: &[&str]) -> Self {
        self.key = names.iter().map(|name| name.to_string()).collect();
        for column in &mut self.columns {
            column.3 &= !self.key.contains(&column.0);
        }
        self
    }

    /// With this column not nullable.
    pub fn required(mut self, name: &str) -> Self {
        self.columns.iter_mut().filter(|column| column.0 == name).for_each(|column| column.3 = false);
        self
    }

    /// With one more unique constraint.
    pub fn unique(mut self, names: &[&str]) -> Self {
        self.unique.push(names.iter().map(|name| name.to_string()).collect());
        self
    }

    /// The schema of such a table in a database of this name and kind.
    pub fn schema(&self, database: &str, kind: &str) -> Arc<TableSchema> {
        let column =
            |(slot, (name, ty, native, nullable)): (usize, &(String, ColumnType, String, bool))| Column {
                name: name.as_str().into(),
                ty: *ty,
                native: native.as_str().into(),
                nullable: *nullable,
                slot: slot as u32,
            };
        let index = |name: &String| self.columns.iter().position(|column| column.0 == *name);
        Arc::new(TableSchema {
            table: self.table.clone(),
            database: database.into(),
            kind: kind.into(),
            version: 1,
            columns: self.columns.iter().enumerate().map(column).collect(),
            key: self.key.iter().filter_map(index).map(|index| index as u32).collect(),
            before_images: false,
        })
    }
}

/// Names and their values.
pub type Fields = Vec<(String, Value)>;

/// Fields from borrowed names.
pub fn fields(of: &[(&str, Value)]) -> Fields {
    of.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

/// One native statement. Values are integers, text, null or booleans, unless a test of one connector says more.
#[derive(Clone, Debug)]
pub enum Statement {
    /// A new table.
    CreateTable(TableDef),
    /// A new row; columns that are not named are null.
    Insert {
        /// Where.
        table: TableId,
        /// The row.
        row: Fields,
    },
    /// A change of the row with this key, its key included. No such row: nothing happens.
    Update {
        /// Where.
        table: TableId,
        /// Which row.
        key: Fields,
        /// What changes.
        set: Fields,
    },
    /// The row with this key goes. No such row: nothing happens.
    Delete {
        /// Where.
        table: TableId,
        /// Which row.
        key: Fields,
    },
    /// Every row goes, by the database's statement for that (`TRUNCATE`, or `DELETE` without a condition).
    Truncate {
        /// Where.
        table: TableId,
    },
}

impl Statement {
    /// The statement in plain SQL; `native` names the type of a column that did not name its own.
    pub fn to_sql(&self, native: impl Fn(ColumnType) -> &'static str) -> String {
        match self {
            Statement::CreateTable(def) => {
                let column = |(name, ty, own, nullable): &(String, ColumnType, String, bool)| {
                    let ty = if own.is_empty() { native(*ty) } else { own.as_str() };
                    format!("{} {ty}{}", quoted(name), if *nullable { "" } else { " NOT NULL" })
                };
                let mut parts: Vec<String> = def.columns.iter().map(column).collect();
                if !def.key.is_empty() {
                    parts.push(format!("PRIMARY KEY ({})", names(&def.key)));
                }
                parts.extend(def.unique.iter().map(|columns| format!("UNIQUE ({})", names(columns))));
                format!("CREATE TABLE {} ({})", table_name(&def.table), parts.join(", "))
            }
            Statement::Insert { table, row } => {
                let columns: Vec<String> = row.iter().map(|(name, _)| name.clone()).collect();
                let values: Vec<String> = row.iter().map(|(_, value)| literal(value)).collect();
                format!(
                    "INSERT INTO {} ({}) VALUES ({})",
                    table_name(table),
                    names(&columns),
                    values.join(", ")
                )
            }
            Statement::Update { table, key, set } => {
                let set: Vec<String> = set
                    .iter()
                    .map(|(name, value)| format!("{} = {}", quoted(name), literal(value)))
                    .collect();
                format!("UPDATE {} SET {} WHERE {}", table_name(table), set.join(", "), condition(key))
            }
            Statement::Delete { table, key } => {
                format!("DELETE FROM {} WHERE {}", table_name(table), condition(key))
            }
            Statement::Truncate { table } => format!("DELETE FROM {}", table_name(table)),
        }
    }
}

/// A value as an SQL literal.
fn literal(value: &Value) -> String {
    match value {
        Value::Int64(number) => number.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bool(true) => "TRUE".into(),
        Value::Bool(false) => "FALSE".into(),
        _ => "NULL".into(),
    }
}

fn condition(key: &Fields) -> String {
    let parts: Vec<String> =
        key.iter().map(|(name, value)| format!("{} = {}", quoted(name), literal(value))).collect();
    parts.join(" AND ")
}

/// The table's name, quoted for SQL.
pub fn table_name(table: &TableId) -> String {
    match &*table.schema {
        "" => quoted(&table.name),
        schema => format!("{}.{}", quoted(schema), quoted(&table.name)),
    }
}

fn names(of: &[String]) -> String {
    of.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
