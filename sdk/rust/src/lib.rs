//! Write sluice plugins in Rust: a function over rows with named columns, or over whole columns when that is not fast enough.
//!
//! ```
//! use serde::Deserialize;
//! use sluice_sdk::{Col, Keep, Reject, Row, Rows, Table};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     column: String,
//! }
//!
//! struct Lowercase {
//!     column: Col,
//! }
//!
//! impl Rows for Lowercase {
//!     type Config = Config;
//!     const SUMMARY: &'static str = "Writes a text column in small letters";
//!
//!     fn open(table: &mut Table, config: Config) -> Self {
//!         Lowercase { column: table.edit("/column", &config.column) }
//!     }
//!
//!     fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
//!         if let Some(text) = row.text(self.column) {
//!             row.set_text(self.column, &text.to_lowercase());
//!         }
//!         Ok(Keep::Yes) // null stays null, and what the log did not carry stays absent
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! and, at the end of the crate, `sluice_sdk::export_rows!(Lowercase);`. The README beside this crate goes from nothing to a loaded
//! plugin. Suggested reading order: [`Table`], [`Row`], [`Rows`], [`Value`]; then [`Columns`] for speed and [`raw`] for everything else.

mod columns;
pub mod crypto;
mod decimal;
mod export;
pub mod log;
mod out;
pub mod raw;
mod row;
mod settings;
mod table;
pub mod testing;
mod value;

#[doc(hidden)]
pub use columns::ByColumn;
pub use columns::{Answer, Batch, Columns, repeat};
pub use decimal::Decimal;
#[doc(hidden)]
pub use export::{Transformer, by_column, by_row};
pub use raw::ColumnType;
#[doc(hidden)]
pub use row::ByRow;
pub use row::{Keep, Reject, Row, Rows};
pub use serde_json::Value as Json;
pub use settings::{Settings, did_you_mean, pointer};
pub use table::{Col, Route, Table};
pub use value::{Kind, State, Value};
