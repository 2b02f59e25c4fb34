//! Buckets by key: who may send a request now, and who must wait. Pure: time and keys come as arguments. Hot path.
//!
//! **A bucket** is one number, the moment at which the key will have paid for all that it has sent ("theoretical arrival
//! time" of the generic cell rate algorithm, GCRA): each request moves it by one period, and one may pass while it is not
//! too far ahead of now. What is not ahead of now is a full bucket, which is as good as none: nothing is ever swept.
//!
//! **The bound.** A key has one set of eight places. A newcomer that finds all of them taken gets the place of the key
//! that owes least, *and inherits what that key owes* (as the counters of "space saving" do; Metwally et al., 2005). So:
//! - memory is bounded, whatever comes;
//! - a key that owes nothing goes before every one that owes something;
//! - nobody gains by it: whoever was put out finds, when it comes back, at least the debt that it had, since what is least
//!   in a set never becomes less than what was put out. A flood of new keys frees no bucket;
//! - the innocent are refused only while every place of their set owes all that it may: a flood must send the full rate for
//!   each place in the table, all the time, and one period after it ends they pass.
//!
//! The crate governor has the same buckets, but keeps a keyed one in a map that has an entry for each key that ever came,
//! until somebody sweeps all of them (`retain_recent`): a flood of keys is memory there, and a sweep under load is a stall.
//!
//! A set that has all places taken by debtors does not stay so while its shard may double. With `max_keys` debtors at a time
//! there are twice as many places, and fewer than one key in a hundred finds its set full. Two keys with one hash
//! share a bucket; the hash is keyed and has 64 bits, so of a million keys one has such a twin with odds of 1 to 18 million
//! million, and nobody can look for one.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// Locks, so that workers seldom meet.
const SHARDS: usize = 64;
/// The upper bits of a hash choose the shard, the lower ones the set.
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
/// Places of a set: two cache lines. Sixteen took half as long again where a million keys are in no cache.
const WAYS: usize = 8;

/// When requests of a key pass. In nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What a request costs: one passes so often.
    period: u64,
    /// A request passes while its key is not further ahead than this.
    depth: u64,
}

impl Terms {
    /// `burst` requests pass at once, and then one in each `period`.
    pub fn token_bucket(period: u64, burst: u64) -> Self {
        let period = period.max(1);
        Self { period, depth: period.saturating_mul(burst.max(1) - 1) }
    }

    /// One passes in each `period`; others wait for their turn, up to `delay`.
    pub fn leaky_bucket(period: u64, delay: u64) -> Self {
        Self { period: period.max(1), depth: delay }
    }

    /// The furthest that a key is ever ahead.
    pub fn deepest(self) -> u64 {
        self.depth.saturating_add(self.period)
    }

    /// How many more pass now, of a key that is `ahead`.
    pub fn left(self, ahead: u64) -> u64 {
        self.deepest().saturating_sub(ahead) / self.period
    }

    /// How long until one passes, of a key that is `ahead`.
    pub fn wait(self, ahead: u64) -> u64 {
        ahead.saturating_sub(self.depth)
    }

    /// How far ahead a key is after one more.
    pub fn after(self, ahead: u64) -> u64 {
        ahead.saturating_add(self.period)
    }
}

/// The buckets of a limit. Shared by all workers: a request is counted once, exactly.
#[derive(Debug)]
pub struct Table {
    shards: Box<[Shard]>,
    /// Sets that a shard may have; a power of two.
    most: AtomicUsize,
    /// No key is further ahead.
    deepest: AtomicU64,
}

/// In cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Shard(Mutex<Sets>);

#[derive(Debug)]
struct Sets {
    /// A power of two.
    sets: Box<[Set]>,
    most: usize,
    deepest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set([Place; WAYS]);

/// A key, and the moment at which it will have paid. Nobody's: both 0.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    hash: u64,
    paid: u64,
}

impl Table {
    /// For `max_keys` at a time that owe something, of which none is ever further ahead than `deepest`. It begins small.
    pub fn new(max_keys: usize, deepest: u64) -> Self {
        let most = sets(max_keys);
        let shard = || Shard(Mutex::new(Sets { sets: Box::new([Set::default()]), most, deepest }));
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self { shards, most: AtomicUsize::new(most), deepest: AtomicU64::new(deepest) }
    }

    /// Other bounds from now on, as for [`Table::new`]. Each shard follows when it is next used.
    pub fn resize(&self, max_keys: usize, deepest: u64) {
        self.most.store(sets(max_keys), Relaxed);
        self.deepest.store(deepest, Relaxed);
    }

    /// A request of the key `hash`, at `now` on a clock that all workers share.
    ///
    /// Gives how far ahead the key was: for so long it waits, where `terms` make it wait.
    ///
    /// # Errors
    /// It may not pass; nothing has been counted. One will pass after so long.
    pub fn take(&self, hash: u64, now: u64, terms: Terms) -> Result<u64, u64> {
        let (most, deepest) = (self.most.load(Relaxed), self.deepest.load(Relaxed));
        let mut shard = self.shard(hash);
        if (shard.most, shard.deepest) != (most, deepest) {
            shard.settle(most, deepest, now);
        }
        shard.take(hash, now, terms)
    }

    /// A request that was let in is not sent after all.
    pub fn give_back(&self, hash: u64, terms: Terms) {
        let mut shard = self.shard(hash);
        if let Some(place) = shard.set(hash).iter_mut().find(|place| place.hash == hash) {
            place.paid = place.paid.saturating_sub(terms.period);
        }
    }

    /// How far ahead the key `hash` is, if it is known.
    pub fn ahead(&self, hash: u64, now: u64) -> Option<u64> {
        let mut shard = self.shard(hash);
        let place = shard.set(hash).iter().find(|place| place.hash == hash)?;
        Some(place.paid.saturating_sub(now))
    }

    /// Bytes that it has taken.
    pub fn bytes(&self) -> usize {
        let sets = |shard: &Shard| size_of_val(&*lock(&shard.0).sets) + size_of::<Shard>();
        self.shards.iter().map(sets).sum()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Sets> {
        lock(&self.shards[(hash >> (u64::BITS - SHARD_BITS)) as usize].0)
    }
}

impl Sets {
    fn take(&mut self, hash: u64, now: u64, terms: Terms) -> Result<u64, u64> {
        let grows = self.sets.len() < self.most;
        let set = self.set(hash);
        if let Some(place) = set.iter_mut().find(|place| place.hash == hash) {
            return place.take(now, terms);
        }
        let least = set.iter_mut().min_by_key(|place| place.paid);
        let Some(least) = least else { return Err(terms.period) };
        if grows && least.paid > now {
            self.rebuild(self.sets.len() * 2);
            return self.take(hash, now, terms);
        }
        // Who is refused takes no place.
        let mut place = Place { hash, ..*least };
        let taken = place.take(now, terms)?;
        *least = place;
        Ok(taken)
    }

    fn set(&mut self, hash: u64) -> &mut [Place; WAYS] {
        let place = hash as usize & (self.sets.len() - 1);
        &mut self.sets[place].0
    }

    /// Lays all keys out in so many sets. At most a few hundred microseconds: a shard of a million keys has 16,000.
    fn rebuild(&mut self, sets: usize) {
        let before = std::mem::replace(&mut self.sets, vec![Set::default(); sets].into_boxed_slice());
        for place in before.iter().flat_map(|set| set.0).filter(|place| place.paid > 0) {
            // Where there are fewer sets, those stay that owe most: nobody's debt is more than what is least there.
            let least = self.set(place.hash).iter_mut().min_by_key(|place| place.paid);
            if let Some(least) = least.filter(|least| least.paid < place.paid) {
                *least = place;
            }
        }
    }

    /// Follows new bounds: no debt is deeper than the limit now knows.
    fn settle(&mut self, most: usize, deepest: u64, now: u64) {
        (self.most, self.deepest) = (most, deepest);
        if self.sets.len() > most {
            self.rebuild(most);
        }
        let latest = now.saturating_add(deepest);
        self.sets.iter_mut().flat_map(|set| &mut set.0).for_each(|place| place.paid = place.paid.min(latest));
    }
}

impl Place {
    fn take(&mut self, now: u64, terms: Terms) -> Result<u64, u64> {
        let ahead = self.paid.saturating_sub(now);
        if ahead > terms.depth {
            return Err(terms.wait(ahead));
        }
        self.paid = now.saturating_add(ahead).saturating_add(terms.period);
        Ok(ahead)
    }
}

/// Sets of a shard: twice the places that the keys need.
fn sets(max_keys: usize) -> usize {
    max_keys.saturating_mul(2).div_ceil(SHARDS * WAYS).next_power_of_two()
}

fn lock(sets: &Mutex<Sets>) -> MutexGuard<'_, Sets> {
    sets.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
