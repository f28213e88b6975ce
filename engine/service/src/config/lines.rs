//! A pipeline and the tables that its source has, made into what each line is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_pipeline::{BatchLimits, ConflictStrategy, LineSpec, TableRoute, TruncatePolicy};
use sluice_types::ports::{Discovered, Endpoint};
use sluice_types::settings::did_you_mean;
use sluice_types::{Error, ErrorKind, Finding, PipelineId, Result, Severity, TableId, TablePattern};
use sluice_wasm::ChainSpec;

use super::table::fill_template;
use super::{Config, Database, Pipeline, TableRule};

/// What sluice's own tables are called; nobody else's may be.
const OUR_PREFIX: &str = "sluice_";

/// One line of a pipeline: what to run it with.
#[derive(Clone)]
pub struct PlannedLine {
    /// The pipeline's name in the configuration.
    pub pipeline: String,
    /// The target's name in the configuration.
    pub target_name: String,
    /// What the line is told.
    pub spec: LineSpec,
    /// Its chains.
    pub chain: ChainSpec,
    /// The source.
    pub source: Arc<dyn Endpoint>,
    /// The target.
    pub target: Arc<dyn Endpoint>,
    /// The source's tables as they were discovered, in the order of `spec.tables`.
    pub discovered: Vec<Discovered>,
    /// What is worth knowing about it.
    pub warnings: Vec<Finding>,
}

/// A table of the source and the rule that it goes by.
type Matched<'a> = (&'a TableRule, Discovered);

impl Pipeline {
    /// What the line to a target is filed under.
    pub fn line_id(&self, target: &str) -> PipelineId {
        if self.many { format!("{}@{target}", self.id).as_str().into() } else { self.id.clone() }
    }

    /// Asks the source for the tables that the patterns mean and plans a line for each target.
    ///
    /// Errors: the source's own (`unreachable`, ...), and `config-invalid` or `table-missing` with every finding: tables that are
    /// not there, keys and columns that don't fit, target tables that collide.
    pub async fn lines(&self, name: &str, config: &Config) -> Result<Vec<PlannedLine>> {
        let (lines, errors) = self.plan(name, config).await?;
        if errors.is_empty() { Ok(lines) } else { Err(self.refused(name, config, errors)) }
    }

    /// [`Pipeline::lines`] for those who go on looking: what can be planned, and what keeps it from running.
    pub(crate) async fn plan(&self, name: &str, config: &Config) -> Result<(Vec<PlannedLine>, Vec<Finding>)> {
        let source = database(config, &self.source)?;
        let mut findings = Vec::new();
        let matched = self.match_tables(source.endpoint.as_ref(), &mut findings).await.map_err(|error| {
            error.at(|place| {
                place.pipeline = Some(self.id.clone());
                place.database = Some(self.source.clone());
            })
        })?;
        for (rule, found) in &matched {
            check_columns(rule, found, &mut findings);
        }
        check_patterns(&self.tables, &matched, &mut findings);
        unseen_conflicts(&matched, &mut findings);
        let mut lines = Vec::new();
        for target in &self.targets {
            lines.push(self.line(name, config, source, target, &matched, &mut findings)?);
        }
        let (errors, warnings): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| finding.severity == Severity::Error);
        lines.iter_mut().for_each(|line| line.warnings = warnings.clone());
        Ok((lines, errors))
    }

    /// A line that only misses tables waits for them; any other fault needs the file to be changed.
    fn refused(&self, name: &str, config: &Config, mut errors: Vec<Finding>) -> Error {
        errors.sort_by_cached_key(|finding| (config.line_of(&finding.path), finding.path.clone()));
        errors.dedup();
        let only = |kind: ErrorKind| errors.iter().all(|finding| finding.code == kind.code());
        let kind = [ErrorKind::TableMissing, ErrorKind::KeyMissing].into_iter().find(|kind| only(*kind));
        let what = format!("the pipeline `{name}` does not fit its databases");
        Error::findings(kind.unwrap_or(ErrorKind::Config), what, errors)
            .at(|place| place.pipeline = Some(self.id.clone()))
    }

    /// Every table with its rule: the one that names it, or else the first whose pattern matches.
    async fn match_tables(
        &self,
        source: &dyn Endpoint,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Matched<'_>>> {
        let default_schema = source.capabilities().default_schema;
        let patterns: Vec<TablePattern> = self.tables.iter().map(|rule| rule.from.clone()).collect();
        let found = source.discover(&patterns).await?;
        let exact = |rule: &TableRule| rule.from.exact(default_schema);
        let mut matched = Vec::new();
        for discovered in found {
            let names_it = self.tables.iter().filter(|rule| exact(rule).as_ref() == Some(&discovered.table));
            let named: Vec<&TableRule> = names_it.collect();
            if let [_, again, ..] = &named[..] {
                let what = format!("the table `{}` is named twice", discovered.table);
                let path = format!("{}.from", again.path);
                findings.push(Finding::error(ErrorKind::Config, path, what, "one rule per table"));
            }
            let by_pattern =
                || self.tables.iter().find(|rule| rule.from.matches(&discovered.table, default_schema));
            if let Some(rule) = named.first().copied().or_else(by_pattern) {
                matched.push((rule, discovered));
            }
        }
        let missing: Vec<(&TableRule, TableId)> = self
            .tables
            .iter()
            .filter_map(|rule| Some((rule, exact(rule)?)))
            .filter(|(_, table)| !matched.iter().any(|(_, found)| found.table == *table))
            .collect();
        if !missing.is_empty() {
            findings.extend(missing_tables(source, &missing).await?);
        }
        Ok(matched)
    }

    fn line(
        &self,
        name: &str,
        config: &Config,
        source: &Database,
        target_name: &str,
        matched: &[Matched<'_>],
        findings: &mut Vec<Finding>,
    ) -> Result<PlannedLine> {
        let target = database(config, target_name)?;
        let default_schema = target.endpoint.capabilities().default_schema;
        let tables: Vec<TableRoute> =
            matched.iter().map(|(rule, found)| route(rule, found, default_schema)).collect();
        check_targets(&tables, self.source == target_name, findings);
        let chain = ChainSpec {
            tables: matched
                .iter()
                .filter(|(rule, _)| !rule.steps.is_empty())
                .map(|(rule, found)| (found.table.clone(), rule.steps.clone()))
                .collect(),
        };
        let large_transactions = self.large_by_default.of_target(self.large_transactions, &*target.endpoint);
        let plain = chain.tables.is_empty() && !is_shared(config, name, target_name, default_schema, &tables);
        let by_default = if plain { TruncatePolicy::Apply } else { TruncatePolicy::Pause };
        let lines = config.pipelines.values().map(|pipeline| pipeline.targets.len()).sum();
        let spec = LineSpec {
            pipeline: self.line_id(target_name),
            tables,
            mode: self.mode,
            snapshot: self.snapshot,
            batch: BatchLimits { bytes: config.limits.batch_bytes(self.batch.bytes, lines), ..self.batch },
            concurrency: self.concurrency,
            large_transactions,
            truncate: self.truncate.unwrap_or(by_default),
            on_error: self.on_error,
            on_position_lost: self.on_position_lost,
            take_over: false,
        };
        Ok(PlannedLine {
            pipeline: name.to_string(),
            target_name: target_name.to_string(),
            spec,
            chain,
            source: source.endpoint.clone(),
            target: target.endpoint.clone(),
            discovered: matched.iter().map(|(_, found)| found.clone()).collect(),
            warnings: Vec::new(),
        })
    }
}

fn database<'a>(config: &'a Config, name: &str) -> Result<&'a Database> {
    config
        .databases
        .get(name)
        .ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no database `{name}`")))
}

fn route(rule: &TableRule, found: &Discovered, target_schema: &str) -> TableRoute {
    let from = &found.table;
    let template = rule.to.as_deref().unwrap_or("{table}");
    let mut to = TableId::parse(&fill_template(template, &from.schema, &from.name));
    if to.schema.is_empty() {
        to.schema = target_schema.into();
    }
    // A pattern's tables need not all have the columns that it leaves out.
    let is_there = |column: &&String| found.schema.column_index(column).is_some();
    let exclude = rule.exclude.iter().filter(is_there).cloned().collect();
    TableRoute {
        from: from.clone(),
        to,
        key: rule.key.clone(),
        exclude,
        conflict: rule.conflict.clone(),
        path: rule.path.clone(),
    }
}

/// Tables that are named and not there, with the nearest that is.
async fn missing_tables(source: &dyn Endpoint, missing: &[(&TableRule, TableId)]) -> Result<Vec<Finding>> {
    let schemas: BTreeSet<String> = missing.iter().map(|(_, table)| table.schema.to_string()).collect();
    let all = |schema: &String| {
        TablePattern::parse(&if schema.is_empty() { "*".into() } else { format!("{schema}.*") })
    };
    let there = source.discover(&schemas.iter().map(all).collect::<Vec<_>>()).await?;
    let names: Vec<String> = there.iter().map(|found| found.table.to_string()).collect();
    let finding = |(rule, table): &(&TableRule, TableId)| {
        let near = did_you_mean(&table.to_string(), names.iter().map(String::as_str));
        let remedy = if near.is_empty() { format!("{} has no such table", source.address()) } else { near };
        let what = format!("there is no table `{table}` in the source");
        Finding::error(ErrorKind::TableMissing, format!("{}.from", rule.path), what, remedy.trim_end())
    };
    Ok(missing.iter().map(finding).collect())
}

/// Key and columns of one table.
fn check_columns(rule: &TableRule, found: &Discovered, findings: &mut Vec<Finding>) {
    let (table, schema) = (&found.table, &found.schema);
    let names = || schema.columns.iter().map(|column| &*column.name);
    let is_pattern = rule.from.to_string().contains('*');
    match (&rule.key, schema.key.is_empty()) {
        (None, true) => findings.push(Finding::error(
            ErrorKind::KeyMissing,
            format!("{}.key", rule.path),
            format!("the table `{table}` has no key"),
            "declare a primary key in the source, or name columns that identify a row with `key: [..]`",
        )),
        (Some(_), false) if !is_pattern => findings.push(Finding::error(
            ErrorKind::Config,
            format!("{}.key", rule.path),
            format!("the table `{table}` has a key of its own"),
            "leave `key` out: it is for tables without one",
        )),
        (Some(key), true) => {
            for column in key.iter().filter(|column| schema.column_index(column).is_none()) {
                let what = format!("the table `{table}` has no column `{column}`");
                let near = did_you_mean(column, names());
                findings.push(Finding::error(
                    ErrorKind::Config,
                    format!("{}.key", rule.path),
                    what,
                    near.trim_end(),
                ));
            }
        }
        _ => {}
    }
    let is_key = |name: &String| match &rule.key {
        Some(key) if schema.key.is_empty() => key.contains(name),
        _ => schema.key_columns().any(|column| *column.name == **name),
    };
    for (index, name) in rule.exclude.iter().enumerate() {
        let path = format!("{}.columns.exclude[{index}]", rule.path);
        if is_key(name) {
            let what = format!("`{name}` is part of the key of `{table}`");
            findings.push(Finding::error(
                ErrorKind::Config,
                path,
                what,
                "a row can't be addressed without it: keep it",
            ));
        } else if schema.column_index(name).is_none() && !is_pattern {
            let what = format!("the table `{table}` has no column `{name}`");
            findings.push(Finding::error(
                ErrorKind::Config,
                path,
                what,
                did_you_mean(name, names()).trim_end(),
            ));
        }
    }
}

/// Policies for tables that don't tell what a row was before a change.
fn unseen_conflicts(matched: &[Matched<'_>], findings: &mut Vec<Finding>) {
    use ConflictStrategy::{Latest, MergeColumns, Park, SourceWins, TargetWins, Version};
    let policies = matched.iter().filter_map(|(rule, found)| Some((found, rule.conflict.as_ref()?)));
    for (found, policy) in policies.filter(|(found, _)| !found.schema.before_images) {
        let table = &found.table;
        let path = format!("{}.strategy", policy.path);
        let remedy = format!(
            "let the source send whole rows (PostgreSQL: ALTER TABLE {table} REPLICA IDENTITY FULL), or use `latest` or `version`"
        );
        let without = format!("the source does not send what a row of `{table}` was before a change");
        findings.push(match policy.strategy {
            Latest(_) | Version(_) => continue,
            SourceWins => {
                let what = format!("{without}: of conflicts only `insert_exists` is seen");
                Finding::warning("conflicts-unseen", path, what, remedy)
            }
            TargetWins | Park => {
                let strategy = policy.strategy.name();
                let what = format!("{without}, so `{strategy}` would not see what others have changed");
                Finding::error(ErrorKind::Config, path, what, remedy)
            }
            MergeColumns => {
                let what = format!("{without}, so nobody can tell which columns it has changed");
                Finding::error(ErrorKind::Config, path, what, remedy)
            }
        });
    }
}

/// Patterns that mean nothing, and excluded columns that none of a pattern's tables has.
fn check_patterns(rules: &[TableRule], matched: &[Matched<'_>], findings: &mut Vec<Finding>) {
    for rule in rules.iter().filter(|rule| rule.from.to_string().contains('*')) {
        let tables = || matched.iter().filter(|(by, _)| by.path == rule.path).map(|(_, found)| found);
        if tables().next().is_none() {
            findings.push(Finding::warning(
                "matches-nothing",
                format!("{}.from", rule.path),
                format!("no table goes by the pattern `{}`", rule.from),
                "tables that come later are not added by themselves: restart then",
            ));
            continue;
        }
        for (index, name) in rule.exclude.iter().enumerate() {
            if tables().all(|found| found.schema.column_index(name).is_none()) {
                let path = format!("{}.columns.exclude[{index}]", rule.path);
                let what = format!("none of the tables of `{}` has a column `{name}`", rule.from);
                let columns =
                    tables().flat_map(|found| found.schema.columns.iter().map(|column| &*column.name));
                findings.push(Finding::error(
                    ErrorKind::Config,
                    path,
                    what,
                    did_you_mean(name, columns).trim_end(),
                ));
            }
        }
    }
    let already = findings.iter().any(|finding| finding.severity == Severity::Error);
    if let (true, false, Some(rule)) = (matched.is_empty(), already, rules.first()) {
        let path = rule.path.rsplit_once('[').map_or(rule.path.as_str(), |(tables, _)| tables);
        let what = "the pipeline has no table";
        findings.push(Finding::error(
            ErrorKind::TableMissing,
            path,
            what,
            "name tables or patterns that the source has",
        ));
    }
}

/// Target tables of one line: each has one source, none is ours, and none is fed back.
fn check_targets(tables: &[TableRoute], same_database: bool, findings: &mut Vec<Finding>) {
    let mut by_target: BTreeMap<&TableId, Vec<&TableRoute>> = BTreeMap::new();
    for route in tables {
        by_target.entry(&route.to).or_default().push(route);
        let path = format!("{}.to", route.path);
        if route.to.name.starts_with(OUR_PREFIX) || &*route.to.schema == "sluice" {
            let what = format!("`{}` is the name of a table of sluice itself", route.to);
            findings.push(Finding::error(
                ErrorKind::Config,
                &path,
                what,
                format!("no name with `{OUR_PREFIX}` in front"),
            ));
        }
        if same_database && tables.iter().any(|other| other.from == route.to) {
            let what = format!(
                "`{}` is read and written by the same line: its changes would go round for ever",
                route.to
            );
            findings.push(Finding::error(
                ErrorKind::Config,
                path,
                what,
                "write to another table or database",
            ));
        }
    }
    for (to, routes) in by_target.into_iter().filter(|(_, routes)| routes.len() > 1) {
        let from: Vec<String> = routes.iter().map(|route| format!("`{}`", route.from)).collect();
        for route in routes {
            findings.push(Finding::error(
                ErrorKind::Config,
                format!("{}.to", route.path),
                format!("{} would all be written to `{to}`", from.join(" and ")),
                "give each a target table of its own, for example `to: \"{schema}_{table}\"`",
            ));
        }
    }
}

/// Whether another line writes one of these tables, or may: a pattern counts for everything that it could mean.
fn is_shared(config: &Config, name: &str, target: &str, default_schema: &str, tables: &[TableRoute]) -> bool {
    let others = config.pipelines.iter().filter(|(other, pipeline)| {
        other.as_str() != name && pipeline.targets.iter().any(|other| other == target)
    });
    others.flat_map(|(_, pipeline)| &pipeline.tables).any(|rule| {
        let from = rule.from.to_string();
        let (schema, table) = from.split_once('.').unwrap_or(("*", &from));
        let pattern =
            TablePattern::parse(&fill_template(rule.to.as_deref().unwrap_or("{table}"), schema, table));
        tables.iter().any(|route| pattern.matches(&route.to, default_schema))
    })
}
