//! Large transactions wait here until they have committed: in memory at first, then in a file that has no name.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sluice_types::ports::{SpillRoom, SpillShare};
use sluice_types::{Error, ErrorKind, Result};

/// What one transaction keeps in memory before it goes on in its file.
const MEMORY_BYTES: usize = 256 << 10;
/// How much is read back at once.
const READ_BYTES: usize = 256 << 10;
/// Before each message: its length.
const HEADER: usize = 4;

/// The messages of one transaction in the order in which they came.
pub(crate) struct Spool {
    room: SpillRoom,
    /// The bytes in the file: they count against the process's limit (I10).
    share: SpillShare,
    memory: BytesMut,
    file: Option<File>,
    /// Subtransactions that were rolled back: what is of them does not count.
    pub aborted: HashSet<u32>,
}

impl Spool {
    pub fn new(room: &SpillRoom) -> Self {
        let (room, share) = (room.clone(), room.share());
        Spool { room, share, memory: BytesMut::new(), file: None, aborted: HashSet::new() }
    }

    /// Keeps one message.
    pub fn push(&mut self, message: &[u8]) -> Result<()> {
        if self.memory.len() + HEADER + message.len() > MEMORY_BYTES {
            self.write_out()?;
        }
        // The length fits: messages have at most 2 GiB.
        self.memory.put_u32(message.len() as u32);
        self.memory.put_slice(message);
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        if self.memory.is_empty() {
            return Ok(());
        }
        self.share.take(self.memory.len() as u64)?;
        let dir = self.room.dir();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(nameless(dir).map_err(|error| failed(error, dir))?),
        };
        file.write_all(&self.memory).map_err(|error| failed(error, dir))?;
        self.memory.clear();
        Ok(())
    }

    /// What it keeps in memory, in bytes.
    pub fn held(&self) -> usize {
        self.memory.capacity()
    }

    /// Keeps nothing in memory until there is more.
    pub fn rest(&mut self) -> Result<()> {
        self.write_out()?;
        self.memory = BytesMut::new();
        Ok(())
    }

    /// Reads everything back from the start.
    pub fn replay(mut self) -> Result<Replay> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0)).map_err(|error| failed(error, self.room.dir()))?;
        }
        let left = self.share.taken();
        Ok(Replay { spool: self, left, read: BytesMut::new() })
    }
}

/// The messages of a spool, one after the other.
pub(crate) struct Replay {
    pub spool: Spool,
    /// Bytes of the file that have not been read.
    left: u64,
    read: BytesMut,
}

impl Replay {
    /// The next message; `None`: that was the last.
    pub fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(header) = self.read.get(..HEADER) {
                let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
                if self.read.len() >= HEADER + length {
                    self.read.advance(HEADER);
                    return Ok(Some(self.read.split_to(length).freeze()));
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn fill(&mut self) -> Result<bool> {
        let more = self.left.min(READ_BYTES as u64) as usize;
        if more > 0 {
            let file = self.spool.file.as_mut();
            let file =
                file.ok_or_else(|| Error::new(ErrorKind::Internal, "a spilled transaction has no file"))?;
            let from = self.read.len();
            self.read.resize(from + more, 0);
            let read = file.read_exact(&mut self.read[from..]);
            read.map_err(|error| failed(error, self.spool.room.dir()))?;
            self.left -= more as u64;
            return Ok(true);
        }
        if self.spool.memory.is_empty() {
            return Ok(false);
        }
        let rest = self.spool.memory.split();
        if self.read.is_empty() {
            self.read = rest;
        } else {
            self.read.extend_from_slice(&rest);
        }
        Ok(true)
    }
}

/// A file that only this process can reach, and that is gone with it.
fn nameless(folder: &std::path::Path) -> io::Result<File> {
    let mut folders = std::fs::DirBuilder::new();
    folders.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folders, 0o700);
    folders.create(folder)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    for attempt in 0_u32.. {
        let path = folder.join(format!("transaction-{}-{attempt}", std::process::id()));
        match options.open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 10_000 => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn failed(error: io::Error, dir: &std::path::Path) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
        _ => ErrorKind::State,
    };
    Error::new(kind, format!("a large transaction can't be kept in {}", dir.display()))
        .because(error)
        .remedy("Make room there; it is tried again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(bytes: u64) -> (tempfile::TempDir, SpillRoom) {
        let folder = tempfile::tempdir().unwrap();
        let room = SpillRoom::new(folder.path().join("spill"), bytes);
        (folder, room)
    }

    #[test]
    fn what_was_kept_comes_back_in_order() {
        let (folder, room) = room(10 << 20);
        let mut spool = Spool::new(&room);
        let message = |n: usize| vec![n as u8; if n % 100 == 7 { MEMORY_BYTES + 13 } else { n % 700 }];
        (0..2000).for_each(|n| spool.push(&message(n)).unwrap());
        assert!(room.used() > 1 << 20);
        assert_eq!(std::fs::read_dir(folder.path().join("spill")).unwrap().count(), 0, "it has no name");
        let mut replay = spool.replay().unwrap();
        for n in 0..2000 {
            assert_eq!(replay.next().unwrap().unwrap(), message(n), "{n}");
        }
        assert!(replay.next().unwrap().is_none());
        drop(replay);
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn the_limit_is_kept() {
        let (_folder, room) = room(1 << 20);
        let (mut one, mut other) = (Spool::new(&room), Spool::new(&room));
        let push = |one: &mut Spool, other: &mut Spool| {
            one.push(&[1; 20_000]).and_then(|()| other.push(&[2; 20_000]))
        };
        let failed = (0..100).find_map(|_| push(&mut one, &mut other).err());
        assert_eq!(failed.unwrap().kind(), ErrorKind::DiskFull);
        drop((one, other));
        assert_eq!(room.used(), 0);
    }
}
