//! From the source's tables to the target's: names, excluded columns, keys, and the chain of each table.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_types::ports::{Source, TargetTable, Transform};
use sluice_types::{
    Change, Error, ErrorKind, Event, Position, Result, SnapshotProgress, TableId, TableProgress, TableSchema,
};

use crate::feed::Unstable;
use crate::spec::{LineSpec, TableRoute, TruncatePolicy};

/// The tables of a line, their chains open.
pub(crate) struct Router {
    routes: Vec<Route>,
    by_id: HashMap<TableId, usize>,
    /// The route of the last event: the next one is likely of the same table.
    last: usize,
    truncate: TruncatePolicy,
}

struct Route {
    /// As the source has it, with the key that the line uses.
    source: Arc<TableSchema>,
    /// What the chain is given: the target's name, without excluded columns.
    routed: Arc<TableSchema>,
    /// What the chain makes of it.
    outputs: Vec<Arc<TableSchema>>,
    unstable: Vec<Arc<str>>,
    active: bool,
    path: String,
    /// [`TableProgress::since`].
    since: Option<Position>,
}

impl Router {
    /// Reads the schemas of the line's tables.
    pub async fn new(spec: &LineSpec, source: &mut dyn Source) -> Result<Self> {
        let tables: Vec<TableId> = spec.tables.iter().map(|route| route.from.clone()).collect();
        let schemas = source.schemas(&tables).await?;
        let routes: Vec<Route> = spec
            .tables
            .iter()
            .zip(schemas)
            .map(|(route, schema)| plan(route, schema))
            .collect::<Result<_>>()?;
        let by_id = tables.into_iter().enumerate().map(|(index, table)| (table, index)).collect();
        Ok(Router { routes, by_id, last: 0, truncate: spec.truncate })
    }

    /// Opens every table's chain. Says what the target needs.
    pub async fn open(&mut self, transform: &mut dyn Transform) -> Result<Vec<TargetTable>> {
        for route in &mut self.routes {
            let opened = transform.open(&route.source, &route.routed).await;
            let opened = opened.map_err(|error| error.at_table(&route.source.table))?;
            route.active = opened.active;
            route.unstable = opened.unstable;
            route.outputs =
                if opened.outputs.is_empty() { vec![route.routed.clone()] } else { opened.outputs };
            if let Some(keyless) = route.outputs.iter().find(|output| output.key.is_empty()) {
                let error = Error::new(ErrorKind::KeyMissing, "its rows can't be told apart in the target");
                let error = error.at_table(&keyless.table);
                return Err(error.remedy(format!("Name the key's columns in {}.key.", route.path)));
            }
        }
        Ok(self.targets())
    }

    /// The target tables as the chains now make them.
    pub fn targets(&self) -> Vec<TargetTable> {
        let mut targets: Vec<TargetTable> = vec![];
        for route in &self.routes {
            for schema in &route.outputs {
                let target = TargetTable { schema: schema.clone(), path: route.path.clone() };
                if !targets.iter().any(|known| known.schema == target.schema) {
                    targets.push(target);
                }
            }
        }
        targets
    }

    /// The columns in which two images of one row can't be compared, by target table.
    pub fn unstable(&self) -> Unstable {
        let mut unstable = HashMap::new();
        for route in self.routes.iter().filter(|route| !route.unstable.is_empty()) {
            for output in &route.outputs {
                unstable.insert(output.table.clone(), route.unstable.clone());
            }
        }
        Arc::new(unstable)
    }

    /// Where the rows of such source tables go if no plugin sends them elsewhere.
    pub fn defaults(&self, wanted: impl Fn(&TableId) -> bool) -> Vec<Arc<TableSchema>> {
        let routes = self.routes.iter().filter(|route| wanted(&route.source.table));
        routes.filter_map(|route| route.outputs.first().cloned()).collect()
    }

    /// The tables as the source has them, in the order of the configuration.
    pub fn sources(&self) -> Vec<Arc<TableSchema>> {
        self.routes.iter().map(|route| route.source.clone()).collect()
    }

    /// These source tables (all when `None`), and all that share a target table with one of them; and their target tables. To
    /// empty one of those means to read all of these again.
    pub fn together(&self, tables: Option<&[TableId]>) -> (Vec<TableId>, Vec<Arc<TableSchema>>) {
        let wanted = |route: &Route| tables.is_none_or(|tables| tables.contains(&route.source.table));
        let mut chosen: Vec<bool> = self.routes.iter().map(wanted).collect();
        let shares = |a: &Route, b: &Route| {
            a.outputs.iter().any(|one| b.outputs.iter().any(|other| one.table == other.table))
        };
        loop {
            let added = (0..self.routes.len()).find(|&new| {
                !chosen[new]
                    && (0..self.routes.len())
                        .any(|old| chosen[old] && shares(&self.routes[old], &self.routes[new]))
            });
            match added {
                Some(index) => chosen[index] = true,
                None => break,
            }
        }
        let of = || self.routes.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(route, _)| route);
        let mut targets: Vec<Arc<TableSchema>> = vec![];
        for output in of().flat_map(|route| &route.outputs) {
            if !targets.iter().any(|known| known.table == output.table) {
                targets.push(output.clone());
            }
        }
        (of().map(|route| route.source.table.clone()).collect(), targets)
    }

    /// Whether these are all of the line's tables.
    pub fn covers_all(&self, tables: &[TableId]) -> bool {
        self.routes.iter().all(|route| tables.contains(&route.source.table))
    }

    /// Takes over from where on each table was read anew.
    pub fn skip_older(&mut self, progress: &SnapshotProgress, here: &Position) {
        for route in &mut self.routes {
            let table = progress.tables.get(&route.source.table.to_string());
            route.since = table.and_then(|table| table.since.clone()).filter(|since| since > here);
        }
    }

    /// Whether any table was read anew.
    pub fn skips_older(&self) -> bool {
        self.routes.iter().any(|route| route.since.is_some())
    }

    /// Whether an event of this table at this place is older than all rows that were read of it since.
    pub fn is_older(&self, table: &TableId, position: &Position) -> bool {
        let route = self.by_id.get(table).and_then(|&index| self.routes.get(index));
        route.and_then(|route| route.since.as_ref()).is_some_and(|since| position <= since)
    }

    /// Whether any table's chain does anything.
    pub fn is_active(&self) -> bool {
        self.routes.iter().any(|route| route.active)
    }

    /// Sends an event on its way; `false`: a rule skips it.
    pub fn route(&mut self, event: &mut Event) -> Result<bool> {
        let same = self.routes.get(self.last).is_some_and(|route| Arc::ptr_eq(&event.table, &route.source));
        if !same {
            self.last = self.find(&event.table)?;
        }
        let Some(route) = self.routes.get(self.last) else { return Ok(false) };
        event.source = route.source.clone();
        event.table = route.routed.clone();
        match (&event.change, self.truncate) {
            (Change::Truncate, TruncatePolicy::Ignore) => Ok(false),
            (Change::Truncate, TruncatePolicy::Pause) => {
                let error = Error::new(ErrorKind::TruncateHeld, "the table was truncated at the source");
                Err(error.at_table(&route.source.table).remedy(
                    "Set `truncate: apply` to empty the target's table too, or `truncate: ignore`, then `sluice resume`.",
                ))
            }
            _ => Ok(true),
        }
    }

    fn find(&self, table: &TableSchema) -> Result<usize> {
        let known = self.by_id.get(&table.table).and_then(|&index| Some((index, self.routes.get(index)?)));
        let Some((index, route)) = known else {
            let error =
                Error::new(ErrorKind::Internal, "the source delivered a table that is not the line's");
            return Err(error.at_table(&table.table));
        };
        if table.columns != route.source.columns {
            let error = Error::new(ErrorKind::SchemaChanged, "the table has changed its shape");
            return Err(error.at_table(&route.source.table).remedy(
                "Bring the target's table and the configuration in line with it, then `sluice resume`.",
            ));
        }
        Ok(index)
    }
}

impl TableRoute {
    /// The two shapes in which a chain meets a table of this schema ([`Transform::open`]): as the source delivers it, with the key
    /// that the line uses; and with the target's name and without excluded columns.
    ///
    /// Errors: `config-invalid` for a column that is not there, `key-missing`.
    pub fn shapes(&self, schema: Arc<TableSchema>) -> Result<(Arc<TableSchema>, Arc<TableSchema>)> {
        plan(self, schema).map(|route| (route.source, route.routed))
    }
}

fn plan(route: &TableRoute, schema: Arc<TableSchema>) -> Result<Route> {
    let column = |name: &String| {
        schema.column_index(name).map(|index| index as u32).ok_or_else(|| {
            let what = format!("{} names a column that the table does not have: {name}", route.path);
            Error::new(ErrorKind::Config, what).at_table(&route.from)
        })
    };
    let source = match &route.key {
        Some(names) if schema.key.is_empty() => {
            let key = names.iter().map(column).collect::<Result<_>>()?;
            Arc::new(TableSchema { key, ..TableSchema::clone(&schema) })
        }
        _ => schema.clone(),
    };
    let excluded = route.exclude.iter().map(column).collect::<Result<Vec<u32>>>()?;
    let kept: Vec<u32> = (0..source.columns.len() as u32).filter(|index| !excluded.contains(index)).collect();
    let key = source.key.iter().map(|old| kept.iter().position(|index| index == old).map(|new| new as u32));
    let Some(key) = key.collect::<Option<Vec<u32>>>().filter(|key| !key.is_empty()) else {
        let error = Error::new(ErrorKind::KeyMissing, "the table has no key to tell its rows apart by");
        let remedy = format!("Give it a primary key, or name columns that are one in {}.key.", route.path);
        return Err(error.at_table(&route.from).remedy(remedy));
    };
    let columns = kept.iter().filter_map(|&index| source.columns.get(index as usize).cloned()).collect();
    let routed =
        Arc::new(TableSchema { table: route.to.clone(), columns, key, ..TableSchema::clone(&source) });
    Ok(Route {
        source,
        outputs: vec![routed.clone()],
        routed,
        unstable: vec![],
        active: false,
        path: route.path.clone(),
        since: None,
    })
}

/// Brings the tables of a snapshot's progress in line with the configuration: a table that is new is to be read (or, with
/// `snapshot: never`, taken to be complete), one that is gone is forgotten.
pub(crate) fn adopt(progress: &mut SnapshotProgress, tables: &[TableId], unread: &TableProgress) {
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    progress.tables.retain(|table, _| names.contains(table));
    progress.postponed.retain(|table, _| names.contains(table));
    for name in names {
        progress.tables.entry(name).or_insert_with(|| unread.clone());
    }
}
