//! Whatever checks say in whatever order: a verdict changes by thresholds alone, and a degraded backend is up.

use evenkeel::config::HealthCheck;
use evenkeel::health::{Found, Judge};

use super::{Dice, sweep};

/// The last outcomes of one check.
#[derive(Clone, Default)]
struct Past(Vec<Found>);

impl Past {
    fn ends_with(&self, count: u32, fits: impl Fn(Found) -> bool) -> bool {
        self.0.len() >= count as usize && self.0.iter().rev().take(count as usize).all(|found| fits(*found))
    }
}

fn checks(dice: &mut Dice) -> Vec<HealthCheck> {
    let check = |dice: &mut Dice| HealthCheck {
        healthy_threshold: 1 + dice.below(4) as u32,
        unhealthy_threshold: 1 + dice.below(4) as u32,
        initially_up: dice.one_in(2),
        ..HealthCheck::tcp()
    };
    (0..1 + dice.below(3)).map(|_| check(dice)).collect()
}

#[test]
fn verdicts_change_by_thresholds_alone() {
    sweep(5_000, |dice| {
        let checks = checks(dice);
        let carried = dice.pick(&[None, Some(true), Some(false)]);
        let (mut judge, mut before) = (Judge::new(&checks, carried), carried);
        let mut past = vec![Past::default(); checks.len()];
        // Of a backend that is well, of one that is sick, of one that flaps.
        let sick = dice.pick(&[2, 5, 50]);
        for _ in 0..100 {
            let at = dice.below(checks.len() as u64) as usize;
            let fine = if dice.one_in(4) { Found::Slow } else { Found::Passed };
            let found = if dice.one_in(sick) { Found::Failed } else { fine };
            past[at].0.push(found);
            let step = judge.outcome(at, found);
            let initially = checks.iter().all(|check| check.initially_up);
            assert_eq!(step.counts_up, step.up.unwrap_or(initially));
            assert_eq!(step.turned, step.counts_up != before.unwrap_or(initially));
            let down = past[at].ends_with(checks[at].unhealthy_threshold, |found| found == Found::Failed);
            match (before, step.up) {
                (before, Some(false)) if before != Some(false) => assert!(down, "one check has failed often enough"),
                (before, Some(true)) if before != Some(true) => {
                    assert!(past[at].ends_with(checks[at].healthy_threshold, |found| found != Found::Failed));
                }
                (before, after) => assert_eq!(before, after),
            }
            assert!(!down || step.up == Some(false), "who has failed so often is down");
            assert!(!step.degraded || step.up == Some(true));
            assert!(!step.steady || step.counts_up && found != Found::Failed);
            if step.up == Some(true) && found == Found::Slow {
                assert!(step.degraded, "one slow check is enough");
            }
            let quick = |(past, check): (&Past, &HealthCheck)| {
                !past.0.contains(&Found::Slow)
                    || past.ends_with(check.healthy_threshold, |found| found == Found::Passed)
            };
            if past.iter().zip(&checks).all(quick) {
                assert!(!step.degraded, "all have been quick for long enough");
            }
            before = step.up;
        }
    });
}
