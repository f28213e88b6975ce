use std::sync::Arc;

use proptest::prelude::*;
use sluice_types::value::{Array, Interval};

use super::*;

fn bytes(value: &Value, kind: &Kind) -> Result<Vec<u8>, Unfit> {
    let mut out = BytesMut::new();
    put(value, kind, &mut out)?;
    let length = i32::from_be_bytes(out[..4].try_into().unwrap());
    assert_eq!(length as usize, out.len() - 4);
    Ok(out[4..].to_vec())
}

#[test]
fn what_the_server_would_change_in_silence_is_refused() {
    let day = |days| Value::Date(days);
    for (value, kind) in [
        (Value::Int64(40_000), Kind::Int2),
        (Value::Uint64(u64::MAX), Kind::Int8),
        (Value::Decimal("1.5".into()), Kind::Int8),
        (Value::Int64((1 << 53) + 1), Kind::Float8),
        (Value::Float64(0.1), Kind::Float4),
        (Value::Decimal("1.005".into()), Kind::Numeric(Some((10, 2)))),
        ("abc  ".into(), Kind::Text(Some(3))),
        ("abc  ".into(), Kind::Padded(Some(3))),
        ("a\0".into(), Kind::Text(None)),
        ("é".into(), Kind::Char),
        ("n".repeat(64).as_str().into(), Kind::Name),
        (Value::Timestamp(1), Kind::Timestamp(1000)),
        (Value::Timestamptz(i64::MIN + 1), Kind::Timestamptz(1)),
        (Value::Time(86_400_000_001), Kind::Time(1)),
        (day(i32::MAX - 1), Kind::Date),
        (Value::Interval(Interval { months: 1, days: 1, micros: 0 }), Kind::Interval(IntervalField::Month)),
        (Value::Bool(true), Kind::Int4),
        ("x".into(), Kind::Uuid),
        (Value::Json("\0".into()), Kind::Jsonb),
    ] {
        assert!(bytes(&value, &kind).is_err(), "{value:?} {kind:?}");
    }
}

#[test]
fn what_fits_is_written_as_it_is() {
    for (value, kind, expected) in [
        (Value::Int64(-2), Kind::Int4, vec![255, 255, 255, 254]),
        ("äb".into(), Kind::Text(Some(2)), "äb".as_bytes().to_vec()),
        (Value::Date(10_957), Kind::Date, vec![0; 4]),
        (Value::Date(i32::MAX), Kind::Date, i32::MAX.to_be_bytes().to_vec()),
        (Value::Timestamp(EPOCH_MICROS), Kind::Timestamp(1), vec![0; 8]),
        (Value::Timestamptz(i64::MIN), Kind::Timestamptz(1000), i64::MIN.to_be_bytes().to_vec()),
        (Value::Float32(1.5), Kind::Float8, 1.5f64.to_be_bytes().to_vec()),
        (Value::Json("{}".into()), Kind::Jsonb, vec![1, b'{', b'}']),
        (Value::Uuid([1; 16]), Kind::Text(None), b"01010101-0101-0101-0101-010101010101".to_vec()),
    ] {
        assert_eq!(bytes(&value, &kind), Ok(expected), "{value:?} {kind:?}");
    }
    let mut out = BytesMut::new();
    put(&Value::Null, &Kind::Int8, &mut out).unwrap();
    assert_eq!(&out[..], (-1i32).to_be_bytes());
}

#[test]
fn arrays_keep_their_shape() {
    let array = Array { dimensions: vec![(2, 0)], items: vec![Value::Int64(7), Value::Null] };
    let value = Value::Array(Arc::new(array));
    let expected = [1, 1, 23, 2, 0, 4, 7, -1].map(i32::to_be_bytes).concat();
    assert_eq!(bytes(&value, &Kind::Array(Box::new(Kind::Int4), 23)), Ok(expected));
    let text = |dimensions: &[(u32, i32)], items: Vec<Value>| {
        let value = Value::Array(Arc::new(Array { dimensions: dimensions.to_vec(), items }));
        String::from_utf8(bytes(&value, &Kind::ByText(b',', None)).unwrap()).unwrap()
    };
    assert_eq!(text(&[], vec![]), "{}");
    assert_eq!(text(&[(2, 0)], vec!["a\"b".into(), Value::Null]), "[0:1]={\"a\\\"b\",NULL}");
    let four = || (1..=4).map(Value::Int64).collect();
    assert_eq!(text(&[(2, 1), (2, 1)], four()), "{{\"1\",\"2\"},{\"3\",\"4\"}}");
}

#[test]
fn a_key_is_the_same_when_the_server_says_so() {
    let same = |a: Value, b: Value, kind: &Kind| {
        let of = |value: &Value| {
            let mut out = BytesMut::new();
            key(value, kind, &mut out).unwrap();
            out
        };
        of(&a) == of(&b)
    };
    let decimal = |text: &str| Value::Decimal(text.into());
    assert!(same(decimal("1.0"), decimal("1.000"), &Kind::Numeric(None)));
    assert!(same(decimal("0"), decimal("-0.00"), &Kind::Numeric(None)));
    assert!(!same(decimal("1.0"), decimal("10"), &Kind::Numeric(None)));
    assert!(same("a".into(), "a  ".into(), &Kind::Padded(Some(3))));
    assert!(!same("a".into(), "a  ".into(), &Kind::Text(None)));
    assert!(same(Value::Float64(0.0), Value::Float64(-0.0), &Kind::Float8));
}

proptest! {
    #[test]
    fn digits_are_those_of_the_number(number: i64) {
        let text = text::digits(number.into(), str::to_string);
        prop_assert_eq!(text, number.to_string());
    }

    #[test]
    fn no_decimal_panics(text in "[-+0-9.eE]{0,12}") {
        let _ = bytes(&Value::Decimal(text.as_str().into()), &Kind::Numeric(Some((6, 2))));
        let _ = bytes(&Value::Decimal(text.as_str().into()), &Kind::Numeric(None));
    }
}
