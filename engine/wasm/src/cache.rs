//! Compiled code on disk.
//!
//! Compiled code is machine code: whoever can write it can do everything that this process can. So it is kept in a folder that is
//! ours alone, authenticated with a key of the state, and verified before it is used. Any doubt: compile again.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use sluice_types::{Digest, Error, ErrorKind, Result};

use crate::limits::CACHE_BYTES;

/// Compiled code that was made by this process's compiler, or carries the authentication that such code is stored with.
pub(crate) struct Trusted(Vec<u8>);

impl Trusted {
    /// Code that this process's compiler has just made.
    pub(crate) fn just_compiled(code: Vec<u8>) -> Self {
        Trusted(code)
    }

    /// The bytes, for loading.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

const MAC_BYTES: usize = 32;

/// The folder of compiled code.
pub(crate) struct CodeCache {
    dir: PathBuf,
    key: [u8; 32],
    compatibility: String,
}

impl CodeCache {
    /// Makes the folder where it is missing, and ours alone.
    pub(crate) fn open(dir: PathBuf, key: [u8; 32], compatibility: String) -> Result<Self> {
        let unusable = |why: std::io::Error| {
            let kind = match why.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Permission
                }
                std::io::ErrorKind::StorageFull => ErrorKind::DiskFull,
                _ => ErrorKind::State,
            };
            Error::new(kind, format!("the folder of compiled plugins, {}, can't be used", dir.display()))
                .because(why)
        };
        fs::create_dir_all(&dir).map_err(unusable)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
        Ok(CodeCache { dir, key, compatibility })
    }

    /// Verified code for a component; `None` when there is none, or anything about it is doubtful.
    pub(crate) fn load(&self, digest: &Digest) -> Option<Trusted> {
        let mut file = fs::read(self.path(digest)).ok()?;
        if file.len() < MAC_BYTES {
            return None;
        }
        let code = file.split_off(MAC_BYTES);
        if self.mac(digest, &code).verify_slice(&file).is_err() {
            tracing::warn!(plugin = %digest.short(), "compiled code is damaged or not ours: compiling again");
            return None;
        }
        Some(Trusted(code))
    }

    /// Keeps code. It is a cache: a failure is logged and costs a compile later.
    pub(crate) fn store(&self, digest: &Digest, code: &Trusted) {
        if let Err(why) = self.try_store(digest, code) {
            tracing::warn!(%why, "compiled plugin code can't be kept");
        }
        self.prune();
    }

    fn try_store(&self, digest: &Digest, code: &Trusted) -> std::io::Result<()> {
        // A temporary file is 0600 from its first moment; the rename makes it appear whole.
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&self.mac(digest, &code.0).finalize().into_bytes())?;
        file.write_all(&code.0)?;
        file.persist(self.path(digest)).map_err(|failed| failed.error)?;
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.cwasm", digest.digits(), self.compatibility))
    }

    /// Over everything that the code depends on, so that a file can't be passed off as another's.
    fn mac(&self, digest: &Digest, code: &[u8]) -> Hmac<Sha256> {
        #[allow(clippy::expect_used)] // HMAC takes keys of any length
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length");
        for part in
            [b"sluice compiled code 1".as_slice(), digest.digits().as_bytes(), self.compatibility.as_bytes()]
        {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.update(code);
        mac
    }

    /// Removes the oldest files beyond [`CACHE_BYTES`].
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .filter(|(_, _, path)| path.extension().is_some_and(|ext| ext == "cwasm"))
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= CACHE_BYTES {
                return;
            }
            if fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(dir: &std::path::Path, key: u8, compatibility: &str) -> CodeCache {
        CodeCache::open(dir.join("code"), [key; 32], compatibility.into()).unwrap()
    }

    #[test]
    fn only_our_own_code_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let ours = cache(dir.path(), 1, "a");
        let digest = Digest::of(b"component");
        assert!(ours.load(&digest).is_none());
        ours.store(&digest, &Trusted::just_compiled(b"code".to_vec()));
        assert_eq!(ours.load(&digest).unwrap().bytes(), b"code");
        // another key, another configuration, another component's file, a changed byte
        assert!(cache(dir.path(), 2, "a").load(&digest).is_none());
        assert!(cache(dir.path(), 1, "b").load(&digest).is_none());
        let other = Digest::of(b"other");
        fs::copy(ours.path(&digest), ours.path(&other)).unwrap();
        assert!(ours.load(&other).is_none());
        let mut bytes = fs::read(ours.path(&digest)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(ours.path(&digest), bytes).unwrap();
        assert!(ours.load(&digest).is_none());
        fs::write(ours.path(&digest), b"short").unwrap();
        assert!(ours.load(&digest).is_none());
    }

    #[test]
    fn folder_and_files_are_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1, "a");
        let digest = Digest::of(b"x");
        cache.store(&digest, &Trusted::just_compiled(vec![1]));
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(cache.dir.clone()), 0o700);
        assert_eq!(mode(cache.path(&digest)), 0o600);
    }
}
