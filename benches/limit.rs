//! What a rate limit costs: `cargo bench --bench limit`. A check of a bucket, its key's hash included, where one key, a
//! thousand (in the caches) and a million (in none) come in no order; and two workers at one key and at a thousand. Beside
//! them a read of memory that nothing foresees, which is what a million keys cost at the least.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::{
    balance::splitmix64,
    policy::limit::{Table, Terms},
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    hint::black_box,
    time::{Duration, Instant},
};

const CHECKS: u64 = 1 << 16;

/// Requests of `keys` keys, as they come.
struct Traffic {
    table: Table,
    terms: Terms,
    seed: RandomState,
    keys: u64,
}

impl Traffic {
    fn new(keys: u64) -> Self {
        let terms = Terms::token_bucket(1_000_000, 1_000_000);
        let traffic = Self { table: Table::new(1_000_000, terms.deepest()), terms, seed: RandomState::new(), keys };
        (0..keys).for_each(|key| traffic.check(key, 1));
        traffic
    }

    /// As of an address.
    fn check(&self, key: u64, now: u64) {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u64(key);
        hasher.write_u8(1);
        let _ = black_box(self.table.take(hasher.finish(), now, self.terms));
    }

    fn run(&self, seed: u64) {
        let mut random = seed;
        for turn in 0..CHECKS {
            self.check(splitmix64(&mut random) % self.keys, 1_000 + turn * 100);
        }
    }
}

fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limit");
    group.throughput(Throughput::Elements(CHECKS));
    for (name, keys) in [("one key", 1), ("1,000 keys", 1_000), ("1,000,000 keys", 1_000_000)] {
        let traffic = Traffic::new(keys);
        let mut seed = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                seed += 1;
                traffic.run(seed);
            });
        });
        println!("{name}: {} bytes", traffic.table.bytes());
        if keys > 1_000 {
            continue;
        }
        group.bench_function(format!("{name}, two workers"), |bencher| {
            bencher.iter_custom(|rounds| both(&traffic, rounds));
        });
    }
    group.bench_function("a read of memory", |bencher| {
        let memory = vec![1_u64; 1 << 22];
        let mut random = 1;
        bencher.iter(|| {
            for _ in 0..CHECKS {
                // Each needs the one before.
                random += memory[(splitmix64(&mut random) >> 42) as usize];
            }
            black_box(random)
        });
    });
    group.finish();
}

/// So long each of two workers takes for its rounds, while the other goes on.
fn both(traffic: &Traffic, rounds: u64) -> Duration {
    std::thread::scope(|scope| {
        let worker = |number: u64| {
            scope.spawn(move || {
                let begun = Instant::now();
                (0..rounds).for_each(|round| traffic.run(round * 2 + number));
                begun.elapsed()
            })
        };
        let times = [worker(0), worker(1)].map(|worker| worker.join().unwrap_or_default());
        times[0].max(times[1])
    })
}

criterion_group!(benches, check);
criterion_main!(benches);
