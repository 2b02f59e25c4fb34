//! The member that carries least for its weight: of all up to 32, of 8 random ones above. Hot path.
//!
//! Above, looking at all would cost more than it brings, and workers that decide at the same time would all run to the
//! same member.

use super::{Balancer, Member, Pick, Picked, Tried, burdens::Burdens, dice::Dice};
use std::{array, cmp::Ordering};

/// Up to so many members all are looked at.
const ALL: usize = 32;
/// Above, so many are drawn.
const SOME: usize = 8;

/// Compares what is in flight.
#[derive(Debug)]
pub(super) struct LeastConnections {
    burdens: Burdens,
}

impl LeastConnections {
    pub(super) fn new(members: &[Member]) -> Self {
        Self { burdens: Burdens::new(members) }
    }

    /// The best of some that are drawn by weight; `None` if too many were tried to meet one who was not.
    fn least_of_some(&self, dice: &mut Dice, tried: &Tried) -> Option<usize> {
        let shares = &self.burdens.shares;
        let first = shares.try_draw(dice, |place| shares.is_fresh(place, tried))?;
        // All draws, then all looks: so the looks wait for memory together.
        let places: [usize; SOME] = array::from_fn(|number| match number {
            0 => first,
            _ => shares.try_draw(dice, |place| shares.is_fresh(place, tried)).unwrap_or(first),
        });
        let burdens = places.map(|place| self.burdens.of(place));
        let lighter = |best: usize, other: usize| match burdens[other].compare(burdens[best]) {
            Ordering::Less => other,
            // Equal ones: who was drawn first was drawn by weight.
            Ordering::Equal | Ordering::Greater => best,
        };
        Some(places[(1..SOME).fold(0, lighter)])
    }
}

impl Balancer for LeastConnections {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        let mut dice = Dice::new(pick.random);
        let some = if self.burdens.shares.len() > ALL { self.least_of_some(&mut dice, pick.tried) } else { None };
        Picked::from(some.or_else(|| self.burdens.least(&mut dice, pick.tried)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, testing};

    #[test]
    fn the_shared_suite() {
        testing::suite(Algorithm::LeastConnections);
    }

    #[test]
    fn it_prefers_the_lighter() {
        testing::prefers_the_lighter(Algorithm::LeastConnections, 0.98);
    }

    #[test]
    fn the_heaviest_of_all_is_never_picked() {
        testing::never_picks_the_most_loaded(Algorithm::LeastConnections);
    }

    #[test]
    fn of_few_the_lightest_is_always_picked() {
        testing::always_picks_the_lightest(Algorithm::LeastConnections, super::ALL);
    }
}
