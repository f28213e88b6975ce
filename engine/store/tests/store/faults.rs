//! A folder that resists: read-only, full, damaged, foreign, from a newer version. A clear error, and nothing lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use sluice_store::{Limits, Store};
use sluice_types::ports::StateStore;
use sluice_types::{ErrorKind, PipelineId};

use crate::{child, letter, open};

/// A folder whose `state.db` has one dead letter.
async fn used() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).keep_dead_letters(vec![letter("p", "t", 1, "x")]).await.unwrap();
    dir
}

/// Opening fails so, and leaves the file as it was.
fn refuses(dir: &Path, kind: ErrorKind, words: &str) {
    let before = fs::read(dir.join("state.db")).unwrap();
    let error = Store::open(dir, None).err().unwrap();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.remedy_text().is_some());
    assert!(fs::read(dir.join("state.db")).unwrap() == before, "the file was changed");
}

#[tokio::test]
async fn a_state_of_a_newer_version_is_left_alone() {
    let dir = used().await;
    Connection::open(dir.path().join("state.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    refuses(dir.path(), ErrorKind::StateVersion, "format 99");
    assert_eq!(Store::scratch(dir.path()).err().unwrap().kind(), ErrorKind::StateVersion);
}

#[tokio::test]
async fn a_damaged_or_foreign_file_is_left_alone() {
    let dir = used().await;
    let path = dir.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, b"this is a letter to my mother, not a database; it is long enough to be a header")
        .unwrap();
    refuses(dir.path(), ErrorKind::Corrupt, "state.db");

    let mut torn = whole.clone();
    torn[100..4096].fill(0xee);
    fs::write(&path, &torn).unwrap();
    refuses(dir.path(), ErrorKind::Corrupt, "state.db");

    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("create table addresses (name text)").unwrap();
    refuses(dir.path(), ErrorKind::Corrupt, "not a state of sluice");

    fs::write(&path, &whole).unwrap();
    assert_eq!(open(dir.path()).count_dead_letters(&PipelineId::from("p")).await.unwrap(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_and_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    // The file's own limit: SQLite answers to it as to a full disk.
    let limits = Limits { state_bytes: 64 * 4096, ..Limits::default() };
    let store = Store::open_within(dir.path(), None, limits).unwrap();
    let mut kept = 0;
    let error = loop {
        let large = letter("p", "t", kept + 1, &"x".repeat(20_000));
        match store.keep_dead_letters(vec![large]).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert_eq!(error.disposition(), sluice_types::Disposition::Retry);
    assert!(kept > 0);
    assert_eq!(store.count_dead_letters(&pipeline).await.unwrap(), kept as u64);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.dead_letters(&pipeline, 0, usize::MAX).await.unwrap().len(), kept as usize);
    store.keep_dead_letters(vec![letter("p", "t", kept + 1, "x")]).await.unwrap();
}

#[test]
fn a_file_where_the_folder_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    for dir in [path.clone(), path.join("state")] {
        let error = Store::open(&dir, None).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::State, "{error}");
        assert!(error.to_string().contains("state:"), "says what to do: {error}");
        assert!(Store::probe(&dir).is_err());
    }
    Store::probe(&dir.path().join("not/yet/there")).unwrap();
    assert!(!dir.path().join("not").exists());
}

/// Nobody's: owns nothing here.
const NOBODY: u32 = 65534;

#[tokio::test]
async fn a_read_only_folder_is_a_clear_error() {
    let dir = used().await;
    let state = dir.path();
    fs::set_permissions(state, fs::Permissions::from_mode(0o500)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere, so somebody else has to try.
        let shared = tempfile::tempdir().unwrap();
        fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program: PathBuf = shared.path().join("test-program");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(state, fs::Permissions::from_mode(0o555)).unwrap();
        let mut child = child::start("open", state, Some((&program, NOBODY)));
        let said: Vec<String> = child::lines(&mut child, &["opened", "error"]).collect();
        child.wait().unwrap();
        let [line] = &said[..] else { panic!("{said:?}") };
        assert!(line.starts_with("error state-unavailable: ") && line.contains("chown"), "{line}");
    } else {
        fs::set_permissions(state.join("lock"), fs::Permissions::from_mode(0o400)).unwrap();
        let error = Store::open(state, None).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::State, "{error}");
        assert!(Store::probe(state).is_err());
    }
    fs::set_permissions(state, fs::Permissions::from_mode(0o700)).unwrap();
}
