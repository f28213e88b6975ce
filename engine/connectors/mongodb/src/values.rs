//! Canonical values that MongoDB has no type of its own for, as text or numbers: `VALUES.md` in code.

use std::fmt::{self, Write as _};

/// Why a value can't be held: words without the value.
pub(crate) type Why = &'static str;

/// What becomes of the microseconds of a timestamp, which a BSON date does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Microseconds {
    /// A timestamp with a part below the millisecond is refused (I7).
    #[default]
    Reject,
    /// It is cut off: the user's explicit rule.
    Truncate,
}

const DAY_MILLIS: i64 = 86_400_000;
const SECOND: i64 = 1_000_000;

/// A day as the milliseconds of a BSON date, at midnight UTC.
pub(crate) fn date_millis(days: i32) -> Result<i64, Why> {
    match days {
        i32::MIN | i32::MAX => Err("a date of MongoDB has no infinity"),
        days => Ok(i64::from(days) * DAY_MILLIS),
    }
}

/// A moment as the milliseconds of a BSON date.
pub(crate) fn moment_millis(micros: i64, rule: Microseconds) -> Result<i64, Why> {
    match micros {
        i64::MIN | i64::MAX => Err("a date of MongoDB has no infinity"),
        micros if micros.rem_euclid(1000) != 0 && rule == Microseconds::Reject => {
            Err("a date of MongoDB has milliseconds, and the value has microseconds")
        }
        micros => Ok(micros.div_euclid(1000)),
    }
}

/// Microseconds of a day as `HH:MM:SS[.ffffff]`, appended.
pub(crate) fn push_time(out: &mut Vec<u8>, micros: i64) -> Result<(), Why> {
    // 24:00:00 is a time of PostgreSQL's.
    if !(0..=24 * 3600 * SECOND).contains(&micros) {
        return Err("the time of day is out of range");
    }
    let (seconds, part) = (micros / SECOND, micros % SECOND);
    let written = match part {
        0 => write!(Out(out), "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        part => {
            write!(Out(out), "{:02}:{:02}:{:02}.{part:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        }
    };
    written.map_err(|_| "the time of day can't be written")
}

/// Reads what [`push_time`] writes.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let (clock, part) = text.split_once('.').map_or((text, None), |(clock, part)| (clock, Some(part)));
    let mut fields = clock.split(':');
    let mut field = || fields.next().filter(|field| field.len() == 2)?.parse::<i64>().ok();
    let (hours, minutes, seconds) = (field()?, field()?, field()?);
    let micros = match part {
        None => 0,
        Some(part) if part.len() == 6 => part.parse::<i64>().ok()?,
        Some(_) => return None,
    };
    let whole =
        fields.next().is_none() && minutes < 60 && seconds < 60 && hours >= 0 && minutes >= 0 && seconds >= 0;
    let total = ((hours * 60 + minutes) * 60 + seconds) * SECOND + micros;
    (whole && micros >= 0 && total <= 24 * 3600 * SECOND).then_some(total)
}

/// Text appended to bytes.
pub(crate) struct Out<'a>(pub &'a mut Vec<u8>);

impl fmt::Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_never_cut_in_silence() {
        assert_eq!(moment_millis(1_500_000, Microseconds::Reject), Ok(1500));
        assert_eq!(moment_millis(-1_000, Microseconds::Reject), Ok(-1));
        assert!(moment_millis(1_500_001, Microseconds::Reject).is_err());
        assert_eq!(moment_millis(-1, Microseconds::Truncate), Ok(-1), "towards the past, as every clock");
        assert!(moment_millis(i64::MAX, Microseconds::Truncate).is_err());
        assert!(date_millis(i32::MIN).is_err());
        assert_eq!(date_millis(-1), Ok(-DAY_MILLIS));
    }

    #[test]
    fn a_time_of_day_comes_back() {
        for (micros, text) in [
            (0, "00:00:00"),
            (1, "00:00:00.000001"),
            (86_399_999_999, "23:59:59.999999"),
            (86_400_000_000, "24:00:00"),
        ] {
            let mut out = vec![];
            push_time(&mut out, micros).unwrap();
            assert_eq!(std::str::from_utf8(&out).unwrap(), text);
            assert_eq!(parse_time(text), Some(micros));
        }
        for text in
            ["", "1:2:3", "24:00:00.000001", "00:60:00", "00:00", "00:00:00.5", "-1:00:00", "00:00:00:00"]
        {
            assert_eq!(parse_time(text), None, "{text}");
        }
        assert!(push_time(&mut vec![], -1).is_err());
    }
}
