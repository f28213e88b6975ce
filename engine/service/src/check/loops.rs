//! Lines that feed each other: rows would go round for ever, since this version can't tell its own writes from others'.

use std::collections::{BTreeMap, BTreeSet};

use sluice_types::{ErrorKind, Finding, TableId};

use crate::config::Config;
use crate::config::lines::PlannedLine;

/// A table of a database; by the database's address, since two names may mean the same one.
type Place = (String, TableId);

pub(super) fn find(config: &Config, lines: &[PlannedLine]) -> Vec<Finding> {
    let mut next: BTreeMap<Place, BTreeSet<Place>> = BTreeMap::new();
    let mut writers: BTreeMap<Place, Vec<(String, String)>> = BTreeMap::new();
    let ends = |line: &PlannedLine| (line.source.address(), line.target.address());
    for line in lines {
        let (source, target) = ends(line);
        for route in &line.spec.tables {
            let (from, to) = ((source.clone(), route.from.clone()), (target.clone(), route.to.clone()));
            next.entry(from).or_default().insert(to.clone());
            writers.entry(to).or_default().push((line.pipeline.clone(), format!("{}.to", route.path)));
        }
    }
    let mut findings = Vec::new();
    for line in lines {
        let (source, target) = ends(line);
        for route in &line.spec.tables {
            let (from, to) = ((source.clone(), route.from.clone()), (target.clone(), route.to.clone()));
            if reaches(&next, &to, &from) {
                let what = format!(
                    "what is written to `{}` comes back to `{}`: changes would go round for ever",
                    to.1, from.1
                );
                let remedy = "leave one direction out: two-way pipelines are not built yet in this version";
                findings.push(Finding::error(ErrorKind::Config, format!("{}.to", route.path), what, remedy));
            }
        }
    }
    for ((_, table), paths) in writers.into_iter().filter(|(_, paths)| paths.len() > 1) {
        for (pipeline, path) in paths {
            if config.pipelines.get(&pipeline).is_some_and(|pipeline| pipeline.truncate.is_none()) {
                findings.push(Finding::warning(
                    "shared-target-table",
                    path,
                    format!("`{table}` is written by several lines"),
                    "make sure that their keys differ; a truncate pauses the line unless `truncate:` says otherwise",
                ));
            }
        }
    }
    findings
}

fn reaches(next: &BTreeMap<Place, BTreeSet<Place>>, from: &Place, to: &Place) -> bool {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(place) = waiting.pop() {
        if place == to {
            return true;
        }
        if seen.insert(place) {
            waiting.extend(next.get(place).into_iter().flatten());
        }
    }
    false
}
