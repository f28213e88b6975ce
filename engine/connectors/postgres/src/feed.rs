//! What statements are fed with: rows and keys as arrays in the server's binary form, and rows as a copy has them.

use bytes::{BufMut, Bytes, BytesMut};
use sluice_types::{Error, Result, Value};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::encode::{self, Unfit};
use crate::fold::{Segment, Step};
use crate::plan::{Plan, PlanColumn};

/// What comes before the rows of a copy: signature, no flags, no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What comes behind them.
const COPY_TRAILER: i16 = -1;

/// A parameter that is in the server's binary form already.
#[derive(Clone, Debug)]
pub(crate) struct Raw(Bytes);

impl ToSql for Raw {
    fn to_sql(
        &self,
        _ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Parameters as the driver wants them.
pub(crate) fn parameters(raw: &[Raw]) -> Vec<&(dyn ToSql + Sync)> {
    raw.iter().map(|one| one as &(dyn ToSql + Sync)).collect()
}

/// The head of an array of so many elements.
fn put_array_head(oid: u32, length: usize, out: &mut BytesMut) {
    out.put_i32(1);
    out.put_i32(1); // there may be nulls
    out.put_u32(oid);
    out.put_i32(length as i32);
    out.put_i32(1);
}

/// An error of a value, at its event.
fn unfit(segment: &Segment<'_>, plan: &Plan, column: usize, step: &Step, why: Unfit) -> Error {
    plan.unfit(column, why).of_event(segment.event_with(step, plan.columns[column].slot))
}

/// The rows of these steps with these columns, for `Plan::rows`.
pub(crate) fn rows(segment: &Segment<'_>, plan: &Plan, steps: &[&Step], columns: &[u32]) -> Result<Vec<Raw>> {
    let mut raw = Vec::new();
    if plan.by_row {
        raw.push(whole_rows(segment, plan, steps, columns)?);
    }
    for index in plan.asides(columns) {
        let column = &plan.columns[index as usize];
        let value = |step: &Step| segment.new_key_value_or(plan, step, index, column.slot);
        raw.push(array(segment, plan, index as usize, steps, value)?);
    }
    Ok(raw)
}

/// Rows in the table's own row type; columns that are not sent are null.
fn whole_rows(segment: &Segment<'_>, plan: &Plan, steps: &[&Step], columns: &[u32]) -> Result<Raw> {
    let mut sent: Vec<Option<(usize, &PlanColumn)>> = vec![None; plan.shape.columns.len()];
    for &index in columns {
        let column = &plan.columns[index as usize];
        if !column.always_aside {
            sent[column.place] = Some((index as usize, column));
        }
    }
    let mut out = BytesMut::with_capacity(steps.len() * (24 + 16 * sent.len()));
    put_array_head(plan.shape.row_type, steps.len(), &mut out);
    for step in steps {
        let start = out.len();
        out.put_i32(0);
        out.put_i32(sent.len() as i32);
        for (there, column) in plan.shape.columns.iter().zip(&sent) {
            out.put_u32(there.type_oid);
            let Some((index, column)) = column else {
                out.put_i32(-1);
                continue;
            };
            let value = segment.new_key_value_or(plan, step, *index as u32, column.slot);
            encode::put(value, &column.kind, &mut out)
                .map_err(|why| unfit(segment, plan, *index, step, why))?;
        }
        let length = (out.len() - start - 4) as i32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(Raw(out.freeze()))
}

/// One column of these steps as an array.
fn array<'e>(
    segment: &Segment<'_>,
    plan: &Plan,
    index: usize,
    steps: &[&Step],
    value: impl Fn(&Step) -> &'e Value,
) -> Result<Raw> {
    let aside = &plan.columns[index].aside;
    let mut out = BytesMut::with_capacity(20 + 16 * steps.len());
    let mut tried = BytesMut::new();
    put_array_head(aside.oid, steps.len(), &mut out);
    for step in steps {
        let proven = match &aside.proof {
            None => Ok(()),
            Some(proof) => {
                tried.clear();
                encode::put(value(step), proof, &mut tried)
            }
        };
        let put = proven.and_then(|()| encode::put(value(step), &aside.kind, &mut out));
        put.map_err(|why| unfit(segment, plan, index, step, why))?;
    }
    Ok(Raw(out.freeze()))
}

/// The keys that the rows of these steps have before, for `Plan::keys`.
pub(crate) fn keys(segment: &Segment<'_>, plan: &Plan, steps: &[&Step]) -> Result<Vec<Raw>> {
    let of = |&index: &usize| {
        array(segment, plan, index, steps, |step| segment.key_value(step, plan.columns[index].slot))
    };
    plan.key.iter().map(of).collect()
}

/// The keys that they have afterwards.
pub(crate) fn new_keys(segment: &Segment<'_>, plan: &Plan, steps: &[&Step]) -> Result<Vec<Raw>> {
    let of = |&index: &usize| {
        array(segment, plan, index, steps, |step| segment.new_key_value(step, plan.columns[index].slot))
    };
    plan.key.iter().map(of).collect()
}

/// Keys that the line asks for, for `Plan::keys`.
pub(crate) fn asked_keys(plan: &Plan, keys: &[sluice_types::Key]) -> Result<Vec<Raw>> {
    let of = |(at, &index): (usize, &usize)| {
        let aside = &plan.columns[index].aside;
        let mut out = BytesMut::new();
        put_array_head(aside.oid, keys.len(), &mut out);
        for key in keys {
            let value = key.0.get(at).unwrap_or(&Value::Null);
            encode::put(value, &aside.kind, &mut out).map_err(|why| plan.unfit(index, why))?;
        }
        Ok(Raw(out.freeze()))
    };
    plan.key.iter().enumerate().map(of).collect()
}

/// The bytes of a copy, made piece by piece while the server reads.
pub(crate) struct Copy<'s, 'e> {
    segment: &'s Segment<'e>,
    plan: &'s Plan,
    steps: std::slice::Iter<'s, &'s Step>,
    begun: bool,
    ended: bool,
    /// A piece is sent when it has so many bytes.
    piece: usize,
}

impl<'s, 'e> Copy<'s, 'e> {
    /// A copy of the rows of these steps, all columns.
    pub fn new(segment: &'s Segment<'e>, plan: &'s Plan, steps: &'s [&'s Step], piece: usize) -> Self {
        Copy { segment, plan, steps: steps.iter(), begun: false, ended: false, piece }
    }

    /// The next piece; `None` after the last.
    pub fn next(&mut self) -> Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let mut out = BytesMut::with_capacity(self.piece + self.piece / 8);
        if !std::mem::replace(&mut self.begun, true) {
            out.put_slice(COPY_HEADER);
        }
        let columns = &self.plan.columns;
        while out.len() < self.piece {
            let Some(step) = self.steps.next() else {
                out.put_i16(COPY_TRAILER);
                self.ended = true;
                break;
            };
            out.put_i16(columns.len() as i16);
            for (index, column) in columns.iter().enumerate() {
                let value = self.segment.value(step, column.slot);
                encode::put(value, &column.kind, &mut out)
                    .map_err(|why| unfit(self.segment, self.plan, index, step, why))?;
            }
        }
        Ok(Some(out.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_copy_is_what_the_server_wants() {
        assert_eq!(COPY_HEADER.len(), 19);
        let mut out = BytesMut::new();
        put_array_head(20, 3, &mut out);
        assert_eq!(&out[..], [1, 1, 20, 3, 1].map(i32::to_be_bytes).concat());
    }
}
