//! Faults as values, scripted per call: any endpoint, source, sink or state is wrapped, and a [`Script`] says what happens to
//! each call of its ports.
//!
//! The decisive fault is [`Fault::FailAfter`]: the call worked, but the caller is told that it failed.

mod wrap;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sluice_types::ErrorKind;

pub use wrap::{endpoint, state};

/// The calls of the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Call {
    // endpoint
    OpenSource,
    OpenSink,
    // source
    Identity,
    Schemas,
    Hold,
    Open,
    Next,
    Head,
    Chunks,
    Reread,
    Confirm,
    Lag,
    Detach,
    Release,
    // chunk reader
    Divide,
    ReadChunk,
    // sink
    Prepare,
    LoadCheckpoint,
    Begin,
    Forget,
    // its transaction
    Current,
    Write,
    Settle,
    Savepoint,
    Rollback,
    Save,
    Commit,
    // state
    KeepDeadLetters,
    KeepConflicts,
    ReadState,
    WriteState,
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails before anything was done.
    Reject(ErrorKind),
    /// It works, and the caller is told that it failed: a lost reply.
    FailAfter(ErrorKind),
    /// It works, so many milliseconds later.
    Delay(u64),
    /// The engine dies before anything was done: the call never returns. Whoever runs the line drops it.
    Crash,
    /// The engine dies when it has worked, before the reply.
    CrashAfter,
}

/// What a script wants of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The fault, if any.
    pub fault: Option<Fault>,
    /// How often the call suspends before it works: moments at which other tasks run, and at which the line may be dropped.
    pub suspend_before: u32,
    /// How often it suspends between its work and its reply. `Source::next` never does: it promises that a dropped future has
    /// consumed nothing.
    pub suspend_after: u32,
}

/// Decides what happens to each call, in the order in which they are made.
pub trait Script: Send + Sync {
    /// Asked once per call, before it.
    fn plan(&self, call: Call) -> Plan;

    /// A scripted crash has come to pass: the line must not be polled again.
    fn crashed(&self, _call: Call) {}
}

/// A script of single faults: the n-th call of a kind.
#[derive(Debug, Default)]
pub struct Scripted(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    calls: BTreeMap<Call, u64>,
    faults: BTreeMap<(Call, u64), Fault>,
}

impl Scripted {
    /// A script without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a fault at the `nth` call of a kind, counted from 1.
    pub fn on(self, call: Call, nth: u64, fault: Fault) -> Self {
        self.counted().faults.insert((call, nth), fault);
        self
    }

    /// How many calls of a kind there were.
    pub fn calls(&self, call: Call) -> u64 {
        self.counted().calls.get(&call).copied().unwrap_or(0)
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Script for Scripted {
    fn plan(&self, call: Call) -> Plan {
        let mut counted = self.counted();
        let nth = counted.calls.entry(call).or_default();
        *nth += 1;
        let nth = *nth;
        Plan { fault: counted.faults.get(&(call, nth)).copied(), ..Plan::default() }
    }
}
