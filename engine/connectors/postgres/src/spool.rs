//! Large transactions wait here until they have committed: in memory at first, then in a file that has no name.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sluice_types::ports::Spill;
use sluice_types::{Error, ErrorKind, Result};

/// What one transaction keeps in memory before it goes on in its file.
const MEMORY_BYTES: usize = 256 << 10;
/// How much is read back at once.
const READ_BYTES: usize = 256 << 10;
/// Before each message: its length.
const HEADER: usize = 4;

/// The messages of one transaction in the order in which they came.
pub(crate) struct Spool {
    spill: Spill,
    memory: BytesMut,
    file: Option<File>,
    /// Bytes in the file; they count against the process's limit.
    written: u64,
    /// Subtransactions that were rolled back: what is of them does not count.
    pub aborted: HashSet<u32>,
}

impl Spool {
    pub fn new(spill: &Spill) -> Self {
        Spool { spill: spill.clone(), memory: BytesMut::new(), file: None, written: 0, aborted: HashSet::new() }
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
        let more = self.memory.len() as u64;
        if more == 0 {
            return Ok(());
        }
        // I10: all spilled transactions of the process together have one limit.
        let used = self.spill.used.fetch_add(more, Relaxed) + more;
        self.written += more;
        if used > self.spill.bytes {
            let what = format!("large transactions need more than {} bytes of disk (`limits.spill`)", self.spill.bytes);
            return Err(Error::new(ErrorKind::DiskFull, what).remedy("Raise `limits.spill`; it is tried again"));
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(nameless(&self.spill.folder).map_err(|error| failed(error, &self.spill))?),
        };
        file.write_all(&self.memory).map_err(|error| failed(error, &self.spill))?;
        self.memory.clear();
        Ok(())
    }

    /// Reads everything back from the start.
    pub fn replay(mut self) -> Result<Replay> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0)).map_err(|error| failed(error, &self.spill))?;
        }
        let left = self.written;
        Ok(Replay { spool: self, left, read: BytesMut::new() })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.spill.used.fetch_sub(self.written, Relaxed);
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
            let file = file.ok_or_else(|| Error::new(ErrorKind::Internal, "a spilled transaction has no file"))?;
            let from = self.read.len();
            self.read.resize(from + more, 0);
            let read = file.read_exact(&mut self.read[from..]);
            read.map_err(|error| failed(error, &self.spool.spill))?;
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
    std::fs::create_dir_all(folder)?;
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

fn failed(error: io::Error, spill: &Spill) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
        _ => ErrorKind::State,
    };
    Error::new(kind, format!("a large transaction can't be kept in {}", spill.folder.display()))
        .because(error)
        .remedy("Make room there; it is tried again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spill(bytes: u64) -> (tempfile::TempDir, Spill) {
        let folder = tempfile::tempdir().unwrap();
        let place = Spill::new(folder.path().join("spill"), bytes);
        (folder, place)
    }

    #[test]
    fn what_was_kept_comes_back_in_order() {
        let (folder, spill) = spill(10 << 20);
        let mut spool = Spool::new(&spill);
        let message = |n: usize| vec![n as u8; if n % 100 == 7 { MEMORY_BYTES + 13 } else { n % 700 }];
        (0..2000).for_each(|n| spool.push(&message(n)).unwrap());
        assert!(spill.used.load(Relaxed) > 1 << 20);
        assert_eq!(std::fs::read_dir(folder.path().join("spill")).unwrap().count(), 0, "it has no name");
        let mut replay = spool.replay().unwrap();
        for n in 0..2000 {
            assert_eq!(replay.next().unwrap().unwrap(), message(n), "{n}");
        }
        assert!(replay.next().unwrap().is_none());
        drop(replay);
        assert_eq!(spill.used.load(Relaxed), 0);
    }

    #[test]
    fn the_limit_is_kept() {
        let (_folder, spill) = spill(1 << 20);
        let (mut one, mut other) = (Spool::new(&spill), Spool::new(&spill));
        let failed = (0..100).find_map(|_| {
            one.push(&[1; 20_000]).and_then(|()| other.push(&[2; 20_000])).err()
        });
        assert_eq!(failed.unwrap().kind(), ErrorKind::DiskFull);
        drop(one);
        drop(other);
        assert_eq!(spill.used.load(Relaxed), 0);
    }
}
