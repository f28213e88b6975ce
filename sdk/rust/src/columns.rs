//! A plugin as a function of whole columns: what the contract gives, with names and checks.

use serde::de::DeserializeOwned;

use crate::raw::{
    self, Blobs, Column, ColumnData, ColumnType, ConfigError, Output, Plan, RowError, Strings, TableInfo,
};
use crate::row::Reject;
use crate::settings;
use crate::table::{Col, Table};
use crate::value::{self, Kind, State, Value};

/// A plugin as a function of whole columns. Export it by [`export_columns!`](crate::export_columns).
pub trait Columns: Sized {
    /// The configuration: a type that serde reads (with `deny_unknown_fields`), or [`Json`](crate::Json) to read by hand.
    type Config: DeserializeOwned;
    /// One line for people who choose among plugins.
    const SUMMARY: &'static str = "";
    /// A JSON Schema of the configuration.
    const CONFIG_SCHEMA: &'static str = "{}";

    /// Opens a table: asks for columns and says what becomes of them. Mistakes go to the [`Table`], which collects them.
    fn open(table: &mut Table, config: Self::Config) -> Self;

    /// Transforms a batch of images. A written column that isn't put into the answer stays as it is (an added one: null).
    /// `Err` fails the whole batch; the host halves it to find the event at fault.
    fn batch(&self, batch: &mut Batch, answer: &mut Answer) -> Result<(), String>;
}

/// Row images, column by column.
pub struct Batch {
    rows: usize,
    kinds: Vec<u8>,
    columns: Vec<Column>,
}

impl Batch {
    /// How many images there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What an image is. A `Before` directly precedes its `After`; an `After` may come alone.
    pub fn kind(&self, row: usize) -> Kind {
        Kind::of(self.kinds[row])
    }

    /// The kinds of all images, as numbers ([`Kind`]).
    pub fn kinds(&self) -> &[u8] {
        &self.kinds
    }

    /// A column that was read.
    pub fn column(&self, column: Col) -> &Column {
        &self.columns[column.read as usize]
    }

    /// A column that was read, to keep or to change in place.
    pub fn take(&mut self, column: Col) -> Column {
        let empty = Column { index: column.index, state: Vec::new(), data: value::empty(column.ty) };
        std::mem::replace(&mut self.columns[column.read as usize], empty)
    }

    /// One value.
    pub fn value(&self, column: Col, row: usize) -> Value<'_> {
        value::value(self.column(column), column.ty, row)
    }

    /// Whether one value is a value, null, or absent.
    pub fn state(&self, column: Col, row: usize) -> State {
        value::state(self.column(column), row)
    }

    /// Text and whatever travels as text. Value `i` is `data[offsets[i]..offsets[i + 1]]`; empty if it is null or absent.
    pub fn text(&self, column: Col) -> Option<&Strings> {
        match &self.column(column).data {
            ColumnData::Strings(all) => Some(all),
            _ => None,
        }
    }

    /// int64 and time; 0 where there is no value.
    pub fn ints(&self, column: Col) -> Option<&[i64]> {
        match &self.column(column).data {
            ColumnData::Ints(all) => Some(all),
            _ => None,
        }
    }

    /// float32 and float64; 0 where there is no value.
    pub fn floats(&self, column: Col) -> Option<&[f64]> {
        match &self.column(column).data {
            ColumnData::Floats(all) => Some(all),
            _ => None,
        }
    }
}

/// What becomes of a batch.
pub struct Answer {
    output: Output,
}

impl Answer {
    /// A written column: one value per output image, in the case that its type has (see the contract). `state` empty: all are values.
    pub fn put(&mut self, column: Col, data: ColumnData, state: Vec<u8>) {
        self.output.columns.push(Column { index: column.index, state, data });
    }

    /// Another column's values and states, unchanged.
    pub fn put_column(&mut self, column: Col, values: Column) {
        self.output.columns.push(Column { index: column.index, ..values });
    }

    /// Output image `k` comes from image `select[k]`; never descending. Needs [`Table::selects`].
    pub fn select(&mut self, select: Vec<u32>) {
        self.output.select = Some(select);
    }

    /// The kind of each output image. Needs [`Table::changes_kinds`].
    pub fn kinds(&mut self, kinds: Vec<u8>) {
        self.output.kinds = kinds;
    }

    /// The route of each output image: 0 for the default target, else in the order of [`Table::route`], from 1.
    pub fn routes(&mut self, routes: Vec<u16>) {
        self.output.routes = routes;
    }

    /// Refuses the event of an image.
    pub fn reject(&mut self, row: usize, reject: Reject) {
        self.output.rejects.push(RowError {
            row: row as u32,
            column: reject.column,
            message: reject.message,
        });
    }
}

/// The same value for every row, as column data: for constants.
pub fn repeat(value: Value<'_>, ty: ColumnType, rows: usize) -> (ColumnData, Vec<u8>) {
    let text = |text: &str| {
        let offsets = (0..=rows).map(|row| (row * text.len()) as u32).collect();
        ColumnData::Strings(Strings { offsets, data: text.repeat(rows) })
    };
    let data = match value {
        Value::Null | Value::Absent => {
            let data = match value::empty(ty) {
                ColumnData::Bools(_) => ColumnData::Bools(vec![0; rows]),
                ColumnData::Ints(_) => ColumnData::Ints(vec![0; rows]),
                ColumnData::Uints(_) => ColumnData::Uints(vec![0; rows]),
                ColumnData::Floats(_) => ColumnData::Floats(vec![0.0; rows]),
                ColumnData::Days(_) => ColumnData::Days(vec![0; rows]),
                ColumnData::Micros(_) => ColumnData::Micros(vec![0; rows]),
                ColumnData::Uuids(_) => ColumnData::Uuids(vec![0; rows * 16]),
                ColumnData::Strings(_) => text(""),
                ColumnData::Blobs(_) => {
                    ColumnData::Blobs(Blobs { offsets: vec![0; rows + 1], data: Vec::new() })
                }
            };
            return (data, vec![value.state() as u8; rows]);
        }
        Value::Bool(value) => ColumnData::Bools(vec![u8::from(value); rows]),
        Value::Int(value) | Value::Time(value) => ColumnData::Ints(vec![value; rows]),
        Value::Uint(value) => ColumnData::Uints(vec![value; rows]),
        Value::Float(value) => ColumnData::Floats(vec![value; rows]),
        Value::Date(value) => ColumnData::Days(vec![value; rows]),
        Value::Timestamp(value) | Value::Timestamptz(value) => ColumnData::Micros(vec![value; rows]),
        Value::Uuid(value) => ColumnData::Uuids(value.repeat(rows)),
        Value::Bytes(value) | Value::ObjectId(value) => ColumnData::Blobs(Blobs {
            offsets: (0..=rows).map(|row| (row * value.len()) as u32).collect(),
            data: value.repeat(rows),
        }),
        Value::Decimal(value) => text(value.0),
        Value::Text(value)
        | Value::Interval(value)
        | Value::Json(value)
        | Value::Array(value)
        | Value::Document(value)
        | Value::Enumeration(value)
        | Value::Extended(value) => text(value),
    };
    (data, Vec::new())
}

/// An opened table of a [`Columns`] plugin.
#[doc(hidden)]
pub struct ByColumn<P> {
    plugin: P,
}

impl<P: Columns> ByColumn<P> {
    pub(crate) fn open(info: TableInfo, config: &str) -> Result<Option<(Plan, Self)>, Vec<ConfigError>> {
        let config = settings::parse(config)?;
        let mut table = Table::new(info);
        let plugin = P::open(&mut table, config);
        Ok(table.finish()?.map(|plan| (plan, ByColumn { plugin })))
    }

    pub(crate) fn transform(&self, batch: raw::Batch) -> Result<Output, String> {
        let rows = batch.rows as usize;
        let mut batch = Batch { rows, kinds: batch.kinds, columns: batch.columns };
        batch.columns.iter_mut().for_each(|column| value::with_offsets(column, rows));
        let output = Output {
            columns: Vec::new(),
            select: None,
            kinds: Vec::new(),
            routes: Vec::new(),
            rejects: Vec::new(),
        };
        let mut answer = Answer { output };
        self.plugin.batch(&mut batch, &mut answer)?;
        Ok(answer.output)
    }
}
