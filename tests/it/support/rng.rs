//! Random numbers from a seed that is printed: `SEED=… cargo test --test it NAME` repeats a run.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64: small, and good enough to choose sizes and splits.
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator for the test `name`; its seed is `SEED`, or the clock's.
    pub(crate) fn for_test(name: &str) -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
        let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock);
        println!("{name}: SEED={seed}");
        Self(seed)
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent generator, for a thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `of` times.
    pub(crate) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// A size from 1 byte to 64 KiB, each power of two as likely as any other.
    pub(crate) fn split(&mut self) -> usize {
        let scale = 1 << self.below(17);
        1 + self.below(scale)
    }

    /// Fills `room`, the same for the same seed.
    pub(crate) fn fill(&mut self, room: &mut [u8]) {
        for piece in room.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.fill(&mut bytes);
        bytes
    }
}
