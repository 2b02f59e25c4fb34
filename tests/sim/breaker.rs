//! A pool under leases and control, in virtual time: whatever fails whenever, no more are out than may be, never the last,
//! trials never exceed their tokens, open times double, and nothing is stuck.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use evenkeel::config::Config;
use evenkeel::error::Kind;
use evenkeel::net::Budget;
use evenkeel::plan::{Ground, Numbers, Plan, Pool};
use evenkeel::pool::{Breaker, Change, Circuit, Lease, Ordered, Refused, Registry, Rules, Seen, Slot, Ticket};
use evenkeel::telemetry::metrics::Telemetry;
use tokio::time::Instant;

use super::{Dice, sweep};

/// A plan with one pool of so many backends, and its beginning.
fn plan(count: u64, keys: &str) -> (Plan, Registry, Instant) {
    let backends: Vec<_> = (0..count).map(|number| format!("10.0.0.{number}:80")).collect();
    let toml = format!(
        "[[listener]]\naddress = \"127.0.0.1:80\"\n[pool.web]\nbackends = {backends:?}\nslow_start = \"0s\"\n\
         [pool.web.circuit_breaker]\n{keys}\n"
    );
    let config = Config::parse(&toml, Path::new("sim.toml")).unwrap_or_else(|problems| panic!("{problems}"));
    let registry = Registry::new(Budget::new(None), Arc::new(Telemetry::new(&[], &[1.0], 1)), 1);
    let mut ground = Ground {
        registry: &registry,
        memory: &evenkeel::policy::Memory::default(),
        numbers: &mut Numbers::default(),
        algorithm: None,
        before: None,
    };
    let plan = Plan::build(&config, 1, &mut ground).unwrap();
    let begin = registry.epoch();
    plan.pools[0].refresh(begin);
    (plan, registry, begin)
}

fn circuits(pool: &Pool) -> Vec<Circuit> {
    pool.members.iter().map(|member| member.backend.breaker.circuit()).collect()
}

fn out(pool: &Pool) -> usize {
    circuits(pool).into_iter().filter(|circuit| *circuit != Circuit::Closed).count()
}

/// A random world: which backends are sick, and how often.
struct World {
    sick: Vec<u64>,
    now: Instant,
}

impl World {
    fn new(count: u64, now: Instant) -> Self {
        Self { sick: vec![0; count as usize], now }
    }

    /// Time passes, and some change their mood: 0 = well, else one of so many fails.
    fn turn(&mut self, dice: &mut Dice) {
        let longest = if dice.one_in(50) { 20_000 } else { 200 };
        self.now += Duration::from_millis(dice.below(longest));
        if dice.one_in(30) {
            let at = dice.below(self.sick.len() as u64) as usize;
            self.sick[at] = dice.pick(&[0, 0, 1, 1, 2, 3, 10]);
        }
    }
}

/// The outcome of an attempt at that backend.
fn end(slot: &Slot, lease: &Lease<'_>, sick: u64, now: Instant, dice: &mut Dice) {
    let micros = slot.micros(now);
    if dice.one_in(20) {
        return lease.failed(Kind::ClientGone, now);
    }
    if sick > 0 && dice.one_in(sick) {
        match dice.below(4) {
            0 => lease.failed(Kind::ConnectRefused, now),
            1 => lease.failed(Kind::ResponseTimeout, now),
            2 => lease.answered(503, micros),
            _ => {
                lease.answered(200, micros);
                lease.failed(Kind::Truncated, now);
            }
        }
    } else {
        lease.answered(200, micros);
    }
}

#[test]
fn no_more_are_out_than_may_be_and_trials_are_few_and_all_comes_back() {
    sweep(400, |dice| {
        let count = 1 + dice.below(8);
        let (trials, share) = (1 + dice.below(4), dice.pick(&[0, 10, 34, 50, 100]));
        let keys = format!("half_open_requests = {trials}\nmax_ejected = \"{share}%\"\nopen_for_max = \"1m\"");
        let (plan, _registry, begin) = plan(count, &keys);
        let pool = &plan.pools[0];
        let most = pool.guard.as_ref().unwrap().most_out(count as usize);
        assert!(most < count as usize);
        let mut world = World::new(count, begin);
        let mut running: Vec<(Lease<'_>, usize, bool)> = Vec::new();
        let mut seen = Seen::of(&pool.slot);
        for _ in 0..2_000 {
            world.turn(dice);
            // Control may be late, and a worker may look at an older table.
            if dice.one_in(3) || pool.next_step(world.now).is_some_and(|step| step.is_zero()) {
                pool.refresh(world.now);
            }
            if dice.one_in(2) {
                seen = Seen::of(&pool.slot);
            }
            let place = dice.below(count) as usize;
            if place < seen.table.len() {
                let at = number(pool, seen.table.backend(place).id);
                let circuit = pool.members[at].backend.breaker.circuit();
                match Lease::take(std::rc::Rc::clone(&seen), place, &pool.slot, 0, None) {
                    Ok(lease) => {
                        assert_ne!(circuit, Circuit::Open, "an open one is not attempted");
                        running.push((lease, at, circuit == Circuit::HalfOpen));
                    }
                    Err((_, refused)) => assert!(refused == Refused::Open && circuit != Circuit::Closed),
                }
            }
            while running.len() > dice.below(12) as usize {
                let (lease, at, _) = running.swap_remove(dice.below(running.len() as u64) as usize);
                end(&pool.slot, &lease, world.sick[at], world.now, dice);
                assert!(out(pool) <= most, "{:?}, {most} of {count}", circuits(pool));
            }
        }
        running.clear();
        assert!(out(pool) <= most);
        recover(pool, &mut world.now, count);
    });
}

/// The place of that backend among the pool's members.
fn number(pool: &Pool, id: u32) -> usize {
    pool.members.iter().position(|member| member.backend.id == id).unwrap()
}

/// Everybody is well now, and control comes when it is asked to.
fn recover(pool: &Pool, now: &mut Instant, count: u64) {
    let (mut steps, begun) = (0, *now);
    pool.refresh(*now);
    while out(pool) > 0 {
        let seen = Seen::of(&pool.slot);
        for place in 0..seen.table.len() {
            while let Ok(lease) = Lease::take(std::rc::Rc::clone(&seen), place, &pool.slot, 0, None) {
                lease.answered(200, pool.slot.micros(*now));
                drop(lease);
                if pool.members.iter().all(|member| member.backend.breaker.circuit() != Circuit::HalfOpen) {
                    break;
                }
                let id = seen.table.backend(place).id;
                if pool.members[number(pool, id)].backend.breaker.circuit() == Circuit::Closed {
                    break;
                }
            }
        }
        if let Some(step) = pool.next_step(*now) {
            *now += step;
        }
        pool.refresh(*now);
        steps += 1;
        assert!(steps <= 2 + 2 * count, "{:?} are stuck", circuits(pool));
    }
    assert!(*now - begun <= Duration::from_secs(70), "open_for_max, and a round");
    assert_eq!(pool.next_step(*now), None);
    assert_eq!(Seen::of(&pool.slot).table.len() as u64, count);
}

#[test]
fn whatever_checks_and_operators_say_somebody_can_be_attempted_while_anybody_is_up() {
    sweep(300, |dice| {
        let count = 1 + dice.below(6);
        let (plan, _registry, begin) = plan(count, "max_ejected = \"100%\"\nconsecutive_failures = 2");
        let pool = &plan.pools[0];
        let mut world = World::new(count, begin);
        for _ in 0..1_000 {
            world.turn(dice);
            let member = &pool.members[dice.below(count) as usize];
            match dice.below(40) {
                0 => drop(member.backend.health.judge(Some(false), "test")),
                1..4 => drop(member.backend.health.judge(Some(true), "")),
                4 => member.backend.order(dice.pick(&[Ordered::Drain, Ordered::Maintenance])),
                5..8 => member.backend.order(Ordered::Ready),
                _ => {}
            }
            pool.refresh(world.now);
            let seen = Seen::of(&pool.slot);
            let up = |member: &&evenkeel::plan::Member| {
                member.backend.ordered() == Ordered::Ready && member.backend.health.verdict().up != Some(false)
            };
            let take = |place| Lease::take(std::rc::Rc::clone(&seen), place, &pool.slot, 0, None).ok();
            let leases: Vec<_> = (0..seen.table.len()).filter_map(take).collect();
            assert_eq!(!leases.is_empty(), pool.members.iter().any(|member| up(&member)), "{:?}", circuits(pool));
            for lease in leases {
                assert!(pool.members.iter().filter(up).any(|member| member.backend.id == lease.backend().id));
                let at = number(pool, lease.backend().id);
                end(&pool.slot, &lease, world.sick[at], world.now, dice);
            }
        }
    });
}

#[test]
fn workers_that_fail_at_once_take_no_more_out_than_may_be() {
    sweep(100, |dice| {
        let count = 2 + dice.below(7);
        let (plan, _registry, begin) = plan(count, "consecutive_failures = 3\nhalf_open_requests = 2");
        let pool = &plan.pools[0];
        let most = pool.guard.as_ref().unwrap().most_out(count as usize);
        let seeds: Vec<_> = (0..4).map(|_| dice.bits()).collect();
        let now = |step: u64| begin + Duration::from_millis(step * 20);
        thread::scope(|scope| {
            for seed in seeds {
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    for step in 0..500 {
                        let seen = Seen::of(&pool.slot);
                        let place = dice.below(count) as usize;
                        if place >= seen.table.len() {
                            continue;
                        }
                        if let Ok(lease) = Lease::take(seen, place, &pool.slot, 0, None) {
                            end(&pool.slot, &lease, 2, now(step), &mut dice);
                        }
                        assert!(out(pool) <= most, "{:?}", circuits(pool));
                    }
                });
            }
            // Control, meanwhile.
            for step in 0..500 {
                pool.refresh(now(step));
                assert!(out(pool) <= most, "{:?}", circuits(pool));
            }
        });
        recover(pool, &mut (now(500)), count);
        assert!(pool.members.iter().all(|member| member.backend.load.in_flight() == 0));
    });
}

#[test]
fn open_times_double_up_to_their_bound_and_begin_anew_after_a_calm_time() {
    let (opened, doubled, closings) = (Cell::new(0), Cell::new(0), Cell::new(0));
    sweep(2_000, |dice| {
        let rules = Rules {
            consecutive: Some(1 + dice.below(5) as u32),
            rate: dice.pick(&[None, Some(0.3), Some(1.0)]),
            min_requests: 1 + dice.below(30) as u32,
            window: 1 + dice.below(20_000_000),
            open_for: 1 + dice.below(1_000_000),
            open_for_max: 1 + dice.below(30_000_000),
            trials: 1 + dice.below(4) as u32,
        };
        let breaker = Breaker::default();
        let (mut now, mut length, mut closed) = (0, 0, None::<u64>);
        for _ in 0..300 {
            now += dice.below(rules.open_for);
            let change = match breaker.admit() {
                Some(ticket) if dice.one_in(2) => breaker.failed(&mut { ticket }, (&rules, now), &"test", || Some(())),
                Some(ticket) => breaker.ended(breaker.answered(ticket, &rules, now), || now),
                None => breaker.step(&rules, now, None),
            };
            match change {
                Some(Change::Opened(why)) => {
                    let again = why == evenkeel::telemetry::metrics::Ejection::HalfOpen
                        || closed.is_some_and(|at| now - at <= length);
                    let wanted: u64 = if again { length * 2 } else { rules.open_for };
                    length = wanted.clamp(rules.open_for, rules.open_for_max.max(rules.open_for));
                    assert_eq!(breaker.next_step(now), Some(length));
                    opened.set(opened.get() + 1);
                    doubled.set(doubled.get() + u32::from(again));
                }
                Some(Change::HalfOpened) => assert_eq!(breaker.circuit(), Circuit::HalfOpen),
                Some(Change::Closed) => {
                    closed = Some(now);
                    closings.set(closings.get() + 1);
                }
                None => {}
            }
            let word = breaker.circuit().word();
            assert_eq!(breaker.look().1.is_empty(), word == "closed", "{word}");
        }
    });
    println!("opened {}, of which again {}, closed {}", opened.get(), doubled.get(), closings.get());
    assert!(
        opened.get() > doubled.get() && doubled.get() > 0 && closings.get() > 0,
        "a story in which nothing happens"
    );
}

#[test]
fn no_more_trials_are_made_than_there_are_tokens() {
    let half_opened = Cell::new(0);
    sweep(2_000, |dice| {
        let rules = Rules {
            consecutive: Some(1),
            rate: None,
            min_requests: 1,
            window: 1_000,
            open_for: 1 + dice.below(100),
            open_for_max: 100 + dice.below(1_000),
            trials: 1 + dice.below(5) as u32,
        };
        let breaker = Breaker::default();
        let (mut now, mut begun, mut made, mut held) = (0, 0, 0, Vec::<Ticket>::new());
        for _ in 0..500 {
            now += dice.below(10);
            let mut change = None;
            match dice.below(6) {
                0 | 1 => {
                    let trial = breaker.circuit() == Circuit::HalfOpen;
                    let ticket = breaker.admit();
                    made += u64::from(trial && ticket.is_some());
                    held.extend(ticket);
                }
                2 => change = breaker.step(&rules, now, None),
                3 if breaker.circuit() == Circuit::Closed => {
                    change = breaker.eject((&rules, now), 0, &|| "sim".to_owned(), || Some(()));
                }
                _ if held.is_empty() => {}
                _ => {
                    let ticket = held.swap_remove(dice.below(held.len() as u64) as usize);
                    if dice.one_in(3) {
                        // It was given up; of the trials of now, one may be made again.
                        change = breaker.ended(ticket, || now);
                        made = made.saturating_sub(1);
                    } else if dice.one_in(4) {
                        change = breaker.failed(&mut { ticket }, (&rules, now), &"sim", || Some(()));
                    } else {
                        let ticket = breaker.answered(ticket, &rules, now);
                        match dice.one_in(2) {
                            true => change = breaker.ended(ticket, || now),
                            false => held.push(ticket),
                        }
                    }
                }
            }
            match change {
                // Those of before say nothing any more.
                Some(Change::HalfOpened) => {
                    (begun, made) = (now, 0);
                    held.clear();
                    half_opened.set(half_opened.get() + 1);
                }
                Some(_) => held.clear(),
                None => {}
            }
            if breaker.circuit() == Circuit::HalfOpen {
                let lost = (now - begun) / rules.open_for_max;
                assert!(made <= u64::from(rules.trials) * (1 + lost), "{made} of {} after {lost}", rules.trials);
            }
        }
    });
    assert!(half_opened.get() > 1_000, "{}", half_opened.get());
}
