//! Rate limits hold over any time and whatever comes, refuse nobody who keeps to the rate, and let wait in order (the
//! acceptance of issue 8: exact within one in a hundred, over all workers).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use evenkeel::policy::limit::{Counts, Table, Terms};

use super::{Dice, sweep};

const SECOND: u64 = 1_000_000_000;

/// A limit: nanoseconds between requests, and how many pass at once.
fn any_limit(dice: &mut Dice) -> (u64, u64) {
    let period = dice.pick(&[1_000, 10_000, 1_000_000, SECOND / 100, SECOND / 3, SECOND, 60 * SECOND]);
    (period, dice.pick(&[1, 1, 2, 5, 20, 200]))
}

/// How long until the next request of somebody who has no regard for `period`.
fn pause(dice: &mut Dice, period: u64) -> u64 {
    match dice.below(10) {
        0 => dice.below(100 * period),
        1 | 2 => dice.below(4 * period),
        3 => period,
        4..6 => dice.below(period / 2 + 1),
        _ => 0,
    }
}

#[test]
fn in_no_time_does_more_pass_than_the_burst_and_the_rate() {
    sweep(200, |dice| {
        let (period, burst) = any_limit(dice);
        let terms = Terms::token_bucket(period, burst);
        let table = Table::new(1_000, terms.deepest());
        let mut passed: Vec<u64> = Vec::new();
        let mut now = dice.below(SECOND);
        for _ in 0..3_000 {
            now += pause(dice, period);
            if table.take(7, now, terms).is_ok() {
                passed.push(now);
            }
        }
        // From each request that passed to each behind it.
        for (first, begin) in passed.iter().enumerate() {
            for (last, end) in passed.iter().enumerate().skip(first) {
                let (count, time) = ((last - first + 1) as f64, (end - begin) as f64);
                let most = burst as f64 + time / period as f64 * 1.01;
                assert!(count <= most, "{count} in {time} ns, period {period}, burst {burst}");
                if last - first > burst as usize + 200 {
                    break;
                }
            }
        }
        let all = (passed[passed.len() - 1] - passed[0]) / period + burst;
        assert!(passed.len() as u64 <= all, "{} of {all}", passed.len());
    });
}

#[test]
fn whoever_keeps_to_the_rate_is_never_refused() {
    sweep(200, |dice| {
        let (period, burst) = any_limit(dice);
        let terms = Terms::token_bucket(period, burst);
        let table = Table::new(1_000, terms.deepest());
        let mut now = dice.below(SECOND);
        // What it may still send: a burst at first, and never more than that.
        let (mut tokens, mut since) = (burst * period, now);
        for _ in 0..5_000 {
            now += pause(dice, period);
            tokens = (tokens + (now - since)).min(burst * period);
            since = now;
            let fine = tokens >= period;
            assert_eq!(table.take(7, now, terms).is_ok(), fine, "{tokens} of {period}, burst {burst}");
            tokens -= if fine { period } else { 0 };
        }
    });
}

#[test]
fn those_who_wait_come_in_their_order_one_in_a_period_and_none_waits_for_too_long() {
    sweep(200, |dice| {
        let (period, _) = any_limit(dice);
        let delay = dice.pick(&[0, period / 2, period, 10 * period, 100 * period + 1]);
        let terms = Terms::leaky_bucket(period, delay);
        let table = Table::new(1_000, terms.deepest());
        let mut now = dice.below(SECOND);
        let mut before: Option<u64> = None;
        for _ in 0..3_000 {
            now += pause(dice, period);
            match table.take(7, now, terms) {
                Ok(wait) => {
                    assert!(wait <= delay, "{wait} of {delay}");
                    let goes = now + wait;
                    assert!(before.is_none_or(|before| goes >= before + period), "too soon behind the one before");
                    assert!(wait == 0 || before.is_some_and(|before| goes == before + period), "it waits for nothing");
                    before = Some(goes);
                }
                Err(more) => {
                    let next = before.unwrap() + period;
                    assert!(next - now > delay && more == next - now - delay, "refused too soon, or told a wrong time");
                }
            }
        }
    });
}

/// Against a plain map of buckets without a bound: whoever it knows may never have more from the bounded one.
#[test]
fn no_key_passes_more_than_in_a_table_without_a_bound() {
    sweep(30, |dice| {
        let (period, burst) = any_limit(dice);
        let terms = Terms::token_bucket(period, burst);
        let table = Table::new(1_000, terms.deepest());
        // Some come again and again, among a flood of others.
        let regulars: Vec<u64> = (0..50).map(|_| dice.bits()).collect();
        let mut passed = vec![VecDeque::<u64>::new(); regulars.len()];
        let mut now = dice.below(SECOND);
        for _ in 0..60_000 {
            now += dice.below(period / 400 + 2);
            if !dice.one_in(3) {
                let _ = table.take(dice.bits(), now, terms);
                continue;
            }
            let who = dice.below(50) as usize;
            if table.take(regulars[who], now, terms).is_err() {
                continue;
            }
            let own = &mut passed[who];
            own.push_back(now);
            if own.len() > burst as usize + 1 {
                own.pop_front();
            }
            // The last `burst` + 1 took a period at least.
            let fine = own.len() <= burst as usize || now - own[0] >= period;
            assert!(fine, "{} in {} ns, period {period}, burst {burst}", own.len(), now - own[0]);
        }
        assert!(table.bytes() < 80_000, "{}", table.bytes());
    });
}

#[test]
fn workers_share_a_limit_exactly() {
    sweep(10, |dice| {
        let (period, burst) = (dice.pick(&[1_000, 10_000, 100_000]), dice.pick(&[100, 1_000, 10_000]));
        let workers = 2 + dice.below(3);
        let terms = Terms::token_bucket(period, burst);
        let table = Table::new(1_000, terms.deepest());
        // One clock for all, as the machine's is: each request moves it.
        let (clock, passed) = (AtomicU64::new(0), AtomicU64::new(0));
        let end = 20_000 * period;
        let step = (period / 3).max(1);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let now = clock.fetch_add(step, SeqCst);
                        if now >= end {
                            break;
                        }
                        passed.fetch_add(u64::from(table.take(7, now, terms).is_ok()), SeqCst);
                    }
                });
            }
        });
        let wanted = (end / period + burst).min(end / step + 1);
        let passed = passed.into_inner();
        assert!(passed.abs_diff(wanted) <= wanted / 100 + 1, "{passed}, wanted {wanted}, by {workers}");
    });
}

#[test]
fn what_is_in_flight_is_what_was_let_in_and_has_not_ended() {
    sweep(50, |dice| {
        let counts = std::sync::Arc::new(Counts::default());
        let max = 1 + dice.below(5) as u32;
        let mut held = vec![Vec::new(); 8];
        for _ in 0..5_000 {
            let key = dice.below(8) as usize;
            if dice.one_in(2) {
                let entered = counts.enter(key as u64, max);
                assert_eq!(entered.is_some(), held[key].len() < max as usize);
                held[key].extend(entered.map(std::rc::Rc::new));
            } else if !held[key].is_empty() {
                let one = dice.below(held[key].len() as u64) as usize;
                held[key].swap_remove(one);
            }
            assert_eq!(counts.keys(), held.iter().filter(|held| !held.is_empty()).count());
        }
    });
}
