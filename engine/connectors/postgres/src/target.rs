//! What can be said of a target before a row flows: each finding with the statement to run.

use sluice_types::ports::TargetTable;
use sluice_types::{ColumnType, Error, ErrorKind, Finding, Result};
use tokio_postgres::{Client, Error as PgError};

use crate::config::{KIND, Server};
use crate::endpoint::Database;
use crate::errors::{self, quote};
use crate::names::OWN_SCHEMA;
use crate::narrow;
use crate::pool::Pooled;
use crate::table::{self, Shape};
use crate::values::Kind;

/// What the server says of itself and of what we may.
const SERVER: &str = "
SELECT pg_catalog.current_setting('fsync') = 'on' AND pg_catalog.current_setting('full_page_writes') = 'on',
       pg_catalog.current_setting('synchronous_commit') IN ('on', 'remote_apply'),
       pg_catalog.has_database_privilege(current_database(), 'CREATE'),
       pg_catalog.to_regnamespace('sluice') IS NOT NULL,
       CASE WHEN pg_catalog.to_regnamespace('sluice') IS NULL THEN true
            ELSE pg_catalog.has_schema_privilege('sluice', 'CREATE') END,
       pg_catalog.to_regclass('sluice.sluice_checkpoint') IS NOT NULL,
       CASE WHEN pg_catalog.to_regclass('sluice.sluice_checkpoint') IS NULL THEN true
            ELSE pg_catalog.has_table_privilege('sluice.sluice_checkpoint', 'SELECT')
             AND pg_catalog.has_table_privilege('sluice.sluice_checkpoint', 'INSERT')
             AND pg_catalog.has_table_privilege('sluice.sluice_checkpoint', 'UPDATE')
             AND pg_catalog.has_table_privilege('sluice.sluice_checkpoint', 'DELETE') END,
       pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_oid(text)', 'EXECUTE')
           AND pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_create(text)', 'EXECUTE')
           AND pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_session_setup(text)', 'EXECUTE'),
       pg_catalog.getdatabaseencoding(),
       pg_catalog.current_setting('transaction_read_only') = 'on'";

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

fn of_error(error: &Error, path: &str) -> Finding {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let what = format!("{}{cause}", error.what());
    Finding::error(error.kind(), path, what, error.remedy_text().unwrap_or_default())
}

async fn look(server: &Server, session: &Pooled, tables: &[TargetTable]) -> Result<Vec<Finding>> {
    let failed = |error: PgError| server.failed(&error, "the catalogue can't be read");
    let mut findings = Vec::new();
    let quiet = quiet(server, session).await.map_err(failed)?;
    look_at_server(server, session, &mut findings).await.map_err(failed)?;
    for table in tables {
        look_at_table(server, session, table, quiet, &mut findings).await.map_err(failed)?;
    }
    Ok(findings)
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

async fn look_at_server(
    server: &Server,
    session: &Pooled,
    findings: &mut Vec<Finding>,
) -> Result<(), PgError> {
    let row = session.query_one(SERVER, &[]).await?;
    let says = |index: usize| row.try_get::<_, bool>(index);
    let (user, database) = (quote(&server.user), quote(&server.dbname));
    let mut error = |kind, path: &str, what: &str, remedy: String| {
        findings.push(Finding::error(kind, path, what, remedy))
    };
    if session.in_recovery || says(9)? {
        let what = "the server is a standby or read-only, so it can't be a target";
        error(ErrorKind::Permission, "url", what, "connect to the primary".into());
        return Ok(());
    }
    if !says(2)? && !says(3)? {
        let what = format!("the schema {OWN_SCHEMA} can't be made");
        error(ErrorKind::Permission, "url", &what, format!("GRANT CREATE ON DATABASE {database} TO {user}"));
    } else if !says(4)? && !says(5)? {
        let what = format!("nothing can be made in the schema {OWN_SCHEMA}");
        error(
            ErrorKind::Permission,
            "url",
            &what,
            format!("GRANT CREATE, USAGE ON SCHEMA {OWN_SCHEMA} TO {user}"),
        );
    } else if !says(6)? {
        let sql = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON sluice.sluice_checkpoint TO {user}");
        error(ErrorKind::Permission, "url", "the checkpoint can't be read and written", sql);
    }
    if !says(0)? {
        let what =
            "fsync or full_page_writes is off: a power cut may lose what sluice has confirmed to its source";
        let sql =
            "ALTER SYSTEM SET fsync = on; ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf()";
        findings.push(Finding::warning("not-durable", "url", what, sql));
    }
    if !says(1)? {
        // A session of ours has set it already; somebody has taken that away.
        let what = "synchronous_commit can't be set to on: commits may be lost after they were confirmed";
        findings.push(Finding::warning(
            "not-durable",
            "settings",
            what,
            "allow the role to set synchronous_commit",
        ));
    }
    if !says(7)? {
        let what = "writes can't be marked with an origin, so a pipeline in the other direction would not know them as echoes";
        let sql = format!(
            "GRANT EXECUTE ON FUNCTION pg_replication_origin_oid(text), pg_replication_origin_create(text), \
             pg_replication_origin_session_setup(text), pg_replication_origin_session_reset(), \
             pg_replication_origin_drop(text) TO {user}"
        );
        findings.push(Finding::warning("no-origin", "url", what, sql));
    }
    let encoding: String = row.try_get(8)?;
    if encoding != "UTF8" {
        let what =
            format!("the database's encoding is {encoding}: text that it does not have becomes dead letters");
        findings.push(Finding::warning(
            "target-encoding",
            "url",
            what,
            "use a database with ENCODING 'UTF8'",
        ));
    }
    Ok(())
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
            remarks(server, table, &shape, quiet, findings);
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
        let sql = format!("GRANT TRUNCATE ON {table} TO {user}, or set `truncate: ignore`");
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

/// What is worth knowing of a table that is there.
fn remarks(server: &Server, table: &TargetTable, shape: &Shape, quiet: bool, findings: &mut Vec<Finding>) {
    let (path, name) = (&table.path, shape.quoted());
    let mut warn =
        |code, what: String, remedy: String| findings.push(Finding::warning(code, path, what, remedy));
    for (trigger, in_replica) in &shape.triggers {
        if *in_replica || !quiet {
            warn(
                "target-triggers",
                format!("the trigger {trigger} of {name} acts on every row that sluice writes"),
                format!(
                    "ALTER TABLE {name} {} TRIGGER {trigger}, where it would do again what the source's rows show already",
                    "DISABLE",
                    trigger = quote(trigger)
                ),
            );
        }
    }
    if shape.foreign_keys && !quiet && !server.fire_triggers {
        warn(
            "target-foreign-keys",
            format!(
                "foreign keys of {name} act on what sluice writes: tables of a snapshot come in any order"
            ),
            format!(
                "GRANT SET ON PARAMETER session_replication_role TO {} (PostgreSQL 15 or later)",
                quote(&server.user)
            ),
        );
    }
    for constraint in shape.deferrable_uniques.iter().filter(|_| quiet) {
        let quoted = quote(constraint);
        warn(
            "target-deferrable",
            format!(
                "{constraint} of {name} is DEFERRABLE: nobody looks after it while triggers are kept from acting, so what sluice writes \
                 may violate it"
            ),
            format!(
                "ALTER TABLE {name} DROP CONSTRAINT {quoted}, ADD ... NOT DEFERRABLE, or set `fire_triggers: true`"
            ),
        );
    }
    if shape.rules {
        warn(
            "target-rules",
            format!("{name} has rules, which may write elsewhere"),
            format!("DROP RULE ... ON {name}"),
        );
    }
    for column in &shape.columns {
        let Some(source) = table.schema.columns.iter().find(|source| *source.name == *column.name) else {
            continue;
        };
        let key = table.schema.key_columns().any(|key| key.name == source.name);
        if column.generated {
            let what = format!("{name}.{} is generated: the source's values are left out", column.name);
            warn(
                "target-generated",
                what,
                format!("ALTER TABLE {name} ALTER COLUMN {} DROP EXPRESSION", quote(&column.name)),
            );
        }
        if column.identity_always && key {
            warn(
                "identity-always",
                format!(
                    "{name}.{} is GENERATED ALWAYS AS IDENTITY: a change of the key would pause the pipeline",
                    column.name
                ),
                format!("ALTER TABLE {name} ALTER COLUMN {} SET GENERATED BY DEFAULT", quote(&column.name)),
            );
        }
        if &*table.schema.kind == KIND && narrow::is_narrower(&column.kind, &source.native) {
            let what = format!(
                "{name}.{} is {}, the source's is {}: what does not fit becomes a dead letter",
                column.name, column.declared, source.native
            );
            let sql =
                format!("ALTER TABLE {name} ALTER COLUMN {} TYPE {}", quote(&column.name), source.native);
            warn("target-narrower", what, sql);
        }
        // The text of json goes with it: spaces, order, twins of a key.
        if column.kind == Kind::Jsonb && source.ty == ColumnType::Json && &*source.native != "jsonb" {
            warn(
                "json-normalised",
                format!("{name}.{} is jsonb, which keeps neither spaces nor the order of keys", column.name),
                format!(
                    "ALTER TABLE {name} ALTER COLUMN {} TYPE json, if the text matters",
                    quote(&column.name)
                ),
            );
        }
    }
}
