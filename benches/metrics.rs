//! What counting costs an exchange, what a scrape costs control, and what a reload pays for handles.
//! `cargo bench --bench metrics`.
//!
//! `prometheus` is the same request counted by that crate's shared counters and label look-ups: what the cells avoid.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel::telemetry::metrics::{BUCKETS, BackendMetrics, ListenerMetrics, RequestMetrics, RouteMetrics, Telemetry};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

/// The worker that counts, as it comes from the worker's own.
const WORKER: usize = 1;

struct Handles {
    listener: Arc<ListenerMetrics>,
    route: Arc<RouteMetrics>,
    requests: Arc<RequestMetrics>,
    backends: Vec<Arc<BackendMetrics>>,
}

fn telemetry() -> Telemetry {
    Telemetry::new(&["bad_request", "reset"], &BUCKETS, 2)
}

fn handles(telemetry: &Telemetry, backends: usize) -> Handles {
    let (listener, route) = (telemetry.listener("web"), telemetry.route("default"));
    let requests = telemetry.requests(&listener, &route);
    let backend = |number| telemetry.backend("web", &format!("10.0.0.1:{number}"));
    Handles { listener, route, requests, backends: (0..backends).map(backend).collect() }
}

impl Handles {
    fn request_finished(&self, worker: usize, duration: Duration) {
        self.listener.finished(worker);
        self.requests.count(worker, black_box(200));
        self.route.finished(worker, duration, black_box(0), black_box(128));
    }
}

fn record(c: &mut Criterion) {
    let telemetry = telemetry();
    let handles = handles(&telemetry, 100);
    let mut group = c.benchmark_group("metrics");
    for (name, duration) in [("300us", Duration::from_micros(300)), ("20s", Duration::from_secs(20))] {
        group.bench_function(format!("request_finished/{name}"), |b| {
            b.iter(|| handles.request_finished(black_box(WORKER), black_box(duration)));
        });
        group.bench_function(format!("attempt_finished/{name}"), |b| {
            b.iter(|| {
                let backend = &handles.backends[black_box(7)];
                backend.attempt(black_box(WORKER), black_box(200), black_box(Some(duration)));
            });
        });
    }
    group.bench_function("request_started", |b| b.iter(|| handles.listener.started(black_box(WORKER))));
    group.bench_function("failure", |b| b.iter(|| handles.route.failure(black_box(WORKER), black_box(1))));
    group.bench_function("whole_exchange", |b| {
        b.iter(|| {
            let worker = black_box(WORKER);
            handles.listener.started(worker);
            handles.backends[black_box(7)].attempt(worker, black_box(200), black_box(Some(Duration::from_micros(250))));
            handles.request_finished(worker, black_box(Duration::from_micros(300)));
        });
    });
    group.finish();
}

fn contrast(c: &mut Criterion) {
    let requests =
        IntCounterVec::new(Opts::new("requests_total", "r"), &["listener", "route", "code"]).expect("valid names");
    let durations = HistogramVec::new(HistogramOpts::new("duration_seconds", "d"), &["route"]).expect("valid names");
    c.bench_function("metrics/prometheus/request_finished", |b| {
        b.iter(|| {
            requests.with_label_values(&[black_box("web"), "default", "200"]).inc();
            durations.with_label_values(&[black_box("default")]).observe(black_box(0.0003));
        });
    });
}

fn scrape(c: &mut Criterion) {
    for backends in [100, 1_000, 10_000] {
        let telemetry = telemetry();
        let handles = handles(&telemetry, backends);
        handles.backends.iter().for_each(|backend| backend.attempt(WORKER, 200, None));
        c.bench_function(&format!("metrics/render/{backends}_backends"), |b| b.iter(|| telemetry.render().len()));
    }
}

/// A reload's share: handles for 10,000 backends, 1,000 routes and their pairs with one listener.
fn create(c: &mut Criterion) {
    let of = |telemetry: &Telemetry| {
        let handles = handles(telemetry, 10_000);
        let routes: Vec<_> = (0..1_000).map(|number| telemetry.route(&format!("route {number}"))).collect();
        let requests: Vec<_> = routes.iter().map(|route| telemetry.requests(&handles.listener, route)).collect();
        (handles, routes, requests)
    };
    let mut group = c.benchmark_group("metrics/handles");
    group.sample_size(10);
    // The drop of what was made is in it, as is the pruning of the names before.
    let telemetry = telemetry();
    group.bench_function("new", |b| b.iter(|| black_box(of(&telemetry)).1.len()));
    let held = of(&telemetry);
    group.bench_function("living", |b| b.iter(|| black_box(of(&telemetry)).1.len()));
    drop(held);
    group.finish();
}

criterion_group!(benches, record, contrast, scrape, create);
criterion_main!(benches);
