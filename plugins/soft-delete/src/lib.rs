//! A row that is deleted stays, and says so. The README says how.

use serde::Deserialize;
use sluice_sdk::{Col, ColumnType, Keep, Kind, Reject, Row, Rows, Table};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "deleted")]
    column: String,
}

fn deleted() -> String {
    "deleted".into()
}

struct SoftDelete {
    deleted: Col,
}

impl Rows for SoftDelete {
    type Config = Config;
    const SUMMARY: &'static str = "Keeps rows that are deleted, marked as such";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn open(table: &mut Table, config: Config) -> Self {
        if config.column.is_empty() {
            table.error("/column", "a column needs a name");
        }
        let deleted = table.add("/column", &config.column, ColumnType::Boolean);
        table.computed_from(deleted, &[]);
        table.never_null(deleted);
        table.changes_kinds();
        SoftDelete { deleted }
    }

    fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
        let ends = row.kind() == Kind::Delete;
        row.set_bool(self.deleted, ends);
        if ends {
            row.set_kind(Kind::After);
        }
        Ok(Keep::Yes)
    }
}

sluice_sdk::export_rows!(SoftDelete);
