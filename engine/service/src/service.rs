//! Running as a service: every pipeline, the plugin folder, the configuration file, HTTP, until told to stop.

use std::io::{ErrorKind as IoErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sluice_pipeline::{DRAIN_MS_MAX, Until};
use sluice_store::Store;
use sluice_types::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::engine::{Engine, Reloaded, Scope};
use crate::http::Server;
use crate::wording::for_callers;

/// Within this time a service that was told to stop has ended: lines get [`DRAIN_MS_MAX`] of it for their current batch, and are
/// then broken off, which loses nothing.
pub const STOP_WITHIN: Duration = Duration::from_millis(DRAIN_MS_MAX + 1_000);

/// What answers over HTTP have after the lines have ended.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// A changed file is read when it has been still for so long: editors write in several steps.
const FILE_SETTLES: Duration = Duration::from_millis(200);

/// The file of the state folder that says where the service listens.
const ADDRESS_FILE: &str = "address";

/// What the owner of a service asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End. A second one: now, without waiting for batches.
    Stop,
    /// Read the configuration file again and take everything into use.
    Reload,
}

/// Runs an engine as a service until it is asked to stop. `listen` takes the place of `service.listen`.
pub async fn serve(
    engine: &Engine,
    listen: Option<SocketAddr>,
    mut requests: mpsc::Receiver<Request>,
) -> Result<()> {
    let listen = listen_address(engine, listen)?;
    let server = Server::bind(engine.clone(), listen, &engine.token()?).await?;
    let address = AddressFile::write(engine, server.address())?;
    tracing::info!(address = %server.address(), config = %engine.config().file.display(), "serving");
    let _plugins = engine.watch_plugins().await?;
    let (mut changes, _watcher) = watch_file(&engine.config().file)?;
    engine.start(&[], Until::Stopped)?;
    // Answers come from here on; who asked earlier has waited. So nobody is told "ready" before there are lines.
    let (stop_server, server_stops) = oneshot::channel::<()>();
    let server = tokio::spawn(server.run(async {
        // A dropped sender means the same.
        let _ = server_stops.await;
    }));
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(Request::Reload) => tell(engine.reload(Scope::Everything).await),
                Some(Request::Stop) | None => break,
            },
            Some(()) = changes.recv() => {
                settled(&mut changes).await;
                tell(engine.reload(Scope::PluginParts).await);
            }
        }
    }

    tracing::info!("stopping: lines finish their current batch");
    let stopped = tokio::select! {
        stopped = engine.stop(STOP_WITHIN) => stopped,
        () = second_stop(&mut requests) => engine.stop(Duration::ZERO).await,
    };
    drop((stop_server, address));
    if tokio::time::timeout(LAST_ANSWERS, server).await.is_err() {
        tracing::debug!("connections were still open");
    }
    if let Err(late) = stopped {
        tracing::warn!(error = %late, "not every line ended by itself");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Where to listen; beyond loopback only if the configuration says that this is wanted.
fn listen_address(engine: &Engine, listen: Option<SocketAddr>) -> Result<SocketAddr> {
    let settings = &engine.config().service;
    let listen = listen.unwrap_or(settings.listen);
    if listen.ip().is_loopback() || settings.insecure {
        return Ok(listen);
    }
    let what = format!("{listen} can be reached from other machines, and TLS is not built yet");
    Err(Error::new(ErrorKind::Config, what)
        .remedy("listen on 127.0.0.1 behind a proxy that speaks TLS, or set `service.insecure: true`"))
}

async fn second_stop(requests: &mut mpsc::Receiver<Request>) {
    loop {
        match requests.recv().await {
            Some(Request::Stop) => return,
            Some(Request::Reload) => {}
            None => std::future::pending().await,
        }
    }
}

/// Tells in the log what came of a reload.
fn tell(reloaded: Result<Reloaded>) {
    match reloaded {
        Ok(reloaded) if reloaded == Reloaded::default() => {
            tracing::debug!("the configuration file says the same")
        }
        Ok(reloaded) => {
            for line in &reloaded.difference {
                tracing::info!("configuration: {line}");
            }
            let Reloaded { live, started, stopped, restarted, waiting, needs_new_process, .. } = reloaded;
            tracing::info!(?live, ?started, ?stopped, ?restarted, "the configuration file was read again");
            if !waiting.is_empty() {
                tracing::warn!(?waiting, "changes of these pipelines wait for SIGHUP or POST /api/v1/reload");
            }
            if !needs_new_process.is_empty() {
                tracing::warn!(paths = ?needs_new_process, "these changes wait for a restart of the process");
            }
        }
        Err(error) => {
            tracing::error!(
                "the changed configuration is not used, nothing has changed: {}",
                for_callers(&error)
            );
        }
    }
}

/// Tells of changes of a file, also when it is replaced by another one of its name. At most one is kept waiting.
fn watch_file(file: &Path) -> Result<(mpsc::Receiver<()>, RecommendedWatcher)> {
    let (tell, changes) = mpsc::channel(1);
    let name = file.file_name().map(ToOwned::to_owned);
    let watching = |error| {
        let what = format!("{} can't be watched for changes", file.display());
        Error::new(ErrorKind::Config, what).because(error)
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let ours = event.paths.iter().any(|path| path.file_name() == name.as_deref());
        if ours && !event.kind.is_access() {
            // Full: the one that waits stands for this one too.
            let _ = tell.try_send(());
        }
    })
    .map_err(watching)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(folder, RecursiveMode::NonRecursive).map_err(watching)?;
    Ok((changes, watcher))
}

async fn settled(changes: &mut mpsc::Receiver<()>) {
    while let Ok(Some(())) = tokio::time::timeout(FILE_SETTLES, changes.recv()).await {}
}

/// The file that tells the command line where to find the service; removed at the end.
struct AddressFile {
    path: PathBuf,
}

impl AddressFile {
    fn write(engine: &Engine, address: SocketAddr) -> Result<AddressFile> {
        let dir = &engine.config().state.dir;
        let path = dir.join(ADDRESS_FILE);
        // A temporary file is 0600 from its first moment; the rename makes it appear whole.
        tempfile::NamedTempFile::new_in(dir)
            .and_then(|mut file| {
                write!(file, "{address}\n{}\n", std::process::id())?;
                file.persist(&path).map_err(|failed| failed.error)
            })
            .map_err(|error| {
                Error::new(ErrorKind::State, format!("{} can't be written", path.display())).because(error)
            })?;
        Ok(AddressFile { path })
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the address file could not be removed");
        }
    }
}

/// Where the service of a state folder listens, while one runs.
///
/// A service that was killed leaves its file, and its port to whoever comes next. So the file counts only as long as the
/// process that it names has the folder (by its lock, which the kernel lets go of with the process).
///
/// # Errors
/// `state-unavailable` when the file or the lock can't be read.
pub fn service_address(state_dir: &Path) -> Result<Option<SocketAddr>> {
    let path = state_dir.join(ADDRESS_FILE);
    let content = match std::fs::read_to_string(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let what = format!("{} can't be read", path.display());
            return Err(Error::new(ErrorKind::State, what).because(error));
        }
    };
    let Some((address, process)) = parse_address(&content) else { return Ok(None) };
    Ok((Store::holder(state_dir)? == Some(process)).then_some(address))
}

/// The lines of an address file: address, number of the process.
fn parse_address(content: &str) -> Option<(SocketAddr, u32)> {
    let (address, process) = content.split_once('\n')?;
    Some((address.parse().ok()?, process.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_only_while_its_process_has_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let says = |content: &str| std::fs::write(dir.path().join(ADDRESS_FILE), content).unwrap();
        let found = || service_address(dir.path()).unwrap();
        let address = "127.0.0.1:8687".parse().unwrap();
        let ours = format!("{address}\n{}\n", std::process::id());
        assert_eq!(found(), None);
        says(&ours);
        assert_eq!(found(), None, "nobody has the folder");
        let store = Store::open(dir.path(), None).unwrap();
        assert_eq!(found(), Some(address));
        for other in ["127.0.0.1:8687\n0\n", "127.0.0.1:8687", "nonsense", ""] {
            says(other);
            assert_eq!(found(), None, "{other:?}");
        }
        says(&ours);
        drop(store);
        assert_eq!(found(), None, "it was left over");
    }
}
