//! How the values of a type are decoded, by what the catalogue says of it.

use std::collections::HashMap;

use sluice_types::{ColumnType, Text};

/// The OIDs of built-in types that have a canonical type of their own.
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
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}

/// How values of one type are decoded, from the binary form and from the text form, into the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Bool,
    Int2,
    Int4,
    Int8,
    /// An unsigned number of 32 bits.
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    /// The type `"char"`: one byte.
    Char,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Enum,
    Array(Box<ArrayCodec>),
    /// No canonical type, and a binary form that is spelled as the server's text.
    Spelled(Spelling),
    /// No canonical type: the server's own text, under this type name. Has no binary form here.
    Extended(Text),
}

/// Types without a canonical one whose binary form sluice can spell as the server would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    Inet,
    Cidr,
    Macaddr,
    Macaddr8,
    Money,
    Bit,
    Varbit,
    Timetz,
    Xml,
    Jsonpath,
    Xid,
    Cid,
    Xid8,
}

impl Spelling {
    /// All of them.
    pub const ALL: [Spelling; 13] = [
        Spelling::Inet,
        Spelling::Cidr,
        Spelling::Macaddr,
        Spelling::Macaddr8,
        Spelling::Money,
        Spelling::Bit,
        Spelling::Varbit,
        Spelling::Timetz,
        Spelling::Xml,
        Spelling::Jsonpath,
        Spelling::Xid,
        Spelling::Cid,
        Spelling::Xid8,
    ];

    /// The type's OID, as `pg_type.dat` has it, and the name that its values carry.
    const fn of_type(self) -> (u32, &'static str) {
        match self {
            Spelling::Inet => (869, "postgres:inet"),
            Spelling::Cidr => (650, "postgres:cidr"),
            Spelling::Macaddr => (829, "postgres:macaddr"),
            Spelling::Macaddr8 => (774, "postgres:macaddr8"),
            Spelling::Money => (790, "postgres:money"),
            Spelling::Bit => (1560, "postgres:bit"),
            Spelling::Varbit => (1562, "postgres:bit varying"),
            Spelling::Timetz => (1266, "postgres:time with time zone"),
            Spelling::Xml => (142, "postgres:xml"),
            Spelling::Jsonpath => (4072, "postgres:jsonpath"),
            Spelling::Xid => (28, "postgres:xid"),
            Spelling::Cid => (29, "postgres:cid"),
            Spelling::Xid8 => (5069, "postgres:xid8"),
        }
    }

    /// The type name that its values carry.
    pub const fn name(self) -> &'static str {
        self.of_type().1
    }
}

/// How the elements of an array are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArrayCodec {
    pub element: Codec,
    /// What stands between two elements in text.
    pub delimiter: u8,
}

/// In which form the server sends values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Binary,
    Text,
}

/// A type as the catalogue has it.
#[derive(Clone, Debug)]
pub(crate) struct TypeInfo {
    pub oid: u32,
    /// `format_type`: qualified where it is not the server's own.
    pub name: String,
    /// `b`, `c`, `d`, `e`, `p`, `r`, `m`.
    pub kind: u8,
    /// What a domain is made of; 0.
    pub base: u32,
    /// What an array is made of; 0 where it is no array.
    pub element: u32,
    /// What stands between its values in an array's text.
    pub delimiter: u8,
    /// Its binary form is that of text: `citext` and its likes.
    pub is_text: bool,
}

/// How deep domains of arrays of domains are followed.
const DEPTH_MAX: usize = 16;

/// Types by their OID.
#[derive(Clone, Debug, Default)]
pub(crate) struct Types(HashMap<u32, TypeInfo>);

impl Types {
    pub fn new(types: impl IntoIterator<Item = TypeInfo>) -> Self {
        Types(types.into_iter().map(|info| (info.oid, info)).collect())
    }

    /// How values of a type are decoded.
    pub fn codec(&self, oid: u32) -> Codec {
        self.codec_within(oid, DEPTH_MAX)
    }

    fn codec_within(&self, oid: u32, depth: usize) -> Codec {
        if let Some(codec) = built_in(oid) {
            return codec;
        }
        let Some(info) = self.0.get(&oid).filter(|_| depth > 0) else {
            return Codec::Extended(Text::from_static("postgres:unknown"));
        };
        match info.kind {
            b'd' => self.codec_within(info.base, depth - 1),
            b'e' => Codec::Enum,
            _ if info.is_text => Codec::Text,
            _ if info.element != 0 => {
                let delimiter = self.0.get(&info.element).map_or(b',', |element| element.delimiter);
                let element = self.codec_within(info.element, depth - 1);
                Codec::Array(Box::new(ArrayCodec { element, delimiter }))
            }
            _ => Codec::Extended(format!("postgres:{}", info.name).into()),
        }
    }
}

fn built_in(type_oid: u32) -> Option<Codec> {
    Some(match type_oid {
        oid::BOOL => Codec::Bool,
        oid::INT2 => Codec::Int2,
        oid::INT4 => Codec::Int4,
        oid::INT8 => Codec::Int8,
        oid::OID => Codec::Oid,
        oid::FLOAT4 => Codec::Float4,
        oid::FLOAT8 => Codec::Float8,
        oid::NUMERIC => Codec::Numeric,
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => Codec::Text,
        oid::CHAR => Codec::Char,
        oid::BYTEA => Codec::Bytea,
        oid::DATE => Codec::Date,
        oid::TIME => Codec::Time,
        oid::TIMESTAMP => Codec::Timestamp,
        oid::TIMESTAMPTZ => Codec::Timestamptz,
        oid::INTERVAL => Codec::Interval,
        oid::UUID => Codec::Uuid,
        oid::JSON => Codec::Json,
        oid::JSONB => Codec::Jsonb,
        other => Codec::Spelled(Spelling::ALL.into_iter().find(|spelling| spelling.of_type().0 == other)?),
    })
}

impl Codec {
    /// The canonical type.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Codec::Bool => ColumnType::Boolean,
            Codec::Int2 | Codec::Int4 | Codec::Int8 | Codec::Oid => ColumnType::Int64,
            Codec::Float4 => ColumnType::Float32,
            Codec::Float8 => ColumnType::Float64,
            Codec::Numeric => ColumnType::Decimal,
            Codec::Text | Codec::Char => ColumnType::Text,
            Codec::Bytea => ColumnType::Bytes,
            Codec::Date => ColumnType::Date,
            Codec::Time => ColumnType::Time,
            Codec::Timestamp => ColumnType::Timestamp,
            Codec::Timestamptz => ColumnType::Timestamptz,
            Codec::Interval => ColumnType::Interval,
            Codec::Uuid => ColumnType::Uuid,
            Codec::Json | Codec::Jsonb => ColumnType::Json,
            Codec::Enum => ColumnType::Enumeration,
            Codec::Array(_) => ColumnType::Array,
            Codec::Spelled(_) | Codec::Extended(_) => ColumnType::Extended,
        }
    }

    /// In which form the server is asked for values of this type. One column that has only text makes its table's chunks, and the
    /// stream of all tables, text: a server sends a stream in one form.
    pub fn form(&self) -> Form {
        match self {
            Codec::Extended(_) => Form::Text,
            Codec::Array(array) => array.element.form(),
            _ => Form::Binary,
        }
    }
}

impl Form {
    /// The form that suits all.
    pub fn of(forms: impl IntoIterator<Item = Form>) -> Form {
        let text = forms.into_iter().any(|form| form == Form::Text);
        if text { Form::Text } else { Form::Binary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(oid: u32, kind: u8, base: u32, element: u32) -> TypeInfo {
        let name = format!("public.t{oid}");
        TypeInfo { oid, name, kind, base, element, delimiter: b',', is_text: false }
    }

    #[test]
    fn types_are_resolved_by_the_catalogue() {
        let types = Types::new([
            info(1, b'd', 2, 0),
            info(2, b'd', 1007, 0),
            info(1007, b'b', 0, 23),
            info(3, b'b', 0, 4),
            info(4, b'c', 0, 0),
            info(5, b'd', 5, 0),
            info(6, b'e', 0, 0),
        ]);
        let ints = Codec::Array(Box::new(ArrayCodec { element: Codec::Int4, delimiter: b',' }));
        assert_eq!(types.codec(1), ints);
        assert_eq!((types.codec(1).form(), types.codec(3).form()), (Form::Binary, Form::Text));
        assert_eq!(types.codec(4), Codec::Extended("postgres:public.t4".into()));
        assert_eq!(types.codec(6), Codec::Enum);
        assert_eq!(types.codec(5).column_type(), ColumnType::Extended, "a circle has an end");
    }
}
