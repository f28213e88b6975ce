//! Every limit of the host, by name, and the limiter that guards an instance's memory.

use std::fmt;
use std::time::Duration;

use wasmtime::ResourceLimiter;

/// The largest component that is read, in bytes. A Python guest is 18 MB.
pub(crate) const COMPONENT_BYTES: u64 = 64 << 20;
/// The period in which running guests are looked at: the resolution of `batch_ms`.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// What `describe`, `open` and an instance's start may take, in milliseconds (scripting guests need their time).
pub(crate) const OPEN_MS: u64 = 10_000;
/// The stack of a guest, in bytes.
pub(crate) const STACK_BYTES: usize = 512 << 10;
/// Elements of all tables of an instance together (a Python guest has some 20,000).
pub(crate) const TABLE_ELEMENTS: usize = 200_000;
/// Row images per guest call: guests never give memory back, and a deadline is per call.
pub(crate) const IMAGES_PER_CALL: usize = 4_096;
/// The share of an instance's memory that the columns of one call may fill: the guest copies them, grows buffers by doubling, and
/// answers out of the same memory.
pub(crate) const INPUT_SHARE: u64 = 16;
/// Row images that one call may answer with (fan-out).
pub(crate) const OUTPUT_IMAGES_PER_CALL: usize = 65_536;
/// Rejects per call, and the length of each message in bytes.
pub(crate) const REJECTS: usize = 1_000;
pub(crate) const REJECT_BYTES: usize = 1 << 10;
/// Columns that one plugin may write for one table.
pub(crate) const WRITTEN_COLUMNS: usize = 1_000;
/// What a host call may answer, in bytes.
pub(crate) const ANSWER_BYTES: usize = 128 << 20;
/// Lines that an instance may log in a period, and how long each may be, in characters.
pub(crate) const LOG_LINES: u32 = 10;
pub(crate) const LOG_PERIOD: Duration = Duration::from_secs(1);
pub(crate) const LOG_BYTES: usize = 1 << 10;
/// Routes of one plugin.
pub(crate) const ROUTES: usize = 1_000;
/// The longest name (column, route) that a plugin may make, in bytes.
pub(crate) const NAME_BYTES: usize = 255;
/// Configuration errors that are shown, and the length of each message in characters.
pub(crate) const CONFIG_ERRORS: usize = 100;
pub(crate) const MESSAGE_CHARS: usize = 500;
/// Bytes of compiled code that the cache keeps.
pub(crate) const CACHE_BYTES: u64 = 1 << 30;
/// Memory, CPU seconds and wall-clock seconds of the compiling child.
pub(crate) const COMPILE_MEMORY_BYTES: u64 = 4 << 30;
pub(crate) const COMPILE_CPU_SECS: u64 = 180;
pub(crate) const COMPILE_WALL_SECS: u64 = 600;
/// The largest compiled code that is taken from the child, in bytes.
pub(crate) const COMPILED_BYTES: u64 = 512 << 20;
/// Recent events kept per table to probe candidates with: how many, how many of one batch, and the weight of each in bytes.
pub(crate) const RECENT_EVENTS: usize = 32;
pub(crate) const RECENT_OF_BATCH: usize = 4;
pub(crate) const RECENT_BYTES: usize = 64 << 10;

/// An instance asked for more memory than `limits.memory`.
#[derive(Debug)]
pub(crate) struct MemoryExceeded {
    pub(crate) limit: u64,
}

impl fmt::Display for MemoryExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} bytes of memory were asked for", self.limit)
    }
}

impl std::error::Error for MemoryExceeded {}

/// Sums everything that an instance holds: wasmtime's own `StoreLimits` counts each memory by itself, and a component may have
/// several (I10).
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: u64,
    used: u64,
    last_growth: u64,
    table_elements: usize,
}

impl Limiter {
    pub(crate) fn new(limit: u64) -> Self {
        Limiter { limit, used: 0, last_growth: 0, table_elements: 0 }
    }

    /// Bytes of linear memory and tables.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    fn grow(&mut self, bytes: u64) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(bytes);
        if used > self.limit {
            return Err(wasmtime::Error::from(MemoryExceeded { limit: self.limit }));
        }
        self.used = used;
        self.last_growth = bytes;
        Ok(true)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current) as u64)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.used -= self.last_growth;
        self.last_growth = 0;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = desired.saturating_sub(current);
        self.table_elements = self.table_elements.saturating_add(elements);
        if self.table_elements > TABLE_ELEMENTS {
            return Err(wasmtime::Error::from(MemoryExceeded { limit: self.limit }));
        }
        self.grow(elements as u64 * size_of::<usize>() as u64)
    }

    fn instances(&self) -> usize {
        100
    }

    fn tables(&self) -> usize {
        100
    }

    fn memories(&self) -> usize {
        8
    }
}
