//! How a sync is coming on: bars with rate and time left on a terminal, a plain line now and then otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sluice::{LineReport, Phase};

use super::out;

/// How often bars are drawn.
pub const LOOK: Duration = Duration::from_millis(200);
/// How often a plain line is written.
const PLAIN: Duration = Duration::from_secs(5);

const COPYING: &str = "{prefix:20} {wide_bar} {human_pos}/{human_len} rows {per_sec} {eta} left";
const COUNTING: &str = "{prefix:20} {spinner} {human_pos} rows {per_sec} {msg}";

/// Shows it.
pub enum Progress {
    Bars { all: MultiProgress, lines: BTreeMap<String, ProgressBar> },
    Plain { last: Instant },
    Silent,
}

impl Progress {
    /// Bars on a terminal, lines elsewhere, nothing where the answer is to be JSON alone.
    pub fn new(json: bool) -> Self {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Progress::Silent,
            (false, true) => Progress::Bars { all: MultiProgress::new(), lines: BTreeMap::new() },
            (false, false) => Progress::Plain { last: Instant::now() },
        }
    }

    /// Shows how every line stands.
    pub fn show(&mut self, reports: &[LineReport]) {
        match self {
            Progress::Bars { all, lines } => {
                for report in reports {
                    let bar = lines.entry(report.line.pipeline.clone()).or_insert_with(|| {
                        all.add(ProgressBar::new_spinner().with_prefix(report.line.pipeline.clone()))
                    });
                    draw(bar, report);
                }
            }
            Progress::Plain { last } if last.elapsed() >= PLAIN => {
                *last = Instant::now();
                reports.iter().for_each(|report| out::note(plain(report)));
            }
            Progress::Plain { .. } | Progress::Silent => {}
        }
    }

    /// Takes the bars away.
    pub fn clear(self) {
        if let Progress::Bars { all, .. } = self {
            // The terminal is gone: nothing is left to clear.
            let _ = all.clear();
        }
    }
}

/// Rows copied, and rows expected where every table has an estimate.
fn copied(report: &LineReport) -> (u64, Option<u64>) {
    let tables = &report.line.tables;
    let rows = tables.iter().map(|table| table.snapshot_rows).sum();
    let expected =
        tables.iter().map(|table| table.snapshot_estimate.map(|rows| rows.max(table.snapshot_rows)));
    (rows, expected.sum::<Option<u64>>().filter(|_| !tables.is_empty()))
}

fn draw(bar: &ProgressBar, report: &LineReport) {
    let (rows, expected) = copied(report);
    let (template, length) = match (report.line.phase, expected) {
        (Phase::Snapshot, Some(expected)) => (COPYING, Some(expected)),
        _ => (COUNTING, None),
    };
    if bar.length() != length {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        match length {
            Some(length) => bar.set_length(length),
            None => bar.unset_length(),
        }
    }
    bar.set_position(rows);
    bar.set_message(state(report));
}

/// What a line is doing, and why it waits.
fn state(report: &LineReport) -> String {
    let line = &report.line;
    match (&line.reason, line.phase) {
        (Some((code, why)), _) => format!("{code}: {why}"),
        (None, Phase::Streaming) => {
            format!("{} behind", out::counted(line.lag, line.lag_unit.trim_end_matches('s')))
        }
        (None, Phase::Snapshot) => "copying".into(),
        (None, Phase::Starting) => "starting".into(),
        (None, Phase::Retrying) => "trying again".into(),
        (None, Phase::Paused) => "paused".into(),
        (None, Phase::Ended) => "ended".into(),
    }
}

fn plain(report: &LineReport) -> String {
    let (rows, expected) = copied(report);
    let of = expected.map(|rows| format!(" of about {}", out::count(rows))).unwrap_or_default();
    format!("{}: {}{of} rows copied, {}", report.line.pipeline, out::count(rows), state(report))
}
