//! Owns the socket of the replication stream.
//!
//! It reads as long as somebody takes what it reads, and tells the server at any time that we live and how far the target is: a
//! target that is slow, or a line that stands still, costs the source its log, never the connection.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use sluice_types::ports::Clock;
use sluice_types::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::protocol::replication::{self, Lsn, Streamed};
use crate::protocol::wire::{self, Wire};

/// How often the server hears of us at least, unless it is less patient.
pub(crate) const STATUS_EVERY: Duration = Duration::from_secs(10);
/// A second question whether we live within this time, though the first was answered: the server shuts down, and waits for
/// everything to be durable in the target.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(4);
/// A server that does not take a status for so long is gone.
const STATUS_TIMEOUT: Duration = Duration::from_secs(20);

/// After this many reads in quick succession the next one waits a little, and brings all that has come meanwhile.
const QUICK_READS: u32 = 16;
/// Reads that are less far apart are in quick succession.
const QUICK: Duration = Duration::from_millis(1);
/// How long such a read waits. A Unix socket holds less than 100 KiB of small messages, and then the server waits for us.
const REST: Duration = Duration::from_micros(400);
/// A wait that brought less was for nothing.
const WORTH_BYTES: usize = 8 << 10;

/// When the socket is read next.
pub(crate) struct Pace {
    quick: u32,
    last: Instant,
    /// Whether the next read waits.
    rests: bool,
}

impl Pace {
    pub fn new() -> Self {
        Pace { quick: 0, last: Instant::now(), rests: false }
    }

    /// Looks at a read that has brought so many bytes, and left none or some.
    fn after(&mut self, bytes: usize, drained: bool) {
        let now = Instant::now();
        let quick = if self.rests { bytes >= WORTH_BYTES } else { now - self.last < QUICK };
        self.quick = if quick { self.quick.saturating_add(1) } else { 0 };
        self.last = now;
        self.rests = drained && self.quick >= QUICK_READS;
    }

    /// The next block. Cancel safe.
    async fn block(&self, wire: &mut Wire) -> Result<Bytes> {
        if self.rests {
            // Finer than the runtime's clock, and the thread is ours: see `OwnThread`.
            std::thread::sleep(REST);
        }
        wire.block().await
    }
}

/// The task that owns the socket.
pub(crate) struct Pump {
    pub wire: Wire,
    pub blocks: mpsc::Sender<Result<Bytes>>,
    /// What may be forgotten (I1). Ends when the source is gone, and with it the pump.
    pub durable: watch::Receiver<Lsn>,
    pub status_every: Duration,
    pub pace: Pace,
    pub clock: std::sync::Arc<dyn Clock>,
    /// The last place that the server spoke of.
    pub received: Lsn,
    /// When the server asked last whether we live.
    pub asked: Option<Instant>,
}

/// Why the pump stopped waiting.
enum Woken<T> {
    Got(T),
    /// The server is to hear of us.
    Status,
    /// The source is gone.
    Ended,
}

impl Pump {
    /// Pumps until one of the ends is gone.
    pub async fn run(mut self) {
        let mut next_status = Instant::now();
        let failed = loop {
            if next_status <= Instant::now() {
                next_status = Instant::now() + self.status_every;
                if let Err(error) = self.status().await {
                    break Some(error);
                }
            }
            let room = tokio::select! {
                biased;
                changed = self.durable.changed() => status_or_end(changed),
                () = sleep_until(next_status) => Woken::Status,
                room = self.blocks.clone().reserve_owned() => match room {
                    Ok(room) => Woken::Got(room),
                    Err(_) => Woken::Ended,
                },
            };
            let room = match room {
                Woken::Got(room) => room,
                Woken::Status => {
                    next_status = Instant::now();
                    continue;
                }
                Woken::Ended => break None,
            };
            let block = tokio::select! {
                biased;
                changed = self.durable.changed() => status_or_end(changed),
                () = sleep_until(next_status) => Woken::Status,
                block = self.pace.block(&mut self.wire) => Woken::Got(block),
            };
            match block {
                Woken::Got(Ok(block)) => {
                    self.pace.after(block.len(), self.wire.is_drained());
                    let asked = self.wants_answer(&block);
                    room.send(Ok(block));
                    if asked {
                        next_status = Instant::now();
                        if self.shuts_down() {
                            let what = "the server is shutting down";
                            break Some(Error::new(ErrorKind::Unreachable, what).remedy("It is tried again"));
                        }
                    }
                }
                Woken::Got(Err(error)) => {
                    room.send(Err(error));
                    return;
                }
                Woken::Status => next_status = Instant::now(),
                Woken::Ended => break None,
            }
        };
        match failed {
            Some(error) => drop(self.blocks.send(Err(error)).await),
            None => self.end().await,
        }
    }

    /// Whether the server asks in this block whether we live.
    fn wants_answer(&mut self, block: &Bytes) -> bool {
        let mut wanted = false;
        let mut at = 0;
        while let Ok(Some(length)) = wire::length(&block[at..]) {
            let end = (at + length).min(block.len());
            if block[at] == b'd' && block.get(at + wire::HEADER) == Some(&b'k') {
                let body = block.slice(at + wire::HEADER..end);
                if let Ok(Streamed::Keepalive { end, reply }) = replication::read(body) {
                    self.received = self.received.max(end);
                    wanted |= reply;
                }
            }
            at = end;
        }
        wanted
    }

    /// A server that shuts down waits until everything it has sent is durable in the target, for as long as we answer. It asks us
    /// again and again then; otherwise only when it has not heard of us for long, which it has. We go, so that it can: what was not
    /// confirmed comes again.
    fn shuts_down(&mut self) -> bool {
        let before = self.asked.replace(Instant::now());
        before.is_some_and(|before| before.elapsed() < SHUTDOWN_WITHIN)
    }

    async fn status(&mut self) -> Result<()> {
        let durable = *self.durable.borrow_and_update();
        let status = replication::status(self.received, durable, self.clock.now_micros());
        match timeout(STATUS_TIMEOUT, self.wire.send(&status)).await {
            Ok(sent) => sent,
            Err(_) => Err(wire::broken(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// The last status, and a proper end. The source is gone: nobody is told how it went.
    async fn end(mut self) {
        drop(self.status().await);
        let mut goodbye = BytesMut::new();
        goodbye.put_slice(b"c\0\0\0\x04X\0\0\0\x04");
        drop(timeout(STATUS_TIMEOUT, self.wire.send(&goodbye)).await);
    }
}

fn status_or_end<T>(changed: Result<(), watch::error::RecvError>) -> Woken<T> {
    match changed {
        Ok(()) => Woken::Status,
        Err(_) => Woken::Ended,
    }
}
