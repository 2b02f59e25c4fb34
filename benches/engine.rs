//! What the parts of an exchange cost: `cargo bench --bench engine`.

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel::{
    balance::{self, Algorithm, Member, Pick, Tried},
    config::Underscores,
    http::{Head, bench},
};
use std::{hint::black_box, sync::Arc};

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

/// A quarter of the members is busy, and each pick has random bits of its own.
fn picks(criterion: &mut Criterion) {
    let algorithms = [
        ("round_robin", Algorithm::RoundRobin),
        ("random", Algorithm::Random),
        ("power_of_two_choices", Algorithm::PowerOfTwoChoices),
        ("least_connections", Algorithm::LeastConnections),
    ];
    for (name, algorithm) in algorithms {
        for count in [3u32, 10, 32, 10_000] {
            let members: Vec<Member> = (0..count)
                .map(|id| Member {
                    id,
                    identity: balance::hash(&id.to_be_bytes()),
                    weight: 1 + id % 5,
                    load: Arc::default(),
                })
                .collect();
            members.iter().step_by(4).for_each(|member| member.load.begin());
            let balancer = balance::build(algorithm, &members, &Arc::default());
            let (tried, mut random) = (Tried::default(), 0u64);
            criterion.bench_function(&format!("pick/{name}/{count}"), |bencher| {
                bencher.iter(|| {
                    random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    balancer.pick(black_box(&Pick { key: random, worker: 0, random, now: 0, tried: &tried }))
                });
            });
        }
    }
}

criterion_group!(benches, heads, picks);
criterion_main!(benches);
