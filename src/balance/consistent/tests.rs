//! What moves, what stays, who gets how much, and who is above the bound.

use super::super::{Algorithm, dice::Dice, hash, testing};
use super::*;
use std::collections::VecDeque;

const HASH: Algorithm = Algorithm::Hash { bound: 125 };
/// Keys that are asked for.
const KEYS: usize = 20_000;

/// As a pool of that many backends has them, with these weights in hundredths.
fn named(weights: &[u32]) -> Vec<Member> {
    let member = |(number, &weight): (u32, &u32)| Member {
        id: number,
        identity: hash(format!("backend-{number}").as_bytes()),
        weight,
        load: Arc::default(),
    };
    (0..).zip(weights).map(member).collect()
}

fn consistent(members: &[Member]) -> Consistent {
    Consistent::new(members, 125, 0, Arc::default())
}

fn place(balancer: &Consistent, key: u64, tried: &Tried) -> usize {
    match balancer.pick(&Pick { key, worker: 0, random: 0, now: 0, tried }) {
        Picked::Member(place) => place,
        Picked::Exhausted => panic!("nobody picked"),
    }
}

/// The identities that keys 0, 1, 2 … map to.
fn mapped(members: &[Member], keys: usize) -> Vec<u64> {
    let balancer = consistent(members);
    let key = |number: usize| hash(&number.to_be_bytes());
    (0..keys).map(|number| members[place(&balancer, key(number), &Tried::default())].identity).collect()
}

/// Pools of many sizes with weights of many kinds.
fn pools(dice: &mut Dice) -> Vec<Vec<Member>> {
    let kinds = [(100, 100), (1, 100_000), (100, 400)];
    let sizes = [2usize, 3, 5, 10, 47, 300, 5_000];
    let mut pools = Vec::new();
    for size in sizes {
        for (least, most) in kinds {
            let mut weight = || least + dice.below(u64::from(most - least + 1)) as u32;
            pools.push(named(&(0..size).map(|_| weight()).collect::<Vec<_>>()));
        }
    }
    pools
}

fn share(members: &[Member], identity: u64) -> f64 {
    let of = |fits: &dyn Fn(&Member) -> bool| -> f64 {
        members.iter().filter(|member| fits(member)).map(|member| f64::from(member.weight)).sum()
    };
    of(&|member| member.identity == identity) / of(&|_| true)
}

#[test]
fn the_shared_suite() {
    testing::suite_but_for_shares_of_many(HASH);
}

/// Chi-square would tell that a map of 2^18 slots is drawn by chance once: with 26 slots for each of 10,000, that shows
/// in as few as 150,000 picks. What is wanted is that shares are as even as the module says.
#[test]
fn shares_of_many_spread_as_little_as_is_said() {
    let weights: Vec<u32> = (0..10_000).map(|n| 100 + n % 2 * 100).collect();
    let balancer = consistent(&named(&weights));
    let mut slots = vec![0.0; weights.len()];
    for &[seat, _] in balancer.map.iter() {
        if let Some(seat) = balancer.seats.get(seat as usize) {
            slots[seat.place as usize] += 1.0;
        }
    }
    let met: f64 = slots.iter().sum();
    assert!(met > 0.985 * balancer.map.len() as f64, "{met} slots have an owner");
    for (weight, share) in [(100, 1.0 / 15_000.0), (200, 2.0 / 15_000.0)] {
        let relative =
            slots.iter().zip(&weights).filter(|(_, other)| **other == weight).map(|(got, _)| got / met / share);
        let (mean, square) = relative.fold((0.0, 0.0), |(sum, square), one| (sum + one, square + one * one));
        let (mean, square) = (mean / 5_000.0, square / 5_000.0);
        let spread = (square - mean * mean).sqrt();
        assert!((mean - 1.0).abs() < 0.01, "{mean} of the share of weight {weight}");
        let said = (1.0 / share / f64::from(2 << SLOTS)).sqrt();
        assert!(spread < 1.1 * said, "{spread} for weight {weight}, not {said}");
    }
}

#[test]
fn the_order_of_the_list_is_nothing() {
    let mut dice = Dice::new(testing::seed());
    for members in pools(&mut dice) {
        let mut other = members.clone();
        (1..other.len()).for_each(|place| other.swap(place, dice.below(place as u64 + 1) as usize));
        let (balancer, shuffled) = (consistent(&members), consistent(&other));
        // Nobody was tried, or all but a few: these are found by looking at all.
        let mut most = Tried::default();
        members.iter().skip(members.len().min(10) / 2).for_each(|member| most.add(member.id));
        for key in 0..1_000 {
            for tried in [&Tried::default(), &most] {
                let picks = [&members[place(&balancer, key, tried)], &other[place(&shuffled, key, tried)]];
                assert_eq!(picks[0].id, picks[1].id, "{} members", members.len());
            }
        }
    }
}

/// Written down once: a change of these moves every user of every pool that hashes.
#[test]
fn the_map_is_the_published_one() {
    let names = ["a", "b", "c", "d", "10.0.0.5:8080"];
    let member = |(id, weight): (usize, u32)| Member {
        id: id as u32,
        identity: hash(names[id].as_bytes()),
        weight: weight * Member::UNIT,
        load: Arc::default(),
    };
    let members: Vec<_> = [1, 1, 2, 3, 1].into_iter().enumerate().map(member).collect();
    let balancer = consistent(&members);
    let of = |key: &str, tried: &Tried| place(&balancer, hash(key.as_bytes()), tried);
    let mut got = Vec::new();
    for number in 0..20 {
        let (key, mut tried) = (format!("user-{number}"), Tried::default());
        let first = of(&key, &tried);
        tried.add(first as u32);
        got.push((first, of(&key, &tried)));
    }
    let wanted = [
        (1, 2),
        (3, 4),
        (2, 3),
        (4, 3),
        (3, 2),
        (3, 2),
        (0, 4),
        (2, 3),
        (3, 0),
        (0, 2),
        (1, 4),
        (4, 1),
        (0, 4),
        (3, 1),
        (3, 0),
        (3, 2),
        (2, 3),
        (2, 1),
        (0, 3),
        (2, 3),
    ];
    assert_eq!(got, wanted);
}

#[test]
fn who_leaves_or_joins_moves_its_own_share_alone() {
    let mut dice = Dice::new(testing::seed());
    for members in pools(&mut dice) {
        let gone = dice.below(members.len() as u64) as usize;
        let mut rest = members.clone();
        let identity = rest.remove(gone).identity;
        let (with, without) = (mapped(&members, KEYS), mapped(&rest, KEYS));
        let moved = with.iter().zip(&without).filter(|(with, without)| with != without).count() as f64;
        let own = with.iter().filter(|one| **one == identity).count() as f64;
        let (keys, size, share) = (KEYS as f64, members.len(), share(&members, identity));
        assert!(moved - own <= 0.015 * keys, "{moved} of {keys} moved, its own were {own}: one of {size}");
        assert!(moved <= (share + 0.02) * keys, "{moved} of {keys} moved for a share of {share}: one of {size}");
    }
}

#[test]
fn more_weight_takes_and_gives_nothing() {
    let mut dice = Dice::new(testing::seed());
    for members in pools(&mut dice) {
        let mut heavier = members.clone();
        let place = dice.below(members.len() as u64) as usize;
        heavier[place].weight *= 3;
        let identity = members[place].identity;
        let (before, after) = (mapped(&members, KEYS), mapped(&heavier, KEYS));
        let moves = before.iter().zip(&after).filter(|(before, after)| before != after);
        let needless = moves.clone().filter(|(_, after)| **after != identity).count() as f64;
        let gain = share(&heavier, identity) - share(&members, identity);
        let (keys, moved) = (KEYS as f64, moves.count() as f64);
        assert!(needless <= 0.015 * keys, "{needless} of {keys} went to others: one of {}", members.len());
        assert!(moved <= (gain + 0.02) * keys, "{moved} of {keys} moved for a gain of {gain}");
    }
}

/// So a retry goes to the member that serves the key once the first is known to be down, on whichever instance.
#[test]
fn who_is_tried_and_who_has_left_have_the_same_heir() {
    for size in [3u32, 10, 100] {
        let members = named(&vec![100; size as usize]);
        let rest = &members[1..];
        let (with, without) = (consistent(&members), consistent(rest));
        let (mut own, mut agreed, mut tried) = (0.0, 0.0, Tried::default());
        tried.add(members[0].id);
        for key in (0..KEYS).map(|number| hash(&number.to_be_bytes())) {
            if place(&with, key, &Tried::default()) == 0 {
                own += 1.0;
                let heir = rest[place(&without, key, &Tried::default())].identity;
                agreed += f64::from(u8::from(members[place(&with, key, &tried)].identity == heir));
            }
        }
        assert!(own > 0.0 && agreed >= 0.93 * own, "{agreed} of {own} keys, {size} members");
    }
}

/// As those that a split has sent to one side do.
#[test]
fn keys_that_begin_alike_are_spread_as_others_are() {
    let balancer = consistent(&named(&[100, 300, 100]));
    let (mut dice, mut counts) = (Dice::new(testing::seed()), [0.0; 3]);
    for _ in 0..KEYS {
        counts[place(&balancer, dice.roll() >> 12, &Tried::default())] += 1.0;
    }
    testing::assert_shares(&counts, &[100, 300, 100]);
}

/// However unevenly the keys come.
#[test]
fn nobody_is_above_the_bound() {
    let mut dice = Dice::new(testing::seed());
    for (bound, weights) in
        [(125, vec![100; 10]), (101, vec![100, 300, 50]), (150, vec![100; 1_000]), (400, vec![100; 4])]
    {
        let (members, common) = (named(&weights), Arc::new(Common::default()));
        let balancer = Consistent::new(&members, bound, 0, Arc::clone(&common));
        let (mut running, sum) = (VecDeque::new(), weights.iter().copied().map(f64::from).sum::<f64>());
        for _ in 0..5_000 {
            // Half of the requests are for four keys.
            let key = hash(&(dice.below(2) * dice.below(1 << 40) + dice.below(4)).to_be_bytes());
            let place = place(&balancer, key, &Tried::default());
            let total = common.in_flight.sum() as f64;
            let most = (f64::from(bound) / 100.0 * (total + 1.0) * f64::from(weights[place]) / sum).ceil();
            let carried = f64::from(members[place].load.in_flight()) + 1.0;
            assert!(carried <= most, "{carried} at {place} of {}, at most {most}: {bound} %", weights.len());
            members[place].load.begin();
            common.in_flight.begin(0);
            running.push_back(place);
            while running.len() as u64 > dice.below(500) {
                let ended: usize = running.swap_remove_back(dice.below(running.len() as u64) as usize).unwrap();
                members[ended].load.end();
                common.in_flight.end(0);
            }
        }
    }
}

/// What another pool's table has left in flight counts for its member, and the pool's count may lag behind.
#[test]
fn above_the_bound_all_over_the_key_has_its_own_member() {
    let members = named(&[100; 5]);
    members.iter().for_each(|member| member.load.begin());
    let (crowded, idle) = (consistent(&members), consistent(&named(&[100; 5])));
    for key in (0..1_000u32).map(|number| hash(&number.to_be_bytes())) {
        assert_eq!(place(&crowded, key, &Tried::default()), place(&idle, key, &Tried::default()));
    }
}
