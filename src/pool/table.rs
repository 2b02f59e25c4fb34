//! Who can be chosen now: immutable, replaced whole. Hot path.

use super::Backend;
use crate::balance::{self, Algorithm, Balancer, Member, Pick, Picked};
use std::sync::{Arc, atomic::AtomicUsize};

/// The usable backends of a pool and the balancer over them.
#[derive(Debug)]
pub struct Table {
    backends: Vec<Arc<Backend>>,
    balancer: Box<dyn Balancer>,
}

impl Table {
    /// A table of those of `backends` that have weight.
    pub fn new(algorithm: Algorithm, backends: &[Arc<Backend>], cursor: &Arc<AtomicUsize>) -> Self {
        let backends: Vec<_> = backends.iter().filter(|backend| backend.weight > 0).map(Arc::clone).collect();
        let member =
            |backend: &Arc<Backend>| Member { id: backend.id, weight: backend.weight, load: Arc::clone(&backend.load) };
        let members: Vec<_> = backends.iter().map(member).collect();
        Self { balancer: balance::build(algorithm, &members, cursor), backends }
    }

    /// Chooses a backend that was not tried.
    pub fn pick(&self, pick: &Pick<'_>) -> Option<&Arc<Backend>> {
        match self.balancer.pick(pick) {
            // A balancer from outside may name a place that is not there.
            Picked::Member(place) => self.backends.get(place),
            Picked::Exhausted => None,
        }
    }
}
