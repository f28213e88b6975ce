//! The thread that has the connection. Jobs run one after another, so a job is never between two statements of another.

use std::thread::JoinHandle;

use rusqlite::Connection;
use sluice_types::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::folder::Lock;

/// Jobs that may wait (I10); one more waits outside.
const JOBS_WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub(crate) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread; `lock` is let go after the connection is closed.
    pub(crate) fn start(mut connection: Connection, lock: Option<Lock>) -> Result<Worker> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_WAITING_MAX);
        let run = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut connection);
            }
            drop(connection);
            drop(lock);
        };
        let thread = std::thread::Builder::new().name("sluice-store".into()).spawn(run).map_err(|cause| {
            Error::new(ErrorKind::Internal, "can't start the state's thread").because(cause)
        })?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a job. It runs to its end even if the caller stops waiting.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || Error::new(ErrorKind::Internal, "the state's thread has ended");
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody waits for the answer any more: the work is done all the same.
            let _ = answer.send(job(connection));
        });
        self.jobs.as_ref().ok_or_else(gone)?.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Worker {
    /// Waits until the folder is free again, so that whoever drops a store can open it at once.
    fn drop(&mut self) {
        drop(self.jobs.take());
        let Some(thread) = self.thread.take() else { return };
        // The last clone may die inside a job; a thread can't wait for itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the state's thread panicked");
        }
    }
}
