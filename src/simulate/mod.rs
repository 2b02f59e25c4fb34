//! The balancers in virtual time: the same code that serves traffic, before backends that are numbers. Called by
//! `cli::simulate`; what there is to simulate is a [`config::scenario`](crate::config::scenario).
//!
//! A `World` is one algorithm's: it takes what happens next (a request comes, a backend has served one, a backend fails,
//! a request is late) and goes to the next. Nothing is allocated for a request, and nothing depends on the clock or on the
//! other algorithms: the same scenario and seed give the same numbers everywhere. Each algorithm gets the same requests at
//! the same times, and each request wants the same work of whoever serves it.
//!
//! An hour of ten thousand requests a second is 36 million of them: 9 to 18 s of one core for each algorithm (20 backends
//! with 16 places each, release build, AMD EPYC, the machine busy with other work), in 9 MB.
//!
//! What is left out: connections and the CPU of the balancer (a hand-over takes no time), the retry budget and its backoff,
//! and health checks as such (a backend that fails is taken out after `down_after`, one that is well again taken in after
//! `up_after`).

mod arrivals;
mod contenders;
mod log;
mod members;
mod outcome;
mod picture;
mod random;
mod report;
mod requests;
mod server;
mod textbook;
mod timeline;
mod world;

#[cfg(test)]
mod published;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::{
    arrivals::Traffic,
    contenders::{ALL, Contender, EVERY},
    log::LogError,
    outcome::Outcome,
    picture::draw,
    report::{csv, json, rows},
};

use self::world::World;
use crate::config::scenario::Scenario;
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    sync::mpsc,
    thread,
};

/// What is simulated where the operator names no file.
pub const BUILT_IN: &str = include_str!("built-in.toml");

/// Simulates `scenario` under each of `contenders`, as many at a time as there are `threads`. `progress` hears of so many
/// more virtual milliseconds, of [`length`] for each.
pub fn compare(
    scenario: &Scenario,
    traffic: &Traffic,
    contenders: &[Contender],
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let (done, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, contenders.len().max(1)) {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                while let Some((place, contender)) = one_more(next, contenders) {
                    let outcome = World::new(scenario, traffic, contender).run(progress);
                    // The receiver outlives all of us.
                    let _ = done.send((place, outcome));
                }
            });
        }
    });
    drop(done);
    let mut outcomes: Vec<_> = outcomes.into_iter().collect();
    outcomes.sort_by_key(|(place, _)| *place);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn one_more(next: &AtomicUsize, contenders: &[Contender]) -> Option<(usize, Contender)> {
    let place = next.fetch_add(1, Relaxed);
    contenders.get(place).map(|contender| (place, *contender))
}

/// How long requests come, in virtual milliseconds.
pub fn length(scenario: &Scenario, traffic: &Traffic) -> u64 {
    end(scenario, traffic) / 1_000_000
}

/// When the last request may come, in nanoseconds.
fn end(scenario: &Scenario, traffic: &Traffic) -> u64 {
    let written = scenario.duration.map_or(u64::MAX, nanos);
    traffic.length().map_or(written, |log| log.min(written))
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
