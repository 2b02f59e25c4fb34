//! The cells that a worker counts in: plain counts, and counts by status number. Hot path: no lock, no locked
//! instruction; memory is taken only for every seventh status that one worker sees in one place.
//!
//! **One writer.** A cell belongs to one worker, whose thread adds by a relaxed load and a relaxed store (a plain `mov`
//! each). Any thread may read at any time and sees a whole value that is at most a little old. Two writers would lose
//! counts; they could do no other harm.

use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Cells on one cache line.
const WIDTH: usize = 8;
/// Statuses that [`Codes`] hold without more memory. With the pointer to more they fill a cache line.
const FIRST: usize = 6;
/// A cell of [`Codes`] holds its status above these bits, and how often it was counted in them.
const COUNT_BITS: u32 = 54;

/// A number that only its owner changes.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds `n`. For the owner alone.
    pub(super) fn add(&self, n: u64) {
        self.set(self.value().wrapping_add(n));
    }

    /// Adds to a count that is kept as a float. For the owner alone.
    pub(super) fn add_float(&self, n: f64) {
        self.set((self.float() + n).to_bits());
    }

    /// What has been counted.
    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// What has been counted by [`Count::add_float`].
    pub(super) fn float(&self) -> f64 {
        f64::from_bits(self.value())
    }

    fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }
}

/// Cells that fill whole cache lines, so that nobody else writes beside them.
#[derive(Debug)]
pub(super) struct Cells(Box<[Line]>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([Count; WIDTH]);

impl Cells {
    /// At least `n`, all at 0.
    pub(super) fn new(n: usize) -> Self {
        Self(iter::repeat_with(Line::default).take(n.div_ceil(WIDTH)).collect())
    }

    /// The cell at `index`.
    pub(super) fn at(&self, index: usize) -> &Count {
        &self.0[index / WIDTH].0[index % WIDTH]
    }
}

/// Counts by status: any number can be counted, and only statuses that were seen take memory: a cache line for every
/// six, in the order in which they came. So the usual ones are found in the first line, and 901 of them, which takes
/// malice, are looked through in about a microsecond.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Codes {
    /// Filled from the front, each with a status of its own; 0 is a free one.
    first: [Count; FIRST],
    rest: OnceLock<Box<Codes>>,
}

impl Codes {
    /// Counts one `status`; one outside 100 to 999 counts as 0, so that nothing goes uncounted. For the owner alone.
    pub(super) fn add(&self, status: u16) {
        let code = if (100..1000).contains(&status) { u64::from(status) } else { 0 };
        let mut line = self;
        while !line.add_here(code) {
            line = line.rest.get_or_init(Box::default);
        }
    }

    fn add_here(&self, code: u64) -> bool {
        for cell in &self.first {
            let value = cell.value();
            if value >> COUNT_BITS == code || value == 0 {
                cell.set((code << COUNT_BITS) | ((value + 1) & COUNTED));
                return true;
            }
        }
        false
    }

    /// How often each status was counted, in no order. No status comes twice.
    fn counted(&self) -> impl Iterator<Item = (u16, u64)> {
        let lines = iter::successors(Some(self), |line| line.rest.get().map(Box::as_ref));
        let values = lines.flat_map(|line| line.first.iter().map(Count::value)).take_while(|value| *value != 0);
        values.map(|value| ((value >> COUNT_BITS) as u16, value & COUNTED))
    }

    /// The sums of several tables, by status, ascending, without those at 0.
    pub(super) fn total<'a>(tables: impl IntoIterator<Item = &'a Self>) -> Vec<(u16, u64)> {
        let mut total: Vec<(u16, u64)> = tables.into_iter().flat_map(Self::counted).collect();
        total.sort_unstable();
        total.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 += later.1;
            }
            same
        });
        total
    }

    /// How often anything was counted.
    pub(super) fn sum<'a>(tables: impl IntoIterator<Item = &'a Self>) -> u64 {
        tables.into_iter().flat_map(Self::counted).map(|(_, count)| count).sum()
    }
}

const COUNTED: u64 = (1 << COUNT_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_counted_and_what_is_no_status_is_counted_as_0() {
        let (one, other) = (Codes::default(), Codes::default());
        for status in [200, 0, 99, 100, 200, 200, 404, 599, 999, 1000, u16::MAX] {
            one.add(status);
        }
        other.add(404);
        other.add(200);
        let tables = [&one, &other, &Codes::default()];
        assert_eq!(Codes::total(tables), [(0, 4), (100, 1), (200, 4), (404, 2), (599, 1), (999, 1)]);
        assert_eq!(Codes::sum(tables), 13);
    }

    #[test]
    fn a_status_takes_a_sixth_of_a_cache_line() {
        assert_eq!(size_of::<Codes>(), 64);
        let codes = Codes::default();
        (200..200 + FIRST as u16).for_each(|status| codes.add(status));
        assert!(codes.rest.get().is_none());
        codes.add(404);
        assert!(codes.rest.get().is_some());
    }

    #[test]
    fn every_status_takes_bounded_memory_and_is_counted() {
        let codes = Codes::default();
        assert!(Codes::total([&codes]).is_empty());
        for _ in 0..2 {
            (0..=u16::MAX).for_each(|status| codes.add(status));
        }
        let total = Codes::total([&codes]);
        assert_eq!(total.len(), 901);
        assert_eq!(total[0], (0, 2 * (65_536 - 900)));
        assert!(total[1..].iter().all(|(_, count)| *count == 2));
        let lines = iter::successors(Some(&codes), |line| line.rest.get().map(Box::as_ref)).count();
        assert_eq!(lines, 901_usize.div_ceil(FIRST));
    }
}
