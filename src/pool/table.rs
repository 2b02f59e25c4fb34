//! Who can be chosen now. Hot path.

use super::Backend;
use crate::balance::{self, Algorithm, Balancer, Member, Pick, Picked};
use std::sync::{Arc, atomic::AtomicUsize};

/// The usable backends of a pool and the balancer over them; immutable, made anew by control when something changes.
#[derive(Debug)]
pub struct Table {
    backends: Vec<Arc<Backend>>,
    balancer: Box<dyn Balancer>,
}

impl Table {
    /// A table of those of `backends` that have weight.
    pub fn new(algorithm: Algorithm, backends: &[(Arc<Backend>, u32)], cursor: &Arc<AtomicUsize>) -> Self {
        let usable = || backends.iter().filter(|(_, weight)| *weight > 0);
        let member = |(backend, weight): &(Arc<Backend>, u32)| Member {
            id: backend.id,
            weight: *weight,
            load: Arc::clone(&backend.load),
        };
        let members: Vec<_> = usable().map(member).collect();
        let backends = usable().map(|(backend, _)| Arc::clone(backend)).collect();
        Self { balancer: balance::build(algorithm, &members, cursor), backends }
    }

    /// Nobody can be chosen.
    pub(super) fn empty() -> Self {
        Self::new(Algorithm::RoundRobin, &[], &Arc::default())
    }

    /// Nobody can be chosen.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// Chooses a backend that was not tried, and says where it is in this table.
    pub fn pick(&self, pick: &Pick<'_>) -> Option<usize> {
        match self.balancer.pick(pick) {
            // A balancer from outside may name a place that is not there.
            Picked::Member(place) => (place < self.backends.len()).then_some(place),
            Picked::Exhausted => None,
        }
    }

    /// The backend at a place that [`Table::pick`] gave.
    pub fn backend(&self, place: usize) -> &Arc<Backend> {
        &self.backends[place]
    }
}
