use sluice_sdk::testing::{open_rows, table};
use sluice_sdk::{ColumnType, Decimal, Kind, Value};

use super::TypeConversion;

/// What becomes of one value, shown; or why it is refused.
fn one(ty: ColumnType, value: Value<'_>, rule: &str) -> String {
    let table = table(&[("id", ColumnType::Int64), ("x", ty)]);
    let opened = match open_rows::<TypeConversion>(table, &format!(r#"{{"columns": {{"x": {rule}}}}}"#)) {
        Ok(Some(opened)) => opened,
        Ok(None) => return "nothing to do".into(),
        Err(errors) => return format!("{}: {}", errors[0].path, errors[0].message),
    };
    let output = opened.transform(&[(Kind::Insert, vec![Value::Int(1), value])]).unwrap();
    match output.rejects.first() {
        Some(reject) => format!("refused: {}", reject.message),
        None => match opened.written(&output, "x")[0] {
            Value::Decimal(Decimal(digits)) => format!("Decimal({digits})"),
            value => format!("{value:?}"),
        },
    }
}

fn text(value: &str, rule: &str) -> String {
    one(ColumnType::Text, Value::Text(value), rule)
}

#[test]
fn numbers_are_exact_or_refused() {
    for (value, rule, expected) in [
        ("42", r#""integer""#, "Int(42)"),
        ("+42", r#""integer""#, "Int(42)"),
        ("3.00", r#""integer""#, "Int(3)"),
        ("3.7", r#""integer""#, "refused: it has a fraction, which an integer can't hold"),
        ("1_0", r#""integer""#, "refused: not a number"),
        (" 1", r#""integer""#, "refused: not a number"),
        (" 1", r#"{"to": "integer", "trim": true}"#, "Int(1)"),
        ("0x10", r#""integer""#, "refused: not a number"),
        ("", r#""integer""#, "refused: not a number"),
        ("１", r#""integer""#, "refused: not a number"),
        ("9223372036854775807", r#""integer""#, "Int(9223372036854775807)"),
        ("9223372036854775808", r#""integer""#, "refused: out of the range of a 64-bit integer"),
        ("1e400", r#""integer""#, "refused: out of the range of a 64-bit integer"),
        ("0.1", r#""float""#, "Float(0.1)"),
        ("0.10000000000000000555", r#""float""#, "refused: more digits than a float holds"),
        ("1e400", r#""float""#, "refused: out of the range of a float"),
        ("12.340", r#""decimal""#, "Decimal(12.340)"),
        ("1.5e3", r#""decimal""#, "Decimal(1500)"),
        ("-1.5e-3", r#""decimal""#, "Decimal(-0.0015)"),
        ("x", r#"{"to": "integer", "on_error": "null"}"#, "Null"),
        ("x", r#"{"to": "integer", "on_error": "default", "default": -1}"#, "Int(-1)"),
        ("x", r#"{"to": "decimal", "on_error": "default", "default": "0.00"}"#, "Decimal(0.00)"),
        ("YES", r#""boolean""#, "Bool(true)"),
        (
            "2",
            r#""boolean""#,
            "refused: neither true nor false (true, t, yes, y, on, 1; false, f, no, n, off, 0)",
        ),
    ] {
        assert_eq!(text(value, rule), expected, "{value} {rule}");
    }
    let float = |value, rule| one(ColumnType::Float64, Value::Float(value), rule);
    assert_eq!(float(3.0, r#""integer""#), "Int(3)");
    assert_eq!(float(3.5, r#""integer""#), "refused: it has a fraction, which an integer can't hold");
    assert_eq!(float(1e19, r#""integer""#), "refused: out of the range of a 64-bit integer");
    assert_eq!(float(f64::NAN, r#""integer""#), "refused: not a number");
    assert_eq!(float(0.1, r#""decimal""#), "Decimal(0.1)");
    assert_eq!(one(ColumnType::Float32, Value::Float(0.1f32.into()), r#""text""#), r#"Text("0.1")"#);
    let int = |value, rule| one(ColumnType::Int64, Value::Int(value), rule);
    assert_eq!(int(9_007_199_254_740_993, r#""float""#), "refused: more digits than a float holds");
    assert_eq!(int(1, r#""boolean""#), "Bool(true)");
    assert_eq!(int(2, r#""boolean""#), "refused: as a boolean a number is 0 or 1");
    assert_eq!(int(5, r#""integer""#), "nothing to do");
    assert_eq!(
        one(ColumnType::Uint64, Value::Uint(u64::MAX), r#""integer""#),
        "refused: out of the range of a 64-bit integer"
    );
}

#[test]
fn dates_and_points_in_time() {
    const NOON: &str = "1704110400000000"; // 2024-01-01 12:00:00 UTC
    for (value, rule, expected) in [
        ("2024-01-01", r#""date""#, "Date(19723)".to_string()),
        ("2024-02-30", r#""date""#, "refused: not a date of the expected form".into()),
        ("31.12.2023", r#"{"to": "date", "format": "%d.%m.%Y"}"#, "Date(19722)".into()),
        (
            "31.12.2023x",
            r#"{"to": "date", "format": "%d.%m.%Y"}"#,
            "refused: not a date of the expected form".into(),
        ),
        (
            "31.12.2023 08:00",
            r#"{"to": "date", "format": "%d.%m.%Y %H:%M"}"#,
            "refused: it has a time of day, which a date can't hold".into(),
        ),
        ("31.12.2023 00:00", r#"{"to": "date", "format": "%d.%m.%Y %H:%M"}"#, "Date(19722)".into()),
        ("2024-01-01 12:00:00", r#""datetime""#, format!("Timestamp({NOON})")),
        (
            "2024-01-01T12:00:00Z",
            r#""datetime""#,
            "refused: it names its zone, which would be lost: set `zone` for a point in time".into(),
        ),
        ("2024-01-01T12:00:00Z", r#"{"to": "datetime", "zone": "UTC"}"#, format!("Timestamptz({NOON})")),
        (
            "2024-01-01 13:00:00",
            r#"{"to": "datetime", "zone": "Europe/Berlin"}"#,
            format!("Timestamptz({NOON})"),
        ),
        ("2024-01-01 14:00:00", r#"{"to": "datetime", "zone": "+02:00"}"#, format!("Timestamptz({NOON})")),
        (
            "2024-03-31 02:30:00",
            r#"{"to": "datetime", "zone": "Europe/Berlin"}"#,
            "refused: this local time comes twice or never where the clock changes".into(),
        ),
        (
            "01/01/2024 07:00 -0500",
            r#"{"to": "datetime", "format": "%m/%d/%Y %H:%M %z"}"#,
            format!("Timestamptz({NOON})"),
        ),
        (
            "01/01/2024 12:00",
            r#"{"to": "datetime", "format": "%m/%d/%Y %H:%M"}"#,
            format!("Timestamp({NOON})"),
        ),
        ("2024-01-01 12:00:00.1234567", r#""datetime""#, "refused: more exact than a microsecond".into()),
    ] {
        assert_eq!(text(value, rule), expected, "{value} {rule}");
    }
    let stamp = |rule| one(ColumnType::Timestamptz, Value::Timestamptz(1_704_110_400_000_000), rule);
    assert_eq!(stamp(r#""text""#), r#"Text("2024-01-01T12:00:00Z")"#);
    assert_eq!(stamp(r#"{"to": "text", "zone": "Europe/Berlin"}"#), r#"Text("2024-01-01T13:00:00+01:00")"#);
    assert_eq!(stamp(r#"{"to": "text", "format": "%d.%m.%y"}"#), r#"Text("01.01.24")"#);
    assert_eq!(
        stamp(r#"{"to": "date", "zone": "UTC"}"#),
        "refused: it has a time of day, which a date can't hold"
    );
    let seconds =
        one(ColumnType::Int64, Value::Int(1_704_110_400), r#"{"to": "datetime", "unit": "seconds"}"#);
    assert_eq!(seconds, format!("Timestamptz({NOON})"));
}

#[test]
fn json_in_and_out() {
    assert_eq!(text(r#"{"a": 1}"#, r#""json""#), r#"Json("{\"a\": 1}")"#);
    assert_eq!(text("{a: 1}", r#""json""#), "refused: not JSON");
    let json = |value, rule| one(ColumnType::Json, Value::Json(value), rule);
    assert_eq!(json("5", r#""integer""#), "Int(5)");
    assert_eq!(json(r#""5""#, r#""integer""#), "Int(5)");
    assert_eq!(json("null", r#""integer""#), "Null");
    assert_eq!(json("[5]", r#""integer""#), "refused: a JSON object or array is no single value");
    assert_eq!(one(ColumnType::Decimal, Value::Decimal(Decimal("007.50")), r#""json""#), r#"Json("7.50")"#);
}

#[test]
fn mistakes_have_their_place() {
    for (ty, rule, expected) in [
        (
            ColumnType::Text,
            r#""integr""#,
            "/columns/x/to: `integr`; did you mean `integer`? allowed: integer, float, decimal, text, boolean, date, datetime, json",
        ),
        (ColumnType::Text, r#"{"too": "integer"}"#, "/columns/x/to: is missing: write what to convert to"),
        (
            ColumnType::Bytes,
            r#""integer""#,
            "/columns/x/to: `x` is bytes, which can't be converted to integer",
        ),
        (
            ColumnType::Int64,
            r#""datetime""#,
            "/columns/x/unit: is missing: what does the integer count since 1970? seconds, milliseconds or microseconds",
        ),
        (
            ColumnType::Text,
            r#"{"to": "datetime", "zone": "Berlin"}"#,
            "/columns/x/zone: there is no zone `Berlin`; write one as Europe/Berlin, UTC or +02:00",
        ),
        (
            ColumnType::Text,
            r#"{"to": "date", "format": "%H:%M"}"#,
            "/columns/x/format: doesn't name a whole date",
        ),
        (
            ColumnType::Text,
            r#"{"to": "integer", "on_error": "default", "default": "x"}"#,
            "/columns/x/default: not a number",
        ),
        (
            ColumnType::Text,
            r#"{"to": "integer", "on_error": "default"}"#,
            "/columns/x/default: is missing: `on_error: default` needs it",
        ),
    ] {
        let found = one(ty, Value::Null, rule);
        assert!(found.starts_with(expected), "{rule}: {found}");
    }
}
