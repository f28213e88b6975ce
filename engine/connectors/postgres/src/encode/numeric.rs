//! Decimals from their digits to the server's binary form, exactly.

use bytes::{BufMut, BytesMut};

use super::Unfit;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;
/// Digits behind the point that the binary form can say.
const SCALE_MAX: i64 = 16_383;
/// Digits before the point that the server keeps.
const WEIGHT_MAX: i64 = 131_072;

/// A decimal's digits, apart: `0.digits * 10^point`, without zeros at either end.
struct Digits<'a> {
    negative: bool,
    /// The digits with, perhaps, a point among them.
    text: &'a [u8],
    /// How many digits stand before the point.
    point: i64,
    /// How many digits are shown behind the point.
    scale: i64,
}

/// Writes the number without its length. `fit`: precision and scale of the column.
pub(super) fn put(text: &str, fit: Option<(u16, i16)>, out: &mut BytesMut) -> Result<(), Unfit> {
    let special = match text {
        "NaN" => Some(NAN),
        "Infinity" | "-Infinity" if fit.is_some() => {
            return Err("an infinity in a column of limited precision");
        }
        "Infinity" => Some(INFINITY),
        "-Infinity" => Some(MINUS_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        out.put_slice(&[0, 0, 0, 0]);
        out.put_u16(sign);
        out.put_u16(0);
        return Ok(());
    }
    let digits = split(text)?;
    // Significant digits only: their place, and one after the last.
    let mut first = None;
    let mut last = digits.point;
    for (place, digit) in digits.places() {
        if digit != 0 {
            first.get_or_insert(place);
            last = place - 1;
        }
    }
    let Some(first) = first else {
        // Zero, with its scale.
        out.put_slice(&[0; 6]);
        out.put_u16(scale_of(digits.scale, fit)?);
        return Ok(());
    };
    if let Some((precision, scale)) = fit {
        // The server would round in silence (I7).
        if -last > i64::from(scale) {
            return Err("more digits behind the point than the column keeps");
        }
        if first > i64::from(precision) - i64::from(scale) {
            return Err("more digits before the point than the column keeps");
        }
    }
    if first > WEIGHT_MAX || digits.scale > SCALE_MAX {
        return Err("more digits than the server keeps");
    }
    // Groups of four, aligned at the point: place p (1 is the units) is in group ceil(p / 4) - 1.
    let group_of = |place: i64| (place - 1).div_euclid(4);
    let (weight, least) = (group_of(first), group_of(last + 1));
    out.put_i16((weight - least + 1) as i16);
    out.put_i16(weight as i16);
    out.put_u16(if digits.negative { NEGATIVE } else { 0 });
    out.put_u16(scale_of(digits.scale, fit)?);
    let (mut group, mut sum) = (weight, 0u16);
    for (place, digit) in digits.places() {
        if place > first || place <= last {
            continue;
        }
        while group_of(place) < group {
            out.put_u16(sum);
            (group, sum) = (group - 1, 0);
        }
        sum += u16::from(digit) * [1, 10, 100, 1000][(place - 1).rem_euclid(4) as usize];
    }
    out.put_u16(sum);
    Ok(())
}

fn scale_of(scale: i64, fit: Option<(u16, i16)>) -> Result<u16, Unfit> {
    // A column of limited scale shows that many digits, which changes nothing of the number.
    let scale = fit.map_or(scale, |(_, scale)| i64::from(scale)).max(0);
    if scale > SCALE_MAX {
        Err("more digits behind the point than the server keeps")
    } else {
        Ok(scale as u16)
    }
}

impl Digits<'_> {
    /// Every digit with its place: 1 for the units, 0 for the tenths, and so on down.
    fn places(&self) -> impl Iterator<Item = (i64, u8)> {
        let digits = self.text.iter().filter(|byte| byte.is_ascii_digit());
        digits.enumerate().map(|(index, digit)| (self.point - index as i64, digit - b'0'))
    }
}

/// Reads `-12.340` and `1.2E+3`.
fn split(text: &str) -> Result<Digits<'_>, Unfit> {
    const ODD: Unfit = "not a decimal number";
    let (negative, rest) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        None => (rest, 0),
        Some(at) => {
            let exponent =
                std::str::from_utf8(&rest[at + 1..]).ok().and_then(|text| text.parse::<i32>().ok());
            (&rest[..at], i64::from(exponent.ok_or(ODD)?))
        }
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let before = point.unwrap_or(mantissa.len());
    let behind = mantissa.len() - before - usize::from(point.is_some());
    let good = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    if before + behind == 0 || !good(&mantissa[..before]) || !good(&mantissa[mantissa.len() - behind..]) {
        return Err(ODD);
    }
    let scale = (behind as i64 - exponent).max(0);
    Ok(Digits { negative, text: mantissa, point: before as i64 + exponent, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(text: &str, fit: Option<(u16, i16)>) -> Result<(i16, u16, u16, Vec<u16>), Unfit> {
        let mut out = BytesMut::new();
        put(text, fit, &mut out)?;
        let words: Vec<u16> = out.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        assert_eq!(words[0] as usize, words.len() - 4, "{text}");
        Ok((words[1] as i16, words[2], words[3], words[4..].to_vec()))
    }

    #[test]
    fn digits_go_in_groups_of_four() {
        for (text, weight, sign, scale, digits) in [
            ("0", 0, 0, 0, vec![]),
            ("0.00", 0, 0, 2, vec![]),
            ("1", 0, 0, 0, vec![1]),
            ("-12.340", 0, NEGATIVE, 3, vec![12, 3400]),
            ("10000", 1, 0, 0, vec![1]),
            ("12345678.9", 1, 0, 1, vec![1234, 5678, 9000]),
            ("0.00012345", -1, 0, 8, vec![1, 2345]),
            ("0.0000001", -2, 0, 7, vec![10]),
            ("00012.5", 0, 0, 1, vec![12, 5000]),
            ("1.2E+3", 0, 0, 0, vec![1200]),
            ("1E-5", -2, 0, 5, vec![1000]),
            ("100000000.00000001", 2, 0, 8, vec![1, 0, 0, 0, 1]),
            ("NaN", 0, NAN, 0, vec![]),
        ] {
            assert_eq!(groups(text, None), Ok((weight, sign, scale, digits)), "{text}");
        }
    }

    #[test]
    fn nothing_is_rounded() {
        let fit = Some((5, 2));
        assert_eq!(groups("1.500", fit), Ok((0, 0, 2, vec![1, 5000])));
        assert_eq!(groups("999.99", fit).unwrap().3, [999, 9900]);
        for text in ["1.001", "1000", "Infinity", "1e3", "-1000.0"] {
            assert!(groups(text, fit).is_err(), "{text}");
        }
        // A negative scale keeps thousands.
        assert!(groups("12000", Some((2, -3))).is_ok() && groups("12100", Some((2, -3))).is_err());
        for text in ["", ".", "1.2.3", "0x1", "1e", "--1", "1_0"] {
            assert!(groups(text, None).is_err(), "{text}");
        }
    }
}
