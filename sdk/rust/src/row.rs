//! A plugin as a function of one row image.

use serde::de::DeserializeOwned;

use crate::decimal::Decimal;
use crate::out::{Out, Target};
use crate::raw::{self, Column, ColumnData, ConfigError, Output, Plan, RowError, TableInfo};
use crate::settings;
use crate::table::{Col, Route, Table};
use crate::value::{self, Kind, State, Value};

/// A plugin as a function of one row image. Export it by [`export_rows!`](crate::export_rows).
pub trait Rows: Sized {
    /// The configuration: a type that serde reads (with `deny_unknown_fields`), or [`Json`](crate::Json) to read by hand.
    type Config: DeserializeOwned;
    /// One line for people who choose among plugins.
    const SUMMARY: &'static str = "";
    /// A JSON Schema of the configuration.
    const CONFIG_SCHEMA: &'static str = "{}";

    /// Opens a table: asks for columns and says what becomes of them. Mistakes go to the [`Table`], which collects them.
    fn open(table: &mut Table, config: Self::Config) -> Self;

    /// Transforms one image. Called for each image of an event on its own (an update has two), so the answer must depend on nothing but the
    /// row: that is what lets the host find a row of the target by its image before the change.
    fn row(&self, row: &mut Row) -> Result<Keep, Reject>;
}

/// What becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It goes on, with what was set.
    Yes,
    /// It goes no further. Needs [`Table::selects`]. Of an update, dropping only the image after is a delete; only the one before, an insert.
    Drop,
    /// It goes on that often. Needs [`Table::selects`].
    Copies(u32),
}

/// The event is refused: it becomes a dead letter with the values it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The column that is to blame ([`Col::index`]).
    pub column: Option<u32>,
    /// Why. Kept with the event, never logged, at most 1 KiB: may hold values.
    pub message: String,
}

impl<T: Into<String>> From<T> for Reject {
    fn from(message: T) -> Self {
        Reject { column: None, message: message.into() }
    }
}

/// One row image: values of the columns that were read, and room for those that are written.
///
/// Getters answer what came in, also after a column was set, and borrow from the batch, so that what they answer can be set elsewhere. `None` is
/// null or absent; [`Row::state`] tells them apart, and doing nothing passes both on as they are. A getter or setter of another type than the column's
/// is a mistake of the plugin: it fails the batch with words.
pub struct Row<'b> {
    columns: &'b [Column],
    kinds: &'b [u8],
    at: usize,
    kind: u8,
    route: u16,
    outs: Vec<Out<'b>>,
    /// Written only where the plan announced it.
    select: Option<Vec<u32>>,
    out_kinds: Option<Vec<u8>>,
    routes: Option<Vec<u16>>,
    misuse: Option<String>,
}

/// Getters: the column's case and what is answered.
macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident -> $ty:ty: $case:ident($all:ident, $row:ident) $words:literal => $get:expr;)*) => {
        impl<'b> Row<'b> {
            $(
                $(#[$doc])*
                #[inline]
                pub fn $name(&mut self, column: Col) -> Option<$ty> {
                    let Some(found) = self.columns.get(column.read as usize) else {
                        return self.unread();
                    };
                    let $row = self.at;
                    if value::state(found, $row) != State::Value {
                        return None;
                    }
                    match &found.data {
                        ColumnData::$case($all) => Some($get),
                        _ => self.wrong(column, $words),
                    }
                }
            )*
        }
    };
}

getters! {
    /// Text, and whatever travels as text: decimal, interval, json, array, document, enumeration, extended.
    text -> &'b str: Strings(all, row) "text" => value::text(all, row);
    /// An int64, or a time in microseconds since midnight.
    int -> i64: Ints(all, row) "an integer" => all[row];
    /// A uint64.
    uint -> u64: Uints(all, row) "an unsigned integer" => all[row];
    /// A float32 or float64.
    float -> f64: Floats(all, row) "a float" => all[row];
    /// A boolean.
    bool -> bool: Bools(all, row) "true or false" => all[row] != 0;
    /// A date, in days since 1970-01-01.
    days -> i32: Days(all, row) "a date" => all[row];
    /// A timestamp or timestamptz, in microseconds since 1970-01-01.
    micros -> i64: Micros(all, row) "a point in time" => all[row];
    /// Bytes, or an ObjectId.
    bytes -> &'b [u8]: Blobs(all, row) "bytes" =>
        &all.data[all.offsets[row] as usize..all.offsets[row + 1] as usize];
    /// A uuid.
    uuid -> &'b [u8]: Uuids(all, row) "a uuid" => &all[row * 16..row * 16 + 16];
    /// A decimal.
    decimal -> Decimal<'b>: Strings(all, row) "a decimal" => Decimal(value::text(all, row));
}

/// Setters that hand over to the written column.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($value:ident: $ty:ty) => $call:ident($arg:expr);)*) => {
        impl Row<'_> {
            $(
                $(#[$doc])*
                #[inline]
                pub fn $name(&mut self, column: Col, $value: $ty) {
                    let Some(out) = self.outs.get_mut(column.write as usize) else { return self.unwritten() };
                    if let Err(misuse) = out.$call($arg) {
                        self.misuse.get_or_insert(misuse);
                    }
                }
            )*
        }
    };
}

setters! {
    /// Sets text, or whatever travels as text (see [`Row::text`]).
    set_text(value: &str) => set_text(value);
    /// Sets a decimal.
    set_decimal(value: Decimal<'_>) => set_text(value.0);
    /// Sets an int64, or a time.
    set_int(value: i64) => set_int(value);
    /// Sets a uint64.
    set_uint(value: u64) => set_uint(value);
    /// Sets a float32 or float64.
    set_float(value: f64) => set_float(value);
    /// Sets a boolean.
    set_bool(value: bool) => set_bool_byte(u8::from(value));
    /// Sets a date.
    set_days(value: i32) => set_days(value);
    /// Sets a timestamp or timestamptz.
    set_micros(value: i64) => set_micros(value);
    /// Sets bytes, or an ObjectId (12 of them).
    set_bytes(value: &[u8]) => set_bytes(value);
    /// Sets a uuid.
    set_uuid(value: &[u8; 16]) => set_uuid(value);
}

impl<'b> Row<'b> {
    /// What the image is.
    pub fn kind(&self) -> Kind {
        Kind::of(self.kinds[self.at])
    }

    /// Makes it another kind. Needs [`Table::changes_kinds`].
    pub fn set_kind(&mut self, kind: Kind) {
        if self.out_kinds.is_none() {
            self.misuse.get_or_insert_with(|| "a kind was set, but open didn't call changes_kinds()".into());
        }
        self.kind = kind as u8;
    }

    /// Sends it to another target, which open asked for by [`Table::route`].
    pub fn send_to(&mut self, route: Route) {
        self.route = route.0;
    }

    /// Whether a column has a value, null, or nothing because the log did not carry it.
    pub fn state(&self, column: Col) -> State {
        self.columns.get(column.read as usize).map_or(State::Absent, |column| value::state(column, self.at))
    }

    /// Whether the log did not carry it.
    pub fn is_absent(&self, column: Col) -> bool {
        self.state(column) == State::Absent
    }

    /// Whether it is null.
    pub fn is_null(&self, column: Col) -> bool {
        self.state(column) == State::Null
    }

    /// The value of a column of any type.
    pub fn get(&mut self, column: Col) -> Value<'b> {
        match self.columns.get(column.read as usize) {
            Some(found) => value::value(found, column.ty, self.at),
            None => self.unread::<()>().map_or(Value::Absent, |()| Value::Absent),
        }
    }

    /// Sets a column of any type.
    pub fn set(&mut self, column: Col, value: Value<'_>) {
        match value {
            Value::Absent => self.set_absent(column),
            Value::Null => self.set_null(column),
            Value::Bool(value) => self.set_bool(column, value),
            Value::Int(value) | Value::Time(value) => self.set_int(column, value),
            Value::Uint(value) => self.set_uint(column, value),
            Value::Float(value) => self.set_float(column, value),
            Value::Date(value) => self.set_days(column, value),
            Value::Timestamp(value) | Value::Timestamptz(value) => self.set_micros(column, value),
            Value::Bytes(value) | Value::ObjectId(value) => self.set_bytes(column, value),
            Value::Uuid(value) => self.set_uuid(column, &value),
            Value::Decimal(Decimal(value))
            | Value::Text(value)
            | Value::Interval(value)
            | Value::Json(value)
            | Value::Array(value)
            | Value::Document(value)
            | Value::Enumeration(value)
            | Value::Extended(value) => self.set_text(column, value),
        }
    }

    /// Sets null.
    pub fn set_null(&mut self, column: Col) {
        self.set_state(column, State::Null);
    }

    /// Sets "the log did not carry it": the target keeps what it has.
    pub fn set_absent(&mut self, column: Col) {
        self.set_state(column, State::Absent);
    }

    /// Sets null if another column is null, absent if it is absent; else nothing.
    pub fn set_missing_like(&mut self, column: Col, other: Col) {
        match self.state(other) {
            State::Value => {}
            state => self.set_state(column, state),
        }
    }

    fn set_state(&mut self, column: Col, state: State) {
        match self.outs.get_mut(column.write as usize) {
            Some(out) => out.set_state(state),
            None => self.unwritten(),
        }
    }

    /// Writes an output image now, with what has been set so far; may be called often for one row, which then usually ends in
    /// [`Keep::Drop`]. Needs [`Table::selects`].
    pub fn emit(&mut self) {
        if self.select.is_none() {
            self.undeclared_selects();
        }
        self.commit();
    }

    fn commit(&mut self) {
        for out in &mut self.outs {
            if let Err(misuse) = out.commit(self.columns, self.at) {
                self.misuse.get_or_insert(misuse);
            }
        }
        if let Some(select) = &mut self.select {
            select.push(self.at as u32);
        }
        if let Some(kinds) = &mut self.out_kinds {
            kinds.push(self.kind);
        }
        if let Some(routes) = &mut self.routes {
            routes.push(self.route);
        }
    }

    fn discard(&mut self) {
        self.outs.iter_mut().for_each(Out::discard);
    }

    #[cold]
    fn undeclared_selects(&mut self) {
        self.misuse
            .get_or_insert_with(|| "a row was dropped or copied, but open didn't call selects()".into());
    }

    #[cold]
    fn unread<T>(&mut self) -> Option<T> {
        self.misuse.get_or_insert_with(|| "a column was read that open only added".into());
        None
    }

    #[cold]
    fn unwritten(&mut self) {
        self.misuse.get_or_insert_with(|| {
            "a column was set that open only read: ask for it by edit() or add()".into()
        });
    }

    #[cold]
    fn wrong<T>(&mut self, column: Col, words: &str) -> Option<T> {
        let ty = column.ty.word();
        self.misuse.get_or_insert_with(|| format!("column {} is {ty} and was read as {words}", column.index));
        None
    }
}

/// An opened table of a [`Rows`] plugin.
#[doc(hidden)]
pub struct ByRow<P> {
    plugin: P,
    targets: Vec<Target>,
    selects: bool,
    changes_kinds: bool,
    routes: bool,
}

impl<P: Rows> ByRow<P> {
    pub(crate) fn open(info: TableInfo, config: &str) -> Result<Option<(Plan, Self)>, Vec<ConfigError>> {
        let config = settings::parse(config)?;
        let mut table = Table::new(info.clone());
        let plugin = P::open(&mut table, config);
        let Some(plan) = table.finish()? else { return Ok(None) };
        let opened = ByRow {
            plugin,
            targets: Target::all(&info, &plan),
            selects: plan.selects,
            changes_kinds: plan.changes_kinds,
            routes: !plan.routes.is_empty(),
        };
        Ok(Some((plan, opened)))
    }

    pub(crate) fn transform(&self, mut batch: raw::Batch) -> Result<Output, String> {
        let rows = batch.rows as usize;
        batch.columns.iter_mut().for_each(|column| value::with_offsets(column, rows));
        let mut rejects: Vec<RowError> = Vec::new();
        let mut row = Row {
            columns: &batch.columns,
            kinds: &batch.kinds,
            at: 0,
            kind: 0,
            route: 0,
            outs: self.targets.iter().map(|target| Out::new(target, rows)).collect(),
            select: self.selects.then(|| Vec::with_capacity(rows)),
            out_kinds: self.changes_kinds.then(|| Vec::with_capacity(rows)),
            routes: self.routes.then(|| Vec::with_capacity(rows)),
            misuse: None,
        };
        for at in 0..rows {
            (row.at, row.kind, row.route) = (at, batch.kinds[at], 0);
            row.outs.iter_mut().for_each(Out::begin);
            match self.plugin.row(&mut row) {
                Ok(Keep::Yes) => row.commit(),
                Ok(keep) => {
                    if row.select.is_none() {
                        row.undeclared_selects();
                    }
                    match keep {
                        Keep::Copies(times @ 1..) => (0..times).for_each(|_| row.commit()),
                        _ => row.discard(),
                    }
                }
                Err(reject) => {
                    rejects.push(RowError { row: at as u32, column: reject.column, message: reject.message });
                    // One value per output image; those of a refused one are ignored.
                    row.outs.iter_mut().for_each(|out| out.set_state(State::Null));
                    row.commit();
                }
            }
            if let Some(misuse) = row.misuse.take() {
                return Err(misuse);
            }
        }
        Ok(Output {
            columns: row.outs.into_iter().map(Out::finish).collect(),
            select: row.select,
            kinds: row.out_kinds.unwrap_or_default(),
            routes: row.routes.unwrap_or_default(),
            rejects,
        })
    }
}
