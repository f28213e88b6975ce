//! What can be said of a source before a row flows: each finding with the statement to run. What has to be said beside a statement is
//! a comment of SQL, so that the remedy can be pasted into psql as it is.

mod remarks;
mod server;
pub(crate) mod target;

use sluice_types::ports::{Readers, TargetTable};
use sluice_types::{Error, ErrorKind, Finding, PipelineId, Result, TableId};

use crate::config::Server;
use crate::connection::Session;
use crate::endpoint::Database;
use crate::errors::{literal, quote};
use crate::names;
use crate::protocol::client::Client;
use crate::schema::{self, Table};
use crate::source::{awaits, unfit, unfit_server};

/// An inactive slot of ours that retains more than this is worth a word.
const RETAINED_BYTES: i64 = 256 << 20;

const SERVER: &str = "\
    SELECT current_setting('wal_level'), \
           current_setting('max_replication_slots')::bigint - (SELECT count(*) FROM pg_catalog.pg_replication_slots), \
           current_setting('max_wal_senders')::bigint \
               - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender'), \
           (SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) \
               OR coalesce(pg_catalog.pg_has_role(pg_catalog.to_regrole('rds_replication'), 'MEMBER'), false), \
           pg_catalog.has_database_privilege(current_database(), 'CREATE'), \
           pg_catalog.has_function_privilege(emit.oid, 'EXECUTE'), \
           (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'), \
           current_setting('synchronous_standby_names'), \
           EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata), \
           current_database()::text, \
           emit.oid::regprocedure::text \
    FROM pg_catalog.pg_proc emit \
    WHERE emit.pronamespace = 'pg_catalog'::regnamespace AND emit.proname = 'pg_logical_emit_message' \
          AND emit.proargtypes[2] = 'pg_catalog.text'::regtype"; // version 17 gave it one more argument

const OLD_SLOTS: &str = "\
    SELECT slot_name::text, coalesce(wal_status = 'lost', false), \
           coalesce(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn), 0)::bigint \
    FROM pg_catalog.pg_replication_slots \
    WHERE slot_name LIKE 'sluice\\_%' AND slot_name <> ALL ($1) AND NOT active AND slot_type = 'logical'";

/// Of these slots those that are there, and those that are being streamed.
const OWN_SLOTS: &str = "\
    SELECT count(*), count(*) FILTER (WHERE active), \
           coalesce(array_agg(slot_name::text ORDER BY slot_name) FILTER (WHERE wal_status = 'lost'), '{}') \
    FROM pg_catalog.pg_replication_slots WHERE slot_name = ANY ($1)";

/// Tables that inherit from one, and from these in turn.
const HEIRS: &str = "\
    WITH RECURSIVE heirs AS ( \
        SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = $1 \
        UNION \
        SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN heirs h ON i.inhparent = h.inhrelid) \
    SELECT n.nspname::text, c.relname::text \
    FROM heirs h JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    ORDER BY 1, 2";

const RIGHTS: &str = "\
    SELECT pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), \
           pg_catalog.pg_has_role(c.relowner, 'USAGE'), pg_catalog.pg_get_userbyid(c.relowner)::text, \
           coalesce((SELECT rolsuper FROM pg_catalog.pg_roles WHERE oid = c.relowner), true), \
           pg_catalog.row_security_active(c.oid) \
    FROM pg_catalog.pg_class c WHERE c.oid = $1";

/// Looks whether these tables can be read and their changes followed. Changes nothing.
pub(crate) async fn check(
    database: &Database,
    readers: &Readers,
    tables: &[TargetTable],
) -> Result<Vec<Finding>> {
    let server = &database.server;
    let session = match database.readers.get().await {
        Ok(session) => session,
        Err(error) => return Ok(vec![of_error(&error, "url")]),
    };
    let mut findings = Vec::new();
    if let Some(error) = unfit_server(&session) {
        findings.push(of_error(&error, "url"));
    } else {
        look_at_server(server, &session, readers, &mut findings).await?;
    }
    look_at_tables(server, &session, tables, &mut findings).await?;
    session.give_back();
    Ok(findings)
}

fn of_error(error: &Error, path: &str) -> Finding {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Finding::error(
        error.kind(),
        path,
        format!("{}{cause}", error.what()),
        error.remedy_text().unwrap_or_default(),
    )
}

async fn look_at_server(
    server: &Server,
    session: &Session,
    readers: &Readers,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let failed = |error: tokio_postgres::Error| server.failed(&error, "the server's settings can't be read");
    let row = session.query_one(SERVER, &[]).await.map_err(failed)?;
    let names = |lines: &[PipelineId]| -> Vec<String> {
        lines.iter().map(|line| names::of(&readers.install, line)).collect()
    };
    let (own, configured) = (names(&readers.lines), names(&readers.configured));
    let slots = session.query_one(OWN_SLOTS, &[&own]).await.map_err(failed)?;
    let (lines, there, streamed): (i64, i64, i64) = (own.len() as i64, slots.get(0), slots.get(1));
    let lost: Vec<String> = slots.get(2);
    let user = quote(&server.user);
    let dbname: &str = row.get(9);
    let mut error = |kind, bad: bool, what: &str, remedy: String| {
        if bad {
            findings.push(Finding::error(kind, "url", what, remedy));
        }
    };
    let restart = "-- then restart the server";
    let is_logical = row.get::<_, &str>(0) == "logical";
    let remedy = format!("ALTER SYSTEM SET wal_level = logical; {restart}");
    error(ErrorKind::CaptureBroken, !is_logical, "wal_level is not logical", remedy);
    // What a line has already it needs no more of.
    let (slots, senders) = (lines - there, lines - streamed);
    let (free_slots, free_senders): (i64, i64) = (row.get(1), row.get(2));
    let raised =
        |name: &str, taken: i64| format!("ALTER SYSTEM SET {name} = {}; {restart}", (taken + 10).max(20));
    let what =
        format!("replication slots: {slots} needed, one for each line, and {} free", free_slots.max(0));
    let remedy = raised("max_replication_slots", slots - free_slots);
    error(ErrorKind::CaptureBroken, slots > free_slots, &what, remedy);
    let what = format!("walsenders: {senders} needed, one for each line, and {} free", free_senders.max(0));
    let remedy = raised("max_wal_senders", senders - free_senders);
    error(ErrorKind::CaptureBroken, senders > free_senders, &what, remedy);
    let may_replicate: bool = row.get(3);
    let remedy = format!("ALTER ROLE {user} REPLICATION");
    error(ErrorKind::Permission, !may_replicate, "the role may not replicate", remedy);
    let remedy = format!("GRANT CREATE ON DATABASE {} TO {user}", quote(dbname));
    error(ErrorKind::Permission, !row.get::<_, bool>(4), "the role may not make a publication", remedy);
    let mut warn = |code, bad: bool, what: String, remedy: String| {
        if bad {
            findings.push(Finding::warning(code, "url", what, remedy));
        }
    };
    let what = "the role may not write heartbeats, so idle tables may retain log";
    let remedy = format!("GRANT EXECUTE ON FUNCTION {} TO {user}", row.get::<_, &str>(10));
    warn("heartbeat", !row.get::<_, bool>(5), what.into(), remedy);
    let what = "nothing limits the log that a pipeline which stands still retains here";
    let remedy = "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); -- beyond it the position is lost";
    warn("log-unlimited", row.get::<_, i64>(6) < 0, what.into(), remedy.into());
    let awaited = awaits(row.get(7), &server.application_name);
    let what = "commits may wait for sluice as for a standby (synchronous_standby_names)".to_string();
    warn("synchronous-standby", awaited, what, "Name the standbys that are meant there".into());
    let what = "large objects are there; they are in no table and are not replicated".to_string();
    warn("large-objects", row.get(8), what, "Keep them in a bytea column".into());
    for (line, slot) in readers.lines.iter().zip(&own).filter(|(_, slot)| lost.contains(slot)) {
        let what = format!(
            "the server has given up the slot of a pipeline ({slot}): its changes since then are lost"
        );
        let remedy = format!(
            "sluice resnapshot {line}, or `on_position_lost: resnapshot`; and raise max_slot_wal_keep_size"
        );
        warn("slot-lost", true, what, remedy);
    }
    for row in session.query(OLD_SLOTS, &[&configured]).await.map_err(failed)? {
        let (name, lost, retained): (&str, bool, i64) = (row.get(0), row.get(1), row.get(2));
        let what = match lost {
            true => format!(
                "the slot {name} is lost, and no pipeline of this configuration and state folder uses it"
            ),
            false => format!(
                "the slot {name} retains {} MiB of log, and no pipeline of this configuration and state folder uses it: it is of \
                 no use unless another installation's",
                retained >> 20
            ),
        };
        let remedy = format!("SELECT pg_drop_replication_slot({})", literal(name));
        warn("orphan-slot", lost || retained > RETAINED_BYTES, what, remedy);
    }
    if may_replicate && is_logical && free_senders > 0 {
        // pg_hba.conf knows no difference between the streams of a database and its sessions, but what is in between may.
        let server = std::sync::Arc::new(server.clone());
        if let Err(refused) = Client::replication(&server).await {
            let mut finding = of_error(&refused, "url");
            if refused.kind() == ErrorKind::Unreachable {
                finding.remedy =
                    "Name the server itself in the URL: poolers take no replication connections".into();
            }
            findings.push(finding);
        }
    }
    Ok(())
}

async fn look_at_tables(
    server: &Server,
    session: &Session,
    tables: &[TargetTable],
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let names: Vec<TableId> = tables.iter().map(|table| table.schema.table.clone()).collect();
    let found = schema::load(server, session, &names).await?;
    for (wanted, table) in tables.iter().zip(found) {
        match table {
            None => findings.push(of_error(&schema::missing(&wanted.schema.table), &wanted.path)),
            Some(table) => {
                look_at_table(server, session, wanted, &table, findings).await?;
                findings.extend(look_at_heirs(server, session, wanted, &table, &names).await?);
            }
        }
    }
    Ok(())
}

async fn look_at_table(
    server: &Server,
    session: &Session,
    wanted: &TargetTable,
    table: &Table,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    if let Some(error) = unfit(table, &wanted.schema) {
        findings.push(of_error(&error, &wanted.path));
    }
    let row = session.query_one(RIGHTS, &[&table.oid]).await;
    let row = row.map_err(|error| server.failed(&error, "the catalogue can't be read"))?;
    let (user, name) = (quote(&server.user), table.qualified());
    let (may_read, owns, owner, of_superuser, hidden): (bool, bool, &str, bool, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    let mut error = |bad: bool, what: String, remedy: String| {
        if bad {
            findings.push(Finding::error(ErrorKind::Permission, &wanted.path, what, remedy));
        }
    };
    let remedy = format!(
        "GRANT USAGE ON SCHEMA {} TO {user}; GRANT SELECT ON {name} TO {user}",
        quote(&table.id.schema)
    );
    error(!may_read, format!("the role may not read {}", table.id), remedy);
    let what = format!("only its owner may publish {}", table.id);
    // Who is a member of a superuser's role can do what that can.
    let remedy = match of_superuser {
        true => format!("ALTER TABLE {name} OWNER TO {user}"),
        false => format!("GRANT {} TO {user}", quote(owner)),
    };
    error(!owns, what, remedy);
    let what = format!("row policies hide rows of {} from the role", table.id);
    error(hidden, what, format!("ALTER ROLE {user} BYPASSRLS"));
    let mut warn = |code, bad: bool, what: String, remedy: &str| {
        if bad {
            findings.push(Finding::warning(code, &wanted.path, what, remedy));
        }
    };
    let what =
        format!("generated columns are not in the log, and are left out: {}", table.generated.join(", "));
    warn("generated-columns", !table.generated.is_empty(), what, "The target can compute them itself");
    let what =
        "a TRUNCATE of one partition, and rows that come or go by ATTACH and DETACH, are not in the log";
    warn("partitions", table.kind == b'p', what.into(), "Use DELETE there, or sluice resnapshot afterwards");
    Ok(())
}

/// Tables that inherit from this one and are read by nobody.
async fn look_at_heirs(
    server: &Server,
    session: &Session,
    wanted: &TargetTable,
    table: &Table,
    names: &[TableId],
) -> Result<Option<Finding>> {
    if !table.has_children {
        return Ok(None);
    }
    let heirs = session.query(HEIRS, &[&table.oid]).await;
    let heirs = heirs.map_err(|error| server.failed(&error, "the catalogue can't be read"))?;
    let heirs = heirs.iter().map(|row| TableId::new(row.get::<_, &str>(0), row.get::<_, &str>(1)));
    let left_out = heirs.filter(|heir| names.iter().all(|name| schema::qualify(name) != *heir));
    let left_out: Vec<String> = left_out.map(|heir| heir.to_string()).collect();
    let what = "tables that inherit from it are tables of their own here";
    let remedy = format!("Name them in the pipeline, too: {}", left_out.join(", "));
    Ok((!left_out.is_empty()).then(|| Finding::warning("inheritance", &wanted.path, what, remedy)))
}
