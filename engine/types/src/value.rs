//! The lossless value model and the row.
//!
//! Every connector decodes into [`Value`] and encodes from it; `VALUES.md` of a connector says which native type becomes which
//! variant. A value never changes in silence on the way (I7).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// UTF-8 text that may be a slice of a shared buffer. Cloning copies no text.
pub type Text = bytestring::ByteString;

/// One value of one column, exactly as the source held it.
///
/// Equality is identity of content: floats compare by their bits, so `NaN` equals itself and `-0.0` differs from `0.0`;
/// decimals compare by their digits (`1.0` is not `1.00`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// The log did not carry this value (unchanged TOAST, partial image). **Not** null: a sink leaves the column as it is.
    Absent,
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer of up to 64 bits.
    Int64(i64),
    /// An unsigned integer of up to 64 bits.
    Uint64(u64),
    /// An IEEE 754 binary32 number.
    Float32(#[serde(with = "float32")] f32),
    /// An IEEE 754 binary64 number.
    Float64(#[serde(with = "float64")] f64),
    /// Exact digits as the source wrote them (`-12.340`), or `NaN`, `Infinity`, `-Infinity`.
    Decimal(Text),
    /// Text.
    Text(Text),
    /// Raw bytes.
    Bytes(#[serde(with = "hex_bytes")] Bytes),
    /// Days since 1970-01-01; `i32::MIN` and `i32::MAX` are -infinity and infinity.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00:00 on a clock without a zone; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00:00 UTC; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamptz(i64),
    /// Months, days and microseconds, which don't convert into each other.
    Interval(Interval),
    /// A UUID, most significant byte first.
    Uuid(#[serde(with = "hex::serde")] [u8; 16]),
    /// JSON with its text kept as it was (key order, spacing, number spelling).
    Json(Text),
    /// An array, of any number of dimensions.
    Array(Arc<Array>),
    /// An ordered document.
    Document(Arc<Document>),
    /// A MongoDB ObjectId.
    ObjectId(#[serde(with = "hex::serde")] [u8; 12]),
    /// The label of an enumerated type.
    Enum(Text),
    /// What has no canonical type, as its source's type name and text, so that the same kind of database gets it back.
    Extended(Arc<Extended>),
}

/// A span of time as PostgreSQL keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

/// The elements of an array in row-major order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Array {
    /// Length and lower bound of every dimension; empty for an empty array.
    pub dimensions: Vec<(u32, i32)>,
    /// The elements, as many as the product of the lengths.
    pub items: Vec<Value>,
}

/// Fields in the order in which they were stored; a name may come twice, as in BSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Document(pub Vec<(Text, Value)>);

/// A value of a type that sluice has no model of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extended {
    /// `kind:type`, for example `postgres:int4range` or `sqlite:text` (invalid UTF-8, in hexadecimal digits).
    pub type_name: Text,
    /// The source's own text for it.
    pub text: Text,
}

impl Value {
    /// Whether the log carried a value or a null here.
    pub fn is_present(&self) -> bool {
        !matches!(self, Value::Absent)
    }

    /// The memory that this value holds beyond its own 40 bytes, in bytes; what limits are counted in. An estimate: a shared
    /// buffer counts for everyone who shares it.
    pub fn weight(&self) -> usize {
        match self {
            Value::Decimal(text) | Value::Text(text) | Value::Json(text) | Value::Enum(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Array(array) => array.items.iter().map(|item| 40 + item.weight()).sum(),
            Value::Document(document) => {
                document.0.iter().map(|(name, value)| 40 + name.len() + value.weight()).sum()
            }
            Value::Extended(extended) => extended.type_name.len() + extended.text.len(),
            _ => 0,
        }
    }

    /// The same value in memory of its own, which shares no buffer.
    pub fn detached(self) -> Value {
        match self {
            Value::Decimal(text) => Value::Decimal(own(&text)),
            Value::Text(text) => Value::Text(own(&text)),
            Value::Json(text) => Value::Json(own(&text)),
            Value::Enum(text) => Value::Enum(own(&text)),
            Value::Bytes(bytes) => Value::Bytes(Bytes::copy_from_slice(&bytes)),
            Value::Array(array) => {
                let items = array.items.iter().cloned().map(Value::detached).collect();
                Value::Array(Arc::new(Array { dimensions: array.dimensions.clone(), items }))
            }
            Value::Document(document) => {
                let field = |(name, value): &(Text, Value)| (own(name), value.clone().detached());
                Value::Document(Arc::new(Document(document.0.iter().map(field).collect())))
            }
            Value::Extended(extended) => Value::Extended(Arc::new(Extended {
                // Of the schema, which every value of the column shares.
                type_name: extended.type_name.clone(),
                text: own(&extended.text),
            })),
            other => other,
        }
    }

    /// The kebab-case name of the variant, for messages (never the value itself).
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Absent => "absent",
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int64(_) => "int64",
            Value::Uint64(_) => "uint64",
            Value::Float32(_) => "float32",
            Value::Float64(_) => "float64",
            Value::Decimal(_) => "decimal",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Date(_) => "date",
            Value::Time(_) => "time",
            Value::Timestamp(_) => "timestamp",
            Value::Timestamptz(_) => "timestamptz",
            Value::Interval(_) => "interval",
            Value::Uuid(_) => "uuid",
            Value::Json(_) => "json",
            Value::Array(_) => "array",
            Value::Document(_) => "document",
            Value::ObjectId(_) => "object-id",
            Value::Enum(_) => "enumeration",
            Value::Extended(_) => "extended",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(Text::from(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int64(number)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        use Value::*;
        match (self, other) {
            (Absent, Absent) | (Null, Null) => true,
            (Bool(a), Bool(b)) => a == b,
            (Int64(a), Int64(b))
            | (Time(a), Time(b))
            | (Timestamp(a), Timestamp(b))
            | (Timestamptz(a), Timestamptz(b)) => a == b,
            (Uint64(a), Uint64(b)) => a == b,
            (Float32(a), Float32(b)) => a.to_bits() == b.to_bits(),
            (Float64(a), Float64(b)) => a.to_bits() == b.to_bits(),
            (Decimal(a), Decimal(b)) | (Text(a), Text(b)) | (Json(a), Json(b)) | (Enum(a), Enum(b)) => a == b,
            (Bytes(a), Bytes(b)) => a == b,
            (Date(a), Date(b)) => a == b,
            (Interval(a), Interval(b)) => a == b,
            (Uuid(a), Uuid(b)) => a == b,
            (Array(a), Array(b)) => a == b,
            (Document(a), Document(b)) => a == b,
            (ObjectId(a), ObjectId(b)) => a == b,
            (Extended(a), Extended(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        use Value::*;
        std::mem::discriminant(self).hash(state);
        match self {
            Absent | Null => {}
            Bool(v) => v.hash(state),
            Int64(v) | Time(v) | Timestamp(v) | Timestamptz(v) => v.hash(state),
            Uint64(v) => v.hash(state),
            Float32(v) => v.to_bits().hash(state),
            Float64(v) => v.to_bits().hash(state),
            Decimal(v) | Text(v) | Json(v) | Enum(v) => v.hash(state),
            Bytes(v) => v.hash(state),
            Date(v) => v.hash(state),
            Interval(v) => v.hash(state),
            Uuid(v) => v.hash(state),
            Array(v) => v.hash(state),
            Document(v) => v.hash(state),
            ObjectId(v) => v.hash(state),
            Extended(v) => v.hash(state),
        }
    }
}

/// The values of one row image, addressed by slot (see [`crate::Column::slot`]).
///
/// A row only ever grows: a transform that changes a column appends the new value and its output schema points to the new slot.
/// So renaming and dropping move nothing, and the image as it was read can always be had back (dead letters keep it).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Value>", into = "Vec<Value>")]
pub struct Row {
    values: Vec<Value>,
    /// Of the values, see [`Row::weight`]: every limit on the way asks for it.
    weight: usize,
}

impl Row {
    /// Room that decoders should leave for transforms, in values: a push beyond it costs a reallocation, nothing else.
    pub const SPARE: usize = 4;

    /// An empty row with room for `columns` values and [`Row::SPARE`] more.
    pub fn with_columns(columns: usize) -> Self {
        Row { values: Vec::with_capacity(columns + Row::SPARE), weight: 0 }
    }

    /// A row of these values, in slot order.
    pub fn new(values: Vec<Value>) -> Self {
        let weight = values.iter().map(Row::weight_of).sum();
        Row { values, weight }
    }

    /// Appends a value and says in which slot it stands.
    pub fn push(&mut self, value: Value) -> u32 {
        self.weight += Row::weight_of(&value);
        self.values.push(value);
        (self.values.len() - 1) as u32
    }

    /// The value in a slot; a slot that the row does not have is absent.
    pub fn get(&self, slot: u32) -> &Value {
        self.values.get(slot as usize).unwrap_or(&Value::Absent)
    }

    /// All values in slot order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Takes away every slot from `slots` on: the row as it was when it had that many.
    pub fn truncate(&mut self, slots: usize) {
        self.weight -= self.values.iter().skip(slots).map(Row::weight_of).sum::<usize>();
        self.values.truncate(slots);
    }

    /// Whether no value of the first `slots` slots is absent.
    pub fn is_complete(&self, slots: usize) -> bool {
        self.values.len() >= slots && self.values[..slots].iter().all(Value::is_present)
    }

    /// What this row holds in memory, in bytes; an estimate (see [`Value::weight`]). Known without a look at the values.
    pub fn weight(&self) -> usize {
        32 + self.weight
    }

    fn weight_of(value: &Value) -> usize {
        40 + value.weight()
    }
}

impl From<Vec<Value>> for Row {
    fn from(values: Vec<Value>) -> Self {
        Row::new(values)
    }
}

impl From<Row> for Vec<Value> {
    fn from(row: Row) -> Self {
        row.values
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.values).finish()
    }
}

/// Bytes as hexadecimal digits.
pub(crate) mod hex_bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let digits = String::deserialize(from)?;
        hex::decode(digits).map(Bytes::from).map_err(serde::de::Error::custom)
    }
}

/// Floats as the hexadecimal digits of their bits: JSON has neither NaN, nor infinities, nor a sign for zero.
macro_rules! float_bits {
    ($name:ident, $float:ty, $bits:ty) => {
        mod $name {
            use serde::{Deserialize, Deserializer, Serializer};

            pub fn serialize<S: Serializer>(number: &$float, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&format!("{:x}", number.to_bits()))
            }
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$float, D::Error> {
                let digits = String::deserialize(from)?;
                <$bits>::from_str_radix(&digits, 16)
                    .map(<$float>::from_bits)
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
float_bits!(float32, f32, u32);
float_bits!(float64, f64, u64);

fn own(text: &Text) -> Text {
    Text::from(&**text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_value_is_equal_and_holds_no_buffer() {
        let block = Bytes::from(vec![b'7'; 128 << 10]);
        let slice = || block.slice(5..9);
        let text = || Text::try_from(slice()).unwrap();
        let array = Array { dimensions: vec![(1, 1)], items: vec![Value::Text(text())] };
        let extended = Extended { type_name: "postgres:inet".into(), text: text() };
        let values = [
            Value::Decimal(text()),
            Value::Text(text()),
            Value::Json(text()),
            Value::Enum(text()),
            Value::Bytes(slice()),
            Value::Array(Arc::new(array)),
            Value::Document(Arc::new(Document(vec![(text(), Value::Bytes(slice()))]))),
            Value::Extended(Arc::new(extended)),
            Value::Int64(7),
        ];
        let own: Vec<Value> = values.iter().cloned().map(Value::detached).collect();
        assert_eq!(own, values);
        drop(values);
        assert!(block.is_unique(), "nobody else holds the block");
    }

    #[test]
    fn a_value_takes_forty_bytes() {
        assert_eq!(std::mem::size_of::<Value>(), 40);
    }

    #[test]
    fn serde_keeps_every_value() {
        let values = vec![
            Value::Absent,
            Value::Null,
            Value::Bool(true),
            Value::Int64(i64::MIN),
            Value::Uint64(u64::MAX),
            Value::Float32(-0.0),
            Value::Float64(f64::NAN),
            Value::Float64(f64::NEG_INFINITY),
            Value::Decimal("1.00".into()),
            Value::Text("a\0é".into()),
            Value::Bytes(Bytes::from_static(&[0, 255])),
            Value::Date(i32::MAX),
            Value::Interval(Interval { months: -1, days: 2, micros: 3 }),
            Value::Uuid([7; 16]),
            Value::Json("{ \"a\":1}".into()),
            Value::Array(Arc::new(Array { dimensions: vec![(1, 1)], items: vec![Value::Null] })),
            Value::Document(Arc::new(Document(vec![("a".into(), Value::Int64(1))]))),
            Value::ObjectId([1; 12]),
            Value::Enum("x".into()),
            Value::Extended(Arc::new(Extended { type_name: "postgres:inet".into(), text: "::1".into() })),
        ];
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Value>>(&text).unwrap(), values);
    }

    #[test]
    fn floats_are_compared_by_their_bits() {
        assert_eq!(Value::Float64(f64::NAN), Value::Float64(f64::NAN));
        assert_ne!(Value::Float64(0.0), Value::Float64(-0.0));
        assert_ne!(Value::Absent, Value::Null);
    }

    #[test]
    fn a_row_knows_its_weight() {
        let weighed = |row: &Row| 32 + row.values().iter().map(|value| 40 + value.weight()).sum::<usize>();
        let mut row = Row::with_columns(2);
        row.push(Value::Int64(1));
        row.push("twelve bytes".into());
        assert_eq!((row.weight(), row.clone()), (weighed(&row), Row::new(row.values().to_vec())));
        assert_eq!(Row::new(row.values().to_vec()).weight(), row.weight());
        row.truncate(1);
        assert_eq!(row.weight(), 72);
        row.truncate(3);
        assert_eq!(row.weight(), 72);
        let again: Row = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
        assert_eq!((again.weight(), again), (72, row));
    }

    #[test]
    fn a_row_gives_back_what_was_read() {
        let mut row = Row::new(vec![Value::Int64(1), "Ann".into()]);
        assert_eq!(row.push("ann".into()), 2);
        row.truncate(2);
        assert_eq!(row.values(), &[Value::Int64(1), "Ann".into()]);
        assert_eq!(row.get(9), &Value::Absent);
    }
}
