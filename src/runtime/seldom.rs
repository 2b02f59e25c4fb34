//! Lets something be logged once in a while, however often it happens. For what strangers can make happen.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Who may be told of it, and when.
#[derive(Debug)]
pub(crate) struct Seldom {
    every: Duration,
    said: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Once in so much time.
    pub(super) const fn new(every: Duration) -> Self {
        Self { every, said: Mutex::new(None) }
    }

    /// Nothing has been said for that time; now it is. Takes a lock: for what is no hot path.
    pub(super) fn may_speak(&self) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let may = said.is_none_or(|at| at.elapsed() >= self.every);
        if may {
            *said = Some(Instant::now());
        }
        may
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
    }
}
