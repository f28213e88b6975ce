//! A loaded component: compiled, its imports checked, ready to be instantiated.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use sluice_types::{Digest, Error, ErrorKind, Result};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::cache::{CodeCache, Trusted};
use crate::compile::Compiler;
use crate::contract::{CONTRACT, TransformPluginPre, crypto, log};
use crate::engine::Engine;
use crate::host::Counters;
use crate::hosted::{self, Hosted};
use crate::limits::COMPONENT_BYTES;
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
    pooled: Option<TransformPluginPre<Hosted>>,
    on_demand: OnceLock<TransformPluginPre<Hosted>>,
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
        let imports = function_imports(engine, &component);
        check_imports(&imports)?;
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
    pub(crate) fn pooled(&self) -> Option<&TransformPluginPre<Hosted>> {
        self.pooled.as_ref()
    }

    /// How to make an instance outside of the pool; linked when first needed.
    pub(crate) fn on_demand(&self) -> Result<&TransformPluginPre<Hosted>> {
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

fn link(engine: &wasmtime::Engine, component: &Component) -> Result<TransformPluginPre<Hosted>> {
    // Nothing is linked but what a grant may allow, and each call looks at the grant again.
    let mut linker = Linker::<Hosted>::new(engine);
    let own = |why: wasmtime::Error| {
        Error::new(ErrorKind::Internal, "the host's interfaces can't be linked").because(why)
    };
    crypto::add_to_linker::<_, HasSelf<Hosted>>(&mut linker, |hosted| hosted).map_err(own)?;
    log::add_to_linker::<_, HasSelf<Hosted>>(&mut linker, |hosted| hosted).map_err(own)?;
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
fn function_imports(engine: &wasmtime::Engine, component: &Component) -> Vec<String> {
    let ty = component.component_type();
    ty.imports(engine)
        .filter(|(_, item)| match &item.ty {
            ComponentItem::ComponentInstance(instance) => {
                instance.exports(engine).any(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
            }
            ComponentItem::Type(_) => false,
            _ => true,
        })
        .map(|(name, _)| name.to_string())
        .collect()
}

/// What to do about an import that no grant allows.
fn remedy_of(import: &str) -> &'static str {
    match import {
        _ if ["lookup", "metrics"]
            .iter()
            .any(|name| import.starts_with(&format!("sluice:plugin/{name}"))) =>
        {
            "That host interface is not built yet in this version"
        }
        _ if import.starts_with("wasi:") => {
            "No grant gives a plugin files, network, clocks, randomness or environment: build it without WASI \
             (Rust: wasm32-unknown-unknown; Python: --stub-wasi)"
        }
        _ => "No grant offers it: remove the import",
    }
}

/// Refuses what can never be granted; what needs a grant is looked at where a step has one or has not.
fn check_imports(imports: &[String]) -> Result<()> {
    let Some(import) = imports.iter().find(|import| hosted::interface_of(import).is_none()) else {
        return Ok(());
    };
    let what = format!("it imports `{}`, which it was not granted", printable(import, 200));
    Err(Error::new(ErrorKind::PluginRefused, what).remedy(remedy_of(import)))
}
