//! Smooth weighted round robin, laid out when the table is built: a pick is one addition. Hot path.
//!
//! The order is nginx's smooth one (each step adds every weight to its member's credit, takes the largest credit, and
//! charges it the sum): members with more weight come often and evenly, not in bursts.

use super::{Balancer, Common, Member, Pick, Picked};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// The longest order that is laid out. Weights whose sum is larger, after what they share is taken out, are scaled down.
const MAX_ORDER: usize = 16 * 1024;

/// The most that laying out an order may take, in looks at a member: control does it at each change of the table.
const MAX_LOOKS: usize = 1 << 20;

/// An order of members, walked by all workers with one cursor.
#[derive(Debug)]
pub(super) struct RoundRobin {
    /// Place in the list and id, in turn.
    order: Box<[(u32, u32)]>,
    common: Arc<Common>,
}

impl RoundRobin {
    pub(super) fn new(members: &[Member], common: Arc<Common>) -> Self {
        Self { order: lay_out(members), common }
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        let length = self.order.len();
        if length == 0 {
            return Picked::Exhausted;
        }
        let first = self.common.cursor.fetch_add(1, Relaxed) % length;
        let turn = self.order[first..].iter().chain(&self.order[..first]);
        let mut fresh = turn.filter(|(_, id)| !pick.tried.has(*id));
        fresh.next().map_or(Picked::Exhausted, |&(place, _)| Picked::Member(place as usize))
    }
}

fn lay_out(members: &[Member]) -> Box<[(u32, u32)]> {
    let weights = scaled(members);
    let sum: i64 = weights.iter().sum();
    if weights.iter().all(|&weight| weight == 1) {
        return members.iter().zip(0..).map(|(member, place)| (place, member.id)).collect();
    }
    if members.len().saturating_mul(sum as usize) > MAX_LOOKS {
        return spread(&weights).map(|place| (place as u32, members[place].id)).collect();
    }
    let mut credit = vec![0; members.len()];
    let step = |_| {
        credit.iter_mut().zip(&weights).for_each(|(credit, weight)| *credit += weight);
        // The first of the largest, as nginx has it.
        let best = (0..credit.len()).rev().max_by_key(|&place| credit[place]).unwrap_or(0);
        credit[best] -= sum;
        (best as u32, members[best].id)
    };
    (0..sum).map(step).collect()
}

/// An order for many members that needs no look at all of them at each step: turn k of a weight w stands at (k + 1/2) / w
/// of the order.
fn spread(weights: &[i64]) -> impl Iterator<Item = usize> {
    let turns = |(place, &weight): (usize, &i64)| (0..weight).map(move |turn| (((2 * turn + 1) << 40) / weight, place));
    let mut order: Vec<(i64, usize)> = weights.iter().enumerate().flat_map(turns).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, place)| place)
}

/// Weights without their common divisor, and small enough that the order stays bounded. Nobody is scaled to nothing.
fn scaled(members: &[Member]) -> Vec<i64> {
    let divisor = members.iter().fold(0, |divisor, member| gcd(divisor, member.weight)).max(1);
    let sum: usize = members.iter().map(|member| (member.weight / divisor) as usize).sum();
    let most = MAX_ORDER.max(members.len());
    let scale = |member: &Member| {
        let weight = (member.weight / divisor) as usize;
        if sum <= most { weight.max(1) } else { (weight * most / sum).max(1) }
    };
    members.iter().map(|member| scale(member) as i64).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn the_shared_suite() {
        testing::suite(super::super::Algorithm::RoundRobin);
    }

    #[test]
    fn the_order_is_smooth() {
        let balancer = RoundRobin::new(&testing::members(&[5, 1, 1]), Arc::default());
        let order: String = balancer.order.iter().map(|&(place, _)| char::from(b'a' + place as u8)).collect();
        assert_eq!(order, "aabacaa");
    }

    #[test]
    fn the_order_of_many_is_even_too() {
        let order: Vec<usize> = spread(&[4, 2, 1, 1]).collect();
        assert_eq!(order, [0, 1, 0, 2, 3, 0, 1, 0]);
    }

    #[test]
    fn the_order_is_bounded() {
        let weights: Vec<u32> = (0..10_000).map(|n| 1 + n % 1000).collect();
        assert!(lay_out(&testing::members(&weights)).len() <= 2 * MAX_ORDER + weights.len());
        assert_eq!(lay_out(&testing::members(&[1000, 500, 500])).len(), 4);
    }
}
