//! Chunks: ranges of a table by key. Each is one short consistent read that also says which transactions it has seen and how far the
//! log was written then; rows come by COPY, in the forms and through the decoder of the stream.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_types::ports::{ChunkReader, ReadLimits};
use sluice_types::{
    Chunk, Column, Error, ErrorKind, Key, KeyRange, Mark, Result, Row, TableId, TableSchema, Value,
};
use tokio::sync::watch;

use crate::codec::{Codec, Form};
use crate::config::Server;
use crate::copy::{CopyRow, Reader};
use crate::delivered::visibility;
use crate::errors::quote;
use crate::keeper::lsn;
use crate::literal;
use crate::maintain::altered;
use crate::protocol::client::{self, Client};
use crate::protocol::cursor::malformed;
use crate::protocol::replication::Lsn;
use crate::protocol::wire;
use crate::relations::Followed;
use crate::schema::{self, Order, Seen, Table};
use crate::source::raise;

/// Rows of the first chunk of a table whose rows may be of any size.
const FIRST_ROWS: usize = 2_000;
/// Rows per range below which it does not pay to divide a table.
const RANGE_ROWS_MIN: f64 = 20_000.0;

/// The tables of a line, by name.
pub(crate) type FollowedTables = Arc<HashMap<TableId, Followed>>;

/// A reader of chunks on a connection of its own.
pub(crate) struct PostgresChunks {
    server: Arc<Server>,
    tables: FollowedTables,
    client: Option<Client>,
    /// Where the stream has to come to.
    wanted: Arc<watch::Sender<Lsn>>,
    /// What a row of a table weighed last.
    weights: HashMap<TableId, usize>,
}

/// What one view brought.
struct View {
    mark: Mark,
    rows: Vec<CopyRow>,
    /// What they weigh.
    weight: usize,
    /// The limit of bytes was reached before the end.
    cut: bool,
}

impl PostgresChunks {
    /// Makes no connection yet.
    pub fn new(server: Arc<Server>, tables: FollowedTables, wanted: Arc<watch::Sender<Lsn>>) -> Self {
        PostgresChunks { server, tables, client: None, wanted, weights: HashMap::new() }
    }

    fn followed(&self, schema: &TableSchema) -> Result<Followed> {
        self.tables.get(&schema.table).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a chunk of a table that is not held").at_table(&schema.table)
        })
    }

    /// Runs one read-only view: `copy` is what is read in it.
    ///
    /// The table is locked before the view is taken. `ALTER TABLE` may write all rows anew, and a view from before that finds none of
    /// them: a copy that had to wait for it would take the table for empty. So are its partitions, each of which may be written anew
    /// by itself (`SET LOGGED`).
    async fn view(
        &mut self,
        table: &Table,
        copy: Option<&str>,
        reader: &mut Reader,
        bytes: usize,
    ) -> Result<View> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::plain(&self.server).await?,
        };
        // One round trip. The place in the log is read after the view was taken: every commit that the view has seen ends before it.
        let copy = copy.map(|copy| format!("{copy};")).unwrap_or_default();
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; LOCK TABLE {from} IN ACCESS SHARE MODE; \
             SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()::text, {layout}; {copy} COMMIT",
            from = table.from(),
            layout = schema::layout_of(&table.oid.to_string()),
        );
        client.ask(&sql).await?;
        let (mut mark, mut as_known) = (None, false);
        let (mut rows, mut weight, mut cut) = (Vec::new(), 0, false);
        'answer: loop {
            let mut block: Bytes = client.block().await?;
            while let Some(frame) = wire::take(&mut block)? {
                match frame.tag {
                    b'D' => {
                        let row = client::text_row(frame.body)?;
                        mark = Some(mark_of(&row)?);
                        // What comes now has no types with it: it is read by those that the table had.
                        if row.get(2).and_then(Option::as_deref) != Some(&table.seen.layout[..]) {
                            break 'answer;
                        }
                        as_known = true;
                    }
                    b'd' if !cut => {
                        if let Some(row) = reader.row(frame.body)? {
                            weight += row.row.weight();
                            rows.push(row);
                            cut = weight >= bytes;
                        }
                    }
                    b'E' => return Err(client.refused(frame.body, "the table can't be read")),
                    b'Z' => break 'answer,
                    _ => {}
                }
                if cut {
                    // The rest is not read: the connection is given up rather than drained.
                    break 'answer;
                }
            }
        }
        if mark.is_some() && !as_known {
            // What came on this connection is in its midst.
            let seen =
                Client::plain(&self.server).await?.query(&schema::seen_sql(&table.oid.to_string())).await?;
            return Err(altered(&table.id, seen.first().and_then(Seen::of_text).as_ref()));
        }
        if !cut {
            self.client = Some(client);
        }
        let mark = mark.ok_or_else(|| malformed("a view without its place in the log"))?;
        // On an idle source the stream may not come to this place by itself.
        raise(&self.wanted, Lsn::of(&mark.high)?);
        Ok(View { mark, rows, weight, cut })
    }

    /// Rows by key in one view, one answer per key.
    pub async fn reread(&mut self, schema: &TableSchema, keys: &[Key]) -> Result<(Vec<Option<Row>>, Mark)> {
        let followed = self.followed(schema)?;
        let mut reader = Reader::new(&followed.table, true);
        let copy = (!keys.is_empty()).then(|| reread_sql(&followed, keys, reader.form()));
        let view = self.view(&followed.table, copy.as_deref(), &mut reader, usize::MAX).await;
        let view = view.map_err(|error| error.at_table(&schema.table))?;
        let mut found: Vec<Option<Row>> = vec![None; keys.len()];
        for CopyRow { number, row } in view.rows {
            if let Some(place) = number.and_then(|number| found.get_mut(number as usize)) {
                *place = Some(row);
            }
        }
        Ok((found, view.mark))
    }
}

fn mark_of(row: &client::TextRow) -> Result<Mark> {
    let [Some(snapshot), Some(end), _] = row.as_slice() else {
        return Err(malformed("a view without its place in the log"));
    };
    Ok(Mark { high: lsn(end)?.position(""), visibility: visibility(snapshot)? })
}

/// The key's columns, quoted, under the table's alias.
fn key_terms(schema: &TableSchema) -> Vec<String> {
    schema.key_columns().map(|column| format!("t.{}", quote(&column.name))).collect()
}

fn columns(followed: &Followed) -> String {
    let columns = followed.table.columns.iter().map(|column| format!("t.{}", quote(&column.name)));
    columns.collect::<Vec<_>>().join(", ")
}

fn copy_options(form: Form) -> &'static str {
    match form {
        Form::Binary => "TO STDOUT (FORMAT binary)",
        Form::Text => "TO STDOUT (FORMAT text)",
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    After,
    Upto,
}

/// How the key's columns are ordered, each.
fn orders(Followed { table, schema }: &Followed) -> Vec<Option<Arc<Order>>> {
    let order = |column: &Column| table.columns.get(table.column(&column.name)?)?.order.clone();
    schema.key_columns().map(order).collect()
}

/// The condition that a row is on this side of a key, in the very order that `ORDER BY` has.
fn side(followed: &Followed, terms: &[String], key: &Key, side: Side) -> String {
    let schema = &followed.schema;
    let orders = orders(followed);
    if orders.iter().all(Option::is_none) {
        let than = if side == Side::After { ">" } else { "<=" };
        return format!("({}) {than} ({})", terms.join(", "), literal::key(schema, key));
    }
    // Operators of several schemas don't make one comparison of rows: column by column, and the first as an index wants it.
    let mut condition: Option<String> = None;
    for ((term, value), order) in terms.iter().zip(literal::key_values(schema, key)).zip(&orders).rev() {
        let of = |own: fn(&Order) -> &str, plain| order.as_ref().map_or(plain, |order| own(order));
        let equal = of(|order| &order.equal, "=");
        let (strict, loose) = match side {
            Side::After => (of(|order| &order.greater, ">"), of(|order| &order.at_least, ">=")),
            Side::Upto => (of(|order| &order.at_most, "<="), of(|order| &order.at_most, "<=")),
        };
        condition = Some(match condition {
            None => format!("{term} {strict} {value}"),
            Some(rest) => {
                format!("({term} {loose} {value} AND (NOT ({term} {equal} {value}) OR ({rest})))")
            }
        });
    }
    condition.unwrap_or_default()
}

/// The rows of a range in key order. The order is the server's own, as are the ranges: whatever the key's collation is, what is
/// greater and what comes next are the same.
fn chunk_sql(followed: &Followed, range: &KeyRange, rows: usize, form: Form) -> String {
    let schema = &followed.schema;
    let terms = key_terms(schema);
    let mut conditions = Vec::new();
    conditions.extend(range.after.as_ref().map(|key| side(followed, &terms, key, Side::After)));
    conditions.extend(range.upto.as_ref().map(|key| side(followed, &terms, key, Side::Upto)));
    let condition =
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    format!(
        "COPY (SELECT {} FROM {} t {condition} ORDER BY {} LIMIT {rows}) {}",
        columns(followed),
        followed.table.from(),
        terms.join(", "),
        copy_options(form)
    )
}

/// The rows of these keys, each with the number of its key.
fn reread_sql(followed: &Followed, keys: &[Key], form: Form) -> String {
    let schema = &followed.schema;
    let wanted =
        keys.iter().enumerate().map(|(number, key)| format!("({number}, {})", literal::key(schema, key)));
    let wanted: Vec<String> = wanted.collect();
    let terms = key_terms(schema);
    let names: Vec<String> = (0..terms.len()).map(|index| format!("k{index}")).collect();
    // By the column's own operator an index finds the row. It may take other keys for the same, which are not what was asked for.
    let equal = terms.iter().zip(&names).zip(orders(followed)).map(|((term, name), order)| match order {
        None => format!("{term} = w.{name}"),
        Some(order) => format!("{term} {} w.{name} AND {term}::text = w.{name}::text", order.equal),
    });
    format!(
        "COPY (SELECT w.n, {} FROM (VALUES {}) w(n, {}) JOIN {} t ON {}) {}",
        columns(followed),
        wanted.join(", "),
        names.join(", "),
        followed.table.from(),
        equal.collect::<Vec<_>>().join(" AND "),
        copy_options(form)
    )
}

#[async_trait]
impl ChunkReader for PostgresChunks {
    async fn divide(
        &mut self,
        table: &Arc<TableSchema>,
        parts: usize,
    ) -> Result<(Vec<KeyRange>, Option<u64>)> {
        let followed = self.followed(table)?;
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::plain(&self.server).await?,
        };
        let divided =
            divide(&mut client, &followed, parts).await.map_err(|error| error.at_table(&table.table))?;
        self.client = Some(client);
        Ok(divided)
    }

    async fn read(
        &mut self,
        table: &Arc<TableSchema>,
        range: &KeyRange,
        limits: &ReadLimits,
    ) -> Result<Chunk> {
        let followed = self.followed(table)?;
        let rows = limits.rows.max(1);
        // As many as are likely to fit.
        let rows = match self.weights.get(&table.table) {
            Some(weight) => rows.min((limits.bytes / (*weight).max(1)).max(1)),
            None => rows.min(FIRST_ROWS),
        };
        let mut reader = Reader::new(&followed.table, false);
        let copy = chunk_sql(&followed, range, rows, reader.form());
        let view = self.view(&followed.table, Some(&copy), &mut reader, limits.bytes.max(1)).await;
        let View { mark, rows: read, weight, cut } = view.map_err(|error| error.at_table(&table.table))?;
        if !read.is_empty() {
            self.weights.insert(table.table.clone(), weight.div_ceil(read.len()));
        }
        let more = cut || read.len() >= rows;
        let next = read.last().filter(|_| more).map(|last| table.key_of(&last.row));
        let has_null = |key: &Key| key.0.contains(&Value::Null);
        if next.as_ref().is_some_and(has_null) {
            return Err(null_key().at_table(&table.table));
        }
        Ok(Chunk { rows: read.into_iter().map(|row| row.row).collect(), mark, next })
    }
}

/// Ranges of about the same number of rows, and how many rows there are, as the statistics say.
async fn divide(
    client: &mut Client,
    followed: &Followed,
    parts: usize,
) -> Result<(Vec<KeyRange>, Option<u64>)> {
    refuse_null_keys(client, followed).await?;
    refuse_double_keys(client, followed).await?;
    let whole = vec![KeyRange::default()];
    let estimate = estimate(client, followed).await?;
    let rows = estimate.map(|rows| rows as u64);
    let parts = match estimate {
        Some(estimate) => parts.min((estimate / RANGE_ROWS_MIN).ceil().max(1.0) as usize),
        None => parts,
    };
    let mut key = followed.schema.key_columns();
    let (Some(column), true) = (key.next(), parts > 1) else { return Ok((whole, rows)) };
    let codec = followed.table.column(&column.name).and_then(|index| followed.table.columns.get(index));
    let is_integer = matches!(
        codec.map(|column| &column.codec),
        Some(Codec::Int2 | Codec::Int4 | Codec::Int8 | Codec::Oid)
    );
    if !is_integer || followed.schema.key.len() > 1 {
        return Ok((sampled(client, followed, parts).await?.unwrap_or(whole), rows));
    }
    let (term, from) = (quote(&column.name), followed.table.from());
    let ends =
        format!("SELECT (SELECT min({term}) FROM {from})::text, (SELECT max({term}) FROM {from})::text");
    let answer = client.query(&ends).await?;
    let end = |index: usize| answer.first()?.get(index)?.as_ref()?.parse::<i128>().ok();
    let (Some(least), Some(greatest)) = (end(0), end(1)) else { return Ok((whole, rows)) };
    let span = greatest - least + 1;
    let parts = (parts as i128).min(span.max(1));
    let cuts = (1..parts).map(|part| Key(vec![Value::Int64((least + span * part / parts - 1) as i64)]));
    Ok((between(cuts.collect()), rows))
}

/// Rows with a null in their key would be in no range: they are found here, and told, before any is read.
async fn refuse_null_keys(client: &mut Client, followed: &Followed) -> Result<()> {
    let nullable = followed.schema.key_columns().filter(|column| column.nullable);
    let nulls: Vec<String> = nullable.map(|column| format!("{} IS NULL", quote(&column.name))).collect();
    if nulls.is_empty() {
        return Ok(());
    }
    let sql = format!("SELECT 1 FROM {} WHERE {} LIMIT 1", followed.table.from(), nulls.join(" OR "));
    if client.query(&sql).await?.is_empty() { Ok(()) } else { Err(null_key()) }
}

/// A key that the server does not vouch for may be the key of several rows, of which the target would hold one.
async fn refuse_double_keys(client: &mut Client, followed: &Followed) -> Result<()> {
    let Followed { table, schema } = followed;
    let key: BTreeSet<usize> = schema.key_columns().filter_map(|column| table.column(&column.name)).collect();
    // Nulls in the key are refused anyway.
    if table.unique.iter().any(|index| index.iter().all(|column| key.contains(column))) {
        return Ok(());
    }
    let terms = key_terms(schema).join(", ");
    let sql = format!("SELECT 1 FROM {} t GROUP BY {terms} HAVING count(*) > 1 LIMIT 1", table.from());
    if client.query(&sql).await?.is_empty() {
        return Ok(());
    }
    let what = "several rows have the same key, and the target would hold only one of them";
    Err(Error::new(ErrorKind::KeyMissing, what).remedy("Name columns under `key:` that tell all rows apart"))
}

fn null_key() -> Error {
    Error::new(ErrorKind::KeyMissing, "a row has a null in its key")
        .remedy("Give the row a key, or choose a key whose columns are never null")
}

/// The ranges between these keys; the first and the last are open, for rows may be added at either end.
fn between(cuts: Vec<Key>) -> Vec<KeyRange> {
    let afters = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
    let uptos = cuts.iter().cloned().map(Some).chain(std::iter::once(None));
    afters.zip(uptos).map(|(after, upto)| KeyRange { after, upto }).collect()
}

async fn estimate(client: &mut Client, followed: &Followed) -> Result<Option<f64>> {
    let oid = followed.table.oid;
    let sql = format!(
        "SELECT sum(reltuples)::text FROM pg_catalog.pg_class WHERE relkind = 'r' AND reltuples >= 0 AND \
         oid IN (SELECT {oid} UNION SELECT relid::oid FROM pg_catalog.pg_partition_tree({oid}::oid::regclass))"
    );
    let answer = client.query(&sql).await?;
    Ok(answer.first().and_then(|row| row.first()?.as_ref()?.parse().ok()))
}

/// Cuts at keys of a small sample of the table's pages, in the order of the key.
async fn sampled(client: &mut Client, followed: &Followed, parts: usize) -> Result<Option<Vec<KeyRange>>> {
    const SAMPLE: usize = 2_000;
    if followed.table.kind != b'r' {
        return Ok(None);
    }
    let Some(estimate) = estimate(client, followed).await?.filter(|rows| *rows > 0.0) else {
        return Ok(None);
    };
    let percent = (SAMPLE as f64 / estimate * 100.0).clamp(0.001, 100.0);
    let (terms, schema) = (key_terms(&followed.schema), &followed.schema);
    let mut reader = Reader::of_key(&followed.table, schema);
    let copy = format!(
        "COPY (SELECT {terms} FROM {} t TABLESAMPLE SYSTEM ({percent}) ORDER BY {terms}) {}",
        followed.table.from(),
        copy_options(reader.form()),
        terms = terms.join(", "),
    );
    client.ask(&copy).await?;
    let mut keys = Vec::new();
    'answer: loop {
        let mut block = client.block().await?;
        while let Some(frame) = wire::take(&mut block)? {
            match frame.tag {
                b'd' => keys.extend(reader.row(frame.body)?.map(|row| Key(row.row.values().to_vec()))),
                b'E' => return Err(client.refused(frame.body, "the table can't be read")),
                b'Z' => break 'answer,
                _ => {}
            }
        }
    }
    let each = keys.len() / parts;
    if each == 0 {
        return Ok(None);
    }
    let mut cuts: Vec<Key> = (1..parts).filter_map(|part| keys.get(part * each).cloned()).collect();
    cuts.dedup();
    Ok(Some(between(cuts)))
}
