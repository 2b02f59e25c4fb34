//! One suite for every algorithm. That a pick allocates nothing is counted in `tests/alloc.rs`, a process of its own.

use super::{dice::Dice, *};
use std::collections::VecDeque;

/// Members with these weights, idle.
pub(super) fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(id, &weight): (u32, &u32)| Member {
        id: id + 100,
        identity: hash(&id.to_be_bytes()),
        weight,
        load: Arc::default(),
    };
    (0..).zip(weights).map(member).collect()
}

/// The seed of each test, fixed and printed.
pub(super) fn seed() -> u64 {
    let seed = 0x9e37_79b9_7f4a_7c15;
    println!("seed {seed:#x}");
    seed
}

/// What must hold for each algorithm: shares by weight, nobody twice, and an end.
pub(super) fn suite(algorithm: Algorithm) {
    shares_follow_weights(algorithm, &(0..10_000).map(|n| 1 + n % 2).collect::<Vec<_>>(), 150_000);
    suite_but_for_shares_of_many(algorithm);
}

/// As [`suite`], where shares of thousands are exact up to chance alone.
pub(super) fn suite_but_for_shares_of_many(algorithm: Algorithm) {
    shares_follow_weights(algorithm, &[1], 10);
    shares_follow_weights(algorithm, &[1, 1, 1], 20_000);
    shares_follow_weights(algorithm, &[5, 3, 1, 1], 20_000);
    shares_follow_weights_under_load(algorithm, &[5, 3, 1, 1]);
    for count in [1, 2, 20, 33, 300] {
        nobody_is_picked_twice(algorithm, count);
    }
    the_last_of_many_is_found(algorithm);
    let none = build(algorithm, &[], &Arc::default());
    assert_eq!(none.pick(&pick(0, &Tried::default())), Picked::Exhausted);
}

fn pick(random: u64, tried: &Tried) -> Pick<'_> {
    Pick { key: random, worker: 0, random, now: 0, tried }
}

/// One pick with these random bits.
pub(super) fn pick_at(balancer: &dyn Balancer, random: u64, now: u64) -> Picked {
    balancer.pick(&Pick { now, ..pick(random, &Tried::default()) })
}

/// Where each of `picks` among `members` goes at one moment.
pub(super) fn places(algorithm: Algorithm, members: &[Member], now: u64, picks: usize) -> impl Iterator<Item = usize> {
    let (balancer, mut dice) = (build(algorithm, members, &Arc::default()), Dice::new(seed()));
    (0..picks).map(move |_| match pick_at(&*balancer, dice.roll(), now) {
        Picked::Member(place) => place,
        Picked::Exhausted => panic!("nobody picked"),
    })
}

/// Where each of `picks` went.
fn picked(balancer: &dyn Balancer, picks: usize) -> impl Iterator<Item = usize> {
    let (mut dice, tried) = (Dice::new(seed()), Tried::default());
    (0..picks).map(move |_| match balancer.pick(&pick(dice.roll(), &tried)) {
        Picked::Member(place) => place,
        Picked::Exhausted => panic!("nobody picked"),
    })
}

/// Chi-square against the weights: below the 99.9 % quantile of so many degrees of freedom (Wilson and Hilferty 1931).
pub(super) fn assert_shares(counts: &[f64], weights: &[u32]) {
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    let picks: f64 = counts.iter().sum();
    let wanted = weights.iter().map(|&weight| picks * f64::from(weight) / sum);
    let chi: f64 = counts.iter().zip(wanted).map(|(got, wanted)| (got - wanted).powi(2) / wanted).sum();
    let step = 2.0 / 9.0 / (weights.len() as f64 - 1.0).max(1.0);
    let most = 2.0 / 9.0 / step * (1.0 - step + 3.09 * step.sqrt()).powi(3);
    let first = weights.len().min(10);
    assert!(chi < most, "{chi} >= {most}: {:?}… for {:?}…", &counts[..first], &weights[..first]);
}

fn shares_follow_weights(algorithm: Algorithm, weights: &[u32], picks: usize) {
    let balancer = build(algorithm, &members(weights), &Arc::default());
    let mut counts = vec![0.0; weights.len()];
    picked(&*balancer, picks).for_each(|place| counts[place] += 1.0);
    assert_shares(&counts, weights);
}

/// As long as each attempt takes as long as the others, wherever it goes.
fn shares_follow_weights_under_load(algorithm: Algorithm, weights: &[u32]) {
    let members = members(weights);
    let balancer = build(algorithm, &members, &Arc::default());
    let (mut running, mut counts, picks) = (VecDeque::new(), vec![0.0; weights.len()], 20_000);
    for place in picked(&*balancer, picks) {
        counts[place] += 1.0;
        members[place].load.begin();
        running.push_back(place);
        if running.len() > 100 {
            running.pop_front().into_iter().for_each(|place: usize| members[place].load.end());
        }
    }
    let sum: u32 = weights.iter().sum();
    for (got, &weight) in counts.iter().zip(weights) {
        let (got, wanted) = (got / picks as f64, f64::from(weight) / f64::from(sum));
        assert!((got - wanted).abs() < 0.02, "{counts:?} for {weights:?}");
    }
}

fn nobody_is_picked_twice(algorithm: Algorithm, count: u32) {
    let members = members(&(0..count).map(|n| 1 + n % 3).collect::<Vec<_>>());
    let balancer = build(algorithm, &members, &Arc::default());
    let (mut tried, mut dice) = (Tried::default(), Dice::new(seed()));
    for _ in 0..members.len() {
        let Picked::Member(place) = balancer.pick(&pick(dice.roll(), &tried)) else { panic!("nobody picked") };
        assert!(!tried.has(members[place].id));
        tried.add(members[place].id);
    }
    assert_eq!(balancer.pick(&pick(dice.roll(), &tried)), Picked::Exhausted);
}

/// However unlikely a draw is to meet it.
fn the_last_of_many_is_found(algorithm: Algorithm) {
    let members = members(&[1000; 10_000]);
    let balancer = build(algorithm, &members, &Arc::default());
    let mut tried = Tried::default();
    members.iter().filter(|member| member.id != 7_777).for_each(|member| tried.add(member.id));
    assert_eq!(balancer.pick(&pick(seed(), &tried)), Picked::Member(7_677));
}

fn carry(member: &Member, in_flight: usize) {
    (0..in_flight).for_each(|_| member.load.begin());
}

/// Every other one of 10,000 is loaded: at least `share` of the picks go to the others. And weight divides what is carried.
pub(super) fn prefers_the_lighter(algorithm: Algorithm, share: f64) {
    let many = members(&[1; 10_000]);
    many.iter().step_by(2).for_each(|member| carry(member, 10));
    let (balancer, picks) = (build(algorithm, &many, &Arc::default()), 5_000);
    let light = picked(&*balancer, picks).filter(|place| place % 2 == 1).count();
    assert!(light as f64 >= share * picks as f64, "{light} of {picks}");
    let two = members(&[3, 1]);
    carry(&two[0], 2);
    carry(&two[1], 1);
    assert!(picked(&*build(algorithm, &two, &Arc::default()), 100).all(|place| place == 0), "3 / 3 is less than 2 / 1");
    carry(&two[0], 4);
    assert!(picked(&*build(algorithm, &two, &Arc::default()), 100).all(|place| place == 1), "7 / 3 is more than 2 / 1");
}

/// Each of ten carries more than the one before.
pub(super) fn never_picks_the_most_loaded(algorithm: Algorithm) {
    let members = members(&[1; 10]);
    members.iter().enumerate().for_each(|(place, member)| carry(member, place));
    let balancer = build(algorithm, &members, &Arc::default());
    assert!(picked(&*balancer, 5_000).all(|place| place != 9));
}

/// Wherever the idle one of `count` stands; and those that are equally light take turns.
pub(super) fn always_picks_the_lightest(algorithm: Algorithm, count: usize) {
    for idle in [0, count / 2, count - 1] {
        let members = members(&vec![1; count]);
        members.iter().enumerate().filter(|(place, _)| *place != idle).for_each(|(_, member)| carry(member, 1));
        let balancer = build(algorithm, &members, &Arc::default());
        assert!(picked(&*balancer, 100).all(|place| place == idle));
        carry(&members[idle], 1);
        let mut counts = vec![0.0; count];
        picked(&*balancer, 20_000).for_each(|place| counts[place] += 1.0);
        assert_shares(&counts, &vec![1; count]);
    }
}
