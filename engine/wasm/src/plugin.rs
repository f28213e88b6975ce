//! A loaded component: compiled, its imports checked, ready to be instantiated.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use sluice_types::{Digest, Error, ErrorKind, Result};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use crate::cache::{CodeCache, Trusted};
use crate::compile::Compiler;
use crate::contract::{CONTRACT, TransformPluginPre};
use crate::engine::Engine;
use crate::host::Counters;
use crate::limits::{COMPONENT_BYTES, Limiter};
use crate::text::printable;

/// The world that transforms implement.
pub(crate) const WORLD: &str = "transform-plugin";

/// One version of a plugin.
pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
    pub(crate) imports: Vec<String>,
    pub(crate) engine: Engine,
    pub(crate) counters: Arc<Counters>,
    code: Trusted,
    pooled: Option<TransformPluginPre<Limiter>>,
    on_demand: OnceLock<TransformPluginPre<Limiter>>,
}

/// What turns bytes into plugins.
pub(crate) struct Loader {
    pub(crate) engine: Engine,
    pub(crate) cache: CodeCache,
    pub(crate) compiler: Compiler,
    pub(crate) counters: Arc<Counters>,
}

impl Loader {
    /// Compiles a component, or takes its code from the cache, and checks what it imports and exports.
    pub(crate) async fn load(&self, name: &str, bytes: Bytes) -> Result<Arc<Plugin>> {
        let digest = Digest::of(&bytes);
        self.load_digest(name, digest, bytes)
            .await
            .map(Arc::new)
            .map_err(|error| error.at(|place| place.plugin = Some(format!("{name}@{digest}"))))
    }

    async fn load_digest(&self, name: &str, digest: Digest, bytes: Bytes) -> Result<Plugin> {
        if bytes.len() as u64 > COMPONENT_BYTES {
            let what = format!("the file has {} bytes; the limit is {COMPONENT_BYTES}", bytes.len());
            return Err(Error::new(ErrorKind::PluginInvalid, what));
        }
        if let Some(code) = self.cache.load(&digest) {
            match self.link(name, digest, &bytes, code) {
                Ok(plugin) => {
                    self.counters.cache_hits.add(1);
                    return Ok(plugin);
                }
                // Code of another engine that passed for ours: compiled again below, which also says what is wrong.
                Err(why) => tracing::debug!(plugin = name, %why, "compiled code is not taken from the cache"),
            }
        }
        let started = Instant::now();
        let code = Trusted::just_compiled(self.compiler.compile(bytes.clone()).await?);
        self.counters.compiles.add(1);
        self.counters.compile_micros.add(started.elapsed().as_micros() as u64);
        self.cache.store(&digest, &code);
        self.link(name, digest, &bytes, code)
    }

    fn link(&self, name: &str, digest: Digest, bytes: &Bytes, code: Trusted) -> Result<Plugin> {
        let engine = self.engine.pooled.as_ref().unwrap_or(&self.engine.on_demand);
        let component = deserialize(engine, &code)?;
        check_imports(engine, &component)?;
        let imports = function_imports(engine, &component).map(|(import, _)| import).collect();
        let pre = link(engine, &component)?;
        let plugin = Plugin {
            name: name.into(),
            digest,
            bytes: bytes.clone(),
            imports,
            engine: self.engine.clone(),
            counters: self.counters.clone(),
            code,
            pooled: None,
            on_demand: OnceLock::new(),
        };
        if self.engine.pooled.is_some() {
            return Ok(Plugin { pooled: Some(pre), ..plugin });
        }
        // A new cell is empty.
        let _ = plugin.on_demand.set(pre);
        Ok(plugin)
    }
}

impl Plugin {
    /// How to make an instance from the pool; `None` when there is no pool.
    pub(crate) fn pooled(&self) -> Option<&TransformPluginPre<Limiter>> {
        self.pooled.as_ref()
    }

    /// How to make an instance outside of the pool; linked when first needed.
    pub(crate) fn on_demand(&self) -> Result<&TransformPluginPre<Limiter>> {
        if let Some(pre) = self.on_demand.get() {
            return Ok(pre);
        }
        let engine = &self.engine.on_demand;
        let pre = link(engine, &deserialize(engine, &self.code)?)?;
        Ok(self.on_demand.get_or_init(|| pre))
    }

    /// `name@digest`, as places have it: dead letters take name and digest from there.
    pub(crate) fn id(&self) -> String {
        format!("{}@{}", self.name, self.digest)
    }
}

/// Makes a component of compiled code.
fn deserialize(engine: &wasmtime::Engine, code: &Trusted) -> Result<Component> {
    // SAFETY: wasmtime runs these bytes as machine code, so they must be what its compiler made and nobody has changed since.
    // `Trusted` is made in two places only: from the output of our own compiler, and from a cache file whose MAC, made with a key of
    // the state that guests and plugin authors never see, has just been verified over these very bytes in memory.
    #[allow(unsafe_code)]
    let component = unsafe { Component::deserialize(engine, code.bytes()) };
    component
        .map_err(|why| Error::new(ErrorKind::Internal, "compiled code doesn't fit this engine").because(why))
}

fn link(engine: &wasmtime::Engine, component: &Component) -> Result<TransformPluginPre<Limiter>> {
    // Nothing is linked: a plugin has no way out of its sandbox but its answers.
    let linker = Linker::<Limiter>::new(engine);
    let invalid = |why: wasmtime::Error| {
        let what = format!("the component does not implement the world {WORLD} of sluice:plugin@{CONTRACT}");
        Error::new(ErrorKind::PluginInvalid, what)
            .because(printable(&format!("{why:#}"), 500))
            .remedy("Build it against the `wit` folder of this version")
    };
    let pre = linker.instantiate_pre(component).map_err(invalid)?;
    TransformPluginPre::new(pre).map_err(invalid)
}

/// Imports that bring functions or anything else but types.
fn function_imports<'a>(
    engine: &'a wasmtime::Engine,
    component: &'a Component,
) -> impl Iterator<Item = (String, &'static str)> {
    let ty = component.component_type();
    let imports: Vec<(String, &'static str)> = ty
        .imports(engine)
        .filter(|(_, item)| match &item.ty {
            ComponentItem::ComponentInstance(instance) => {
                instance.exports(engine).any(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
            }
            ComponentItem::Type(_) => false,
            _ => true,
        })
        .map(|(name, _)| (name.to_string(), grant_of(name)))
        .collect();
    imports.into_iter()
}

/// What the configuration would have to grant for an import.
fn grant_of(import: &str) -> &'static str {
    let interface = import.strip_prefix("sluice:plugin/").and_then(|rest| rest.split('@').next());
    match interface {
        Some("log") => {
            "`grant: { log: {} }` would allow it, but host interfaces are not built yet in this version"
        }
        Some("metrics") => {
            "`grant: { metrics: {} }` would allow it, but host interfaces are not built yet in this version"
        }
        Some("lookup") => {
            "`grant: { lookup: { tables: [...] } }` would allow it, but host interfaces are not built yet in this version"
        }
        Some("crypto") => {
            "`grant: { crypto: { keys: [...], ops: [...] } }` would allow it, but host interfaces are not built yet in this version"
        }
        _ if import.starts_with("wasi:") => {
            "No grant gives a plugin files, network, clocks, randomness or environment: build it without WASI \
             (Rust: wasm32-unknown-unknown; Python: --stub-wasi)"
        }
        _ => "No grant offers it: remove the import",
    }
}

fn check_imports(engine: &wasmtime::Engine, component: &Component) -> Result<()> {
    let Some((import, grant)) = function_imports(engine, component).next() else { return Ok(()) };
    let import = printable(&import, 200);
    Err(Error::new(ErrorKind::PluginRefused, format!("it imports `{import}`, which it was not granted"))
        .remedy(grant))
}
