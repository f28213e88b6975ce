//! What the triggers of a table are made from: its columns, its key, and the rules by which rows that are to be written push others
//! out. See [`crate::capture`] for what they log and why.

use serde::{Deserialize, Serialize};

use crate::connection::quote;
use crate::schema::{Shape, ShapeColumn, Unique};

/// How a table is captured, as it was when its triggers were made. What the triggers are made from, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// Name and declared type of every column.
    pub columns: Vec<(String, String)>,
    /// The key, as indexes into `columns`.
    pub key: Vec<usize>,
    /// What two rows collide by.
    collisions: Vec<Collision>,
}

/// One rule by which a row that is to be written removes another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Collision {
    /// SQL: whether a row of the table collides with NEW.
    matches: String,
    /// SQL: whether an update touches the rule at all; `None`: it may always.
    touched: Option<String>,
}

impl Layout {
    /// How a table of this shape is captured with this key.
    pub fn of(shape: &Shape, key: Vec<usize>) -> Self {
        let columns =
            shape.columns.iter().map(|column| (column.name.clone(), column.native.clone())).collect();
        let mut collisions: Vec<Collision> =
            shape.uniques.iter().map(|unique| Collision::of(unique, shape)).collect();
        // A writer may name the rowid even where it is not the key, and replace a row by it.
        if let Some(rowid) = shape.rowid {
            collisions.push(Collision {
                matches: format!("{rowid} = NEW.{rowid}"),
                touched: Some(format!("NEW.{rowid} IS NOT OLD.{rowid}")),
            });
        }
        Layout { columns, key, collisions }
    }

    /// Columns of the log that its entries need.
    pub fn width(&self) -> usize {
        self.key.len() + self.columns.len()
    }

    /// Whether every rule of `other` is among those of this one: then its triggers miss nothing that they would not.
    pub fn covers(&self, other: &Layout) -> bool {
        other.collisions.iter().all(|collision| self.collisions.contains(collision))
    }

    fn names(&self, of: &str) -> String {
        let name = |(name, _): &(String, String)| format!("{of}{}", quote(name));
        self.columns.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn key_names(&self, of: &str) -> String {
        let name = |&index: &usize| format!("{of}{}", quote(&self.columns[index].0));
        self.key.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// The triggers of a table, as name and statement.
    pub fn triggers(&self, number: i64, table: &str) -> Vec<(String, String)> {
        let keys = log_columns(0, self.key.len());
        let rows = log_columns(self.key.len(), self.width());
        let (old, new_key) = (self.names("OLD."), self.key_names("NEW."));
        let log =
            |columns: &str, what: &str| format!("INSERT INTO sluice_change(tab, op, {columns}) {what};");
        let mut triggers = vec![
            ("insert", "AFTER INSERT", String::new(), log(&keys, &format!("VALUES({number}, 1, {new_key})"))),
            (
                "update",
                "AFTER UPDATE",
                String::new(),
                log(&format!("{keys}, {rows}"), &format!("VALUES({number}, 2, {new_key}, {old})")),
            ),
            ("delete", "AFTER DELETE", String::new(), log(&rows, &format!("VALUES({number}, 3, {old})"))),
        ];
        if !self.collisions.is_empty() {
            let (columns, from) = (self.names(""), quote(table));
            let colliding = |collision: &Collision, and: &str| {
                log(
                    &rows,
                    &format!("SELECT {number}, 4, {columns} FROM {from} WHERE {}{and}", collision.matches),
                )
            };
            let insert: Vec<String> = self.collisions.iter().map(|c| colliding(c, "")).collect();
            let itself: Vec<String> = self.key.iter().map(|&index| quote(&self.columns[index].0)).collect();
            let itself: Vec<String> = itself.iter().map(|name| format!("{name} IS OLD.{name}")).collect();
            let others = format!(" AND NOT ({})", itself.join(" AND "));
            let update: Vec<String> = self.collisions.iter().map(|c| colliding(c, &others)).collect();
            let touched: Option<Vec<&str>> = self.collisions.iter().map(|c| c.touched.as_deref()).collect();
            let when = touched.map_or(String::new(), |touched| format!(" WHEN {}", touched.join(" OR ")));
            triggers.push(("replace", "BEFORE INSERT", String::new(), insert.join(" ")));
            triggers.push(("change", "BEFORE UPDATE", when, update.join(" ")));
        }
        let statement = |(kind, event, when, body): (&str, &str, String, String)| {
            let name = format!("sluice_{number}_{kind}");
            let sql = format!("CREATE TRIGGER {name} {event} ON {}{when} BEGIN {body} END", quote(table));
            (name, sql)
        };
        triggers.into_iter().map(statement).collect()
    }
}

impl Collision {
    fn of(unique: &Unique, shape: &Shape) -> Self {
        match unique {
            Unique::Columns(columns) => {
                let named = || {
                    columns.iter().map(|(c, collation)| (quote(&shape.columns[*c].name), quote(collation)))
                };
                // REPLACE writes the default in place of a null that is not allowed, but only after our trigger has seen it.
                let new = |column: usize, name: &str| match &shape.columns[column] {
                    ShapeColumn { not_null: true, default: Some(default), .. } => {
                        format!("ifnull(NEW.{name}, ({default}))")
                    }
                    _ => format!("NEW.{name}"),
                };
                let matches: Vec<String> = std::iter::zip(columns, named())
                    .map(|((c, _), (name, collation))| {
                        format!("{name} COLLATE {collation} = {}", new(*c, &name))
                    })
                    .collect();
                let touched: Vec<String> =
                    named().map(|(name, _)| format!("NEW.{name} COLLATE BINARY IS NOT OLD.{name}")).collect();
                Collision { matches: matches.join(" AND "), touched: Some(touched.join(" OR ")) }
            }
            Unique::Other { terms, predicate } => {
                // The index's own text, once over the table's row and once over a row made of NEW's values: inside of the
                // subquery its names mean those. A line end closes a comment that the text may end in.
                let new: Vec<String> =
                    shape.columns.iter().map(|c| quote(&c.name)).map(|n| format!("NEW.{n} AS {n}")).collect();
                let new = format!("(SELECT {})", new.join(", "));
                let mut matches: Vec<String> =
                    terms.iter().map(|term| format!("({term}\n) = (SELECT {term}\n FROM {new})")).collect();
                matches.extend(predicate.iter().map(|predicate| format!("({predicate}\n)")));
                Collision { matches: matches.join(" AND "), touched: None }
            }
        }
    }
}

/// `v3, v4, v5`
fn log_columns(from: usize, to: usize) -> String {
    (from..to).map(|column| format!("v{column}")).collect::<Vec<_>>().join(", ")
}
