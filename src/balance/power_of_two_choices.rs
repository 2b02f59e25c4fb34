//! Draws two members by weight and takes the one that carries less for its weight. Hot path.
//!
//! The longest queue grows with log log n, where that of one random choice grows with log n / log log n (Mitzenmacher,
//! "The power of two choices in randomized load balancing", IEEE TPDS 12, 2001); and workers that decide at the same
//! time do not all run to the same member.

use super::{Balancer, Member, Pick, Picked, burdens::Burdens, dice::Dice};
use std::cmp::Ordering;

/// Compares two random members.
#[derive(Debug)]
pub(super) struct PowerOfTwoChoices {
    burdens: Burdens,
}

impl PowerOfTwoChoices {
    pub(super) fn new(members: &[Member]) -> Self {
        Self { burdens: Burdens::new(members) }
    }
}

impl Balancer for PowerOfTwoChoices {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        let (mut dice, shares) = (Dice::new(pick.random), &self.burdens.shares);
        let fresh = |place| shares.is_fresh(place, pick.tried);
        let Some(first) = shares.draw(&mut dice, fresh) else { return Picked::Exhausted };
        let Some(second) = shares.draw(&mut dice, |place| place != first && fresh(place)) else {
            return Picked::Member(first);
        };
        // Equal ones: who was drawn first was drawn by weight.
        let second_is_lighter = self.burdens.of(second).compare(self.burdens.of(first)) == Ordering::Less;
        Picked::Member(if second_is_lighter { second } else { first })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, testing};

    #[test]
    fn the_shared_suite() {
        testing::suite(Algorithm::PowerOfTwoChoices);
    }

    #[test]
    fn it_prefers_the_lighter() {
        testing::prefers_the_lighter(Algorithm::PowerOfTwoChoices, 0.72);
    }

    #[test]
    fn the_heaviest_of_all_is_never_picked() {
        testing::never_picks_the_most_loaded(Algorithm::PowerOfTwoChoices);
    }
}
