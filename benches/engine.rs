//! What the parts of an exchange cost: `cargo bench --bench engine`.

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel::{
    balance::{self, Algorithm, Balancer, Common, Load, Member, Pick, Picked, Report, Taken, Tried},
    config::Underscores,
    http::{Head, bench},
};
use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

/// What wrk sends, and what a browser sends.
const SMALL: &[u8] = b"GET /s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const BROWSER: &[u8] = b"GET /search?q=load+balancer&lang=en HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://www.example.com/\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: responder\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    for (name, bytes) in [("small", SMALL), ("browser", BROWSER)] {
        let mut head = Head::default();
        criterion.bench_function(&format!("head/parse/{name}"), |bencher| {
            bencher.iter(|| bench::parse_request(black_box(bytes), &mut head));
        });
        criterion.bench_function(&format!("head/parse+guard/{name}"), |bencher| {
            bencher.iter(|| bench::guard_request(black_box(bytes), &mut head, Underscores::Drop));
        });
        let guarded = bench::guard_request(bytes, &mut head, Underscores::Drop);
        let mut out = Vec::with_capacity(4096);
        criterion.bench_function(&format!("head/encode/{name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                bench::encode(black_box(&head), &guarded, &mut out);
            });
        });
    }
    let mut head = Head::default();
    criterion.bench_function("head/parse+guard/response", |bencher| {
        bencher.iter(|| bench::guard_response(black_box(RESPONSE), &mut head));
    });
}

const ALGORITHMS: [(&str, Algorithm); 8] = [
    ("round_robin", Algorithm::RoundRobin),
    ("random", Algorithm::Random),
    ("power_of_two_choices", Algorithm::PowerOfTwoChoices),
    ("least_connections", Algorithm::LeastConnections),
    ("least_response_time", Algorithm::LeastResponseTime),
    ("least_bandwidth", Algorithm::LeastBandwidth),
    ("custom_load", Algorithm::CustomLoad { expire: 180_000 }),
    ("hash", Algorithm::Hash { bound: 125 }),
];

/// When the picks are made: all has been observed in the eight seconds before.
const NOW: u64 = 8_000_000;

/// A quarter of the members is busy, and all have answered, at different times.
fn members(count: u32) -> Vec<Member> {
    let member = |id: u32| {
        let (load, at) = (Load::default(), u64::from(id % 8) * 1_000_000);
        load.took(at, u64::from(1_000 + id % 9 * 500), Taken::Answered);
        load.passed(at, u64::from(10_000 + id * 77 % 5_000));
        load.ended(at);
        load.report(at, Report { load: 0.1 + (id % 10) as f32 / 20.0, over: false });
        if id.is_multiple_of(4) {
            load.begin();
        }
        Member { id, identity: balance::hash(&id.to_be_bytes()), weight: 100 * (1 + id % 5), load: load.into() }
    };
    (0..count).map(member).collect()
}

/// Each pick has random bits of its own.
fn pick(balancer: &dyn Balancer, worker: usize, tried: &Tried, random: &mut u64) -> Picked {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    balancer.pick(black_box(&Pick { key: *random, worker, random: *random, now: NOW, tried }))
}

fn picks(criterion: &mut Criterion) {
    for (name, algorithm) in ALGORITHMS {
        for count in [3, 10, 32, 10_000] {
            let balancer = balance::build(algorithm, &members(count), &Arc::default());
            let (tried, mut random) = (Tried::default(), 0);
            criterion.bench_function(&format!("pick/{name}/{count}"), |bencher| {
                bencher.iter(|| pick(&*balancer, 0, &tried, &mut random));
            });
        }
        for count in [10, 10_000] {
            let balancer = balance::build(algorithm, &members(count), &Arc::new(Common::new(2, 0)));
            criterion.bench_function(&format!("pick/{name}/{count}/two threads"), |bencher| {
                bencher.iter_custom(|picks| two_threads(&*balancer, picks));
            });
        }
    }
}

/// How long the slower of two workers takes for so many picks. They make more: the other one must run, too.
fn two_threads(balancer: &dyn Balancer, picks: u64) -> Duration {
    let (start, more) = (Barrier::new(2), picks.max(100_000));
    let work = |worker: usize| {
        let (tried, mut random) = (Tried::default(), worker as u64);
        start.wait();
        let began = Instant::now();
        for _ in 0..more {
            black_box(pick(balancer, worker, &tried, &mut random));
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        work(0).max(other.join().expect("a pick does not panic")).mul_f64(picks as f64 / more as f64)
    })
}

/// What control does whenever a member comes, goes or changes its weight.
fn rebuilds(criterion: &mut Criterion) {
    let (members, common) = (members(10_000), Arc::default());
    for (name, algorithm) in ALGORITHMS {
        criterion.bench_function(&format!("rebuild/{name}/10000"), |bencher| {
            bencher.iter(|| balance::build(algorithm, black_box(&members), &common));
        });
    }
}

criterion_group!(benches, heads, picks, rebuilds);
criterion_main!(benches);
