//! How many of the last requests failed: a window that slides by tenths. Hot path: what goes well is one load and one add,
//! without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Parts of the window.
const PARTS: u64 = 10;
/// Bits of a count.
const BITS: u32 = 22;
const MASK: u64 = (1 << BITS) - 1;
/// A part whose counts come here has them halved: the share stays, and there is room for what other workers add meanwhile.
const FULL: u64 = 1 << (BITS - 1);
/// One request in the middle of a word; failures are below, the number of the part above.
const ONE: u64 = 1 << BITS;

/// Requests and failures, by part, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Window([AtomicU64; PARTS as usize]);

impl Window {
    /// A request went well.
    pub(super) fn passed(&self, window: u64, now: u64) {
        self.add(window, now, ONE);
    }

    /// One has failed; `counted`: it was told as one that went well.
    pub(super) fn failed(&self, window: u64, now: u64, counted: bool) {
        self.add(window, now, if counted { 1 } else { ONE + 1 });
    }

    /// Requests and failures of the whole window.
    pub(super) fn sum(&self, window: u64, now: u64) -> (u64, u64) {
        let newest = part(window, now);
        let words = self.0.iter().map(|word| word.load(Relaxed)).filter(|&word| age(newest, word) < PARTS);
        words.fold((0, 0), |(all, failed), word| (all + requests(word), failed + failures(word)))
    }

    /// Nothing has been seen.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Relaxed));
    }

    fn add(&self, window: u64, now: u64, more: u64) {
        let number = part(window, now);
        let at = &self.0[(number % PARTS) as usize];
        let word = at.load(Relaxed);
        if word >> (2 * BITS) == number && requests(word) < FULL {
            // Another worker may begin the next round of the parts meanwhile: then it counts there.
            at.fetch_add(more, Relaxed);
            return;
        }
        let change = |word: u64| {
            let kept = if word >> (2 * BITS) == number { word } else { number << (2 * BITS) };
            let halved = || number << (2 * BITS) | (requests(kept) / 2) << BITS | (failures(kept) / 2);
            Some((if requests(kept) < FULL { kept } else { halved() }) + more)
        };
        let _ = at.fetch_update(Relaxed, Relaxed, change);
    }
}

/// The number of the part that it is, never 0, in as many bits as a word has for it.
fn part(window: u64, now: u64) -> u64 {
    (now / (window / PARTS).max(1)) % NUMBERS + 1
}

/// Numbers of parts: a multiple of [`PARTS`], so that they go around evenly.
const NUMBERS: u64 = ((1 << (64 - 2 * BITS)) - 1) / PARTS * PARTS;

/// How many parts ago a word was begun; a clock of another worker may be a little ahead.
fn age(newest: u64, word: u64) -> u64 {
    let number = word >> (2 * BITS);
    if number == 0 {
        return PARTS;
    }
    let age = (newest + NUMBERS - number) % NUMBERS;
    if age == NUMBERS - 1 { 0 } else { age }
}

fn requests(word: u64) -> u64 {
    word >> BITS & MASK
}

fn failures(word: u64) -> u64 {
    word & MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const WINDOW: u64 = 10 * SECOND;

    #[test]
    fn what_is_older_than_ten_parts_is_not_counted() {
        let window = Window::default();
        for second in 0..40 {
            window.passed(WINDOW, second * SECOND);
            window.failed(WINDOW, second * SECOND, true);
            window.failed(WINDOW, second * SECOND + 999_999, false);
            let seconds = (second + 1).min(10);
            assert_eq!(window.sum(WINDOW, second * SECOND + 999_999), (2 * seconds, 2 * seconds));
        }
        assert_eq!(window.sum(WINDOW, 48 * SECOND), (2, 2));
        assert_eq!(window.sum(WINDOW, 49 * SECOND), (0, 0));
        window.clear();
        assert_eq!(window.sum(WINDOW, 39 * SECOND), (0, 0));
    }

    #[test]
    fn numbers_of_parts_go_around() {
        let window = Window::default();
        let around = NUMBERS * SECOND;
        for second in 0..30 {
            let now = around - 15 * SECOND + second * SECOND;
            window.passed(WINDOW, now);
            assert_eq!(window.sum(WINDOW, now).0, (second + 1).min(10), "{second}");
        }
    }

    #[test]
    fn a_clock_that_is_behind_sees_what_is_new() {
        let window = Window::default();
        window.passed(WINDOW, 5 * SECOND);
        assert_eq!(window.sum(WINDOW, 5 * SECOND - 1), (1, 0));
    }

    #[test]
    fn a_part_that_is_full_keeps_its_share() {
        let window = Window::default();
        for number in 0..FULL {
            if number % 4 == 0 { window.failed(WINDOW, 0, false) } else { window.passed(WINDOW, 0) }
        }
        assert_eq!(window.sum(WINDOW, 0), (FULL, FULL.div_ceil(4)));
        window.passed(WINDOW, 0);
        let (all, failed) = window.sum(WINDOW, 0);
        assert_eq!((all, failed), (FULL / 2 + 1, FULL.div_ceil(4) / 2));
    }

    #[test]
    fn workers_lose_nothing() {
        let window = Window::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| window.failed(WINDOW, SECOND, false)));
            }
        });
        assert_eq!(window.sum(WINDOW, SECOND), (40_000, 40_000));
    }
}
