//! From transactions to the batches that the line asks for.

use std::collections::VecDeque;
use std::sync::Arc;

use sluice_types::ports::{Read, ReadLimits};
use sluice_types::{Batch, Error, ErrorKind, Result};
use tokio::sync::mpsc;

use crate::protocol::replication::Lsn;
use crate::stream::Piece;

/// What has come and was not asked for yet. Everything is kept here, so a dropped `next` has consumed nothing.
pub(crate) struct Delivery {
    pieces: mpsc::Receiver<Vec<Piece>>,
    queue: VecDeque<Piece>,
    batch: Batch,
    weight: usize,
    /// The last place that the line was told.
    told: Lsn,
    generation: Arc<str>,
}

impl Delivery {
    pub fn new(pieces: mpsc::Receiver<Vec<Piece>>, start: Lsn, generation: Arc<str>) -> Self {
        Delivery {
            pieces,
            queue: VecDeque::new(),
            batch: Batch::default(),
            weight: 0,
            told: start,
            generation,
        }
    }

    /// The next changes; waits until there are some. Cancel safe.
    pub async fn next(&mut self, limits: &ReadLimits) -> Result<Read> {
        loop {
            // As much as one batch may need; the rest waits in the channel, and the server with it.
            while self.queue.len() <= limits.rows {
                match self.pieces.try_recv() {
                    Ok(pieces) => self.queue.extend(pieces),
                    Err(_) => break,
                }
                if let Some(read) = self.take(limits)? {
                    return Ok(read);
                }
            }
            if let Some(read) = self.take(limits)?.or_else(|| self.rest()) {
                return Ok(read);
            }
            let ended = || Error::new(ErrorKind::Unreachable, "the replication stream has ended");
            self.queue.extend(self.pieces.recv().await.ok_or_else(ended)?);
        }
    }

    /// A read that is complete: a batch that is full or that something else follows.
    fn take(&mut self, limits: &ReadLimits) -> Result<Option<Read>> {
        let (rows, bytes) = (limits.rows.max(1), limits.bytes.max(1));
        while let Some(front) = self.queue.front_mut() {
            let begun = !self.batch.transactions.is_empty();
            match front {
                Piece::Events(piece) => {
                    let room = rows.saturating_sub(self.batch.events.len());
                    let fits = piece.events.len() <= room && self.weight + piece.weight <= bytes;
                    // Another transaction joins whole or not at all; one that is open goes on as long as there is room.
                    let joins = piece.last && fits;
                    let full = !piece.events.is_empty() && (room == 0 || self.weight >= bytes);
                    if begun && if self.batch.open { full } else { !joins } {
                        return Ok(self.give());
                    }
                    if self.fill(rows, bytes) {
                        return Ok(self.give());
                    }
                }
                _ if begun => return Ok(self.give()),
                Piece::Passed(at) => {
                    let at = *at;
                    self.queue.pop_front();
                    let later = matches!(self.queue.front(), Some(Piece::Passed(_)));
                    if at > self.told && !later {
                        self.told = at;
                        return Ok(Some(Read::Progress(at.position(&self.generation))));
                    }
                }
                Piece::Failed(_) => {
                    if let Some(Piece::Failed(error)) = self.queue.pop_front() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    /// What is there already, when nothing more has come: at idle the first change goes at once. Not a transaction that is open:
    /// the rest of it is on its way.
    fn rest(&mut self) -> Option<Read> {
        if self.batch.open { None } else { self.give() }
    }

    /// Moves the first piece into the batch, or as much of it as there is room for; says whether something of it is left.
    fn fill(&mut self, rows: usize, bytes: usize) -> bool {
        let Some(Piece::Events(piece)) = self.queue.front_mut() else { return false };
        let batch = &mut self.batch;
        if !batch.open {
            batch.transactions.push((*piece.transaction).clone());
        }
        let number = (batch.transactions.len() - 1) as u32;
        batch.behind = piece.behind;
        let room = rows.saturating_sub(batch.events.len());
        if piece.events.len() <= room && self.weight + piece.weight <= bytes {
            self.weight += piece.weight;
            batch.open = !piece.last;
            batch.events.extend(piece.events.drain(..).map(|mut event| {
                event.transaction = number;
                event
            }));
            self.queue.pop_front();
            return false;
        }
        batch.open = true;
        let mut taken = 0;
        for event in &piece.events {
            if taken >= room || (self.weight >= bytes && taken > 0) {
                break;
            }
            let weight = event.change.weight();
            self.weight += weight;
            piece.weight = piece.weight.saturating_sub(weight);
            taken += 1;
        }
        batch.events.extend(piece.events.drain(..taken).map(|mut event| {
            event.transaction = number;
            event
        }));
        if !piece.events.is_empty() {
            return true;
        }
        batch.open = !piece.last;
        self.queue.pop_front();
        false
    }

    fn give(&mut self) -> Option<Read> {
        if self.batch.transactions.is_empty() {
            return None;
        }
        self.weight = 0;
        let batch = std::mem::take(&mut self.batch);
        if let Some(end) = batch.end().and_then(|end| Lsn::of(end).ok()) {
            self.told = self.told.max(end);
        }
        Some(Read::Batch(batch))
    }
}

#[cfg(test)]
mod tests {
    use sluice_types::{Change, Event, TableId, TableSchema, Transaction};

    use super::*;
    use crate::stream::Events;

    fn piece(end: u64, events: usize, last: bool) -> Piece {
        let table = TableId::new("public", "t");
        let schema = TableSchema {
            table,
            database: "d".into(),
            kind: "k".into(),
            version: 1,
            columns: vec![],
            key: vec![],
            before_images: false,
        };
        let transaction =
            Transaction { position: Lsn(end).position("g"), committed_micros: None, origin: None, xid: None };
        let event = Event::new(Arc::new(schema), Change::Truncate, 0, 0);
        Piece::Events(Events {
            transaction: Arc::new(transaction),
            events: vec![event; events],
            weight: events,
            last,
            behind: false,
        })
    }

    /// Ends and lengths of what comes, `o` for open.
    async fn reads(pieces: Vec<Piece>, rows: usize) -> Vec<String> {
        let (to, from) = mpsc::channel(100);
        let mut delivery = Delivery::new(from, Lsn(0), "g".into());
        for piece in pieces {
            to.send(vec![piece]).await.unwrap();
        }
        drop(to);
        let mut got = vec![];
        while let Ok(read) = delivery.next(&ReadLimits { rows, bytes: 1 << 20 }).await {
            got.push(match read {
                Read::Progress(at) => format!("progress {at}"),
                Read::Batch(batch) => {
                    let ends: Vec<_> =
                        batch.transactions.iter().map(|t| t.position.number().unwrap()).collect();
                    format!("{ends:?} {}{}", batch.events.len(), if batch.open { "o" } else { "" })
                }
            });
        }
        got
    }

    #[tokio::test]
    async fn small_transactions_are_gathered_and_never_divided() {
        let pieces = vec![piece(1, 3, true), piece(2, 3, true), piece(3, 3, true), Piece::Passed(Lsn(9))];
        assert_eq!(reads(pieces, 7).await, ["[1, 2] 6", "[3] 3", "progress 0/9/g"]);
        let pieces =
            vec![Piece::Passed(Lsn(1)), Piece::Passed(Lsn(2)), piece(3, 1, true), Piece::Passed(Lsn(3))];
        assert_eq!(reads(pieces, 7).await, ["progress 0/1/g", "progress 0/2/g", "[3] 1"]);
    }

    #[tokio::test]
    async fn large_ones_come_in_parts_that_say_so() {
        let pieces = vec![
            piece(1, 1, true),
            piece(2, 5, false),
            piece(2, 5, false),
            piece(2, 0, true),
            piece(3, 1, true),
        ];
        assert_eq!(reads(pieces, 4).await, ["[1] 1", "[2] 4o", "[2] 4o", "[2, 3] 3"]);
        assert_eq!(reads(vec![piece(2, 4, false), piece(2, 4, true)], 4).await, ["[2] 4o", "[2] 4"]);
    }
}
