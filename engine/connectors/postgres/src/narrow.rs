//! Whether a target's column holds less than its source's, where both are PostgreSQL's and so say what they hold.

use crate::values::Kind;

/// The digits of a second's fraction that a type without a precision keeps.
const FRACTION_DIGITS: u32 = 6;

/// Whether some value of a source's column, declared so, does not fit a target's column of this kind. `false` where nobody can say.
pub(crate) fn is_narrower(kind: &Kind, native: &str) -> bool {
    let (name, arguments) = declaration(native);
    let first = arguments.first().copied();
    match kind {
        Kind::Int2 => matches!(name.as_str(), "integer" | "bigint" | "numeric"),
        Kind::Int4 => matches!(name.as_str(), "bigint" | "numeric"),
        Kind::Int8 => name == "numeric",
        Kind::Float4 => matches!(name.as_str(), "double precision" | "integer" | "bigint"),
        Kind::Float8 => name == "bigint",
        Kind::Numeric(Some((precision, scale))) => {
            let (whole, scale) = (i32::from(*precision) - i32::from(*scale), i32::from(*scale));
            let fits = |of_whole: i32, of_scale: i32| of_whole <= whole && of_scale <= scale;
            match (name.as_str(), arguments.as_slice()) {
                ("smallint", _) => !fits(5, 0),
                ("integer", _) => !fits(10, 0),
                ("bigint", _) => !fits(19, 0),
                ("numeric", [precision, scale]) => !fits(precision - scale, *scale),
                ("numeric", []) => true,
                _ => false,
            }
        }
        Kind::Text(Some(limit)) | Kind::Padded(Some(limit)) => match name.as_str() {
            "text" => true,
            "character varying" | "character" => {
                first.is_none_or(|length| i64::from(length) > i64::from(*limit))
            }
            _ => false,
        },
        Kind::Time(unit) | Kind::Timestamp(unit) | Kind::Timestamptz(unit) => {
            let digits = first.map_or(FRACTION_DIGITS, |digits| digits.unsigned_abs().min(FRACTION_DIGITS));
            name.starts_with("time") && *unit > 10i64.pow(FRACTION_DIGITS - digits)
        }
        _ => false,
    }
}

/// A type's name and what stands in its brackets: `timestamp(3) without time zone`. Arrays are called otherwise than all others.
fn declaration(native: &str) -> (String, Vec<i32>) {
    let Some((before, rest)) = native.split_once('(') else { return (native.to_string(), vec![]) };
    let (arguments, behind) = rest.split_once(')').unwrap_or((rest, ""));
    let arguments = arguments.split(',').filter_map(|one| one.trim().parse().ok()).collect();
    (format!("{}{behind}", before.trim_end()), arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_column_holds_less() {
        for (kind, native, narrower) in [
            (Kind::Int4, "bigint", true),
            (Kind::Int8, "bigint", false),
            (Kind::Numeric(Some((10, 2))), "numeric(10,2)", false),
            (Kind::Numeric(Some((10, 2))), "numeric(9,3)", true),
            (Kind::Numeric(Some((10, 2))), "numeric(11,2)", true),
            (Kind::Numeric(Some((10, 2))), "numeric", true),
            (Kind::Numeric(Some((10, 2))), "integer", true),
            (Kind::Numeric(Some((20, 0))), "bigint", false),
            (Kind::Numeric(None), "numeric", false),
            (Kind::Text(Some(3)), "character varying(3)", false),
            (Kind::Text(Some(3)), "character varying(4)", true),
            (Kind::Padded(Some(3)), "character varying", true),
            (Kind::Text(Some(3)), "text", true),
            (Kind::Text(Some(3)), "public.mood", false),
            (Kind::Timestamp(1000), "timestamp(3) without time zone", false),
            (Kind::Timestamp(1000), "timestamp without time zone", true),
            (Kind::Timestamptz(1), "timestamp with time zone", false),
            (Kind::Time(1_000_000), "time(1) without time zone", true),
            (Kind::Array(Box::new(Kind::Int4), 23), "bigint[]", false),
        ] {
            assert_eq!(is_narrower(&kind, native), narrower, "{kind:?} {native}");
        }
    }
}
