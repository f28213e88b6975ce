//! The tables of the stream: from a row message to a change of the line's table.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_types::{Change, Column, Error, ErrorKind, Result, Row, TableSchema, Value};

use crate::codec::{Codec, Form};
use crate::decode::{self, Arena};
use crate::protocol::cursor::{Cursor, malformed};
use crate::protocol::pgoutput::{Op, Relation, RowMessage};
use crate::schema::Table;

/// How a relation's rows become rows of the line's table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub schema: Arc<TableSchema>,
    columns: Vec<PlanColumn>,
    /// The relation's columns stand in the slots from 0 on, none missing.
    in_order: bool,
}

#[derive(Debug)]
struct PlanColumn {
    codec: Codec,
    /// `None`: a column that the line's table does not have any more.
    slot: Option<usize>,
    /// Old images hold it.
    identity: bool,
}

/// A table of the line: as the catalogue had it when the line was opened, and as the line names it.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    pub table: Table,
    pub schema: Arc<TableSchema>,
}

/// What the stream has described.
///
/// The server describes a table once, and then again when it may have changed. For that it does not matter whether what the
/// description stood in was rolled back to a savepoint, or has been applied by an earlier session. So every description counts, and
/// what it means is only found out when there is a row: one that was rolled back may be of a table that never looked like that.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    /// The last description of a table since its last row.
    described: HashMap<u32, Relation>,
    /// `None`: a table that the line does not follow.
    plans: HashMap<u32, Option<Arc<Plan>>>,
}

/// An update's image that has nothing of its own for a column: what TOAST kept.
const UNCHANGED: u8 = b'u';

impl Relations {
    /// Keeps what the stream says of a relation until there is a row of it.
    pub fn describe(&mut self, relation: Relation) {
        self.described.insert(relation.oid, relation);
    }

    /// A description that no row has been read by.
    pub fn take_description(&mut self, oid: u32) -> Option<Relation> {
        if self.described.is_empty() { None } else { self.described.remove(&oid) }
    }

    /// Takes what the stream says of a relation; `None`: the line does not follow it.
    pub fn set(&mut self, oid: u32, plan: Option<Plan>) {
        self.plans.insert(oid, plan.map(Arc::new));
    }

    /// The plan of a relation.
    pub fn plan(&self, oid: u32) -> Result<Option<&Arc<Plan>>> {
        let plan =
            self.plans.get(&oid).ok_or_else(|| malformed("a row of a table that was not described"))?;
        Ok(plan.as_ref())
    }
}

impl Plan {
    /// The plan for a relation that looks as the catalogue had it, or did once: columns are found by their names. `codecs` are
    /// those of the relation's types.
    pub fn new(relation: &Relation, followed: &Followed, codecs: Vec<Codec>) -> Result<Plan> {
        let Followed { table, schema } = followed;
        let mut columns = Vec::with_capacity(relation.columns.len());
        for (column, codec) in relation.columns.iter().zip(codecs) {
            let index = schema.column_index(&column.name);
            let here = index.and_then(|index| schema.columns.get(index));
            if let Some(here) = here.filter(|here| here.ty != codec.column_type()) {
                return Err(retyped(here, table));
            }
            let slot = here.map(|here| here.slot as usize);
            columns.push(PlanColumn { codec, slot, identity: column.identity });
        }
        let full = relation.identity == b'f';
        for key in schema.key_columns() {
            let identifies = |column: &PlanColumn| column.slot == Some(key.slot as usize) && column.identity;
            if !full && !columns.iter().any(identifies) {
                let what = format!("the log does not tell the old value of key column `{}`", key.name);
                return Err(Error::new(ErrorKind::KeyMissing, what).at_table(&table.id).remedy(format!(
                    "ALTER TABLE {} REPLICA IDENTITY FULL, then sluice resnapshot",
                    table.qualified()
                )));
            }
        }
        let in_order = columns.len() == schema.slots()
            && columns.iter().enumerate().all(|(index, column)| column.slot == Some(index));
        Ok(Plan { schema: schema.clone(), columns, in_order })
    }

    /// The change that a row message tells of.
    pub fn change(&self, message: RowMessage, arena: &mut Arena) -> Result<Change> {
        let mut images = message.images;
        let change = match (message.op, images.u8()?) {
            (Op::Insert, b'N') => Change::Insert(self.row(&mut images, false, arena)?),
            (Op::Update, b'N') => {
                Change::Update { before: None, after: self.row(&mut images, false, arena)? }
            }
            (Op::Update, kind @ (b'K' | b'O')) => {
                let before = self.row(&mut images, kind == b'K', arena)?;
                if images.u8()? != b'N' {
                    return Err(malformed("an update without a new image"));
                }
                let after = self.row(&mut images, false, arena)?;
                // Of an image of the key alone: what of the key TOAST kept.
                let after = filled(after, &before);
                Change::Update { before: Some(before), after }
            }
            (Op::Delete, kind @ (b'K' | b'O')) => {
                Change::Delete(self.row(&mut images, kind == b'K', arena)?)
            }
            _ => return Err(malformed("a change without its image")),
        };
        if images.is_empty() { Ok(change) } else { Err(malformed("a change with something behind it")) }
    }

    /// One image. An image of the key alone has nulls where it has nothing.
    fn row(&self, from: &mut Cursor, key_only: bool, arena: &mut Arena) -> Result<Row> {
        if from.count(1)? != self.columns.len() {
            return Err(malformed("a row with more or fewer columns than its table"));
        }
        if self.in_order {
            let mut row = Row::with_columns(self.columns.len());
            for column in &self.columns {
                row.push(column.value(from, key_only, arena)?);
            }
            return Ok(row);
        }
        let mut values = vec![Value::Absent; self.schema.slots()];
        for column in &self.columns {
            let value = column.value(from, key_only, arena)?;
            if let Some(place) = column.slot.and_then(|slot| values.get_mut(slot)) {
                *place = value;
            }
        }
        Ok(Row::new(values))
    }
}

impl PlanColumn {
    #[inline]
    fn value(&self, from: &mut Cursor, key_only: bool, arena: &mut Arena) -> Result<Value> {
        let form = match from.u8()? {
            b'b' => Form::Binary,
            b't' => Form::Text,
            b'n' if key_only && !self.identity => return Ok(Value::Absent),
            b'n' => return Ok(Value::Null),
            // Absent is not null: the log did not carry it.
            UNCHANGED => return Ok(Value::Absent),
            _ => return Err(malformed("a value of an unknown form")),
        };
        let length = usize::try_from(from.i32()?).map_err(|_| malformed("a value of a negative length"))?;
        let range = from.range(length)?;
        if self.slot.is_none() {
            // Of a dropped column: no type says any more how it is read.
            return Ok(Value::Absent);
        }
        decode::value(&self.codec, form, from.buffer(), range, arena)
    }
}

/// What the log left out of an image because it had not changed, as far as the image of before has it.
fn filled(after: Row, before: &Row) -> Row {
    if after.values().iter().all(Value::is_present) {
        return after;
    }
    let mut row = Row::with_columns(after.values().len());
    for (slot, value) in after.values().iter().enumerate() {
        let value = if value.is_present() { value } else { before.get(slot as u32) };
        row.push(value.clone());
    }
    row
}

fn retyped(column: &Column, table: &Table) -> Error {
    let what = format!("column `{}` had another type when the change was made", column.name);
    // Not `schema-changed`: nobody can decide that the change is what it is not, and to resume must not pass for a decision.
    Error::new(ErrorKind::CaptureBroken, what)
        .at_table(&table.id)
        .remedy("Read the table again: sluice resnapshot, then sluice resume")
}

/// Whether a relation looks exactly as the catalogue had its table.
pub(crate) fn is_as_known(relation: &Relation, table: &Table) -> bool {
    let named = *relation.schema == *table.id.schema && *relation.name == *table.id.name;
    named
        && relation.columns.len() == table.columns.len()
        && relation.columns.iter().zip(&table.columns).all(|(one, other)| {
            *one.name == *other.name && one.type_oid == other.type_oid && one.modifier == other.modifier
        })
}

#[cfg(test)]
pub(crate) mod mutated;
