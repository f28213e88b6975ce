//! Binary forms of types that have no canonical type, spelled as the server's own output function spells them.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use sluice_types::value::Extended;
use sluice_types::{Result, Text, Value};

use super::{Arena, fixed, malformed, utf8};
use crate::codec::Spelling;

/// The text of a value, with its type's name.
pub(super) fn binary(spelling: Spelling, buffer: Bytes, arena: &mut Arena) -> Result<Value> {
    let text = match spelling {
        Spelling::Xml => utf8(buffer)?,
        Spelling::Jsonpath => match buffer.first() {
            Some(1) => utf8(buffer.slice(1..))?,
            _ => return Err(malformed("a jsonpath of an unknown version")),
        },
        _ => {
            let room = arena.room(64 + buffer.len() * 8);
            spell(spelling, &buffer, room)?;
            arena.text()
        }
    };
    Ok(Value::Extended(std::sync::Arc::new(Extended { type_name: Text::from_static(spelling.name()), text })))
}

fn spell(spelling: Spelling, bytes: &[u8], out: &mut BytesMut) -> Result<()> {
    let written = match spelling {
        Spelling::Inet | Spelling::Cidr => return network(bytes, out),
        Spelling::Macaddr => mac(&fixed::<6>(bytes)?, out),
        Spelling::Macaddr8 => mac(&fixed::<8>(bytes)?, out),
        Spelling::Money => money(i64::from_be_bytes(fixed(bytes)?), out),
        Spelling::Bit | Spelling::Varbit => return bits(bytes, out),
        Spelling::Timetz => return timetz(bytes, out),
        Spelling::Xid | Spelling::Cid => write!(out, "{}", u32::from_be_bytes(fixed(bytes)?)),
        Spelling::Xid8 => write!(out, "{}", u64::from_be_bytes(fixed(bytes)?)),
        Spelling::Xml | Spelling::Jsonpath => return Err(malformed("a text that is spelled")),
    };
    written.map_err(|_| no_room())
}

fn no_room() -> sluice_types::Error {
    malformed("a value too long to be spelled")
}

/// `10.0.0.1/8`: family, bits of the mask, whether it is a `cidr`, length, address.
fn network(bytes: &[u8], out: &mut BytesMut) -> Result<()> {
    const V4: u8 = 2;
    const V6: u8 = 3;
    let (&[family, mask, is_cidr, _], address) =
        bytes.split_first_chunk::<4>().ok_or_else(|| malformed("an address that is too short"))?;
    let (full, written) = match family {
        V4 => {
            let [a, b, c, d] = fixed::<4>(address)?;
            (32, write!(out, "{a}.{b}.{c}.{d}"))
        }
        V6 => (128, version_6(fixed(address)?, out)),
        _ => return Err(malformed("an address of an unknown family")),
    };
    let written = written.and_then(|()| match (is_cidr, mask == full) {
        (0, true) => Ok(()),
        _ => write!(out, "/{mask}"),
    });
    written.map_err(|_| no_room())
}

/// The longest run of two zeros or more is left out, the first of equals; what maps version 4 is told as that.
fn version_6(address: [u8; 16], out: &mut BytesMut) -> std::fmt::Result {
    let word = |index: usize| u16::from_be_bytes([address[2 * index], address[2 * index + 1]]);
    let (mut best, mut run) = (0..0, 0..0);
    for index in 0..8 {
        run = match word(index) {
            0 if run.end == index && !run.is_empty() => run.start..index + 1,
            0 => index..index + 1,
            _ => continue,
        };
        if run.len() > best.len() {
            best = run.clone();
        }
    }
    if best.len() < 2 {
        best = 8..8;
    }
    let maps = best.start == 0 && (best.len() == 6 || best.len() == 5 && word(5) == 0xffff);
    for index in 0..8 {
        if best.contains(&index) {
            if index == best.start {
                out.write_char(':')?;
            }
            continue;
        }
        if index > 0 {
            out.write_char(':')?;
        }
        if index == 6 && maps {
            let [.., a, b, c, d] = address;
            return write!(out, "{a}.{b}.{c}.{d}");
        }
        write!(out, "{:x}", word(index))?;
    }
    if best.end == 8 && !best.is_empty() { out.write_char(':') } else { Ok(()) }
}

fn mac(bytes: &[u8], out: &mut BytesMut) -> std::fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        write!(out, "{colon}{byte:02x}")?;
    }
    Ok(())
}

/// As `lc_monetary = 'C'` has it: `-$1,234.50`.
fn money(cents: i64, out: &mut BytesMut) -> std::fmt::Result {
    let whole = (cents.unsigned_abs() / 100).to_string();
    out.write_str(if cents < 0 { "-$" } else { "$" })?;
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.write_char(',')?;
        }
        out.write_char(digit)?;
    }
    write!(out, ".{:02}", cents.unsigned_abs() % 100)
}

/// The number of bits, and the bits from the highest on.
fn bits(bytes: &[u8], out: &mut BytesMut) -> Result<()> {
    let (count, bits) =
        bytes.split_first_chunk::<4>().ok_or_else(|| malformed("bits that are not counted"))?;
    let count = u32::from_be_bytes(*count) as usize;
    if count.div_ceil(8) != bits.len() {
        return Err(malformed("another number of bits than was told"));
    }
    let bit = |index: usize| bits[index / 8] >> (7 - index % 8) & 1;
    (0..count).try_for_each(|index| write!(out, "{}", bit(index))).map_err(|_| no_room())
}

/// Microseconds of the day, and the zone in seconds west of Greenwich.
fn timetz(bytes: &[u8], out: &mut BytesMut) -> Result<()> {
    let (micros, zone) =
        bytes.split_first_chunk::<8>().ok_or_else(|| malformed("a time that is too short"))?;
    let micros = i64::from_be_bytes(*micros);
    let west = i32::from_be_bytes(fixed(zone)?);
    if !(0..=86_400_000_000).contains(&micros) || west.unsigned_abs() >= 24 * 3600 {
        return Err(malformed("a time that no day has"));
    }
    let write = |out: &mut BytesMut| {
        let seconds = micros / 1_000_000;
        write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        match micros % 1_000_000 {
            0 => {}
            fraction => write!(out, ".{}", format!("{fraction:06}").trim_end_matches('0'))?,
        }
        let away = west.unsigned_abs();
        write!(out, "{}{:02}", if west > 0 { '-' } else { '+' }, away / 3600)?;
        if away % 3600 != 0 {
            write!(out, ":{:02}", away / 60 % 60)?;
        }
        if away % 60 != 0 { write!(out, ":{:02}", away % 60) } else { Ok(()) }
    };
    write(out).map_err(|_| no_room())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelled(spelling: Spelling, bytes: &[u8]) -> Result<String> {
        let mut arena = Arena::default();
        match binary(spelling, Bytes::copy_from_slice(bytes), &mut arena)? {
            Value::Extended(value) => Ok(value.text.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_written_as_the_server_does() {
        for text in [
            "::",
            "::1",
            "1::",
            "::1:0",
            "1::1",
            "1:0:0:2::3",
            "1::2:0:0:3:4",
            "::ffff:1.2.3.4",
            "::0.1.0.0",
            "1:2:3:4:5:6:7:8",
            "1:2:3:0:5:6:7:8",
        ] {
            // Only here are the last two words told in another way.
            let address: std::net::Ipv6Addr = text.parse().unwrap();
            let bytes = [&[3, 128, 0, 16][..], &address.octets()].concat();
            let expected = if text == "::1:0" { "::0.1.0.0" } else { text };
            assert_eq!(spelled(Spelling::Inet, &bytes).unwrap(), expected);
        }
        assert_eq!(spelled(Spelling::Cidr, &[2, 32, 1, 4, 10, 0, 0, 1]).unwrap(), "10.0.0.1/32");
        assert_eq!(spelled(Spelling::Inet, &[2, 8, 0, 4, 10, 0, 0, 1]).unwrap(), "10.0.0.1/8");
    }

    #[test]
    fn nonsense_is_an_error() {
        for spelling in Spelling::ALL {
            for bytes in
                [&b""[..], b"\xff", b"\x02\xff", b"\xff\xff\xff\xff\xff", &[0xff; 11], &[0xff; 12], &[9; 40]]
            {
                let plain_text = spelling == Spelling::Xml && (bytes.is_empty() || bytes[0] == 9);
                assert!(plain_text || spelled(spelling, bytes).is_err(), "{spelling:?} {bytes:?}");
            }
        }
        assert!(
            spelled(Spelling::Bit, &[0x7f, 0xff, 0xff, 0xff, 0]).is_err(),
            "nothing is made of a count alone"
        );
    }

    /// Values as a server sends them: `SELECT inet_send('10.0.0.1/8')` and its likes.
    const SENT: [(Spelling, &[u8]); 13] = [
        (Spelling::Inet, b"\x02\x08\0\x04\x0a\0\0\x01"),
        (Spelling::Cidr, b"\x03\x20\x01\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\0"),
        (Spelling::Macaddr, b"\x08\0\x2b\x01\x02\x03"),
        (Spelling::Macaddr8, b"\x08\0\x2b\x01\x02\x03\x04\x05"),
        (Spelling::Money, b"\0\0\0\0\0\0\x04\xd2"),
        (Spelling::Bit, b"\0\0\0\x05\xa8"),
        (Spelling::Varbit, b"\0\0\0\x0d\xaa\xa8"),
        (Spelling::Timetz, b"\0\0\0\x0a\x0e\xeb\xb0\0\xff\xff\xb2\xa8"),
        (Spelling::Xml, b"<a b=\"c\">d</a>"),
        (Spelling::Jsonpath, b"\x01$.\"a\""),
        (Spelling::Xid, b"\xff\xff\xff\xff"),
        (Spelling::Cid, b"\0\0\0\x01"),
        (Spelling::Xid8, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    ];

    #[test]
    fn what_a_server_sends_is_spelled() {
        let texts: Vec<String> = SENT.iter().map(|(of, bytes)| spelled(*of, bytes).unwrap()).collect();
        let expected = [
            "10.0.0.1/8",
            "2001:db8::/32",
            "08:00:2b:01:02:03",
            "08:00:2b:01:02:03:04:05",
            "$12.34",
            "10101",
            "1010101010101",
            "12:00:00+05:30",
            "<a b=\"c\">d</a>",
            "$.\"a\"",
            "4294967295",
            "1",
            "18446744073709551615",
        ];
        assert_eq!(texts, expected);
    }

    proptest! {
        #[test]
        fn mutated_values_harm_nobody(mutations in crate::relations::mutated::mutations()) {
            let mut sent: Vec<Vec<u8>> = SENT.iter().map(|(_, bytes)| bytes.to_vec()).collect();
            crate::relations::mutated::mutate(&mut sent, mutations);
            for (bytes, (spelling, _)) in sent.iter().zip(SENT) {
                if let Ok(text) = spelled(spelling, bytes) {
                    prop_assert!(text.len() <= 64 + 8 * bytes.len());
                }
            }
        }
    }
}
