//! Notices that somebody committed to the file: told by the file system, and by looking in case it isn't.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rusqlite::Connection;
use sluice_types::ports::Clock;
use sluice_types::{Error, ErrorKind, Result};
use tokio::sync::watch;

use crate::capture::{self, Place};
use crate::connection::File;

/// Observed boundaries that are kept; beyond it, transactions that lie between are delivered together.
const BOUNDARIES_MAX: usize = 4096;
/// The file system often tells of a commit's last write just before the commit can be seen.
const AFTER_A_HINT: Duration = Duration::from_millis(1);
/// Every so many looks, whether the path still names the file that is open.
const LOOKS_PER_PATH_CHECK: u32 = 50;

/// Ends of the log that read snapshots have seen: nothing of a transaction is on both sides of one. Triggers don't know
/// transactions, so these are the only boundaries there are.
#[derive(Clone, Default)]
pub(crate) struct Boundaries(Arc<Mutex<VecDeque<(Place, i64)>>>);

impl Boundaries {
    /// A read snapshot ended here, seen at this time (microseconds since 1970 UTC).
    pub fn observe(&self, place: Place, micros: i64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.partition_point(|(one, _)| one.id < place.id);
        let known = kept.get(at).is_some_and(|(one, _)| one.id == place.id);
        if !known && kept.len() < BOUNDARIES_MAX {
            kept.insert(at, (place, micros));
        }
    }

    /// Those after an entry and before another, ascending; those up to `after` are forgotten.
    pub fn between(&self, after: u64, before: u64) -> Vec<Place> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = kept.partition_point(|(one, _)| one.id <= after);
        kept.drain(..passed);
        kept.iter().map(|(place, _)| *place).take_while(|place| place.id < before).collect()
    }

    /// When the first boundary after an entry was seen.
    pub fn seen_after(&self, id: u64) -> Option<i64> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(place, _)| place.id > id).map(|(_, micros)| *micros)
    }
}

/// Looks at the file on a thread of its own until it is dropped.
pub(crate) struct Watch {
    /// Changes with every commit that was noticed, and when the thread met an error.
    pub changed: watch::Receiver<u64>,
    /// When it is gone the thread ends, after one more look at most.
    _wanted: Arc<()>,
}

impl Watch {
    /// Starts to look.
    pub fn start(file: Arc<File>, boundaries: Boundaries, clock: Arc<dyn Clock>) -> Result<Self> {
        let (tell, changed) = watch::channel(0);
        let wanted = Arc::new(());
        let looker =
            Looker { file, boundaries, clock, tell, wanted: Arc::downgrade(&wanted), known: 0, inode: 0 };
        std::thread::Builder::new()
            .name("sluice-sqlite-watch".into())
            .spawn(move || looker.run())
            .map_err(|error| Error::new(ErrorKind::Busy, "no thread could be started").because(error))?;
        Ok(Watch { changed, _wanted: wanted })
    }
}

/// What the file system tells of a file and its write-ahead log. The files, not their folder: a target may lie beside the source,
/// and being told of each of its writes costs more than they do.
struct Hints {
    watcher: Option<RecommendedWatcher>,
    told: Receiver<()>,
    /// Kept so that `told` never ends.
    _tell: SyncSender<()>,
    files: [PathBuf; 2],
}

impl Hints {
    fn new(path: &Path) -> Self {
        let (tell, told) = sync_channel(1);
        let mut log = path.as_os_str().to_os_string();
        log.push("-wal");
        let hint = tell.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Opening the file is told too, and is nothing.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // Full: a hint waits already.
                let _ = hint.try_send(());
            }
        })
        .inspect_err(|error| {
            tracing::info!(path = %path.display(), %error, "the file system tells nothing; looking instead");
        });
        Hints { watcher: watcher.ok(), told, _tell: tell, files: [path.to_path_buf(), log.into()] }
    }

    /// Asks to be told of what lies under the names now: the log comes and goes. Until then the looks without a hint find it.
    fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for file in &self.files {
            // Not there, or no watches left: looking instead.
            let _ = watcher.watch(file, RecursiveMode::NonRecursive);
        }
    }

    /// Waits for a hint.
    fn wait(&self, at_most: Duration) -> bool {
        self.told.recv_timeout(at_most).is_ok()
    }
}

struct Looker {
    file: Arc<File>,
    boundaries: Boundaries,
    clock: Arc<dyn Clock>,
    tell: watch::Sender<u64>,
    wanted: Weak<()>,
    /// The last change id that was told.
    known: u64,
    inode: u64,
}

impl Looker {
    fn run(mut self) {
        let connection = match self.file.open() {
            Ok(connection) => connection,
            // The reader meets the same error and says it.
            Err(_) => return self.tell.send_modify(|told| *told += 1),
        };
        self.inode = inode(&self.file.path);
        let mut hints = Hints::new(&self.file.path);
        let mut version = None;
        let mut wait = Duration::ZERO;
        let mut looks = 0_u32;
        while self.wanted.strong_count() > 0 {
            if looks.is_multiple_of(LOOKS_PER_PATH_CHECK) {
                hints.renew();
                if inode(&self.file.path) != self.inode {
                    // What is open is not what the path names any more: the reader looks too, and says so.
                    self.tell.send_modify(|told| *told += 1);
                }
            }
            looks = looks.wrapping_add(1);
            let hint = hints.wait(wait);
            let now = data_version(&connection);
            let changed = now.is_none() || now != version;
            if changed && self.look(&connection) {
                version = now;
            }
            wait = if hint && !changed { AFTER_A_HINT } else { self.file.poll };
        }
    }

    /// Whether the end of the log could be read; busy: the next look.
    fn look(&mut self, connection: &Connection) -> bool {
        match capture::last(connection) {
            Ok(place) => {
                if place.id != self.known {
                    self.boundaries.observe(place, self.clock.now_micros());
                    self.known = place.id;
                }
                // Told in any case: the file's schema may have changed.
                self.tell.send_modify(|told| *told += 1);
                true
            }
            Err(error) => {
                let busy = crate::connection::kind_of(&error) == ErrorKind::Busy;
                if !busy {
                    // The reader meets the same error and says it.
                    self.tell.send_modify(|told| *told += 1);
                }
                !busy
            }
        }
    }
}

fn data_version(connection: &Connection) -> Option<i64> {
    let mut statement = connection.prepare_cached("PRAGMA data_version").ok()?;
    statement.query_row([], |row| row.get(0)).ok()
}

/// Which file the path names; 0 where there is none, or no such number.
pub(crate) fn inode(path: &Path) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map_or(0, |meta| meta.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: u64) -> Place {
        Place { id, nonce: 0 }
    }

    #[test]
    fn boundaries_are_kept_in_order_and_forgotten_when_passed() {
        let boundaries = Boundaries::default();
        for id in [5, 9, 7, 7, 12] {
            boundaries.observe(place(id), id as i64);
        }
        assert_eq!(boundaries.seen_after(7), Some(9));
        assert_eq!(boundaries.between(5, 12), [place(7), place(9)]);
        assert_eq!(boundaries.between(7, 12), [place(9)]);
        assert_eq!(boundaries.between(0, 100), [place(9), place(12)]);
    }

    #[test]
    fn boundaries_have_a_limit() {
        let boundaries = Boundaries::default();
        (0..2 * BOUNDARIES_MAX as u64).for_each(|id| boundaries.observe(place(id), 0));
        assert_eq!(boundaries.between(0, u64::MAX).len(), BOUNDARIES_MAX - 1);
    }
}
