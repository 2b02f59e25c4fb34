//! What one backend carries now: shared by all workers, on a cache line of its own. Hot path.
//!
//! Values that age are a number and the time of its last change in one word, changed by compare-and-swap: no reader ever
//! sees one without the other. Times are microseconds since a beginning that all callers share.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How long half of an observation lasts, in milliseconds.
const HALF_LIFE: f32 = 7_000.0;

/// Counts of one backend.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
    /// Peak EWMA of the time to the response head, in microseconds.
    latency: Aging,
    /// Bytes both ways, decaying.
    bytes: Aging,
    /// Attempts that have ended, decaying as `bytes` does.
    ended: Aging,
    /// What it said of itself last.
    reported: Aging,
}

/// How an attempt at a backend went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A response head came that is no server error.
    Answered,
    /// It failed, or answered with a server error: that it was quick says nothing good.
    Failed,
}

/// What a backend has said of itself, as the pool weighs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// 0 = idle; what 1 is, the backends know.
    pub load: f32,
    /// One of its metrics is above the pool's limit.
    pub over: bool,
}

/// A value and how much of it is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aged {
    pub(super) value: f32,
    /// From 1, just observed, down to 0: long ago, or never.
    pub(super) freshness: f32,
}

impl Load {
    /// Attempts that have begun and not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// An attempt begins.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// An attempt that began has ended.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Its answer took so many microseconds, up to the response head or to the failure. A peak counts at once, what is
    /// better slowly (Finagle's "peak EWMA"); a failure makes it only worse.
    pub fn took(&self, now: u64, micros: u64, taken: Taken) {
        let observed = micros as f32;
        self.latency.change(now, |old| match old {
            Some(old) if taken == Taken::Failed && observed <= old.value => None,
            Some(old) if observed < old.value => Some(observed + (old.value - observed) * old.freshness),
            None if taken == Taken::Failed => None,
            _ => Some(observed),
        });
    }

    /// So many bytes went through, both ways.
    pub fn passed(&self, now: u64, bytes: u64) {
        self.bytes.add(now, bytes as f32);
    }

    /// An attempt whose bytes are counted has ended.
    pub fn ended(&self, now: u64) {
        self.ended.add(now, 1.0);
    }

    /// It has said this of itself.
    pub fn report(&self, now: u64, report: Report) {
        // The sign is the limit's: a load is none.
        let load = report.load.max(0.0);
        self.reported.change(now, |_| Some(if report.over { -load } else { load }));
    }

    /// The time to the response head, in microseconds.
    pub(super) fn latency(&self, now: u64) -> Aged {
        self.latency.get(now)
    }

    /// Bytes that went through lately, and attempts that ended lately, both fading alike.
    pub(super) fn traffic(&self, now: u64) -> (f32, f32) {
        let left = |aging: &Aging| {
            let aged = aging.get(now);
            aged.value * aged.freshness
        };
        (left(&self.bytes), left(&self.ended))
    }

    /// What it said last, and how many milliseconds ago; `None`: nothing yet.
    pub(super) fn reported(&self, now: u64) -> Option<(Report, u32)> {
        let (value, age) = self.reported.read(now)?;
        Some((Report { load: value.abs(), over: value.is_sign_negative() }, age))
    }
}

/// A number and the millisecond of its last change, in one word.
#[derive(Debug, Default)]
struct Aging(AtomicU64);

impl Aging {
    /// The number, and its age in milliseconds; `None` if there never was one. Counted around after 49 days.
    fn read(&self, now: u64) -> Option<(f32, u32)> {
        unpack(self.0.load(Relaxed), now)
    }

    fn get(&self, now: u64) -> Aged {
        self.read(now).map_or(Aged { value: 0.0, freshness: 0.0 }, |(value, age)| Aged { value, freshness: left(age) })
    }

    /// `change` gives the new number for the old one; `None` leaves it alone.
    fn change(&self, now: u64, change: impl Fn(Option<Aged>) -> Option<f32>) {
        let mut word = self.0.load(Relaxed);
        loop {
            let old = unpack(word, now).map(|(value, age)| Aged { value, freshness: left(age) });
            let Some(value) = change(old) else { return };
            match self.0.compare_exchange_weak(word, pack(value, now), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// Adds to what is left.
    fn add(&self, now: u64, more: f32) {
        self.change(now, |old| Some(more + old.map_or(0.0, |old| old.value * old.freshness)));
    }
}

/// Never 0, which stands for nothing: the millisecond is counted from 1.
fn pack(value: f32, now: u64) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(stamp(now).max(1))
}

fn stamp(now: u64) -> u32 {
    (now / 1000).wrapping_add(1) as u32
}

fn unpack(word: u64, now: u64) -> Option<(f32, u32)> {
    let (value, at) = (f32::from_bits((word >> 32) as u32), word as u32);
    // What another worker saw a moment later than `now` is new.
    let age = stamp(now).wrapping_sub(at);
    (word != 0).then_some((value, if age > u32::MAX / 2 { 0 } else { age }))
}

/// What is left of an observation after `age` milliseconds.
fn left(age: u32) -> f32 {
    (-(age as f32) / HALF_LIFE).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn peaks_count_at_once_and_fade() {
        let load = Load::default();
        assert_eq!(load.latency(0).freshness, 0.0, "nothing is known");
        load.took(0, 1_000, Taken::Failed);
        assert_eq!(load.latency(0).freshness, 0.0, "a failure says nothing good");
        load.took(0, 1_000, Taken::Answered);
        load.took(SECOND, 9_000, Taken::Answered);
        assert_eq!(load.latency(SECOND), Aged { value: 9_000.0, freshness: 1.0 });
        load.took(8 * SECOND, 1_000, Taken::Answered);
        assert_eq!(load.latency(8 * SECOND).value, 5_000.0, "half is left after seven seconds");
        load.took(8 * SECOND, 10, Taken::Failed);
        assert_eq!(load.latency(8 * SECOND).value, 5_000.0, "a quick failure makes nothing better");
        load.took(8 * SECOND, 20_000, Taken::Failed);
        assert_eq!(load.latency(15 * SECOND), Aged { value: 20_000.0, freshness: 0.5 });
    }

    #[test]
    fn traffic_fades() {
        let load = Load::default();
        load.passed(0, 1 << 20);
        load.ended(0);
        load.passed(7 * SECOND, 1 << 20);
        assert_eq!(load.traffic(7 * SECOND), (1.5 * f32::from(1u16) * (1 << 20) as f32, 0.5));
    }

    #[test]
    fn reports_keep_their_age() {
        let load = Load::default();
        assert_eq!(load.reported(5), None);
        load.report(0, Report { load: 0.0, over: true });
        assert_eq!(load.reported(2 * SECOND), Some((Report { load: 0.0, over: true }, 2_000)));
        load.report(3 * SECOND, Report { load: 0.7, over: false });
        assert_eq!(load.reported(SECOND), Some((Report { load: 0.7, over: false }, 0)), "seen by a slower clock");
    }
}
