//! The source: one line's reader of one database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use sluice_types::ports::{ChunkReader, Discovered, Lag, LineContext, Read, ReadLimits, Source, StreamStart};
use sluice_types::{Error, ErrorKind, Key, Mark, Position, Result, Row, TableId, TablePattern, TableSchema};
use tokio::sync::{mpsc, watch};

use crate::codec::Form;
use crate::config::Server;
use crate::connection::Session;
use crate::deliver::Delivery;
use crate::delivered::{Delivered, visibility};
use crate::endpoint::{DEFAULT_SCHEMA, Database};
use crate::errors::quote;
use crate::keeper::{self, Keeper};
use crate::maintain::{Keep, Slot};
use crate::names;
use crate::protocol::client::Client;
use crate::protocol::cursor::malformed;
use crate::protocol::replication::Lsn;
use crate::pump::{self, Pump};
use crate::relations::Followed;
use crate::retained;
use crate::schema::{self, Identity, Table, missing, qualify};
use crate::session::Role;
use crate::snapshot::{FollowedTables, PostgresChunks};
use crate::stream::{self, Setup};

/// Blocks of the stream that wait to be decoded, at most (128 KiB each).
const BLOCKS_MAX: usize = 16;
/// Groups of pieces that wait for the line, at most (about 256 KiB each).
const PIECES_MAX: usize = 8;
/// The oldest server whose stream is understood.
const VERSION_MIN: u32 = 140_000;

/// One line's reader of one database.
pub(crate) struct PostgresSource {
    server: Arc<Server>,
    line: LineContext,
    /// The name of slot and publication.
    name: String,
    /// For statements.
    session: Session,
    /// A replication connection that has not begun to stream.
    replication: Option<Client>,
    identity: Option<Arc<str>>,
    /// What `hold` holds.
    held: Option<FollowedTables>,
    /// Of the capture.
    generation: Arc<str>,
    /// Reads again by key.
    rereader: Option<PostgresChunks>,
    /// Where somebody waits for the stream to come to.
    wanted: Arc<watch::Sender<Lsn>>,
    stream: Option<Streaming>,
    retained: retained::Watch,
}

/// What `open` opened.
struct Streaming {
    delivery: Delivery,
    confirm: watch::Sender<Lsn>,
    delivered: Arc<Delivered>,
    passed: Arc<AtomicU64>,
    /// What an earlier session has delivered ends here; 0 while that is not known.
    earlier: Arc<AtomicU64>,
    /// Where the slot stood when the stream was opened.
    slot_start: Lsn,
    /// Everything up to `earlier` is visible to every view from now on.
    settled: bool,
    /// The end of the last transaction that had changes.
    changed: Arc<AtomicU64>,
}

/// The tables that match.
pub(crate) async fn discover(database: &Database, patterns: &[TablePattern]) -> Result<Vec<Discovered>> {
    let session = database.readers.get().await?;
    let tables = schema::all(&database.server, &session).await?;
    session.give_back();
    let wanted = |table: &Table| patterns.iter().any(|pattern| pattern.matches(&table.id, DEFAULT_SCHEMA));
    let discovered = tables.into_iter().filter(wanted).map(|table| {
        let schema = Arc::new(table.schema(&database.server.name));
        Discovered { table: table.id, schema }
    });
    Ok(discovered.collect())
}

/// Why this server can't be a source, if it can't.
pub(crate) fn unfit_server(session: &Session) -> Option<Error> {
    if session.version < VERSION_MIN {
        let what = format!("PostgreSQL {} can't be a source; 14 is the oldest", session.version / 10_000);
        return Some(Error::new(ErrorKind::Permission, what).remedy("Upgrade the server"));
    }
    let standby = "the source is a standby, where neither slots nor heartbeats can be made";
    session.in_recovery.then(|| Error::new(ErrorKind::Permission, standby).remedy("Connect to the primary"))
}

/// Opens a source for a line.
pub(crate) async fn open(database: &Database, line: &LineContext) -> Result<Box<dyn Source>> {
    let server = database.server.clone();
    let session = server.connect(Role::Reader).await?;
    if let Some(error) = unfit_server(&session) {
        return Err(server.at(error));
    }
    Ok(Box::new(PostgresSource {
        name: names::of_line(line),
        line: line.clone(),
        retained: retained::Watch::new(server.retained),
        session,
        server,
        replication: None,
        identity: None,
        held: None,
        generation: "".into(),
        rereader: None,
        wanted: Arc::new(watch::Sender::new(Lsn(0))),
        stream: None,
    }))
}

impl PostgresSource {
    fn keep(&self) -> Keep<'_> {
        Keep { server: &self.server, session: &self.session, name: &self.name }
    }

    fn failed(&self, what: &'static str) -> impl Fn(tokio_postgres::Error) -> Error + '_ {
        move |error| self.server.failed(&error, what)
    }

    fn lost(&self, what: String) -> Error {
        self.server.at(Error::new(ErrorKind::PositionLost, what))
    }

    async fn replication(&mut self) -> Result<&mut Client> {
        let client = match self.replication.take() {
            Some(client) => client,
            None => Client::replication(&self.server).await?,
        };
        Ok(self.replication.insert(client))
    }

    /// I12: the log holds everything after the checkpoint, and has come as far as that.
    async fn prove(&self, position: &Position) -> Result<Slot> {
        let from = Lsn::of(position)?;
        let slot = self.keep().free_slot(true).await?;
        let slot = slot.ok_or_else(|| self.lost(format!("the slot {} is gone", self.name)))?;
        if let Some(reason) = &slot.lost {
            return Err(self.lost(format!("the slot {} was invalidated: {reason}", self.name)));
        }
        if Lsn::generation(position) != &*self.generation {
            return Err(
                self.lost(format!("the slot {} was made anew since the target's checkpoint", self.name))
            );
        }
        if slot.confirmed > from {
            let what = format!(
                "the slot {} begins at {}, and the target stands at {from}",
                self.name, slot.confirmed
            );
            return Err(self.lost(what));
        }
        let end = keeper::log_end(&self.server, &self.session).await?;
        if end < from {
            let what =
                format!("the target stands at {from}, and the log ends at {end}: the server was put back");
            return Err(self.lost(what));
        }
        Ok(slot)
    }

    async fn start_stream(
        &mut self,
        from: &StreamStart,
        slot: &Slot,
        tables: Vec<Followed>,
    ) -> Result<Streaming> {
        let start = Lsn::of(&from.position)?;
        let form = Form::of(tables.iter().map(|followed| followed.table.form()));
        let binary = if form == Form::Binary { ", binary 'true'" } else { "" };
        // From where the slot stands: what the target has already is left out here, and looked at (`delivered`).
        let command = format!(
            "START_REPLICATION SLOT {slot} LOGICAL {at} \
             (proto_version '2', streaming 'on', publication_names '{publication}'{binary})",
            slot = quote(&self.name),
            at = slot.confirmed,
            publication = quote(&self.name),
        );
        let row = self.session.query_one(
            "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text, \
                    (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'), \
                    current_setting('synchronous_standby_names')",
            &[],
        );
        let row = row.await.map_err(self.failed("the source's settings can't be read"))?;
        let xid: u64 =
            row.get::<_, &str>(0).parse().map_err(|_| malformed("a transaction number that is none"))?;
        let patience = u64::try_from(row.get::<_, i64>(1)).unwrap_or(0);
        let standbys: &str = row.get(2);
        self.replication().await?;
        let client = self.replication.take();
        let client = client.ok_or_else(|| Error::new(ErrorKind::Internal, "no replication connection"))?;
        let wire = client.stream(&command).await?;

        let (confirm, confirmed) = watch::channel(slot.confirmed);
        let (durable_to, durable) = watch::channel(slot.confirmed);
        let (blocks_to, blocks) = mpsc::channel(BLOCKS_MAX);
        let (pieces_to, pieces) = mpsc::channel(PIECES_MAX);
        let delivered = Arc::new(Delivered::default());
        let passed = Arc::new(AtomicU64::new(slot.confirmed.0));
        let changed = Arc::new(AtomicU64::new(0));
        let earlier = Arc::new(AtomicU64::new(if from.part > 0 { 0 } else { start.0 }));
        let status_every = match patience {
            0 => pump::STATUS_EVERY,
            patience => pump::STATUS_EVERY.min(Duration::from_millis(patience / 4 + 1)),
        };
        let pump = Pump {
            wire,
            blocks: blocks_to,
            durable,
            status_every,
            clock: self.line.clock.clone(),
            received: slot.confirmed,
            asked: None,
        };
        tokio::spawn(pump.run());
        let keeper = Keeper {
            server: self.server.clone(),
            delivered: delivered.clone(),
            passed: passed.clone(),
            confirmed,
            durable: durable_to,
            wanted: self.wanted.subscribe(),
            every: self.server.heartbeat,
            // Where commits wait for this very stream, to keep their log until they are visible would wait for ever.
            withholds: !awaits(standbys, &self.server.application_name),
            beats: AtomicBool::new(true),
        };
        tokio::spawn(keeper.run());
        let setup = Setup {
            server: self.server.clone(),
            runtime: tokio::runtime::Handle::current(),
            tables,
            spill: self.line.spill.clone(),
            generation: self.generation.clone(),
            start: from.clone(),
            xid,
            delivered: delivered.clone(),
            passed: passed.clone(),
            changed: changed.clone(),
            earlier: earlier.clone(),
        };
        std::thread::Builder::new()
            .name("sluice-pg-decode".into())
            .spawn(move || stream::run(setup, blocks, pieces_to))
            .map_err(|error| Error::new(ErrorKind::Busy, "no thread could be started").because(error))?;
        Ok(Streaming {
            delivery: Delivery::new(pieces, start, self.generation.clone()),
            confirm,
            delivered,
            passed,
            earlier,
            slot_start: slot.confirmed,
            settled: false,
            changed,
        })
    }

    fn held(&self) -> Result<&FollowedTables> {
        self.held
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the source was read before it held its tables"))
    }

    fn new_chunks(&self) -> Result<PostgresChunks> {
        Ok(PostgresChunks::new(self.server.clone(), self.held()?.clone(), self.wanted.clone()))
    }
}

/// Moves a place on that somebody waits for, never back.
pub(crate) fn raise(place: &watch::Sender<Lsn>, to: Lsn) {
    place.send_if_modified(|at| {
        let later = to > *at;
        *at = (*at).max(to);
        later
    });
}

/// Whether commits may wait for a standby of this name.
pub(crate) fn awaits(standbys: &str, name: &str) -> bool {
    let names = standbys.split([',', '(', ')', ' ', '"']);
    names.into_iter().any(|part| part == "*" || part.eq_ignore_ascii_case(name))
}

/// Why the changes of this table can't be followed, if they can't.
pub(crate) fn unfit(table: &Table, schema: &TableSchema) -> Option<Error> {
    let fault =
        |kind, what: String, remedy: String| Some(Error::new(kind, what).at_table(&table.id).remedy(remedy));
    let alter = format!("ALTER TABLE {}", table.qualified());
    match table.kind {
        b'r' | b'p' => {}
        _ => {
            return fault(
                ErrorKind::TableMissing,
                format!("{} is not a table", table.id),
                "Name a table".into(),
            );
        }
    }
    if table.persistence != b'p' {
        let what = "an unlogged or temporary table has no changes in the log";
        return fault(ErrorKind::CaptureBroken, what.into(), format!("{alter} SET LOGGED"));
    }
    let key: Option<Vec<usize>> = schema.key_columns().map(|column| table.column(&column.name)).collect();
    match key {
        Some(key) if key.is_empty() || table.identity == Identity::Nothing => fault(
            ErrorKind::KeyMissing,
            "its rows can't be told apart in the log".into(),
            format!(
                "{alter} ADD PRIMARY KEY (...), or {alter} REPLICA IDENTITY FULL and name the key's columns in `key`"
            ),
        ),
        Some(key) if table.identifies(&key) => None,
        _ => fault(
            ErrorKind::KeyMissing,
            "the log does not keep the key that is configured".into(),
            format!(
                "{alter} REPLICA IDENTITY FULL, or a unique index over the key and REPLICA IDENTITY USING INDEX"
            ),
        ),
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn identity(&mut self) -> Result<Arc<str>> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        let dbname = self.server.dbname.clone();
        let answer = self.replication().await?.query("IDENTIFY_SYSTEM").await?;
        let system = answer.first().and_then(|row| row.first()?.clone());
        let system = system.ok_or_else(|| malformed("a server without an identity"))?;
        let identity: Arc<str> = format!("postgres:{system}/{dbname}").into();
        self.identity = Some(identity.clone());
        Ok(identity)
    }

    async fn schemas(&mut self, tables: &[TableId]) -> Result<Vec<Arc<TableSchema>>> {
        let found = schema::load(&self.server, &self.session, tables).await?;
        let schema = |(name, table): (&TableId, Option<Table>)| {
            let table = table.ok_or_else(|| self.server.at(missing(name)))?;
            Ok(Arc::new(TableSchema { table: name.clone(), ..table.schema(&self.server.name) }))
        };
        tables.iter().zip(found).map(schema).collect()
    }

    async fn hold(&mut self, tables: &[Arc<TableSchema>]) -> Result<Position> {
        let names: Vec<TableId> = tables.iter().map(|schema| qualify(&schema.table)).collect();
        let found = schema::load(&self.server, &self.session, &names).await?;
        let mut followed = HashMap::new();
        let mut held = Vec::new();
        for (schema, table) in tables.iter().zip(found) {
            let table = table.ok_or_else(|| self.server.at(missing(&schema.table)))?;
            if let Some(error) = unfit(&table, schema) {
                return Err(self.server.at(error));
            }
            if schema.columns.len() != table.columns.len()
                || schema
                    .columns
                    .iter()
                    .any(|column| table.column(&column.name) != Some(column.slot as usize))
            {
                let what = "the table was altered while the line was starting";
                return Err(self.server.at(Error::new(ErrorKind::Busy, what).at_table(&schema.table)));
            }
            held.push(table.clone());
            followed.insert(schema.table.clone(), Followed { table, schema: schema.clone() });
        }
        // I5: made durable by the server before it answers.
        let (start, generation) = self.keep().hold(&held).await.map_err(|error| self.server.at(error))?;
        self.held = Some(Arc::new(followed));
        self.rereader = None;
        self.generation = generation.into();
        Ok(start.position(&self.generation))
    }

    async fn open(&mut self, from: &StreamStart, tables: &[Arc<TableSchema>]) -> Result<()> {
        self.stream = None;
        let held = self.held()?.clone();
        let followed = tables.iter().map(|schema| {
            held.get(&schema.table).cloned().ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a table was opened that is not held").at_table(&schema.table)
            })
        });
        let followed: Vec<Followed> = followed.collect::<Result<_>>()?;
        let slot = self.prove(&from.position).await?;
        self.stream = Some(self.start_stream(from, &slot, followed).await?);
        Ok(())
    }

    async fn next(&mut self, limits: &ReadLimits) -> Result<Read> {
        let stream = self
            .stream
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the stream was read before it was opened"))?;
        stream.delivery.next(limits).await
    }

    async fn head(&mut self) -> Result<Position> {
        // The stream passes it, on an idle source too.
        match keeper::beat(&self.server, &self.session).await {
            Ok(head) => Ok(head.position(&self.generation)),
            Err(error) if error.kind() == ErrorKind::Permission => {
                tracing::debug!(%error, "the head is the end of the log");
                Ok(keeper::log_end(&self.server, &self.session).await?.position(&self.generation))
            }
            Err(error) => Err(error),
        }
    }

    async fn chunks(&mut self) -> Result<Box<dyn ChunkReader>> {
        Ok(Box::new(self.new_chunks()?))
    }

    async fn reread(&mut self, table: &Arc<TableSchema>, keys: &[Key]) -> Result<(Vec<Option<Row>>, Mark)> {
        let mut rereader = match self.rereader.take() {
            Some(rereader) => rereader,
            None => self.new_chunks()?,
        };
        let read = rereader.reread(table, keys).await?;
        self.rereader = Some(rereader);
        Ok(read)
    }

    async fn settled(&mut self) -> Result<bool> {
        let Some(stream) = &mut self.stream else { return Ok(true) };
        let earlier = Lsn(stream.earlier.load(Relaxed));
        let wanted = earlier.max(stream.slot_start);
        // What the slot was allowed to forget was visible then.
        stream.settled |= earlier != Lsn(0) && earlier <= stream.slot_start;
        if !stream.settled && earlier != Lsn(0) && stream.passed.load(Relaxed) >= earlier.0 {
            let row = self.session.query_one("SELECT pg_catalog.pg_current_snapshot()::text", &[]).await;
            let row =
                row.map_err(|error| self.server.failed(&error, "the source can't be asked what is visible"))?;
            stream.delivered.forget_seen(&visibility(row.get(0))?);
            stream.settled = !stream.delivered.has_any(earlier);
        }
        if !stream.settled {
            raise(&self.wanted, wanted);
        }
        Ok(stream.settled)
    }

    async fn confirm(&mut self, durable: &Position) -> Result<()> {
        let durable = Lsn::of(durable)?;
        if let Some(stream) = &self.stream {
            raise(&stream.confirm, durable);
        }
        Ok(())
    }

    async fn lag(&mut self, position: &Position) -> Result<Lag> {
        let position = Lsn::of(position)?;
        let end = keeper::log_end(&self.server, &self.session).await?;
        // What the stream has passed without a change is not behind. Read in this order: a change is noted before its place is.
        let passed = self.stream.as_ref().map_or(0, |stream| stream.passed.load(Relaxed));
        let changed = self.stream.as_ref().map_or(u64::MAX, |stream| stream.changed.load(Relaxed));
        let at = if position.0 >= changed { position.0.max(passed) } else { position.0 };
        Ok(Lag { amount: end.0.saturating_sub(at), unit: "bytes", oldest_micros: None })
    }

    async fn retained(&mut self) -> Result<Option<u64>> {
        let slot = self.keep().slot().await?;
        let Some(restart) = slot.and_then(|slot| slot.restart) else { return Ok(None) };
        let end = keeper::log_end(&self.server, &self.session).await?;
        let bytes = end.0.saturating_sub(restart.0);
        self.retained.look(&self.name, bytes).map_err(|error| self.server.at(error))?;
        Ok(Some(bytes))
    }

    async fn detach(&mut self, tables: &[TableId]) -> Result<bool> {
        // The log is the server's own: nothing is in the way of DDL. But a table whose capture has a gap is given up.
        self.keep().forget_broken(tables).await.map_err(|error| self.server.at(error))
    }

    async fn release(&mut self) -> Result<()> {
        self.stream = None;
        self.held = None;
        self.rereader = None;
        self.keep().release().await.map_err(|error| self.server.at(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_that_commits_wait_for_are_known_by_name() {
        for (standbys, yes) in [
            ("", false),
            ("*", true),
            ("ANY 1 (*)", true),
            ("FIRST 2 (s1, sluice)", true),
            ("\"Sluice\"", true),
            ("s1", false),
        ] {
            assert_eq!(awaits(standbys, "sluice"), yes, "{standbys}");
        }
    }
}
