//! A written column as it grows, one output image after the other.

use crate::raw::{Blobs, Column, ColumnData, ColumnType, Plan, Strings, TableInfo};
use crate::value::{self, State};

/// What is known of a written column when its table is opened.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    index: u32,
    ty: ColumnType,
    name: String,
    /// Where the column that it replaces stands in a batch, and whether its type stays.
    replaces: Option<(usize, bool)>,
    /// Where the columns that it is computed from stand in a batch.
    from: Vec<usize>,
}

impl Target {
    pub(crate) fn all(table: &TableInfo, plan: &Plan) -> Vec<Target> {
        let place = |index: &u32| plan.read.iter().position(|read| read == index);
        plan.write
            .iter()
            .map(|written| Target {
                index: written.index,
                ty: written.column.type_,
                name: written.column.name.clone(),
                replaces: place(&written.index)
                    .map(|at| (at, table.columns[written.index as usize].type_ == written.column.type_)),
                from: written.from.iter().filter_map(place).collect(),
            })
            .collect()
    }
}

/// The value that the image at hand gets.
#[derive(Clone, Copy, PartialEq)]
enum Pending {
    /// The author hasn't said.
    Unset,
    /// Pushed onto the data, or, if not a value, not pushed yet.
    Set(State),
    /// As the output image before, which came from the same input image.
    Repeat,
}

pub(crate) struct Out<'p> {
    target: &'p Target,
    data: ColumnData,
    /// Empty until the first value that isn't one.
    state: Vec<u8>,
    /// Output images so far.
    rows: usize,
    pending: Pending,
}

impl<'p> Out<'p> {
    pub(crate) fn new(target: &'p Target, rows: usize) -> Out<'p> {
        let mut data = value::empty(target.ty);
        match &mut data {
            ColumnData::Bools(all) => all.reserve(rows),
            ColumnData::Ints(all) | ColumnData::Micros(all) => all.reserve(rows),
            ColumnData::Uints(all) => all.reserve(rows),
            ColumnData::Floats(all) => all.reserve(rows),
            ColumnData::Days(all) => all.reserve(rows),
            ColumnData::Uuids(all) => all.reserve(rows * 16),
            ColumnData::Strings(all) => {
                all.offsets.reserve(rows);
                all.data.reserve(rows * 16);
            }
            ColumnData::Blobs(all) => all.offsets.reserve(rows),
        }
        Out { target, data, state: Vec::new(), rows: 0, pending: Pending::Unset }
    }

    /// The next input image.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.pending = Pending::Unset;
    }

    #[inline]
    pub(crate) fn set_state(&mut self, state: State) {
        self.take_back();
        self.pending = Pending::Set(state);
    }

    /// Text for whatever type travels as text.
    #[inline]
    pub(crate) fn set_text(&mut self, text: &str) -> Result<(), String> {
        self.take_back();
        let ColumnData::Strings(all) = &mut self.data else { return self.misuse("text") };
        all.data.push_str(text);
        self.pending = Pending::Set(State::Value);
        Ok(())
    }

    pub(crate) fn set_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.take_back();
        let ColumnData::Blobs(all) = &mut self.data else { return self.misuse("bytes") };
        all.data.extend_from_slice(bytes);
        self.pending = Pending::Set(State::Value);
        Ok(())
    }

    pub(crate) fn set_uuid(&mut self, uuid: &[u8; 16]) -> Result<(), String> {
        self.take_back();
        let ColumnData::Uuids(all) = &mut self.data else { return self.misuse("a uuid") };
        all.extend_from_slice(uuid);
        self.pending = Pending::Set(State::Value);
        Ok(())
    }

    /// Takes back a value that was set for the image at hand.
    #[inline]
    fn take_back(&mut self) {
        if self.pending != Pending::Set(State::Value) {
            return;
        }
        let rows = self.rows;
        match &mut self.data {
            ColumnData::Bools(all) => all.truncate(rows),
            ColumnData::Ints(all) | ColumnData::Micros(all) => all.truncate(rows),
            ColumnData::Uints(all) => all.truncate(rows),
            ColumnData::Floats(all) => all.truncate(rows),
            ColumnData::Days(all) => all.truncate(rows),
            ColumnData::Uuids(all) => all.truncate(rows * 16),
            ColumnData::Strings(all) => all.data.truncate(all.offsets[rows] as usize),
            ColumnData::Blobs(all) => all.data.truncate(all.offsets[rows] as usize),
        }
        self.pending = Pending::Unset;
    }

    /// The image at hand is not written after all.
    #[inline]
    pub(crate) fn discard(&mut self) {
        self.take_back();
    }

    /// The image at hand is written: what was set, else what came in.
    #[inline]
    pub(crate) fn commit(&mut self, columns: &[Column], row: usize) -> Result<(), String> {
        match self.pending {
            Pending::Set(State::Value) => self.close(State::Value),
            Pending::Set(state) => self.push_nothing(state),
            Pending::Repeat => self.repeat(),
            Pending::Unset => self.push_input(columns, row)?,
        }
        if self.pending != Pending::Unset {
            self.pending = Pending::Repeat;
        }
        Ok(())
    }

    #[inline]
    fn push_input(&mut self, columns: &[Column], row: usize) -> Result<(), String> {
        let Some((at, same_type)) = self.target.replaces else {
            // An added column that nobody set: null, unless what it is computed from isn't known.
            let absent = self.target.from.iter().any(|&at| value::state(&columns[at], row) == State::Absent);
            self.push_nothing(if absent { State::Absent } else { State::Null });
            return Ok(());
        };
        let column = &columns[at];
        match value::state(column, row) {
            State::Value if same_type => {
                copy(&column.data, row, &mut self.data);
                self.close(State::Value);
            }
            State::Value => {
                return Err(format!("column `{}` got another type but no value", self.target.name));
            }
            state => self.push_nothing(state),
        }
        Ok(())
    }

    /// The value of the output image before, once more.
    fn repeat(&mut self) {
        let last = self.rows - 1;
        let state = self.state.get(last).copied().unwrap_or(0);
        match &mut self.data {
            ColumnData::Bools(all) => all.push(all[last]),
            ColumnData::Ints(all) | ColumnData::Micros(all) => all.push(all[last]),
            ColumnData::Uints(all) => all.push(all[last]),
            ColumnData::Floats(all) => all.push(all[last]),
            ColumnData::Days(all) => all.push(all[last]),
            ColumnData::Uuids(all) => all.extend_from_within(last * 16..),
            ColumnData::Strings(all) => {
                let (from, to) = (all.offsets[last] as usize, all.offsets[last + 1] as usize);
                all.data.extend_from_within(from..to);
            }
            ColumnData::Blobs(all) => {
                let (from, to) = (all.offsets[last] as usize, all.offsets[last + 1] as usize);
                all.data.extend_from_within(from..to);
            }
        }
        self.close(match state {
            0 => State::Value,
            1 => State::Null,
            _ => State::Absent,
        });
    }

    fn push_nothing(&mut self, state: State) {
        match &mut self.data {
            ColumnData::Bools(all) => all.push(0),
            ColumnData::Ints(all) | ColumnData::Micros(all) => all.push(0),
            ColumnData::Uints(all) => all.push(0),
            ColumnData::Floats(all) => all.push(0.0),
            ColumnData::Days(all) => all.push(0),
            ColumnData::Uuids(all) => all.extend_from_slice(&[0; 16]),
            ColumnData::Strings(_) | ColumnData::Blobs(_) => {}
        }
        self.close(state);
    }

    /// Ends the image whose value has been pushed.
    #[inline]
    fn close(&mut self, state: State) {
        match &mut self.data {
            ColumnData::Strings(Strings { offsets, data }) => offsets.push(data.len() as u32),
            ColumnData::Blobs(Blobs { offsets, data }) => offsets.push(data.len() as u32),
            _ => {}
        }
        if state != State::Value && self.state.is_empty() {
            self.state.resize(self.rows, 0);
        }
        self.rows += 1;
        if state != State::Value || !self.state.is_empty() {
            self.state.push(state as u8);
        }
    }

    pub(crate) fn finish(self) -> Column {
        Column { index: self.target.index, state: self.state, data: self.data }
    }

    #[cold]
    fn misuse(&self, given: &str) -> Result<(), String> {
        Err(format!("column `{}` is {} and can't be set to {given}", self.target.name, self.target.ty.word()))
    }
}

/// Setters of fixed-size values: the column's case and the Rust type.
macro_rules! setters {
    ($($name:ident($ty:ty): $($case:ident)|+ = $words:literal;)*) => {
        impl Out<'_> {
            $(
                #[inline]
                pub(crate) fn $name(&mut self, value: $ty) -> Result<(), String> {
                    self.take_back();
                    match &mut self.data {
                        $(ColumnData::$case(all))|+ => all.push(value),
                        _ => return self.misuse($words),
                    }
                    self.pending = Pending::Set(State::Value);
                    Ok(())
                }
            )*
        }
    };
}

setters! {
    set_bool_byte(u8): Bools = "true or false";
    set_int(i64): Ints = "an integer";
    set_uint(u64): Uints = "an unsigned integer";
    set_float(f64): Floats = "a float";
    set_days(i32): Days = "a date";
    set_micros(i64): Micros = "a point in time";
}

fn copy(from: &ColumnData, row: usize, to: &mut ColumnData) {
    match (from, to) {
        (ColumnData::Bools(from), ColumnData::Bools(to)) => to.push(from[row]),
        (ColumnData::Ints(from), ColumnData::Ints(to)) => to.push(from[row]),
        (ColumnData::Uints(from), ColumnData::Uints(to)) => to.push(from[row]),
        (ColumnData::Floats(from), ColumnData::Floats(to)) => to.push(from[row]),
        (ColumnData::Days(from), ColumnData::Days(to)) => to.push(from[row]),
        (ColumnData::Micros(from), ColumnData::Micros(to)) => to.push(from[row]),
        (ColumnData::Uuids(from), ColumnData::Uuids(to)) => {
            to.extend_from_slice(&from[row * 16..row * 16 + 16])
        }
        (ColumnData::Strings(from), ColumnData::Strings(to)) => to.data.push_str(value::text(from, row)),
        (ColumnData::Blobs(from), ColumnData::Blobs(to)) => {
            to.data.extend_from_slice(&from.data[from.offsets[row] as usize..from.offsets[row + 1] as usize]);
        }
        // `same_type` says that both are of one case.
        _ => {}
    }
}
