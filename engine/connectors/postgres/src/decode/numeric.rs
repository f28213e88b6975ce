//! Numerics: from base 10000 to the digits that the server itself would write.

use bytes::BufMut;
use sluice_types::{Result, Text, Value};

use super::{Arena, fixed, malformed};

const HEADER: usize = 8;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;

/// The most digits after the point that a server keeps.
const SCALE_MAX: u16 = 0x3fff;

/// Reads the binary form.
pub(super) fn binary(bytes: &[u8], arena: &mut Arena) -> Result<Value> {
    if bytes.len() < HEADER {
        return Err(malformed("a numeric that is too short"));
    }
    let field = |at: usize| Ok::<_, sluice_types::Error>(u16::from_be_bytes(fixed(&bytes[at..at + 2])?));
    let (count, weight, sign, scale) = (field(0)?, field(2)? as i16, field(4)?, field(6)?);
    match sign {
        0 | NEGATIVE => {}
        NAN => return Ok(Value::Decimal(Text::from_static("NaN"))),
        INFINITY => return Ok(Value::Decimal(Text::from_static("Infinity"))),
        MINUS_INFINITY => return Ok(Value::Decimal(Text::from_static("-Infinity"))),
        _ => return Err(malformed("a numeric of an unknown sign")),
    }
    let digits = &bytes[HEADER..];
    if digits.len() != usize::from(count) * 2 || scale > SCALE_MAX {
        return Err(malformed("a numeric whose digits don't add up"));
    }
    let group = |index: i32| -> u16 {
        let at = usize::try_from(index).ok().map(|index| index * 2);
        at.and_then(|at| digits.get(at..at + 2)).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
    };
    if (0..i32::from(count)).any(|index| group(index) > 9999) {
        return Err(malformed("a numeric with a digit that is none"));
    }
    let weight = i32::from(weight);
    let whole = 4 * (weight.max(0) as usize + 1);
    let room = arena.room(whole + usize::from(scale) + 8);
    if sign == NEGATIVE {
        room.put_u8(b'-');
    }
    if weight < 0 {
        room.put_u8(b'0');
    } else {
        put_first(room, group(0));
        (1..=weight).for_each(|index| room.put_slice(&four(group(index))));
    }
    if scale > 0 {
        room.put_u8(b'.');
        let (mut left, mut index) = (usize::from(scale), weight + 1);
        while left > 0 {
            let group = four(group(index));
            let part = left.min(4);
            room.put_slice(&group[..part]);
            (left, index) = (left - part, index + 1);
        }
    }
    Ok(Value::Decimal(arena.text()))
}

fn four(group: u16) -> [u8; 4] {
    let digit = |divisor: u16| b'0' + (group / divisor % 10) as u8;
    [digit(1000), digit(100), digit(10), digit(1)]
}

/// The first group, without leading zeros.
fn put_first(room: &mut bytes::BytesMut, group: u16) {
    let digits = four(group);
    let zeros = digits.iter().take(3).take_while(|digit| **digit == b'0').count();
    room.put_slice(&digits[zeros..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let header = [digits.len() as u16, weight as u16, sign, scale];
        header.iter().chain(digits).flat_map(|part| part.to_be_bytes()).collect()
    }

    #[test]
    fn digits_are_as_the_server_writes_them() {
        for (bytes, expected) in [
            (numeric(0, 0, 0, &[]), "0"),
            (numeric(0, 0, 2, &[]), "0.00"),
            (numeric(0, NEGATIVE, 3, &[12, 3400]), "-12.340"),
            (numeric(-1, 0, 5, &[1]), "0.00010"),
            (numeric(-2, 0, 8, &[1]), "0.00000001"),
            (numeric(2, 0, 0, &[1]), "100000000"),
            (numeric(1, 0, 4, &[1, 0, 5000]), "10000.5000"),
            (numeric(0, NAN, 0, &[]), "NaN"),
            (numeric(0, MINUS_INFINITY, 0x20, &[]), "-Infinity"),
        ] {
            let value = binary(&bytes, &mut Arena::default()).unwrap();
            assert_eq!(value, Value::Decimal(expected.into()));
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [
            numeric(0, 0x1234, 0, &[]),
            numeric(0, 0, 0x4000, &[]),
            numeric(0, 0, 0, &[10_000]),
            b"\0\x01\0\0\0\0\0\0".to_vec(),
        ] {
            assert!(binary(&bytes, &mut Arena::default()).is_err(), "{bytes:?}");
        }
    }
}
