//! Who carries less for its weight. Used by the algorithms that compare what is in flight. Hot path.

use super::{Load, Member, Tried, dice::Dice, shares::Shares};
use std::{cmp::Ordering, sync::Arc};

/// Members, their weights and what they carry.
#[derive(Debug)]
pub(super) struct Burdens {
    pub(super) shares: Shares,
    /// With the weights once more: one look in memory for both.
    loads: Box<[(Arc<Load>, u32)]>,
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
    /// Compares `carried / weight` without a division. Both are at most 2^32, and no weight is that.
    pub(super) fn compare(self, other: Self) -> Ordering {
        (self.carried * other.weight).cmp(&(other.carried * self.weight))
    }
}

impl Burdens {
    pub(super) fn new(members: &[Member]) -> Self {
        let loads = members.iter().map(|member| (Arc::clone(&member.load), member.weight.max(1))).collect();
        Self { shares: Shares::new(members), loads }
    }

    /// What the member at `place` carries now.
    pub(super) fn of(&self, place: usize) -> Burden {
        let (load, weight) = &self.loads[place];
        let in_flight = u64::from(load.in_flight());
        // Without a branch, which would be mispredicted.
        Burden { carried: in_flight + u64::from(in_flight > 0), weight: u64::from(*weight) }
    }

    /// The one of all that carries least and was not tried; equal ones by weight.
    pub(super) fn least(&self, dice: &mut Dice, tried: &Tried) -> Option<usize> {
        let mut fresh = (0..self.shares.len()).filter(|&place| self.shares.is_fresh(place, tried));
        let mut best = fresh.next()?;
        let mut least = self.of(best);
        // Of those that carry as little.
        let mut weights = least.weight;
        for place in fresh {
            let burden = self.of(place);
            let order = burden.compare(least);
            weights = match order {
                Ordering::Less => burden.weight,
                Ordering::Equal => weights + burden.weight,
                Ordering::Greater => weights,
            };
            if order == Ordering::Less {
                (best, least) = (place, burden);
            }
        }
        if weights == least.weight { Some(best) } else { Some(self.equal(best, least, dice.below(weights), tried)) }
    }

    /// Of those that carry as little as `best`, the one at whose weight `turn` ends: a second pass is cheaper than a
    /// random number for each. `best`, if others have changed what is carried in the meantime.
    fn equal(&self, best: usize, least: Burden, mut turn: u64, tried: &Tried) -> usize {
        for place in (best..self.shares.len()).filter(|&place| self.shares.is_fresh(place, tried)) {
            let burden = self.of(place);
            if burden.compare(least) == Ordering::Equal {
                if turn < burden.weight {
                    return place;
                }
                turn -= burden.weight;
            }
        }
        best
    }
}
