//! Metrics: workers count in shards of their own, control adds them up when Prometheus asks.
//!
//! A shared counter costs 205 ns under two threads and a look-up by label 564, a cell of one's own 2 (DESIGN.md
//! section 6): so each worker has a [`Shard`] whose series were laid out beforehand by a [`Layout`], and calls them by
//! number. [`Telemetry`] owns the shards, holds what concerns the whole process, and gathers everything through the
//! `prometheus` crate.

mod count;
mod family;
mod gather;
mod histogram;
mod layout;
mod shard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};

use self::count::{Codes, Count};
use self::gather::Gather;
use self::histogram::Bounds;
pub use self::layout::{BUCKETS, Backend, Layout, Listener, NO_ROUTE};
pub use self::shard::{Closed, Finished, Shard};

/// The content type of [`Telemetry::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a backend's shared state says at this moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackendGauges {
    /// Attempts that have begun and not ended.
    pub in_flight: i64,
    /// Open connections, idle ones included.
    pub connections: i64,
    /// The weight in effect, slow start included.
    pub weight: f64,
}

/// Reads a backend's gauges; called at each scrape on a blocking thread.
pub type ReadBackend = Box<dyn Fn() -> BackendGauges + Send + Sync>;

/// Reads how long a worker has been busy since its start; called at each scrape on a blocking thread.
pub type ReadBusy = Box<dyn Fn() -> Duration + Send + Sync>;

/// All metrics of the process. Made by control at start; shared with the admin listener.
pub struct Telemetry {
    state: Arc<State>,
    registry: Registry,
}

/// What the collector reads.
struct State {
    layout: Layout,
    bounds: Bounds,
    shards: Vec<Arc<Shard>>,
    /// By backend; empty until registered, and then at 0.
    backends: Box<[OnceLock<ReadBackend>]>,
    /// By worker.
    busy: Box<[OnceLock<ReadBusy>]>,
    generation: AtomicU64,
    accepted: AtomicBool,
    /// Unix time of the last accepted configuration, in milliseconds.
    accepted_at: AtomicU64,
    panics: AtomicU64,
}

impl Telemetry {
    /// Every series of `layout` at 0, with one shard for each of `workers`.
    pub fn new(layout: Layout, workers: usize) -> Self {
        let bounds = Bounds::new(&layout.buckets);
        let state = Arc::new(State {
            shards: (0..workers).map(|_| Arc::new(Shard::new(&layout, &bounds))).collect(),
            backends: layout.backends.iter().map(|_| OnceLock::new()).collect(),
            busy: (0..workers).map(|_| OnceLock::new()).collect(),
            layout,
            bounds,
            generation: AtomicU64::new(0),
            accepted: AtomicBool::new(false),
            accepted_at: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        });
        let registry = Registry::new();
        for collector in [Box::new(Gather::new(Arc::clone(&state))) as _, Box::new(ProcessCollector::for_self()) as _] {
            registry.register(collector).expect("a new registry holds none of these names");
        }
        Self { state, registry }
    }

    /// The shard of `worker`, for that worker's thread alone to write.
    pub fn shard(&self, worker: usize) -> Arc<Shard> {
        Arc::clone(&self.state.shards[worker])
    }

    /// Where the gauges of a backend come from. Once each: a second call changes nothing.
    pub fn read_backend(&self, backend: usize, read: ReadBackend) {
        let _ = self.state.backends[backend].set(read);
    }

    /// Where a worker's busy time comes from. Once each: a second call changes nothing.
    pub fn read_busy(&self, worker: usize, read: ReadBusy) {
        let _ = self.state.busy[worker].set(read);
    }

    /// A configuration is in use from now on.
    pub fn config_accepted(&self, generation: u64, now: SystemTime) {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.state.generation.store(generation, Relaxed);
        self.state.accepted_at.store(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX), Relaxed);
        self.state.accepted.store(true, Relaxed);
    }

    /// A reload was refused; the configuration before it stays.
    pub fn config_refused(&self) {
        self.state.accepted.store(false, Relaxed);
    }

    /// Something panicked. From any thread, a panic hook included: no lock, no memory.
    pub fn panicked(&self) {
        self.state.panics.fetch_add(1, Relaxed);
    }

    /// Everything in Prometheus's text format 0.0.4. Takes about 10 ms with 1,000 backends (benches/metrics.rs): call
    /// it on a blocking thread.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("a registry leaves out families without samples, and a String takes every byte")
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("workers", &self.state.shards.len()).finish_non_exhaustive()
    }
}

impl State {
    /// Generation, whether the last one was accepted, and the Unix time of the last that was, in seconds.
    fn config(&self) -> (u64, bool, f64) {
        let at = self.accepted_at.load(Relaxed) as f64 / 1e3;
        (self.generation.load(Relaxed), self.accepted.load(Relaxed), at)
    }

    fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }
}
