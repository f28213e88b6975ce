//! What the system says of a process.

use std::fs;
use std::time::Duration;

/// Ticks per second of the times in `/proc/PID/stat`: USER_HZ, 100 on every Linux that people run.
const TICKS_PER_SECOND: u64 = 100;

/// The memory that a process has in RAM now, in bytes.
pub fn rss(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:") * 1024
}

/// The most that it ever had, in bytes.
pub fn peak_rss(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:") * 1024
}

/// The processor time that it has used.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // The name in brackets may hold anything; the fields after it are numbers.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks: u64 =
        fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// What is in the files of this name that a process has open, though they have no name any more.
pub fn nameless_files(pid: u32, name: &str) -> Vec<Vec<u8>> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
    let is_meant = |path: &std::path::PathBuf| {
        let target = fs::read_link(path).unwrap_or_default();
        let target = target.to_string_lossy();
        target.contains(name) && target.ends_with(" (deleted)")
    };
    let paths = open.flatten().map(|entry| entry.path()).filter(is_meant);
    // One that is closed meanwhile has nothing in it.
    paths.filter_map(|path| fs::read(path).ok()).collect()
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line of that name");
    line.split_whitespace().nth(1).expect("a figure").parse().expect("a number")
}
