//! Consistent hashing with bounded load: one key, one member, on every instance and after every restart. Hot path.
//!
//! # The map
//! Keys fall into 2^18 slots. For each slot the members run a race, and who comes first owns it. A member goes round 32
//! blocks of slots in an order of its own, and at every round tries one slot in each, drawn from a stream that begins
//! with its identity; its turn number k comes at the time (k + u) / weight, with u from the same stream, 0 <= u < 1. So a
//! member's share of the slots is its share of the weights, and nothing of its race depends on who else runs or on how
//! they are listed: one that leaves gives its own slots to whoever came second there, and one that joins or gains weight
//! takes slots from the others and moves none between them. This is rendezvous hashing with weights (Thaler and
//! Ravishankar, IEEE/ACM Transactions on Networking 6, 1998), laid out beforehand and for slots, not computed for each key.
//!
//! The race is over after 4.5 turns a slot. Slots that nobody has met by then, 1.1 %, send each of their keys on to
//! another slot. This end is the one thing that depends on all members: when the sum of the weights changes, at most as
//! many keys move needlessly.
//!
//! Shares are exact up to chance, drawn once. Relative to a member's share, their standard deviation is about
//! sqrt(members) / 2^9.5: 0.4 % of ten members, 4.4 % of 1,000, 14 % of 10,000. A member whose share is smaller than a
//! slot may own none.
//!
//! Weighed and dropped: a ring, which needs 2,500 points for each member to come within 2 %, and a search for each key;
//! Maglev, which moves keys between members that stay; jump hash, which cannot lose a member in the middle of the list;
//! a number of slots that follows the pool's size, where all clients move when a pool outgrows it.
//!
//! # The bound
//! A member takes one more only while that keeps it within `bound` percent of its fair share of what is in flight
//! (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018). Else the key goes where it
//! would go if that member left: to the second of its slot, then to the slots of its further probes. The same holds for
//! members that were tried, so instances agree on the next one whether or not they know yet that the first is down (but
//! for the 7 % of the slots that one member alone has met: there the race would have gone on a little).
//!
//! Where clients stick, a member that has a few requests in flight always takes more: a browser asks for six things at
//! once, and while nobody else is there, one of them is above the mean of any pool.

#[cfg(test)]
mod tests;

use super::{Balancer, Common, Load, Member, Pick, Picked, Tried, splitmix64};
use std::{fmt, hint::select_unpredictable, sync::Arc};

/// Slots of a map, as a power of two.
const SLOTS: u32 = 18;
/// Slots that are laid out at a time, as a power of two: as much as stays in a core's cache.
const BLOCK: u32 = 13;
/// Blocks, as a power of two.
const ROUND: u32 = SLOTS - BLOCK;
/// How long the race lasts: so many turns of all members for two slots.
const TURNS: u128 = 9;
/// Slots that are looked at for a key, before all members are.
const PROBES: usize = 32;

/// What a member always takes at a time, where clients stick to it: as many as a browser asks for at once.
pub(super) const TOGETHER: u32 = 8;

/// Follows the map.
pub(super) struct Consistent {
    /// Seats of the first and of the second of each slot; a seat that is not there where nobody came.
    map: Arc<[[u32; 2]]>,
    /// In the order of identities: the list's would not be the same everywhere.
    seats: Arc<[Seat]>,
    /// So many at a time are within every member's bound.
    least: f64,
    common: Arc<Common>,
}

/// A member.
struct Seat {
    id: u32,
    /// In the list.
    place: u32,
    /// Of what is in flight, the part up to which it takes more.
    most: f64,
    load: Arc<Load>,
}

impl Seat {
    /// One more keeps it within its bound: `in_flight + 1 <= ceil(most * total)`, where `total` counts the one; or within
    /// `least`.
    fn has_room(&self, total: f64, least: f64) -> bool {
        f64::from(self.load.in_flight()) < (self.most * total).max(least)
    }
}

impl Consistent {
    /// `bound` is in percent of the mean; up to `least` at a time it does not hold.
    pub(super) fn new(members: &[Member], bound: u32, least: u32, common: Arc<Common>) -> Self {
        let mut order: Vec<(&Member, u32)> = members.iter().zip(0..).collect();
        order.sort_unstable_by_key(|(member, _)| member.identity);
        let sum = members.iter().map(|member| u64::from(weight(member))).sum();
        let seat = |&(member, place): &(&Member, u32)| Seat {
            id: member.id,
            place,
            most: f64::from(bound) / 100.0 * f64::from(weight(member)) / sum as f64,
            load: Arc::clone(&member.load),
        };
        let seats = order.iter().map(seat).collect();
        let members = order.iter().map(|(member, _)| *member);
        Self { map: lay_out(members, sum), seats, least: f64::from(least), common }
    }

    /// The same map, with another number of which the bound does not hold.
    pub(super) fn with_least(&self, least: u32) -> Self {
        let (map, seats, common) = (Arc::clone(&self.map), Arc::clone(&self.seats), Arc::clone(&self.common));
        Self { map, seats, least: f64::from(least), common }
    }

    /// The members in the slot that `random` falls into.
    fn slot(&self, random: u64) -> impl Iterator<Item = &Seat> {
        let slot = self.map[(random >> (u64::BITS - SLOTS)) as usize];
        slot.into_iter().filter_map(|seat| self.seats.get(seat as usize))
    }

    /// All members, once.
    fn all(&self, random: u64) -> impl Iterator<Item = &Seat> {
        let begin = (u128::from(random) * self.seats.len() as u128) >> 64;
        let (before, from) = self.seats.split_at(begin as usize);
        from.iter().chain(before)
    }
}

impl Balancer for Consistent {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        if self.seats.is_empty() {
            return Picked::Exhausted;
        }
        let total = (self.common.in_flight.sum() + 1) as f64;
        let mut found = Found { total, least: self.least, tried: pick.tried, crowded: None };
        // Mixed once more than the key is: a split may have seen to it that all keys begin alike.
        let mut random = pick.key;
        for _ in 0..PROBES {
            if let Some(seat) = self.slot(splitmix64(&mut random)).find(|seat| found.takes(seat)) {
                return Picked::Member(seat.place as usize);
            }
        }
        let found = self.all(splitmix64(&mut random)).find(|seat| found.takes(seat)).or(found.crowded);
        Picked::from(found.map(|seat| seat.place as usize))
    }
}

impl fmt::Debug for Consistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consistent").field("members", &self.seats.len()).finish_non_exhaustive()
    }
}

/// What a search has met.
struct Found<'a> {
    /// In flight in the pool, with one more.
    total: f64,
    /// As [`Consistent`] has it.
    least: f64,
    tried: &'a Tried,
    /// The first that was not tried; it is above its bound.
    crowded: Option<&'a Seat>,
}

impl<'a> Found<'a> {
    /// `seat` was not tried and has room.
    fn takes(&mut self, seat: &'a Seat) -> bool {
        let fresh = self.tried.is_empty() || !self.tried.has(seat.id);
        let takes = fresh && seat.has_room(self.total, self.least);
        if fresh && !takes {
            self.crowded.get_or_insert(seat);
        }
        takes
    }
}

fn weight(member: &Member) -> u32 {
    member.weight.max(1)
}

/// One who runs the race for a block of slots.
struct Runner {
    /// Where its streams come from.
    seeds: u64,
    /// Makes its order of the blocks.
    order: u32,
    /// From one turn to the next.
    interval: f32,
    turns: u32,
}

/// Who comes first and second in each slot: `members` are in the order of identities, which decides where two come at
/// the same time.
fn lay_out<'a>(members: impl Iterator<Item = &'a Member>, sum: u64) -> Arc<[[u32; 2]]> {
    let runner = |member: &Member| Runner {
        seeds: member.identity,
        order: (member.identity >> (u64::BITS - ROUND)) as u32,
        interval: 1.0 / weight(member) as f32,
        turns: (u128::from(weight(member)) * (TURNS << BLOCK)).div_ceil(2 * u128::from(sum)) as u32,
    };
    let mut runners: Vec<Runner> = members.map(runner).collect();
    let mut map = Vec::with_capacity(1 << SLOTS);
    let mut block = vec![[u64::MAX; 2]; 1 << BLOCK];
    for number in 0..1 << ROUND {
        block.fill([u64::MAX; 2]);
        for (runner, seat) in runners.iter_mut().zip(0..) {
            runner.run(seat, number, &mut block);
        }
        map.extend(block.iter().map(|slot| slot.map(|arrival| arrival as u32)));
    }
    map.into()
}

impl Runner {
    /// Runs in block `number`. An arrival is a time and a seat in one word, ordered by time: a positive float is ordered as its bits are.
    fn run(&mut self, seat: u32, number: u32, block: &mut [[u64; 2]]) {
        let mut stream = splitmix64(&mut self.seeds);
        for turn in 0..self.turns {
            let random = splitmix64(&mut stream);
            let fraction = (random & 0xff_ffff) as f32 / 16_777_216.0;
            let turn = turn << ROUND | (number ^ self.order);
            let time = (turn as f32 + fraction) * self.interval;
            let arrival = u64::from(time.to_bits()) << 32 | u64::from(seat);
            let [first, second] = &mut block[(random >> (u64::BITS - BLOCK)) as usize];
            // Without branches, which would be mispredicted.
            let sooner = arrival < *first;
            let later = select_unpredictable(sooner, *first, arrival);
            // Nobody is its own second: its earlier turn was sooner.
            let second_is = *first as u32 != seat && later < *second;
            *first = select_unpredictable(sooner, arrival, *first);
            *second = select_unpredictable(second_is, later, *second);
        }
    }
}
