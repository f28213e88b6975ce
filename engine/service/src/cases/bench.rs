//! What a plugin costs: its cases' events, again and again, through the real host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sluice_types::ports::Transform;
use sluice_types::{Event, PipelineId, Result, TableSchema};
use sluice_wasm::{ChainSpec, Chains, Host, StepSpec};

use super::case::{Case, EventCase};
use super::run::{PATH, change, told};
use super::{Place, name_of};

/// Events per batch, as a busy pipeline has them.
const BATCH: usize = 1_000;
/// How long each case is measured, and how many batches at least. Before it, a tenth of it to warm up.
const MEASURED: Duration = Duration::from_millis(800);
const BATCHES: usize = 10;

/// What a plugin costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Compiling it: once per version and machine, beside the running pipeline.
    pub compile_ms: f64,
    /// From compiled code on the disk to a table that is open.
    pub start_ms: f64,
    /// What an instance holds after the measured rows, at most, in bytes. `limits.memory` bounds it.
    pub memory: u64,
    /// Each case that has events which come through.
    pub cases: Vec<CaseFigures>,
}

/// What the events of a case cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseFigures {
    /// The case's file, without its folder.
    pub case: String,
    /// Per event (an update is one), the median of all batches: crossing into the plugin and back, with all checks.
    pub ns_per_row: f64,
    /// How many a second that is.
    pub rows_per_second: f64,
    /// Per event of the fastest batch.
    pub fastest_ns_per_row: f64,
}

/// Measures a component by its cases, with batches of 1,000 events. Events that a case says are refused are left out.
///
/// # Errors
/// Where the component can't be loaded, or a case does not open or does not come through: [`super::run`] says more.
pub async fn bench(name: &str, component: &[u8], files: &[PathBuf]) -> Result<Figures> {
    let place = Place::new(name, component)?;
    let host = place.host().await?;
    let started = Instant::now();
    host.inspect(component.to_vec().into()).await?;
    let compile_ms = millis(started.elapsed());
    let mut figures = Figures { compile_ms, start_ms: 0.0, memory: 0, cases: Vec::new() };
    for file in files {
        let Ok(case) = Case::load(file) else { continue };
        let usable: Vec<&EventCase> = case.events.iter().filter(|event| event.rejects.is_none()).collect();
        if usable.is_empty() {
            continue;
        }
        if figures.start_ms == 0.0 {
            // Another process, as it were, which finds the compiled code.
            let started = Instant::now();
            open(&place.host().await?, name, &case).await?;
            figures.start_ms = millis(started.elapsed());
        }
        let (schema, chains, mut transform) = open(&host, name, &case).await?;
        let mut batch = Vec::with_capacity(BATCH);
        for (index, event) in (0..BATCH as u64).zip(usable.into_iter().cycle()) {
            let change = change(&event.event, &schema).map_err(super::wrong)?;
            batch.push(Event::new(schema.clone(), change, 0, index));
        }
        let mut took = measured(&mut *transform, &batch).await?;
        took.sort_unstable();
        let per_row = |took: Duration| took.as_nanos() as f64 / BATCH as f64;
        let median = per_row(took[took.len() / 2]);
        figures.memory = figures.memory.max(chains.memory().await?);
        figures.cases.push(CaseFigures {
            case: name_of(file),
            ns_per_row: median,
            rows_per_second: 1e9 / median,
            fastest_ns_per_row: per_row(took[0]),
        });
    }
    Ok(figures)
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Opens the plugin on a case's table.
async fn open(
    host: &Host,
    name: &str,
    case: &Case,
) -> Result<(Arc<TableSchema>, Chains, Box<dyn Transform>)> {
    let schema = Arc::new(case.schema());
    let grant = Arc::new(case.grants().map_err(super::wrong)?);
    let step = StepSpec { grant, ..StepSpec::new(name, case.config.to_string(), PATH) };
    let tables = BTreeMap::from([(schema.table.clone(), vec![step])]);
    let spec = ChainSpec { tables };
    let chains = host.chains(&PipelineId("bench".into()), spec).await?;
    let mut transform = chains.transform();
    transform.open(&schema, &schema).await?;
    Ok((schema, chains, transform))
}

/// How long each batch took.
async fn measured(transform: &mut dyn Transform, batch: &[Event]) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let started = Instant::now();
    while started.elapsed() < MEASURED || took.len() < BATCHES {
        let events = batch.to_vec();
        let begun = Instant::now();
        transform.apply(events).await.map_err(|failed| {
            let told = told(failed.error);
            super::wrong(told)
        })?;
        if started.elapsed() > MEASURED / 10 || took.len() + 1 < BATCHES {
            took.push(begun.elapsed());
        }
    }
    Ok(took)
}
