//! Versions of plugins, each version's bytes once.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sluice_types::ports::{PluginVersion, Swapped};
use sluice_types::{Digest, Error, ErrorKind, Result};

use crate::errors::{Said, damaged};

/// Entries in the history of one plugin (I10). Beyond, the oldest go, and with them the bytes that no entry names any more; the
/// version that runs always stays.
pub const PLUGIN_VERSIONS_MAX: usize = 100;

const READ: &str = "can't read plugin versions from the state";
const WRITE: &str = "can't keep the plugin version in the state";

pub(crate) fn promoted(connection: &mut Connection, name: &str) -> Result<Option<(Digest, Bytes)>> {
    let digest: Option<String> = connection
        .query_row("select digest from plugin_promoted where name = ?", [name], |row| row.get(0))
        .optional()
        .said(READ)?;
    let Some(digest) = digest else { return Ok(None) };
    let digest = parse(&digest)?;
    let bytes =
        component(connection, &digest)?.ok_or_else(|| damaged("the running plugin's bytes are missing"))?;
    Ok(Some((digest, bytes)))
}

pub(crate) fn component(connection: &mut Connection, digest: &Digest) -> Result<Option<Bytes>> {
    let bytes: Option<Vec<u8>> = connection
        .query_row("select bytes from plugin_components where digest = ?", [digest.to_string()], |row| {
            row.get(0)
        })
        .optional()
        .said(READ)?;
    match bytes {
        // What runs after a restart is what was promoted, bit for bit, or nothing.
        Some(bytes) if Digest::of(&bytes) != *digest => {
            Err(damaged("a plugin's bytes in the state were changed"))
        }
        other => Ok(other.map(Bytes::from)),
    }
}

pub(crate) fn record(
    connection: &mut Connection,
    version: &PluginVersion,
    bytes: Option<Bytes>,
) -> Result<()> {
    if bytes.as_ref().is_some_and(|bytes| Digest::of(bytes) != version.digest) {
        return Err(Error::new(ErrorKind::Internal, "a plugin version's bytes are not those of its digest"));
    }
    let transaction = connection.transaction().said(WRITE)?;
    let digest = version.digest.to_string();
    if let Some(bytes) = bytes {
        transaction
            .execute("insert or ignore into plugin_components values (?, ?)", params![digest, &bytes[..]])
            .said(WRITE)?;
    }
    transaction
        .execute(
            "insert into plugin_versions (name, digest, outcome, why, at_micros) values (?, ?, ?, ?, ?)",
            params![&*version.name, digest, word(version.outcome), version.why, version.at_micros],
        )
        .said(WRITE)?;
    if version.outcome == Swapped::Promoted {
        promote(&transaction, &version.name, &digest)?;
    }
    prune(&transaction, &version.name).said(WRITE)?;
    transaction.commit().said(WRITE)
}

fn promote(transaction: &Transaction<'_>, name: &str, digest: &str) -> Result<()> {
    let has_bytes = transaction
        .query_row("select 1 from plugin_components where digest = ?", [digest], |_| Ok(()))
        .optional()
        .said(READ)?;
    if has_bytes.is_none() {
        // Otherwise a restart could not run what ran before.
        return Err(Error::new(ErrorKind::Internal, "a plugin version can't be promoted without its bytes"));
    }
    transaction
        .execute(
            "insert into plugin_promoted values (?, ?) on conflict do update set digest = excluded.digest",
            [name, digest],
        )
        .said(WRITE)?;
    Ok(())
}

fn prune(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    let pruned = transaction.execute(
        "delete from plugin_versions where name = ?1 and number <= (
             select number from plugin_versions where name = ?1 order by number desc limit 1 offset ?2)
             and digest is not (select digest from plugin_promoted where name = ?1)",
        params![name, PLUGIN_VERSIONS_MAX as i64],
    )?;
    if pruned > 0 {
        transaction.execute(
            "delete from plugin_components where digest not in (select digest from plugin_versions)
                 and digest not in (select digest from plugin_promoted)",
            [],
        )?;
    }
    Ok(())
}

pub(crate) fn history(connection: &mut Connection, name: Option<&str>) -> Result<Vec<PluginVersion>> {
    let mut statement = connection
        .prepare(
            "select name, digest, outcome, why, at_micros from plugin_versions
             where ?1 is null or name = ?1 order by number desc",
        )
        .said(READ)?;
    let rows = statement
        .query_map([name], |row| {
            let texts: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok((texts, row.get::<_, i64>(4)?))
        })
        .said(READ)?;
    rows.map(|row| {
        let ([name, digest, outcome, why], at_micros) = row.said(READ)?;
        let outcome = OUTCOMES
            .iter()
            .find(|(_, word)| *word == outcome)
            .map(|(outcome, _)| *outcome)
            .ok_or_else(|| damaged("a plugin version's outcome can't be read"))?;
        Ok(PluginVersion { name: name.into(), digest: parse(&digest)?, outcome, why, at_micros })
    })
    .collect()
}

const OUTCOMES: [(Swapped, &str); 4] = [
    (Swapped::Promoted, "promoted"),
    (Swapped::Refused, "refused"),
    (Swapped::Waiting, "waiting"),
    (Swapped::RolledBack, "rolled-back"),
];

fn word(outcome: Swapped) -> &'static str {
    match outcome {
        Swapped::Promoted => "promoted",
        Swapped::Refused => "refused",
        Swapped::Waiting => "waiting",
        Swapped::RolledBack => "rolled-back",
    }
}

fn parse(digest: &str) -> Result<Digest> {
    Digest::parse(digest).ok_or_else(|| damaged("a plugin's digest in the state can't be read"))
}
