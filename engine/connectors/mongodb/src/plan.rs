//! How rows of one schema become documents of one collection.

use std::sync::Arc;

use mongodb::bson::RawDocument;
use sluice_types::ports::TargetTable;
use sluice_types::{Error, ErrorKind, Key, Result, Row, TableId, TableSchema, Value};

use crate::decode;
use crate::encode::{self, ty};
use crate::values::{Microseconds, Why};

/// The field that every document is addressed by.
pub(crate) const ID: &str = "_id";
/// With its NUL, as it stands in a document.
pub(crate) const ID_NAME: &[u8] = b"_id\0";

/// A column as a field.
#[derive(Debug)]
pub(crate) struct Field {
    /// With its NUL.
    pub name: Box<[u8]>,
    pub slot: u32,
    /// Its index in the schema.
    pub column: usize,
}

/// What `_id` is made of.
#[derive(Debug)]
enum Id {
    /// One column: its value.
    Value,
    /// Several: a document of them, in the key's order.
    Document(Vec<Field>),
}

/// How rows of one schema go into one collection.
#[derive(Debug)]
pub(crate) struct Plan {
    pub schema: Arc<TableSchema>,
    pub collection: Arc<str>,
    /// The columns that are not in the key.
    pub fields: Vec<Field>,
    id: Id,
    /// What becomes of microseconds in fields. In keys they are always refused: two keys could become one.
    pub rule: Microseconds,
    /// Values of the key that MongoDB takes for the same may differ in their bytes (`1.0` and `1.00`), and `_id` can't be updated:
    /// a document is taken away before the one with the new bytes comes.
    pub exact_ids: bool,
}

/// The collection of a table: `name`, or `schema.name` where there is a schema that is not the database itself.
pub(crate) fn collection_of(table: &TableId, database: &str) -> String {
    if table.schema.is_empty() || &*table.schema == database {
        table.name.to_string()
    } else {
        table.to_string()
    }
}

/// The first two tables that would be one collection: `events`, and `app.events` in the database `app`.
pub(crate) fn collision<'a>(
    tables: &'a [TargetTable],
    database: &str,
) -> Option<(&'a TargetTable, &'a TargetTable)> {
    let mut known = std::collections::HashMap::new();
    tables.iter().find_map(|table| {
        known.insert(collection_of(&table.schema.table, database), table).map(|other| (other, table))
    })
}

impl Plan {
    pub fn new(schema: Arc<TableSchema>, database: &str, rule: Microseconds) -> Result<Self> {
        if let Some((what, remedy)) = misfits(&schema).into_iter().next() {
            return Err(Error::new(ErrorKind::TargetSchema, what).remedy(remedy).at_table(&schema.table));
        }
        let field = |index: usize| {
            let column = &schema.columns[index];
            let name = column.name.bytes().chain([0]).collect();
            Field { name, slot: column.slot, column: index }
        };
        let fields = (0..schema.columns.len()).filter(|&index| !schema.is_key(index)).map(field).collect();
        let id = match schema.key[..] {
            [_] => Id::Value,
            _ => Id::Document(schema.key.iter().map(|&index| field(index as usize)).collect()),
        };
        use sluice_types::ColumnType::{Array, Decimal, Document, Float32, Float64, Json};
        let exact_ids = schema
            .key_columns()
            .any(|column| matches!(column.ty, Decimal | Float32 | Float64 | Json | Document | Array));
        let collection = collection_of(&schema.table, database).into();
        Ok(Plan { collection, fields, id, rule, exact_ids, schema })
    }

    /// Appends the `_id` of a key: its type, then its body.
    pub fn push_id(&self, out: &mut Vec<u8>, key: &Key) -> Result<()> {
        let at = out.len();
        out.push(0);
        let strict = Microseconds::Reject;
        let written = match &self.id {
            Id::Value => match key.0.first() {
                Some(value) => encode::body(out, value, strict, 1),
                None => Err("the key is empty"),
            },
            Id::Document(fields) => encode::document(out, |out| {
                std::iter::zip(fields, &key.0)
                    .try_for_each(|(field, value)| encode::element(out, &field.name, value, strict))
            }),
        };
        match written.and_then(|ty| allowed_id(ty, &out[at + 1..]).map(|()| ty)) {
            Ok(ty) => {
                out[at] = ty;
                Ok(())
            }
            Err(why) => {
                out.truncate(at);
                let column = self.schema.key_columns().next().map_or(0, |column| column.slot);
                Err(self.unfit(why, self.column_of_slot(column)))
            }
        }
    }

    /// The key of a row, with what it does not carry taken from another image of it.
    pub fn key_of(&self, row: &Row, other: Option<&Row>) -> Key {
        let mut key = self.schema.key_of(row);
        if let Some(other) = other {
            for (value, column) in std::iter::zip(&mut key.0, self.schema.key_columns()) {
                if !value.is_present() {
                    *value = other.get(column.slot).clone();
                }
            }
        }
        key
    }

    /// Whether every field's value is there.
    pub fn is_complete(&self, row: &Row) -> bool {
        self.fields.iter().all(|field| row.get(field.slot).is_present())
    }

    /// Appends a field.
    pub fn push_field(&self, out: &mut Vec<u8>, field: &Field, value: &Value) -> Result<()> {
        encode::element(out, &field.name, value, self.rule).map_err(|why| self.unfit(why, Some(field.column)))
    }

    /// An image as it is read once it is written.
    pub fn as_stored(&self, image: &Row) -> Row {
        let mut values = image.values().to_vec();
        for (index, column) in self.schema.columns.iter().enumerate() {
            let Some(value) = values.get_mut(column.slot as usize) else { continue };
            let rule = if self.schema.is_key(index) { Microseconds::Reject } else { self.rule };
            let mut document = vec![];
            let written = encode::document(&mut document, |out| encode::element(out, b"v\0", value, rule));
            // Absent values, and such as MongoDB can't hold, stay.
            if written.is_err() {
                continue;
            }
            let stored = RawDocument::from_bytes(&document).ok().and_then(|raw| raw.get("v").ok().flatten());
            if let Some(stored) = stored {
                *value = decode::value(stored, column.ty);
            }
        }
        Row::new(values)
    }

    fn column_of_slot(&self, slot: u32) -> Option<usize> {
        self.schema.columns.iter().position(|column| column.slot == slot)
    }

    fn unfit(&self, why: Why, column: Option<usize>) -> Error {
        let column = column.and_then(|index| self.schema.columns.get(index));
        Error::new(ErrorKind::ValueUnrepresentable, why)
            .at_table(&self.schema.table)
            .at(|place| place.column = column.map(|column| column.name.to_string()))
            .remedy(remedy_of(why))
    }
}

fn remedy_of(why: Why) -> &'static str {
    if why.contains("microseconds") {
        "Set `microseconds: truncate` on the database to cut them off, or convert the column to text or to a number (type-conversion)"
    } else {
        "Convert the value on its way (type-conversion)"
    }
}

/// MongoDB refuses arrays as `_id`, and fields in it that begin with a dollar.
fn allowed_id(ty: u8, body: &[u8]) -> Result<(), Why> {
    match ty {
        ty::ARRAY => Err("an array can't be the `_id` of a document"),
        // A document's first field's name stands behind its length and the field's type.
        ty::DOCUMENT if starts_with_dollar(body) => {
            Err("a document with a field that begins with `$` can't be an `_id`")
        }
        _ => Ok(()),
    }
}

fn starts_with_dollar(document: &[u8]) -> bool {
    let fields = mongodb::bson::RawDocument::from_bytes(document).ok().into_iter().flatten();
    fields.flatten().any(|(name, _)| name.starts_with('$'))
}

/// Why rows of this shape can't be documents, each with a remedy.
pub(crate) fn misfits(schema: &TableSchema) -> Vec<(String, String)> {
    let mut misfits = Vec::new();
    if schema.key.is_empty() {
        misfits
            .push(("the table has no key to make `_id` of".into(), "name one with `key: [column]`".into()));
    }
    for (index, column) in schema.columns.iter().enumerate() {
        let name = &column.name;
        let why = if name.is_empty() {
            "has an empty name"
        } else if name.contains('.') {
            "has a dot in its name, which MongoDB reads as a path"
        } else if name.starts_with('$') {
            "has a name that begins with `$`, which MongoDB reads as an operator"
        } else if name.contains('\0') {
            "has a NUL in its name"
        } else if &**name == ID && !(schema.key.len() == 1 && schema.is_key(index)) {
            misfits.push((
                "the column `_id` is not the key, and a document is addressed by its `_id`".into(),
                "map the key's column to `_id`, or this one to another name (field-mapping)".into(),
            ));
            continue;
        } else {
            continue;
        };
        misfits.push((format!("column `{}` {why}", name.escape_debug()), "rename it (field-mapping)".into()));
    }
    misfits
}

#[cfg(test)]
mod tests {
    use sluice_kit::statement::TableDef;
    use sluice_types::ColumnType::{Decimal, Int64, Json, Text};

    use super::*;

    fn table() -> TableDef {
        TableDef::new(&TableId::new("", "t"))
    }

    fn id(plan: &Plan, values: Vec<Value>) -> Result<Vec<u8>> {
        let mut out = vec![];
        plan.push_id(&mut out, &Key(values)).map(|()| out)
    }

    #[test]
    fn one_column_is_the_id_and_several_are_a_document() {
        let one = table().column("id", Int64).column("a", Text).key(&["id"]).schema("d", "k");
        let plan = Plan::new(one, "app", Microseconds::Reject).unwrap();
        assert_eq!(id(&plan, vec![1.into()]).unwrap(), [0x12, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(plan.fields.len(), 1);
        let two = table().column("a", Int64).column("b", Text).key(&["b", "a"]).schema("d", "k");
        let plan = Plan::new(two, "app", Microseconds::Reject).unwrap();
        let bytes = id(&plan, vec!["x".into(), 1.into()]).unwrap();
        let document = mongodb::bson::RawDocument::from_bytes(&bytes[1..]).unwrap();
        assert_eq!(
            (bytes[0], format!("{}", document.to_owned().to_document().unwrap())),
            (3, "{ \"b\": \"x\", \"a\": 1 }".into())
        );
    }

    #[test]
    fn what_can_not_be_an_id_is_refused() {
        let json = table().column("id", Json).key(&["id"]).schema("d", "k");
        let plan = Plan::new(json, "app", Microseconds::Reject).unwrap();
        for (text, good) in [("[1]", false), ("{\"$a\":1}", false), ("{\"a\":1}", true), ("7", true)] {
            assert_eq!(id(&plan, vec![Value::Json(text.into())]).is_ok(), good, "{text}");
        }
        let decimal = table().column("id", Decimal).key(&["id"]).schema("d", "k");
        let plan = Plan::new(decimal, "app", Microseconds::Reject).unwrap();
        let error = id(&plan, vec![Value::Decimal("1".repeat(40).into())]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueUnrepresentable);
        assert_eq!(error.place().column.as_deref(), Some("id"));
    }

    #[test]
    fn names_that_mean_something_else_to_mongodb_are_told_before() {
        for name in ["a.b", "$a", "", "a\0b", "_id"] {
            let schema = table().column("id", Int64).column(name, Text).key(&["id"]).schema("d", "k");
            assert_eq!(misfits(&schema).len(), 1, "{name:?}");
        }
        let mapped = table().column("_id", Int64).column("a", Text).key(&["_id"]).schema("d", "k");
        assert_eq!(misfits(&mapped), vec![]);
        let no_key = table().column("a", Text).schema("d", "k");
        assert_eq!(misfits(&no_key).len(), 1);
    }

    #[test]
    fn the_database_s_own_name_is_no_part_of_a_collection_s() {
        for (schema, name, collection) in [("", "t", "t"), ("app", "t", "t"), ("public", "t", "public.t")] {
            assert_eq!(collection_of(&TableId::new(schema, name), "app"), collection);
        }
    }
}
