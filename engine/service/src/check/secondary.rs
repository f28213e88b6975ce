//! The indexes and constraints of the source that the target lacks: told by `check`, made by `sluice indexes`.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_types::ports::{Endpoint, Secondary};
use sluice_types::{Finding, PipelineId, TableId, TableSchema};

use super::{Checker, findings_of};

/// A table of a line as the chain was found to make it.
pub(super) struct Made {
    pub path: String,
    pub source: Arc<TableSchema>,
    pub output: Arc<TableSchema>,
}

/// What a target lacks.
pub struct Lacking {
    /// What the line is filed under.
    pub line: PipelineId,
    /// The name of the pipeline in the configuration.
    pub pipeline: String,
    /// The target.
    pub target: Arc<dyn Endpoint>,
    /// The statements that make it, in an order in which they can be run.
    pub statements: Vec<String>,
}

impl Made {
    /// Whether the columns come to the target as they are.
    fn keeps(&self, columns: &[String]) -> bool {
        columns.iter().all(|name| {
            let column = |schema: &TableSchema| {
                let column = schema.columns.get(schema.column_index(name)?)?;
                Some((column.slot, column.native.clone()))
            };
            let there = column(&self.source);
            there.is_some() && there == column(&self.output)
        })
    }
}

/// As the target is to have it; `None`: the chain changes what it depends on, or its parent is not of the line.
fn carried(one: &Secondary, tables: &BTreeMap<TableId, Made>) -> Option<Secondary> {
    let of = |table: &TableId, columns: &[String]| tables.get(table).filter(|made| made.keeps(columns));
    let made = of(&one.table, &one.columns)?;
    let refers_to = match &one.refers_to {
        Some((parent, columns)) => Some((of(parent, columns)?.output.table.clone(), columns.clone())),
        None => None,
    };
    Some(Secondary { table: made.output.table.clone(), refers_to, ..one.clone() })
}

impl Checker<'_> {
    /// One line, whose tables are made so.
    pub(super) async fn secondary(
        &mut self,
        (pipeline, line): (&str, &PipelineId),
        (source, target): (&Arc<dyn Endpoint>, &Arc<dyn Endpoint>),
        database: &str,
        tables: BTreeMap<TableId, Made>,
    ) {
        if source.kind() != target.kind() || tables.is_empty() {
            return;
        }
        let ids: Vec<TableId> = tables.keys().cloned().collect();
        let all = match source.secondaries(&ids).await {
            Ok(all) => all,
            Err(error) => return self.findings.extend(findings_of(&error, database)),
        };
        let (mut wanted, mut changed) = (Vec::new(), BTreeMap::<TableId, Vec<String>>::new());
        for one in all {
            match carried(&one, &tables) {
                Some(carried) => wanted.push(carried),
                None => changed.entry(one.table).or_default().push(one.name),
            }
        }
        let lacking = match target.lacking(&wanted).await {
            Ok(lacking) => lacking,
            Err(error) => return self.findings.extend(findings_of(&error, database)),
        };
        for (source, made) in &tables {
            let here: Vec<&str> = lacking
                .iter()
                .filter(|(table, _)| *table == made.output.table)
                .map(|(_, statement)| statement.as_str())
                .collect();
            if !here.is_empty() {
                let what = format!(
                    "{} indexes and constraints of {source} are not at the target; after the first copy `sluice indexes {pipeline}` makes them",
                    here.len()
                );
                self.findings.push(Finding::warning("not-made", &made.path, what, here.join("; ")));
            }
            if let Some(names) = changed.get(source) {
                let what = format!(
                    "indexes and constraints of {source} whose columns are changed on the way, or that refer to a table which is not \
                     copied, are not carried over: {}",
                    names.join(", ")
                );
                let remedy = "make at the target what you need of them";
                self.findings.push(Finding::warning("not-carried", &made.path, what, remedy));
            }
        }
        self.lacking.push(Lacking {
            line: line.clone(),
            pipeline: pipeline.to_string(),
            target: target.clone(),
            statements: lacking.into_iter().map(|(_, statement)| statement).collect(),
        });
    }
}
