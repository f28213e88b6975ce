//! What a line is made of: the configuration and the source's tables, turned into what the pipeline and the host take.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::sync::Arc;

use sluice_pipeline::{LineSpec, Ports, TruncatePolicy};
use sluice_types::ports::{Endpoint, StateStore};
use sluice_types::{Error, ErrorKind, Result};
use sluice_wasm::{Chains, Compiler, Host, HostOptions};

use super::{Engine, Inner, LineName, Options};
use crate::Config;
use crate::config::{Pipeline, lines::PlannedLine};

/// All that a line needs to run.
pub(super) struct Planned {
    pub(super) spec: LineSpec,
    pub(super) ports: Ports,
    pub(super) chains: Chains,
}

/// The word that makes the binary a compiler of plugins.
pub const COMPILE_PLUGIN: &str = "compile-plugin";

impl Engine {
    /// Plans a line: asks its source for tables and opens its chains' plugins.
    pub(super) async fn plan(&self, name: &LineName) -> Result<Planned> {
        let config = self.config();
        let PlannedLine { mut spec, chain, source, target, warnings, .. } =
            planned_line(&config, name).await?;
        for warning in warnings {
            tracing::warn!(pipeline = %name.id, path = warning.path, "{}. {}", warning.what, warning.remedy);
        }
        spec.take_over = self.inner.options.take_over;
        let chains = self.host().await?.chains(&name.id, chain).await?;
        let ports = self.ports_of(source, target);
        Ok(Planned { spec, ports, chains })
    }

    /// Ports between these databases.
    fn ports_of(&self, source: Arc<dyn Endpoint>, target: Arc<dyn Endpoint>) -> Ports {
        let Inner { state, clock, spill, .. } = &*self.inner;
        Ports { source, target, state: state.clone(), clock: clock.clone(), spill: spill.clone() }
    }

    /// Ports and a spec without tables: enough to delete a line whose tables may be gone already.
    pub(super) fn bare_line(&self, name: &LineName) -> Result<(LineSpec, Ports)> {
        let config = self.config();
        let pipeline = pipeline(&config, name)?;
        let ports = self.ports_of(endpoint(&config, &pipeline.source)?, endpoint(&config, &name.target)?);
        let spec = LineSpec {
            pipeline: name.id.clone(),
            tables: Vec::new(),
            mode: pipeline.mode,
            snapshot: pipeline.snapshot,
            batch: pipeline.batch,
            concurrency: NonZeroUsize::MIN,
            large_transactions: pipeline.large_transactions,
            truncate: TruncatePolicy::Ignore,
            on_error: pipeline.on_error,
            on_position_lost: pipeline.on_position_lost,
            take_over: self.inner.options.take_over,
        };
        Ok((spec, ports))
    }

    /// The longest wait between two tries of a line, in milliseconds.
    pub(super) fn longest_wait_ms(&self, name: &LineName) -> u64 {
        let config = self.config();
        config.pipelines.get(&name.pipeline).map_or(1_000, |pipeline| pipeline.on_error.max_ms)
    }

    /// The host of plugins, made when it is first asked for.
    pub(super) async fn host(&self) -> Result<&Host> {
        let make = || async {
            let config = self.config();
            let state = self.inner.state.clone();
            Host::new(HostOptions {
                cache_dir: config.state.dir.join("compiled"),
                cache_key: state.cache_key(),
                plugin_dir: Some(config.plugin_dir.clone()),
                shipped: crate::shipped::PLUGINS,
                state: state as Arc<dyn StateStore>,
                clock: self.inner.clock.clone(),
                compiler: compiler(&self.inner.options),
            })
            .await
        };
        self.inner.host.get_or_try_init(make).await
    }

    /// The host, if anything needed one so far.
    pub(crate) fn host_in_use(&self) -> Option<&Host> {
        self.inner.host.get()
    }
}

fn compiler(options: &Options) -> Compiler {
    match &options.compiler {
        Some(program) => {
            Compiler::Child { program: program.clone(), args: vec![OsString::from(COMPILE_PLUGIN)] }
        }
        None => Compiler::InProcess,
    }
}

/// Every line of a configuration.
pub(super) fn line_names(config: &Config) -> Vec<LineName> {
    let lines_of = |(name, pipeline): (&String, &Pipeline)| -> Vec<LineName> {
        let line = |target: &String| LineName {
            pipeline: name.clone(),
            target: target.clone(),
            id: pipeline.line_id(target),
        };
        pipeline.targets.iter().map(line).collect()
    };
    config.pipelines.iter().flat_map(lines_of).collect()
}

/// What a configuration makes of a line.
pub(super) async fn planned_line(config: &Config, name: &LineName) -> Result<PlannedLine> {
    let lines = pipeline(config, name)?.lines(&name.pipeline, config).await?;
    let found = lines.into_iter().find(|line| line.spec.pipeline == name.id);
    found.ok_or_else(|| Error::new(ErrorKind::Internal, format!("the line {} was not planned", name.id)))
}

fn pipeline<'a>(config: &'a Config, name: &LineName) -> Result<&'a Pipeline> {
    config.pipelines.get(&name.pipeline).ok_or_else(|| {
        let what = format!("the pipeline `{}` is not in the configuration any more", name.pipeline);
        Error::new(ErrorKind::PipelineMissing, what)
    })
}

pub(super) fn endpoint(config: &Config, database: &str) -> Result<Arc<dyn Endpoint>> {
    let found = config.databases.get(database).map(|database| database.endpoint.clone());
    found.ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no database `{database}`")))
}
