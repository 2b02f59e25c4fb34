//! One of several pools by weight: `split`. Called by `proxy`. Hot path.
//!
//! A key keeps a user on one side: each pool owns a range of the hash's values, in the order of the file, as wide as its
//! share. A change from 95:5 to 90:10 moves one user in twenty, and every instance decides alike.

use super::Key;
use crate::{config::SplitBy, http::Head};
use std::net::IpAddr;

/// How requests are shared out.
#[derive(Debug)]
pub struct Split {
    /// Where each pool's share ends.
    ends: Vec<u64>,
    by: Option<Key>,
}

impl Split {
    /// Shares by `weights`, whose sum is above 0.
    pub fn new(weights: impl IntoIterator<Item = u32>, by: Option<&SplitBy>) -> Self {
        let sums = weights.into_iter().scan(0, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Self { ends: sums.collect(), by: by.map(Key::from) }
    }

    /// What keeps this request on its side. `None`: nothing does, or the request does not say it. Clients of IPv6 count
    /// by their /64, which a host's changing addresses share.
    pub fn key(&self, request: &Head, client: Option<IpAddr>) -> Option<u64> {
        self.by.as_ref()?.of(request, client)
    }

    /// The pool at that place has a share.
    pub fn has_share(&self, place: usize) -> bool {
        let before = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        self.ends.get(place).is_some_and(|&end| end > before)
    }

    /// The place of a pool, by `key`, or by chance: `random` is new for each request.
    pub fn pick(&self, key: Option<u64>, random: u64) -> usize {
        let total = self.ends.last().copied().unwrap_or_default();
        let point = (u128::from(key.unwrap_or(random)) * u128::from(total)) >> 64;
        self.ends.partition_point(|&end| u128::from(end) <= point).min(self.ends.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{balance::hash, policy::test_head};

    #[test]
    fn shares_follow_the_weights() {
        let split = Split::new([95, 0, 5], None);
        let mut counts = [0; 3];
        for user in 0..20_000u32 {
            counts[split.pick(Some(hash(user.to_string().as_bytes())), 0)] += 1;
        }
        assert_eq!(counts[1], 0, "{counts:?}");
        // Five standard deviations of a binomial of 20,000 at 5 %: 154.
        assert!((846..=1154).contains(&counts[2]), "{counts:?}");
        assert_eq!([0, u64::MAX].map(|key| split.pick(Some(key), 1)), [0, 2]);
        let half = Split::new([1, 1], None);
        assert_eq!([u64::MAX / 2, u64::MAX / 2 + 1].map(|random| half.pick(None, random)), [0, 1]);
        assert_eq!(Split::new([u32::MAX, u32::MAX], None).pick(Some(u64::MAX), 0), 1);
        let middle = Split::new([0, 7, 0], None);
        assert_eq!(middle.pick(None, u64::MAX), 1);
        assert_eq!([0, 1, 2, 3].map(|place| middle.has_share(place)), [false, true, false, false]);
    }

    #[test]
    fn a_new_share_moves_its_own_users_alone() {
        let (before, after) = (Split::new([95, 5], None), Split::new([90, 10], None));
        for user in 0..5_000u32 {
            let key = Some(hash(&user.to_be_bytes()));
            assert!(before.pick(key, 0) <= after.pick(key, 0), "user {user} went back");
        }
    }

    #[test]
    fn keys_are_what_the_request_says() {
        let request = test_head("GET / HTTP/1.1\nHost: a\nCookie: u=; u=7\nX-Tenant: t\nX-Empty:");
        let key = |by: SplitBy| Split::new([1, 1], Some(&by)).key(&request, None);
        assert_eq!(key(SplitBy::Cookie("u".into())), Some(hash(b"7")));
        assert_eq!(key(SplitBy::Cookie("v".into())), None);
        assert_eq!(key(SplitBy::Header("x-tenant".into())), Some(hash(b"t")));
        assert_eq!(key(SplitBy::Header("x-empty".into())), None);
        assert_eq!(key(SplitBy::Header("x-other".into())), None);
        assert_eq!(key(SplitBy::ClientIp), None, "a unix socket has no address");
        assert_eq!(Split::new([1], None).key(&request, None), None);
        let split = Split::new([1, 1], Some(&SplitBy::ClientIp));
        let of = |client: &str| split.key(&request, Some(client.parse().unwrap()));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
