//! From the messages of the output plugin to transactions, in the order of their commits.
//!
//! A thread of its own: it decodes, and it writes and reads the files of large transactions. What it makes goes in pieces to the
//! source ([`crate::deliver`]); when nobody takes them, it waits, and with it the server.

mod transactions;
mod under_way;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use sluice_types::ports::{SpillRoom, StreamStart};
use sluice_types::{Error, ErrorKind, Event, Origin, Result, Transaction};
use tokio::sync::mpsc;

use crate::codec::Codec;
use crate::config::Server;
use crate::decode::Arena;
use crate::delivered::Delivered;
use crate::maintain::altered;
use crate::protocol::client;
use crate::protocol::cursor::malformed;
use crate::protocol::pgoutput::{self, Message, Relation};
use crate::protocol::replication::{self, Lsn, Streamed};
use crate::protocol::wire;
use crate::relations::{Followed, Plan, Relations, is_as_known};
use crate::schema;
use crate::session::Role;
use crate::spool::Spool;
use under_way::UnderWay;

/// A transaction that is sent so long after its commit, by the server's own clock, is part of a backlog.
const BEHIND_MICROS: i64 = 50_000;
/// Events that go to the source at once, at most.
const PIECE_EVENTS: usize = 512;
/// And their bytes.
const PIECE_BYTES: usize = 256 << 10;
/// What an open transaction that the server does not stream may hold decoded; the rest of it waits in a spool.
const OPEN_BYTES_MAX: usize = 4 << 20;

/// What the source gets, in order.
#[derive(Debug)]
pub(crate) enum Piece {
    Events(Events),
    /// Everything up to here has come.
    Passed(Lsn),
    Failed(Error),
}

/// Events of one committed transaction.
#[derive(Debug)]
pub(crate) struct Events {
    pub transaction: Arc<Transaction>,
    pub events: Vec<Event>,
    /// Of the events, in bytes.
    pub weight: usize,
    /// The transaction ends here.
    pub last: bool,
    /// The server sent it later than it was committed: there is a backlog.
    pub behind: bool,
}

/// What the assembling starts with.
pub(crate) struct Setup {
    pub server: Arc<Server>,
    pub runtime: tokio::runtime::Handle,
    pub tables: Vec<Followed>,
    /// By the OIDs of tables: what was committed before, and the table can't hold, every chunk has seen in a form that it can.
    pub superseded: HashMap<u32, Lsn>,
    pub spill: SpillRoom,
    /// Of the capture; part of every position.
    pub generation: Arc<str>,
    pub start: StreamStart,
    /// A transaction number in full, of the recent past.
    pub xid: u64,
    pub delivered: Arc<Delivered>,
    /// Everything up to here has been assembled: what the keeper looks at.
    pub passed: Arc<AtomicU64>,
    /// What an earlier session has delivered ends here. Told by the transaction that it has delivered in part.
    pub earlier: Arc<AtomicU64>,
    /// The end of the last transaction that has events.
    pub changed: Arc<AtomicU64>,
}

/// Assembles until one of the ends is gone. Runs on a thread of its own.
pub(crate) fn run(setup: Setup, mut blocks: mpsc::Receiver<Result<Bytes>>, pieces: mpsc::Sender<Vec<Piece>>) {
    let start = Lsn(setup.start.position.number().unwrap_or_default());
    let mut assembler = Assembler {
        tables: setup
            .tables
            .iter()
            .enumerate()
            .map(|(index, followed)| (followed.table.oid, index))
            .collect(),
        start,
        relations: Relations::default(),
        open: None,
        under_way: UnderWay::default(),
        commit: start,
        arena: Arena::default(),
        out: Out { pieces, ready: vec![], weight: 0 },
        xid: setup.xid,
        sent_micros: 0,
        setup,
    };
    while let Some(block) = blocks.blocking_recv() {
        let assembled = block.and_then(|block| assembler.block(block));
        let assembled = assembled.and_then(|()| {
            // Nothing waits here for more to come.
            if blocks.is_empty() { assembler.out.flush() } else { Ok(()) }
        });
        if let Err(error) = assembled {
            let error = assembler.setup.server.at(error);
            assembler.out.ready.push(Piece::Failed(error));
            drop(assembler.out.flush());
            return;
        }
    }
}

struct Out {
    pieces: mpsc::Sender<Vec<Piece>>,
    ready: Vec<Piece>,
    weight: usize,
}

impl Out {
    fn push(&mut self, piece: Piece, weight: usize) -> Result<()> {
        self.ready.push(piece);
        self.weight += weight.max(64);
        if self.weight >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        self.weight = 0;
        let sent = self.pieces.blocking_send(std::mem::take(&mut self.ready));
        sent.map_err(|_| Error::new(ErrorKind::Internal, "the source is gone"))
    }
}

/// A transaction that comes in one piece: the server sends it when it has committed.
struct Open {
    xid: u32,
    origin: Option<Origin>,
    /// The target has it already: only what it says of tables counts.
    known: bool,
    events: Vec<Event>,
    /// The index of the next event.
    next: u64,
    weight: usize,
    /// What is beyond [`OPEN_BYTES_MAX`].
    rest: Option<Spool>,
}

struct Assembler {
    setup: Setup,
    /// Tables of the line by OID.
    tables: HashMap<u32, usize>,
    start: Lsn,
    relations: Relations,
    open: Option<Open>,
    under_way: UnderWay,
    /// Where the commit begins of the transaction whose changes are looked at.
    commit: Lsn,
    arena: Arena,
    out: Out,
    xid: u64,
    /// When the server sent the last message, by its clock.
    sent_micros: i64,
}

impl Assembler {
    fn block(&mut self, mut block: Bytes) -> Result<()> {
        while let Some(frame) = wire::take(&mut block)? {
            match frame.tag {
                b'd' => match replication::read(frame.body)? {
                    Streamed::Data { payload, sent_micros } => {
                        self.sent_micros = sent_micros;
                        self.message(payload)?;
                    }
                    Streamed::Keepalive { end, .. } => self.passed(end)?,
                },
                b'E' => {
                    let what = "the server ended the replication stream";
                    let error = client::refused(&self.setup.server, frame.body, what);
                    return Err(if error.kind() == ErrorKind::SchemaChanged {
                        publication_gone(error)
                    } else {
                        error
                    });
                }
                b'N' if client::is_skipped_publication(frame.body) => {
                    return Err(publication_gone(Error::new(
                        ErrorKind::CaptureBroken,
                        "the server skips the publication",
                    )));
                }
                b'N' | b'S' => {}
                _ => {
                    return Err(Error::new(
                        ErrorKind::Unreachable,
                        "the server ended the replication stream",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The server has nothing more up to here. While a transaction is being sent that says nothing of it.
    fn passed(&mut self, end: Lsn) -> Result<()> {
        if self.open.is_some() || self.under_way.in_piece() {
            return Ok(());
        }
        self.setup.passed.fetch_max(end.0, Relaxed);
        if end > self.start { self.out.push(Piece::Passed(end), 0) } else { Ok(()) }
    }

    fn message(&mut self, payload: Bytes) -> Result<()> {
        if self.under_way.in_piece() {
            return self.under_way.message(payload);
        }
        if let Some(open) = &mut self.open
            && open.weight >= OPEN_BYTES_MAX
            && payload.first() != Some(&b'C')
        {
            let spill = &self.setup.spill;
            return open.rest.get_or_insert_with(|| Spool::new(spill)).push(&payload);
        }
        let (_, message) = pgoutput::read(payload, false)?;
        match message {
            Message::Begin { xid, commit } => {
                if self.open.is_some() {
                    return Err(malformed("a transaction within a transaction"));
                }
                // A commit that begins before the start ends there at the latest.
                let known = commit < self.start;
                self.commit = commit;
                self.open =
                    Some(Open { xid, origin: None, known, events: vec![], next: 0, weight: 0, rest: None });
                Ok(())
            }
            Message::Origin(name) => {
                if let Some(open) = &mut self.open {
                    open.origin = Some(Origin(name));
                }
                Ok(())
            }
            Message::Commit(committed) => self.commit(committed),
            Message::StreamStart { xid } => {
                self.under_way.begin_piece(xid, &self.setup.spill);
                Ok(())
            }
            Message::StreamCommit { xid, committed } => self.commit_streamed(xid, committed),
            Message::StreamAbort { xid, subxid } => {
                self.under_way.abort(xid, subxid);
                Ok(())
            }
            Message::StreamStop => Err(malformed("a piece of a transaction that has not begun")),
            other => {
                let mut open =
                    self.open.take().ok_or_else(|| malformed("a change outside of a transaction"))?;
                let before = open.events.len();
                let changed = match other {
                    // It may be of a table that does not look like that any more, and there is nothing to apply.
                    Message::Row(_) | Message::Truncate { .. } if open.known => Ok(()),
                    other => self.change(other, &mut open.next, &mut open.events),
                };
                open.weight += weight_of(&open.events[before..]);
                self.open = Some(open);
                changed
            }
        }
    }

    /// Makes events of a message. Every row and every truncated table has its index, whether the line follows the table or not: a
    /// part of a transaction is the same part after the line's tables have changed.
    fn change(&mut self, message: Message, next: &mut u64, events: &mut Vec<Event>) -> Result<()> {
        match message {
            Message::Relation(relation) => {
                self.relations.describe(relation);
                Ok(())
            }
            Message::Row(row) => {
                let index = taken(next);
                self.look_at(row.relation)?;
                let Some(plan) = self.relations.plan(row.relation)? else { return Ok(()) };
                let (schema, plan) = (plan.schema.clone(), plan.clone());
                let change =
                    plan.change(row, &mut self.arena).map_err(|error| error.at_table(&schema.table))?;
                events.push(Event::new(schema, change, 0, index));
                Ok(())
            }
            Message::Truncate { relations } => {
                for oid in relations {
                    let index = taken(next);
                    self.look_at(oid)?;
                    let Some(plan) = self.relations.plan(oid)? else { continue };
                    events.push(Event::new(plan.schema.clone(), sluice_types::Change::Truncate, 0, index));
                }
                Ok(())
            }
            Message::Other => Ok(()),
            _ => Err(malformed("a message out of its order")),
        }
    }

    /// Finds out what the last description of a relation means, before its next row.
    fn look_at(&mut self, oid: u32) -> Result<()> {
        self.relations.take_description(oid).map_or(Ok(()), |relation| self.relation(&relation))
    }

    fn relation(&mut self, relation: &Relation) -> Result<()> {
        let Some(followed) = self.tables.get(&relation.oid).and_then(|&index| self.setup.tables.get(index))
        else {
            // Another line's table, or one of an earlier configuration.
            self.relations.set(relation.oid, None);
            return Ok(());
        };
        let codecs = if is_as_known(relation, &followed.table) {
            followed.table.columns.iter().map(|column| column.codec.clone()).collect()
        } else {
            let codecs = self.setup.runtime.block_on(other_shape(&self.setup.server, relation, followed));
            codecs.map_err(|error| error.at_table(&followed.table.id))?
        };
        let superseded = self.setup.superseded.get(&relation.oid).is_some_and(|upto| self.commit < *upto);
        // Whoever was promised whole images of before can't do with others.
        let partial = followed.schema.before_images && relation.identity != b'f';
        let plan = match Plan::new(relation, followed, codecs) {
            Err(error) if superseded => {
                tracing::info!(table = %followed.table.id, %error, "left out: the table is read anew");
                None
            }
            Ok(_) if superseded && partial => None,
            plan => Some(plan?),
        };
        self.relations.set(relation.oid, plan);
        Ok(())
    }
}

fn weight_of(events: &[Event]) -> usize {
    events.iter().map(|event| event.change.weight()).sum()
}

/// The next index, which is taken then.
fn taken(next: &mut u64) -> u64 {
    std::mem::replace(next, next.saturating_add(1))
}

/// While it streams, the server looks up nothing of ours by name but the publication.
fn publication_gone(error: Error) -> Error {
    Error::new(
        ErrorKind::CaptureBroken,
        "the publication is not there any more, and what was changed since is not in the stream",
    )
    .because(error)
    .remedy("sluice resnapshot PIPELINE, then sluice resume PIPELINE: the publication is made again")
}

/// A relation that does not look as the catalogue had it: either it did once, when the change was made, and the catalogue still is
/// as the line knows it; or it was altered since the line was opened, which needs a decision.
async fn other_shape(server: &Arc<Server>, relation: &Relation, followed: &Followed) -> Result<Vec<Codec>> {
    let Followed { table, .. } = followed;
    let session = server.connect(Role::Reader).await?;
    let now = schema::load(server, &session, std::slice::from_ref(&table.id)).await?;
    let same = |now: &schema::Table| now.oid == table.oid && now.seen.layout == table.seen.layout;
    let now = now.first().and_then(Option::as_ref);
    if !now.is_some_and(same) {
        return Err(altered(&table.id, now.map(|now| &now.seen)));
    }
    let oids: Vec<u32> = relation.columns.iter().map(|column| column.type_oid).collect();
    let types = schema::types(server, &session, &oids).await?;
    Ok(oids.iter().map(|&oid| types.codec(oid)).collect())
}
