//! The values of `constant`.

use sluice_sdk::{Col, ColumnType, Decimal, Json, Settings, Table, Value, pointer};

/// A value that every row gets.
pub struct Constant {
    pub ty: ColumnType,
    value: Held,
}

enum Held {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Constant {
    pub fn value(&self) -> Value<'_> {
        match (&self.value, self.ty) {
            (Held::Null, _) => Value::Null,
            (Held::Bool(value), _) => Value::Bool(*value),
            (Held::Int(value), _) => Value::Int(*value),
            (Held::Float(value), _) => Value::Float(*value),
            (Held::Text(text), ColumnType::Decimal) => Value::Decimal(Decimal(text)),
            (Held::Text(text), ColumnType::Json) => Value::Json(text),
            (Held::Text(text), _) => Value::Text(text),
        }
    }
}

const TYPES: &[(&str, ColumnType)] = &[
    ("boolean", ColumnType::Boolean),
    ("integer", ColumnType::Int64),
    ("float", ColumnType::Float64),
    ("decimal", ColumnType::Decimal),
    ("text", ColumnType::Text),
    ("json", ColumnType::Json),
];

/// Adds the column of `name: value`, or of `name: {type: T, value: V}`.
pub fn add(table: &mut Table, name: &str, json: Json) -> Option<(Col, Constant)> {
    let path = pointer(&["constant", name]);
    let constant = match json {
        Json::Object(_) => typed(table, &path, json),
        plain => untyped(table, &path, plain),
    }?;
    let column = table.add(&path, name, constant.ty);
    table.computed_from(column, &[]);
    if !matches!(constant.value, Held::Null) {
        table.never_null(column);
    }
    Some((column, constant))
}

/// The type follows from the value.
fn untyped(table: &mut Table, path: &str, json: Json) -> Option<Constant> {
    let (ty, value) = match json {
        Json::Bool(value) => (ColumnType::Boolean, Held::Bool(value)),
        Json::String(text) => (ColumnType::Text, Held::Text(text)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => (ColumnType::Int64, Held::Int(integer)),
            (None, Some(float)) if number.is_f64() => (ColumnType::Float64, Held::Float(float)),
            _ => {
                table.error(path, "too large for an integer; write {type: decimal, value: \"...\"}");
                return None;
            }
        },
        Json::Null | Json::Array(_) | Json::Object(_) => {
            table.error(path, "write a text, a number, true, false, or {type: ..., value: ...}");
            return None;
        }
    };
    Some(Constant { ty, value })
}

fn typed(table: &mut Table, path: &str, json: Json) -> Option<Constant> {
    let mut settings = Settings::new(path, json);
    for key in ["type", "value"] {
        if !settings.has(key) {
            settings.error(key, "is missing: a constant is `{type: ..., value: ...}`, or just its value");
        }
    }
    let ty = settings.take_word("type", TYPES);
    let given = settings.take("value");
    let value = match (ty, &given) {
        (_, None | Some(Json::Null)) => Some(Held::Null),
        (Some(ColumnType::Boolean), Some(Json::Bool(value))) => Some(Held::Bool(*value)),
        (Some(ColumnType::Int64), Some(Json::Number(number))) => number.as_i64().map(Held::Int),
        (Some(ColumnType::Float64), Some(Json::Number(number))) => number.as_f64().map(Held::Float),
        (Some(ColumnType::Decimal), Some(Json::Number(number))) if !number.is_f64() => {
            Some(Held::Text(number.to_string()))
        }
        // A number with a fraction has been a binary float on its way here: its digits can't be trusted any more.
        (Some(ColumnType::Decimal), Some(Json::String(text))) => {
            Decimal::parse(text).map(|number| Held::Text(number.to_string()))
        }
        (Some(ColumnType::Text), Some(Json::String(text))) => Some(Held::Text(text.clone())),
        (Some(ColumnType::Json), Some(json)) => Some(Held::Text(json.to_string())),
        _ => None,
    };
    if let (Some(ty), None) = (ty, &value) {
        let hint = if ty == ColumnType::Decimal { "; put its digits in quotes" } else { "" };
        settings.error("value", format!("this is no {}{hint}", ty.word()));
    }
    table.errors(settings.finish());
    Some(Constant { ty: ty?, value: value? })
}
