//! What `make bench` measures of the row interface: writes one column in small letters and reads a number out of another.

use serde::Deserialize;
use sluice_sdk::{Col, ColumnType, Keep, Reject, Row, Rows, Table};

#[derive(Deserialize)]
struct Config {
    lowercase: String,
    integer: String,
}

struct Bench {
    text: Col,
    digits: Col,
    number: Col,
}

impl Rows for Bench {
    type Config = Config;

    fn open(table: &mut Table, config: Config) -> Self {
        let text = table.edit("/lowercase", &config.lowercase);
        let digits = table.read("/integer", &config.integer);
        Bench { text, digits, number: table.add("/integer", &format!("{}_n", config.integer), ColumnType::Int64) }
    }

    fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
        if let Some(text) = row.text(self.text) {
            let small = text.to_ascii_lowercase();
            row.set_text(self.text, &small);
        }
        if let Some(digits) = row.text(self.digits) {
            let number = digits.parse().map_err(|_| self.digits.reject("not a number"))?;
            row.set_int(self.number, number);
        }
        Ok(Keep::Yes)
    }
}

sluice_sdk::export_rows!(Bench);
