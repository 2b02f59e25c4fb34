//! When a name is asked for again: pure. Called by `names`.

use std::time::Duration;

/// An answer is never asked for again sooner, whatever its TTL,
const SOONEST: Duration = Duration::from_secs(1);
/// nor later.
const LATEST: Duration = Duration::from_secs(3600);
/// After the first failure; then twice as long each time,
const FIRST: Duration = Duration::from_secs(1);
/// up to this.
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait after an answer with that TTL. `random` is from 0 to 1, and spreads the waits by a tenth either way.
pub(super) fn after_answer(ttl: Duration, random: f64) -> Duration {
    jittered(ttl.clamp(SOONEST, LATEST), random)
}

/// How long to wait after so many failures in a row, at least one.
pub(super) fn after_failure(failures: u32, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    jittered(doubled.min(LONGEST), random)
}

fn jittered(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(0.9 + 0.2 * random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVEN: f64 = 0.5;

    #[test]
    fn a_ttl_is_bounded_and_failures_wait_twice_as_long_each_time() {
        let seconds = |wait: Duration| wait.as_secs_f64().round() as u64;
        let answers: Vec<_> =
            [0, 1, 60, 3600, 1 << 31].map(|ttl| seconds(after_answer(Duration::from_secs(ttl), EVEN))).into();
        assert_eq!(answers, [1, 1, 60, 3600, 3600]);
        let failures: Vec<_> = [1, 2, 3, 4, 5, 6, 7, 100, u32::MAX].map(|n| seconds(after_failure(n, EVEN))).into();
        assert_eq!(failures, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
    }

    proptest! {
        #[test]
        fn every_wait_is_within_a_tenth(ttl in 0u64..u64::from(u32::MAX), failures in 1u32.., random in 0.0..1.0f64) {
            let (answer, failure) = (after_answer(Duration::from_secs(ttl), random), after_failure(failures, random));
            let bound = ttl.clamp(1, 3600) as f64;
            prop_assert!((bound * 0.899..bound * 1.101).contains(&answer.as_secs_f64()));
            prop_assert!((0.9..=33.0).contains(&failure.as_secs_f64()));
        }
    }
}
