//! Servers in virtual time: what an algorithm makes of them over minutes. Used by the tests of the algorithms.

use super::{dice::Dice, *};
use std::{cmp::Reverse, collections::BinaryHeap};

pub(super) const SECOND: u64 = 1_000_000;

/// Servers that each serve one request at a time, in turn, and a balancer before them.
pub(super) struct Town {
    algorithm: Algorithm,
    pub(super) members: Vec<Member>,
    balancer: Box<dyn Balancer>,
    /// Microseconds of a mean service at each.
    pub(super) service: Vec<f64>,
    /// When each will have nothing to do.
    free: Vec<u64>,
    pub(super) now: u64,
    dice: Dice,
    ends: BinaryHeap<Reverse<End>>,
}

/// When, where, since when, and how many bytes.
type End = (u64, usize, u64, u64);

/// What one server has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) picks: f64,
    pub(super) bytes: f64,
    /// The most that were in flight at once.
    pub(super) peak: u32,
    /// Microseconds of service that came to it.
    pub(super) work: f64,
}

/// What happened in a while.
pub(super) struct While {
    pub(super) tallies: Vec<Tally>,
    /// From arrival to end of each, in order.
    durations: Vec<u64>,
}

impl Town {
    pub(super) fn new(algorithm: Algorithm, weights: &[u32], service: &[f64]) -> Self {
        let members = testing::members(weights);
        Self {
            algorithm,
            balancer: build(algorithm, &members, &Arc::default()),
            members,
            service: service.to_vec(),
            free: vec![0; service.len()],
            now: 0,
            dice: Dice::new(testing::seed()),
            ends: BinaryHeap::new(),
        }
    }

    /// One more, with a weight of 1.
    pub(super) fn join(&mut self, service: f64) {
        let place = self.members.len() as u32;
        let identity = hash(&place.to_be_bytes());
        self.members.push(Member { id: place + 100, identity, weight: Member::UNIT, load: Arc::default() });
        self.balancer = build(self.algorithm, &self.members, &Arc::default());
        self.service.push(service);
        self.free.push(self.now);
    }

    /// A Poisson stream of requests, `gap` microseconds apart in the mean. `bytes`: of one at this place, by random bits.
    pub(super) fn run(&mut self, seconds: f64, gap: f64, bytes: impl Fn(usize, u64) -> u64) -> While {
        let (end, tried) = (self.now + (seconds * SECOND as f64) as u64, Tried::default());
        let mut seen = While { tallies: vec![Tally::default(); self.members.len()], durations: Vec::new() };
        let mut next = self.now + self.exponential(gap);
        while next < end {
            self.until(next, &mut seen.durations);
            let pick = Pick { key: 0, worker: 0, random: self.dice.roll(), now: self.now, tried: &tried };
            let Picked::Member(place) = self.balancer.pick(&pick) else { panic!("nobody picked") };
            let service = self.exponential(self.service[place]);
            let load = &self.members[place].load;
            load.begin();
            self.free[place] = self.free[place].max(self.now) + service;
            let bytes = bytes(place, self.dice.roll());
            self.ends.push(Reverse((self.free[place], place, self.now, bytes)));
            let tally = &mut seen.tallies[place];
            tally.picks += 1.0;
            tally.bytes += bytes as f64;
            tally.peak = tally.peak.max(load.in_flight());
            tally.work += service as f64;
            next += self.exponential(gap);
        }
        self.until(end, &mut seen.durations);
        seen.durations.sort_unstable();
        seen
    }

    /// All that ends before `time` does so.
    fn until(&mut self, time: u64, durations: &mut Vec<u64>) {
        while let Some(&Reverse((at, place, began, bytes))) = self.ends.peek().filter(|Reverse(end)| end.0 <= time) {
            self.ends.pop();
            let load = &self.members[place].load;
            load.end();
            load.took(at, at - began, Taken::Answered);
            load.passed(at, bytes);
            load.ended(at);
            durations.push(at - began);
        }
        self.now = time;
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        let uniform = (self.dice.roll() >> 11) as f64 / (1u64 << 53) as f64;
        (-mean * (1.0 - uniform).ln()) as u64
    }
}

impl While {
    /// Of all picks.
    pub(super) fn share(&self, place: usize) -> f64 {
        self.tallies[place].picks / self.tallies.iter().map(|tally| tally.picks).sum::<f64>()
    }

    /// Of all bytes.
    pub(super) fn bytes_share(&self, place: usize) -> f64 {
        self.tallies[place].bytes / self.tallies.iter().map(|tally| tally.bytes).sum::<f64>()
    }

    pub(super) fn p99(&self) -> u64 {
        self.durations[self.durations.len() * 99 / 100]
    }
}

/// One joins nine others that have been busy for a while: it is neither starved nor flooded in its first two seconds.
pub(super) fn welcomes_a_new_one(algorithm: Algorithm) {
    let mut town = Town::new(algorithm, &[Member::UNIT; 9], &[9_000.0; 9]);
    let (gap, bytes) = (2_000.0, |_, random| 1_000 + random % 100_000);
    town.run(60.0, gap, bytes);
    town.join(9_000.0);
    for _ in 0..20 {
        let seen = town.run(0.2, gap, bytes);
        let (new, peaks) = (&seen.tallies[9], seen.tallies[..9].iter().map(|tally| tally.peak));
        let most = peaks.max().unwrap();
        assert!(new.peak <= most + 2, "{} in flight at the new one, {most} at the others", new.peak);
    }
    let mut town = Town::new(algorithm, &[Member::UNIT; 9], &[9_000.0; 9]);
    town.run(60.0, gap, bytes);
    town.join(9_000.0);
    let share = town.run(2.0, gap, bytes).share(9);
    assert!((0.05..0.2).contains(&share), "{share} of the picks go to the new one");
}
