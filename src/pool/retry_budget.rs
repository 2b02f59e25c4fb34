//! How many retries a pool can afford: a share of its requests of the last 10 s, and a few in any case, so that a
//! storm of retries cannot form. Hot path: a request is counted in a cell of its worker's own.
//!
//! Time comes as an argument, in seconds since some moment that all callers share.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

/// Seconds that are looked back on.
const WINDOW: u32 = 10;
/// Cells of a ring: the window, this second, and some room for a late writer.
const CELLS: usize = 16;

/// Counts by second: the second above, its count below.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Ring([AtomicU64; CELLS]);

impl Ring {
    /// One more in the second `now`. For one writer.
    fn add(&self, now: u32) {
        let cell = &self.0[now as usize % CELLS];
        let (second, count) = split(cell.load(Relaxed));
        let count = if second == now { count.saturating_add(1) } else { 1 };
        cell.store(join(now, count), Relaxed);
    }

    /// All of the last seconds, this one included.
    fn sum(&self, now: u32) -> u64 {
        let recent = |cell: &AtomicU64| {
            let (second, count) = split(cell.load(Relaxed));
            if now.wrapping_sub(second) < WINDOW { u64::from(count) } else { 0 }
        };
        self.0.iter().map(recent).sum()
    }
}

fn split(cell: u64) -> (u32, u32) {
    ((cell >> 32) as u32, cell as u32)
}

fn join(second: u32, count: u32) -> u64 {
    u64::from(second) << 32 | u64::from(count)
}

/// Requests and retries of the last seconds.
#[derive(Debug)]
pub struct RetryBudget {
    /// By worker: each writes its own alone.
    requests: Box<[Ring]>,
    retries: Ring,
    /// Retries that are being decided on at this moment.
    deciding: AtomicU32,
}

impl RetryBudget {
    /// Nothing has happened yet.
    pub fn new(workers: usize) -> Self {
        let requests = (0..workers.max(1)).map(|_| Ring::default()).collect();
        Self { requests, retries: Ring::default(), deciding: AtomicU32::new(0) }
    }

    /// `worker` has a request for the pool in the second `now`.
    pub fn request(&self, worker: usize, now: u32) {
        self.requests[worker].add(now);
    }

    /// A retry is wanted in the second `now`: counted and allowed if there are fewer than `share` of the requests, or
    /// fewer than `floor`. Never more than that, whoever else decides at the same moment.
    pub fn withdraw(&self, now: u32, share: f64, floor: u32) -> bool {
        let requests: u64 = self.requests.iter().map(|ring| ring.sum(now)).sum();
        let most = ((requests as f64 * share) as u64).max(u64::from(floor));
        // What others are deciding counts as decided.
        let others = self.deciding.fetch_add(1, SeqCst);
        let allowed = self.retries.sum(now) + u64::from(others) < most;
        if allowed {
            let cell = &self.retries.0[now as usize % CELLS];
            let more = |cell| {
                let (second, count) = split(cell);
                Some(if second == now { join(now, count.saturating_add(1)) } else { join(now, 1) })
            };
            let _ = cell.fetch_update(Relaxed, Relaxed, more);
        }
        self.deciding.fetch_sub(1, SeqCst);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_requests_and_the_floor() {
        let budget = RetryBudget::new(2);
        let allowed = |now, share, floor| (0..1000).filter(|_| budget.withdraw(now, share, floor)).count();
        assert_eq!(allowed(100, 0.2, 10), 10, "the floor");
        assert_eq!(allowed(109, 0.2, 10), 0, "those were decided within 10 s");
        assert_eq!(allowed(110, 0.2, 10), 10, "and are forgotten now");
        for request in 0..1000 {
            budget.request(request % 2, 115);
        }
        assert_eq!(allowed(116, 0.2, 10), 190, "a fifth, less what was decided at 110");
        assert_eq!(allowed(125, 0.2, 10), 0);
        assert_eq!(allowed(126, 0.0, 0), 0, "none are wanted");
    }

    #[test]
    fn threads_together_get_no_more() {
        let budget = RetryBudget::new(1);
        (0..1000).for_each(|_| budget.request(0, 50));
        let allowed: usize = std::thread::scope(|scope| {
            let run = || (0..500).filter(|_| budget.withdraw(50, 0.2, 0)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!((190..=200).contains(&allowed), "{allowed}");
    }
}
