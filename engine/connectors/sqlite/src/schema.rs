//! What a file's tables look like.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};
use sluice_types::{Column, ColumnType, TableId, TableSchema};

use crate::config::KIND;
use crate::connection::quote;
use crate::index_sql;

/// What begins the names of sluice's own tables: never matched by a pattern, never captured.
pub(crate) const OWN_PREFIX: &str = "sluice_";

/// What SQLite calls a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    Table,
    View,
    /// A virtual table, such as a full-text index.
    Virtual,
    /// A table that a virtual one keeps its content in.
    Shadow,
}

/// A table as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub name: String,
    pub kind: TableKind,
    pub strict: bool,
    pub columns: Vec<ShapeColumn>,
    /// The declared primary key, as indexes into `columns` in the key's order.
    pub primary_key: Vec<usize>,
    /// Its only key column is another name of the rowid.
    pub integer_key: bool,
    /// What must be unique.
    pub uniques: Vec<Unique>,
    /// By which name a rowid can be asked for that is not the key; `None` where there is none.
    pub rowid: Option<&'static str>,
}

/// A column as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShapeColumn {
    pub name: String,
    /// The declared type, as it was declared.
    pub native: String,
    /// Null is refused.
    pub not_null: bool,
    /// The default that an insert can rely on, as SQL.
    pub default: Option<String>,
    /// Computed; can be read, not written.
    pub generated: bool,
}

/// A uniqueness rule of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unique {
    /// Over columns, each with the collation that the index compares by.
    Columns(Vec<(usize, String)>),
    /// Over expressions, or of some rows only: its terms and predicate as SQL text.
    Other { terms: Vec<String>, predicate: Option<String> },
}

/// How SQLite converts what is stored in a column, from its declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

impl Affinity {
    /// SQLite's own rules (`datatype3.html`, section 3.1), in their order.
    pub fn of(native: &str) -> Self {
        let native = native.to_ascii_uppercase();
        let has = |word: &str| native.contains(word);
        if has("INT") {
            Affinity::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") || native.is_empty() {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }
}

/// The canonical type that a column's values usually have. Whatever is stored is delivered by its own storage class.
fn column_type(native: &str) -> ColumnType {
    let upper = native.to_ascii_uppercase();
    match Affinity::of(native) {
        Affinity::Integer => ColumnType::Int64,
        Affinity::Text => ColumnType::Text,
        Affinity::Blob if upper.contains("BLOB") => ColumnType::Bytes,
        Affinity::Blob => ColumnType::Text,
        Affinity::Real => ColumnType::Float64,
        Affinity::Numeric if upper.contains("BOOL") => ColumnType::Int64,
        Affinity::Numeric
            if ["DATE", "TIME", "JSON", "UUID", "STRING", "ANY"].iter().any(|word| upper.contains(word)) =>
        {
            ColumnType::Text
        }
        Affinity::Numeric => ColumnType::Float64,
    }
}

impl Shape {
    /// The schema that the line sees; its key is the declared primary key.
    pub fn schema(&self, database: &str) -> TableSchema {
        let column = |(slot, column): (usize, &ShapeColumn)| Column {
            name: column.name.as_str().into(),
            ty: column_type(&column.native),
            native: column.native.as_str().into(),
            nullable: !column.not_null,
            slot: slot as u32,
        };
        TableSchema {
            table: TableId::new("", &self.name),
            database: database.into(),
            kind: KIND.into(),
            version: 1,
            columns: self.columns.iter().enumerate().map(column).collect(),
            key: self.primary_key.iter().map(|&index| index as u32).collect(),
            before_images: true,
        }
    }

    /// The index of a column; SQLite's names don't differ by the case of ASCII letters.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// By which collation each of these columns is unique together, if they are: every row is addressed by them. `None`: they are
    /// not a key.
    pub fn key_collations(&self, key: &[usize]) -> Option<Vec<String>> {
        self.uniques.iter().find_map(|unique| match unique {
            Unique::Columns(columns) if columns.len() == key.len() => key
                .iter()
                .map(|index| columns.iter().find(|(column, _)| column == index))
                .map(|found| found.map(|(_, collation)| collation.clone()))
                .collect(),
            _ => None,
        })
    }

    /// The key of a schema among these columns; `None`: not every one is there.
    pub fn columns_of(&self, schema: &TableSchema) -> Option<Vec<usize>> {
        schema.key_columns().map(|column| self.column(&column.name)).collect()
    }

    /// A key column with a collation, of any unique index over exactly the key, that takes different texts for the same.
    pub fn merging_collation(&self, key: &[usize]) -> Option<(usize, &str)> {
        self.uniques.iter().find_map(|unique| match unique {
            Unique::Columns(columns)
                if columns.len() == key.len() && columns.iter().all(|(column, _)| key.contains(column)) =>
            {
                let merges = |(_, collation): &&(usize, String)| !collation.eq_ignore_ascii_case("BINARY");
                columns.iter().find(merges).map(|(column, collation)| (*column, collation.as_str()))
            }
            _ => None,
        })
    }

    /// Whether these columns can be the key of a configured table: unique together, never null. The declared primary key is
    /// taken at its word; that no row has a null in it is looked at when it is read.
    pub fn is_key(&self, key: &[usize]) -> bool {
        let mut sorted = key.to_vec();
        sorted.sort_unstable();
        let mut primary = self.primary_key.clone();
        primary.sort_unstable();
        let never_null = key.iter().all(|&index| self.columns[index].not_null);
        !key.is_empty() && self.key_collations(key).is_some() && (sorted == primary || never_null)
    }
}

/// The name under which a table is known here: `main.t` and `t` are the same.
pub(crate) fn name_in_file(connection: &Connection, table: &TableId) -> rusqlite::Result<String> {
    let name = table.to_string();
    match name.strip_prefix("main.") {
        Some(bare) if !kinds(connection)?.contains_key(&name) => Ok(bare.to_string()),
        _ => Ok(name),
    }
}

/// The tables of the file by name; SQLite's own are left out, sluice's are not.
pub(crate) fn kinds(connection: &Connection) -> rusqlite::Result<HashMap<String, TableKind>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let rows = statement.query_map([], |row| {
        let kind = match row.get_ref(1)?.as_str()? {
            "view" => TableKind::View,
            "virtual" => TableKind::Virtual,
            "shadow" => TableKind::Shadow,
            _ => TableKind::Table,
        };
        Ok((row.get(0)?, kind))
    })?;
    rows.collect()
}

/// The shape of a table, by the name that the file gives it; `None`: there is no such table.
pub(crate) fn shape(connection: &Connection, name: &str) -> rusqlite::Result<Option<Shape>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(?1)",
    )?;
    let found = statement
        .query_row([name], |row| {
            let kind = match row.get_ref(1)?.as_str()? {
                "view" => TableKind::View,
                "virtual" => TableKind::Virtual,
                "shadow" => TableKind::Shadow,
                _ => TableKind::Table,
            };
            Ok((row.get::<_, String>(0)?, kind, row.get::<_, bool>(2)?, row.get::<_, bool>(3)?))
        })
        .optional()?;
    let Some((name, kind, without_rowid, strict)) = found else { return Ok(None) };
    let (mut columns, primary_key) = columns(connection, &name)?;
    let (mut uniques, key_has_index) = uniques(connection, &name)?;
    let integer_key = !without_rowid
        && !key_has_index
        && primary_key.len() == 1
        && columns[primary_key[0]].native.eq_ignore_ascii_case("INTEGER");
    if integer_key {
        uniques.insert(0, Unique::Columns(vec![(primary_key[0], "BINARY".into())]));
    }
    for &index in &primary_key {
        columns[index].not_null |= integer_key || without_rowid;
    }
    let free = |candidate: &&str| !columns.iter().any(|c| c.name.eq_ignore_ascii_case(candidate));
    let hidden = kind == TableKind::Table && !without_rowid && !integer_key;
    let rowid = hidden.then(|| ["rowid", "_rowid_", "oid"].into_iter().find(free)).flatten();
    Ok(Some(Shape { name, kind, strict, columns, primary_key, integer_key, uniques, rowid }))
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<(Vec<ShapeColumn>, Vec<usize>)> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1)",
    )?;
    let mut columns = Vec::new();
    let mut key = Vec::new();
    let mut rows = statement.query([table])?;
    while let Some(row) = rows.next()? {
        let hidden: i64 = row.get(5)?;
        // 1: a hidden column of a virtual table.
        if hidden == 1 {
            continue;
        }
        let place: i64 = row.get(4)?;
        if place > 0 {
            key.push((place, columns.len()));
        }
        columns.push(ShapeColumn {
            name: row.get(0)?,
            native: row.get(1)?,
            not_null: row.get(2)?,
            default: row.get(3)?,
            generated: hidden > 1,
        });
    }
    key.sort_unstable();
    Ok((columns, key.into_iter().map(|(_, index)| index).collect()))
}

/// The unique indexes, and whether one of them is the primary key's.
fn uniques(connection: &Connection, table: &str) -> rusqlite::Result<(Vec<Unique>, bool)> {
    let mut statement = connection.prepare_cached(
        "SELECT name, origin, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY origin <> 'pk', name",
    )?;
    let indexes: Vec<(String, String, bool)> = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let key_has_index = indexes.iter().any(|(_, origin, _)| origin == "pk");
    let uniques = indexes
        .into_iter()
        .map(|(name, _, partial)| unique(connection, &name, partial))
        .collect::<rusqlite::Result<_>>()?;
    Ok((uniques, key_has_index))
}

fn unique(connection: &Connection, index: &str, partial: bool) -> rusqlite::Result<Unique> {
    let mut statement =
        connection.prepare_cached("SELECT cid, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
    let columns: Vec<(i64, String)> = statement
        .query_map([index], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if !partial && columns.iter().all(|(column, _)| *column >= 0) {
        return Ok(Unique::Columns(
            columns.into_iter().map(|(c, collation)| (c as usize, collation)).collect(),
        ));
    }
    let sql: Option<String> = connection.query_row(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1",
        [index],
        |row| row.get(0),
    )?;
    // SQLite made this text itself, so it has the form; if it ever has not, no collision is overlooked: every row collides.
    let parsed = sql.as_deref().and_then(index_sql::parse);
    Ok(match parsed {
        Some(parsed) => Unique::Other { terms: parsed.terms, predicate: parsed.predicate },
        None => Unique::Other { terms: vec!["1".into()], predicate: None },
    })
}

/// A list of quoted names.
pub(crate) fn names<'a>(columns: impl Iterator<Item = &'a str>) -> String {
    columns.map(quote).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str, table: &str) -> Shape {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        shape(&connection, table).unwrap().unwrap()
    }

    #[test]
    fn affinities_follow_the_declared_type() {
        for (native, affinity) in [
            ("BIGINT UNSIGNED", Affinity::Integer),
            ("CHARINT", Affinity::Integer),
            ("VARCHAR(20)", Affinity::Text),
            ("", Affinity::Blob),
            ("DOUBLE PRECISION", Affinity::Real),
            ("FLOATING POINT", Affinity::Integer),
            ("DECIMAL(10,2)", Affinity::Numeric),
            ("DATETIME", Affinity::Numeric),
        ] {
            assert_eq!(Affinity::of(native), affinity, "{native}");
        }
    }

    #[test]
    fn an_integer_primary_key_is_the_rowid_and_a_descending_one_is_not() {
        assert!(of("CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "t").integer_key);
        let odd = of("CREATE TABLE t(id INTEGER PRIMARY KEY DESC, a)", "t");
        assert!(!odd.integer_key && odd.rowid.is_some() && !odd.columns[0].not_null);
    }

    #[test]
    fn keys_need_uniqueness_and_no_nulls() {
        let shape = of("CREATE TABLE t(a TEXT NOT NULL UNIQUE, b TEXT UNIQUE, c TEXT NOT NULL, d)", "t");
        assert!(shape.is_key(&[0]) && !shape.is_key(&[1]) && !shape.is_key(&[2]) && !shape.is_key(&[]));
        let shape = of("CREATE TABLE t(a, b COLLATE NOCASE, PRIMARY KEY (b, a)) WITHOUT ROWID", "t");
        assert_eq!(shape.primary_key, [1, 0]);
        assert_eq!(shape.key_collations(&[1, 0]).unwrap(), ["NOCASE", "BINARY"]);
        assert!(shape.columns.iter().all(|column| column.not_null));
    }

    #[test]
    fn odd_unique_indexes_keep_their_text() {
        let shape = of(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b);
             CREATE UNIQUE INDEX i ON t(lower(a)); CREATE UNIQUE INDEX j ON t(b) WHERE a > 0",
            "t",
        );
        let others: Vec<&Unique> =
            shape.uniques.iter().filter(|u| matches!(u, Unique::Other { .. })).collect();
        assert_eq!(others.len(), 2);
        assert!(!shape.is_key(&[2]));
    }

    #[test]
    fn generated_and_oddly_named_columns_are_seen() {
        let shape = of(
            "CREATE TABLE \"a.b\"(\"select\" INT PRIMARY KEY, \"ü\"\"x\" TEXT, g AS (1) STORED, v AS (2))",
            "a.b",
        );
        let names: Vec<&str> = shape.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["select", "ü\"x", "g", "v"]);
        assert!(shape.columns[2].generated && shape.columns[3].generated);
    }
}
