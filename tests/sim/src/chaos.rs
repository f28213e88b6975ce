//! What goes wrong: faults at random calls, and a death of the engine at a given await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_kit::Rng;
use sluice_kit::faults::{Call, Fault, Plan, Script};
use sluice_types::ErrorKind;
use tokio::sync::Notify;

use crate::judge::trace;

/// The script of one life of the engine.
pub struct Chaos {
    inner: Mutex<Inner>,
    /// The engine has died.
    pub died: Notify,
}

struct Inner {
    rng: Rng,
    percent: u64,
    /// Faults that may still happen: then the world is kind, so that a life can end well.
    faults_left: u64,
    /// Calls until the engine dies.
    calls_left: Option<u64>,
    faults: u64,
}

impl Chaos {
    /// `percent` of all calls fail; `dies_after` calls the engine dies.
    pub fn new(rng: Rng, percent: u64, dies_after: Option<u64>) -> Arc<Self> {
        let inner = Inner { rng, percent, faults_left: 40, calls_left: dies_after, faults: 0 };
        Arc::new(Chaos { inner: Mutex::new(inner), died: Notify::new() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls have failed.
    pub fn faults(&self) -> u64 {
        self.inner().faults
    }
}

impl Script for Chaos {
    fn plan(&self, call: Call) -> Plan {
        let mut inner = self.inner();
        let mut plan = Plan::default();
        if inner.rng.chance(50) {
            plan.suspend_before = inner.rng.below(3) as u32;
            plan.suspend_after = inner.rng.below(3) as u32;
        }
        if let Some(left) = &mut inner.calls_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                plan.fault = Some(if inner.rng.chance(50) { Fault::Crash } else { Fault::CrashAfter });
                return plan;
            }
        }
        let percent = inner.percent;
        if inner.faults_left > 0 && inner.rng.chance(percent) {
            inner.faults_left -= 1;
            inner.faults += 1;
            let of_state = matches!(call, Call::KeepDeadLetters | Call::ReadState | Call::WriteState);
            let kinds: &[ErrorKind] = match of_state {
                true => &[ErrorKind::State, ErrorKind::DiskFull],
                false => &[ErrorKind::Unreachable, ErrorKind::Busy, ErrorKind::Timeout, ErrorKind::DiskFull],
            };
            let kind = *inner.rng.pick(kinds);
            plan.fault = Some(match inner.rng.below(3) {
                0 => Fault::Reject(kind),
                1 => Fault::FailAfter(kind),
                _ => Fault::Delay(inner.rng.between(1, 200)),
            });
            trace(|| format!("{:?} at {call:?}", plan.fault));
        }
        plan
    }

    fn crashed(&self, call: Call) {
        trace(|| format!("the engine dies at {call:?}"));
        self.died.notify_one();
    }
}
