//! Values as bytes, and back.

use sluice_sdk::crypto::nth;
use sluice_sdk::raw::{Blobs, Column, ColumnData, Strings};
use sluice_sdk::{ColumnType, Reject};

use crate::config::{Form, TYPES};

/// Makes a value's bytes the argument of `with`: numbers big-endian, text in UTF-8.
pub fn with_bytes<T>(column: &Column, row: usize, with: impl FnOnce(&[u8]) -> T) -> T {
    match &column.data {
        ColumnData::Bools(all) => with(&all[row..=row]),
        ColumnData::Ints(all) | ColumnData::Micros(all) => with(&all[row].to_be_bytes()),
        ColumnData::Uints(all) => with(&all[row].to_be_bytes()),
        ColumnData::Floats(all) => with(&all[row].to_be_bytes()),
        ColumnData::Days(all) => with(&all[row].to_be_bytes()),
        ColumnData::Strings(all) => with(text(all, row).as_bytes()),
        ColumnData::Blobs(all) => with(nth(all, row)),
        ColumnData::Uuids(all) => with(&all[row * 16..row * 16 + 16]),
    }
}

/// A value as hashes have it: numbers as decimal digits, uuids as usual, so that the same can be computed elsewhere.
pub fn with_text<T>(column: &Column, row: usize, with: impl FnOnce(&[u8]) -> T) -> T {
    match &column.data {
        ColumnData::Bools(all) => with(if all[row] == 1 { b"true" } else { b"false" }),
        ColumnData::Ints(all) => with(all[row].to_string().as_bytes()),
        ColumnData::Uints(all) => with(all[row].to_string().as_bytes()),
        ColumnData::Uuids(all) => with(uuid(&all[row * 16..row * 16 + 16]).as_bytes()),
        _ => with_bytes(column, row, with),
    }
}

/// The types whose text is the same everywhere.
pub const HASHED: [ColumnType; 8] = [
    ColumnType::Text,
    ColumnType::Boolean,
    ColumnType::Int64,
    ColumnType::Uint64,
    ColumnType::Decimal,
    ColumnType::Bytes,
    ColumnType::Uuid,
    ColumnType::Enumeration,
];

fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn text(all: &Strings, row: usize) -> &str {
    let end = |at: usize| all.offsets.get(at).map_or(0, |end| *end as usize);
    all.data.get(end(row)..end(row + 1)).unwrap_or_default()
}

/// The code of a type that is sealed with a value.
pub fn code(ty: ColumnType) -> u8 {
    TYPES.iter().position(|known| *known == ty).unwrap_or_default() as u8
}

/// A written column that grows by one value per row.
pub struct Grown {
    ty: ColumnType,
    data: ColumnData,
}

impl Grown {
    pub fn new(ty: ColumnType, rows: usize) -> Grown {
        let offsets = || {
            let mut offsets = Vec::with_capacity(rows + 1);
            offsets.push(0);
            offsets
        };
        use ColumnType::*;
        let data = match ty {
            Boolean => ColumnData::Bools(Vec::with_capacity(rows)),
            Int64 | Time => ColumnData::Ints(Vec::with_capacity(rows)),
            Uint64 => ColumnData::Uints(Vec::with_capacity(rows)),
            Float32 | Float64 => ColumnData::Floats(Vec::with_capacity(rows)),
            Date => ColumnData::Days(Vec::with_capacity(rows)),
            Timestamp | Timestamptz => ColumnData::Micros(Vec::with_capacity(rows)),
            Uuid => ColumnData::Uuids(Vec::with_capacity(rows * 16)),
            Bytes | ObjectId => ColumnData::Blobs(Blobs { offsets: offsets(), data: Vec::new() }),
            Text | Decimal | Interval | Json | Array | Document | Enumeration | Extended => {
                ColumnData::Strings(Strings { offsets: offsets(), data: String::new() })
            }
        };
        Grown { ty, data }
    }

    /// Adds what [`with_bytes`] made; `None` where these can't be the bytes of such a value.
    pub fn push(&mut self, bytes: &[u8]) -> Option<()> {
        match &mut self.data {
            ColumnData::Bools(all) => match bytes {
                [bit @ (0 | 1)] => all.push(*bit),
                _ => return None,
            },
            ColumnData::Ints(all) | ColumnData::Micros(all) => {
                all.push(i64::from_be_bytes(bytes.try_into().ok()?))
            }
            ColumnData::Uints(all) => all.push(u64::from_be_bytes(bytes.try_into().ok()?)),
            ColumnData::Floats(all) => all.push(f64::from_be_bytes(bytes.try_into().ok()?)),
            ColumnData::Days(all) => all.push(i32::from_be_bytes(bytes.try_into().ok()?)),
            ColumnData::Uuids(all) if bytes.len() == 16 => all.extend_from_slice(bytes),
            ColumnData::Uuids(_) => return None,
            ColumnData::Blobs(all) => {
                if self.ty == ColumnType::ObjectId && bytes.len() != 12 {
                    return None;
                }
                all.data.extend_from_slice(bytes);
                all.offsets.push(all.data.len() as u32);
            }
            ColumnData::Strings(all) => {
                all.data.push_str(std::str::from_utf8(bytes).ok()?);
                all.offsets.push(all.data.len() as u32);
            }
        }
        Some(())
    }

    /// Adds nothing, for a row without a value.
    pub fn skip(&mut self) {
        match &mut self.data {
            ColumnData::Bools(all) => all.push(0),
            ColumnData::Ints(all) | ColumnData::Micros(all) => all.push(0),
            ColumnData::Uints(all) => all.push(0),
            ColumnData::Floats(all) => all.push(0.0),
            ColumnData::Days(all) => all.push(0),
            ColumnData::Uuids(all) => all.extend_from_slice(&[0; 16]),
            ColumnData::Blobs(all) => all.offsets.push(all.data.len() as u32),
            ColumnData::Strings(all) => all.offsets.push(all.data.len() as u32),
        }
    }

    pub fn finish(self) -> ColumnData {
        self.data
    }
}

/// Bytes as they are written.
pub fn written(form: Form, bytes: &[u8], hash: bool, to: &mut Grown) -> Option<()> {
    use base64::Engine;
    match (form, hash) {
        (Form::Bytes, _) => to.push(bytes),
        (Form::Text, false) => to.push(base64::engine::general_purpose::STANDARD.encode(bytes).as_bytes()),
        (Form::Text, true) => {
            to.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().as_bytes())
        }
    }
}

/// Bytes as they were written before.
pub fn read(column: &Column, row: usize) -> Result<Vec<u8>, &'static str> {
    use base64::Engine;
    match &column.data {
        ColumnData::Blobs(all) => Ok(nth(all, row).to_vec()),
        ColumnData::Strings(all) => base64::engine::general_purpose::STANDARD
            .decode(text(all, row))
            .map_err(|_| "the value is no base64: it was not sealed"),
        _ => Err("the column holds no sealed values"),
    }
}

/// Why a sealed value is refused.
pub fn does_not_open(column: sluice_sdk::Col) -> Reject {
    column.reject("the value does not open: sealed by another key or for another place, or changed since")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(ty: ColumnType, values: &[&[u8]]) -> Column {
        let mut grown = Grown::new(ty, values.len());
        values.iter().for_each(|value| grown.push(value).unwrap());
        Column { index: 0, state: Vec::new(), data: grown.finish() }
    }

    #[test]
    fn every_type_comes_back_from_its_bytes() {
        let eight = 7i64.to_be_bytes();
        for ty in TYPES {
            let sample: &[u8] = match ty {
                ColumnType::Boolean => &[1],
                ColumnType::Date => &[0, 0, 0, 9],
                ColumnType::Uuid => &[5; 16],
                ColumnType::ObjectId => &[5; 12],
                ColumnType::Int64
                | ColumnType::Time
                | ColumnType::Uint64
                | ColumnType::Float32
                | ColumnType::Float64
                | ColumnType::Timestamp
                | ColumnType::Timestamptz => &eight,
                _ => "é€".as_bytes(),
            };
            let made = column(ty, &[sample, sample]);
            assert_eq!(with_bytes(&made, 1, <[u8]>::to_vec), sample, "{}", ty.word());
            // Bytes of another type, or cut off, are refused where that can be told.
            if !matches!(ty, ColumnType::Bytes) {
                assert!(Grown::new(ty, 1).push(&[0xff, 0xfe, 0xfd]).is_none(), "{}", ty.word());
            }
        }
    }

    #[test]
    fn hashes_are_of_the_usual_text() {
        let text = |column: &Column| with_text(column, 0, |bytes| String::from_utf8(bytes.to_vec()).unwrap());
        assert_eq!(text(&column(ColumnType::Int64, &[&(-5i64).to_be_bytes()])), "-5");
        assert_eq!(text(&column(ColumnType::Boolean, &[&[1]])), "true");
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(text(&column(ColumnType::Uuid, &[&bytes])), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
