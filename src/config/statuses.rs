//! A set of statuses of failures. Pure.
//!
//! Filled by `read::retry` and `read::breaker`; looked at with each answer, so it is a few words and no list.

use std::ops::RangeInclusive;

/// Statuses from 400 to 599.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses([u64; 4]);

/// The first that can be in it, and the first that cannot.
const FIRST: u16 = 400;
const END: u16 = 600;

impl Statuses {
    /// One more; any other than 400 to 599 changes nothing.
    pub fn add(&mut self, status: u16) {
        if let Some((word, bit)) = place(status) {
            self.0[word] |= bit;
        }
    }

    /// Those of `ranges`.
    pub fn of(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        let mut set = Self::default();
        ranges.into_iter().flatten().for_each(|status| set.add(status));
        set
    }

    /// It is one of them.
    pub fn has(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

fn place(status: u16) -> Option<(usize, u64)> {
    let number = (FIRST..END).contains(&status).then(|| usize::from(status - FIRST))?;
    Some((number / 64, 1 << (number % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_a_failure_is_its_own() {
        let mut set = Statuses::default();
        assert!(set.is_empty());
        for status in [0, 200, 399, 600, u16::MAX] {
            set.add(status);
        }
        assert!(set.is_empty(), "these are no failures");
        for status in FIRST..END {
            let mut one = Statuses::default();
            one.add(status);
            assert!((0..1000).all(|other| one.has(other) == (other == status)), "{status}");
            set.add(status);
        }
        assert!((FIRST..END).all(|status| set.has(status)));
        assert_eq!(set, Statuses::of([400..=599]));
        let two = Statuses::of([500..=500, 502..=503]);
        assert!((0..1000).all(|status| two.has(status) == [500, 502, 503].contains(&status)));
    }
}
