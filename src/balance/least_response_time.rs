//! The member that would answer first: peak EWMA of the time to the response head, times what is in flight with one more,
//! for its weight; of all up to 32, of 8 random ones above. Hot path.
//!
//! What was observed long ago says little: it moves towards what the others take (half of the way in seven seconds). An
//! idle one of which nothing is known counts as the fastest, a busy one as the mean of those that are looked at: so a new
//! one is tried at once, one request at a time while the others are idle, and is not flooded; and one that was slow is
//! tried again. The mean alone would starve both for as long as a faster one is idle. Costs that differ by a sixteenth are
//! equal: that is noise, and equal ones go by weight.
//!
//! An average would hide the one slow answer in ten that clients wait for; a peak counts at once (Finagle's "peak EWMA").
//!
//! A pick takes as long as its chain of sums and comparisons, so these are done in lanes of four: half of the time.

use super::{
    Balancer, Member, Pick, Picked,
    few::{Costs, Crowd, Four, Seat, cheapest, less, lowest, sum},
    load::Aged,
};

/// An observation of which so much is left is one to hope for.
const LATELY: f32 = 0.5;

/// Compares how long an answer would take.
#[derive(Debug)]
pub(super) struct LeastResponseTime {
    crowd: Crowd,
}

impl LeastResponseTime {
    pub(super) fn new(members: &[Member]) -> Self {
        Self { crowd: Crowd::new(members) }
    }
}

impl Costs for LeastResponseTime {
    /// Costs that differ by less are equal.
    const SLACK: f32 = 1.0 / 16.0;

    fn costs<'c, const FOURS: usize>(&self, seats: impl Iterator<Item = [&'c Seat; 4]>, now: u64) -> [Four; FOURS] {
        // In columns: what is seen times how fresh it is, how much is not, and the burden.
        let mut columns = [([0.0; 4], [1.0; 4], [f32::INFINITY; 4]); FOURS];
        let (mut known, mut seen, mut fastest) = ([0.0; 4], [0.0; 4], [f32::INFINITY; 4]);
        for (column, four) in columns.iter_mut().zip(seats) {
            let latency = four.map(|seat| seat.load.latency(now));
            let burden = four.map(|seat| self.crowd.burden(seat, seat.load.in_flight()));
            for lane in 0..4 {
                let Aged { value, freshness } = latency[lane];
                known[lane] += freshness;
                seen[lane] += value * freshness;
                fastest[lane] = less(fastest[lane], if freshness < LATELY { f32::INFINITY } else { value });
                column.0[lane] = value * freshness;
                column.1[lane] = 1.0 - freshness;
            }
            column.2 = burden;
        }
        let unknown = Unknown::new(sum(known), sum(seen), lowest(fastest));
        let idle = self.crowd.burden_of_idle();
        let mut costs = [[0.0; 4]; FOURS];
        for (cost, (seen, rest, burden)) in costs.iter_mut().zip(&columns) {
            for lane in 0..4 {
                let guess = if burden[lane] <= idle { unknown.idle } else { unknown.busy };
                cost[lane] = (guess * rest[lane] + unknown.known * seen[lane]) * burden[lane];
            }
        }
        costs
    }
}

/// What one counts for of which nothing is known, beside those that are looked at. All of it is times one number: costs
/// are compared with each other alone, and a mean would be a division.
struct Unknown {
    busy: f32,
    idle: f32,
    /// What an observed latency is to be multiplied by.
    known: f32,
}

impl Unknown {
    fn new(known: f32, seen: f32, fastest: f32) -> Self {
        if known > 0.0 {
            Self { busy: seen, idle: less(fastest * known, seen), known }
        } else {
            Self { busy: 1.0, idle: 1.0, known: 1.0 }
        }
    }
}

impl Balancer for LeastResponseTime {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        cheapest(self, &self.crowd, pick)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Algorithm, Member, Picked, Taken, testing,
        town::{SECOND, Town, welcomes_a_new_one},
    };

    const THIS: Algorithm = Algorithm::LeastResponseTime;
    const NOW: u64 = 20 * SECOND;

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

    /// Milliseconds that each has taken in the last 20 seconds.
    fn with(weights: &[u32], latencies: &[u64]) -> Vec<Member> {
        let members = testing::members(weights);
        for (member, millis) in members.iter().zip(latencies) {
            (0..=20).for_each(|second| member.load.took(second * SECOND, millis * 1_000, Taken::Answered));
        }
        members
    }

    #[test]
    fn of_idle_ones_the_faster_is_picked_whatever_it_weighs() {
        let members = with(&[100, 1_000, 100], &[1, 2, 3]);
        assert!(testing::places(THIS, &members, NOW, 100).all(|place| place == 0));
    }

    #[test]
    fn idle_ones_that_are_alike_share_by_weight() {
        let members = with(&[300, 100], &[100, 102]);
        let mut counts = [0.0; 2];
        testing::places(THIS, &members, NOW, 20_000).for_each(|place| counts[place] += 1.0);
        testing::assert_shares(&counts, &[3, 1]);
    }

    #[test]
    fn what_is_in_flight_multiplies_the_time_and_weight_divides_it() {
        let members = with(&[100, 300], &[1, 2]);
        members.iter().for_each(|member| member.load.begin());
        let pick = || testing::places(THIS, &members, NOW, 1).next();
        assert_eq!(pick(), Some(1), "2 x 2 / 3 is less than 1 x 2");
        members[1].load.begin();
        members[1].load.begin();
        assert_eq!(pick(), Some(0), "2 x 4 / 3 is more than 1 x 2");
    }

    #[test]
    fn an_unknown_one_counts_as_the_mean_once_it_is_tried() {
        let members = with(&[100; 3], &[10, 30]);
        members[0].load.begin();
        members[0].load.begin();
        assert!(testing::places(THIS, &members, NOW, 100).all(|place| place == 2), "10 is less than 30");
        members[2].load.begin();
        assert!(testing::places(THIS, &members, NOW, 100).all(|place| place != 2), "40 is more than 30");
    }

    #[test]
    fn an_unknown_one_is_tried_though_others_are_idle() {
        let members = with(&[100; 3], &[10, 30]);
        let mut counts = [0.0; 3];
        testing::places(THIS, &members, NOW, 20_000).for_each(|place| counts[place] += 1.0);
        assert_eq!(counts[1], 0.0);
        testing::assert_shares(&[counts[0], counts[2]], &[1, 1]);
    }

    /// As long as little is known of it.
    #[test]
    fn one_lucky_answer_makes_nobody_the_fastest() {
        let members = with(&[100; 3], &[10, 10]);
        members[2].load.took(NOW, 100, Taken::Answered);
        members[2].load.begin();
        assert!(testing::places(THIS, &members, NOW, 100).all(|place| place != 2));
        members[2].load.took(NOW, 1_000_000, Taken::Answered);
        members[0].load.begin();
        members[1].load.begin();
        assert!(testing::places(THIS, &members, NOW, 100).all(|place| place != 2), "an unlucky one counts at once");
    }

    #[test]
    fn what_is_old_counts_as_the_mean_too() {
        let members = with(&[100; 3], &[10, 10, 1_000]);
        let never = |now| testing::places(THIS, &members, now, 1_000).all(|place| place != 2);
        assert!(never(NOW));
        members[..2].iter().for_each(|member| member.load.took(140 * SECOND, 10_000, Taken::Answered));
        assert!(!never(140 * SECOND));
    }

    #[test]
    fn the_faster_of_many_is_picked() {
        let members = with(&[100; 10_000], &(0..10_000).map(|n| 1 + 9 * (n % 2)).collect::<Vec<_>>());
        let fast = testing::places(THIS, &members, NOW, 5_000).filter(|place| place % 2 == 0).count();
        assert!(fast >= 4_900, "{fast} of 5000");
    }

    #[test]
    fn a_new_one_is_neither_starved_nor_flooded() {
        welcomes_a_new_one(THIS);
    }

    /// 1, 1 and 10 ms: the issue's own measure.
    #[test]
    fn a_slow_one_is_spared_and_its_recovery_is_seen() {
        let p99 = |algorithm| {
            Town::new(algorithm, &[100; 3], &[1_000.0, 1_000.0, 10_000.0]).run(60.0, 4_000.0, |_, _| 1).p99()
        };
        assert!(p99(THIS) * 2 < p99(Algorithm::RoundRobin), "{} against {}", p99(THIS), p99(Algorithm::RoundRobin));
        let mut town = Town::new(THIS, &[100; 3], &[1_000.0, 1_000.0, 100_000.0]);
        let slow = town.run(60.0, 1_000.0, |_, _| 1).share(2);
        assert!(slow < 0.02, "{slow} of the picks go to the slow one");
        town.service[2] = 1_000.0;
        town.run(30.0, 1_000.0, |_, _| 1);
        let share = town.run(30.0, 1_000.0, |_, _| 1).share(2);
        assert!(share > 0.25, "{share} of the picks go to the one that has recovered");
    }

    #[test]
    fn a_fast_failure_attracts_nobody() {
        let members = with(&[100; 2], &[10, 10]);
        (0..100).for_each(|_| members[0].load.took(NOW, 1, Taken::Failed));
        let balancer = super::super::build(THIS, &members, &Default::default());
        let first = (0..1_000).filter(|&n| testing::pick_at(&*balancer, n, NOW) == Picked::Member(0)).count();
        assert!(first < 20, "{first} of 1000");
    }
}
