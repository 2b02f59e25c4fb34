//! Who can be chosen, and the balancers that choose: one table an instance, made anew at each change as control does it.

use super::{contenders::Contender, random::Bits, timeline};
use crate::{
    balance::{self, Balancer, Common, Load, Member, hash},
    config::scenario::Scenario,
    pool::SlowStart,
    telemetry::metrics::State,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// A backend as the balancers know it.
#[derive(Debug)]
struct Known {
    identity: u64,
    weight: u32,
    /// It can be chosen.
    is_in: bool,
    ramp: SlowStart,
    /// Nanoseconds that it could be chosen, until the last change.
    present: u64,
    changed: u64,
}

/// All backends, and the balancers.
#[derive(Debug)]
pub(super) struct Members {
    known: Vec<Known>,
    pub(super) instances: Vec<Instance>,
    contender: Contender,
    bound: u32,
    slow_start: Option<Duration>,
    /// What the virtual time counts from, for ramps.
    epoch: Instant,
}

/// One balancer, and what it counts: it knows nothing of the others.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) balancer: Box<dyn Balancer>,
    /// The backend at each place of its list.
    pub(super) places: Vec<u32>,
    /// What each backend carries, as far as it knows.
    pub(super) loads: Vec<Arc<Load>>,
    pub(super) common: Arc<Common>,
}

impl Members {
    pub(super) fn new(scenario: &Scenario, contender: Contender) -> Self {
        let known = |(group, name): (usize, String)| {
            let backend = &scenario.backends[group];
            Known {
                identity: hash(name.as_bytes()),
                weight: backend.weight,
                is_in: backend.joins.is_none(),
                ramp: SlowStart::default(),
                present: 0,
                changed: 0,
            }
        };
        let known: Vec<_> = timeline::backends(scenario).map(known).collect();
        // Instances that start together do not all begin with the first backend.
        let mut cursor = Bits::new(scenario.seed);
        let instance = |_| Instance {
            balancer: balance::build(balance::Algorithm::Random, &[], &Arc::default()),
            places: Vec::new(),
            loads: known.iter().map(|_| Arc::default()).collect(),
            common: Arc::new(Common::new(1, cursor.below(1 << 16) as usize)),
        };
        let instances = (0..scenario.instances).map(instance).collect();
        let mut members = Self {
            known,
            instances,
            contender,
            bound: scenario.bounded_load,
            slow_start: scenario.slow_start,
            epoch: Instant::now(),
        };
        members.rebuild(0);
        members
    }

    /// Takes `backend` in, or out. The tables are as before until [`Members::rebuild`].
    pub(super) fn set(&mut self, backend: u32, is_in: bool, now: u64) {
        let known = &mut self.known[backend as usize];
        known.count(now);
        known.is_in = is_in;
    }

    /// Makes each instance's table anew.
    pub(super) fn rebuild(&mut self, now: u64) {
        let (algorithm, time) = (self.contender.algorithm(self.bound), self.epoch + Duration::from_nanos(now));
        let share = |known: &Known| {
            let state = if known.is_in { State::Ready } else { State::Down };
            known.ramp.stands(state, now == 0, self.slow_start, time)
        };
        let weight = |known| (share(known) * f64::from(known.weight * Member::UNIT)).round() as u32;
        let weights: Vec<u32> = self.known.iter().map(weight).collect();
        for instance in &mut self.instances {
            let usable = self.known.iter().zip(&weights).zip(&instance.loads).zip(0..);
            let usable = usable.filter(|(((known, weight), _), _)| known.is_in && **weight > 0);
            let (places, members): (Vec<u32>, Vec<Member>) = usable
                .map(|(((known, &weight), load), id)| {
                    (id, Member { id, identity: known.identity, weight, load: Arc::clone(load) })
                })
                .unzip();
            instance.balancer = balance::build(algorithm, &members, &instance.common);
            instance.places = places;
        }
    }

    /// From now on presence is counted.
    pub(super) fn measure(&mut self, now: u64) {
        for known in &mut self.known {
            known.count(now);
            known.present = 0;
        }
    }

    /// For each backend, how much it should have done of all work: its weight, times how long it could be chosen.
    pub(super) fn dues(&mut self, now: u64) -> Vec<f64> {
        self.known.iter_mut().for_each(|known| known.count(now));
        self.known.iter().map(|known| f64::from(known.weight) * known.present as f64).collect()
    }
}

impl Known {
    fn count(&mut self, now: u64) {
        if self.is_in {
            self.present += now - self.changed;
        }
        self.changed = now;
    }
}
