//! How rows of one schema go into one table: the statements, and what each of them is fed.

use std::fmt::Write as _;
use std::sync::Arc;

use sluice_types::{Column, Error, ErrorKind, Result, Row, TableSchema};

use crate::codec::Codec;
use crate::encode::Unfit;
use crate::errors::quote;
use crate::table::{Shape, ShapeColumn};
use crate::values::{Kind, TEXT};

/// How rows of one schema go into one table. Computed columns of the target are left to it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub schema: Arc<TableSchema>,
    pub shape: Arc<Shape>,
    pub columns: Vec<PlanColumn>,
    /// The key, as indexes into `columns`, in the key's order.
    pub key: Vec<usize>,
    /// Two keys are the same exactly when their bytes are: changes of one key can be folded.
    pub exact_key: bool,
    /// Every column has a binary form, so rows can be copied straight in.
    pub copyable: bool,
    /// Rows can be sent as the table's own row type. Not with domains, which look at the nulls of columns that are not sent, too.
    pub by_row: bool,
    /// A delete has the target delete or change other rows by itself, so it must keep its place among the events.
    pub acts_on_delete: bool,
    /// Whether an update sets the key: equal keys may be written differently.
    sets_key: bool,
}

/// A column that is written.
#[derive(Debug)]
pub(crate) struct PlanColumn {
    pub name: String,
    pub slot: u32,
    pub kind: Kind,
    /// Its place among the table's columns.
    pub place: usize,
    /// How its values go in an array of their own, beside or in place of the rows.
    pub aside: Aside,
    /// They always do: the type has no binary form that is known here.
    pub always_aside: bool,
    identity_always: bool,
}

/// Values in an array of their own.
#[derive(Debug)]
pub(crate) struct Aside {
    pub kind: Kind,
    /// The element's OID.
    pub oid: u32,
    /// The array's type.
    array: String,
    /// What the text is cast to.
    cast: Option<String>,
    /// What a value has to fit before its text is sent: the server's input functions round and cut.
    pub proof: Option<Kind>,
}

impl Aside {
    fn of(column: &ShapeColumn) -> Self {
        let bare =
            column.bare_array.clone().filter(|_| !matches!(column.kind, Kind::ByText(..) | Kind::Array(..)));
        match bare {
            Some(array) => {
                Aside { kind: column.kind.clone(), oid: column.bare_oid, array, cast: None, proof: None }
            }
            // An array of arrays is an array of more dimensions, so arrays go by text, too.
            None => {
                let kind = match (&column.kind, &column.codec) {
                    (Kind::ByText(delimiter, digits), _) => Kind::ByText(*delimiter, *digits),
                    (_, Codec::Array(array)) => Kind::ByText(array.delimiter, None),
                    _ => Kind::ByText(b',', None),
                };
                let proof = Some(column.held.clone()).filter(|held| *held != kind);
                Aside { kind, oid: TEXT, array: "text[]".into(), cast: Some(column.cast.clone()), proof }
            }
        }
    }

    fn of_cast(&self, name: &str) -> String {
        match &self.cast {
            Some(cast) => format!("s.{name}::{cast}"),
            None => format!("s.{name}"),
        }
    }
}

impl Plan {
    /// The plan for a schema, once [`Shape::prove`] has found no misfit.
    /// `fires`: the target's foreign keys act on what is written.
    pub fn new(schema: Arc<TableSchema>, shape: Arc<Shape>, fires: bool) -> Result<Self> {
        let unfit = |what: String| Error::new(ErrorKind::TargetSchema, what).at_table(&schema.table);
        let mut columns = Vec::with_capacity(schema.columns.len());
        let mut places = vec![None; schema.columns.len()];
        for (index, Column { name, slot, .. }) in schema.columns.iter().enumerate() {
            let place = shape.columns.iter().position(|there| there.name == **name);
            let place = place.ok_or_else(|| unfit(format!("the target has no column {name}")))?;
            let there = &shape.columns[place];
            if there.generated {
                continue;
            }
            places[index] = Some(columns.len());
            columns.push(PlanColumn {
                name: there.name.clone(),
                slot: *slot,
                kind: there.kind.clone(),
                place,
                aside: Aside::of(there),
                always_aside: matches!(there.kind, Kind::ByText(..)),
                identity_always: there.identity_always,
            });
        }
        let key: Option<Vec<usize>> = schema.key.iter().map(|&index| *places.get(index as usize)?).collect();
        let key = key
            .filter(|key| !key.is_empty())
            .ok_or_else(|| unfit("the target's key can't be written".into()))?;
        let of_key = |test: fn(&ShapeColumn) -> bool| {
            key.iter().any(|&index| test(&shape.columns[columns[index].place]))
        };
        Ok(Plan {
            exact_key: !of_key(|column| column.loose || !column.kind.is_exact()),
            sets_key: of_key(|column| {
                column.loose || !column.kind.is_exact() || column.kind.shows_more_than_it_compares()
            }),
            copyable: columns.iter().all(|column: &PlanColumn| !column.always_aside),
            acts_on_delete: fires && shape.cascades,
            by_row: shape.columns.iter().all(|column| column.has_binary && !column.is_domain),
            schema,
            shape,
            columns,
            key,
        })
    }

    /// Whether the image has every column that is written (I13: only such an image may be inserted).
    pub fn is_complete(&self, row: &Row) -> bool {
        self.columns.iter().all(|column| row.get(column.slot).is_present())
    }

    /// The columns of which the image has a value.
    pub fn present(&self, has: impl Fn(u32) -> bool) -> Vec<u32> {
        (0..self.columns.len() as u32).filter(|&index| has(self.columns[index as usize].slot)).collect()
    }

    /// All columns.
    pub fn all(&self) -> Vec<u32> {
        (0..self.columns.len() as u32).collect()
    }

    /// The column of the key that no update can set, if there is one.
    pub fn fixed_key(&self) -> Option<&str> {
        let column =
            self.key.iter().map(|&index| &self.columns[index]).find(|column| column.identity_always)?;
        Some(&column.name)
    }

    /// An error of a value in a column.
    pub fn unfit(&self, column: usize, why: Unfit) -> Error {
        let name = self.columns.get(column).map(|column| column.name.clone());
        Error::new(ErrorKind::ValueUnrepresentable, why)
            .at_table(&self.schema.table)
            .at(|place| place.column = name)
            .remedy("Convert the value on its way (type-conversion), or change the target's column")
    }

    fn table(&self) -> String {
        format!("{} AS t", self.shape.only())
    }

    fn names(&self, columns: &[u32]) -> String {
        let names: Vec<String> =
            columns.iter().map(|&index| quote(&self.columns[index as usize].name)).collect();
        names.join(", ")
    }

    /// The columns of `columns` that go in arrays of their own, in the order of the parameters.
    pub fn asides<'a>(&'a self, columns: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        columns.iter().copied().filter(|&index| !self.by_row || self.columns[index as usize].always_aside)
    }

    /// `unnest(..) AS s(..)` of rows with these columns, and behind them of the keys `k0, ..` of these columns.
    fn rows(&self, columns: &[u32], keys: &[usize]) -> String {
        let mut parameters = Vec::new();
        let mut names = Vec::new();
        if self.by_row {
            parameters.push(format!("$1::{}[]", self.shape.quoted()));
            names.extend((0..self.shape.columns.len()).map(|place| format!("c{place}")));
        }
        let asides = self.asides(columns).map(|index| (index as usize, format!("a{index}")));
        let keys = keys.iter().enumerate().map(|(at, &index)| (index, format!("k{at}")));
        for (index, name) in asides.chain(keys) {
            parameters.push(format!("${}::{}", parameters.len() + 1, self.columns[index].aside.array));
            names.push(name);
        }
        format!("unnest({}) AS s({})", parameters.join(", "), names.join(", "))
    }

    /// A column's value in [`Plan::rows`].
    fn value(&self, index: u32) -> String {
        let column = &self.columns[index as usize];
        if self.by_row && !column.always_aside {
            format!("s.c{}", column.place)
        } else {
            column.aside.of_cast(&format!("a{index}"))
        }
    }

    /// `unnest(..) [WITH ORDINALITY] AS s(k0, .. [, o])` of keys. The first parameter is `$first`.
    fn keys(&self, first: usize, ordinality: bool) -> String {
        let parameters: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(at, &index)| format!("${}::{}", first + at, self.columns[index].aside.array))
            .collect();
        let mut names: Vec<String> = (0..self.key.len()).map(|at| format!("k{at}")).collect();
        let with = if ordinality { " WITH ORDINALITY" } else { "" };
        if ordinality {
            names.push("o".into());
        }
        format!("unnest({}){with} AS s({})", parameters.join(", "), names.join(", "))
    }

    /// The operator by which a column of the key is compared.
    fn equal(&self, index: usize) -> &str {
        &self.shape.columns[self.columns[index].place].equal
    }

    /// The condition that a row of the table has the key `s`: of [`Plan::keys`].
    fn has_key(&self, row: &str) -> String {
        let equal = |(at, &index): (usize, &usize)| {
            let column = &self.columns[index];
            let key = column.aside.of_cast(&format!("k{at}"));
            format!("{row}.{} {} {key}", quote(&column.name), self.equal(index))
        };
        self.key.iter().enumerate().map(equal).collect::<Vec<_>>().join(" AND ")
    }

    /// The same of [`Plan::rows`].
    fn has_key_of_row(&self) -> String {
        let equal = |&index: &usize| {
            let name = quote(&self.columns[index].name);
            format!("t.{name} {} {}", self.equal(index), self.value(index as u32))
        };
        self.key.iter().map(equal).collect::<Vec<_>>().join(" AND ")
    }

    /// Copies complete rows straight in.
    pub fn copy(&self) -> String {
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.shape.quoted(), self.names(&self.all()))
    }

    /// Inserts complete rows, or puts them in the place of those with their keys: columns that sluice does not write stay.
    pub fn upsert(&self) -> String {
        self.insert_or(vec![])
    }

    /// The same where the rows in the place are other ones, which were deleted: those columns begin anew, too.
    pub fn replace(&self) -> String {
        let written = |place| self.columns.iter().any(|column| column.place == place);
        let own = self.shape.columns.iter().enumerate();
        let own = own.filter(|(place, column)| !column.generated && !written(*place));
        let begin = own.map(|(_, column)| {
            let name = quote(&column.name);
            // What it would have been given; of this kind the server takes nothing but the word.
            if column.identity_always {
                format!("{name} = DEFAULT")
            } else {
                format!("{name} = excluded.{name}")
            }
        });
        self.insert_or(begin.collect())
    }

    /// An insert that sets these, too, where a row is there.
    fn insert_or(&self, own: Vec<String>) -> String {
        let all = self.all();
        let values: Vec<String> = all.iter().map(|&index| self.value(index)).collect();
        let overriding = if self.columns.iter().any(|column| column.identity_always) {
            " OVERRIDING SYSTEM VALUE"
        } else {
            ""
        };
        let key: Vec<u32> = self.key.iter().map(|&index| index as u32).collect();
        let set: Vec<String> = self
            .settable(&all)
            .map(|index| quote(&self.columns[index as usize].name))
            .map(|name| format!("{name} = excluded.{name}"))
            .chain(own)
            .collect();
        let conflict =
            if set.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", set.join(", ")) };
        format!(
            "INSERT INTO {} AS t ({}){overriding} SELECT {} FROM {} ON CONFLICT ({}) DO {conflict}",
            self.shape.quoted(),
            self.names(&all),
            values.join(", "),
            self.rows(&all, &[]),
            self.names(&key)
        )
    }

    /// What an update of rows whose key stays sets.
    fn settable<'a>(&'a self, columns: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        columns.iter().copied().filter(|&index| {
            let column = &self.columns[index as usize];
            !column.identity_always && (self.sets_key || !self.key.contains(&(index as usize)))
        })
    }

    /// The columns that rows of an update are sent with: those that are set, and the key.
    pub fn sent(&self, present: &[u32]) -> Vec<u32> {
        let mut sent = present.to_vec();
        sent.extend(self.key.iter().map(|&index| index as u32));
        sent.sort_unstable();
        sent.dedup();
        sent
    }

    /// Sets these columns of the rows with these keys; `None`: there is nothing to set but the key.
    pub fn update(&self, present: &[u32]) -> Option<String> {
        let sent = self.sent(present);
        let set: Vec<String> = self
            .settable(present)
            .map(|index| format!("{} = {}", quote(&self.columns[index as usize].name), self.value(index)))
            .collect();
        if set.is_empty() {
            return None;
        }
        let set = set.join(", ");
        Some(format!(
            "UPDATE {} SET {set} FROM {} WHERE {}",
            self.table(),
            self.rows(&sent, &[]),
            self.has_key_of_row()
        ))
    }

    /// Deletes the rows with these keys.
    pub fn delete(&self) -> String {
        format!("DELETE FROM {} USING {} WHERE {}", self.table(), self.keys(1, false), self.has_key("t"))
    }

    /// Which of these keys have no row, counted from 1.
    pub fn missing(&self) -> String {
        format!(
            "SELECT s.o FROM {} WHERE NOT EXISTS (SELECT FROM {} WHERE {})",
            self.keys(1, true),
            self.table(),
            self.has_key("t")
        )
    }

    /// The rows with these keys, locked.
    pub fn current(&self) -> String {
        let mut columns = String::new();
        for column in &self.columns {
            let cast = if column.always_aside { "::pg_catalog.text" } else { "" };
            let _ = write!(columns, ", t.{}{cast}", quote(&column.name));
        }
        format!(
            "SELECT s.o{columns} FROM {} JOIN {} ON {} FOR UPDATE OF t",
            self.keys(1, true),
            self.table(),
            self.has_key("t")
        )
    }

    /// What comes before [`Plan::relocate`]: deletes rows that stand under the new key of a row that is there under its old one.
    /// Both are the same row, of which a chunk of a snapshot has brought the later state.
    pub fn make_way(&self) -> String {
        let count = self.key.len();
        let mut names: Vec<String> = (0..count).map(|at| format!("k{at}")).collect();
        names.extend((0..count).map(|at| format!("n{at}")));
        let arrays: Vec<String> = (0..2 * count)
            .map(|at| format!("${}::{}", at + 1, self.columns[self.key[at % count]].aside.array))
            .collect();
        let new: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(at, &index)| {
                let column = &self.columns[index];
                let key = column.aside.of_cast(&format!("n{at}"));
                format!("t.{} {} {key}", quote(&column.name), self.equal(index))
            })
            .collect();
        format!(
            "DELETE FROM {} USING unnest({}) AS s({}) WHERE {} AND EXISTS (SELECT FROM {} WHERE {} \
             AND (o.tableoid, o.ctid) IS DISTINCT FROM (t.tableoid, t.ctid))",
            self.table(),
            arrays.join(", "),
            names.join(", "),
            new.join(" AND "),
            format_args!("{} AS o", self.shape.only()),
            self.has_key("o")
        )
    }

    /// Gives rows another key, and sets these columns. The old keys are the last parameters.
    pub fn relocate(&self, present: &[u32]) -> String {
        let sent = self.sent(present);
        let set: Vec<String> = sent
            .iter()
            .map(|&index| format!("{} = {}", quote(&self.columns[index as usize].name), self.value(index)))
            .collect();
        format!(
            "UPDATE {} SET {} FROM {} WHERE {}",
            self.table(),
            set.join(", "),
            self.rows(&sent, &self.key),
            self.has_key("t")
        )
    }
}
