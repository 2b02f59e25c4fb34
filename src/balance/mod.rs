//! Chooses one of n, and knows no backend, no clock, no I/O and no lock. Hot path.
//!
//! To add an algorithm: one file, one variant of [`Algorithm`], one arm of [`build`], and the shared suite runs on it.

mod burdens;
mod common;
mod consistent;
mod custom_load;
mod dice;
mod few;
mod hash;
mod least_bandwidth;
mod least_connections;
mod least_response_time;
mod load;
mod power_of_two_choices;
mod random;
mod round_robin;
mod shares;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod town;

pub use common::{Common, InFlight};
pub use dice::splitmix64;
pub use hash::{hash, hash_of};
pub use load::{Load, Report, Taken};

use std::{fmt, sync::Arc};

/// Ids that are remembered without an allocation.
const INLINE: usize = 8;

/// One that can be chosen.
#[derive(Clone, Debug)]
pub struct Member {
    /// The backend's number: stable while the table changes.
    pub id: u32,
    /// [`hash`] of its name: the same on every instance and after every restart.
    pub identity: u64,
    /// Its share beside the others', in hundredths ([`Member::UNIT`] = a weight of 1); at least 1.
    pub weight: u32,
    /// What it carries now.
    pub load: Arc<Load>,
}

impl Member {
    /// A weight of 1 in the configuration: a ramp needs steps below.
    pub const UNIT: u32 = 100;
}

/// What a choice is made from.
#[derive(Debug)]
pub struct Pick<'a> {
    /// A [`hash`] of what the pool keys on; random bits where there is nothing.
    pub key: u64,
    /// The worker that asks.
    pub worker: usize,
    /// Random bits, new for each pick.
    pub random: u64,
    /// When, in microseconds since a beginning that all workers share.
    pub now: u64,
    /// Who has failed this exchange already.
    pub tried: &'a Tried,
}

/// The ids that an exchange has tried: a few inline, and all of them.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    first: [u32; INLINE],
    len: usize,
    /// In order.
    more: Vec<u32>,
}

impl Tried {
    /// Remembers `id`.
    pub fn add(&mut self, id: u32) {
        match self.first.get_mut(self.len) {
            Some(free) => *free = id,
            // Sorted: a pool of thousands may have been tried.
            None => self.more.insert(self.more.partition_point(|&other| other < id), id),
        }
        self.len += 1;
    }

    /// Nobody has been tried.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `id` has been tried.
    pub fn has(&self, id: u32) -> bool {
        self.first[..self.len.min(INLINE)].contains(&id) || self.more.binary_search(&id).is_ok()
    }
}

/// The outcome of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picked {
    /// The member at this place of the list.
    Member(usize),
    /// There is nobody who was not tried.
    Exhausted,
}

impl From<Option<usize>> for Picked {
    fn from(place: Option<usize>) -> Self {
        place.map_or(Self::Exhausted, Self::Member)
    }
}

/// An algorithm over one immutable list of members; dropped with its table.
pub trait Balancer: fmt::Debug + Send + Sync {
    /// Chooses a member that was not tried.
    fn pick(&self, pick: &Pick<'_>) -> Picked;
}

/// The algorithms of a pool.
#[derive(Clone, Copy, Debug)]
pub enum Algorithm {
    /// In turn, by weight, smoothly.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The one that carries less of two random ones.
    PowerOfTwoChoices,
    /// The one that carries least for its weight; of 8 random ones where there are more than 32.
    LeastConnections,
    /// The one that would answer first: peak EWMA of the time to the response head, times what is in flight.
    LeastResponseTime,
    /// The one through which the fewest bytes go, both ways.
    LeastBandwidth,
    /// By what the backends say of themselves.
    CustomLoad {
        /// What is older, in milliseconds, is not believed.
        expire: u32,
    },
    /// By the key, consistently; nobody carries more than `bound` percent of the mean, above 100.
    Hash {
        /// In percent of the mean.
        bound: u32,
    },
    /// One from outside the crate, given to the builder as `examples/custom_balancer.rs` shows.
    Custom(fn(&[Member]) -> Box<dyn Balancer>),
}

/// Builds `algorithm` over `members`. `common` is what the pool carries over rebuilds.
pub fn build(algorithm: Algorithm, members: &[Member], common: &Arc<Common>) -> Box<dyn Balancer> {
    match algorithm {
        Algorithm::RoundRobin => Box::new(round_robin::RoundRobin::new(members, Arc::clone(common))),
        Algorithm::Random => Box::new(random::Random::new(members)),
        Algorithm::PowerOfTwoChoices => Box::new(power_of_two_choices::PowerOfTwoChoices::new(members)),
        Algorithm::LeastConnections => Box::new(least_connections::LeastConnections::new(members)),
        Algorithm::LeastResponseTime => Box::new(least_response_time::LeastResponseTime::new(members)),
        Algorithm::LeastBandwidth => Box::new(least_bandwidth::LeastBandwidth::new(members)),
        Algorithm::CustomLoad { expire } => Box::new(custom_load::CustomLoad::new(members, expire)),
        Algorithm::Hash { bound } => Box::new(consistent::Consistent::new(members, bound, 0, Arc::clone(common))),
        Algorithm::Custom(build) => build(members),
    }
}

/// As [`build`], and beside it what finds backends for clients that stick: by the key, consistently, with `bound` as
/// [`Algorithm::Hash`] has it, but a few requests at a time stay together, whatever the bound.
pub fn build_sticky(
    algorithm: Algorithm,
    bound: u32,
    members: &[Member],
    common: &Arc<Common>,
) -> [Box<dyn Balancer>; 2] {
    let hashed = |least| consistent::Consistent::new(members, bound, least, Arc::clone(common));
    match algorithm {
        // One map serves both.
        Algorithm::Hash { bound: same } if same == bound => {
            let own = hashed(0);
            let sticky = own.with_least(consistent::TOGETHER);
            [Box::new(own), Box::new(sticky)]
        }
        other => [build(other, members, common), Box::new(hashed(consistent::TOGETHER))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_were_tried_are_remembered() {
        let mut tried = Tried::default();
        assert!(tried.is_empty());
        let ids = || (0..40u32).map(|n| n * 7 % 41 * 1000);
        for (count, id) in ids().enumerate() {
            assert!(!tried.has(id), "{id} was not tried");
            tried.add(id);
            assert!(ids().take(count + 1).all(|id| tried.has(id)));
        }
        assert!(!tried.is_empty() && !tried.has(1));
    }
}
