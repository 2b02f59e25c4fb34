//! Who carries less for its weight. Used by the algorithms that compare what is in flight. Hot path.

use super::{Load, Member, Tried, dice::Dice, shares::Shares};
use std::{cmp::Ordering, sync::Arc};

/// Members, their weights and what they carry.
#[derive(Debug)]
pub(super) struct Burdens {
    pub(super) shares: Shares,
    loads: Box<[Arc<Load>]>,
}

/// What a member would carry with one more, and its weight, as it was when it was looked at.
///
/// Whoever is idle counts as carrying nothing, as HAProxy has it: otherwise a request at a time would always go to the
/// heaviest weight, and the others would never be called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burden {
    carried: u64,
    weight: u64,
}

impl Burden {
    /// Compares `carried / weight` without a division; both are at most 2^32.
    pub(super) fn compare(self, other: Self) -> Ordering {
        let (own, others) = (u128::from(self.carried), u128::from(other.carried));
        (own * u128::from(other.weight)).cmp(&(others * u128::from(self.weight)))
    }
}

impl Burdens {
    pub(super) fn new(members: &[Member]) -> Self {
        let loads = members.iter().map(|member| Arc::clone(&member.load)).collect();
        Self { shares: Shares::new(members), loads }
    }

    /// What the member at `place` carries now.
    pub(super) fn of(&self, place: usize) -> Burden {
        let carried = match self.loads[place].in_flight() {
            0 => 0,
            in_flight => u64::from(in_flight) + 1,
        };
        Burden { carried, weight: self.shares.weight(place) }
    }

    /// The one of all that carries least and was not tried; equal ones by weight.
    pub(super) fn least(&self, dice: &mut Dice, tried: &Tried) -> Option<usize> {
        let mut best: Option<(usize, Burden)> = None;
        let mut sum = 0;
        for place in (0..self.shares.len()).filter(|&place| self.shares.is_fresh(place, tried)) {
            let burden = self.of(place);
            match best.map_or(Ordering::Less, |(_, best)| burden.compare(best)) {
                Ordering::Less => {
                    best = Some((place, burden));
                    sum = burden.weight;
                }
                // One pass over those that are equal, as in `Shares::choose`.
                Ordering::Equal => {
                    sum += burden.weight;
                    if dice.below(sum) < burden.weight {
                        best = Some((place, burden));
                    }
                }
                Ordering::Greater => {}
            }
        }
        best.map(|(place, _)| place)
    }
}
