//! What is counted of a pool. Hot path: each call that records is a relaxed load and store in a cell that no other
//! worker writes.
//!
//! Called by `proxy` (retries, stickiness, the queue) and control (whether all are down); read when a scrape gathers.

use std::fmt;
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::backend::Ejection;
use super::count::Count;
use super::histogram::{Bounds, Histogram, Total};
use super::locked;
use super::names::Labels;

/// Why an attempt was made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No connection was made.
    Connect,
    /// The connection broke.
    Reset,
    /// The response took too long.
    Timeout,
    /// The backend answered with a gRPC status that is retried.
    Grpc,
    /// The backend answered with a status that is retried.
    Status,
}

impl Retry {
    /// The label `reason` of each, in the order of their numbers.
    pub(super) const WORDS: [&str; 5] = ["connect", "reset", "timeout", "grpc", "status"];
}

/// What became of a client's wish to stay at its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// It went where its session is, or where the hash of what it is known by says.
    Hit,
    /// Nobody knew where its session is, or it has none.
    New,
    /// It went elsewhere: its backend was gone, full, or failed.
    Moved,
    /// What it showed was forged, too old or too long: it counted as new.
    Invalid,
}

impl Stuck {
    /// The label `result` of each, in the order of their numbers.
    pub(super) const WORDS: [&str; 4] = ["hit", "new", "moved", "invalid"];

    /// In the access log and in the metric.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// What is read of a pool at each scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolGauges {
    /// The circuit of the pool as a whole: 0 = closed, 1 = half-open, 2 = open.
    pub circuit: u8,
    /// How many wait.
    pub queued: usize,
}

/// Reads a pool, on a blocking thread; `None`: it is gone. Holds it by a `Weak`: the pool holds these series.
pub type ReadPool = Box<dyn Fn() -> Option<PoolGauges> + Send + Sync>;

/// The series of one pool. `worker` is the number of the calling worker; one that is not there is a defect, and panics.
pub struct PoolMetrics {
    pub(super) labels: Labels,
    bounds: Arc<Bounds>,
    cells: Box<[Cells]>,
    /// Times in the queue, by worker.
    waits: Box<[Histogram]>,
    all_down: AtomicBool,
    sticky: AtomicBool,
    /// The pool's circuit has opened so often, by reason. Rare: all workers share them.
    openings: [AtomicU64; Ejection::WORDS.len()],
    read: Mutex<Option<ReadPool>>,
}

/// One worker's part.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells {
    retries: [Count; Retry::WORDS.len()],
    exhausted: Count,
    queue_timeouts: Count,
    stuck: [Count; Stuck::WORDS.len()],
}

impl PoolMetrics {
    /// All at 0.
    pub(super) fn new(labels: Labels, bounds: &Arc<Bounds>, workers: usize) -> Self {
        let cells = iter::repeat_with(Cells::default).take(workers).collect();
        let waits = iter::repeat_with(|| Histogram::new(bounds)).take(workers).collect();
        let (all_down, sticky, openings, read) = Default::default();
        Self { labels, bounds: Arc::clone(bounds), cells, waits, all_down, sticky, openings, read }
    }

    /// Where its circuit and its queue are read from now on; nothing before. `read` must not call this method.
    pub fn read(&self, read: ReadPool) {
        let former = locked(&self.read).replace(read);
        // Whatever that held ends outside of the lock.
        drop(former);
    }

    /// The circuit of the pool as a whole has opened.
    pub fn opened(&self, why: Ejection) {
        self.openings[why as usize].fetch_add(1, Relaxed);
    }

    /// Somebody has left the queue after so long.
    pub fn waited(&self, worker: usize, time: Duration) {
        self.waits[worker].observe(&self.bounds, time);
    }

    /// Somebody has waited in vain.
    pub fn queue_timeout(&self, worker: usize) {
        self.cells[worker].queue_timeouts.add(1);
    }

    /// A failed attempt is followed by another one.
    pub fn retry(&self, worker: usize, reason: Retry) {
        self.cells[worker].retries[reason as usize].add(1);
    }

    /// A failed attempt would have been followed by another one, had the budget allowed it.
    pub fn budget_exhausted(&self, worker: usize) {
        self.cells[worker].exhausted.add(1);
    }

    /// An exchange of a pool whose clients stick has ended so.
    pub fn stuck(&self, worker: usize, stuck: Stuck) {
        self.cells[worker].stuck[stuck as usize].add(1);
    }

    /// Its clients stick to their backends: there is something to be counted.
    pub fn set_sticky(&self) {
        self.sticky.store(true, Relaxed);
    }

    /// From now on, none of its backends can serve; or one can.
    /// Gives what it was before.
    pub fn set_all_down(&self, all_down: bool) -> bool {
        self.all_down.swap(all_down, Relaxed)
    }

    /// Retries for the reason with this number.
    pub(super) fn retries(&self, reason: usize) -> u64 {
        self.cells.iter().map(|cells| cells.retries[reason].value()).sum()
    }

    /// Retries that the budget did not allow.
    pub(super) fn exhausted(&self) -> u64 {
        self.cells.iter().map(|cells| cells.exhausted.value()).sum()
    }

    /// How often its circuit has opened, for the reason with this number.
    pub(super) fn openings(&self, reason: usize) -> u64 {
        self.openings[reason].load(Relaxed)
    }

    /// Its circuit, and how many wait.
    pub(super) fn gauges(&self) -> PoolGauges {
        locked(&self.read).as_ref().and_then(|read| read()).unwrap_or_default()
    }

    /// Those who have waited in vain.
    pub(super) fn queue_timeouts(&self) -> u64 {
        self.cells.iter().map(|cells| cells.queue_timeouts.value()).sum()
    }

    /// The times of those who have left the queue.
    pub(super) fn waits(&self) -> Total {
        Total::of(&self.bounds, &self.waits)
    }

    /// Exchanges with the result of this number; `None` where there are no results.
    pub(super) fn stuck_total(&self, result: usize) -> Option<u64> {
        let sum = || self.cells.iter().map(|cells| cells.stuck[result].value()).sum();
        self.sticky.load(Relaxed).then(sum)
    }

    /// As it was set.
    pub(super) fn all_down(&self) -> bool {
        self.all_down.load(Relaxed)
    }
}

impl fmt::Debug for PoolMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolMetrics").field("labels", &self.labels).finish_non_exhaustive()
    }
}
