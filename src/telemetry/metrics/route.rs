//! What is counted of the requests of a route. Hot path: each call that records is a few relaxed loads and stores in
//! cells that no other worker writes; memory is taken only at a worker's first failure, and for its rarer statuses.
//!
//! Called by `proxy`; read when a scrape gathers.

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::count::{Cells, Codes, Count};
use super::histogram::{Bounds, Histogram, Total};
use super::names::Labels;

/// What became of a copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// It was answered, whatever the answer.
    Sent,
    /// It was not answered.
    Failed,
    /// It never went out: it was too large or not whole, or there were too many.
    Dropped,
}

impl Copied {
    /// The label `result` of each, in the order of their numbers.
    pub(super) const WORDS: [&str; 3] = ["sent", "failed", "dropped"];
}

/// The series of one route. `worker` is the number of the calling worker; a worker or a kind that is not there is a
/// defect, and panics.
#[derive(Debug)]
pub struct RouteMetrics {
    pub(super) labels: Labels,
    bounds: Arc<Bounds>,
    /// How many kinds of failure there are.
    kinds: usize,
    parts: Box<[Part]>,
    /// Its requests are copied: there is something to be counted.
    mirrored: AtomicBool,
}

/// One worker's part.
#[derive(Debug)]
#[repr(align(64))]
struct Part {
    duration: Histogram,
    bytes_in: Count,
    bytes_out: Count,
    /// By kind; taken at the first failure.
    failures: OnceLock<Cells>,
    copied: [Count; Copied::WORDS.len()],
    fallbacks: Count,
}

impl RouteMetrics {
    /// All at 0.
    pub(super) fn new(labels: Labels, bounds: &Arc<Bounds>, kinds: usize, workers: usize) -> Self {
        let part = || Part {
            duration: Histogram::new(bounds),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            failures: OnceLock::new(),
            copied: Default::default(),
            fallbacks: Count::default(),
        };
        let parts = iter::repeat_with(part).take(workers).collect();
        Self { labels, bounds: Arc::clone(bounds), kinds, parts, mirrored: AtomicBool::new(false) }
    }

    /// A request of this route has ended: the time from its first byte to the end of the exchange, and the bytes of
    /// both bodies, framing not counted.
    pub fn finished(&self, worker: usize, duration: Duration, bytes_in: u64, bytes_out: u64) {
        let part = &self.parts[worker];
        part.duration.observe(&self.bounds, duration);
        part.bytes_in.add(bytes_in);
        part.bytes_out.add(bytes_out);
    }

    /// An exchange has failed; `kind` is the place of its word among those given to [`Telemetry::new`].
    ///
    /// [`Telemetry::new`]: super::Telemetry::new
    pub fn failure(&self, worker: usize, kind: usize) {
        assert!(kind < self.kinds, "no failure has the number {kind}");
        self.parts[worker].failures.get_or_init(|| Cells::new(self.kinds)).at(kind).add(1);
    }

    /// A request went to the fallback in place of the route's pool.
    pub fn fell_back(&self, worker: usize) {
        self.parts[worker].fallbacks.add(1);
    }

    /// Requests that did.
    pub(super) fn fallbacks(&self) -> u64 {
        self.parts.iter().map(|part| part.fallbacks.value()).sum()
    }

    /// A copy of one of its requests has ended so.
    pub fn copied(&self, worker: usize, copied: Copied) {
        self.parts[worker].copied[copied as usize].add(1);
    }

    /// Its requests are copied from now on, or no longer.
    pub fn set_mirrored(&self, mirrored: bool) {
        self.mirrored.store(mirrored, Relaxed);
    }

    /// Copies with the result of this number; `None` where there are no copies.
    pub(super) fn copied_total(&self, result: usize) -> Option<u64> {
        let sum = || self.parts.iter().map(|part| part.copied[result].value()).sum();
        self.mirrored.load(Relaxed).then(sum)
    }

    /// The times of all workers.
    pub(super) fn durations(&self) -> Total {
        Total::of(&self.bounds, self.parts())
    }

    /// The times of each worker.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Histogram> {
        self.parts.iter().map(|part| &part.duration)
    }

    /// Bytes of request bodies, and of response bodies.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let sum = |cell: fn(&Part) -> &Count| self.parts.iter().map(|part| cell(part).value()).sum();
        (sum(|part| &part.bytes_in), sum(|part| &part.bytes_out))
    }

    /// Failures of this kind.
    pub(super) fn failed(&self, kind: usize) -> u64 {
        self.parts.iter().filter_map(|part| part.failures.get()).map(|cells| cells.at(kind).value()).sum()
    }
}

/// The requests of one listener and one route, by status. `worker` is the number of the calling worker; one that is not
/// there is a defect, and panics.
#[derive(Debug)]
pub struct RequestMetrics {
    pub(super) labels: Labels,
    codes: Box<[Codes]>,
}

impl RequestMetrics {
    /// None yet.
    pub(super) fn new(labels: Labels, workers: usize) -> Self {
        Self { labels, codes: iter::repeat_with(Codes::default).take(workers).collect() }
    }

    /// A request has ended with `status`: what the client got; 499 if it left.
    pub fn count(&self, worker: usize, status: u16) {
        self.codes[worker].add(status);
    }

    /// The counts of all workers, by status.
    pub(super) fn codes(&self) -> Vec<(u16, u64)> {
        Codes::total(&self.codes)
    }
}
