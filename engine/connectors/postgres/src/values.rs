//! How a target's column takes values: by its type's binary form where sluice knows it, else by its text.

use sluice_types::ColumnType;

/// What the catalogue says of a column's type. A domain is told as what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypeInfo {
    /// The base type's OID.
    pub oid: u32,
    /// Length, precision and scale; -1: none.
    pub typmod: i32,
    /// `b` base, `e` enum, `c` composite, `r` range, `m` multirange ...
    pub typtype: char,
    /// The element's type, of an array.
    pub element: Option<Box<TypeInfo>>,
    /// What stands between its values in an array's text.
    pub delimiter: u8,
}

/// The form in which a type takes values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    /// Unsigned, 32 bits: oid. (xid and cid go by their text.)
    Oid,
    Float4,
    Float8,
    /// Precision and scale.
    Numeric(Option<(u16, i16)>),
    /// At most so many characters.
    Text(Option<u32>),
    /// Padded with blanks to so many characters, which don't count.
    Padded(Option<u32>),
    /// At most 63 bytes.
    Name,
    /// One byte.
    Char,
    Bytes,
    Date,
    /// What the fraction of a second must be a multiple of, in microseconds.
    Time(i64),
    Timestamp(i64),
    Timestamptz(i64),
    Interval(IntervalField),
    /// The same of a server that has no endless ones.
    FiniteInterval(IntervalField),
    Uuid,
    Json,
    Jsonb,
    Enum,
    Array(Box<Kind>, u32),
    /// By its text form, which a cast reads; in an array's, this stands between elements. Where a number is told: of digits behind
    /// a point the server keeps so many, and rounds.
    ByText(u8, Option<u8>),
}

/// The lowest field that an interval column keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntervalField {
    Year,
    Month,
    Day,
    /// Multiples of so many microseconds.
    Micros(i64),
}

/// The OIDs of built-in types, as `pg_type.dat` has them.
mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const CHAR: u32 = 18;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const JSON: u32 = 114;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const MONEY: u32 = 790;
    pub const NUMERIC: u32 = 1700;
    pub const TIMETZ: u32 = 1266;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}

/// `text`: what values that go by text are sent as.
pub(crate) const TEXT: u32 = oid::TEXT;

impl Kind {
    /// The form for a type.
    pub fn of(info: &TypeInfo) -> Kind {
        let typmod = (info.typmod >= 0).then_some(info.typmod);
        let chars = || typmod.map(|typmod| (typmod - 4).max(0) as u32);
        let fraction = || match typmod {
            Some(digits @ 0..=5) => 10i64.pow(6 - digits as u32),
            _ => 1,
        };
        match info.oid {
            oid::BOOL => Kind::Bool,
            oid::INT2 => Kind::Int2,
            oid::INT4 => Kind::Int4,
            oid::INT8 => Kind::Int8,
            oid::OID => Kind::Oid,
            oid::FLOAT4 => Kind::Float4,
            oid::FLOAT8 => Kind::Float8,
            oid::NUMERIC => Kind::Numeric(typmod.map(|typmod| {
                let bits = (typmod - 4) as u32;
                // The scale has eleven bits and a sign.
                (((bits >> 16) & 0xffff) as u16, (((bits & 0x7ff) ^ 1024) as i16) - 1024)
            })),
            oid::TEXT => Kind::Text(None),
            oid::VARCHAR => Kind::Text(chars()),
            oid::BPCHAR => Kind::Padded(chars()),
            oid::NAME => Kind::Name,
            oid::CHAR => Kind::Char,
            oid::BYTEA => Kind::Bytes,
            oid::DATE => Kind::Date,
            oid::TIME => Kind::Time(fraction()),
            oid::TIMESTAMP => Kind::Timestamp(fraction()),
            oid::TIMESTAMPTZ => Kind::Timestamptz(fraction()),
            oid::INTERVAL => Kind::Interval(typmod.map_or(IntervalField::Micros(1), interval_field)),
            oid::UUID => Kind::Uuid,
            oid::JSON => Kind::Json,
            oid::JSONB => Kind::Jsonb,
            oid::MONEY => Kind::ByText(b',', Some(2)), // in the locale that our sessions have
            oid::TIMETZ => Kind::ByText(b',', Some(typmod.map_or(6, |digits| digits.min(6) as u8))),
            _ => match (&info.element, info.typtype) {
                (Some(element), _) => match Kind::of(element) {
                    Kind::ByText(_, digits) => Kind::ByText(element.delimiter, digits),
                    kind => Kind::Array(Box::new(kind), element.oid),
                },
                (None, 'e') => Kind::Enum,
                _ => Kind::ByText(b',', None),
            },
        }
    }

    /// The same on a server before PostgreSQL 17.
    pub fn without_endless_intervals(self) -> Kind {
        match self {
            Kind::Interval(field) => Kind::FiniteInterval(field),
            Kind::Array(element, oid) => Kind::Array(Box::new(element.without_endless_intervals()), oid),
            other => other,
        }
    }

    /// Whether a source's column of this type can deliver values that fit. What a value makes of it is looked at with each.
    pub fn accepts(&self, ty: ColumnType) -> bool {
        use ColumnType as T;
        match self {
            // Extended values are told by their text, and a plugin's or dynamic source's text may be anything.
            Kind::ByText(..) => true,
            Kind::Bool => ty == T::Boolean,
            Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Oid => {
                matches!(ty, T::Int64 | T::Uint64 | T::Decimal)
            }
            Kind::Float4 | Kind::Float8 => matches!(ty, T::Float32 | T::Float64 | T::Int64 | T::Uint64),
            Kind::Numeric(_) => matches!(ty, T::Decimal | T::Int64 | T::Uint64),
            Kind::Text(_) | Kind::Padded(_) | Kind::Name => {
                matches!(
                    ty,
                    T::Text | T::Enumeration | T::Json | T::Decimal | T::Uuid | T::ObjectId | T::Extended
                )
            }
            Kind::Char => matches!(ty, T::Text | T::Extended),
            Kind::Bytes => matches!(ty, T::Bytes | T::ObjectId),
            Kind::Date => matches!(ty, T::Date | T::Extended),
            Kind::Time(_) => ty == T::Time,
            Kind::Timestamp(_) => matches!(ty, T::Timestamp | T::Extended),
            Kind::Timestamptz(_) => matches!(ty, T::Timestamptz | T::Extended),
            Kind::Interval(_) | Kind::FiniteInterval(_) => matches!(ty, T::Interval | T::Extended),
            Kind::Uuid => ty == T::Uuid,
            Kind::Json | Kind::Jsonb => ty == T::Json,
            Kind::Enum => matches!(ty, T::Enumeration | T::Text),
            Kind::Array(..) => ty == T::Array,
        }
    }

    /// Whether two values that are equal may look different: `1.0` and `1.00`, `a` and `a `, 0 and -0.
    pub fn shows_more_than_it_compares(&self) -> bool {
        matches!(self, Kind::Numeric(_) | Kind::Padded(_) | Kind::Float4 | Kind::Float8)
    }

    /// Whether values of this type are equal exactly when their key bytes are (see [`crate::encode::key`]).
    pub fn is_exact(&self) -> bool {
        !matches!(
            self,
            Kind::ByText(..)
                | Kind::Array(..)
                | Kind::Interval(_)
                | Kind::FiniteInterval(_)
                | Kind::Json
                | Kind::Jsonb
        )
    }
}

/// As `intervaltypmodout` reads it: fields in the upper half, digits in the lower.
fn interval_field(typmod: i32) -> IntervalField {
    const MONTH: i32 = 1 << 1;
    const YEAR: i32 = 1 << 2;
    const DAY: i32 = 1 << 3;
    const HOUR: i32 = 1 << 10;
    const MINUTE: i32 = 1 << 11;
    const SECOND: i32 = 1 << 12;
    let (fields, digits) = ((typmod >> 16) & 0x7fff, typmod & 0xffff);
    let fraction = if digits <= 5 { 10i64.pow(6 - digits as u32) } else { 1 };
    if fields & SECOND != 0 {
        IntervalField::Micros(fraction)
    } else if fields & MINUTE != 0 {
        IntervalField::Micros(60_000_000)
    } else if fields & HOUR != 0 {
        IntervalField::Micros(3_600_000_000)
    } else if fields & DAY != 0 {
        IntervalField::Day
    } else if fields & MONTH != 0 {
        IntervalField::Month
    } else if fields & YEAR != 0 {
        IntervalField::Year
    } else {
        IntervalField::Micros(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(oid: u32, typmod: i32) -> TypeInfo {
        TypeInfo { oid, typmod, typtype: 'b', element: None, delimiter: b',' }
    }

    #[test]
    fn modifiers_are_read_as_the_server_reads_them() {
        assert_eq!(Kind::of(&base(1700, ((10 << 16) | 2) + 4)), Kind::Numeric(Some((10, 2))));
        assert_eq!(Kind::of(&base(1700, ((5 << 16) | (-3i32 & 0x7ff)) + 4)), Kind::Numeric(Some((5, -3))));
        assert_eq!(Kind::of(&base(1043, 24)), Kind::Text(Some(20)));
        assert_eq!(Kind::of(&base(1114, 3)), Kind::Timestamp(1000));
        assert_eq!(Kind::of(&base(1184, -1)), Kind::Timestamptz(1));
        assert_eq!(Kind::of(&base(1186, (4 << 16) | 0xffff)), Kind::Interval(IntervalField::Year));
        assert_eq!(Kind::of(&base(869, -1)), Kind::ByText(b',', None));
        let ints = TypeInfo { element: Some(Box::new(base(23, -1))), ..base(1007, -1) };
        assert_eq!(Kind::of(&ints), Kind::Array(Box::new(Kind::Int4), 23));
        let inets = TypeInfo { element: Some(Box::new(base(869, -1))), ..base(1041, -1) };
        assert_eq!(Kind::of(&inets), Kind::ByText(b',', None));
    }
}
