//! The few members that a pick looks at: all up to 32, 8 random ones above. Used by the algorithms that weigh what a
//! member carries against what the others do. Hot path.

use super::{Load, Member, Pick, Picked, Tried, dice::Dice, shares::Shares};
use std::{array, sync::Arc};

/// Up to so many members all are looked at.
pub(super) const ALL: usize = 32;
/// Above, so many are drawn: looking at all would cost more than it brings, and workers that decide at the same time
/// would all run to the same member.
pub(super) const SOME: usize = 8;

/// Members, their weights and what they carry.
#[derive(Debug)]
pub(super) struct Crowd {
    shares: Shares,
    /// One for each member, and then empty ones up to a multiple of four: at least one.
    seats: Box<[Seat]>,
    /// Of the largest weight.
    smallest_inverse: f32,
}

/// One member: one look in memory for all that its table knows.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) load: Arc<Load>,
    pub(super) weight: u32,
    /// 1 / weight: a multiplication is cheaper than a division.
    pub(super) inverse: f32,
}

/// Places of those that are looked at, at most `N`.
#[derive(Debug)]
pub(super) struct Few<const N: usize> {
    /// Up to `len`; then those of empty seats.
    places: [u32; N],
    len: usize,
    /// By weight, independently, so that one may be there twice: whoever comes first does so by weight.
    drawn: bool,
}

/// What members are compared by.
pub(super) trait Costs {
    /// Costs that differ by less are equal.
    const SLACK: f32;

    /// What each of them would cost, in fours; infinite where there is nobody.
    fn costs<'c, const FOURS: usize>(&self, seats: impl Iterator<Item = [&'c Seat; 4]>, now: u64) -> [Four; FOURS];
}

/// The one of `crowd` that costs least and was not tried; by weight among equals.
pub(super) fn cheapest<C: Costs>(by: &C, crowd: &Crowd, pick: &Pick<'_>) -> Picked {
    let (mut dice, now) = (Dice::new(pick.random), pick.now);
    if let Some(seats) = crowd.everybody(pick.tried) {
        let weight = |number: usize| seats[number].weight;
        let number = match seats.len() {
            ..=16 => least(&by.costs::<4>(fours(seats), now), C::SLACK, &mut dice, weight),
            _ => least(&by.costs::<{ ALL / 4 }>(fours(seats), now), C::SLACK, &mut dice, weight),
        };
        return Picked::from(number);
    }
    Picked::from(if crowd.is_small() {
        let few = crowd.all(pick.tried);
        few.least(crowd, &by.costs::<{ ALL / 4 }>(few.fours(crowd), now), C::SLACK, &mut dice)
    } else {
        let few = crowd.some(&mut dice, pick.tried);
        few.least(crowd, &by.costs::<{ SOME / 4 }>(few.fours(crowd), now), C::SLACK, &mut dice)
    })
}

impl Seat {
    fn new(member: &Member) -> Self {
        let weight = member.weight.max(1);
        Self { load: Arc::clone(&member.load), weight, inverse: 1.0 / weight as f32 }
    }

    /// One whose weight is nothing and that is busy: it costs infinitely much.
    fn empty() -> Self {
        let load = Load::default();
        load.begin();
        Self { load: Arc::new(load), weight: 0, inverse: f32::MAX }
    }
}

impl Crowd {
    pub(super) fn new(members: &[Member]) -> Self {
        let mut seats: Vec<Seat> = members.iter().map(Seat::new).collect();
        let smallest_inverse = seats.iter().map(|seat| seat.inverse).fold(1.0, f32::min);
        seats.resize(members.len() / 4 * 4 + 4, Seat::empty());
        Self { shares: Shares::new(members), seats: seats.into(), smallest_inverse }
    }

    fn len(&self) -> usize {
        self.shares.len()
    }

    /// All, if all can be looked at and none was tried.
    pub(super) fn everybody(&self, tried: &Tried) -> Option<&[Seat]> {
        (self.is_small() && tried.is_empty()).then_some(&self.seats)
    }

    /// All can be looked at.
    pub(super) fn is_small(&self) -> bool {
        self.len() <= ALL
    }

    pub(super) fn seat(&self, place: usize) -> &Seat {
        &self.seats[place]
    }

    /// What one with so many in flight would carry with one more, for its weight.
    ///
    /// An idle one counts as the heaviest: otherwise a request at a time would always go to the heaviest weight, and the
    /// others would never be called. So idle ones differ by what else is known of them, and go by weight if they are alike.
    pub(super) fn burden(&self, seat: &Seat, in_flight: u32) -> f32 {
        let inverse = if in_flight == 0 { self.smallest_inverse } else { seat.inverse };
        (in_flight as f32 + 1.0) * inverse
    }

    /// What an idle one carries; whoever is not idle carries more.
    pub(super) fn burden_of_idle(&self) -> f32 {
        self.smallest_inverse
    }

    /// All that were not tried.
    pub(super) fn all(&self, tried: &Tried) -> Few<ALL> {
        self.walk(0, |place| self.shares.is_fresh(place, tried))
    }

    /// Some that were not tried, by weight; if a few draws meet none, those that a walk around from anywhere meets.
    pub(super) fn some(&self, dice: &mut Dice, tried: &Tried) -> Few<SOME> {
        // All draws, then all looks: so the looks wait for memory together.
        if tried.is_empty() && self.len() > 0 {
            return Few { places: array::from_fn(|_| self.shares.any(dice) as u32), len: SOME, drawn: true };
        }
        let fresh = |place| self.shares.is_fresh(place, tried);
        let Some(first) = self.shares.try_draw(dice, fresh) else { return self.any(dice, fresh) };
        let mut few = Few { places: [first as u32; SOME], len: SOME, drawn: true };
        for slot in &mut few.places[1..] {
            *slot = self.shares.try_draw(dice, fresh).unwrap_or(first) as u32;
        }
        few
    }

    /// The first that are `fine`, from anywhere on; none only if nobody is.
    pub(super) fn any<const N: usize>(&self, dice: &mut Dice, fine: impl Fn(usize) -> bool) -> Few<N> {
        self.walk(dice.below(self.len() as u64) as usize, fine)
    }

    /// The member at `place` was not tried.
    pub(super) fn is_fresh(&self, place: usize, tried: &Tried) -> bool {
        self.shares.is_fresh(place, tried)
    }

    pub(super) fn nobody<const N: usize>(&self) -> Few<N> {
        Few { places: [self.len() as u32; N], len: 0, drawn: false }
    }

    fn walk<const N: usize>(&self, from: usize, fine: impl Fn(usize) -> bool) -> Few<N> {
        let mut few = self.nobody();
        let around = (from..self.len()).chain(0..from);
        for (slot, place) in few.places.iter_mut().zip(around.filter(|&place| fine(place))) {
            *slot = place as u32;
            few.len += 1;
        }
        few
    }
}

impl<const N: usize> Few<N> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The place of the one with this number among them.
    pub(super) fn place(&self, number: usize) -> usize {
        self.places[number] as usize
    }

    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.places[..self.len].iter().map(|&place| place as usize)
    }

    /// What a draw among them has yet to weigh: nothing, if that has been done.
    pub(super) fn weight(&self, seat: &Seat) -> f32 {
        if self.drawn { 1.0 } else { seat.weight as f32 }
    }

    /// What they sit on, in fours.
    pub(super) fn fours<'c>(&self, crowd: &'c Crowd) -> impl Iterator<Item = [&'c Seat; 4]> {
        let (fours, _) = self.places.as_chunks();
        fours.iter().map(|four| four.map(|place| crowd.seat(place as usize)))
    }

    /// As [`least`], which gives a place then; of those that were drawn the first is, by weight.
    pub(super) fn least(&self, crowd: &Crowd, costs: &[Four], slack: f32, dice: &mut Dice) -> Option<usize> {
        let weight = |number: usize| crowd.seat(self.place(number)).weight;
        let number = if self.drawn { first(equal(costs, slack)) } else { least(costs, slack, dice, weight) };
        self.places[..self.len].get(number?).map(|&place| place as usize)
    }
}

/// What is known of four members: lanes of one instruction.
pub(super) type Four = [f32; 4];

/// The number of the least of `costs`; those that cost up to `slack` more are equal to it, and go by `weight`. `None` if
/// there is nobody.
pub(super) fn least(costs: &[Four], slack: f32, dice: &mut Dice, weight: impl Fn(usize) -> u32) -> Option<usize> {
    let equal = equal(costs, slack);
    let (mut chosen, mut sum) = (first(equal)?, 0);
    // In one pass (Chao 1982): nothing waits for the sum. By arithmetic: a branch would be mispredicted every other time.
    for number in Ones(equal) {
        let weight = u64::from(weight(number));
        sum += weight;
        chosen = if dice.below(sum) < weight { number } else { chosen };
    }
    Some(chosen)
}

/// A one for each that costs as little as any; where there is nobody, the cost is infinite.
fn equal(costs: &[Four], slack: f32) -> u32 {
    let most = least_of(costs) * (1.0 + slack);
    if most == f32::INFINITY {
        return 0;
    }
    let mut ones = [0u32; 4];
    for four in costs.iter().rev() {
        for lane in 0..4 {
            ones[lane] = ones[lane] << 4 | if four[lane] <= most { ONE[lane] } else { 0 };
        }
    }
    ones[0] | ones[1] | ones[2] | ones[3]
}

/// All, in fours.
pub(super) fn fours(seats: &[Seat]) -> impl Iterator<Item = [&Seat; 4]> {
    seats.as_chunks().0.iter().map(|four| four.each_ref())
}

/// The bit of a lane.
const ONE: [u32; 4] = [1, 2, 4, 8];

/// In lanes: one after the other they would wait for each other.
fn least_of(fours: &[Four]) -> f32 {
    let mut lanes = [f32::INFINITY; 4];
    for four in fours {
        for lane in 0..4 {
            lanes[lane] = less(lanes[lane], four[lane]);
        }
    }
    lowest(lanes)
}

/// The least of the lanes.
pub(super) fn lowest(lanes: Four) -> f32 {
    less(less(less(lanes[0], lanes[1]), lanes[2]), lanes[3])
}

/// Of the lanes.
pub(super) fn sum(lanes: Four) -> f32 {
    lanes[0] + lanes[1] + lanes[2] + lanes[3]
}

fn first(equal: u32) -> Option<usize> {
    (equal != 0).then_some(equal.trailing_zeros() as usize)
}

/// The lesser one, by one instruction: nothing here is not a number.
pub(super) fn less(one: f32, other: f32) -> f32 {
    if other < one { other } else { one }
}

/// Places of the ones in a word.
struct Ones(u32);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = first(self.0);
        self.0 &= self.0.wrapping_sub(1);
        place
    }
}
