//! Which backend has which session of the application (`sticky.type = "app_cookie"`): one table a pool, shared by
//! workers, kept over reloads. Hot path: a look takes the read lock of one shard.
//!
//! It is bounded: sessions that are used less make room for new ones. What was not used for the pool's `ttl` is not
//! remembered, and makes room likewise. The secrets themselves are not kept, only their hashes.

use quick_cache::sync::Cache;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// The most sessions of a pool.
const MOST: usize = 65_536;

/// Sessions by the hash of what the application calls them. Time is in seconds since a beginning that all callers share.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Made with the first session: most pools never have one.
    cache: OnceLock<Cache<u64, Arc<Session>>>,
}

#[derive(Debug)]
struct Session {
    /// The identity of its backend.
    backend: u64,
    used: AtomicU32,
}

impl Sessions {
    /// The identity of the backend that has the session, if it was used at most `ttl` seconds ago; now it is used again.
    pub fn find(&self, session: u64, now: u32, ttl: u32) -> Option<u64> {
        let cache = self.cache.get()?;
        let found = cache.get(&session)?;
        // Workers' seconds differ by one.
        if now.saturating_sub(found.used.load(Relaxed)) > ttl {
            cache.remove(&session);
            return None;
        }
        found.used.fetch_max(now, Relaxed);
        Some(found.backend)
    }

    /// `backend` has the session from now on.
    pub fn learn(&self, session: u64, backend: u64, now: u32) {
        let cache = self.cache.get_or_init(|| Cache::new(MOST));
        if cache.peek(&session).is_some_and(|known| known.backend == backend && known.used.load(Relaxed) == now) {
            return;
        }
        cache.insert(session, Arc::new(Session { backend, used: AtomicU32::new(now) }));
    }

    /// The session has ended.
    pub fn forget(&self, session: u64) {
        if let Some(cache) = self.cache.get() {
            cache.remove(&session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::hash;

    #[test]
    fn sessions_are_known_while_they_are_used() {
        let sessions = Sessions::default();
        assert_eq!(sessions.find(1, 0, 10), None);
        sessions.forget(1);
        sessions.learn(1, 7, 100);
        sessions.learn(2, 8, 100);
        assert_eq!(sessions.find(1, 110, 10), Some(7));
        assert_eq!(sessions.find(1, 120, 10), Some(7), "ten seconds since it was used");
        assert_eq!(sessions.find(1, 119, 10), Some(7), "another worker's clock");
        assert_eq!(sessions.find(2, 111, 10), None, "too old");
        assert_eq!(sessions.find(2, 110, 10), None, "and gone");
        sessions.learn(1, 9, 121);
        assert_eq!(sessions.find(1, 121, 10), Some(9), "it has moved");
        sessions.forget(1);
        assert_eq!(sessions.find(1, 121, 10), None);
    }

    #[test]
    fn they_are_bounded_and_the_used_ones_stay() {
        let sessions = Sessions::default();
        let number = |n: usize| hash(&n.to_be_bytes());
        (0..100).for_each(|n| sessions.learn(number(n), 1, 0));
        for n in 100..4 * MOST {
            sessions.learn(number(n), 2, 0);
            // Somebody uses the first hundred all the time.
            sessions.find(number(n % 100), 0, 10);
        }
        let count = sessions.cache.get().map_or(0, Cache::len);
        assert!((MOST / 2..=MOST).contains(&count), "{count} sessions");
        let kept = (0..100).filter(|&n| sessions.find(number(n), 0, 10) == Some(1)).count();
        assert!(kept >= 95, "{kept} of 100 that are in use were kept");
    }

    #[test]
    fn workers_share_them() {
        let sessions = Sessions::default();
        std::thread::scope(|scope| {
            for worker in 0..4u64 {
                let sessions = &sessions;
                scope.spawn(move || (0..1000).for_each(|n| sessions.learn(hash(&[worker as u8, n as u8]), worker, 1)));
            }
        });
        for worker in 0..4u64 {
            assert!((0..=255).all(|n| sessions.find(hash(&[worker as u8, n]), 1, 1) == Some(worker)));
        }
    }
}
