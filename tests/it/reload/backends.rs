//! Backends and pools that come and go, and what is known of those that stay.

use super::*;
use crate::support::{Gate, scrape, sum_of};

#[test]
fn a_new_backend_gets_requests_and_a_removed_one_none() {
    let (old, new) = (Backend::ok("old"), Backend::ok("new"));
    let evenkeel = Process::spawn(&file(&[WEB], &[("web", &[&old])], ""));
    let mut client = evenkeel.client();
    assert_eq!(client.get("/").text(), "old");

    evenkeel.reload(&file(&[WEB], &[("web", &[&old, &new])], ""));
    let mut said: Vec<_> = (0..4).map(|_| client.get("/").text()).collect();
    said.sort();
    assert_eq!(said, ["new", "new", "old", "old"]);

    evenkeel.reload(&file(&[WEB], &[("web", &[&new])], ""));
    let before = old.requests();
    for _ in 0..10 {
        assert_eq!((client.get("/").text().as_str(), evenkeel.client().get("/").text().as_str()), ("new", "new"));
    }
    assert_eq!(old.requests(), before);
    wait_for("kept connections to the removed backend are closed", || old.open() == 0);
    let gone = old.address().to_string();
    wait_for("no series of it is left", || !scrape(evenkeel.listener("admin")).contains(&gone));
}

#[test]
fn an_exchange_on_a_removed_backend_is_finished() {
    let gate = Gate::default();
    let (old, new) = (Backend::behind(&gate, "late"), Backend::ok("new"));
    let long = |toml: String| toml.replace("drain_timeout = \"1s\"", "drain_timeout = \"10s\"");
    let evenkeel = Process::spawn(&long(file(&[WEB], &[("web", &[&old])], "")));
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the exchange is on its way", || old.requests() == 1);
    evenkeel.reload(&long(file(&[WEB], &[("web", &[&new])], "")));
    assert_eq!(evenkeel.client().get("/").text(), "new");
    gate.open();
    assert_eq!(client.response().text(), "late");
    assert_eq!(client.get("/").text(), "new", "its connection goes on");
    wait_for("the removed backend is left", || old.open() == 0);
}

#[test]
fn a_backend_that_comes_back_is_not_left_after_all() {
    // Two exchanges on the way when it is removed: one is still there when it comes back, the other's connection has a
    // new one by then. Neither is cut when the second that they had has passed.
    let (first, second) = (Gate::default(), Gate::default());
    let (one, two) = (first.clone(), second.clone());
    let backend = Backend::http(move |request| {
        if request.target == "/short" {
            one.pass();
        } else {
            two.pass();
        };
        crate::support::Reply::ok("late")
    });
    let other = Backend::ok("other");
    let with = file(&[WEB], &[("web", &[&backend])], "");
    let evenkeel = Process::spawn(&with);
    let (mut long, mut short) = (evenkeel.client(), evenkeel.client());
    long.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    short.send("GET /short HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("both are on their way", || backend.requests() == 2);
    evenkeel.reload(&file(&[WEB], &[("web", &[&other])], ""));
    first.open();
    assert_eq!(short.response().text(), "late");
    evenkeel.reload(&with);
    short.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("both have one again", || backend.requests() == 3);
    assert!(short.silent_for(Duration::from_millis(2500)) && long.silent_for(Duration::from_millis(10)));
    second.open();
    assert_eq!((short.response().text().as_str(), long.response().text().as_str()), ("late", "late"));
}

/// Pools `a` and `b` with a route each, below its own name.
fn routed(pools: &[(&str, &[&Backend])]) -> String {
    let route = |name: &str| format!("[[route]]\npath = \"/{name}/*\"\npool = \"{name}\"\n\n");
    let routes: String = pools.iter().map(|(name, _)| route(name)).collect();
    file(&[WEB], pools, &routes)
}

#[test]
fn pools_come_and_go() {
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let evenkeel = Process::spawn(&routed(&[("a", &[&a])]));
    let mut client = evenkeel.client();
    assert_eq!((client.get("/a/").text().as_str(), client.get("/b/").status), ("a", 404));
    let series = |pool: &str| sum_of(&scrape(evenkeel.listener("admin")), "evenkeel_backend_up", &[("pool", pool)]);

    evenkeel.reload(&routed(&[("a", &[&a]), ("b", &[&b])]));
    assert_eq!((series("a"), series("b")), (Some(1.0), Some(1.0)));
    let requests = sum_of(&scrape(evenkeel.listener("admin")), "evenkeel_retries_total", &[("pool", "b")]);
    assert_eq!(requests, Some(0.0), "a series exists from the moment that its name is configured");
    assert_eq!((client.get("/a/").text().as_str(), client.get("/b/").text().as_str()), ("a", "b"));

    evenkeel.reload(&routed(&[("b", &[&b])]));
    wait_for("no series of it is left", || (series("a"), series("b")) == (None, Some(1.0)));
    assert_eq!((client.get("/a/").status, client.get("/b/").text().as_str()), (404, "b"));
    wait_for("the removed pool's connections are closed", || a.open() == 0);
}

#[test]
fn a_pool_that_is_renamed_serves_on() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&file(&[WEB], &[("web", &[&backend])], ""));
    let mut client = evenkeel.client();
    assert_eq!(client.get("/").text(), "fine");
    evenkeel.reload(&file(&[WEB], &[("site", &[&backend])], ""));
    assert_eq!(client.get("/").text(), "fine");
    let pools = told(evenkeel.listener("admin"), "/api/v1/pools");
    assert_eq!((pools["pools"][0]["name"].as_str(), pools["pools"][1].is_null()), (Some("site"), true), "{pools}");
}

#[test]
fn a_weight_of_the_new_file_counts_at_once() {
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let even = file(&[WEB], &[("web", &[&a, &b])], "");
    let evenkeel = Process::spawn(&even);
    let mut client = evenkeel.client();
    let mut of_a = || (0..40).filter(|_| client.get("/").text() == "a").count();
    assert_eq!(of_a(), 20);
    let address = a.address().to_string();
    evenkeel.reload(&even.replace(&format!("\"{address}\""), &format!("{{ address = \"{address}\", weight = 3 }}")));
    assert_eq!(of_a(), 30);
}

#[test]
fn counters_and_what_is_in_flight_survive() {
    let gate = Gate::default();
    let slow = gate.clone();
    let backend = Backend::http(move |request| {
        if request.target == "/slow" {
            slow.pass();
        }
        crate::support::Reply::ok("fine")
    });
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    let mut client = evenkeel.client();
    for _ in 0..5 {
        client.get("/");
    }
    let mut busy = evenkeel.client();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the slow exchange is on its way", || backend.requests() == 6);
    let name = backend.address().to_string();
    let target = [("pool", "web"), ("backend", name.as_str())];
    let counted = |name: &str, labels: &[(&str, &str)]| evenkeel.metric(name, labels);
    wait_for("five are counted", || counted("evenkeel_requests_total", &[("listener", "web")]) == 5.0);
    let connections = counted("evenkeel_listener_connections_total", &[("listener", "web")]);

    for number in 0..5 {
        evenkeel.reload(&versioned(&backend, &number.to_string()));
        assert_eq!(counted("evenkeel_requests_total", &[("listener", "web")]), 5.0);
        assert_eq!(counted("evenkeel_backend_requests_total", &target), 5.0);
        assert_eq!(counted("evenkeel_backend_in_flight", &target), 1.0);
        assert_eq!(counted("evenkeel_requests_in_flight", &[("listener", "web")]), 1.0);
        assert_eq!(counted("evenkeel_listener_connections_total", &[("listener", "web")]), connections);
        assert_eq!(counted("evenkeel_listener_connections", &[("listener", "web")]), 2.0);
    }
    gate.open();
    assert_eq!(busy.response().status, 200);
    wait_for("all is counted, once", || {
        counted("evenkeel_requests_total", &[("listener", "web")]) == 6.0
            && counted("evenkeel_backend_in_flight", &target) == 0.0
            && counted("evenkeel_requests_in_flight", &[("listener", "web")]) == 0.0
    });
    assert_eq!(counted("evenkeel_backend_requests_total", &target), 6.0);
}

#[test]
fn a_backend_that_is_down_stays_down() {
    let (alive, dead) = (Backend::ok("alive"), Backend::refused());
    let check =
        "health_check = { type = \"tcp\", interval = \"1h\", interval_down = \"50ms\", unhealthy_threshold = 2 }";
    let toml = |timeout: usize| {
        let backends = [alive.address().to_string(), dead.address().to_string()];
        let pool = format!("[pool.web]\nbackends = {backends:?}\nretry = {{ attempts = 0 }}\n{check}\n");
        let listener = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n";
        format!("{HEAD}{listener}{pool}response_timeout = \"{timeout}s\"\n")
    };
    let evenkeel = Process::spawn(&toml(1));
    let name = dead.address().to_string();
    let state = |state: &str| evenkeel.metric("evenkeel_backend_state", &[("backend", &name), ("state", state)]);
    wait_for("it is down", || state("down") == 1.0);
    let mut client = evenkeel.client();
    for number in 2..12 {
        evenkeel.reload(&toml(number));
        assert_eq!((state("down"), evenkeel.metric("evenkeel_backend_up", &[("backend", &name)])), (1.0, 0.0));
        // Had it been taken for up, one of two requests would fail.
        for _ in 0..4 {
            assert_eq!(client.get("/").text(), "alive");
        }
    }
}

#[test]
fn a_check_of_the_new_file_takes_over() {
    let backend = Backend::http(|request| match request.target.as_str() {
        "/broken" => crate::support::Reply::new("500 Internal Server Error", "", "broken"),
        _ => crate::support::Reply::ok("fine"),
    });
    let plain = file(&[WEB], &[("web", &[&backend])], "");
    let checked = |path: &str| {
        let check = format!(
            "{{ type = \"http\", path = \"{path}\", interval = \"50ms\", interval_down = \"50ms\", unhealthy_threshold = 2 }}"
        );
        plain.replace("{ type = \"off\" }", &check)
    };
    let evenkeel = Process::spawn(&plain);
    let up = || evenkeel.metric("evenkeel_backend_up", &[("pool", "web")]);
    evenkeel.reload(&checked("/broken"));
    wait_for("the new check finds it down", || up() == 0.0);
    assert_eq!(evenkeel.client().get("/").status, 503);
    evenkeel.reload(&checked("/whole"));
    wait_for("the next check finds it up", || up() == 1.0);
    assert_eq!(evenkeel.client().get("/").status, 200);
}
