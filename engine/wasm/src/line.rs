//! The chains of one line, and its port to them.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sluice_types::ports::{ApplyFailed, Opened, Transform, Transformed};
use sluice_types::{Change, Digest, Error, ErrorKind, Event, PipelineId, Result, TableId, TableSchema};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::chain::{Made, TableChain};
use crate::host::Inner;
use crate::inspect::{StepLineage, TableLineage};
use crate::instance::Instances;
use crate::limits::{RECENT_BYTES, RECENT_EVENTS, RECENT_OF_BATCH};
use crate::spec::ChainSpec;
use crate::step::{Flow, StepVersion};

/// The steps of each table in the versions that run.
pub(crate) type Versions = BTreeMap<TableId, Vec<StepVersion>>;

/// Locks; a panic elsewhere does not make the data useless, since every change of it is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what may run guest code on a thread where a spinning guest blocks nobody.
pub(crate) async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|why| Error::new(ErrorKind::Internal, "the plugin host broke").because(why))
}

/// Runs guest code on the rows of a batch: on this thread, in whose cache they are, while the runtime's other work goes to other
/// threads. A runtime of one thread has none to give it to, so there the rows do change threads.
async fn beside_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => off_runtime(work).await,
        _ => catch_unwind(AssertUnwindSafe(|| tokio::task::block_in_place(work)))
            .map_err(|_| Error::new(ErrorKind::Internal, "the plugin host broke")),
    }
}

/// The chains of one line: a handle, cheap to clone.
#[derive(Clone)]
pub struct Chains {
    pub(crate) line: Arc<Line>,
    pub(crate) host: Arc<Inner>,
}

impl Chains {
    /// The line's port to its chains, for `Line::new`.
    pub fn transform(&self) -> Box<dyn Transform> {
        Box::new(Applier { line: self.line.clone(), host: self.host.clone() })
    }

    /// Takes a changed configuration of plugins. It is checked against every live table first and applied like a swap, at a batch
    /// boundary; on an error what runs goes on.
    ///
    /// # Errors
    /// As [`crate::Host::chains`]; `plugin-refused` when the target's rows would have to be written again (another key, a column
    /// that is dropped or of another type).
    pub async fn reconfigure(&self, spec: ChainSpec) -> Result<()> {
        self.host.reconfigure(&self.line, spec).await
    }

    /// What the line's live instances hold, in bytes: linear memories and tables. Waits while guests run.
    ///
    /// # Errors
    /// Where the host broke.
    pub async fn memory(&self) -> Result<u64> {
        let set = self.line.set.clone();
        off_runtime(move || lock(&set).instances.memory()).await
    }

    /// Which plugin reads, writes, renames and drops which column, of the tables that are open.
    pub fn lineage(&self) -> Vec<TableLineage> {
        let live = lock(&self.line.live);
        live.tables.iter().map(|(table, live)| TableLineage::new(table, live.lineage.clone())).collect()
    }
}

/// What the host and the line's port share.
pub(crate) struct Line {
    pub(crate) pipeline: PipelineId,
    /// What `apply` works with. Held while guests run, so never waited for on the runtime.
    set: Arc<Mutex<ChainSet>>,
    /// What others ask about. Held for moments only.
    pub(crate) live: Mutex<Live>,
    /// What takes over at the next batch boundary.
    pending: Mutex<Option<Prepared>>,
    has_pending: AtomicBool,
    /// The versions are in the state's history: they were there before their first effect.
    recorded: AtomicBool,
}

/// What is known of a line's chains.
pub(crate) struct Live {
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) versions: Versions,
    pub(crate) tables: BTreeMap<TableId, LiveTable>,
    /// Events of late, to probe candidates with.
    recent: BTreeMap<TableId, VecDeque<Event>>,
}

/// An open table.
#[derive(Clone)]
pub(crate) struct LiveTable {
    pub(crate) source: Arc<TableSchema>,
    pub(crate) entry: Arc<TableSchema>,
    pub(crate) lineage: Vec<StepLineage>,
    pub(crate) outputs: Vec<Arc<TableSchema>>,
}

/// Chains that are open on every live table and ready to take over.
pub(crate) struct Prepared {
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) set: ChainSet,
    pub(crate) tables: BTreeMap<TableId, LiveTable>,
}

impl Line {
    pub(crate) fn new(pipeline: PipelineId, spec: ChainSpec, versions: Versions) -> Line {
        let set = ChainSet::new(&pipeline.0, versions.clone());
        let live = Live { spec: Arc::new(spec), versions, tables: BTreeMap::new(), recent: BTreeMap::new() };
        Line {
            pipeline,
            set: Arc::new(Mutex::new(set)),
            live: Mutex::new(live),
            pending: Mutex::new(None),
            has_pending: AtomicBool::new(false),
            recorded: AtomicBool::new(false),
        }
    }

    /// Hands chains over for the next batch boundary. What was handed over and not yet taken is forgotten.
    pub(crate) fn hand_over(&self, prepared: Prepared) {
        *lock(&self.pending) = Some(prepared);
        self.has_pending.store(true, Ordering::Release);
    }

    /// The configuration that the line will have at its next batch boundary: what is built on another would undo what was handed
    /// over and not yet taken.
    pub(crate) fn next_spec(&self) -> Arc<ChainSpec> {
        let pending = lock(&self.pending).as_ref().map(|prepared| prepared.spec.clone());
        pending.unwrap_or_else(|| lock(&self.live).spec.clone())
    }

    /// The tables that are open, and events of theirs.
    pub(crate) fn recent(&self) -> (BTreeMap<TableId, LiveTable>, Vec<Event>) {
        let live = lock(&self.live);
        (live.tables.clone(), live.recent.values().flatten().cloned().collect())
    }

    fn opened(&self, chain: LiveTable) {
        let mut live = lock(&self.live);
        let table = chain.source.table.clone();
        if live.tables.get(&table).is_none_or(|before| before.entry != chain.entry) {
            live.recent.remove(&table);
        }
        live.tables.insert(table, chain);
    }

    /// Remembers what a chain worked on well.
    fn remember(&self, events: Vec<Event>) {
        let mut live = lock(&self.live);
        for event in events {
            let ring = live.recent.entry(event.source.table.clone()).or_default();
            if ring.len() == RECENT_EVENTS {
                ring.pop_front();
            }
            ring.push_back(event);
        }
    }
}

/// The open chains of a line with their instances.
pub(crate) struct ChainSet {
    instances: Instances,
    versions: Versions,
    chains: Vec<TableChain>,
}

impl ChainSet {
    pub(crate) fn new(pipeline: &str, versions: Versions) -> ChainSet {
        let instances = Instances::new(pipeline);
        ChainSet { instances, versions, chains: Vec::new() }
    }

    /// Opens a table's chain; one that is open on the same shape stays.
    pub(crate) fn open(&mut self, source: &Arc<TableSchema>, entry: &Arc<TableSchema>) -> Result<LiveTable> {
        let before = self.chains.iter().position(|chain| chain.source.table == source.table);
        if let Some(at) = before {
            let chain = &mut self.chains[at];
            if chain.source == *source && chain.entry == *entry {
                chain.entry = entry.clone();
                return Ok(live_table(chain));
            }
        }
        let versions = self.versions.get(&source.table).map_or(&[][..], Vec::as_slice);
        let chain = TableChain::open(versions, source, entry, &mut self.instances)?;
        if let Some(at) = before {
            self.chains.swap_remove(at).close(&mut self.instances);
        }
        let live = live_table(&chain);
        self.chains.push(chain);
        Ok(live)
    }

    fn opened(&self, source: &TableSchema) -> Option<Opened> {
        self.chains.iter().find(|chain| chain.source.table == source.table).map(TableChain::opened)
    }

    /// The chain of an event.
    fn chain_of(&self, event: &Event) -> Option<usize> {
        let same = |chain: &TableChain| Arc::ptr_eq(&chain.entry, &event.table);
        self.chains.iter().position(same).or_else(|| {
            let equal =
                |chain: &TableChain| chain.source.table == event.source.table && chain.entry == event.table;
            self.chains.iter().position(equal)
        })
    }

    /// Applies the chains to events of any tables.
    pub(crate) fn apply(&mut self, events: Vec<Event>) -> Result<Transformed, ApplyFailed> {
        let Some(first) = events.first() else { return Ok(Transformed::default()) };
        let table = &first.table;
        if events.iter().all(|event| Arc::ptr_eq(&event.table, table)) {
            let Some(chain) = self.chain_of(first) else { return Err(not_open(events)) };
            return match self.chains[chain].apply(events, &mut self.instances) {
                Ok(flow) => {
                    let Made { events, rejected, .. } = self.chains[chain].finish(flow);
                    Ok(Transformed {
                        events,
                        rejected: rejected.into_iter().map(|(_, rejection)| rejection).collect(),
                    })
                }
                Err((events, error)) => Err(ApplyFailed { events, error }),
            };
        }
        self.apply_mixed(events)
    }

    /// Events of several tables: each table's together, then in the old order again.
    fn apply_mixed(&mut self, events: Vec<Event>) -> Result<Transformed, ApplyFailed> {
        let mut chains: Vec<Option<usize>> = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            // Runs of one table are the rule.
            let chain = match index.checked_sub(1) {
                Some(before) if Arc::ptr_eq(&events[before].table, &event.table) => chains[before],
                _ => self.chain_of(event),
            };
            chains.push(chain);
        }
        if chains.iter().any(Option::is_none) {
            return Err(not_open(events));
        }
        let mut groups: BTreeMap<usize, (Vec<u32>, Vec<Event>)> = BTreeMap::new();
        for (index, (event, chain)) in (0u32..).zip(events.into_iter().zip(chains.into_iter().flatten())) {
            let (places, group) = groups.entry(chain).or_default();
            places.push(index);
            group.push(event);
        }
        let mut done: Vec<(usize, Vec<u32>, Flow)> = Vec::new();
        let mut groups = groups.into_iter();
        while let Some((chain, (places, group))) = groups.next() {
            match self.chains[chain].apply(group, &mut self.instances) {
                Ok(flow) => done.push((chain, places, flow)),
                Err((group, error)) => {
                    // One table failed: the others' events go back as they were, too.
                    let mut back: Vec<(u32, Event)> = places.into_iter().zip(group).collect();
                    for (chain, places, flow) in done {
                        back.extend(places.into_iter().zip(self.chains[chain].restore(flow)));
                    }
                    back.extend(groups.flat_map(|(_, (places, group))| places.into_iter().zip(group)));
                    back.sort_by_key(|(place, _)| *place);
                    let events = back.into_iter().map(|(_, event)| event).collect();
                    return Err(ApplyFailed { events, error });
                }
            }
        }
        Ok(merge(done.into_iter().map(|(chain, places, flow)| (places, self.chains[chain].finish(flow)))))
    }
}

fn merge(made: impl Iterator<Item = (Vec<u32>, Made)>) -> Transformed {
    let mut events = Vec::new();
    let mut rejected = Vec::new();
    for (places, made) in made {
        let origin = |at: usize| made.origins.as_ref().map_or(at, |origins| origins[at] as usize);
        let placed = made.events.into_iter().enumerate().map(|(at, event)| (places[origin(at)], event));
        events.extend(placed);
        rejected.extend(made.rejected.into_iter().map(|(at, rejection)| (places[at as usize], rejection)));
    }
    // Stable: copies of one event keep their order.
    events.sort_by_key(|(place, _)| *place);
    rejected.sort_by_key(|(place, _)| *place);
    Transformed {
        events: events.into_iter().map(|(_, event)| event).collect(),
        rejected: rejected.into_iter().map(|(_, rejection)| rejection).collect(),
    }
}

fn not_open(events: Vec<Event>) -> ApplyFailed {
    let error = Error::new(ErrorKind::Internal, "an event is of a table that was not opened in this shape");
    ApplyFailed { events, error }
}

fn live_table(chain: &TableChain) -> LiveTable {
    LiveTable {
        source: chain.source.clone(),
        entry: chain.entry.clone(),
        lineage: chain.lineage(),
        outputs: chain.outputs().to_vec(),
    }
}

/// The last events of a batch, for the ring.
fn samples(events: &[Event]) -> Vec<Event> {
    let small =
        |event: &&Event| !matches!(event.change, Change::Truncate) && event.change.weight() <= RECENT_BYTES;
    let mut samples: Vec<Event> = events.iter().rev().take(RECENT_OF_BATCH).filter(small).cloned().collect();
    samples.reverse();
    samples
}

/// A line's port to its chains.
struct Applier {
    line: Arc<Line>,
    host: Arc<Inner>,
}

#[async_trait]
impl Transform for Applier {
    async fn open(&mut self, source: &Arc<TableSchema>, entry: &Arc<TableSchema>) -> Result<Opened> {
        let (set, source, entry) = (self.line.set.clone(), source.clone(), entry.clone());
        let (opened, live) = off_runtime(move || {
            let mut set = lock(&set);
            let live = set.open(&source, &entry)?;
            let unchanged = Opened { outputs: live.outputs.clone(), unstable: Vec::new(), active: false };
            Ok((set.opened(&source).unwrap_or(unchanged), live))
        })
        .await??;
        self.line.opened(live);
        Ok(opened)
    }

    async fn take_over(&mut self) -> Result<bool> {
        if !self.line.has_pending.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let Some(prepared) = lock(&self.line.pending).take() else { return Ok(false) };
        let Prepared { spec, set: new, tables } = prepared;
        let versions = new.versions.clone();
        let set = self.line.set.clone();
        let old = off_runtime(move || std::mem::replace(&mut *lock(&set), new)).await?;
        {
            let mut live = lock(&self.line.live);
            live.spec = spec;
            live.versions = versions;
            live.tables.extend(tables);
        }
        self.line.recorded.store(false, Ordering::Release);
        // Dropping instances takes its time, and the line need not wait for it.
        tokio::task::spawn_blocking(move || drop(old));
        Ok(true)
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<Transformed, ApplyFailed> {
        // I11: a version is in the state before it has any effect, so a restart runs the same one.
        if !self.line.recorded.load(Ordering::Acquire) {
            if let Err(error) = self.host.record_first_use(&self.line).await {
                return Err(ApplyFailed { events, error });
            }
            self.line.recorded.store(true, Ordering::Release);
        }
        let set = self.line.set.clone();
        let applied = beside_runtime(move || {
            let samples = samples(&events);
            lock(&set).apply(events).map(|transformed| (transformed, samples))
        });
        match applied.await {
            Ok(Ok((transformed, samples))) => {
                if transformed.rejected.is_empty() {
                    self.line.remember(samples);
                }
                Ok(transformed)
            }
            Ok(Err(failed)) => Err(failed),
            // The thread died with the events: the line goes back to its checkpoint.
            Err(error) => Err(ApplyFailed { events: Vec::new(), error }),
        }
    }

    fn versions(&self) -> BTreeMap<Arc<str>, Digest> {
        let live = lock(&self.line.live);
        let steps = live.versions.values().flatten();
        steps.map(|step| (step.plugin.name.clone(), step.plugin.digest)).collect()
    }
}
