//! Sealing, opening and hashing by keys that stay with the host. The step needs `grant: { crypto: { keys: [NAME], ops: [..] } }`; a
//! component imports this only if it calls it. All values of a batch go in one call: write a [`Columns`](crate::Columns) plugin.

use crate::raw::{Blobs, TableInfo};

pub use crate::raw::crypto::{Opened, Place, hash, open, seal};

/// Where a column's values belong: this pipeline, this table, that column.
pub fn place(table: &TableInfo, column: &str) -> Place {
    let name = &table.name;
    let table = if table.schema.is_empty() { name.clone() } else { format!("{}.{name}", table.schema) };
    Place { pipeline: String::new(), table, column: column.into() }
}

/// Byte strings, gathered one by one.
#[derive(Debug)]
pub struct Gathered(Blobs);

impl Gathered {
    /// None yet.
    pub fn with_capacity(values: usize, bytes: usize) -> Gathered {
        let mut offsets = Vec::with_capacity(values + 1);
        offsets.push(0);
        Gathered(Blobs { offsets, data: Vec::with_capacity(bytes) })
    }

    /// Adds one, in parts.
    pub fn push(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.0.data.extend_from_slice(part));
        // A batch holds no more than `limits.memory` of the guest, which is far below 4 GiB.
        self.0.offsets.push(self.0.data.len() as u32);
    }

    /// All of them.
    pub fn finish(self) -> Blobs {
        self.0
    }
}

/// One of several byte strings; empty beyond the last.
pub fn nth(blobs: &Blobs, at: usize) -> &[u8] {
    let end = |at: usize| blobs.offsets.get(at).map(|end| *end as usize);
    let range = end(at).zip(end(at + 1));
    range.and_then(|(from, to)| blobs.data.get(from..to)).unwrap_or_default()
}
