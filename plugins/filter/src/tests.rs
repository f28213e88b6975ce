use sluice_sdk::testing::{open_columns, table};
use sluice_sdk::{ColumnType, Decimal, Kind, Value};

use super::Filter;

const COLUMNS: &[(&str, ColumnType)] = &[
    ("id", ColumnType::Int64),
    ("country", ColumnType::Text),
    ("price", ColumnType::Decimal),
    ("weight", ColumnType::Float64),
    ("active", ColumnType::Boolean),
    ("born", ColumnType::Date),
    ("seen", ColumnType::Timestamptz),
    ("odd name", ColumnType::Text),
    ("extra", ColumnType::Json),
];

fn row() -> Vec<Value<'static>> {
    vec![
        Value::Int(9_007_199_254_740_993),
        Value::Text("DE"),
        Value::Decimal(Decimal("19.90")),
        Value::Float(0.1),
        Value::Bool(true),
        Value::Date(19_723), // 2024-01-01
        Value::Timestamptz(1_704_067_200_000_000),
        Value::Text("it's"),
        Value::Null,
    ]
}

fn kept(expression: &str, images: &[(Kind, Vec<Value<'_>>)]) -> Vec<u32> {
    let config = sluice_sdk::Json::from_iter([("keep", expression)]).to_string();
    let opened = open_columns::<Filter>(table(COLUMNS), &config);
    let opened = opened.unwrap_or_else(|errors| panic!("{expression}: {errors:?}")).unwrap();
    let output = opened.transform(images).unwrap();
    output.select.unwrap_or_else(|| (0..images.len() as u32).collect())
}

fn mistakes(expression: &str) -> Vec<String> {
    let config = sluice_sdk::Json::from_iter([("keep", expression)]).to_string();
    let errors = open_columns::<Filter>(table(COLUMNS), &config).err().unwrap_or_default();
    errors.into_iter().map(|error| error.message).collect()
}

#[test]
fn predicates_hold_or_not() {
    for (expression, holds) in [
        ("country = 'DE'", true),
        ("country != 'DE'", false),
        ("country <> 'FR' and id > 5", true),
        ("country = 'FR' or price = 19.9", true),
        ("price = 19.90000 and price > 19.89", true),
        ("price < 1e3", true),
        ("weight = 0.1", true),
        ("id = 9007199254740993", true),
        ("id = 9007199254740992", false),
        ("id > weight", true),
        ("active", true),
        ("not active", false),
        ("active = true and true", true),
        ("born = '2024-01-01' and born < 'infinity'", true),
        ("born between '2023-12-31' and '2024-01-01'", true),
        ("born not between '2023-12-31' and '2024-01-01'", false),
        ("seen = '2024-01-01 00:00:00Z'", true),
        ("seen < '2024-01-01T01:00:00+02:00'", false),
        ("\"odd name\" = 'it''s'", true),
        ("\"odd name\" like 'it%'", true),
        ("country not like '_E'", false),
        ("country in ('FR', 'DE')", true),
        ("country not in ('FR', 'DE')", false),
        ("extra is null", true),
        ("extra is not null", false),
        ("NOT (country = 'FR' OR Price_ = 1)", true),
        ("id in (1, 9007199254740993)", true),
    ] {
        let expression = expression.replace(" OR Price_ = 1", " OR price = 1");
        assert_eq!(!kept(&expression, &[(Kind::Insert, row())]).is_empty(), holds, "{expression}");
    }
}

#[test]
fn null_is_neither_equal_nor_unequal() {
    let mut null = row();
    null[1] = Value::Null;
    for (expression, holds) in [
        ("country = 'DE'", false),
        ("country != 'DE'", false),
        ("not country = 'DE'", false),
        ("country in ('DE')", false),
        ("country not in ('DE')", false),
        ("country = 'DE' or active", true),
        ("country like '%'", false),
        ("country is null", true),
    ] {
        assert_eq!(!kept(expression, &[(Kind::Insert, null.clone())]).is_empty(), holds, "{expression}");
    }
}

#[test]
fn what_the_log_did_not_carry_is_not_guessed() {
    let absent = || {
        let mut values = vec![Value::Absent; COLUMNS.len()];
        values[0] = Value::Int(1);
        values
    };
    // A key-only image of a row as it was: it was there.
    assert_eq!(kept("country = 'DE'", &[(Kind::Delete, absent())]), [0]);
    let mut french = row();
    french[1] = Value::Text("FR");
    assert_eq!(kept("country = 'DE'", &[(Kind::Before, absent()), (Kind::After, french)]), [0]);
    // Unchanged, so as it was before.
    assert_eq!(kept("country = 'FR'", &[(Kind::Before, row()), (Kind::After, absent())]), [] as [u32; 0]);
    assert_eq!(kept("country = 'DE'", &[(Kind::Before, row()), (Kind::After, absent())]), [0, 1]);
    // The other part decides.
    assert_eq!(kept("country = 'DE' and id > 5", &[(Kind::After, absent())]), [] as [u32; 0]);
    // Nothing decides: refused.
    let opened = open_columns::<Filter>(table(COLUMNS), r#"{"keep": "country = 'DE'"}"#).unwrap().unwrap();
    let output = opened.transform(&[(Kind::Insert, absent())]).unwrap();
    assert_eq!((output.rejects[0].row, output.rejects[0].column), (0, Some(1)));
}

#[test]
fn mistakes_have_their_place() {
    for (expression, mistake) in [
        ("", "at character 1: expected a column or a value, found the end"),
        ("contry = 'DE'", "at character 1: table `t` has no column `contry`; did you mean `country`?"),
        (
            "country = DE",
            "at character 11: table `t` has no column `DE`; it has: id, country, price, weight, active, born, seen, odd name, extra; text stands in single quotes",
        ),
        ("country = 5", "at character 11: text can't be compared with a number; put it in single quotes"),
        ("price = '5'", "at character 9: decimal can't be compared with text"),
        ("country = null", "at character 11: nothing equals null; write `is null` or `is not null`"),
        ("country = 'DE' country", "at character 16: expected `and`, `or` or the end, found `country`"),
        ("(active", "at character 8: expected `)`, found the end"),
        ("country = 'DE", "at character 11: the text that begins here has no closing '"),
        (
            "extra = 'x'",
            "at character 1: `extra` is json, which can only be tested by `is null` and `is not null`",
        ),
        ("id", "at character 1: this is int64, and alone only a boolean means something"),
        ("born = '2024-02-30'", "at character 8: '2024-02-30' is no date; write it as '2024-12-31'"),
        ("price = 1_0", "at character 9: `1_0` is not a number"),
        ("country ; 'x'", "at character 9: `;` has no meaning here"),
        ("country like 5", "at character 14: expected a pattern in single quotes, found `5`"),
        ("id in (1, country)", "at character 11: a list holds texts, numbers, true and false, not columns"),
        ("country = id", "at character 1: text and int64 can't be compared"),
    ] {
        assert_eq!(mistakes(expression), [mistake], "{expression}");
    }
    assert_eq!(mistakes("contry = 'x' and prise = 1").len(), 2);
    assert!(mistakes(&"not ".repeat(500))[0].contains("nested more than 100 deep"));
}
