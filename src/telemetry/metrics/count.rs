//! The cells that a worker counts in: plain counts, and counts by status number. Hot path: no lock, no locked
//! instruction; memory is taken once, when a status of a new hundred is first seen.
//!
//! **One writer.** A cell belongs to the thread that owns its shard, which adds by a relaxed load and a relaxed store
//! (a plain `mov` each). Any thread may read at any time and sees a whole value that is at most a little old. Two
//! writers would lose counts; they could do no other harm.

use std::array;
use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Hundreds of status numbers that are counted: 100 to 999.
const HUNDREDS: usize = 9;

/// A number that only its owner changes.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds `n`. For the owner alone.
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds to a count that is kept as a float. For the owner alone.
    pub(super) fn add_float(&self, n: f64) {
        let sum = f64::from_bits(self.0.load(Relaxed)) + n;
        self.0.store(sum.to_bits(), Relaxed);
    }

    /// What has been counted.
    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// What has been counted by [`Count::add_float`].
    pub(super) fn float(&self) -> f64 {
        f64::from_bits(self.value())
    }
}

/// A hundred cells, on cache lines that no other worker writes.
#[derive(Debug)]
#[repr(align(64))]
struct Hundred([Count; 100]);

#[derive(Debug)]
#[repr(align(64))]
struct Blocks {
    hundreds: [OnceLock<Box<Hundred>>; HUNDREDS],
    /// A number outside 100 to 999 is no status: exported as `code="0"`, so that nothing goes uncounted.
    none: Count,
}

/// Counts by status: any number can be counted, and only the hundreds that were seen take memory. 16 bytes when unused.
#[derive(Debug, Default)]
pub(super) struct Codes(OnceLock<Box<Blocks>>);

impl Codes {
    /// Counts one `status`; any number is fine. For the owner alone.
    pub(super) fn add(&self, status: u16) {
        let blocks = self.0.get_or_init(new_blocks);
        let (hundred, rest) = (usize::from(status / 100), usize::from(status % 100));
        match blocks.hundreds.get(hundred.wrapping_sub(1)) {
            Some(block) => block.get_or_init(new_hundred).0[rest].add(1),
            None => blocks.none.add(1),
        }
    }

    /// The sums of several tables, by status, without those at 0.
    pub(super) fn total<'a>(tables: impl Iterator<Item = &'a Self>) -> Vec<(u16, u64)> {
        let tables: Vec<&Blocks> = tables.filter_map(|codes| codes.0.get().map(Box::as_ref)).collect();
        if tables.is_empty() {
            return Vec::new();
        }
        let none: u64 = tables.iter().map(|blocks| blocks.none.value()).sum();
        let counted = (1..=HUNDREDS as u16).flat_map(|hundred| total_of_hundred(&tables, hundred));
        iter::once((0, none)).chain(counted).filter(|(_, count)| *count > 0).collect()
    }
}

fn total_of_hundred(tables: &[&Blocks], hundred: u16) -> Vec<(u16, u64)> {
    let blocks: Vec<&Hundred> =
        tables.iter().filter_map(|blocks| blocks.hundreds[usize::from(hundred) - 1].get().map(Box::as_ref)).collect();
    if blocks.is_empty() {
        return Vec::new();
    }
    let sum = |rest: u16| blocks.iter().map(|block| block.0[usize::from(rest)].value()).sum();
    (0..100).map(|rest| (hundred * 100 + rest, sum(rest))).collect()
}

#[cold]
fn new_blocks() -> Box<Blocks> {
    Box::new(Blocks { hundreds: array::from_fn(|_| OnceLock::new()), none: Count::default() })
}

#[cold]
fn new_hundred() -> Box<Hundred> {
    Box::new(Hundred(array::from_fn(|_| Count::default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_counted_and_what_is_no_status_is_counted_as_0() {
        let (one, other) = (Codes::default(), Codes::default());
        for status in [0, 99, 100, 200, 200, 404, 599, 999, 1000, u16::MAX] {
            one.add(status);
        }
        other.add(200);
        let total = Codes::total([&one, &other, &Codes::default()].into_iter());
        assert_eq!(total, [(0, 4), (100, 1), (200, 3), (404, 1), (599, 1), (999, 1)]);
    }

    #[test]
    fn every_status_takes_bounded_memory_and_none_takes_almost_none() {
        assert!(size_of::<Codes>() <= 16);
        let codes = Codes::default();
        assert!(Codes::total([&codes].into_iter()).is_empty());
        (0..=u16::MAX).for_each(|status| codes.add(status));
        let total = Codes::total([&codes].into_iter());
        assert_eq!(total.len(), 901);
        assert_eq!(total.iter().map(|(_, count)| count).sum::<u64>(), 65_536);
    }
}
