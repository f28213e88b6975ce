//! Where servers live: temporary folders, ports that nobody else takes, programs.

use std::fs::{self, File, Permissions, TryLockError};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

/// Below the range from which systems give ports to outgoing connections, which might take one while its server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Temporary folders with longer names would make a socket's path too long for the system.
const TEMP_PATH_MAX: usize = 40;

/// The folder that this user's servers share: what is made once (templates, certificates) and the locks of ports. Programs of
/// other users look into it.
pub fn shared() -> PathBuf {
    let dir = temp().join(format!("sluice-servers-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&dir).expect("a folder can be made");
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("the folder is ours");
    dir
}

/// A temporary folder that other users can look into.
pub fn folder(prefix: &str) -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix(&format!("sluice-{prefix}-"))
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(temp())
        .expect("a temporary folder");
    // The umask may have taken some away.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("the folder is ours");
    dir
}

fn temp() -> PathBuf {
    let temp = std::env::temp_dir();
    if temp.as_os_str().len() > TEMP_PATH_MAX { PathBuf::from("/tmp") } else { temp }
}

/// Where `scripts/setup` puts servers that no package of the distribution has; `SLUICE_SERVERS` names another place.
pub fn programs() -> Vec<PathBuf> {
    if let Some(given) = std::env::var_os("SLUICE_SERVERS") {
        return vec![given.into()];
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let own = cache.map(|cache| cache.join("sluice/servers"));
    own.into_iter().chain([PathBuf::from("/var/cache/sluice/servers")]).collect()
}

/// A port of the loopback interface, kept from other tests for as long as it lives: a server may stop and come back on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// One that nobody listens on.
    pub fn free() -> Port {
        // Processes begin at different places.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let spread = std::process::id() as u16;
        let locks = shared().join("ports");
        fs::create_dir_all(&locks).expect("a folder can be made");
        for _ in PORTS {
            let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(spread.wrapping_mul(37));
            let number = PORTS.start + step % (PORTS.end - PORTS.start);
            let lock = File::create(locks.join(number.to_string())).expect("a lock file can be made");
            match lock.try_lock() {
                Ok(()) if TcpListener::bind(("127.0.0.1", number)).is_ok() => {
                    return Port { number, _lock: lock };
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => panic!("a lock file can't be locked: {error}"),
            }
        }
        panic!("no port of {PORTS:?} is free");
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// The user that a server runs as: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user `postgres` when this process is root's, else nobody but ourselves.
    pub fn for_postgres() -> Option<User> {
        if !rustix::process::getuid().is_root() {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("users can be read");
        let line = passwd.lines().find(|line| line.starts_with("postgres:"));
        let line = line.unwrap_or_else(|| panic!("there is no user postgres; {}", crate::SETUP));
        let id = |field: usize| line.split(':').nth(field).and_then(|id| id.parse().ok()).expect("an id");
        Some(User { uid: id(2), gid: id(3) })
    }

    /// A command that runs a program as this user.
    pub fn command(user: Option<User>, program: &Path) -> std::process::Command {
        let Some(User { uid, gid }) = user else { return std::process::Command::new(program) };
        let mut command = std::process::Command::new("setpriv");
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        command.arg(program).env("HOME", "/");
        command
    }

    /// Gives a file or folder to this user.
    pub fn own(user: Option<User>, path: &Path) {
        if let Some(User { uid, gid }) = user {
            chown(path, Some(uid), Some(gid)).expect("root gives files to whom it likes");
        }
    }
}
