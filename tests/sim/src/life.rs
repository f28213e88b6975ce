//! One life of the engine: from its start to its death, its stop, or its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use sluice_kit::TestClock;
use sluice_kit::faults;
use sluice_kit::memory::Chains;
use sluice_pipeline::{Ended, Line, LineHandle, Ports, Until};
use sluice_types::ports::{Endpoint, SpillRoom, StateStore};
use tokio::time::{Duration, timeout};

use crate::chaos::Chaos;
use crate::sabotage;
use crate::world::World;

/// More polls than this in one life are no progress.
const POLLS_MAX: u64 = 400_000;
/// More simulated time than this neither.
const LIFE_SECS: u64 = 600;

/// How a life ended.
#[derive(Debug)]
pub enum Death {
    /// The engine died: its future was dropped wherever it was.
    Died,
    /// The line ended by itself.
    Ended(Ended),
    /// What others did meanwhile is over.
    Deserted,
    /// It ran on without getting anywhere.
    Stuck,
}

/// A future that dies at one of its awaits, or when it is polled without end.
struct Mortal<F> {
    inner: Pin<Box<F>>,
    polls: u64,
    dies_at: Option<u64>,
}

impl<F: Future<Output = Ended>> Future for Mortal<F> {
    type Output = Death;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Death> {
        self.polls += 1;
        if self.dies_at.is_some_and(|at| self.polls > at) {
            return Poll::Ready(Death::Died);
        }
        if self.polls > POLLS_MAX {
            return Poll::Ready(Death::Stuck);
        }
        self.inner.as_mut().poll(cx).map(Death::Ended)
    }
}

/// Runs a line until it ends, dies at its await number `dies_at` or where `chaos` says so, or `meanwhile` is over.
pub async fn live<F: Future<Output = ()>>(
    world: &World,
    chaos: &Arc<Chaos>,
    dies_at: Option<u64>,
    until: Until,
    meanwhile: impl FnOnce(LineHandle) -> F,
) -> Death {
    let source: Arc<dyn Endpoint> = Arc::new(world.source.clone());
    let target: Arc<dyn Endpoint> = Arc::new(world.target.clone());
    let state: Arc<dyn StateStore> = Arc::new(world.state.clone());
    let ports = Ports {
        source: faults::endpoint(source, chaos.clone()),
        target: faults::endpoint(target, chaos.clone()),
        state: faults::state(state, chaos.clone()),
        clock: TestClock::start(),
        spill: SpillRoom::new("spill", 0),
    };
    let ports = sabotage::ports(world.sabotage, ports);
    let chains = Chains::new(world.plan.steps.clone(), world.promotions.clone());
    let (line, handle) = Line::new(world.plan.spec.clone(), ports, Box::new(chains));
    let line = Mortal { inner: Box::pin(line.run(until)), polls: 0, dies_at };
    let life = async {
        tokio::select! {
            biased;
            () = chaos.died.notified() => Death::Died,
            death = line => death,
            () = meanwhile(handle) => Death::Deserted,
        }
    };
    let death = timeout(Duration::from_secs(LIFE_SECS), life).await.unwrap_or(Death::Stuck);
    // Tasks of the dead are gone before the next life begins.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    death
}
