//! How many connections each address has: exact over all workers, and no larger than the connections themselves. Called for
//! each connection where `max_connections_per_ip` is set.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Workers seldom meet at one of so many.
const SHARDS: usize = 64;

/// Whose connections are counted together: an IPv4 address, or a /64 of IPv6, which one subscriber has all of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// An address.
    V4(u32),
    /// The first half of one.
    V6(u64),
}

impl Holder {
    /// Who has `address`. One of IPv4 that is written as one of IPv6 is one of IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// The connections of a listener by their holders.
#[derive(Debug)]
pub struct PerIp {
    shards: [Mutex<HashMap<Holder, u32>>; SHARDS],
    /// Nobody outside can tell which shard is whose.
    hasher: RandomState,
}

/// One connection that is counted.
#[derive(Debug)]
pub struct Held {
    per_ip: Arc<PerIp>,
    holder: Holder,
}

impl Default for PerIp {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl PerIp {
    fn shard(&self, holder: Holder) -> &Mutex<HashMap<Holder, u32>> {
        &self.shards[self.hasher.hash_one(holder) as usize % SHARDS]
    }

    /// One more of that address, if it has fewer than `most`.
    pub fn take(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<Held> {
        let holder = Holder::of(address);
        let mut shard = self.shard(holder).lock().unwrap_or_else(PoisonError::into_inner);
        match shard.entry(holder) {
            Entry::Occupied(held) if *held.get() >= most => return None,
            held => *held.or_default() += 1,
        }
        drop(shard);
        Some(Held { per_ip: Arc::clone(self), holder })
    }

    /// How many there are of that address.
    pub fn held(&self, address: IpAddr) -> u32 {
        let holder = Holder::of(address);
        self.shard(holder).lock().unwrap_or_else(PoisonError::into_inner).get(&holder).copied().unwrap_or(0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut shard = self.per_ip.shard(self.holder).lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut held) = shard.entry(self.holder) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
        // A crowd has gone: its room is given back.
        if shard.is_empty() && shard.capacity() > 64 {
            shard.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_and_others_have_theirs() {
        let per_ip = Arc::<PerIp>::default();
        let first = per_ip.take(ip("192.0.2.1"), 2).unwrap();
        let _second = per_ip.take(ip("::ffff:192.0.2.1"), 2).unwrap();
        assert!(per_ip.take(ip("192.0.2.1"), 2).is_none());
        assert!(per_ip.take(ip("192.0.2.2"), 2).is_some());
        assert_eq!((per_ip.held(ip("192.0.2.1")), per_ip.held(ip("192.0.2.2"))), (2, 0));
        drop(first);
        assert!(per_ip.take(ip("192.0.2.1"), 2).is_some());
        // A limit that grew smaller lets nobody in, and throws nobody out.
        assert!(per_ip.take(ip("192.0.2.1"), 1).is_none());
    }

    #[test]
    fn ipv6_counts_by_its_first_half() {
        let per_ip = Arc::<PerIp>::default();
        let _first = per_ip.take(ip("2001:db8:0:1::1"), 1).unwrap();
        assert!(per_ip.take(ip("2001:db8:0:1:ffff:ffff:ffff:ffff"), 1).is_none());
        assert!(per_ip.take(ip("2001:db8:0:2::1"), 1).is_some());
        assert!(per_ip.take(ip("0.0.0.1"), 1).is_some());
    }

    #[test]
    fn many_threads_count_exactly_and_leave_nothing_behind() {
        const MOST: u32 = 100;
        let per_ip = Arc::<PerIp>::default();
        for _ in 0..20 {
            let held: Vec<_> = std::thread::scope(|scope| {
                let take = || (0..50).filter_map(|_| per_ip.take(ip("192.0.2.1"), MOST)).collect::<Vec<_>>();
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!((held.len(), per_ip.held(ip("192.0.2.1"))), (MOST as usize, MOST));
            std::thread::scope(|scope| held.into_iter().for_each(|held| drop(scope.spawn(|| drop(held)))));
            assert!(per_ip.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
        }
    }
}
