//! `sluice sync`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice::{Engine, LineName, Outcome, Request, STOP_WITHIN, Until};
use std::sync::atomic::Ordering::Relaxed;

use super::args::Common;
use super::failure::Failure;
use super::progress::{LOOK, Progress};
use super::{out, signals};

/// Runs pipelines until they have everything that their sources had at the start.
///
/// What a source keeps for a line stays, so that the next run goes on; with `drop_slot` it goes for every line that is done.
pub async fn sync(
    common: &Common,
    pipelines: &[String],
    take_over: bool,
    drop_slot: bool,
) -> Result<(), Failure> {
    let mut requests = signals::requests()?;
    let engine = super::open(super::config(common)?, take_over).await?;
    let started = Instant::now();
    engine.start(pipelines, Until::Head)?;

    let mut progress = Progress::new(common.json);
    let mut look = tokio::time::interval(LOOK);
    let ended = engine.ended();
    tokio::pin!(ended);
    let mut stopping = false;
    let outcomes = loop {
        tokio::select! {
            outcomes = &mut ended => break outcomes,
            _ = look.tick() => progress.show(&engine.status().lines),
            Some(request) = requests.recv() => match request {
                // A second signal: lines that don't end are broken off, which loses nothing.
                Request::Stop if stopping => engine.stop(Duration::ZERO).await.map_err(|_| Failure::Told)?,
                Request::Stop => {
                    stopping = true;
                    engine.ask_to_stop();
                    let seconds = STOP_WITHIN.as_secs();
                    out::note(format_args!("stopping after the current batch (within {seconds} seconds) ..."));
                }
                Request::Reload => {}
            },
        }
    };
    progress.clear();
    if drop_slot {
        for (name, _) in outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Done)) {
            engine.release(name).await?;
            out::note(format_args!(
                "{}: its source keeps nothing for it any more; a later run finds its position lost and reads everything anew if \
                 `on_position_lost: resnapshot` says so, or after `sluice resnapshot {}`",
                name.id, name.pipeline
            ));
        }
    }
    tell(common, &engine, &outcomes, started.elapsed())
}

/// Tells what was done, and fails unless every line has done all.
fn tell(
    common: &Common,
    engine: &Engine,
    outcomes: &[(LineName, Outcome)],
    took: Duration,
) -> Result<(), Failure> {
    let lines: Vec<Value> =
        outcomes.iter().map(|(name, outcome)| summary(engine, name, outcome, took)).collect();
    if common.json {
        out::json(&json!({ "seconds": took.as_secs_f64(), "lines": lines }));
    } else {
        lines.iter().for_each(show);
    }
    let all_done = outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Done));
    if all_done { Ok(()) } else { Err(Failure::Told) }
}

fn summary(engine: &Engine, name: &LineName, outcome: &Outcome, took: Duration) -> Value {
    let stats = engine.stats().into_iter().find(|(report, _)| *name.id.0 == *report.line.pipeline);
    let (rows, rejected, dead_letters) = stats.map_or((0, 0, 0), |(report, stats)| {
        (stats.rows_written.load(Relaxed), stats.events_rejected.load(Relaxed), report.line.dead_letters)
    });
    let (word, error) = match outcome {
        Outcome::Done => ("done", None),
        Outcome::Stopped => ("stopped", None),
        Outcome::Failed(error) => ("failed", Some(error.to_string())),
    };
    json!({
        "pipeline": name.pipeline,
        "target": name.target,
        "outcome": word,
        "error": error,
        "rows_written": rows,
        "rejected": rejected,
        "dead_letters": dead_letters,
        "rows_per_second": (rows as f64 / took.as_secs_f64().max(0.001)).round(),
        "seconds": took.as_secs_f64(),
    })
}

fn show(line: &Value) {
    let number = |key: &str| line[key].as_u64().unwrap_or(0);
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let seconds = line["seconds"].as_f64().unwrap_or(0.0);
    let rate = line["rows_per_second"].as_f64().unwrap_or(0.0) as u64;
    out::line(format_args!(
        "{} -> {}: {}: {} written in {seconds:.1} s ({} a second), {}",
        text("pipeline"),
        text("target"),
        text("outcome"),
        out::counted(number("rows_written"), "row"),
        out::count(rate),
        out::counted(number("dead_letters"), "dead letter"),
    ));
    match (text("outcome"), line["error"].as_str()) {
        (_, Some(error)) => out::note(format_args!("sluice: {error}")),
        ("stopped", None) => out::note("stopped before the end; run it again to go on from here"),
        _ => {}
    }
    if number("dead_letters") > 0 {
        out::line(format_args!("  look at them: sluice dlq list {}", text("pipeline")));
    }
}
