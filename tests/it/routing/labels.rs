//! What the metrics say of routes: every answer has its route's label, and whatever clients send makes no new series.

use std::collections::BTreeSet;

use super::named;
use crate::support::{Backend, Client, Evenkeel, Rng, Site, in_front_of, request, scrape, wait_for};

/// How many requests of `route` were answered `code`.
fn counted(evenkeel: &Evenkeel, route: &str, code: &str) -> f64 {
    evenkeel.metric("evenkeel_requests_total", &[("listener", "web"), ("route", route), ("code", code)])
}

#[track_caller]
fn wait_counted(evenkeel: &Evenkeel, route: &str, code: &str, times: usize) {
    wait_for(&format!("{times} requests of {route:?} are {code}"), || counted(evenkeel, route, code) == times as f64);
}

#[test]
fn without_a_route_it_is_404_and_the_label_is_empty() {
    let evenkeel = super::routes(&[("only", "host = \"only.test\"")]);
    let mut client = evenkeel.client();
    for target in ["/", "/a", "/b"] {
        let response = client.exchange(request("GET", "other.test", target, ""));
        response.assert_refused(404, "no_route");
        let status = "evenkeel; error=destination_not_found; details=\"no_route\"";
        assert_eq!(response.field("proxy-status"), Some(status));
        assert_eq!(response.field("content-type"), Some("application/problem+json"));
    }
    assert_eq!(client.exchange(request("GET", "only.test", "/", "")).text(), "only", "the connection stays open");
    wait_counted(&evenkeel, "", "404", 3);
    evenkeel.wait_failures("no_route", 3);
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[("route", ""), ("reason", "no_route")]), 3.0);
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[("route", "only")]), 0.0);
}

const ALL: &str = r#"
[[route]]
name = "proxied"
path = "/proxied/*"
pool = "web"
[[route]]
name = "moved"
path = "/moved"
redirect = { to = "https://test/" }
[[route]]
name = "said"
path = "/said"
respond = { status = 201, body = "said" }
[[route]]
name = "down"
path = "/down"
pool = "dead"
[[route]]
name = "spared"
path = "/spared"
pool = "down"
fallback = { pool = "web" }
[[route]]
name = "excused"
path = "/excused"
pool = "down"
fallback = { respond = { status = 503, body = "back soon" } }
[[route]]
name = "small"
path = "/small"
pool = "web"
max_body_size = "1KiB"
[[route]]
name = "late"
path = "/late"
pool = "silent"
timeout = "200ms"
"#;

const DOWN: &str = "health_check = { initial_state = \"down\", interval = \"1h\", interval_down = \"1h\" }";

#[test]
fn every_answer_has_its_routes_label() {
    let (web, silent, dead) = (Backend::ok("fine"), Backend::thinking(), Backend::refused());
    let site = Site::new(ALL).pool("web", web.address()).pool("silent", silent.address()).pool("dead", dead.address());
    let evenkeel = site.pool_with("down", &[dead.address()], DOWN).start();
    let table = [
        ("/proxied/", "proxied", 200),
        ("/moved", "moved", 308),
        ("/said", "said", 201),
        ("/down", "down", 502),
        ("/spared", "spared", 200),
        ("/excused", "excused", 503),
        ("/late", "late", 504),
        ("/none", "", 404),
    ];
    let mut client = evenkeel.client();
    for (target, _, status) in table {
        let response = client.get(target);
        assert_eq!(response.status, status, "{target}: {response:?}");
    }
    assert_eq!(client.with_body("POST", "/small", &[b'x'; 1025]).status, 413);
    for (_, route, status) in table.into_iter().chain([("/small", "small", 413)]) {
        wait_counted(&evenkeel, route, &status.to_string(), 1);
        let all = evenkeel.metric("evenkeel_requests_total", &[("route", route)]);
        assert_eq!(all, 1.0, "nothing else is {route:?}'s");
        assert_eq!(evenkeel.metric("evenkeel_request_duration_seconds_count", &[("route", route)]), 1.0, "{route:?}");
    }
    for (route, reason) in
        [("down", "connect_refused"), ("late", "deadline"), ("small", "body_too_large"), ("", "no_route")]
    {
        assert_eq!(
            evenkeel.metric("evenkeel_failures_total", &[("route", route), ("reason", reason)]),
            1.0,
            "{route:?}"
        );
    }
    for route in ["proxied", "moved", "said", "spared"] {
        assert_eq!(evenkeel.metric("evenkeel_failures_total", &[("route", route)]), 0.0, "{route:?}");
    }
}

#[test]
fn what_ends_half_way_is_its_routes_too() {
    let thinking = Backend::thinking();
    let short = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    });
    let text = "[[route]]\nname = \"left\"\npath = \"/left\"\npool = \"thinking\"\n\
                [[route]]\nname = \"cut\"\npath = \"/cut\"\npool = \"short\"\n";
    let site = Site::new(text).pool("thinking", thinking.address()).pool("short", short.address());
    let evenkeel = site.start();
    let mut client = evenkeel.client();
    client.send(request("GET", "test", "/left", ""));
    wait_for("it is at the backend", || thinking.requests() == 1);
    client.leave();
    assert!(evenkeel.get("/cut").cut);
    for (route, reason, code) in [("left", "client_gone", "499"), ("cut", "truncated", "200")] {
        let failed = || evenkeel.metric("evenkeel_failures_total", &[("route", route), ("reason", reason)]);
        wait_for(&format!("{reason} is {route}'s"), || failed() == 1.0);
        wait_counted(&evenkeel, route, code, 1);
    }
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 2.0);
}

#[test]
fn a_routes_series_exist_before_its_first_request() {
    let evenkeel = super::routes(&[("first", "path = \"/a\""), ("second", "path = \"/b\"")]);
    let text = scrape(evenkeel.admin());
    for route in ["first", "second"] {
        for name in ["request_duration_seconds_count", "request_bytes_total", "response_bytes_total"] {
            let wanted = format!("evenkeel_{name}{{route=\"{route}\"}} 0\n");
            assert!(text.contains(&wanted), "{wanted}");
        }
    }
}

#[test]
fn routes_without_a_name_have_one_of_their_own() {
    let backend = Backend::ok("fine");
    let text = "[[route]]\nhost = \"a.test\"\npool = \"web\"\n[[route]]\npath = \"/b/*\"\npool = \"web\"\n[[route]]\npool = \"web\"\n";
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let mut client = evenkeel.client();
    client.exchange(request("GET", "a.test", "/", ""));
    client.exchange(request("GET", "test", "/b/", ""));
    client.exchange(request("GET", "test", "/", ""));
    wait_for("all are counted", || evenkeel.metric("evenkeel_requests_total", &[("code", "200")]) == 3.0);
    let text = scrape(evenkeel.admin());
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("evenkeel_requests_total{")).collect();
    let names: BTreeSet<_> = lines.iter().map(|line| line.split("route=\"").nth(1).unwrap()).collect();
    assert_eq!(names.len(), 3, "{lines:?}");
    assert!(names.iter().all(|name| !name.starts_with('"')), "{lines:?}");
}

#[test]
fn with_one_pool_and_no_route_the_route_is_called_default() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    assert_eq!(evenkeel.get("/x").status, 200);
    wait_counted(&evenkeel, "default", "200", 1);
}

/// The series of `/metrics`, without their values.
fn series(evenkeel: &Evenkeel) -> BTreeSet<String> {
    let text = scrape(evenkeel.admin());
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// A word that nobody has used.
fn word(rng: &mut Rng) -> String {
    format!("x{:016x}", rng.next())
}

/// Requests that differ in all that a client can choose.
fn flood(client: &mut Client, rng: &mut Rng, count: usize) {
    for _ in 0..count {
        let (method, host, path) = (word(rng).to_uppercase(), word(rng), word(rng));
        let lines = format!("{}: {}\r\nCookie: {}={}\r\n", word(rng), word(rng), word(rng), word(rng));
        let target = format!("/{path}?{}={}", word(rng), word(rng));
        let host = if rng.one_in(2) { format!("{host}.wild.test") } else { host };
        let target = if rng.one_in(2) { format!("/web{target}") } else { target };
        let status = client.exchange(request(&method, &host, &target, &lines)).status;
        assert!(matches!(status, 200 | 404), "{status}");
    }
}

#[test]
fn a_flood_of_names_makes_no_series() {
    let backend = Backend::ok("fine");
    let text = named(&[("wild", "host = \"*.wild.test\"")]);
    let text = format!("{text}[[route]]\nname = \"web\"\npath = \"/web/*\"\npool = \"web\"\n");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let (mut rng, mut client) = (Rng::for_test("flood"), evenkeel.client());
    // The first ones make the series of the codes that there are.
    flood(&mut client, &mut rng, 100);
    let all = |times: f64| wait_for("all are counted", || evenkeel.metric("evenkeel_requests_total", &[]) == times);
    all(100.0);
    let before = series(&evenkeel);
    flood(&mut client, &mut rng, 3_000);
    all(3_100.0);
    let after = series(&evenkeel);
    assert!(before == after, "new: {:?}", after.difference(&before).collect::<Vec<_>>());
}

#[test]
fn codes_that_backends_invent_are_bounded() {
    // Every status that there can be: a series for each of them, and not one more for the backend's reason phrases.
    let backend = Backend::raw(|conn, _| {
        let mut code = 199;
        while let Some(request) = conn.request() {
            code = if code == 999 { 200 } else { code + 1 };
            let framing = if matches!(code, 204 | 304) { "" } else { "Content-Length: 0\r\n" };
            conn.send(format!("HTTP/1.1 {code} {}\r\n{framing}\r\n", request.target.trim_start_matches('/')));
        }
    });
    let evenkeel = in_front_of(&backend);
    let (mut rng, mut client) = (Rng::for_test("codes"), evenkeel.client());
    for _ in 0..1_700 {
        let target = format!("/{}", word(&mut rng));
        if client.get(&target).head.fields.lists("connection", "close") {
            client = evenkeel.client();
        }
    }
    wait_for("all are counted", || evenkeel.metric("evenkeel_requests_total", &[]) == 1_700.0);
    let codes = series(&evenkeel).iter().filter(|line| line.starts_with("evenkeel_requests_total{")).count();
    assert!(codes <= 800, "{codes} series of evenkeel_requests_total");
}
