//! Dead letters: kept once, numbered in the order they came, removed only when somebody says so.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sluice_types::ports::ParkedKey;
use sluice_types::{
    DeadLetter, DeadLetterId, Digest, Error, ErrorKind, Event, Key, PipelineId, Position, Reason, Result,
    TableId,
};

use crate::Limits;
use crate::errors::{Said, damaged};
use crate::seal::{self, Place, SealKey};

const READ: &str = "can't read dead letters from the state";
const WRITE: &str = "can't keep dead letters in the state";

const COLUMNS: &str =
    "number, id, position, code, what, plugin, plugin_digest, column_name, recorded_micros, keys, body";

/// What may hold values of the row, and is sealed: the event, and what a guest said about it.
#[derive(Serialize, Deserialize)]
struct Body {
    event: Event,
    guest_text: Option<String>,
}

/// How much of a pipeline is kept, and the number that its next letter gets.
struct Totals {
    next_number: i64,
    letters: u64,
    bytes: u64,
}

/// Keeps all or none of them, durably (I3).
pub(crate) fn keep(
    connection: &mut Connection,
    key: Option<&SealKey>,
    limits: &Limits,
    letters: &[DeadLetter],
) -> Result<()> {
    let transaction = connection.transaction().said(WRITE)?;
    // One batch is nearly always of one pipeline, so the totals are read and written once.
    for same in letters.chunk_by(|a, b| a.pipeline == b.pipeline) {
        let pipeline = &same[0].pipeline;
        let mut totals = totals(&transaction, pipeline)?;
        for letter in same {
            insert(&transaction, key, &mut totals, letter)
                .map_err(|error| error.at(|place| place.pipeline = Some(pipeline.clone())))?;
        }
        check_limits(limits, pipeline, &totals)?;
        transaction
            .execute(
                "update lines set next_number = ?, letters = ?, letter_bytes = ? where pipeline = ?",
                params![totals.next_number, totals.letters as i64, totals.bytes as i64, &*pipeline.0],
            )
            .said(WRITE)?;
    }
    transaction.commit().said(WRITE)
}

fn totals(transaction: &Transaction<'_>, pipeline: &PipelineId) -> Result<Totals> {
    transaction.execute("insert or ignore into lines (pipeline) values (?)", [&*pipeline.0]).said(WRITE)?;
    transaction
        .query_row(
            "select next_number, letters, letter_bytes from lines where pipeline = ?",
            [&*pipeline.0],
            |row| {
                let (letters, bytes): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok(Totals { next_number: row.get(0)?, letters: letters as u64, bytes: bytes as u64 })
            },
        )
        .said(READ)
}

/// I10, and I3: refusing pauses the pipeline before its checkpoint passes the event, so nothing is lost.
fn check_limits(limits: &Limits, pipeline: &PipelineId, totals: &Totals) -> Result<()> {
    let limit = match totals {
        totals if totals.letters > limits.dead_letters => format!("{} dead letters", limits.dead_letters),
        totals if totals.bytes > limits.dead_letter_bytes => {
            format!("{} bytes of dead letters", limits.dead_letter_bytes)
        }
        _ => return Ok(()),
    };
    let what = format!("the state keeps at most {limit} of one pipeline");
    Err(Error::new(ErrorKind::DeadLettersFull, what)
        .at(|place| place.pipeline = Some(pipeline.clone()))
        .remedy("Mend what makes them (`sluice dlq list`), then read the tables again with `sluice resnapshot`, which takes \
                 their dead letters away."))
}

fn insert(
    transaction: &Transaction<'_>,
    key: Option<&SealKey>,
    totals: &mut Totals,
    letter: &DeadLetter,
) -> Result<()> {
    let DeadLetter { pipeline, id, reason, .. } = letter;
    let body = Body { event: letter.event.clone(), guest_text: reason.guest_text.clone() };
    let keys = seal::seal(key, &Place { pipeline, id, field: "keys" }, &to_json(&letter.keys)?)?;
    let body = seal::seal(key, &Place { pipeline, id, field: "body" }, &to_json(&body)?)?;
    let bytes = keys.len() + body.len() + reason.what.len() + id.0.len();
    let plugin = reason.plugin.as_ref();
    let mut statement = transaction
        .prepare_cached(
            "insert into dead_letters
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (pipeline, id) do nothing",
        )
        .said(WRITE)?;
    let kept = statement
        .execute(params![
            &*pipeline.0,
            totals.next_number,
            id.0,
            &*letter.event.source.table.schema,
            &*letter.event.source.table.name,
            String::from_utf8_lossy(&to_json(&letter.position)?),
            letter.event.index as i64,
            reason.code,
            reason.what,
            plugin.map(|(name, _)| name),
            plugin.map(|(_, digest)| digest.to_string()),
            reason.column,
            letter.recorded_micros,
            keys,
            body,
            bytes as i64,
        ])
        .said(WRITE)?;
    if kept == 1 {
        totals.next_number += 1;
        totals.letters += 1;
        totals.bytes += bytes as u64;
    }
    Ok(())
}

pub(crate) fn page(
    connection: &mut Connection,
    key: Option<&SealKey>,
    pipeline: &PipelineId,
    after: u64,
    limit: usize,
) -> Result<Vec<DeadLetter>> {
    let sql = format!(
        "select {COLUMNS} from dead_letters where pipeline = ? and number > ? order by number limit ?"
    );
    let mut statement = connection.prepare_cached(&sql).said(READ)?;
    let (after, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
    let mut rows = statement.query(params![&*pipeline.0, after, limit]).said(READ)?;
    let mut letters = Vec::new();
    while let Some(row) = rows.next().said(READ)? {
        letters.push(read(row, key, pipeline)?);
    }
    Ok(letters)
}

pub(crate) fn one(
    connection: &mut Connection,
    key: Option<&SealKey>,
    pipeline: &PipelineId,
    id: &DeadLetterId,
) -> Result<Option<DeadLetter>> {
    let sql = format!("select {COLUMNS} from dead_letters where pipeline = ? and id = ?");
    let mut statement = connection.prepare_cached(&sql).said(READ)?;
    let mut rows = statement.query(params![&*pipeline.0, id.0]).said(READ)?;
    rows.next().said(READ)?.map(|row| read(row, key, pipeline)).transpose()
}

fn read(row: &Row<'_>, key: Option<&SealKey>, pipeline: &PipelineId) -> Result<DeadLetter> {
    let number: i64 = row.get(0).said(READ)?;
    let id = DeadLetterId(row.get(1).said(READ)?);
    let plugin = match Option::zip(
        row.get::<_, Option<String>>(5).said(READ)?,
        row.get::<_, Option<String>>(6).said(READ)?,
    ) {
        Some((name, digest)) => {
            Some((name, Digest::parse(&digest).ok_or_else(|| damaged("a dead letter's digest is damaged"))?))
        }
        None => None,
    };
    let position: String = row.get(2).said(READ)?;
    let keys: Vec<u8> = row.get(9).said(READ)?;
    let body: Vec<u8> = row.get(10).said(READ)?;
    let keys = seal::open(key, &Place { pipeline, id: &id, field: "keys" }, &keys)?;
    let body = seal::open(key, &Place { pipeline, id: &id, field: "body" }, &body)?;
    let body: Body = from_json(&body)?;
    let reason = Reason {
        code: row.get(3).said(READ)?,
        what: row.get(4).said(READ)?,
        plugin,
        column: row.get(7).said(READ)?,
        guest_text: body.guest_text,
    };
    Ok(DeadLetter {
        pipeline: pipeline.clone(),
        number: number as u64,
        position: from_json(position.as_bytes())?,
        keys: from_json(&keys)?,
        event: body.event,
        reason,
        recorded_micros: row.get(8).said(READ)?,
        id,
    })
}

pub(crate) fn count(connection: &mut Connection, pipeline: &PipelineId) -> Result<u64> {
    let letters: Option<i64> = connection
        .query_row("select letters from lines where pipeline = ?", [&*pipeline.0], |row| row.get(0))
        .optional()
        .said(READ)?;
    Ok(letters.unwrap_or(0) as u64)
}

pub(crate) fn parked_keys(
    connection: &mut Connection,
    key: Option<&SealKey>,
    pipeline: &PipelineId,
) -> Result<Vec<ParkedKey>> {
    let mut statement = connection
        .prepare_cached(
            "select id, table_schema, table_name, position, event_index, keys from dead_letters
             where pipeline = ? order by number",
        )
        .said(READ)?;
    let mut rows = statement.query([&*pipeline.0]).said(READ)?;
    let mut parked = Vec::new();
    while let Some(row) = rows.next().said(READ)? {
        let id = DeadLetterId(row.get(0).said(READ)?);
        let (schema, name): (String, String) = (row.get(1).said(READ)?, row.get(2).said(READ)?);
        let (position, index): (String, i64) = (row.get(3).said(READ)?, row.get(4).said(READ)?);
        let keys: Vec<u8> = row.get(5).said(READ)?;
        let keys = seal::open(key, &Place { pipeline, id: &id, field: "keys" }, &keys)?;
        let (table, position) = (TableId::new(&schema, &name), from_json::<Position>(position.as_bytes())?);
        parked.extend(from_json::<Vec<Key>>(&keys)?.into_iter().map(|key| ParkedKey {
            table: table.clone(),
            key,
            position: position.clone(),
            index: index as u64,
        }));
    }
    Ok(parked)
}

pub(crate) fn supersede(
    connection: &mut Connection,
    pipeline: &PipelineId,
    tables: &[TableId],
) -> Result<u64> {
    let run = |connection: &mut Connection| -> rusqlite::Result<usize> {
        let transaction = connection.transaction()?;
        let mut removed = 0;
        if tables.is_empty() {
            removed = transaction.execute("delete from dead_letters where pipeline = ?", [&*pipeline.0])?;
        }
        for table in tables {
            removed += transaction.execute(
                "delete from dead_letters where pipeline = ? and table_schema = ? and table_name = ?",
                [&*pipeline.0, &*table.schema, &*table.name],
            )?;
        }
        // The next number stays: it is never given twice.
        transaction.execute(
            "update lines set (letters, letter_bytes) = (
                 select count(*), coalesce(sum(bytes), 0) from dead_letters where pipeline = ?1) where pipeline = ?1",
            [&*pipeline.0],
        )?;
        transaction.commit()?;
        Ok(removed)
    };
    Ok(run(connection).said("can't remove dead letters from the state")? as u64)
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|cause| {
        Error::new(ErrorKind::Internal, "what is to be kept can't be written down").because(cause)
    })
}

/// The cause is left out: it could quote a value.
pub(crate) fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|_| damaged("what the state keeps of a row can't be read"))
}
