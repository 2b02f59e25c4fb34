//! Where a pool's table stands: the lock-free backend table. Control publishes, workers look. Hot path.

use super::{RetryBudget, Sessions, Table, queue::Queue};
use crate::{balance::Common, telemetry::metrics::PoolMetrics};
use arc_swap::ArcSwap;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

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
    /// What is counted of the pool.
    pub metrics: Arc<PoolMetrics>,
}

impl Slot {
    /// A slot with an empty table, for so many workers.
    pub(super) fn new(metrics: Arc<PoolMetrics>, workers: usize) -> Self {
        // Processes that start together must not all begin with the first backend.
        let cursor = getrandom::u32().unwrap_or(0) as usize;
        Self {
            table: ArcSwap::from_pointee(Table::empty()),
            version: AtomicU64::new(0),
            queue: Queue::default(),
            common: Arc::new(Common::new(workers, cursor)),
            budget: RetryBudget::new(workers),
            sessions: Sessions::default(),
            metrics,
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
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("version", &self.version()).finish_non_exhaustive()
    }
}
