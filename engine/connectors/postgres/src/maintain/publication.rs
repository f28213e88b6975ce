//! The publication: looked at in one view, and compared with what is remembered of it.
//!
//! The server looks a publication up as of each change. So whatever was out of it for a time, or published otherwise, is missing
//! from the stream, though afterwards everything looks as before. But it is not the same: a table that is put back has another
//! membership, whose number tells; a publication that is made again has another number; and whoever alters what it publishes
//! writes its row anew. A publication `FOR ALL TABLES` has no memberships: such a one is never ours, and is known by its row alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_types::{Error, ErrorKind, Result, TableId, Visibility};
use tokio_postgres::{Row, ToStatement};

use super::{Keep, altered, meanwhile};
use crate::config::Server;
use crate::connection::Session;
use crate::delivered::visibility;
use crate::errors::{literal, quote};
use crate::protocol::replication::Lsn;
use crate::schema::{self, Seen, Table};

/// What transactions see now, and the publication `$1` as they see it: whether it is there or not, one row.
pub(crate) const LOOK: &str = "\
    SELECT pg_catalog.pg_current_snapshot()::text, p.oid::text || '/' || p.xmin::text, \
           ARRAY(SELECT r.prrelid FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid ORDER BY r.oid), \
           ARRAY(SELECT r.oid FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid ORDER BY r.oid) \
    FROM (SELECT) one LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1";

/// The same, and what is remembered of it: that grows with the number of tables.
fn look_with_memory() -> String {
    format!(
        "SELECT look.*, (SELECT pg_catalog.obj_description(p.oid, 'pg_publication') \
                         FROM pg_catalog.pg_publication p WHERE p.pubname = $1) \
         FROM ({LOOK}) look(visible, identity, tables, members)"
    )
}

/// What is tried where the publication is written.
const CHANGE: &str = "the publication could not be changed";

/// One look.
pub(crate) struct Look {
    pub visibility: Visibility,
    pub publication: Option<Publication>,
}

/// A publication as the server has it.
pub(crate) struct Publication {
    /// Another one after it was made again, or altered.
    identity: String,
    /// The numbers of its memberships, by the OIDs of their tables.
    members: BTreeMap<u32, u32>,
    memory: Option<Memory>,
}

/// What the comment of a publication says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The slot's; changes whenever it is made.
    pub generation: String,
    /// Of the publication that the comment was written for.
    pub publication: String,
    /// The captured tables.
    pub tables: BTreeMap<String, Captured>,
    /// Tables that were added and that transactions may have changed before: no transaction below this number may be left. Without
    /// a number it is not known yet.
    #[serde(default)]
    pub pending: BTreeMap<String, Option<u64>>,
}

/// A table that is captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Captured {
    pub oid: u32,
    /// The number of its membership.
    pub member: u32,
    /// When its reading began anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anew: Option<Anew>,
    /// As what it is captured. Without it: by a version that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

impl Captured {
    /// Takes a table as it is now, if that is no other than what it is captured as. Says whether it is.
    pub fn take(&mut self, now: &Seen) -> bool {
        let altered = self.seen.as_ref().is_some_and(|seen| seen.is_altered_to(now));
        if !altered {
            self.seen = Some(now.clone());
        }
        !altered
    }
}

/// After this every chunk of a table was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Anew {
    /// How far the log was written.
    pub at: String,
    /// What the table looked like a moment later ([`Table::shape`]).
    pub shape: String,
}

/// What a session relies on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture {
    publication: String,
    tables: Vec<(TableId, Captured)>,
}

impl Look {
    /// Looks at the publication of this name by the statement [`LOOK`], or one that begins like it.
    pub async fn at<S: ?Sized + ToStatement>(
        server: &Server,
        session: &Session,
        look: &S,
        name: &str,
    ) -> Result<Self> {
        let row = session.query_one(look, &[&name]).await;
        let row = row.map_err(|error| server.failed(&error, "publications can't be read"))?;
        Ok(Look { visibility: visibility(row.get(0))?, publication: Publication::of(&row) })
    }
}

impl Publication {
    fn of(row: &Row) -> Option<Self> {
        let identity = row.get::<_, Option<String>>(1)?;
        let (tables, numbers): (Vec<u32>, Vec<u32>) = (row.get(2), row.get(3));
        let memory = row.try_get::<_, Option<&str>>(4).ok().flatten();
        let memory = memory.and_then(|text| serde_json::from_str(text).ok());
        Some(Publication { identity, members: tables.into_iter().zip(numbers).collect(), memory })
    }

    /// With what is remembered of it; `None`: nothing, or of another one. Then nobody knows what it published.
    pub(super) fn remembered(mut self) -> Option<(Self, Memory)> {
        let memory = self.memory.take().filter(|memory| memory.publication == self.identity)?;
        Some((self, memory))
    }

    /// Whether it publishes a table.
    pub(super) fn has(&self, table: u32) -> bool {
        self.members.contains_key(&table)
    }

    /// Whether it publishes a table as it did when that was captured, and has ever since.
    pub(super) fn still_has(&self, captured: &Captured) -> bool {
        self.members.get(&captured.oid) == Some(&captured.member)
    }

    /// Remembers tables that were added to it.
    pub(super) fn remember_in(self, memory: &mut Memory, added: &[(String, u32, Seen)]) -> Result<()> {
        if memory.publication.is_empty() {
            memory.publication = self.identity;
        }
        for (name, oid, seen) in added {
            let member = self.members.get(oid).ok_or_else(meanwhile)?;
            memory.tables.insert(name.clone(), {
                let seen = Some(seen.clone());
                Captured { oid: *oid, member: *member, anew: None, seen }
            });
        }
        Ok(())
    }
}

impl Memory {
    /// What the session relies on.
    pub fn capture(&self) -> Capture {
        let tables = self.tables.iter().map(|(name, captured)| (TableId::parse(name), captured.clone()));
        Capture { publication: self.publication.clone(), tables: tables.collect() }
    }
}

impl Capture {
    /// Up to where in the log rows of another shape than this table's are superseded. They were made before a change of the table
    /// that nobody could make as long as one of them was invisible, and every chunk was read after it.
    pub fn superseded(&self, table: &Table) -> Option<Lsn> {
        let (_, captured) = self.tables.iter().find(|(_, captured)| captured.oid == table.oid)?;
        let anew = captured.anew.as_ref().filter(|anew| anew.shape == table.shape())?;
        Lsn::parse(&anew.at)
    }

    /// Proves that everything up to now is in the stream.
    pub fn verify(&self, found: Option<&Publication>) -> Result<()> {
        let Some(found) = found.filter(|found| found.identity == self.publication) else {
            return Err(publication_altered());
        };
        match self.tables.iter().find(|(_, captured)| !found.still_has(captured)) {
            Some((table, _)) => Err(taken_out(table)),
            None => Ok(()),
        }
    }
}

fn publication_altered() -> Error {
    let what = "the publication was dropped or altered by somebody else, and what was changed meanwhile may not be in the stream";
    Error::new(ErrorKind::CaptureBroken, what)
        .remedy("sluice resnapshot PIPELINE, then sluice resume PIPELINE: slot and publication are made anew")
}

/// The capture of a table has a gap.
pub(super) fn taken_out(table: &TableId) -> Error {
    let what =
        "the table was out of the line's publication for a time: it was taken out, or dropped and made again";
    Error::new(ErrorKind::CaptureBroken, what).at_table(table).remedy(format!(
        "Its changes were not captured then. Read it again: sluice resnapshot PIPELINE --table {table}, then sluice resume PIPELINE"
    ))
}

impl Keep<'_> {
    /// The line's publication.
    pub(super) async fn publication(&self) -> Result<Option<Publication>> {
        Ok(Look::at(self.server, self.session, &look_with_memory(), self.name).await?.publication)
    }

    /// Proves that everything up to now is in the stream.
    pub async fn verify(&self, capture: &Capture) -> Result<()> {
        capture.verify(Look::at(self.server, self.session, LOOK, self.name).await?.publication.as_ref())
    }

    /// Remembers that tables are read from their start from now on.
    pub async fn read_anew(&self, tables: &[TableId]) -> Result<Capture> {
        // The place comes first: what lies before it in another shape than the table has then was there before the table changed.
        const END: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
        let failed = self.failed("the end of the log can't be read");
        let at: String = self.session.query_one(END, &[]).await.map_err(failed)?.get(0);
        let found = schema::load(self.server, self.session, tables).await?;
        let memory = self.rewrite(|_, memory| {
            for table in found.into_iter().flatten() {
                if let Some(captured) = memory.tables.get_mut(&table.id.to_string()) {
                    captured.anew = Some(Anew { at: at.clone(), shape: table.shape() });
                    captured.seen = Some(table.seen);
                }
            }
        });
        Ok(memory.await?.ok_or_else(publication_altered)?.capture())
    }

    /// Changes what is remembered, as it is by now: another session of the line may have remembered something else. `None`: nothing is.
    pub(super) async fn rewrite(
        &self,
        change: impl FnOnce(&Publication, &mut Memory),
    ) -> Result<Option<Memory>> {
        self.transaction(async {
            let Some((publication, mut memory)) = self.publication().await?.and_then(Publication::remembered)
            else {
                return Ok(None);
            };
            let before = memory.clone();
            change(&publication, &mut memory);
            if memory != before {
                self.run(&self.comment(&memory)?, CHANGE).await?;
            }
            Ok(Some(memory))
        })
        .await
    }

    pub(super) fn comment(&self, memory: &Memory) -> Result<String> {
        let text = serde_json::to_string(memory).map_err(|error| {
            Error::new(ErrorKind::Internal, "a comment could not be written").because(error)
        })?;
        Ok(format!("COMMENT ON PUBLICATION {} IS {};", quote(self.name), literal(&text)))
    }

    /// Alters the publication and remembers it, both or neither. `before` is what was remembered when this was decided; `None`: nothing
    /// that counts.
    pub(super) async fn change(
        &self,
        sql: &str,
        before: Option<&Memory>,
        memory: &mut Memory,
        added: &[(String, u32, Seen)],
    ) -> Result<()> {
        self.transaction(async {
            if let Some(before) = before {
                let known = self.publication().await?.and_then(Publication::remembered);
                if known.is_none_or(|(_, known)| known != *before) {
                    return Err(meanwhile());
                }
            }
            self.run(sql, CHANGE).await?;
            self.publication().await?.ok_or_else(meanwhile)?.remember_in(memory, added)?;
            self.run(&self.comment(memory)?, CHANGE).await
        })
        .await
    }

    /// Looks whether a captured table was altered since it was taken ([`Captured::take`]): `schema-changed` then. What was done to
    /// others that leaves rows as they were is remembered, so that it does not add up with what is done to them later.
    pub async fn look_at_tables(&self, capture: &mut Capture) -> Result<()> {
        let oids: Vec<u32> = capture.tables.iter().map(|(_, captured)| captured.oid).collect();
        let found = schema::seen(self.server, self.session, &oids).await?;
        let mut moved = Vec::new();
        // What is not remembered is looked at again the next time.
        let mut tables = capture.tables.clone();
        for (table, captured) in &mut tables {
            // One that is gone is missed elsewhere: with it went its membership.
            let Some(now) = found.get(&captured.oid) else { continue };
            let before = captured.clone();
            if !captured.take(now) {
                return Err(altered(table, Some(now)));
            }
            if *captured != before {
                moved.push((table.to_string(), before, captured.clone()));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        self.rewrite(|_, memory| {
            for (name, before, now) in moved {
                if let Some(known) = memory.tables.get_mut(&name).filter(|known| **known == before) {
                    *known = now;
                }
            }
        })
        .await?;
        capture.tables = tables;
        Ok(())
    }

    /// All of it or nothing, and nobody else of this line's at the same time.
    async fn transaction<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {}", self.lock());
        let done = match self.run(&begin, CHANGE).await {
            Ok(()) => work.await,
            Err(error) => Err(error),
        };
        match done {
            Ok(done) => self.run("COMMIT", CHANGE).await.map(|()| done),
            Err(error) => {
                // A session that can't even do this is of no use to anybody.
                drop(self.run("ROLLBACK", CHANGE).await);
                Err(error)
            }
        }
    }

    /// Whoever writes what is remembered of the publication holds this until its transaction ends.
    fn lock(&self) -> String {
        format!(
            "SET LOCAL lock_timeout = '60s'; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({}, 0));",
            literal(self.name)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(identity: &str, members: &[(u32, u32)]) -> Publication {
        Publication { identity: identity.into(), members: members.iter().copied().collect(), memory: None }
    }

    #[test]
    fn whatever_was_out_of_it_for_a_time_is_known() {
        let mut memory = Memory::default();
        let added = [7, 8].map(|oid| (format!("public.t{oid}"), oid, Seen::default()));
        found("1/10", &[(7, 70), (8, 80), (9, 90)]).remember_in(&mut memory, &added).unwrap();
        let capture = memory.capture();
        let verify = |found| capture.verify(Some(&found));
        verify(found("1/10", &[(7, 70), (8, 80)])).unwrap();
        for (other, table) in [
            (found("1/10", &[(7, 70), (8, 81)]), Some("public.t8")),
            (found("1/10", &[(8, 80)]), Some("public.t7")),
            (found("1/11", &[(7, 70), (8, 80)]), None),
            (found("2/10", &[(7, 70), (8, 80)]), None),
        ] {
            let error = verify(other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CaptureBroken);
            assert_eq!(error.place().table.as_ref().map(ToString::to_string).as_deref(), table);
        }
        assert!(capture.verify(None).is_err());
        assert!(found("1/10", &[(7, 70)]).remember_in(&mut memory, &added).is_err());
    }

    #[test]
    fn an_altered_table_is_not_taken() {
        let seen = |layout: &str, file: &str, columns: &str| Seen {
            layout: layout.into(),
            file: file.into(),
            columns: columns.into(),
        };
        let before = seen("a", "1", "x");
        for (now, altered) in [
            (before.clone(), false),
            (seen("a", "2", "x"), false), // VACUUM FULL
            (seen("a", "1", "y"), false), // SET DEFAULT
            (seen("a", "2", "y"), true),  // ALTER COLUMN TYPE text USING upper(c)
            (seen("b", "1", "x"), true),
        ] {
            let mut captured = Captured { oid: 7, member: 70, anew: None, seen: Some(before.clone()) };
            for _ in 0..2 {
                assert_eq!(captured.take(&now), !altered, "{now:?}");
            }
            assert_eq!(captured.seen.as_ref(), Some(if altered { &before } else { &now }));
        }
        let mut captured = Captured { oid: 7, member: 70, anew: None, seen: Some(before.clone()) };
        assert!(
            captured.take(&seen("a", "2", "x")) && captured.take(&seen("a", "2", "y")),
            "one after the other"
        );
        let mut old = Captured { oid: 7, member: 70, anew: None, seen: None };
        assert!(old.take(&before), "a version before this one did not note it");
    }

    #[test]
    fn a_comment_counts_only_for_the_publication_that_it_was_written_for() {
        let memory = Memory { publication: "1/10".into(), ..Memory::default() };
        let with = |identity| Publication { memory: Some(memory.clone()), ..found(identity, &[]) };
        assert!(with("1/10").remembered().is_some());
        assert!(with("1/11").remembered().is_none());
        assert!(found("1/10", &[]).remembered().is_none());
    }
}
