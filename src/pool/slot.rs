//! Where a pool's table stands: the lock-free backend table. Control publishes, workers look. Hot path.

use super::{Backend, Breaker, Change, Circuit, Ejections, Guard, RetryBudget, Room, Sessions, Table, queue::Queue};
use crate::{
    balance::Common,
    telemetry::{Seldom, metrics::PoolMetrics},
};
use arc_swap::ArcSwap;
use std::{
    fmt,
    sync::{
        Arc, MutexGuard, OnceLock,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};
use tokio::time::Instant;

/// Hears the name of a pool of which a circuit has changed.
pub(super) type Changed = Box<dyn Fn(&str) + Send + Sync>;

/// Whoever hears it, once there is somebody.
pub(super) type Tell = OnceLock<Changed>;

/// Between two lines of the log that say that there are no local ports left.
const SHORTAGE: Duration = Duration::from_secs(10);

/// A pool's table and what goes on while tables change.
pub struct Slot {
    table: ArcSwap<Table>,
    /// Grows with each table: workers look at it before each choice.
    version: AtomicU64,
    /// Those who wait for a backend.
    pub(super) queue: Queue,
    /// What its balancers share.
    pub common: Arc<Common>,
    /// How many retries the pool can afford.
    pub budget: RetryBudget,
    /// Which backend has which session of the application.
    pub sessions: Sessions,
    /// Says that there are no local ports left.
    pub shortage: Arc<Seldom>,
    /// What is counted of the pool.
    pub metrics: Arc<PoolMetrics>,
    /// The pool's own, where one guards it as a whole.
    pub circuit: Breaker,
    /// How many of its backends are out.
    pub ejections: Ejections,
    /// An operator wants nothing to go through.
    tripped: AtomicBool,
    name: String,
    epoch: Instant,
    changed: Arc<Tell>,
}

impl Slot {
    /// A slot with an empty table, for so many workers, of the pool of that name; `epoch` is the beginning of its time.
    pub(super) fn new(
        (name, epoch, changed): (&str, Instant, Arc<Tell>),
        metrics: Arc<PoolMetrics>,
        workers: usize,
    ) -> Self {
        // Processes that start together must not all begin with the first backend.
        let cursor = getrandom::u32().unwrap_or(0) as usize;
        Self {
            table: ArcSwap::from_pointee(Table::empty()),
            version: AtomicU64::new(0),
            queue: Queue::default(),
            common: Arc::new(Common::new(workers, cursor)),
            budget: RetryBudget::new(workers),
            sessions: Sessions::default(),
            shortage: Arc::new(Seldom::new(SHORTAGE)),
            metrics,
            circuit: Breaker::default(),
            ejections: Ejections::default(),
            tripped: AtomicBool::new(false),
            name: name.to_owned(),
            epoch,
            changed,
        }
    }

    /// The number of today's table.
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// Today's table.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// `table` is today's from now on. Gives the one before it, which others may still use.
    pub fn publish(&self, table: Table) -> Arc<Table> {
        let before = self.table.swap(Arc::new(table));
        self.version.fetch_add(1, Release);
        before
    }

    /// Microseconds from the beginning to `now`, alike for everybody.
    pub fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_micros() as u64
    }

    /// How long ago `then` was, which [`Slot::micros`] has given.
    pub fn since(&self, then: u64, now: Instant) -> Duration {
        Duration::from_micros(self.micros(now).saturating_sub(then))
    }

    /// An operator wants nothing to go through, or leaves it to the breaker again. Control alone calls it.
    pub fn trip(&self, open: bool) {
        self.tripped.store(open, Relaxed);
    }

    /// An operator wants nothing to go through.
    pub fn is_tripped(&self) -> bool {
        self.tripped.load(Relaxed)
    }

    /// What the pool as a whole does with requests.
    pub fn shown(&self) -> Circuit {
        if self.is_tripped() { Circuit::Open } else { self.circuit.circuit() }
    }

    /// Nothing goes through: neither now nor, but for a trial, soon.
    pub fn is_open(&self) -> bool {
        self.shown() == Circuit::Open
    }

    /// `backend` is left alone for being slow, if it may be. True if it is out now.
    pub fn eject(&self, backend: &Backend, guard: &Guard, now: u64, lasts: u64) -> bool {
        let reason = || "latency".to_owned();
        let change = backend.breaker.eject((&guard.rules, now), lasts, &reason, || self.allow(backend, guard));
        self.tell(Some(backend), &backend.breaker, change);
        change.is_some()
    }

    /// `backend` may be ejected; that it is one more is counted.
    pub(super) fn allow(&self, backend: &Backend, guard: &Guard) -> Option<MutexGuard<'_, Room>> {
        backend.is_usable().then(|| self.ejections.one_more(guard)).flatten()
    }

    /// `breaker`, that of `backend` or the pool's, has changed so: said, counted, and told to control.
    pub fn tell(&self, backend: Option<&Backend>, breaker: &Breaker, change: Option<Change>) {
        let Some(change) = change else { return };
        let (pool, backend_name) = (&*self.name, backend.map_or("", |backend| &backend.name));
        match change {
            Change::Opened(why) => {
                match backend {
                    Some(backend) => backend.metrics.ejected(why),
                    None => self.metrics.opened(why),
                }
                let (_, reason, since) = breaker.look();
                let seconds = breaker.next_step(since).unwrap_or_default() as f64 / 1e6;
                tracing::warn!(pool, backend = backend_name, reason, seconds, "the circuit is open");
            }
            Change::HalfOpened => tracing::info!(pool, backend = backend_name, "the circuit is half-open"),
            Change::Closed => tracing::info!(pool, backend = backend_name, "the circuit is closed"),
        }
        if let Some(changed) = self.changed.get() {
            changed(&self.name);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("version", &self.version()).finish_non_exhaustive()
    }
}
