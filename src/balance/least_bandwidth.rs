//! The member through which the fewest bytes go for its weight, both ways, of late; of all up to 32, of 8 random ones
//! above. Hot path.
//!
//! What is in flight counts as so many mean attempts: of many that come at once, all would run to one member otherwise.
//! One that has just joined counts as if as much had gone through it before as through the quietest of the others, and that
//! fades as their bytes do: otherwise it would get everything until it had caught up with seconds of their traffic.

use super::{
    Balancer, Member, Pick, Picked,
    few::{Costs, Crowd, Four, Seat, cheapest, less},
    load::Traffic,
};

/// The part of "lately" that one was there for to be an example for others.
const LONG: f32 = 0.5;

/// Compares bytes.
#[derive(Debug)]
pub(super) struct LeastBandwidth {
    crowd: Crowd,
}

/// What all that are looked at have in common.
struct Sums {
    bytes: f32,
    ended: f32,
    /// Weights, of each as much as it was there.
    watched: f32,
    /// The fewest bytes for the weight of one that was there for long.
    quietest: f32,
    /// What all were not there for.
    missing: f32,
}

impl Default for Sums {
    fn default() -> Self {
        Self { bytes: 0.0, ended: 0.0, watched: 0.0, quietest: f32::INFINITY, missing: 1.0 }
    }
}

impl Sums {
    fn add(&mut self, traffic: Traffic, seat: &Seat) {
        self.bytes += traffic.bytes;
        self.ended += traffic.ended;
        self.watched += traffic.watched * seat.weight as f32;
        self.missing = less(self.missing, 1.0 - traffic.watched);
        let bytes = traffic.bytes * seat.inverse / traffic.watched;
        self.quietest = less(self.quietest, if traffic.watched < LONG { f32::INFINITY } else { bytes });
    }

    /// Bytes of an attempt; never 0, so that what is in flight counts from the beginning.
    fn each(&self) -> f32 {
        if self.ended > 0.0 { (self.bytes / self.ended).max(1.0) } else { self.bytes.max(1.0) }
    }

    /// Bytes for a weight of 1 that one counts for which was not there.
    fn absent(&self) -> f32 {
        if self.quietest.is_finite() { self.quietest } else { self.bytes / self.watched.max(f32::EPSILON) }
    }
}

impl LeastBandwidth {
    pub(super) fn new(members: &[Member]) -> Self {
        Self { crowd: Crowd::new(members) }
    }
}

impl Costs for LeastBandwidth {
    /// Nothing but the error of a float: bytes are counted, not estimated.
    const SLACK: f32 = 1.0 / 65_536.0;

    fn costs<'c, const FOURS: usize>(&self, seats: impl Iterator<Item = [&'c Seat; 4]>, now: u64) -> [Four; FOURS] {
        // In columns. A cost is `own + each * waiting + absent * missing`; what all miss does not count.
        let mut columns = [([f32::INFINITY; 4], [0.0; 4], [0.0; 4]); FOURS];
        let mut sums = Sums::default();
        for ((own, waiting, missing), four) in columns.iter_mut().zip(seats) {
            let traffic = four.map(|seat| seat.load.traffic(now));
            for lane in 0..4 {
                sums.add(traffic[lane], four[lane]);
                own[lane] = traffic[lane].bytes * four[lane].inverse;
                waiting[lane] = four[lane].load.in_flight() as f32 * four[lane].inverse;
                missing[lane] = 1.0 - traffic[lane].watched;
            }
        }
        let (each, absent) = (sums.each(), sums.absent());
        let mut costs = [[0.0; 4]; FOURS];
        for (cost, (own, waiting, missing)) in costs.iter_mut().zip(&columns) {
            for lane in 0..4 {
                cost[lane] = own[lane] + each * waiting[lane] + absent * (missing[lane] - sums.missing);
            }
        }
        costs
    }
}

impl Balancer for LeastBandwidth {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        cheapest(self, &self.crowd, pick)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Algorithm, testing,
        town::{SECOND, Town, welcomes_a_new_one},
    };

    const THIS: Algorithm = Algorithm::LeastBandwidth;

    #[test]
    fn the_shared_suite() {
        testing::suite(THIS);
    }

    #[test]
    fn it_prefers_the_lighter() {
        testing::prefers_the_lighter(THIS, 0.98);
        testing::never_picks_the_most_loaded(THIS);
        testing::always_picks_the_lightest(THIS, super::super::few::ALL);
    }

    #[test]
    fn the_fewest_bytes_for_the_weight_are_picked() {
        let members = testing::members(&[100, 300]);
        members.iter().for_each(|member| member.load.passed(0, 1_000_000));
        let pick = || testing::places(THIS, &members, 30 * SECOND, 1).next();
        assert_eq!(pick(), Some(1));
        members[1].load.passed(30 * SECOND, 2_000_000);
        assert_eq!(pick(), Some(0), "what was long ago has faded");
    }

    #[test]
    fn the_quieter_of_many_is_picked() {
        let members = testing::members(&[100; 10_000]);
        for (member, busy) in members.iter().zip([false, true].into_iter().cycle()) {
            (0..30).for_each(|second| member.load.passed(second * SECOND, if busy { 90_000 } else { 10_000 }));
        }
        let quiet = testing::places(THIS, &members, 30 * SECOND, 5_000).filter(|place| place % 2 == 0).count();
        assert!(quiet >= 4_900, "{quiet} of 5000");
    }

    /// As many picks at one moment, of which nothing has ended yet.
    #[test]
    fn those_that_come_at_once_do_not_all_run_to_one() {
        let members = testing::members(&[100; 3]);
        for (member, bytes) in members.iter().zip([90_000, 100_000, 110_000]) {
            member.load.passed(0, bytes);
            (0..10).for_each(|_| member.load.ended(0));
        }
        let balancer = super::super::build(THIS, &members, &Default::default());
        for random in 0..30 {
            let super::Picked::Member(place) = testing::pick_at(&*balancer, random, 0) else { panic!("nobody") };
            members[place].load.begin();
        }
        assert_eq!([0, 1, 2].map(|place: usize| members[place].load.in_flight()), [11, 10, 9]);
    }

    /// One answer in ten has 100 times the bytes; or one backend's answers all have.
    #[test]
    fn bytes_are_evened_out_by_weight() {
        let mut town = Town::new(THIS, &[100, 100, 200], &[1_000.0; 3]);
        let large = |_, random| if random % 10 == 0 { 100_000 } else { 1_000 };
        town.run(20.0, 2_000.0, large);
        let seen = town.run(60.0, 2_000.0, large);
        for (place, wanted) in [0.25, 0.25, 0.5].into_iter().enumerate() {
            assert!((seen.bytes_share(place) - wanted).abs() < 0.02, "{:?}", seen.tallies);
        }
        let mut town = Town::new(THIS, &[100; 3], &[1_000.0; 3]);
        let large = |place, _| if place == 0 { 100_000 } else { 1_000 };
        town.run(20.0, 2_000.0, large);
        let seen = town.run(60.0, 2_000.0, large);
        assert!((seen.bytes_share(0) - 1.0 / 3.0).abs() < 0.05, "{:?}", seen.tallies);
    }

    #[test]
    fn a_new_one_is_neither_starved_nor_flooded() {
        welcomes_a_new_one(THIS);
    }

    #[test]
    fn one_that_is_back_is_not_flooded() {
        let mut town = Town::new(THIS, &[100; 4], &[1_000.0; 4]);
        let seen = town.run(30.0, 2_000.0, |_, _| 1_000);
        assert!((seen.share(0) - 0.25).abs() < 0.01);
        // Nobody calls the first for a minute.
        for tick in 0..30_000 {
            let load = &town.members[1 + tick % 3].load;
            load.passed(town.now, 1_000);
            load.ended(town.now);
            town.now += 2_000;
        }
        let seen = town.run(2.0, 2_000.0, |_, _| 1_000);
        assert!((0.15..0.4).contains(&seen.share(0)), "{} of the picks go to the one that is back", seen.share(0));
    }
}
