//! Leaves alone who fails, and tries it again little by little: closed -> open -> half-open -> closed (Nygard, "Release
//! It!", 2nd edition, 5.2). Pure: what happened and when are arguments. Hot path.
//!
//! Leases tell it how attempts went, control what time and checks bring. What goes well while it is closed takes no lock.

use super::window::Window;
use crate::telemetry::metrics::Ejection;
use std::{
    fmt::Display,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// What it does with requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Circuit {
    /// All of them go through.
    #[default]
    Closed,
    /// A few go through as trials.
    HalfOpen,
    /// None goes through.
    Open,
}

impl Circuit {
    /// In the API.
    pub fn word(self) -> &'static str {
        ["closed", "half-open", "open"][self as usize]
    }

    fn of(number: u8) -> Self {
        [Self::Closed, Self::HalfOpen, Self::Open][usize::from(number)]
    }
}

/// When it opens, and for how long. Times are microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// So many failures in a row open it.
    pub consecutive: Option<u32>,
    /// So does this share of what the window has seen,
    pub rate: Option<f64>,
    /// if that were at least so many.
    pub min_requests: u32,
    /// How long the window is.
    pub window: u64,
    /// How long it stays open.
    pub open_for: u64,
    /// How long at the most, when it opens again and again.
    pub open_for_max: u64,
    /// So many trials must go well for it to close.
    pub trials: u32,
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is open.
    Opened(Ejection),
    /// It takes trials.
    HalfOpened,
    /// It is closed again.
    Closed,
}

/// What an attempt has to do with a breaker: got from [`Breaker::admit`], and given back changed by what it is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticket {
    /// The attempt is a trial of that round.
    trial: Option<u32>,
    /// Failures in a row before its answer.
    before: u32,
    stage: Stage,
}

impl Ticket {
    /// Its attempt is one of the few that a half-open circuit takes.
    pub(super) fn is_trial(self) -> bool {
        self.trial.is_some()
    }
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Asked,
    /// Its head was good. The rest may be on its way.
    Answered,
    /// Nothing more can come of it.
    Told,
}

/// One circuit.
#[derive(Debug, Default)]
pub struct Breaker {
    circuit: AtomicU8,
    /// Failures in a row.
    consecutive: AtomicU32,
    /// The number of the round of trials, and how many it has left.
    left: AtomicU64,
    inner: Mutex<Inner>,
    window: Window,
}

#[derive(Debug, Default)]
struct Inner {
    /// In a few words.
    reason: String,
    /// When the circuit last changed.
    since: u64,
    /// Control does something then: an open one becomes half-open, a round of trials ends.
    until: u64,
    /// How long it was open last.
    length: u64,
    /// It has been closed since then, after having been open.
    closed: Option<u64>,
    /// While it is open, checks have found its backend down.
    down: bool,
    /// Trials are told apart by rounds; those since this one count.
    first: u32,
    round: u32,
    /// When they began.
    begun: u64,
    /// Trials that it needs,
    trials: u32,
    /// those that have gone well,
    passed: u32,
    /// and those of which the rest is on its way.
    answered: u32,
}

impl Breaker {
    /// What it does with requests now.
    pub fn circuit(&self) -> Circuit {
        Circuit::of(self.circuit.load(Acquire))
    }

    /// The circuit, why it is so in a few words (empty while it is closed), and since when.
    pub fn look(&self) -> (Circuit, String, u64) {
        let inner = self.lock();
        (self.circuit(), inner.reason.clone(), inner.since)
    }

    /// An attempt may be made; `None`: not now.
    pub fn admit(&self) -> Option<Ticket> {
        match self.circuit() {
            Circuit::Closed => Some(Ticket::default()),
            Circuit::Open => None,
            Circuit::HalfOpen => {
                let take = |word: u64| (word as u32 > 0).then(|| word - 1);
                let word = self.left.fetch_update(Relaxed, Relaxed, take).ok()?;
                Some(Ticket { trial: Some((word >> 32) as u32), ..Ticket::default() })
            }
        }
    }

    /// A good response head has come. What follows it may still fail.
    pub fn answered(&self, mut ticket: Ticket, rules: &Rules, now: u64) -> Ticket {
        if ticket.stage != Stage::Asked {
            return ticket;
        }
        ticket.stage = Stage::Answered;
        if let Some(round) = ticket.trial {
            let mut inner = self.lock();
            if inner.counts(round) && self.circuit() == Circuit::HalfOpen {
                inner.answered += 1;
                ticket.trial = Some(inner.round);
            }
        } else if self.circuit() == Circuit::Closed {
            ticket.before = self.consecutive.load(Relaxed);
            if ticket.before != 0 {
                self.consecutive.store(0, Relaxed);
            }
            self.window.passed(rules.window, now);
        }
        ticket
    }

    /// It has failed by `cause`: at once, or after a good head. `allow` says whether the circuit may open, and what it gives
    /// is held until it has.
    pub fn failed<P>(
        &self,
        ticket: &mut Ticket,
        (rules, now): (&Rules, u64),
        cause: &dyn Display,
        allow: impl FnOnce() -> Option<P>,
    ) -> Option<Change> {
        let stage = std::mem::replace(&mut ticket.stage, Stage::Told);
        if stage == Stage::Told {
            return None;
        }
        if let Some(round) = ticket.trial {
            return self.trial_failed(round, rules, now, cause);
        }
        if self.circuit() != Circuit::Closed {
            return None;
        }
        self.window.failed(rules.window, now, stage == Stage::Answered);
        if ticket.before > 0 {
            // Its good head had ended a run that was none.
            self.consecutive.fetch_max(ticket.before, Relaxed);
        }
        let run = self.consecutive.fetch_add(1, Relaxed).saturating_add(1);
        if rules.consecutive.is_some_and(|most| run >= most) {
            let reason = || format!("{run} consecutive failures: {cause}");
            return self.trip((rules, now), 0, (Ejection::ConsecutiveFailures, &reason), allow);
        }
        let rate = rules.rate?;
        let (total, failed) = self.window.sum(rules.window, now);
        if total >= u64::from(rules.min_requests) && failed as f64 >= rate * total as f64 {
            let percent = failed * 100 / total.max(1);
            let reason = || format!("{percent}% of {total} requests failed");
            return self.trip((rules, now), 0, (Ejection::FailureRate, &reason), allow);
        }
        None
    }

    /// The attempt is over, and has failed by nothing that is told here. A trial without an answer never was.
    pub fn ended(&self, ticket: Ticket, now: impl FnOnce() -> u64) -> Option<Change> {
        let round = ticket.trial.filter(|_| ticket.stage != Stage::Told)?;
        let mut inner = self.lock();
        if !inner.counts(round) || self.circuit() != Circuit::HalfOpen {
            return None;
        }
        if ticket.stage == Stage::Asked {
            self.left.fetch_add(1, Relaxed);
            return None;
        }
        if round != inner.round {
            // It has been counted while it was on its way.
            return None;
        }
        inner.answered -= 1;
        inner.passed += 1;
        self.close_if_passed(&mut inner, now())
    }

    /// Opens it because it is told so; that took `lasts` to be found out. `allow` as in [`Breaker::failed`].
    pub fn eject<P>(
        &self,
        (rules, now): (&Rules, u64),
        lasts: u64,
        reason: &dyn Fn() -> String,
        allow: impl FnOnce() -> Option<P>,
    ) -> Option<Change> {
        self.trip((rules, now), lasts, (Ejection::Latency, reason), allow)
    }

    /// Time has passed, and checks say `up`: an open circuit whose time is over, or whose backend has come back, takes
    /// trials; those that have been answered for a while have gone well, though they go on; and those that have not for
    /// very long are given up for lost. Control alone calls it.
    pub fn step(&self, rules: &Rules, now: u64, up: Option<bool>) -> Option<Change> {
        if self.circuit() == Circuit::Closed {
            return None;
        }
        let mut inner = self.lock();
        match self.circuit() {
            Circuit::Closed => None,
            Circuit::Open => {
                let recovered = inner.down && up == Some(true);
                inner.down |= up == Some(false);
                if !recovered && now < inner.until {
                    return None;
                }
                inner.since = now;
                (inner.passed, inner.answered) = (0, 0);
                self.begin_trials(&mut inner, rules, now);
                self.set(Circuit::HalfOpen);
                Some(Change::HalfOpened)
            }
            Circuit::HalfOpen if now < inner.until => None,
            Circuit::HalfOpen => {
                inner.passed += std::mem::take(&mut inner.answered);
                match now.saturating_sub(inner.begun) >= rules.open_for_max {
                    true => self.begin_trials(&mut inner, rules, now),
                    false => self.begin_round(&mut inner, rules, now, None),
                }
                self.close_if_passed(&mut inner, now)
            }
        }
    }

    /// In how many microseconds [`Breaker::step`] has something to do; `None`: never by time alone.
    pub fn next_step(&self, now: u64) -> Option<u64> {
        if self.circuit() == Circuit::Closed {
            return None;
        }
        Some(self.lock().until.saturating_sub(now))
    }

    /// It is closed, and remembers nothing: nobody wants it any more. True if it was not.
    pub fn forget(&self) -> bool {
        if self.circuit() == Circuit::Closed {
            return false;
        }
        let mut inner = self.lock();
        let round = inner.round.wrapping_add(1);
        *inner = Inner { first: round, round, ..Inner::default() };
        self.anew();
        self.set(Circuit::Closed);
        true
    }

    fn trial_failed(&self, round: u32, rules: &Rules, now: u64, cause: &dyn Display) -> Option<Change> {
        let mut inner = self.lock();
        if !inner.counts(round) || self.circuit() != Circuit::HalfOpen {
            return None;
        }
        let length = inner.length.saturating_mul(2);
        let reason = format!("a trial failed: {cause}");
        self.open(&mut inner, rules, now, length, reason);
        Some(Change::Opened(Ejection::HalfOpen))
    }

    fn trip<P>(
        &self,
        (rules, now): (&Rules, u64),
        lasts: u64,
        (why, reason): (Ejection, &dyn Fn() -> String),
        allow: impl FnOnce() -> Option<P>,
    ) -> Option<Change> {
        let mut inner = self.lock();
        if self.circuit() != Circuit::Closed {
            return None;
        }
        let Some(_held) = allow() else {
            self.anew();
            return None;
        };
        let soon = inner.closed.is_some_and(|at| now.saturating_sub(at) <= inner.length.saturating_add(lasts));
        let length = if soon { inner.length.saturating_mul(2) } else { rules.open_for };
        self.open(&mut inner, rules, now, length, reason());
        Some(Change::Opened(why))
    }

    fn open(&self, inner: &mut Inner, rules: &Rules, now: u64, length: u64, reason: String) {
        let length = length.clamp(rules.open_for, rules.open_for_max.max(rules.open_for));
        (inner.reason, inner.since, inner.down) = (reason, now, false);
        (inner.length, inner.until) = (length, now.saturating_add(length));
        self.set(Circuit::Open);
    }

    /// As many trials as are missing. Earlier ones say nothing from now on.
    fn begin_trials(&self, inner: &mut Inner, rules: &Rules, now: u64) {
        (inner.trials, inner.begun) = (rules.trials, now);
        inner.first = inner.round.wrapping_add(1);
        self.begin_round(inner, rules, now, Some(rules.trials.saturating_sub(inner.passed)));
    }

    /// What is answered from now on is told from what was before. `left` = so many trials may be made; else as many as
    /// before.
    fn begin_round(&self, inner: &mut Inner, rules: &Rules, now: u64, left: Option<u32>) {
        inner.round = inner.round.wrapping_add(1);
        inner.until = now.saturating_add(rules.open_for);
        let round = u64::from(inner.round) << 32;
        let _ = self.left.fetch_update(Relaxed, Relaxed, |word| Some(round | u64::from(left.unwrap_or(word as u32))));
    }

    fn close_if_passed(&self, inner: &mut Inner, now: u64) -> Option<Change> {
        if inner.passed < inner.trials {
            return None;
        }
        inner.reason.clear();
        (inner.since, inner.closed) = (now, Some(now));
        self.anew();
        self.set(Circuit::Closed);
        Some(Change::Closed)
    }

    /// Nothing has been counted.
    fn anew(&self) {
        self.consecutive.store(0, Relaxed);
        self.window.clear();
    }

    fn set(&self, circuit: Circuit) {
        self.circuit.store(circuit as u8, Release);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Trials of that round still count.
    fn counts(&self, round: u32) -> bool {
        round.wrapping_sub(self.first) <= self.round.wrapping_sub(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn rules() -> Rules {
        Rules {
            consecutive: Some(5),
            rate: Some(0.5),
            min_requests: 20,
            window: 10 * SECOND,
            open_for: 10 * SECOND,
            open_for_max: 60 * SECOND,
            trials: 3,
        }
    }

    fn fail(breaker: &Breaker, now: u64) -> Option<Change> {
        let mut ticket = breaker.admit()?;
        breaker.failed(&mut ticket, (&rules(), now), &"reset", || Some(()))
    }

    fn pass(breaker: &Breaker, now: u64) -> Option<Change> {
        let ticket = breaker.answered(breaker.admit().unwrap(), &rules(), now);
        breaker.ended(ticket, || now)
    }

    /// One that has just opened.
    fn open(now: u64) -> Breaker {
        let breaker = Breaker::default();
        let told: Vec<_> = (0..5).map(|_| fail(&breaker, now)).collect();
        assert_eq!(told, [None, None, None, None, Some(Change::Opened(Ejection::ConsecutiveFailures))]);
        breaker
    }

    /// One whose time is over.
    fn half_open(now: u64) -> Breaker {
        let breaker = open(now - 10 * SECOND);
        assert_eq!(breaker.step(&rules(), now, None), Some(Change::HalfOpened));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_that_goes_well_ends_the_row() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            (0..4).for_each(|_| assert_eq!(fail(&breaker, 0), None));
            assert_eq!(pass(&breaker, 0), None);
        }
        let breaker = open(SECOND);
        assert!(breaker.admit().is_none());
        assert_eq!(breaker.look(), (Circuit::Open, "5 consecutive failures: reset".into(), SECOND));
        assert_eq!(breaker.next_step(3 * SECOND), Some(8 * SECOND));
    }

    #[test]
    fn a_share_of_failures_opens_it_when_there_were_enough() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            (0..2).for_each(|_| assert_eq!(fail(&breaker, 0), None));
            pass(&breaker, 0);
        }
        assert_eq!(breaker.circuit(), Circuit::Closed, "12 are not enough");
        (0..7).for_each(|_| assert_eq!(pass(&breaker, SECOND), None));
        assert_eq!(fail(&breaker, 2 * SECOND), None, "9 of 20");
        (0..2).for_each(|_| {
            pass(&breaker, 2 * SECOND);
        });
        assert_eq!(fail(&breaker, 2 * SECOND), None, "10 of 23");
        assert_eq!(fail(&breaker, 2 * SECOND), None, "11 of 24");
        pass(&breaker, 2 * SECOND);
        (0..2).for_each(|_| {
            fail(&breaker, 3 * SECOND);
        });
        assert_eq!(breaker.circuit(), Circuit::Closed, "13 of 27");
        assert_eq!(fail(&breaker, 3 * SECOND), Some(Change::Opened(Ejection::FailureRate)), "14 of 28");
        assert_eq!(breaker.look().1, "50% of 28 requests failed");
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let breaker = Breaker::default();
        for second in 0..100 {
            // Two of three fail, and there are never twenty in ten seconds.
            if second % 2 == 0 {
                (0..2).for_each(|_| {
                    fail(&breaker, second * SECOND);
                });
                pass(&breaker, second * SECOND);
            }
        }
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn all_trials_close_it_and_there_are_no_more_than_those() {
        let breaker = half_open(20 * SECOND);
        let tickets: Vec<_> = (0..3).map(|_| breaker.admit().unwrap()).collect();
        assert!(breaker.admit().is_none(), "three at a time, and in all");
        let now = || 21 * SECOND;
        for (number, ticket) in tickets.into_iter().enumerate() {
            let ticket = breaker.answered(ticket, &rules(), now());
            assert!(breaker.admit().is_none());
            assert_eq!(breaker.ended(ticket, now), (number == 2).then_some(Change::Closed));
        }
        assert_eq!(breaker.look(), (Circuit::Closed, String::new(), now()));
        assert_eq!(breaker.next_step(now()), None);
        (0..4).for_each(|_| assert_eq!(fail(&breaker, now()), None, "it counts anew"));
    }

    #[test]
    fn a_trial_that_was_given_up_may_be_made_again() {
        let breaker = half_open(20 * SECOND);
        let tickets: Vec<_> = (0..3).map(|_| breaker.admit().unwrap()).collect();
        assert_eq!(breaker.ended(tickets[0], || 0), None);
        assert!(breaker.admit().is_some() && breaker.admit().is_none());
    }

    #[test]
    fn one_trial_that_fails_opens_it_for_twice_as_long_up_to_a_bound() {
        let (breaker, mut now) = (half_open(20 * SECOND), 20 * SECOND);
        for wanted in [20, 40, 60, 60] {
            let (other, late) = (breaker.admit().unwrap(), breaker.admit().unwrap());
            assert_eq!(fail(&breaker, now), Some(Change::Opened(Ejection::HalfOpen)));
            let other = breaker.answered(other, &rules(), now);
            assert_eq!(breaker.ended(other, || now), None, "it comes too late");
            assert_eq!(breaker.next_step(now), Some(wanted * SECOND));
            assert_eq!(breaker.step(&rules(), now + wanted * SECOND - 1, None), None);
            now += wanted * SECOND;
            assert_eq!(breaker.step(&rules(), now, None), Some(Change::HalfOpened));
            assert_eq!(breaker.failed(&mut { late }, (&rules(), now), &"reset", || Some(())), None, "of another round");
        }
    }

    #[test]
    fn it_doubles_as_well_when_it_opens_soon_after_it_has_closed() {
        for (after, wanted) in [(5, 20), (10, 20), (11, 10)] {
            let breaker = half_open(20 * SECOND);
            (0..3).for_each(|_| {
                pass(&breaker, 20 * SECOND);
            });
            let now = (20 + after) * SECOND;
            (0..5).for_each(|_| {
                fail(&breaker, now);
            });
            assert_eq!(breaker.next_step(now), Some(wanted * SECOND), "{after} s later");
        }
    }

    #[test]
    fn a_response_that_is_cut_is_a_failure_after_all() {
        let breaker = Breaker::default();
        let cut = |now| {
            let mut ticket = breaker.answered(breaker.admit().unwrap(), &rules(), now);
            breaker.failed(&mut ticket, (&rules(), now), &"truncated", || Some(()))
        };
        let told: Vec<_> = (0..5).map(cut).collect();
        assert_eq!(told[3..], [None, Some(Change::Opened(Ejection::ConsecutiveFailures))]);
        let breaker = half_open(20 * SECOND);
        let mut ticket = breaker.answered(breaker.admit().unwrap(), &rules(), 0);
        let told = breaker.failed(&mut ticket, (&rules(), 20 * SECOND), &"truncated", || Some(()));
        assert_eq!(told, Some(Change::Opened(Ejection::HalfOpen)));
        assert_eq!(breaker.ended(ticket, || 0), None);
    }

    #[test]
    fn a_cut_response_counts_once_in_the_share() {
        let breaker = Breaker::default();
        let rules = Rules { consecutive: None, ..rules() };
        for number in 1..=20 {
            let mut ticket = breaker.answered(breaker.admit().unwrap(), &rules, 0);
            let told = breaker.failed(&mut ticket, (&rules, 0), &"truncated", || Some(()));
            assert_eq!(told.is_some(), number == 20);
        }
        assert_eq!(breaker.look().1, "100% of 20 requests failed");
    }

    #[test]
    fn trials_that_hang_make_no_room_and_open_it_when_they_fail() {
        let breaker = half_open(20 * SECOND);
        let held = [breaker.admit().unwrap(), breaker.admit().unwrap(), breaker.admit().unwrap()];
        for second in [30, 40] {
            assert_eq!(breaker.step(&rules(), second * SECOND, None), None);
            assert!(breaker.admit().is_none(), "who hangs gets no more");
        }
        assert_eq!(breaker.ended(held[0], || 0), None);
        assert!(breaker.admit().is_some(), "it was given up");
        let told = breaker.failed(&mut { held[1] }, (&rules(), 50 * SECOND), &"response_timeout", || Some(()));
        assert_eq!(told, Some(Change::Opened(Ejection::HalfOpen)));
        assert_eq!(breaker.failed(&mut { held[2] }, (&rules(), 50 * SECOND), &"reset", || Some(())), None, "once");
    }

    #[test]
    fn trials_that_were_answered_and_go_on_have_gone_well_after_a_while() {
        let breaker = half_open(20 * SECOND);
        let held = [breaker.admit().unwrap(), breaker.admit().unwrap(), breaker.admit().unwrap()];
        let streams = held.map(|ticket| (ticket, breaker.answered(ticket, &rules(), 21 * SECOND)));
        assert_eq!(breaker.step(&rules(), 29 * SECOND, None), None);
        assert_eq!(breaker.step(&rules(), 30 * SECOND, None), Some(Change::Closed));
        assert_eq!(breaker.ended(streams[0].1, || 0), None);
        // One of them has come late, and ends before the others are counted.
        let breaker = half_open(20 * SECOND);
        let held = [breaker.admit().unwrap(), breaker.admit().unwrap(), breaker.admit().unwrap()];
        let first = breaker.answered(held[0], &rules(), 21 * SECOND);
        assert_eq!(breaker.step(&rules(), 30 * SECOND, None), None);
        assert_eq!(breaker.ended(first, || 0), None, "it counts already");
        let late = breaker.answered(held[1], &rules(), 31 * SECOND);
        assert_eq!(breaker.ended(late, || 31 * SECOND), None, "two of three");
        let last = breaker.answered(held[2], &rules(), 32 * SECOND);
        assert_eq!(breaker.ended(last, || 32 * SECOND), Some(Change::Closed));
        // One that was counted is cut.
        let breaker = half_open(20 * SECOND);
        let mut first = breaker.answered(breaker.admit().unwrap(), &rules(), 21 * SECOND);
        assert_eq!(breaker.step(&rules(), 30 * SECOND, None), None);
        let told = breaker.failed(&mut first, (&rules(), 31 * SECOND), &"truncated", || Some(()));
        assert_eq!(told, Some(Change::Opened(Ejection::HalfOpen)));
    }

    #[test]
    fn trials_without_an_end_are_given_up_for_lost() {
        let breaker = half_open(20 * SECOND);
        let lost = [breaker.admit().unwrap(), breaker.admit().unwrap()];
        for second in (30..80).step_by(10) {
            assert_eq!(breaker.step(&rules(), second * SECOND, None), None);
        }
        assert_eq!(pass(&breaker, 79 * SECOND), None);
        assert_eq!(breaker.step(&rules(), 80 * SECOND, None), None);
        assert_eq!(breaker.failed(&mut { lost[0] }, (&rules(), 0), &"reset", || Some(())), None);
        assert_eq!(breaker.ended(lost[1], || 0), None);
        assert_eq!(pass(&breaker, 81 * SECOND), None);
        assert_eq!(pass(&breaker, 81 * SECOND), Some(Change::Closed), "one went well before");
    }

    #[test]
    fn checks_that_find_it_well_again_open_it_by_half_at_once() {
        let breaker = open(0);
        for up in [None, Some(true), Some(true), Some(false), Some(false)] {
            assert_eq!(breaker.step(&rules(), SECOND, up), None, "{up:?}");
        }
        assert_eq!(breaker.step(&rules(), SECOND, Some(true)), Some(Change::HalfOpened));
    }

    #[test]
    fn who_may_not_open_counts_anew() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 0..5 {
                let mut ticket = breaker.admit().unwrap();
                assert_eq!(breaker.failed(&mut ticket, (&rules(), 0), &"reset", || None::<()>), None);
            }
        }
        assert_eq!(breaker.eject((&rules(), 0), 0, &|| "slow".into(), || None::<()>), None);
        (0..4).for_each(|_| assert_eq!(fail(&breaker, 0), None));
        assert!(fail(&breaker, 0).is_some());
    }

    #[test]
    fn it_opens_for_latency_when_it_is_told_to() {
        let breaker = Breaker::default();
        let told = breaker.eject((&rules(), SECOND), 0, &|| "latency".into(), || Some(()));
        assert_eq!(told, Some(Change::Opened(Ejection::Latency)));
        assert_eq!(breaker.eject((&rules(), SECOND), 0, &|| "latency".into(), || Some(())), None, "it is open");
        assert_eq!(breaker.look(), (Circuit::Open, "latency".into(), SECOND));
    }

    #[test]
    fn who_is_not_wanted_any_more_forgets_all() {
        let breaker = half_open(20 * SECOND);
        let trial = breaker.admit().unwrap();
        assert!(breaker.forget() && !breaker.forget());
        assert_eq!(breaker.look(), (Circuit::Closed, String::new(), 0));
        assert_eq!(breaker.failed(&mut { trial }, (&rules(), 0), &"reset", || Some(())), None);
        (0..5).for_each(|_| {
            fail(&breaker, 21 * SECOND);
        });
        assert_eq!(breaker.next_step(21 * SECOND), Some(10 * SECOND), "it does not double");
    }
}
