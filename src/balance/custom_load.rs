//! Draws two members by weight / what they say of themselves, and takes the one with less in flight for that; two of all
//! up to 32, of 8 random ones above. Hot path.
//!
//! What they say is old when it is used: if the least were taken, all would run to it until it speaks again. Drawn, nobody
//! gets more than its part, and what is in flight, which is always new, corrects it (Mitzenmacher, "How useful is old
//! information?", IEEE TPDS 11, 2000). And everybody gets something, so that what it says in its responses is heard.
//!
//! It is not the weight of gRPC, requests a second / what they say: that finds the capacity in one step where the load
//! comes from our requests alone, and where it does not, whoever gets more is given more still.

use super::{
    Balancer, Member, Pick, Picked, Report, Tried,
    dice::Dice,
    few::{Crowd, Few},
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nobody counts as carrying less than this part of the mean: it would draw everything.
const FLOOR: f32 = 0.05;
/// Nor less than this: all may say 0.
const NOTHING: f32 = 1e-20;
/// Stands for one that says nothing: no load is negative.
const SILENT: f32 = -1.0;
/// Where all of many were over, they are looked at again after so many microseconds: it takes a while.
const PAUSE: u64 = 100_000;

/// Weighs what members say of themselves.
#[derive(Debug)]
pub(super) struct CustomLoad {
    crowd: Crowd,
    /// What is older, in milliseconds, is not believed.
    expire: u32,
    /// Until then all count as over.
    all_over: AtomicU64,
}

impl CustomLoad {
    pub(super) fn new(members: &[Member], expire: u32) -> Self {
        Self { crowd: Crowd::new(members), expire, all_over: AtomicU64::new(0) }
    }

    fn said(&self, place: usize, now: u64) -> Option<Report> {
        let reported = self.crowd.seat(place).load.reported(now);
        reported.filter(|(_, age)| *age <= self.expire).map(|(report, _)| report)
    }

    fn is_over(&self, place: usize, now: u64) -> bool {
        self.said(place, now).is_some_and(|report| report.over)
    }

    /// Of many, some that are not over, though none of those that were drawn is such.
    fn others(&self, dice: &mut Dice, now: u64, tried: &Tried) -> Few<2> {
        if now < self.all_over.load(Relaxed) {
            return self.crowd.nobody();
        }
        let others = self.crowd.any(dice, |place| self.crowd.is_fresh(place, tried) && !self.is_over(place, now));
        if others.is_empty() && tried.is_empty() {
            self.all_over.store(now + PAUSE, Relaxed);
        }
        others
    }

    /// Draws two of `few`, and takes the one that carries less with one more. Who was drawn first and is idle is taken,
    /// too: the second may be far better whatever they carry, and the first would never be called.
    fn lighter<const N: usize>(&self, few: &Few<N>, now: u64, dice: &mut Dice) -> Option<usize> {
        let (loads, mut shares) = self.weigh(few, now);
        let first = draw(&shares, dice)?;
        let place = few.place(first);
        for (other, share) in few.places().zip(&mut shares) {
            // The same one may be there twice.
            *share = if other == place { 0.0 } else { *share };
        }
        let Some(second) = draw(&shares, dice) else { return Some(place) };
        let carries = |number: usize| {
            let seat = self.crowd.seat(few.place(number));
            let in_flight = seat.load.in_flight() as f32;
            (in_flight, (in_flight + 1.0) * loads[number] * seat.inverse)
        };
        let ((in_flight, with_one_more), (_, other)) = (carries(first), carries(second));
        Some(if in_flight > 0.0 && other < with_one_more { few.place(second) } else { place })
    }

    /// What each of `few` carries as it says, and what is its share of the draws: none if it is over and another is not.
    fn weigh<const N: usize>(&self, few: &Few<N>, now: u64) -> ([f32; N], [f32; N]) {
        let (mut loads, mut shares) = ([SILENT; N], [0.0; N]);
        let (mut sum, mut speakers, mut free) = (0.0, 0.0f32, false);
        for (place, (load, share)) in few.places().zip(loads.iter_mut().zip(&mut shares)) {
            let said = self.said(place, now);
            let over = said.is_some_and(|report| report.over);
            if let Some(report) = said {
                *load = report.load;
                sum += report.load;
                speakers += 1.0;
            }
            *share = if over { 0.0 } else { 1.0 };
            free |= !over;
        }
        let mean = sum / speakers.max(1.0);
        let floor = (mean * FLOOR).max(NOTHING);
        for (place, (load, share)) in few.places().zip(loads.iter_mut().zip(&mut shares)) {
            let said = if *load == SILENT { mean } else { *load };
            *load = if said > floor { said } else { floor };
            let part = if free { *share } else { 1.0 };
            *share = part * few.weight(self.crowd.seat(place)) / *load;
        }
        (loads, shares)
    }
}

/// One by its share; nobody whose share is 0.
fn draw(shares: &[f32], dice: &mut Dice) -> Option<usize> {
    let sum: f32 = shares.iter().sum();
    // As many bits as a float has.
    let mut turn = (dice.roll() >> 40) as f32 / (1 << 24) as f32 * sum;
    for (number, &share) in shares.iter().enumerate() {
        if turn < share {
            return Some(number);
        }
        turn -= share;
    }
    // Rounded away.
    shares.iter().rposition(|&share| share > 0.0)
}

impl Balancer for CustomLoad {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        let (mut dice, now) = (Dice::new(pick.random), pick.now);
        if self.crowd.is_small() {
            return Picked::from(self.lighter(&self.crowd.all(pick.tried), now, &mut dice));
        }
        let some = self.crowd.some(&mut dice, pick.tried);
        if some.places().all(|place| self.is_over(place, now)) {
            let others = self.others(&mut dice, now, pick.tried);
            if !others.is_empty() {
                return Picked::from(self.lighter(&others, now, &mut dice));
            }
        }
        Picked::from(self.lighter(&some, now, &mut dice))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Algorithm, Member, Report, testing,
        town::{SECOND, Town, welcomes_a_new_one},
    };

    const THIS: Algorithm = Algorithm::CustomLoad { expire: 60_000 };

    #[test]
    fn the_shared_suite() {
        testing::suite(THIS);
    }

    #[test]
    fn it_prefers_the_lighter() {
        testing::prefers_the_lighter(THIS, 0.72);
        testing::never_picks_the_most_loaded(THIS);
    }

    #[test]
    fn a_new_one_is_neither_starved_nor_flooded() {
        welcomes_a_new_one(THIS);
    }

    /// Whoever has a load says so at once.
    fn with(weights: &[u32], loads: &[Option<f32>]) -> Vec<Member> {
        let members = testing::members(weights);
        for (member, &load) in members.iter().zip(loads) {
            load.into_iter().for_each(|load| member.load.report(SECOND, Report { load, over: false }));
        }
        members
    }

    fn assert_shares(members: &[Member], now: u64, wanted: &[u32]) {
        let mut counts = vec![0.0; members.len()];
        testing::places(THIS, members, now, 20_000).for_each(|place| counts[place] += 1.0);
        testing::assert_shares(&counts, wanted);
    }

    #[test]
    fn shares_follow_weight_over_load() {
        assert_shares(&with(&[100, 100, 400], &[Some(0.2), Some(0.4), Some(0.4)]), SECOND, &[2, 1, 4]);
        assert_shares(&with(&[100, 300], &[Some(0.0), Some(0.0)]), SECOND, &[1, 3]);
        assert_shares(&with(&[100, 300], &[None, None]), SECOND, &[1, 3]);
        // At least 5 % of the mean.
        assert_shares(&with(&[100, 100], &[Some(0.0), Some(1.0)]), SECOND, &[40, 1]);
    }

    #[test]
    fn silence_is_the_mean() {
        let members = with(&[100; 3], &[Some(0.2), Some(0.6), None]);
        assert_shares(&members, SECOND, &[6, 2, 3]);
        members[0].load.report(50 * SECOND, Report { load: 0.2, over: false });
        assert_shares(&members, 60 * SECOND, &[6, 2, 3]);
        assert_shares(&members, 62 * SECOND, &[1, 1, 1]);
    }

    #[test]
    fn of_many_the_less_loaded_are_picked_by_their_load() {
        let loads: Vec<_> = (0..10_000).map(|n| Some([0.1, 0.3][n % 2])).collect();
        let members = with(&[100; 10_000], &loads);
        let light = testing::places(THIS, &members, SECOND, 20_000).filter(|place| place % 2 == 0).count();
        // Three in four, less what 8 cannot show.
        assert!((14_000..=15_200).contains(&light), "{light} of 20000");
    }

    #[test]
    fn those_over_a_limit_are_spared_while_another_is_not() {
        for count in [2, 10, 33, 1_000] {
            let members = testing::members(&vec![100; count]);
            let over = |place: usize, now, over| members[place].load.report(now, Report { load: 0.1, over });
            (0..count - 1).for_each(|place| over(place, 0, true));
            assert!(testing::places(THIS, &members, 0, 200).all(|place| place == count - 1), "{count}");
            over(count - 1, 0, true);
            assert_shares(&members, SECOND, &vec![1; count]);
            over(0, 2 * SECOND, false);
            assert!(testing::places(THIS, &members, 2 * SECOND, 200).all(|place| place == 0), "{count}");
            assert!(testing::places(THIS, &members, 61 * SECOND, 200).any(|place| place != 0), "what they said is old");
        }
    }

    /// In one balancer: after it has seen that all are over, it looks again.
    #[test]
    fn that_all_of_many_are_over_is_not_believed_for_long() {
        let members = testing::members(&[100; 1_000]);
        members.iter().for_each(|member| member.load.report(0, Report { load: 0.1, over: true }));
        let balancer = super::super::build(THIS, &members, &Default::default());
        testing::pick_at(&*balancer, 1, 0);
        members[7].load.report(0, Report { load: 0.1, over: false });
        assert_eq!(testing::pick_at(&*balancer, 2, super::PAUSE), super::Picked::Member(7));
    }

    /// Two alike are asked each five seconds how busy they were since: their shares must not swing.
    #[test]
    fn shares_come_to_rest() {
        let mut town = Town::new(THIS, &[100; 2], &[1_000.0; 2]);
        town.members[0].load.report(0, Report { load: 0.9, over: false });
        town.members[1].load.report(0, Report { load: 0.1, over: false });
        for round in 0..24 {
            let seen = town.run(5.0, 4_000.0, |_, _| 1);
            println!("{round}: {:.3}", seen.share(0));
            assert!(round < 8 || (seen.share(0) - 0.5).abs() < 0.05, "{} in round {round}", seen.share(0));
            for (member, tally) in town.members.iter().zip(&seen.tallies) {
                member.load.report(town.now, Report { load: (tally.work / 5.0 / SECOND as f64) as f32, over: false });
            }
        }
    }

    /// What it says changes, and it says so with each of ten answers a second.
    #[test]
    fn a_change_is_followed_within_ten_seconds() {
        let members = with(&[100; 2], &[Some(0.2), Some(0.8)]);
        for tenth in 0..100 {
            for (member, load) in members.iter().zip([0.8, 0.2]) {
                member.load.report(10 * SECOND + tenth * SECOND / 10, Report { load, over: false });
            }
        }
        let second = testing::places(THIS, &members, 20 * SECOND, 10_000).filter(|&place| place == 1).count();
        assert!(second > 7_500, "{second} of 10000");
    }
}
