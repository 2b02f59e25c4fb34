//! Any member, by weight: nothing is shared and nothing is compared. Hot path.

use super::{Balancer, Member, Pick, Picked, dice::Dice, shares::Shares};

/// Draws by weight.
#[derive(Debug)]
pub(super) struct Random {
    shares: Shares,
}

impl Random {
    pub(super) fn new(members: &[Member]) -> Self {
        Self { shares: Shares::new(members) }
    }
}

impl Balancer for Random {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        let mut dice = Dice::new(pick.random);
        Picked::from(self.shares.draw(&mut dice, |place| self.shares.is_fresh(place, pick.tried)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, testing};

    #[test]
    fn the_shared_suite() {
        testing::suite(Algorithm::Random);
    }
}
