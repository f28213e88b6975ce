//! What the operating system tells: SIGTERM and SIGINT (end), SIGHUP (read the configuration again).

use sluice::{Error, ErrorKind, Request};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::failure::Failure;

/// Signals that may wait to be looked at. More of them would say nothing new.
const SIGNALS_WAITING: usize = 4;

/// The signals from now on, as requests. They no longer end the process by themselves.
pub fn requests() -> Result<mpsc::Receiver<Request>, Failure> {
    let (tell, requests) = mpsc::channel(SIGNALS_WAITING);
    for (kind, request) in [
        (SignalKind::terminate(), Request::Stop),
        (SignalKind::interrupt(), Request::Stop),
        (SignalKind::hangup(), Request::Reload),
    ] {
        let mut signals = signal(kind)
            .map_err(|error| Error::new(ErrorKind::Internal, "signals can't be received").because(error))?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if tell.send(request).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(requests)
}
