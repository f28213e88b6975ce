//! Room on disk for what a source can't hold in memory.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Error, ErrorKind, Result};

/// Seals what is spilled (`state.key`), so that a disk tells nothing.
pub trait SpillSeal: fmt::Debug + Send + Sync {
    /// Seals one block of a file. It can be opened in that place alone.
    fn seal(&self, place: SpillPlace, text: &[u8]) -> Result<Vec<u8>>;

    /// The text of a sealed block.
    ///
    /// # Errors
    /// `state` where it was changed, or belongs to another place.
    fn open(&self, place: SpillPlace, sealed: &[u8]) -> Result<Vec<u8>>;
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillPlace {
    /// The file, as the room counts them.
    pub file: u64,
    /// The block in it.
    pub block: u64,
}

/// Room on disk for transactions that are not whole yet: a folder, and a budget that all lines of the process share
/// (`limits.spill`). Cheap to clone: every clone is the same room.
///
/// What lies there is of no use to the next process: whoever opens the room empties the folder.
#[derive(Clone, Debug)]
pub struct SpillRoom(Arc<Room>);

#[derive(Debug)]
struct Room {
    dir: PathBuf,
    limit: u64,
    used: AtomicU64,
    files: AtomicU64,
    seal: Option<Arc<dyn SpillSeal>>,
}

impl SpillRoom {
    /// A room of at most `limit` bytes in `dir`, which whoever spills first makes, readable by its owner alone.
    pub fn new(dir: impl Into<PathBuf>, limit: u64) -> Self {
        Self::sealed(dir, limit, None)
    }

    /// The same, where everything is sealed.
    pub fn sealed(dir: impl Into<PathBuf>, limit: u64, seal: Option<Arc<dyn SpillSeal>>) -> Self {
        let (used, files) = (AtomicU64::new(0), AtomicU64::new(0));
        SpillRoom(Arc::new(Room { dir: dir.into(), limit, used, files, seal }))
    }

    /// What seals; `None`: nothing is sealed.
    pub fn seal(&self) -> Option<&dyn SpillSeal> {
        self.0.seal.as_deref()
    }

    /// The number of a new file.
    pub fn next_file(&self) -> u64 {
        self.0.files.fetch_add(1, Relaxed)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The most that all shares together may take, in bytes.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// What they have taken, in bytes.
    pub fn used(&self) -> u64 {
        self.0.used.load(Relaxed)
    }

    /// A share that has taken nothing yet.
    pub fn share(&self) -> SpillShare {
        SpillShare { room: self.clone(), taken: 0 }
    }
}

/// What one transaction, or one line, takes of the room. Given back when dropped.
#[derive(Debug)]
pub struct SpillShare {
    room: SpillRoom,
    taken: u64,
}

impl SpillShare {
    /// Takes so many further bytes, before they are written (I10).
    ///
    /// # Errors
    /// `disk-full` when the room hasn't got them: the line tries again once others have given some back.
    pub fn take(&mut self, bytes: u64) -> Result<()> {
        let Room { limit, used, .. } = &*self.room.0;
        let grown = |used: u64| used.checked_add(bytes).filter(|grown| grown <= limit);
        if used.fetch_update(Relaxed, Relaxed, grown).is_err() {
            let what =
                format!("transactions that are not whole yet need more than `limits.spill` ({limit} bytes)");
            return Err(Error::new(ErrorKind::DiskFull, what)
                .remedy("Raise `limits.spill`, or make the source's transactions smaller."));
        }
        self.taken += bytes;
        Ok(())
    }

    /// What it has taken, in bytes.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

impl Drop for SpillShare {
    fn drop(&mut self) {
        self.room.0.used.fetch_sub(self.taken, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_keep_to_the_room_and_give_back() {
        let room = SpillRoom::new("spill", 100);
        let (mut one, mut other) = (room.share(), room.share());
        one.take(60).unwrap();
        other.take(40).unwrap();
        let refused = other.take(1).unwrap_err();
        assert_eq!((refused.kind(), other.taken(), room.used()), (ErrorKind::DiskFull, 40, 100));
        assert!(other.take(u64::MAX).is_err());
        drop(one);
        other.take(60).unwrap();
        drop(other);
        assert_eq!(room.used(), 0);
    }
}
