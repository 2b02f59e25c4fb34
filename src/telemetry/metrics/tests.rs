//! What Prometheus would see, as text.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

const FAILURES: &[&str] = &["bad_request", "reset"];

fn layout(backends: usize) -> Layout {
    let mut layout = Layout::new(FAILURES);
    layout.listeners.push(Listener { name: "web".into(), connections_limit: Some(100) });
    layout.listeners.push(Listener { name: "admin \"x\"".into(), connections_limit: None });
    layout.routes.push("api".into());
    let backend = |number| Backend { pool: "blue".into(), name: format!("b{number}") };
    layout.backends.extend((0..backends).map(backend));
    layout
}

fn finished(status: u16, duration: Duration) -> Finished {
    Finished { listener: 0, route: Layout::route(0), status, duration, bytes_in: 3, bytes_out: 5 }
}

/// The value of the sample that is written exactly so, name and labels.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

#[test]
fn a_series_exists_at_0_from_the_start() {
    let text = Telemetry::new(layout(1), 2).render();
    for sample in [
        "evenkeel_config_generation",
        "evenkeel_config_last_reload_successful",
        "evenkeel_config_last_reload_success_timestamp_seconds",
        "evenkeel_panics_total",
        "evenkeel_listener_connections{listener=\"web\"}",
        "evenkeel_listener_connections{listener=\"admin \\\"x\\\"\"}",
        "evenkeel_listener_connections_total{listener=\"web\"}",
        "evenkeel_requests_in_flight{listener=\"web\"}",
        "evenkeel_request_duration_seconds_count{route=\"\"}",
        "evenkeel_request_duration_seconds_sum{route=\"api\"}",
        "evenkeel_request_duration_seconds_bucket{route=\"api\",le=\"0.001\"}",
        "evenkeel_request_duration_seconds_bucket{route=\"api\",le=\"+Inf\"}",
        "evenkeel_request_bytes_total{route=\"api\"}",
        "evenkeel_response_bytes_total{route=\"\"}",
        "evenkeel_backend_response_seconds_count{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_in_flight{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_connections{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_weight{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_worker_connections{worker=\"1\"}",
        "evenkeel_worker_busy_seconds_total{worker=\"0\"}",
    ] {
        assert_eq!(value(&text, sample), 0.0, "{sample}");
    }
    for reason in ["limit", "per_ip", "denied", "flood", "idle_pressure", "proxy_protocol"] {
        let sample = format!("evenkeel_connections_closed_total{{listener=\"web\",reason=\"{reason}\"}}");
        assert_eq!(value(&text, &sample), 0.0);
    }
    assert_eq!(value(&text, "evenkeel_connections_limit{listener=\"web\"}"), 100.0);
    assert!(text.contains(concat!("evenkeel_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",os=\"linux\"")));
    assert!(value(&text, "process_resident_memory_bytes") > 0.0);
    assert!(value(&text, "process_start_time_seconds") > 0.0);
    assert!(!text.contains("code="), "a code appears when it is counted");
}

#[test]
fn every_family_is_gathered_with_help_and_type_and_no_series_twice() {
    let telemetry = Telemetry::new(layout(2), 2);
    let shard = telemetry.shard(0);
    shard.request_finished(&finished(200, Duration::ZERO));
    shard.attempt_finished(0, 200, None);
    shard.failure(NO_ROUTE, 1);
    let text = telemetry.render();
    let gathered = text.lines().filter(|line| line.starts_with("# TYPE evenkeel_")).count();
    assert_eq!(gathered, family::ALL.len());
    assert_eq!(text.lines().filter(|line| line.starts_with("# HELP evenkeel_")).count(), gathered);
    let samples = samples(&text);
    assert_eq!(samples.iter().collect::<HashSet<_>>().len(), samples.len());
}

#[test]
fn what_is_counted_is_seen() {
    let telemetry = Telemetry::new(layout(2), 2);
    let (one, other) = (telemetry.shard(0), telemetry.shard(1));
    one.connection_opened(0);
    one.connection_opened(0);
    one.connection_closed(0);
    other.connection_opened(0);
    other.closed_by(1, Closed::Flood);
    one.request_started(0);
    one.request_started(0);
    one.request_finished(&finished(204, Duration::from_millis(20)));
    other.attempt_finished(1, 502, None);
    other.attempt_finished(1, 200, Some(Duration::from_secs(60)));
    other.failure(Layout::route(0), 1);
    telemetry.panicked();
    let text = telemetry.render();
    for (sample, expected) in [
        ("evenkeel_listener_connections{listener=\"web\"}", 2.0),
        ("evenkeel_listener_connections_total{listener=\"web\"}", 3.0),
        ("evenkeel_connections_closed_total{listener=\"admin \\\"x\\\"\",reason=\"flood\"}", 1.0),
        ("evenkeel_connections_limit{listener=\"admin \\\"x\\\"\"}", f64::INFINITY),
        ("evenkeel_worker_connections{worker=\"0\"}", 1.0),
        ("evenkeel_requests_total{listener=\"web\",route=\"api\",code=\"204\"}", 1.0),
        ("evenkeel_requests_in_flight{listener=\"web\"}", 1.0),
        ("evenkeel_request_duration_seconds_bucket{route=\"api\",le=\"0.01\"}", 0.0),
        ("evenkeel_request_duration_seconds_bucket{route=\"api\",le=\"0.025\"}", 1.0),
        ("evenkeel_request_duration_seconds_sum{route=\"api\"}", 0.02),
        ("evenkeel_request_bytes_total{route=\"api\"}", 3.0),
        ("evenkeel_response_bytes_total{route=\"api\"}", 5.0),
        ("evenkeel_backend_requests_total{pool=\"blue\",backend=\"b1\",code=\"502\"}", 1.0),
        ("evenkeel_backend_response_seconds_bucket{pool=\"blue\",backend=\"b1\",le=\"10\"}", 0.0),
        ("evenkeel_backend_response_seconds_count{pool=\"blue\",backend=\"b1\"}", 1.0),
        ("evenkeel_failures_total{route=\"api\",reason=\"reset\"}", 1.0),
        ("evenkeel_panics_total", 1.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
}

#[test]
fn control_registers_what_it_reads_elsewhere() {
    let telemetry = Telemetry::new(layout(1), 1);
    telemetry.read_backend(0, Box::new(|| BackendGauges { in_flight: 4, connections: 7, weight: 0.5 }));
    telemetry.read_busy(0, Box::new(|| Duration::from_millis(1500)));
    telemetry.config_accepted(3, UNIX_EPOCH + Duration::from_millis(1_700_000_000_250));
    let text = telemetry.render();
    assert_eq!(value(&text, "evenkeel_backend_in_flight{pool=\"blue\",backend=\"b0\"}"), 4.0);
    assert_eq!(value(&text, "evenkeel_backend_connections{pool=\"blue\",backend=\"b0\"}"), 7.0);
    assert_eq!(value(&text, "evenkeel_backend_weight{pool=\"blue\",backend=\"b0\"}"), 0.5);
    assert_eq!(value(&text, "evenkeel_worker_busy_seconds_total{worker=\"0\"}"), 1.5);
    assert_eq!(value(&text, "evenkeel_config_generation"), 3.0);
    assert_eq!(value(&text, "evenkeel_config_last_reload_successful"), 1.0);
    assert_eq!(value(&text, "evenkeel_config_last_reload_success_timestamp_seconds"), 1_700_000_000.25);
    telemetry.config_refused();
    let text = telemetry.render();
    assert_eq!(value(&text, "evenkeel_config_last_reload_successful"), 0.0);
    assert_eq!(value(&text, "evenkeel_config_generation"), 3.0);
}

#[test]
fn counts_are_exact_while_others_gather() {
    const ROUNDS: u64 = 20_000;
    let telemetry = Telemetry::new(layout(1), 2);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let gathering = scope.spawn(|| {
            let mut last = 0.0;
            while !done.load(Relaxed) {
                let text = telemetry.render();
                let count = value(&text, "evenkeel_request_duration_seconds_count{route=\"api\"}");
                assert!(count >= last, "a counter went back");
                assert!(value(&text, "evenkeel_requests_in_flight{listener=\"web\"}") <= 2.0 * ROUNDS as f64);
                last = count;
            }
        });
        let workers = [0, 1].map(|worker| {
            let shard = telemetry.shard(worker);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    shard.request_started(0);
                    shard.attempt_finished(0, 200, Some(Duration::from_micros(round)));
                    shard.request_finished(&finished(200 + (round % 2) as u16, Duration::from_micros(round)));
                }
            })
        });
        let joined = workers.map(|worker| worker.join());
        done.store(true, Relaxed);
        assert!(joined.iter().all(Result::is_ok));
        gathering.join().unwrap();
    });
    let text = telemetry.render();
    let rounds = ROUNDS as f64;
    assert_eq!(value(&text, "evenkeel_requests_total{listener=\"web\",route=\"api\",code=\"200\"}"), rounds);
    assert_eq!(value(&text, "evenkeel_requests_total{listener=\"web\",route=\"api\",code=\"201\"}"), rounds);
    assert_eq!(value(&text, "evenkeel_requests_in_flight{listener=\"web\"}"), 0.0);
    assert_eq!(value(&text, "evenkeel_request_duration_seconds_count{route=\"api\"}"), 2.0 * rounds);
    assert_eq!(value(&text, "evenkeel_request_duration_seconds_bucket{route=\"api\",le=\"0.001\"}"), 2002.0);
    assert_eq!(value(&text, "evenkeel_backend_response_seconds_count{pool=\"blue\",backend=\"b0\"}"), 2.0 * rounds);
    assert_eq!(value(&text, "evenkeel_response_bytes_total{route=\"api\"}"), 10.0 * rounds);
}

#[test]
fn the_number_of_series_is_bounded_whatever_status_a_backend_invents() {
    let telemetry = Telemetry::new(layout(1), 1);
    let shard = telemetry.shard(0);
    for status in 0..=u16::MAX {
        shard.request_finished(&finished(status, Duration::ZERO));
        shard.attempt_finished(0, status, None);
    }
    let text = telemetry.render();
    let of = |name: &str| samples(&text).iter().filter(|sample| sample.starts_with(name)).count();
    assert_eq!(of("evenkeel_requests_total{"), 901);
    assert_eq!(of("evenkeel_backend_requests_total{"), 901);
    let none = value(&text, "evenkeel_requests_total{listener=\"web\",route=\"api\",code=\"0\"}");
    assert_eq!(none, 65_536.0 - 900.0);
}

#[test]
fn above_1000_backends_their_histograms_are_off_unless_asked_for() {
    let has = |layout| Telemetry::new(layout, 1).render().contains("evenkeel_backend_response_seconds");
    assert!(has(layout(1_000)));
    assert!(!has(layout(1_001)));
    assert!(has(Layout { backend_histograms: Some(true), ..layout(1_001) }));
    assert!(!has(Layout { backend_histograms: Some(false), ..layout(1) }));
}
