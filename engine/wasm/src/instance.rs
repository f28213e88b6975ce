//! A plugin at work: one instance in a store of its own.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_types::{Digest, Error, ErrorKind, Result};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::contract::{Batch, ConfigError, Output, Plan, TableInfo, TransformPlugin, TransformPluginPre};
use crate::hosted::{Caller, Hosted};
use crate::limits::{Limiter, MemoryExceeded, OPEN_MS, TICK};
use crate::plugin::Plugin;
use crate::spec::{Grants, StepLimits, StepSpec};

/// A live instance. After a trap nothing in its store can be entered again, so it is thrown away whole.
pub(crate) struct Instance {
    store: Store<Hosted>,
    guest: TransformPlugin,
    plugin: Arc<Plugin>,
    limits: StepLimits,
    memory_at_start: u64,
}

/// Why `open` gave no plan.
pub(crate) enum OpenFailed {
    /// The plugin does not like its configuration.
    Config(Vec<ConfigError>),
    /// It broke.
    Broke(Error),
}

impl Instance {
    /// One that nobody grants anything: enough to ask it what it is.
    pub(crate) fn alone(plugin: &Arc<Plugin>) -> Result<Instance> {
        Instance::new(plugin, StepLimits::default(), &Arc::default(), &Arc::from(""))
    }

    fn new(
        plugin: &Arc<Plugin>,
        limits: StepLimits,
        grant: &Arc<Grants>,
        pipeline: &Arc<str>,
    ) -> Result<Instance> {
        let caller =
            || Caller { pipeline: pipeline.clone(), plugin: plugin.name.to_string(), grant: grant.clone() };
        match plugin.pooled() {
            Some(pre) => match Instance::from(pre, plugin, limits, caller()) {
                Err(why) if pool_is_short(&why) => {
                    tracing::debug!(plugin = %plugin.id(), %why, "not from the pool");
                    Instance::from(plugin.on_demand()?, plugin, limits, caller())
                }
                made => made,
            },
            None => Instance::from(plugin.on_demand()?, plugin, limits, caller()),
        }
        .map_err(|why| broke(&why, plugin, &limits, "starting"))
    }

    fn from(
        pre: &TransformPluginPre<Hosted>,
        plugin: &Arc<Plugin>,
        limits: StepLimits,
        caller: Caller,
    ) -> wasmtime::Result<Instance> {
        let mut store = Store::new(pre.engine(), Hosted::new(Limiter::new(limits.memory), caller));
        store.limiter(|hosted| &mut hosted.limiter);
        store.set_hostcall_fuel(usize::try_from(limits.output).unwrap_or(usize::MAX));
        store.set_epoch_deadline(ticks(OPEN_MS));
        let _running = plugin.engine.ticker.running();
        let guest = pre.instantiate(&mut store)?;
        let memory_at_start = store.data().limiter.used();
        drop(_running);
        Ok(Instance { store, guest, plugin: plugin.clone(), limits, memory_at_start })
    }

    /// Asks the plugin what it is.
    pub(crate) fn describe(&mut self) -> Result<(String, String, String, String)> {
        let info = self.call(OPEN_MS, "describing itself", |guest, store| {
            guest.sluice_plugin_transformer().call_describe(store)
        })?;
        Ok((info.name, info.version, info.summary, info.config_schema))
    }

    /// Opens a table under a handle.
    pub(crate) fn open(
        &mut self,
        handle: u32,
        table: &TableInfo<'_>,
        config: &str,
    ) -> Result<Option<Plan>, OpenFailed> {
        self.call(OPEN_MS, "opening a table", |guest, store| {
            guest.sluice_plugin_transformer().call_open(store, handle, table.clone(), config)
        })
        .map_err(OpenFailed::Broke)?
        .map_err(OpenFailed::Config)
    }

    /// Closes a handle.
    pub(crate) fn close(&mut self, handle: u32) -> Result<()> {
        self.call(OPEN_MS, "closing a table", |guest, store| {
            guest.sluice_plugin_transformer().call_close(store, handle)
        })
    }

    /// Transforms a batch. The inner error is the plugin's own text: data.
    pub(crate) fn transform(&mut self, handle: u32, batch: Batch<'_>) -> Result<Result<Output, String>> {
        self.call(self.limits.batch_ms, "transforming a batch", |guest, store| {
            guest.sluice_plugin_transformer().call_transform(store, handle, batch)
        })
    }

    fn call<T>(
        &mut self,
        limit_ms: u64,
        doing: &'static str,
        call: impl FnOnce(&TransformPlugin, &mut Store<Hosted>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        let _running = self.plugin.engine.ticker.running();
        self.store.set_epoch_deadline(ticks(limit_ms));
        call(&self.guest, &mut self.store).map_err(|why| broke(&why, &self.plugin, &self.limits, doing))
    }

    /// Whether it holds so much memory that a new instance is due: guests never give memory back.
    fn is_bloated(&self) -> bool {
        let used = self.store.data().limiter.used();
        used > self.limits.memory / 2 && used > self.memory_at_start * 2
    }
}

fn ticks(ms: u64) -> u64 {
    // The first tick may come at once, so one more.
    ms.div_ceil(TICK.as_millis() as u64).saturating_add(1)
}

/// Whether the pool, not the plugin, is the reason.
fn pool_is_short(why: &wasmtime::Error) -> bool {
    why.downcast_ref::<PoolConcurrencyLimitError>().is_some()
        || !(why.is::<Trap>() || why.is::<MemoryExceeded>()) && format!("{why:#}").contains("limit")
}

/// Classifies a failure of a call. Nothing that the guest wrote is in the error.
fn broke(why: &wasmtime::Error, plugin: &Plugin, limits: &StepLimits, doing: &'static str) -> Error {
    let error = if let Some(exceeded) = why.downcast_ref::<MemoryExceeded>() {
        let what = format!("the plugin asked for more than {} bytes of memory while {doing}", exceeded.limit);
        Error::new(ErrorKind::PluginMemory, what).remedy("Raise `limits.memory` of the step if it needs it")
    } else {
        match why.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => {
                Error::new(ErrorKind::PluginTimeout, format!("the plugin was out of time while {doing}"))
                    .remedy(format!(
                        "Raise `limits.batch_ms` of the step (now {}) if it needs it",
                        limits.batch_ms
                    ))
            }
            Some(trap) => {
                Error::new(ErrorKind::PluginTrap, format!("the plugin trapped while {doing}: {trap}"))
            }
            // What can't be lifted: wasmtime names the rule that was broken, never the contents.
            None if format!("{why:?}").contains("fuel allocated for hostcalls") => {
                let what = format!("the plugin answered more than {} bytes while {doing}", limits.output);
                Error::new(ErrorKind::PluginOutput, what)
                    .remedy("Raise `limits.output` of the step if it needs it")
            }
            None => {
                let rule = crate::text::printable(&why.root_cause().to_string(), 200);
                Error::new(
                    ErrorKind::PluginOutput,
                    format!("the plugin's answer is malformed while {doing}: {rule}"),
                )
            }
        }
    };
    error.at(|place| place.plugin = Some(plugin.id()))
}

/// The instances of one line: one per plugin version, limits and grant, shared by all tables.
pub(crate) struct Instances {
    pipeline: Arc<str>,
    slots: HashMap<Kind, Slot>,
    handles: u32,
}

/// Steps whose configuration differs only in what the plugin itself reads share an instance.
type Kind = (Digest, StepLimits, Arc<Grants>);

fn kind(plugin: &Plugin, spec: &StepSpec) -> Kind {
    (plugin.digest, spec.limits, spec.grant.clone())
}

#[derive(Default)]
struct Slot {
    instance: Option<Instance>,
    /// Counts the instances that there were: a handle is known to the one that it was opened in.
    generation: u64,
}

/// An instance and which one it is.
pub(crate) struct Lease<'a> {
    pub(crate) instance: &'a mut Instance,
    pub(crate) generation: u64,
}

impl Instances {
    /// None yet, for this pipeline.
    pub(crate) fn new(pipeline: &str) -> Instances {
        Instances { pipeline: pipeline.into(), slots: HashMap::new(), handles: 0 }
    }

    /// A handle that no table has yet.
    pub(crate) fn new_handle(&mut self) -> u32 {
        self.handles += 1;
        self.handles
    }

    /// The live instance, made where there is none.
    pub(crate) fn lease(&mut self, plugin: &Arc<Plugin>, spec: &StepSpec) -> Result<Lease<'_>> {
        let slot = self.slots.entry(kind(plugin, spec)).or_default();
        let instance = match slot.instance.take() {
            Some(live) => live,
            None => {
                slot.generation += 1;
                Instance::new(plugin, spec.limits, &spec.grant, &self.pipeline)?
            }
        };
        Ok(Lease { instance: slot.instance.insert(instance), generation: slot.generation })
    }

    /// What the live instances hold, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let live = self.slots.values().filter_map(|slot| slot.instance.as_ref());
        live.map(|instance| instance.store.data().limiter.used()).sum()
    }

    /// Throws the instance away, store and all.
    pub(crate) fn discard(&mut self, plugin: &Arc<Plugin>, spec: &StepSpec) {
        let slot = self.slots.get_mut(&kind(plugin, spec));
        if slot.is_some_and(|slot| slot.instance.take().is_some()) {
            plugin.counters.instances_discarded.add(1);
        }
    }

    /// Throws the instance away if it grew too large.
    pub(crate) fn recycle(&mut self, plugin: &Arc<Plugin>, spec: &StepSpec) {
        if let Some(slot) = self.slots.get_mut(&kind(plugin, spec)) {
            slot.instance.take_if(|instance| instance.is_bloated());
        }
    }

    /// Closes a handle where its instance still lives.
    pub(crate) fn close(&mut self, plugin: &Arc<Plugin>, spec: &StepSpec, handle: u32, generation: u64) {
        let Some(slot) = self.slots.get_mut(&kind(plugin, spec)) else { return };
        if slot.generation != generation {
            return;
        }
        if let Some(Err(why)) = slot.instance.as_mut().map(|instance| instance.close(handle)) {
            tracing::warn!(%why, "a plugin broke while it closed a table: a new instance takes its place");
            slot.instance = None;
        }
    }
}
