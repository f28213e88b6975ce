//! `sluice check`: everything that can be known before the first row flows, all findings at once.
//!
//! Changes nothing, and may run beside a service that uses the same state folder: plugin versions are read from it into a state in
//! memory, and plugins are compiled into a folder that is thrown away.

mod loops;
mod report;
mod secondary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_pipeline::{SnapshotMode, TARGET_NOT_EMPTY, TableRoute};
use sluice_store::Store;
use sluice_types::ports::{Clock, Readers, StateStore, TargetTable, Transform};
use sluice_types::{Error, ErrorKind, Finding, InstallId, PipelineId, Result, TableId, TableSchema};
use sluice_wasm::{ChainSpec, Chains, Compiler, Host, HostOptions};

pub use report::{CheckedLine, CheckedTable, Located, Report};
pub use secondary::Lacking;

use secondary::Made;

use crate::Registry;
use crate::config::lines::PlannedLine;
use crate::config::{Config, Pipeline, locate};

/// What to check.
pub struct Check {
    /// The configuration file.
    pub file: PathBuf,
    /// Connect to nothing: only what the file says, and whether the plugins that it names can be loaded.
    pub offline: bool,
    /// The connectors.
    pub registry: Registry,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where plugins are compiled.
    pub compiler: Compiler,
}

impl Check {
    /// Looks at everything. What goes wrong on the way is a finding like any other.
    pub async fn run(self) -> Report {
        self.look().await.0
    }

    /// The same, and what the targets lack of their sources' indexes and constraints.
    pub async fn look(self) -> (Report, Vec<Lacking>) {
        let config = match Config::load(&self.file, &self.registry) {
            Ok(config) => config,
            Err(error) => {
                let spot = locate(&self.file);
                let findings = findings_of(&error, "");
                let report = Report::new(&self.file, findings, Vec::new(), |path| spot.line_of(path));
                return (report, Vec::new());
            }
        };
        let mut checker = Checker {
            config: &config,
            findings: config.warnings.clone(),
            lines: Vec::new(),
            planned: Vec::new(),
            install: None,
            lacking: Vec::new(),
        };
        checker.state();
        // Compiled code is only kept for as long as the check runs.
        let cache = tempfile::tempdir();
        match checker.host(&self, cache.as_ref().map(|dir| dir.path())).await {
            Ok(host) if self.offline => checker.plugins(&host).await,
            Ok(host) => checker.pipelines(&host).await,
            Err(error) => checker.findings.extend(findings_of(&error, "plugins")),
        }
        let Checker { findings, lines, lacking, .. } = checker;
        (Report::new(&config.file, findings, lines, |path| config.line_of(path)), lacking)
    }
}

struct Checker<'a> {
    config: &'a Config,
    findings: Vec<Finding>,
    lines: Vec<CheckedLine>,
    planned: Vec<PlannedLine>,
    /// Of the state folder.
    install: Option<InstallId>,
    lacking: Vec<Lacking>,
}

impl Checker<'_> {
    /// Whether the state folder can be used; who uses it now doesn't matter.
    fn state(&mut self) {
        if let Err(error) = Store::probe(&self.config.state.dir) {
            self.findings.extend(findings_of(&error, "state"));
        }
    }

    async fn host(
        &mut self,
        check: &Check,
        cache: std::result::Result<&Path, &std::io::Error>,
    ) -> Result<Host> {
        let cache = cache.map_err(|cause| {
            Error::new(ErrorKind::DiskFull, format!("there is no room for temporary files: {cause}"))
                .remedy("Make room, or set TMPDIR to a folder that can be written.")
        })?;
        // A state of another version or a damaged one must not hide what else there is to find.
        let state = Store::scratch(&self.config.state.dir).or_else(|error| {
            self.findings.extend(findings_of(&error, "state"));
            Store::scratch(&cache.join("no-state"))
        })?;
        self.install = Some(state.install().clone());
        Host::new(HostOptions {
            cache_dir: cache.join("compiled"),
            cache_key: state.cache_key(),
            plugin_dir: Some(self.config.plugin_dir.clone()),
            shipped: crate::shipped::PLUGINS,
            state: Arc::new(state) as Arc<dyn StateStore>,
            clock: check.clock.clone(),
            compiler: check.compiler.clone(),
        })
        .await
    }

    /// Offline: loads the plugins that each rule names. What they think of their configuration needs a table.
    async fn plugins(&mut self, host: &Host) {
        for pipeline in self.config.pipelines.values() {
            // One step at a time, so that a missing plugin doesn't hide the next.
            for step in pipeline.tables.iter().flat_map(|rule| &rule.steps) {
                let spec =
                    ChainSpec { tables: BTreeMap::from([(TableId::new("", "any"), vec![step.clone()])]) };
                if let Err(error) = host.chains(&pipeline.id, spec).await {
                    self.findings.extend(findings_of(&error, &step.path));
                }
            }
        }
    }

    async fn pipelines(&mut self, host: &Host) {
        let mut planned = Vec::new();
        for (name, pipeline) in &self.config.pipelines {
            match pipeline.plan(name, self.config).await {
                Ok((lines, errors)) => {
                    // A fault of one table must not hide those of the others.
                    self.findings.extend(errors);
                    planned.push((pipeline, lines));
                }
                Err(error) => self.findings.extend(findings_of(&error, &format!("{}.source", pipeline.path))),
            }
        }
        let mut readers: BTreeMap<&str, Vec<PipelineId>> = BTreeMap::new();
        for (pipeline, lines) in &planned {
            let ids = lines.iter().map(|line| line.spec.pipeline.clone());
            readers.entry(&pipeline.source).or_default().extend(ids);
        }
        for (pipeline, lines) in planned {
            let lines_there = readers.get(&*pipeline.source).cloned().unwrap_or_default();
            for (index, line) in lines.into_iter().enumerate() {
                self.line(host, pipeline, &line, (index == 0).then_some(&lines_there)).await;
                self.planned.push(line);
            }
        }
        self.findings.extend(loops::find(self.config, &self.planned));
    }

    /// One line; what concerns the source is the same for all lines of a pipeline and told once: with the first, which brings all
    /// `readers` of that database.
    async fn line(
        &mut self,
        host: &Host,
        pipeline: &Pipeline,
        line: &PlannedLine,
        readers: Option<&Vec<PipelineId>>,
    ) {
        let mut found = Vec::new();
        found.extend(line.warnings.iter().cloned());
        if let Some(readers) = readers {
            found.extend(self.source(pipeline, line, readers).await);
        }
        let (chains, refused) = self.chains(host, pipeline, line, &mut found).await;
        let mut targets = Vec::new();
        let mut tables = Vec::new();
        let mut made = BTreeMap::new();
        if let Some(chains) = &chains {
            let mut transform = chains.transform();
            let routes = line.spec.tables.iter().zip(&line.discovered);
            for (route, discovered) in routes.filter(|(route, _)| !refused.contains(&route.from)) {
                let opened = match route.shapes(discovered.schema.clone()) {
                    Ok((source, entry)) => open(transform.as_mut(), &source, &entry).await,
                    Err(error) => Err(error),
                };
                match opened {
                    Ok(outputs) => {
                        found.extend(unsuited(route, &outputs));
                        tables.push(CheckedTable::new(&route.from, &outputs));
                        if let Some(output) = outputs.first().cloned() {
                            let (path, source) = (route.path.clone(), discovered.schema.clone());
                            made.insert(route.from.clone(), Made { path, source, output });
                        }
                        targets.extend(
                            outputs
                                .into_iter()
                                .map(|schema| TargetTable { schema, path: route.path.clone() }),
                        );
                    }
                    Err(error) if self.is_known(&error, &route.path) => {}
                    Err(error) => found.extend(findings_of(&error, &route.path)),
                }
            }
        }
        let lineage = chains.map(|chains| chains.lineage()).unwrap_or_default();
        self.lines.push(CheckedLine::new(line, tables, lineage));
        if readers.is_some() {
            self.findings.append(&mut found);
        }
        let database = &self.config.databases[&line.target_name].path;
        let checked = line.target.check_target(&targets).await;
        let at = |error: &Error| findings_of(error, database);
        let answers = checked.is_ok();
        self.findings.extend(checked.map_or_else(|error| at(&error), |found| located(found, database)));
        if answers {
            self.not_empty(line, &targets, database).await;
            let names = (line.pipeline.as_str(), &line.spec.pipeline);
            self.secondary(names, (&line.source, &line.target), database, made).await;
        }
    }

    /// Tables with rows that a first copy would be laid over.
    async fn not_empty(&mut self, line: &PlannedLine, targets: &[TargetTable], database: &str) {
        if line.spec.snapshot == SnapshotMode::Never {
            return;
        }
        let tables: Vec<TableId> = targets.iter().map(|target| target.schema.table.clone()).collect();
        let filled = match line.target.filled(&line.spec.pipeline, &tables).await {
            Ok(filled) => filled,
            Err(error) => return self.findings.extend(findings_of(&error, database)),
        };
        for TargetTable { schema, path } in
            targets.iter().filter(|target| filled.contains(&target.schema.table))
        {
            let what = format!(
                "the target's table {} has rows already: the first copy is laid over them, and those that the source does not have stay",
                schema.table
            );
            let remedy = format!(
                "empty it; or start, then `sluice resnapshot {}`, which empties it and reads it again",
                line.pipeline
            );
            self.findings.push(Finding::warning(TARGET_NOT_EMPTY, path, what, remedy));
        }
    }

    /// The chains of a line, and its tables that have a plugin which can't be loaded: such a plugin hides neither the others nor
    /// what is wrong with them.
    async fn chains(
        &self,
        host: &Host,
        pipeline: &Pipeline,
        line: &PlannedLine,
        found: &mut Vec<Finding>,
    ) -> (Option<Chains>, BTreeSet<TableId>) {
        let id = &line.spec.pipeline;
        let mut spec = line.chain.clone();
        let error = match host.chains(id, spec.clone()).await {
            Ok(chains) => return (Some(chains), BTreeSet::new()),
            Err(error) => error,
        };
        let mut refused = BTreeSet::new();
        for (table, steps) in &line.chain.tables {
            for step in steps {
                let tables = BTreeMap::from([(table.clone(), vec![step.clone()])]);
                let Err(error) = host.chains(id, ChainSpec { tables }).await else {
                    continue;
                };
                refused.insert(table.clone());
                // Tables of one pattern share their steps.
                for finding in findings_of(&error, &step.path) {
                    if !found.contains(&finding) {
                        found.push(finding);
                    }
                }
            }
        }
        spec.tables.retain(|table, _| !refused.contains(table));
        let others = host.chains(id, spec).await;
        if refused.is_empty() || others.is_err() {
            found.extend(findings_of(&error, &pipeline.path));
        }
        (others.ok(), refused)
    }

    /// Whether the plan of the lines has told the same of this table already.
    fn is_known(&self, error: &Error, path: &str) -> bool {
        error.all_findings().is_empty()
            && self
                .findings
                .iter()
                .any(|known| known.code == error.kind().code() && known.path.starts_with(path))
    }

    async fn source(&self, pipeline: &Pipeline, line: &PlannedLine, readers: &[PipelineId]) -> Vec<Finding> {
        let database = &self.config.databases[&pipeline.source].path;
        let routes = line.spec.tables.iter().zip(&line.discovered);
        let tables: Vec<TargetTable> = routes
            .map(|(route, found)| {
                // With the key that the line uses. What is wrong about that is found where the chain is opened.
                let shapes = route.shapes(found.schema.clone());
                let schema = shapes.map_or_else(|_| found.schema.clone(), |(source, _)| source);
                TargetTable { schema, path: route.path.clone() }
            })
            .collect();
        let Some(install) = self.install.clone() else { return Vec::new() };
        let lines_of = |pipeline: &Pipeline| -> Vec<PipelineId> {
            pipeline.targets.iter().map(|target| pipeline.line_id(target)).collect()
        };
        let configured = self.config.pipelines.values().flat_map(lines_of).collect();
        let readers = Readers { install, lines: readers.to_vec(), configured };
        match line.source.check_source(&readers, &tables).await {
            Ok(found) => located(found, database),
            Err(error) => findings_of(&error, database),
        }
    }
}

async fn open(
    transform: &mut dyn Transform,
    source: &Arc<TableSchema>,
    entry: &Arc<TableSchema>,
) -> Result<Vec<Arc<TableSchema>>> {
    let opened = transform.open(source, entry).await?;
    let outputs = if opened.outputs.is_empty() { vec![entry.clone()] } else { opened.outputs };
    if outputs.iter().any(|output| output.key.is_empty()) {
        return Err(Error::new(ErrorKind::KeyMissing, "what the chain makes of the table has no key")
            .at_table(&source.table)
            .remedy("Keep the key's columns, or name others with `key: [..]`."));
    }
    Ok(outputs)
}

/// What a table's policy for conflicts does not find in what its chain makes.
fn unsuited(route: &TableRoute, outputs: &[Arc<TableSchema>]) -> Vec<Finding> {
    let Some(policy) = &route.conflict else { return Vec::new() };
    let found = outputs.iter().filter_map(|output| policy.suits(output).err());
    let path = format!("{}.column", policy.path);
    found.map(|(what, remedy)| Finding::error(ErrorKind::Config, path.clone(), what, remedy)).collect()
}

/// A connector's findings: their paths are those of tables, or relative to its database.
fn located(findings: Vec<Finding>, database: &str) -> Vec<Finding> {
    let whole =
        |finding: &Finding| finding.path.starts_with("pipelines.") || finding.path.starts_with(database);
    findings
        .into_iter()
        .map(|finding| if whole(&finding) { finding } else { finding.under(database) })
        .collect()
}

/// An error as findings: its own, or one that says the same, at `path`.
fn findings_of(error: &Error, path: &str) -> Vec<Finding> {
    if !error.all_findings().is_empty() {
        return error.all_findings().to_vec();
    }
    let place = error.place().table.as_ref().map_or(String::new(), |table| format!(" (table {table})"));
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    let what = format!("{}{place}{cause}", error.what());
    vec![Finding::error(error.kind(), path, what, error.remedy_text().unwrap_or_default().to_string())]
}
