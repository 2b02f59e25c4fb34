//! A backend that joins a running pool, or comes back, takes its share little by little: it may have caches to fill. Pure:
//! states and time are arguments. Control keeps one [`SlowStart`] with each backend, and asks it when a table is made.

use crate::telemetry::metrics::State;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The share of its weight that a backend begins with.
const FIRST: f64 = 0.1;
/// A whole ramp has so many steps,
const STEPS: u32 = 20;
/// and none comes sooner than this after the one before.
const LEAST_STEP: Duration = Duration::from_millis(250);

/// How far one backend has come: kept over reloads, which neither begin a ramp anew nor end it.
#[derive(Debug, Default)]
pub struct SlowStart(Mutex<Ramp>);

/// What tables have seen of a backend so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ramp {
    /// Nothing.
    #[default]
    New,
    /// Its pool began with it, and it has not served yet: it will with all its weight.
    Founder,
    /// It does not serve, and will begin slowly.
    Away,
    /// It has begun at that moment.
    Begun(Instant),
    /// It serves with all its weight.
    Whole,
}

impl SlowStart {
    /// Its pool makes a table, with it in `state`: its share of its weight, above 0. `founds` = the table is the pool's
    /// first; `time` = how long a ramp takes.
    pub fn stands(&self, state: State, founds: bool, time: Option<Duration>, now: Instant) -> f64 {
        let mut ramp = self.lock();
        *ramp = ramp.next(state, founds, time, now);
        ramp.share(time, now)
    }

    /// When it should stand in its pool's next table, for the sake of its ramp; `None`: it is not on one.
    pub fn next_step(&self, time: Option<Duration>, now: Instant) -> Option<Duration> {
        let left = self.lock().left(time, now)?;
        Some((time? / STEPS).min(left).max(LEAST_STEP))
    }

    /// Its pool does not have it any more: if it comes back, it begins slowly.
    pub fn leaves(&self) {
        *self.lock() = Ramp::Away;
    }

    fn lock(&self) -> MutexGuard<'_, Ramp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ramp {
    fn next(self, state: State, founds: bool, time: Option<Duration>, now: Instant) -> Self {
        let known = match self {
            Self::New if founds => Self::Founder,
            Self::New => Self::Away,
            known => known,
        };
        match (known, state) {
            // Nothing is known of it: that is no news.
            (known, State::Starting) => known,
            (_, State::Drain | State::Maintenance | State::Down | State::Ejected) => Self::Away,
            (Self::Founder, _) => Self::Whole,
            (Self::Away, _) => Self::Begun(now).or_whole(time, now),
            (known, _) => known.or_whole(time, now),
        }
    }

    /// A ramp that is over stays so, whatever the next configuration says of its length.
    fn or_whole(self, time: Option<Duration>, now: Instant) -> Self {
        if self.left(time, now).is_some() { self } else { Self::Whole }
    }

    /// The rest of the ramp; `None`: there is none.
    fn left(self, time: Option<Duration>, now: Instant) -> Option<Duration> {
        let Self::Begun(at) = self else { return None };
        time?.checked_sub(now.saturating_duration_since(at)).filter(|left| !left.is_zero())
    }

    fn share(self, time: Option<Duration>, now: Instant) -> f64 {
        match (self, time) {
            (Self::Begun(at), Some(time)) if self.left(Some(time), now).is_some() => {
                let done = now.saturating_duration_since(at).as_secs_f64() / time.as_secs_f64();
                FIRST + (1.0 - FIRST) * done
            }
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Option<Duration> = Some(Duration::from_secs(10));

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// One that its pool has had from its first table on, in that state.
    fn founder(state: State, now: Instant) -> SlowStart {
        let slow = SlowStart::default();
        assert_eq!(slow.stands(state, true, TIME, now), 1.0);
        slow
    }

    #[test]
    fn a_ramp_is_linear_monotone_and_never_zero() {
        let (slow, start) = (SlowStart::default(), Instant::now());
        assert_eq!(slow.stands(State::Ready, false, TIME, start), FIRST, "it joins a pool that runs");
        let (mut last, mut now) = (0.0, start);
        while let Some(step) = slow.next_step(TIME, now) {
            assert!(step >= LEAST_STEP && step <= seconds(0.5));
            let share = slow.stands(State::Ready, false, TIME, now);
            let wanted = 0.1 + 0.09 * (now - start).as_secs_f64();
            assert!(share > last && share < 1.0 && (share - wanted).abs() < 1e-9, "{share} for {wanted}");
            (last, now) = (share, now + step);
        }
        assert_eq!(now - start, seconds(10.0), "twenty steps");
        assert_eq!(slow.stands(State::Ready, false, TIME, now), 1.0);
        assert_eq!(*slow.lock(), Ramp::Whole);
    }

    #[test]
    fn who_comes_back_begins_slowly() {
        let start = Instant::now();
        for away in [State::Down, State::Drain, State::Maintenance, State::Ejected] {
            let slow = founder(State::Ready, start);
            slow.stands(away, false, TIME, start);
            assert_eq!(slow.next_step(TIME, start), None, "nobody waits for {away:?}");
            assert_eq!(slow.stands(State::Ready, false, TIME, start + seconds(1.0)), FIRST);
            assert_eq!(slow.stands(State::Degraded, false, TIME, start + seconds(6.0)), 0.55, "slow checks are none");
            slow.stands(away, false, TIME, start + seconds(7.0));
            assert_eq!(slow.stands(State::Ready, false, TIME, start + seconds(8.0)), FIRST, "once more");
        }
    }

    #[test]
    fn the_start_of_a_pool_is_no_recovery() {
        let start = Instant::now();
        for (first, share) in [(State::Ready, 1.0), (State::Starting, 1.0), (State::Down, FIRST)] {
            let slow = founder(first, start);
            assert_eq!(slow.stands(State::Ready, false, TIME, start + seconds(1.0)), share, "{first:?}");
        }
    }

    #[test]
    fn who_joins_begins_when_it_can_serve() {
        let (slow, start) = (SlowStart::default(), Instant::now());
        slow.stands(State::Starting, false, TIME, start);
        assert_eq!(slow.next_step(TIME, start), None);
        assert_eq!(slow.stands(State::Ready, false, TIME, start + seconds(30.0)), FIRST);
        slow.stands(State::Starting, false, TIME, start + seconds(35.0));
        assert_eq!(slow.stands(State::Ready, false, TIME, start + seconds(35.0)), 0.55, "new checks end no ramp");
    }

    #[test]
    fn another_length_counts_for_ramps_that_are_not_over() {
        let start = Instant::now();
        let slow = SlowStart::default();
        slow.stands(State::Ready, false, TIME, start);
        let (longer, later) = (Some(seconds(50.0)), start + seconds(5.0));
        assert_eq!(slow.stands(State::Ready, false, longer, later), 0.19);
        assert_eq!(slow.stands(State::Ready, false, None, later), 1.0);
        assert_eq!(slow.stands(State::Ready, false, longer, later), 1.0, "it was over");
        let slow = founder(State::Down, start);
        assert_eq!(slow.stands(State::Ready, false, None, start), 1.0);
        assert_eq!(slow.next_step(None, start), None);
        assert_eq!(slow.stands(State::Ready, false, TIME, start), 1.0, "it has begun without a ramp");
    }

    #[test]
    fn who_was_taken_out_joins_anew() {
        let start = Instant::now();
        let slow = founder(State::Ready, start);
        slow.leaves();
        assert_eq!(slow.stands(State::Ready, false, TIME, start), FIRST);
    }

    #[test]
    fn short_ramps_end_within_a_step() {
        let (slow, start, time) = (SlowStart::default(), Instant::now(), Some(seconds(0.1)));
        slow.stands(State::Ready, false, time, start);
        assert_eq!(slow.next_step(time, start), Some(LEAST_STEP));
        assert_eq!(slow.stands(State::Ready, false, time, start + LEAST_STEP), 1.0);
    }
}
