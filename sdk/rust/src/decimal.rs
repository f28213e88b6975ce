//! Exact decimal numbers, as text.

use std::cmp::Ordering;
use std::fmt;

/// A decimal number as its digits: `-12.340`, or `NaN`, `Infinity`, `-Infinity`. Never rounded, because never computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal<'a>(pub &'a str);

/// A finite decimal taken apart: the number is `0.DIGITS * 10^point`, without zeros at either end of the digits.
struct Parts {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

impl<'a> Decimal<'a> {
    /// Reads `[+-]digits[.digits][e[+-]digits]`, `NaN`, `Infinity`, `-Infinity`, and nothing else: no spaces, no `_`, no `1.`.
    pub fn parse(text: &'a str) -> Option<Decimal<'a>> {
        let special = matches!(text, "NaN" | "Infinity" | "-Infinity");
        (special || Decimal(text).parts().is_some()).then_some(Decimal(text))
    }

    /// Whether it is neither NaN nor an infinity.
    pub fn is_finite(self) -> bool {
        self.parts().is_some()
    }

    /// The integer, if it is one: `3.00` is 3, `3.5` is none.
    pub fn to_i128(self) -> Option<i128> {
        let parts = self.parts()?;
        if parts.digits.is_empty() {
            return Some(0);
        }
        let zeros = parts.point.checked_sub(parts.digits.len() as i64)?;
        if !(0..=38).contains(&zeros) {
            return None;
        }
        let mut number = 0i128;
        for digit in parts.digits.iter().copied().chain(std::iter::repeat_n(0, zeros as usize)) {
            number = number.checked_mul(10)?.checked_add(digit.into())?;
        }
        Some(if parts.negative { -number } else { number })
    }

    /// Which is greater. As PostgreSQL orders them: NaN equals itself and is above everything.
    pub fn compare(self, other: Decimal<'_>) -> Ordering {
        let rank = |number: Decimal<'_>| match number.0 {
            "-Infinity" => -1,
            "Infinity" => 1,
            "NaN" => 2,
            _ => 0,
        };
        match (self.parts(), other.parts()) {
            (Some(a), Some(b)) => a.compare(&b),
            _ => rank(self).cmp(&rank(other)),
        }
    }

    fn parts(self) -> Option<Parts> {
        let (negative, rest) = match self.0.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
            Some(at) if at + 1 < mantissa.len() => (&mantissa[..at], &mantissa[at + 1..]),
            Some(_) => return None,
            None => (mantissa, &[][..]),
        };
        if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
            return None;
        }
        let mut digits: Vec<u8> = whole.iter().chain(fraction).map(|byte| byte - b'0').collect();
        let mut point = whole.len() as i64 + exponent;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let zeros = digits.iter().take_while(|&&digit| digit == 0).count();
        digits.drain(..zeros);
        point -= zeros as i64;
        Some(Parts { negative: negative && !digits.is_empty(), digits, point })
    }
}

/// An exponent of at most six digits: nothing that a database holds has more.
fn exponent(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl Parts {
    fn compare(&self, other: &Parts) -> Ordering {
        match (self.sign(), other.sign()) {
            (a, b) if a != b => a.cmp(&b),
            (1, _) => self.magnitude(other),
            (-1, _) => other.magnitude(self),
            _ => Ordering::Equal,
        }
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn magnitude(&self, other: &Parts) -> Ordering {
        self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits))
    }
}

impl fmt::Display for Decimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_numbers() {
        for text in ["0", "-1", "+1.50", "1e5", "1.5E-3", "NaN", "Infinity", "-Infinity", "007"] {
            assert!(Decimal::parse(text).is_some(), "{text}");
        }
        for text in
            ["", " 1", "1 ", "1_0", ".5", "1.", "1e", "1e+", "0x10", "１", "--1", "inf", "1.2.3", "1e9999999"]
        {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn order_is_that_of_the_numbers() {
        let ascending = [
            "-Infinity",
            "-1e10",
            "-10.5",
            "-10.49",
            "-0.001",
            "0",
            "0.0009",
            "0.001",
            "9.99",
            "10",
            "10.01",
            "1e3",
            "Infinity",
            "NaN",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(Decimal(a).compare(Decimal(b)), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [("1.0", "1.00"), ("-0", "0.0"), ("1e2", "100"), ("007", "7")] {
            assert_eq!(Decimal(a).compare(Decimal(b)), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn an_integer_is_only_what_has_no_fraction() {
        for (text, number) in [
            ("3.00", Some(3)),
            ("-3", Some(-3)),
            ("3.7", None),
            ("1e3", Some(1000)),
            ("1e-3", None),
            ("0.000", Some(0)),
            ("NaN", None),
            ("9223372036854775808", Some(9223372036854775808)),
            ("1e300", None),
        ] {
            assert_eq!(Decimal(text).to_i128(), number, "{text}");
        }
    }
}
