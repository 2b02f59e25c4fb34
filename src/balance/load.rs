//! What one backend carries now: shared by all workers, on a cache line of its own. Hot path.
//!
//! Values that age are a number and the time of its last change in one word, changed by compare-and-swap: no reader ever
//! sees one without the other. Times are microseconds since a beginning that all callers share.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

/// How long half of an observation lasts, in milliseconds.
const HALF_LIFE: f32 = 7_000.0;

/// A backend of which nothing was seen for so many milliseconds counts as one that has just joined: four half-lives.
const QUIET: u32 = 28_000;

/// The first answer of a backend counts as so many milliseconds old, two half-lives: it may have been a lucky one, and a
/// quarter of it is believed.
const FIRST: u32 = 14_000;

/// A clock of another worker may be behind by so many milliseconds.
const SKEW: u32 = 64 * STEP;

/// Failures count as no longer than this: 30 seconds, in microseconds.
const MOST_LATENCY: f32 = 30e6;

/// What is above so many times the newest value goes by half with each new one.
const FAR: f32 = 4.0;

/// Bits of a sum of microseconds: a million answers of 16 seconds fit. Longer ones count as that long.
const SUM: u32 = 44;
const LONGEST_ANSWER: u64 = 16_000_000;

/// No backend means more, and sums of it stay finite.
const MOST_LOAD: f32 = 1e12;

/// Counts of one backend.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
    /// The most attempts at a time.
    most: Bound,
    /// Failures that say "too much", since control has looked last.
    overloads: AtomicU32,
    /// Answers since then: their number above [`SUM`], and their microseconds below.
    answers: AtomicU64,
    /// Peak EWMA of the time to the response head, in microseconds.
    latency: Aging,
    /// Bytes both ways, decaying.
    bytes: Aging,
    /// Attempts that have ended, decaying as `bytes` does.
    ended: Aging,
    /// Since when `bytes` are counted.
    joined: Since,
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

/// A number of attempts; the largest one is no bound.
#[derive(Debug)]
struct Bound(AtomicU32);

impl Default for Bound {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

/// What a backend has said of itself, as the pool weighs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// 0 = idle; what 1 is, the backends know.
    pub load: f32,
    /// One of its metrics is above the pool's limit.
    pub over: bool,
}

/// What went through a backend lately; all of it fades alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Traffic {
    pub(super) bytes: f32,
    /// Attempts that have ended.
    pub(super) ended: f32,
    /// How much of "lately" it was there for: 0 = it has just joined, up to 1.
    pub(super) watched: f32,
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

    /// An attempt begins, if one more may. In one order with [`Load::end`] and the queue of the pool: see pool/queue.rs.
    pub fn try_begin(&self) -> bool {
        let Some(most) = self.most() else {
            self.begin();
            return true;
        };
        let more = |running| (running < most).then_some(running + 1);
        self.in_flight.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    /// More run than may: the bound was higher.
    pub fn is_over(&self) -> bool {
        self.most().is_some_and(|most| self.in_flight() > most)
    }

    /// The most attempts at a time; `None`: no bound.
    pub fn most(&self) -> Option<u32> {
        Some(self.most.0.load(Relaxed)).filter(|&most| most != u32::MAX)
    }

    /// No more than so many attempts at a time from now on; what runs goes on. Control alone calls it.
    pub fn set_most(&self, most: Option<u32>) {
        self.most.0.store(most.unwrap_or(u32::MAX), Relaxed);
    }

    /// An attempt that began has ended.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// A response head came after so many microseconds: for control, see pool/adaptive.rs.
    pub fn answered_in(&self, micros: u64) {
        self.answers.fetch_add(1 << SUM | micros.min(LONGEST_ANSWER), Relaxed);
    }

    /// An attempt has ended as those do that are too many: by a time-out, a reset or a 503.
    pub fn overloaded(&self) {
        self.overloads.fetch_add(1, Relaxed);
    }

    /// The number of answers since the last time, their microseconds, and the number of failures. Control alone calls it.
    pub fn take_outcomes(&self) -> ((u32, u64), u32) {
        // Most backends of a large pool have none: a look does not take their line from the workers.
        let take = self.answers.load(Relaxed) != 0;
        let answers = if take { self.answers.swap(0, Relaxed) } else { 0 };
        let failed = self.overloads.load(Relaxed) != 0;
        let overloads = if failed { self.overloads.swap(0, Relaxed) } else { 0 };
        (((answers >> SUM) as u32, answers & ((1 << SUM) - 1)), overloads)
    }

    /// Its answer took so many microseconds, up to the response head or to the failure. A peak counts at once, what is
    /// better slowly (Finagle's "peak EWMA"): by time, and what is far above by answers too. What is better counts as half
    /// as old as what was known before it. A failure, however quick, doubles what is known, or one that fails at once would
    /// draw everybody; errors among good answers cost a backend some of its share.
    pub fn took(&self, now: u64, micros: u64, taken: Taken) {
        // At least 1: what is in flight multiplies it.
        let observed = micros.max(1) as f32;
        self.latency.change(now, |old| match (taken, old) {
            (Taken::Failed, old) => {
                let known = old.map_or(observed, |(old, _)| old.value);
                Some((observed.max((known * 2.0).min(MOST_LATENCY)), 0))
            }
            (Taken::Answered, Some((old, age))) if observed <= old.value => {
                Some((fade(old.value, observed, old.freshness, 0.0), if age > QUIET { FIRST } else { age / 2 }))
            }
            (Taken::Answered, Some(_)) => Some((observed, 0)),
            (Taken::Answered, None) => Some((observed, FIRST)),
        });
    }

    /// So many bytes went through, both ways.
    pub fn passed(&self, now: u64, bytes: u64) {
        let before = self.bytes.read(now).map(|(_, age)| age);
        self.bytes.add(now, bytes as f32);
        self.joined.see(now, before);
    }

    /// An attempt whose bytes are counted has ended.
    pub fn ended(&self, now: u64) {
        self.ended.add(now, 1.0);
    }

    /// It has said this of itself. The load is averaged over some two seconds (half of it lasts a third of what other
    /// observations last): a backend that says "much" gets less and says "little" then, and without the average its
    /// share would swing for ever. What was far above is forgotten sooner: it may have been said by mistake.
    pub fn report(&self, now: u64, report: Report) {
        // What is not a number is 0, too.
        let load = if report.load > 0.0 { report.load.min(MOST_LOAD) } else { 0.0 };
        self.reported.change(now, |old| {
            let load = old.map_or(load, |(old, _)| fade(old.value.abs(), load, old.freshness.powi(3), 1.0));
            // The sign is the limit's: a load has none.
            Some((if report.over { -load } else { load }, 0))
        });
    }

    /// The time to the response head, in microseconds.
    pub(super) fn latency(&self, now: u64) -> Aged {
        self.latency.get(now)
    }

    /// The time to the response head, in microseconds, if it was seen in the last half minute.
    pub fn response_time(&self, now: u64) -> Option<f32> {
        let Aged { value, freshness } = self.latency.get(now);
        (freshness >= LEFT_OF_QUIET).then_some(value)
    }

    /// Bytes and attempts of late.
    pub(super) fn traffic(&self, now: u64) -> Traffic {
        let (bytes, ended) = (self.bytes.get(now), self.ended.get(now));
        let missing = if bytes.freshness < LEFT_OF_QUIET { 1.0 } else { self.joined.missing(now) };
        Traffic { bytes: bytes.value * bytes.freshness, ended: ended.value * ended.freshness, watched: 1.0 - missing }
    }

    /// What it said last, and how many milliseconds ago; `None`: nothing yet.
    pub(super) fn reported(&self, now: u64) -> Option<(Report, u32)> {
        let (value, age) = self.reported.read(now)?;
        Some((Report { load: value.abs(), over: value.is_sign_negative() }, age))
    }
}

/// From `old` towards `new`, with so much of the old left. Nothing up to `FAR * least` is far.
fn fade(old: f32, new: f32, left: f32, least: f32) -> f32 {
    let rest = (old - new) * left;
    new + if old > FAR * new.max(least) { rest / 2.0 } else { rest }
}

/// A number and the millisecond of its last change, in one word.
#[derive(Debug, Default)]
struct Aging(AtomicU64);

impl Aging {
    /// The number, and its age in milliseconds; `None` if there never was one.
    fn read(&self, now: u64) -> Option<(f32, u32)> {
        unpack(self.0.load(Relaxed), now)
    }

    fn get(&self, now: u64) -> Aged {
        let word = self.0.load(Relaxed);
        Aged { value: value(word), freshness: roughly_left(now, word as u32) }
    }

    /// `change` gives the new number for the old one and its age in milliseconds, and how old the new one is; `None` leaves
    /// it alone.
    fn change(&self, now: u64, change: impl Fn(Option<(Aged, u32)>) -> Option<(f32, u32)>) {
        let mut word = self.0.load(Relaxed);
        loop {
            let old = unpack(word, now).map(|(value, age)| (Aged { value, freshness: left(age) }, age));
            let Some((value, age)) = change(old) else { return };
            match self.0.compare_exchange_weak(word, pack(value, now, age), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// Adds to what is left.
    fn add(&self, now: u64, more: f32) {
        self.change(now, |old| Some((more + old.map_or(0.0, |(old, _)| old.value * old.freshness), 0)));
    }
}

/// The millisecond since which a backend is seen without a long pause; 0: never.
#[derive(Debug, Default)]
struct Since(AtomicU32);

impl Since {
    /// It is seen, after so many milliseconds; `None`: for the first time.
    fn see(&self, now: u64, before: Option<u32>) {
        if before.is_none_or(|age| age > QUIET) {
            self.0.store(stamp(now), Relaxed);
        } else if age(now, self.0.load(Relaxed)) > u32::MAX / 2 {
            // Long ago it stays, though the count goes around.
            self.0.store(stamp(now).wrapping_sub(u32::MAX / 4).max(1), Relaxed);
        }
    }

    /// How much of what would be left of all times was not seen: 1 = everything.
    fn missing(&self, now: u64) -> f32 {
        let at = self.0.load(Relaxed);
        if at == 0 { 1.0 } else { roughly_left(now, at) }
    }
}

/// Never 0, which stands for nothing.
fn pack(value: f32, now: u64, age: u32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(stamp(now).wrapping_sub(age).max(1))
}

fn unpack(word: u64, now: u64) -> Option<(f32, u32)> {
    (word != 0).then(|| (value(word), age(now, word as u32)))
}

fn value(word: u64) -> f32 {
    f32::from_bits((word >> 32) as u32)
}

/// The millisecond, counted from 1.
fn stamp(now: u64) -> u32 {
    ((now / 1000).wrapping_add(1) as u32).max(1)
}

/// Milliseconds since the one that is stamped `at`, around after 49 days.
fn age(now: u64, at: u32) -> u32 {
    // What another worker saw a moment later than `now` is new.
    stamp(now).wrapping_sub(at).wrapping_add(SKEW).max(SKEW) - SKEW
}

/// What is left of an observation after `age` milliseconds. Exact: a value that changes each millisecond must fade no
/// slower than others.
fn left(age: u32) -> f32 {
    (-(age as f32) / HALF_LIFE).exp2()
}

/// The same within 0.7 %, and nothing after a minute, for what a pick reads of each: one look, and no branch. Of what there
/// never was, at 0, nothing is left.
fn roughly_left(now: u64, at: u32) -> f32 {
    let step = stamp(now).wrapping_sub(at).wrapping_add(SKEW) / STEP;
    LEFT[if at == 0 { STEPS } else { (step as usize).min(STEPS) }]
}

/// Milliseconds of a step of [`LEFT`].
const STEP: u32 = 64;
const STEPS: usize = 1024;

/// What is left of [`QUIET`].
const LEFT_OF_QUIET: f32 = 0.0625;

/// What is left at each step, the first ones before the observation.
static LEFT: [f32; STEPS + 1] = lefts();

const fn lefts() -> [f32; STEPS + 1] {
    /// 2^(-64 / 7000)
    const EACH: f64 = 0.993_682_692_971_211_4;
    let (mut table, mut step, mut left) = ([0.0; STEPS + 1], 0, 1.0);
    while step < STEPS {
        table[step] = left as f32;
        if step >= (SKEW / STEP) as usize {
            left *= EACH;
        }
        step += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const DAY: u64 = 86_400 * SECOND;

    #[track_caller]
    fn assert_near(got: f32, wanted: f32) {
        assert!((got - wanted).abs() <= 0.007 * wanted.abs(), "{got} is not {wanted}");
    }

    #[test]
    fn peaks_count_at_once_and_fade() {
        let load = Load::default();
        assert_eq!(load.latency(0).freshness, 0.0, "nothing is known");
        load.took(0, 1_000, Taken::Answered);
        load.took(SECOND, 3_000, Taken::Answered);
        assert_eq!(load.latency(SECOND), Aged { value: 3_000.0, freshness: 1.0 });
        load.took(8 * SECOND, 1_000, Taken::Answered);
        assert_near(load.latency(8 * SECOND).value, 2_000.0);
        load.took(8 * SECOND, 20_000, Taken::Failed);
        assert_eq!(load.latency(8 * SECOND), Aged { value: 20_000.0, freshness: 1.0 });
        assert_near(load.latency(15 * SECOND).freshness, 0.5);
        assert_eq!(load.latency(7 * SECOND).freshness, 1.0, "seen by a slower clock");
    }

    #[test]
    fn quick_failures_draw_nobody_and_good_answers_make_up_for_them() {
        let load = Load::default();
        (0..8).for_each(|_| load.took(0, 500, Taken::Failed));
        assert_near(load.latency(0).value, 128_000.0);
        (0..40).for_each(|_| load.took(0, 500, Taken::Failed));
        assert_eq!(load.latency(0).value, MOST_LATENCY);
        (0..14).for_each(|_| load.took(0, 1_000, Taken::Answered));
        assert!(load.latency(0).value < 5_000.0, "{:?}", load.latency(0));
    }

    #[test]
    fn good_news_is_believed_slowly() {
        let load = Load::default();
        for left in [0.25, 0.5, 0.707, 0.84] {
            load.took(30 * SECOND, 1_000, Taken::Answered);
            assert_near(load.latency(30 * SECOND).freshness, left);
        }
        load.took(90 * SECOND, 999, Taken::Answered);
        assert_near(load.latency(90 * SECOND).freshness, 0.25);
        load.took(90 * SECOND, 5_000, Taken::Answered);
        assert_near(load.latency(90 * SECOND).freshness, 1.0);
    }

    #[test]
    fn traffic_fades() {
        let load = Load::default();
        load.passed(0, 1 << 20);
        load.ended(0);
        load.passed(7 * SECOND, 1 << 20);
        let traffic = load.traffic(7 * SECOND);
        assert_near(traffic.bytes, 1.5 * (1 << 20) as f32);
        assert_near(traffic.ended, 0.5);
        assert_near(traffic.watched, 0.5);
    }

    #[test]
    fn the_count_of_milliseconds_may_go_around() {
        let load = Load::default();
        (0..5_000_000).step_by(20).for_each(|second| load.passed(second * SECOND, 1));
        assert_eq!(load.traffic(4_999_980 * SECOND).watched, 1.0);
    }

    #[test]
    fn who_was_quiet_has_just_joined() {
        let load = Load::default();
        assert_eq!(load.traffic(SECOND).watched, 0.0, "never there");
        load.passed(SECOND, 1);
        assert_eq!(load.traffic(SECOND).watched, 0.0, "just joined");
        load.passed(22 * SECOND, 1);
        assert_near(load.traffic(22 * SECOND).watched, 0.875);
        assert_eq!(load.traffic(51 * SECOND).watched, 0.0, "gone for 29 seconds");
        load.passed(51 * SECOND, 1);
        assert_eq!(load.traffic(51 * SECOND).watched, 0.0, "back");
    }

    #[test]
    fn what_is_left_is_a_power_of_two() {
        for age in 0..61_000 {
            let (got, wanted) = (roughly_left(u64::from(age) * 1_000, 1), left(age));
            assert!((got / wanted - 1.0).abs() < 0.007, "{got} for {wanted} after {age} ms");
        }
        assert_eq!([0, 7_000, 21_000].map(left), [1.0, 0.5, 0.125]);
        assert_eq!([62_000, 1 << 30].map(|age| roughly_left(age * 1_000, 1)), [0.0; 2]);
        assert!(Load::default().latency(1 << 50).freshness == 0.0, "there is none");
    }

    /// Steps of a millisecond fade as one step of all of them.
    #[test]
    fn who_is_busy_fades_as_fast_as_who_is_not() {
        let (busy, quiet) = (Load::default(), Load::default());
        busy.passed(0, 1 << 30);
        quiet.passed(0, 1 << 30);
        (1..=14_000).for_each(|millisecond| busy.passed(millisecond * 1_000, 0));
        let (busy, quiet) = (busy.traffic(14 * SECOND).bytes, quiet.traffic(14 * SECOND).bytes);
        assert!((busy / quiet - 1.0).abs() < 0.01, "{busy} and {quiet}");
    }

    #[test]
    fn reports_keep_their_age() {
        let load = Load::default();
        assert_eq!(load.reported(5), None);
        load.report(0, Report { load: 0.0, over: true });
        assert_eq!(load.reported(2 * SECOND), Some((Report { load: 0.0, over: true }, 2_000)));
        load.report(3 * SECOND, Report { load: 0.7, over: false });
        let (report, age) = load.reported(SECOND).unwrap();
        assert_eq!((report.over, age), (false, 0), "seen by a slower clock");
        assert_eq!(load.reported(30 * DAY).unwrap().1, 30 * 86_400_000 - 3_000, "old for a month");
    }

    #[test]
    fn reports_are_averaged_over_seconds() {
        let load = Load::default();
        load.report(0, Report { load: 0.8, over: true });
        load.report(7 * SECOND / 3, Report { load: 0.0, over: false });
        let half = load.reported(7 * SECOND / 3).unwrap().0.load;
        assert!((half - 0.4).abs() < 0.001, "{half}");
        for (said, kept) in [(f32::NAN, 0.0), (-1.0, 0.0), (f32::INFINITY, MOST_LOAD)] {
            let load = Load::default();
            load.report(0, Report { load: said, over: false });
            assert_eq!(load.reported(0), Some((Report { load: kept, over: false }, 0)));
        }
    }
}
