//! Values as a plugin meets them.

use crate::decimal::Decimal;
use crate::raw::{Column, ColumnData, ColumnType, Strings};

/// What an image is. Numbers as in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A row as it was read by the first copy.
    Snapshot = 0,
    /// A new row.
    Insert = 1,
    /// A changed row as it was. Directly precedes its `After`; may hold the key alone.
    Before = 2,
    /// A changed row as it is now.
    After = 3,
    /// A row that is gone, as it was; may hold the key alone.
    Delete = 4,
}

impl Kind {
    pub(crate) fn of(code: u8) -> Kind {
        match code {
            0 => Kind::Snapshot,
            1 => Kind::Insert,
            2 => Kind::Before,
            4 => Kind::Delete,
            _ => Kind::After,
        }
    }
}

/// Whether there is a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// There is.
    Value = 0,
    /// It is null.
    Null = 1,
    /// The log did not carry it. **Not** null: the target keeps what it has.
    Absent = 2,
}

/// One value, of whatever type its column has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The log did not carry it. **Not** null.
    Absent,
    /// Null.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A float32 (widened) or float64.
    Float(f64),
    /// Exact digits.
    Decimal(Decimal<'a>),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Days since 1970-01-01; `i32::MIN` and `i32::MAX` are the infinities.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01 on a clock without a zone; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 UTC; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamptz(i64),
    /// An interval's text.
    Interval(&'a str),
    /// A UUID.
    Uuid([u8; 16]),
    /// JSON, its text as it was.
    Json(&'a str),
    /// An array's text.
    Array(&'a str),
    /// A document's text.
    Document(&'a str),
    /// A MongoDB ObjectId.
    ObjectId(&'a [u8]),
    /// The label of an enumerated type.
    Enumeration(&'a str),
    /// Text of a type that sluice has no model of.
    Extended(&'a str),
}

impl Value<'_> {
    /// Whether there is a value, a null, or nothing.
    pub fn state(&self) -> State {
        match self {
            Value::Absent => State::Absent,
            Value::Null => State::Null,
            _ => State::Value,
        }
    }
}

pub(crate) fn state(column: &Column, row: usize) -> State {
    match column.state.get(row) {
        None | Some(0) => State::Value,
        Some(1) => State::Null,
        Some(_) => State::Absent,
    }
}

/// The value of a row. The host has checked what it sends, so a slice out of bounds is the SDK's mistake.
pub(crate) fn value(column: &Column, ty: ColumnType, row: usize) -> Value<'_> {
    match state(column, row) {
        State::Absent => return Value::Absent,
        State::Null => return Value::Null,
        State::Value => {}
    }
    match &column.data {
        ColumnData::Bools(all) => Value::Bool(all[row] != 0),
        ColumnData::Ints(all) if ty == ColumnType::Time => Value::Time(all[row]),
        ColumnData::Ints(all) => Value::Int(all[row]),
        ColumnData::Uints(all) => Value::Uint(all[row]),
        ColumnData::Floats(all) => Value::Float(all[row]),
        ColumnData::Days(all) => Value::Date(all[row]),
        ColumnData::Micros(all) if ty == ColumnType::Timestamp => Value::Timestamp(all[row]),
        ColumnData::Micros(all) => Value::Timestamptz(all[row]),
        ColumnData::Strings(all) => {
            let text = text(all, row);
            match ty {
                ColumnType::Decimal => Value::Decimal(Decimal(text)),
                ColumnType::Interval => Value::Interval(text),
                ColumnType::Json => Value::Json(text),
                ColumnType::Array => Value::Array(text),
                ColumnType::Document => Value::Document(text),
                ColumnType::Enumeration => Value::Enumeration(text),
                ColumnType::Extended => Value::Extended(text),
                _ => Value::Text(text),
            }
        }
        ColumnData::Blobs(all) => {
            let bytes = &all.data[all.offsets[row] as usize..all.offsets[row + 1] as usize];
            if ty == ColumnType::ObjectId { Value::ObjectId(bytes) } else { Value::Bytes(bytes) }
        }
        ColumnData::Uuids(all) => {
            let mut uuid = [0; 16];
            uuid.copy_from_slice(&all[row * 16..row * 16 + 16]);
            Value::Uuid(uuid)
        }
    }
}

#[inline]
pub(crate) fn text(all: &Strings, row: usize) -> &str {
    &all.data[all.offsets[row] as usize..all.offsets[row + 1] as usize]
}

/// Byte offsets for text that came joined by U+0000 (only if the plan asked for it).
pub(crate) fn with_offsets(column: &mut Column, rows: usize) {
    if let ColumnData::Strings(all) = &mut column.data
        && all.offsets.is_empty()
    {
        let joined = std::mem::take(&mut all.data);
        all.offsets.push(0);
        if rows > 0 {
            for part in joined.split('\0') {
                all.data.push_str(part);
                all.offsets.push(all.data.len() as u32);
            }
        }
    }
}

/// A column of that type without rows.
pub(crate) fn empty(ty: ColumnType) -> ColumnData {
    use crate::raw::Blobs;
    match ty {
        ColumnType::Boolean => ColumnData::Bools(Vec::new()),
        ColumnType::Int64 | ColumnType::Time => ColumnData::Ints(Vec::new()),
        ColumnType::Uint64 => ColumnData::Uints(Vec::new()),
        ColumnType::Float32 | ColumnType::Float64 => ColumnData::Floats(Vec::new()),
        ColumnType::Date => ColumnData::Days(Vec::new()),
        ColumnType::Timestamp | ColumnType::Timestamptz => ColumnData::Micros(Vec::new()),
        ColumnType::Bytes | ColumnType::ObjectId => {
            ColumnData::Blobs(Blobs { offsets: vec![0], data: Vec::new() })
        }
        ColumnType::Uuid => ColumnData::Uuids(Vec::new()),
        ColumnType::Text
        | ColumnType::Decimal
        | ColumnType::Interval
        | ColumnType::Json
        | ColumnType::Array
        | ColumnType::Document
        | ColumnType::Enumeration
        | ColumnType::Extended => ColumnData::Strings(Strings { offsets: vec![0], data: String::new() }),
    }
}

/// The contract's word for a type.
pub(crate) fn type_name(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Boolean => "boolean",
        ColumnType::Int64 => "int64",
        ColumnType::Uint64 => "uint64",
        ColumnType::Float32 => "float32",
        ColumnType::Float64 => "float64",
        ColumnType::Decimal => "decimal",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytes",
        ColumnType::Date => "date",
        ColumnType::Time => "time",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Timestamptz => "timestamptz",
        ColumnType::Interval => "interval",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "json",
        ColumnType::Array => "array",
        ColumnType::Document => "document",
        ColumnType::ObjectId => "object-id",
        ColumnType::Enumeration => "enumeration",
        ColumnType::Extended => "extended",
    }
}

impl ColumnType {
    /// The contract's word for it: `int64`, `timestamptz`.
    pub fn word(self) -> &'static str {
        type_name(self)
    }
}
