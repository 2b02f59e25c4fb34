//! How much a backend takes at a time without becoming slow. Pure: time is an argument. Control keeps one [`Adaptive`]
//! with each backend and looks at its load some times a second; tests/sim/adaptive.rs plays servers to it.
//!
//! **The gradient.** The time to the response head is set against the one that the backend has when it is not crowded:
//! while answers are slower than that by more than a tolerance, fewer are let in, in proportion; and always the square
//! root of the limit more, for bursts (Gradient2 of Netflix's concurrency-limits, 2018; after TCP Vegas: Brakmo, O'Malley
//! and Peterson, SIGCOMM 1994). Failures that say "too much" cut it by half their share (DCTCP: Alizadeh et al., SIGCOMM
//! 2010), where a single one would halve it in AIMD (Chiu and Jain, 1989): one reset of thousands is no overload.
//!
//! **What is not crowded** is never found out by starving the backend. Quicker answers are believed within seconds, slower
//! ones within a minute, and only while half of the limit is not used: a long average of everything, as in Gradient2, takes
//! a queue of minutes for the backend's nature, and lets more and more in. What the limit does by itself tells the rest, and
//! from time to time a little more is tried. Where more was let in and more came of it, or, twice, less and as much less,
//! the latency is the backend's own; where, twice, more was let in and nothing came of it, it was crowded before.
//!
//! **What it does not know.** A backend of few slots gets up to three times what it needs: the root of a small number is
//! large. One that becomes five times quicker while it is crowded keeps some of the crowd until its load is lighter.

use crate::balance::Load;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use std::time::Duration;
use tokio::time::Instant;

/// Of a backend that nobody has called yet.
const FIRST: f64 = 10.0;
/// A backend that may get nothing would never show that it is well.
const LEAST: f64 = 1.0;
/// No backend takes more.
const MOST: f64 = 1e6;
/// Answers may take so many times as long as when it is not crowded.
const TOLERANCE: f64 = 1.3;
/// No single round says more than that there is twice too much.
const STEEPEST: f64 = 0.5;
/// So much of what a round says is believed.
const BELIEVED: f64 = 0.4;
/// A round has so many answers and failures,
const ENOUGH: u32 = 32;
/// or as many as came in this time.
const LONGEST: Duration = Duration::from_secs(2);
/// In so many seconds two thirds of a change for the better are believed,
const BETTER: f64 = 5.0;
/// and of one for the worse.
const WORSE: f64 = 60.0;
/// Where more than this share fails, nothing grows.
const FAILING: f64 = 0.1;
/// After so many seconds without a conclusion a little more is let in,
const TRY: f64 = 20.0;
/// and for so many seconds.
const TRIES: f64 = 10.0;
/// This is a little more.
const MORE: f64 = 1.45;
/// Averages take in so much of each sample.
const SMOOTH: f64 = 0.25;
/// What is in flight must have changed by such a factor, as a logarithm, to tell something: 1.28.
const TELLING: f64 = 0.25;
/// Where more brings nothing, the latency of less was perhaps no better: so much of it is believed.
const DOUBT: f64 = 0.7;

/// The estimate for one backend: kept over reloads.
#[derive(Debug)]
pub struct Adaptive {
    limit: AtomicU32,
    estimate: Mutex<Estimate>,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { limit: AtomicU32::new(FIRST as u32), estimate: Mutex::default() }
    }
}

impl Adaptive {
    /// So many requests at a time.
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Looks at what has happened at `load` since the last time.
    pub fn sample(&self, load: &Load, now: Instant) {
        let ((answers, micros), failures) = load.take_outcomes();
        let mut estimate = self.estimate.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *estimate.round.since.get_or_insert(now);
        let estimate = &mut *estimate;
        let round = &mut estimate.round;
        round.answers += answers;
        round.micros += micros;
        round.failures += failures;
        estimate.in_flight += (f64::from(load.in_flight()) - estimate.in_flight) * SMOOTH;
        let (time, ended) = (now.saturating_duration_since(since), round.answers + round.failures);
        if ended < ENOUGH && time < LONGEST {
            return;
        }
        let round = std::mem::replace(&mut estimate.round, Round { since: Some(now), ..Round::default() });
        if ended > 0 && !time.is_zero() {
            estimate.learn(&round, time.as_secs_f64());
            self.limit.store(estimate.limit as u32, Relaxed);
        }
    }
}

/// What happened in a while.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    since: Option<Instant>,
    answers: u32,
    /// Times to the response head, summed.
    micros: u64,
    /// Time-outs, resets and 503s.
    failures: u32,
}

/// What was in flight, how many answers a second came of it, and how long they took: all averaged alike.
#[derive(Clone, Copy, Debug)]
struct Point {
    used: f64,
    rate: f64,
    latency: f64,
}

#[derive(Debug)]
struct Estimate {
    limit: f64,
    /// In flight, averaged over about a second.
    in_flight: f64,
    /// The time to the response head when it is not crowded, in microseconds.
    uncrowded: Option<f64>,
    /// Averages of late, and as they were when the last conclusion was drawn.
    point: Option<Point>,
    before: Option<Point>,
    /// The last one.
    lesson: Lesson,
    /// For so many seconds there was nothing to conclude.
    quiet: f64,
    /// Then so much is tried.
    more: Option<f64>,
    round: Round,
}

impl Default for Estimate {
    fn default() -> Self {
        let (in_flight, uncrowded, point, before, round) = Default::default();
        let (lesson, quiet, more) = Default::default();
        Self { limit: FIRST, in_flight, uncrowded, point, before, lesson, quiet, more, round }
    }
}

impl Estimate {
    /// A `round` of so many seconds is over.
    fn learn(&mut self, round: &Round, seconds: f64) {
        let failing = f64::from(round.failures) / f64::from(round.answers + round.failures);
        if round.answers > 0 {
            let latency = (round.micros as f64 / f64::from(round.answers)).max(1.0);
            self.follow(latency, f64::from(round.answers) / seconds, seconds, failing);
        }
        self.limit = (self.limit * (1.0 - failing / 2.0)).clamp(LEAST, MOST);
    }

    fn follow(&mut self, latency: f64, rate: f64, seconds: f64, failing: f64) {
        let used = self.in_flight.max(1.0);
        let is_used = used > self.limit / 2.0;
        let uncrowded = self.uncrowded.get_or_insert(latency);
        let mean = self.point.map_or(latency, |point| point.latency);
        if mean < *uncrowded {
            *uncrowded += (mean - *uncrowded) * part(seconds, BETTER);
        } else if !is_used {
            *uncrowded += (latency - *uncrowded) * part(seconds, WORSE);
        }
        if !is_used {
            (self.point, self.before, self.quiet) = (None, None, 0.0);
            return;
        }
        self.quiet += seconds;
        self.conclude(used, rate, latency);
        let gradient = (TOLERANCE * self.uncrowded.unwrap_or(latency) / latency).clamp(STEEPEST, 1.0);
        if gradient <= STEEPEST {
            // That is no moment to try more.
            self.quiet = 0.0;
        }
        let more = self.tries();
        let gradient = if more.is_some() { 1.0 } else { gradient };
        // Where it is advice alone, more may be in flight.
        let now = self.limit.max(used);
        let wanted = (now * gradient + now.sqrt()).min(more.unwrap_or(MOST));
        if wanted < self.limit || failing <= FAILING {
            self.limit += (wanted - self.limit) * BELIEVED;
        }
    }

    /// Now and then a little more is let in, up to this: what is known may be old.
    fn tries(&mut self) -> Option<f64> {
        if self.quiet > TRY + TRIES {
            self.quiet = 0.0;
        }
        if self.quiet < TRY {
            self.more = None;
            return None;
        }
        if self.more.is_none() {
            (self.more, self.before) = (Some(self.limit * MORE), self.point);
        }
        self.more
    }

    /// What does it bring that more is let in, or less? Where the rate goes with what is in flight, it is not crowded, and
    /// its latency is its own. Where the rate stays, what was added only waits.
    fn conclude(&mut self, used: f64, rate: f64, latency: f64) {
        let last = self.point.unwrap_or(Point { used, rate, latency });
        let mean = |last: f64, now: f64| last + (now - last) * SMOOTH;
        let (used, rate) = (mean(last.used, used), mean(last.rate, rate));
        let point = Point { used, rate, latency: mean(last.latency, latency) };
        self.point = Some(point);
        let before = *self.before.get_or_insert(point);
        let change = (point.used / before.used).ln();
        if change.abs() < TELLING {
            return;
        }
        self.before = Some(point);
        let lesson = match (point.rate / before.rate).ln() / change {
            brings if (0.7..1.5).contains(&brings) => Lesson::Own,
            brings if change > 0.0 && (-0.5..0.3).contains(&brings) => Lesson::Crowded,
            brings if (-0.5..1.5).contains(&brings) => Lesson::Nothing,
            // The backend has changed, or what is asked of it.
            _ => {
                (self.point, self.before) = (None, None);
                Lesson::Nothing
            }
        };
        // Once may be by chance, or because the backend has just changed.
        let again = std::mem::replace(&mut self.lesson, lesson) == lesson || lesson == Lesson::Own && change > 0.0;
        if let Some(uncrowded) = self.uncrowded.as_mut().filter(|_| again) {
            match lesson {
                Lesson::Nothing => {}
                Lesson::Own => *uncrowded = uncrowded.max(point.latency),
                Lesson::Crowded => *uncrowded = uncrowded.min(before.latency * DOUBT),
            }
        }
        (self.quiet, self.more) = (if lesson == Lesson::Own { TRY } else { 0.0 }, None);
    }
}

/// What a change of what is let in has told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lesson {
    /// Nothing that is certain.
    #[default]
    Nothing,
    /// The latency is the backend's own.
    Own,
    /// It is that of a crowd.
    Crowded,
}

/// How much of a change that lasts so long is believed.
fn part(seconds: f64, time: f64) -> f64 {
    1.0 - (-seconds / time).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(250);

    /// `rounds` in which so many answers came, each in so many microseconds, and so many failures.
    fn play(
        adaptive: &Adaptive,
        load: &Load,
        now: &mut Instant,
        rounds: u32,
        (answers, micros, failures): (u32, u64, u32),
    ) {
        for _ in 0..rounds {
            (0..answers).for_each(|_| load.answered_in(micros));
            (0..failures).for_each(|_| load.overloaded());
            *now += STEP;
            adaptive.sample(load, *now);
        }
    }

    fn fresh() -> (Adaptive, Load, Instant) {
        let (adaptive, load, now) = (Adaptive::default(), Load::default(), Instant::now());
        adaptive.sample(&load, now);
        (adaptive, load, now)
    }

    #[test]
    fn it_grows_while_it_is_used_alone() {
        let (adaptive, load, mut now) = fresh();
        play(&adaptive, &load, &mut now, 100, (100, 1_000, 0));
        assert_eq!(adaptive.limit(), 10, "none in flight");
        (0..30).for_each(|_| load.begin());
        play(&adaptive, &load, &mut now, 400, (100, 1_000, 0));
        assert!((60..=70).contains(&adaptive.limit()), "twice what is used: {}", adaptive.limit());
    }

    #[test]
    fn failures_shrink_it_to_one_and_it_comes_back() {
        let (adaptive, load, mut now) = fresh();
        (0..20).for_each(|_| load.begin());
        play(&adaptive, &load, &mut now, 20, (0, 0, 100));
        assert_eq!(adaptive.limit(), 1);
        play(&adaptive, &load, &mut now, 60, (100, 1_000, 0));
        assert!(adaptive.limit() >= 20, "{}", adaptive.limit());
        let before = adaptive.limit();
        play(&adaptive, &load, &mut now, 100, (1_000, 1_000, 1));
        assert!(adaptive.limit() >= before, "one of a thousand is no overload");
    }

    #[test]
    fn few_answers_count_after_a_while() {
        let (adaptive, load, mut now) = fresh();
        (0..20).for_each(|_| load.begin());
        play(&adaptive, &load, &mut now, 7, (1, 1_000, 0));
        assert_eq!(adaptive.limit(), 10);
        play(&adaptive, &load, &mut now, 1, (1, 1_000, 0));
        assert!(adaptive.limit() > 10, "two seconds are over");
    }
}
