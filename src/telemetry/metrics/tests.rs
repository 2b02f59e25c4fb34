//! What Prometheus would see, as text.

use std::collections::{BTreeMap, HashSet};
use std::thread;
use std::time::UNIX_EPOCH;

use super::*;

const FAILURES: &[&str] = &["bad_request", "reset"];

/// What a plan holds.
struct Held {
    web: Arc<ListenerMetrics>,
    odd: Arc<ListenerMetrics>,
    route: Arc<RouteMetrics>,
    none: Arc<RouteMetrics>,
    requests: Arc<RequestMetrics>,
    pool: Arc<PoolMetrics>,
    backends: Vec<Arc<BackendMetrics>>,
    certificate: Arc<CertificateMetrics>,
    limit: Arc<LimitMetrics>,
    reported: Arc<ReportedLoad>,
}

fn telemetry(workers: usize) -> Telemetry {
    Telemetry::new(FAILURES, &BUCKETS, workers)
}

fn hold(telemetry: &Telemetry, backends: usize) -> Held {
    let (web, route) = (telemetry.listener("web"), telemetry.route("api"));
    web.set_limit(Some(100));
    web.set_tls(true);
    let pool = telemetry.pool("blue");
    pool.set_sticky();
    Held {
        requests: telemetry.requests(&web, &route),
        odd: telemetry.listener("admin \"x\""),
        none: telemetry.route(""),
        pool,
        backends: (0..backends).map(|number| telemetry.backend("blue", &format!("b{number}"))).collect(),
        certificate: telemetry.certificate("a.pem"),
        limit: telemetry.limit("per-ip"),
        reported: telemetry.reported("green", "g", "named_metrics.x\"y"),
        web,
        route,
    }
}

impl Held {
    fn request(&self, worker: usize, status: u16, duration: Duration) {
        self.web.finished(worker);
        self.requests.count(worker, status);
        self.route.finished(worker, duration, 3, 5);
    }
}

/// The value of the sample that is written exactly so, name and labels.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

/// Reads `text` by the rules of the format 0.0.4 and panics where it breaks one: HELP and TYPE before the samples, a
/// family in one piece, labels quoted, no series twice, buckets that grow up to the count. Gives the kinds by family.
fn parse(text: &str) -> BTreeMap<&str, &str> {
    let (mut kinds, mut helped, mut seen) = (BTreeMap::new(), HashSet::new(), HashSet::new());
    let (mut family, mut bucket) = ("", (String::new(), 0.0));
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(help.split_once(' ').unwrap().0), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped.contains(name) && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name, kind).is_none(), "{line}");
            family = name;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            let (name, labels) = series.split_once('{').map_or((series, vec![]), |(name, rest)| (name, pairs(rest)));
            let end = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} in {family}"));
            let ends: &[&str] = if kinds[family] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(ends.contains(&end) && seen.insert(series), "{line}");
            assert!(value >= 0.0, "{line}");
            if end == "_bucket" {
                let of = series.rsplit_once("le=").unwrap().0.to_owned();
                assert!(labels.last().unwrap().0 == "le" && (of != bucket.0 || value >= bucket.1), "{line}");
                bucket = (of, value);
            } else if end == "_count" {
                assert_eq!(value, bucket.1, "{line}");
            }
        }
    }
    kinds
}

/// What stands behind the opening brace, unescaped.
fn pairs(mut rest: &str) -> Vec<(&str, String)> {
    let mut pairs = Vec::new();
    while rest != "}" {
        let (name, quoted) = rest.trim_start_matches(',').split_once("=\"").unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{rest}");
        let (mut text, mut characters) = (String::new(), quoted.chars());
        loop {
            match characters.next().unwrap() {
                '"' => break,
                '\\' => text.push(match characters.next().unwrap() {
                    'n' => '\n',
                    other => other,
                }),
                other => text.push(other),
            }
        }
        rest = characters.as_str();
        pairs.push((name, text));
    }
    pairs
}

#[test]
fn a_series_exists_at_0_from_the_start() {
    let telemetry = telemetry(2);
    let _held = hold(&telemetry, 1);
    let text = telemetry.render();
    for sample in [
        "evenkeel_config_generation",
        "evenkeel_config_last_reload_successful",
        "evenkeel_config_last_reload_success_timestamp_seconds",
        "evenkeel_panics_total",
        "evenkeel_log_dropped_total",
        "evenkeel_trace_spans_dropped_total",
        "evenkeel_trace_spans_sent_total",
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
        "evenkeel_backend_up{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_state{pool=\"blue\",backend=\"b0\",state=\"ready\"}",
        "evenkeel_health_checks_total{pool=\"blue\",backend=\"b0\",result=\"pass\"}",
        "evenkeel_health_checks_total{pool=\"blue\",backend=\"b0\",result=\"fail\"}",
        "evenkeel_health_check_duration_seconds{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_response_seconds_count{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_in_flight{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_connections{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_weight{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_backend_reported_load{pool=\"green\",backend=\"g\",metric=\"named_metrics.x\\\"y\"}",
        "evenkeel_retries_total{pool=\"blue\",reason=\"connect\"}",
        "evenkeel_retries_total{pool=\"blue\",reason=\"reset\"}",
        "evenkeel_retries_total{pool=\"blue\",reason=\"timeout\"}",
        "evenkeel_retry_budget_exhausted_total{pool=\"blue\"}",
        "evenkeel_sticky_total{pool=\"blue\",result=\"hit\"}",
        "evenkeel_sticky_total{pool=\"blue\",result=\"new\"}",
        "evenkeel_sticky_total{pool=\"blue\",result=\"moved\"}",
        "evenkeel_sticky_total{pool=\"blue\",result=\"invalid\"}",
        "evenkeel_queue_length{pool=\"blue\"}",
        "evenkeel_queue_timeouts_total{pool=\"blue\"}",
        "evenkeel_queue_wait_seconds_count{pool=\"blue\"}",
        "evenkeel_in_flight_limit{pool=\"blue\",backend=\"b0\"}",
        "evenkeel_all_down{pool=\"blue\"}",
        "evenkeel_worker_connections{worker=\"1\"}",
        "evenkeel_worker_busy_seconds_total{worker=\"0\"}",
    ] {
        assert_eq!(value(&text, sample), 0.0, "{sample}");
    }
    for reason in ["limit", "per_ip", "denied", "flood", "idle_pressure", "proxy_protocol"] {
        let sample = format!("evenkeel_connections_closed_total{{listener=\"web\",reason=\"{reason}\"}}");
        assert_eq!(value(&text, &sample), 0.0);
    }
    for reason in TlsFailure::WORDS {
        let sample = format!("evenkeel_tls_handshake_failures_total{{listener=\"web\",reason=\"{reason}\"}}");
        assert_eq!(value(&text, &sample), 0.0);
    }
    assert!(!text.contains("failures_total{listener=\"admin"), "it speaks no TLS");
    assert_eq!(value(&text, "evenkeel_connections_limit{listener=\"web\"}"), 100.0);
    assert!(text.contains(concat!("evenkeel_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",os=\"linux\"")));
    assert!(value(&text, "process_resident_memory_bytes") > 0.0);
    assert!(value(&text, "process_start_time_seconds") > 0.0);
    assert!(!text.contains("code="), "a code appears when it is counted");
}

#[test]
fn every_family_is_valid_text_with_help_and_type_and_no_series_twice() {
    let telemetry = telemetry(2);
    let mut held = hold(&telemetry, 2);
    let odd = telemetry.backend("a\"b\\", "c\n,d=\"e\"}");
    odd.attempt(1, 200, Some(Duration::from_millis(7)));
    held.backends.push(odd);
    held.route.set_mirrored(true);
    telemetry.read_overload(Box::new(|| Overload { memory_limit: Some(1 << 30), by_flight: 1, by_memory: 0 }));
    for round in 0..2 {
        held.request(0, 200, Duration::from_micros(1234));
        held.backends[0].attempt(0, 200, None);
        held.none.failure(1, 1);
        let text = telemetry.render();
        let kinds = parse(&text);
        for family in family::ALL {
            assert_eq!(kinds.get(family.name), Some(&family.kind.word()), "{} in round {round}", family.name);
        }
        let ours = kinds.keys().filter(|name| name.starts_with("evenkeel_")).count();
        assert_eq!(ours, family::ALL.len());
        let up = text.lines().find_map(|line| line.strip_prefix("evenkeel_backend_up{pool=\"a")).unwrap();
        let labels = format!("pool=\"a{}", up.rsplit_once(' ').unwrap().0);
        assert_eq!(pairs(&labels), [("pool", "a\"b\\".to_owned()), ("backend", "c\n,d=\"e\"}".to_owned())]);
    }
}

#[test]
fn what_is_counted_is_seen() {
    let telemetry = telemetry(2);
    let held = hold(&telemetry, 2);
    held.limit.limited(0);
    held.limit.limited(1);
    assert!(telemetry.render().contains("evenkeel_rate_limited_total{limit=\"per-ip\"} 2\n"));
    held.web.opened(0);
    held.web.opened(0);
    held.web.closed(0);
    held.web.opened(1);
    telemetry.worker(0).opened();
    held.odd.closed_by(1, Closed::Flood);
    held.web.handshake_failed(1, TlsFailure::NotTls);
    held.certificate.set_not_after(UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    held.web.started(0);
    held.web.started(0);
    held.request(0, 204, Duration::from_millis(20));
    held.backends[1].attempt(1, 502, None);
    held.backends[1].attempt(1, 200, Some(Duration::from_secs(60)));
    held.backends[1].attempt(0, 200, None);
    held.route.failure(1, 1);
    held.pool.retry(0, Retry::Reset);
    held.pool.retry(1, Retry::Reset);
    held.pool.retry(1, Retry::Timeout);
    held.pool.budget_exhausted(1);
    held.route.copied(0, Copied::Sent);
    held.route.copied(1, Copied::Sent);
    held.route.copied(1, Copied::Dropped);
    held.route.set_mirrored(true);
    held.pool.queue_timeout(0);
    held.pool.queue_timeout(1);
    held.pool.waited(0, Duration::from_millis(1));
    held.pool.waited(1, Duration::from_millis(500));
    held.pool.stuck(0, Stuck::Moved);
    held.pool.stuck(1, Stuck::Moved);
    held.pool.set_all_down(true);
    held.reported.set(0.9);
    held.reported.set(0.25);
    telemetry.panicked();
    assert_eq!((held.web.open(), held.backends[1].requests(), held.backends[0].requests()), (2, 3, 0));
    let text = telemetry.render();
    for (sample, expected) in [
        ("evenkeel_listener_connections{listener=\"web\"}", 2.0),
        ("evenkeel_listener_connections_total{listener=\"web\"}", 3.0),
        ("evenkeel_connections_closed_total{listener=\"admin \\\"x\\\"\",reason=\"flood\"}", 1.0),
        ("evenkeel_connections_limit{listener=\"admin \\\"x\\\"\"}", f64::INFINITY),
        ("evenkeel_tls_handshake_failures_total{listener=\"web\",reason=\"not_tls\"}", 1.0),
        ("evenkeel_tls_certificate_not_after_timestamp_seconds{certificate=\"a.pem\"}", 2e9),
        ("evenkeel_sticky_total{pool=\"blue\",result=\"moved\"}", 2.0),
        ("evenkeel_sticky_total{pool=\"blue\",result=\"hit\"}", 0.0),
        ("evenkeel_worker_connections{worker=\"0\"}", 1.0),
        ("evenkeel_requests_total{listener=\"web\",route=\"api\",code=\"204\"}", 1.0),
        ("evenkeel_requests_in_flight{listener=\"web\"}", 1.0),
        ("evenkeel_request_duration_seconds_bucket{route=\"api\",le=\"0.01\"}", 0.0),
        ("evenkeel_request_duration_seconds_bucket{route=\"api\",le=\"0.025\"}", 1.0),
        ("evenkeel_request_duration_seconds_sum{route=\"api\"}", 0.02),
        ("evenkeel_request_bytes_total{route=\"api\"}", 3.0),
        ("evenkeel_response_bytes_total{route=\"api\"}", 5.0),
        ("evenkeel_backend_requests_total{pool=\"blue\",backend=\"b1\",code=\"502\"}", 1.0),
        ("evenkeel_backend_requests_total{pool=\"blue\",backend=\"b1\",code=\"200\"}", 2.0),
        ("evenkeel_backend_response_seconds_bucket{pool=\"blue\",backend=\"b1\",le=\"10\"}", 0.0),
        ("evenkeel_backend_response_seconds_count{pool=\"blue\",backend=\"b1\"}", 1.0),
        ("evenkeel_failures_total{route=\"api\",reason=\"reset\"}", 1.0),
        ("evenkeel_mirrored_total{route=\"api\",result=\"sent\"}", 2.0),
        ("evenkeel_mirrored_total{route=\"api\",result=\"failed\"}", 0.0),
        ("evenkeel_mirrored_total{route=\"api\",result=\"dropped\"}", 1.0),
        ("evenkeel_retries_total{pool=\"blue\",reason=\"connect\"}", 0.0),
        ("evenkeel_retries_total{pool=\"blue\",reason=\"reset\"}", 2.0),
        ("evenkeel_retries_total{pool=\"blue\",reason=\"timeout\"}", 1.0),
        ("evenkeel_retry_budget_exhausted_total{pool=\"blue\"}", 1.0),
        ("evenkeel_queue_timeouts_total{pool=\"blue\"}", 2.0),
        ("evenkeel_queue_wait_seconds_bucket{pool=\"blue\",le=\"0.001\"}", 1.0),
        ("evenkeel_queue_wait_seconds_count{pool=\"blue\"}", 2.0),
        ("evenkeel_queue_wait_seconds_sum{pool=\"blue\"}", 0.501),
        ("evenkeel_all_down{pool=\"blue\"}", 1.0),
        ("evenkeel_backend_reported_load{pool=\"green\",backend=\"g\",metric=\"named_metrics.x\\\"y\"}", 0.25),
        ("evenkeel_panics_total", 1.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
}

#[test]
fn control_registers_what_it_reads_elsewhere() {
    let telemetry = telemetry(1);
    let held = hold(&telemetry, 1);
    let gauges = BackendGauges {
        in_flight: 4,
        connections: 7,
        weight: 0.5,
        limit: 20.0,
        up: true,
        state: State::Degraded,
        passed: 9,
        failed: 2,
        check_duration: Some(Duration::from_millis(250)),
        circuit: 2,
        outlier: true,
    };
    held.backends[0].read(Box::new(|| None));
    held.backends[0].read(Box::new(move || Some(gauges)));
    telemetry.read_busy(0, Box::new(|| Duration::from_millis(1500)));
    let spans = Arc::new(Spans::new(1));
    spans.lose(3);
    spans.deliver(4);
    telemetry.read_spans(spans);
    telemetry.read_log_dropped(Box::new(|| 1));
    telemetry.read_log_dropped(Box::new(|| 12));
    telemetry.config_accepted(3, UNIX_EPOCH + Duration::from_millis(1_700_000_000_250));
    let text = telemetry.render();
    let of = |name: &str, more: &str| value(&text, &format!("{name}{{pool=\"blue\",backend=\"b0\"{more}}}"));
    assert_eq!(of("evenkeel_backend_in_flight", ""), 4.0);
    assert_eq!(of("evenkeel_backend_connections", ""), 7.0);
    assert_eq!(of("evenkeel_backend_weight", ""), 0.5);
    assert_eq!(of("evenkeel_in_flight_limit", ""), 20.0);
    held.pool.read(Box::new(|| Some(PoolGauges { circuit: 0, queued: 3 })));
    assert_eq!(value(&telemetry.render(), "evenkeel_queue_length{pool=\"blue\"}"), 3.0);
    assert_eq!(of("evenkeel_backend_up", ""), 1.0);
    assert_eq!(of("evenkeel_health_checks_total", ",result=\"pass\""), 9.0);
    assert_eq!(of("evenkeel_health_checks_total", ",result=\"fail\""), 2.0);
    assert_eq!(of("evenkeel_health_check_duration_seconds", ""), 0.25);
    for state in ["ready", "degraded", "drain", "maintenance", "down", "ejected", "starting"] {
        let is = f64::from(u8::from(state == "degraded"));
        assert_eq!(of("evenkeel_backend_state", &format!(",state=\"{state}\"")), is, "{state}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("evenkeel_backend_state{")).count(), 7);
    assert_eq!(value(&text, "evenkeel_worker_busy_seconds_total{worker=\"0\"}"), 1.5);
    assert_eq!(value(&text, "evenkeel_log_dropped_total"), 12.0);
    let spans = ["dropped", "sent"].map(|end| value(&text, &format!("evenkeel_trace_spans_{end}_total")));
    assert_eq!(spans, [3.0, 4.0]);
    assert_eq!(value(&text, "evenkeel_config_generation"), 3.0);
    assert_eq!(value(&text, "evenkeel_config_last_reload_successful"), 1.0);
    assert_eq!(value(&text, "evenkeel_config_last_reload_success_timestamp_seconds"), 1_700_000_000.25);
    telemetry.config_refused();
    let text = telemetry.render();
    assert_eq!(value(&text, "evenkeel_config_last_reload_successful"), 0.0);
    assert_eq!(value(&text, "evenkeel_config_generation"), 3.0);
}

#[test]
fn a_series_goes_with_its_last_holder() {
    let telemetry = telemetry(1);
    let (Held { web, odd, route, none, requests, pool, backends, certificate, reported, limit }, worker) =
        (hold(&telemetry, 1), telemetry.worker(0));
    requests.count(0, 200);
    backends[0].attempt(0, 200, None);
    web.opened(0);
    worker.opened();
    drop((web, route, requests, pool, backends, certificate, reported, limit));
    let text = telemetry.render();
    for name in [
        "\"web\"",
        "\"a.pem\"",
        "\"per-ip\"",
        "\"api\"",
        "\"blue\"",
        "\"b0\"",
        "\"green\"",
        "evenkeel_retries_total",
        "evenkeel_requests_total",
    ] {
        assert!(!text.contains(name), "{name} in\n{text}");
    }
    assert_eq!(value(&text, "evenkeel_worker_connections{worker=\"0\"}"), 1.0, "it is still open");
    assert_eq!(value(&text, "evenkeel_listener_connections{listener=\"admin \\\"x\\\"\"}"), 0.0);
    assert_eq!(value(&text, "evenkeel_request_bytes_total{route=\"\"}"), 0.0);
    drop((odd, none));
    assert!(!parse(&telemetry.render()).contains_key("evenkeel_listener_connections"));
    let again = telemetry.backend("blue", "b0");
    assert_eq!(again.requests(), 0, "a name that comes again begins at 0");
}

#[test]
fn counts_go_on_over_a_reload_that_keeps_the_name() {
    let telemetry = telemetry(2);
    let old = hold(&telemetry, 3);
    old.request(0, 200, Duration::from_millis(2));
    old.backends[2].attempt(0, 200, None);
    let new = hold(&telemetry, 2);
    assert!(Arc::ptr_eq(&old.web, &new.web) && Arc::ptr_eq(&old.route, &new.route));
    assert!(Arc::ptr_eq(&old.requests, &new.requests) && Arc::ptr_eq(&old.pool, &new.pool));
    assert!(Arc::ptr_eq(&old.backends[1], &new.backends[1]));
    assert!(!Arc::ptr_eq(&new.backends[1], &telemetry.backend("green", "b1")), "of another pool");
    old.request(0, 200, Duration::from_millis(2));
    new.request(1, 200, Duration::from_millis(2));
    assert!(telemetry.render().contains("\"b2\""), "an old exchange may still count there");
    drop(old);
    let text = telemetry.render();
    assert!(!text.contains("\"b2\"") && text.contains("\"b1\""));
    assert_eq!(value(&text, "evenkeel_requests_total{listener=\"web\",route=\"api\",code=\"200\"}"), 3.0);
    assert_eq!(value(&text, "evenkeel_request_duration_seconds_count{route=\"api\"}"), 3.0);
}

#[test]
fn a_backend_that_its_reader_says_is_gone_is_left_out() {
    let telemetry = telemetry(1);
    let held = hold(&telemetry, 2);
    held.backends[0].attempt(0, 200, None);
    let shared = Arc::new(());
    let weak = Arc::downgrade(&shared);
    held.backends[0].read(Box::new(move || weak.upgrade().map(|_| BackendGauges::default())));
    assert!(telemetry.render().contains("\"b0\""));
    drop(shared);
    let text = telemetry.render();
    assert!(!text.contains("\"b0\"") && text.contains("\"b1\""), "{text}");
}

#[test]
fn counts_are_exact_while_others_gather_and_reload() {
    const ROUNDS: u64 = 20_000;
    let telemetry = telemetry(2);
    let held = hold(&telemetry, 1);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let gathering = scope.spawn(|| {
            let mut last = 0.0;
            while !done.load(Relaxed) {
                let text = telemetry.render();
                parse(&text);
                let count = value(&text, "evenkeel_request_duration_seconds_count{route=\"api\"}");
                assert!(count >= last, "a counter went back");
                assert!(value(&text, "evenkeel_requests_in_flight{listener=\"web\"}") <= 2.0 * ROUNDS as f64);
                last = count;
            }
        });
        let reloading = scope.spawn(|| {
            let mut generation = 0;
            while !done.load(Relaxed) {
                let plan = hold(&telemetry, 1 + generation % 5);
                drop(telemetry.backend("blue", &format!("once {generation}")));
                assert!(Arc::ptr_eq(&plan.route, &held.route));
                generation += 1;
            }
        });
        let workers = [0, 1].map(|worker| {
            let held = &held;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    held.web.started(worker);
                    held.backends[0].attempt(worker, 200, Some(Duration::from_micros(round)));
                    held.request(worker, 200 + (round % 2) as u16, Duration::from_micros(round));
                }
            })
        });
        let joined = workers.map(|worker| worker.join());
        done.store(true, Relaxed);
        assert!(joined.iter().all(Result::is_ok));
        gathering.join().unwrap();
        reloading.join().unwrap();
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
    let telemetry = telemetry(1);
    let held = hold(&telemetry, 1);
    for status in 0..=u16::MAX {
        held.request(0, status, Duration::ZERO);
        held.backends[0].attempt(0, status, None);
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
    let has = |on, backends| {
        let telemetry = telemetry(1);
        telemetry.set_backend_histograms(on);
        let _held = hold(&telemetry, backends);
        telemetry.render().contains("evenkeel_backend_response_seconds")
    };
    assert!(has(None, 1_000));
    assert!(!has(None, 1_001));
    assert!(has(Some(true), 1_001));
    assert!(!has(Some(false), 1));
}

#[test]
fn histograms_follow_a_reload_for_all_backends_alike() {
    let telemetry = telemetry(1);
    let count = || telemetry.render().matches("evenkeel_backend_response_seconds_count").count();
    let held = hold(&telemetry, 600);
    let next: Vec<_> = (0..600).map(|number| telemetry.backend("next", &number.to_string())).collect();
    assert_eq!(count(), 0, "two plans at once are more than 1,000");
    drop(held);
    assert_eq!(count(), 600, "those that came when there were too many have one now");
    next[599].attempt(0, 200, Some(Duration::from_millis(1)));
    let sample = "evenkeel_backend_response_seconds_count{pool=\"next\",backend=\"599\"}";
    assert_eq!(value(&telemetry.render(), sample), 1.0);
    telemetry.set_backend_histograms(Some(false));
    assert_eq!(count(), 0);
}

#[test]
#[should_panic(expected = "no failure has the number 2")]
fn a_failure_without_a_word_is_a_defect() {
    telemetry(1).route("").failure(0, 2);
}
