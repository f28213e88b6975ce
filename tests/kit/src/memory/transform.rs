//! Chains of native closures, with versions that can be swapped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sluice_types::ports::{ApplyFailed, Opened, Rejection, Transform, Transformed};
use sluice_types::{
    Change, Column, ColumnType, Digest, Error, ErrorKind, Event, Reason, Result, Row, TableSchema, Value,
};

/// A condition on one value.
pub type Condition = fn(&Value) -> bool;

/// One step of a chain. A table that lacks the column is left alone by the step.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The column has another name from here on.
    Rename {
        /// Its name before.
        from: &'static str,
        /// Its name after.
        to: &'static str,
    },
    /// Only rows whose value meets the condition go on; an update over the border becomes an insert or a delete.
    Filter {
        /// The column.
        column: &'static str,
        /// The condition.
        keep: Condition,
    },
    /// Events whose image after meets the condition are rejected.
    Reject {
        /// The column.
        column: &'static str,
        /// The condition.
        refuse: Condition,
    },
    /// A batch with an image after that meets the condition fails as a whole, as a trap does.
    Trap {
        /// The column.
        column: &'static str,
        /// The condition.
        on: Condition,
    },
    /// A new column with the number of the version that made the row.
    Version {
        /// The column.
        column: &'static str,
    },
}

/// The version of the chain that is to run: durable, as the state of a plugin host is.
#[derive(Clone, Debug, Default)]
pub struct Promotions(Arc<AtomicU64>);

impl Promotions {
    /// A version has passed its checks: it takes over between two batches, and is what runs after a restart.
    pub fn promote(&self, version: u64) {
        self.0.store(version, Ordering::SeqCst);
    }

    /// The version that was promoted last.
    pub fn promoted(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The chains of a line: the same steps for each table.
pub struct Chains {
    steps: Vec<Step>,
    promotions: Promotions,
    running: u64,
    /// The shape in which a table's rows leave, by the shape in which they come.
    plans: HashMap<Arc<TableSchema>, Arc<TableSchema>>,
}

impl Chains {
    /// A chain of these steps, in the version that was promoted last.
    pub fn new(steps: Vec<Step>, promotions: Promotions) -> Self {
        let running = promotions.promoted();
        Chains { steps, promotions, running, plans: HashMap::new() }
    }

    /// The shape that rows of the shape `entry` leave in; new values go behind `slots`.
    pub fn output(&self, entry: &TableSchema, slots: usize) -> TableSchema {
        let mut out = entry.clone();
        let mut next = slots as u32;
        for step in &self.steps {
            match step {
                Step::Rename { from, to } => {
                    if let Some(at) = out.column_index(from) {
                        out.columns[at].name = (*to).into();
                    }
                }
                Step::Version { column } => {
                    let (slot, name, native) = (next, (*column).into(), "".into());
                    next += 1;
                    out.columns.push(Column { name, ty: ColumnType::Int64, native, nullable: true, slot });
                }
                _ => {}
            }
        }
        out
    }

    /// What the chain makes of one row of this shape, outside any line; `None` where a filter takes it away.
    pub fn row(&self, schema: &TableSchema, row: &Row) -> Option<Row> {
        let mut row = row.clone();
        self.keeps(schema, &row).then(|| {
            self.append(schema.slots(), &mut row);
            row
        })
    }

    /// Calls `look` with each step and the value that it looks at.
    fn values<'a>(
        &'a self,
        schema: &'a TableSchema,
        row: &'a Row,
    ) -> impl Iterator<Item = (&'a Step, &'a Value)> {
        let mut shape = schema.clone();
        self.steps.iter().filter_map(move |step| {
            let column = match step {
                Step::Rename { from, to } => {
                    if let Some(at) = shape.column_index(from) {
                        shape.columns[at].name = (*to).into();
                    }
                    return None;
                }
                Step::Filter { column, .. } | Step::Reject { column, .. } | Step::Trap { column, .. } => {
                    column
                }
                Step::Version { .. } => return None,
            };
            let at = shape.column_index(column)?;
            Some((step, row.get(shape.columns[at].slot)))
        })
    }

    fn keeps(&self, schema: &TableSchema, row: &Row) -> bool {
        self.values(schema, row).all(|(step, value)| match step {
            Step::Filter { keep, .. } => keep(value),
            _ => true,
        })
    }

    fn append(&self, slots: usize, row: &mut Row) {
        let versions = self.steps.iter().filter(|step| matches!(step, Step::Version { .. })).count();
        row.truncate(slots);
        for _ in 0..versions {
            row.push(Value::Int64(self.running as i64));
        }
    }

    /// Which step, if any, traps on or refuses the image.
    fn refusal(&self, schema: &TableSchema, row: &Row) -> Option<Step> {
        let mut values = self.values(schema, row);
        values.find_map(|(step, value)| match step {
            Step::Reject { refuse, .. } if refuse(value) => Some(*step),
            Step::Trap { on, .. } if on(value) => Some(*step),
            _ => None,
        })
    }

    fn applied(&self, mut event: Event) -> Result<Option<Event>, Box<Rejection>> {
        let Some(output) = self.plans.get(&event.table) else {
            let reason = reason(ErrorKind::Internal, "the table was not opened");
            return Err(Box::new(Rejection { event, reason }));
        };
        let refused = event.change.after().and_then(|row| self.refusal(&event.table, row));
        if let Some(Step::Reject { column, .. }) = refused {
            let reason =
                Reason { column: Some(column.to_string()), ..reason(ErrorKind::PluginReject, "refused") };
            return Err(Box::new(Rejection { event, reason }));
        }
        let schema = event.table.clone();
        let kept = |row: &Row| self.keeps(&schema, row);
        let changed = match &event.change {
            Change::Truncate => None,
            Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => {
                if !kept(row) {
                    return Ok(None);
                }
                None
            }
            Change::Update { before, after } => match (before.as_ref().map(kept), kept(after)) {
                (None | Some(true), true) => None,
                (Some(false), false) => return Ok(None),
                (Some(false), true) => Some(Change::Insert(after.clone())),
                (Some(true), false) => before.clone().map(Change::Delete),
                (None, false) => Some(Change::Delete(after.clone())),
            },
        };
        if let Some(change) = changed {
            let original = std::mem::replace(&mut event.change, change);
            event.original.get_or_insert(Box::new(original));
        }
        let slots = event.source.slots();
        event.change.images_mut().for_each(|row| self.append(slots, row));
        event.table = output.clone();
        Ok(Some(event))
    }
}

fn reason(kind: ErrorKind, what: &str) -> Reason {
    Reason { code: kind.code().into(), what: what.into(), plugin: None, column: None, guest_text: None }
}

#[async_trait]
impl Transform for Chains {
    async fn open(&mut self, source: &Arc<TableSchema>, entry: &Arc<TableSchema>) -> Result<Opened> {
        let output = Arc::new(self.output(entry, source.slots()));
        self.plans.insert(entry.clone(), output.clone());
        Ok(Opened { outputs: vec![output], unstable: Vec::new(), active: !self.steps.is_empty() })
    }

    async fn take_over(&mut self) -> Result<bool> {
        let promoted = self.promotions.promoted();
        Ok(std::mem::replace(&mut self.running, promoted) != promoted)
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<Transformed, ApplyFailed> {
        let traps = |event: &Event| {
            let step = event.change.after().and_then(|row| self.refusal(&event.table, row));
            matches!(step, Some(Step::Trap { .. }))
        };
        if events.iter().any(traps) {
            return Err(ApplyFailed {
                events,
                error: Error::new(ErrorKind::PluginTrap, "the chain trapped"),
            });
        }
        let mut out = Transformed::default();
        for event in events {
            match self.applied(event) {
                Ok(event) => out.events.extend(event),
                Err(rejection) => out.rejected.push(*rejection),
            }
        }
        Ok(out)
    }

    fn versions(&self) -> BTreeMap<Arc<str>, Digest> {
        BTreeMap::from([("chain".into(), Digest::of(&self.running.to_be_bytes()))])
    }
}
