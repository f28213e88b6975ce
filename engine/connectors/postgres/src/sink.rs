//! The sink: data and checkpoint in one transaction of one database.

mod guard;
mod transaction;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use sluice_types::ports::{LineContext, Sink, SinkTx, TargetTable};
use sluice_types::{Checkpoint, Error, ErrorKind, PipelineId, Result, TableId, TableSchema};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error as PgError, Statement};

use crate::checkpoint;
use crate::config::{KIND, Server};
use crate::connection::Session;

use crate::endpoint::Database;
use crate::errors::{self, Cause, OfFunction, quote};
use crate::names::{self, OWN_SCHEMA};
use crate::plan::Plan;
use crate::session::Role;
use crate::table::{self, Shape};
use crate::write::CopyLuck;
use guard::{Guards, is_altered};
use transaction::PostgresTx;

pub(crate) use crate::preflight::target::check;

/// Plans that are kept; a line has few.
const PLANS_MAX: usize = 1024;
/// Prepared statements that are kept.
const STATEMENTS_MAX: usize = 4096;
/// Only one engine makes tables at a time.
const PREPARE_LOCK: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('sluice prepare', 0))";
/// How often an origin that another session still holds is asked for again, and how long is waited in between, in milliseconds.
const ORIGIN_TRIES: u32 = 10;
const ORIGIN_PAUSE_MS: u64 = 100;

/// The rest of a statement that was sent: how many rows it touched. Never locked: a future alone could not be shared.
type Ahead = Mutex<Pin<Box<dyn Future<Output = Result<u64, PgError>> + Send>>>;

/// One line's writer of one database.
pub(crate) struct PostgresSink {
    pub(crate) server: Arc<Server>,
    line: LineContext,
    /// The line's own, as long as the sink lives: the pool's limit is for what comes and goes.
    session: Arc<Session>,
    shapes: HashMap<TableId, Arc<Shape>>,
    /// By the schema's own allocation: a line's events share it. A plan holds its schema, so an address can't be another's.
    plans: HashMap<usize, Arc<Plan>>,
    statements: HashMap<String, Statement>,
    /// Which tables the server has sworn to be as their shapes say, until the transaction ends.
    pub(crate) guards: Guards,
    /// Statements without an answer of their own, sent together with the next one: `BEGIN`, savepoints.
    pending: String,
    /// A statement that was sent while its answer is not waited for yet.
    ahead: Option<Ahead>,
    /// Rows that such statements have touched.
    pub(crate) ahead_rows: u64,
    /// Something in the transaction has failed: it may be committed only from a savepoint on.
    broken: bool,
    /// And the server knows: until then it does nothing.
    pub(crate) aborted: bool,
    /// By the table's OID.
    pub(crate) luck: HashMap<u32, CopyLuck>,
    /// The target's triggers and foreign keys act on what we write.
    pub(crate) fires: bool,
    /// Our writes carry this line's origin.
    origin: bool,
}

/// Opens a sink for one line.
pub(crate) async fn open(database: &Database, line: &LineContext) -> Result<Box<dyn Sink>> {
    let session = Arc::new(database.server.connect(Role::Writer).await?);
    let mut sink = PostgresSink {
        server: database.server.clone(),
        line: line.clone(),
        session,
        shapes: HashMap::new(),
        plans: HashMap::new(),
        statements: HashMap::new(),
        guards: Guards::default(),
        pending: String::new(),
        ahead: None,
        ahead_rows: 0,
        broken: false,
        aborted: false,
        luck: HashMap::new(),
        fires: true,
        origin: false,
    };
    if !sink.server.fire_triggers {
        sink.fires = !sink.quiet().await?;
    }
    sink.origin = sink.take_origin().await?;
    Ok(Box::new(sink))
}

impl PostgresSink {
    /// The driver's client, for calls whose futures outlive a borrow of the sink.
    pub(crate) fn client(&self) -> Arc<Session> {
        self.session.clone()
    }

    /// Keeps the target's triggers and foreign keys from acting on what we write, as the server's own logical replication does:
    /// the source's have acted already, and tables of a snapshot come in any order. `false`: it is not permitted.
    async fn quiet(&self) -> Result<bool> {
        match self.session.batch_execute("SET session_replication_role = replica").await {
            Ok(()) => Ok(true),
            Err(error) if errors::kind_of(&error) == ErrorKind::Permission => Ok(false),
            Err(error) => Err(self.server.failed(&error, "the session can't be set up")),
        }
    }

    /// Marks what this session writes as this line's, so that a line in the other direction knows its echoes. `false`: it is not
    /// permitted, or there is no room for another origin; a line that goes one way only does not need it.
    async fn take_origin(&self) -> Result<bool> {
        let name = names::of_line(&self.line);
        for attempt in 0.. {
            let made = self
                .session
                .query_one(
                    "SELECT CASE WHEN pg_catalog.pg_replication_origin_oid($1) IS NULL \
                     THEN pg_catalog.pg_replication_origin_create($1) END",
                    &[&name],
                )
                .await;
            let taken = match made {
                Ok(_) => {
                    let setup = "SELECT pg_catalog.pg_replication_origin_session_setup($1)";
                    self.session.query_one(setup, &[&name]).await.map(drop)
                }
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => return Ok(true),
                Err(error) if error.as_db_error().is_none() => {
                    return Err(self.server.failed(&error, "the session can't be set up"));
                }
                // The session of an engine that was killed is not gone yet. That there is no room for another origin, which is
                // `Busy` too, does not pass by itself.
                Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) && attempt < ORIGIN_TRIES => {
                    self.line.clock.sleep_ms(ORIGIN_PAUSE_MS).await;
                }
                Err(error) => {
                    tracing::info!(pipeline = %self.line.pipeline, cause = %Cause::of(&error), "writes are not marked with an origin");
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Sends these statements together with the next one.
    pub(crate) fn then(&mut self, sql: &str) {
        self.pending.push_str(sql);
        self.pending.push(';');
    }

    /// Runs a call of the driver behind what is pending, without waiting in between.
    pub(crate) async fn send<T>(
        &mut self,
        call: impl Future<Output = Result<T, PgError>>,
    ) -> Result<T, PgError> {
        let (ahead, pending) = (self.ahead.take(), std::mem::take(&mut self.pending));
        let before = async {
            match pending.as_str() {
                "" => Ok(()),
                pending => self.session.batch_execute(pending).await,
            }
        };
        let ahead = async {
            match ahead {
                Some(ahead) => ahead.into_inner().unwrap_or_else(PoisonError::into_inner).await,
                None => Ok(0),
            }
        };
        // Polled in this order, so sent in this order. What was refused first is what went wrong.
        let (ahead, before, done) = futures_util::future::join3(ahead, before, call).await;
        self.ahead_rows += ahead.as_ref().copied().unwrap_or_default();
        let done = ahead.and(before).and(done);
        self.broken |= done.is_err();
        self.aborted |= done.is_err();
        done
    }

    /// Sends a call of the driver behind what is pending, and goes on while the server works: the next call waits for this one, too,
    /// and fails if it does.
    pub(crate) async fn send_ahead(
        &mut self,
        call: impl Future<Output = Result<u64, PgError>> + Send + 'static,
    ) -> Result<(), PgError> {
        self.settle().await?;
        let pending = std::mem::take(&mut self.pending);
        let session = self.session.clone();
        let mut ahead: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            if pending.is_empty() {
                return call.await;
            }
            let (before, done) = futures_util::future::join(session.batch_execute(&pending), call).await;
            before.and(done)
        });
        if let Poll::Ready(done) = futures_util::poll!(ahead.as_mut()) {
            ahead = Box::pin(std::future::ready(done));
        }
        self.ahead = Some(Mutex::new(ahead));
        Ok(())
    }

    /// Waits for what was sent ahead.
    pub(crate) async fn settle(&mut self) -> Result<(), PgError> {
        match self.ahead {
            Some(_) => self.send(async { Ok(()) }).await,
            None => Ok(()),
        }
    }

    /// Runs statements without parameters.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<(), PgError> {
        let client = self.client();
        self.send(client.batch_execute(sql)).await
    }

    /// Goes back to a savepoint, which stays, and mends what was broken since.
    pub(crate) async fn rollback_to(&mut self, name: &str) -> Result<()> {
        // Whatever it did, or failed in, is undone; a connection that broke says so again.
        drop(self.settle().await);
        self.ahead_rows = 0;
        if std::mem::take(&mut self.aborted) {
            self.pending.clear(); // the server would not do it
        }
        let done = self.execute(&format!("ROLLBACK TO {name}")).await;
        done.map_err(|error| self.server.failed(&error, "the target can't go back to its savepoint"))?;
        self.guards.let_go(); // of what was locked since
        self.broken = false;
        Ok(())
    }

    /// A prepared statement over a table.
    pub(crate) async fn statement(&mut self, plan: &Plan, sql: &str) -> Result<Statement> {
        self.prepared(sql).await.map_err(|error| self.failed(&error, plan))
    }

    /// A prepared statement.
    async fn prepared(&mut self, sql: &str) -> Result<Statement, PgError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let client = self.client();
        let prepared = self.send(client.prepare(sql)).await?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(sql.to_string(), prepared.clone());
        Ok(prepared)
    }

    /// How events of this schema are written.
    pub(crate) async fn plan(&mut self, schema: &Arc<TableSchema>) -> Result<Arc<Plan>> {
        if let Some(plan) = self.known_plan(schema) {
            return Ok(plan);
        }
        let shape = match self.shapes.get(&schema.table) {
            Some(shape) => shape.clone(),
            None => self.load(&schema.table).await?,
        };
        shape.prove(schema)?;
        let plan = Arc::new(Plan::new(schema.clone(), shape, self.fires)?);
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        self.plans.insert(Arc::as_ptr(schema) as usize, plan.clone());
        Ok(plan)
    }

    fn known_plan(&self, schema: &Arc<TableSchema>) -> Option<Arc<Plan>> {
        self.plans.get(&(Arc::as_ptr(schema) as usize)).cloned()
    }

    async fn load(&mut self, table: &TableId) -> Result<Arc<Shape>> {
        let client = self.client();
        let shape = self.send(table::shape(&client, table)).await;
        let shape = shape.map_err(|error| self.server.failed(&error, "the catalogue can't be read"))?;
        let shape = Arc::new(shape.ok_or_else(|| {
            let error = Error::new(ErrorKind::TargetSchema, "the target has no such table").at_table(table);
            self.server.at(error)
        })?);
        self.shapes.insert(table.clone(), shape.clone());
        Ok(shape)
    }

    /// An error of a statement that writes rows: a row that the target refuses is an event's, a table that was altered is looked
    /// at anew, anything else is the server's.
    pub(crate) fn failed(&self, error: &PgError, plan: &Plan) -> Error {
        self.failed_at(error, Some(&plan.schema.table))
    }

    /// The same, where it may be that nobody knows the table.
    fn failed_at(&self, error: &PgError, table: Option<&TableId>) -> Error {
        let located = |error: Error| match table {
            Some(table) => self.server.at(error.at_table(table)),
            None => self.server.at(error),
        };
        let told = |kind, what: &'static str| Error::new(kind, what).because(Cause::of(error));
        let kind = match (errors::kind_of(error), OfFunction::of(error)) {
            (kind @ (ErrorKind::Busy | ErrorKind::Timeout), _) | (kind, None) => kind,
            (_, Some(OfFunction::Raised)) => ErrorKind::Constraint,
            (ErrorKind::TableMissing | ErrorKind::SchemaChanged | ErrorKind::Internal, _) => {
                let failed = told(ErrorKind::TargetSchema, "a function of the target's table fails").remedy(
                    "See the server's log. A function of a trigger, a default or a constraint runs with an empty \
                     search_path here: have it name schemas, or give it its own (ALTER FUNCTION ... SET search_path)",
                );
                return located(failed);
            }
            (kind, _) => kind,
        };
        let failed = match (kind, error.code().map(|code| code.code())) {
            (_, Some("21000")) | (ErrorKind::Constraint, _) => {
                told(ErrorKind::Constraint, "a constraint of the target refuses the row")
            }
            (ErrorKind::RowRefused, _) => {
                told(ErrorKind::RowRefused, "a constraint of the target refuses what is in the row").remedy(
                    "Convert the value on its way (type-conversion), or change the target's constraint",
                )
            }
            (ErrorKind::ValueUnrepresentable, _) => {
                told(ErrorKind::ValueUnrepresentable, "the target's column can't hold the value")
                    .remedy("Convert the value on its way (type-conversion), or change the target's column")
            }
            // A table that was altered says so with this code, too.
            (_, Some("0A000")) if is_altered(error) => {
                told(ErrorKind::Busy, "the target's table was altered")
            }
            (ErrorKind::TableMissing, _) | (_, Some("55000" | "0A000")) => {
                told(ErrorKind::TargetSchema, "the target's table can't take the rows any more")
            }
            // A new sink looks at the table and says what is wrong, if it can't go on.
            (ErrorKind::SchemaChanged, _) => told(ErrorKind::Busy, "the target's table was altered"),
            _ => self.server.failed(error, "the target can't be written"),
        };
        located(failed)
    }

    /// The checkpoint that the target holds, outside of a transaction.
    async fn stored(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        let client = self.client();
        let read = async {
            if !checkpoint::is_there(&client).await? {
                return Ok(None);
            }
            checkpoint::read(&client, pipeline).await
        };
        let text = self.send(read).await;
        let text = text.map_err(|error| self.server.failed(&error, "the checkpoint can't be read"))?;
        text.map(|text| checkpoint::parse(&text)).transpose()
    }

    /// Makes what is missing, in the open transaction.
    async fn make(&mut self, tables: &[TargetTable], known_types: &[String]) -> Result<()> {
        let client = self.client();
        let failed = |error: PgError| self.server.failed(&error, "the target's tables can't be made");
        client.query_one(PREPARE_LOCK, &[]).await.map_err(failed)?;
        if !checkpoint::is_there(&client).await.map_err(failed)? {
            self.make_schema(&client, OWN_SCHEMA).await?;
            client.batch_execute(checkpoint::MAKE).await.map_err(failed)?;
        }
        for TargetTable { schema, .. } in tables {
            let failed = |error: PgError| failed(error).at_table(&schema.table);
            let mut shape = table::shape(&client, &schema.table).await.map_err(failed)?;
            if shape.is_none() {
                self.make_schema(&client, table::place(&schema.table).0).await?;
                let sql = table::create(schema, |ty| known_types.iter().any(|known| known == ty));
                client.batch_execute(&sql).await.map_err(failed)?;
                shape = table::shape(&client, &schema.table).await.map_err(failed)?;
            }
            let gone = || Error::new(ErrorKind::Internal, "a table that was made is not there");
            let shape = shape.ok_or_else(gone)?;
            shape.prove(schema).map_err(|error| self.server.at(error))?;
            self.shapes.insert(schema.table.clone(), Arc::new(shape));
        }
        Ok(())
    }

    /// `IF NOT EXISTS` would ask for the right to make one that is there.
    async fn make_schema(&self, client: &Client, name: &str) -> Result<()> {
        let make = async {
            let quoted = quote(name);
            let there =
                client.query_one("SELECT pg_catalog.to_regnamespace($1) IS NOT NULL", &[&quoted]).await?;
            if there.try_get(0)? {
                return Ok(());
            }
            client.batch_execute(&format!("CREATE SCHEMA {quoted}")).await
        };
        make.await.map_err(|error| {
            let database = quote(&self.server.dbname);
            let failed = self.server.failed(&error, format!("the schema {name} can't be made"));
            match failed.kind() {
                ErrorKind::Permission => {
                    Error::new(ErrorKind::Permission, format!("the schema {name} can't be made"))
                        .because(Cause::of(&error))
                        .remedy(format!(
                            "GRANT CREATE ON DATABASE {database} TO {}",
                            quote(&self.server.user)
                        ))
                }
                _ => failed,
            }
        })
    }
}

/// The types that the server has, of those that columns to be made are declared with.
async fn known_types(client: &Client, tables: &[TargetTable]) -> Result<Vec<String>, PgError> {
    let mut names: Vec<String> = vec![];
    for TargetTable { schema, .. } in tables.iter().filter(|table| &*table.schema.kind == KIND) {
        names.extend(schema.columns.iter().map(|column| table::declared(column, &schema.kind)));
    }
    names.sort_unstable();
    names.dedup();
    let mut known = Vec::with_capacity(names.len());
    for name in names {
        match client.query_one("SELECT pg_catalog.to_regtype($1) IS NOT NULL", &[&name]).await {
            Ok(row) if row.try_get(0)? => known.push(name),
            Ok(_) => {}
            // Not even the form of a type's name.
            Err(error) if error.as_db_error().is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

#[async_trait]
impl Sink for PostgresSink {
    async fn missing(&mut self, tables: &[Arc<TableSchema>]) -> Result<Vec<TableId>> {
        let client = self.client();
        let read = async {
            let mut gone = vec![];
            for schema in tables {
                if table::shape(&client, &schema.table).await?.is_none() {
                    gone.push(schema.table.clone());
                }
            }
            Ok(gone)
        };
        let read = self.send(read).await;
        read.map_err(|error: PgError| self.server.failed(&error, "the target's tables can't be read"))
    }

    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<()> {
        self.plans.clear();
        self.shapes.clear();
        self.guards.forget();
        let client = self.client();
        let types = self.send(known_types(&client, tables)).await;
        let types = types.map_err(|error| self.server.failed(&error, "the catalogue can't be read"))?;
        let begun = self.execute("BEGIN").await;
        begun.map_err(|error| self.server.failed(&error, "the target can't be written"))?;
        let made = self.make(tables, &types).await;
        let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.execute(end).await;
        made?;
        ended.map_err(|error| self.server.failed(&error, "the target's tables can't be made"))
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        self.stored(pipeline).await
    }

    async fn begin(&mut self) -> Result<Box<dyn SinkTx + '_>> {
        (self.broken, self.aborted, self.ahead_rows) = (false, false, 0);
        self.guards.let_go();
        self.then("BEGIN");
        if self.fires && self.shapes.values().any(|shape| shape.deferrable) {
            self.then("SET CONSTRAINTS ALL DEFERRED");
        }
        Ok(Box::new(PostgresTx::new(self)))
    }

    async fn forget(&mut self, pipeline: &PipelineId) -> Result<()> {
        let (client, origin) = (self.client(), std::mem::take(&mut self.origin));
        let name = names::of_line(&self.line);
        let forget = async {
            if checkpoint::is_there(&client).await? {
                checkpoint::forget(&client, pipeline).await?;
            }
            if origin && *pipeline == self.line.pipeline {
                client.batch_execute("SELECT pg_catalog.pg_replication_origin_session_reset()").await?;
                client.query_one("SELECT pg_catalog.pg_replication_origin_drop($1)", &[&name]).await?;
            }
            Ok(())
        };
        let done: Result<(), PgError> = forget.await;
        done.map_err(|error| self.server.failed(&error, "the checkpoint can't be removed"))
    }
}
