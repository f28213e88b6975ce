//! What this process uses, as the kernel counts it.

/// Memory and processor time of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Bytes of memory in use (resident set).
    pub resident_bytes: u64,
    /// Seconds of processor time since the start, in user and kernel mode together.
    pub cpu_seconds: f64,
}

/// Reads it from `/proc/self`; `None` where there is no such folder.
pub fn usage() -> Option<Usage> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = cpu_ticks(&stat)?;
    Some(Usage {
        resident_bytes: pages * rustix::param::page_size() as u64,
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    })
}

/// The fields `utime` and `stime`, the 14th and 15th. The second is the program's name in parentheses, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let stat = "42 (a) b 1) S 1 42 42 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 1 0";
        assert_eq!(super::cpu_ticks(stat), Some(12));
        assert_eq!(super::cpu_ticks("nonsense"), None);
    }
}
