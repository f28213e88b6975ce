//! Runs a plugin on the machine at hand, without a host: for `cargo test` in a plugin's crate.
//!
//! Not a substitute for cases (`cases/` beside the plugin), which go through the real host with all its checks.

use crate::columns::{ByColumn, Columns};
use crate::out::{Out, Target};
use crate::raw::{Batch, Column, ColumnInfo, ColumnType, ConfigError, Output, Plan, TableInfo, Written};
use crate::row::{ByRow, Rows};
use crate::value::{self, Kind, State, Value};

/// An opened table.
pub struct Opened {
    /// What the plugin asked for.
    pub plan: Plan,
    table: TableInfo,
    transform: Box<dyn Fn(Batch) -> Result<Output, String>>,
}

/// A table `t` with these columns, the first of which is the key.
pub fn table(columns: &[(&str, ColumnType)]) -> TableInfo {
    TableInfo {
        database: "test".into(),
        kind: "memory".into(),
        schema: String::new(),
        name: "t".into(),
        version: 1,
        columns: columns
            .iter()
            .enumerate()
            .map(|(at, (name, ty))| ColumnInfo {
                name: (*name).into(),
                type_: *ty,
                native: String::new(),
                nullable: at > 0,
                key: at == 0,
            })
            .collect(),
    }
}

/// Opens a table with a [`Rows`] plugin. `None`: it isn't interested.
pub fn open_rows<P: Rows + 'static>(
    table: TableInfo,
    config: &str,
) -> Result<Option<Opened>, Vec<ConfigError>> {
    let opened = ByRow::<P>::open(table.clone(), config)?;
    Ok(opened.map(|(plan, by)| Opened { plan, table, transform: Box::new(move |batch| by.transform(batch)) }))
}

/// Opens a table with a [`Columns`] plugin. `None`: it isn't interested.
pub fn open_columns<P: Columns + 'static>(
    table: TableInfo,
    config: &str,
) -> Result<Option<Opened>, Vec<ConfigError>> {
    let opened = ByColumn::<P>::open(table.clone(), config)?;
    Ok(opened.map(|(plan, by)| Opened { plan, table, transform: Box::new(move |batch| by.transform(batch)) }))
}

impl Opened {
    /// Transforms images, each with one value per column of the table.
    pub fn transform(&self, images: &[(Kind, Vec<Value<'_>>)]) -> Result<Output, String> {
        // What is sent is made as what is answered: every read column, written anew.
        let echo = Plan {
            write: self
                .plan
                .read
                .iter()
                .map(|&index| Written {
                    index,
                    column: self.table.columns[index as usize].clone(),
                    from: Vec::new(),
                    deterministic: true,
                })
                .collect(),
            read: Vec::new(),
            ..self.plan.clone()
        };
        let targets = Target::all(&self.table, &echo);
        let mut columns: Vec<Column> = Vec::new();
        for (target, &index) in targets.iter().zip(&self.plan.read) {
            let mut out = Out::new(target, images.len());
            for (row, (_, values)) in images.iter().enumerate() {
                out.begin();
                set(&mut out, values[index as usize])?;
                out.commit(&[], row)?;
            }
            columns.push(out.finish());
        }
        let kinds = images.iter().map(|(kind, _)| *kind as u8).collect();
        (self.transform)(Batch { rows: images.len() as u32, kinds, columns })
    }

    /// The values of a written column, by the name that it has in the plan.
    pub fn written<'a>(&self, output: &'a Output, name: &str) -> Vec<Value<'a>> {
        let Some(written) = self.plan.write.iter().find(|written| written.column.name == name) else {
            return Vec::new();
        };
        let Some(column) = output.columns.iter().find(|column| column.index == written.index) else {
            return Vec::new();
        };
        let rows = output.select.as_ref().map_or_else(|| rows(column), Vec::len);
        (0..rows).map(|row| value::value(column, written.column.type_, row)).collect()
    }
}

fn rows(column: &Column) -> usize {
    use crate::raw::ColumnData;
    match &column.data {
        ColumnData::Bools(all) => all.len(),
        ColumnData::Ints(all) | ColumnData::Micros(all) => all.len(),
        ColumnData::Uints(all) => all.len(),
        ColumnData::Floats(all) => all.len(),
        ColumnData::Days(all) => all.len(),
        ColumnData::Uuids(all) => all.len() / 16,
        ColumnData::Strings(all) => all.offsets.len().saturating_sub(1),
        ColumnData::Blobs(all) => all.offsets.len().saturating_sub(1),
    }
}

fn set(out: &mut Out<'_>, value: Value<'_>) -> Result<(), String> {
    match value {
        Value::Absent => out.set_state(State::Absent),
        Value::Null => out.set_state(State::Null),
        Value::Bool(value) => out.set_bool_byte(u8::from(value))?,
        Value::Int(value) | Value::Time(value) => out.set_int(value)?,
        Value::Uint(value) => out.set_uint(value)?,
        Value::Float(value) => out.set_float(value)?,
        Value::Date(value) => out.set_days(value)?,
        Value::Timestamp(value) | Value::Timestamptz(value) => out.set_micros(value)?,
        Value::Bytes(value) | Value::ObjectId(value) => out.set_bytes(value)?,
        Value::Uuid(value) => out.set_uuid(&value)?,
        Value::Decimal(value) => out.set_text(value.0)?,
        Value::Text(value)
        | Value::Interval(value)
        | Value::Json(value)
        | Value::Array(value)
        | Value::Document(value)
        | Value::Enumeration(value)
        | Value::Extended(value) => out.set_text(value)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{Col, Keep, Reject, Route, Row, Table};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        column: String,
        #[serde(default)]
        select: bool,
    }

    /// The plugin of the contract's measurements.
    struct Normalise {
        email: Col,
        amount: Col,
        out: Col,
        vip: Route,
        select: bool,
    }

    impl Rows for Normalise {
        type Config = Config;

        fn open(table: &mut Table, config: Config) -> Self {
            if config.select {
                table.selects();
            }
            table.rename("/rename", "name", "full_name");
            Normalise {
                email: table.edit("/column", &config.column),
                amount: table.read("/amount", "amount"),
                out: table.add("/out", "amount_int", ColumnType::Int64),
                vip: table.route("vip"),
                select: config.select,
            }
        }

        fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
            match row.text(self.amount) {
                Some(amount) => {
                    let amount = amount.parse().map_err(|_| self.amount.reject("not a number"))?;
                    row.set_int(self.out, amount);
                }
                None => row.set_missing_like(self.out, self.amount),
            }
            let Some(email) = row.text(self.email) else { return Ok(Keep::Yes) };
            let email = email.to_ascii_lowercase();
            if email.contains("+vip") {
                row.send_to(self.vip);
            }
            row.set_text(self.email, &email);
            Ok(match () {
                () if !self.select => Keep::Yes,
                () if email.is_empty() => Keep::Drop,
                () if email.starts_with("dup") => Keep::Copies(2),
                () => Keep::Yes,
            })
        }
    }

    fn people() -> TableInfo {
        use ColumnType::*;
        table(&[("id", Int64), ("name", Text), ("email", Text), ("amount", Text)])
    }

    fn person<'a>(email: Value<'a>, amount: Value<'a>) -> Vec<Value<'a>> {
        vec![Value::Int(1), Value::Text("Ann"), email, amount]
    }

    #[test]
    fn null_and_absent_pass_and_stay_apart() {
        let opened = open_rows::<Normalise>(people(), r#"{"column": "email"}"#).unwrap().unwrap();
        let output = opened
            .transform(&[
                (Kind::Insert, person(Value::Text("Ä@X"), Value::Text("12"))),
                (Kind::Before, person(Value::Absent, Value::Absent)),
                (Kind::After, person(Value::Null, Value::Null)),
            ])
            .unwrap();
        assert_eq!(opened.written(&output, "email"), [Value::Text("Ä@x"), Value::Absent, Value::Null]);
        assert_eq!(opened.written(&output, "amount_int"), [Value::Int(12), Value::Absent, Value::Null]);
        assert_eq!((output.select, output.routes), (None, vec![0, 0, 0]));
    }

    #[test]
    fn rows_are_dropped_copied_routed_and_refused() {
        let opened =
            open_rows::<Normalise>(people(), r#"{"column": "email", "select": true}"#).unwrap().unwrap();
        let output = opened
            .transform(&[
                (Kind::Insert, person(Value::Text(""), Value::Text("1"))),
                (Kind::Insert, person(Value::Text("DUP+vip"), Value::Text("2"))),
                (Kind::Insert, person(Value::Text("B"), Value::Text("x"))),
                (Kind::Insert, person(Value::Text("C"), Value::Text("4"))),
            ])
            .unwrap();
        assert_eq!(output.select.as_deref(), Some(&[1, 1, 2, 3][..]));
        assert_eq!(output.routes, [1, 1, 0, 0]);
        let emails = opened.written(&output, "email");
        assert_eq!(
            (emails[0], emails[1], emails[3]),
            (Value::Text("dup+vip"), Value::Text("dup+vip"), Value::Text("c"))
        );
        assert_eq!((output.rejects[0].row, output.rejects[0].column), (2, Some(3)));
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let errors = open_rows::<Normalise>(
            table(&[("id", ColumnType::Int64), ("emial", ColumnType::Text)]),
            r#"{"column": "email"}"#,
        );
        let shown: Vec<String> = errors
            .err()
            .unwrap()
            .into_iter()
            .map(|error| format!("{}: {}", error.path, error.message))
            .collect();
        assert_eq!(
            shown,
            [
                "/rename: table `t` has no column `name`; it has: id, emial",
                "/column: table `t` has no column `email`; did you mean `emial`?",
                "/amount: table `t` has no column `amount`; it has: id, emial",
            ]
        );
    }

    /// One row per word.
    struct Split(Col);

    impl Rows for Split {
        type Config = crate::Json;

        fn open(table: &mut Table, _: crate::Json) -> Self {
            table.selects();
            Split(table.edit("", "name"))
        }

        fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
            for word in row.text(self.0).unwrap_or_default().split(' ') {
                row.set_text(self.0, word);
                row.emit();
            }
            Ok(Keep::Drop)
        }
    }

    #[test]
    fn one_row_becomes_several() {
        let opened = open_rows::<Split>(people(), "{}").unwrap().unwrap();
        let row = |name| vec![Value::Int(1), Value::Text(name), Value::Null, Value::Null];
        let output = opened.transform(&[(Kind::Insert, row("a bc")), (Kind::Insert, row("d"))]).unwrap();
        assert_eq!(output.select.as_deref(), Some(&[0, 0, 1][..]));
        assert_eq!(opened.written(&output, "name"), [Value::Text("a"), Value::Text("bc"), Value::Text("d")]);
    }

    /// Does what open didn't announce.
    struct Careless(Col);

    impl Rows for Careless {
        type Config = crate::Json;

        fn open(table: &mut Table, _: crate::Json) -> Self {
            Careless(table.read("", "id"))
        }

        fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
            match row.text(self.0) {
                Some(_) => Ok(Keep::Yes),
                None => Ok(Keep::Drop),
            }
        }
    }

    #[test]
    fn misuse_fails_the_batch_with_words() {
        let opened = open_rows::<Careless>(people(), "{}").unwrap().unwrap();
        let error = opened.transform(&[(Kind::Insert, person(Value::Null, Value::Null))]).unwrap_err();
        assert_eq!(error, "column 0 is int64 and was read as text");
    }
}
