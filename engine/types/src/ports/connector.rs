//! One kind of database, and one configured database of it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Clock, Sink, Source, SpillRoom};
use crate::error::{Error, ErrorKind, Finding, Result};
use crate::ids::{InstallId, PipelineId};
use crate::schema::{TableId, TablePattern, TableSchema};
use crate::settings::Settings;

/// One kind of database. Stateless; a connector crate exports one.
pub trait Connector: Send + Sync {
    /// The word after `kind:` in the configuration.
    fn kind(&self) -> &'static str;

    /// Reads the settings of one database (all but `kind`). No IO. Every finding goes into `settings`; `None` if there was an
    /// error among them ([`Settings::has_errors`]). Relative paths are meant from `base`, the folder of the configuration file.
    fn parse(&self, name: &str, settings: &mut Settings, base: &std::path::Path)
    -> Option<Arc<dyn Endpoint>>;

    /// The JSON Schema of those settings, for editors.
    fn settings_schema(&self) -> serde_json::Value;
}

/// What the database can do; the line and `check` choose by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The schema that a table name without one means: `public`, or empty.
    pub default_schema: &'static str,
    /// Snapshot chunks that may be read at once.
    pub chunk_readers: usize,
    /// Its target can hold a transaction of any size; if not, large ones go in parts.
    pub unlimited_transactions: bool,
}

/// What a line tells the connector about itself.
#[derive(Clone)]
pub struct LineContext {
    /// The pipeline: what checkpoints, slots and read marks are filed under.
    pub pipeline: PipelineId,
    /// The installation.
    pub install: InstallId,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where a source puts what it can't hold in memory.
    pub spill: SpillRoom,
}

/// What a source keeps of its log because of one line.
#[derive(Debug)]
pub struct Retained {
    /// So many bytes.
    pub bytes: u64,
    /// The configured limit was passed since the last look: a `retained-limit`, told once.
    pub passed: Option<Error>,
}

/// The lines that read one database, as a check knows them: what they have made there is in nobody's way.
#[derive(Clone, Debug)]
pub struct Readers {
    /// The installation that the lines are of.
    pub install: InstallId,
    /// The lines.
    pub lines: Vec<PipelineId>,
    /// All lines of the configuration, whatever they read: nothing of theirs is left over.
    pub configured: Vec<PipelineId>,
}

/// An index or a constraint of a table that a table which sluice makes does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secondary {
    /// The table.
    pub table: TableId,
    /// Its name; no other of the same table has it.
    pub name: String,
    /// The table's columns that it depends on.
    pub columns: Vec<String>,
    /// Of a foreign key: the table that it refers to, and the columns there.
    pub refers_to: Option<(TableId, Vec<String>)>,
    /// The statement that makes it, with [`Secondary::TABLE`] and [`Secondary::PARENT`] in the places of the two tables' names.
    pub statement: String,
}

impl Secondary {
    /// Stands for the name of the table.
    pub const TABLE: char = '\u{1}';
    /// Stands for the name of the table that a foreign key refers to.
    pub const PARENT: char = '\u{2}';
}

/// A table that a source has.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// The table.
    pub table: TableId,
    /// Its schema; an empty `key` says that the table has none that is safe to use.
    pub schema: Arc<TableSchema>,
}

/// A table as a target is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTable {
    /// Its shape: the chain's output schema, `table` being the target's name.
    pub schema: Arc<TableSchema>,
    /// The path in the configuration that names it, for findings.
    pub path: String,
}

/// One configured database. Makes no connection before it is asked for something.
#[async_trait]
pub trait Endpoint: Send + Sync {
    /// The word after `kind:`.
    fn kind(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Rows and bytes of images above which one of the source's transactions is large for this target, where the configuration
    /// (`large_transactions`) does not say it.
    fn large_transaction(&self) -> (u64, u64) {
        (1_000_000, 512 << 20)
    }

    /// A description without credentials: a path, a host and a database.
    fn address(&self) -> String;

    /// The tables that match a pattern, with their schemas. sluice's own tables are never among them.
    async fn discover(&self, patterns: &[TablePattern]) -> Result<Vec<Discovered>>;

    /// Looks whether these tables can be read and their changes captured. Changes nothing. Each finding's path is relative to
    /// the database in the configuration (`path`), or that of the table given with it. `readers` are all lines that are to read the
    /// database at the same time.
    async fn check_source(&self, readers: &Readers, tables: &[TargetTable]) -> Result<Vec<Finding>>;

    /// Looks whether these tables can be written: they exist and fit, or can be made. Changes nothing.
    async fn check_target(&self, tables: &[TargetTable]) -> Result<Vec<Finding>>;

    /// Which of these tables of the target have rows although this line has no checkpoint there: its first copy would be laid over
    /// them, and what the source does not have (any more) would stay. Looks for one row of each. None where the line has a
    /// checkpoint, nor of tables that are not there or may not be read. Changes nothing.
    async fn filled(&self, line: &PipelineId, tables: &[TableId]) -> Result<Vec<TableId>>;

    /// What the source keeps of its log because of this line, where it can say: what fills its disk while the line stands still, so it
    /// is asked whatever the line does, and whether or not its source and its target are open. Changes nothing.
    async fn retained(&self, line: &LineContext) -> Result<Option<Retained>> {
        let _ = line;
        Ok(None)
    }

    /// The indexes and constraints of these tables that are no part of what [`Sink::prepare`] makes of them.
    async fn secondaries(&self, tables: &[TableId]) -> Result<Vec<Secondary>> {
        let _ = tables;
        Ok(Vec::new())
    }

    /// Which of these, of another database of the same kind, this one does not have: each with the statement that makes it here.
    /// `table` and `refers_to` name tables of this database, which need not be there yet.
    async fn lacking(&self, wanted: &[Secondary]) -> Result<Vec<(TableId, String)>> {
        let _ = wanted;
        Ok(Vec::new())
    }

    /// Runs a statement of [`Endpoint::lacking`] for a line that writes here; it may take as long as it takes. `busy` while the
    /// line's first copy is not done.
    async fn make(&self, line: &PipelineId, statement: &str) -> Result<()> {
        let _ = (line, statement);
        Err(Error::new(ErrorKind::NotBuilt, "this kind of database has no indexes that sluice makes"))
    }

    /// Opens a source for one line.
    async fn source(&self, line: &LineContext) -> Result<Box<dyn Source>>;

    /// Opens a sink for one line.
    async fn sink(&self, line: &LineContext) -> Result<Box<dyn Sink>>;
}
