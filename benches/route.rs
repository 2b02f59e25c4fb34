//! What finding a route costs: `cargo bench --bench route`. The same 1,000 requests each, over 10 hosts and over 1,000,
//! with 10 paths a host: what is compared is the search, not the reading of requests.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::{
    config::{HostMatch, PathMatch, Route, Text, Underscores},
    http::{Head, bench},
    route::{Request, Router},
};
use std::hint::black_box;

const REQUESTS: usize = 1000;
const PATHS: [&str; 10] = [
    "/api",
    "/api/v1",
    "/api/v1/orders",
    "/api/v1/users",
    "/api/v2",
    "/assets",
    "/assets/images",
    "/login",
    "/search",
    "/static",
];

/// How a host is written in a route, and in a request.
#[derive(Clone, Copy)]
enum Kind {
    Exact,
    Wildcard,
}

fn routes(hosts: usize, kind: Kind) -> Vec<Route> {
    let host = |number: usize| match kind {
        Kind::Exact => HostMatch::Exact(format!("www.site-{number}.example.com")),
        Kind::Wildcard => HostMatch::Wildcard(format!(".site-{number}.example.com")),
    };
    let route = |number: usize, path: &str| Route {
        hosts: vec![host(number)],
        paths: vec![PathMatch::Below(path.into())],
        ..Route::all_to("web")
    };
    (0..hosts).flat_map(|number| PATHS.iter().map(move |path| route(number, path))).collect()
}

/// Requests for hosts in no order that a prefetcher sees.
fn heads(hosts: usize) -> Vec<Head> {
    let head = |turn: usize| {
        let number = turn.wrapping_mul(7919) % hosts;
        let path = PATHS[turn.wrapping_mul(31) % PATHS.len()];
        let text = format!(
            "GET {path}/item/{turn} HTTP/1.1\r\nHost: www.site-{number}.example.com\r\nUser-Agent: bench\r\n\
             Accept: */*\r\nCookie: session=0123456789abcdef; theme=dark\r\n\r\n"
        );
        let mut head = Head::default();
        bench::guard_request(text.as_bytes(), &mut head, Underscores::Drop);
        head
    };
    (0..REQUESTS).map(head).collect()
}

fn measure(criterion: &mut Criterion, name: &str, routes: &[Route], heads: &[Head]) {
    let router = Router::new(routes, &["web".into()]);
    let find = |head| router.find(&Request { head, listener: 0, client: None });
    assert!(heads.iter().all(|head| find(head).is_some()), "every request has a route");
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(heads.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| heads.iter().map(|head| find(black_box(head)).unwrap_or_default()).sum::<usize>());
    });
    group.finish();
}

fn finds(criterion: &mut Criterion) {
    for (name, kind) in [("exact", Kind::Exact), ("wildcard", Kind::Wildcard)] {
        for hosts in [10, 1000] {
            measure(criterion, &format!("{name}/{hosts}x10"), &routes(hosts, kind), &heads(hosts));
        }
    }
    measure(criterion, "default", &[Route::all_to("web")], &heads(10));
    let mut predicates = routes(10, Kind::Exact);
    for route in &mut predicates {
        route.methods = vec!["GET".into()];
        route.headers = vec![("accept".into(), Text::Present)];
        route.cookies = vec![("theme".into(), Text::Equal("dark".into()))];
    }
    measure(criterion, "predicates/10x10", &predicates, &heads(10));
}

criterion_group!(benches, finds);
criterion_main!(benches);
