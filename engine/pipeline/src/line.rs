//! The line as its owner sees it: made, run, deleted.

use std::sync::Arc;

use sluice_types::ports::{Clock, Endpoint, LineContext, SpillRoom, StateStore, Transform};
use sluice_types::{Error, Result};

use crate::handle::{Controls, LineHandle, handle};
use crate::spec::{LineSpec, Until};
use crate::supervisor::Supervisor;

/// What a line stands on.
#[derive(Clone)]
pub struct Ports {
    /// The database that is read.
    pub source: Arc<dyn Endpoint>,
    /// The database that is written.
    pub target: Arc<dyn Endpoint>,
    /// The engine's own state.
    pub state: Arc<dyn StateStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Room on disk for transactions that are not whole yet.
    pub spill: SpillRoom,
}

impl Ports {
    pub(crate) fn context(&self, spec: &LineSpec) -> LineContext {
        LineContext {
            pipeline: spec.pipeline.clone(),
            install: self.state.install().clone(),
            clock: self.clock.clone(),
            spill: self.spill.clone(),
        }
    }
}

/// How a line ended.
#[derive(Debug)]
pub enum Ended {
    /// It has done what it was to do: reached the head, or copied (`snapshot: only`).
    Done,
    /// It was told to stop. Nothing is lost: it goes on from here when it is run again.
    Stopped,
    /// It can't go on.
    Failed(Error),
}

/// One source reader, one chain, one target.
pub struct Line {
    spec: LineSpec,
    ports: Ports,
    transform: Box<dyn Transform>,
    controls: Controls,
}

impl Line {
    /// A line that does nothing yet, and the handle to talk to it.
    pub fn new(spec: LineSpec, ports: Ports, transform: Box<dyn Transform>) -> (Line, LineHandle) {
        let (handle, controls) = handle(&spec);
        (Line { spec, ports, transform, controls }, handle)
    }

    /// Runs until it ends, restarting from the target's checkpoint after errors. With [`Until::Head`] an error that would pause
    /// the line ends it as [`Ended::Failed`]. Needs a tokio runtime. Dropping the future is like a crash: nothing is lost.
    pub async fn run(self, until: Until) -> Ended {
        Supervisor::new(self.spec, self.ports, self.transform, self.controls, until).run().await
    }
}

/// Removes what the line made: at the source (read mark, slot, triggers), its checkpoint in the target, its dead letters and
/// state. The target's rows stay. Idempotent: after an error it may be called again. The line must not be running.
pub async fn delete_line(spec: &LineSpec, ports: &Ports) -> Result<()> {
    let context = ports.context(spec);
    let deleted = async {
        ports.source.source(&context).await?.release().await?;
        ports.target.sink(&context).await?.forget(&spec.pipeline).await?;
        ports.state.forget(&spec.pipeline).await
    };
    deleted.await.map_err(|error: Error| error.at(|place| place.pipeline = Some(spec.pipeline.clone())))
}
