//! The buckets under floods, growth, reloads and threads.

use super::*;
use crate::balance::splitmix64;

const SECOND: u64 = 1_000_000_000;

/// So many requests of `hash` pass at `now`.
fn passing(table: &Table, hash: u64, now: u64, terms: Terms) -> u64 {
    (0..).take_while(|_| table.take(hash, now, terms).is_ok()).count() as u64
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    let terms = Terms::token_bucket(SECOND / 100, 200);
    let table = Table::new(1000, terms.deepest());
    assert_eq!(passing(&table, 1, 0, terms), 200);
    assert_eq!(table.take(1, 0, terms), Err(SECOND / 100), "and it is told when one passes");
    assert_eq!(table.take(1, SECOND / 100 - 1, terms), Err(1));
    assert_eq!(passing(&table, 1, SECOND / 100, terms), 1);
    assert_eq!(passing(&table, 1, SECOND / 2, terms), 49);
    assert_eq!(passing(&table, 1, 60 * SECOND, terms), 200, "no more than the burst is saved up");
    assert_eq!(passing(&table, 2, 60 * SECOND, terms), 200, "keys know nothing of each other");
}

#[test]
fn what_is_left_is_what_passes() {
    for burst in [1, 2, 7, 200] {
        let terms = Terms::token_bucket(10, burst);
        let table = Table::new(1000, terms.deepest());
        let mut seed = burst;
        let mut now = 1000;
        for _ in 0..200 {
            now += splitmix64(&mut seed) % 25;
            let left = terms.left(table.ahead(3, now).unwrap_or_default());
            if splitmix64(&mut seed).is_multiple_of(4) {
                assert_eq!(passing(&table, 3, now, terms), left);
            } else if let Ok(ahead) = table.take(3, now, terms) {
                assert_eq!(terms.left(terms.after(ahead)), left - 1);
            }
        }
    }
}

#[test]
fn the_leaky_bucket_spaces_requests_in_their_order_up_to_its_delay() {
    let terms = Terms::leaky_bucket(SECOND / 10, SECOND);
    let table = Table::new(1000, terms.deepest());
    let delays: Vec<_> = (0..12).map(|_| table.take(1, 0, terms)).collect();
    let spaced: Vec<_> = (0..11).map(|turn| Ok(turn * SECOND / 10)).collect();
    assert_eq!(delays[..11], spaced);
    assert_eq!(delays[11], Err(SECOND / 10), "the one after them would wait for too long");
    assert_eq!(table.take(1, SECOND, terms), Ok(SECOND / 10));
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let terms = Terms::token_bucket(SECOND, 3);
    let table = Table::new(1000, terms.deepest());
    assert_eq!(passing(&table, 1, 5, terms), 3);
    table.give_back(1, terms);
    table.give_back(99, terms);
    assert_eq!(passing(&table, 1, 5, terms), 1);
}

/// The acceptance of issue 8: no flood frees a bucket or grows memory, and none locks others out.
#[test]
fn a_flood_of_new_keys_frees_no_bucket_and_locks_nobody_out() {
    for (burst, what) in [(1, "a bucket of one owes no more than any other"), (50, "one that owes more")] {
        let seed = &mut 8;
        // One passes in a minute: all of the flood is in debt to the end.
        let terms = Terms::token_bucket(60 * SECOND, burst);
        let table = Table::new(20_000, terms.deepest());
        let attackers: Vec<u64> = (0..200).map(|_| splitmix64(seed)).collect();
        for attacker in &attackers {
            assert_eq!(passing(&table, *attacker, 0, terms), burst);
        }
        let (mut passed, mut refused, mut most) = (0, 0, 0);
        for number in 0..10_000_000_u64 {
            let now = number * 1_000;
            if number % 1_000 == 0 {
                let attacker = attackers[splitmix64(seed) as usize % attackers.len()];
                assert!(table.take(attacker, now, terms).is_err(), "{what}: freed after {number} keys");
                most = most.max(table.bytes());
            }
            match table.take(splitmix64(seed), now, terms) {
                Ok(_) => passed += 1,
                Err(_) => refused += 1,
            }
        }
        println!("{what}: {passed} of the flood passed, {refused} did not, {most} bytes");
        assert!(most < 70_000 * 16, "{most} bytes");
        // What passes is bounded by the places, as if there were so many clients: each its burst, and its rate.
        let places = most as u64 / 16;
        assert!(passed <= places * (burst + 1), "{passed} of {places} places");
        // A minute and a bit after the flood, everybody passes who was never seen, and has not to wait any longer.
        let after = 10 * SECOND + 60 * SECOND + 1;
        let quiet = (0..1000).filter(|_| table.take(splitmix64(seed), after, terms).is_ok()).count();
        assert_eq!(quiet, 1000, "{what}");
    }
}

#[test]
fn a_flood_that_keeps_below_the_rate_of_all_places_refuses_no_quiet_client() {
    let seed = &mut 21;
    let terms = Terms::token_bucket(SECOND, 5);
    let table = Table::new(2_000, terms.deepest());
    // 4096 places at one a second each; the flood brings 3,000 new keys a second, each of which never comes again.
    let (mut refused, mut flood) = (0, 0);
    for number in 0..300_000_u64 {
        let now = number * (SECOND / 3_000);
        flood += u64::from(table.take(splitmix64(seed), now, terms).is_err());
        if number % 3_000 == 0 {
            refused += u64::from(table.take(splitmix64(seed), now, terms).is_err());
        }
    }
    assert_eq!((refused, flood), (0, 0));
}

#[test]
fn a_million_keys_are_each_remembered_in_less_than_100_megabytes() {
    let seed = &mut 1;
    let terms = Terms::token_bucket(3600 * SECOND, 1);
    let table = Table::new(1_000_000, terms.deepest());
    let begun = std::time::Instant::now();
    let mut slowest = std::time::Duration::ZERO;
    let mut refused = 0;
    let first = *seed;
    for _ in 0..1_000_000 {
        let at = std::time::Instant::now();
        refused += u64::from(table.take(splitmix64(seed), 1, terms).is_err());
        slowest = slowest.max(at.elapsed());
    }
    println!("{} bytes, {:?} for all, {slowest:?} for the slowest", table.bytes(), begun.elapsed());
    assert!(table.bytes() < 100_000_000, "{}", table.bytes());
    let again = &mut { first };
    let forgotten = (0..1_000_000).filter(|_| table.take(splitmix64(again), 2, terms).is_ok()).count();
    assert_eq!(forgotten, 0, "each has had its one");
    // Those whose set was full of debtors shared a bucket, and were refused at first sight.
    assert!(refused < 10_000, "{refused}");
}

#[test]
fn buckets_outlive_other_terms_and_other_bounds() {
    let seed = &mut 5;
    let slow = Terms::token_bucket(3600 * SECOND, 10);
    let table = Table::new(100_000, slow.deepest());
    let keys: Vec<u64> = (0..5_000).map(|_| splitmix64(seed)).collect();
    for key in &keys {
        assert_eq!(passing(&table, *key, 0, slow), 10);
    }
    let before = table.bytes();
    // A smaller table, and a limit of a second: nobody is freed, and nobody owes more than the new limit knows.
    let quick = Terms::token_bucket(SECOND / 10, 10);
    table.resize(1_000, quick.deepest());
    for key in &keys {
        assert!(table.take(*key, 1, quick).is_err());
    }
    assert!(table.bytes() < before / 4, "{} of {before}", table.bytes());
    for key in &keys[..500] {
        assert!(table.take(*key, SECOND + 2, quick).is_ok(), "a second has paid for all");
    }
    assert!(table.take(keys[0], SECOND + 2 + SECOND / 10, slow).is_ok(), "and under other terms again");
}

#[test]
fn where_there_is_less_room_those_stay_known_who_owe_most() {
    let seed = &mut 6;
    let terms = Terms::token_bucket(3600 * SECOND, 10);
    let table = Table::new(100_000, terms.deepest());
    let (many, few): (Vec<u64>, Vec<u64>) =
        ((0..6_000).map(|_| splitmix64(seed)).collect(), (0..100).map(|_| splitmix64(seed)).collect());
    many.iter().for_each(|key| drop(table.take(*key, 0, terms)));
    assert!(few.iter().all(|key| passing(&table, *key, 0, terms) == 10));
    table.resize(1_000, terms.deepest());
    // Each shard follows when it is used; those who come share what is least there.
    many.iter().for_each(|key| drop(table.take(*key, 0, terms)));
    assert!(few.iter().all(|key| table.take(*key, 0, terms).is_err()));
    let known = few.iter().filter(|key| table.ahead(**key, 0) == Some(terms.deepest())).count();
    assert_eq!(known, 100, "2,048 places have room for them");
}

#[test]
fn who_had_more_patient_terms_pays_for_what_it_has_had() {
    let (gold, plain) = (Terms::token_bucket(SECOND, 1_000), Terms::token_bucket(SECOND, 2));
    let table = Table::new(1_000, gold.deepest());
    assert_eq!(passing(&table, 7, 0, gold), 1_000);
    assert_eq!(table.take(7, 0, plain), Err(999 * SECOND));
    assert_eq!(table.take(7, 998 * SECOND, plain), Err(SECOND));
    assert!(table.take(7, 999 * SECOND, plain).is_ok());
}

#[test]
fn threads_together_get_what_one_would() {
    let terms = Terms::token_bucket(1_000, 50_000);
    let table = Table::new(1_000, terms.deepest());
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (table, passed) = (&table, &passed);
            scope.spawn(move || {
                // Each worker's clock reads a little otherwise, and goes on by itself.
                let count = (0..100_000_u64).filter(|turn| table.take(1, turn * 100 + worker, terms).is_ok()).count();
                passed.fetch_add(count as u64, Relaxed);
            });
        }
    });
    // 10 ms at one a microsecond, beside the burst.
    let wanted = 50_000 + 10_000;
    let passed = passed.into_inner();
    assert!(passed.abs_diff(wanted) <= wanted / 100, "{passed} passed, wanted {wanted}");
}
