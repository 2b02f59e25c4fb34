//! What counting costs an exchange, and what a scrape costs control. `cargo bench --bench metrics`.
//!
//! `prometheus` is the same request counted by that crate's shared counters and label look-ups: what the shards avoid.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel::telemetry::metrics::{Backend, Finished, Layout, Listener, Telemetry};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

fn telemetry(backends: usize) -> Telemetry {
    let mut layout = Layout::new(&["bad_request", "reset"]);
    layout.listeners.push(Listener { name: "web".into(), connections_limit: None });
    layout.routes.push("default".into());
    let backend = |number| Backend { pool: "web".into(), name: format!("10.0.0.1:{number}") };
    layout.backends.extend((0..backends).map(backend));
    Telemetry::new(layout, 2)
}

fn finished(duration: Duration) -> Finished {
    Finished { listener: 0, route: Layout::route(0), status: 200, duration, bytes_in: 0, bytes_out: 128 }
}

fn record(c: &mut Criterion) {
    let telemetry = telemetry(100);
    let shard = telemetry.shard(0);
    let mut group = c.benchmark_group("metrics");
    for (name, duration) in [("300us", Duration::from_micros(300)), ("20s", Duration::from_secs(20))] {
        group.bench_function(format!("request_finished/{name}"), |b| {
            b.iter(|| shard.request_finished(black_box(&finished(duration))));
        });
        group.bench_function(format!("attempt_finished/{name}"), |b| {
            b.iter(|| shard.attempt_finished(black_box(7), black_box(200), black_box(Some(duration))));
        });
    }
    group.bench_function("request_started", |b| b.iter(|| shard.request_started(black_box(0))));
    group.bench_function("failure", |b| b.iter(|| shard.failure(black_box(1), black_box(1))));
    group.bench_function("whole_exchange", |b| {
        b.iter(|| {
            shard.request_started(black_box(0));
            shard.attempt_finished(black_box(7), black_box(200), black_box(Some(Duration::from_micros(250))));
            shard.request_finished(black_box(&finished(Duration::from_micros(300))));
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
    for backends in [100, 1_000] {
        let telemetry = telemetry(backends);
        let shard = telemetry.shard(0);
        for backend in 0..backends {
            shard.attempt_finished(backend, 200, None);
        }
        c.bench_function(&format!("metrics/render/{backends}_backends"), |b| b.iter(|| telemetry.render().len()));
    }
}

criterion_group!(benches, record, contrast, scrape);
criterion_main!(benches);
