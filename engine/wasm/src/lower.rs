//! From rows to columns: what of a batch crosses into the sandbox.

use std::collections::BTreeMap;

use sluice_types::{Change, ColumnType, ErrorKind, Event, Reason, Row, Value};

use crate::contract::{Column, ColumnData, Strings, kind, state};
use crate::plan::{CheckedPlan, ReadColumn};
use crate::text::write_text;

/// The images of a batch: which event each is of, and what it is.
#[derive(Default)]
pub(crate) struct Images {
    pub(crate) kinds: Vec<u8>,
    /// The index of the image's event.
    pub(crate) events: Vec<u32>,
}

impl Images {
    /// The images of these events, in order, less the excluded ones; truncates have none.
    pub(crate) fn collect(&mut self, events: &[Event], before_images: bool, excluded: &Excluded) {
        self.kinds.clear();
        self.events.clear();
        for (index, event) in (0u32..).zip(events) {
            if excluded.contains_key(&index) {
                continue;
            }
            let code = match &event.change {
                Change::Snapshot(_) => kind::SNAPSHOT,
                Change::Insert(_) => kind::INSERT,
                Change::Delete(_) => kind::DELETE,
                Change::Update { before, .. } => {
                    if before_images && before.is_some() {
                        self.kinds.push(kind::BEFORE);
                        self.events.push(index);
                    }
                    kind::AFTER
                }
                Change::Truncate => continue,
            };
            self.kinds.push(code);
            self.events.push(index);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }
}

/// How many images an event has for a guest.
pub(crate) fn image_count(event: &Event, before_images: bool) -> usize {
    match &event.change {
        Change::Update { before: Some(_), .. } if before_images => 2,
        Change::Truncate => 0,
        _ => 1,
    }
}

/// Events of a call that are rejected, by their index in it, and why.
pub(crate) type Excluded = BTreeMap<u32, Reason>;

/// The rows of the images, in the same order as [`Images::collect`].
pub(crate) fn rows<'a>(
    events: &'a [Event],
    images: &Images,
    before_images: bool,
    excluded: &Excluded,
) -> Vec<&'a Row> {
    let mut rows = Vec::with_capacity(images.len());
    for (index, event) in (0u32..).zip(events) {
        if excluded.contains_key(&index) {
            continue;
        }
        match &event.change {
            Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => rows.push(row),
            Change::Update { before, after } => {
                if before_images {
                    rows.extend(before);
                }
                rows.push(after);
            }
            Change::Truncate => {}
        }
    }
    rows
}

/// A value that must not cross.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// The image.
    pub(crate) image: usize,
    /// The column, as an index into the plan's reads.
    pub(crate) column: usize,
    /// `type-mismatch` or `value_too_large`.
    pub(crate) kind: ErrorKind,
}

/// Column buffers, kept from batch to batch.
#[derive(Default)]
pub(crate) struct Columns {
    columns: Vec<Column>,
}

impl Columns {
    /// Buffers for a plan.
    pub(crate) fn new(plan: &CheckedPlan) -> Columns {
        let column =
            |read: &ReadColumn| Column { index: read.index, state: Vec::new(), data: read.case.empty() };
        Columns { columns: plan.reads.iter().map(column).collect() }
    }

    /// The filled columns.
    pub(crate) fn get(&self) -> &[Column] {
        &self.columns
    }

    /// Fills the columns from these rows; what must not cross is in `misfits`. `false`: more than `limits.total` bytes.
    pub(crate) fn fill(
        &mut self,
        rows: &[&Row],
        plan: &CheckedPlan,
        limits: InputLimits,
        misfits: &mut Vec<Misfit>,
    ) -> bool {
        let mut left = limits.total;
        for (at, (column, read)) in self.columns.iter_mut().zip(&plan.reads).enumerate() {
            column.state.clear();
            let mut misfit = |image: usize, kind: ErrorKind| misfits.push(Misfit { image, column: at, kind });
            let limits = InputLimits { total: left, ..limits };
            let bytes = fill_column(column, read, rows, plan.joined_text, limits, &mut misfit);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    }
}

/// What may cross in one call, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputLimits {
    /// One value.
    pub(crate) value: usize,
    /// All columns together.
    pub(crate) total: usize,
}

/// Marks an image's value as null or absent; the states before it were values.
#[inline]
fn mark(states: &mut Vec<u8>, image: usize, code: u8) {
    if states.is_empty() {
        states.resize(image, state::VALUE);
    }
    states.push(code);
}

/// Fills a column of numbers: `$variant`s of [`Value`] by `$convert`, everything else is null, absent or a misfit.
macro_rules! numbers {
    ($data:expr, $column:expr, $rows:expr, $slot:expr, $misfit:expr, $empty:expr, { $($pattern:pat => $convert:expr),* $(,)? }) => {{
        $data.clear();
        $data.reserve($rows.len());
        for (image, row) in $rows.iter().enumerate() {
            let (value, code) = match row.get($slot) {
                $($pattern => ($convert, state::VALUE),)*
                Value::Null => ($empty, state::NULL),
                Value::Absent => ($empty, state::ABSENT),
                _ => {
                    $misfit(image, ErrorKind::TypeMismatch);
                    ($empty, state::NULL)
                }
            };
            $data.push(value);
            if code != state::VALUE || !$column.is_empty() {
                mark($column, image, code);
            }
        }
        size_of_val(&$data[..])
    }};
}

fn fill_column(
    column: &mut Column,
    read: &ReadColumn,
    rows: &[&Row],
    joined: bool,
    limits: InputLimits,
    misfit: &mut dyn FnMut(usize, ErrorKind),
) -> usize {
    use ColumnType as T;
    use Value as V;
    let states = &mut column.state;
    let slot = read.slot;
    match (&mut column.data, read.ty) {
        (ColumnData::Bools(data), _) => {
            numbers!(data, states, rows, slot, misfit, 0, { V::Bool(b) => u8::from(*b) })
        }
        (ColumnData::Ints(data), T::Time) => {
            numbers!(data, states, rows, slot, misfit, 0, { V::Time(v) => *v })
        }
        (ColumnData::Ints(data), _) => numbers!(data, states, rows, slot, misfit, 0, { V::Int64(v) => *v }),
        (ColumnData::Uints(data), _) => numbers!(data, states, rows, slot, misfit, 0, { V::Uint64(v) => *v }),
        (ColumnData::Floats(data), T::Float32) => {
            numbers!(data, states, rows, slot, misfit, 0.0, { V::Float32(v) => f64::from(*v) })
        }
        (ColumnData::Floats(data), _) => {
            numbers!(data, states, rows, slot, misfit, 0.0, { V::Float64(v) => *v })
        }
        (ColumnData::Days(data), _) => numbers!(data, states, rows, slot, misfit, 0, { V::Date(v) => *v }),
        (ColumnData::Micros(data), T::Timestamp) => {
            numbers!(data, states, rows, slot, misfit, 0, { V::Timestamp(v) => *v })
        }
        (ColumnData::Micros(data), _) => {
            numbers!(data, states, rows, slot, misfit, 0, { V::Timestamptz(v) => *v })
        }
        (ColumnData::Uuids(data), _) => {
            data.clear();
            for (image, row) in rows.iter().enumerate() {
                let code = match row.get(slot) {
                    V::Uuid(uuid) => {
                        data.extend_from_slice(uuid);
                        state::VALUE
                    }
                    other => {
                        data.extend_from_slice(&[0; 16]);
                        missing(other, image, misfit)
                    }
                };
                if code != state::VALUE || !states.is_empty() {
                    mark(states, image, code);
                }
            }
            data.len()
        }
        (ColumnData::Blobs(blobs), ty) => {
            blobs.offsets.clear();
            blobs.data.clear();
            blobs.offsets.push(0);
            for (image, row) in rows.iter().enumerate() {
                let bytes: &[u8] = match (row.get(slot), ty) {
                    (V::Bytes(bytes), T::Bytes) => bytes,
                    (V::ObjectId(id), T::ObjectId) => id,
                    (other, _) => {
                        mark(states, image, missing(other, image, misfit));
                        blobs.offsets.push(blobs.data.len() as u32);
                        continue;
                    }
                };
                if bytes.len() > limits.value {
                    misfit(image, ErrorKind::ValueTooLarge);
                } else {
                    blobs.data.extend_from_slice(bytes);
                }
                if blobs.data.len() > limits.total {
                    break;
                }
                blobs.offsets.push(blobs.data.len() as u32);
                if !states.is_empty() {
                    states.push(state::VALUE);
                }
            }
            blobs.data.len()
        }
        (ColumnData::Strings(strings), _) => {
            fill_text(strings, states, read, rows, limits, misfit);
            if joined
                && strings.data.len() <= limits.total
                && !rows.is_empty()
                && !strings.data.as_bytes().contains(&0)
            {
                join(&mut strings.offsets, &mut strings.data);
            }
            strings.data.len()
        }
    }
}

fn missing(value: &Value, image: usize, misfit: &mut dyn FnMut(usize, ErrorKind)) -> u8 {
    match value {
        Value::Null => state::NULL,
        Value::Absent => state::ABSENT,
        _ => {
            misfit(image, ErrorKind::TypeMismatch);
            state::NULL
        }
    }
}

fn fill_text(
    Strings { offsets, data }: &mut Strings,
    states: &mut Vec<u8>,
    read: &ReadColumn,
    rows: &[&Row],
    limits: InputLimits,
    misfit: &mut dyn FnMut(usize, ErrorKind),
) {
    offsets.clear();
    data.clear();
    offsets.reserve(rows.len() + 1);
    offsets.push(0);
    for (image, row) in rows.iter().enumerate() {
        let value = row.get(read.slot);
        let start = data.len();
        let code = match value {
            // Text is what most columns hold; its length is known before it is copied.
            Value::Text(text) if read.ty == ColumnType::Text => {
                if text.len() > limits.value {
                    misfit(image, ErrorKind::ValueTooLarge);
                } else {
                    data.push_str(text);
                }
                state::VALUE
            }
            value if !matches!(value, Value::Null | Value::Absent) && read.ty.holds(value) => {
                if value.weight() > limits.value {
                    misfit(image, ErrorKind::ValueTooLarge);
                } else {
                    write_text(value, data);
                    if data.len() - start > limits.value {
                        misfit(image, ErrorKind::ValueTooLarge);
                        data.truncate(start);
                    }
                }
                state::VALUE
            }
            other => missing(other, image, misfit),
        };
        if data.len() > limits.total {
            return; // the caller sees it by the length
        }
        offsets.push(data.len() as u32);
        if code != state::VALUE || !states.is_empty() {
            mark(states, image, code);
        }
    }
}

/// From offsets to values joined by U+0000, for guests whose language splits faster than it slices.
fn join(offsets: &mut Vec<u32>, data: &mut String) {
    let mut joined = String::with_capacity(data.len() + offsets.len());
    for (at, range) in offsets.windows(2).enumerate() {
        if at > 0 {
            joined.push('\0');
        }
        joined.push_str(&data[range[0] as usize..range[1] as usize]);
    }
    *data = joined;
    offsets.clear();
}
