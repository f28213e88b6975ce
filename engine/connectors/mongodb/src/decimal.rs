//! Decimal digits as Decimal128 (IEEE 754-2008, binary integer significand), exactly or not at all.

/// Significant digits that a Decimal128 has.
const DIGITS_MAX: usize = 34;
/// Its smallest and greatest exponent, where the significand is a whole number.
const EXPONENT_MIN: i64 = -6176;
const EXPONENT_MAX: i64 = 6111;
/// Digits of an exponent in the text that are looked at: more can only be out of range.
const EXPONENT_DIGITS_MAX: usize = 9;

const NAN: u64 = 0x7c00_0000_0000_0000;
const INFINITY: u64 = 0x7800_0000_0000_0000;
const SIGN: u64 = 1 << 63;
/// Where the exponent stands in the upper half.
const EXPONENT_SHIFT: u32 = 49;

/// A number as written: `-12.340`, `1e-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digits<'a> {
    pub negative: bool,
    /// The digits before the point.
    pub whole: &'a [u8],
    /// The digits after it.
    pub fraction: &'a [u8],
    /// The power of ten that was written after it.
    pub exponent: i64,
}

impl<'a> Digits<'a> {
    /// Reads `[+-]digits[.digits][e[+-]digits]`; `None` for anything else.
    pub fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, bytes),
        };
        let (number, exponent) = match bytes.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&bytes[..at], parse_exponent(&bytes[at + 1..])?),
            None => (bytes, 0),
        };
        let (whole, fraction) = match number.iter().position(|byte| *byte == b'.') {
            Some(at) => (&number[..at], &number[at + 1..]),
            None => (number, &number[number.len()..]),
        };
        let good = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
        let any = !whole.is_empty() || !fraction.is_empty();
        (any && good(whole) && good(fraction)).then_some(Digits { negative, whole, fraction, exponent })
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = u8> + Clone + 'a {
        self.whole.iter().chain(self.fraction).copied()
    }

    /// Whether both are the same number, however written.
    pub fn same_number(&self, other: &Digits<'_>) -> bool {
        // The digits that count, and the power of ten of the last of them.
        fn counted(digits: &[u8], more: &[u8]) -> (usize, usize) {
            let all = || digits.iter().chain(more);
            let zeros = all().rev().take_while(|digit| **digit == b'0').count();
            let leading = all().take_while(|digit| **digit == b'0').count();
            (leading.min(digits.len() + more.len()), zeros)
        }
        let (lead, tail) = counted(self.whole, self.fraction);
        let (other_lead, other_tail) = counted(other.whole, other.fraction);
        let length = self.whole.len() + self.fraction.len();
        let other_length = other.whole.len() + other.fraction.len();
        let zero = lead == length;
        if zero || other_lead == other_length {
            return zero == (other_lead == other_length) && self.negative == other.negative;
        }
        let power = self.exponent - self.fraction.len() as i64 + tail as i64;
        let other_power = other.exponent - other.fraction.len() as i64 + other_tail as i64;
        self.negative == other.negative
            && power == other_power
            && self
                .all()
                .skip(lead)
                .take(length - lead - tail)
                .eq(other.all().skip(other_lead).take(other_length - other_lead - other_tail))
    }
}

fn parse_exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, bytes),
    };
    let digits = std::str::from_utf8(digits).ok()?;
    let trimmed = digits.trim_start_matches('0');
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = match trimmed.len() {
        0 => 0,
        length if length > EXPONENT_DIGITS_MAX => i64::from(u32::MAX),
        _ => trimmed.parse().ok()?,
    };
    Some(if negative { -size } else { size })
}

/// The bytes of a Decimal128 that is this number with these digits: `1.00` stays `1.00`. `None`: there is none (I7).
pub(crate) fn encode(text: &str) -> Option<[u8; 16]> {
    match text {
        "NaN" => return Some(bytes(NAN, 0)),
        "Infinity" => return Some(bytes(INFINITY, 0)),
        "-Infinity" => return Some(bytes(SIGN | INFINITY, 0)),
        _ => {}
    }
    let digits = Digits::parse(text)?;
    let mut exponent = digits.exponent - digits.fraction.len() as i64;
    let significant = digits.all().skip_while(|digit| *digit == b'0');
    let count = significant.clone().count();
    // Zeros at the end of a whole number may go into the exponent: reading brings them back. Those of a fraction are its scale.
    let whole = digits.fraction.is_empty();
    let zeros = digits.all().rev().take_while(|digit| *digit == b'0').count();
    let cut = if whole && count > DIGITS_MAX { (count - DIGITS_MAX).min(zeros) } else { 0 };
    if count - cut > DIGITS_MAX {
        return None;
    }
    exponent += cut as i64;
    let mut coefficient =
        significant.take(count - cut).fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let mut used = count - cut;
    while exponent > EXPONENT_MAX && used < DIGITS_MAX && coefficient != 0 {
        coefficient *= 10;
        exponent -= 1;
        used += 1;
    }
    let good = (EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent);
    good.then(|| pack(digits.negative, coefficient, exponent))
}

/// A whole number.
pub(crate) fn encode_whole(number: u64) -> [u8; 16] {
    pack(false, u128::from(number), 0)
}

fn pack(negative: bool, coefficient: u128, exponent: i64) -> [u8; 16] {
    let biased = (exponent - EXPONENT_MIN) as u64;
    let sign = if negative { SIGN } else { 0 };
    bytes(sign | biased << EXPONENT_SHIFT | (coefficient >> 64) as u64, coefficient as u64)
}

fn bytes(high: u64, low: u64) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

/// What a Decimal128 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decimal {
    Nan,
    Infinity { negative: bool },
    Number { negative: bool, coefficient: u128, exponent: i64 },
}

/// Reads the bytes of a Decimal128.
pub(crate) fn decode(bytes: [u8; 16]) -> Decimal {
    let bits = u128::from_le_bytes(bytes);
    let high = (bits >> 64) as u64;
    let negative = high & SIGN != 0;
    if high & NAN == NAN {
        return Decimal::Nan;
    }
    if high & INFINITY == INFINITY {
        return Decimal::Infinity { negative };
    }
    if high >> 61 & 3 == 3 {
        // A significand that begins beyond 34 digits counts as zero.
        let exponent = (high >> 47 & 0x3fff) as i64 + EXPONENT_MIN;
        return Decimal::Number { negative, coefficient: 0, exponent };
    }
    let exponent = (high >> EXPONENT_SHIFT & 0x3fff) as i64 + EXPONENT_MIN;
    let coefficient = bits & ((1 << (64 + EXPONENT_SHIFT)) - 1);
    let coefficient = if coefficient < 10u128.pow(DIGITS_MAX as u32) { coefficient } else { 0 };
    Decimal::Number { negative, coefficient, exponent }
}

impl std::fmt::Display for Decimal {
    /// Plain digits, as SQL writes them: `-12.340`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (negative, coefficient, exponent) = match *self {
            Decimal::Nan => return f.write_str("NaN"),
            Decimal::Infinity { negative: false } => return f.write_str("Infinity"),
            Decimal::Infinity { negative: true } => return f.write_str("-Infinity"),
            Decimal::Number { negative, coefficient, exponent } => (negative, coefficient, exponent),
        };
        if negative {
            f.write_str("-")?;
        }
        let digits = coefficient.to_string();
        if exponent >= 0 {
            f.write_str(&digits)?;
            let zeros = if coefficient == 0 { 0 } else { exponent as usize };
            return write!(f, "{:0<zeros$}", "");
        }
        let scale = exponent.unsigned_abs() as usize;
        match digits.len().checked_sub(scale) {
            Some(point) if point > 0 => write!(f, "{}.{}", &digits[..point], &digits[point..]),
            _ => write!(f, "0.{digits:0>scale$}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(text: &str) -> Option<String> {
        encode(text).map(|bytes| decode(bytes).to_string())
    }

    #[test]
    fn digits_come_back_as_they_were() {
        for text in [
            "0",
            "1",
            "-1",
            "1.00",
            "0.00",
            "-0.5",
            "12345678901234567890.12345678901234",
            "NaN",
            "Infinity",
            "-Infinity",
            "0.000000000000000000000000000000000001",
            "9999999999999999999999999999999999",
            "18446744073709551615",
            "-0",
        ] {
            assert_eq!(round_trip(text).as_deref(), Some(text));
        }
        let long = format!("12{}", "0".repeat(60));
        assert_eq!(round_trip(&long), Some(long));
        assert_eq!(round_trip("0012.50").as_deref(), Some("12.50"));
        assert_eq!(round_trip("1.5e3").as_deref(), Some("1500"));
        assert_eq!(round_trip("1E-3").as_deref(), Some("0.001"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let digits35 = "12345678901234567890123456789012345";
        let scaled = format!("1.{}", "0".repeat(40));
        for text in
            [digits35, &format!("0.{digits35}"), &scaled, "1e7000", "1e-7000", "1e99999999999999999999"]
        {
            assert_eq!(round_trip(text), None, "{text}");
        }
        for text in ["", "-", ".", "1e", "e5", "1.2.3", "abc", "1_000", "0x1", "Inf", " 1"] {
            assert_eq!(encode(text), None, "{text}");
        }
    }

    #[test]
    fn the_bytes_are_the_driver_s() {
        for text in
            ["1.00", "-12.340", "9999999999999999999999999999999999", "0.001", "NaN", "-Infinity", "1E+6111"]
        {
            let theirs: mongodb::bson::Decimal128 = text.parse().unwrap();
            assert_eq!(encode(text), Some(theirs.bytes()), "{text}");
        }
    }

    #[test]
    fn the_same_number_however_written() {
        let same = |a: &str, b: &str| Digits::parse(a).unwrap().same_number(&Digits::parse(b).unwrap());
        for (a, b) in [("1", "1.0"), ("100", "1e2"), ("0.10", "1e-1"), ("0", "0.000e9"), ("-2.50", "-25e-1")]
        {
            assert!(same(a, b) && same(b, a), "{a} {b}");
        }
        for (a, b) in [("1", "10"), ("0.1", "0.01"), ("0", "-0"), ("1", "-1"), ("12", "21"), ("0", "1")] {
            assert!(!same(a, b) && !same(b, a), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn every_decimal_of_34_digits_round_trips(text in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,16})?") {
            prop_assert_eq!(round_trip(&text), Some(text));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = encode(&text);
        }
    }
}
