//! Conflicts: the latest word on each, numbered in the order they came. Decided ones make room for new ones, oldest first.

use rusqlite::{Connection, OptionalExtension, Row as Stored, Transaction, params};
use serde::{Deserialize, Serialize};
use sluice_types::ports::Decision;
use sluice_types::{
    Conflict, ConflictCount, ConflictId, ConflictKind, DeadLetterId, Error, ErrorKind, Event, PipelineId,
    Position, Result, Row, TableId,
};

use crate::Limits;
use crate::dead_letters::{from_json, to_json};
use crate::errors::{Said, damaged};
use crate::seal::{self, Place, SealKey};

const READ: &str = "can't read conflicts from the state";
const WRITE: &str = "can't record conflicts in the state";

const COLUMNS: &str = "number, id, kind, strategy, decided_by, position, recorded_micros, body";

/// So many decided ones go at once when there are too many.
const MAKE_ROOM: u64 = 1_000;

/// What may hold values of rows, and is sealed.
#[derive(Serialize, Deserialize)]
struct Body {
    incoming: Event,
    existing: Option<Row>,
    decision: Decision,
    #[serde(default, skip_serializing_if = "is_zero")]
    later: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<(Position, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided_micros: Option<i64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How much of a pipeline is kept, and the number that its next conflict gets.
struct Totals {
    next_number: i64,
    kept: u64,
    bytes: u64,
}

/// Records all or none of them, durably.
pub(crate) fn keep(
    connection: &mut Connection,
    key: Option<&SealKey>,
    limits: &Limits,
    conflicts: &[Conflict],
) -> Result<()> {
    let transaction = connection.transaction().said(WRITE)?;
    // One batch is nearly always of one pipeline, so the totals are read and written once.
    for same in conflicts.chunk_by(|a, b| a.pipeline == b.pipeline) {
        let pipeline = &same[0].pipeline;
        let mut totals = totals(&transaction, pipeline)?;
        let kept = same
            .iter()
            .try_for_each(|conflict| record(&transaction, key, &mut totals, conflict))
            .and_then(|()| check_parked(&transaction, limits, same))
            .and_then(|()| make_room(&transaction, limits, pipeline, &mut totals));
        kept.map_err(|error| error.at(|place| place.pipeline = Some(pipeline.clone())))?;
        transaction
            .execute(
                "update lines set next_conflict = ?, conflicts = ?, conflict_bytes = ? where pipeline = ?",
                params![totals.next_number, totals.kept as i64, totals.bytes as i64, &*pipeline.0],
            )
            .said(WRITE)?;
    }
    transaction.commit().said(WRITE)
}

fn totals(transaction: &Transaction<'_>, pipeline: &PipelineId) -> Result<Totals> {
    transaction.execute("insert or ignore into lines (pipeline) values (?)", [&*pipeline.0]).said(WRITE)?;
    transaction
        .query_row(
            "select next_conflict, conflicts, conflict_bytes from lines where pipeline = ?",
            [&*pipeline.0],
            |row| {
                let (kept, bytes): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok(Totals { next_number: row.get(0)?, kept: kept as u64, bytes: bytes as u64 })
            },
        )
        .said(READ)
}

/// Records one. The same one again keeps its number and says what is said now.
fn record(
    transaction: &Transaction<'_>,
    key: Option<&SealKey>,
    totals: &mut Totals,
    conflict: &Conflict,
) -> Result<()> {
    let Conflict { pipeline, id, .. } = conflict;
    let body = Body {
        incoming: conflict.incoming.clone(),
        existing: conflict.existing.clone(),
        decision: conflict.decision.clone(),
        later: conflict.later,
        since: conflict.since.clone(),
        decided_micros: conflict.decided_micros,
    };
    let body = seal::seal(key, &place(pipeline, &DeadLetterId(id.0.clone())), &to_json(&body)?)?;
    let bytes = (body.len() + id.0.len()) as u64;
    let earlier: Option<(i64, i64)> = transaction
        .prepare_cached("select number, bytes from conflicts where pipeline = ? and id = ?")
        .and_then(|mut statement| {
            statement.query_row(params![&*pipeline.0, id.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .said(READ)?;
    let number = earlier.map_or(totals.next_number, |(number, _)| number);
    match earlier {
        Some((_, replaced)) => totals.bytes = totals.bytes.saturating_sub(replaced as u64) + bytes,
        None => {
            totals.next_number += 1;
            totals.kept += 1;
            totals.bytes += bytes;
        }
    }
    let table = &conflict.incoming.table.table;
    transaction
        .prepare_cached("insert or replace into conflicts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .said(WRITE)?
        .execute(params![
            &*pipeline.0,
            number,
            id.0,
            &*table.schema,
            &*table.name,
            conflict.kind.name(),
            conflict.strategy,
            conflict.by,
            conflict.is_parked(),
            String::from_utf8_lossy(&to_json(&conflict.position)?),
            conflict.recorded_micros,
            body,
            bytes as i64,
        ])
        .said(WRITE)?;
    Ok(())
}

/// I10: what waits for somebody holds its row, and the line knows them all.
fn check_parked(transaction: &Transaction<'_>, limits: &Limits, conflicts: &[Conflict]) -> Result<()> {
    let Some(parked) = conflicts.iter().find(|conflict| conflict.is_parked()) else { return Ok(()) };
    if count_parked(transaction, &parked.pipeline)? <= limits.parked_conflicts {
        return Ok(());
    }
    let what =
        format!("the state keeps at most {} parked conflicts of one pipeline", limits.parked_conflicts);
    Err(Error::new(ErrorKind::ConflictsFull, what).remedy(
        "Decide some of them (`sluice conflicts list --parked`, `sluice conflicts decide`), or name another strategy than `park` \
         in `conflict:`, then `sluice resume`.",
    ))
}

fn count_parked(connection: &Connection, pipeline: &PipelineId) -> Result<u64> {
    let parked: i64 = connection
        .prepare_cached("select count(*) from conflicts where pipeline = ? and parked")
        .and_then(|mut statement| statement.query_row([&*pipeline.0], |row| row.get(0)))
        .said(READ)?;
    Ok(parked as u64)
}

/// Nobody has to decide any more of rows that are gone.
pub(crate) fn supersede(
    connection: &mut Connection,
    key: Option<&SealKey>,
    limits: &Limits,
    pipeline: &PipelineId,
    tables: &[TableId],
    by: &str,
) -> Result<u64> {
    let mut superseded = 0;
    for table in tables {
        let mut after = 0;
        loop {
            // One page at a time: they are as large as their rows are.
            let mut parked = of_table(connection, key, pipeline, table, after)?;
            let Some(last) = parked.last() else { break };
            after = last.number;
            superseded += parked.len() as u64;
            for conflict in &mut parked {
                conflict.decision = Decision::Incoming;
                conflict.by = by.to_string();
            }
            keep(connection, key, limits, &parked)?;
        }
    }
    Ok(superseded)
}

fn of_table(
    connection: &mut Connection,
    key: Option<&SealKey>,
    pipeline: &PipelineId,
    table: &TableId,
    after: u64,
) -> Result<Vec<Conflict>> {
    let sql = format!(
        "select {COLUMNS} from conflicts
         where pipeline = ? and number > ? and parked and table_schema = ? and table_name = ? order by number limit 100"
    );
    let mut statement = connection.prepare_cached(&sql).said(READ)?;
    let mut rows =
        statement.query(params![&*pipeline.0, after as i64, &*table.schema, &*table.name]).said(READ)?;
    let mut conflicts = Vec::new();
    while let Some(row) = rows.next().said(READ)? {
        conflicts.push(read(row, key, pipeline)?);
    }
    Ok(conflicts)
}

/// I10: the oldest decided ones go. What waits for somebody never does: then the pipeline stands still, and nothing is lost.
fn make_room(
    transaction: &Transaction<'_>,
    limits: &Limits,
    pipeline: &PipelineId,
    totals: &mut Totals,
) -> Result<()> {
    while totals.kept > limits.conflicts || totals.bytes > limits.conflict_bytes {
        let over = totals.kept.saturating_sub(limits.conflicts);
        let mut statement = transaction
            .prepare_cached(
                "delete from conflicts where pipeline = ?1 and number in (
                     select number from conflicts where pipeline = ?1 and not parked order by number limit ?2)
                 returning bytes",
            )
            .said(WRITE)?;
        let gone = statement
            .query_map(params![&*pipeline.0, over.clamp(1, MAKE_ROOM) as i64], |row| row.get::<_, i64>(0))
            .said(WRITE)?
            .collect::<rusqlite::Result<Vec<_>>>()
            .said(WRITE)?;
        if gone.is_empty() {
            let what = format!(
                "the state keeps at most {} conflicts of one pipeline, {} bytes, and all of them wait for somebody",
                limits.conflicts, limits.conflict_bytes
            );
            return Err(Error::new(ErrorKind::ConflictsFull, what)
                .remedy("Decide some of them (`sluice conflicts decide`), then `sluice resume`."));
        }
        totals.kept = totals.kept.saturating_sub(gone.len() as u64);
        totals.bytes = totals.bytes.saturating_sub(gone.iter().sum::<i64>() as u64);
    }
    Ok(())
}

pub(crate) fn page(
    connection: &mut Connection,
    key: Option<&SealKey>,
    pipeline: &PipelineId,
    parked: bool,
    after: u64,
    limit: usize,
) -> Result<Vec<Conflict>> {
    let sql = format!(
        "select {COLUMNS} from conflicts where pipeline = ? and number > ? and parked >= ? order by number limit ?"
    );
    let mut statement = connection.prepare_cached(&sql).said(READ)?;
    let (after, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
    let mut rows = statement.query(params![&*pipeline.0, after, parked, limit]).said(READ)?;
    let mut conflicts = Vec::new();
    while let Some(row) = rows.next().said(READ)? {
        conflicts.push(read(row, key, pipeline)?);
    }
    Ok(conflicts)
}

pub(crate) fn one(
    connection: &mut Connection,
    key: Option<&SealKey>,
    pipeline: &PipelineId,
    id: &ConflictId,
) -> Result<Option<Conflict>> {
    let sql = format!("select {COLUMNS} from conflicts where pipeline = ? and id = ?");
    let mut statement = connection.prepare_cached(&sql).said(READ)?;
    let mut rows = statement.query(params![&*pipeline.0, id.0]).said(READ)?;
    rows.next().said(READ)?.map(|row| read(row, key, pipeline)).transpose()
}

fn read(row: &Stored<'_>, key: Option<&SealKey>, pipeline: &PipelineId) -> Result<Conflict> {
    let number: i64 = row.get(0).said(READ)?;
    let id: String = row.get(1).said(READ)?;
    let kind: String = row.get(2).said(READ)?;
    let kind = ConflictKind::ALL.into_iter().find(|known| known.name() == kind);
    let position: String = row.get(5).said(READ)?;
    let body: Vec<u8> = row.get(7).said(READ)?;
    let body: Body = from_json(&seal::open(key, &place(pipeline, &DeadLetterId(id.clone())), &body)?)?;
    Ok(Conflict {
        pipeline: pipeline.clone(),
        id: ConflictId(id),
        number: number as u64,
        kind: kind.ok_or_else(|| damaged("a conflict in the state is of no known kind"))?,
        position: from_json(position.as_bytes())?,
        incoming: body.incoming,
        existing: body.existing,
        decision: body.decision,
        strategy: row.get(3).said(READ)?,
        by: row.get(4).said(READ)?,
        recorded_micros: row.get(6).said(READ)?,
        later: body.later,
        since: body.since,
        decided_micros: body.decided_micros,
    })
}

pub(crate) fn count(connection: &mut Connection, pipeline: &PipelineId) -> Result<ConflictCount> {
    let kept: Option<i64> = connection
        .query_row("select conflicts from lines where pipeline = ?", [&*pipeline.0], |row| row.get(0))
        .optional()
        .said(READ)?;
    let parked = count_parked(connection, pipeline)?;
    Ok(ConflictCount { kept: kept.unwrap_or(0) as u64, parked })
}

fn place<'a>(pipeline: &'a PipelineId, id: &'a DeadLetterId) -> Place<'a> {
    Place { pipeline, id, field: "conflict" }
}
