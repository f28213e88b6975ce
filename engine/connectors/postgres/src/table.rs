//! A target's table: what the catalogue says of it, whether it can take the rows, and the statement that makes it.

use std::collections::{BTreeSet, HashMap};

use sluice_types::{Column, ColumnType, Error, ErrorKind, Result, TableId, TableSchema};
use tokio_postgres::Client;

use crate::codec::{self, Codec, Types};
use crate::config::KIND;
use crate::endpoint::DEFAULT_SCHEMA;
use crate::errors::quote;
use crate::values::{Kind, TypeInfo};

/// A table as the catalogue has it.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub oid: u32,
    /// The type of its rows.
    pub row_type: u32,
    pub schema: String,
    pub name: String,
    /// `r` table, `p` partitioned, `v` view, `f` foreign ...
    pub relkind: char,
    /// Its rows do not survive a crash of the server.
    pub unlogged: bool,
    pub columns: Vec<ShapeColumn>,
    pub uniques: Vec<Unique>,
    /// A deferrable constraint is on it, or refers to it.
    pub deferrable: bool,
    /// The unique and exclusion constraints among those on it, each with its definition: triggers of the server look after them.
    pub deferrable_uniques: Vec<(String, String)>,
    /// Enabled triggers, and whether they fire under `session_replication_role = replica` too.
    pub triggers: Vec<(String, bool)>,
    /// Enabled rules other than a view's, and whether they act under `session_replication_role = replica` too.
    pub rules: Vec<(String, bool)>,
    /// A row policy holds for us.
    pub policies: bool,
    /// Foreign keys of it, and those that refer to it.
    pub foreign_keys: bool,
    /// A foreign key that refers to it changes or deletes rows when one of its own is deleted.
    pub cascades: bool,
}

/// A column of a [`Shape`].
#[derive(Clone, Debug)]
pub(crate) struct ShapeColumn {
    pub name: String,
    pub kind: Kind,
    /// The same where the domains of elements, which go by text, are taken off: what a value has to fit.
    pub held: Kind,
    pub codec: Codec,
    /// Equal values may differ in their bytes.
    pub loose: bool,
    /// The type as a column is declared with it: `numeric(10,2)`.
    pub declared: String,
    pub type_oid: u32,
    /// What values that go by text are cast to: what it is made of without domains, without length and scale. A cast to more would
    /// cut in silence what an assignment refuses.
    pub cast: String,
    pub is_domain: bool,
    /// The type has a binary form, which a row of the table needs even where the value is null.
    pub has_binary: bool,
    /// What it is made of without domains: the OID, and the array over it.
    pub bare_oid: u32,
    pub bare_array: Option<String>,
    /// How a unique index over it compares: an extension's operator is in no path of ours.
    pub equal: String,
    pub not_null: bool,
    pub has_default: bool,
    /// `GENERATED ALWAYS AS IDENTITY`.
    pub identity_always: bool,
    /// Computed from other columns.
    pub generated: bool,
    /// Whenever it is read, and kept nowhere.
    pub is_virtual: bool,
}

/// A unique index that is valid, immediate, and over whole columns and all rows.
#[derive(Clone, Debug)]
pub(crate) struct Unique {
    pub columns: Vec<String>,
    /// The primary key's.
    pub primary: bool,
    /// One of its columns compares otherwise than by the column's own collation.
    pub odd: bool,
}

const TABLE: &str = "
SELECT c.oid, c.reltype, c.relkind::text, c.relpersistence = 'u',
       EXISTS (SELECT FROM pg_constraint k WHERE k.condeferrable AND c.oid IN (k.conrelid, k.confrelid)),
       ARRAY(SELECT r.rulename::text FROM pg_rewrite r
             WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND r.ev_enabled <> 'D' ORDER BY 1),
       pg_catalog.row_security_active(c.oid)
           OR (c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_roles u WHERE u.rolname = current_user
                                                AND (u.rolsuper OR u.rolbypassrls))
               AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(c.relowner, 'USAGE'))),
       EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND c.oid IN (k.conrelid, k.confrelid)),
       EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.confdeltype IN ('c', 'n', 'd')),
       pg_catalog.current_setting('server_version_num')::int >= 170000,
       ARRAY(SELECT k.conname::text FROM pg_constraint k
             WHERE k.condeferrable AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x') ORDER BY 1),
       ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_constraint k
             WHERE k.condeferrable AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x') ORDER BY k.conname::text),
       ARRAY(SELECT r.rulename::text FROM pg_rewrite r
             WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND r.ev_enabled IN ('R', 'A'))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

const COLUMNS: &str = "
SELECT a.attname::text, a.attnotnull, a.atthasdef, a.attidentity = 'a', a.attgenerated <> '',
       pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod, NOT coalesce(l.collisdeterministic, true),
       (SELECT n.nspname::text FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) k(attnum, opclass)
        JOIN pg_opclass oc ON oc.oid = k.opclass
        JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
                       AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3
        JOIN pg_operator o ON o.oid = ao.amopopr AND o.oprname = '='
        JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE i.indrelid = a.attrelid AND k.attnum = a.attnum AND i.indisunique AND i.indisvalid AND i.indimmediate
        ORDER BY i.indisprimary DESC LIMIT 1), a.attgenerated = 'v'
FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const TYPES: &str = "
SELECT t.oid, t.typtype::text, t.typbasetype, t.typtypmod, t.typdelim,
       CASE WHEN e.typarray = t.oid THEN t.typelem ELSE 0::oid END,
       pg_catalog.format_type(t.oid, -1), pg_catalog.format_type(nullif(t.typarray, 0::oid), -1),
       t.typcategory = 'S' AND t.typsend::oid = 'pg_catalog.textsend'::regproc::oid, t.typreceive <> 0,
       pg_catalog.format_type(t.oid, NULL)
FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem WHERE t.oid = ANY($1)";

const UNIQUES: &str = "
SELECT i.indisprimary,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, ord)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.ord <= i.indnkeyatts ORDER BY k.ord),
       EXISTS (SELECT FROM unnest(i.indkey::int2[], i.indcollation::oid[]) k(attnum, coll)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
               WHERE k.coll <> a.attcollation AND k.coll <> 0)
FROM pg_index i
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL";

const TRIGGERS: &str = "
SELECT t.tgname::text, t.tgenabled IN ('R', 'A') FROM pg_trigger t
WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY 1";

struct TypeRow {
    typtype: char,
    base: u32,
    base_typmod: i32,
    delimiter: u8,
    element: u32,
    name: String,
    array_name: Option<String>,
    is_text: bool,
    has_binary: bool,
    /// As people write it.
    told: String,
}

/// The schema and name that a target's table has on the server.
pub(crate) fn place(table: &TableId) -> (&str, &str) {
    (if table.schema.is_empty() { DEFAULT_SCHEMA } else { &table.schema }, &table.name)
}

/// The table's name as SQL writes it.
pub(crate) fn quoted(table: &TableId) -> String {
    let (schema, name) = place(table);
    format!("{}.{}", quote(schema), quote(name))
}

/// Reads a table's shape; `None`: there is none of this name.
pub(crate) async fn shape(client: &Client, table: &TableId) -> Result<Option<Shape>, tokio_postgres::Error> {
    let (schema, name) = place(table);
    let Some(row) = client.query_opt(TABLE, &[&schema, &name]).await? else { return Ok(None) };
    let oid: u32 = row.get(0);
    let found = client.query(COLUMNS, &[&oid]).await?;
    let types = types(client, found.iter().map(|row| row.get(6)).collect()).await?;
    let codecs = codecs(&types);
    let endless_intervals: bool = row.get(9);
    let kind_of = |info: &TypeInfo| match Kind::of(info) {
        kind if endless_intervals => kind,
        kind => kind.without_endless_intervals(),
    };
    let columns = found.iter().filter_map(|row| {
        let (type_oid, typmod): (u32, i32) = (row.get(6), row.get(7));
        let (ty, info) = (types.get(&type_oid)?, info(&types, type_oid, typmod, false)?);
        let held = kind_of(&self::info(&types, type_oid, typmod, true)?);
        let kind = kind_of(&info);
        Some(ShapeColumn {
            name: row.get(0),
            codec: codecs.codec(type_oid),
            loose: row.get(8),
            declared: row.get(5),
            type_oid,
            held,
            cast: types.get(&info.oid)?.name.clone(),
            is_domain: ty.typtype == 'd',
            has_binary: ty.has_binary,
            bare_oid: info.oid,
            bare_array: types.get(&info.oid).and_then(|ty| ty.array_name.clone()),
            kind,
            equal: match row.get::<_, Option<&str>>(9) {
                None | Some("pg_catalog") => "=".into(),
                Some(schema) => format!("OPERATOR({}.=)", quote(schema)),
            },
            not_null: row.get(1),
            has_default: row.get(2),
            identity_always: row.get(3),
            generated: row.get(4),
            is_virtual: row.get(10),
        })
    });
    let columns = columns.collect();
    let uniques = client.query(UNIQUES, &[&oid]).await?;
    let uniques =
        uniques.iter().map(|row| Unique { primary: row.get(0), columns: row.get(1), odd: row.get(2) });
    let triggers = client.query(TRIGGERS, &[&oid]).await?;
    let (rules, in_replica): (Vec<String>, Vec<String>) = (row.get(5), row.get(12));
    let rules = rules.into_iter();
    Ok(Some(Shape {
        oid,
        row_type: row.get(1),
        schema: schema.to_string(),
        name: name.to_string(),
        relkind: row.get::<_, &str>(2).chars().next().unwrap_or(' '),
        unlogged: row.get(3),
        deferrable: row.get(4),
        deferrable_uniques: std::iter::zip(row.get::<_, Vec<String>>(10), row.get::<_, Vec<String>>(11))
            .collect(),
        rules: rules.map(|rule| (rule.clone(), in_replica.contains(&rule))).collect(),
        policies: row.get(6),
        foreign_keys: row.get(7),
        cascades: row.get(8),
        columns,
        uniques: uniques.collect(),
        triggers: triggers.iter().map(|row| (row.get(0), row.get(1))).collect(),
    }))
}

/// These types, and what they are made of.
async fn types(
    client: &Client,
    mut wanted: BTreeSet<u32>,
) -> Result<HashMap<u32, TypeRow>, tokio_postgres::Error> {
    let mut known = HashMap::new();
    while !wanted.is_empty() {
        let asked: Vec<u32> = std::mem::take(&mut wanted).into_iter().collect();
        for row in client.query(TYPES, &[&asked]).await? {
            let ty = TypeRow {
                typtype: row.get::<_, &str>(1).chars().next().unwrap_or('b'),
                base: row.get(2),
                base_typmod: row.get(3),
                delimiter: row.get::<_, i8>(4) as u8,
                element: row.get(5),
                name: row.get(6),
                array_name: row.get(7),
                is_text: row.get(8),
                has_binary: row.get(9),
                told: row.get(10),
            };
            wanted.extend([ty.base, ty.element].into_iter().filter(|oid| *oid != 0));
            known.insert(row.get(0), ty);
        }
        wanted.retain(|oid| !known.contains_key(oid));
    }
    Ok(known)
}

/// A type with its domains taken off; those of elements only on demand.
fn info(types: &HashMap<u32, TypeRow>, oid: u32, typmod: i32, of_elements: bool) -> Option<TypeInfo> {
    let ty = types.get(&oid)?;
    if ty.typtype == 'd' {
        let typmod = if ty.base_typmod >= 0 { ty.base_typmod } else { typmod };
        return info(types, ty.base, typmod, of_elements);
    }
    // An array of a domain says so in its binary form, so its elements stay what they are.
    let element =
        types.get(&ty.element).filter(|_| ty.element != 0).and_then(|element| match element.typtype {
            'd' if !of_elements => Some(TypeInfo {
                oid: ty.element,
                typmod,
                typtype: 'd',
                element: None,
                delimiter: element.delimiter,
            }),
            _ => info(types, ty.element, typmod, of_elements),
        });
    let element = element.map(Box::new);
    Some(TypeInfo { oid, typmod, typtype: ty.typtype, element, delimiter: ty.delimiter })
}

/// How values of these types are read back.
fn codecs(types: &HashMap<u32, TypeRow>) -> Types {
    Types::new(types.iter().map(|(oid, ty)| codec::TypeInfo {
        oid: *oid,
        name: ty.told.clone(),
        kind: ty.typtype as u8,
        base: ty.base,
        element: ty.element,
        delimiter: ty.delimiter,
        is_text: ty.is_text,
    }))
}

impl Shape {
    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&ShapeColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether rows go in here as they go into the other.
    pub fn is_written_as(&self, other: &Shape) -> bool {
        let of = |shape: &Shape| -> Vec<_> {
            let column = |column: &ShapeColumn| {
                (
                    column.name.clone(),
                    column.type_oid,
                    column.declared.clone(),
                    column.generated,
                    column.loose,
                )
            };
            shape.columns.iter().map(column).collect()
        };
        self.oid == other.oid && self.row_type == other.row_type && of(self) == of(other)
    }

    /// Whether what is written here may be refused only at the commit: by a deferred constraint, or by one of a table that a trigger
    /// writes. `fires`: triggers and foreign keys act.
    pub fn puts_off(&self, fires: bool) -> bool {
        (fires && self.deferrable) || self.triggers.iter().any(|(_, in_replica)| fires || *in_replica)
    }

    /// The table's name as SQL writes it.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// The table's name for a statement that is to leave its children alone: those of a plain table are tables of their own,
    /// partitions are not.
    pub fn only(&self) -> String {
        if self.relkind == 'p' { self.quoted() } else { format!("ONLY {}", self.quoted()) }
    }

    /// The unique index over exactly the key's columns, in whatever order.
    pub fn unique_over(&self, schema: &TableSchema) -> Option<&Unique> {
        let key: BTreeSet<&str> = schema.key_columns().map(|column| &*column.name).collect();
        let fits = |one: &&Unique| {
            !one.odd
                && one.columns.len() == key.len()
                && one.columns.iter().all(|name| key.contains(name.as_str()))
        };
        self.uniques.iter().filter(fits).max_by_key(|one| one.primary)
    }

    /// Why the table can't take rows of this shape, each with a remedy: a statement where there is one.
    pub fn misfits(&self, schema: &TableSchema) -> Vec<(String, String)> {
        let table = self.quoted();
        if !matches!(self.relkind, 'r' | 'p') {
            return vec![(format!("{table} is not a table"), "choose another name with `to:`".into())];
        }
        let mut misfits = Vec::new();
        if self.unlogged {
            // I1: the checkpoint would outlive the rows.
            misfits.push((
                format!("{table} is UNLOGGED: a crash of the server empties it"),
                format!("ALTER TABLE {table} SET LOGGED"),
            ));
        }
        for column in &schema.columns {
            match self.column(&column.name) {
                None => {
                    let ty = declared(column, &schema.kind);
                    let sql = format!("ALTER TABLE {table} ADD COLUMN {} {ty}", quote(&column.name));
                    misfits.push((format!("{table} has no column {}", column.name), sql));
                }
                Some(there) if !there.generated && !there.kind.accepts(column.ty) => misfits.push((
                    format!("{table}.{} is {}, the source delivers {}", there.name, there.declared, column.ty),
                    format!(
                        "ALTER TABLE {table} ALTER COLUMN {name} TYPE {ty} USING {name}::text::{ty}; -- or convert it on its way \
                         (type-conversion)",
                        name = quote(&there.name),
                        ty = declared(column, &schema.kind)
                    ),
                )),
                // An update can't set it; a key that stays need not be set.
                Some(there) if there.identity_always && !schema.key_columns().any(|key| key.name == column.name) => {
                    misfits.push((
                        format!("{table}.{} is GENERATED ALWAYS AS IDENTITY, so no update can set it", there.name),
                        format!("ALTER TABLE {table} ALTER COLUMN {} SET GENERATED BY DEFAULT", quote(&there.name)),
                    ));
                }
                Some(_) => {}
            }
        }
        for column in &self.columns {
            let given = schema.column_index(&column.name).is_some();
            if column.not_null
                && !column.has_default
                && !column.generated
                && !column.identity_always
                && !given
            {
                misfits.push((
                    format!(
                        "{table}.{} must not be null, has no default, and is not among the columns",
                        column.name
                    ),
                    format!("ALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL", quote(&column.name)),
                ));
            }
        }
        let computed =
            schema.key_columns().filter_map(|key| self.column(&key.name)).find(|there| there.generated);
        if let Some(key) = computed {
            misfits.push((
                format!("{table}.{} is generated, and part of the key", key.name),
                self.plain_column(key),
            ));
        }
        if self.unique_over(schema).is_none() {
            let columns: Vec<String> = schema.key_columns().map(|column| quote(&column.name)).collect();
            let columns = columns.join(", ");
            misfits.push((
                format!("{table} has no primary key or unique index over exactly ({columns}) that is valid, immediate and over all rows"),
                format!("CREATE UNIQUE INDEX ON {table} ({columns})"),
            ));
        }
        misfits
    }

    /// The statement by which a generated column becomes one that is written.
    pub fn plain_column(&self, column: &ShapeColumn) -> String {
        let (table, name, ty) = (self.quoted(), quote(&column.name), &column.declared);
        match column.is_virtual {
            true => format!("ALTER TABLE {table} DROP COLUMN {name}, ADD COLUMN {name} {ty}"),
            false => format!("ALTER TABLE {table} ALTER COLUMN {name} DROP EXPRESSION"),
        }
    }

    /// The first misfit as an error.
    pub fn prove(&self, schema: &TableSchema) -> Result<()> {
        match self.misfits(schema).into_iter().next() {
            None => Ok(()),
            Some((what, remedy)) => {
                Err(Error::new(ErrorKind::TargetSchema, what).remedy(remedy).at_table(&schema.table))
            }
        }
    }
}

/// The type of a column that is made: the source's own where that is PostgreSQL too.
pub(crate) fn declared(column: &Column, kind: &str) -> String {
    if kind == KIND && !column.native.is_empty() {
        column.native.to_string()
    } else {
        canonical(column.ty).into()
    }
}

/// The type that holds every value of a canonical type.
pub(crate) fn canonical(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Boolean => "boolean",
        ColumnType::Int64 => "bigint",
        ColumnType::Uint64 => "numeric(20,0)",
        ColumnType::Float32 => "real",
        ColumnType::Float64 => "double precision",
        ColumnType::Decimal => "numeric",
        ColumnType::Bytes => "bytea",
        ColumnType::Date => "date",
        ColumnType::Time => "time without time zone",
        ColumnType::Timestamp => "timestamp without time zone",
        ColumnType::Timestamptz => "timestamp with time zone",
        ColumnType::Interval => "interval",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "json",
        ColumnType::Array => "text[]",
        ColumnType::Text
        | ColumnType::Document
        | ColumnType::ObjectId
        | ColumnType::Enumeration
        | ColumnType::Extended => "text",
    }
}

/// The statement that makes a table for rows of this shape. `known`: whether the server has a type of this name.
pub(crate) fn create(schema: &TableSchema, known: impl Fn(&str) -> bool) -> String {
    let column = |(index, column): (usize, &Column)| {
        let ty = declared(column, &schema.kind);
        let ty = if known(&ty) { ty } else { canonical(column.ty).into() };
        let not_null = if schema.is_key(index) || !column.nullable { " NOT NULL" } else { "" };
        format!("{} {ty}{not_null}", quote(&column.name))
    };
    let columns: Vec<String> = schema.columns.iter().enumerate().map(column).collect();
    let key: Vec<String> = schema.key_columns().map(|column| quote(&column.name)).collect();
    format!(
        "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
        quoted(&schema.table),
        columns.join(", "),
        key.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn schema(kind: &str) -> TableSchema {
        let column = |name: &str, ty, native: &str, nullable, slot| Column {
            name: name.into(),
            ty,
            native: native.into(),
            nullable,
            slot,
        };
        TableSchema {
            table: TableId::new("", "T \"x\""),
            database: "d".into(),
            kind: kind.into(),
            version: 1,
            columns: vec![
                column("id", ColumnType::Int64, "integer", false, 0),
                column("mood", ColumnType::Enumeration, "public.mood", true, 1),
            ],
            key: vec![0],
            before_images: false,
        }
    }

    #[test]
    fn a_copy_is_declared_as_its_source_where_that_can_be() {
        let all = |_: &str| true;
        let expected = "CREATE TABLE \"public\".\"T \"\"x\"\"\" (\"id\" integer NOT NULL, \"mood\" public.mood, PRIMARY KEY (\"id\"))";
        assert_eq!(create(&schema(KIND), all), expected);
        assert!(create(&schema(KIND), |ty| ty != "public.mood").contains("\"mood\" text"));
        assert!(create(&schema("sqlite"), all).contains("\"id\" bigint NOT NULL, \"mood\" text"));
    }

    #[test]
    fn a_target_that_does_not_fit_says_why() {
        let info = |oid| TypeInfo { oid, typmod: -1, typtype: 'b', element: None, delimiter: b',' };
        let column = |name: &str, oid| ShapeColumn {
            name: name.into(),
            kind: Kind::of(&info(oid)),
            codec: Codec::Text,
            loose: false,
            declared: "x".into(),
            type_oid: oid,
            cast: "x".into(),
            held: Kind::of(&info(oid)),
            is_domain: false,
            has_binary: true,
            bare_oid: oid,
            bare_array: None,
            equal: "=".into(),
            not_null: false,
            has_default: false,
            identity_always: false,
            generated: false,
            is_virtual: false,
        };
        let good = Shape {
            oid: 1,
            row_type: 2,
            schema: "public".into(),
            name: "t".into(),
            relkind: 'r',
            unlogged: false,
            columns: vec![column("id", 20), column("mood", 25)],
            uniques: vec![Unique { columns: vec!["id".into()], primary: true, odd: false }],
            deferrable: false,
            deferrable_uniques: vec![],
            triggers: vec![],
            rules: vec![],
            policies: false,
            foreign_keys: false,
            cascades: false,
        };
        let schema = Arc::new(schema("sqlite"));
        let found = |shape: &Shape| shape.misfits(&schema).len();
        assert_eq!(found(&good), 0);
        assert_eq!(found(&Shape { relkind: 'v', ..good.clone() }), 1);
        assert_eq!(found(&Shape { uniques: vec![], ..good.clone() }), 1);
        assert_eq!(found(&Shape { columns: vec![column("id", 20)], ..good.clone() }), 1);
        assert_eq!(found(&Shape { columns: vec![column("id", 25), column("mood", 25)], ..good.clone() }), 1);
        let must = ShapeColumn { not_null: true, ..column("must", 25) };
        assert_eq!(found(&Shape { columns: [good.columns.clone(), vec![must]].concat(), ..good.clone() }), 1);
    }
}
