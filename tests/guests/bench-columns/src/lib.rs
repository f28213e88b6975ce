//! What `make bench` measures of the column interface: writes one column in small letters and reads a number out of another; or, told
//! so, only looks at the two.

use serde::Deserialize;
use sluice_sdk::raw::ColumnData;
use sluice_sdk::{Answer, Batch, Col, ColumnType, Columns, Table};

#[derive(Deserialize)]
struct Config {
    lowercase: String,
    integer: String,
    /// Change nothing.
    #[serde(default)]
    idle: bool,
    /// The name of the new column.
    to: Option<String>,
}

struct Bench {
    text: Col,
    digits: Col,
    number: Option<Col>,
}

impl Columns for Bench {
    type Config = Config;

    fn open(table: &mut Table, config: Config) -> Self {
        if config.idle {
            let text = table.read("/lowercase", &config.lowercase);
            return Bench { text, digits: table.read("/integer", &config.integer), number: None };
        }
        let text = table.edit("/lowercase", &config.lowercase);
        let digits = table.read("/integer", &config.integer);
        let to = config.to.unwrap_or_else(|| format!("{}_n", config.integer));
        Bench { text, digits, number: Some(table.add("/to", &to, ColumnType::Int64)) }
    }

    fn batch(&self, batch: &mut Batch, answer: &mut Answer) -> Result<(), String> {
        let Some(number) = self.number else { return Ok(()) };
        let digits = batch.text(self.digits).ok_or("the column is not text")?;
        let mut numbers = Vec::with_capacity(batch.rows());
        for bounds in digits.offsets.windows(2) {
            let digits = &digits.data[bounds[0] as usize..bounds[1] as usize];
            numbers.push(digits.parse().map_err(|_| "not a number")?);
        }
        answer.put(number, ColumnData::Ints(numbers), Vec::new());
        let mut text = batch.take(self.text);
        if let ColumnData::Strings(all) = &mut text.data {
            all.data.make_ascii_lowercase();
        }
        answer.put_column(self.text, text);
        Ok(())
    }
}

sluice_sdk::export_columns!(Bench);
