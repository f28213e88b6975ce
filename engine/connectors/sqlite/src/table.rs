//! A captured table together with the schema that the line sees of it.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Row as StoredRow};
use sluice_types::{Error, ErrorKind, Key, Result, Row, TableId, TableSchema, Value};

use crate::capture::{self, Captured};
use crate::connection::{File, quote};
use crate::decode::{self, Arena};
use crate::schema::{self, Shape};
use crate::values::Bound;

/// A table that a line reads.
#[derive(Debug)]
pub(crate) struct Table {
    pub captured: Captured,
    pub schema: Arc<TableSchema>,
    /// Where each column of the schema stands among the file's, and its slot.
    picks: Vec<(usize, usize)>,
    /// The picks are the file's columns in their order, as they nearly always are.
    in_order: bool,
    /// Each key column and the collation of its index, as SQL: `"id" COLLATE "BINARY"`.
    key_terms: Vec<String>,
    /// `SELECT` of all columns of the file, `FROM` the table.
    select: String,
    by_key: String,
}

impl Table {
    /// The line's schema over what is captured; its columns are some or all of the file's.
    pub fn new(captured: Captured, shape: &Shape, schema: Arc<TableSchema>) -> Result<Self> {
        let gone = || {
            Error::new(ErrorKind::SchemaChanged, "a column is not in the table any more")
                .at_table(&schema.table)
        };
        let picks: Vec<(usize, usize)> = schema
            .columns
            .iter()
            .map(|column| Some((shape.column(&column.name)?, column.slot as usize)))
            .collect::<Option<_>>()
            .ok_or_else(gone)?;
        let in_order =
            picks.len() == shape.columns.len() && picks.iter().enumerate().all(|(i, pick)| *pick == (i, i));
        let collations = shape.key_collations(&captured.layout.key).ok_or_else(gone)?;
        let key_terms: Vec<String> = std::iter::zip(&captured.layout.key, collations)
            .map(|(&index, collation)| {
                format!("{} COLLATE {}", quote(&shape.columns[index].name), quote(&collation))
            })
            .collect();
        let columns = schema::names(shape.columns.iter().map(|column| column.name.as_str()));
        let select = format!("SELECT {columns} FROM {}", quote(&shape.name));
        let by_key = format!(
            "{select} WHERE {}",
            key_terms.iter().map(|term| format!("{term} = ?")).collect::<Vec<_>>().join(" AND ")
        );
        Ok(Table { captured, schema, picks, in_order, key_terms, select, by_key })
    }

    /// `SELECT` of all columns of the file, without a condition.
    pub fn select(&self) -> &str {
        &self.select
    }

    /// The key's columns with their collations, as SQL.
    pub fn key_terms(&self) -> &[String] {
        &self.key_terms
    }

    /// The row whose columns of the file begin at `offset`.
    pub fn row(&self, stored: &StoredRow<'_>, offset: usize, arena: &mut Arena) -> rusqlite::Result<Row> {
        if self.in_order {
            let mut row = Row::with_columns(self.picks.len());
            for index in 0..self.picks.len() {
                row.push(decode::value(stored.get_ref(offset + index)?, arena));
            }
            return Ok(row);
        }
        let mut values = Vec::with_capacity(self.schema.slots() + Row::SPARE);
        values.resize(self.schema.slots(), Value::Absent);
        for &(index, slot) in &self.picks {
            values[slot] = decode::value(stored.get_ref(offset + index)?, arena);
        }
        Ok(Row::new(values))
    }

    /// The key whose values begin at `offset`.
    pub fn key(&self, stored: &StoredRow<'_>, offset: usize, arena: &mut Arena) -> Result<Key> {
        let values = (0..self.captured.layout.key.len())
            .map(|index| Ok(decode::value(stored.get_ref(offset + index)?, arena)))
            .collect::<rusqlite::Result<Vec<_>>>()
            .map_err(capture::broken_log)?;
        self.whole(Key(values))
    }

    /// The key of a row.
    pub fn key_of(&self, row: &Row) -> Result<Key> {
        self.whole(self.schema.key_of(row))
    }

    /// A key with a null in it names no row: SQLite lets nulls into primary keys that are neither integer nor WITHOUT ROWID.
    fn whole(&self, key: Key) -> Result<Key> {
        if key.0.iter().any(|value| matches!(value, Value::Null)) { Err(self.null_key()) } else { Ok(key) }
    }

    /// What is said of a row that has no key.
    pub fn null_key(&self) -> Error {
        Error::new(ErrorKind::KeyMissing, "a row has a null in its primary key, so nothing can address it")
            .at_table(&self.schema.table)
            .remedy("Give these rows a key and declare its columns NOT NULL")
    }

    /// The row that stands under exactly this key. One that only the index takes for the same (another case under NOCASE) is
    /// another row.
    pub fn live(&self, connection: &Connection, key: &Key, arena: &mut Arena) -> Result<Option<Row>> {
        let mut read = || {
            let mut statement = connection.prepare_cached(&self.by_key)?;
            for (index, value) in key.0.iter().enumerate() {
                statement.raw_bind_parameter(index + 1, Bound::of_source(value))?;
            }
            let mut rows = statement.raw_query();
            rows.next()?.map(|stored| self.row(stored, 0, arena)).transpose()
        };
        let row = read().map_err(|error| capture::broken_log(error).at_table(&self.schema.table))?;
        Ok(row.filter(|row| self.schema.key_of(row) == *key))
    }
}

/// The tables of a line, and whether they are still captured as they were.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    by_number: HashMap<i64, Arc<Table>>,
    /// The file's schema version for which that was last proved.
    proved: Option<i64>,
}

impl Tables {
    pub fn new(tables: impl IntoIterator<Item = Arc<Table>>) -> Self {
        Tables {
            by_number: tables.into_iter().map(|table| (table.captured.number, table)).collect(),
            proved: None,
        }
    }

    /// The table whose entries carry this number; `None`: another line's.
    pub fn get(&self, number: i64) -> Option<&Arc<Table>> {
        self.by_number.get(&number)
    }

    /// By its name at the line.
    pub fn find(&self, table: &TableId) -> Option<&Arc<Table>> {
        self.by_number.values().find(|one| one.schema.table == *table)
    }

    /// Columns of the log that their entries need.
    pub fn width(&self) -> usize {
        let width =
            |table: &Arc<Table>| table.captured.layout.key.len() + table.captured.layout.columns.len();
        self.by_number.values().map(width).max().unwrap_or(0)
    }

    /// Called in every read transaction: whoever alters, drops or re-makes a table or a trigger changes the file's schema
    /// version, and then every table is proved anew. Never continues in silence.
    pub fn prove(&mut self, connection: &Connection, file: &File) -> Result<()> {
        let version = connection
            .prepare_cached("PRAGMA schema_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
            .map_err(|error| file.failed(error, "the file can't be read"))?;
        if self.proved == Some(version) {
            return Ok(());
        }
        for table in self.by_number.values() {
            capture::check(connection, &table.captured)?;
        }
        self.proved = Some(version);
        Ok(())
    }
}
