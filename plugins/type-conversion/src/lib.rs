//! Converts columns to other types, exactly or not at all. The README has the table of what converts to what.

mod convert;
mod moments;
mod numbers;
mod rule;

use convert::{Converted, convert};
use rule::{OnError, Rule, To};
use sluice_sdk::{Col, Json, Keep, Reject, Row, Rows, Settings, Table, Value, pointer};

struct TypeConversion {
    columns: Vec<(Col, Rule)>,
}

impl Rows for TypeConversion {
    type Config = Json;
    const SUMMARY: &'static str = "Converts columns to other types, exactly or not at all";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn open(table: &mut Table, config: Json) -> Self {
        let mut settings = Settings::new("", config);
        let on_error = settings.take_word("on_error", rule::ON_ERROR).unwrap_or(rule::OnErrorWord::Reject);
        if on_error == rule::OnErrorWord::Default {
            settings.error("on_error", "a default is another one for each column: write it there");
        }
        if !settings.has("columns") {
            settings.error("columns", "is missing: write `columns: { age: integer }`");
        }
        let given = settings.take_map("columns").unwrap_or_default();
        table.errors(settings.finish());

        let mut columns = Vec::new();
        for (name, json) in given {
            let path = pointer(&["columns", &name]);
            let Some(index) = table.find(&path, &name) else { continue };
            let info = table.columns()[index as usize].clone();
            let Some(rule) = Rule::read(table, &path, json, &info, on_error) else { continue };
            if rule.changes_nothing(info.type_) {
                continue;
            }
            let column = table.retype(&path, &name, rule.output());
            table.computed_from(column, &[column]);
            columns.push((column, rule));
        }
        if columns.is_empty() && !table.has_errors() {
            table.skip();
        }
        TypeConversion { columns }
    }

    fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
        for (column, rule) in &self.columns {
            let value = row.get(*column);
            if matches!(value, Value::Null | Value::Absent) {
                continue;
            }
            match (convert(value, rule), &rule.on_error) {
                (Ok(converted), _) => set(row, *column, &converted),
                (Err(why), OnError::Reject) => return Err(column.reject(why)),
                (Err(_), OnError::Null) => row.set_null(*column),
                (Err(_), OnError::Default(default)) => set(row, *column, default),
            }
        }
        Ok(Keep::Yes)
    }
}

fn set(row: &mut Row, column: Col, converted: &Converted) {
    match converted {
        Converted::Null => row.set_null(column),
        Converted::Bool(value) => row.set_bool(column, *value),
        Converted::Int(value) => row.set_int(column, *value),
        Converted::Float(value) => row.set_float(column, *value),
        Converted::Text(value) => row.set_text(column, value),
        Converted::Days(value) => row.set_days(column, *value),
        Converted::Micros(value) => row.set_micros(column, *value),
    }
}

// Every target has its words in the configuration.
const _: () = assert!(rule::TO.len() == To::COUNT);

sluice_sdk::export_rows!(TypeConversion);

#[cfg(test)]
mod tests;
