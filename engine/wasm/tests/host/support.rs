//! Hosts, tables and events for tests.

use std::path::PathBuf;
use std::sync::Arc;

use sluice_guests::guest;
use sluice_kit::clock::TestClock;
use sluice_kit::memory::State;
use sluice_types::ports::{StateStore, Transform, Transformed};
use sluice_types::{Change, Column, ColumnType, Error, Event, PipelineId, Row, TableId, TableSchema, Value};
use sluice_wasm::{ChainSpec, Chains, Compiler, Host, HostOptions, StepSpec};
use tokio::sync::Mutex;

/// Guests are compiled once for all tests, also those of later runs: a Python guest costs ten CPU seconds.
fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled-guests")
}

/// A language's probe as a shipped plugin, so that tests need no folder.
fn shipped(language: &str) -> &'static [(&'static str, &'static [u8])] {
    Box::leak(Box::new([("probe", guest(&format!("{language}-probe")))]))
}

/// A host with the probe shipped and a plugin folder of its own.
pub struct TestHost {
    pub host: Host,
    /// What the probe is written in.
    language: &'static str,
    pub state: Arc<dyn StateStore>,
    pub folder: Arc<tempfile::TempDir>,
}

impl TestHost {
    pub async fn new() -> TestHost {
        TestHost::with(Arc::new(State::new("test")), Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// One per language in which there is a probe: what is asked of one is asked of all.
    pub async fn every_language() -> Vec<TestHost> {
        // Compiled by one test for all, and not by all at once.
        static ONCE: Mutex<()> = Mutex::const_new(());
        let _alone = ONCE.lock().await;
        let mut hosts = Vec::new();
        for language in sluice_guests::languages() {
            let (state, folder) = (Arc::new(State::new("test")), Arc::new(tempfile::tempdir().unwrap()));
            let host = TestHost::speaking(language, state, folder, cache(), Compiler::InProcess).await;
            host.host.inspect(guest(&format!("{language}-probe")).into()).await.unwrap();
            hosts.push(host);
        }
        hosts
    }

    /// One whose probe is in this language, for what only that language can do.
    pub async fn in_language(language: &'static str) -> TestHost {
        let (state, folder) = (Arc::new(State::new("test")), Arc::new(tempfile::tempdir().unwrap()));
        TestHost::speaking(language, state, folder, cache(), Compiler::InProcess).await
    }

    /// What the probe is written in; also told to whoever reads why a test failed.
    pub fn language(&self) -> &'static str {
        println!("the probe is in {}", self.language);
        self.language
    }

    /// Another process on the same state and plugin folder.
    pub async fn restarted(&self) -> TestHost {
        TestHost::with(self.state.clone(), self.folder.clone()).await
    }

    async fn with(state: Arc<dyn StateStore>, folder: Arc<tempfile::TempDir>) -> TestHost {
        TestHost::compiling(state, folder, cache(), Compiler::InProcess).await
    }

    /// One with a cache of its own, which compiles in this way.
    pub async fn compiling(
        state: Arc<dyn StateStore>,
        folder: Arc<tempfile::TempDir>,
        cache_dir: PathBuf,
        compiler: Compiler,
    ) -> TestHost {
        TestHost::speaking("rust", state, folder, cache_dir, compiler).await
    }

    async fn speaking(
        language: &'static str,
        state: Arc<dyn StateStore>,
        folder: Arc<tempfile::TempDir>,
        cache_dir: PathBuf,
        compiler: Compiler,
    ) -> TestHost {
        let host = Host::new(HostOptions {
            cache_dir,
            cache_key: [7; 32],
            plugin_dir: Some(folder.path().to_path_buf()),
            shipped: shipped(language),
            state: state.clone(),
            clock: TestClock::start(),
            compiler,
        });
        TestHost { host: host.await.unwrap(), language, state, folder }
    }

    /// Puts a plugin file into the folder, whole at once.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let temporary = self.folder.path().join("incoming");
        std::fs::write(&temporary, bytes).unwrap();
        std::fs::rename(temporary, self.folder.path().join(format!("{name}.wasm"))).unwrap();
    }

    /// The chains of a line with these steps for [`people`].
    pub async fn chains(&self, steps: Vec<StepSpec>) -> Result<Chains, Error> {
        self.host.chains(&PipelineId::from("p"), spec(steps)).await
    }

    /// A line with one step of the probe, opened on a table.
    pub async fn probe(&self, table: &Arc<TableSchema>, config: &str) -> Result<Line, Error> {
        let step = StepSpec::new("probe", config, "pipelines.p.tables[0].transform[0]");
        self.open(table, vec![step]).await
    }

    pub async fn open(&self, table: &Arc<TableSchema>, steps: Vec<StepSpec>) -> Result<Line, Error> {
        let chains = self.chains(steps).await?;
        let mut transform = chains.transform();
        let opened = transform.open(table, table).await?;
        Ok(Line { table: table.clone(), outputs: opened.outputs, transform, chains })
    }
}

pub fn spec(steps: Vec<StepSpec>) -> ChainSpec {
    let tables = [(TableId::parse("people"), steps)].into();
    ChainSpec { tables }
}

/// A line with its one table open.
pub struct Line {
    pub table: Arc<TableSchema>,
    pub outputs: Vec<Arc<TableSchema>>,
    pub transform: Box<dyn Transform>,
    pub chains: Chains,
}

impl Line {
    /// What becomes of these changes.
    pub async fn apply(
        &mut self,
        changes: Vec<Change>,
    ) -> Result<Transformed, sluice_types::ports::ApplyFailed> {
        let events = events(&self.table, changes);
        self.transform.apply(events).await
    }

    /// The values of an image, by the output's columns.
    pub fn values(&self, row: &Row) -> Vec<Value> {
        self.outputs[0].values(row).cloned().collect()
    }
}

pub fn events(table: &Arc<TableSchema>, changes: Vec<Change>) -> Vec<Event> {
    let event = |(index, change)| Event::new(table.clone(), change, 0, index);
    (0u64..).zip(changes).map(event).collect()
}

/// A table named `people` whose first column is the key.
pub fn table(columns: &[(&str, ColumnType)]) -> Arc<TableSchema> {
    let column = |(slot, (name, ty)): (u32, &(&str, ColumnType))| Column {
        name: (*name).into(),
        ty: *ty,
        native: "".into(),
        nullable: slot > 0,
        slot,
    };
    Arc::new(TableSchema {
        table: TableId::parse("people"),
        database: "d".into(),
        kind: "memory".into(),
        version: 1,
        columns: (0u32..).zip(columns).map(column).collect(),
        key: vec![0],
        before_images: true,
    })
}

/// id, name, note.
pub fn people() -> Arc<TableSchema> {
    table(&[("id", ColumnType::Int64), ("name", ColumnType::Text), ("note", ColumnType::Text)])
}

/// A row of [`people`].
pub fn person(id: i64, name: &str) -> Row {
    let mut row = Row::with_columns(3);
    row.push(Value::Int64(id));
    row.push(name.into());
    row.push(Value::Null);
    row
}

pub fn insert(id: i64, name: &str) -> Change {
    Change::Insert(person(id, name))
}

pub fn update(id: i64, from: &str, to: &str) -> Change {
    Change::Update { before: Some(person(id, from)), after: person(id, to) }
}
