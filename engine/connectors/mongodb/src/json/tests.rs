//! What the module promises.

use mongodb::bson::{Bson, RawDocumentBuf};
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Bson, Why> {
    let mut out = vec![];
    let at = open(&mut out);
    out.push(0);
    out.extend_from_slice(b"v\0");
    out[4] = write(&mut out, text, 1)?;
    close(&mut out, at);
    let document = RawDocumentBuf::from_bytes(out).expect("BSON").to_document().expect("a document");
    Ok(document.get("v").expect("the field").clone())
}

#[test]
fn numbers_are_what_was_written() {
    for (text, shown) in [
        ("0", "Int64(0)"),
        ("-9223372036854775808", "Int64(-9223372036854775808)"),
        ("1.0", "Double(1.0)"),
        ("0.1", "Double(0.1)"),
        ("1e3", "Double(1000.0)"),
        ("9.990", "Double(9.99)"),
        ("-0", "Double(-0.0)"),
        ("-0.0", "Double(-0.0)"),
        ("5e-324", "Double(5e-324)"),
        ("9223372036854775808", "Decimal128(...)"),
        ("9223372036854775809", "Decimal128(...)"),
        ("0.10000000000000000555", "Decimal128(...)"),
        ("1e999", "Decimal128(...)"),
        ("1e-400", "Decimal128(...)"),
    ] {
        match read(text).unwrap() {
            Bson::Decimal128(number) => {
                assert_eq!(shown, "Decimal128(...)", "{text}");
                assert_eq!(Some(number.bytes()), decimal::encode(text));
            }
            Bson::Double(number) => {
                assert!(shown.starts_with("Double"), "{text}: {number}");
                assert_eq!(number.to_bits(), text.parse::<f64>().unwrap().to_bits());
            }
            other => assert_eq!(format!("{other:?}"), shown, "{text}"),
        }
    }
    assert!(read("0.123456789012345678901234567890123456789").is_err());
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "01",
        "1.",
        ".5",
        "+1",
        "nul",
        "'a'",
        "\"\\x\"",
        "\"\u{1}\"",
        "1 2",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "{\"a\" 1}",
        "{1:2}",
        "\"abc",
        "[1 2]",
        "\"\\u12\"",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(read("{\"a\\u0000b\": 1}").is_err(), "a name can't hold NUL");
    assert!(read("{\"a\": 1, \"b\": 2, \"a\": 1}").is_err(), "a name twice");
    assert!(read("{\"a\": {\"a\": 1}, \"b\": {\"a\": 1}}").is_ok(), "in different objects");
    assert!(read(&"[".repeat(5000)).is_err(), "too deep, and no overflow of the stack");
    assert!(read(&format!("{}{}", "[".repeat(99), "]".repeat(99))).is_ok());
    assert!(read(&format!("{}{}", "[".repeat(100), "]".repeat(100))).is_err());
}

#[test]
fn text_is_unescaped() {
    assert_eq!(
        read(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000z""#).unwrap(),
        Bson::String("a\"\\/\u{8}\u{c}\n\r\té😀\0z".into())
    );
    assert_eq!(
        read(" \n{\"\": [], \"a.b\": {\"$x\": null}} ").unwrap().to_string(),
        r#"{ "": [], "a.b": { "$x": null } }"#
    );
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map("[^\0]*", inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn same(json: &serde_json::Value, bson: &Bson) -> bool {
    use serde_json::Value as J;
    match (json, bson) {
        (J::Null, Bson::Null) => true,
        (J::Bool(a), Bson::Boolean(b)) => a == b,
        (J::Number(a), Bson::Int64(b)) => a.as_i64() == Some(*b),
        (J::Number(a), Bson::Double(b)) => a.as_f64().map(f64::to_bits) == Some(b.to_bits()),
        // Two spellings may be equally short, and equally near to the double (1212664950064572.25): which of them means it is a
        // matter of taste, so the other one is kept as it is.
        (J::Number(a), Bson::Decimal128(b)) => {
            let text = a.to_string();
            b.to_string() == text && a.as_f64().is_some_and(|float| float.to_string() != text)
        }
        (J::String(a), Bson::String(b)) => a == b,
        (J::Array(a), Bson::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (J::Object(a), Bson::Document(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

#[test]
fn a_number_between_two_doubles_spellings_is_kept() {
    for text in ["-1212664950064572.2", "-1212664950064572.3"] {
        match read(text).unwrap() {
            Bson::Double(float) => assert_eq!(Ok(float), text.parse::<f64>(), "{text}"),
            Bson::Decimal128(decimal) => assert_eq!(decimal.to_string(), text),
            other => panic!("{other}"),
        }
    }
}

proptest! {
    #[test]
    fn every_json_becomes_the_same_bson(json in any_json()) {
        let bson = read(&json.to_string()).unwrap();
        prop_assert!(same(&json, &bson), "{} {}", json, bson);
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}\",:0-9eE.+\\-tfnula\\\\ ]*") {
        let ours = read(&text).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        // Names that come twice are refused here and numbers beyond a double there.
        prop_assert!(ours == theirs || (theirs && text.contains('{')) || text.contains(['e', 'E', '.']) || text.len() > 30, "{}", text);
    }
}
