//! When checks come: pure. Called by `task` and by the monitor.
//!
//! Checks never herd: each interval varies by a tenth, and many that begin together are spread over a moment at first
//! and over their whole interval from then on.

use crate::balance::splitmix64;
use std::time::Duration;

/// More checks than this that begin together are spread.
const MANY: usize = 100;
/// So long at most; and no longer than a tenth of the interval.
const SPREAD: Duration = Duration::from_secs(1);

/// Random bits; not for secrets.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        splitmix64(&mut self.0)
    }

    /// From 0 to 1, without 1.
    fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The place of a check among those that begin together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub number: usize,
    pub of: usize,
}

impl Place {
    /// So many begin together that they are spread.
    pub(super) fn is_crowded(self) -> bool {
        self.of > MANY
    }

    /// How long the first check waits: not at all, but in a crowd.
    pub(super) fn delay(self, interval: Duration) -> Duration {
        if !self.is_crowded() {
            return Duration::ZERO;
        }
        (interval / 10).min(SPREAD).mul_f64(self.number as f64 / self.of as f64)
    }
}

/// `interval`, give or take a tenth.
pub(super) fn jittered(interval: Duration, random: &mut Random) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random.share())
}

/// After the first check of a crowd: from 0.1 to 1.1 intervals, so that the crowd is even over a whole one.
pub(super) fn phase(interval: Duration, random: &mut Random) -> Duration {
    interval.mul_f64(0.1 + random.share())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn few_checks_begin_at_once_and_many_within_a_second() {
        assert_eq!(Place { number: 99, of: 100 }.delay(TEN), Duration::ZERO);
        assert_eq!(Place { number: 0, of: 10_000 }.delay(TEN), Duration::ZERO);
        let last = Place { number: 9_999, of: 10_000 }.delay(TEN);
        assert!(last > Duration::from_millis(990) && last < SPREAD, "{last:?}");
        let last = Place { number: 199, of: 200 }.delay(Duration::from_secs(1));
        assert!(last > Duration::from_millis(90) && last < Duration::from_millis(100), "{last:?}");
    }

    #[test]
    fn an_interval_varies_by_a_tenth_evenly() {
        let seed = 42;
        let mut random = Random::new(seed);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let wait = jittered(TEN, &mut random).as_secs_f64();
            assert!((9.0..11.0).contains(&wait), "seed {seed}: {wait}");
            tenths[((wait - 9.0) * 5.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1100).contains(count)), "seed {seed}: {tenths:?}");
    }

    #[test]
    fn a_phase_is_anywhere_in_the_interval() {
        let seed = 7;
        let mut random = Random::new(seed);
        let waits: Vec<f64> = (0..1000).map(|_| phase(TEN, &mut random).as_secs_f64()).collect();
        assert!(waits.iter().all(|wait| (1.0..11.0).contains(wait)), "seed {seed}");
        assert!(waits.iter().any(|wait| *wait < 1.2) && waits.iter().any(|wait| *wait > 10.8), "seed {seed}");
    }
}
