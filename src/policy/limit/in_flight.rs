//! How many requests of a key are in flight: counted exactly, over all workers. Hot path for routes with such a limit.
//!
//! A key has an entry while it has requests: as many as there are at most, and the process's connections bound those.

use super::{
    key::{Key, Seed},
    tier::ByHash,
};
use crate::policy::{Asked, Visit};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;
/// Room that is kept while nobody needs it.
const KEPT: usize = 64;

/// The counts of a route, by key.
#[derive(Debug)]
pub struct Counts(Box<[Shard]>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<ByHash<u32>>);

impl Default for Counts {
    fn default() -> Self {
        Self(std::iter::repeat_with(Shard::default).take(SHARDS).collect())
    }
}

impl Counts {
    /// One more of the key `hash`, if there are fewer than `max`.
    pub fn enter(self: &Arc<Self>, hash: u64, max: u32) -> Option<Held> {
        let mut shard = self.shard(hash);
        if max == 0 {
            return None;
        }
        let count = shard.entry(hash).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Held { counts: Arc::clone(self), hash })
    }

    /// Keys that have requests.
    pub fn keys(&self) -> usize {
        self.0.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, ByHash<u32>> {
        lock(&self.0[(hash >> (u64::BITS - SHARDS.trailing_zeros())) as usize])
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, ByHash<u32>> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that is counted while this lives.
#[derive(Debug)]
pub struct Held {
    counts: Arc<Counts>,
    hash: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut shard = self.counts.shard(self.hash);
        let Some(count) = shard.get_mut(&self.hash) else { return };
        *count -= 1;
        if *count == 0 {
            shard.remove(&self.hash);
            if shard.capacity() > KEPT && shard.len() < shard.capacity() / 8 {
                shard.shrink_to(KEPT);
            }
        }
    }
}

/// The limit of a route.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) key: Key,
    pub(super) seed: Seed,
    pub(super) max: u32,
    pub(super) counts: Arc<Counts>,
}

impl InFlight {
    /// Counts the request, unless there are too many of its key.
    pub(super) fn enter(&self, asked: &Asked<'_>, visit: &Visit) -> Option<Held> {
        self.counts.enter(self.key.hash(&self.seed, asked, visit, |_| {}), self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_are_in_flight_and_nothing_is_left_of_them() {
        let counts = Arc::new(Counts::default());
        let held: Vec<_> = (0..3).map(|_| counts.enter(7, 3)).collect();
        assert!(held.iter().all(Option::is_some) && counts.enter(7, 3).is_none());
        assert!(counts.enter(8, 3).is_some(), "another key");
        assert!(counts.enter(7, 4).is_some(), "a limit that was raised");
        drop(held);
        assert_eq!(counts.keys(), 0);
    }

    #[test]
    fn a_key_that_is_refused_at_once_leaves_nothing() {
        let counts = Arc::new(Counts::default());
        assert!(counts.enter(7, 0).is_none());
        assert_eq!(counts.keys(), 0);
    }

    #[test]
    fn workers_together_keep_the_limit_and_room_goes_back() {
        let counts = Arc::new(Counts::default());
        let most = std::sync::atomic::AtomicU32::new(0);
        let now = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(held) = counts.enter(7, 3) {
                            let there = now.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                            most.fetch_max(there, std::sync::atomic::Ordering::SeqCst);
                            now.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(held);
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        let all: Vec<_> = (0..100_000).filter_map(|number: u64| counts.enter(number << 47 | number, 1)).collect();
        drop(all);
        let room: usize = counts.0.iter().map(|shard| lock(shard).capacity()).sum();
        assert!(counts.keys() == 0 && room <= SHARDS * 4 * KEPT, "{room}");
    }
}
