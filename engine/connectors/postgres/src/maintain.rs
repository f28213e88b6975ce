//! What a line keeps at the source: its publication and its slot.
//!
//! Each time the slot is made the capture has a new *generation*, a word that the publication's comment keeps and every position
//! carries: a checkpoint of another generation is lost, however the numbers compare. So a slot that was dropped and made again, and
//! a server that was put back to a base backup (which holds no slots), never leave a hole.
//!
//! The publication names tables, never all of them, and has no filter: a filter over columns outside of the replica identity makes
//! the source's own updates fail. Its comment remembers which tables are captured: one that somebody else took out, or dropped and
//! made again, is a gap, which nothing here mends in silence.

mod slot;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_types::{Error, ErrorKind, Result, TableId};
use tokio::time::{Instant, sleep};

use crate::config::Server;
use crate::connection::Session;
use crate::errors::{literal, quote};
use crate::protocol::replication::Lsn;
use crate::schema::Table;
pub(crate) use slot::Slot;

/// How long transactions are waited for that changed a table before it was captured.
const WRITERS_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// What the comment of a publication says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    /// The slot's; changes whenever it is made.
    #[serde(default)]
    generation: String,
    /// The OIDs of the captured tables.
    tables: BTreeMap<String, u32>,
    /// Tables that were added and that transactions may have changed before: no transaction below this number may be left. Without
    /// a number it is not known yet.
    #[serde(default)]
    pending: BTreeMap<String, Option<u64>>,
}

/// A publication as the server has it.
struct Publication {
    tables: Vec<u32>,
    memory: Memory,
}

/// One line's things at the source.
pub(crate) struct Keep<'a> {
    pub server: &'a Server,
    pub session: &'a Session,
    /// The name of slot and publication.
    pub name: &'a str,
}

impl Keep<'_> {
    fn failed(&self, what: &'static str) -> impl Fn(tokio_postgres::Error) -> Error + '_ {
        move |error| self.server.failed(&error, what)
    }

    /// Makes sure that these tables are captured from now on, and says from where, and in which generation.
    pub async fn hold(&self, tables: &[Table]) -> Result<(Lsn, String)> {
        let mut slot = self.slot().await?;
        if slot.as_ref().is_some_and(|slot| !slot.ours) {
            let what = format!("the slot {} is of another database or plugin", self.name);
            return Err(Error::new(ErrorKind::CaptureBroken, what)
                .remedy(format!("SELECT pg_drop_replication_slot({})", literal(self.name))));
        }
        match self.publication().await? {
            Some(publication) => self.extend(publication, tables).await?,
            None => {
                if slot.is_some() {
                    // What was changed since the publication went is in no stream. The slot begins anew, and `open` then sees that
                    // it begins after the checkpoint.
                    tracing::warn!(slot = self.name, "its publication was dropped, so the slot is made anew");
                    self.drop_slot().await?;
                    slot = None;
                }
                self.publish(tables).await?;
            }
        }
        match slot {
            Some(slot) => Ok((slot.confirmed, self.memory().await?.generation)),
            None => {
                let generation = self.new_generation().await?;
                Ok((self.make_slot().await?, generation))
            }
        }
    }

    async fn memory(&self) -> Result<Memory> {
        Ok(self.publication().await?.map(|publication| publication.memory).unwrap_or_default())
    }

    /// Noted before the slot is made: one that nobody noted is never taken for one that was.
    async fn new_generation(&self) -> Result<String> {
        const WORD: &str = "SELECT left(md5(random()::text || clock_timestamp()::text), 8)";
        let row =
            self.session.query_one(WORD, &[]).await.map_err(self.failed("the server can't be asked"))?;
        let mut memory = self.memory().await?;
        memory.generation = row.get(0);
        self.run(&self.comment(&memory)?, "the publication could not be changed").await?;
        Ok(memory.generation)
    }

    async fn publication(&self) -> Result<Option<Publication>> {
        const PUBLICATION: &str = "\
            SELECT oid, puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate AND pubviaroot, \
                   obj_description(oid, 'pg_publication') \
            FROM pg_catalog.pg_publication WHERE pubname = $1";
        const TABLES: &str = "\
            SELECT prrelid, to_jsonb(r)->>'prqual' IS NOT NULL OR to_jsonb(r)->>'prattrs' IS NOT NULL \
            FROM pg_catalog.pg_publication_rel r WHERE prpubid = $1";
        let failed = self.failed("publications can't be read");
        let Some(row) = self.session.query_opt(PUBLICATION, &[&self.name]).await.map_err(&failed)? else {
            return Ok(None);
        };
        let rows = self.session.query(TABLES, &[&row.get::<_, u32>(0)]).await.map_err(&failed)?;
        let narrowed = rows.iter().any(|row| row.get(1));
        if row.get(1) || !row.get::<_, bool>(2) || narrowed {
            let what = format!("the publication {} was altered by somebody else", self.name);
            return Err(Error::new(ErrorKind::CaptureBroken, what)
                .remedy(format!("DROP PUBLICATION {}, then sluice resnapshot", quote(self.name))));
        }
        let memory = row.get::<_, Option<&str>>(3).and_then(|text| serde_json::from_str(text).ok());
        let tables = rows.iter().map(|row| row.get(0)).collect();
        Ok(Some(Publication { tables, memory: memory.unwrap_or_default() }))
    }

    fn comment(&self, memory: &Memory) -> Result<String> {
        let text = serde_json::to_string(memory).map_err(|error| {
            Error::new(ErrorKind::Internal, "a comment could not be written").because(error)
        })?;
        Ok(format!("COMMENT ON PUBLICATION {} IS {};", quote(self.name), literal(&text)))
    }

    async fn run(&self, sql: &str, what: &'static str) -> Result<()> {
        self.session.batch_execute(sql).await.map_err(self.failed(what))
    }

    /// Makes the publication. It comes before the slot: the stream looks it up as of each change.
    async fn publish(&self, tables: &[Table]) -> Result<()> {
        let names: Vec<String> = tables.iter().map(Table::from).collect();
        let memory = Memory {
            tables: tables.iter().map(|table| (table.id.to_string(), table.oid)).collect(),
            ..Memory::default()
        };
        let sql = format!(
            "BEGIN; CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true); {} COMMIT",
            quote(self.name),
            names.join(", "),
            self.comment(&memory)?
        );
        self.run(&sql, "the publication could not be made").await
    }

    /// Adds the tables that are new, and takes those away that are not wanted any more.
    async fn extend(&self, publication: Publication, tables: &[Table]) -> Result<()> {
        let Publication { tables: published, mut memory } = publication;
        let mut sql = String::new();
        for table in tables {
            let name = table.id.to_string();
            match (published.contains(&table.oid), memory.tables.get(&name)) {
                (true, known) => {
                    if known != Some(&table.oid) {
                        memory.tables.insert(name, table.oid);
                        sql.push(' ');
                    }
                }
                (false, Some(_)) => return Err(self.broken(table)),
                (false, None) => {
                    memory.tables.insert(name.clone(), table.oid);
                    memory.pending.insert(name, None);
                    sql.push_str(&format!(
                        "ALTER PUBLICATION {} ADD TABLE {};",
                        quote(self.name),
                        table.from()
                    ));
                }
            }
        }
        let unwanted = |name: &String| !tables.iter().any(|table| table.id.to_string() == *name);
        let gone: Vec<(String, u32)> = memory
            .tables
            .iter()
            .filter(|(name, _)| unwanted(name))
            .map(|(name, oid)| (name.clone(), *oid))
            .collect();
        for (name, oid) in gone {
            if published.contains(&oid) {
                let id = TableId::parse(&name);
                let table = format!("{}.{}", quote(&id.schema), quote(&id.name));
                sql.push_str(&format!("ALTER PUBLICATION {} DROP TABLE {table};", quote(self.name)));
            }
            memory.tables.remove(&name);
            memory.pending.remove(&name);
            sql.push(' ');
        }
        if !sql.is_empty() {
            let sql = format!("BEGIN; {sql} {} COMMIT", self.comment(&memory)?);
            self.run(&sql, "the publication could not be changed").await?;
        }
        self.outwait_writers(memory, tables).await
    }

    fn broken(&self, table: &Table) -> Error {
        let what = "the table is not in the line's publication any more: it was taken out, or dropped and made again";
        Error::new(ErrorKind::CaptureBroken, what)
            .at_table(&table.id)
            .remedy("Its changes were not captured for a time. Read it again: sluice resnapshot")
    }

    /// A transaction that changed a table before it was captured, and that goes on, is in no stream with that change; a chunk that
    /// was read before it ends would not show it either. So no chunk is read before.
    async fn outwait_writers(&self, mut memory: Memory, tables: &[Table]) -> Result<()> {
        if memory.pending.is_empty() {
            return Ok(());
        }
        const NEXT: &str = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text";
        let failed = self.failed("open transactions can't be looked at");
        let row = self.session.query_one(NEXT, &[]).await.map_err(&failed)?;
        let next: u64 = row.get::<_, &str>(0).parse().unwrap_or(u64::MAX);
        for bound in memory.pending.values_mut() {
            bound.get_or_insert(next);
        }
        self.run(&self.comment(&memory)?, "the publication could not be changed").await?;
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
        memory.pending.clear();
        self.run(&self.comment(&memory)?, "the publication could not be changed").await
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

    /// Gives up tables whose capture has a gap, so that the next `hold` captures them anew. Says whether there were any.
    pub async fn forget_broken(&self, tables: &[TableId]) -> Result<bool> {
        let Some(Publication { tables: published, mut memory }) = self.publication().await? else {
            return Ok(false);
        };
        let before = memory.tables.len();
        memory.tables.retain(|name, oid| {
            published.contains(oid)
                || !tables.iter().any(|table| crate::schema::qualify(table).to_string() == *name)
        });
        if memory.tables.len() == before {
            return Ok(false);
        }
        self.run(&self.comment(&memory)?, "the publication could not be changed").await?;
        Ok(true)
    }

    /// Removes both.
    pub async fn release(&self) -> Result<()> {
        self.drop_slot().await?;
        let sql = format!("DROP PUBLICATION IF EXISTS {}", quote(self.name));
        self.run(&sql, "the publication could not be dropped").await
    }
}
