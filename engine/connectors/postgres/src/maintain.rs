//! What a line keeps at the source: its publication and its slot.
//!
//! Each time the slot is made the capture has a new *generation*, a word that the publication's comment keeps and every position
//! carries: a checkpoint of another generation is lost, however the numbers compare. So a slot that was dropped and made again, and
//! a server that was put back to a base backup (which holds no slots), never leave a hole.
//!
//! The publication names tables, never all of them, and has no filter: a filter over columns outside of the replica identity makes
//! the source's own updates fail. Its comment remembers which tables are captured, and by which membership: one that somebody else
//! took out, or dropped and made again, is a gap, which nothing here mends in silence, whether it was put back or not.

mod publication;
mod slot;

use std::time::Duration;

use sluice_types::ports::Altered;
use sluice_types::{Error, ErrorKind, Result, TableId};
use tokio::time::{Instant, sleep};

use crate::config::Server;
use crate::connection::Session;
use crate::errors::{literal, quote};
use crate::protocol::replication::Lsn;
use crate::schema::{self, Seen, Table};
pub(crate) use publication::{Capture, LOOK, Look};
use publication::{Memory, Publication, taken_out};
pub(crate) use slot::Slot;

/// How long transactions are waited for that changed a table before it was captured.
const WRITERS_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// What is held at the source for a line.
pub(crate) struct Held {
    /// From where on.
    pub start: Lsn,
    pub generation: String,
    pub capture: Capture,
}

/// One line's things at the source.
pub(crate) struct Keep<'a> {
    pub server: &'a Server,
    pub session: &'a Session,
    /// The name of slot and publication.
    pub name: &'a str,
}

/// Two are at it. The line tries again.
fn meanwhile() -> Error {
    Error::new(ErrorKind::Busy, "the publication was altered while the line was starting")
}

/// The table was altered since it is followed. That is for somebody to decide ([`Keep::accept`]); nothing here takes it as known. What
/// was seen of it goes with the decision.
pub(crate) fn altered(table: &TableId, seen: Option<&Seen>) -> Error {
    let what = "the table was altered, and rows that were there may have other values or columns than the target has";
    let altered = Error::new(ErrorKind::SchemaChanged, what).at_table(table).remedy(
        "Read it again: sluice resnapshot. Or, if its rows kept their values, alter the target's table alike and run `sluice resume`",
    );
    match seen.and_then(|seen| serde_json::to_string(seen).ok()) {
        Some(seen) => altered.seen_as(seen),
        None => altered,
    }
}

impl Keep<'_> {
    fn failed(&self, what: &'static str) -> impl Fn(tokio_postgres::Error) -> Error + '_ {
        move |error| self.server.failed(&error, what)
    }

    /// Makes sure that these tables are captured from now on.
    pub async fn hold(&self, tables: &[Table]) -> Result<Held> {
        let mut slot = self.slot().await?;
        if slot.as_ref().is_some_and(|slot| !slot.ours) {
            let what = format!("the slot {} is of another database or plugin", self.name);
            return Err(Error::new(ErrorKind::CaptureBroken, what)
                .remedy(format!("SELECT pg_drop_replication_slot({})", literal(self.name))));
        }
        let mut memory = match self.publication().await?.and_then(Publication::remembered) {
            Some((publication, memory)) => self.extend(&publication, memory, tables).await?,
            None => {
                if slot.take().is_some() {
                    // What was changed meanwhile may be in no stream. The slot begins anew, and `open` then sees that it begins
                    // after the checkpoint.
                    let why = "its publication was dropped or altered, so the slot is made anew";
                    tracing::warn!(slot = self.name, why);
                    self.drop_slot().await?;
                }
                self.publish(tables).await?
            }
        };
        let start = match slot {
            Some(slot) => slot.confirmed,
            None => {
                self.begin_generation(&mut memory).await?;
                self.make_slot().await?
            }
        };
        Ok(Held { start, generation: memory.generation.clone(), capture: memory.capture() })
    }

    /// Noted before the slot is made: one that nobody noted is never taken for one that was.
    async fn begin_generation(&self, memory: &mut Memory) -> Result<()> {
        const WORD: &str = "SELECT left(md5(random()::text || clock_timestamp()::text), 8)";
        let row =
            self.session.query_one(WORD, &[]).await.map_err(self.failed("the server can't be asked"))?;
        let generation: String = row.get(0);
        *memory = self.rewrite(|_, memory| memory.generation = generation).await?.ok_or_else(meanwhile)?;
        Ok(())
    }

    async fn run(&self, sql: &str, what: &'static str) -> Result<()> {
        self.session.batch_execute(sql).await.map_err(self.failed(what))
    }

    /// Makes the publication, in the place of what goes by its name. It comes before the slot: the stream looks it up as of each
    /// change.
    async fn publish(&self, tables: &[Table]) -> Result<Memory> {
        let names: Vec<String> = tables.iter().map(Table::from).collect();
        let name = quote(self.name);
        let sql = format!(
            "DROP PUBLICATION IF EXISTS {name}; \
             CREATE PUBLICATION {name} FOR TABLE {} WITH (publish_via_partition_root = true)",
            names.join(", ")
        );
        let mut memory = Memory::default();
        let added = tables.iter().map(|table| (table.id.to_string(), table.oid, table.seen.clone()));
        let added: Vec<_> = added.collect();
        self.change(&sql, None, &mut memory, &added).await?;
        Ok(memory)
    }

    /// Adds the tables that are new, and takes those away that are not wanted any more.
    async fn extend(
        &self,
        publication: &Publication,
        mut memory: Memory,
        tables: &[Table],
    ) -> Result<Memory> {
        let before = memory.clone();
        let alter =
            |what: &str, table: &str| format!("ALTER PUBLICATION {} {what} TABLE {table};", quote(self.name));
        let mut sql = String::new();
        let mut added = Vec::new();
        for table in tables {
            let name = table.id.to_string();
            match memory.tables.get_mut(&name) {
                Some(known) if known.oid == table.oid && publication.still_has(known) => {
                    if !known.take(&table.seen) {
                        return Err(altered(&table.id, Some(&table.seen)));
                    }
                }
                Some(_) => return Err(taken_out(&table.id)),
                None => {
                    // Who else has added it may have given it a filter.
                    if publication.has(table.oid) {
                        sql.push_str(&alter("DROP", &table.from()));
                    }
                    sql.push_str(&alter("ADD", &table.from()));
                    memory.pending.insert(name.clone(), None);
                    added.push((name, table.oid, table.seen.clone()));
                }
            }
        }
        memory.tables.retain(|name, known| {
            let wanted = tables.iter().any(|table| table.id.to_string() == *name);
            if !wanted && publication.still_has(known) {
                let id = TableId::parse(name);
                sql.push_str(&alter("DROP", &format!("ONLY {}.{}", quote(&id.schema), quote(&id.name))));
            }
            wanted
        });
        memory.pending.retain(|name, _| tables.iter().any(|table| table.id.to_string() == *name));
        if memory != before {
            self.change(&sql, Some(&before), &mut memory, &added).await?;
        }
        self.outwait_writers(memory, tables).await
    }

    /// A transaction that changed a table before it was captured, and that goes on, is in no stream with that change; a chunk that
    /// was read before it ends would not show it either. So no chunk is read before.
    async fn outwait_writers(&self, memory: Memory, tables: &[Table]) -> Result<Memory> {
        if memory.pending.is_empty() {
            return Ok(memory);
        }
        // A number that is given out now: all transactions that are under way have smaller ones. What a view has for its end does
        // not: it is that of the last one that has ended.
        const NEXT: &str = "SELECT pg_catalog.pg_current_xact_id()::text";
        let failed = self.failed("open transactions can't be looked at");
        let row = self.session.query_one(NEXT, &[]).await.map_err(&failed)?;
        let next: u64 = row.get::<_, &str>(0).parse().unwrap_or(u64::MAX);
        let bounded = self.rewrite(|_, memory| {
            for bound in memory.pending.values_mut() {
                bound.get_or_insert(next);
            }
        });
        let memory = bounded.await?.ok_or_else(meanwhile)?;
        let since = Instant::now();
        for (name, bound) in &memory.pending {
            let Some(table) = tables.iter().find(|table| table.id.to_string() == *name) else { continue };
            while let Some(pid) = self.writer(table, bound.unwrap_or(next)).await? {
                if since.elapsed() > WRITERS_MAX {
                    let what = match pid {
                        0 => "a prepared transaction changed the table before it was captured".to_string(),
                        pid => {
                            format!("process {pid} changed the table before it was captured, and is not done")
                        }
                    };
                    return Err(Error::new(ErrorKind::Busy, what)
                        .at_table(&table.id)
                        .remedy("Commit or end that transaction; it is tried again"));
                }
                sleep(POLL).await;
            }
        }
        self.rewrite(|_, memory| memory.pending.clear()).await?.ok_or_else(meanwhile)
    }

    /// A process whose transaction is older than `bound` and holds a writer's lock on the table, or on a partition of it.
    async fn writer(&self, table: &Table, bound: u64) -> Result<Option<i32>> {
        // Transaction numbers in locks have 32 bits: they are compared as the server does, around the present one.
        const WRITERS: &str = "\
            SELECT coalesce(w.pid, 0) FROM pg_catalog.pg_locks w JOIN pg_catalog.pg_locks x \
                ON x.virtualtransaction = w.virtualtransaction AND x.locktype = 'transactionid' AND x.granted \
                AND x.mode = 'ExclusiveLock' \
            WHERE w.locktype = 'relation' AND w.mode = 'RowExclusiveLock' AND w.granted \
                AND w.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
                AND (w.relation = $1 OR w.relation IN (SELECT relid::oid FROM pg_catalog.pg_partition_tree($1::oid::regclass))) \
                AND ((x.transactionid::text::bigint - ($2::text::numeric % 4294967296)::bigint) \
                     & 4294967295) >= 2147483648 \
            LIMIT 1";
        let bound = bound.to_string();
        let row = self.session.query_opt(WRITERS, &[&table.oid, &bound]).await;
        Ok(row.map_err(self.failed("locks can't be looked at"))?.map(|row| row.get(0)))
    }

    /// Takes tables as what they were told to be, or, where nothing was seen of them, as what they are now.
    pub async fn accept(&self, tables: &[Altered]) -> Result<()> {
        let names: Vec<TableId> = tables.iter().map(|altered| schema::qualify(&altered.table)).collect();
        let found = schema::load(self.server, self.session, &names).await?;
        self.rewrite(|_, memory| {
            for (altered, table) in tables.iter().zip(found) {
                let Some(table) = table else { continue };
                let Some(known) = memory.tables.get_mut(&table.id.to_string()) else { continue };
                match &altered.seen {
                    None => known.seen = Some(table.seen),
                    // In words of another version: then it is told again, in ours.
                    Some(told) => known.seen = serde_json::from_str(told).ok().or(known.seen.take()),
                }
            }
        })
        .await
        .map(drop)
    }

    /// Gives up tables whose capture has a gap, so that the next `hold` captures them anew. Says whether there were any.
    pub async fn forget_broken(&self, tables: &[TableId]) -> Result<bool> {
        let names: Vec<TableId> = tables.iter().map(schema::qualify).collect();
        let found = schema::load(self.server, self.session, &names).await?;
        let mut any = false;
        self.rewrite(|publication, memory| {
            let before = memory.tables.len();
            for (name, table) in names.iter().zip(found) {
                memory.tables.retain(|captured, known| {
                    let whole = table.as_ref().is_some_and(|table| table.oid == known.oid)
                        && publication.still_has(known);
                    whole || *captured != name.to_string()
                });
            }
            any = memory.tables.len() != before;
        })
        .await?;
        Ok(any)
    }

    /// Removes both.
    pub async fn release(&self) -> Result<()> {
        self.drop_slot().await?;
        let sql = format!("DROP PUBLICATION IF EXISTS {}", quote(self.name));
        self.run(&sql, "the publication could not be dropped").await
    }
}
