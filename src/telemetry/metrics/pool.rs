//! What is counted of a pool. Hot path: each call that records is a relaxed load and store in a cell that no other
//! worker writes.
//!
//! Called by `proxy` (retries, stickiness) and control (whether all are down); read when a scrape gathers.

use std::fmt;
use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::backend::Ejection;
use super::count::Count;
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
}

impl Retry {
    /// The label `reason` of each, in the order of their numbers.
    pub(super) const WORDS: [&str; 4] = ["connect", "reset", "timeout", "grpc"];
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

/// Reads the circuit of a pool as a whole: 0 = closed, 1 = half-open, 2 = open; `None`: the pool is gone. Holds it by a `Weak`.
pub type ReadPool = Box<dyn Fn() -> Option<u8> + Send + Sync>;

/// The series of one pool. `worker` is the number of the calling worker; one that is not there is a defect, and panics.
pub struct PoolMetrics {
    pub(super) labels: Labels,
    cells: Box<[Cells]>,
    all_down: AtomicBool,
    sticky: AtomicBool,
    /// The pool's circuit has opened so often, by reason. Rare: all workers share them.
    openings: [AtomicU64; Ejection::WORDS.len()],
    read: OnceLock<ReadPool>,
}

/// One worker's part.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells {
    retries: [Count; Retry::WORDS.len()],
    exhausted: Count,
    stuck: [Count; Stuck::WORDS.len()],
}

impl PoolMetrics {
    /// All at 0.
    pub(super) fn new(labels: Labels, workers: usize) -> Self {
        let cells = iter::repeat_with(Cells::default).take(workers).collect();
        Self {
            labels,
            cells,
            all_down: AtomicBool::new(false),
            sticky: AtomicBool::new(false),
            openings: Default::default(),
            read: OnceLock::new(),
        }
    }

    /// Where its circuit is read. Once: a second call changes nothing.
    pub fn read(&self, read: ReadPool) {
        let _ = self.read.set(read);
    }

    /// The circuit of the pool as a whole has opened.
    pub fn opened(&self, why: Ejection) {
        self.openings[why as usize].fetch_add(1, Relaxed);
    }

    /// How often that was, for the reason with this number.
    pub(super) fn openings(&self, reason: usize) -> u64 {
        self.openings[reason].load(Relaxed)
    }

    /// The circuit of the pool as a whole.
    pub(super) fn circuit(&self) -> u8 {
        self.read.get().and_then(|read| read()).unwrap_or_default()
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
    pub fn set_all_down(&self, all_down: bool) {
        self.all_down.store(all_down, Relaxed);
    }

    /// Retries for the reason with this number.
    pub(super) fn retries(&self, reason: usize) -> u64 {
        self.cells.iter().map(|cells| cells.retries[reason].value()).sum()
    }

    /// Retries that the budget did not allow.
    pub(super) fn exhausted(&self) -> u64 {
        self.cells.iter().map(|cells| cells.exhausted.value()).sum()
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
