//! A database in memory: rows, transactions, a change log, checkpoints.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_types::{
    Checkpoint, Error, ErrorKind, Key, Mark, PipelineId, Position, Result, Row, TableId, TableSchema, Value,
    Visibility,
};
use tokio::sync::watch;

use super::log::{AfterImages, BeforeImages, Logged, Op};
use super::table::{Contents, RowKey, Table};
use crate::statement::{Fields, Statement, TableDef};

/// How a memory database behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Before images in the log.
    pub before: BeforeImages,
    /// After images of updates in the log.
    pub after: AfterImages,
    /// A commit is in the log before snapshots see it, as in PostgreSQL, until [`Database::reveal`]; marks say so by xid.
    pub late_visibility: bool,
    /// The most events that one target transaction may have; `None`: no limit.
    pub transaction_limit: Option<usize>,
    /// Chunk readers that may work at once.
    pub chunk_readers: usize,
    /// A value that the database can't hold exactly, as a target (I7).
    pub unrepresentable: Option<Value>,
    /// Two tables of a target, of which each row of the first needs a row of the second with the same key: a constraint that is put
    /// off until all is written.
    pub deferred: Option<(TableId, TableId)>,
    /// Keeps the contents after each commit, for [`Database::contents_at`].
    pub history: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "memory".into(),
            before: BeforeImages::Full,
            after: AfterImages::Full,
            late_visibility: false,
            transaction_limit: None,
            chunk_readers: 2,
            unrepresentable: None,
            deferred: None,
            history: false,
        }
    }
}

/// Is told what happens to a database, at the instant when it is durable. Must not call the database back.
pub trait Observer: Send + Sync {
    /// A sink's transaction was committed; `saved` is the checkpoint in it.
    fn committed(&self, _before: &Contents, _after: &Contents, _saved: Option<&Checkpoint>) {}
    /// A line said that the log up to here may go.
    fn confirmed(&self, _pipeline: &PipelineId, _position: u64) {}
    /// A line read rows outside the stream; `held`: the log is kept for it.
    fn rows_read(&self, _pipeline: &PipelineId, _held: bool) {}
}

/// A database in memory. Clones are the same database: it is a server of its own that outlives every line.
#[derive(Clone)]
pub struct Database {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) options: Options,
    core: Mutex<Core>,
    /// Changes with every commit and every interruption: wakes streams.
    pub(super) stirred: watch::Sender<u64>,
    /// One sink transaction at a time.
    pub(super) writer: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
pub(super) struct Core {
    pub(super) identity: Arc<str>,
    /// What was committed.
    pub(super) tables: Contents,
    /// What snapshots see: `tables` without the effects of `unseen`.
    visible: Contents,
    pub(super) unseen: Vec<Arc<Logged>>,
    pub(super) log: VecDeque<Arc<Logged>>,
    /// The position of the last commit.
    pub(super) end: u64,
    /// The log has every transaction after this position.
    pub(super) kept_after: u64,
    open: BTreeSet<u64>,
    next_xid: u64,
    /// Whose changes go into the log.
    pub(super) captured: BTreeSet<TableId>,
    /// Tables whose rows have got other values than the log tells, until that is accepted.
    pub(super) altered: BTreeMap<TableId, u64>,
    /// Up to where each line has confirmed.
    pub(super) marks: BTreeMap<PipelineId, u64>,
    pub(super) checkpoints: BTreeMap<PipelineId, Checkpoint>,
    history: BTreeMap<u64, Contents>,
    observer: Option<Arc<dyn Observer>>,
    /// Counts interruptions: a connection made before the last one is broken.
    pub(super) generation: u64,
    pub(super) away: bool,
}

/// A copy of a database, as a backup has it.
pub struct Backup(Core);

/// A transaction that was begun and not yet committed.
#[derive(Debug)]
pub struct OpenTransaction {
    xid: u64,
}

impl Database {
    /// An empty database.
    pub fn new(options: Options) -> Self {
        let core = Core {
            identity: format!("{}-1", options.name).into(),
            tables: Contents::new(),
            visible: Contents::new(),
            unseen: vec![],
            log: VecDeque::new(),
            end: 0,
            kept_after: 0,
            open: BTreeSet::new(),
            next_xid: 1,
            captured: BTreeSet::new(),
            altered: BTreeMap::new(),
            marks: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            history: BTreeMap::new(),
            observer: None,
            generation: 0,
            away: false,
        };
        let shared = Shared {
            options,
            core: Mutex::new(core),
            stirred: watch::channel(0).0,
            writer: Arc::new(tokio::sync::Mutex::new(())),
        };
        Database { shared: Arc::new(shared) }
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.shared.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `observer` from now on.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.core().observer = Some(observer);
    }

    /// Begins a transaction.
    pub fn begin(&self) -> OpenTransaction {
        let mut core = self.core();
        let xid = core.next_xid;
        core.next_xid += 1;
        core.open.insert(xid);
        OpenTransaction { xid }
    }

    /// Runs the transaction's statements and commits it; an error rolls all of it back. Returns its position.
    pub fn commit(&self, transaction: OpenTransaction, statements: &[Statement]) -> Result<u64> {
        let mut core = self.core();
        core.open.remove(&transaction.xid);
        let mut tables = core.tables.clone();
        let mut ops = Vec::new();
        for statement in statements {
            execute(&mut tables, statement, &mut ops, &self.shared.options)?;
        }
        let position = core.publish(transaction.xid, tables, ops, &self.shared.options);
        drop(core);
        self.shared.stirred.send_modify(|count| *count += 1);
        Ok(position)
    }

    /// Rolls a transaction back.
    pub fn rollback(&self, transaction: OpenTransaction) {
        self.core().open.remove(&transaction.xid);
    }

    /// Runs statements as one transaction.
    pub fn run(&self, statements: &[Statement]) -> Result<u64> {
        let transaction = self.begin();
        self.commit(transaction, statements)
    }

    /// How many committed transactions snapshots don't see yet (only with [`Options::late_visibility`]).
    pub fn unseen(&self) -> usize {
        self.core().unseen.len()
    }

    /// Lets snapshots see the unseen transaction with this index, and those before it that it stands on.
    pub fn reveal(&self, index: usize) {
        self.core().reveal(index);
    }

    /// What is committed now.
    pub fn contents(&self) -> Contents {
        self.core().tables.clone()
    }

    /// What was committed up to a position; needs [`Options::history`].
    pub fn contents_at(&self, position: u64) -> Option<Contents> {
        self.core().history.range(..=position).next_back().map(|(_, contents)| contents.clone())
    }

    /// The rows of a table in key order.
    pub fn rows(&self, table: &TableId) -> Vec<Row> {
        let core = self.core();
        let rows =
            core.tables.get(table).map(|table| table.rows.values().map(|row| (**row).clone()).collect());
        rows.unwrap_or_default()
    }

    /// The checkpoint of a pipeline.
    pub fn checkpoint(&self, pipeline: &PipelineId) -> Option<Checkpoint> {
        self.core().checkpoints.get(pipeline).cloned()
    }

    /// The position of the last commit.
    pub fn end(&self) -> u64 {
        self.core().end
    }

    /// How many transactions the log keeps.
    pub fn log_len(&self) -> usize {
        self.core().log.len()
    }

    /// Whether anything is left of what lines made here: captured tables, read marks, log.
    pub fn is_released(&self) -> bool {
        let core = self.core();
        core.captured.is_empty() && core.marks.is_empty() && core.log.is_empty()
    }

    /// Throws the log away, as an impatient operator does.
    pub fn purge_log(&self) {
        let mut core = self.core();
        core.kept_after = core.end;
        core.log.clear();
    }

    /// A table is altered in a way that is not in the log: lines are told, and refuse it until somebody accepts it.
    pub fn alter(&self, table: &TableId) {
        *self.core().altered.entry(table.clone()).or_default() += 1;
        self.shared.stirred.send_modify(|count| *count += 1);
    }

    /// Makes a copy.
    pub fn backup(&self) -> Backup {
        Backup(self.core().clone())
    }

    /// Puts a copy in this database's place; every connection breaks.
    pub fn restore(&self, backup: &Backup) {
        let mut core = self.core();
        let (generation, observer) = (core.generation, core.observer.take());
        *core = backup.0.clone();
        (core.generation, core.observer) = (generation, observer);
        drop(core);
        self.interrupt();
    }

    /// Breaks every connection.
    pub fn interrupt(&self) {
        self.core().generation += 1;
        self.shared.stirred.send_modify(|count| *count += 1);
    }

    /// Takes the server away (or gives it back); every connection breaks.
    pub fn set_away(&self, away: bool) {
        self.core().away = away;
        self.interrupt();
    }
}

impl Core {
    fn publish(&mut self, xid: u64, tables: Contents, mut ops: Vec<Op>, options: &Options) -> u64 {
        self.end += 1;
        let effects = Logged { position: self.end, xid, committed_micros: 0, ops: ops.clone() };
        ops.retain(|op| self.captured.contains(op.table()));
        if !ops.is_empty() {
            let committed_micros = crate::TestClock::EPOCH_MICROS + self.end as i64;
            self.log.push_back(Arc::new(Logged { ops, committed_micros, ..effects.clone() }));
        }
        self.tables = tables;
        if options.late_visibility {
            // Row locks: whoever touches what another has touched has waited until that one was visible to all.
            while let Some(index) =
                self.unseen.iter().rposition(|unseen| overlap(unseen, &effects, &self.tables))
            {
                self.reveal(index);
            }
            self.unseen.push(Arc::new(effects));
            for (name, table) in &self.tables {
                let empty = || Arc::new(Table { rows: BTreeMap::new(), ..(**table).clone() });
                self.visible.entry(name.clone()).or_insert_with(empty);
            }
        }
        if options.history {
            self.history.insert(self.end, self.tables.clone());
        }
        self.end
    }

    fn reveal(&mut self, index: usize) {
        let Some(wanted) = self.unseen.get(index).cloned() else { return };
        let mut shown = vec![wanted];
        for earlier in (0..index).rev() {
            if shown.iter().any(|later| overlap(later, &self.unseen[earlier], &self.tables)) {
                shown.push(self.unseen[earlier].clone());
            }
        }
        for transaction in shown.iter().rev() {
            for op in &transaction.ops {
                if let Some(table) = self.visible.get_mut(op.table()) {
                    op.apply(Arc::make_mut(table));
                }
            }
        }
        self.unseen.retain(|unseen| shown.iter().all(|shown| shown.xid != unseen.xid));
    }

    pub(super) fn reveal_all(&mut self) {
        while !self.unseen.is_empty() {
            self.reveal(0);
        }
    }

    /// What a snapshot sees, and where it stands.
    pub(super) fn view(&self, options: &Options) -> (&Contents, Mark) {
        let high = position(self.end);
        if !options.late_visibility {
            return (&self.tables, Mark { high, visibility: Visibility::ByPosition });
        }
        let mut running: Vec<u64> =
            self.unseen.iter().map(|unseen| unseen.xid).chain(self.open.iter().copied()).collect();
        running.sort_unstable();
        (&self.visible, Mark { high, visibility: Visibility::ByXid { xmax: self.next_xid, running } })
    }

    /// Replaces the tables that a sink's transaction has written, and tells the observer.
    pub(super) fn sink_commit(&mut self, written: Contents, saved: Option<&Checkpoint>) {
        let before = self.observer.is_some().then(|| self.tables.clone());
        for (name, table) in written {
            self.visible.insert(name.clone(), table.clone());
            self.tables.insert(name, table);
        }
        if let Some(saved) = saved {
            self.checkpoints.insert(saved.pipeline.clone(), saved.clone());
        }
        if let (Some(before), Some(observer)) = (before, self.observer.clone()) {
            observer.committed(&before, &self.tables, saved);
        }
    }

    /// Moves a line's mark and lets the log go that no line needs.
    pub(super) fn confirm(&mut self, pipeline: &PipelineId, at: u64) {
        if let Some(observer) = self.observer.clone() {
            observer.confirmed(pipeline, at);
        }
        if let Some(mark) = self.marks.get_mut(pipeline) {
            *mark = at.max(*mark);
        }
        self.trim();
    }

    pub(super) fn trim(&mut self) {
        let least = self.marks.values().min().copied().unwrap_or(self.end);
        self.kept_after = self.kept_after.max(least);
        while self.log.front().is_some_and(|first| first.position <= least) {
            self.log.pop_front();
        }
    }

    pub(super) fn rows_read(&self, pipeline: &PipelineId) {
        if let Some(observer) = &self.observer {
            observer.rows_read(pipeline, self.marks.contains_key(pipeline));
        }
    }

    /// Whether a connection of that generation still stands.
    pub(super) fn reached(&self, generation: u64) -> Result<()> {
        if self.away || self.generation != generation {
            return Err(Error::new(ErrorKind::Unreachable, "the memory database is away"));
        }
        Ok(())
    }
}

/// A position of the log as lines know it.
pub(super) fn position(at: u64) -> Position {
    Position::from_number(at, at.to_string())
}

fn overlap(a: &Logged, b: &Logged, tables: &Contents) -> bool {
    a.ops.iter().any(|a| b.ops.iter().any(|b| a.meets(b, tables)))
}

fn missing(table: &TableId) -> Error {
    Error::new(ErrorKind::TableMissing, "there is no such table").at_table(table)
}

fn execute(tables: &mut Contents, statement: &Statement, ops: &mut Vec<Op>, options: &Options) -> Result<()> {
    match statement {
        Statement::CreateTable(def) => {
            tables.insert(def.table.clone(), Arc::new(new_table(def, options)));
        }
        Statement::Insert { table: name, row } => {
            let table = open_table(tables, name)?;
            let row = filled(table, &Row::new(vec![Value::Null; table.schema.columns.len()]), row)?;
            table.put(None, row.clone())?;
            ops.push(Op::Row { table: name.clone(), old: None, new: Some(Arc::new(row)) });
        }
        Statement::Update { table: name, key, set } => {
            let table = open_table(tables, name)?;
            let key = row_key(table, key);
            let Some(old) = table.rows.get(&key).cloned() else { return Ok(()) };
            let new = filled(table, &old, set)?;
            table.put(Some(&key), new.clone())?;
            ops.push(Op::Row { table: name.clone(), old: Some(old), new: Some(Arc::new(new)) });
        }
        Statement::Delete { table: name, key } => {
            let table = open_table(tables, name)?;
            let key = row_key(table, key);
            let Some(old) = table.rows.remove(&key) else { return Ok(()) };
            ops.push(Op::Row { table: name.clone(), old: Some(old), new: None });
        }
        Statement::Truncate { table: name } => {
            open_table(tables, name)?.rows.clear();
            ops.push(Op::Truncate { table: name.clone() });
        }
    }
    Ok(())
}

fn open_table<'a>(tables: &'a mut Contents, name: &TableId) -> Result<&'a mut Table> {
    tables.get_mut(name).map(Arc::make_mut).ok_or_else(|| missing(name))
}

/// The table that a definition asks for, empty.
pub(super) fn new_table(def: &TableDef, options: &Options) -> Table {
    let whole = options.before == BeforeImages::Full && options.after == AfterImages::Full;
    let schema = TableSchema::clone(&def.schema(&options.name, "memory"));
    let schema = Arc::new(TableSchema { before_images: whole, ..schema });
    let index = |name: &String| schema.column_index(name);
    let unique = def.unique.iter().map(|names| names.iter().filter_map(index).collect()).collect();
    Table { schema, unique, rows: BTreeMap::new() }
}

/// `row` with some columns set anew.
fn filled(table: &Table, row: &Row, set: &Fields) -> Result<Row> {
    let mut values = row.values().to_vec();
    for (name, value) in set {
        let at = table.schema.column_index(name).ok_or_else(|| {
            Error::new(ErrorKind::TargetSchema, format!("there is no column `{name}`"))
                .at_table(&table.schema.table)
        })?;
        values[at] = value.clone();
    }
    Ok(Row::new(values))
}

fn row_key(table: &Table, fields: &Fields) -> RowKey {
    let value = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    let values = table.schema.key_columns().map(|column| value(&column.name).unwrap_or(Value::Null));
    Key(values.collect()).into()
}
