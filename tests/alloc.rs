//! No algorithm allocates in a pick, and nobody for the trace of a request whose spans are not recorded. A process of its own:
//! its allocator counts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use evenkeel::balance::{self, Algorithm, Common, Load, Member, Pick, Picked, Report, Taken, Tried};
use evenkeel::telemetry::trace::{self, Begin};
use std::{array, hint::black_box, sync::Arc};

const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RoundRobin,
    Algorithm::Random,
    Algorithm::PowerOfTwoChoices,
    Algorithm::LeastConnections,
    Algorithm::LeastResponseTime,
    Algorithm::LeastBandwidth,
    Algorithm::CustomLoad { expire: 180_000 },
    Algorithm::Hash { bound: 125 },
];

/// Members that differ in all that is looked at; every other one is over its limit.
fn members(count: u32) -> Vec<Member> {
    let member = |id: u32| {
        let load = Load::default();
        (0..id % 3).for_each(|_| load.begin());
        load.took(0, u64::from(1_000 + id % 7), Taken::Answered);
        load.passed(0, u64::from(1_000 * id));
        load.ended(0);
        load.report(0, Report { load: (id % 5) as f32, over: id.is_multiple_of(2) });
        Member { id, identity: balance::hash(&id.to_be_bytes()), weight: 100 + id % 4, load: load.into() }
    };
    (0..count).map(member).collect()
}

/// With nobody tried, some, as many as are remembered inline and more, all but one, and all.
#[test]
fn a_pick_allocates_nothing() {
    let counted = allocation_counter::measure(|| drop(black_box(Box::new(1))));
    assert_eq!(counted.count_total, 1, "the allocator counts");
    for algorithm in ALGORITHMS {
        for count in [0, 1, 3, 10, 32, 33, 1_000] {
            let balancer = balance::build(algorithm, &members(count), &Arc::new(Common::new(2, 0)));
            let (mut tried, mut next) = (Tried::default(), 0);
            for tries in [0, 1, 8, 20, count.saturating_sub(1), count] {
                while next < tries.min(count) {
                    tried.add(next);
                    next += 1;
                }
                let pick = |random| Pick { key: random, worker: 0, random, now: 1_000_000, tried: &tried };
                let mut picked: [Picked; 16] = array::from_fn(|_| Picked::Exhausted);
                let info = allocation_counter::measure(|| {
                    for (slot, random) in
                        picked.iter_mut().zip((0..).map(|turn: u64| turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
                    {
                        *slot = balancer.pick(&pick(random));
                    }
                });
                assert_eq!(info.count_total, 0, "{algorithm:?} of {count}, {next} tried");
                let done = picked.iter().all(|picked| (*picked == Picked::Exhausted) == (next == count));
                assert!(done, "{algorithm:?} of {count}, {next} tried: {picked:?}");
            }
        }
    }
}

#[test]
fn the_trace_of_a_request_that_is_not_sampled_allocates_nothing() {
    let parent = &b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"[..];
    let states = [&b"rojo=1, congo=2"[..], b"a=1"];
    // As a worker's are: they have been used before.
    let (mut head, mut state) = (Vec::with_capacity(64), Vec::with_capacity(64));
    let mut random = 7_u64;
    let mut next = || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        random
    };
    let counted = allocation_counter::measure(|| {
        for sample in [None, Some(0)] {
            for parent in [None, trace::parse(parent)] {
                let begin = black_box(Begin::new(parent, sample, &mut next));
                assert!(!begin.recorded);
                head.clear();
                begin.context.write(&mut head);
            }
        }
        assert!(trace::is_plain(parent) && trace::join(states.into_iter(), &mut state));
    });
    assert_eq!((counted.count_total, state.as_slice()), (0, &b"rojo=1,congo=2,a=1"[..]));
}
