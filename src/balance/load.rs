//! What one backend carries now: shared by all workers, on a cache line of its own. Hot path.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Counts of one backend.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
}

impl Load {
    /// Attempts that have begun and not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// An attempt begins.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// An attempt that began has ended.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}
