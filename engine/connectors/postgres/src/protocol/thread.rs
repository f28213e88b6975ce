//! A thread for one connection.
//!
//! A server that streams a backlog sends message by message, and whoever waits for the socket is woken for each of them: that costs
//! more than to decode it. A thread that has one socket can sleep, and take all that has come meanwhile; a runtime that has others,
//! too, would be woken all the same.

use std::convert::Infallible;
use std::future::Future;

use sluice_types::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A runtime of its own on a thread of its own. It ends when this is dropped.
pub(crate) struct OwnThread {
    runtime: Handle,
    _ended: oneshot::Sender<Infallible>,
}

impl OwnThread {
    pub fn start(name: &str) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::Busy, "no thread could be started").because(error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (ended, end) = oneshot::channel::<Infallible>();
        let thread = std::thread::Builder::new().name(name.to_string());
        thread.spawn(move || drop(runtime.block_on(end))).map_err(failed)?;
        Ok(OwnThread { runtime: handle, _ended: ended })
    }

    /// Runs something there, and waits for it: sockets that it opens belong there.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let broken =
            |cause| Error::new(ErrorKind::Internal, "a connection's thread has ended").because(cause);
        self.runtime.spawn(work).await.map_err(broken)?
    }

    /// Gives the thread to something that may block it, until that is done.
    pub fn give_to(self, work: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            work.await;
            drop(self);
        });
    }
}
