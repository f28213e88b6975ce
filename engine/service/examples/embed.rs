//! The engine in a program of one's own: starts the pipelines of a configuration, waits until one of them is in step, stops.
//!
//! `cargo run --example embed -- sluice.yaml PIPELINE`

use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice::{Config, Engine, Options, Registry, Until};

#[tokio::main]
async fn main() -> sluice::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = PathBuf::from(arguments.next().unwrap_or("sluice.yaml".into()));
    bring_in_step(&file, arguments.next()).await
}

/// `pipeline`: the first one, unless another is named.
pub async fn bring_in_step(file: &Path, pipeline: Option<String>) -> sluice::Result<()> {
    let config = Config::load(file, &Registry::shipped())?;
    let pipeline = pipeline.or_else(|| config.pipelines.keys().next().cloned()).unwrap_or_default();

    let engine = Engine::open(config, Options::default()).await?;
    engine.start(std::slice::from_ref(&pipeline), Until::Stopped)?;
    engine.in_step(&pipeline).await?;
    eprintln!("{pipeline} is in step");
    engine.stop(Duration::from_secs(10)).await
}
