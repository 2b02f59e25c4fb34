//! Load shedding: above a high-water mark requests are refused, by the priority of their routes: `low` from 90 % of the
//! mark on, `normal` at it, `high` from 110 %. `proxy` asks before a request goes to a backend; control says how many fit
//! into memory ([`Fit`](super::Fit)), and what the log hears. Pure but for its cells: no I/O, no clock. Hot path: without a
//! mark it is a count in a cell of the worker's own, and one load.
//!
//! **Who counts.** Every worker counts what it has let in, in a cell that nobody else writes. With a mark the others' cells
//! are read for each request: a line each, which come in together, where a shared counter would be written twice a
//! request by all.

use crate::config::Priority;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence},
};

/// No mark.
const OFF: u64 = u64::MAX;

/// Who is shed: so many of the priorities, from the lowest up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// Nobody is.
    pub const NONE: Self = Self(0);

    /// Requests of that priority are.
    pub fn sheds(self, priority: Priority) -> bool {
        (priority as u8) < self.0
    }

    /// From 0, nobody, to 3, everybody: for the metric.
    pub fn number(self) -> u8 {
        self.0
    }

    /// For people.
    pub fn words(self) -> &'static str {
        ["none", "low", "low and normal", "all"][usize::from(self.0.min(3))]
    }
}

/// Where shedding begins, and where it ends again: by priority, from the lowest up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    begin: [u64; 3],
    end: [u64; 3],
}

impl Marks {
    /// Marks of a number of requests: `normal` ones are never more than `most` at a time, unless there are `high` ones among
    /// them.
    pub fn of_count(most: u64) -> Self {
        let tenth = most.div_ceil(10);
        Self::new([most.saturating_sub(tenth).max(1), most, most.saturating_add(tenth)], tenth)
    }

    /// Marks of bytes. `high` ones are shed at `last` at the latest, if that is above `most`.
    pub fn of_bytes(most: u64, last: u64) -> Self {
        let tenth = most.div_ceil(10);
        Self::new([most - tenth, most, most.saturating_add(tenth).min(last).max(most)], tenth)
    }

    /// Each ends a tenth of the mark below its beginning.
    fn new(begin: [u64; 3], tenth: u64) -> Self {
        Self { begin, end: begin.map(|begin| begin.saturating_sub(tenth)) }
    }

    /// Who is shed now that so much is held, where `before` were.
    pub fn next(&self, before: Level, held: u64) -> Level {
        let begun = self.begin.iter().take_while(|&&begin| held >= begin).count();
        let ended = self.end.iter().take_while(|&&end| held > end).count();
        // What has not begun, and has not ended either, stays as it was.
        Level((begun as u8).max((ended as u8).min(before.0)))
    }
}

/// Requests that have been let in, and those that were not. One a process.
#[derive(Debug)]
pub struct Shed {
    /// There is a mark.
    on: AtomicBool,
    /// The mark of requests in flight.
    most: AtomicU64,
    by_flight: AtomicU8,
    /// Who is shed because of memory, if so many are in flight.
    by_memory: AtomicU8,
    fits: AtomicU64,
    /// Nobody has asked for so much for a while.
    calm: AtomicBool,
    /// By worker.
    cells: Box<[Cell]>,
}

/// One worker's own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell {
    in_flight: AtomicU64,
    refused: AtomicU64,
    /// The most that there were in flight since somebody has looked.
    peak: AtomicU64,
}

impl Shed {
    /// Without a mark.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            on: AtomicBool::new(false),
            most: AtomicU64::new(OFF),
            by_flight: AtomicU8::default(),
            by_memory: AtomicU8::default(),
            fits: AtomicU64::new(OFF),
            calm: AtomicBool::default(),
            cells: (0..workers).map(|_| Cell::default()).collect(),
        })
    }

    /// The marks are others: that of requests in flight, and whether there is one of memory.
    pub fn set(&self, most: Option<u64>, memory: bool) {
        self.most.store(most.unwrap_or(OFF), Relaxed);
        if !memory {
            self.set_memory(Level::NONE, OFF);
        }
        self.on.store(most.is_some() || memory, Relaxed);
        self.settle();
    }

    /// These are shed because of memory while so many are in flight.
    pub fn set_memory(&self, level: Level, fits: u64) {
        self.by_memory.store(level.0, Relaxed);
        self.fits.store(fits, Relaxed);
    }

    /// There is a mark.
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// A request of that priority wants in, and is counted by `worker`, whose thread calls this, until it
    /// [leaves](Self::leave). False: it is shed, and not counted.
    #[must_use]
    pub fn admit(&self, worker: usize, priority: Priority) -> bool {
        let cell = &self.cells[worker];
        let own = cell.in_flight.load(Relaxed);
        cell.in_flight.store(own + 1, Relaxed);
        if !self.is_on() {
            return true;
        }
        if self.has_room(priority) {
            cell.peak.store(cell.peak.load(Relaxed).max(own + 1), Relaxed);
            return true;
        }
        cell.in_flight.store(own, Relaxed);
        cell.refused.store(cell.refused.load(Relaxed) + 1, Relaxed);
        false
    }

    /// A request that `worker` let in has ended.
    pub fn leave(&self, worker: usize) {
        let cell = &self.cells[worker].in_flight;
        cell.store(cell.load(Relaxed) - 1, Relaxed);
    }

    fn has_room(&self, priority: Priority) -> bool {
        // Of two workers that let one in at the same moment, one sees the other's at the least: never one too many.
        fence(SeqCst);
        let held = self.in_flight().saturating_sub(1);
        let fits = !self.by_memory().sheds(priority) || held < self.fits.load(Relaxed);
        fits && !self.look(held).sheds(priority)
    }

    /// Who is shed now that so many are in flight.
    fn look(&self, held: u64) -> Level {
        let (most, before) = (self.most.load(Relaxed), self.by_flight());
        let now = if most == OFF { Level::NONE } else { Marks::of_count(most).next(before, held) };
        if now != before {
            self.by_flight.store(now.0, Relaxed);
        }
        now
    }

    /// Looks again, though nobody asks.
    pub fn settle(&self) {
        self.look(self.in_flight());
    }

    /// Who is shed because of what is in flight.
    pub fn by_flight(&self) -> Level {
        Level(self.by_flight.load(Relaxed))
    }

    /// Nobody is in flight, nobody is refused, and that for a while; or it is over. What fits is remembered.
    pub fn rest(&self, calm: bool) {
        self.calm.store(calm && self.fits.load(Relaxed) > 0, Relaxed);
    }

    /// As [`Shed::by_memory`], but nobody while nobody comes to be shed: for people.
    pub fn seen_by_memory(&self) -> Level {
        if self.calm.load(Relaxed) { Level::NONE } else { self.by_memory() }
    }

    /// Who is shed because of memory, once more are in flight than fit.
    pub fn by_memory(&self) -> Level {
        Level(self.by_memory.load(Relaxed))
    }

    /// What has been let in and has not left.
    pub fn in_flight(&self) -> u64 {
        self.sum(|cell| &cell.in_flight)
    }

    /// The most that has been in flight since the last call, or a little more: workers have their peaks at different times.
    pub fn peak(&self) -> u64 {
        let of = |cell: &Cell| cell.peak.swap(0, Relaxed).max(cell.in_flight.load(Relaxed));
        self.cells.iter().map(of).sum()
    }

    /// What has been shed since the start.
    pub fn refused(&self) -> u64 {
        self.sum(|cell| &cell.refused)
    }

    fn sum(&self, of: impl Fn(&Cell) -> &AtomicU64) -> u64 {
        self.cells.iter().map(|cell| of(cell).load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

    fn levels(marks: Marks, held: &[u64]) -> Vec<u8> {
        let mut level = Level::NONE;
        let look = |held: &u64| {
            level = marks.next(level, *held);
            level.0
        };
        held.iter().map(look).collect()
    }

    #[test]
    fn the_lowest_is_shed_first_and_each_ends_a_tenth_below_its_beginning() {
        let marks = Marks::of_count(100);
        assert_eq!(levels(marks, &[0, 89, 90, 99, 100, 109, 110, 500]), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(levels(marks, &[110, 101, 100, 91, 90, 81, 80, 0]), [3, 3, 2, 2, 1, 1, 0, 0]);
        assert_eq!(levels(marks, &[100, 95, 89, 95]), [2, 2, 1, 1], "normal ones are let in again, and stay so");
        assert_eq!(levels(marks, &[500, 0]), [3, 0]);
        assert_eq!(levels(Marks::of_count(1), &[0, 1, 2, 1, 0]), [0, 2, 3, 2, 0]);
        assert_eq!(levels(Marks::of_count(10), &[8, 9, 10, 11, 10, 9, 8]), [0, 1, 2, 3, 2, 1, 0]);
    }

    #[test]
    fn memory_has_a_last_end() {
        assert_eq!(levels(Marks::of_bytes(1000, 5000), &[899, 900, 1000, 1099, 1100]), [0, 1, 2, 2, 3]);
        assert_eq!(levels(Marks::of_bytes(1000, 1050), &[1049, 1050]), [2, 3]);
        assert_eq!(levels(Marks::of_bytes(1000, 10), &[999, 1000]), [1, 3], "the mark is above the end: it is the end");
    }

    #[test]
    fn who_is_let_in_counts_until_it_leaves_and_who_is_not_does_not() {
        let shed = Shed::new(2);
        assert!(shed.admit(0, Priority::Low), "there is no mark");
        shed.set(Some(2), false);
        assert!(shed.admit(1, Priority::Normal));
        assert!(!shed.admit(0, Priority::Normal));
        assert!(!shed.admit(1, Priority::Low));
        assert!(shed.admit(1, Priority::High));
        assert!(!shed.admit(0, Priority::High));
        assert_eq!((shed.in_flight(), shed.refused(), shed.by_flight()), (3, 3, Level(3)));
        shed.leave(1);
        shed.leave(1);
        assert!(shed.admit(0, Priority::Normal));
        [0, 0].into_iter().for_each(|worker| shed.leave(worker));
        shed.settle();
        assert_eq!((shed.in_flight(), shed.by_flight()), (0, Level::NONE));
    }

    #[test]
    fn memory_sheds_what_does_not_fit_until_its_mark_is_gone() {
        let shed = Shed::new(1);
        shed.set(None, true);
        shed.set_memory(Level(2), 0);
        assert_eq!(ALL.map(|priority| shed.admit(0, priority)), [false, false, true]);
        shed.set_memory(Level(2), 2);
        assert_eq!(ALL.map(|priority| shed.admit(0, priority)), [true, false, true]);
        assert_eq!((shed.peak(), shed.refused()), (3, 3));
        shed.leave(0);
        assert_eq!((shed.peak(), shed.peak()), (2, 2));
        shed.rest(true);
        assert_eq!((shed.seen_by_memory(), shed.by_memory()), (Level::NONE, Level(2)));
        shed.rest(false);
        assert_eq!(shed.seen_by_memory(), Level(2));
        shed.set_memory(Level(2), 0);
        shed.rest(true);
        assert_eq!(shed.seen_by_memory(), Level(2), "whoever comes is shed");
        shed.set(None, false);
        assert_eq!(ALL.map(|priority| shed.admit(0, priority)), [true; 3]);
        assert_eq!(shed.in_flight(), 5);
        // A mark of requests stays, and that of memory goes.
        shed.set(Some(100), true);
        shed.set_memory(Level(3), 0);
        assert_eq!(ALL.map(|priority| shed.admit(0, priority)), [false; 3]);
        shed.set(Some(100), false);
        assert_eq!((ALL.map(|priority| shed.admit(0, priority)), shed.by_memory()), ([true; 3], Level::NONE));
        // And a lower one holds at once.
        shed.set(Some(6), false);
        assert_eq!(ALL.map(|priority| shed.admit(0, priority)), [false; 3]);
    }

    #[test]
    fn no_worker_lets_one_in_too_many() {
        const WORKERS: usize = 8;
        let (shed, inside) = (Shed::new(WORKERS), AtomicUsize::default());
        shed.set(Some(5), false);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (shed, inside) = (&shed, &inside);
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if shed.admit(worker, Priority::Normal) {
                            assert!(inside.fetch_add(1, SeqCst) < 5, "one too many");
                            std::hint::spin_loop();
                            inside.fetch_sub(1, SeqCst);
                            shed.leave(worker);
                        }
                    }
                });
            }
        });
        assert_eq!(shed.in_flight(), 0);
        assert!(shed.refused() > 0, "somebody has met the mark");
    }
}
