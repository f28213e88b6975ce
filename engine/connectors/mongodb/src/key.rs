//! Keys as MongoDB compares them.

use mongodb::bson::RawDocumentBuf;

use crate::decimal::{self, Decimal};
use crate::encode::ty;

/// An `_id` so that two which MongoDB takes for the same are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FoldKey {
    Whole(i64),
    Short(u8, [u8; 23]),
    Long(Box<[u8]>),
}

impl FoldKey {
    /// Of type and body.
    pub fn new(id: &[u8]) -> Self {
        let same = canonical(id);
        match same {
            Canonical::Whole(number) => FoldKey::Whole(number),
            Canonical::Bytes(bytes) => FoldKey::of_bytes(&bytes),
            Canonical::AsIs => FoldKey::of_bytes(id),
        }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        if bytes.len() > 23 {
            return FoldKey::Long(bytes.into());
        }
        let mut short = [0; 23];
        short[..bytes.len()].copy_from_slice(bytes);
        FoldKey::Short(bytes.len() as u8, short)
    }
}

enum Canonical {
    Whole(i64),
    Bytes(Vec<u8>),
    AsIs,
}

/// Numbers are the same whatever their type and their digits.
fn canonical(id: &[u8]) -> Canonical {
    let Some((&kind, body)) = id.split_first() else { return Canonical::AsIs };
    match (kind, body.len()) {
        (ty::INT64, 8) => Canonical::Whole(i64::from_le_bytes(fixed(body))),
        (ty::INT32, 4) => Canonical::Whole(i64::from(i32::from_le_bytes(fixed(body)))),
        (ty::DOUBLE, 8) => {
            let float = f64::from_le_bytes(fixed(body));
            // Beyond 2^63 a double is no i64, and comes as it is.
            if float.fract() == 0.0 && float.abs() < 9.2e18 {
                Canonical::Whole(float as i64)
            } else if float.is_nan() {
                Canonical::Bytes(vec![ty::DOUBLE])
            } else {
                Canonical::AsIs
            }
        }
        (ty::DECIMAL128, 16) => match decimal::decode(fixed(body)) {
            Decimal::Number { negative, mut coefficient, mut exponent } => {
                while coefficient != 0 && coefficient % 10 == 0 {
                    coefficient /= 10;
                    exponent += 1;
                }
                let whole = u32::try_from(exponent).ok().and_then(|exponent| 10u128.checked_pow(exponent));
                let whole = whole.and_then(|power| i64::try_from(coefficient.checked_mul(power)?).ok());
                match whole {
                    _ if coefficient == 0 => Canonical::Whole(0),
                    Some(number) => Canonical::Whole(if negative { -number } else { number }),
                    None => Canonical::Bytes(
                        [
                            &[kind, u8::from(negative)],
                            &coefficient.to_le_bytes()[..],
                            &exponent.to_le_bytes(),
                        ]
                        .concat(),
                    ),
                }
            }
            Decimal::Nan => Canonical::Bytes(vec![ty::DOUBLE]),
            Decimal::Infinity { .. } => Canonical::AsIs,
        },
        // A composite key: its values one by one.
        (ty::DOCUMENT, _) => match mongodb::bson::RawDocument::from_bytes(body) {
            Ok(document) => {
                let mut bytes = vec![kind];
                for (name, value) in document.iter().flatten() {
                    let mut element = vec![];
                    push_raw(&mut element, value);
                    bytes.extend_from_slice(name.as_bytes());
                    bytes.push(0);
                    match canonical(&element) {
                        Canonical::Whole(number) => bytes.extend_from_slice(&number.to_le_bytes()),
                        Canonical::Bytes(same) => bytes.extend_from_slice(&same),
                        Canonical::AsIs => bytes.extend_from_slice(&element),
                    }
                }
                Canonical::Bytes(bytes)
            }
            Err(_) => Canonical::AsIs,
        },
        _ => Canonical::AsIs,
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut fixed = [0; N];
    fixed.copy_from_slice(&bytes[..N]);
    fixed
}

/// Type and body of a value that was read.
pub(crate) fn push_raw(out: &mut Vec<u8>, value: mongodb::bson::RawBsonRef<'_>) {
    let mut document = RawDocumentBuf::new();
    document.append_ref("", value);
    let bytes = document.as_bytes();
    // Length, type, empty name, body, end.
    out.push(bytes[4]);
    out.extend_from_slice(&bytes[6..bytes.len() - 1]);
}

#[cfg(test)]
mod tests {
    use sluice_types::Value;

    use super::*;
    use crate::encode::body;
    use crate::values::Microseconds;

    fn key(value: &Value) -> FoldKey {
        let mut id = vec![0];
        id[0] = body(&mut id, value, Microseconds::Reject, 1).unwrap();
        FoldKey::new(&id)
    }

    #[test]
    fn numbers_are_the_same_whatever_their_type() {
        let decimal = |digits: &str| key(&Value::Decimal(digits.into()));
        assert_eq!(key(&Value::Int64(7)), key(&Value::Float64(7.0)));
        assert_eq!(key(&Value::Int64(-700)), decimal("-7e2"));
        assert_eq!(key(&Value::Int64(0)), key(&Value::Float64(-0.0)));
        assert_eq!(decimal("1.0"), decimal("1.00"));
        assert_eq!(decimal("0.50"), decimal("0.5"));
        assert_eq!(decimal("NaN"), key(&Value::Float64(f64::NAN)));
        assert_ne!(decimal("0.5"), decimal("-0.5"));
        assert_ne!(key(&Value::Int64(1)), key(&"1".into()));
        assert_ne!(key(&Value::Int64(i64::MAX)), key(&Value::Float64(i64::MAX as f64)));
    }

    #[test]
    fn documents_are_compared_by_their_fields() {
        let json = |text: &str| key(&Value::Json(text.into()));
        assert_eq!(json("{\"a\": 1, \"b\": \"x\"}"), json("{\"a\": 1.0, \"b\": \"x\"}"));
        assert_ne!(json("{\"a\": 1, \"b\": 2}"), json("{\"b\": 2, \"a\": 1}"));
        assert_ne!(json("{\"a\": 1}"), json("{\"a\": 1, \"b\": 2}"));
        let long = "a text that does not fit into a few bytes";
        assert_eq!(key(&long.into()), key(&long.into()));
        assert_ne!(key(&long.into()), key(&long.to_uppercase().as_str().into()));
    }
}
