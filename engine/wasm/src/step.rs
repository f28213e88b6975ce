//! One step of a table's chain: a plugin, opened on the table's shape at that point, and its call.

use std::sync::Arc;

use sluice_types::{Change, Error, ErrorKind, Event, Finding, Reason, Result, Row};

use crate::contract::{Batch, Column, Plan, TableInfo};
use crate::inspect::StepLineage;
use crate::instance::{Instance, Instances, OpenFailed};
use crate::lift::{self, Answer, Defect};
use crate::limits::{IMAGES_PER_CALL, INPUT_SHARE};
use crate::lower::{Columns, Excluded, Images, InputLimits, Misfit, image_count, rows};
use crate::pairing::{self, Reshaped, pad};
use crate::plan::{self, CheckedPlan, StepInput};
use crate::plugin::Plugin;
use crate::spec::StepSpec;

/// A step's configuration and the version of its plugin.
#[derive(Clone)]
pub(crate) struct StepVersion {
    pub(crate) spec: Arc<StepSpec>,
    pub(crate) plugin: Arc<Plugin>,
}

/// A plugin opened on a table.
pub(crate) struct Step {
    version: StepVersion,
    input: StepInput,
    /// `None`: the plugin is not interested in this table.
    plan: Option<CheckedPlan>,
    handle: u32,
    /// The instance that knows the handle.
    generation: u64,
    /// Where its routes begin among those of the chain.
    route_base: u16,
    columns: Columns,
    images: Images,
}

/// A batch on its way through a chain. Nothing is lost on the way: what leaves `events` goes to `kept`.
pub(crate) struct Flow {
    pub(crate) events: Vec<Event>,
    /// Of which event that was handed over each is; `None`: of the one at the same place.
    pub(crate) origins: Option<Vec<u32>>,
    /// The route of each event, as a number of the chain's; `None`: all to the default.
    pub(crate) routes: Option<Vec<u16>>,
    /// Events as they were before a step dropped, rejected or rebuilt them, the earliest first.
    pub(crate) kept: Vec<(u32, Event)>,
    pub(crate) rejected: Vec<(u32, Reason)>,
    /// How many events there were.
    pub(crate) handed_over: usize,
}

impl Flow {
    pub(crate) fn new(events: Vec<Event>) -> Flow {
        let handed_over = events.len();
        Flow { events, origins: None, routes: None, kept: Vec::new(), rejected: Vec::new(), handed_over }
    }

    fn origin(&self, index: usize) -> u32 {
        self.origins.as_ref().map_or(index as u32, |origins| origins[index])
    }

    fn route(&self, index: usize) -> u16 {
        self.routes.as_ref().map_or(0, |routes| routes[index])
    }
}

/// Why a call gave no answer.
enum CallFailed {
    /// More than may cross at once: try with fewer events.
    TooMuch,
    Error(Error),
}

impl From<Error> for CallFailed {
    fn from(error: Error) -> Self {
        CallFailed::Error(error)
    }
}

impl Step {
    /// Opens a plugin on a table and checks its plan.
    ///
    /// # Errors
    /// `plugin-config` or `plugin-refused` with findings; what happens when it breaks.
    pub(crate) fn open(
        version: StepVersion,
        input: StepInput,
        route_base: u16,
        instances: &mut Instances,
    ) -> Result<Step> {
        let handle = instances.new_handle();
        let (plan, generation) = open(&version, &input, handle, instances)?;
        let columns = plan.as_ref().map(Columns::new).unwrap_or_default();
        Ok(Step { version, input, plan, handle, generation, route_base, columns, images: Images::default() })
    }

    pub(crate) fn plan(&self) -> Option<&CheckedPlan> {
        self.plan.as_ref()
    }

    /// The table as it leaves.
    pub(crate) fn output(&self) -> &StepInput {
        self.plan.as_ref().map_or(&self.input, |plan| &plan.output)
    }

    pub(crate) fn lineage(&self) -> StepLineage {
        StepLineage {
            plugin: self.version.plugin.name.to_string(),
            digest: self.version.plugin.digest,
            imports: self.version.plugin.imports.clone(),
            plan: self.plan.as_ref().map(|plan| plan.report.clone()),
        }
    }

    /// Lets the plugin forget the table.
    pub(crate) fn close(&self, instances: &mut Instances) {
        instances.close(&self.version.plugin, &self.version.spec, self.handle, self.generation);
    }

    /// Applies the step. On an error the flow still holds every event, some of them changed.
    pub(crate) fn apply(&mut self, flow: &mut Flow, instances: &mut Instances) -> Result<()> {
        let Some(plan) = self.plan.take() else { return Ok(()) };
        let result = if plan.reshapes() {
            self.apply_reshaping(&plan, flow, instances)
        } else {
            self.apply_in_place(&plan, flow, instances)
        };
        self.plan = Some(plan);
        result
    }

    /// The rows stay where they are and get their new values.
    fn apply_in_place(
        &mut self,
        plan: &CheckedPlan,
        flow: &mut Flow,
        instances: &mut Instances,
    ) -> Result<()> {
        let mut excluded = Excluded::new();
        let mut start = 0;
        while start < flow.events.len() {
            let (length, answer, out) = self.call_some(plan, &flow.events[start..], instances)?;
            let chunk = &mut flow.events[start..start + length];
            self.write_back(plan, chunk, &answer, &out)?;
            excluded.extend(out.into_iter().map(|(index, reason)| (start as u32 + index, reason)));
            start += length;
        }
        if !excluded.is_empty() {
            remove(flow, excluded);
        }
        Ok(())
    }

    fn write_back(
        &self,
        plan: &CheckedPlan,
        events: &mut [Event],
        answer: &Answer,
        out: &Excluded,
    ) -> Result<()> {
        let mut image = 0;
        let mut next_sent = self.images.events.iter().peekable();
        for (index, event) in (0u32..).zip(events) {
            // Rejected by the plugin: it was sent, so its images count.
            let sent = next_sent.next_if(|at| **at == index).is_some();
            if !sent {
                continue;
            }
            while next_sent.next_if(|at| **at == index).is_some() {}
            if out.contains_key(&index) {
                image += image_count(event, plan.before_images);
                continue;
            }
            let mut write = |row: &mut Row| {
                image += 1;
                answer.push(plan, row, image - 1)
            };
            match &mut event.change {
                Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => write(row),
                Change::Update { before, after } => match before {
                    Some(before) if plan.before_images => write(before).and_then(|()| write(after)),
                    Some(before) => {
                        pad(before, plan);
                        write(after)
                    }
                    None => write(after),
                },
                Change::Truncate => Ok(()),
            }
            .map_err(|defect| self.output_error(defect))?;
        }
        Ok(())
    }

    /// Images may go, come and change their kind.
    fn apply_reshaping(
        &mut self,
        plan: &CheckedPlan,
        flow: &mut Flow,
        instances: &mut Instances,
    ) -> Result<()> {
        let mut rest = std::mem::take(&mut flow.events);
        let mut done = Flow::new(Vec::with_capacity(rest.len()));
        let (mut origins, mut routes) = (Vec::with_capacity(rest.len()), Vec::with_capacity(rest.len()));
        let mut start = 0;
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            let (length, answer, out) = match self.call_some(plan, &rest, instances) {
                Ok(called) => called,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            let after = rest.split_off(length);
            let chunk = std::mem::replace(&mut rest, after);
            let unsent: Vec<bool> = self.unsent(length, &chunk, plan);
            let mut reshaped = Reshaped::default();
            let images = &self.images;
            let sent = |index: u32| !unsent[index as usize];
            let outcome = pairing::reshape(
                chunk,
                images,
                &answer,
                plan,
                sent,
                |index| out.contains_key(&index),
                &mut reshaped,
            );
            result = outcome.map_err(|defect| self.output_error(defect));
            for (index, route, event) in reshaped.events {
                let at = start + index as usize;
                origins.push(flow.origin(at));
                // No overflow: the chain counted its routes when it was opened.
                routes.push(if route == 0 { flow.route(at) } else { self.route_base + route });
                done.events.push(event);
            }
            let kept = reshaped.kept.into_iter();
            done.kept.extend(kept.map(|(index, event)| (flow.origin(start + index as usize), event)));
            let rejected = out.into_iter();
            done.rejected
                .extend(rejected.map(|(index, reason)| (flow.origin(start + index as usize), reason)));
            start += length;
        }
        // After an error: what was not reached is kept too.
        done.kept.extend(rest.into_iter().enumerate().map(|(at, event)| (flow.origin(start + at), event)));
        flow.events = done.events;
        flow.kept.extend(done.kept);
        flow.rejected.extend(done.rejected);
        flow.origins = Some(origins);
        flow.routes = (flow.routes.is_some() || !plan.routes.is_empty()).then_some(routes);
        result
    }

    /// Which events of a call had images but were not sent.
    fn unsent(&self, length: usize, chunk: &[Event], plan: &CheckedPlan) -> Vec<bool> {
        let mut unsent: Vec<bool> =
            chunk.iter().take(length).map(|event| image_count(event, plan.before_images) > 0).collect();
        for &index in &self.images.events {
            unsent[index as usize] = false;
        }
        unsent
    }

    /// Calls the plugin with as many of the first events as may cross at once. Says how many, and which are rejected.
    fn call_some(
        &mut self,
        plan: &CheckedPlan,
        events: &[Event],
        instances: &mut Instances,
    ) -> Result<(usize, Answer, Excluded)> {
        let mut images = 0;
        let fits = |event: &&Event| {
            images += image_count(event, plan.before_images);
            images <= IMAGES_PER_CALL
        };
        let mut length = events.iter().take_while(fits).count().max(1);
        loop {
            match self.call(plan, &events[..length], instances) {
                Ok((answer, excluded)) => return Ok((length, answer, excluded)),
                Err(CallFailed::TooMuch) => length = (length / 2).max(1),
                Err(CallFailed::Error(error)) => return Err(error),
            }
        }
    }

    fn call(
        &mut self,
        plan: &CheckedPlan,
        events: &[Event],
        instances: &mut Instances,
    ) -> Result<(Answer, Excluded), CallFailed> {
        let mut excluded = self.lower(plan, events)?;
        if self.images.len() == 0 {
            return Ok((Answer::nothing(plan), excluded));
        }
        let StepVersion { spec, plugin } = self.version.clone();
        let output = {
            let instance = self.opened_instance(plan, instances)?;
            let columns: Vec<&Column> = self.columns.get().iter().collect();
            let batch =
                Batch { rows: self.images.len() as u32, kinds: &self.images.kinds, columns: &columns };
            instance.transform(self.handle, batch)
        };
        let output = match output {
            Ok(Ok(output)) => output,
            Ok(Err(text)) => {
                instances.recycle(&plugin, &spec);
                let error = Error::new(ErrorKind::PluginFailed, "the plugin answered that it failed");
                let text = crate::text::printable(&text, crate::limits::REJECT_BYTES);
                return Err(self.here(error.with_guest_text(text)).into());
            }
            Err(error) => {
                // Nothing in its store can be entered again.
                instances.discard(&plugin, &spec);
                return Err(self.here(error).into());
            }
        };
        instances.recycle(&plugin, &spec);
        let answer = lift::check(output, plan, &self.images).map_err(|defect| self.output_error(defect))?;
        for reject in &answer.rejects {
            let event = self.images.events[reject.row as usize];
            let column = reject.column.map(|column| plan.names[column as usize].to_string());
            excluded.entry(event).or_insert_with(|| {
                let text = crate::text::printable(&reject.message, crate::limits::REJECT_BYTES);
                self.reason(ErrorKind::PluginReject, "the plugin rejected the event", column, Some(text))
            });
        }
        Ok((answer, excluded))
    }

    /// Fills the columns from the events, less those that have a value which must not cross.
    fn lower(&mut self, plan: &CheckedPlan, events: &[Event]) -> Result<Excluded, CallFailed> {
        let limits = self.version.spec.limits;
        let total = if events.len() == 1 { usize::MAX } else { (limits.memory / INPUT_SHARE) as usize };
        let limits = InputLimits { value: limits.value as usize, total };
        let mut excluded = Excluded::new();
        let mut misfits = Vec::new();
        loop {
            self.images.collect(events, plan.before_images, &excluded);
            let rows = rows(events, &self.images, plan.before_images, &excluded);
            if !self.columns.fill(&rows, plan, limits, &mut misfits) {
                return Err(CallFailed::TooMuch);
            }
            if misfits.is_empty() {
                return Ok(excluded);
            }
            for misfit in misfits.drain(..) {
                let event = self.images.events[misfit.image];
                let reason = self.misfit(plan, &misfit);
                excluded.entry(event).or_insert(reason);
            }
        }
    }

    fn misfit(&self, plan: &CheckedPlan, misfit: &Misfit) -> Reason {
        let read = &plan.reads[misfit.column];
        let what = match misfit.kind {
            ErrorKind::ValueTooLarge => {
                format!(
                    "a value is longer than the {} bytes of `limits.value`",
                    self.version.spec.limits.value
                )
            }
            _ => format!("a value is not of the column's declared type, {}", read.ty),
        };
        self.reason(misfit.kind, &what, Some(read.name.to_string()), None)
    }

    fn reason(
        &self,
        kind: ErrorKind,
        what: &str,
        column: Option<String>,
        guest_text: Option<String>,
    ) -> Reason {
        let plugin = &self.version.plugin;
        Reason {
            code: kind.code().to_string(),
            what: what.to_string(),
            plugin: Some((plugin.name.to_string(), plugin.digest)),
            column,
            guest_text,
        }
    }

    /// The instance, with the table opened in it.
    fn opened_instance<'a>(
        &mut self,
        plan: &CheckedPlan,
        instances: &'a mut Instances,
    ) -> Result<&'a mut Instance> {
        let StepVersion { spec, plugin } = &self.version;
        let broke = |error| broke_on_open(error, spec);
        let generation = instances.lease(plugin, spec).map_err(broke)?.generation;
        if generation != self.generation {
            let (again, generation) = open(&self.version, &self.input, self.handle, instances)?;
            if again.as_ref() != Some(plan) {
                let what =
                    "the plugin answers with another plan than before for the same table and configuration";
                return Err(self.here(Error::new(ErrorKind::PluginRefused, what)));
            }
            self.generation = generation;
        }
        Ok(instances.lease(plugin, spec).map_err(broke)?.instance)
    }

    fn output_error(&self, Defect { what, column }: Defect) -> Error {
        let error =
            Error::new(ErrorKind::PluginOutput, format!("the plugin's answer is not allowed: {what}"));
        self.here(error.at(|place| place.column = column))
    }

    fn here(&self, error: Error) -> Error {
        let plugin = self.version.plugin.id();
        error.at_table(&self.input.schema.table).at(|place| place.plugin = Some(plugin))
    }
}

/// Opens a table under a handle; the plan and the instance's generation.
fn open(
    version: &StepVersion,
    input: &StepInput,
    handle: u32,
    instances: &mut Instances,
) -> Result<(Option<CheckedPlan>, u64)> {
    let StepVersion { spec, plugin } = version;
    let schema = &input.schema;
    let infos = plan::column_infos(schema);
    let infos: Vec<_> = infos.iter().collect();
    let table = TableInfo {
        database: &schema.database,
        kind: &schema.kind,
        schema: &schema.table.schema,
        name: &schema.table.name,
        version: schema.version,
        columns: &infos,
    };
    let lease = instances.lease(plugin, spec).map_err(|error| broke_on_open(error, spec))?;
    let generation = lease.generation;
    let opened: Result<Option<Plan>, OpenFailed> = lease.instance.open(handle, &table, &spec.config);
    let failed = |kind: ErrorKind, what: &str, findings: Vec<Finding>| {
        Error::findings(kind, format!("plugin {}: {what}", spec.plugin), findings)
            .at_table(&schema.table)
            .at(|place| place.plugin = Some(plugin.id()))
    };
    let plan = match opened {
        Ok(None) => return Ok((None, generation)),
        Ok(Some(plan)) => plan,
        Err(OpenFailed::Config(errors)) => {
            let findings = plan::config_findings(spec, errors);
            return Err(failed(ErrorKind::PluginConfig, "its configuration is refused", findings));
        }
        Err(OpenFailed::Broke(error)) => {
            instances.discard(plugin, spec);
            return Err(broke_on_open(error, spec));
        }
    };
    match plan::check(plan, input, spec) {
        Ok(plan) => Ok((Some(plan), generation)),
        Err(findings) => {
            Err(failed(ErrorKind::PluginRefused, "its plan for this table can't be used", findings))
        }
    }
}

/// A plugin that breaks before it has seen a row is no fault of an event: the pipeline pauses, nothing becomes a dead letter.
fn broke_on_open(error: Error, spec: &StepSpec) -> Error {
    let what = format!("plugin {} broke when it was opened: {}", spec.plugin, error.what());
    let finding = Finding::error(
        ErrorKind::PluginInvalid,
        &spec.path,
        &what,
        error.remedy_text().unwrap_or("Tell its author"),
    );
    let place = error.place().clone();
    Error::findings(ErrorKind::PluginInvalid, what, vec![finding]).at(|to| *to = place)
}

/// Takes rejected events out of a flow.
fn remove(flow: &mut Flow, excluded: Excluded) {
    let events = std::mem::take(&mut flow.events);
    let (mut origins, mut routes) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
    let mut excluded = excluded.into_iter().peekable();
    for (index, event) in events.into_iter().enumerate() {
        let origin = flow.origin(index);
        match excluded.next_if(|(at, _)| *at as usize == index) {
            Some((_, reason)) => {
                flow.kept.push((origin, event));
                flow.rejected.push((origin, reason));
            }
            None => {
                routes.push(flow.route(index));
                origins.push(origin);
                flow.events.push(event);
            }
        }
    }
    flow.origins = Some(origins);
    flow.routes = flow.routes.is_some().then_some(routes);
}
