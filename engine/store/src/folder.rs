//! The folder: its modes, its lock and its token.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, FlockOperation};
use sluice_types::{Error, ErrorKind, Result, Secret};

use crate::errors::of_file;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// A child shares its parent's locks from fork to exec, so a lock may outlive its owner by a moment.
const LOCK_PATIENCE_TRIES: u32 = 20;
const LOCK_PATIENCE_STEP: Duration = Duration::from_millis(10);

/// The folder is ours for as long as this lives: the kernel lets go of it with the process, however that ends.
pub(crate) struct Lock(#[allow(dead_code, reason = "held, never read")] File);

/// Makes the folder if it is missing, closes it to others, and takes its lock.
pub(crate) fn take(dir: &Path) -> Result<Lock> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(dir)
        .map_err(|cause| of_file("can't make the state folder", dir, cause))?;
    narrow(dir, FOLDER_MODE)?;
    let path = dir.join("lock");
    let mut file = open_private(&path)?;
    let mut patience = LOCK_PATIENCE_TRIES;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if patience > 0 => {
                patience -= 1;
                std::thread::sleep(LOCK_PATIENCE_STEP);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(locked(dir, &mut file)),
            Err(cause) => return Err(of_file("can't lock", &path, cause.into())),
        }
    }
    // The number is for the message of whoever finds the folder locked; the lock itself is the kernel's.
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|cause| of_file("can't write", &path, cause))?;
    Ok(Lock(file))
}

/// The process that has the folder; `None` when none has it. Takes nothing, changes nothing.
pub(crate) fn holder(dir: &Path) -> Result<Option<u32>> {
    let path = dir.join("lock");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(of_file("can't open", &path, cause)),
    };
    // Shared, and only to ask: it goes with the file, and who takes the folder meanwhile has the patience for it.
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(pid(&mut file)),
        Err(cause) => Err(of_file("can't look at the lock", &path, cause.into())),
    }
}

/// The number in a lock file.
fn pid(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    file.read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

fn locked(dir: &Path, file: &mut File) -> Error {
    let who = match pid(file) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_string(),
    };
    Error::new(ErrorKind::StateLocked, format!("{who} uses the state folder {}", dir.display())).remedy(
        "Stop it first, talk to it (`sluice status`), or give this configuration a state folder of its own with `state:`.",
    )
}

/// Opens a file for reading and writing that only its owner can, and makes it if it is missing.
pub(crate) fn open_private(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(|cause| of_file("can't open", path, cause))?;
    narrow(path, FILE_MODE)?;
    Ok(file)
}

/// Takes away what others may do.
fn narrow(path: &Path, mode: u32) -> Result<()> {
    let now = fs::metadata(path).map_err(|cause| of_file("can't look at", path, cause))?.permissions().mode();
    if now & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|cause| of_file("can't close to other users", path, cause))
}

/// Whether the folder, or the nearest one above that exists, can be written.
pub(crate) fn probe(dir: &Path) -> Result<()> {
    let mut nearest = dir;
    while !nearest.exists() {
        match nearest.parent() {
            Some(parent) if parent.as_os_str().is_empty() => nearest = Path::new("."),
            Some(parent) => nearest = parent,
            None => break,
        }
    }
    if nearest.exists() && !nearest.is_dir() {
        return Err(of_file("can't make the state folder in", nearest, io::ErrorKind::NotADirectory.into()));
    }
    rustix::fs::access(nearest, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|cause| of_file("can't write to", nearest, cause.into()))
}

/// The token; made if it is missing.
pub(crate) fn token(dir: &Path) -> Result<Secret> {
    if let Some(token) = read_token(dir)? {
        return Ok(token);
    }
    let mut random = [0; 32];
    fill_random(&mut random)?;
    let token = hex::encode(random);
    // Written aside and renamed: a token is there whole or not at all.
    let (aside, path) = (dir.join("token.new"), token_path(dir));
    let mut file = open_private(&aside)?;
    file.set_len(0)
        .and_then(|()| writeln!(file, "{token}"))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, &path))
        .map_err(|cause| of_file("can't write", &path, cause))?;
    Ok(Secret::new(token))
}

/// The token if there is one.
pub(crate) fn read_token(dir: &Path) -> Result<Option<Secret>> {
    let path = token_path(dir);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(of_file("can't read", &path, cause)),
    }
}

fn token_path(dir: &Path) -> PathBuf {
    dir.join("token")
}

/// Random bytes from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|cause| {
        Error::new(ErrorKind::Internal, "the operating system gave no random bytes")
            .because(cause.to_string())
    })
}
