//! Tidies e-mail addresses: small letters, no spaces around them; a row whose address has no `@` is refused.

use serde::Deserialize;
use sluice_sdk::{Col, ColumnType, Keep, Reject, Row, Rows, Table};

/// What stands under `config:` in sluice.yaml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The column with the address.
    column: String,
}

struct Email {
    address: Col,
    domain: Col,
}

impl Rows for Email {
    type Config = Config;
    const SUMMARY: &'static str = "Tidies e-mail addresses and adds their domain";
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object", "additionalProperties": false, "required": ["column"],
        "properties": { "column": { "type": "string", "description": "The column with the address" } }
    }"#;

    /// Called once per table: which columns are needed, and what becomes of them.
    fn open(table: &mut Table, config: Config) -> Self {
        let address = table.edit("/column", &config.column);
        let domain = table.add("/column", "domain", ColumnType::Text);
        Email { address, domain }
    }

    /// Called for every row image.
    fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
        // Null or absent: nothing is set, so the address stays as it is and the domain is null or absent too.
        let Some(address) = row.text(self.address) else { return Ok(Keep::Yes) };
        let tidy = address.trim().to_lowercase();
        let Some((_, domain)) = tidy.split_once('@') else { return Err(self.address.reject("no @ in the address")) };
        row.set_text(self.domain, domain);
        row.set_text(self.address, &tidy);
        Ok(Keep::Yes)
    }
}

sluice_sdk::export_rows!(Email);
