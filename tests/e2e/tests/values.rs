//! The value matrix: every type of PostgreSQL that VALUES.md speaks of, with the values at its edges, by snapshot and by stream,
//! to each target. To PostgreSQL everything arrives as it was, byte for byte as the server prints it; what MongoDB and SQLite hold
//! is written down in `golden/`, together with what they refuse (I7).

use std::path::Path;
use std::time::Duration;

use sluice_e2e::database::Database;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::{Site, open};
use sluice_e2e::wait;
use sluice_servers::Rows;

use crate::golden::{Of, STREAMED, golden, table};

/// Types that the matrix makes first.
const TYPES: &str = "
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'it''s \"ok\"', 'glücklich');
    CREATE DOMAIN positive AS numeric(10,2) CHECK (VALUE > 0);
    CREATE DOMAIN short_text AS text CHECK (length(VALUE) < 10);
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE floats AS RANGE (subtype = float8);";

const MATRIX: &[Of] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "0", "32767"]),
    ("integer", &["-2147483648", "0", "2147483647"]),
    ("bigint", &["-9223372036854775808", "-9007199254740993", "0", "9223372036854775807"]),
    (
        "real",
        &[
            "0",
            "'-0'",
            "1.1",
            "'3.4028235e38'",
            "'1e-45'",
            "'16777217'",
            "'infinity'",
            "'-infinity'",
            "'NaN'",
        ],
    ),
    (
        "double precision",
        &[
            "0",
            "'-0'",
            "0.1",
            "'1.7976931348623157e308'",
            "'5e-324'",
            "'9007199254740993'",
            "'infinity'",
            "'-infinity'",
            "'NaN'",
        ],
    ),
    (
        "numeric",
        &[
            "0",
            "0.00",
            "-1.50",
            "'12345678901234567890.0123456789'",
            "'9999999999999999999999999999999999'",
            "'99999999999999999999999999999999999'",
            "'1e-20'",
            "('1' || repeat('0', 200))::numeric",
            "('0.' || repeat('0', 100) || '1')::numeric",
            "'NaN'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    ("numeric(10,2)", &["-12345678.90", "0", "0.01"]),
    ("numeric(4,-2)", &["123400", "0"]),
    (
        "text",
        &[
            "''",
            "' '",
            "'NULL'",
            r#"E'a\tb\nc\\d''e"f'"#,
            "'žluťoučký 🦆 日本'",
            "repeat('x', 5000)",
            r"'\N'",
        ],
    ),
    ("varchar(10)", &["''", "'žluťoučký'", "'trail   '"]),
    ("character(5)", &["''", "'ab'", "'ab  c'"]),
    ("\"char\"", &["'a'", "''", r"'\377'"]),
    ("name", &["'a name'"]),
    ("bytea", &["''", r"'\x00ff'", r"'\xdeadbeef'", "decode(repeat('00ff', 3000), 'hex')"]),
    (
        "date",
        &[
            "'2024-02-29'",
            "'1970-01-01'",
            "'0001-01-01'",
            "'0044-03-15 BC'",
            "'4713-01-01 BC'",
            "'5874897-12-31'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    ("time", &["'00:00'", "'23:59:59.999999'", "'24:00'", "'12:34:56.5'"]),
    ("time with time zone", &["'00:00+00'", "'23:59:59.999999-15:59'", "'12:00:00+05:30'"]),
    (
        "timestamp",
        &[
            "'1970-01-01'",
            "'2024-05-06 07:08:09.123'",
            "'2024-05-06 07:08:09.123456'",
            "'0001-12-31 23:59:59 BC'",
            "'4713-01-01 BC'",
            "'294276-12-31 23:59:59.999999'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    (
        "timestamp with time zone",
        &[
            "'1970-01-01 00:00+00'",
            "'1969-12-31 23:59:59.999+00'",
            "'2024-05-06 07:08:09.123+02'",
            "'2024-05-06 07:08:09.123456+02'",
            "'0044-03-15 12:00+00 BC'",
            "'294276-12-31 23:59:59.999999+00'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    (
        "interval",
        &[
            "'0'",
            "'1 year 2 mons -3 days 04:05:06.789'",
            "'-178000000 years'",
            "'00:00:00.000001'",
            "'-1 day'",
        ],
    ),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    (
        "json",
        &[
            r#"'{"a" : 1,  "a": 2}'"#,
            "'null'",
            r#"'[1.10, 1e400, "ä"]'"#,
            r#"'"text"'"#,
            "'17'",
            r#"'{"$key": {"a.b": 1}, "": 0}'"#,
        ],
    ),
    (
        "jsonb",
        &[
            r#"'{"a": 1, "b": [true, null, {"c": "x"}]}'"#,
            "'null'",
            "'12345678901234567890.123'",
            "'[]'",
            "'{}'",
            "'true'",
        ],
    ),
    ("mood", &["'sad'", r#"'it''s "ok"'"#, "'glücklich'"]),
    ("positive", &["0.01", "12345678.90"]),
    ("short_text", &["''", "'ä'"]),
    (
        "integer[]",
        &["'{}'", "'{1,NULL,-2147483648}'", "'{{1,2},{3,4}}'", "'[0:1]={5,6}'", "'{{{1},{2}},{{3},{4}}}'"],
    ),
    ("text[]", &["'{}'", r#"'{"", NULL, "NULL", "a,b", "{}", "q\"\\", " "}'"#]),
    ("numeric[]", &["'{1.50,NaN}'", "'{NULL}'"]),
    ("timestamptz[]", &["'{\"2024-05-06 07:08:09.123+02\",NULL}'"]),
    ("boolean[]", &["'{t,f,NULL}'"]),
    ("bytea[]", &[r#"'{"\\x00ff",NULL}'"#]),
    ("uuid[]", &["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"]),
    ("jsonb[]", &[r#"ARRAY['{"a": 1}'::jsonb, NULL]"#]),
    ("mood[]", &["'{sad,NULL,glücklich}'"]),
    ("pair", &["ROW(1, 'x')", "ROW(NULL, 'a,\"b)')", "ROW(NULL, NULL)"]),
    ("pair[]", &["ARRAY[ROW(1, 'x')::pair, NULL]"]),
    ("int4range", &["'empty'", "'[1,5)'", "'(,)'", "'[3,)'"]),
    ("tstzrange", &["'[2024-01-01 00:00+00, 2024-02-01 00:00+00)'"]),
    ("floats", &["'(0.5,1.5]'"]),
    ("int4multirange", &["'{}'", "'{[1,3), [5,9)}'"]),
    ("inet", &["'192.168.0.1'", "'192.168.0.1/24'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("money", &["0", "-92233720368547758.08", "12.34"]),
    ("bit(5)", &["B'10101'", "B'00000'"]),
    ("bit varying", &["B''", "B'1'", "B'1010101010101'"]),
    ("xml", &["'<a b=\"c\">d</a>'"]),
    ("tsvector", &["''", "'a:1A fat:2B,4C cat:5'"]),
    ("tsquery", &["'fat & (rat | !cat)'"]),
    ("point", &["'(1.5,-2)'"]),
    ("line", &["'{1,2,3}'"]),
    ("lseg", &["'[(0,0),(1,1)]'"]),
    ("box", &["'(1,1),(0,0)'"]),
    ("path", &["'((0,0),(1,1),(2,0))'", "'[(0,0),(1,1)]'"]),
    ("polygon", &["'((0,0),(1,1),(2,0))'"]),
    ("circle", &["'<(1,1),2>'"]),
    ("pg_lsn", &["'16/B374D848'", "'0/0'"]),
    ("oid", &["0", "4294967295"]),
    ("regclass", &["'pg_class'"]),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("xid", &["'0'", "'4294967295'"]),
    ("cid", &["'0'", "'4294967295'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("citext", &["''", "'Ann'", "'žluťoučký  '"]),
    ("citext[]", &["'{Ann,NULL,\"a,b\"}'"]),
];

/// Those of which the stream carries text; with one of them in a line all of its values come as text.
const AS_TEXT: &[&str] = &[
    "pair",
    "pair[]",
    "int4range",
    "tstzrange",
    "floats",
    "int4multirange",
    "tsvector",
    "tsquery",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "pg_lsn",
    "regclass",
];

/// Those whose binary form has the numbers of a database's own types in it.
const NUMBERED: &[&str] = &["mood[]", "pair", "pair[]", "citext[]"];

fn make(source: &Database, matrix: &[Of]) {
    source.sql(TYPES);
    for (index, (ty, _)) in matrix.iter().enumerate() {
        source.sql(&format!("CREATE TABLE {} (id int PRIMARY KEY, v {ty})", table(index)));
    }
}

/// Every value once, and null, with keys from `first` on.
fn fill(source: &Database, matrix: &[Of], first: usize) {
    for (index, (ty, values)) in matrix.iter().enumerate() {
        for (number, value) in values.iter().chain(&["NULL"]).enumerate() {
            source.sql(&format!("INSERT INTO {} VALUES ({}, ({value})::{ty})", table(index), first + number));
        }
    }
}

fn rows_made(matrix: &[Of]) -> usize {
    matrix.iter().map(|(_, values)| values.len() + 1).sum()
}

/// Values by snapshot, the same by stream; then `seen` must account for all of them: written or refused.
fn through(target: &Database, matrix: &[Of], seen: impl Fn() -> usize) -> (Database, Site, Serve) {
    let source = Database::postgres("matrix");
    make(&source, matrix);
    fill(&source, matrix, 1);
    let site = Site::between(
        &source,
        target,
        "concurrency: 2\non_error: { retries: 0, base_ms: 20, max_ms: 100 }\ntables: [\"public.*\"]",
    );
    let serve = Serve::start(&site);
    let all = |wanted: usize| {
        let come = || seen() + serve.line()["dead_letters"].as_u64().unwrap_or(0) as usize;
        wait::until_within(Duration::from_secs(120), "every value", || {
            wait::when(come(), |come| *come >= wanted)
                .map_err(|come| (come, wanted, serve.line()["reason"].clone()))
        });
    };
    all(rows_made(matrix));
    serve.line_when("the target to be consistent", |line| line["ready"] == true);
    fill(&source, matrix, STREAMED);
    all(2 * rows_made(matrix));
    (source, site, serve)
}

/// Everything arrives as it was; the stream carries binary values or text.
fn arrives_byte_for_byte(matrix: &[Of], binary: bool) {
    let target = Database::postgres("matrix");
    target.sql(TYPES);
    let count = || {
        (0..matrix.len())
            .map(|index| match &target {
                Database::Postgres { server, name } => server
                    .try_sql(name, &format!("SELECT count(*) FROM {}", table(index)))
                    .map_or(0, |rows| {
                        rows[0][0].as_deref().unwrap_or("0").parse::<usize>().expect("a number")
                    }),
                _ => unreachable!(),
            })
            .sum()
    };
    let (source, site, serve) = through(&target, matrix, count);
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'START\\_REPLICATION%' AND datname = current_database()";
    assert_eq!(source.one(asked), "1");
    assert_eq!(source.one(&format!("{asked} AND query LIKE '%binary %'")) == "1", binary);
    let mut wrong = Vec::new();
    for (index, (ty, _)) in matrix.iter().enumerate() {
        // As text, and as the bytes that are sent (behind their count and their type's number): some types print the same for
        // what is not.
        let sent =
            if NUMBERED.contains(ty) { "''" } else { "substr(encode(record_send(ROW(v)), 'hex'), 17)" };
        let query =
            format!("SELECT id, v::text, pg_typeof(v)::text, {sent} FROM {} ORDER BY id", table(index));
        let (wanted, found): (Rows, Rows) = (source.sql(&query), target.sql(&query));
        if wanted != found {
            let differs = wanted.iter().find(|row| !found.contains(row));
            let instead = found.iter().find(|row| !wanted.contains(row));
            wrong.push(format!(
                "{ty}: {differs:?} became {instead:?}; {} of {} rows",
                found.len(),
                wanted.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", site.log());
    assert_eq!(serve.line()["dead_letters"], 0);
    serve.stop();
}

#[test]
fn to_postgres_every_value_arrives_byte_for_byte() {
    arrives_byte_for_byte(MATRIX, false);
}

#[test]
fn to_postgres_every_value_with_a_binary_form_arrives_byte_for_byte() {
    let matrix: Vec<Of> = MATRIX.iter().copied().filter(|(ty, _)| !AS_TEXT.contains(ty)).collect();
    arrives_byte_for_byte(&matrix, true);
}

pub fn shown_value(value: &sluice_servers::bson::Bson) -> String {
    match value {
        // Its digits are told from its bytes by nobody.
        sluice_servers::bson::Bson::Decimal128(number) => format!("Decimal128({number})"),
        other => format!("{other:?}"),
    }
}

#[test]
fn to_mongodb_every_value_is_held_as_written_down_or_refused() {
    let target = Database::mongo("matrix");
    let Database::Mongo { server, name } = &target else { unreachable!() };
    let count = || (0..MATRIX.len()).map(|index| server.count(name, &table(index)) as usize).sum();
    let (_source, site, serve) = through(&target, MATRIX, count);
    golden("postgres-to-mongodb", MATRIX, &site, |table| {
        let shown = |document: &sluice_servers::bson::Document| {
            let id = document.get("_id").expect("a key");
            let id = id.as_i64().or_else(|| id.as_i32().map(i64::from)).expect("a number");
            (id as usize, document.get("v").map_or("absent".to_string(), shown_value))
        };
        server.find(name, table).iter().map(shown).collect()
    });
    serve.stop();
}

#[test]
fn to_sqlite_every_value_is_held_as_written_down_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("matrix.db");
    let rows = |path: &Path, table: &str| -> Vec<(usize, String)> {
        let query = format!("SELECT id, typeof(v) || ' ' || coalesce(quote(v), '') FROM {table}");
        let Ok(rows) = sluice_e2e::compare::try_rows(&open(path), &query) else { return Vec::new() };
        rows.into_iter()
            .map(|row| match (&row[0], &row[1]) {
                (rusqlite::types::Value::Integer(id), rusqlite::types::Value::Text(shown)) => {
                    (*id as usize, shown.clone())
                }
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let count = || (0..MATRIX.len()).map(|index| rows(&path, &table(index)).len()).sum();
    let (_source, site, serve) = through(&Database::Sqlite(path.clone()), MATRIX, count);
    golden("postgres-to-sqlite", MATRIX, &site, |table| rows(&path, table).into_iter().collect());
    serve.stop();
}
