//! Large transactions wait here until they have committed: in memory at first, then in a file that has no name.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sluice_types::ports::{SpillPlace, SpillRoom, SpillShare};
use sluice_types::{Error, ErrorKind, Result};

/// What one transaction keeps in memory before it goes on in its file.
const MEMORY_BYTES: usize = 256 << 10;
/// Before each message, and each block of the file: its length.
const HEADER: usize = 4;

/// The messages of one transaction in the order in which they came.
pub(crate) struct Spool {
    room: SpillRoom,
    /// The bytes in the file: they count against the process's limit (I10).
    share: SpillShare,
    memory: BytesMut,
    file: Option<File>,
    /// Where the next block of the file goes. What is in it is sealed, if anything is.
    place: SpillPlace,
    /// Subtransactions that were rolled back: what is of them does not count.
    pub aborted: HashSet<u32>,
}

impl Spool {
    pub fn new(room: &SpillRoom) -> Self {
        let place = SpillPlace { file: room.next_file(), block: 0 };
        let (room, share) = (room.clone(), room.share());
        Spool { room, share, memory: BytesMut::new(), file: None, place, aborted: HashSet::new() }
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
        let sealed = match self.room.seal() {
            Some(seal) => Some(seal.seal(self.place, &self.memory)?),
            None => None,
        };
        let block = sealed.as_deref().unwrap_or(&self.memory);
        self.share.take((HEADER + block.len()) as u64)?;
        let dir = self.room.dir();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(nameless(dir).map_err(|error| failed(error, dir))?),
        };
        // The length fits: a block holds less than one message beyond what is kept in memory.
        let length = (block.len() as u32).to_be_bytes();
        let written = file.write_all(&length).and_then(|()| file.write_all(block));
        written.map_err(|error| failed(error, dir))?;
        self.place.block += 1;
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
        let blocks = self.place.block;
        self.place.block = 0;
        Ok(Replay { spool: self, blocks, read: BytesMut::new() })
    }
}

/// The messages of a spool, one after the other.
pub(crate) struct Replay {
    pub spool: Spool,
    /// How many blocks the file has.
    blocks: u64,
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
        if self.spool.place.block < self.blocks {
            self.read_block()?;
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

impl Replay {
    fn read_block(&mut self) -> Result<()> {
        let Replay { spool: Spool { file, room, place, .. }, read, .. } = self;
        let file = file.as_mut();
        let file =
            file.ok_or_else(|| Error::new(ErrorKind::Internal, "a spilled transaction has no file"))?;
        let failed = |error| failed(error, room.dir());
        let mut length = [0; HEADER];
        file.read_exact(&mut length).map_err(failed)?;
        let (from, length) = (read.len(), u32::from_be_bytes(length) as usize);
        match room.seal() {
            None => {
                read.resize(from + length, 0);
                file.read_exact(&mut read[from..]).map_err(failed)?;
            }
            Some(seal) => {
                let mut sealed = vec![0; length];
                file.read_exact(&mut sealed).map_err(failed)?;
                read.extend_from_slice(&seal.open(*place, &sealed)?);
            }
        }
        place.block += 1;
        Ok(())
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

    /// Turns every byte around, and refuses what is not in its place.
    #[derive(Debug)]
    struct Turned;

    impl sluice_types::ports::SpillSeal for Turned {
        fn seal(&self, place: SpillPlace, text: &[u8]) -> Result<Vec<u8>> {
            let place = [place.file, place.block].map(u64::to_be_bytes).concat();
            Ok(place.into_iter().chain(text.iter().map(|byte| !byte)).collect())
        }

        fn open(&self, place: SpillPlace, sealed: &[u8]) -> Result<Vec<u8>> {
            let (of, text) = sealed.split_at(16);
            assert_eq!(of, [place.file, place.block].map(u64::to_be_bytes).concat());
            Ok(text.iter().map(|byte| !byte).collect())
        }
    }

    #[test]
    fn what_is_in_the_file_is_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let room = SpillRoom::sealed(folder.path(), 10 << 20, Some(std::sync::Arc::new(Turned)));
        let mut spools = [Spool::new(&room), Spool::new(&room)];
        for n in 0..1000 {
            for spool in &mut spools {
                spool.push(format!("{n} ").repeat(200).as_bytes()).unwrap();
            }
        }
        for mut spool in spools {
            let mut bytes = vec![];
            let file = spool.file.as_mut().unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            assert!(!bytes.windows(8).any(|window| window == b"100 100 "));
            file.seek(SeekFrom::End(0)).unwrap();
            let mut replay = spool.replay().unwrap();
            for n in 0..1000 {
                assert_eq!(replay.next().unwrap().unwrap(), format!("{n} ").repeat(200).as_bytes());
            }
            assert!(replay.next().unwrap().is_none());
        }
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
