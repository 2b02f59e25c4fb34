//! The pure cores under a virtual clock, swept by seeds: each prints the seed of a run that fails, and
//! `EVENKEEL_SEED=n cargo test --test sim` makes that run alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adaptive;
mod breaker;
mod judge;
mod limit;
mod outlier;
mod queue;
mod retry_budget;
mod shed;
mod slow_start;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `story` with each of so many seeds, or with the one that is asked for.
fn sweep(seeds: u64, story: impl Fn(&mut Dice)) {
    let asked = env::var("EVENKEEL_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = asked.map_or(0..seeds, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| story(&mut Dice(seed)))) {
            println!("EVENKEEL_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// Random bits by seed.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        evenkeel::balance::splitmix64(&mut self.0)
    }

    /// From 0 to below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// True once in so many times.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
