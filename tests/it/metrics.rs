//! `/metrics` and `/healthz`: series exist from the start, and count what happened (PRODUCT.md section 9).

use crate::support::{Backend, Client, Evenkeel, Gate, Program, Setup, in_front_of, scrape, sum_of, wait_for};

/// The series that exist at 0 from the start, by name and labels; `code`, `reason` and `result` are not among them.
fn at_start(backend: &str) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let listener = || vec![("listener", "web".to_owned())];
    let route = || vec![("route", "default".to_owned())];
    let pool = || vec![("pool", "web".to_owned())];
    let target = || vec![("pool", "web".to_owned()), ("backend", backend.to_owned())];
    vec![
        ("evenkeel_listener_connections", listener()),
        ("evenkeel_listener_connections_total", listener()),
        ("evenkeel_requests_in_flight", listener()),
        ("evenkeel_request_duration_seconds_count", route()),
        ("evenkeel_request_duration_seconds_sum", route()),
        ("evenkeel_request_bytes_total", route()),
        ("evenkeel_response_bytes_total", route()),
        ("evenkeel_backend_response_seconds_count", target()),
        ("evenkeel_backend_in_flight", target()),
        ("evenkeel_backend_connections", target()),
        ("evenkeel_health_check_duration_seconds", target()),
        ("evenkeel_retries_total", pool()),
        ("evenkeel_retry_budget_exhausted_total", pool()),
        ("evenkeel_all_down", pool()),
        ("evenkeel_log_dropped_total", vec![]),
        ("evenkeel_trace_spans_dropped_total", vec![]),
        ("evenkeel_trace_spans_sent_total", vec![]),
        ("evenkeel_panics_total", vec![]),
    ]
}

#[test]
fn series_exist_at_zero_from_the_start() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let text = scrape(evenkeel.admin());
    for (name, labels) in at_start(&backend.address().to_string()) {
        let labels: Vec<_> = labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(sum_of(&text, name, &labels), Some(0.0), "{name} {labels:?}");
    }
    assert_eq!(sum_of(&text, "evenkeel_build_info", &[]), Some(1.0));
    assert_eq!(sum_of(&text, "evenkeel_backend_up", &[("pool", "web")]), Some(1.0));
    assert_eq!(sum_of(&text, "evenkeel_backend_state", &[("pool", "web")]), Some(1.0), "in one of its states");
    for name in ["evenkeel_worker_connections", "evenkeel_worker_busy_seconds_total"] {
        for worker in ["0", "1"] {
            assert!(sum_of(&text, name, &[("worker", worker)]).is_some(), "{name} {worker}");
        }
    }
    // In whole seconds: this process may not have used one yet.
    assert!(sum_of(&text, "process_cpu_seconds_total", &[]).is_some());
    for name in ["process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds"] {
        assert!(sum_of(&text, name, &[]).is_some_and(|value| value > 0.0), "{name}");
    }
}

#[test]
fn every_metric_has_help_and_a_type() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    evenkeel.get("/");
    let text = scrape(evenkeel.admin());
    for line in text.lines().filter(|line| line.starts_with("evenkeel_")) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        for what in ["HELP", "TYPE"] {
            let said = [family, name].iter().any(|name| text.contains(&format!("# {what} {name} ")));
            assert!(said, "no {what} for {name}");
        }
    }
}

#[test]
fn promtool_finds_nothing_wrong() {
    let Some(promtool) = Program::find("promtool", "prometheus") else { return };
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    evenkeel.get("/");
    let text = scrape(evenkeel.admin());
    let said = promtool.run_on(text.as_bytes(), &["check", "metrics"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "", ""), "{text}");
}

#[test]
fn what_happened_is_counted() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let address = backend.address().to_string();
    for _ in 0..10 {
        let mut client = evenkeel.client();
        for _ in 0..10 {
            assert_eq!(client.with_body("POST", "/", b"0123456789").status, 200);
        }
    }
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.response().assert_refused(400, "bad_request");
    let series = |name: &str, labels: &[(&str, &str)]| evenkeel.metric(name, labels);
    let target = [("pool", "web"), ("backend", address.as_str())];
    let requests = [("listener", "web"), ("route", "default"), ("code", "200")];
    wait_for("all are counted", || series("evenkeel_requests_total", &requests) == 100.0);
    wait_for("the malformed one is counted", || series("evenkeel_requests_total", &[("code", "400")]) == 1.0);
    evenkeel.wait_failures("bad_request", 1);
    assert_eq!(series("evenkeel_listener_connections_total", &[("listener", "web")]), 11.0);
    assert_eq!(series("evenkeel_backend_requests_total", &[target[0], target[1], ("code", "200")]), 100.0);
    assert_eq!(series("evenkeel_backend_response_seconds_count", &target), 100.0);
    assert!(series("evenkeel_request_duration_seconds_count", &[("route", "default")]) >= 100.0);
    assert!(series("evenkeel_request_duration_seconds_sum", &[("route", "default")]) > 0.0);
    assert!(series("evenkeel_request_bytes_total", &[("route", "default")]) >= 1000.0);
    assert!(series("evenkeel_response_bytes_total", &[("route", "default")]) >= 400.0);
    wait_for("the clients are gone", || {
        client.leave();
        series("evenkeel_listener_connections", &[]) == 0.0
    });
    assert_eq!(evenkeel.in_flight(), 0.0);
}

#[test]
fn what_happens_is_gauged() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "ok");
    let evenkeel = in_front_of(&backend);
    let mut clients: Vec<_> = (0..5).map(|_| evenkeel.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    wait_for("all are at the backend", || backend.requests() == 5);
    let gauges = [
        "evenkeel_listener_connections",
        "evenkeel_requests_in_flight",
        "evenkeel_backend_in_flight",
        "evenkeel_backend_connections",
        "evenkeel_worker_connections",
    ];
    for gauge in gauges {
        assert_eq!(evenkeel.metric(gauge, &[]), 5.0, "{gauge}");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    wait_for("none is in flight", || {
        evenkeel.in_flight() == 0.0 && evenkeel.metric("evenkeel_backend_in_flight", &[]) == 0.0
    });
    assert_eq!(evenkeel.metric("evenkeel_listener_connections", &[]), 5.0);
}

#[test]
fn names_of_clients_never_become_labels() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    client.exchange("BREWCOFFEE /secretpath?secretquery HTTP/1.1\r\nHost: secrethost\r\n\r\n");
    let text = scrape(evenkeel.admin());
    for secret in ["BREWCOFFEE", "secret"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

fn admin(evenkeel: &Evenkeel, target: &str) -> u16 {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    Client::h1(evenkeel.admin()).exchange(request).status
}

#[test]
fn healthz_answers_and_what_is_not_there_is_404() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    assert_eq!(admin(&evenkeel, "/healthz"), 200);
    assert_eq!(admin(&evenkeel, "/nothing"), 404);
}

#[test]
fn backends_have_the_names_that_they_were_given() {
    let backend = Backend::ok("fine");
    let toml = Setup::to(&[backend.address()]).toml();
    let named = format!("[{{ address = \"{0}\", name = \"b\", weight = 3 }}]", backend.address());
    let toml = toml.replace(&format!("[\"{}\"]", backend.address()), &named);
    let evenkeel = Evenkeel::start(&toml);
    assert_eq!(evenkeel.get("/").status, 200);
    assert_eq!(evenkeel.series("evenkeel_backend_in_flight", &[("pool", "web"), ("backend", "b")]), Some(0.0));
    assert_eq!(evenkeel.series("evenkeel_backend_in_flight", &[("backend", &backend.address().to_string())]), None);
}

#[test]
fn requests_spread_over_the_backends_by_their_weights() {
    let (light, heavy) = (Backend::ok("light"), Backend::ok("heavy"));
    let toml = Setup::to(&[light.address()]).toml();
    let both = format!("[\"{}\", {{ address = \"{}\", weight = 3 }}]", light.address(), heavy.address());
    let evenkeel = Evenkeel::start(&toml.replace(&format!("[\"{}\"]", light.address()), &both));
    for _ in 0..40 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    assert_eq!((light.seen().len(), heavy.seen().len()), (10, 30));
}
