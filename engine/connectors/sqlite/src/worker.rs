//! A thread that owns a connection. SQLite blocks; the runtime must not.

use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};

use rusqlite::{Connection, InterruptHandle};
use sluice_types::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// What a worker owns: a connection and what belongs to it.
pub(crate) trait HasConnection {
    /// The connection, to interrupt it when the worker is dropped.
    fn connection(&self) -> &Connection;
}

impl HasConnection for Connection {
    fn connection(&self) -> &Connection {
        self
    }
}

/// Runs jobs one after the other on a thread of its own. Dropped: the running statement is interrupted and the thread ends.
pub(crate) struct Worker<S> {
    jobs: mpsc::Sender<Job<S>>,
    interrupt: Option<InterruptHandle>,
}

impl<S: HasConnection + 'static> Worker<S> {
    /// Starts the thread; `make` runs on it.
    pub async fn start(
        name: &'static str,
        make: impl FnOnce() -> Result<S> + Send + 'static,
    ) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job<S>>();
        let (made, ready) = oneshot::channel();
        let body = move || {
            let mut owned = match make() {
                Ok(owned) => owned,
                Err(error) => return drop(made.send(Err(error))),
            };
            // Nobody waits any more: the owner was dropped.
            if made.send(Ok(owned.connection().get_interrupt_handle())).is_err() {
                return;
            }
            while let Ok(job) = queue.recv() {
                job(&mut owned);
            }
        };
        std::thread::Builder::new()
            .name(name.into())
            .spawn(body)
            .map_err(|error| Error::new(ErrorKind::Busy, "no thread could be started").because(error))?;
        let interrupt = ready.await.map_err(|_| ended())??;
        Ok(Worker { jobs, interrupt: Some(interrupt) })
    }

    /// Jobs that were given run to their end even when the worker is dropped: they are short.
    pub fn let_finish(mut self) -> Self {
        self.interrupt = None;
        self
    }

    /// Runs a job and waits for its answer. When the future is dropped the job runs to its end all the same, and its answer is
    /// forgotten.
    pub async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.start_call(job)?.await
    }

    /// Starts a job; its answer can be waited for while something else is done.
    pub fn start_call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> Result<T> + Send + 'static,
    ) -> Result<Answer<T>> {
        let (answer, answered) = oneshot::channel();
        // A receiver that is gone wants no answer.
        self.post(move |owned| drop(answer.send(job(owned))))?;
        Ok(Answer(answered))
    }

    /// Runs a job without waiting.
    pub fn post(&self, job: impl FnOnce(&mut S) + Send + 'static) -> Result<()> {
        self.jobs.send(Box::new(job)).map_err(|_| ended())
    }
}

impl<S> Drop for Worker<S> {
    fn drop(&mut self) {
        if let Some(interrupt) = &self.interrupt {
            interrupt.interrupt();
        }
    }
}

/// The answer of a job that was started.
pub(crate) struct Answer<T>(oneshot::Receiver<Result<T>>);

impl<T> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(ended())))
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Internal, "a thread of the connector ended early")
}
