//! What is counted of a rate limit. Hot path for requests that are too many: one cell of the worker's own.
//!
//! Called by `policy`; read when a scrape gathers.

use std::iter;

use super::count::Cells;
use super::names::Labels;

/// The series of one limit. `worker` is the number of the calling worker; one that is not there is a defect, and panics.
#[derive(Debug)]
pub struct LimitMetrics {
    pub(super) labels: Labels,
    /// By worker.
    limited: Box<[Cells]>,
}

impl LimitMetrics {
    /// None yet.
    pub(super) fn new(labels: Labels, workers: usize) -> Self {
        Self { labels, limited: iter::repeat_with(|| Cells::new(1)).take(workers).collect() }
    }

    /// A request was refused, or would have been.
    pub fn limited(&self, worker: usize) {
        self.limited[worker].at(0).add(1);
    }

    /// Those of all workers.
    pub(super) fn total(&self) -> u64 {
        self.limited.iter().map(|cells| cells.at(0).value()).sum()
    }
}
