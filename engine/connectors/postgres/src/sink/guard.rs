//! Tables that are altered while they are written.
//!
//! A binary copy says nothing of its columns' types: where one was altered since the catalogue was read, the server would take
//! eight bytes of one type for eight bytes of another. So every transaction asks for nothing of a table before it writes it, by a
//! statement that was prepared when the shape was read: once the result's types differ the server refuses to run it, and the lock
//! that it takes keeps everybody from altering them until the transaction ends. It is sent together with the first write.

use std::collections::{HashMap, HashSet};

use sluice_types::{Error, ErrorKind, Result};
use tokio_postgres::Error as PgError;

use super::PostgresSink;
use crate::errors::quote;
use crate::plan::Plan;
use crate::table;

/// What the transaction knows of its tables.
#[derive(Default)]
pub(crate) struct Guards {
    /// The statements' names, by the table's OID.
    names: HashMap<u32, String>,
    /// How many were ever made: no name is used twice.
    made: u64,
    /// Tables that can't change any more.
    held: HashSet<u32>,
}

impl Guards {
    /// Shapes are read anew.
    pub(super) fn forget(&mut self) {
        self.names.clear();
        self.held.clear();
    }

    /// What was locked is free again.
    pub(super) fn let_go(&mut self) {
        self.held.clear();
    }
}

impl PostgresSink {
    /// Sees to it that the table is, and stays until the transaction ends, as the plan takes it to be.
    pub(crate) async fn hold(&mut self, plan: &Plan) -> Result<()> {
        let oid = plan.shape.oid;
        if !self.guards.held.insert(oid) {
            return Ok(());
        }
        if let Some(name) = self.guards.names.get(&oid) {
            let sql = format!("EXECUTE {name}");
            self.then(&sql);
            return Ok(());
        }
        self.guards.made += 1;
        let name = format!("sluice_shape_{}", self.guards.made);
        let columns: Vec<String> = plan.shape.columns.iter().map(|column| quote(&column.name)).collect();
        let nothing = format!("SELECT {} FROM {} LIMIT 0", columns.join(", "), plan.shape.only());
        let made = self.execute(&format!("PREPARE {name} AS {nothing}; EXECUTE {name}")).await;
        made.map_err(|error| self.failed(&error, plan))?;
        // It holds from now on. What it holds is what we know, if the catalogue still says the same.
        let client = self.client();
        let now = self.send(table::shape(&client, &plan.schema.table)).await;
        let now = now.map_err(|error| self.server.failed(&error, "the catalogue can't be read"))?;
        if !now.is_some_and(|now| now.is_written_as(&plan.shape)) {
            let altered = Error::new(ErrorKind::Busy, "the target's table was altered");
            return Err(self.server.at(altered.at_table(&plan.schema.table)));
        }
        self.guards.names.insert(oid, name);
        Ok(())
    }
}

/// Whether a prepared statement would answer with other types than it was prepared for. The code alone has many meanings, and the
/// message is translated.
pub(super) fn is_altered(error: &PgError) -> bool {
    error.as_db_error().is_some_and(|db| db.routine() == Some("RevalidateCachedQuery"))
}
