//! A target's server itself: whether it takes writes, what it promises of them, and what it lets us do.

use sluice_types::{ErrorKind, Finding};
use tokio_postgres::Error as PgError;

use crate::config::Server;
use crate::errors::quote;
use crate::names::OWN_SCHEMA;
use crate::pool::Pooled;

/// What the server says of itself and of what we may. That commits wait for the disk it need not say: a session of ours sees to
/// it (`session.rs`), and nobody can keep it from that.
const SERVER: &str = "
SELECT pg_catalog.current_setting('transaction_read_only') = 'on',
       pg_catalog.current_setting('fsync') = 'on',
       pg_catalog.current_setting('full_page_writes') = 'on',
       pg_catalog.getdatabaseencoding()";

/// What we may do in the database and in our own schema. By their numbers: who may not use a schema may not even ask for a name in it.
const RIGHTS: &str = "
SELECT pg_catalog.has_database_privilege(current_database(), 'CREATE'),
       n.oid IS NOT NULL,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'CREATE') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'), true),
       c.oid IS NOT NULL,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
                AND pg_catalog.has_table_privilege(c.oid, 'UPDATE') AND pg_catalog.has_table_privilege(c.oid, 'DELETE'), true)
FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'sluice'
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'sluice_checkpoint'";

/// Whether we may mark our writes, whether we may see who does, and for how many there is room: since version 18 by a setting of its
/// own.
const ORIGINS: &str = "
SELECT pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_oid(text)', 'EXECUTE')
           AND pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_create(text)', 'EXECUTE')
           AND pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_session_setup(text)', 'EXECUTE'),
       pg_catalog.has_function_privilege('pg_catalog.pg_show_replication_origin_status()', 'EXECUTE'),
       s.name, s.setting::bigint
FROM pg_catalog.pg_settings s WHERE s.name IN ('max_replication_slots', 'max_active_replication_origins')
ORDER BY s.name LIMIT 1";

/// So much more room for origins is asked for as is enough for some lines to come.
const MORE_ORIGINS: i64 = 10;

/// Looks at the server of a target.
pub(super) async fn look(
    server: &Server,
    session: &Pooled,
    findings: &mut Vec<Finding>,
) -> Result<(), PgError> {
    let row = session.query_one(SERVER, &[]).await?;
    if session.in_recovery || row.try_get(0)? {
        let what = "the server is a standby or read-only, so it can't be a target";
        findings.push(Finding::error(ErrorKind::Permission, "url", what, "connect to the primary"));
        return Ok(());
    }
    findings.extend(rights(server, session).await?);
    findings.extend(durable(row.try_get(1)?, row.try_get(2)?));
    findings.extend(origins(server, session).await?);
    let encoding: &str = row.try_get(3)?;
    if encoding != "UTF8" {
        let what =
            format!("the database's encoding is {encoding}: text that it does not have becomes dead letters");
        let database = quote(&format!("{}_utf8", server.dbname));
        let sql = format!(
            "CREATE DATABASE {database} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0; -- and name it in the URL"
        );
        findings.push(Finding::warning("target-encoding", "url", what, sql));
    }
    Ok(())
}

/// What we may not do and have to.
async fn rights(server: &Server, session: &Pooled) -> Result<Option<Finding>, PgError> {
    let row = session.query_one(RIGHTS, &[]).await?;
    let says = |index: usize| row.try_get::<_, bool>(index);
    let (user, database) = (quote(&server.user), quote(&server.dbname));
    let error = |what: String, sql: String| Some(Finding::error(ErrorKind::Permission, "url", what, sql));
    let (schema_is_there, checkpoint_is_there) = (says(1)?, says(3)?);
    Ok(if !says(0)? && !schema_is_there {
        error(
            format!("the schema {OWN_SCHEMA} can't be made"),
            format!("GRANT CREATE ON DATABASE {database} TO {user}"),
        )
    } else if !says(2)? && !checkpoint_is_there {
        error(
            format!("nothing can be made in the schema {OWN_SCHEMA}"),
            format!("GRANT CREATE, USAGE ON SCHEMA {OWN_SCHEMA} TO {user}"),
        )
    } else if !says(4)? {
        error(
            "the checkpoint can't be read and written".into(),
            format!(
                "GRANT USAGE ON SCHEMA {OWN_SCHEMA} TO {user}; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON sluice.sluice_checkpoint TO {user}"
            ),
        )
    } else {
        None
    })
}

/// I1: what is committed is durable.
fn durable(fsync: bool, full_page_writes: bool) -> Option<Finding> {
    let off = [("fsync", fsync), ("full_page_writes", full_page_writes)];
    let off: Vec<&str> = off.into_iter().filter(|(_, on)| !on).map(|(name, _)| name).collect();
    if off.is_empty() {
        return None;
    }
    let be = if off.len() == 1 { "is" } else { "are" };
    let what = format!(
        "{} {be} off: a power cut may lose what sluice has confirmed to its source",
        off.join(" and ")
    );
    let sql: String = off.iter().map(|name| format!("ALTER SYSTEM SET {name} = on; ")).collect();
    Some(Finding::warning("not-durable", "url", what, sql + "SELECT pg_reload_conf()"))
}

/// Whether a line's writes can be marked as its own.
async fn origins(server: &Server, session: &Pooled) -> Result<Option<Finding>, PgError> {
    let row = session.query_one(ORIGINS, &[]).await?;
    let user = quote(&server.user);
    if !row.try_get::<_, bool>(0)? {
        let what = "writes can't be marked with an origin, so a pipeline in the other direction would not know them as echoes";
        let sql = format!(
            "GRANT EXECUTE ON FUNCTION pg_replication_origin_oid(text), pg_replication_origin_create(text), \
             pg_replication_origin_session_setup(text), pg_replication_origin_session_reset(), \
             pg_replication_origin_drop(text), pg_show_replication_origin_status() TO {user}"
        );
        return Ok(Some(Finding::warning("no-origin", "url", what, sql)));
    }
    // Each that was ever set up takes room until it is dropped. Who may not see which were takes it that all were.
    let taken = match row.try_get(1)? {
        true => "SELECT count(*) FROM pg_catalog.pg_show_replication_origin_status()",
        false => "SELECT count(*) FROM pg_catalog.pg_replication_origin",
    };
    let taken: i64 = session.query_one(taken, &[]).await?.try_get(0)?;
    let (setting, room): (&str, i64) = (row.try_get(2)?, row.try_get(3)?);
    if taken < room {
        return Ok(None);
    }
    let what = format!(
        "there is no room for another replication origin ({setting} is {room}): the writes of a pipeline that has none yet are \
         not marked, and one in the other direction would not know them as echoes"
    );
    let sql = format!(
        "ALTER SYSTEM SET {setting} = {}; -- then restart the server",
        taken.max(room) + MORE_ORIGINS
    );
    Ok(Some(Finding::warning("origins-full", "url", what, sql)))
}
