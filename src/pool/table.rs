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
    /// A table of those of `backends` whose weight, given beside them, is not 0.
    pub fn new(algorithm: Algorithm, backends: &[(Arc<Backend>, u32)], cursor: &Arc<AtomicUsize>) -> Self {
        let weighed = || backends.iter().filter(|(_, weight)| *weight > 0);
        let member = |(backend, weight): &(Arc<Backend>, u32)| Member {
            id: backend.id,
            weight: *weight,
            load: Arc::clone(&backend.load),
        };
        let members: Vec<_> = weighed().map(member).collect();
        let backends = weighed().map(|(backend, _)| Arc::clone(backend)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{balance::Tried, config::Address, net::Budget};

    #[test]
    fn the_weights_of_the_table_count_and_0_is_never_picked() {
        let backend = |id| {
            let address = Address::Tcp("127.0.0.1:1".parse().unwrap());
            Arc::new(Backend::new(id, id.to_string(), address, 1, Budget::new(None)))
        };
        let backends = [(backend(0), 0), (backend(1), 3), (backend(2), 1), (backend(3), 0)];
        let table = Table::new(Algorithm::RoundRobin, &backends, &Arc::default());
        let tried = Tried::default();
        let mut counts = [0; 4];
        for _ in 0..8 {
            let picked = table.pick(&Pick { key: 0, worker: 0, random: 0, tried: &tried }).unwrap();
            counts[picked.id as usize] += 1;
        }
        assert_eq!(counts, [0, 6, 2, 0]);
    }
}
