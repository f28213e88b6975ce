//! The sink: data and checkpoint in one transaction of one replica set.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use mongodb::Collection;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{ReadConcern, ReadPreference, WriteConcern};
use sluice_types::ports::{Sink, SinkTx, TargetTable};
use sluice_types::{Checkpoint, Error, ErrorKind, PipelineId, Result, TableId, TableSchema};

use crate::connection::{Connected, Server};
use crate::errors::{NAMESPACE_EXISTS, code_of};
use crate::plan::{Plan, collection_of};
use crate::preflight;
use crate::session::{Sessions, writer};
use crate::transaction::MongoTx;

/// The collection of the checkpoints.
pub(crate) const CHECKPOINTS: &str = "sluice_checkpoint";
/// Schemas whose plans are kept; a line has few.
const PLANS_MAX: usize = 1024;
/// So many writes of a collection are upserts after its rows turned out to be there already.
const UPSERTS_AFTER_SURPRISE: u32 = 64;

/// One line's writer of one database.
pub(crate) struct MongoSink {
    pub server: Arc<Server>,
    pub sessions: Sessions,
    /// By the schema's own allocation: a line's events share it.
    plans: HashMap<usize, Arc<Plan>>,
    /// The last checkpoint that this sink has saved and committed.
    pub claim: Option<Claim>,
    /// Collections whose new rows are upserted for so many more writes.
    surprised: HashMap<Arc<str>, u32>,
}

/// What tells whether a line is still this engine's: the checkpoint's epoch in the target is the one that it saved.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub pipeline: PipelineId,
    pub epoch: u64,
}

/// I1: what is committed is durable on a majority, on the disk.
pub(crate) fn durable(server: &Server) -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    concern.w_timeout = Some(server.config.timeouts.commit);
    concern
}

impl MongoSink {
    /// Connects to a server that has transactions.
    pub async fn open(server: Arc<Server>) -> Result<Self> {
        server.connect().await?;
        Ok(MongoSink {
            sessions: Sessions::new(server.clone()),
            server,
            plans: HashMap::new(),
            claim: None,
            surprised: HashMap::new(),
        })
    }

    /// How events of this schema are written.
    pub fn plan(&mut self, schema: &Arc<TableSchema>) -> Result<Arc<Plan>> {
        let address = Arc::as_ptr(schema) as usize;
        // A plan holds its schema, so an address can't be another's while the plan is kept.
        if let Some(plan) = self.plans.get(&address) {
            return Ok(plan.clone());
        }
        let config = &self.server.config;
        let plan = Arc::new(Plan::new(schema.clone(), &config.database, config.microseconds)?);
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        self.plans.insert(address, plan.clone());
        Ok(plan)
    }

    /// Whether rows that are new for the source are inserted into this collection, and not upserted.
    pub fn expects_new_rows(&self, collection: &str) -> bool {
        self.surprised.get(collection).is_none_or(|left| *left == 0)
    }

    /// A row that was to be inserted is there already: a snapshot that goes on, or a replay.
    pub fn surprise(&mut self, collection: &Arc<str>) {
        self.surprised.insert(collection.clone(), UPSERTS_AFTER_SURPRISE);
    }

    /// Counts a write.
    pub fn calm(&mut self) {
        self.surprised.retain(|_, left| {
            *left = left.saturating_sub(1);
            *left > 0
        });
    }

    async fn connected(&self) -> Result<&Connected> {
        self.server.connect().await
    }

    async fn checkpoints(&self) -> Result<Collection<Document>> {
        Ok(self.connected().await?.database.collection(CHECKPOINTS))
    }

    /// Tables with rows, where the line has no checkpoint.
    pub async fn filled(&mut self, line: &PipelineId, tables: &[TableId]) -> Result<Vec<TableId>> {
        let mut filled = vec![];
        if self.checkpoint(line).await?.is_some() {
            return Ok(filled);
        }
        let database = &self.connected().await?.database;
        for table in tables {
            let name = collection_of(table, &self.server.config.database);
            let collection = database.collection::<RawDocumentBuf>(&name);
            let find = collection
                .find_one(doc! {})
                .projection(doc! { "_id": 1 })
                .selection_criteria(ReadPreference::Primary.into());
            match self.server.within("the target's collections can't be read", find).await {
                Ok(Some(_)) => filled.push(table.clone()),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Permission => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    async fn make(&self, name: &str) -> Result<()> {
        let database = &self.connected().await?.database;
        let create = doc! { "create": name, "writeConcern": { "w": "majority", "j": true } };
        let work = database.run_command(create);
        match tokio::time::timeout(self.server.config.timeouts.operation, work).await {
            Ok(Ok(_)) => Ok(()),
            // Somebody else was quicker.
            Ok(Err(error)) if code_of(&error) == Some(NAMESPACE_EXISTS) => Ok(()),
            Ok(Err(error)) => Err(self.server.failed(&error, "a collection can't be made")),
            Err(_) => Err(self.server.timed_out("a collection can't be made")),
        }
    }
}

#[async_trait]
impl Sink for MongoSink {
    async fn missing(&mut self, tables: &[Arc<TableSchema>]) -> Result<Vec<TableId>> {
        let connected = self.connected().await?;
        let there = preflight::collections(&self.server, connected).await?;
        let mut gone = vec![];
        for schema in tables {
            if !there.contains_key(&*self.plan(schema)?.collection) {
                gone.push(schema.table.clone());
            }
        }
        Ok(gone)
    }

    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<()> {
        if let Some((what, remedy, _)) = preflight::collision(tables, &self.server.config.database) {
            return Err(Error::new(ErrorKind::TargetSchema, what).remedy(remedy));
        }
        let connected = self.connected().await?;
        let there = preflight::collections(&self.server, connected).await?;
        if !there.contains_key(CHECKPOINTS) {
            self.make(CHECKPOINTS).await?;
        }
        for TargetTable { schema, .. } in tables {
            let plan = self.plan(schema)?;
            match there.get(&*plan.collection) {
                None => self.make(&plan.collection).await?,
                Some(collection) => {
                    let database = &self.server.config.database;
                    let misfits = preflight::misfits(collection, schema, database);
                    if let Some((what, remedy)) = misfits.into_iter().next() {
                        let what = format!("{} {what}", plan.collection);
                        return Err(Error::new(ErrorKind::TargetSchema, what)
                            .remedy(remedy)
                            .at_table(&schema.table));
                    }
                }
            }
        }
        Ok(())
    }

    async fn checkpoint(&mut self, pipeline: &PipelineId) -> Result<Option<Checkpoint>> {
        let checkpoints = self.checkpoints().await?;
        let work = checkpoints
            .find_one(doc! { "_id": &*pipeline.0 })
            .read_concern(ReadConcern::majority())
            .selection_criteria(ReadPreference::Primary.into());
        let found = self.server.within("the checkpoint can't be read", work).await?;
        found.as_ref().map_or(Ok(None), read_checkpoint)
    }

    async fn begin(&mut self) -> Result<Box<dyn SinkTx + '_>> {
        let session = self.sessions.take().await?;
        Ok(Box::new(MongoTx::begin(self, session).await?))
    }

    async fn forget(&mut self, pipeline: &PipelineId) -> Result<()> {
        let checkpoints = self.checkpoints().await?;
        self.claim = None;
        let work = checkpoints.delete_one(doc! { "_id": &*pipeline.0 }).write_concern(durable(&self.server));
        self.server.within("the checkpoint can't be removed", work).await?;
        let work = checkpoints.delete_one(writer(pipeline));
        self.server.within("the checkpoint can't be removed", work).await.map(drop)
    }
}

/// The checkpoint in its document; `None` where only a place is held for it.
pub(crate) fn read_checkpoint(document: &Document) -> Result<Option<Checkpoint>> {
    let Ok(text) = document.get_str("checkpoint") else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "the checkpoint in the target can't be read")
            .because(error)
            .remedy("It was written by another version, or damaged; `sluice delete` and begin anew")
    })
}
