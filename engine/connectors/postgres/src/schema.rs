//! What a database's tables look like: catalogue to schema.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_types::{Column, Error, ErrorKind, Result, TableId, TableSchema};

use crate::codec::{Codec, Form, TypeInfo, Types};
use crate::config::{KIND, Server};
use crate::connection::Session;
use crate::endpoint::DEFAULT_SCHEMA;
use crate::errors::quote;
use crate::protocol::client::TextRow;

/// A table as the catalogue has it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub oid: u32,
    pub id: TableId,
    /// `r` plain, `p` partitioned; views and their likes are told apart by it.
    pub kind: u8,
    /// `p` permanent, `u` unlogged, `t` temporary.
    pub persistence: u8,
    /// Other tables inherit from it (partitions don't count).
    pub has_children: bool,
    pub identity: Identity,
    /// What is read; generated columns are not, since the stream does not carry them.
    pub columns: Vec<TableColumn>,
    /// Names of columns that are computed from others.
    pub generated: Vec<String>,
    /// Its key, as indexes into `columns`; empty where there is none that is safe.
    pub key: Vec<usize>,
    /// Columns of which no two rows have the same values, unless one is null: those of each unique index.
    pub unique: Vec<Vec<usize>>,
    /// By what a change of it is noticed.
    pub seen: Seen,
}

/// What tells whether a table was altered since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Of its columns: numbers, names, types with their modifiers ([`layout_of`]).
    pub layout: String,
    /// Where its rows are, with those of all its partitions; another place once they were written anew.
    #[serde(default)]
    pub file: String,
    /// Who wrote the columns' rows of the catalogue.
    #[serde(default)]
    pub columns: String,
}

impl Seen {
    /// From an answer to [`seen_sql`] in text form.
    pub fn of_text(row: &TextRow) -> Option<Self> {
        let text = |index: usize| row.get(index)?.as_deref().map(str::to_string);
        Some(Seen { layout: text(1)?, file: text(2)?, columns: text(3)? })
    }

    /// Whether rows may have got other values, or other columns, than the log tells. `VACUUM FULL` gives all rows another place but leaves
    /// the columns alone, and a new default gives a column another row but leaves the rows: what does both has changed values.
    pub fn is_altered_to(&self, now: &Seen) -> bool {
        self.layout != now.layout || (self.file != now.file && self.columns != now.columns)
    }
}

/// The columns of a table as one word, for a statement. `oid` is an expression.
pub(crate) fn layout_of(oid: &str) -> String {
    format!(
        "(SELECT pg_catalog.hashtextextended(string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum), 0)::text \
          FROM pg_catalog.pg_attribute a WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped)"
    )
}

/// Which columns of a row that was changed or deleted the log keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// All of them.
    Full,
    /// These, by index.
    Columns(Vec<usize>),
    /// None: the server refuses updates and deletes of a published table.
    Nothing,
}

/// A column of it.
#[derive(Clone, Debug)]
pub(crate) struct TableColumn {
    pub name: Arc<str>,
    pub type_oid: u32,
    /// As the catalogue writes it; -1: none.
    pub modifier: i32,
    /// `format_type`.
    pub native: Arc<str>,
    pub not_null: bool,
    pub codec: Codec,
    /// How its values are ordered, where that is not by operators of `pg_catalog`.
    pub order: Option<Arc<Order>>,
}

/// The operators of a type's default order, for a statement: `OPERATOR(schema.name)`. Sessions have no search path: a bare `>`
/// would be that of another type that the values can be taken for, in another order than the index and `ORDER BY` have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub at_most: String,
    pub equal: String,
    pub at_least: String,
    pub greater: String,
}

impl Table {
    /// The schema that the line sees.
    pub fn schema(&self, database: &str) -> TableSchema {
        let column = |(slot, column): (usize, &TableColumn)| Column {
            name: column.name.clone(),
            ty: column.codec.column_type(),
            native: column.native.clone(),
            nullable: !column.not_null,
            slot: slot as u32,
        };
        TableSchema {
            table: self.id.clone(),
            database: database.into(),
            kind: KIND.into(),
            version: 1,
            columns: self.columns.iter().enumerate().map(column).collect(),
            key: self.key.iter().map(|&index| index as u32).collect(),
            // Of a partitioned table each partition keeps what it is told itself, the next one too.
            before_images: self.identity == Identity::Full && self.kind == b'r',
        }
    }

    /// Its name for a statement: with `ONLY` where children are tables of their own, without where they are its partitions.
    pub fn from(&self) -> String {
        let name = self.qualified();
        if self.kind == b'p' { name } else { format!("ONLY {name}") }
    }

    /// Its name, quoted.
    pub fn qualified(&self) -> String {
        format!("{}.{}", quote(&self.id.schema), quote(&self.id.name))
    }

    /// The form in which its rows are asked for.
    pub fn form(&self) -> Form {
        Form::of(self.columns.iter().map(|column| column.codec.form()))
    }

    /// A word for how the stream describes it: another one after its columns or its identity have changed.
    pub fn shape(&self) -> String {
        let columns = self.columns.iter().map(|column| (&*column.name, column.type_oid));
        let shape = format!("{:?} {:?}", columns.collect::<Vec<_>>(), self.identity);
        sluice_types::Digest::of(shape.as_bytes()).short()
    }

    /// Whether old images hold these columns.
    pub fn identifies(&self, columns: &[usize]) -> bool {
        match &self.identity {
            Identity::Full => true,
            Identity::Columns(identity) => columns.iter().all(|column| identity.contains(column)),
            Identity::Nothing => false,
        }
    }

    /// The index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }
}

/// A name with the schema that it means.
pub(crate) fn qualify(table: &TableId) -> TableId {
    match &*table.schema {
        "" => TableId::new(DEFAULT_SCHEMA, &table.name),
        _ => table.clone(),
    }
}

pub(crate) fn missing(table: &TableId) -> Error {
    Error::new(ErrorKind::TableMissing, format!("there is no table {table}"))
        .at_table(table)
        .remedy("Correct the name, or make the table; names are case sensitive here")
}

fn tables() -> String {
    format!(
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind, c.relpersistence, c.relreplident, \
                c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid), \
                {seen} \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
        seen = seen_of()
    )
}

/// What [`Seen`] holds of the table `c`. Partitions are found without a lock on them: whoever alters one would be waited for.
fn seen_of() -> String {
    format!(
        "coalesce({layout}, ''), \
         CASE c.relkind WHEN 'r' THEN c.relfilenode::text WHEN 'p' THEN coalesce(( \
             WITH RECURSIVE parts AS ( \
                 SELECT c.oid AS part UNION ALL \
                 SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits i ON i.inhparent = part) \
             SELECT pg_catalog.hashtextextended(string_agg(l.relfilenode::text, ',' ORDER BY l.oid), 0)::text \
             FROM parts JOIN pg_catalog.pg_class l ON l.oid = part), '') ELSE '' END, \
         coalesce((SELECT pg_catalog.hashtextextended(string_agg(concat_ws(' ', a.attnum, a.xmin), ',' ORDER BY a.attnum), 0)::text \
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0), '')",
        layout = layout_of("c.oid")
    )
}

/// Asks for what [`Seen`] holds, behind the OID. `oids` is an expression.
pub(crate) fn seen_sql(oids: &str) -> String {
    format!("SELECT c.oid, {} FROM pg_catalog.pg_class c WHERE c.oid = {oids}", seen_of())
}

/// By what changes of tables are noticed, by their OIDs.
pub(crate) async fn seen(server: &Server, session: &Session, oids: &[u32]) -> Result<HashMap<u32, Seen>> {
    let rows = session.query(&seen_sql("ANY($1)"), &[&oids]).await;
    let rows = rows.map_err(|error| server.failed(&error, "the catalogue can't be read"))?;
    let seen = |row: &tokio_postgres::Row| {
        (row.get(0), Seen { layout: row.get(1), file: row.get(2), columns: row.get(3) })
    };
    Ok(rows.iter().map(seen).collect())
}

const COLUMNS: &str = "\
    SELECT attrelid, attnum, attname::text, atttypid, pg_catalog.format_type(atttypid, atttypmod), attnotnull, attgenerated <> '', atttypmod \
    FROM pg_catalog.pg_attribute WHERE attrelid = ANY($1) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum";

/// Indexes that tell rows apart, the best first. A deferrable one does not count: between statements it may be violated.
const KEYS: &str = "\
    SELECT indrelid, indisprimary, indisreplident, (indkey::int2[])[0:indnkeyatts - 1] \
    FROM pg_catalog.pg_index WHERE indrelid = ANY($1) AND indisunique AND indimmediate AND indisvalid AND indislive \
      AND indpred IS NULL AND indexprs IS NULL \
    ORDER BY indrelid, indisprimary DESC, indnkeyatts, indexrelid";

const TYPES: &str = "\
    WITH RECURSIVE all_types AS ( \
        SELECT oid FROM pg_catalog.pg_type WHERE oid = ANY($1) \
        UNION \
        SELECT x.oid FROM all_types a JOIN pg_catalog.pg_type t ON t.oid = a.oid \
        CROSS JOIN LATERAL (VALUES (t.typelem), (t.typbasetype)) x(oid) WHERE x.oid <> 0) \
    SELECT t.oid, pg_catalog.format_type(t.oid, NULL), t.typtype, t.typbasetype, \
           CASE WHEN e.typarray = t.oid THEN t.typelem ELSE 0::oid END, t.typdelim, \
           t.typcategory = 'S' AND (t.typsend::oid = 'pg_catalog.textsend'::regproc::oid OR t.typname = 'citext') \
    FROM all_types a JOIN pg_catalog.pg_type t ON t.oid = a.oid \
    LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem";

/// The operators that order types, domains included, where they are not the server's own.
const ORDERS: &str = "\
    WITH RECURSIVE bases AS ( \
        SELECT oid AS of, oid, typbasetype FROM pg_catalog.pg_type WHERE oid = ANY($1) \
        UNION ALL \
        SELECT b.of, t.oid, t.typbasetype FROM bases b JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype) \
    SELECT b.of, max(o.term) FILTER (WHERE o.strategy = 2), max(o.term) FILTER (WHERE o.strategy = 3), \
           max(o.term) FILTER (WHERE o.strategy = 4), max(o.term) FILTER (WHERE o.strategy = 5) \
    FROM bases b \
    JOIN pg_catalog.pg_opclass c ON c.opcintype = b.oid AND c.opcdefault \
    JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree' \
    CROSS JOIN LATERAL ( \
        SELECT a.amopstrategy, 'OPERATOR(' || pg_catalog.quote_ident(n.nspname) || '.' || p.oprname || ')', \
               n.nspname = 'pg_catalog' \
        FROM pg_catalog.pg_amop a JOIN pg_catalog.pg_operator p ON p.oid = a.amopopr \
        JOIN pg_catalog.pg_namespace n ON n.oid = p.oprnamespace \
        WHERE a.amopfamily = c.opcfamily AND a.amopmethod = m.oid AND a.amoppurpose = 's' \
          AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype) o(strategy, term, built_in) \
    WHERE b.typbasetype = 0 \
    GROUP BY b.of HAVING NOT bool_and(o.built_in)";

/// What is known of an index.
struct KeyIndex {
    is_primary: bool,
    is_identity: bool,
    columns: Vec<i16>,
}

/// Tables by name, in order; `None`: there is none of that name.
pub(crate) async fn load(
    server: &Server,
    session: &Session,
    names: &[TableId],
) -> Result<Vec<Option<Table>>> {
    let names: Vec<TableId> = names.iter().map(qualify).collect();
    let schemas: Vec<&str> = names.iter().map(|name| &*name.schema).collect();
    let tables: Vec<&str> = names.iter().map(|name| &*name.name).collect();
    let wanted = format!(
        "{tables} WHERE (n.nspname, c.relname) IN (SELECT w.s, w.t FROM unnest($1::text[], $2::text[]) w(s, t)) \
         AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
        tables = self::tables()
    );
    let rows = session.query(&wanted, &[&schemas, &tables]).await;
    let rows = rows.map_err(|error| server.failed(&error, "the catalogue can't be read"))?;
    let mut found: HashMap<TableId, Table> =
        complete(server, session, rows).await?.into_iter().map(|table| (table.id.clone(), table)).collect();
    Ok(names.iter().map(|name| found.remove(name)).collect())
}

/// Every table of the user's schemas.
pub(crate) async fn all(server: &Server, session: &Session) -> Result<Vec<Table>> {
    let wanted = format!(
        "{tables} WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{own}') AND n.nspname !~ '^pg_(toast|temp)' \
         ORDER BY n.nspname, c.relname",
        own = crate::names::OWN_SCHEMA,
        tables = tables()
    );
    let rows = session.query(&wanted, &[]).await;
    let rows = rows.map_err(|error| server.failed(&error, "the catalogue can't be read"))?;
    complete(server, session, rows).await
}

/// Reads columns, keys and types of tables.
async fn complete(server: &Server, session: &Session, rows: Vec<tokio_postgres::Row>) -> Result<Vec<Table>> {
    let failed = |error: tokio_postgres::Error| server.failed(&error, "the catalogue can't be read");
    let oids: Vec<u32> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed)?;
    let column_rows = session.query(COLUMNS, &[&oids]).await.map_err(failed)?;
    let key_rows = session.query(KEYS, &[&oids]).await.map_err(failed)?;
    let type_oids: Vec<u32> =
        column_rows.iter().map(|row| row.try_get(3)).collect::<Result<_, _>>().map_err(failed)?;
    let types = types(server, session, &type_oids).await?;
    let orders = orders(server, session, &type_oids).await?;
    let mut columns: HashMap<u32, Vec<&tokio_postgres::Row>> = HashMap::new();
    for row in &column_rows {
        columns.entry(row.try_get(0).map_err(failed)?).or_default().push(row);
    }
    let mut keys: HashMap<u32, Vec<KeyIndex>> = HashMap::new();
    for row in &key_rows {
        let index = KeyIndex {
            is_primary: row.try_get(1).map_err(failed)?,
            is_identity: row.try_get(2).map_err(failed)?,
            columns: row.try_get(3).map_err(failed)?,
        };
        keys.entry(row.try_get(0).map_err(failed)?).or_default().push(index);
    }
    rows.iter()
        .map(|row| {
            let oid: u32 = row.try_get(0)?;
            let of_table = columns.remove(&oid).unwrap_or_default();
            table(row, oid, &of_table, (&types, &orders), &keys.remove(&oid).unwrap_or_default())
        })
        .collect::<std::result::Result<_, _>>()
        .map_err(failed)
}

fn table(
    row: &tokio_postgres::Row,
    oid: u32,
    column_rows: &[&tokio_postgres::Row],
    (types, orders): (&Types, &HashMap<u32, Arc<Order>>),
    indexes: &[KeyIndex],
) -> Result<Table, tokio_postgres::Error> {
    let letter = |index: usize| row.try_get::<_, i8>(index).map(|letter| letter as u8);
    let (mut columns, mut numbers, mut generated) = (vec![], vec![], vec![]);
    for column in column_rows {
        let name: &str = column.try_get(2)?;
        if column.try_get(6)? {
            generated.push(name.to_string());
            continue;
        }
        let type_oid: u32 = column.try_get(3)?;
        numbers.push(column.try_get::<_, i16>(1)?);
        columns.push(TableColumn {
            name: name.into(),
            type_oid,
            modifier: column.try_get(7)?,
            native: column.try_get::<_, &str>(4)?.into(),
            not_null: column.try_get(5)?,
            codec: types.codec(type_oid),
            order: orders.get(&type_oid).cloned(),
        });
    }
    // An index over a generated column has a part that is not read here.
    let places = |index: &KeyIndex| -> Option<Vec<usize>> {
        index.columns.iter().map(|number| numbers.iter().position(|one| one == number)).collect()
    };
    let never_null = |key: &Vec<usize>| key.iter().all(|&index| columns[index].not_null);
    let primary = indexes.iter().find(|index| index.is_primary).and_then(places);
    let (identity, key) = match letter(5)? {
        b'f' => {
            let unique = || indexes.iter().filter_map(places).find(never_null);
            (Identity::Full, primary.or_else(unique))
        }
        b'i' => match indexes.iter().find(|index| index.is_identity).and_then(places) {
            Some(index) => (Identity::Columns(index.clone()), Some(index)),
            None => (Identity::Nothing, primary),
        },
        b'd' => match primary {
            Some(primary) => (Identity::Columns(primary.clone()), Some(primary)),
            None => (Identity::Nothing, None),
        },
        _ => (Identity::Nothing, primary),
    };
    Ok(Table {
        oid,
        id: TableId::new(row.try_get(1)?, row.try_get(2)?),
        kind: letter(3)?,
        persistence: letter(4)?,
        has_children: row.try_get(6)?,
        identity,
        key: key.unwrap_or_default(),
        unique: indexes.iter().filter_map(places).collect(),
        columns,
        generated,
        seen: Seen { layout: row.try_get(7)?, file: row.try_get(8)?, columns: row.try_get(9)? },
    })
}

/// How these types are ordered, where that is not the server's own.
async fn orders(server: &Server, session: &Session, oids: &[u32]) -> Result<HashMap<u32, Arc<Order>>> {
    let failed = |error: tokio_postgres::Error| server.failed(&error, "the catalogue can't be read");
    let rows = session.query(ORDERS, &[&oids]).await.map_err(failed)?;
    let order = |row: &tokio_postgres::Row| -> Result<(u32, Arc<Order>), tokio_postgres::Error> {
        let order = Order {
            at_most: row.try_get(1)?,
            equal: row.try_get(2)?,
            at_least: row.try_get(3)?,
            greater: row.try_get(4)?,
        };
        Ok((row.try_get(0)?, Arc::new(order)))
    };
    rows.iter().map(order).collect::<Result<_, _>>().map_err(failed)
}

/// Types, and what they are made of.
pub(crate) async fn types(server: &Server, session: &Session, oids: &[u32]) -> Result<Types> {
    let failed = |error: tokio_postgres::Error| server.failed(&error, "the catalogue can't be read");
    let rows = session.query(TYPES, &[&oids]).await.map_err(failed)?;
    let info = |row: &tokio_postgres::Row| -> Result<TypeInfo, tokio_postgres::Error> {
        Ok(TypeInfo {
            oid: row.try_get(0)?,
            name: row.try_get(1)?,
            kind: row.try_get::<_, i8>(2)? as u8,
            base: row.try_get(3)?,
            element: row.try_get(4)?,
            delimiter: row.try_get::<_, i8>(5)? as u8,
            is_text: row.try_get(6)?,
        })
    };
    let types: Vec<TypeInfo> = rows.iter().map(info).collect::<Result<_, _>>().map_err(failed)?;
    Ok(Types::new(types))
}
