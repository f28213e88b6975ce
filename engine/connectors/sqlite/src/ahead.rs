//! Finds the next entry of a key beyond a batch, when the log is longer than one.
//!
//! The log has no index by key: its writer would pay for it. So a reader with backlog makes one for itself, in a temporary table that
//! SQLite keeps on disk beyond a small cache (I10): a hash of table and key, and the entry's id.

use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::Connection;
use sluice_types::Key;

/// The index, on the reader's own connection.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Entries up to this id are in the index; `None`: there is no index.
    upto: Option<u64>,
}

impl Ahead {
    /// After which entry the index has to go on, for a reader that stands at `at`. Not from where its batch ends: the next batch
    /// begins where this one was cut, which may be before that, and may be shorter.
    pub fn begin(&mut self, connection: &Connection, at: u64) -> rusqlite::Result<u64> {
        if let Some(upto) = self.upto {
            return Ok(upto.max(at));
        }
        connection.execute_batch(
            "DROP TABLE IF EXISTS temp.sluice_ahead;
             CREATE TEMP TABLE sluice_ahead(hash INTEGER, id INTEGER, PRIMARY KEY (hash, id)) WITHOUT ROWID",
        )?;
        Ok(at)
    }

    /// An entry touches a key.
    pub fn add(&self, connection: &Connection, hash: i64, id: u64) -> rusqlite::Result<()> {
        let mut statement =
            connection.prepare_cached("INSERT OR IGNORE INTO temp.sluice_ahead VALUES (?1, ?2)")?;
        statement.execute((hash, id as i64)).map(drop)
    }

    /// Everything up to here has been added.
    pub fn finish(&mut self, upto: u64) {
        self.upto = Some(upto);
    }

    /// The entries after `id` that may touch a key of this hash, ascending.
    pub fn candidates(&self, connection: &Connection, hash: i64, id: u64) -> rusqlite::Result<Vec<i64>> {
        let mut statement = connection
            .prepare_cached("SELECT id FROM temp.sluice_ahead WHERE hash = ?1 AND id > ?2 ORDER BY id")?;
        let rows = statement.query_map((hash, id as i64), |row| row.get(0))?;
        rows.collect()
    }

    /// The reader has caught up, or met an error: the index goes.
    pub fn clear(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.upto.take().is_some() {
            connection.execute_batch("DROP TABLE IF EXISTS temp.sluice_ahead")?;
        }
        Ok(())
    }
}

/// The hash of a table's key.
pub(crate) fn hash(table: i64, key: &Key) -> i64 {
    let mut hasher = DefaultHasher::new();
    (table, key).hash(&mut hasher);
    hasher.finish() as i64
}
