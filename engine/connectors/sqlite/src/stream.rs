//! From the undo log to change events.
//!
//! An entry says what a row *was*. What it became is what the next entry of its key says, in this batch or beyond it
//! ([`crate::ahead`]), or the row that stands in the table in the same read snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Row as StoredRow};
use sluice_types::ports::{Clock, Read, ReadLimits};
use sluice_types::{Batch, Change, Error, ErrorKind, Event, Key, Result, Row, Transaction};

use crate::ahead::{self, Ahead};
use crate::capture::{self, Op, Place, broken_log};
use crate::connection::File;
use crate::decode::Arena;
use crate::table::{Table, Tables};
use crate::watch::{self, Boundaries};
use crate::worker::HasConnection;

/// What an after image that isn't known yet is taken to weigh, before a table has shown one.
const FIRST_WEIGHT: usize = 1024;
/// Columns of the log before its values.
const FIXED: usize = 3;

/// How far the line has been served. Moves on only when the line has got the batch: a `next` that was dropped has consumed nothing.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// Entries up to here have been delivered.
    pub at: u64,
    /// The transaction after `at` has been delivered in part: its end.
    pub open: Option<Place>,
    /// Events of it that have been delivered or left out.
    pub index: u64,
    /// Events of it that the target has already.
    pub skip: u64,
}

/// What a look at the log brought.
pub(crate) struct Taken {
    /// `None`: entries that make no event; look again.
    pub read: Option<Read>,
    pub cursor: Cursor,
}

/// Reads the log on a connection of its own.
pub(crate) struct Reader {
    connection: Connection,
    file: Arc<File>,
    inode: u64,
    pub tables: Tables,
    boundaries: Boundaries,
    clock: Arc<dyn Clock>,
    ahead: Ahead,
    /// What a row of a table weighed last, by its number.
    weights: HashMap<i64, usize>,
    scan: String,
}

impl HasConnection for Reader {
    fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// One entry on its way to become an event.
struct Entry {
    id: u64,
    table: Arc<Table>,
    op: Op,
    /// The row as it was.
    before: Option<Row>,
    /// The key whose row is looked for.
    key: Key,
    after: After,
    /// Its transaction, as an index into the boundaries.
    bound: usize,
}

/// What the row became.
enum After {
    Unknown,
    Known(Option<Row>),
}

/// The keys that an entry touches, and what their rows were before it.
struct Touch {
    op: Op,
    /// The key that has a row afterwards (for [`Op::Maybe`]: may have).
    key: Option<Key>,
    old: Option<(Key, Row)>,
}

impl Reader {
    pub fn new(
        file: Arc<File>,
        tables: Tables,
        boundaries: Boundaries,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let connection = file.open()?;
        let inode = watch::inode(&file.path);
        let columns: String = (0..tables.width()).map(|column| format!(", v{column}")).collect();
        let scan =
            format!("SELECT id, tab, op{columns} FROM sluice_change WHERE id > ?1 AND id <= ?2 ORDER BY id");
        Ok(Reader {
            connection,
            file,
            inode,
            tables,
            boundaries,
            clock,
            ahead: Ahead::default(),
            weights: HashMap::new(),
            scan,
        })
    }

    /// What comes after the cursor; `None`: nothing is there yet.
    pub fn next(&mut self, cursor: &Cursor, limits: ReadLimits) -> Result<Option<Taken>> {
        if watch::inode(&self.file.path) != self.inode {
            return Err(Error::new(
                ErrorKind::Unreachable,
                "the file was replaced by another while it was read",
            )
            .at(|place| place.database = Some(self.file.database.clone())));
        }
        self.begin()?;
        let taken = self.take(cursor, limits);
        let ended = self.connection.execute_batch(if taken.is_ok() { "COMMIT" } else { "ROLLBACK" });
        if taken.is_err() {
            self.ahead = Ahead::default();
        }
        let taken = taken?;
        ended.map_err(|error| self.file.failed(error, "the read could not be ended"))?;
        Ok(taken)
    }

    /// The last entry of the log, which is a boundary.
    pub fn end(&mut self) -> Result<Place> {
        let place = capture::last(&self.connection).map_err(broken_log)?;
        self.boundaries.observe(place, self.clock.now_micros());
        Ok(place)
    }

    /// Rows by key in one view, and where it stands.
    pub fn reread(&mut self, table: &Table, keys: &[Key]) -> Result<(Vec<Option<Row>>, Place)> {
        self.begin()?;
        let read = (|| {
            self.tables.prove(&self.connection, &self.file)?;
            let place = self.end()?;
            let mut arena = Arena::default();
            let rows: Result<Vec<Option<Row>>> =
                keys.iter().map(|key| table.live(&self.connection, key, &mut arena)).collect();
            Ok((rows?, place))
        })();
        let ended = self.connection.execute_batch("ROLLBACK");
        let read = read?;
        ended.map_err(|error| self.file.failed(error, "the read could not be ended"))?;
        Ok(read)
    }

    fn begin(&self) -> Result<()> {
        self.connection
            .execute_batch("BEGIN")
            .map_err(|error| self.file.failed(error, "the file can't be read"))
    }

    fn take(&mut self, cursor: &Cursor, limits: ReadLimits) -> Result<Option<Taken>> {
        // I12, and never in silence: the same read transaction that delivers changes proves that they are all there.
        self.tables.prove(&self.connection, &self.file)?;
        let end = self.end()?;
        if end.id < cursor.at {
            return Err(Error::new(ErrorKind::PositionLost, "the change log was set back while it was read")
                .remedy("Read the tables again: sluice resnapshot"));
        }
        if end.id == cursor.at {
            self.ahead.clear(&self.connection).map_err(broken_log)?;
            return Ok(None);
        }
        let mut bounds: Vec<Place> = cursor.open.into_iter().collect();
        let known = bounds.last().map_or(cursor.at, |open| open.id);
        bounds.extend(self.boundaries.between(known, end.id));
        if known < end.id {
            bounds.push(end);
        }
        let mut gathered = self.gather(cursor.at, end.id, &bounds, limits)?;
        self.resolve(&mut gathered, cursor.at, end.id)?;
        Ok(Some(deliver(gathered, &bounds, cursor)))
    }

    /// Reads entries until the limits are reached, and fills in what they say of each other.
    fn gather(&mut self, at: u64, end: u64, bounds: &[Place], limits: ReadLimits) -> Result<Gathered> {
        let mut gathered =
            Gathered { entries: Vec::new(), waiting: HashMap::new(), scanned: at, whole: 0, cut: Cut::None };
        let (mut bound, mut bytes) = (0, 0);
        // Entries of the transactions that are whole so far.
        let mut whole_entries = 0;
        let mut arena = Arena::default();
        let mut statement = self.connection.prepare_cached(&self.scan).map_err(broken_log)?;
        let mut rows = statement.query((at as i64, end as i64)).map_err(broken_log)?;
        while let Some(stored) = rows.next().map_err(broken_log)? {
            let id = stored.get::<_, i64>(0).map_err(broken_log)? as u64;
            while bounds.get(bound).is_some_and(|place| place.id < id) {
                bound += 1;
                whole_entries = gathered.entries.len();
                gathered.whole = bound;
            }
            let full = gathered.entries.len() >= limits.rows.max(1) || bytes >= limits.bytes.max(1);
            let begins = whole_entries == gathered.entries.len();
            let size = bounds.get(bound).map_or(0, |place| (place.id - id) as usize + 1);
            let too_many = begins && whole_entries > 0 && gathered.entries.len() + size > limits.rows;
            if full && !gathered.entries.is_empty() || too_many {
                gathered.cut =
                    if whole_entries > 0 { Cut::Before(whole_entries) } else { Cut::Within(bound) };
                break;
            }
            let number = stored.get(1).map_err(broken_log)?;
            let op = Op::of(stored.get(2).map_err(broken_log)?);
            if let (Some(table), Some(op)) = (self.tables.get(number), op) {
                let touch = touch(table, op, stored, &mut arena)?;
                bytes += self.weights.get(&number).copied().unwrap_or(FIRST_WEIGHT);
                bytes += touch.old.as_ref().map_or(0, |(_, row)| row.weight());
                gathered.add(id, table.clone(), touch, bound);
            }
            gathered.scanned = id;
        }
        if let Cut::None = gathered.cut {
            gathered.scanned = end;
            gathered.whole = bounds.len();
        }
        if let Cut::Before(entries) = gathered.cut {
            gathered.entries.truncate(entries);
            gathered.waiting.retain(|_, entry| *entry < entries);
        }
        Ok(gathered)
    }

    /// Finds what the rows became that no entry of the batch tells.
    fn resolve(&mut self, gathered: &mut Gathered, at: u64, end: u64) -> Result<()> {
        let beyond = gathered.scanned < end;
        if beyond {
            self.look_ahead(at, end)?;
        } else {
            self.ahead.clear(&self.connection).map_err(broken_log)?;
        }
        let mut arena = Arena::default();
        let waiting = std::mem::take(&mut gathered.waiting);
        // In the order of the entries, so that rows are read as they lie in the table, more often than not.
        let mut waiting: Vec<usize> = waiting.into_values().collect();
        waiting.sort_unstable();
        for index in waiting {
            let entry = &mut gathered.entries[index];
            let told = match beyond {
                true => next_touch(
                    &self.connection,
                    &self.scan,
                    &self.ahead,
                    entry,
                    gathered.scanned,
                    &mut arena,
                )?,
                false => None,
            };
            let row = match told {
                Some(row) => row,
                None => entry.table.live(&self.connection, &entry.key, &mut arena)?,
            };
            if let Some(row) = &row {
                self.weights.insert(entry.table.captured.number, row.weight());
            }
            entry.after = After::Known(row);
        }
        Ok(())
    }

    /// Brings the index of what is beyond `at` up to the end of the log.
    fn look_ahead(&mut self, at: u64, end: u64) -> Result<()> {
        let from = self.ahead.begin(&self.connection, at).map_err(broken_log)?;
        let mut arena = Arena::default();
        let mut statement = self.connection.prepare(&self.scan).map_err(broken_log)?;
        let mut rows = statement.query((from as i64, end as i64)).map_err(broken_log)?;
        while let Some(stored) = rows.next().map_err(broken_log)? {
            let id = stored.get::<_, i64>(0).map_err(broken_log)? as u64;
            let number = stored.get(1).map_err(broken_log)?;
            let op = Op::of(stored.get(2).map_err(broken_log)?);
            let (Some(table), Some(op)) = (self.tables.get(number), op) else { continue };
            let keys = keys(table, op, stored, &mut arena)?;
            for key in keys.into_iter().flatten() {
                self.ahead.add(&self.connection, ahead::hash(number, &key), id).map_err(broken_log)?;
            }
        }
        self.ahead.finish(end);
        Ok(())
    }
}

/// Entries of a batch.
struct Gathered {
    entries: Vec<Entry>,
    /// The last entry of each key, while it isn't known what the row became.
    waiting: HashMap<(i64, Key), usize>,
    /// The last entry that was looked at.
    scanned: u64,
    /// Boundaries that were passed.
    whole: usize,
    cut: Cut,
}

/// Where the limits ended a batch.
#[derive(Clone, Copy)]
enum Cut {
    /// Nowhere: it reaches the end of the log.
    None,
    /// After this many entries, which are whole transactions.
    Before(usize),
    /// Within the transaction of this boundary.
    Within(usize),
}

impl Gathered {
    fn add(&mut self, id: u64, table: Arc<Table>, touch: Touch, bound: usize) {
        let number = table.captured.number;
        let mut tell = |key: &Key, was: Option<&Row>| {
            if let Some(entry) = self.waiting.remove(&(number, key.clone())) {
                self.entries[entry].after = After::Known(was.cloned());
            }
        };
        let old_key = touch.old.as_ref().map(|(key, _)| key);
        if let Some((key, row)) = &touch.old {
            tell(key, Some(row));
        }
        if let Some(key) = touch.key.as_ref().filter(|key| Some(*key) != old_key) {
            // A row is new under this key: there was none before.
            tell(key, None);
        }
        let index = self.entries.len();
        let (key, before) = match (touch.key, touch.old) {
            (Some(key), old) => (key, old.map(|(_, row)| row)),
            (None, Some((key, row))) => (key, Some(row)),
            (None, None) => return,
        };
        let after = if touch.op == Op::Delete { After::Known(None) } else { After::Unknown };
        if let After::Unknown = after {
            self.waiting.insert((number, key.clone()), index);
        }
        self.entries.push(Entry { id, table, op: touch.op, before, key, after, bound });
    }
}

/// Decodes an entry.
fn touch(table: &Table, op: Op, stored: &StoredRow<'_>, arena: &mut Arena) -> Result<Touch> {
    let key = match op {
        Op::Insert | Op::Update => Some(table.key(stored, FIXED, arena)?),
        Op::Delete | Op::Maybe => None,
    };
    let old = match op {
        Op::Insert => None,
        _ => {
            let offset = FIXED + table.captured.layout.key.len();
            let row = table.row(stored, offset, arena).map_err(broken_log)?;
            Some((table.key_of(&row)?, row))
        }
    };
    Ok(Touch { op, key, old })
}

/// The keys that an entry touches.
fn keys(table: &Table, op: Op, stored: &StoredRow<'_>, arena: &mut Arena) -> Result<[Option<Key>; 2]> {
    let touch = touch(table, op, stored, arena)?;
    Ok([touch.key, touch.old.map(|(key, _)| key)])
}

/// What the first entry beyond the batch that touches an entry's key says its row was; `None`: no entry does.
fn next_touch(
    connection: &Connection,
    scan: &str,
    ahead: &Ahead,
    entry: &Entry,
    scanned: u64,
    arena: &mut Arena,
) -> Result<Option<Option<Row>>> {
    let number = entry.table.captured.number;
    let ids = ahead.candidates(connection, ahead::hash(number, &entry.key), scanned).map_err(broken_log)?;
    for id in ids {
        let mut statement = connection.prepare_cached(scan).map_err(broken_log)?;
        let mut rows = statement.query((id - 1, id)).map_err(broken_log)?;
        let Some(stored) = rows.next().map_err(broken_log)? else { continue };
        let op = Op::of(stored.get(2).map_err(broken_log)?);
        let ours = stored.get::<_, i64>(1).map_err(broken_log)? == number;
        let Some(op) = op.filter(|_| ours) else { continue };
        let touch = touch(&entry.table, op, stored, arena)?;
        match touch {
            Touch { old: Some((key, row)), .. } if key == entry.key => return Ok(Some(Some(row))),
            Touch { key: Some(key), .. } if key == entry.key => return Ok(Some(None)),
            _ => {}
        }
    }
    Ok(None)
}

/// Makes events of entries, and says how far the line has come then.
fn deliver(gathered: Gathered, bounds: &[Place], cursor: &Cursor) -> Taken {
    let within = match gathered.cut {
        Cut::Within(bound) => Some(bound),
        _ => None,
    };
    let mut batch = Batch { open: within.is_some(), ..Batch::default() };
    let mut index = cursor.index;
    // The boundary of the last transaction in the batch.
    let mut last = None;
    let mut counted = 0;
    for entry in gathered.entries {
        if entry.bound != counted {
            counted = entry.bound;
            index = 0;
        }
        let (bound, id) = (entry.bound, entry.id);
        let table = entry.table.schema.clone();
        let Some(change) = change(entry) else { continue };
        index += 1;
        if bound == 0 && index <= cursor.skip {
            continue;
        }
        if last != Some(bound) {
            batch.transactions.push(transaction(bounds[bound]));
            last = Some(bound);
        }
        let transaction = (batch.transactions.len() - 1) as u32;
        // I3: boundaries are only what was observed, and forgotten with the process; the entry's id stays.
        batch.events.push(Event { entry: Some(id), ..Event::new(table, change, transaction, index - 1) });
    }
    if let Some(bound) = within {
        let index = if counted == bound { index } else { 0 };
        let skip = if bound == 0 { cursor.skip } else { 0 };
        let cursor = Cursor { at: gathered.scanned, open: Some(bounds[bound]), index, skip };
        if last != Some(bound) && !batch.events.is_empty() {
            batch.transactions.push(transaction(bounds[bound]));
        }
        return Taken { read: (!batch.events.is_empty()).then_some(Read::Batch(batch)), cursor };
    }
    let was_open = cursor.open.is_some();
    if last.is_none() && was_open {
        // What was left of the transaction makes no event: it ends all the same.
        batch.transactions.push(transaction(bounds[0]));
        last = Some(0);
    }
    // Boundaries after the last transaction that has events are told by the next read.
    let bound = last.unwrap_or(gathered.whole.saturating_sub(1));
    let cursor = Cursor { at: bounds[bound].id, open: None, index: 0, skip: 0 };
    let read = match last {
        Some(_) => Read::Batch(batch),
        None => Read::Progress(bounds[bound].position()),
    };
    Taken { read: Some(read), cursor }
}

/// Neither time nor author is in the log: triggers don't know them.
fn transaction(end: Place) -> Transaction {
    Transaction { position: end.position(), committed_micros: None, origin: None, xid: None }
}

/// What an entry did to its row; `None`: nothing.
fn change(entry: Entry) -> Option<Change> {
    let After::Known(after) = entry.after else { return None };
    match (entry.op, entry.before, after) {
        (Op::Insert, _, after) => after.map(Change::Insert),
        (Op::Update, before, Some(after)) => Some(Change::Update { before, after }),
        (Op::Update, before, None) | (Op::Delete, before, _) => before.map(Change::Delete),
        // It collided and was replaced, or it is still there.
        (Op::Maybe, before, None) => before.map(Change::Delete),
        (Op::Maybe, _, Some(_)) => None,
    }
}
