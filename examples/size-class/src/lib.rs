//! Adds a column that says in a word how large a number is. There are two editions, so that there is something to swap: the second knows
//! more words. `SIZE_CLASS_EDITION=2` at build makes the second.

use serde::Deserialize;
use sluice_sdk::{Col, ColumnType, Keep, Reject, Row, Rows, Table};

/// ```yaml
/// config: { column: installed_size, to: size_class }
/// ```
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The column with the number.
    column: String,
    /// The name of the new column.
    to: String,
}

struct SizeClass {
    number: Col,
    class: Col,
}

impl Rows for SizeClass {
    type Config = Config;
    const SUMMARY: &'static str = "Adds a column that says in a word how large a number is";

    fn open(table: &mut Table, config: Config) -> Self {
        let number = table.read_as("/column", &config.column, &[ColumnType::Int64]);
        let class = table.add("/to", &config.to, ColumnType::Text);
        SizeClass { number, class }
    }

    fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
        if let Some(number) = row.int(self.number) {
            row.set_text(self.class, word(number));
        }
        Ok(Keep::Yes) // null has no size, and neither has what the log did not carry
    }
}

fn word(kib: i64) -> &'static str {
    let second = option_env!("SIZE_CLASS_EDITION") == Some("2");
    match kib {
        ..100 if second => "tiny",
        ..1_000 => "small",
        ..10_000 => "medium",
        1_000_000.. if second => "huge",
        _ => "large",
    }
}

sluice_sdk::export_rows!(SizeClass);
