//! What a line of the access log costs the worker, and the thread that writes. `cargo bench --bench access_log`.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel::telemetry::access_log::{AccessLog, Entry, Format, Overflow, Settings, Sink, bench};

/// What is known of a usual exchange, and a browser's fields.
fn usual() -> Entry<'static> {
    Entry {
        request_id: Some(b"0198f2c4a7d34b0f9c1e5d6a7b8c9d0e"),
        trace_id: Some([7; 16]),
        client_ip: Some(IpAddr::from([203, 0, 113, 7])),
        peer_ip: Some(IpAddr::from([10, 0, 0, 1])),
        listener: Some(b"web"),
        method: Some(b"GET"),
        scheme: Some(b"https"),
        host: Some(b"api.example.com"),
        path: Some(b"/v1/users/4711/orders"),
        protocol: Some(b"HTTP/1.1"),
        status: 200,
        bytes_in: 512,
        bytes_out: 18_432,
        route: Some(b"api"),
        pool: Some(b"api"),
        backend: Some(b"10.0.1.10:8080"),
        attempts: Some(1),
        duration: Duration::from_micros(12_345),
        ttfb: Some(Duration::from_micros(11_002)),
        tls_version: Some(b"1.3"),
        sni: Some(b"api.example.com"),
        user_agent: Some(
            b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
        ),
        referer: Some(b"https://app.example.com/orders"),
        generation: 17,
        ..Entry::new(SystemTime::now())
    }
}

fn push(c: &mut Criterion) {
    let sink = Sink::File("/dev/null".into());
    let settings = Settings { sink, format: Format::Json, overflow: Overflow::Drop, instance: "lb-1".into() };
    let log = AccessLog::start(settings).expect("the null device takes everything");
    let (writer, entry) = (log.writer(), usual());
    c.bench_function("access_log/push", |b| {
        b.iter_custom(|mut left| {
            let mut spent = Duration::ZERO;
            while left > 0 {
                let lines = left.min(500); // the thread takes none of them meanwhile
                let start = Instant::now();
                for _ in 0..lines {
                    assert!(writer.push(black_box(&entry)));
                }
                spent += start.elapsed();
                bench::settle(&log, &writer);
                left -= lines;
            }
            spent
        });
    });
    assert_eq!(log.dropped(), 0);
    let mut record = bench::record(&entry);
    c.bench_function("access_log/record", |b| b.iter(&mut record));
}

fn line(c: &mut Criterion) {
    for (name, format) in [("json", Format::Json), ("combined", Format::Combined)] {
        let mut line = bench::line(format, &usual());
        c.bench_function(&format!("access_log/line/{name}"), |b| b.iter(&mut line));
    }
}

criterion_group!(benches, push, line);
criterion_main!(benches);
