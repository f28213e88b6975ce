//! The engine's own durable state: one folder, one SQLite file in it.
//!
//! ```text
//! sluice-state/     0700
//!   state.db        dead letters, conflicts, what lines were told, plugin versions with their bytes     0600
//!   lock            held for as long as a process uses the folder                            0600
//!   token           what changing anything by the HTTP API needs; made when first asked for  0600
//! ```
//!
//! What a method answered `Ok` for is on the disk (I1: `synchronous=FULL`). Checkpoints are not in here: they live in the
//! targets (I2). Reading order: `folder`, `database`, `worker`, `seal`, then one file for each thing that is kept.

mod conflicts;
mod database;
mod dead_letters;
mod errors;
mod folder;
mod lines;
mod plugins;
mod seal;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_types::ports::{LineState, ParkedKey, PluginVersion, StateStore};
use sluice_types::{
    Conflict, ConflictCount, ConflictId, DeadLetter, DeadLetterId, Digest, InstallId, PipelineId, Result,
    Secret, TableId,
};

pub use plugins::PLUGIN_VERSIONS_MAX;
pub use seal::SealKey;

use worker::Worker;

/// How much may be kept (I10). A limit that is reached refuses what is new; it never drops what is there, but for conflicts that are
/// decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Dead letters of one pipeline. One more is `dead-letters-full`, and the pipeline pauses.
    pub dead_letters: u64,
    /// Bytes that the dead letters of one pipeline take. One more is `dead-letters-full`, and the pipeline pauses.
    pub dead_letter_bytes: u64,
    /// Conflicts of one pipeline. For one more the oldest decided one goes; when all wait for somebody it is `conflicts-full`, and
    /// the pipeline pauses.
    pub conflicts: u64,
    /// Parked conflicts of one pipeline: rows of the target that wait for somebody. One more is `conflicts-full`, and the pipeline
    /// pauses.
    pub parked_conflicts: u64,
    /// Bytes that the conflicts of one pipeline take, likewise.
    pub conflict_bytes: u64,
    /// Bytes of `state.db`. What doesn't fit is `disk-full`.
    pub state_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            dead_letters: 100_000,
            dead_letter_bytes: 1 << 30,
            conflicts: 100_000,
            parked_conflicts: 10_000,
            conflict_bytes: 1 << 30,
            state_bytes: 16 << 30,
        }
    }
}

/// The state of one installation. Cheap to clone; the folder's lock goes when the last clone does.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    install: InstallId,
    cache_key: [u8; 32],
    limits: Limits,
    key: Option<SealKey>,
    worker: Worker,
}

impl Store {
    /// Opens the state in `dir` and makes it if it is missing. Takes the folder for this process until the last clone is
    /// dropped. `key` is base64 of 32 bytes.
    ///
    /// Errors: `state-locked` (another process has it), `state-version` (written by a newer sluice), `state-unavailable`
    /// (can't be written), `disk-full`, `corrupt`, `config-invalid` (a bad key, or not the one that the state was sealed with).
    /// Nothing is lost or changed by any of them. Blocks for some milliseconds.
    pub fn open(dir: &Path, key: Option<Secret>) -> Result<Store> {
        Store::open_within(dir, key, Limits::default())
    }

    /// What it seals with, for what else of the process may hold values of rows.
    pub fn seal_key(&self) -> Option<SealKey> {
        self.inner.key.clone()
    }

    /// [`Store::open`] with limits other than the default ones.
    pub fn open_within(dir: &Path, key: Option<Secret>, limits: Limits) -> Result<Store> {
        let key = key.map(|key| SealKey::parse(&key)).transpose()?;
        let lock = folder::take(dir)?;
        let (connection, identity) = database::open(dir, key.as_ref(), limits.state_bytes)?;
        Store::start(dir, identity, key, limits, Worker::start(connection, Some(lock))?)
    }

    /// A throw-away state in memory that knows the same plugin versions as the one in `dir`, if there is one: for `check`, which
    /// changes nothing and may run beside a service that has the folder. Dead letters are not in it.
    pub fn scratch(dir: &Path) -> Result<Store> {
        let (connection, identity) = database::scratch(dir)?;
        Store::start(dir, identity, None, Limits::default(), Worker::start(connection, None)?)
    }

    fn start(
        dir: &Path,
        identity: database::Identity,
        key: Option<SealKey>,
        limits: Limits,
        worker: Worker,
    ) -> Result<Store> {
        let database::Identity { install, cache_key } = identity;
        let inner = Inner { dir: dir.to_path_buf(), install, cache_key, limits, key, worker };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The state folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// 32 random bytes, made with the state: by them the host knows compiled code as its own.
    pub fn cache_key(&self) -> [u8; 32] {
        self.inner.cache_key
    }

    /// What changing anything by the HTTP API needs, from the file `token`; made if it is missing.
    pub fn token(&self) -> Result<Secret> {
        folder::token(&self.inner.dir)
    }

    /// The same for those who talk to the process that has the folder: `None` if no token was made yet.
    pub fn read_token(dir: &Path) -> Result<Option<Secret>> {
        folder::read_token(dir)
    }

    /// The process that has the folder now, by the kernel's word; `None` when none has it. What a process left in the folder when
    /// it was killed is not its word any more.
    pub fn holder(dir: &Path) -> Result<Option<u32>> {
        folder::holder(dir)
    }

    /// Looks whether the folder could be opened for writing, without taking it or making anything.
    pub fn probe(dir: &Path) -> Result<()> {
        folder::probe(dir)
    }

    /// Runs `job` on the store's thread, between other jobs.
    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut rusqlite::Connection, &Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.inner.clone();
        self.inner.worker.call(move |connection| job(connection, &inner)).await
    }
}

#[async_trait]
impl StateStore for Store {
    fn install(&self) -> &InstallId {
        &self.inner.install
    }

    async fn keep_dead_letters(&self, letters: Vec<DeadLetter>) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        self.call(move |c, inner| dead_letters::keep(c, inner.key.as_ref(), &inner.limits, &letters)).await
    }

    async fn dead_letters(&self, pipeline: &PipelineId, after: u64, limit: usize) -> Result<Vec<DeadLetter>> {
        let pipeline = pipeline.clone();
        self.call(move |c, inner| dead_letters::page(c, inner.key.as_ref(), &pipeline, after, limit)).await
    }

    async fn dead_letter(&self, pipeline: &PipelineId, id: &DeadLetterId) -> Result<Option<DeadLetter>> {
        let (pipeline, id) = (pipeline.clone(), id.clone());
        self.call(move |c, inner| dead_letters::one(c, inner.key.as_ref(), &pipeline, &id)).await
    }

    async fn count_dead_letters(&self, pipeline: &PipelineId) -> Result<u64> {
        let pipeline = pipeline.clone();
        self.call(move |c, _| dead_letters::count(c, &pipeline)).await
    }

    async fn parked_keys(&self, pipeline: &PipelineId) -> Result<Vec<ParkedKey>> {
        let pipeline = pipeline.clone();
        self.call(move |c, inner| dead_letters::parked_keys(c, inner.key.as_ref(), &pipeline)).await
    }

    async fn supersede_dead_letters(&self, pipeline: &PipelineId, tables: &[TableId]) -> Result<u64> {
        let (pipeline, tables) = (pipeline.clone(), tables.to_vec());
        self.call(move |c, _| dead_letters::supersede(c, &pipeline, &tables)).await
    }

    async fn keep_conflicts(&self, conflicts: Vec<Conflict>) -> Result<()> {
        if conflicts.is_empty() {
            return Ok(());
        }
        self.call(move |c, inner| conflicts::keep(c, inner.key.as_ref(), &inner.limits, &conflicts)).await
    }

    async fn supersede_conflicts(&self, pipeline: &PipelineId, tables: &[TableId], by: &str) -> Result<u64> {
        let (pipeline, tables, by) = (pipeline.clone(), tables.to_vec(), by.to_string());
        self.call(move |c, inner| {
            conflicts::supersede(c, inner.key.as_ref(), &inner.limits, &pipeline, &tables, &by)
        })
        .await
    }

    async fn conflicts(
        &self,
        pipeline: &PipelineId,
        parked: bool,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Conflict>> {
        let pipeline = pipeline.clone();
        self.call(move |c, inner| conflicts::page(c, inner.key.as_ref(), &pipeline, parked, after, limit))
            .await
    }

    async fn conflict(&self, pipeline: &PipelineId, id: &ConflictId) -> Result<Option<Conflict>> {
        let (pipeline, id) = (pipeline.clone(), id.clone());
        self.call(move |c, inner| conflicts::one(c, inner.key.as_ref(), &pipeline, &id)).await
    }

    async fn count_conflicts(&self, pipeline: &PipelineId) -> Result<ConflictCount> {
        let pipeline = pipeline.clone();
        self.call(move |c, _| conflicts::count(c, &pipeline)).await
    }

    async fn line_state(&self, pipeline: &PipelineId) -> Result<LineState> {
        let pipeline = pipeline.clone();
        self.call(move |c, _| lines::state(c, &pipeline)).await
    }

    async fn set_line_state(&self, pipeline: &PipelineId, state: &LineState) -> Result<()> {
        let (pipeline, state) = (pipeline.clone(), state.clone());
        self.call(move |c, _| lines::set_state(c, &pipeline, &state)).await
    }

    async fn forget(&self, pipeline: &PipelineId) -> Result<()> {
        let pipeline = pipeline.clone();
        self.call(move |c, _| lines::forget(c, &pipeline)).await
    }

    async fn promoted_plugin(&self, name: &str) -> Result<Option<(Digest, Bytes)>> {
        let name = name.to_string();
        self.call(move |c, _| plugins::promoted(c, &name)).await
    }

    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let digest = *digest;
        self.call(move |c, _| plugins::component(c, &digest)).await
    }

    async fn record_plugin(&self, version: PluginVersion, bytes: Option<Bytes>) -> Result<()> {
        self.call(move |c, _| plugins::record(c, &version, bytes)).await
    }

    async fn plugin_history(&self, name: Option<&str>) -> Result<Vec<PluginVersion>> {
        let name = name.map(str::to_string);
        self.call(move |c, _| plugins::history(c, name.as_deref())).await
    }
}
