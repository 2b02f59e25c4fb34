//! From outcomes of checks to a verdict on one backend: pure, no clock, no I/O. Called by `task` after each check.
//!
//! Thresholds are strictly consecutive: one outcome of the other kind starts the count anew. A pass that took longer than
//! `slow_after` makes the backend degraded until as many quick ones in a row have come. A check that has failed
//! often enough takes the backend down; only when every check has passed often enough is it up.

use crate::config::HealthCheck;

/// The checks of one backend.
#[derive(Debug)]
pub struct Judge {
    /// The verdict; `None` until there is one.
    up: Option<bool>,
    /// What counts until then.
    initially_up: bool,
    streaks: Vec<Streak>,
}

/// One check of it.
#[derive(Debug)]
struct Streak {
    healthy_threshold: u32,
    unhealthy_threshold: u32,
    /// The kind of the last outcome,
    passing: bool,
    /// and how many of that kind came in a row.
    length: u32,
    /// What this check alone has found; `None` until a threshold was reached.
    up: Option<bool>,
    /// It has been slow,
    slow: bool,
    /// and so many passes since then were not.
    quick: u32,
}

/// The outcome of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It failed.
    Failed,
    /// It passed.
    Passed,
    /// It passed, and took longer than it should.
    Slow,
}

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The verdict, `None` as long as there is none.
    pub up: Option<bool>,
    /// What the backend counts as: the verdict, else the initial state.
    pub counts_up: bool,
    /// Before this outcome it counted as the other.
    pub turned: bool,
    /// It is up, and some check is slow.
    pub degraded: bool,
    /// Before this outcome it was.
    pub was_degraded: bool,
    /// This check comes again after `interval`; else after `interval_down`, as the backend is down or may change.
    pub steady: bool,
}

impl Judge {
    /// Nothing is known but the verdict of earlier checks, which stands until these have one.
    pub fn new(checks: &[HealthCheck], verdict: Option<bool>) -> Self {
        let streaks = checks.iter().map(Streak::new).collect();
        Self { up: verdict, initially_up: checks.iter().all(|check| check.initially_up), streaks }
    }

    /// Check number `check` has been made.
    pub fn outcome(&mut self, check: usize, found: Found) -> Step {
        let before = self.counts_up();
        let was_degraded = self.is_degraded();
        if let Some(streak) = self.streaks.get_mut(check) {
            streak.add(found != Found::Failed);
            streak.time(found);
        }
        if self.streaks.iter().any(|streak| streak.up == Some(false)) {
            self.up = Some(false);
        } else if self.streaks.iter().all(|streak| streak.up == Some(true)) {
            self.up = Some(true);
        }
        let counts_up = self.counts_up();
        let degraded = self.is_degraded();
        // What changes is looked at more often, and a slow one that has had a quick check changes.
        let changing = self.streaks.get(check).is_some_and(|streak| streak.slow && streak.quick > 0);
        let steady = counts_up && found != Found::Failed && !changing;
        Step { up: self.up, counts_up, turned: counts_up != before, degraded, was_degraded, steady }
    }

    fn is_degraded(&self) -> bool {
        self.up == Some(true) && self.streaks.iter().any(|streak| streak.slow)
    }

    fn counts_up(&self) -> bool {
        self.up.unwrap_or(self.initially_up)
    }
}

impl Streak {
    fn new(check: &HealthCheck) -> Self {
        Self {
            healthy_threshold: check.healthy_threshold,
            unhealthy_threshold: check.unhealthy_threshold,
            passing: false,
            length: 0,
            up: None,
            slow: false,
            quick: 0,
        }
    }

    /// One slow pass is enough, and as many quick ones in a row as make it healthy end it. One that fails says nothing of
    /// that, but that it was not quick.
    fn time(&mut self, found: Found) {
        self.slow |= found == Found::Slow;
        self.quick = if found == Found::Passed && self.slow { self.quick + 1 } else { 0 };
        if self.quick >= self.healthy_threshold {
            (self.slow, self.quick) = (false, 0);
        }
    }

    fn add(&mut self, passed: bool) {
        if passed == self.passing {
            self.length = self.length.saturating_add(1);
        } else {
            (self.passing, self.length) = (passed, 1);
        }
        let threshold = if passed { self.healthy_threshold } else { self.unhealthy_threshold };
        if self.length >= threshold {
            self.up = Some(passed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn check(healthy: u32, unhealthy: u32, initially_up: bool) -> HealthCheck {
        HealthCheck { healthy_threshold: healthy, unhealthy_threshold: unhealthy, initially_up, ..HealthCheck::tcp() }
    }

    /// Verdicts of one check with thresholds 2 and 3, as `?`, `U`, `D`, and `+` where the next check is a quick one.
    fn verdicts(initially_up: bool, carried: Option<bool>, outcomes: &str) -> String {
        let mut judge = Judge::new(&[check(2, 3, initially_up)], carried);
        let steps = outcomes
            .chars()
            .map(|outcome| judge.outcome(0, if outcome == 'p' { Found::Passed } else { Found::Failed }));
        let letter = |step: Step| match (step.up, step.steady) {
            (None, true) => "?",
            (None, false) => "?+",
            (Some(true), true) => "U",
            (Some(true), false) => "U+",
            (Some(false), true) => "D",
            (Some(false), false) => "D+",
        };
        steps.map(letter).collect()
    }

    #[test]
    fn thresholds_are_strictly_consecutive() {
        for (initially_up, carried, outcomes, expected) in [
            (true, None, "pp", "?U"),
            (true, None, "fff", "?+?+D+"),
            (true, None, "ffpff", "?+?+??+?+"),
            (true, None, "ppffpfff", "?UU+U+UU+U+D+"),
            (true, None, "fffpp", "?+?+D+D+U"),
            (true, None, "fffpfpp", "?+?+D+D+D+D+U"),
            (false, None, "pp", "?+U"),
            (false, None, "pfpp", "?+?+?+U"),
            (false, None, "fff", "?+?+D+"),
            (false, Some(true), "pff", "UU+U+"),
            (true, Some(false), "pfpp", "D+D+D+U"),
            (true, Some(true), "fff", "U+U+D+"),
        ] {
            assert_eq!(verdicts(initially_up, carried, outcomes), expected, "{outcomes} {initially_up} {carried:?}");
        }
    }

    #[test]
    fn a_threshold_of_one_decides_at_once() {
        let mut judge = Judge::new(&[check(1, 1, true)], None);
        let step = judge.outcome(0, Found::Failed);
        assert_eq!((step.up, step.counts_up, step.turned, step.steady), (Some(false), false, true, false));
        let step = judge.outcome(0, Found::Passed);
        assert_eq!((step.up, step.counts_up, step.turned, step.steady), (Some(true), true, true, true));
    }

    #[test]
    fn a_first_verdict_that_says_what_was_assumed_turns_nothing() {
        let mut judge = Judge::new(&[check(1, 1, true)], None);
        assert!(!judge.outcome(0, Found::Passed).turned);
        let mut judge = Judge::new(&[check(1, 1, false)], None);
        assert!(judge.outcome(0, Found::Passed).turned);
    }

    #[test]
    fn all_checks_must_pass() {
        let mut judge = Judge::new(&[check(1, 1, true), check(1, 2, true)], None);
        assert_eq!(judge.outcome(0, Found::Passed).up, None, "the other has said nothing");
        assert_eq!(judge.outcome(1, Found::Passed).up, Some(true));
        assert_eq!(judge.outcome(1, Found::Failed).up, Some(true), "one failure of two");
        assert_eq!(judge.outcome(0, Found::Passed).up, Some(true), "others do not break a streak");
        assert_eq!(judge.outcome(1, Found::Failed).up, Some(false));
        let step = judge.outcome(0, Found::Passed);
        assert_eq!((step.up, step.steady), (Some(false), false));
        assert_eq!(judge.outcome(1, Found::Passed).up, Some(true));
    }

    #[test]
    fn one_check_that_is_not_initially_up_makes_the_backend_wait() {
        let mut judge = Judge::new(&[check(1, 1, true), check(1, 1, false)], None);
        assert!(!judge.outcome(0, Found::Passed).counts_up);
        assert!(judge.outcome(1, Found::Passed).counts_up);
    }

    #[test]
    fn one_slow_check_degrades_and_quick_ones_in_a_row_end_it() {
        let mut judge = Judge::new(&[check(2, 3, true), check(1, 3, true)], Some(true));
        let mut degraded = |outcomes: &str| -> String {
            let mut step = |outcome| match outcome {
                'p' => judge.outcome(0, Found::Passed),
                'f' => judge.outcome(0, Found::Failed),
                's' => judge.outcome(0, Found::Slow),
                _ => judge.outcome(1, Found::Passed),
            };
            let letter = |step: Step| if step.degraded { 'D' } else { '-' };
            outcomes.chars().map(|outcome| letter(step(outcome))).collect()
        };
        assert_eq!(degraded("1pps"), "---D");
        assert_eq!(degraded("p1spfpp"), "DDDDDD-", "strictly in a row, and other checks say nothing of it");
        assert_eq!(degraded("sfffpp"), "DDD---", "who is down is not degraded, and comes back quickly or not at all");
        assert_eq!(degraded("sfffsps"), "DDD--DD");
    }

    #[test]
    fn who_may_be_quick_again_is_looked_at_sooner() {
        let mut judge = Judge::new(&[check(3, 3, true)], Some(true));
        let steady: Vec<_> = [Found::Slow, Found::Slow, Found::Passed, Found::Passed, Found::Passed]
            .into_iter()
            .map(|found| judge.outcome(0, found).steady)
            .collect();
        assert_eq!(steady, [true, true, false, false, true]);
    }

    /// The verdict after `history`, looked up in the whole of it each time.
    fn naive(checks: &[HealthCheck], carried: Option<bool>, history: &[(usize, bool)]) -> Option<bool> {
        let mut verdict = carried;
        for end in 1..=history.len() {
            let states: Vec<_> = (0..checks.len()).map(|at| naive_check(&checks[at], at, &history[..end])).collect();
            if states.contains(&Some(false)) {
                verdict = Some(false);
            } else if !states.contains(&None) {
                verdict = Some(true);
            }
        }
        verdict
    }

    /// What check `at` had found last.
    fn naive_check(check: &HealthCheck, at: usize, history: &[(usize, bool)]) -> Option<bool> {
        let own: Vec<bool> = history.iter().filter(|(of, _)| *of == at).map(|(_, passed)| *passed).collect();
        (1..=own.len()).rev().find_map(|end| {
            let ends_with = |count: u32, kind| {
                let count = count as usize;
                end >= count && own[end - count..end].iter().all(|&passed| passed == kind)
            };
            match (ends_with(check.healthy_threshold, true), ends_with(check.unhealthy_threshold, false)) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            }
        })
    }

    proptest! {
        #[test]
        fn the_judge_agrees_with_the_whole_history(
            thresholds in vec((1..4u32, 1..4u32), 1..4),
            initially_up: bool,
            carried: Option<bool>,
            outcomes in vec((0..3usize, proptest::bool::weighted(0.6)), 0..60),
        ) {
            let checks: Vec<_> = thresholds.iter().map(|&(up, down)| check(up, down, initially_up)).collect();
            let history: Vec<_> = outcomes.iter().map(|&(at, passed)| (at % checks.len(), passed)).collect();
            let mut judge = Judge::new(&checks, carried);
            for end in 1..=history.len() {
                let before = naive(&checks, carried, &history[..end - 1]).unwrap_or(initially_up);
                let (at, passed) = history[end - 1];
                let step = judge.outcome(at, if passed { Found::Passed } else { Found::Failed });
                prop_assert_eq!(step.up, naive(&checks, carried, &history[..end]));
                prop_assert_eq!(step.counts_up, step.up.unwrap_or(initially_up));
                prop_assert_eq!(step.turned, step.counts_up != before);
                prop_assert_eq!(step.steady, step.counts_up && passed);
            }
        }
    }
}
