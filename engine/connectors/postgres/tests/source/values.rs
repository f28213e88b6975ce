//! Every value that `VALUES.md` lists, for source and sink.

use std::sync::Arc;

use sluice_kit::conformance::NativeValue;
use sluice_types::value::{Array, Extended, Interval};
use sluice_types::{ColumnType, Value};

fn extended(name: &str, text: &str) -> Value {
    Value::Extended(Arc::new(Extended { type_name: format!("postgres:{name}").into(), text: text.into() }))
}

fn array(dimensions: &[(u32, i32)], items: Vec<Value>) -> Value {
    Value::Array(Arc::new(Array { dimensions: dimensions.to_vec(), items }))
}

/// The types of a user's own that the values are of.
pub const TYPES: &str = "
    CREATE DOMAIN public.positive AS integer CHECK (VALUE > 0);
    CREATE DOMAIN public.small AS public.positive CHECK (VALUE < 100);
    CREATE DOMAIN public.code AS character varying(8) DEFAULT 'x';
    CREATE DOMAIN public.price AS numeric(10,2);
    CREATE DOMAIN public.numbers AS integer[];
    CREATE TYPE public.\"Mood\" AS ENUM ('sad', 'it''s \"ok\", {so}', 'été');
    CREATE DOMAIN public.mood AS public.\"Mood\";
    CREATE DOMAIN public.moods AS public.\"Mood\"[];
    CREATE TYPE public.pair AS (a integer, \"B b\" text, m public.\"Mood\");
    CREATE DOMAIN public.coupled AS public.pair;
    CREATE TYPE public.span AS RANGE (subtype = float8);
    CREATE TYPE public.rowlike AS (a integer, at timestamptz, i inet);";

/// Every type with its borders.
pub fn values() -> Vec<NativeValue> {
    use ColumnType::{
        Array, Boolean, Bytes, Date, Decimal, Enumeration, Extended, Float32, Float64, Int64,
        Interval as Span, Json, Text, Time, Timestamp, Timestamptz, Uuid,
    };
    let decimal = |text: &str| Value::Decimal(text.into());
    let json = |text: &str| Value::Json(text.into());
    let bytes = |bytes: &'static [u8]| Value::Bytes(bytes::Bytes::from_static(bytes));
    let span = |months, days, micros| Value::Interval(Interval { months, days, micros });
    const DAY: i64 = 86_400_000_000;
    let label = |text: &str| Value::Enum(text.into());
    let mut list = Vec::new();
    let mut of = |native: &str, ty: ColumnType, values: Vec<(&str, Value)>| {
        list.push(NativeValue::new(native, ty, "NULL", Value::Null));
        list.extend(values.into_iter().map(|(literal, value)| NativeValue::new(native, ty, literal, value)));
    };
    of("boolean", Boolean, vec![("true", Value::Bool(true)), ("false", Value::Bool(false))]);
    of("smallint", Int64, vec![("-32768", (-32768).into()), ("32767", 32767.into())]);
    of("integer", Int64, vec![("-2147483648", (-2147483648).into()), ("0", 0.into())]);
    of(
        "bigint",
        Int64,
        vec![("-9223372036854775808", i64::MIN.into()), ("9223372036854775807", i64::MAX.into())],
    );
    of("oid", Int64, vec![("4294967295", 4294967295.into())]);
    of(
        "real",
        Float32,
        vec![
            ("'NaN'", Value::Float32(f32::NAN)),
            ("'-Infinity'", Value::Float32(f32::NEG_INFINITY)),
            ("'-0'", Value::Float32(-0.0)),
            ("0.1", Value::Float32(0.1)),
            ("1e-45", Value::Float32(f32::from_bits(1))),
        ],
    );
    of(
        "double precision",
        Float64,
        vec![
            ("'NaN'", Value::Float64(f64::NAN)),
            ("'Infinity'", Value::Float64(f64::INFINITY)),
            ("'-0'", Value::Float64(-0.0)),
            ("0.1", Value::Float64(0.1)),
            ("5e-324", Value::Float64(5e-324)),
            ("1.7976931348623157e308", Value::Float64(f64::MAX)),
        ],
    );
    let long = format!("1{}.{}", "0".repeat(2000), "0".repeat(1999) + "7");
    of(
        "numeric",
        Decimal,
        vec![
            ("0", decimal("0")),
            ("0.00", decimal("0.00")),
            ("-0.0001", decimal("-0.0001")),
            ("12345678901234567890.0123456789", decimal("12345678901234567890.0123456789")),
            ("10000", decimal("10000")),
            ("1e20", decimal("100000000000000000000")),
            ("'NaN'", decimal("NaN")),
            ("'Infinity'", decimal("Infinity")),
            ("'-Infinity'", decimal("-Infinity")),
            (&long, decimal(&long)),
        ],
    );
    of("numeric(10,2)", Decimal, vec![("1.5", decimal("1.50")), ("-99999999.99", decimal("-99999999.99"))]);
    of("text", Text, vec![("''", "".into()), ("E'\\\\N\\t\\n\\r\\\\ é 🦀'", "\\N\t\n\r\\ é 🦀".into())]);
    of("character varying(5)", Text, vec![("'ab'", "ab".into())]);
    of("character(4)", Text, vec![("'ab'", "ab  ".into())]);
    of("name", Text, vec![("'ab'", "ab".into())]);
    of("\"char\"", Text, vec![("'x'", "x".into()), ("''", "".into())]);
    of("bytea", Bytes, vec![("''", bytes(b"")), ("'\\x00ff5c'", bytes(b"\x00\xff\\"))]);
    of(
        "date",
        Date,
        vec![
            ("'1970-01-01'", Value::Date(0)),
            ("'4714-11-24 BC'", Value::Date(-2_440_588)),
            ("'0001-12-31 BC'", Value::Date(-719_163)),
            ("'5874897-12-31'", Value::Date(2_145_042_905)),
            ("'infinity'", Value::Date(i32::MAX)),
            ("'-infinity'", Value::Date(i32::MIN)),
        ],
    );
    of(
        "time",
        Time,
        vec![
            ("'00:00'", Value::Time(0)),
            ("'24:00'", Value::Time(DAY)),
            ("'23:59:59.999999'", Value::Time(DAY - 1)),
        ],
    );
    of(
        "timestamp",
        Timestamp,
        vec![
            ("'1970-01-01 00:00:00.000001'", Value::Timestamp(1)),
            ("'1969-12-31 23:59:59.5'", Value::Timestamp(-500_000)),
            ("'0044-03-15 12:00 BC'", Value::Timestamp(-63_517_780_800_000_000)),
            ("'infinity'", Value::Timestamp(i64::MAX)),
            ("'-infinity'", Value::Timestamp(i64::MIN)),
            ("'294276-12-31 23:59:59.999999'", extended("timestamp", "294276-12-31 23:59:59.999999")),
        ],
    );
    of(
        "timestamp with time zone",
        Timestamptz,
        vec![
            ("'1970-01-01 01:00:00+01'", Value::Timestamptz(0)),
            ("'2026-07-01 12:00:00.25-07:30'", Value::Timestamptz(1_782_934_200_250_000)),
            ("'infinity'", Value::Timestamptz(i64::MAX)),
            ("'294276-12-31 23:59:59.5+00'", extended("timestamptz", "294276-12-31 23:59:59.5+00")),
        ],
    );
    of(
        "interval",
        Span,
        vec![
            ("'0'", span(0, 0, 0)),
            ("'1 year 2 months -3 days 04:05:06.789'", span(14, -3, 14_706_789_000)),
            ("'-1 mons +1 day -00:00:00.000001'", span(-1, 1, -1)),
            ("'-178000000 years'", span(-2_136_000_000, 0, 0)),
        ],
    );
    of(
        "uuid",
        Uuid,
        vec![(
            "'00112233-4455-6677-8899-aabbccddeeff'",
            Value::Uuid([
                0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
                0xff,
            ]),
        )],
    );
    of(
        "json",
        Json,
        vec![
            ("'{ \"b\":1, \"a\" : [1.0, null]}'", json("{ \"b\":1, \"a\" : [1.0, null]}")),
            ("'null'", json("null")),
        ],
    );
    of("jsonb", Json, vec![("'{ \"b\":1.50, \"a\" : [ ]}'", json("{\"a\": [], \"b\": 1.50}"))]);
    of(
        "integer[]",
        Array,
        vec![
            ("'{}'", array(&[], vec![])),
            ("'{1,NULL,3}'", array(&[(3, 1)], vec![1.into(), Value::Null, 3.into()])),
            (
                "'[0:1][-1:0]={{1,2},{3,4}}'",
                array(&[(2, 0), (2, -1)], vec![1.into(), 2.into(), 3.into(), 4.into()]),
            ),
        ],
    );
    of(
        "text[]",
        Array,
        vec![(
            "ARRAY['a,b', '', 'NULL', NULL, E'\"\\\\']",
            array(&[(5, 1)], vec!["a,b".into(), "".into(), "NULL".into(), Value::Null, "\"\\".into()]),
        )],
    );
    of("numeric[]", Array, vec![("'{1.10,NaN}'", array(&[(2, 1)], vec![decimal("1.10"), decimal("NaN")]))]);
    of(
        "timestamptz[]",
        Array,
        vec![(
            "'{1970-01-01 00:00:01+00,infinity}'",
            array(&[(2, 1)], vec![Value::Timestamptz(1_000_000), Value::Timestamptz(i64::MAX)]),
        )],
    );
    of(
        "inet[]",
        Array,
        vec![(
            "'{::1,10.0.0.0/8}'",
            array(&[(2, 1)], vec![extended("inet", "::1"), extended("inet", "10.0.0.0/8")]),
        )],
    );
    of(
        "box[]",
        Array,
        vec![(
            "'{(1,1),(0,0);(2,2),(1,1)}'",
            array(&[(2, 1)], vec![extended("box", "(1,1),(0,0)"), extended("box", "(2,2),(1,1)")]),
        )],
    );
    of("public.positive", Int64, vec![("1", 1.into()), ("2147483647", 2147483647.into())]);
    of("public.small", Int64, vec![("99", 99.into())]);
    of("public.code", Text, vec![("'ab '", "ab ".into()), ("''", "".into())]);
    of("public.price", Decimal, vec![("1.5", decimal("1.50")), ("-99999999.99", decimal("-99999999.99"))]);
    of("public.numbers", Array, vec![("'{1,NULL}'", array(&[(2, 1)], vec![1.into(), Value::Null]))]);
    of(
        "public.\"Mood\"",
        Enumeration,
        vec![
            ("'sad'", label("sad")),
            ("'it''s \"ok\", {so}'", label("it's \"ok\", {so}")),
            ("'été'", label("été")),
        ],
    );
    of("public.mood", Enumeration, vec![("'été'", label("été"))]);
    let moods = || array(&[(3, 1)], vec![label("it's \"ok\", {so}"), Value::Null, label("sad")]);
    let literal = "ARRAY['it''s \"ok\", {so}', NULL, 'sad']::public.\"Mood\"[]";
    of("public.\"Mood\"[]", Array, vec![(literal, moods()), ("'{}'", array(&[], vec![]))]);
    of("public.moods", Array, vec![(literal, moods())]);
    of(
        "public.positive[]",
        Array,
        vec![
            ("'[0:1]={7,NULL}'", array(&[(2, 0)], vec![7.into(), Value::Null])),
            ("'{}'", array(&[], vec![])),
        ],
    );
    of(
        "public.price[]",
        Array,
        vec![("'{1.5,2}'", array(&[(2, 1)], vec![decimal("1.50"), decimal("2.00")]))],
    );
    let pair = |text: &str| extended("public.pair", text);
    of(
        "public.pair",
        Extended,
        vec![
            ("(1, 'x, \"y\" (z)', 'sad')", pair("(1,\"x, \"\"y\"\" (z)\",sad)")),
            ("(NULL, '', NULL)", pair("(,\"\",)")),
        ],
    );
    of("public.coupled", Extended, vec![("(1, 'x', NULL)", pair("(1,x,)"))]);
    of(
        "public.pair[]",
        Array,
        vec![(
            "ARRAY[(1, 'a b', 'été'), NULL]::public.pair[]",
            array(&[(2, 1)], vec![pair("(1,\"a b\",été)"), Value::Null]),
        )],
    );
    of("public.span", Extended, vec![("'[5e-324,0.1)'", extended("public.span", "[5e-324,0.1)"))]);
    for (native, literal, text) in [
        (
            "public.rowlike",
            "(1, '2020-01-01 00:00:00+01', '10.0.0.1/8')",
            "(1,\"2019-12-31 23:00:00+00\",10.0.0.1/8)",
        ),
        ("inet", "'192.168.0.1'", "192.168.0.1"),
        ("inet", "'10.0.0.1/8'", "10.0.0.1/8"),
        ("inet", "'::ffff:1.2.3.4/120'", "::ffff:1.2.3.4/120"),
        ("cidr", "'2001:db8::/32'", "2001:db8::/32"),
        ("macaddr8", "'08:00:2b:01:02:03:04:05'", "08:00:2b:01:02:03:04:05"),
        ("money", "'92233720368547758.07'::numeric::money", "$92,233,720,368,547,758.07"),
        ("bit varying", "B'101010101'", "101010101"),
        (
            "xml",
            "'<?xml version=\"1.0\" standalone=\"yes\"?><a/>'",
            "<?xml version=\"1.0\" standalone=\"yes\"?><a/>",
        ),
        ("time with time zone", "'24:00:00-15:59:59'", "24:00:00-15:59:59"),
        ("xid", "'4294967295'", "4294967295"),
        ("xid8", "'18446744073709551615'", "18446744073709551615"),
        ("cidr", "'10.1.0.0/16'", "10.1.0.0/16"),
        ("macaddr", "'08:00:2b:01:02:03'", "08:00:2b:01:02:03"),
        ("money", "'-1234.5'::numeric::money", "-$1,234.50"),
        ("bit(3)", "B'101'", "101"),
        ("bit varying", "B''", ""),
        ("int4range", "'[1,5)'", "[1,5)"),
        ("tstzrange", "'[2020-01-01 00:00+01,)'", "[\"2019-12-31 23:00:00+00\",)"),
        ("nummultirange", "'{[1.0,2.5),[7,8]}'", "{[1.0,2.5),[7,8]}"),
        ("xml", "'<a>é</a>'", "<a>é</a>"),
        ("tsvector", "'fat:2,4 cat:3A'", "'cat':3A 'fat':2,4"),
        ("tsquery", "'fat & !rat'", "'fat' & !'rat'"),
        ("point", "'(1.5,-2)'", "(1.5,-2)"),
        ("polygon", "'((0,0),(1,1),(2,0))'", "((0,0),(1,1),(2,0))"),
        ("time with time zone", "'12:00:00.5+05:30'", "12:00:00.5+05:30"),
        ("pg_lsn", "'16/B374D848'", "16/B374D848"),
        ("regclass", "'pg_class'", "pg_class"),
        ("int2vector", "'1 2 3'", "1 2 3"),
        ("jsonpath", "'$.a[*]'", "$.\"a\"[*]"),
    ] {
        let name = native.split('(').next().unwrap();
        let name = if native == "bit(3)" { "bit" } else { name };
        of(native, Extended, vec![(literal, extended(name, text))]);
    }
    list
}
