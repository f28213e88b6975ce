//! What a connector gives to be tested.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_types::ports::Endpoint;
use sluice_types::{ColumnType, TableId, Value};

use crate::statement::Statement;

/// A value as the database writes it, and what it is in the value model: one row of the connector's `VALUES.md`.
#[derive(Clone, Debug)]
pub struct NativeValue {
    /// The native type of the column (`TEXT`, `numeric(10,2)`).
    pub native: String,
    /// The column's canonical type.
    pub ty: ColumnType,
    /// A literal of the database's own language.
    pub literal: String,
    /// What it becomes.
    pub value: Value,
}

impl NativeValue {
    /// A row of the list.
    pub fn new(native: &str, ty: ColumnType, literal: &str, value: Value) -> Self {
        NativeValue { native: native.into(), ty, literal: literal.into(), value }
    }
}

/// A private database under test, and a client of it that knows nothing of sluice. Its methods panic when they fail.
#[async_trait]
pub trait Harness: Send + Sync + Sized + 'static {
    /// Starts an empty database. It goes away with the harness.
    async fn start() -> Self;

    /// The database as a line is given it. Each call may make a new one; all are the same database.
    fn endpoint(&self) -> Arc<dyn Endpoint>;

    /// Runs statements as one transaction.
    async fn transaction(&self, statements: &[Statement]);

    /// Runs statements and rolls them back.
    async fn rolled_back(&self, statements: &[Statement]);

    /// The rows of a table ordered by its first column, values in column order, read without the connector.
    async fn rows(&self, table: &TableId) -> Vec<Vec<Value>>;

    /// Keeps a copy of the database as a backup would, in place of an earlier one.
    async fn keep_copy(&self);

    /// Puts the copy in the database's place. Connections may break by it.
    async fn restore_copy(&self);

    /// Breaks every connection, as a restart of the server does. `false`: it can't (a file).
    async fn interrupt(&self) -> bool;

    /// The names of everything that sluice has made in the database for reading (tables, triggers, slots, marks); empty when
    /// nothing is left. Its checkpoints are not among them.
    async fn traces(&self) -> Vec<String>;

    /// Every kind of value that the connector's `VALUES.md` lists, with its borders.
    fn values() -> Vec<NativeValue>;

    /// Inserts a row `(id, <literal>)` into a table of two columns, `id` and `v`.
    async fn insert_literal(&self, table: &TableId, id: i64, literal: &str);

    /// A value that a column of this type can't hold exactly, if there is any: the type, its native name, the value.
    fn unrepresentable() -> Option<(ColumnType, String, Value)> {
        None
    }

    /// A table of the tests, in the schema that they use.
    fn table(name: &str) -> TableId {
        TableId::new("", name)
    }
}
