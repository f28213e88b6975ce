//! From a guest's answer to values. Everything that comes back is checked before it is used: an answer is either valid rows or a
//! typed error, never a panic and never a misread.

use bytes::Bytes;
use sluice_types::{ColumnType, Row, Text, Value};

use crate::contract::{Column, ColumnData, Output, RowError, state};
use crate::limits::{OUTPUT_IMAGES_PER_CALL, REJECT_BYTES, REJECTS};
use crate::lower::Images;
use crate::plan::{CheckedPlan, WriteColumn};
use crate::text;

/// A rule of the contract that an answer breaks; without anything that the guest wrote.
#[derive(Debug, PartialEq)]
pub(crate) struct Defect {
    pub(crate) what: String,
    /// The written column that it is about.
    pub(crate) column: Option<String>,
}

fn defect<T>(what: impl Into<String>) -> Result<T, Defect> {
    Err(Defect { what: what.into(), column: None })
}

/// An answer whose shape is checked; its values are checked as they are taken.
pub(crate) struct Answer {
    /// By place in the plan's writes; `None`: left out.
    columns: Vec<Option<Lifted>>,
    /// The input image of each output image; `None`: all, once.
    pub(crate) select: Option<Vec<u32>>,
    /// The kind of each output image; empty: as the input's, after pairing.
    pub(crate) kinds: Vec<u8>,
    /// The route of each output image; empty: all to the default.
    pub(crate) routes: Vec<u16>,
    pub(crate) rejects: Vec<RowError>,
}

struct Lifted {
    state: Vec<u8>,
    data: Data,
}

/// Column data whose lengths and offsets are checked.
enum Data {
    Bools(Vec<u8>),
    Ints(Vec<i64>),
    Uints(Vec<u64>),
    Floats(Vec<f64>),
    Days(Vec<i32>),
    Micros(Vec<i64>),
    /// Value i is `text[offsets[i]..offsets[i + 1] - gap]`.
    Strings {
        offsets: Vec<u32>,
        gap: usize,
        text: Text,
    },
    Blobs {
        offsets: Vec<u32>,
        bytes: Bytes,
    },
    Uuids(Vec<u8>),
}

/// Checks the shape of an answer to a batch of these images.
pub(crate) fn check(output: Output, plan: &CheckedPlan, images: &Images) -> Result<Answer, Defect> {
    let Output { columns, select, kinds, routes, rejects } = output;
    let sent = images.len();
    check_rejects(&rejects, plan, sent)?;
    let answered = match &select {
        None => sent,
        Some(_) if !plan.selects => return defect("it selects rows, which it did not plan"),
        Some(select) if select.len() > OUTPUT_IMAGES_PER_CALL => {
            return defect(format!("more than {OUTPUT_IMAGES_PER_CALL} images come back from one call"));
        }
        Some(select) => {
            if select.windows(2).any(|pair| pair[0] > pair[1]) {
                return defect("its selection descends");
            }
            if select.last().is_some_and(|last| *last as usize >= sent) {
                return defect("its selection names an image that was not sent");
            }
            select.len()
        }
    };
    if !kinds.is_empty() {
        if !plan.changes_kinds {
            return defect("it changes kinds, which it did not plan");
        }
        if kinds.len() != answered || kinds.iter().any(|kind| *kind > 4) {
            return defect("its kinds are not one code from 0 to 4 per image");
        }
    }
    if !routes.is_empty()
        && (routes.len() != answered || routes.iter().any(|route| usize::from(*route) > plan.routes.len()))
    {
        return defect("its routes are not one planned number per image");
    }
    let mut lifted: Vec<Option<Lifted>> = plan.writes.iter().map(|_| None).collect();
    for column in columns {
        let Some(place) = plan.writes.iter().position(|write| write.index == column.index) else {
            return defect("it answers with a column that it did not plan to write");
        };
        let write = &plan.writes[place];
        let checked = check_column(column, write, answered)
            .map_err(|defect| Defect { column: Some(write.name.to_string()), ..defect })?;
        if lifted[place].replace(checked).is_some() {
            return defect("it answers with a column twice");
        }
    }
    Ok(Answer { columns: lifted, select, kinds, routes, rejects })
}

fn check_rejects(rejects: &[RowError], plan: &CheckedPlan, sent: usize) -> Result<(), Defect> {
    if rejects.len() > REJECTS {
        return defect(format!("it rejects more than {REJECTS} images of one call"));
    }
    for reject in rejects {
        if reject.row as usize >= sent
            || reject.column.is_some_and(|column| column as usize >= plan.names.len())
        {
            return defect("it rejects an image or column that there is not");
        }
        if reject.message.len() > REJECT_BYTES {
            return defect(format!("a reject's message is longer than {REJECT_BYTES} bytes"));
        }
    }
    Ok(())
}

fn check_column(column: Column, write: &WriteColumn, rows: usize) -> Result<Lifted, Defect> {
    let Column { state, data, .. } = column;
    if !state.is_empty() && (state.len() != rows || state.iter().any(|code| *code > state::ABSENT)) {
        return defect("its states are not one code from 0 to 2 per image");
    }
    let count = |length: usize, expected: usize| {
        if length == expected { Ok(()) } else { defect("it does not have one value per image") }
    };
    use crate::contract::Case;
    let data = match (data, write.case) {
        (ColumnData::Bools(values), Case::Bools) => {
            count(values.len(), rows).map(|()| Data::Bools(values))?
        }
        (ColumnData::Ints(values), Case::Ints) => count(values.len(), rows).map(|()| Data::Ints(values))?,
        (ColumnData::Uints(values), Case::Uints) => {
            count(values.len(), rows).map(|()| Data::Uints(values))?
        }
        (ColumnData::Floats(values), Case::Floats) => {
            count(values.len(), rows).map(|()| Data::Floats(values))?
        }
        (ColumnData::Days(values), Case::Days) => count(values.len(), rows).map(|()| Data::Days(values))?,
        (ColumnData::Micros(values), Case::Micros) => {
            count(values.len(), rows).map(|()| Data::Micros(values))?
        }
        (ColumnData::Uuids(bytes), Case::Uuids) => {
            count(bytes.len(), rows * 16).map(|()| Data::Uuids(bytes))?
        }
        (ColumnData::Strings(strings), Case::Strings) => {
            let (offsets, gap) = match strings.offsets {
                offsets if offsets.is_empty() && rows > 0 => (split(&strings.data, rows)?, 1),
                offsets => (check_offsets(offsets, strings.data.len(), rows)?, 0),
            };
            Data::Strings { offsets, gap, text: Text::from(strings.data) }
        }
        (ColumnData::Blobs(blobs), Case::Blobs) => {
            let offsets = check_offsets(blobs.offsets, blobs.data.len(), rows)?;
            Data::Blobs { offsets, bytes: Bytes::from(blobs.data) }
        }
        _ => return defect("its data is not of the case that carries the planned type"),
    };
    Ok(Lifted { state, data })
}

/// rows + 1 offsets, from 0, ascending, to the end; none or `[0]` for no rows.
fn check_offsets(offsets: Vec<u32>, length: usize, rows: usize) -> Result<Vec<u32>, Defect> {
    if rows == 0 && length == 0 && (offsets.is_empty() || offsets == [0]) {
        return Ok(vec![0]);
    }
    let ascending = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    let whole = offsets.first() == Some(&0) && offsets.last().is_some_and(|last| *last as usize == length);
    if offsets.len() != rows + 1 || !ascending || !whole {
        return defect("its offsets do not divide its data into one value per image");
    }
    Ok(offsets)
}

/// The offsets of values that are joined by U+0000, each one behind its separator.
fn split(data: &str, rows: usize) -> Result<Vec<u32>, Defect> {
    let mut offsets = Vec::with_capacity(rows + 1);
    offsets.push(0);
    let separators = data.bytes().enumerate().filter(|(_, byte)| *byte == 0);
    offsets.extend(separators.map(|(at, _)| at as u32 + 1));
    offsets.push(data.len() as u32 + 1);
    if offsets.len() == rows + 1 {
        Ok(offsets)
    } else {
        defect("it does not have one joined value per image")
    }
}

impl Answer {
    /// An answer that changes nothing: for batches of no images.
    pub(crate) fn nothing(plan: &CheckedPlan) -> Answer {
        Answer {
            columns: plan.writes.iter().map(|_| None).collect(),
            select: None,
            kinds: vec![],
            routes: vec![],
            rejects: vec![],
        }
    }

    /// Appends the values of output image `image` to its row. On a defect the row may have some of them.
    pub(crate) fn push(&self, plan: &CheckedPlan, row: &mut Row, image: usize) -> Result<(), Defect> {
        for (lifted, write) in self.columns.iter().zip(&plan.writes) {
            let value = match (lifted, write.replaces) {
                (Some(lifted), _) => lifted
                    .value(write, image)
                    .map_err(|what| Defect { what: what.into(), column: Some(write.name.to_string()) })?,
                (None, Some(slot)) => row.get(slot).clone(),
                (None, None) if write.nullable => Value::Null,
                (None, None) => {
                    let column = Some(write.name.to_string());
                    return Err(Defect { what: "it is left out, new, and allows no null".into(), column });
                }
            };
            row.push(value);
        }
        Ok(())
    }
}

impl Lifted {
    fn value(&self, write: &WriteColumn, image: usize) -> Result<Value, &'static str> {
        match self.state.get(image) {
            None | Some(&state::VALUE) => self.data.value(write.ty, image),
            Some(&state::NULL) if !write.nullable => Err("it is null, which the plan does not allow"),
            Some(&state::NULL) => Ok(Value::Null),
            Some(_) => Ok(Value::Absent),
        }
    }
}

impl Data {
    fn value(&self, ty: ColumnType, image: usize) -> Result<Value, &'static str> {
        const OUT_OF_BOUNDS: &str = "it does not have one value per image";
        Ok(match self {
            Data::Bools(values) => match values.get(image) {
                Some(0) => Value::Bool(false),
                Some(1) => Value::Bool(true),
                _ => return Err("a boolean is neither 0 nor 1"),
            },
            Data::Ints(values) => {
                let value = *values.get(image).ok_or(OUT_OF_BOUNDS)?;
                match ty {
                    ColumnType::Time if !(0..=86_400_000_000).contains(&value) => {
                        return Err("a time of day is not within a day");
                    }
                    ColumnType::Time => Value::Time(value),
                    _ => Value::Int64(value),
                }
            }
            Data::Uints(values) => Value::Uint64(*values.get(image).ok_or(OUT_OF_BOUNDS)?),
            Data::Floats(values) => {
                let value = *values.get(image).ok_or(OUT_OF_BOUNDS)?;
                match ty {
                    ColumnType::Float32 => {
                        let narrow = value as f32;
                        // I7: never rounded in silence.
                        if f64::from(narrow) != value && !value.is_nan() {
                            return Err("a number does not fit into a float32 exactly");
                        }
                        Value::Float32(narrow)
                    }
                    _ => Value::Float64(value),
                }
            }
            Data::Days(values) => Value::Date(*values.get(image).ok_or(OUT_OF_BOUNDS)?),
            Data::Micros(values) => {
                let value = *values.get(image).ok_or(OUT_OF_BOUNDS)?;
                if ty == ColumnType::Timestamp { Value::Timestamp(value) } else { Value::Timestamptz(value) }
            }
            Data::Uuids(bytes) => {
                let uuid = bytes.get(image * 16..image * 16 + 16).and_then(|uuid| uuid.try_into().ok());
                Value::Uuid(uuid.ok_or(OUT_OF_BOUNDS)?)
            }
            Data::Blobs { offsets, bytes } => {
                let range = range(offsets, image, 0).ok_or(OUT_OF_BOUNDS)?;
                let slice = bytes.get(range).ok_or(OUT_OF_BOUNDS)?;
                match ty {
                    ColumnType::ObjectId => {
                        Value::ObjectId(slice.try_into().map_err(|_| "an object id does not have 12 bytes")?)
                    }
                    _ => Value::Bytes(bytes.slice_ref(slice)),
                }
            }
            Data::Strings { offsets, gap, text } => {
                let range = range(offsets, image, *gap).ok_or(OUT_OF_BOUNDS)?;
                // `get` also sees an offset within a character.
                let slice = text.get(range).ok_or("an offset is within a character")?;
                text_value(ty, slice, text)?
            }
        })
    }
}

fn range(offsets: &[u32], image: usize, gap: usize) -> Option<std::ops::Range<usize>> {
    Some(*offsets.get(image)? as usize..(*offsets.get(image + 1)? as usize).checked_sub(gap)?)
}

/// A value of `slice`, which is a part of `whole`: long texts share its buffer.
fn text_value(ty: ColumnType, slice: &str, whole: &Text) -> Result<Value, &'static str> {
    let shared = || whole.slice_ref(slice);
    Ok(match ty {
        ColumnType::Text => Value::Text(shared()),
        ColumnType::Enumeration => Value::Enum(shared()),
        ColumnType::Decimal if text::is_decimal(slice) => Value::Decimal(shared()),
        ColumnType::Decimal => return Err("a text is not a decimal"),
        ColumnType::Json if text::is_json(slice) => Value::Json(shared()),
        ColumnType::Json => return Err("a text is not JSON"),
        ColumnType::Interval => {
            Value::Interval(text::read_interval(slice).ok_or("a text is not an interval")?)
        }
        ColumnType::Array => Value::Array(text::read_array(slice).ok_or("a text is not an array")?.into()),
        ColumnType::Document => {
            Value::Document(text::read_document(slice).ok_or("a text is not a document")?.into())
        }
        ColumnType::Extended => Value::Extended(
            text::read_extended(slice).ok_or("a text is not a type's name and a text")?.into(),
        ),
        _ => return Err("its data is not of the case that carries the planned type"),
    })
}

#[cfg(test)]
mod tests;
