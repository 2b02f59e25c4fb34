//! Lets something be logged once in a while, however often it happens. For what strangers can make happen.

use super::locked;
use std::{
    collections::HashSet,
    hash::Hash,
    sync::Mutex,
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
        let mut said = locked(&self.said);
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

/// How many are told apart between two lines.
const MOST: usize = 1000;

/// As [`Seldom`], for what happens to many: counts to how many, too.
#[derive(Debug)]
pub struct SeldomOf<K> {
    seldom: Seldom,
    met: Mutex<HashSet<K>>,
}

impl<K: Hash + Eq> SeldomOf<K> {
    /// Once in so much time.
    pub fn new(every: Duration) -> Self {
        Self { seldom: Seldom::new(every), met: Mutex::default() }
    }

    /// It has happened to `whom`. If it is said now: how often since it was said last, and to how many; of very many it says
    /// a thousand.
    pub fn happens_to(&self, whom: K) -> Option<(u64, usize)> {
        let mut met = locked(&self.met);
        if met.len() < MOST {
            met.insert(whom);
        }
        self.seldom.happens().map(|times| (times, std::mem::take(&mut *met).len()))
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
    #[test]
    fn it_is_said_to_how_many_it_has_happened() {
        let always = SeldomOf::new(Duration::ZERO);
        assert_eq!([always.happens_to(1), always.happens_to(1)], [Some((1, 1)), Some((1, 1))]);
        let never_again = SeldomOf::new(Duration::MAX);
        assert_eq!(never_again.happens_to(0), Some((1, 1)));
        assert!((0..5000).all(|whom| never_again.happens_to(whom % 3).is_none()));
        assert_eq!(never_again.met.lock().unwrap().len(), 3);
        assert!((0..5000).all(|whom| never_again.happens_to(whom).is_none()));
        assert_eq!(never_again.met.lock().unwrap().len(), MOST);
        let now = SeldomOf { seldom: Seldom::new(Duration::ZERO), met: Mutex::new([1, 2].into()) };
        assert_eq!(now.happens_to(3), Some((1, 3)));
    }
}
