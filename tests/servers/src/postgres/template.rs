//! Data folders, quickly: `initdb` runs once per user and version, its result is copied and made a database system of its own.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Installed, PASSWORD, copy};
use crate::place::{self, User};

/// Where a WAL file says which system it belongs to: after the short header of its first page.
const WAL_SYSTEM_AT: u64 = 24;

/// Makes `data` (which must not be there), an empty database system with an identifier of its own.
pub fn copy_to(installed: &Installed, data: &Path) {
    let user = User::for_postgres();
    copy(user, &template(installed, user), data);
    identify(data, fresh_identifier());
}

/// The template of a version; made if it is not there yet.
fn template(installed: &Installed, user: Option<User>) -> PathBuf {
    let template = place::shared().join(format!("postgres-{}", installed.version));
    if !template.exists() {
        let folder = place::folder("initdb");
        User::own(user, folder.path());
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("a file can be written");
        let mut initdb = User::command(user, &installed.bin.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        initdb.arg("--pwfile").arg(&password).arg("-D").arg(folder.path().join("data"));
        let output = initdb.current_dir(folder.path()).output().expect("initdb");
        assert!(output.status.success(), "initdb: {output:?}");
        // Another test may have been quicker: its template is as good.
        let _ = fs::rename(folder.path().join("data"), &template);
    }
    template
}

/// As PostgreSQL makes one: the time and the process.
fn fresh_identifier() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0xff;
    (now.as_secs() << 32)
        | (u64::from(now.subsec_micros()) << 12)
        | (u64::from(std::process::id()) & 0xf) << 8
        | number
}

/// Writes another system identifier into the control file and the WAL. Copies would pass for one and the same system otherwise,
/// which a source's identity is about.
fn identify(data: &Path, identifier: u64) {
    let control = data.join("global/pg_control");
    let mut bytes = fs::read(&control).expect("a control file");
    let at = checksum_at(&bytes).expect("a control file ends with its checksum");
    bytes[..8].copy_from_slice(&identifier.to_ne_bytes());
    let checksum = crc32c(&bytes[..at]);
    bytes[at..at + 4].copy_from_slice(&checksum.to_ne_bytes());
    fs::write(&control, bytes).expect("the control file is ours");
    for entry in fs::read_dir(data.join("pg_wal")).expect("a WAL folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            let file = fs::File::options().write(true).open(entry.path()).expect("a WAL file");
            file.write_all_at(&identifier.to_ne_bytes(), WAL_SYSTEM_AT).expect("it can be written");
        }
    }
}

/// The control file is a structure that grows with versions; its last field is the CRC-32C of all before.
fn checksum_at(bytes: &[u8]) -> Option<usize> {
    (64..512.min(bytes.len() - 4))
        .step_by(4)
        .find(|at| bytes[*at..at + 4] == crc32c(&bytes[..*at]).to_ne_bytes())
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }
}
