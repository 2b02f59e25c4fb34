//! What is measured of one algorithm. Hot path of the simulator.

use super::contenders::Contender;
use hdrhistogram::Histogram;
use std::fmt;

/// Pieces of the time, for pictures.
pub(super) const PIECES: u64 = 120;
/// Nanoseconds that are told apart in the histogram, and the longest that is told.
const FINEST: u64 = 128;
const LONGEST: u64 = 3_600_000_000_000;
/// Digits that are told apart.
const DIGITS: u8 = 3;
/// A client that has asked nobody yet.
const NOBODY: u32 = u32::MAX;

/// What one algorithm has done with a scenario.
pub struct Outcome {
    /// Whose it is.
    pub contender: Contender,
    /// From a request's arrival to the last byte of its answer, retries included, in nanoseconds; three digits are right.
    pub latency: Histogram<u64>,
    /// Its mean, in nanoseconds.
    pub mean: f64,
    /// Requests that were measured.
    pub requests: u64,
    /// Those that have failed in the end.
    pub failures: u64,
    /// Further attempts.
    pub retries: u64,
    /// The most requests that waited at one backend, those that are served not counted.
    pub max_queue: u32,
    /// The same in each piece of the time, and how long a piece is, in seconds.
    pub queues: (Vec<u32>, f64),
    /// The time that the busiest backend worked for its weight, of the mean: 1 = all alike.
    pub imbalance: f64,
    /// The share of requests that came to the backend of the same client's request before.
    pub kept: f64,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantile = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e6;
        let (p50, p99) = (quantile(0.5), quantile(0.99));
        f.debug_struct(self.contender.name())
            .field("p50", &p50)
            .field("p99", &p99)
            .field("mean", &(self.mean / 1e6))
            .field("max_queue", &self.max_queue)
            .field("requests", &self.requests)
            .field("failures", &self.failures)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// While it runs.
pub(super) struct Record {
    latency: Histogram<u64>,
    sum: f64,
    from: u64,
    requests: u64,
    failures: u64,
    retries: u64,
    max_queue: u32,
    queues: Vec<u32>,
    piece: u64,
    piece_ends: u64,
    /// Where each client went last.
    last: Vec<u32>,
    kept: u64,
    came_again: u64,
}

impl Record {
    /// For a simulation that ends at `end`; measured is what comes after `from`.
    pub(super) fn new(clients: u32, from: u64, end: u64) -> Self {
        let latency = Histogram::new_with_bounds(FINEST, LONGEST, DIGITS).expect("the bounds are fit");
        let piece = (end / PIECES).max(1);
        Self {
            latency,
            sum: 0.0,
            from,
            requests: 0,
            failures: 0,
            retries: 0,
            max_queue: 0,
            queues: vec![0],
            piece,
            piece_ends: piece,
            last: vec![NOBODY; clients as usize],
            kept: 0,
            came_again: 0,
        }
    }

    /// What was measured before no longer counts.
    pub(super) fn measure(&mut self, queue: u32) {
        self.max_queue = queue;
    }

    /// The time goes on to `now`. `queue` tells what the longest queue is, once a piece.
    pub(super) fn goes_on(&mut self, now: u64, queue: impl Fn() -> u32) {
        while now >= self.piece_ends && (self.queues.len() as u64) < PIECES {
            self.queues.push(queue());
            self.piece_ends += self.piece;
        }
    }

    /// So many wait at one backend.
    pub(super) fn waits(&mut self, queue: u32) {
        self.max_queue = self.max_queue.max(queue);
        if let Some(piece) = self.queues.last_mut() {
            *piece = queue.max(*piece);
        }
    }

    /// The request of `client` that came at `arrived` goes to `backend` first.
    pub(super) fn goes_to(&mut self, arrived: u64, client: u32, backend: u32) {
        let last = std::mem::replace(&mut self.last[client as usize], backend);
        if arrived >= self.from && last != NOBODY {
            self.came_again += 1;
            self.kept += u64::from(last == backend);
        }
    }

    /// A request is sent again.
    pub(super) fn retried(&mut self, arrived: u64) {
        self.retries += u64::from(arrived >= self.from);
    }

    /// A request has been answered.
    pub(super) fn answered(&mut self, arrived: u64, now: u64) {
        if arrived < self.from {
            return;
        }
        self.requests += 1;
        self.sum += (now - arrived) as f64;
        self.latency.saturating_record(now - arrived);
    }

    /// A request has failed.
    pub(super) fn failed(&mut self, arrived: u64) {
        if arrived < self.from {
            return;
        }
        self.requests += 1;
        self.failures += 1;
    }

    pub(super) fn finish(self, contender: Contender, imbalance: f64) -> Outcome {
        Outcome {
            contender,
            mean: self.sum / self.latency.len().max(1) as f64,
            latency: self.latency,
            requests: self.requests,
            failures: self.failures,
            retries: self.retries,
            max_queue: self.max_queue,
            queues: (self.queues, self.piece as f64 / 1e9),
            imbalance,
            kept: self.kept as f64 / self.came_again.max(1) as f64,
        }
    }
}
