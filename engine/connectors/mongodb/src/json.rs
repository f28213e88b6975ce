//! JSON text as nested BSON and back, without a tree in between.
//!
//! A whole number of up to 64 bits becomes an int64. Any other number becomes a double if that is the number that was written (its
//! shortest digits say the same), else a Decimal128 if that can hold it, else it is refused (I7). Spelling is not kept: `1.50`
//! comes back as `1.5`.

use std::fmt::Write as _;

use crate::decimal::{self, Digits};
use crate::encode::{self, DEPTH_MAX, NUL_IN_NAME, close, open, push_index, text_with, ty};
use crate::values::{Out, Why};

const BROKEN: Why = "it is not valid JSON";

/// Writes the value that a JSON text says and answers with its BSON type.
pub(crate) fn write(out: &mut Vec<u8>, text: &str, depth: usize) -> Result<u8, Why> {
    let mut reader = Reader { text, at: 0, names: vec![] };
    let ty = reader.value(out, depth)?;
    reader.space();
    if reader.at == text.len() { Ok(ty) } else { Err(BROKEN) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Where the names of the open objects stand in the output, one object's behind the other's.
    names: Vec<(usize, usize)>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is no space, taken.
    fn take(&mut self) -> Result<u8, Why> {
        self.space();
        let byte = self.peek().ok_or(BROKEN)?;
        self.at += 1;
        Ok(byte)
    }

    fn word(&mut self, word: &str) -> Result<(), Why> {
        if !self.text[self.at..].starts_with(word) {
            return Err(BROKEN);
        }
        self.at += word.len();
        Ok(())
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<u8, Why> {
        self.space();
        match self.peek().ok_or(BROKEN)? {
            b'{' | b'[' if depth >= DEPTH_MAX => Err("it is nested deeper than MongoDB allows"),
            b'{' => self.object(out, depth + 1),
            b'[' => self.array(out, depth + 1),
            b'"' => {
                self.at += 1;
                text_with(out, |out| self.string(out))
            }
            b't' => self.word("true").map(|()| truth(out, true)),
            b'f' => self.word("false").map(|()| truth(out, false)),
            b'n' => self.word("null").map(|()| ty::NULL),
            b'-' | b'0'..=b'9' => self.number(out),
            _ => Err(BROKEN),
        }
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<u8, Why> {
        self.at += 1;
        let start = open(out);
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            for index in 0.. {
                let element = out.len();
                out.push(0);
                push_index(out, index);
                out[element] = self.value(out, depth)?;
                match self.take()? {
                    b',' => {}
                    b']' => break,
                    _ => return Err(BROKEN),
                }
            }
        }
        close(out, start);
        Ok(ty::ARRAY)
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<u8, Why> {
        self.at += 1;
        let start = open(out);
        let first = self.names.len();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                if self.take()? != b'"' {
                    return Err(BROKEN);
                }
                let element = out.len();
                out.push(0);
                self.string(out)?;
                if out[element + 1..].contains(&0) {
                    return Err(NUL_IN_NAME);
                }
                self.names.push((element + 1, out.len()));
                out.push(0);
                if self.take()? != b':' {
                    return Err(BROKEN);
                }
                out[element] = self.value(out, depth)?;
                match self.take()? {
                    b',' => {}
                    b'}' => break,
                    _ => return Err(BROKEN),
                }
            }
        }
        close(out, start);
        self.names_differ(out, first)?;
        self.names.truncate(first);
        Ok(ty::DOCUMENT)
    }

    /// Readers of BSON keep one of two fields of the same name, and not all the same one.
    fn names_differ(&mut self, out: &[u8], first: usize) -> Result<(), Why> {
        let names = &mut self.names[first..];
        let name = |at: &(usize, usize)| &out[at.0..at.1];
        names.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        let twice = names.windows(2).any(|pair| name(&pair[0]) == name(&pair[1]));
        if twice { Err("an object has two fields of the same name") } else { Ok(()) }
    }

    /// The text up to the closing quote, appended.
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Why> {
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).ok_or(BROKEN)?;
            out.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            match rest[plain] {
                b'"' => return Ok(()),
                b'\\' => self.escape(out)?,
                _ => return Err(BROKEN),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Why> {
        let escaped = self.peek().ok_or(BROKEN)?;
        self.at += 1;
        out.push(match escaped {
            b'"' | b'\\' | b'/' => escaped,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut unit = self.hex()?;
                if (0xd800..0xdc00).contains(&unit) {
                    self.word("\\u")?;
                    let low = self.hex()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(HALF);
                    }
                    unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                }
                let character = char::from_u32(unit).ok_or(HALF)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(BROKEN),
        });
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, Why> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(BROKEN)?;
        self.at += 4;
        let digit = |sum: u32, byte: &u8| Some(sum * 16 + char::from(*byte).to_digit(16)?);
        digits.iter().try_fold(0, digit).ok_or(BROKEN)
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Result<u8, Why> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let whole = self.digits();
        if whole == 0 || (whole > 1 && self.text.as_bytes()[self.at - whole] == b'0') {
            return Err(BROKEN);
        }
        let mut is_whole = true;
        if self.peek() == Some(b'.') {
            is_whole = false;
            self.at += 1;
            if self.digits() == 0 {
                return Err(BROKEN);
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_whole = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(BROKEN);
            }
        }
        number(out, &self.text[start..self.at], is_whole)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }
}

const HALF: Why = "its text has half of a surrogate pair, which is no text";

fn truth(out: &mut Vec<u8>, truth: bool) -> u8 {
    out.push(u8::from(truth));
    ty::BOOLEAN
}

fn number(out: &mut Vec<u8>, text: &str, is_whole: bool) -> Result<u8, Why> {
    if is_whole
        && text != "-0"
        && let Ok(number) = text.parse()
    {
        return Ok(encode::int64(out, number));
    }
    let float: f64 = text.parse().map_err(|_| BROKEN)?;
    if float.is_finite() && is_shortest(text, float) {
        return Ok(encode::double(out, float));
    }
    let bytes = decimal::encode(text).ok_or("it has a number with more digits than MongoDB can hold")?;
    out.extend_from_slice(&bytes);
    Ok(ty::DECIMAL128)
}

/// Whether the shortest digits that mean this double are the number in the text.
fn is_shortest(text: &str, float: f64) -> bool {
    let mut shortest = Vec::with_capacity(32);
    let written = write!(Out(&mut shortest), "{float:e}").is_ok();
    let shortest = std::str::from_utf8(&shortest).ok().and_then(Digits::parse);
    let wanted = Digits::parse(text);
    written && matches!((shortest, wanted), (Some(a), Some(b)) if a.same_number(&b))
}

#[cfg(test)]
mod tests;
