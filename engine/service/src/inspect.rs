//! Looking at a plugin file, without a service and without changing anything.

use std::sync::Arc;

use serde::Serialize;
use sluice_store::Store;
use sluice_types::{Error, ErrorKind, Result, TablePattern};
use sluice_wasm::{Compiler, Host, HostOptions, Inspection, PlanReport};

use crate::{Config, SystemClock};

/// What a plugin file says.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// What it says about itself.
    pub about: Inspection,
    /// What it plans for the table that it was shown; `None` also when it is not interested in it.
    pub plan: Option<PlanReport>,
}

/// Loads a component and asks it about itself and, where one is given, about a table of a configured database, opened with
/// `settings` (JSON) as its configuration.
pub async fn inspect(
    component: Vec<u8>,
    on: Option<(&Config, &str, &str)>,
    settings: &str,
) -> Result<Inspected> {
    let folder = tempfile::tempdir()
        .map_err(|error| Error::new(ErrorKind::State, "a temporary folder can't be made").because(error))?;
    let state = Store::scratch(folder.path())?;
    let host = Host::new(HostOptions {
        cache_dir: folder.path().join("compiled"),
        cache_key: state.cache_key(),
        plugin_dir: None,
        shipped: crate::SHIPPED_PLUGINS,
        state: Arc::new(state),
        clock: Arc::new(SystemClock),
        compiler: Compiler::InProcess,
    })
    .await?;
    let component = bytes::Bytes::from(component);
    let about = host.inspect(component.clone()).await?;
    let plan = match on {
        None => None,
        Some((config, database, table)) => {
            let endpoint = &config
                .databases
                .get(database)
                .ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no database `{database}`")))?
                .endpoint;
            let found = endpoint.discover(&[TablePattern::parse(table)]).await?;
            let found = found.first().ok_or_else(|| {
                Error::new(ErrorKind::TableMissing, format!("{database} has no table `{table}`"))
            })?;
            host.inspect_plan(component, &found.schema, settings).await?
        }
    };
    Ok(Inspected { about, plan })
}
