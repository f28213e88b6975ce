//! What a copy of a table leaves behind: the source's secondary indexes and foreign keys. sluice makes tables with their key only, for
//! a copy into indexes takes longer and tables of a snapshot come in any order; these are the statements that make the rest.

use std::collections::BTreeMap;

use sluice_types::ports::TargetTable;
use sluice_types::{Finding, Result};

use crate::endpoint::Database;
use crate::table;

/// Indexes that are no constraint's, constraints that have one, and foreign keys; each as the statement that makes it.
const LEFT: &str = "
WITH wanted AS (
    SELECT w.at, c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w(nspname, relname, at)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.nspname
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname)
SELECT w.at, pg_catalog.pg_get_indexdef(i.indexrelid) AS sql, 0 AS rank
FROM wanted w JOIN pg_catalog.pg_index i ON i.indrelid = w.oid
WHERE NOT i.indisprimary AND i.indisvalid
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = w.oid)
UNION ALL
SELECT w.at, pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', w.name, k.conname,
                               pg_catalog.pg_get_constraintdef(k.oid)), CASE k.contype WHEN 'f' THEN 2 ELSE 1 END
FROM wanted w JOIN pg_catalog.pg_constraint k ON k.conrelid = w.oid
WHERE k.contype IN ('u', 'x', 'f', 'c') AND k.conparentid = 0
ORDER BY 1, 3, 2";

/// One finding for each table that has any.
pub(crate) async fn left_behind(database: &Database, tables: &[TargetTable]) -> Result<Vec<Finding>> {
    let session = database.readers.get().await?;
    let places: Vec<(&str, &str)> = tables.iter().map(|one| table::place(&one.schema.table)).collect();
    let (schemas, names): (Vec<&str>, Vec<&str>) = places.into_iter().unzip();
    let failed = |error: tokio_postgres::Error| database.server.failed(&error, "the catalogue can't be read");
    let mut left: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for row in session.query(LEFT, &[&schemas, &names]).await.map_err(failed)? {
        left.entry(row.try_get(0).map_err(failed)?).or_default().push(row.try_get(1).map_err(failed)?);
    }
    session.give_back();
    let finding = |(at, statements): (i64, Vec<String>)| {
        let table = tables.get(usize::try_from(at - 1).ok()?)?;
        let what = format!(
            "{} has {} secondary indexes and constraints, which a table that sluice makes does not get; the names are the source's",
            table.schema.table,
            statements.len()
        );
        let remedy = format!("in a PostgreSQL target, after the snapshot: {}", statements.join("; "));
        Some(Finding::warning("not-made", &table.path, what, remedy))
    };
    Ok(left.into_iter().filter_map(finding).collect())
}
