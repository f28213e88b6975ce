//! `sluice serve`.

use std::net::SocketAddr;

use super::args::Common;
use super::failure::Failure;
use super::signals;

/// Runs the service until SIGTERM or SIGINT.
pub async fn serve(common: &Common, listen: Option<SocketAddr>, take_over: bool) -> Result<(), Failure> {
    // First of all, so that a signal during the start already ends it well.
    let requests = signals::requests()?;
    let config = super::config(common)?;
    for finding in &config.warnings {
        tracing::warn!("{finding}");
    }
    let engine = super::open(config, take_over).await?;
    Ok(sluice::serve(&engine, listen, requests).await?)
}
