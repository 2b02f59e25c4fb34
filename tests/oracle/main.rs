//! What strangers write is read twice: by evenkeel, and by a reader that was written apart from it, from the same
//! specification, in another way. Both must say the same. `tests/it/fuzz.rs` beside it asks that no bytes do harm.
//!
//! Inputs are made by a generator that knows the grammar, and then damaged, or not. Each test takes `EVENKEEL_ORACLE_SECONDS`
//! (default 1; `tests/run` gives each a minute). Every input has a seed of its own: one that fails is printed, and
//! `EVENKEEL_ORACLE_SEED=n cargo test --test oracle NAME` makes that input alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cookies;
mod orca;
mod proxy_header;
mod query;
mod token;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evenkeel::balance::splitmix64;

/// So many inputs between two looks at the clock.
const ROUND: u64 = 64;

/// Reads inputs for a while, or the one that is asked for.
fn compare(name: &str, story: impl Fn(&mut Dice)) {
    let number = |variable: &str| env::var(variable).ok().map(|text| text.parse::<u64>().expect(variable));
    let read = |seed: u64| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| story(&mut Dice(seed)))) {
            println!("EVENKEEL_ORACLE_SEED={seed} cargo test --test oracle {name}");
            resume_unwind(panic);
        }
    };
    if let Some(seed) = number("EVENKEEL_ORACLE_SEED") {
        return read(seed);
    }
    let time = Duration::from_secs(number("EVENKEEL_ORACLE_SECONDS").unwrap_or(1));
    let mut seeds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (start, mut inputs) = (Instant::now(), 0);
    while start.elapsed() < time {
        (0..ROUND).for_each(|_| read(splitmix64(&mut seeds)));
        inputs += ROUND;
    }
    println!("{name}: {inputs} inputs");
}

/// Random bits by seed.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        splitmix64(&mut self.0)
    }

    /// From 0 to below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Bytes, `least` to `most` of them, of this alphabet.
    fn text(&mut self, alphabet: &[u8], least: usize, most: usize) -> Vec<u8> {
        (0..least + self.below(most - least + 1)).map(|_| self.of(alphabet)).collect()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.bits() as u8).collect()
    }

    /// One to four changes: bits, bytes, words, parts that are gone or stand twice.
    fn damage(&mut self, input: &mut Vec<u8>, words: &[&[u8]]) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let rest = input.len() - at;
            match self.below(7) {
                0 if rest > 0 => input[at] ^= 1 << self.below(8),
                1 if rest > 0 => input[at] = self.bits() as u8,
                2 => input.insert(at, self.bits() as u8),
                3 => drop(input.splice(at..at, self.of(words).iter().copied())),
                4 => {
                    let word = self.of(words);
                    drop(input.splice(at..at + word.len().min(rest), word.iter().copied()));
                }
                5 => {
                    let part = input[at..at + self.below(rest + 1)].to_vec();
                    drop(input.splice(at..at, part));
                }
                _ => drop(input.drain(at..at + self.below(rest + 1))),
            }
        }
    }
}
