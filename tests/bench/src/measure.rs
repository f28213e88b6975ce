//! Measures a process from outside: wall time, CPU seconds, peak memory.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// What a finished process took.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Seconds on the wall.
    pub wall: f64,
    /// User and system seconds of the process and its threads (not of its children).
    pub cpu: f64,
    /// Peak resident memory in MiB.
    pub rss_mib: f64,
}

/// Runs a command to its end; it must succeed.
pub fn run(command: &mut Command) -> Usage {
    let start = Instant::now();
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let (cpu, rss_mib, child) = watch(child);
    let wall = start.elapsed().as_secs_f64();
    let output = child.wait_with_output().expect("the command can be waited for");
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Usage { wall, cpu, rss_mib }
}

/// Follows a process until it has ended, but leaves it to be waited for: CPU time can still be read then, peak memory can't.
fn watch(child: Child) -> (f64, f64, Child) {
    let pid = child.id();
    let mut peak: f64 = 0.0;
    loop {
        peak = peak.max(peak_rss_mib(pid));
        let id = WaitId::Pid(Pid::from_raw(pid as i32).expect("a pid is not zero"));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        if waitid(id, options).expect("our child can be asked about").is_some() {
            return (cpu_seconds(pid), peak, child);
        }
        std::thread::sleep(Duration::from_millis(5)); // sampling a process from outside: there is no event to wait for
    }
}

/// The peak resident memory so far of a living process, in MiB.
pub fn peak_rss_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM:")
}

/// The resident memory of a living process, in MiB.
pub fn rss_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS:")
}

fn status_mib(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

/// User and system seconds of a process so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold spaces: count fields from behind it.
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or(vec![], |(_, rest)| rest.split(' ').collect());
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64
}

/// The median of several figures.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// CPU seconds of a server so far: its main process, the processes that it has, and those that it had.
pub fn server_cpu(pid: u32) -> f64 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let living: f64 = children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(cpu_seconds).sum();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or(vec![], |(_, rest)| rest.split(' ').collect());
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let ended = (ticks(13) + ticks(14)) / rustix::param::clock_ticks_per_second() as f64;
    living + ended + cpu_seconds(pid)
}
