//! What a check found, for people and as JSON.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use sluice_types::{Finding, Severity, TableId, TableSchema};
use sluice_wasm::TableLineage;

use crate::config::lines::PlannedLine;

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The configuration file.
    pub file: String,
    /// Whether there is no error among the findings.
    pub ok: bool,
    /// The findings, errors first, then as they stand in the file.
    pub findings: Vec<Located>,
    /// The lines that would run; those that could be planned.
    pub lines: Vec<CheckedLine>,
}

/// A finding and its line in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// The line on which its path stands, or what is around it.
    pub line: Option<u64>,
}

/// One line that would run.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedLine {
    /// The pipeline's name.
    pub pipeline: String,
    /// What the line is filed under.
    pub id: String,
    /// The source, without credentials.
    pub source: String,
    /// The target, without credentials.
    pub target: String,
    /// Its tables.
    pub tables: Vec<CheckedTable>,
    /// Which plugin reads, writes, renames and drops which column.
    pub lineage: Vec<TableLineage>,
}

/// One table of a line.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedTable {
    /// The source's table.
    pub from: String,
    /// The target's tables, as the chain makes them: the default one first, then one per route.
    pub to: Vec<CheckedTarget>,
}

/// A target's table, as the chain makes it.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedTarget {
    /// Its name.
    pub table: String,
    /// Its columns, as `name type`.
    pub columns: Vec<String>,
    /// The key's columns.
    pub key: Vec<String>,
}

impl CheckedTable {
    pub(super) fn new(from: &TableId, outputs: &[Arc<TableSchema>]) -> Self {
        let target = |schema: &Arc<TableSchema>| CheckedTarget {
            table: schema.table.to_string(),
            columns: schema.columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect(),
            key: schema.key_columns().map(|column| column.name.to_string()).collect(),
        };
        CheckedTable { from: from.to_string(), to: outputs.iter().map(target).collect() }
    }
}

impl CheckedLine {
    pub(super) fn new(line: &PlannedLine, tables: Vec<CheckedTable>, lineage: Vec<TableLineage>) -> Self {
        CheckedLine {
            pipeline: line.pipeline.clone(),
            id: line.spec.pipeline.to_string(),
            source: line.source.address(),
            target: line.target.address(),
            tables,
            lineage,
        }
    }
}

impl Report {
    pub(super) fn new(
        file: &Path,
        findings: Vec<Finding>,
        lines: Vec<CheckedLine>,
        line_of: impl Fn(&str) -> Option<u64>,
    ) -> Report {
        let mut findings: Vec<Located> =
            findings.into_iter().map(|finding| Located { line: line_of(&finding.path), finding }).collect();
        findings.sort_by(|a, b| {
            let rank = |found: &Located| (std::cmp::Reverse(found.finding.severity), found.line.unwrap_or(0));
            rank(a).cmp(&rank(b)).then_with(|| a.finding.path.cmp(&b.finding.path))
        });
        findings.dedup();
        let ok = findings.iter().all(|found| found.finding.severity != Severity::Error);
        Report { file: file.display().to_string(), ok, findings, lines }
    }

    /// The exit code: 0 when there is no error, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.ok)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Located { finding, line } in &self.findings {
            match line {
                Some(line) => writeln!(f, "{}:{line}: {finding}", self.file)?,
                None => writeln!(f, "{}: {finding}", self.file)?,
            }
        }
        for line in &self.lines {
            writeln!(f, "{}: {} -> {}", line.id, line.source, line.target)?;
            for table in &line.tables {
                for to in &table.to {
                    writeln!(
                        f,
                        "  {} -> {} ({}), key {}",
                        table.from,
                        to.table,
                        to.columns.join(", "),
                        to.key.join(", ")
                    )?;
                }
            }
            line.lineage.iter().try_for_each(|lineage| write_lineage(f, lineage))?;
        }
        let count =
            |severity| self.findings.iter().filter(|found| found.finding.severity == severity).count();
        match (count(Severity::Error), count(Severity::Warning)) {
            (0, 0) => write!(f, "all good"),
            (0, warnings) => write!(f, "good, with {warnings} warning{}", plural(warnings)),
            (errors, warnings) => {
                write!(f, "{errors} error{}, {warnings} warning{}", plural(errors), plural(warnings))
            }
        }
    }
}

fn write_lineage(f: &mut fmt::Formatter<'_>, lineage: &TableLineage) -> fmt::Result {
    for step in &lineage.steps {
        write!(f, "    {} by {}@{}:", lineage.table, step.plugin, step.digest.short())?;
        let Some(plan) = &step.plan else {
            writeln!(f, " not interested")?;
            continue;
        };
        let written = |new: bool| -> Vec<String> {
            plan.writes.iter().filter(|column| column.new == new).map(|column| column.name.clone()).collect()
        };
        let renamed: Vec<String> = plan.renames.iter().map(|(old, new)| format!("{old} to {new}")).collect();
        for (word, names) in [
            ("reads", &plan.reads),
            ("writes", &written(false)),
            ("adds", &written(true)),
            ("renames", &renamed),
            ("drops", &plan.drops),
            ("routes to", &plan.routes),
        ] {
            if !names.is_empty() {
                write!(f, " {word} {};", names.join(", "))?;
            }
        }
        writeln!(f, "{}", if plan.selects { " may leave rows out" } else { "" })?;
    }
    Ok(())
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
