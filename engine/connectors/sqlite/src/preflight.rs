//! What can be said of a file before a row flows: its tables, and what stands in the way.

use std::sync::Arc;

use rusqlite::Connection;
use sluice_types::ports::{Discovered, TargetTable};
use sluice_types::{ErrorKind, Finding, PipelineId, Result, TableId, TablePattern, TableSchema};

use crate::capture;
use crate::connection::{File, quote};
use crate::maintain::table_shape;
use crate::schema::{self, OWN_PREFIX, Shape, TableKind};
use crate::{sink, values};

/// A read mark that keeps changes in the log and has not moved for so long is told. Unit: hours.
const MARK_IDLE_HOURS: i64 = 24;

/// The tables that match. Views, virtual tables and the tables behind those are none, unless they are named.
pub(crate) fn discover(file: &File, patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
    let connection = file.open()?;
    let failed = |error| file.failed(error, "the file's tables can't be read");
    let kinds = schema::kinds(&connection).map_err(failed)?;
    let mut names: Vec<(String, TableKind)> = kinds.into_iter().collect();
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut found = Vec::new();
    for (name, kind) in names {
        if name.starts_with(OWN_PREFIX)
            || kind != TableKind::Table
            || !patterns.iter().any(|p| matches(p, &name))
        {
            continue;
        }
        // Dropped since: none.
        let Some(shape) = schema::shape(&connection, &name).map_err(failed)? else { continue };
        let schema = shape.schema(&file.database);
        found.push(Discovered { table: schema.table.clone(), schema: Arc::new(schema) });
    }
    Ok(found)
}

/// A table is known by its name, and as `main.name`; a dot in the name itself needs no quotes.
fn matches(pattern: &TablePattern, name: &str) -> bool {
    pattern.matches(&TableId::new("", name), "")
        || pattern.matches(&TableId::parse(name), "")
        || pattern.matches(&TableId::new("main", name), "")
}

/// Looks whether these tables can be captured.
pub(crate) fn check_source(file: &File, tables: &[TargetTable]) -> Result<Vec<Finding>> {
    let connection = match file.open() {
        Ok(connection) => connection,
        Err(error) => return Ok(vec![of_error(&error, "path")]),
    };
    let mut findings = Vec::new();
    findings.extend(read_only(
        &connection,
        file,
        "sluice makes triggers and a change log in the source's file",
    ));
    for table in tables {
        match table_shape(&connection, file, &table.schema.table) {
            Err(error) => findings.push(of_error(&error, &table.path)),
            Ok(shape) => findings.extend(check_table(&connection, file, table, &shape)?),
        }
    }
    findings.extend(idle_marks(&connection, file)?);
    Ok(findings)
}

/// I10: a pipeline that was lost with its installation keeps the log growing until its mark is removed.
fn idle_marks(connection: &Connection, file: &File) -> Result<Vec<Finding>> {
    let behind = capture::behind(connection)
        .map_err(|error| file.failed(error, "the change log's marks can't be read"))?;
    let idle = behind.into_iter().filter(|mark| mark.idle_seconds >= MARK_IDLE_HOURS * 3600);
    let finding = |mark: capture::Behind| {
        let what = format!(
            "the change log keeps {} changes for pipeline {} of installation {}, which has confirmed none for {} hours",
            mark.changes,
            mark.line.pipeline,
            mark.line.install,
            mark.idle_seconds / 3600
        );
        let remedy = format!(
            "let that pipeline run again; only if it is gone for good, run in {}: {}",
            file.path.display(),
            mark.removal()
        );
        Finding::warning("stale-mark", "path", what, remedy)
    };
    Ok(idle.map(finding).collect())
}

fn check_table(
    connection: &Connection,
    file: &File,
    table: &TargetTable,
    shape: &Shape,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let path = &table.path;
    if shape.name.starts_with(OWN_PREFIX) {
        let what = format!("{} is one of sluice's own tables", shape.name);
        findings.push(Finding::error(ErrorKind::Config, path, what, "leave it out"));
    }
    match capture::key_in(shape, &table.schema) {
        Err(error) => findings.push(of_error(&error, path)),
        Ok(key) => {
            let nullable: Vec<&str> = key
                .iter()
                .filter(|&&index| !shape.columns[index].not_null)
                .map(|&index| shape.columns[index].name.as_str())
                .collect();
            if !nullable.is_empty() {
                let list = schema::names(nullable.iter().copied());
                let any = nullable
                    .iter()
                    .map(|name| format!("{} IS NULL", quote(name)))
                    .collect::<Vec<_>>()
                    .join(" OR ");
                let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {any})", quote(&shape.name));
                let nulls: bool = connection
                    .query_row(&sql, [], |row| row.get(0))
                    .map_err(|error| file.failed(error, "the table can't be read"))?;
                let remedy = "declare the key's columns NOT NULL";
                if nulls {
                    let what =
                        format!("rows have null in the primary key ({list}), so nothing can address them");
                    findings.push(Finding::error(ErrorKind::KeyMissing, path, what, remedy));
                } else {
                    let what = format!(
                        "the primary key ({list}) may be null; a row that has none will pause the pipeline"
                    );
                    findings.push(Finding::warning("nullable-key", path, what, remedy));
                }
            }
        }
    }
    Ok(findings)
}

/// Looks whether these tables can be written or made.
pub(crate) fn check_target(file: &File, tables: &[TargetTable]) -> Result<Vec<Finding>> {
    if !file.path.exists() {
        let folder = file.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let there = folder.is_none_or(std::path::Path::is_dir);
        let what = format!("the folder of {} is not there", file.path.display());
        let missing =
            Finding::error(ErrorKind::Unreachable, "path", what, "make the folder, or correct the path");
        return Ok(if there { vec![] } else { vec![missing] });
    }
    let connection = match file.open() {
        Ok(connection) => connection,
        Err(error) => return Ok(vec![of_error(&error, "path")]),
    };
    let mut findings = Vec::new();
    findings.extend(read_only(&connection, file, "it can't be a target"));
    for table in tables {
        let failed = |error| file.failed(error, "the target's tables can't be read");
        let name = schema::name_in_file(&connection, &table.schema.table).map_err(failed)?;
        if name.starts_with(OWN_PREFIX) || name.to_ascii_lowercase().starts_with("sqlite_") {
            let what = format!("the name {name} is reserved");
            findings.push(Finding::error(
                ErrorKind::TargetSchema,
                &table.path,
                what,
                "choose another with `to:`",
            ));
            continue;
        }
        let Some(shape) = schema::shape(&connection, &name).map_err(failed)? else { continue };
        for (what, remedy) in misfits(&shape, &table.schema) {
            findings.push(Finding::error(ErrorKind::TargetSchema, &table.path, what, remedy));
        }
        let triggers: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower(?1)
                 AND name NOT LIKE 'sluice\\_%' ESCAPE '\\'",
                [&name],
                |row| row.get(0),
            )
            .map_err(failed)?;
        if triggers > 0 {
            let what = format!(
                "{name} has {triggers} triggers of its own, which run for every row that sluice writes"
            );
            let remedy = "drop them where they would do again what the source's rows show already";
            findings.push(Finding::warning("target-triggers", &table.path, what, remedy));
        }
    }
    Ok(findings)
}

/// Tables with rows, where the line has no checkpoint.
pub(crate) fn filled(file: &File, line: &PipelineId, tables: &[TableId]) -> Result<Vec<TableId>> {
    if !file.path.exists() {
        return Ok(vec![]);
    }
    let connection = file.open()?;
    let look = || {
        let mut filled = Vec::new();
        if sink::stored(&connection, line)?.is_some() {
            return Ok(filled);
        }
        let kinds = schema::kinds(&connection)?;
        for table in tables {
            let name = schema::name_in_file(&connection, table)?;
            let any = format!("SELECT EXISTS (SELECT 1 FROM {})", quote(&name));
            if kinds.get(&name) == Some(&TableKind::Table)
                && connection.query_row(&any, [], |row| row.get(0))?
            {
                filled.push(table.clone());
            }
        }
        Ok(filled)
    };
    look().map_err(|error| file.failed(error, "the target's tables can't be read"))
}

/// Why a table can't take rows of this shape, each with a remedy.
pub(crate) fn misfits(shape: &Shape, schema: &TableSchema) -> Vec<(String, String)> {
    let name = &shape.name;
    if shape.kind != TableKind::Table {
        return vec![(format!("{name} is not a plain table"), "choose another name with `to:`".into())];
    }
    let mut misfits = Vec::new();
    for column in &schema.columns {
        if shape.column(&column.name).is_none() {
            let sql = format!(
                "ALTER TABLE {} ADD COLUMN {} {}",
                quote(name),
                quote(&column.name),
                values::declared(column, &schema.kind)
            );
            misfits.push((format!("{name} has no column {}", column.name), sql.trim_end().to_string()));
        }
    }
    for column in &shape.columns {
        let given = schema.columns.iter().any(|one| one.name.eq_ignore_ascii_case(&column.name));
        if column.not_null && column.default.is_none() && !column.generated && !given {
            misfits.push((
                format!(
                    "{name}.{} must not be null, has no default, and is not among the columns",
                    column.name
                ),
                "give it a default, or produce the column".into(),
            ));
        }
    }
    if let Some(key) = shape.columns_of(schema)
        && (key.is_empty() || shape.key_collations(&key).is_none())
    {
        let columns = schema::names(schema.key_columns().map(|column| &*column.name));
        misfits.push((
            format!("{name} has no primary key or unique index over exactly ({columns})"),
            format!("CREATE UNIQUE INDEX {} ON {} ({columns})", quote(&format!("{name}_key")), quote(name)),
        ));
    } else if let Some(key) = shape.columns_of(schema)
        && let Some((column, collation)) = shape.merging_collation(&key)
    {
        // The source's own collation is not known here, and keys that only this one takes for the same would end as one row (I3).
        let column = &shape.columns[column].name;
        misfits.push((
            format!("{name}'s key compares {column} by {collation}: keys of the source that are the same for it would become one row"),
            format!(
                "make {name} again with {} COLLATE BINARY in its primary key and unique indexes, or choose another name with `to:`",
                quote(column)
            ),
        ));
    }
    misfits
}

/// The statement that makes a table for rows of this shape.
pub(crate) fn create(name: &str, schema: &TableSchema) -> String {
    let column = |(index, column): (usize, &sluice_types::Column)| {
        let ty = values::declared(column, &schema.kind);
        // A single key column of this very type becomes the rowid, which refuses null by itself.
        let rowid = schema.key.len() == 1 && ty.eq_ignore_ascii_case("INTEGER");
        let not_null = if schema.is_key(index) && !rowid || !column.nullable && !schema.is_key(index) {
            " NOT NULL"
        } else {
            ""
        };
        let space = if ty.is_empty() { "" } else { " " };
        format!("{}{space}{ty}{not_null}", quote(&column.name))
    };
    let columns: Vec<String> = schema.columns.iter().enumerate().map(column).collect();
    let key = schema::names(schema.key_columns().map(|column| &*column.name));
    format!("CREATE TABLE {} ({}, PRIMARY KEY ({key}))", quote(name), columns.join(", "))
}

fn read_only(connection: &Connection, file: &File, why: &str) -> Option<Finding> {
    let read_only = connection.is_readonly("main").unwrap_or(false);
    read_only.then(|| {
        let what = format!("{} can only be read: {why}", file.path.display());
        Finding::error(ErrorKind::Permission, "path", what, "let this user write the file and its folder")
    })
}

fn of_error(error: &sluice_types::Error, path: &str) -> Finding {
    Finding::error(error.kind(), path, error.what(), error.remedy_text().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sql: &str) -> Shape {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        schema::shape(&connection, "t").unwrap().unwrap()
    }

    #[test]
    fn a_copy_is_declared_as_its_source() {
        let source =
            shape("CREATE TABLE t(id INTEGER PRIMARY KEY, n VARCHAR(20) NOT NULL, x, d DECIMAL(10,2))");
        let schema = source.schema("d");
        let sql = create("t", &schema);
        assert_eq!(
            sql,
            "CREATE TABLE \"t\" (\"id\" INTEGER, \"n\" VARCHAR(20) NOT NULL, \"x\", \"d\" DECIMAL(10,2), PRIMARY KEY (\"id\"))"
        );
        assert!(misfits(&shape(&sql), &schema).is_empty());
        assert!(shape(&sql).integer_key);
    }

    #[test]
    fn a_target_that_does_not_fit_says_why() {
        let schema = shape("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)").schema("d");
        let found =
            |sql: &str| misfits(&shape(sql), &schema).into_iter().map(|(what, _)| what).collect::<Vec<_>>();
        assert_eq!(found("CREATE TABLE t(ID INTEGER PRIMARY KEY, A, extra)"), [""; 0]);
        assert_eq!(found("CREATE TABLE t(id INTEGER PRIMARY KEY)"), ["t has no column a"]);
        assert_eq!(found("CREATE TABLE t(id INT, a)").len(), 1);
        assert_eq!(found("CREATE TABLE t(id INTEGER PRIMARY KEY, a, must TEXT NOT NULL)").len(), 1);
        let nocase = found("CREATE TABLE t(id TEXT COLLATE NOCASE PRIMARY KEY, a)");
        assert!(nocase.len() == 1 && nocase[0].contains("id by NOCASE"), "{nocase:?}");
        assert_eq!(
            found("CREATE TABLE t(id TEXT PRIMARY KEY, a); CREATE UNIQUE INDEX i ON t(id COLLATE RTRIM)")
                .len(),
            1
        );
        assert_eq!(
            found("CREATE TABLE t(id TEXT COLLATE NOCASE, a); CREATE UNIQUE INDEX i ON t(id COLLATE BINARY)"),
            [""; 0]
        );
        assert_eq!(found("CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT COLLATE NOCASE UNIQUE)"), [""; 0]);
        assert_eq!(found("CREATE VIEW t AS SELECT 1 AS id, 2 AS a"), ["t is not a plain table"]);
    }

    #[test]
    fn a_dot_in_a_name_needs_no_quotes() {
        assert!(matches(&TablePattern::parse("a.b"), "a.b") && matches(&TablePattern::parse("*"), "a.b"));
        assert!(matches(&TablePattern::parse("main.*"), "t") && !matches(&TablePattern::parse("x.*"), "t"));
    }
}
