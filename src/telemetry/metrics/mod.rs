//! Metrics: workers count in cells of their own, control adds them up when Prometheus asks.
//!
//! A shared counter costs 205 ns under two threads and a look-up by label 564, a cell of one's own 2 (DESIGN.md
//! section 6). So a plan asks [`Telemetry`] once for a **handle** by name, and workers count in the handle, each in
//! cells that nobody else writes.
//!
//! A series exists while somebody holds its handle. Of two plans that know the same name both get the same handle: its
//! counts go on over a reload, and an exchange that still holds the old plan counts in the right cells. When the last
//! holder of a name is gone, so is the series; should the name come again, it begins at 0.

mod backend;
mod certificate;
mod count;
mod family;
mod gather;
mod histogram;
mod limit;
mod listener;
mod live;
mod names;
mod page;
mod pool;
mod reported;
mod resolution;
mod route;
#[cfg(test)]
mod tests;

use std::fmt;
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};

pub use self::backend::{BackendGauges, BackendMetrics, Ejection, ReadBackend, State};
pub use self::certificate::CertificateMetrics;
pub use self::histogram::BUCKETS;
use self::histogram::Bounds;
pub use self::limit::LimitMetrics;
pub use self::listener::{Closed, ListenerMetrics, TlsFailure, WorkerMetrics};
pub use self::live::{BackendTraffic, Times, Traffic};
use self::names::{Names, labels};
use self::page::Page;
pub use self::pool::{PoolGauges, PoolMetrics, ReadPool, Retry, Stuck};
pub use self::reported::ReportedLoad;
pub use self::resolution::Resolution;
pub use self::route::{Copied, RequestMetrics, RouteMetrics};
use super::{locked, trace::Spans, unix_millis};

/// The content type of [`Telemetry::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Up to this many backends have histograms when `metrics.backend_histograms` is `auto`.
const AUTO_HISTOGRAMS: usize = 1_000;

/// Reads how long a worker has been busy since its start; called at each scrape on a blocking thread.
pub type ReadBusy = Box<dyn Fn() -> Duration + Send + Sync>;

/// Reads how many lines of the access log were dropped; called at each scrape on a blocking thread.
pub type ReadDropped = Box<dyn Fn() -> u64 + Send + Sync>;

/// What a scrape is told of high-water marks.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// Bytes of memory that the process may have, as far as that is known.
    pub memory_limit: Option<u64>,
    /// Who is shed because of what is in flight, from 0, nobody, to 3, everybody.
    pub by_flight: u8,
    /// The same because of memory.
    pub by_memory: u8,
}

/// Reads that; called at each scrape on a blocking thread.
pub type ReadOverload = Box<dyn Fn() -> Overload + Send + Sync>;

/// All metrics of the process. Made by control at start; shared with the admin listener.
pub struct Telemetry {
    sources: Sources,
    /// What the operating system says of the process.
    process: Registry,
    /// How long the last text was, which the next one will be about as well.
    length: AtomicUsize,
}

/// What a scrape reads.
struct Sources {
    /// The failure words, by number.
    failures: &'static [&'static str],
    bounds: Arc<Bounds>,
    backend_histograms: Mutex<Option<bool>>,
    workers: Box<[Arc<WorkerMetrics>]>,
    /// By worker.
    busy: Box<[OnceLock<ReadBusy>]>,
    listeners: Names<ListenerMetrics>,
    routes: Names<RouteMetrics>,
    requests: Names<RequestMetrics>,
    pools: Names<PoolMetrics>,
    backends: Names<BackendMetrics>,
    reported: Names<ReportedLoad>,
    certificates: Names<CertificateMetrics>,
    limits: Names<LimitMetrics>,
    log_dropped: Mutex<Option<ReadDropped>>,
    overload: OnceLock<ReadOverload>,
    spans: OnceLock<Arc<Spans>>,
    generation: AtomicU64,
    accepted: AtomicBool,
    /// Unix time of the last accepted configuration, in milliseconds.
    accepted_at: AtomicU64,
    panics: AtomicU64,
    /// By outcome.
    resolutions: [AtomicU64; Resolution::WORDS.len()],
}

impl Telemetry {
    /// No names yet. `failures` are the failure words in the order of their numbers, and `buckets` the upper bounds of
    /// all histograms in seconds: cells are laid out by them, so another `metrics.buckets` needs a restart.
    pub fn new(failures: &'static [&'static str], buckets: &[f64], workers: usize) -> Self {
        let sources = Sources {
            failures,
            bounds: Arc::new(Bounds::new(buckets)),
            backend_histograms: Mutex::new(None),
            workers: iter::repeat_with(Arc::default).take(workers).collect(),
            busy: (0..workers).map(|_| OnceLock::new()).collect(),
            listeners: Names::new(),
            routes: Names::new(),
            requests: Names::new(),
            pools: Names::new(),
            backends: Names::new(),
            reported: Names::new(),
            certificates: Names::new(),
            limits: Names::new(),
            log_dropped: Mutex::new(None),
            overload: OnceLock::new(),
            spans: OnceLock::new(),
            generation: AtomicU64::new(0),
            accepted: AtomicBool::new(false),
            accepted_at: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            resolutions: Default::default(),
        };
        let process = Registry::new();
        process.register(Box::new(ProcessCollector::for_self())).expect("a new registry holds none of these names");
        Self { sources, process, length: AtomicUsize::new(0) }
    }

    /// `metrics.backend_histograms`: on, off, or `None` for auto, which is on while there are up to 1,000 backends.
    /// Decides for backends that are made afterwards; those that are there follow at the next scrape.
    pub fn set_backend_histograms(&self, on: Option<bool>) {
        *locked(&self.sources.backend_histograms) = on;
    }

    /// The connections of the worker with this number, for that worker alone to write.
    pub fn worker(&self, number: usize) -> Arc<WorkerMetrics> {
        Arc::clone(&self.sources.workers[number])
    }

    /// The listener of that name: the living one, or a new one at 0.
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        let workers = self.sources.workers.len();
        self.sources.listeners.handle(labels(&[("listener", name)]), |labels| ListenerMetrics::new(labels, workers))
    }

    /// The route of that name: the living one, or a new one at 0. `""` is for requests that no route matches.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        let Sources { bounds, failures, workers, .. } = &self.sources;
        let make = |labels| RouteMetrics::new(labels, bounds, failures.len(), workers.len());
        self.sources.routes.handle(labels(&[("route", name)]), make)
    }

    /// The requests of that listener and that route: the living ones, or new ones at 0.
    pub fn requests(&self, listener: &Arc<ListenerMetrics>, route: &Arc<RouteMetrics>) -> Arc<RequestMetrics> {
        let workers = self.sources.workers.len();
        let labels = format!("{},{}", listener.labels, route.labels).into();
        self.sources.requests.handle(labels, |labels| RequestMetrics::new(labels, workers))
    }

    /// The pool of that name: the living one, or a new one at 0.
    pub fn pool(&self, name: &str) -> Arc<PoolMetrics> {
        let Sources { pools, bounds, workers, .. } = &self.sources;
        pools.handle(labels(&[("pool", name)]), |labels| PoolMetrics::new(labels, bounds, workers.len()))
    }

    /// The backend of that name in that pool: the living one, or a new one at 0.
    pub fn backend(&self, pool: &str, name: &str) -> Arc<BackendMetrics> {
        let Sources { backends, bounds, workers, .. } = &self.sources;
        let has_histogram = self.sources.has_backend_histograms(backends.len() + 1);
        backends.handle(labels(&[("pool", pool), ("backend", name)]), |labels| {
            let backend = BackendMetrics::new(labels, bounds, workers.len());
            if has_histogram {
                backend.keep_times();
            }
            backend
        })
    }

    /// What that backend of that pool says of that metric: the living one, or one of which nothing has been said.
    pub fn reported(&self, pool: &str, backend: &str, metric: &str) -> Arc<ReportedLoad> {
        let labels = labels(&[("pool", pool), ("backend", backend), ("metric", metric)]);
        self.sources.reported.handle(labels, ReportedLoad::new)
    }

    /// The certificate of that name, its path as written: the living one, or a new one.
    pub fn certificate(&self, name: &str) -> Arc<CertificateMetrics> {
        self.sources.certificates.handle(labels(&[("certificate", name)]), CertificateMetrics::new)
    }

    /// The rate limit of that name: the living one, or a new one at 0.
    pub fn limit(&self, name: &str) -> Arc<LimitMetrics> {
        let workers = self.sources.workers.len();
        self.sources.limits.handle(labels(&[("limit", name)]), |labels| LimitMetrics::new(labels, workers))
    }

    /// Where a worker's busy time comes from. Once each: a second call changes nothing.
    pub fn read_busy(&self, worker: usize, read: ReadBusy) {
        let _ = self.sources.busy[worker].set(read);
    }

    /// Where the number of log lines that were dropped comes from, from now on; 0 before. `read` must not call this
    /// method.
    pub fn read_log_dropped(&self, read: ReadDropped) {
        let former = locked(&self.sources.log_dropped).replace(read);
        // Whatever that held ends outside of the lock.
        drop(former);
    }

    /// Where it is read how the process fares beside its high-water marks. Once: a second call changes nothing.
    pub fn read_overload(&self, read: ReadOverload) {
        let _ = self.sources.overload.set(read);
    }

    /// Where it is read what became of spans. Once: a second call changes nothing.
    pub fn read_spans(&self, spans: Arc<Spans>) {
        let _ = self.sources.spans.set(spans);
    }

    /// That is the number of what is in use.
    pub fn config_in_use(&self, generation: u64) {
        self.sources.generation.store(generation, Relaxed);
    }

    /// A configuration is in use from now on.
    pub fn config_accepted(&self, generation: u64, now: SystemTime) {
        self.config_in_use(generation);
        self.sources.accepted_at.store(unix_millis(now), Relaxed);
        self.sources.accepted.store(true, Relaxed);
    }

    /// A reload was refused; the configuration before it stays.
    pub fn config_refused(&self) {
        self.sources.accepted.store(false, Relaxed);
    }

    /// A name was asked for. Control counts; not hot.
    pub fn resolved(&self, result: Resolution) {
        self.sources.resolutions[result as usize].fetch_add(1, Relaxed);
    }

    /// Something panicked. From any thread, a panic hook included: no lock, no memory.
    pub fn panicked(&self) {
        self.sources.panics.fetch_add(1, Relaxed);
    }

    /// Everything in Prometheus's text format 0.0.4. Takes milliseconds with 1,000 backends (benches/metrics.rs): call
    /// it on a blocking thread.
    pub fn render(&self) -> String {
        let mut page = Page::with_capacity(self.length.load(Relaxed) / 8 * 9);
        self.sources.gather(&mut page);
        TextEncoder::new()
            .encode_utf8(&self.process.gather(), &mut page.text)
            .expect("a registry leaves out families without samples, and a String takes every byte");
        self.length.store(page.text.len(), Relaxed);
        page.text
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("workers", &self.sources.workers.len()).finish_non_exhaustive()
    }
}

impl Sources {
    /// Generation, whether the last one was accepted, and the Unix time of the last that was, in seconds.
    fn config(&self) -> (u64, bool, f64) {
        let at = self.accepted_at.load(Relaxed) as f64 / 1e3;
        (self.generation.load(Relaxed), self.accepted.load(Relaxed), at)
    }

    fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Whether each of so many backends has a histogram.
    fn has_backend_histograms(&self, backends: usize) -> bool {
        locked(&self.backend_histograms).unwrap_or(backends <= AUTO_HISTOGRAMS)
    }
}
