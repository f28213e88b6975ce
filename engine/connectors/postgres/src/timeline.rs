//! Timelines: a server that was promoted, or put back to an earlier moment and let go on, counts places in its log on from where it
//! left its old timeline. A place beyond that is of another history, however the numbers compare, and though the slot came along.

use crate::protocol::replication::Lsn;

/// Why a place on one timeline is not in the log of a server that is on another, if it is not. `history` is the file that the
/// server keeps of its own timeline: one line for each that it left, with the number and where.
pub(crate) fn lost(from: Lsn, on: u32, server_on: u32, history: &str) -> Option<String> {
    if on == server_on {
        return None;
    }
    let left = history.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()?.parse() == Ok(on)).then_some(())?;
        Lsn::parse(words.next()?)
    });
    match left {
        Some(left) if from <= left => None,
        Some(left) => Some(format!(
            "the server left timeline {on} at {left}, and the target stands at {from} on it: the server was promoted or put back"
        )),
        None => Some(format!(
            "the target stands on timeline {on}, of which the server, on timeline {server_on}, does not come: it was put back"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_beyond_the_switch_is_of_another_history() {
        let history =
            "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-11-22 10:00:00+00\n";
        for (from, on, lies) in [
            (0x3000148, 1, true),
            (0x3000149, 1, false),
            (0x4000000, 2, true),
            (0x6000000, 2, false),
            (0x6000000, 3, true),
            (1, 4, false),
        ] {
            assert_eq!(lost(Lsn(from), on, 3, history).is_none(), lies, "{from:x} on {on}");
        }
        assert!(lost(Lsn(1), 2, 1, "").is_some(), "put back to before the promotion");
        assert!(lost(Lsn(1), 1, 2, "1 nonsense").is_some());
    }
}
