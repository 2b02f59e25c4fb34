//! In a total outage the attempts at backends stay within a share of the requests and a floor, whatever the load does:
//! those counted that a backoff holds back (the acceptance of issue 7).

use std::collections::BTreeMap;

use evenkeel::pool::RetryBudget;

use super::{Dice, sweep};

/// Seconds that the budget looks back on.
const WINDOW: u32 = 10;
/// Milliseconds of a run.
const TIME: u64 = 60_000;

/// What may be asked of a pool.
struct Pool {
    workers: usize,
    share: f64,
    floor: u32,
    /// After the first.
    attempts: u32,
    /// Milliseconds; the first retry may wait so long, the next twice that, and none longer than ten times that.
    backoff: u64,
}

/// By the second in which it was counted.
#[derive(Default)]
struct Tally {
    requests: BTreeMap<u32, u64>,
    /// Retries that were decided on.
    retries: BTreeMap<u32, u64>,
    /// Attempts of both kinds, when they went out.
    sent: BTreeMap<u32, u64>,
}

/// All of the last seconds up to `second`.
fn window(counts: &BTreeMap<u32, u64>, second: u32, length: u32) -> u64 {
    counts.range((second + 1).saturating_sub(length)..=second).map(|(_, count)| count).sum()
}

/// Requests come and every attempt fails at once. `late`: a worker may look at the clock's second a little late.
fn outage(dice: &mut Dice, pool: &Pool, late: bool) -> Tally {
    let budget = RetryBudget::new(pool.workers);
    let lags: Vec<u64> = (0..pool.workers).map(|_| if late { dice.below(1_000) } else { 0 }).collect();
    let mut tally = Tally::default();
    // What is on its way, by the moment when it goes out: its worker, and its retries so far.
    let mut due: BTreeMap<u64, Vec<(usize, u32)>> = BTreeMap::new();
    let (mut rate, mut second) = (dice.below(200), 0);
    for now in 0..TIME {
        if now / 1_000 != second {
            second = now / 1_000;
            // Load comes and goes, at times from one second to the next.
            rate = if dice.one_in(4) { dice.pick(&[0, 1, 10, 1_000]) } else { rate };
        }
        for _ in 0..rate / 1_000 + u64::from(dice.below(1_000) < rate % 1_000) {
            let worker = dice.below(pool.workers as u64) as usize;
            let counted = label(now, lags[worker]);
            budget.request(worker, counted);
            *tally.requests.entry(counted).or_default() += 1;
            due.entry(now).or_default().push((worker, 0));
        }
        for (worker, retries) in due.remove(&now).unwrap_or_default() {
            *tally.sent.entry((now / 1_000) as u32).or_default() += 1;
            let counted = label(now, lags[worker]);
            if retries == pool.attempts || !budget.withdraw(counted, pool.share, pool.floor) {
                continue;
            }
            *tally.retries.entry(counted).or_default() += 1;
            let bound = (pool.backoff << retries.min(16)).min(10 * pool.backoff);
            due.entry(now + 1 + dice.below(bound + 1)).or_default().push((worker, retries + 1));
        }
    }
    // Those in backoff have been decided on: they go out still.
    for (moment, waiting) in due {
        *tally.sent.entry((moment / 1_000) as u32).or_default() += waiting.len() as u64;
    }
    tally
}

/// The second that a worker takes it for; no moment is the clock's first.
fn label(now: u64, lag: u64) -> u32 {
    (1_000 + (now.saturating_sub(lag)) / 1_000) as u32
}

fn any_pool(dice: &mut Dice) -> Pool {
    Pool {
        workers: 1 + dice.below(8) as usize,
        share: dice.pick(&[0.0, 0.01, 0.2, 0.2, 0.5, 1.0]),
        floor: dice.pick(&[0, 1, 10, 10, 50]),
        attempts: dice.below(6) as u32,
        backoff: dice.pick(&[0, 25, 25, 250, 5_000]),
    }
}

#[test]
fn in_no_ten_seconds_are_there_more_retries_than_the_share_and_the_floor() {
    sweep(100, |dice| {
        let pool = any_pool(dice);
        let tally = outage(dice, &pool, false);
        for &second in tally.retries.keys() {
            let requests = window(&tally.requests, second, WINDOW);
            let retries = window(&tally.retries, second, WINDOW);
            let most = ((requests as f64 * pool.share) as u64).max(u64::from(pool.floor));
            assert!(retries <= most, "{retries} retries for {requests} requests up to {second}");
        }
    });
}

#[test]
fn all_attempts_are_within_the_share_of_all_requests_and_a_floor_for_each_ten_seconds() {
    sweep(100, |dice| {
        let pool = Pool { share: 0.2, floor: 10, attempts: 2, backoff: 25, ..any_pool(dice) };
        for late in [false, true] {
            let tally = outage(dice, &pool, late);
            let sum = |counts: &BTreeMap<u32, u64>| counts.values().sum::<u64>();
            let (requests, sent) = (sum(&tally.requests), sum(&tally.sent));
            assert_eq!(
                sent,
                requests + sum(&tally.retries),
                "an attempt is the first of its request, or was decided on"
            );
            let windows = TIME / 1_000 / u64::from(WINDOW) + u64::from(late);
            // Of workers whose seconds differ, one may not see what another has just decided.
            let share = if late { 0.22 } else { 0.2 };
            let most = requests as f64 * (1.0 + share) + f64::from(pool.floor) * windows as f64;
            assert!(sent as f64 <= most, "{sent} attempts for {requests} requests, late: {late}");
        }
    });
}

#[test]
fn a_budget_that_is_needed_is_used() {
    sweep(50, |dice| {
        let pool = Pool { workers: 4, share: 0.2, floor: 10, attempts: 2, backoff: 25 };
        let tally = outage(dice, &pool, false);
        let (requests, retries) = (tally.requests.values().sum::<u64>(), tally.retries.values().sum::<u64>());
        assert!(retries as f64 >= 0.1 * requests as f64, "{retries} retries for {requests} requests");
    });
}
