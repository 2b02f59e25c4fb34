//! How many requests at a time fit into memory, once that is at its high-water mark. Pure: called by control ten times a
//! second, time is the number of looks.
//!
//! What a process has freed often stays with its allocator: resident memory that has come to the mark once may never fall
//! again, and who sheds by it alone sheds for ever. But memory that is kept is used again: as long as no more requests are
//! in flight than there were, it does not grow. So the mark becomes a bound on what is in flight: at first nine tenths of
//! what had been when it was crossed; three quarters of what is, each time that memory grows still; and a tenth more with
//! each second in which it does not though the bound was met. At the last end it is one at a time.

use super::{Level, Marks};

/// No bound.
const OFF: u64 = u64::MAX;
/// Peaks of what is in flight are remembered for so many looks, and as many again.
const WINDOW: u32 = 100;
/// After so many looks without growth there may be room for more.
const CALM: u32 = 10;

/// One mark of memory.
#[derive(Debug)]
pub struct Fit {
    mark: u64,
    last: u64,
    level: Level,
    /// So many requests fit.
    most: u64,
    /// The most memory that there has been with it.
    bytes: u64,
    calm: u32,
    /// In flight, at the most: in this window, and in the one before.
    peaks: [u64; 2],
    looks: u32,
    /// It has been above the mark from the first look on.
    always: bool,
}

impl Fit {
    /// A mark of so many bytes, and the last end.
    pub fn new(mark: u64, last: u64) -> Self {
        let (level, most, always) = (Level::NONE, OFF, true);
        Self { mark, last, level, most, bytes: 0, calm: 0, peaks: [0; 2], looks: 0, always }
    }

    /// The mark and the last end are others, if they are.
    pub fn set(&mut self, mark: u64, last: u64) {
        if (self.mark, self.last) != (mark, last) {
            *self = Self { peaks: self.peaks, looks: self.looks, ..Self::new(mark, last) };
        }
    }

    /// So many bytes are held, and at most so many requests were in flight since the last look: whose requests are shed if
    /// how many are in flight.
    pub fn look(&mut self, bytes: u64, peak: u64) -> (Level, u64) {
        self.remember(peak);
        let before = self.level;
        self.level = Marks::of_bytes(self.mark, self.last).next(before, bytes);
        self.always &= self.level > Level::NONE;
        if self.level == Level::NONE {
            self.most = OFF;
        } else if self.always {
            // The process itself is larger than the mark: nothing fits.
            self.most = 0;
        } else if before == Level::NONE {
            self.take(bytes, self.peaks[0].max(self.peaks[1]) / 10 * 9);
        } else if bytes > self.bytes.saturating_add(self.mark / 100) {
            self.take(bytes, self.most.min(peak) / 4 * 3);
        } else {
            self.calm += 1;
            if self.calm >= CALM && peak >= self.most {
                self.take(self.bytes.max(bytes), self.most.saturating_add(self.most.div_ceil(10)));
            }
        }
        if bytes >= self.last {
            self.most = self.most.min(1);
        }
        (self.level, self.most)
    }

    /// So many fit, at least one.
    fn take(&mut self, bytes: u64, most: u64) {
        (self.bytes, self.most, self.calm) = (bytes, most.max(1), 0);
    }

    fn remember(&mut self, peak: u64) {
        self.looks += 1;
        if self.looks >= WINDOW {
            (self.looks, self.peaks) = (0, [0, self.peaks[0]]);
        }
        self.peaks[0] = self.peaks[0].max(peak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Priority;

    #[test]
    fn memory_that_is_kept_bounds_what_is_in_flight_and_refuses_no_more() {
        let mut fit = Fit::new(1000, 5000);
        assert_eq!(fit.look(500, 20), (Level::NONE, OFF));
        assert_eq!(fit.look(800, 100), (Level::NONE, OFF));
        let (level, most) = fit.look(1000, 100);
        assert_eq!((level.sheds(Priority::Normal), level.sheds(Priority::High), most), (true, false, 90));
        assert_eq!(fit.look(1009, 80).1, 90, "it has hardly grown");
        assert_eq!(fit.look(1011, 80).1, 60, "it grows still");
        (0..30).for_each(|_| assert_eq!(fit.look(1011, 10).1, 60, "nobody needs more"));
        assert_eq!(fit.look(1011, 60).1, 66, "it does not grow with as many");
        assert_eq!(fit.look(1011, 66).1, 66, "not so fast");
        assert_eq!(fit.look(790, 66), (Level::NONE, OFF));
    }

    #[test]
    fn a_process_that_is_larger_than_its_mark_serves_nobody() {
        let mut fit = Fit::new(1000, 5000);
        assert_eq!(fit.look(1200, 0).1, 0);
        assert_eq!(fit.look(1200, 0), fit.look(1300, 0));
        fit.set(1000, 5000);
        assert_eq!(fit.look(1200, 0).1, 0, "it is the same mark");
        fit.set(2000, 5000);
        assert_eq!(fit.look(1200, 0), (Level::NONE, OFF));
        let (level, most) = fit.look(2000, 0);
        assert!(level > Level::NONE && most == 1, "what came before any request leaves room for one: {most}");
        assert_eq!(fit.look(2000, 5).1, 1);
    }

    #[test]
    fn at_the_last_end_it_is_one_at_a_time() {
        let mut fit = Fit::new(1000, 1050);
        fit.look(500, 100);
        assert_eq!(fit.look(1040, 100).1, 90);
        let (level, most) = fit.look(1050, 90);
        assert_eq!((level.sheds(Priority::High), most), (true, 1));
    }
}
