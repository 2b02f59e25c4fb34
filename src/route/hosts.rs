//! The paths of each host: exact names and wildcards, by hash. Called by `Router`. Hot path.

use super::{
    paths::{Builder, Paths},
    rule::Rule,
};
use crate::config::{self, HostMatch};
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    ops::ControlFlow,
};

type Map<T> = HashMap<Box<[u8]>, T, BuildHasherDefault<Words>>;

/// Hosts longer than any name of DNS (RFC 1035 section 3.1) are made small in memory of their own.
const USUAL: usize = 255;

/// Paths by host.
#[derive(Debug)]
pub(super) struct Hosts {
    exact: Map<Paths>,
    /// By what follows the `*`, which begins with a dot.
    wildcards: Map<Paths>,
    /// The length of the longest wildcard: a host of many dots costs no more than its end.
    longest: usize,
    any: Paths,
}

impl Hosts {
    /// Sorts the places of all `routes`, whose `rules` are at the same places, by host.
    pub(super) fn new(routes: &[config::Route], rules: &[Rule]) -> Self {
        let (mut exact, mut wildcards): (Map<Builder>, Map<Builder>) = Default::default();
        let mut any = Builder::default();
        for (place, (route, rule)) in routes.iter().zip(rules).enumerate() {
            let add = |paths: &mut Builder| paths.add(place, route, rule);
            if route.hosts.is_empty() {
                add(&mut any);
            }
            for host in &route.hosts {
                match host {
                    HostMatch::Exact(name) => add(exact.entry(key(name)).or_default()),
                    HostMatch::Wildcard(suffix) => add(wildcards.entry(key(suffix)).or_default()),
                }
            }
        }
        let longest = wildcards.keys().map(|suffix| suffix.len()).max().unwrap_or_default();
        let done = |map: Map<Builder>| map.into_iter().map(|(host, paths)| (host, paths.build(rules))).collect();
        Self { exact: done(exact), wildcards: done(wildcards), longest, any: any.build(rules) }
    }

    /// Shows `visit` the paths of `host`, the best first: its own, those of its wildcards, and those of any host.
    pub(super) fn visit<'p, B>(
        &'p self,
        host: &[u8],
        visit: impl FnMut(&'p Paths) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if !host.iter().any(u8::is_ascii_uppercase) {
            return self.visit_small(host, visit);
        }
        let mut small = [0; USUAL];
        match small.get_mut(..host.len()) {
            Some(small) => {
                small.copy_from_slice(host);
                small.make_ascii_lowercase();
                self.visit_small(small, visit)
            }
            None => self.visit_small(&host.to_ascii_lowercase(), visit),
        }
    }

    fn visit_small<'p, B>(&'p self, host: &[u8], mut visit: impl FnMut(&'p Paths) -> ControlFlow<B>) -> ControlFlow<B> {
        if let Some(paths) = self.exact.get(host) {
            visit(paths)?;
        }
        if self.longest > 0 {
            // One label at least stands in front of a suffix.
            let first = host.len().saturating_sub(self.longest).max(1);
            for start in first..host.len() {
                if host[start] == b'.'
                    && let Some(paths) = self.wildcards.get(&host[start..])
                {
                    visit(paths)?;
                }
            }
        }
        visit(&self.any)
    }
}

/// As hosts are looked up.
fn key(host: &str) -> Box<[u8]> {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase().into_bytes().into()
}

/// A hash of eight bytes a step. The keys are the configuration's alone: nobody outside can make them collide.
#[derive(Default)]
struct Words(u64);

impl Words {
    /// The odd number next to 2^64 divided by the golden ratio (Knuth, TAOCP 3, section 6.4).
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(Self::SPREAD);
    }
}

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
    }

    fn write_usize(&mut self, number: usize) {
        self.0 ^= number as u64;
    }

    /// The table takes its place from the low bits, and the product's best are the high ones.
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(Self::SPREAD);
        mixed ^ mixed >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, hash::BuildHasher};

    #[test]
    fn similar_hosts_are_spread_over_a_table() {
        let hasher = BuildHasherDefault::<Words>::default();
        let hash = |number: u32| hasher.hash_one(format!("host{number}.example.com").as_bytes());
        let buckets: HashSet<u64> = (0..4096).map(|number| hash(number) % 4096).collect();
        // Chance fills 1 - 1/e of them, give or take 26.
        assert!(buckets.len() > 2450, "{} of 4096 are used", buckets.len());
        let tags: HashSet<u64> = (0..4096).map(|number| hash(number) >> 57).collect();
        assert_eq!(tags.len(), 128, "the table's tags are the top seven bits");
    }
}
