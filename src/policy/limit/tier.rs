//! Which keys have a rate of their own: found by their hashes, which nobody outside can foresee, so that the time that a
//! look takes tells nothing of a key. Hot path for limits with tiers. The files are looked after by control.

use super::key::{Seed, hashes_of_line};
use crate::config::{self, Secret};
use arc_swap::ArcSwap;
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    path::{Path, PathBuf},
};

/// Takes a hash for what it is, but for where its bits stand: the upper ones are alike in a shard.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0.rotate_left(20)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0 << 8 | u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What is known of keys, by their hashes.
pub(super) type ByHash<T> = HashMap<u64, T, BuildHasherDefault<Hashed>>;

/// One tier: its keys.
#[derive(Debug)]
pub(super) struct Tier {
    pub(super) name: Box<str>,
    pub(super) file: PathBuf,
    keys: ArcSwap<HashSet<u64, BuildHasherDefault<Hashed>>>,
}

impl Tier {
    pub(super) fn new(tier: &config::Tier, seed: &Seed) -> Self {
        let built = Self { name: tier.name.as_str().into(), file: tier.file.clone(), keys: ArcSwap::default() };
        built.replace(&tier.keys, seed);
        built
    }

    /// These are its keys from now on. True: others than before.
    pub(super) fn replace(&self, keys: &[Secret], seed: &Seed) -> bool {
        let hashes: HashSet<_, _> = keys.iter().flat_map(|key| hashes_of_line(seed, key.expose())).collect();
        let changed = **self.keys.load() != hashes;
        if changed {
            self.keys.store(hashes.into());
        }
        changed
    }

    /// The key with this hash is one of them.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.keys.load().contains(&hash)
    }

    pub(super) fn is(&self, file: &Path) -> bool {
        self.file == file
    }
}
