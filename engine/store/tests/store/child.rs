//! Other processes: this test program, run again with a part to play.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sluice_store::Store;
use sluice_types::PipelineId;
use sluice_types::ports::StateStore;

use crate::letter;

const PART: &str = "SLUICE_STORE_TEST_PART";
const DIR: &str = "SLUICE_STORE_TEST_DIR";

/// Not a test of its own: what the child process does. Does nothing in a usual run.
#[tokio::test]
async fn plays_a_part() {
    let (Ok(part), Ok(dir)) = (std::env::var(PART), std::env::var(DIR)) else { return };
    match part.as_str() {
        // Keeps letters for as long as it lives and says so after each.
        "keep" => {
            let store = Store::open(Path::new(&dir), None).unwrap();
            for number in 1.. {
                store.keep_dead_letters(vec![letter("p", "t", number, "x")]).await.unwrap();
                println!("\nkept {number}");
            }
        }
        "open" => match Store::open(Path::new(&dir), None) {
            Ok(_) => println!("\nopened"),
            Err(error) => println!("\nerror {error}"),
        },
        other => panic!("no part {other}"),
    }
}

/// Starts a child. As root it may be run as somebody else, from a copy of this program that everybody can read.
pub fn start(part: &str, dir: &Path, program: Option<(&Path, u32)>) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(program.map_or(own.as_path(), |(path, _)| path));
    command.args(["--exact", "child::plays_a_part", "--nocapture", "--test-threads=1"]);
    command.env(PART, part).env(DIR, dir).current_dir("/").stdout(Stdio::piped());
    if let Some((_, user)) = program {
        command.uid(user).gid(user);
    }
    command.spawn().unwrap()
}

/// The lines that a child prints and that start with one of these words.
pub fn lines(child: &mut Child, words: &'static [&'static str]) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter(move |line| words.iter().any(|word| line.starts_with(word)))
}

#[tokio::test]
async fn one_process_at_a_time_and_a_kill_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = PipelineId::from("p");
    let mut least = 0;
    for round in 1..=5 {
        let mut child = start("keep", dir.path(), None);
        let mut said = lines(&mut child, &["kept"]);
        said.next().unwrap();
        let error = Store::open(dir.path(), None).err().unwrap();
        assert_eq!(error.kind(), sluice_types::ErrorKind::StateLocked);
        assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");
        let last = said.nth(3 * round).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(dir.path(), None).expect("the lock went with the process");
        let count = store.count_dead_letters(&pipeline).await.unwrap();
        let promised: u64 = last.strip_prefix("kept ").unwrap().parse().unwrap();
        least = promised.max(least);
        assert!(count >= least, "{count} kept, {least} promised");
        let letters = store.dead_letters(&pipeline, 0, usize::MAX).await.unwrap();
        let numbers: Vec<u64> = letters.iter().map(|letter| letter.number).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
    }
}
