//! The source: one line's reader of one database.

mod fit;
mod start;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use sluice_types::ports::{Altered, ChunkReader, Lag, LineContext, Read, ReadLimits, Source, StreamStart};
use sluice_types::{Column, Error, ErrorKind, Key, Mark, Position, Result, Row, TableId, TableSchema, Text};
use tokio::sync::watch;

use crate::config::Server;
use crate::connection::Session;
use crate::delivered::visibility;
use crate::endpoint::Database;
use crate::keeper::{self, lsn};
use crate::maintain::{Capture, Held, Keep};
use crate::names;
use crate::protocol::client::Client;
use crate::protocol::cursor::malformed;
use crate::protocol::replication::Lsn;
use crate::relations::Followed;
use crate::retained::Gauges;
use crate::schema::{self, Table, missing, qualify};
use crate::session::Role;
use crate::snapshot::{FollowedTables, PostgresChunks};
pub(crate) use fit::{awaits, discover, unfit, unfit_server};
use start::Streaming;

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
    /// By what it is captured.
    capture: Capture,
    /// Of the capture, and the server's timeline: `ab12cd34/1`. Part of every position.
    generation: Arc<str>,
    timeline: u32,
    /// Reads again by key.
    rereader: Option<PostgresChunks>,
    /// Where somebody waits for the stream to come to.
    wanted: Arc<watch::Sender<Lsn>>,
    stream: Option<Streaming>,
    gauges: Option<Gauges>,
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
        session,
        server,
        replication: None,
        identity: None,
        held: None,
        capture: Capture::default(),
        generation: "".into(),
        timeline: 0,
        rereader: None,
        wanted: Arc::new(watch::Sender::new(Lsn(0))),
        stream: None,
        gauges: None,
    }))
}

impl PostgresSource {
    fn keep(&self) -> Keep<'_> {
        Keep { server: &self.server, session: &self.session, name: &self.name }
    }

    /// Asked every second while changes wait behind it.
    async fn gauges(&mut self) -> Result<Gauges> {
        if self.gauges.is_none() {
            let made = Gauges::prepare(&self.session).await;
            self.gauges = Some(made.map_err(self.failed("the log's end can't be read"))?);
        }
        let gauges = self.gauges.clone();
        gauges.ok_or_else(|| Error::new(ErrorKind::Internal, "gauges that were not prepared"))
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

    /// Which system the server is of, and on which timeline.
    async fn system(&mut self) -> Result<(Text, u32)> {
        let answer = self.replication().await?.query("IDENTIFY_SYSTEM").await?;
        let mut columns = answer.into_iter().flatten().flatten();
        let (system, timeline) = (columns.next(), columns.next().and_then(|number| number.parse().ok()));
        system.zip(timeline).ok_or_else(|| malformed("a server without an identity"))
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

/// Whether a transaction below this number may have committed though nobody sees it: its process waits for standbys, or is about
/// to. One that waits for its client has not. Nobody can tell which prepared transaction it is that a process commits.
async fn any_commits(server: &Server, session: &Session, below: u64) -> Result<bool> {
    // Transaction numbers have 32 bits here: they are compared as the server does.
    const COMMITS: &str = "\
        SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE coalesce(state NOT LIKE 'idle%', true) AND CASE \
            WHEN backend_xid IS NULL THEN coalesce(wait_event = 'SyncRep', false) \
            ELSE ((backend_xid::text::bigint - $1) & 4294967295) >= 2147483648 END)";
    let row = session.query_one(COMMITS, &[&i64::from(below as u32)]).await;
    Ok(row.map_err(|error| server.failed(&error, "open transactions can't be looked at"))?.get(0))
}

/// Whether a schema that was read a moment ago is the table's still.
fn is_as_read(schema: &TableSchema, table: &Table) -> bool {
    let same = |column: &Column| {
        let now = table.columns.get(column.slot as usize);
        now.is_some_and(|now| {
            now.name == column.name && now.native == column.native && now.codec.column_type() == column.ty
        })
    };
    schema.columns.len() == table.columns.len() && schema.columns.iter().all(same)
}

/// Moves a place on that somebody waits for, never back.
pub(crate) fn raise(place: &watch::Sender<Lsn>, to: Lsn) {
    place.send_if_modified(|at| {
        let later = to > *at;
        *at = (*at).max(to);
        later
    });
}

#[async_trait]
impl Source for PostgresSource {
    async fn identity(&mut self) -> Result<Arc<str>> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        let dbname = self.server.dbname.clone();
        let (system, _) = self.system().await?;
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
            if !is_as_read(schema, &table) {
                let what = "the table was altered while the line was starting";
                return Err(self.server.at(Error::new(ErrorKind::Busy, what).at_table(&schema.table)));
            }
            held.push(table.clone());
            followed.insert(schema.table.clone(), Followed { table, schema: schema.clone() });
        }
        // I5: made durable by the server before it answers.
        let held = self.keep().hold(&held).await.map_err(|error| self.server.at(error))?;
        let Held { start, generation, capture } = held;
        self.capture = capture;
        self.held = Some(Arc::new(followed));
        self.rereader = None;
        self.timeline = self.system().await?.1;
        self.generation = format!("{generation}/{}", self.timeline).into();
        Ok(start.position(&self.generation))
    }

    async fn accept(&mut self, tables: &[Altered]) -> Result<()> {
        self.keep().accept(tables).await.map_err(|error| self.server.at(error))
    }

    async fn read_anew(&mut self, tables: &[TableId]) -> Result<()> {
        self.capture = self.keep().read_anew(tables).await.map_err(|error| self.server.at(error))?;
        Ok(())
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
        stream.next(limits).await.map_err(|error| self.server.at(error))
    }

    async fn head(&mut self) -> Result<Position> {
        // The stream passes it, on an idle source too.
        let head = match keeper::beat(&self.server, &self.session).await {
            Err(error) if error.kind() == ErrorKind::Permission => {
                tracing::debug!(%error, "the head is the end of the log");
                keeper::log_end(&self.server, &self.session).await?
            }
            head => head?,
        };
        // Whoever goes that far has everything up to there.
        self.keep().verify(&self.capture).await.map_err(|error| self.server.at(error))?;
        Ok(head.position(&self.generation))
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
        let Some(stream) = self.stream.as_mut().filter(|stream| !stream.settled) else { return Ok(true) };
        let earlier = Lsn(stream.earlier.load(Relaxed));
        let wanted = earlier.max(stream.slot_start);
        // What the slot was allowed to forget was visible then, if it withholds anything.
        stream.settled = earlier != Lsn(0) && earlier <= stream.slot_start;
        if !stream.settled && earlier != Lsn(0) && stream.passed.load(Relaxed) >= earlier.0 {
            let row = self.session.query_one("SELECT pg_catalog.pg_current_snapshot()::text", &[]).await;
            let row =
                row.map_err(|error| self.server.failed(&error, "the source can't be asked what is visible"))?;
            stream.delivered.forget_seen(&visibility(row.get(0))?);
            stream.settled = !stream.delivered.has_any(earlier);
        }
        if let Some(unkept) = stream.unkept.filter(|_| stream.settled) {
            stream.settled = !any_commits(&self.server, &self.session, unkept).await?;
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
        let end = self
            .gauges()
            .await?
            .log_end(&self.session)
            .await
            .map_err(self.failed("the log's end can't be read"))?;
        let end = lsn(&end)?;
        // What the stream has passed without a change is not behind. Read in this order: a change is noted before its place is.
        let passed = self.stream.as_ref().map_or(0, |stream| stream.passed.load(Relaxed));
        let changed = self.stream.as_ref().map_or(u64::MAX, |stream| stream.changed.load(Relaxed));
        let at = if position.0 >= changed { position.0.max(passed) } else { position.0 };
        Ok(Lag { amount: end.0.saturating_sub(at), unit: "bytes", oldest_micros: None })
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
