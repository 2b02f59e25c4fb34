//! What is counted of a backend, and what is read of it. Hot path: [`BackendMetrics::attempt`] is a few relaxed loads
//! and stores in cells that no other worker writes; memory is taken only for a worker's rarer statuses.
//!
//! Called by `proxy` (attempts) and by whoever makes backends (what to read); read when a scrape gathers, and by the API.

use std::fmt;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::count::Codes;
use super::histogram::{Bounds, Histogram, Total};
use super::locked;
use super::names::Labels;

/// What a backend is at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Takes requests.
    Ready,
    /// Takes fewer: its checks are slow.
    Degraded,
    /// Takes no new ones, by the operator's wish.
    Drain,
    /// Takes none, by the operator's wish.
    Maintenance,
    /// Checks have failed.
    Down,
    /// Its answers were bad.
    Ejected,
    /// Nothing is known of it yet.
    #[default]
    Starting,
}

impl State {
    /// Each of them once.
    pub const ALL: [Self; 7] =
        [Self::Ready, Self::Degraded, Self::Drain, Self::Maintenance, Self::Down, Self::Ejected, Self::Starting];

    /// It can be chosen.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }

    /// The label `state`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Starting => "starting",
        }
    }
}

/// Why a circuit opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    /// Failures in a row.
    ConsecutiveFailures,
    /// Their share.
    FailureRate,
    /// A trial has failed.
    HalfOpen,
    /// Answers are much slower than others'.
    Latency,
}

impl Ejection {
    /// The label `reason` of each, in the order of their numbers.
    pub(super) const WORDS: [&str; 4] = ["consecutive_failures", "failure_rate", "half_open", "latency"];
}

/// What a backend's shared state says at this moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackendGauges {
    /// Attempts that have begun and not ended.
    pub in_flight: i64,
    /// Open connections, idle ones included.
    pub connections: i64,
    /// The weight in effect, slow start included.
    pub weight: f64,
    /// What it takes at a time without becoming slow, as far as is known.
    pub limit: f64,
    /// It can serve.
    pub up: bool,
    /// What it is.
    pub state: State,
    /// Health checks that have passed.
    pub passed: u64,
    /// Health checks that have failed.
    pub failed: u64,
    /// How long the last health check took; `None` before the first, and exported as 0.
    pub check_duration: Option<Duration>,
    /// 0 = closed, 1 = half-open, 2 = open.
    pub circuit: u8,
    /// It is much slower than the others of its pool.
    pub outlier: bool,
}

/// Reads a backend's gauges; called at each scrape on a blocking thread. `None` leaves the backend out of that scrape:
/// it is gone. Holds the backend by a `Weak`: the backend holds its handle, and that one holds this.
pub type ReadBackend = Box<dyn Fn() -> Option<BackendGauges> + Send + Sync>;

/// The series of one backend. `worker` is the number of the calling worker; one that is not there is a defect, and
/// panics.
pub struct BackendMetrics {
    pub(super) labels: Labels,
    codes: Box<[Codes]>,
    bounds: Arc<Bounds>,
    /// By worker; empty while histograms are off, which saves most of the memory. Given later when they are turned on.
    response: OnceLock<Box<[Histogram]>>,
    read: Mutex<Option<ReadBackend>>,
    /// By reason. Rare: all workers share them.
    ejections: [AtomicU64; Ejection::WORDS.len()],
}

impl BackendMetrics {
    /// All at 0, without a histogram.
    pub(super) fn new(labels: Labels, bounds: &Arc<Bounds>, workers: usize) -> Self {
        Self {
            labels,
            codes: iter::repeat_with(Codes::default).take(workers).collect(),
            bounds: Arc::clone(bounds),
            response: OnceLock::new(),
            read: Mutex::new(None),
            ejections: Default::default(),
        }
    }

    /// An attempt has ended with `status`: the response's, or that of its failure word; with a response, the time from
    /// the request sent to the response head.
    pub fn attempt(&self, worker: usize, status: u16, response_time: Option<Duration>) {
        self.codes[worker].add(status);
        if let (Some(histograms), Some(time)) = (self.response.get(), response_time) {
            histograms[worker].observe(&self.bounds, time);
        }
    }

    /// Its circuit has opened.
    pub fn ejected(&self, why: Ejection) {
        self.ejections[why as usize].fetch_add(1, Relaxed);
    }

    /// How often its circuit has opened for the reason with this number.
    pub(super) fn ejections(&self, reason: usize) -> u64 {
        self.ejections[reason].load(Relaxed)
    }

    /// Attempts that have ended.
    pub fn requests(&self) -> u64 {
        Codes::sum(&self.codes)
    }

    /// Where its gauges come from, from now on. Before the first call they are at 0 and it is `starting`. `read` must
    /// not call this method.
    pub fn read(&self, read: ReadBackend) {
        let former = locked(&self.read).replace(read);
        // Whatever that held ends outside of the lock.
        drop(former);
    }

    /// Its gauges; `None` if it is gone.
    pub(super) fn gauges(&self) -> Option<BackendGauges> {
        locked(&self.read).as_ref().map_or_else(|| Some(BackendGauges::default()), |read| read())
    }

    /// The counts of all workers, by status.
    pub(super) fn codes(&self) -> Vec<(u16, u64)> {
        Codes::total(&self.codes)
    }

    /// Its times are kept from now on, if they were not.
    pub(super) fn keep_times(&self) -> &[Histogram] {
        let histogram = || Histogram::new(&self.bounds);
        self.response.get_or_init(|| iter::repeat_with(histogram).take(self.codes.len()).collect())
    }

    /// The times of all workers, if they are kept.
    pub(super) fn kept_times(&self) -> Option<Total> {
        self.response.get().map(|histograms| Total::of(&self.bounds, histograms))
    }

    /// What its times are sorted by.
    pub(super) fn bounds(&self) -> &Arc<Bounds> {
        &self.bounds
    }

    /// The times of all workers since they are kept.
    pub(super) fn response_times(&self) -> Total {
        Total::of(&self.bounds, self.keep_times())
    }
}

impl fmt::Debug for BackendMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendMetrics").field("labels", &self.labels).finish_non_exhaustive()
    }
}
