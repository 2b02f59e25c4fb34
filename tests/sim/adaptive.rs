//! `max_in_flight = "auto"` (src/pool/adaptive.rs) before a server of so many slots with exponential times: M/M/c with a
//! first-come-first-served queue of its own, whose capacity or speed changes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use evenkeel::balance::{Load, splitmix64};
use evenkeel::pool::Adaptive;
use tokio::time::Instant;

const SAMPLES: f64 = 0.25;

/// Limits of a while.
#[derive(Debug)]
struct Limits {
    least: f64,
    mean: f64,
    most: f64,
}

/// A server, and a balancer that lets in as many as it may.
struct World {
    random: u64,
    epoch: Instant,
    now: f64,
    load: Load,
    adaptive: Adaptive,
    /// Its slots, and the mean time in one.
    slots: usize,
    mean: f64,
    /// Requests a second; 0: there is always one more.
    rate: f64,
    next_arrival: f64,
    /// At the balancer.
    waiting: usize,
    /// At the server: since when.
    queued: VecDeque<f64>,
    /// In a slot: until when, in nanoseconds, and since when it is at the server.
    served: BinaryHeap<Reverse<(u64, u64)>>,
}

impl World {
    fn new(seed: u64, slots: usize, mean: f64, rate: f64) -> Self {
        let (load, adaptive, epoch) = (Load::default(), Adaptive::default(), Instant::now());
        let (queued, served) = Default::default();
        let (now, next_arrival, waiting) = (0.0, 0.0, 0);
        Self { random: seed, epoch, now, load, adaptive, slots, mean, rate, next_arrival, waiting, queued, served }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        let uniform = (splitmix64(&mut self.random) >> 11) as f64 / (1_u64 << 53) as f64;
        -mean * (1.0 - uniform).ln()
    }

    /// Plays so many seconds; gives the limits of them.
    fn play(&mut self, seconds: f64) -> Limits {
        let (until, mut limits) = (self.now + seconds, Vec::new());
        while self.now < until {
            self.run(self.now + SAMPLES);
            self.adaptive.sample(&self.load, self.epoch + Duration::from_secs_f64(self.now));
            limits.push(f64::from(self.adaptive.limit()));
        }
        let mean = limits.iter().sum::<f64>() / limits.len() as f64;
        let (least, most) =
            limits.iter().fold((f64::MAX, 0.0_f64), |(least, most), &limit| (least.min(limit), most.max(limit)));
        Limits { least, mean, most }
    }

    fn run(&mut self, until: f64) {
        loop {
            self.let_in();
            let end = self.served.peek().map_or(f64::INFINITY, |Reverse((end, _))| *end as f64 / 1e9);
            let arrival = if self.rate > 0.0 { self.next_arrival } else { f64::INFINITY };
            self.now = end.min(arrival).min(until);
            if self.now >= until {
                return;
            }
            if arrival < end {
                self.waiting += 1;
                self.next_arrival = self.now + self.exponential(1.0 / self.rate);
            } else if let Some(Reverse((_, since))) = self.served.pop() {
                self.load.answered_in(((self.now - since as f64 / 1e9) * 1e6) as u64);
                self.load.end();
            }
        }
    }

    fn let_in(&mut self) {
        while (self.rate == 0.0 || self.waiting > 0) && self.load.in_flight() < self.adaptive.limit() {
            self.load.begin();
            self.waiting = self.waiting.saturating_sub(1);
            self.queued.push_back(self.now);
        }
        while self.served.len() < self.slots
            && let Some(since) = self.queued.pop_front()
        {
            let end = self.now + self.exponential(self.mean);
            self.served.push(Reverse(((end * 1e9) as u64, (since * 1e9) as u64)));
        }
    }
}

/// What a server of so many slots should get: a little more, so that none of them is idle.
fn ideal(slots: usize) -> f64 {
    slots as f64 + (slots as f64).sqrt()
}

/// Within a factor of two; up to three while more is tried.
#[track_caller]
fn assert_near(what: &str, seed: u64, slots: usize, limits: &Limits) {
    let ideal = ideal(slots);
    let fine = limits.least >= ideal / 2.0 && limits.mean <= ideal * 2.0 && limits.most <= ideal * 3.0;
    assert!(fine, "{what}, seed {seed}: {limits:?} for {slots} slots, whose ideal is {ideal:.0}");
}

/// Slots, and the mean time in one. Of smaller servers the root is large: some get three times what they need.
const SERVERS: [(usize, f64); 3] = [(20, 0.02), (50, 0.02), (200, 0.05)];

#[test]
fn under_heavy_load_it_finds_the_capacity_and_stays_there() {
    for (slots, mean) in SERVERS {
        for seed in 0..4 {
            let mut world = World::new(seed, slots, mean, 0.0);
            world.play(30.0);
            // A queue of minutes is not taken for the server's nature.
            assert_near("heavy", seed, slots, &world.play(200.0));
        }
    }
}

#[test]
fn under_light_load_it_has_room_and_stays_there() {
    for (slots, mean) in SERVERS {
        for seed in 0..4 {
            let mut world = World::new(seed, slots, mean, 0.7 * slots as f64 / mean);
            world.play(30.0);
            assert_near("light", seed, slots, &world.play(120.0));
            assert!(world.waiting <= slots, "seed {seed}: {} wait", world.waiting);
        }
    }
}

#[test]
fn it_shrinks_within_seconds_with_the_servers_capacity_and_recovers() {
    for seed in 0..8 {
        let mut world = World::new(seed, 80, 0.02, 0.0);
        world.play(30.0);
        world.slots = 20;
        world.play(10.0);
        assert_near("a quarter is left", seed, 20, &world.play(60.0));
        world.slots = 80;
        world.play(15.0);
        assert_near("it is back", seed, 80, &world.play(60.0));
    }
}

#[test]
fn a_server_that_has_become_slow_is_not_starved() {
    for seed in 0..8 {
        let mut world = World::new(seed, 50, 0.02, 0.0);
        world.play(30.0);
        // Five times slower, with as many slots: that looks like a crowd at first.
        world.mean = 0.1;
        assert!(world.play(40.0).least >= 5.0, "seed {seed}");
        assert_near("it is slow", seed, 50, &world.play(60.0));
        world.mean = 0.02;
        world.play(30.0);
        // Some of the queue that it had is taken for its nature, until its load is lighter for a moment.
        let limits = world.play(60.0);
        assert!(limits.least >= ideal(50) / 2.0 && limits.mean <= ideal(50) * 4.0, "seed {seed}: {limits:?}");
        world.rate = 0.3 * 50.0 / world.mean;
        world.next_arrival = world.now;
        world.play(30.0);
        (world.rate, world.waiting) = (0.0, 0);
        world.play(10.0);
        assert_near("it had a rest", seed, 50, &world.play(60.0));
    }
}

#[test]
fn a_server_that_refuses_is_left_alone_and_comes_back() {
    for seed in 0..8 {
        let mut world = World::new(seed, 50, 0.02, 0.0);
        world.play(30.0);
        for _ in 0..12 {
            (0..100).for_each(|_| world.load.overloaded());
            world.adaptive.sample(&world.load, world.epoch + Duration::from_secs_f64(world.now));
            world.now += SAMPLES;
            world.adaptive.sample(&world.load, world.epoch + Duration::from_secs_f64(world.now));
        }
        assert!(world.adaptive.limit() <= 8, "seed {seed}: {}", world.adaptive.limit());
        world.play(30.0);
        assert_near("it answers again", seed, 50, &world.play(60.0));
    }
}
