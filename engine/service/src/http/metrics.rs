//! The metrics: every name, what it counts, and how a scrape is answered. All counters are since the process started.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sluice_pipeline::{ConflictStrategy, Phase, Stats};
use sluice_types::ConflictKind;

use super::exposition::{Exposition, Family};
use crate::engine::{Engine, LineReport};
use crate::process;

/// Seconds in which a microsecond and a nanosecond are counted.
const MICRO: f64 = 1e-6;
const NANO: f64 = 1e-9;

type OfStats = fn(&Stats) -> f64;

/// What every line counts, labelled with pipeline and target.
const LINE_COUNTERS: &[(Family, OfStats)] = &[
    (
        Family::counter("sluice_events_read_total", "Events read from the source, snapshot rows included."),
        |s| s.events_read.load(Relaxed) as f64,
    ),
    (Family::counter("sluice_bytes_read_total", "Bytes of the row images read."), |s| {
        s.bytes_read.load(Relaxed) as f64
    }),
    (Family::counter("sluice_rows_written_total", "Rows inserted, updated or deleted at the target."), |s| {
        s.rows_written.load(Relaxed) as f64
    }),
    (Family::counter("sluice_bytes_written_total", "Bytes of the row images handed to the target."), |s| {
        s.bytes_written.load(Relaxed) as f64
    }),
    (Family::counter("sluice_events_rejected_total", "Events that became dead letters."), |s| {
        s.events_rejected.load(Relaxed) as f64
    }),
    (Family::counter("sluice_events_skipped_total", "Events that a rule skipped."), |s| {
        s.events_skipped.load(Relaxed) as f64
    }),
    (Family::counter("sluice_batches_total", "Target transactions committed."), |s| {
        s.batches.load(Relaxed) as f64
    }),
    (
        Family::counter(
            "sluice_batch_seconds_total",
            "Time from a batch's read to its commit; divide by sluice_batches_total for the mean.",
        ),
        |s| s.batch_micros.load(Relaxed) as f64 * MICRO,
    ),
    (Family::counter("sluice_plugin_events_total", "Events handed to plugins."), |s| {
        s.events_transformed.load(Relaxed) as f64
    }),
    (
        Family::counter(
            "sluice_plugin_seconds_total",
            "Time in plugins; divide by sluice_plugin_events_total for the time per row.",
        ),
        |s| s.transform_nanos.load(Relaxed) as f64 * NANO,
    ),
    (Family::counter("sluice_plugin_swaps_total", "Plugin versions that the line took over."), |s| {
        s.swaps.load(Relaxed) as f64
    }),
    (
        Family::gauge(
            "sluice_plugin_swap_pause_seconds_max",
            "The longest time that a swap held the line up.",
        ),
        |s| s.swap_pause_micros_max.load(Relaxed) as f64 * MICRO,
    ),
    (Family::counter("sluice_line_retries_total", "Restarts of the line after an error."), |s| {
        s.retries.load(Relaxed) as f64
    }),
    (Family::counter("sluice_transactions_in_parts_total", "Source transactions applied in parts."), |s| {
        s.transactions_in_parts.load(Relaxed) as f64
    }),
    (
        Family::gauge(
            "sluice_last_commit_timestamp_seconds",
            "When the line last committed, since 1970; 0: not yet.",
        ),
        |s| s.last_commit_micros.load(Relaxed) as f64 * MICRO,
    ),
];

const LINE_LAG: Family =
    Family::gauge("sluice_line_lag", "How far the line is behind, in its source's unit.");
const LINE_LAG_SECONDS: Family =
    Family::gauge("sluice_line_lag_seconds", "How old the oldest change is that is not applied yet.");
const LINE_RETAINED: Family =
    Family::gauge("sluice_source_retained_bytes", "Log that the source keeps because of this line.");
const LINE_READY: Family = Family::gauge("sluice_line_ready", "1 when the target is consistent.");
const LINE_PHASE: Family = Family::gauge("sluice_line_phase", "1 for the phase that the line is in.");
const DEAD_LETTERS: Family = Family::gauge("sluice_dead_letters", "Dead letters kept.");
const CONFLICTS_KEPT: Family = Family::gauge("sluice_conflicts", "Conflicts kept.");
const CONFLICTS_PARKED: Family =
    Family::gauge("sluice_conflicts_parked", "Conflicts that wait for somebody to decide.");
const CONFLICTS: Family =
    Family::counter("sluice_conflicts_total", "Rows of the target that somebody else had changed.");

const PLUGIN_VERSIONS: Family =
    Family::counter("sluice_plugin_candidates_total", "Plugin versions tried, by what became of them.");
const PLUGIN_COMPILES: Family = Family::counter("sluice_plugin_compiles_total", "Components compiled.");
const PLUGIN_COMPILE_SECONDS: Family =
    Family::counter("sluice_plugin_compile_seconds_total", "Time that compiling took.");
const PLUGIN_CACHE_HITS: Family =
    Family::counter("sluice_plugin_cache_hits_total", "Components whose compiled code was in the cache.");
const PLUGIN_DISCARDED: Family = Family::counter(
    "sluice_plugin_instances_discarded_total",
    "Plugin instances thrown away after a trap, a timeout or a memory limit.",
);

const INFO: Family = Family::gauge("sluice_info", "1, labelled with the version.");
const RESIDENT: Family = Family::gauge("process_resident_memory_bytes", "Memory in use.");
const CPU: Family = Family::counter("process_cpu_seconds_total", "Processor time used.");

type Labels = Vec<(&'static str, String)>;

/// Answers a scrape.
pub fn render(engine: &Engine) -> String {
    let mut out = Exposition::default();
    out.family(INFO, [(vec![("version", env!("CARGO_PKG_VERSION").to_string())], 1.0)]);
    lines(&mut out, &engine.status().lines);
    counters(&mut out, &engine.stats());
    conflicts(&mut out, &engine.stats());
    plugins(&mut out, engine);
    if let Some(usage) = process::usage() {
        out.family(RESIDENT, [(Labels::new(), usage.resident_bytes as f64)]);
        out.family(CPU, [(Labels::new(), usage.cpu_seconds)]);
    }
    out.finish()
}

fn labels_of(report: &LineReport) -> Labels {
    vec![("pipeline", report.name.clone()), ("target", report.target.clone())]
}

fn with(report: &LineReport, name: &'static str, value: impl Into<String>) -> Labels {
    let mut labels = labels_of(report);
    labels.push((name, value.into()));
    labels
}

fn lines(out: &mut Exposition, lines: &[LineReport]) {
    let each = |value: fn(&LineReport) -> f64| lines.iter().map(move |line| (labels_of(line), value(line)));
    out.family(LINE_LAG, lines.iter().map(|l| (with(l, "unit", l.line.lag_unit), l.line.lag as f64)));
    out.family(LINE_LAG_SECONDS, each(|l| l.line.lag_seconds));
    let retained = |line: &LineReport| Some((labels_of(line), line.line.retained_bytes? as f64));
    out.family(LINE_RETAINED, lines.iter().filter_map(retained));
    out.family(LINE_READY, each(|l| f64::from(u8::from(l.line.ready))));
    out.family(LINE_PHASE, lines.iter().map(|l| (with(l, "phase", phase_name(l.line.phase)), 1.0)));
    out.family(DEAD_LETTERS, each(|l| l.line.dead_letters as f64));
    out.family(CONFLICTS_KEPT, each(|l| l.line.conflicts as f64));
    out.family(CONFLICTS_PARKED, each(|l| l.line.parked_conflicts as f64));
}

fn counters(out: &mut Exposition, lines: &[(LineReport, Arc<Stats>)]) {
    for (family, value) in LINE_COUNTERS {
        out.family(*family, lines.iter().map(|(report, stats)| (labels_of(report), value(stats))));
    }
}

/// By kind and strategy, those that there were.
fn conflicts(out: &mut Exposition, lines: &[(LineReport, Arc<Stats>)]) {
    let of_line = |(report, stats): &(LineReport, Arc<Stats>)| {
        let mut met = Vec::new();
        for (kind, by_strategy) in ConflictKind::ALL.iter().zip(&stats.conflicts) {
            for (strategy, count) in ConflictStrategy::NAMES.iter().zip(by_strategy) {
                let mut labels = with(report, "kind", kind.name());
                labels.push(("strategy", strategy.to_string()));
                met.push((labels, count.load(Relaxed) as f64));
            }
        }
        met.into_iter().filter(|(_, count)| *count > 0.0)
    };
    out.family(CONFLICTS, lines.iter().flat_map(of_line));
}

fn plugins(out: &mut Exposition, engine: &Engine) {
    let host = engine.plugin_metrics();
    let outcomes = [("promoted", host.swaps), ("refused", host.refusals), ("waiting", host.waiting)];
    let outcome = |(name, count): (&str, u64)| (vec![("outcome", name.to_string())], count as f64);
    out.family(PLUGIN_VERSIONS, outcomes.into_iter().map(outcome));
    for (family, value) in [
        (PLUGIN_COMPILES, host.compiles as f64),
        (PLUGIN_COMPILE_SECONDS, host.compile_micros as f64 * MICRO),
        (PLUGIN_CACHE_HITS, host.cache_hits as f64),
        (PLUGIN_DISCARDED, host.instances_discarded as f64),
    ] {
        out.family(family, [(Labels::new(), value)]);
    }
}

/// The phase's name, as the status has it.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Snapshot => "snapshot",
        Phase::Streaming => "streaming",
        Phase::Retrying => "retrying",
        Phase::Paused => "paused",
        Phase::Ended => "ended",
    }
}
