//! What a copy of a table leaves behind: the source's secondary indexes and constraints. sluice makes tables with their key only, for
//! a copy into indexes takes longer and tables of a snapshot come in any order; here are the statements that make the rest.

use sluice_types::ports::Secondary;
use sluice_types::{Error, ErrorKind, PipelineId, Result, TableId};
use tokio_postgres::{Error as PgError, Row};

use crate::checkpoint;
use crate::endpoint::Database;
use crate::session::Role;
use crate::table;

/// Indexes that are no constraint's, constraints that have one, checks and foreign keys, last. Names of tables are left open. What
/// names no column depends on the row as a whole, so on all of them.
const SECONDARIES: &str = "
WITH wanted AS (
    SELECT w.at, c.oid
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w(nspname, relname, at)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.nspname
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname)
SELECT w.at, 0 AS rank, ic.relname::text AS name,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
               AND (named.numbers IS NULL OR a.attnum = ANY (named.numbers))) AS columns,
       NULL::text AS parent_schema, NULL::text AS parent_name, NULL::text[] AS parent_columns,
       made.sql || chr(1) || substr(def.sql, length(made.sql || own.sql) + 1) AS statement
FROM wanted w
JOIN pg_catalog.pg_index i ON i.indrelid = w.oid
JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_indexdef(i.indexrelid)) def(sql)
CROSS JOIN LATERAL (
    SELECT array_agg(d.refobjsubid) FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid
      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = w.oid AND d.refobjsubid > 0) named(numbers)
CROSS JOIN LATERAL (SELECT CASE WHEN i.indisunique THEN 'CREATE UNIQUE INDEX ' ELSE 'CREATE INDEX ' END
    || pg_catalog.quote_ident(ic.relname) || ' ON ') made(sql)
CROSS JOIN LATERAL (SELECT CASE WHEN ic.relkind = 'I' THEN 'ONLY ' ELSE '' END || w.oid::regclass) own(sql)
WHERE NOT i.indisprimary AND i.indisvalid
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = w.oid)
UNION ALL
SELECT w.at, CASE k.contype WHEN 'f' THEN 2 ELSE 1 END, k.conname::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped AND (k.conkey IS NULL OR a.attnum = ANY (k.conkey))),
       pn.nspname::text, pc.relname::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = pc.oid AND a.attnum = ANY (k.confkey)),
       'ALTER TABLE ' || chr(1) || ' ADD CONSTRAINT ' || pg_catalog.quote_ident(k.conname) || ' '
           || CASE k.contype
                  WHEN 'f' THEN replace(def.sql, 'REFERENCES ' || k.confrelid::regclass || '(', 'REFERENCES ' || chr(2) || '(')
                  ELSE def.sql END
FROM wanted w
JOIN pg_catalog.pg_constraint k ON k.conrelid = w.oid
CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_constraintdef(k.oid)) def(sql)
LEFT JOIN pg_catalog.pg_class pc ON pc.oid = k.confrelid AND k.contype = 'f'
LEFT JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
WHERE k.contype IN ('u', 'x', 'f', 'c') AND k.conparentid = 0
ORDER BY 2, 1, 3";

/// Which of these tables have an index or a constraint of this name.
const THERE: &str = "
SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
               WHERE i.indrelid = t.oid AND c.relname = w.name AND i.indisvalid)
    OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = t.oid AND k.conname = w.name)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w(tab, name, at)
CROSS JOIN LATERAL (SELECT pg_catalog.to_regclass(w.tab)) t(oid)
ORDER BY w.at";

/// Index and key checks may plan as they like: how a writer finds its rows is no measure for them.
const FREELY: &str = "SET enable_hashjoin = on; SET enable_mergejoin = on; SET enable_seqscan = on; SET enable_bitmapscan = on";

/// What these tables have, in an order in which it can be made.
pub(crate) async fn of_source(database: &Database, tables: &[TableId]) -> Result<Vec<Secondary>> {
    let session = database.readers.get().await?;
    let places: Vec<(&str, &str)> = tables.iter().map(table::place).collect();
    let (schemas, names): (Vec<&str>, Vec<&str>) = places.into_iter().unzip();
    let failed = |error: PgError| database.server.failed(&error, "the catalogue can't be read");
    let rows = session.query(SECONDARIES, &[&schemas, &names]).await.map_err(failed)?;
    session.give_back();
    let one = |row: &Row| -> std::result::Result<Option<Secondary>, PgError> {
        let at: i64 = row.try_get(0)?;
        let Some(table) = usize::try_from(at - 1).ok().and_then(|at| tables.get(at)) else { return Ok(None) };
        let parent: Option<(String, String)> = row.try_get::<_, Option<String>>(4)?.zip(row.try_get(5)?);
        let refers_to = match parent {
            Some((schema, name)) => Some((TableId::new(&schema, &name), row.try_get(6)?)),
            None => None,
        };
        Ok(Some(Secondary {
            table: table.clone(),
            name: row.try_get(2)?,
            columns: row.try_get(3)?,
            refers_to,
            statement: row.try_get(7)?,
        }))
    };
    rows.iter().filter_map(|row| one(row).transpose()).collect::<std::result::Result<_, _>>().map_err(failed)
}

/// What of it is not there.
pub(crate) async fn lacking(database: &Database, wanted: &[Secondary]) -> Result<Vec<(TableId, String)>> {
    let session = database.readers.get().await?;
    let tables: Vec<String> = wanted.iter().map(|one| table::quoted(&one.table)).collect();
    let names: Vec<&str> = wanted.iter().map(|one| one.name.as_str()).collect();
    let failed = |error: PgError| database.server.failed(&error, "the catalogue can't be read");
    let rows = session.query(THERE, &[&tables, &names]).await.map_err(failed)?;
    session.give_back();
    let mut lacking = Vec::new();
    for (row, one) in rows.iter().zip(wanted) {
        if !row.try_get::<_, bool>(0).map_err(failed)? {
            let parent = one.refers_to.as_ref().map(|(table, _)| table::quoted(table)).unwrap_or_default();
            let statement = one.statement.replace(Secondary::TABLE, &table::quoted(&one.table));
            lacking.push((one.table.clone(), statement.replace(Secondary::PARENT, &parent)));
        }
    }
    Ok(lacking)
}

/// Makes one, if the line's first copy is done: until then its rows are of different moments.
pub(crate) async fn make(database: &Database, line: &PipelineId, statement: &str) -> Result<()> {
    let session = database.server.connect(Role::Writer).await?;
    let failed = |error: PgError| database.server.failed(&error, "an index or a constraint can't be made");
    let stored = match checkpoint::is_there(&session).await.map_err(failed)? {
        true => checkpoint::read(&session, line).await.map_err(failed)?,
        false => None,
    };
    let stored = stored.map(|text| checkpoint::parse(&text)).transpose()?;
    if !stored.is_some_and(|stored| stored.snapshot.is_ready(&stored.position)) {
        let what = format!("the first copy of {line} is not done, and its rows may be of different moments");
        let remedy =
            "Run it once the target is consistent: `sluice status` says so, and `sluice sync` ends then";
        return Err(database.server.at(Error::new(ErrorKind::Busy, what).remedy(remedy)));
    }
    session.batch_execute(FREELY).await.map_err(failed)?;
    session.batch_execute(statement).await.map_err(failed)
}
