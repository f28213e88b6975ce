//! One session: everything opened anew, and the line run until it ends, is told to stand still, or fails. Nothing of it
//! survives an error but what is durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use sluice_types::ports::{LineState, Transform};
use sluice_types::{Error, ErrorKind, Position, Result};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::claim;
use crate::conflict::held::Held;
use crate::conflict::{self, Conflicts};
use crate::feed::feed;
use crate::handle::Shared;
use crate::line::Ports;
use crate::pace::Pace;
use crate::parking::Parked;
use crate::poison::Writer;
use crate::reader::{Reader, ReaderState};
use crate::reread::RereadSize;
use crate::route::Router;
use crate::run::Run;
use crate::snapshot::Snapshot;
use crate::spec::{LineSpec, Mode, Until};
use crate::status::Phase;
use crate::supervisor::told;

/// What a session is made of.
pub(crate) struct Context {
    pub spec: Arc<LineSpec>,
    pub ports: Ports,
    /// The chains outlive sessions: their plugins are compiled once.
    pub transform: Arc<Mutex<Box<dyn Transform>>>,
    pub shared: Arc<Shared>,
    pub until: Until,
    /// What the line was told to do.
    pub line_state: LineState,
    /// The epoch under which this process claimed the line last; 0 before the first claim.
    pub epoch: AtomicU64,
    /// What the target can take in one transaction, as far as is known: that outlives sessions, which end where it took too much.
    pub pace: Arc<Pace>,
    /// How often a transaction in pieces has broken a constraint as a whole: it is tried again by another session.
    pub unsettled: Arc<AtomicU32>,
}

impl Context {
    /// This is done of what the line was told to do: takes it out of the line's state.
    pub async fn done(&self, done: LineState) -> Result<()> {
        let Context { spec, ports, .. } = self;
        let before = ports.state.line_state(&spec.pipeline).await?;
        let mut state = before.clone();
        state.done(&done);
        if state == before { Ok(()) } else { ports.state.set_line_state(&spec.pipeline, &state).await }
    }
}

/// How a session ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The line has done what it was to do.
    Done,
    /// It stands still between two batches, as it was told.
    Drained,
}

/// Runs one session. Dropping its future is like a crash.
pub(crate) async fn session(context: &Context, drain: watch::Receiver<bool>) -> Result<Outcome> {
    let mut asked = drain.clone();
    let (run, reader) = tokio::select! {
        biased;
        // Nothing is under way yet that would have to be finished.
        () = told(&mut asked) => return Ok(Outcome::Drained),
        opened = open(context) => opened?,
    };
    let position = run.checkpoint.position.clone();
    both(run, reader, drain).await.map_err(|error| at(error, position))
}

fn at(error: Error, position: Position) -> Error {
    error.at(|place| place.position = Some(position))
}

/// Runs the line and its reader, which is a task of its own so that reading and transforming overlap the commit.
async fn both(mut run: Run, reader: Reader, drain: watch::Receiver<bool>) -> Result<Outcome> {
    let mut tasks = JoinSet::new();
    tasks.spawn(reader.run());
    let ran = run.run(drain).await;
    let reader_ended = matches!(ran, Ok(None)) || run.lost_reader();
    drop(run);
    if ran.is_err() && !reader_ended {
        tasks.shutdown().await;
        return ran.map(|_| Outcome::Drained);
    }
    // The reader confirms the last commit and ends, or has ended with the error that the line has to report.
    match tasks.join_next().await {
        Some(Ok(Ok(()))) | None => match ran? {
            Some(outcome) => Ok(outcome),
            None => Err(Error::new(ErrorKind::Internal, "the reader ended before the line")),
        },
        Some(Ok(Err(error))) => Err(error),
        Some(Err(cause)) => Err(Error::new(ErrorKind::Internal, "the reader broke down").because(cause)),
    }
}

async fn open(context: &Context) -> Result<(Run, Reader)> {
    let Context { spec, ports, shared, .. } = context;
    let line = ports.context(spec);
    let mut source = ports.source.source(&line).await?;
    let mut sink = ports.target.sink(&line).await?;
    let identity = source.identity().await?;
    let found = claim::read(context, &mut *sink, &identity).await?;
    let mut router = Router::new(spec, &mut *source).await?;
    let mut transform = context.transform.clone().lock_owned().await;
    transform.take_over().await?;
    let targets = router.open(&mut **transform).await?;
    if let Some(found) = &found {
        claim::copies_are_there(found, &context.line_state.resnapshot, &mut *sink, &router).await?;
    }
    sink.prepare(&targets).await?;
    let decided = context.line_state.decided();
    if !decided.is_empty() {
        source.accept(&decided).await?;
        let accepted = context.line_state.accepted.clone();
        context.done(LineState { accepted, ..LineState::default() }).await?;
    }
    let covered = match found {
        None => claim::covered(context, &targets, &router).await?,
        Some(_) => vec![],
    };
    let mut checkpoint = claim::claim(context, found, &mut *sink, &mut *source, &router, identity).await?;
    claim::tell_covered(&spec.pipeline, &covered);
    claim::open(context, &mut checkpoint, &mut *sink, &mut *source, &router).await?;
    // The source holds them all: none is altered that nobody has decided of.
    let altered = context.line_state.altered.clone();
    context.done(LineState { altered, ..LineState::default() }).await?;
    conflict::suits(spec, &targets)?;
    router.skip_older(&checkpoint.snapshot, &checkpoint.position);

    let until_head = context.until == Until::Head || spec.mode == Mode::Batch;
    let head = if until_head { Some(source.head().await?) } else { None };
    let versions = Arc::new(transform.versions());
    let unstable = router.unstable();
    let parked = Parked::new(ports.state.parked_keys(&spec.pipeline).await?)?;
    let dead_letters = ports.state.count_dead_letters(&spec.pipeline).await?;
    shared.status().dead_letters = dead_letters;
    shared.show_conflicts(ports.state.count_conflicts(&spec.pipeline).await?);
    let held = Held::load(&*ports.state, &spec.pipeline).await?;
    shared.show_versions(&versions);
    shared.show(Phase::Streaming, None);
    shared.show_checkpoint(&checkpoint);

    let readers = spec.concurrency.get().min(ports.source.capabilities().chunk_readers).max(1);
    let snapshot =
        Snapshot::new(&router.sources(), &checkpoint.snapshot, readers, context.pace.batch(spec.batch));
    let (feed, outlet) = feed(checkpoint.position.clone(), checkpoint.snapshot.postponed.clone());
    let reader = Reader {
        spec: spec.clone(),
        clock: ports.clock.clone(),
        shared: shared.clone(),
        pace: context.pace.clone(),
        source,
        transform,
        router,
        snapshot,
        outlet,
        until_head,
        state: ReaderState::new(&checkpoint, versions, unstable),
    };
    let writer = Writer {
        pipeline: spec.pipeline.clone(),
        on_error: spec.on_error,
        parked,
        conflicts: Conflicts::new(&spec.tables, held),
        state: ports.state.clone(),
        clock: ports.clock.clone(),
        stats: shared.stats.clone(),
        attempts: HashMap::new(),
        reread_size: RereadSize::default(),
    };
    let in_parts = !ports.target.capabilities().unlimited_transactions;
    let run = Run::new(context, sink, feed, writer, checkpoint, head, in_parts);
    Ok((run, reader))
}
