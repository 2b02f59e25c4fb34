//! Lets something be logged once in a while, however often it happens. For what strangers can make happen.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Who may be told of it, and when.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    said: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    /// Once in so much time.
    pub const fn new(every: Duration) -> Self {
        Self { every, said: Mutex::new((None, 0)) }
    }

    /// It has happened. If nothing has been said for that time, it is said now: how often it has happened since it was said
    /// last. Takes a lock: for what is no hot path.
    pub fn happens(&self) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, times) = &mut *said;
        *times += 1;
        if at.is_some_and(|at| at.elapsed() < self.every) {
            return None;
        }
        *at = Some(Instant::now());
        Some(std::mem::take(times))
    }

    /// As [`Seldom::happens`], where nobody wants to know how often.
    pub fn may_speak(&self) -> bool {
        self.happens().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_not_before_its_time() {
        let (never_again, always) = (Seldom::new(Duration::MAX), Seldom::new(Duration::ZERO));
        assert_eq!([never_again.may_speak(), never_again.may_speak()], [true, false]);
        assert_eq!([always.may_speak(), always.may_speak()], [true, true]);
        assert_eq!([always.happens(), always.happens()], [Some(1), Some(1)]);
        assert_eq!(never_again.happens(), None);
        let now_and_then = Seldom { every: Duration::ZERO, said: Mutex::new((None, 6)) };
        assert_eq!(now_and_then.happens(), Some(7), "all of them are counted");
    }
}
