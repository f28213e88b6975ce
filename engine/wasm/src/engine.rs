//! The wasmtime engines of a process and the clock that interrupts guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};

use sha2::{Digest as _, Sha256};
use sluice_types::{Error, ErrorKind, Result};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits::{STACK_BYTES, TABLE_ELEMENTS, TICK};

/// The engines: code compiled for one runs on both.
#[derive(Clone)]
pub(crate) struct Engine {
    /// Instances from a pool: cheap to make again after a trap. `None` where its address space can't be had.
    pub(crate) pooled: Option<wasmtime::Engine>,
    /// For components that need more than the pool's slots offer, and when the pool is full.
    pub(crate) on_demand: wasmtime::Engine,
    pub(crate) ticker: Arc<Ticker>,
}

impl Engine {
    pub(crate) fn new() -> Result<Engine> {
        let on_demand = on_demand()?;
        let mut config = config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        let pooled = match wasmtime::Engine::new(&config) {
            Ok(engine) => Some(engine),
            Err(why) => {
                tracing::warn!(%why, "no pool for plugin instances (is the address space limited?); going on without");
                None
            }
        };
        let engines = pooled.iter().chain([&on_demand]).cloned().collect();
        let ticker = Arc::new(Ticker::start(engines)?);
        Ok(Engine { pooled, on_demand, ticker })
    }
}

/// An engine without a pool: all that the compiling child needs.
pub(crate) fn on_demand() -> Result<wasmtime::Engine> {
    wasmtime::Engine::new(&config())
        .map_err(|why| Error::new(ErrorKind::Internal, "the WebAssembly engine can't be made").because(why))
}

/// What compiled code depends on: wasmtime's version, the configuration, and the CPU's features, as hexadecimal digits.
pub(crate) fn compatibility(engine: &wasmtime::Engine) -> String {
    struct Collect(Sha256);
    impl std::hash::Hasher for Collect {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut collect = Collect(Sha256::new());
    collect.0.update(concat!("sluice-wasm ", env!("CARGO_PKG_VERSION"), " ").as_bytes());
    collect.0.update(std::env::consts::ARCH.as_bytes());
    // The hash covers wasmtime's version, the target, every compiler flag with those of the CPU, and the wasm features.
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut collect);
    hex::encode(&collect.0.finalize()[..16])
}

fn config() -> Config {
    let mut config = Config::new();
    config
        // 2-4 times cheaper calls; guests that need component-model-async are refused.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        // The same input gives the same output on every machine (I9, I11).
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        // The host's threads belong to the line; a compile is off the hot path anyway.
        .generate_address_map(false);
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(1_000)
        .total_core_instances(4_000)
        .total_memories(1_000)
        .total_tables(4_000)
        // A stubbed Python guest has 38 core instances, QuickJS 3 memories.
        .max_core_instances_per_component(60)
        .max_memories_per_component(4)
        .max_tables_per_component(20)
        .max_tables_per_module(4)
        .max_memories_per_module(2)
        .table_elements(TABLE_ELEMENTS / 4)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .max_unused_warm_slots(16);
    pool
}

/// Moves the engines' epochs on while guests run, and sleeps while none does: an idle process isn't woken.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    stop: AtomicBool,
}

impl Ticker {
    fn start(engines: Vec<wasmtime::Engine>) -> Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        let run = move || {
            while !state.stop.load(Ordering::Acquire) {
                if state.running.load(Ordering::Acquire) == 0 {
                    thread::park();
                } else {
                    thread::sleep(TICK);
                    engines.iter().for_each(wasmtime::Engine::increment_epoch);
                }
            }
        };
        let handle = thread::Builder::new()
            .name("sluice-epoch".into())
            .spawn(run)
            .map_err(|why| Error::new(ErrorKind::Internal, "a thread can't be started").because(why))?;
        Ok(Ticker { shared, thread: handle.thread().clone() })
    }

    /// Time counts for guests until the guard is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        Running(self)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// A guest is running.
pub(crate) struct Running<'a>(&'a Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::AcqRel);
    }
}
