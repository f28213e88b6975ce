//! Sends rows to tables by a value of theirs. The README says how.

use std::collections::BTreeMap;

use serde::Deserialize;
use sluice_sdk::{Col, ColumnType, Keep, Reject, Route, Row, Rows, State, Table, Value, pointer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    column: String,
    /// Value: table.
    to: BTreeMap<String, String>,
    #[serde(default)]
    others: Others,
}

/// What becomes of rows with another value.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Others {
    /// They go where all went without this plugin.
    #[default]
    Stay,
    Drop,
    Reject,
}

struct ByValue {
    column: Col,
    to: BTreeMap<String, Route>,
    others: Others,
}

const TYPES: [ColumnType; 5] =
    [ColumnType::Text, ColumnType::Enumeration, ColumnType::Int64, ColumnType::Uint64, ColumnType::Boolean];

impl Rows for ByValue {
    type Config = Config;
    const SUMMARY: &'static str = "Sends rows to tables by a value of theirs";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn open(table: &mut Table, config: Config) -> Self {
        let column = table.read_as("/column", &config.column, &TYPES);
        if config.to.is_empty() {
            table.error("/to", "name a table for a value: `to: { DE: customers_de }`");
        }
        let mut to = BTreeMap::new();
        for (value, name) in config.to {
            let path = pointer(&["to", &value]);
            if name.is_empty() {
                table.error(&path, "a table needs a name");
            }
            if !fits(&value, column.column_type()) {
                let ty = column.column_type().word();
                table.error(&path, format!("`{value}` is no {ty}, which `{}` is", config.column));
            }
            to.insert(value, table.route(&name));
        }
        if config.others == Others::Drop {
            table.selects();
        }
        ByValue { column, to, others: config.others }
    }

    fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
        if row.state(self.column) == State::Absent {
            return Err(self
                .column
                .reject("the log did not carry the column, so nobody knows where the row is"));
        }
        let route = match row.get(self.column) {
            Value::Text(text) | Value::Enumeration(text) => self.to.get(text),
            Value::Int(value) => self.to.get(&value.to_string()),
            Value::Uint(value) => self.to.get(&value.to_string()),
            Value::Bool(value) => self.to.get(if value { "true" } else { "false" }),
            _ => None,
        };
        match (route, self.others) {
            (Some(route), _) => row.send_to(*route),
            (None, Others::Stay) => {}
            (None, Others::Drop) => return Ok(Keep::Drop),
            (None, Others::Reject) => return Err(self.column.reject("there is no table for this value")),
        }
        Ok(Keep::Yes)
    }
}

/// Whether a column of the type can hold what the configuration writes.
fn fits(value: &str, ty: ColumnType) -> bool {
    match ty {
        ColumnType::Int64 => value.parse::<i64>().is_ok_and(|number| number.to_string() == value),
        ColumnType::Uint64 => value.parse::<u64>().is_ok_and(|number| number.to_string() == value),
        ColumnType::Boolean => matches!(value, "true" | "false"),
        _ => true,
    }
}

sluice_sdk::export_rows!(ByValue);
