//! Cases: what a plugin does with a table, as a file that says it (`plugins/README.md`), run through the real host.

mod bench;
mod case;
mod run;
pub(crate) mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use case::Case;
use serde::Serialize;
use sluice_store::Store;
use sluice_types::{Error, ErrorKind, Result};
use sluice_wasm::{Compiler, Host, HostOptions};

use crate::SystemClock;

pub use bench::{CaseFigures, Figures, bench};

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The case's file, without its folder.
    pub case: String,
    /// What it shows, in its own words; empty where the file can't be read.
    pub about: String,
    /// How what was found differs from what the case says; `None`: it holds.
    pub failure: Option<String>,
}

/// The cases in a folder, by name.
///
/// # Errors
/// Where the folder can't be read, or holds no case.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| {
        let what = format!("the folder of cases {} can't be read", folder.display());
        Error::new(ErrorKind::Config, what).because(error).remedy("Name it with `--cases FOLDER`")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    if files.is_empty() {
        let what = format!("{} holds no case: no file that ends in .yaml", folder.display());
        return Err(Error::new(ErrorKind::Config, what).remedy("`plugins/README.md` says how one is written"));
    }
    Ok(files)
}

/// Runs cases of a component, each with the component opened anew.
///
/// # Errors
/// Where no case can be run at all: the component is none, or imports what nobody can be granted.
pub async fn run(name: &str, component: &[u8], files: &[PathBuf]) -> Result<Vec<Outcome>> {
    let place = Place::new(name, component)?;
    let host = place.host().await?;
    host.inspect(component.to_vec().into()).await?;
    let mut outcomes = Vec::with_capacity(files.len());
    for file in files {
        let case = name_of(file);
        let (about, failure) = match Case::load(file) {
            Ok(case) => (case.about.clone(), run::run(&host, name, &case).await.err()),
            Err(why) => (String::new(), Some(why)),
        };
        outcomes.push(Outcome { case, about, failure });
    }
    Ok(outcomes)
}

/// A case's file, without its folder.
fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A case that can't be run, as an error.
fn wrong(why: String) -> Error {
    Error::new(ErrorKind::Config, why).remedy("`sluice plugin test` says whether the cases hold")
}

/// A temporary folder in which a plugin and its compiled code lie.
struct Place {
    folder: tempfile::TempDir,
    key: [u8; 32],
}

impl Place {
    fn new(name: &str, component: &[u8]) -> Result<Place> {
        let cant = |what: &'static str| {
            move |error: std::io::Error| Error::new(ErrorKind::State, what).because(error)
        };
        let folder = tempfile::tempdir().map_err(cant("a temporary folder can't be made"))?;
        let plugins = folder.path().join("plugins");
        std::fs::create_dir(&plugins)
            .and_then(|()| std::fs::write(plugins.join(format!("{name}.wasm")), component))
            .map_err(cant("the component can't be put into a temporary folder"))?;
        let key = Store::scratch(folder.path())?.cache_key();
        Ok(Place { folder, key })
    }

    /// A host that knows nothing but the plugin and what was compiled before.
    async fn host(&self) -> Result<Host> {
        Host::new(HostOptions {
            cache_dir: self.folder.path().join("compiled"),
            cache_key: self.key,
            plugin_dir: Some(self.folder.path().join("plugins")),
            shipped: &[],
            state: Arc::new(Store::scratch(self.folder.path())?),
            clock: Arc::new(SystemClock),
            compiler: Compiler::InProcess,
        })
        .await
    }
}
