//! What clients write: a transaction at a time, without any knowledge of the line.

use sluice_kit::memory::Database;
use sluice_kit::{Fields, Rng, Statement, TableDef, fields};
use sluice_types::{ColumnType, Value};

use crate::judge::trace;
use crate::plan::{Plan, REFUSED, TRAPPED, UNHOLDABLE};

/// Keys that are in use: few, so that the same ones change again and again.
const KEYS: u64 = 24;

/// A client that makes one transaction after the other.
pub struct Workload {
    rng: Rng,
    tables: Vec<TableDef>,
    rows: u64,
    poison_left: u64,
    /// Transactions still to be made.
    pub left: u64,
    number: i64,
}

impl Workload {
    pub fn new(plan: &Plan, rng: Rng) -> Self {
        Workload {
            rng,
            tables: plan.tables.clone(),
            rows: plan.rows,
            poison_left: plan.poison,
            left: plan.transactions,
            number: 0,
        }
    }

    /// The tables, and the rows that are there before the line starts.
    pub fn set_up(&mut self, database: &Database) {
        for def in self.tables.clone() {
            let mut statements = vec![Statement::CreateTable(def.clone())];
            for id in 0..self.rows {
                let row = self.row(&def, id);
                statements.push(Statement::Insert { table: def.table.clone(), row });
            }
            // A taken key or a second unique value: then the table starts empty.
            if database.run(&statements).is_err() {
                drop(database.run(&statements[..1]));
            }
        }
    }

    /// Makes the next transaction, or begins one and leaves it.
    pub fn write(&mut self, database: &Database) {
        self.left = self.left.saturating_sub(1);
        if database.unseen() > 0 && self.rng.chance(50) {
            database.reveal(self.rng.below(database.unseen() as u64) as usize);
        }
        let open = database.begin();
        let mut statements = Vec::new();
        let count = if self.rng.chance(10) { self.rng.between(20, 60) } else { self.rng.between(1, 6) };
        for _ in 0..count {
            self.statement(&mut statements);
        }
        // One that runs into a constraint is rolled back by the database.
        if self.rng.chance(5) {
            database.rollback(open);
        } else {
            let committed = database.commit(open, &statements);
            trace(|| match committed {
                Ok(position) => format!("written at {position}: {}", short(&statements)),
                Err(error) => format!("not written: {error}"),
            });
        }
    }

    fn statement(&mut self, statements: &mut Vec<Statement>) {
        let def = self.rng.pick(&self.tables).clone();
        let table = def.table.clone();
        let (id, other) = (self.rng.below(KEYS), self.rng.below(KEYS));
        let key = key_of(&def, id);
        match self.rng.below(100) {
            0..30 => {
                statements.push(Statement::Delete { table: table.clone(), key });
                let row = self.row(&def, id);
                statements.push(Statement::Insert { table, row });
            }
            30..75 => {
                let set = self.change(&def);
                statements.push(Statement::Update { table, key, set });
            }
            75..88 => statements.push(Statement::Delete { table, key }),
            88..95 if id != other => {
                statements.push(Statement::Delete { table: table.clone(), key: key_of(&def, other) });
                statements.push(Statement::Update { table, key, set: key_of(&def, other) });
            }
            95..98 if def.unique.len() == 1 && id != other => {
                // Two rows exchange their unique values, by way of null.
                self.number += 1;
                let set = |value: Value| fields(&[("u", value)]);
                let update = |id: u64, value| {
                    let table = table.clone();
                    Statement::Update { table, key: key_of(&def, id), set: set(value) }
                };
                let (one, two) = ((1_000 + self.number).into(), (2_000 + self.number).into());
                statements.extend([update(id, one), update(other, two)]);
                statements.extend([update(id, Value::Null), update(other, (1_000 + self.number).into())]);
                statements.push(update(id, (2_000 + self.number).into()));
            }
            98 => statements.push(Statement::Truncate { table }),
            _ => {
                let set = fields(&[("n", Value::Int64(self.next()))]);
                statements.push(Statement::Update { table, key, set });
            }
        }
    }

    fn next(&mut self) -> i64 {
        self.number += 1;
        self.number
    }

    fn row(&mut self, def: &TableDef, id: u64) -> Fields {
        let mut row = key_of(def, id);
        row.extend(fields(&[
            ("a", self.text()),
            ("n", Value::Int64(self.next())),
            ("x", self.text_or_null()),
        ]));
        if !def.unique.is_empty() {
            row.extend(fields(&[("u", Value::Int64(self.next() * 10_000))]));
        }
        row
    }

    fn change(&mut self, def: &TableDef) -> Fields {
        match self.rng.below(4) {
            0 => fields(&[("a", self.text())]),
            1 => fields(&[("n", Value::Int64(self.next()))]),
            2 if !def.unique.is_empty() => fields(&[("u", Value::Int64(self.next() * 10_000))]),
            2 => fields(&[("x", self.text_or_null())]),
            _ => fields(&[("a", self.text()), ("n", Value::Null)]),
        }
    }

    fn text(&mut self) -> Value {
        if self.poison_left > 0 && self.rng.chance(4) {
            self.poison_left -= 1;
            return (*self.rng.pick(&[UNHOLDABLE, REFUSED, TRAPPED])).into();
        }
        let text = format!("text {}", self.next());
        text.as_str().into()
    }

    fn text_or_null(&mut self) -> Value {
        if self.rng.chance(30) { Value::Null } else { self.text_without_poison() }
    }

    fn text_without_poison(&mut self) -> Value {
        format!("extra {}", self.next()).as_str().into()
    }
}

/// The key number `id` of a table.
fn key_of(def: &TableDef, id: u64) -> Fields {
    let value = match def.columns[0].1 {
        ColumnType::Text => format!("key {id:03}").as_str().into(),
        _ => Value::Int64(id as i64),
    };
    fields(&[("id", value)])
}

/// Statements in a line.
fn short(statements: &[Statement]) -> String {
    statements.iter().map(|statement| statement.to_sql(|ty| ty.name())).collect::<Vec<_>>().join("; ")
}
