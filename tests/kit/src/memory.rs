//! Databases, state and transforms in memory: real implementations of the ports, deterministic, with every fault a test needs.

mod database;
mod endpoint;
mod log;
mod sink;
mod source;
mod state;
mod table;
mod transform;

pub use database::{Backup, Database, Observer, OpenTransaction, Options};
pub use log::{AfterImages, BeforeImages};
pub use state::State;
pub use table::{Contents, RowKey, Table};
pub use transform::{Chains, Promotions, Step};
