//! One suite for every algorithm.

use super::*;

/// Members with these weights, idle.
pub(super) fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(id, &weight): (u32, &u32)| Member { id: id + 100, weight, load: Arc::default() };
    (0..).zip(weights).map(member).collect()
}

/// What must hold for each algorithm: shares by weight, nobody twice, and an end.
pub(super) fn suite(algorithm: Algorithm) {
    shares_follow_weights(algorithm, &[1, 1, 1]);
    shares_follow_weights(algorithm, &[5, 3, 1, 1]);
    nobody_is_picked_twice(algorithm);
    let none = build(algorithm, &[], &Arc::default());
    assert_eq!(none.pick(&pick(0, &Tried::default())), Picked::Exhausted);
}

fn pick(random: u64, tried: &Tried) -> Pick<'_> {
    Pick { key: random, worker: 0, random, tried }
}

/// Chi-square against the weights, fixed seed: below the 99.9 % quantile of so many degrees of freedom.
fn shares_follow_weights(algorithm: Algorithm, weights: &[u32]) {
    let members = members(weights);
    let balancer = build(algorithm, &members, &Arc::default());
    let (picks, mut counts, mut random) = (20_000, vec![0.0; weights.len()], 0x9e37_79b9_7f4a_7c15u64);
    for _ in 0..picks {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let Picked::Member(place) = balancer.pick(&pick(random, &Tried::default())) else { panic!("nobody picked") };
        counts[place] += 1.0;
    }
    let sum: u32 = weights.iter().sum();
    let wanted = weights.iter().map(|&weight| f64::from(picks) * f64::from(weight) / f64::from(sum));
    let chi: f64 = counts.iter().zip(wanted).map(|(got, wanted)| (got - wanted).powi(2) / wanted).sum();
    assert!(chi < 16.3, "{counts:?} for {weights:?}");
}

fn nobody_is_picked_twice(algorithm: Algorithm) {
    let members = members(&[3, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let balancer = build(algorithm, &members, &Arc::default());
    let mut tried = Tried::default();
    for _ in 0..members.len() {
        let Picked::Member(place) = balancer.pick(&pick(7, &tried)) else { panic!("nobody picked") };
        assert!(!tried.has(members[place].id));
        tried.add(members[place].id);
    }
    assert_eq!(balancer.pick(&pick(7, &tried)), Picked::Exhausted);
}
