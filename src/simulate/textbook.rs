//! Algorithms as textbooks have them, to compare ours with: not in the configuration.

use crate::balance::{Balancer, Member, Pick, Picked, splitmix64};

/// Least connections of all, whatever it costs.
#[derive(Debug)]
struct ExactLeastConnections(Vec<Member>);

/// `key` modulo the number of members.
#[derive(Debug)]
struct ModuloHash(Vec<Member>);

pub(super) fn exact_least_connections(members: &[Member]) -> Box<dyn Balancer> {
    Box::new(ExactLeastConnections(members.to_vec()))
}

pub(super) fn modulo_hash(members: &[Member]) -> Box<dyn Balancer> {
    Box::new(ModuloHash(members.to_vec()))
}

impl Balancer for ExactLeastConnections {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        let mut bits = pick.random;
        let (mut best, mut least, mut ties) = (Picked::Exhausted, (u64::MAX, 1), 0);
        for (place, member) in self.0.iter().enumerate().filter(|(_, member)| !pick.tried.has(member.id)) {
            let (carried, weight) = (u64::from(member.load.in_flight()), u64::from(member.weight));
            let (one, other) = (u128::from(carried) * u128::from(least.1), u128::from(least.0) * u128::from(weight));
            if one < other {
                (best, least, ties) = (Picked::Member(place), (carried, weight), 1);
            } else if one == other {
                // Any of those that are equal, alike.
                ties += 1;
                if splitmix64(&mut bits).is_multiple_of(ties) {
                    best = Picked::Member(place);
                }
            }
        }
        best
    }
}

impl Balancer for ModuloHash {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        let count = self.0.len();
        if count == 0 {
            return Picked::Exhausted;
        }
        let first = (pick.key % count as u64) as usize;
        let places = (first..count).chain(0..first);
        places.into_iter().find(|&place| !pick.tried.has(self.0[place].id)).map_or(Picked::Exhausted, Picked::Member)
    }
}
