//! What a pool keeps while its tables change. Hot path.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

/// The most workers that count apart.
const MAX_SHARDS: usize = 64;

/// What all balancers of a pool share, one after the other.
#[derive(Debug)]
pub struct Common {
    /// The place in the order of round robin.
    pub cursor: AtomicUsize,
    /// Attempts that run at the pool's members.
    pub in_flight: InFlight,
}

impl Common {
    /// For so many workers; round robin begins at `cursor`.
    pub fn new(workers: usize, cursor: usize) -> Self {
        Self { cursor: AtomicUsize::new(cursor), in_flight: InFlight::new(workers) }
    }
}

impl Default for Common {
    fn default() -> Self {
        Self::new(1, 0)
    }
}

/// A sum that each worker counts for itself, on a cache line of its own.
#[derive(Debug)]
pub struct InFlight {
    shards: Box<[Shard]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicI64);

impl InFlight {
    fn new(workers: usize) -> Self {
        Self { shards: (0..workers.clamp(1, MAX_SHARDS)).map(|_| Shard::default()).collect() }
    }

    /// One begins on `worker`.
    pub fn begin(&self, worker: usize) {
        self.shards[worker % self.shards.len()].0.fetch_add(1, Relaxed);
    }

    /// One that began has ended; on whichever worker.
    pub fn end(&self, worker: usize) {
        self.shards[worker % self.shards.len()].0.fetch_sub(1, Relaxed);
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.shards.iter().map(|shard| shard.0.load(Relaxed)).sum::<i64>().max(0) as u64
    }
}
