//! What a plugin says of a table when it is opened: its plan.

use std::collections::BTreeMap;

use crate::raw::{ColumnInfo, ColumnType, ConfigError, Plan, TableInfo, Written};
use crate::row::Reject;
use crate::settings::did_you_mean;

/// A column that the plugin reads, writes, or both.
#[derive(Clone, Copy, Debug)]
pub struct Col {
    /// Its place in the batch's columns; [`NONE`] if it isn't read.
    pub(crate) read: u16,
    /// Its place among the written columns; [`NONE`] if it isn't written.
    pub(crate) write: u16,
    pub(crate) index: u32,
    pub(crate) ty: ColumnType,
}

pub(crate) const NONE: u16 = u16::MAX;

impl Col {
    /// The type of what is read; of an added column, of what is written.
    pub fn column_type(self) -> ColumnType {
        self.ty
    }

    /// Its number in the contract: that of the table's column, or above them for an added one.
    pub fn index(self) -> u32 {
        self.index
    }

    /// A refusal of the event because of this column.
    pub fn reject(self, message: impl Into<String>) -> Reject {
        Reject { column: Some(self.index), message: message.into() }
    }
}

/// A target other than the default one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(pub(crate) u16);

impl Route {
    /// The default target.
    pub const DEFAULT: Route = Route(0);
}

/// The table that is being opened: what it has, and what the plugin wants of it.
///
/// Every mistake is collected with its place in the configuration (a JSON Pointer, [`crate::pointer`]), so that the user sees all of them
/// at once. A column that isn't there gives a [`Col`] too; it is never used, because `open` fails.
pub struct Table {
    info: TableInfo,
    plan: Plan,
    /// Per written column, what it is computed from; `None`: everything that is read.
    from: Vec<Option<Vec<u32>>>,
    /// Names that the plugin makes, with the place in the configuration that asked for them.
    made: Vec<(String, String)>,
    errors: Vec<ConfigError>,
    skipped: bool,
}

impl Table {
    pub(crate) fn new(info: TableInfo) -> Table {
        let plan = Plan {
            read: Vec::new(),
            write: Vec::new(),
            rename: Vec::new(),
            drop: Vec::new(),
            before_images: true,
            selects: false,
            changes_kinds: false,
            joined_text: false,
            routes: Vec::new(),
        };
        Table { info, plan, from: Vec::new(), made: Vec::new(), errors: Vec::new(), skipped: false }
    }

    /// The table's name, without its schema.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Name, schema, database and columns, as the contract has them.
    pub fn info(&self) -> &TableInfo {
        &self.info
    }

    /// The columns in order.
    pub fn columns(&self) -> &[ColumnInfo] {
        &self.info.columns
    }

    /// A column's number. One that isn't there is an error, with the nearest name.
    pub fn find(&mut self, path: &str, name: &str) -> Option<u32> {
        let found = self.info.columns.iter().position(|column| column.name == name);
        if found.is_none() {
            let names: Vec<&str> = self.info.columns.iter().map(|column| column.name.as_str()).collect();
            let hint = did_you_mean(name, names.iter().copied());
            let hint = if hint.is_empty() { format!("it has: {}", names.join(", ")) } else { hint };
            let message = format!("table `{}` has no column `{name}`; {hint}", self.info.name);
            self.error(path, message);
        }
        found.map(|at| at as u32)
    }

    /// Reads a column.
    pub fn read(&mut self, path: &str, name: &str) -> Col {
        let Some(index) = self.find(path, name) else {
            return Col { read: NONE, write: NONE, index: 0, ty: ColumnType::Text };
        };
        let read = match self.plan.read.iter().position(|&read| read == index) {
            Some(at) => at,
            None => {
                self.plan.read.push(index);
                self.plan.read.len() - 1
            }
        };
        Col { read: read as u16, write: NONE, index, ty: self.info.columns[index as usize].type_ }
    }

    /// Reads a column of one of these types; any other is an error.
    pub fn read_as(&mut self, path: &str, name: &str, types: &[ColumnType]) -> Col {
        let column = self.read(path, name);
        if column.read != NONE && !types.contains(&column.ty) {
            let wanted: Vec<&str> = types.iter().map(|ty| ty.word()).collect();
            self.error(
                path,
                format!("column `{name}` is {}, but must be {}", column.ty.word(), wanted.join(" or ")),
            );
        }
        column
    }

    /// Reads a column and writes it in place. A row that doesn't set it keeps its value.
    pub fn edit(&mut self, path: &str, name: &str) -> Col {
        let column = self.read(path, name);
        self.write(path, column, column.ty)
    }

    /// Reads a column and writes it in place as another type. Every row that has a value must set it; null and absent stay.
    pub fn retype(&mut self, path: &str, name: &str, ty: ColumnType) -> Col {
        let column = self.read(path, name);
        self.write(path, column, ty)
    }

    /// As [`Table::retype`], of a column of one of these types; any other is an error.
    pub fn retype_from(&mut self, path: &str, name: &str, types: &[ColumnType], ty: ColumnType) -> Col {
        let column = self.read_as(path, name, types);
        self.write(path, column, ty)
    }

    fn write(&mut self, path: &str, column: Col, ty: ColumnType) -> Col {
        if column.read == NONE {
            return column;
        }
        let info = self.info.columns[column.index as usize].clone();
        if self.plan.write.iter().any(|written| written.index == column.index) {
            self.error(path, format!("column `{}` is written twice", info.name));
            return column;
        }
        let native = if ty == column.ty { info.native.clone() } else { String::new() };
        self.push(column.index, ColumnInfo { type_: ty, native, ..info });
        Col { write: (self.plan.write.len() - 1) as u16, ..column }
    }

    /// Adds a column. A row that doesn't set it has null there, or nothing if a column that it is computed from is absent.
    pub fn add(&mut self, path: &str, name: &str, ty: ColumnType) -> Col {
        let added = self
            .plan
            .write
            .iter()
            .filter(|written| written.index as usize >= self.info.columns.len())
            .count();
        let index = (self.info.columns.len() + added) as u32;
        self.made.push((name.into(), path.into()));
        self.push(
            index,
            ColumnInfo { name: name.into(), type_: ty, native: String::new(), nullable: true, key: false },
        );
        Col { read: NONE, write: (self.plan.write.len() - 1) as u16, index, ty }
    }

    fn push(&mut self, index: u32, column: ColumnInfo) {
        self.plan.write.push(Written { index, column, from: Vec::new(), deterministic: true });
        self.from.push(None);
    }

    /// Says what a written column is computed from, where that isn't everything that the plugin reads. Keys, lineage and verification rest
    /// on it: leave nothing out.
    pub fn computed_from(&mut self, written: Col, columns: &[Col]) {
        if let Some(from) = self.from.get_mut(written.write as usize) {
            *from = Some(columns.iter().map(|column| column.index).collect());
        }
    }

    /// Says that a written column never holds null.
    pub fn never_null(&mut self, written: Col) {
        if let Some(written) = self.plan.write.get_mut(written.write as usize) {
            written.column.nullable = false;
        }
    }

    /// Gives a written column the source's own type name (`numeric(18,4)`), for a target of the same kind.
    pub fn native(&mut self, written: Col, native: &str) {
        if let Some(written) = self.plan.write.get_mut(written.write as usize) {
            written.column.native = native.into();
        }
    }

    /// Says that the same input may give another output: no key, route or verification may rest on this column.
    pub fn not_deterministic(&mut self, written: Col) {
        if let Some(written) = self.plan.write.get_mut(written.write as usize) {
            written.deterministic = false;
        }
    }

    /// Renames a column. Moves no data.
    pub fn rename(&mut self, path: &str, from: &str, to: &str) {
        let Some(index) = self.find(path, from) else { return };
        if self.plan.rename.iter().any(|(renamed, _)| *renamed == index) {
            return self.error(path, format!("column `{from}` is renamed twice"));
        }
        if to.is_empty() {
            return self.error(path, "a column needs a name");
        }
        self.made.push((to.into(), path.into()));
        self.plan.rename.push((index, to.into()));
    }

    /// Drops a column. Moves no data.
    pub fn drop(&mut self, path: &str, name: &str) {
        let Some(index) = self.find(path, name) else { return };
        if !self.plan.drop.contains(&index) {
            self.plan.drop.push(index);
        }
    }

    /// Adds a target that rows may be sent to, by [`Row::send_to`](crate::Row::send_to).
    pub fn route(&mut self, name: &str) -> Route {
        let at = self.plan.routes.iter().position(|route| route == name).unwrap_or_else(|| {
            self.plan.routes.push(name.into());
            self.plan.routes.len() - 1
        });
        Route(at as u16 + 1)
    }

    /// Announces that rows may be dropped or copied.
    pub fn selects(&mut self) {
        self.plan.selects = true;
    }

    /// Announces that images may change their kind.
    pub fn changes_kinds(&mut self) {
        self.plan.changes_kinds = true;
    }

    /// Does without the images of updated rows as they were. Refused by the host where both sides are needed.
    pub fn no_before_images(&mut self) {
        self.plan.before_images = false;
    }

    /// Isn't interested in this table: it passes by untouched.
    pub fn skip(&mut self) {
        self.skipped = true;
    }

    /// A mistake in the configuration, at a place given as JSON Pointer (empty: the whole of it). Say what is allowed.
    pub fn error(&mut self, path: &str, message: impl Into<String>) {
        self.errors.push(ConfigError { path: path.into(), message: message.into() });
    }

    /// Takes over what reading the configuration by hand has found.
    pub fn errors(&mut self, errors: Vec<ConfigError>) {
        self.errors.extend(errors);
    }

    /// Whether there is a mistake so far.
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The plan, or every mistake.
    pub(crate) fn finish(mut self) -> Result<Option<Plan>, Vec<ConfigError>> {
        self.find_collisions();
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        for (written, from) in self.plan.write.iter_mut().zip(self.from) {
            written.from = from.unwrap_or_else(|| self.plan.read.clone());
        }
        Ok((!self.skipped).then_some(self.plan))
    }

    /// Two columns of one name, at least one of which the plugin made.
    fn find_collisions(&mut self) {
        let mut taken = BTreeMap::new();
        for (index, column) in self.info.columns.iter().enumerate() {
            let gone = self.plan.drop.contains(&(index as u32))
                || self.plan.rename.iter().any(|(renamed, _)| *renamed == index as u32);
            if !gone {
                taken.insert(column.name.clone(), "the table has already".to_string());
            }
        }
        for (name, path) in std::mem::take(&mut self.made) {
            match taken.get(&name) {
                Some(by) => {
                    self.error(&path, format!("there would be two columns `{name}`: {by} one of that name"))
                }
                None => {
                    taken.insert(name, format!("{path} makes"));
                }
            }
        }
    }
}
