//! What can be said of a target before a row flows: each finding with the statement to run. What has to be said beside a statement is
//! a comment of SQL, so that the remedy can be pasted into psql as it is.

use sluice_types::ports::TargetTable;
use sluice_types::{ErrorKind, Finding, PipelineId, Result, TableId};
use tokio_postgres::{Client, Error as PgError};

use crate::checkpoint;
use crate::config::{KIND, Server};
use crate::endpoint::Database;
use crate::errors::{self, quote};
use crate::names::OWN_SCHEMA;
use crate::pool::Pooled;
use crate::preflight::{of_error, remarks, server as server_itself};
use crate::table::{self, Shape};

/// Looks whether these tables can be written, or made.
pub(crate) async fn check(database: &Database, tables: &[TargetTable]) -> Result<Vec<Finding>> {
    let session = match database.writers.get().await {
        Ok(session) => session,
        Err(error) => return Ok(vec![of_error(&error, "url")]),
    };
    let findings = look(&database.server, &session, tables).await;
    session.give_back();
    findings
}

async fn look(server: &Server, session: &Pooled, tables: &[TargetTable]) -> Result<Vec<Finding>> {
    let failed = |error: PgError| server.failed(&error, "the catalogue can't be read");
    let mut findings = Vec::new();
    let quiet = quiet(server, session).await.map_err(failed)?;
    server_itself::look(server, session, &mut findings).await.map_err(failed)?;
    for table in tables {
        look_at_table(server, session, table, quiet, &mut findings).await.map_err(failed)?;
    }
    Ok(findings)
}

/// Tables with rows, where the line has no checkpoint.
pub(crate) async fn filled(
    database: &Database,
    line: &PipelineId,
    tables: &[TableId],
) -> Result<Vec<TableId>> {
    let session = database.writers.get().await?;
    let found = filled_of(&session, line, tables).await;
    session.give_back();
    found.map_err(|error| database.server.failed(&error, "the target's tables can't be read"))
}

async fn filled_of(
    client: &Client,
    line: &PipelineId,
    tables: &[TableId],
) -> std::result::Result<Vec<TableId>, PgError> {
    let mut filled = Vec::new();
    if checkpoint::is_there(client).await? && checkpoint::read(client, line).await?.is_some() {
        return Ok(filled);
    }
    for name in tables {
        let quoted = table::quoted(name);
        let sql = "SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1) \
                   AND relkind IN ('r', 'p') AND pg_catalog.has_table_privilege(oid, 'SELECT') \
                   AND pg_catalog.has_schema_privilege(relnamespace, 'USAGE')";
        let Some(row) = client.query_opt(sql, &[&quoted]).await? else { continue };
        let only = if row.try_get(0)? { "" } else { "ONLY " };
        if client.query_one(&format!("SELECT EXISTS (SELECT FROM {only}{quoted})"), &[]).await?.try_get(0)? {
            filled.push(name.clone());
        }
    }
    Ok(filled)
}

/// Whether the target's triggers and foreign keys can be kept from acting. Tried, for who may is not the same in every version.
async fn quiet(server: &Server, client: &Client) -> Result<bool, PgError> {
    if server.fire_triggers {
        return Ok(false);
    }
    let tried = client.batch_execute("BEGIN; SET LOCAL session_replication_role = replica").await;
    client.batch_execute("ROLLBACK").await?;
    match tried {
        Ok(()) => Ok(true),
        Err(error) if errors::kind_of(&error) == ErrorKind::Permission => Ok(false),
        Err(error) => Err(error),
    }
}

async fn look_at_table(
    server: &Server,
    session: &Pooled,
    table: &TargetTable,
    quiet: bool,
    findings: &mut Vec<Finding>,
) -> Result<(), PgError> {
    let path = &table.path;
    let (schema, name) = table::place(&table.schema.table);
    if schema == OWN_SCHEMA || schema.starts_with("pg_") || schema == "information_schema" {
        let what = format!("the schema {schema} is reserved");
        findings.push(Finding::error(ErrorKind::TargetSchema, path, what, "choose another with `to:`"));
        return Ok(());
    }
    if schema.len() > 63 || name.len() > 63 {
        let what = format!("the name {name} is longer than the 63 bytes that the server keeps");
        findings.push(Finding::error(ErrorKind::TargetSchema, path, what, "choose another with `to:`"));
        return Ok(());
    }
    match table::shape(session, &table.schema.table).await? {
        None => look_at_missing(server, session, table, findings).await,
        Some(shape) => {
            for (what, remedy) in shape.misfits(&table.schema) {
                findings.push(Finding::error(ErrorKind::TargetSchema, path, what, remedy));
            }
            rights(server, session, &shape, path, findings).await?;
            remarks::look(server, table, &shape, quiet, findings);
            Ok(())
        }
    }
}

/// A table that is to be made.
async fn look_at_missing(
    server: &Server,
    client: &Client,
    table: &TargetTable,
    findings: &mut Vec<Finding>,
) -> Result<(), PgError> {
    let (path, user) = (&table.path, quote(&server.user));
    let (schema, name) = table::place(&table.schema.table);
    let sql = "SELECT CASE WHEN n IS NULL THEN pg_catalog.has_database_privilege(current_database(), 'CREATE') \
               ELSE pg_catalog.has_schema_privilege(n::oid, 'CREATE') END, n IS NULL FROM pg_catalog.to_regnamespace($1) n";
    let row = client.query_one(sql, &[&quote(schema)]).await?;
    let (may, missing): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if !may {
        let sql = match missing {
            true => format!("GRANT CREATE ON DATABASE {} TO {user}", quote(&server.dbname)),
            false => format!("GRANT CREATE, USAGE ON SCHEMA {} TO {user}", quote(schema)),
        };
        findings.push(Finding::error(
            ErrorKind::Permission,
            path,
            format!("the table {schema}.{name} can't be made"),
            sql,
        ));
    }
    for column in table.schema.columns.iter().filter(|_| &*table.schema.kind == KIND) {
        let declared = table::declared(column, KIND);
        // Not even the form of a type's name: it is not there.
        let known = match client.query_one("SELECT pg_catalog.to_regtype($1) IS NOT NULL", &[&declared]).await
        {
            Ok(row) => row.try_get(0)?,
            Err(error) if error.as_db_error().is_some() => false,
            Err(error) => return Err(error),
        };
        if !known {
            let what = format!(
                "the target has no type {declared}, so {name}.{} is made as {}",
                column.name,
                table::canonical(column.ty)
            );
            findings.push(Finding::warning(
                "type-missing",
                path,
                what,
                "make the type first (CREATE TYPE, CREATE EXTENSION)",
            ));
        }
    }
    Ok(())
}

/// What we may do to a table that is there.
async fn rights(
    server: &Server,
    client: &Client,
    shape: &Shape,
    path: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), PgError> {
    let sql = "SELECT r FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) r \
               WHERE NOT pg_catalog.has_table_privilege($1::oid, r)";
    let lacking: Vec<String> =
        client.query(sql, &[&shape.oid]).await?.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let usage = "SELECT pg_catalog.has_schema_privilege(relnamespace, 'USAGE') FROM pg_catalog.pg_class WHERE oid = $1";
    let (table, user) = (shape.quoted(), quote(&server.user));
    if !client.query_one(usage, &[&shape.oid]).await?.try_get::<_, bool>(0)? {
        let what = format!("the schema of {table} can't be used");
        let sql = format!("GRANT USAGE ON SCHEMA {} TO {user}", quote(&shape.schema));
        findings.push(Finding::error(ErrorKind::Permission, path, what, sql));
    }
    let (needed, rest): (Vec<String>, Vec<String>) =
        lacking.into_iter().partition(|right| right != "TRUNCATE");
    if !needed.is_empty() {
        let list = needed.join(", ");
        let sql = format!("GRANT {list} ON {table} TO {user}");
        findings.push(Finding::error(
            ErrorKind::Permission,
            path,
            format!("the right to {list} on {table} is missing"),
            sql,
        ));
    }
    if !rest.is_empty() {
        let what = format!("{table} can't be truncated when its source is");
        let sql = format!("GRANT TRUNCATE ON {table} TO {user}; -- or set `truncate: ignore`");
        findings.push(Finding::warning("no-truncate", path, what, sql));
    }
    if shape.policies {
        let what = format!("row policies of {table} hold for {user}, so it can't be written as a whole");
        findings.push(Finding::error(
            ErrorKind::Permission,
            path,
            what,
            format!("ALTER ROLE {user} BYPASSRLS"),
        ));
    }
    Ok(())
}
